//! How many partitions have been written to lately?
//!
//! A partition is one measurement on one UTC day in one bucket. InfluxDB 3 limits how many different ones are written
//! to within a time, so an export that goes series by series through years exceeds in minutes what one that goes
//! through time never does.
//!
//! Of each partition only a number is kept, made of its names: two of 5,000 share one in one of 10^12 cases. At most
//! [`MOST`] are remembered over all buckets, in about 100 bytes each.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bstr::{BStr, BString};

use super::pacer::nanos;
use super::{Limit, Turn};
use crate::lp::escape::{Place, decode};
use crate::lp::record::{self, Time};

/// Partitions that are remembered at once; when there are more, new ones wait.
pub const MOST: usize = 1_000_000;

const DAY: i64 = 86_400_000_000_000;

/// The partition that a record goes to within its bucket, as a number.
///
/// Records without a time go to a partition of their own: the day when the server gets them.
pub fn number(record: &[u8]) -> u64 {
    let day = match record::time(record) {
        Time::At(time) => Some(time.div_euclid(DAY)),
        Time::Missing | Time::Invalid => None,
    };
    let mut hasher = DefaultHasher::new();
    day.hash(&mut hasher);
    let spelled = record::measurement(record);
    if spelled.contains(&b'\\') {
        let mut name = Vec::new();
        decode(Place::Measurement, spelled, &mut name);
        name.hash(&mut hasher);
    } else {
        spelled.hash(&mut hasher);
    }
    hasher.finish()
}

/// Lets no more partitions of a bucket be written to in any window than a limit allows.
///
/// Times are those of any clock that does not run backwards.
#[derive(Debug)]
pub struct Partitions {
    limit: Limit,
    /// Nanoseconds.
    window: u64,
    buckets: Vec<Bucket>,
    by_name: HashMap<BString, usize>,
    current: usize,
    /// Where records have gone that are not out yet.
    touched: Vec<(usize, u64)>,
    /// In all buckets together.
    remembered: usize,
}

#[derive(Debug, Default)]
struct Bucket {
    used: HashMap<u64, Use>,
    /// The partitions by a time at or before that of their last use, the earliest first.
    queue: BinaryHeap<Reverse<(u64, u64)>>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    /// When a record last went out, in nanoseconds.
    last: u64,
    /// How many records or requests are on their way.
    pending: u32,
}

impl Partitions {
    /// Allow `limit` partitions a window in each bucket.
    pub fn new(limit: Limit) -> Self {
        let mut partitions = Self {
            limit,
            window: nanos(limit.window()),
            buckets: Vec::new(),
            by_name: HashMap::new(),
            current: 0,
            touched: Vec::new(),
            remembered: 0,
        };
        partitions.enter(BStr::new(b""));
        partitions
    }

    /// The records that come now belong to this bucket.
    pub fn enter(&mut self, bucket: &BStr) {
        if let Some(i) = self.by_name.get(bucket) {
            self.current = *i;
            return;
        }
        self.current = self.buckets.len();
        self.buckets.push(Bucket::default());
        self.by_name.insert(bucket.to_owned(), self.current);
    }

    /// Whether a record may go to this partition now, or how long it has to wait. Books nothing.
    pub fn ask(&mut self, now: Duration, partition: u64) -> Turn {
        let now = nanos(now);
        let Some(bucket) = self.buckets.get_mut(self.current) else {
            return Turn::Go;
        };
        if bucket.used.contains_key(&partition) {
            return Turn::Go;
        }
        let full = |bucket: &Bucket| bucket.used.len() as u64 >= self.limit.amount();
        if full(bucket) || self.remembered >= MOST {
            self.remembered -= bucket.forget(now, self.window);
        }
        if full(bucket) {
            return Turn::Wait(bucket.free_in(now, self.window));
        }
        if self.remembered < MOST {
            return Turn::Go;
        }
        for bucket in &mut self.buckets {
            self.remembered -= bucket.forget(now, self.window);
        }
        if self.remembered < MOST {
            return Turn::Go;
        }
        let frees = self
            .buckets
            .iter_mut()
            .map(|bucket| bucket.free_in(now, self.window));
        Turn::Wait(frees.min().unwrap_or_default())
    }

    /// A record goes to this partition; it is out when `passed` is told.
    pub fn touch(&mut self, now: Duration, partition: u64) {
        let now = nanos(now);
        let Some(bucket) = self.buckets.get_mut(self.current) else {
            return;
        };
        let used = bucket.used.entry(partition).or_insert_with(|| {
            self.remembered += 1;
            bucket.queue.push(Reverse((now, partition)));
            Use {
                last: now,
                pending: 0,
            }
        });
        if used.pending == 0 {
            used.pending = 1;
            self.touched.push((self.current, partition));
        }
    }

