//! A limit that is kept by one process alone or by many together: one way to ask either.

use std::time::Duration;

use super::budget::{Budget, Error};
use super::{Limit, Pacer, TooLarge, Turn};

/// Says when bytes may pass.
#[derive(Debug)]
pub enum Meter {
    /// The limit is ours alone.
    Own(Pacer),
    /// The limit is shared by file.
    Shared(Budget),
}

impl Meter {
    /// The limit that is kept.
    pub fn limit(&self) -> Limit {
        match self {
            Self::Own(pacer) => pacer.limit(),
            Self::Shared(budget) => budget.limit(),
        }
    }

    /// Ask to pass `n` bytes in one piece.
    pub fn book(&mut self, now: Duration, n: u64) -> Result<Result<Turn, TooLarge>, Error> {
        match self {
            Self::Own(pacer) => Ok(pacer.book(now, n)),
            Self::Shared(budget) => budget.book(now, n),
        }
    }

    /// Charge `n` of the booked bytes, which have passed by now.
    pub fn passed(&mut self, now: Duration, n: u64) -> Result<(), Error> {
        match self {
            Self::Own(pacer) => {
                pacer.passed(now, n);
                Ok(())
            }
            Self::Shared(budget) => budget.passed(now, n),
        }
    }

    /// Tell those who share the limit that nobody may pass for this time.
    pub fn pause(&mut self, now: Duration, time: Duration) -> Result<(), Error> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Shared(budget) => budget.pause(now, time),
        }
    }

    /// How long from the last question until a burst may pass; who waits longer gives allowance away.
    pub fn full_in(&self) -> Duration {
        match self {
            Self::Own(pacer) => pacer.full_in(),
            Self::Shared(budget) => budget.full_in(),
        }
    }

    /// The most that is worth gathering before it is written, in bytes.
    pub fn piece(&self) -> u64 {
        match self {
            Self::Own(_) => 32 << 10,
            Self::Shared(_) => super::budget::PIECE,
        }
    }
}
