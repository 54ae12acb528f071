//! When may the next request leave? What a rate allows, and what a server that is overrun asks for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bstr::BStr;

use crate::http::retry::Clock;
use crate::post::Error;
use crate::rate::{Meter, Partitions, Turn};

/// The longest wait without a look at what has changed meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// A request holds at most this part of the partitions that a window allows, so that none of them waits for long.
const PARTITIONS_PART: u64 = 10;

/// Every attempt of every worker passes here, one at a time, just before it is sent.
#[derive(Debug, Default)]
pub struct Gate {
    /// Held while somebody waits: who comes first goes first.
    meter: Mutex<Option<Meter>>,
    partitions: Mutex<Option<Partitions>>,
    resume: Mutex<Resume>,
}

/// When a server that is overrun may be asked again, by the clock of the workers.
#[derive(Debug, Default)]
struct Resume {
    at: Duration,
    /// Those who share the rate do not know it yet.
    is_news: bool,
}

/// What is to leave.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Bytes before compression.
    pub bytes: u64,
    /// The bucket it goes to.
    pub bucket: &'a str,
    /// The partitions that it goes to, each of them once, where these are counted.
    pub partitions: &'a [u64],
}

/// How an attempt got through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It may leave, after these waits.
    Go(Waits),
    /// No window has room for it.
    Never(String),
}

/// What was waited for, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For the server.
    pub server: Duration,
    /// For the rate.
    pub limit: Duration,
}

impl Gate {
    /// A gate that keeps to limits, where there are any.
    pub fn new(meter: Option<Meter>, partitions: Option<Partitions>) -> Self {
        Self {
            meter: Mutex::new(meter),
            partitions: Mutex::new(partitions),
            ..Self::default()
        }
    }

    /// The most partitions that one request should go to, where they are counted.
    pub fn spread(&self) -> Option<usize> {
        let partitions = lock(&self.partitions);
        let most = partitions.as_ref()?.limit().amount() / PARTITIONS_PART;
        Some(usize::try_from(most).unwrap_or(usize::MAX).max(1))
    }

    /// Let nobody through for this time, here and wherever the rate is shared: the server has had more than it takes.
    pub fn pause(&self, now: Duration, time: Duration) -> Result<(), Error> {
        let mut resume = lock(&self.resume);
        resume.at = now.saturating_add(time).max(resume.at);
        resume.is_news = true;
        drop(resume);
        // Who holds the meter looks for news soon.
        match self.meter.try_lock() {
            Ok(mut meter) => self.tell(&mut meter, now),
            Err(_) => Ok(()),
        }
    }

    /// Pass news of a pause on to those who share the rate.
    fn tell(&self, meter: &mut Option<Meter>, now: Duration) -> Result<(), Error> {
        let mut resume = lock(&self.resume);
        let is_news = std::mem::take(&mut resume.is_news);
        let left = resume.at.saturating_sub(now);
        drop(resume);
        match meter {
            Some(meter) if is_news => meter.pause(now, left).map_err(budget),
            _ => Ok(()),
        }
    }

    /// Wait until this may leave, and charge it. What holds partitions has to be told as `landed`.
    pub(super) fn pass(&self, load: Load<'_>, clock: &mut dyn Clock) -> Result<Pass, Error> {
        let mut waits = Waits::default();
        let mut meter = lock(&self.meter);
        let mut holds = load.partitions.is_empty();
        loop {
            let now = clock.now();
            self.tell(&mut meter, now)?;
            let pause = lock(&self.resume).at.saturating_sub(now);
            let (wait, total) = if !pause.is_zero() {
                (pause, &mut waits.server)
            } else if let Some(wait) = self.hold(&mut holds, now, &load) {
                (wait, &mut waits.limit)
            } else if let Some(meter) = meter.as_mut() {
                match meter.book(now, load.bytes).map_err(budget)? {
                    Ok(Turn::Wait(wait)) => (wait, &mut waits.limit),
                    Ok(Turn::Go) => {
                        // Charged as it leaves: what becomes of it does not matter to the server's count.
                        meter.passed(now, load.bytes).map_err(budget)?;
                        return Ok(Pass::Go(waits));
                    }
                    Err(err) => {
                        self.landed(&load, now);
                        return Ok(Pass::Never(err.to_string()));
                    }
                }
            } else {
                return Ok(Pass::Go(waits));
            };
            let wait = wait.min(LOOK);
            *total += wait;
            if !clock.sleep(wait) {
                return Err(Error::Stopped);
            }
        }
    }

