//! How long to wait before a request is sent again, and when to stop trying.
//!
//! A quota window lasts five minutes, so the patience is longer than that by default.
//! Time comes from a [`Clock`], which tests replace.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, fmt::rfc2822, fmt::strtime};

/// Nobody is made to wait longer than this by one answer.
const LONGEST_HINT: Duration = Duration::from_secs(15 * 60);

/// Where time and chance come from.
pub trait Clock {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// The time of day, for dates that servers name.
    fn wall(&self) -> Timestamp;
    /// A number from 0 up to, but without, 1.
    fn chance(&mut self) -> f64;
    /// Wait; `false` if there was a call to stop meanwhile.
    fn sleep(&mut self, time: Duration) -> bool;
}

/// Waits, and says whether nothing came meanwhile that calls for a stop.
pub type Sleep = Arc<dyn Fn(Duration) -> bool + Send + Sync>;

/// The clock of this machine; clones show the same time.
#[derive(Clone)]
pub struct SystemClock {
    now: fn() -> Duration,
    sleep: Sleep,
    /// State of a xorshift generator; never zero.
    state: u64,
}

impl SystemClock {
    /// A clock that shows `now` and waits by `sleep`.
    pub fn new(now: fn() -> Duration, sleep: Sleep) -> Self {
        Self {
            now,
            sleep,
            state: seed(),
        }
    }

    /// The same time for somebody else, who must not wait in step.
    pub fn another(&self) -> Self {
        Self {
            state: seed(),
            ..self.clone()
        }
    }
}

/// A fresh hasher is seeded by the system.
fn seed() -> u64 {
    RandomState::new().hash_one(0) | 1
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        (self.now)()
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn chance(&mut self) -> f64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        // 53 bits are what a double holds.
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }

    fn sleep(&mut self, time: Duration) -> bool {
        (self.sleep)(time)
    }
}

/// How patient to be with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The first wait, before chance halves it at most.
    pub base: Duration,
    /// No wait of our own is longer.
    pub cap: Duration,
    /// Time since the first of several failures in a row after which to give up; `None` is never.
    pub total: Option<Duration>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(60),
            total: Some(Duration::from_secs(3600)),
        }
    }
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    count: u32,
    since: Option<Duration>,
}

impl Failures {
    /// How many.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The next failure belongs to another request: its waits are short again, the patience is the same.
    pub fn begin(&mut self) {
        self.count = 0;
    }

    /// Something went well: start over.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Count one more and say how long to wait; `None` once patience is at its end.
    ///
    /// `hint` is what the server asked for; a hint of zero is none.
    pub fn again(
        &mut self,
        patience: &Patience,
        hint: Option<Duration>,
        clock: &mut dyn Clock,
    ) -> Option<Duration> {
        let since = *self.since.get_or_insert(clock.now());
        let wait = self.wait(patience, hint, clock);
        self.count = self.count.saturating_add(1);
        let spent = clock.now().saturating_sub(since).saturating_add(wait);
        match patience.total {
            Some(total) if spent > total => None,
            _ => Some(wait),
        }
    }

    /// Half of the doubled wait is fixed and half is chance; a hint is kept and a little added, so
    /// that those who were told the same do not come back at once.
    fn wait(&self, patience: &Patience, hint: Option<Duration>, clock: &mut dyn Clock) -> Duration {
        let factor = 1u32.checked_shl(self.count).unwrap_or(u32::MAX);
        let full = patience.base.saturating_mul(factor).min(patience.cap);
        let own = full / 2 + (full / 2).mul_f64(clock.chance());
        match hint {
            Some(hint) if !hint.is_zero() => {
                let spread = patience.base.min(Duration::from_secs(1));
                own.max(hint.min(LONGEST_HINT) + spread.mul_f64(clock.chance()))
            }
            _ => own,
        }
    }
}

