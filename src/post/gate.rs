//! When may the next request leave? What a rate allows, and what a server that is overrun asks for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::http::retry::Clock;
use crate::post::Error;
use crate::rate::{Meter, Turn};

/// Every attempt of every worker passes here, one at a time, just before it is sent.
#[derive(Debug, Default)]
pub struct Gate {
    /// Held while somebody waits: who comes first goes first.
    meter: Mutex<Option<Meter>>,
    /// When a server that is overrun may be asked again, by the clock of the workers.
    resume_at: Mutex<Duration>,
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
    /// A gate that keeps to a limit, where there is one.
    pub fn new(meter: Option<Meter>) -> Self {
        Self {
            meter: Mutex::new(meter),
            ..Self::default()
        }
    }

    /// Let nobody through for this time: the server has had more than it takes.
    pub fn pause(&self, now: Duration, time: Duration) {
        let mut at = lock(&self.resume_at);
        *at = now.saturating_add(time).max(*at);
    }

    /// Wait until `bytes` may leave, and charge them.
    pub(super) fn pass(&self, bytes: u64, clock: &mut dyn Clock) -> Result<Pass, Error> {
        let mut waits = Waits::default();
        let mut meter = lock(&self.meter);
        loop {
            let now = clock.now();
            let pause = lock(&self.resume_at).saturating_sub(now);
            let (wait, total) = if !pause.is_zero() {
                (pause, &mut waits.server)
            } else if let Some(meter) = meter.as_mut() {
                match meter.book(now, bytes).map_err(budget)? {
                    Ok(Turn::Wait(wait)) => (wait, &mut waits.limit),
                    Ok(Turn::Go) => {
                        // Charged as it leaves: what becomes of it does not matter to the server's count.
                        meter.passed(now, bytes).map_err(budget)?;
                        return Ok(Pass::Go(waits));
                    }
                    Err(err) => return Ok(Pass::Never(err.to_string())),
                }
            } else {
                return Ok(Pass::Go(waits));
            };
            *total += wait;
            if !clock.sleep(wait) {
                return Err(Error::Stopped);
            }
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
    use crate::rate::{Limit, Pacer};

    fn gate() -> Gate {
        // Ten bytes in a burst, 990 a second after it.
        let limit = Limit::new(NonZeroU64::new(1000).unwrap(), Duration::from_secs(1));
        Gate::new(Some(Meter::Own(Pacer::new(limit, Duration::ZERO))))
    }

    fn waits(gate: &Gate, bytes: u64, clock: &mut FakeClock) -> Waits {
        match gate.pass(bytes, clock).unwrap() {
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
        gate.pause(Duration::ZERO, Duration::from_secs(7));
        gate.pause(Duration::ZERO, Duration::from_secs(3));
        let expected = Waits {
            server: Duration::from_secs(7),
            limit: Duration::ZERO,
        };
        assert_eq!(expected, waits(&gate, 10, &mut clock));
        assert_eq!(Waits::default().server, waits(&gate, 10, &mut clock).server);
        let open = Gate::new(None);
        assert_eq!(Waits::default(), waits(&open, u64::MAX, &mut clock));
    }

    #[test]
    fn what_no_window_has_room_for_never_passes() {
        let passed = gate().pass(1001, &mut FakeClock::default()).unwrap();
        assert!(matches!(passed, Pass::Never(reason) if reason.contains("1kB/s")));
    }
}
