//! Which buckets does a stream need, and what goes into each?
//!
//! Only counted. Partitions and measurements are counted by a number made of their names, about 20 bytes each, and
//! no more than [`MOST`] of them over all buckets.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use jiff::Timestamp;

use super::Outlets;
use crate::lp::Context;
use crate::lp::record::{self, Time};
use crate::rate::{Counted, Limit, Tariff, partitions};

/// Partitions, days and measurements that are counted over all buckets.
pub const MOST: usize = 1_000_000;

/// Buckets that are counted.
pub const MOST_BUCKETS: usize = 100_000;

const DAY: i64 = 86_400_000_000_000;

/// More buckets than anybody makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {MOST_BUCKETS} buckets (is --bucket what was meant?)")]
pub struct TooMany;

/// What is known of one bucket.
#[derive(Debug, Default)]
pub struct Row {
    /// Its name.
    pub bucket: BString,
    /// The longest time that one of its contexts keeps points, in seconds; 0 for ever, `None` if that is not known.
    pub period: Option<u64>,
    /// Its points.
    pub points: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The time of the first one, in nanoseconds.
    pub first: Option<i64>,
    /// The time of the last one.
    pub last: Option<i64>,
    /// Points without a time.
    untimed: u64,
    days: HashSet<i64>,
    partitions: HashSet<u64>,
    measurements: HashSet<u64>,
}

impl Row {
    /// The days, in UTC, that have points.
    pub fn days(&self) -> usize {
        self.days.len()
    }

    /// The partitions (one measurement on one day) that have points.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn add(&mut self, record: &[u8]) {
        self.points += 1;
        self.bytes += record.len() as u64;
        match record::time(record) {
            Time::At(time) => {
                self.first = Some(self.first.map_or(time, |first| first.min(time)));
                self.last = Some(self.last.map_or(time, |last| last.max(time)));
            }
            Time::Missing | Time::Invalid => self.untimed += 1,
        }
    }

    /// Count what is limited by number; gives how much is new.
    fn count(&mut self, record: &[u8]) -> usize {
        let mut new = usize::from(self.partitions.insert(partitions::number(record)));
        if new == 0 {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        record::measurement(record).hash(&mut hasher);
        new += usize::from(self.measurements.insert(hasher.finish()));
        if let Time::At(time) = record::time(record) {
            new += usize::from(self.days.insert(time.div_euclid(DAY)));
        }
        new
    }
}

/// All buckets of a stream.
#[derive(Debug, Default)]
pub struct Plan {
    rows: Vec<Row>,
    by_bucket: HashMap<BString, usize>,
    current: usize,
    /// The longest point.
    largest: u64,
    /// Things counted by number.
    counted: usize,
}

/// What an upload is measured by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measure {
    /// The present, in nanoseconds.
    pub now: i64,
    /// What may be written.
    pub rate: Option<Limit>,
    /// What else the plan of the account allows.
    pub tariff: Option<Tariff>,
}

impl Outlets for Plan {
    type Error = TooMany;

    fn select(&mut self, context: &Context, _: bool, _: u64) -> Result<(), TooMany> {
        let bucket = context.bucket.as_ref();
        let bucket = bucket.map_or(BStr::new(b""), |name| name.as_bstr());
        if let Some(i) = self.by_bucket.get(bucket) {
            self.current = *i;
            if let Some(row) = self.rows.get_mut(*i) {
                row.period = longest(row.period, context.period);
            }
            return Ok(());
        }
        if self.rows.len() >= MOST_BUCKETS {
            return Err(TooMany);
        }
        self.current = self.rows.len();
        self.by_bucket.insert(bucket.to_owned(), self.current);
        self.rows.push(Row {
            bucket: bucket.to_owned(),
            period: context.period,
            ..Row::default()
        });
        Ok(())
    }

    fn point(&mut self, record: &[u8]) -> Result<bool, TooMany> {
        if let Some(row) = self.rows.get_mut(self.current) {
            row.add(record);
            self.largest = self.largest.max(record.len() as u64);
            if self.counted < MOST {
                self.counted += row.count(record);
            }
        }
        Ok(true)
    }

    fn end_streams(&mut self, _: u64) {}
}

/// The period that keeps what either keeps; what is not known may be anything.
fn longest(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a?, b?) {
        (0, _) | (_, 0) => Some(0),
        (a, b) => Some(a.max(b)),
    }
}

impl Plan {
    /// The buckets in the order in which they came.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The bytes of all points.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes).sum()
    }

    /// The points of all buckets.
    pub fn points(&self) -> u64 {
        self.rows.iter().map(|row| row.points).sum()
    }

    /// How long the upload takes at a rate, with the burst that lp-rate leaves.
    pub fn time(&self, rate: Limit) -> Duration {
        let burst = (rate.amount() / 100).max(self.largest);
        match rate.amount().checked_sub(burst).filter(|rest| *rest > 0) {
            Some(rest) => rate.time_for(scale(self.bytes(), rate.amount(), rest)),
            None => rate.time_for(self.bytes()),
        }
    }

    /// What should be thought of before anything is written.
    pub fn warnings(&self, measure: &Measure) -> Vec<String> {
        let mut all = Vec::new();
        if let Some(tariff) = measure.tariff
            && let Some(most) = tariff.buckets.filter(|most| self.rows.len() > *most)
        {
            let (n, name) = (self.rows.len(), tariff.name);
            all.push(format!("{n} buckets, and {name} allows {most}"));
        }
        for row in &self.rows {
            let said = warnings(row, measure).into_iter();
            all.extend(said.map(|text| format!("bucket {}: {text}", row.bucket)));
        }
        if self.counted >= MOST {
            all.push(format!(
                "days and partitions were counted to {MOST} and no further"
            ));
        }
        all
    }
}