    /// All records that went anywhere are out by now.
    pub fn passed(&mut self, now: Duration) {
        let now = nanos(now);
        for (bucket, partition) in self.touched.drain(..) {
            let bucket = self.buckets.get_mut(bucket);
            if let Some(used) = bucket.and_then(|bucket| bucket.used.get_mut(&partition)) {
                *used = Use {
                    last: now,
                    pending: 0,
                };
            }
        }
    }

    /// Book a request with records for all these partitions of a bucket, each of them once, or say how long it has
    /// to wait. It counts until `landed` is told.
    pub fn hold(&mut self, now: Duration, bucket: &BStr, partitions: &[u64]) -> Turn {
        self.enter(bucket);
        let (now, window, most) = (nanos(now), self.window, self.limit.amount());
        if self.remembered + partitions.len() > MOST {
            for bucket in &mut self.buckets {
                self.remembered -= bucket.forget(now, window);
            }
        }
        let Some(bucket) = self.buckets.get_mut(self.current) else {
            return Turn::Go;
        };
        self.remembered -= bucket.forget(now, window);
        let is_new = |partition: &&u64| !bucket.used.contains_key(*partition);
        let new = partitions.iter().filter(is_new).count();
        if (bucket.used.len() + new) as u64 > most || self.remembered + new > MOST {
            return Turn::Wait(bucket.free_in(now, window));
        }
        self.remembered += new;
        for partition in partitions {
            let used = bucket.used.entry(*partition).or_insert_with(|| {
                bucket.queue.push(Reverse((now, *partition)));
                Use {
                    last: now,
                    pending: 0,
                }
            });
            used.pending += 1;
        }
        Turn::Go
    }

    /// A request that was booked has ended, however it did.
    pub fn landed(&mut self, now: Duration, bucket: &BStr, partitions: &[u64]) {
        self.enter(bucket);
        let now = nanos(now);
        let Some(bucket) = self.buckets.get_mut(self.current) else {
            return;
        };
        for partition in partitions {
            if let Some(used) = bucket.used.get_mut(partition) {
                used.last = used.last.max(now);
                used.pending = used.pending.saturating_sub(1);
            }
        }
    }

    /// How many a bucket may have in any window.
    pub fn limit(&self) -> Limit {
        self.limit
    }
}

impl Bucket {
    /// Forget what shares no window with `now`; gives how many that were.
    fn forget(&mut self, now: u64, window: u64) -> usize {
        let before = self.used.len();
        while self
            .earliest()
            .is_some_and(|last| free_at(last, window) <= now)
        {
            if let Some(Reverse((_, partition))) = self.queue.pop() {
                self.used.remove(&partition);
            }
        }
        before - self.used.len()
    }

    /// How long until the first partition can be forgotten.
    fn free_in(&mut self, now: u64, window: u64) -> Duration {
        let earliest = self
            .earliest()
            .map_or(u64::MAX, |last| free_at(last, window));
        Duration::from_nanos(earliest.saturating_sub(now))
    }

    /// The earliest last use of all, which then stands first in the queue; `None` while all have records on their way.
    fn earliest(&mut self) -> Option<u64> {
        loop {
            let Reverse((queued, partition)) = *self.queue.peek()?;
            let used = self.used.get(&partition)?;
            if used.pending > 0 {
                return None;
            }
            if used.last == queued {
                return Some(queued);
            }
            self.queue.pop();
            self.queue.push(Reverse((used.last, partition)));
        }
    }
}

/// When a partition last used at `last` counts no more: a closed window holds both its ends.
fn free_at(last: u64, window: u64) -> u64 {
    last.saturating_add(window).saturating_add(1)
}

