//! Which bucket does a point go to, and for how long is it kept there?

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use crate::lp::Context;
use crate::post::Place;

/// Which bucket is whose.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// The bucket of all points.
    pub bucket: Option<String>,
    /// Whether that may be so for points that the stream keeps apart.
    pub merge: bool,
    /// `database/policy` of points without context.
    pub context: Option<String>,
    /// The bucket of points of a stream that never had a context.
    pub fallback: Option<String>,
}

impl Routing {
    /// The bucket of a point, or why it has none.
    pub(super) fn bucket(&self, place: &Place<'_>) -> Result<String, String> {
        if let Some(bucket) = &self.bucket {
            return Ok(bucket.clone());
        }
        let own = own_bucket(place.context);
        if let Some(own) = own {
            let name = own
                .to_str()
                .map_err(|_| "the name of its bucket is not UTF-8")?;
            return Ok(name.to_owned());
        }
        if place.context.is_empty()
            && let Some(bucket) = &self.context
        {
            return Ok(bucket.clone());
        }
        match &self.fallback {
            Some(bucket) if !place.had_context => Ok(bucket.clone()),
            _ if place.context.is_empty() => Err("it has no context, so no bucket".to_owned()),
            _ => Err("its context names no bucket and no retention policy".to_owned()),
        }
    }
}

/// The bucket that the stream itself names.
pub(super) fn own_bucket(context: &Context) -> Option<BString> {
    context.bucket.clone().or_else(|| context.path())
}

/// How long buckets that are made keep their points, in seconds; 0 is for ever.
#[derive(Clone, Debug, Default)]
pub struct Periods {
    /// For buckets by name; stronger than what the stream says.
    pub named: HashMap<String, u64>,
    /// For all others of which the stream does not say it.
    pub default: Option<u64>,
}

impl Periods {
    pub(super) fn of(&self, bucket: &str, context: &Context) -> Option<u64> {
        let named = self.named.get(bucket).copied();
        named.or(context.period).or(self.default)
    }

    /// What somebody has said of a bucket, whatever its points come from.
    pub(super) fn said(&self, bucket: &str) -> Option<u64> {
        self.named.get(bucket).copied().or(self.default)
    }
}

/// What becomes of points that are older than their bucket keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// They are counted and left out.
    Skip,
    /// They are rejects.
    Reject,
    /// They are sent.
    Send,
}

/// How long points are kept, in seconds; `None` for ever, or where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keeps {
    /// By the bucket they go to.
    pub bucket: Option<u64>,
    /// By the policy they come from.
    pub source: Option<u64>,
}

/// What becomes of a point because of its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// Nothing.
    Fresh,
    /// It is counted.
    Expired,
    /// It is a reject: its source keeps it for longer than this, in seconds.
    Beyond(u64),
}

impl Keeps {
    /// What a time means at `now`, both in nanoseconds.
    pub fn age(self, expired: Option<Expired>, time: i64, now: i64) -> Age {
        let is_over = |period: u64| {
            let period = i128::from(period) * 1_000_000_000;
            i128::from(time) < i128::from(now) - period
        };
        let Some(period) = self.bucket.filter(|period| is_over(*period)) else {
            return Age::Fresh;
        };
        match expired {
            Some(Expired::Send) => Age::Fresh,
            Some(Expired::Skip) => Age::Expired,
            Some(Expired::Reject) => Age::Beyond(period),
            None if self.source.is_some_and(is_over) => Age::Expired,
            None => Age::Beyond(period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_source_would_drop_too_is_no_loss() {
        const HOUR: i64 = 3_600_000_000_000;
        let keeps = |bucket, source| Keeps { bucket, source };
        let (day, two) = (Some(86_400), Some(172_800));
        for (keeps, hours, expected) in [
            (keeps(None, day), 1000, Age::Fresh),
            (keeps(day, None), 24, Age::Fresh),
            (keeps(day, None), 25, Age::Beyond(86_400)),
            (keeps(day, two), 25, Age::Beyond(86_400)),
            (keeps(day, two), 49, Age::Expired),
            (keeps(day, day), 25, Age::Expired),
            (keeps(two, day), 25, Age::Fresh),
        ] {
            let now = 100 * 24 * HOUR;
            let age = |expired| keeps.age(expired, now - hours * HOUR, now);
            assert_eq!(expected, age(None), "{keeps:?} {hours}");
            assert_eq!(Age::Fresh, age(Some(Expired::Send)));
            let is_old = expected != Age::Fresh;
            assert_eq!(is_old, age(Some(Expired::Skip)) == Age::Expired);
            assert_eq!(
                is_old,
                age(Some(Expired::Reject)) == Age::Beyond(keeps.bucket.unwrap_or(0))
            );
        }
        assert_eq!(
            Age::Fresh,
            keeps(Some(u64::MAX), None).age(None, i64::MIN, i64::MAX)
        );
    }
}