    /// Book the partitions of a load unless that is done, or say how long to wait for them.
    fn hold(&self, holds: &mut bool, now: Duration, load: &Load<'_>) -> Option<Duration> {
        let mut partitions = lock(&self.partitions);
        let partitions = partitions.as_mut().filter(|_| !*holds)?;
        match partitions.hold(now, BStr::new(load.bucket), load.partitions) {
            Turn::Wait(wait) => Some(wait),
            Turn::Go => {
                *holds = true;
                None
            }
        }
    }

    /// The server has had this, or will never have it.
    pub(super) fn landed(&self, load: &Load<'_>, now: Duration) {
        if let Some(partitions) = lock(&self.partitions).as_mut() {
            partitions.landed(now, BStr::new(load.bucket), load.partitions);
        }
    }
}

fn budget(err: crate::rate::budget::Error) -> Error {
    Error::Budget(Box::new(err))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::http::retry::tests::FakeClock;
    use crate::rate::budget::Budget;
    use crate::rate::{Limit, Pacer};

    fn gate() -> Gate {
        // Ten bytes in a burst, 990 a second after it.
        let limit = Limit::new(NonZeroU64::new(1000).unwrap(), Duration::from_secs(1));
        Gate::new(Some(Meter::Own(Pacer::new(limit, Duration::ZERO))), None)
    }

    fn load(bytes: u64) -> Load<'static> {
        Load {
            bytes,
            bucket: "b",
            partitions: &[],
        }
    }

    fn waits(gate: &Gate, bytes: u64, clock: &mut FakeClock) -> Waits {
        match gate.pass(load(bytes), clock).unwrap() {
            Pass::Go(waits) => waits,
            Pass::Never(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn every_attempt_is_charged_when_it_leaves() {
        let (gate, mut clock) = (gate(), FakeClock::default());
        for _ in 0..100 {
            let waits = waits(&gate, 10, &mut clock);
            assert_eq!(Duration::from_nanos(10_101_011), waits.limit);
        }
        assert!(clock.now > Duration::from_secs(1));
    }

    #[test]
    fn nobody_passes_while_the_server_wants_a_pause() {
        let (gate, mut clock) = (gate(), FakeClock::default());
        gate.pause(Duration::ZERO, Duration::from_secs(7)).unwrap();
        gate.pause(Duration::ZERO, Duration::from_secs(3)).unwrap();
        let expected = Waits {
            server: Duration::from_secs(7),
            limit: Duration::ZERO,
        };
        assert_eq!(expected, waits(&gate, 10, &mut clock));
        assert_eq!(Waits::default().server, waits(&gate, 10, &mut clock).server);
        let open = Gate::default();
        assert_eq!(Waits::default(), waits(&open, u64::MAX, &mut clock));
    }

    #[test]
    fn all_who_share_a_budget_wait_for_a_server_that_one_of_them_has_overrun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("budget");
        let limit = Limit::new(NonZeroU64::new(1 << 40).unwrap(), Duration::from_secs(1));
        let shared = || {
            let budget = Budget::open(&path, limit, Duration::ZERO).unwrap();
            Gate::new(Some(Meter::Shared(budget)), None)
        };
        let (one, two, mut clock) = (shared(), shared(), FakeClock::default());
        one.pause(Duration::ZERO, Duration::from_secs(7)).unwrap();
        let waits = waits(&two, 10, &mut clock);
        assert!(waits.limit >= Duration::from_secs(7), "{waits:?}");
        assert!(waits.limit < Duration::from_secs(8), "{waits:?}");
    }

    #[test]
    fn a_request_waits_for_its_partitions_until_those_before_have_landed_and_aged() {
        let limit = Limit::new(NonZeroU64::new(3).unwrap(), Duration::from_secs(900));
        let gate = Gate::new(None, Some(Partitions::new(limit)));
        let mut clock = FakeClock::default();
        let load = |bucket, partitions| Load {
            bytes: 1,
            bucket,
            partitions,
        };
        let mut pass = |load| match gate.pass(load, &mut clock).unwrap() {
            Pass::Go(waits) => (waits.limit, clock.now),
            Pass::Never(reason) => panic!("{reason}"),
        };
        assert_eq!(Duration::ZERO, pass(load("a", &[1, 2])).0);
        assert_eq!(Duration::ZERO, pass(load("b", &[3, 4])).0);
        gate.landed(&load("a", &[1, 2]), Duration::from_secs(5));
        let (waited, now) = pass(load("a", &[3, 4]));
        assert_eq!(Duration::from_nanos(905_000_000_001), waited);
        assert_eq!(waited, now);
        assert_eq!(Some(1), gate.spread());
    }

    #[test]
    fn what_no_window_has_room_for_never_passes() {
        let passed = gate().pass(load(1001), &mut FakeClock::default()).unwrap();
        assert!(matches!(passed, Pass::Never(reason) if reason.contains("1kB/s")));
    }
}