/// What a `Retry-After` header asks for: seconds, whole or decimal, or one of the three HTTP dates.
///
/// Dates count from the answer's own `Date`, or from `now` where there is none. What lies in the past is zero.
pub fn hint(retry_after: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let text = retry_after.trim();
    if let Some(seconds) = seconds(text) {
        return Some(seconds);
    }
    let at = http_date(text)?;
    let from = date.and_then(|text| http_date(text.trim())).unwrap_or(now);
    Some(Duration::try_from(at.duration_since(from)).unwrap_or_default())
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if let Some(past) = whole.strip_prefix('-') {
        return (digits(past) && digits(fraction)).then_some(Duration::ZERO);
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // Only digits and a point: the parser takes it, and what it makes of too many is infinite.
    Duration::try_from_secs_f64(text.parse().ok()?)
        .ok()
        .or(Some(Duration::MAX))
}

/// IMF-fixdate, RFC 850 and asctime dates.
fn http_date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(time);
    }
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| {
            let parsed = strtime::parse(format, text).ok()?;
            let time: DateTime = parsed.to_datetime().ok()?;
            Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
        })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clock that moves only when somebody sleeps.
    #[derive(Default)]
    pub struct FakeClock {
        pub now: Duration,
        pub slept: Vec<Duration>,
        pub chance: f64,
    }

    impl Clock for FakeClock {
        fn now(&self) -> Duration {
            self.now
        }
        fn wall(&self) -> Timestamp {
            "2024-01-01T00:00:00Z".parse().unwrap()
        }
        fn chance(&mut self) -> f64 {
            self.chance
        }
        fn sleep(&mut self, time: Duration) -> bool {
            self.now += time;
            self.slept.push(time);
            true
        }
    }

    fn hinted(text: &str) -> Option<Duration> {
        hint(text, None, "1994-11-06T08:49:30Z".parse().unwrap())
    }

    #[test]
    fn hints_are_seconds_whole_or_decimal() {
        assert_eq!(Some(Duration::from_secs(2)), hinted("2"));
        assert_eq!(Some(Duration::from_millis(2500)), hinted(" 2.5 "));
        assert_eq!(Some(Duration::ZERO), hinted("0"));
        assert_eq!(Some(Duration::ZERO), hinted("-7"));
        assert_eq!(Some(Duration::MAX), hinted("99999999999999999999999"));
        for garbage in ["", "soon", "1e3", "2.", ".5", "0x10", "1 2", "inf", "NaN"] {
            assert_eq!(None, hinted(garbage), "{garbage}");
        }
    }

    #[test]
    fn hints_are_dates_of_all_three_kinds() {
        for date in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(Some(Duration::from_secs(7)), hinted(date), "{date}");
        }
        assert_eq!(
            Some(Duration::ZERO),
            hinted("Sun, 06 Nov 1994 08:49:07 GMT")
        );
    }

    #[test]
    fn dates_count_from_the_date_of_the_answer() {
        let date = Some("Sun, 06 Nov 1994 08:49:07 GMT");
        let now = "2024-01-01T00:00:00Z".parse().unwrap();
        let waits = hint("Sun, 06 Nov 1994 08:49:37 GMT", date, now);
        assert_eq!(Some(Duration::from_secs(30)), waits);
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let mut clock = FakeClock::default();
        let mut failures = Failures::default();
        let mut waits = Vec::new();
        for _ in 0..9 {
            let wait = failures.again(&Patience::default(), None, &mut clock);
            waits.push(wait.unwrap().as_millis());
        }
        // Chance is 0 here, which leaves the fixed half.
        assert_eq!(
            vec![500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000],
            waits
        );
    }

    #[test]
    fn chance_adds_up_to_the_other_half() {
        let mut clock = FakeClock {
            chance: 0.5,
            ..FakeClock::default()
        };
        let wait = Failures::default().again(&Patience::default(), None, &mut clock);
        assert_eq!(Some(Duration::from_millis(750)), wait);
    }

    #[test]
    fn a_hint_is_kept_and_spread_and_zero_is_none() {
        let mut clock = FakeClock {
            chance: 0.5,
            ..FakeClock::default()
        };
        let mut wait = |hint| {
            Failures::default()
                .again(&Patience::default(), Some(hint), &mut clock)
                .unwrap()
        };
        assert_eq!(Duration::from_millis(20_500), wait(Duration::from_secs(20)));
        assert_eq!(Duration::from_millis(750), wait(Duration::ZERO));
        assert_eq!(Duration::from_millis(900_500), wait(Duration::MAX));
    }

    #[test]
    fn patience_outlasts_a_quota_window_and_ends_after_an_hour() {
        let mut clock = FakeClock::default();
        let mut failures = Failures::default();
        while let Some(wait) = failures.again(&Patience::default(), None, &mut clock) {
            clock.sleep(wait);
        }
        assert!(clock.now > Duration::from_secs(3500), "{:?}", clock.now);
        assert!(clock.now <= Duration::from_secs(3600), "{:?}", clock.now);
    }

    #[test]
    fn success_starts_patience_anew() {
        let mut clock = FakeClock::default();
        let mut failures = Failures::default();
        failures.again(&Patience::default(), None, &mut clock);
        clock.sleep(Duration::from_secs(3599));
        failures.clear();
        assert_eq!(0, failures.count());
        let wait = failures.again(&Patience::default(), None, &mut clock);
        assert_eq!(Some(Duration::from_millis(500)), wait);
    }

    #[test]
    fn endless_patience_is_possible() {
        let mut clock = FakeClock::default();
        let mut failures = Failures::default();
        let patience = Patience {
            total: None,
            ..Patience::default()
        };
        for _ in 0..1000 {
            let wait = failures.again(&patience, None, &mut clock).unwrap();
            clock.sleep(wait);
        }
    }

    #[test]
    fn chance_stays_below_one() {
        let mut clock = SystemClock::new(|| Duration::ZERO, Arc::new(|_| true));
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&clock.chance()));
        }
    }
}