/// `n x up / down`, rounded up.
fn scale(n: u64, up: u64, down: u64) -> u64 {
    let product = u128::from(n) * u128::from(up);
    u64::try_from(product.div_ceil(u128::from(down))).unwrap_or(u64::MAX)
}

fn warnings(row: &Row, measure: &Measure) -> Vec<String> {
    let mut all = Vec::new();
    match (row.period, row.first) {
        (None, _) => all.push(
            "nothing says how long it keeps points (--map-file does, or lp-post --retention-period)".to_owned(),
        ),
        (Some(period), Some(first)) if is_older(first, period, measure.now) => all.push(format!(
            "its first point, of {}, is older than its period of {}, and so is expired",
            time(first),
            span(period)
        )),
        _ => {}
    }
    if row.untimed > 0 {
        all.push(format!(
            "{} points have no time: the server would give them its own",
            row.untimed
        ));
    }
    let Some(tariff) = measure.tariff else {
        return all;
    };
    if let (Some(longest), Some(period)) = (tariff.longest_period, row.period)
        && (period == 0 || period > longest)
    {
        let (period, longest) = (span(period), span(longest));
        all.push(format!(
            "it keeps points {period}, and {} at most {longest}",
            tariff.name
        ));
    }
    let measurements = row.measurements.len();
    if measurements > tariff.measurements {
        let most = tariff.measurements;
        all.push(format!(
            "{measurements} measurements, and {} allows {most}",
            tariff.name
        ));
    }
    let (partitions, limit) = (row.partitions.len() as u64, tariff.partitions);
    if partitions > limit.amount() {
        all.push(format!(
            "{partitions} partitions, of which {} allows {}: best written in the order of time",
            tariff.name,
            Counted(limit)
        ));
    }
    all
}

fn is_older(first: i64, period: u64, now: i64) -> bool {
    let period = i128::from(period) * 1_000_000_000;
    period > 0 && i128::from(first) < i128::from(now) - period
}

/// A time as RFC 3339, in UTC.
pub fn time(nanoseconds: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(nanoseconds));
    time.map_or_else(|_| nanoseconds.to_string(), |time| time.to_string())
}

/// A period for people: `for ever`, `30d`, `1h`, `90s`.
pub fn span(seconds: u64) -> String {
    match seconds {
        0 => "for ever".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ => format!("{seconds}s"),
    }
}

/// The command line that makes a bucket, quoted for the shell; a comment where its period is not known.
pub fn command(row: &Row) -> Vec<u8> {
    let mut line = Vec::new();
    if row.bucket.contains(&0) {
        return b"# a bucket whose name holds a NUL: no command can make it\n".to_vec();
    }
    let period = match row.period {
        None => {
            line.extend_from_slice(b"# how long? ");
            "PERIOD".to_owned()
        }
        Some(0) => "0".to_owned(),
        Some(seconds) => format!("{seconds}s"),
    };
    line.extend_from_slice(b"influx bucket create --name ");
    let name = quoted(&row.bucket);
    // A comment ends with its line, and so must not hold a line feed.
    match row.period {
        None => line.extend(name.replace("\n", "?")),
        Some(_) => line.extend(name),
    }
    line.extend_from_slice(format!(" --retention {period}\n").as_bytes());
    line
}