/// The bucket that a context stands for, as far as partitions are concerned.
pub fn bucket(context: &crate::lp::Context) -> BString {
    let named = context.bucket.clone().or_else(|| context.path());
    named.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    fn partitions(amount: u64, window: u64) -> Partitions {
        let amount = NonZeroU64::new(amount).unwrap();
        Partitions::new(Limit::new(amount, Duration::from_nanos(window)))
    }

    fn at(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn a_partition_is_a_measurement_on_a_day() {
        let same = |a: &str, b: &str| number(a.as_bytes()) == number(b.as_bytes());
        assert!(same("m,t=a v=1 0\n", "m w=2 86399999999999\n"));
        assert!(!same("m v=1 0\n", "m v=1 86400000000000\n"));
        assert!(!same("m v=1 0\n", "m v=1 -1\n"));
        assert!(!same("m v=1 0\n", "n v=1 0\n"));
        assert!(same("m v=1\n", "m v=2"));
        assert!(!same("m v=1\n", "m v=1 0\n"));
        assert!(same("a\\ b v=1 0\n", "a\\ b,t=x v=1 0\n"));
    }

    #[test]
    fn one_more_than_the_limit_waits_until_the_first_is_a_window_old() {
        let mut partitions = partitions(2, 100);
        for (now, partition) in [(0, 1), (10, 2)] {
            assert_eq!(Turn::Go, partitions.ask(at(now), partition));
            partitions.touch(at(now), partition);
            partitions.passed(at(now));
        }
        assert_eq!(Turn::Go, partitions.ask(at(20), 1));
        assert_eq!(Turn::Wait(at(81)), partitions.ask(at(20), 3));
        partitions.touch(at(20), 1);
        partitions.passed(at(25));
        assert_eq!(Turn::Wait(at(86)), partitions.ask(at(25), 3));
        assert_eq!(Turn::Go, partitions.ask(at(111), 3));
    }

    #[test]
    fn buckets_are_counted_one_by_one() {
        let mut partitions = partitions(1, 100);
        for bucket in ["a", "b"] {
            partitions.enter(bucket.into());
            assert_eq!(Turn::Go, partitions.ask(at(0), 1));
            partitions.touch(at(0), 1);
        }
        partitions.passed(at(0));
        partitions.enter("a".into());
        assert_eq!(Turn::Go, partitions.ask(at(1), 1));
        assert_ne!(Turn::Go, partitions.ask(at(1), 2));
    }

    #[test]
    fn what_is_on_its_way_is_not_forgotten() {
        let mut partitions = partitions(1, 100);
        partitions.touch(at(0), 1);
        assert_eq!(
            Turn::Wait(Duration::from_nanos(u64::MAX - 500)),
            partitions.ask(at(500), 2)
        );
        partitions.passed(at(500));
        assert_eq!(Turn::Wait(at(101)), partitions.ask(at(500), 2));
    }

    #[test]
    fn requests_count_until_a_window_after_their_end() {
        let mut partitions = partitions(3, 100);
        assert_eq!(Turn::Go, partitions.hold(at(0), "a".into(), &[1, 2]));
        assert_eq!(Turn::Go, partitions.hold(at(0), "a".into(), &[2, 3]));
        assert_eq!(Turn::Go, partitions.hold(at(0), "b".into(), &[4, 5, 6]));
        let never = Turn::Wait(Duration::from_nanos(u64::MAX - 500));
        assert_eq!(never, partitions.hold(at(500), "a".into(), &[4]));
        partitions.landed(at(510), "a".into(), &[1, 2]);
        // One of two requests for the second partition is still on its way.
        assert_eq!(never, partitions.hold(at(500), "a".into(), &[4]));
        partitions.landed(at(520), "a".into(), &[2, 3]);
        assert_eq!(
            Turn::Wait(at(91)),
            partitions.hold(at(520), "a".into(), &[4])
        );
        assert_eq!(Turn::Go, partitions.hold(at(611), "a".into(), &[4]));
        assert_eq!(
            Turn::Wait(at(10)),
            partitions.hold(at(611), "a".into(), &[5])
        );
        assert_eq!(Turn::Go, partitions.hold(at(621), "a".into(), &[5, 6]));
    }

    #[test]
    fn a_bucket_is_what_the_stream_names_or_database_and_policy() {
        let mut context = crate::lp::Context::default();
        assert_eq!("", bucket(&context));
        context.database = Some("d".into());
        context.policy = Some("p".into());
        assert_eq!("d/p", bucket(&context));
        context.bucket = Some("b".into());
        assert_eq!("b", bucket(&context));
    }

    proptest! {
        #[test]
        fn no_window_holds_more_partitions_than_the_limit(
            amount in 1_u64..5,
            window in 1_u64..200,
            steps in proptest::collection::vec((0_u64..60, 0_u64..8, 0_u64..60, any::<bool>()), 1..200),
        ) {
            let mut partitions = partitions(amount, window);
            let mut now = 0;
            // From when to when a record may have passed, and whereto.
            let mut log: Vec<(u64, u64, u64)> = Vec::new();
            let mut waiting: Vec<(u64, u64)> = Vec::new();
            let write = |now, waiting: &mut Vec<(u64, u64)>, partitions: &mut Partitions, log: &mut Vec<_>| {
                partitions.passed(at(now));
                log.extend(waiting.drain(..).map(|(from, partition)| (from, now, partition)));
            };
            for (late, partition, takes, writes) in steps {
                now += late;
                loop {
                    match partitions.ask(at(now), partition) {
                        Turn::Go => break,
                        Turn::Wait(_) if !waiting.is_empty() => write(now, &mut waiting, &mut partitions, &mut log),
                        Turn::Wait(wait) => {
                            let wait = u64::try_from(wait.as_nanos()).unwrap();
                            prop_assert!(wait > 0 && wait <= window + 1);
                            now += wait;
                        }
                    }
                }
                partitions.touch(at(now), partition);
                waiting.push((now, partition));
                if writes {
                    now += takes;
                    write(now, &mut waiting, &mut partitions, &mut log);
                }
            }
            write(now, &mut waiting, &mut partitions, &mut log);
            for (_, start, _) in &log {
                let inside = log.iter().filter(|(from, to, _)| to >= start && *from <= start + window);
                let distinct: HashSet<u64> = inside.map(|(_, _, partition)| *partition).collect();
                prop_assert!(distinct.len() as u64 <= amount);
            }
        }
    }
}
