//! When may the next bytes pass, so that no window ever holds more than the limit?
//!
//! A bucket of `burst` bytes is refilled with `limit - burst` bytes a window:
//! whatever the window, at most `burst + (limit - burst) = limit` bytes pass
//! in it. A larger burst takes over the level of the smaller one, and from
//! then on refills more slowly, so a window in which it grows holds less than
//! the limit, never more.
//!
//! The level is counted in bytes times nanoseconds of the window: at time `t`
//! it has grown by `(limit - burst) x t`, a whole number, so that nothing is
//! ever rounded but the length of a wait (up).

use std::time::Duration;

use super::Limit;

/// The smallest burst, as a part of the limit.
const BURST_PART: u64 = 100;

/// What to do with bytes that want to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// They are booked and may pass now.
    Go,
    /// Nothing is booked: let pass what is booked, wait this long, ask again.
    Wait(Duration),
}

/// Bytes that belong together and that no window has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes in one piece are more than {limit} ever lets pass")]
pub struct TooLarge {
    /// How many bytes there are.
    pub bytes: u64,
    /// What they are measured by.
    pub limit: Limit,
}

/// Spends a limit evenly, so that no window ever holds more than it allows.
///
/// Bytes are booked before they pass and charged when they have passed, by
/// `book` and `passed`. In between they may pass at any moment: the guarantee
/// holds for all of them, however long a write blocks. The bucket is empty at
/// the start, so that a program which is started again takes no second burst.
///
/// Times are those of any clock that does not run backwards.
#[derive(Debug)]
pub struct Pacer {
    limit: Limit,
    /// What the bucket holds when full: the larger of 1 % of the limit and the
    /// largest piece so far.
    burst: u64,
    /// What the bucket holds at `at`, in bytes x nanoseconds of the window; at
    /// most `burst` bytes, at least the booked ones.
    level: u128,
    /// Nanoseconds.
    at: u64,
    /// Bytes that may pass and are not charged yet.
    booked: u64,
    /// When bytes were last charged, in nanoseconds; the start counts as well.
    passed_at: u64,
}

/// What a pacer knows besides its limit and what is booked: enough to go on in another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// Bytes in a full bucket.
    pub burst: u64,
    /// Bytes x nanoseconds of the window.
    pub level: u128,
    /// When that was, in nanoseconds.
    pub at: u64,
    /// When bytes were last charged, in nanoseconds.
    pub passed_at: u64,
}

impl Level {
    /// An empty bucket.
    pub(super) fn empty(limit: Limit, now: u64) -> Self {
        Self {
            burst: limit.amount().div_euclid(BURST_PART),
            level: 0,
            at: now,
            passed_at: now,
        }
    }
}

impl Pacer {
    /// A pacer that starts now, with an empty bucket.
    pub fn new(limit: Limit, now: Duration) -> Self {
        Self::resume(limit, Level::empty(limit, nanos(now)), 0)
    }

    /// A pacer that goes on where another one was, with so much booked.
    pub(super) fn resume(limit: Limit, level: Level, booked: u64) -> Self {
        let Level {
            burst,
            level,
            at,
            passed_at,
        } = level;
        Self {
            limit,
            burst,
            level,
            at,
            booked,
            passed_at,
        }
    }

    /// Where this pacer is.
    pub(super) fn level(&self) -> Level {
        let Self {
            burst,
            level,
            at,
            passed_at,
            ..
        } = *self;
        Level {
            burst,
            level,
            at,
            passed_at,
        }
    }

    /// The limit that is kept.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Ask to pass `n` bytes in one piece; only a piece that no window has room for is an error.
    pub fn book(&mut self, now: Duration, n: u64) -> Result<Turn, TooLarge> {
        if n > self.limit.amount() {
            let limit = self.limit;
            return Err(TooLarge { bytes: n, limit });
        }
        self.refill(nanos(now));
        self.burst = self.burst.max(n);
        let wanted = self.in_level(self.booked.saturating_add(n));
        let missing = wanted.saturating_sub(self.level);
        let wait = self.until_refilled(missing).min(self.until_quiet());
        if wait > 0 {
            return Ok(Turn::Wait(Duration::from_nanos(wait)));
        }
        if missing > 0 {
            // A whole window without a byte: the bucket is as good as new.
            self.level = self.in_level(self.burst);
        }
        self.booked = self.booked.saturating_add(n);
        Ok(Turn::Go)
    }