/// A word that every shell takes as it is.
pub fn quoted(word: &[u8]) -> Vec<u8> {
    let plain = |c: &u8| c.is_ascii_alphanumeric() || b"-_./:@%+,".contains(c);
    if !word.is_empty() && word.iter().all(plain) {
        return word.to_vec();
    }
    [b"'", word.replace("'", "'\\''").as_slice(), b"'"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::{SERVERLESS, SERVERLESS_FREE};

    fn context(bucket: &str, period: Option<u64>) -> Context {
        Context {
            bucket: Some(bucket.into()),
            period,
            ..Context::default()
        }
    }

    fn plan(points: &[(&str, Option<u64>, &str)]) -> Plan {
        let mut plan = Plan::default();
        for (bucket, period, record) in points {
            plan.select(&context(bucket, *period), true, 0).unwrap();
            plan.point(record.as_bytes()).unwrap();
        }
        plan
    }

    #[test]
    fn every_bucket_is_counted_by_itself() {
        let plan = plan(&[
            ("a", Some(60), "m v=1 7\n"),
            ("b", None, "m v=1\n"),
            ("a", Some(30), "n v=1 -5\n"),
            ("a", Some(60), "n v=1 86400000000000\n"),
        ]);
        let a = &plan.rows()[0];
        assert_eq!((3, 8 + 9 + 21, Some(60)), (a.points, a.bytes, a.period));
        assert_eq!((Some(-5), Some(86_400_000_000_000)), (a.first, a.last));
        assert_eq!((3, 3, 2), (a.days(), a.partitions(), a.measurements.len()));
        let b = &plan.rows()[1];
        assert_eq!((None, None, 1, 0), (b.period, b.first, b.untimed, b.days()));
        assert_eq!((4, 44), (plan.points(), plan.bytes()));
    }

    #[test]
    fn the_longest_period_is_that_of_the_bucket_unless_one_is_not_known() {
        assert_eq!(Some(60), longest(Some(60), Some(30)));
        assert_eq!(Some(0), longest(Some(0), Some(30)));
        assert_eq!(Some(0), longest(Some(30), Some(0)));
        assert_eq!(None, longest(Some(30), None));
        assert_eq!(None, longest(None, Some(0)));
    }

    #[test]
    fn the_time_of_an_upload_is_that_of_its_rate() {
        let plan = plan(&[("a", None, &format!("m s=\"{}\" 1\n", "x".repeat(991)))]);
        assert_eq!(1_000, plan.bytes());
        let rate = |text: &str| match text.parse().unwrap() {
            crate::rate::Rate::Limited(limit) => limit,
            crate::rate::Rate::Unlimited => unreachable!(),
        };
        // 2000 a second, of which the largest record is kept back.
        assert_eq!(Duration::from_secs(1), plan.time(rate("2kB/s")));
        assert_eq!(Duration::from_secs(1), plan.time(rate("1kB/s")));
        assert_eq!(
            Duration::from_secs(5),
            plan.time(rate("100B/s")).div_f64(2.0)
        );
    }

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn warned(plan: &Plan, tariff: Tariff) -> String {
        let measure = Measure {
            now: NOW,
            rate: None,
            tariff: Some(tariff),
        };
        plan.warnings(&measure).join("\n")
    }

    #[test]
    fn what_a_tariff_does_not_allow_is_said() {
        let month = Some(30 * 86_400);
        let few = plan(&[("a", month, "m v=1 1700000000000000000\n")]);
        assert_eq!("", warned(&few, SERVERLESS_FREE));
        let many = plan(&[
            ("a", month, "m v=1 1690000000000000000\n"),
            ("b", Some(0), "m v=1 1\n"),
            ("c", None, "m v=1\n"),
        ]);
        let said = warned(&many, SERVERLESS_FREE);
        let expected = "3 buckets, and serverless-free allows 2\n\
             bucket a: its first point, of 2023-07-22T04:26:40Z, is older than its period of 30d, and so is expired\n\
             bucket b: it keeps points for ever, and serverless-free at most 30d\n\
             bucket c: nothing says how long it keeps points (--map-file does, or lp-post --retention-period)\n\
             bucket c: 1 points have no time: the server would give them its own";
        assert_eq!(expected, said);
        assert!(!warned(&many, SERVERLESS).contains("serverless"));
    }

    #[test]
    fn partitions_and_measurements_beyond_the_limit_are_said() {
        let mut plan = Plan::default();
        plan.select(&context("a", Some(0)), true, 0).unwrap();
        for i in 0..501 {
            for day in 0..10 {
                let record = format!("m{i} v=1 {}\n", day * DAY);
                plan.point(record.as_bytes()).unwrap();
            }
        }
        let expected = "bucket a: 501 measurements, and serverless allows 500\n\
             bucket a: 5010 partitions, of which serverless allows 5000/15min: best written in the order of time";
        assert_eq!(expected, warned(&plan, SERVERLESS));
    }

    #[test]
    fn buckets_are_counted_to_a_limit() {
        let mut plan = Plan::default();
        for i in 0..MOST_BUCKETS {
            plan.select(&context(&format!("b{i}"), None), true, 0)
                .unwrap();
        }
        assert_eq!(Err(TooMany), plan.select(&context("x", None), true, 0));
        assert_eq!(Ok(()), plan.select(&context("b7", None), true, 0));
    }

    #[test]
    fn commands_are_quoted_for_the_shell() {
        let command = |bucket: &str, period| {
            let row = Row {
                bucket: bucket.into(),
                period,
                ..Row::default()
            };
            String::from_utf8(super::command(&row)).unwrap()
        };
        let create = "influx bucket create --name ";
        assert_eq!(
            format!("{create}d/autogen --retention 0\n"),
            command("d/autogen", Some(0))
        );
        assert_eq!(
            format!("{create}'it'\\''s $(x)' --retention 60s\n"),
            command("it's $(x)", Some(60))
        );
        assert_eq!(
            format!("{create}'a\nb' --retention 60s\n"),
            command("a\nb", Some(60))
        );
        assert_eq!(
            format!("# how long? {create}'a?b' --retention PERIOD\n"),
            command("a\nb", None)
        );
        assert!(command("a\0b", Some(0)).starts_with("# "));
    }
}
