//! The predicate: everything that is asked for must hold.

use bstr::BString;

use super::Reason;
use super::rule::TagTest;
use crate::lp::Context;
use crate::lp::escape::{self, Place};
use crate::lp::glob::Glob;
use crate::lp::record::{self, Time};

/// What to do with a record without timestamp where a time is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTime {
    /// It matches every time.
    Keep,
    /// It matches no time.
    Drop,
}

/// What to keep. Whatever is not asked for holds for every record.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Patterns for the decoded measurement; one of them must match, unless there is none.
    pub measurements: Vec<Glob>,
    /// Tests of tags; those of one key that are not negated are alternatives.
    pub tags: Vec<TagTest>,
    /// One of these databases, unless there is none.
    pub databases: Vec<BString>,
    /// One of these retention policies, unless there is none.
    pub policies: Vec<BString>,
    /// The first nanosecond to keep.
    pub start: Option<i64>,
    /// The first nanosecond that is not kept any more.
    pub stop: Option<i64>,
    /// What a record without timestamp is; a reject if this does not say.
    pub no_time: Option<NoTime>,
    /// Nanoseconds in one unit of the timestamps.
    pub unit: i64,
    /// Keep what does not match instead.
    pub invert: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            measurements: Vec::new(),
            tags: Vec::new(),
            databases: Vec::new(),
            policies: Vec::new(),
            start: None,
            stop: None,
            no_time: None,
            unit: 1,
            invert: false,
        }
    }
}

/// Judges records one by one.
#[derive(Debug)]
pub struct Selector {
    selection: Selection,
    /// Whether measurement or tags are asked for.
    asks_for_series: bool,
    asks_for_time: bool,
    /// Whether the context holds what is asked for.
    context: Result<bool, Reason>,
    /// The series key judged last, as spelled, and the verdict: the next record mostly has the same.
    last: Vec<u8>,
    last_matches: Result<bool, Reason>,
    name: Vec<u8>,
    /// Which groups of tag tests have been met.
    met: Vec<bool>,
}

impl Selector {
    /// Judge by `selection`.
    pub fn new(selection: Selection) -> Self {
        let mut selector = Self {
            asks_for_series: !selection.measurements.is_empty() || !selection.tags.is_empty(),
            asks_for_time: selection.start.is_some() || selection.stop.is_some(),
            selection,
            context: Ok(true),
            last: Vec::new(),
            last_matches: Ok(false),
            name: Vec::new(),
            met: Vec::new(),
        };
        selector.enter(&Context::default());
        selector
    }

    /// The context of the records that follow.
    pub fn enter(&mut self, context: &Context) {
        let database = one_of(&self.selection.databases, context.database.as_ref());
        let policy = one_of(&self.selection.policies, context.policy.as_ref());
        self.context = database.and_then(|database| policy.map(|policy| database && policy));
    }

    /// Whether one whole record is selected.
    pub fn selects(&mut self, record: &[u8]) -> Result<bool, Reason> {
        let mut matches = self.context?;
        if matches && self.asks_for_series {
            matches = self.series_matches(record)?;
        }
        if matches && self.asks_for_time {
            matches = self.time_matches(record)?;
        }
        Ok(matches != self.selection.invert)
    }

    fn time_matches(&self, record: &[u8]) -> Result<bool, Reason> {
        let Selection {
            start,
            stop,
            unit,
            no_time,
            ..
        } = self.selection;
        let time = match (record::time(record), no_time) {
            (Time::At(time), _) => time.checked_mul(unit).ok_or(Reason::BadTime)?,
            (Time::Invalid, _) => return Err(Reason::BadTime),
            (Time::Missing, None) => return Err(Reason::NoTime),
            (Time::Missing, Some(no_time)) => return Ok(no_time == NoTime::Keep),
        };
        Ok(start.is_none_or(|start| start <= time) && stop.is_none_or(|stop| time < stop))
    }

    fn series_matches(&mut self, record: &[u8]) -> Result<bool, Reason> {
        if !self.last.is_empty()
            && record.get(self.last.len()) == Some(&b' ')
            && record.starts_with(&self.last)
        {
            return self.last_matches;
        }
        let series = record::series_key(record);
        self.last.clear();
        self.last.extend_from_slice(series);
        self.last_matches = self.judge_series(series);
        self.last_matches
    }

    fn judge_series(&mut self, series: &[u8]) -> Result<bool, Reason> {
        if !self.selection.measurements.is_empty() {
            self.name.clear();
            escape::decode(
                Place::Measurement,
                record::measurement(series),
                &mut self.name,
            );
            if !self
                .selection
                .measurements
                .iter()
                .any(|glob| glob.matches(&self.name))
            {
                return Ok(false);
            }
        }
        if self.selection.tags.is_empty() {
            Ok(true)
        } else {
            self.tags_match(series)
        }
    }

    fn tags_match(&mut self, series: &[u8]) -> Result<bool, Reason> {
        let tests = &self.selection.tags;
        self.met.clear();
        self.met.extend(tests.iter().map(|test| test.matches(b"")));
        for tag in record::tags(series) {
            let (key, value) = tag.map_err(|_| Reason::Malformed)?;
            self.name.clear();
            escape::decode(Place::Tag, key, &mut self.name);
            let key_len = self.name.len();
            escape::decode(Place::Tag, value, &mut self.name);
            let (key, value) = self.name.split_at(key_len);
            for (test, met) in tests
                .iter()
                .zip(&mut self.met)
                .filter(|(test, _)| test.key == key)
            {
                *met = test.matches(value);
            }
        }
        Ok(tests
            .iter()
            .enumerate()
            .all(|(i, test)| self.holds(i, test)))
    }