    /// Charge `n` of the booked bytes, which have passed by now.
    pub fn passed(&mut self, now: Duration, n: u64) {
        if n == 0 {
            return;
        }
        self.refill(nanos(now));
        self.level = self.level.saturating_sub(self.in_level(n));
        self.booked = self.booked.saturating_sub(n);
        self.passed_at = self.at;
    }

    /// How long from the last question until the bucket is full; who waits longer gives allowance away.
    pub fn full_in(&self) -> Duration {
        let missing = self.in_level(self.burst).saturating_sub(self.level);
        Duration::from_nanos(self.until_refilled(missing))
    }

    /// Bring the level up to `now`. More than a full bucket is never banked.
    fn refill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.at).min(self.limit.window.get());
        // At most limit x window, which fits: both are 64 bits.
        let level = self.level + u128::from(self.refill_rate()) * u128::from(elapsed);
        self.level = level.min(self.in_level(self.burst));
        self.at = self.at.max(now);
    }

    /// Nanoseconds until the bucket has grown by `missing`.
    fn until_refilled(&self, missing: u128) -> u64 {
        match self.refill_rate() {
            _ if missing == 0 => 0,
            0 => u64::MAX,
            rate => u64::try_from(missing.div_ceil(u128::from(rate))).unwrap_or(u64::MAX),
        }
    }

    /// Nanoseconds until nothing has passed for longer than a window.
    ///
    /// What passes then shares no window with anything before it. Without this
    /// a record as large as the limit, whose bucket has no refill, would wait
    /// for ever.
    fn until_quiet(&self) -> u64 {
        if self.booked > 0 {
            return u64::MAX;
        }
        let quiet_at = self.passed_at.saturating_add(self.limit.window.get());
        quiet_at.saturating_add(1).saturating_sub(self.at)
    }

    /// Bytes a window, and at the same time level a nanosecond.
    fn refill_rate(&self) -> u64 {
        self.limit.amount().saturating_sub(self.burst)
    }

    fn in_level(&self, bytes: u64) -> u128 {
        u128::from(bytes) * u128::from(self.limit.window.get())
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;

    /// Bytes that passed at a moment that only their two bounds are known of.
    #[derive(Clone, Copy, Debug)]
    struct Passed {
        from: u64,
        to: u64,
        bytes: u64,
    }

    /// The most that any closed window of this length can hold: it starts where
    /// a piece ends or ends where one starts.
    fn most(log: &[Passed], window: u64) -> u64 {
        let held = |start: u64, end: u64| -> u64 {
            let inside = log.iter().filter(|p| p.to >= start && p.from <= end);
            inside.map(|p| p.bytes).sum()
        };
        let starts = log.iter().map(|p| held(p.to, p.to + window));
        let ends = log
            .iter()
            .map(|p| held(p.from.saturating_sub(window), p.from));
        starts.chain(ends).max().unwrap_or(0)
    }

    /// What happens to one piece: the source is late, the piece comes, and what
    /// has been booked is written out or kept for the next write.
    #[derive(Clone, Debug)]
    struct Step {
        late: u64,
        bytes: u64,
        writes: bool,
        write_takes: u64,
        oversleeps: u64,
    }

    /// A clock, a pacer and all that passed.
    struct Run {
        pacer: Pacer,
        now: u64,
        waiting: Vec<(u64, u64)>,
        log: Vec<Passed>,
    }

    impl Run {
        fn new(limit: Limit, now: u64) -> Self {
            Self {
                pacer: Pacer::new(limit, Duration::from_nanos(now)),
                now,
                waiting: Vec::new(),
                log: Vec::new(),
            }
        }

        fn clock(&self) -> Duration {
            Duration::from_nanos(self.now)
        }

        fn write(&mut self, takes: u64) {
            self.now += takes;
            let total = self.waiting.iter().map(|(_, bytes)| bytes).sum();
            self.pacer.passed(self.clock(), total);
            let to = self.now;
            let passed = |(from, bytes)| Passed { from, to, bytes };
            self.log.extend(self.waiting.drain(..).map(passed));
        }

        fn step(&mut self, step: &Step) {
            self.now += step.late;
            loop {
                match self.pacer.book(self.clock(), step.bytes) {
                    Err(_) => return,
                    Ok(Turn::Go) => break,
                    Ok(Turn::Wait(_)) if !self.waiting.is_empty() => self.write(step.write_takes),
                    Ok(Turn::Wait(wait)) => {
                        assert!(wait > Duration::ZERO);
                        self.now += u64::try_from(wait.as_nanos()).unwrap() + step.oversleeps;
                    }
                }
            }
            self.waiting.push((self.now, step.bytes));
            if step.writes {
                self.write(step.write_takes);
            }
        }
    }

    fn limit(amount: u64, window: u64) -> Limit {
        let amount = NonZeroU64::new(amount).unwrap();
        Limit::new(amount, Duration::from_nanos(window))
    }

    fn steps(amount: u64, window: u64) -> impl Strategy<Value = Vec<Step>> {
        let late = prop_oneof![
            4 => Just(0),
            2 => 0..=window / 50,
            1 => 0..=3 * window,
            1 => (window - 1)..=(window + 1),
        ];
        let bytes = prop_oneof![
            6 => 1..=(amount / 200).max(1),
            2 => 1..=(amount / 10).max(1),
            1 => 1..=amount + 2,
            1 => Just(amount),
        ];
        let takes = prop_oneof![4 => Just(0), 1 => 0..=window / 20, 1 => 0..=2 * window];
        let oversleeps = prop_oneof![2 => Just(0), 1 => 0..=window / 30];
        let step = (late, bytes, any::<bool>(), takes, oversleeps);
        let step = step.prop_map(|(late, bytes, writes, write_takes, oversleeps)| Step {
            late,
            bytes,
            writes,
            write_takes,
            oversleeps,
        });
        prop::collection::vec(step, 1..250)
    }

    fn case() -> impl Strategy<Value = (Limit, Vec<Step>)> {
        let amount = prop_oneof![1_u64..20, 20_u64..5_000, 1_000_000_u64..400_000_000];
        let window = prop_oneof![1_u64..100, 1_000_u64..400_000_000_000];
        (amount, window)
            .prop_flat_map(|(amount, window)| (Just(limit(amount, window)), steps(amount, window)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn no_window_ever_holds_more_than_the_limit((limit, steps) in case(), start in 0_u64..1_000_000) {
            let mut run = Run::new(limit, start);
            for step in &steps {
                run.step(step);
            }
            run.write(0);
            prop_assert!(most(&run.log, limit.window.get()) <= limit.amount());
        }

        #[test]
        fn two_runs_in_turn_share_one_limit((limit, steps) in case(), cut in 0_usize..250) {
            // Only bursts of one size add up; records that are larger than 1 % are left out.
            let small = |step: &&Step| step.bytes <= limit.amount() / BURST_PART;
            let mut log = Vec::new();
            let mut now = 0;
            for part in [steps.get(..cut).unwrap_or(&steps), steps.get(cut..).unwrap_or(&[])] {
                let mut run = Run::new(limit, now);
                part.iter().filter(small).for_each(|step| run.step(step));
                run.write(0);
                now = run.now;
                log.append(&mut run.log);
            }
            prop_assert!(most(&log, limit.window.get()) <= limit.amount());
        }

        #[test]
        fn a_run_that_never_waits_for_input_passes_what_it_may((limit, steps) in case()) {
            let mut run = Run::new(limit, 0);
            for step in &steps {
                run.step(&Step { late: 0, write_takes: 0, oversleeps: 0, ..step.clone() });
            }
            run.write(0);
            let passed: u64 = run.log.iter().map(|p| p.bytes).sum();
            let largest = run.log.iter().map(|p| p.bytes).max().unwrap_or(0);
            let burst = largest.max(limit.amount() / BURST_PART);
            // What passed in all the time it took, against the share of the limit in that time; each wait is
            // rounded up by less than a nanosecond.
            let time = u128::from(run.now).saturating_sub(steps.len() as u128);
            let due = u128::from(limit.amount() - burst) * time / u128::from(limit.window.get());
            prop_assert!(u128::from(passed) >= due, "{passed} passed, {due} due");
        }
    }

    #[test]
    fn the_measure_of_these_tests_sees_one_byte_too_many() {
        let at = |from, to, bytes| Passed { from, to, bytes };
        assert_eq!(7, most(&[at(0, 0, 3), at(10, 10, 4)], 10));
        assert_eq!(4, most(&[at(0, 0, 3), at(11, 11, 4)], 10));
        assert_eq!(7, most(&[at(0, 1, 3), at(11, 20, 4)], 10));
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(pacer: &mut Pacer, now: Duration, n: u64) -> Duration {
        match pacer.book(now, n).unwrap() {
            Turn::Go => Duration::ZERO,
            Turn::Wait(wait) => wait,
        }
    }

    #[test]
    fn the_bucket_is_empty_at_the_start() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), SECOND);
        // 990 bytes a second come in.
        assert_eq!(
            Duration::from_nanos(10_101_011),
            wait(&mut pacer, SECOND, 10)
        );
    }

    #[test]
    fn a_stall_banks_one_burst_and_no_more() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), Duration::ZERO);
        let later = 3_600 * SECOND;
        assert_eq!(Ok(Turn::Go), pacer.book(later, 10));
        pacer.passed(later, 10);
        assert_eq!(Duration::from_nanos(1_010_102), wait(&mut pacer, later, 1));
    }

    #[test]
    fn a_full_bucket_has_nothing_to_wait_for() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), Duration::ZERO);
        assert_eq!(Duration::from_nanos(10_101_011), pacer.full_in());
        assert_eq!(Ok(Turn::Go), pacer.book(SECOND, 1));
        assert_eq!(Duration::ZERO, pacer.full_in());
        pacer.passed(SECOND, 1);
        assert_eq!(Duration::from_nanos(1_010_102), pacer.full_in());
    }

    #[test]
    fn a_burst_that_grows_takes_the_level_along() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), Duration::ZERO);
        assert_eq!(Ok(Turn::Go), pacer.book(SECOND, 4));
        pacer.passed(SECOND, 4);
        // The bucket keeps its 6 of now 500 bytes; the rest comes in at 500 a second.
        assert_eq!(Duration::from_millis(988), wait(&mut pacer, SECOND, 500));
    }

    #[test]
    fn a_record_as_large_as_the_limit_has_a_window_to_itself() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), Duration::ZERO);
        let first = SECOND + Duration::from_nanos(1);
        assert_eq!(first, wait(&mut pacer, Duration::ZERO, 1_000));
        assert_eq!(Ok(Turn::Go), pacer.book(first, 1_000));
        pacer.passed(first, 1_000);
        assert_eq!(first, wait(&mut pacer, first, 1_000));
    }

    #[test]
    fn a_record_larger_than_the_limit_is_an_error_and_changes_nothing() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), Duration::ZERO);
        let err = pacer.book(SECOND, 1_001).unwrap_err();
        assert_eq!(
            "1001 bytes in one piece are more than 1kB/s ever lets pass",
            err.to_string()
        );
        assert_eq!(Ok(Turn::Go), pacer.book(SECOND, 10));
    }

    #[test]
    fn booked_bytes_count_until_they_have_passed() {
        let mut pacer = Pacer::new(limit(1_000, 1_000_000_000), Duration::ZERO);
        assert_eq!(Ok(Turn::Go), pacer.book(SECOND, 6));
        assert!(wait(&mut pacer, 10 * SECOND, 6) > Duration::ZERO);
        pacer.passed(10 * SECOND, 6);
        assert_eq!(Ok(Turn::Go), pacer.book(11 * SECOND, 6));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut pacer = Pacer::new(limit(u64::MAX, u64::MAX), Duration::ZERO);
        assert_ne!(Ok(Turn::Go), pacer.book(Duration::ZERO, u64::MAX));
        assert_eq!(Ok(Turn::Go), pacer.book(Duration::MAX, 1));
        pacer.passed(Duration::MAX, 1);
    }
}