    /// A negated test must not be met; of the others of one key, one must.
    fn holds(&self, i: usize, test: &TagTest) -> bool {
        if test.negated {
            return !self.met[i];
        }
        let same =
            |(other, met): (&TagTest, &bool)| *met && !other.negated && other.key == test.key;
        self.selection.tags.iter().zip(&self.met).any(same)
    }
}

fn one_of(wanted: &[BString], name: Option<&BString>) -> Result<bool, Reason> {
    match name {
        _ if wanted.is_empty() => Ok(true),
        Some(name) => Ok(wanted.contains(name)),
        None => Err(Reason::NoContext),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(
        measurements: &[&str],
        tags: &[&str],
        time: (Option<i64>, Option<i64>),
        invert: bool,
    ) -> Selector {
        let measurements = measurements
            .iter()
            .map(|text| Glob::new(text.as_bytes()))
            .collect();
        let tags = tags
            .iter()
            .map(|text| TagTest::parse(text).unwrap())
            .collect();
        let (start, stop) = time;
        Selector::new(Selection {
            measurements,
            tags,
            start,
            stop,
            invert,
            ..Selection::default()
        })
    }

    #[test]
    fn everything_that_is_asked_for_must_hold() {
        let mut selector = selector(&["cpu", "my m*"], &[], (Some(5), Some(8)), false);
        for (record, expected) in [
            ("cpu v=1 5\n", true),
            ("cpu v=1 7\n", true),
            ("cpu v=1 8\n", false),
            ("cpu v=1 4\n", false),
            ("mem v=1 5\n", false),
            ("my\\ mem,t=a v=1 5\n", true),
        ] {
            assert_eq!(
                Ok(expected),
                selector.selects(record.as_bytes()),
                "{record}"
            );
        }
    }

    #[test]
    fn tests_of_one_tag_are_alternatives_unless_negated_and_a_missing_tag_is_empty() {
        let mut either = selector(
            &[],
            &["dc=eu", "dc=~^us", "dc!=us-2", "host!="],
            (None, None),
            false,
        );
        for (record, expected) in [
            ("m,dc=eu,host=a v=1\n", true),
            ("m,dc=us-1,host=a v=1\n", true),
            ("m,dc=us-2,host=a v=1\n", false),
            ("m,dc=asia,host=a v=1\n", false),
            ("m,dc=eu v=1\n", false),
            ("m,host=a v=1\n", false),
            ("m,dc=e\\u,host=a v=1\n", false),
        ] {
            assert_eq!(Ok(expected), either.selects(record.as_bytes()), "{record}");
        }
        assert_eq!(
            Ok(true),
            selector(&[], &["dc="], (None, None), false).selects(b"m,x=y v=1\n")
        );
        assert_eq!(
            Err(Reason::Malformed),
            selector(&[], &["dc="], (None, None), false).selects(b"m,x v=1\n")
        );
    }

    #[test]
    fn inversion_turns_the_whole_selection_round() {
        let mut selector = selector(&["cpu"], &[], (Some(5), None), true);
        assert_eq!(Ok(false), selector.selects(b"cpu v=1 5\n"));
        assert_eq!(Ok(true), selector.selects(b"cpu v=1 4\n"));
        assert_eq!(Ok(true), selector.selects(b"mem v=1 5\n"));
    }

    #[test]
    fn only_what_has_to_be_read_and_cannot_is_a_reject() {
        let mut selector = selector(&["cpu"], &[], (Some(5), None), false);
        assert_eq!(Err(Reason::NoTime), selector.selects(b"cpu v=1\n"));
        assert_eq!(
            Err(Reason::BadTime),
            selector.selects(b"cpu v=1 99999999999999999999\n")
        );
        assert_eq!(Ok(false), selector.selects(b"mem v=1\n"));
    }

    #[test]
    fn a_database_that_is_asked_for_must_be_known() {
        let databases = vec!["a".into()];
        let mut selector = Selector::new(Selection {
            databases,
            ..Selection::default()
        });
        assert_eq!(Err(Reason::NoContext), selector.selects(b"m v=1 1\n"));
        for (name, expected) in [("a", true), ("b", false)] {
            selector.enter(&Context {
                database: Some(name.into()),
                ..Context::default()
            });
            assert_eq!(Ok(expected), selector.selects(b"m v=1 1\n"));
        }
    }

    #[test]
    fn a_series_key_that_starts_like_the_one_before_is_judged_by_itself() {
        let mut selector = selector(&[], &["t=a"], (None, None), false);
        assert_eq!(Ok(true), selector.selects(b"m,t=a v=1 1\n"));
        assert_eq!(Ok(false), selector.selects(b"m,t=a\\ b v=1 1\n"));
        assert_eq!(Ok(false), selector.selects(b"m,t=ab v=1 1\n"));
        assert_eq!(Ok(true), selector.selects(b"m,t=a v=1 1\n"));
    }
}
