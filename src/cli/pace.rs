//! Lets a stream pass at its pace: by the clock, or by one that only says how long it would take.

use std::time::{Duration, Instant};

use super::feed::{self, Fed, Filter, Program, Scene, Tally};
use super::lp_rate::EXAMPLE;
use super::out::Out;
use super::rejects::Rejects;
use super::{input, signal};
use crate::lp::{Change, Event};
use crate::rate::{Pacer, Rate, TooLarge, Turn};

/// Booked bytes are written when they are so many: the output writes by itself only later.
const PIECE: u64 = 32 << 10;

/// Shorter waits are drawn together, so that small records do not wake the processor for each.
const NAP: Duration = Duration::from_millis(20);

/// How long to sleep without a look at the clock and the stop flag.
const SLICE: Duration = Duration::from_millis(100);

/// Tells the time since it was made, and waits.
#[derive(Debug)]
pub struct Clock {
    /// `None` where nothing really waits.
    start: Option<Instant>,
    waited: Duration,
}

impl Clock {
    /// The clock on the wall.
    pub fn real() -> Self {
        Self {
            start: Some(Instant::now()),
            waited: Duration::ZERO,
        }
    }

    /// A clock that only moves by waiting, and that at once.
    pub fn simulated() -> Self {
        Self {
            start: None,
            waited: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.start.map_or(self.waited, |start| start.elapsed())
    }

    fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        self.waited += time;
        let Some(start) = self.start else {
            return Ok(());
        };
        // By the clock: what one slice sleeps too long the next one sleeps less.
        let until = start.elapsed() + time;
        while let Some(rest) = until
            .checked_sub(start.elapsed())
            .filter(|rest| !rest.is_zero())
        {
            signal::sleep(rest.min(SLICE))?;
        }
        Ok(())
    }
}

/// Lets records pass when it is their turn.
#[derive(Debug)]
pub struct Pace {
    /// `None` where everything may pass at once.
    pacer: Option<Pacer>,
    clock: Clock,
    rejects: Rejects,
    /// Bytes that are on their way to the output.
    booked: u64,
    /// All bytes that have passed.
    bytes: u64,
    points: u64,
}

impl Pace {
    /// Start now; `rejects` takes records that can never pass.
    pub fn new(rate: Rate, clock: Clock, rejects: Rejects) -> Self {
        let pacer = match rate {
            Rate::Unlimited => None,
            Rate::Limited(limit) => Some(Pacer::new(limit, clock.now())),
        };
        Self {
            pacer,
            clock,
            rejects,
            booked: 0,
            bytes: 0,
            points: 0,
        }
    }

    /// Points that have passed.
    pub fn passed(&self) -> u64 {
        self.points
    }

    /// Points that never can.
    pub fn rejected(&self) -> u64 {
        self.rejects.count()
    }

    /// How long it has waited.
    pub fn waited(&self) -> Duration {
        self.clock.waited
    }

    fn point(
        &mut self,
        record: &[u8],
        scene: &Scene<'_>,
        out: Option<&mut Out>,
    ) -> anyhow::Result<()> {
        match self.pass(record, out)? {
            Ok(()) => self.points += 1,
            Err(err) => self.rejects.add(record, scene, &err.to_string())?,
        }
        Ok(())
    }

    /// A comment cannot be left out, so one that is larger than the limit passes in pieces.
    fn comment(&mut self, text: &[u8], mut out: Option<&mut Out>) -> anyhow::Result<()> {
        let limit = self
            .pacer
            .as_ref()
            .map_or(u64::MAX, |pacer| pacer.limit().amount());
        let piece = usize::try_from(limit).unwrap_or(usize::MAX);
        for piece in text.chunks(piece) {
            self.pass(piece, out.as_deref_mut())??;
        }
        Ok(())
    }

    /// Write `bytes` as soon as they may pass; what can never pass is handed back with the reason.
    fn pass(
        &mut self,
        bytes: &[u8],
        mut out: Option<&mut Out>,
    ) -> anyhow::Result<Result<(), TooLarge>> {
        let n = bytes.len() as u64;
        while let Some(pacer) = &mut self.pacer {
            let wait = match pacer.book(self.clock.now(), n) {
                Ok(Turn::Go) => break,
                Ok(Turn::Wait(wait)) => wait.max(NAP.min(pacer.full_in() / 2)),
                Err(err) => return Ok(Err(err)),
            };
            if self.booked > 0 {
                self.flush(out.as_deref_mut())?;
            } else {
                self.clock.wait(wait)?;
            }
        }
        if let Some(out) = out.as_deref_mut() {
            out.write(bytes)?;
        }
        self.bytes += n;
        self.booked += n;
        if self.pacer.is_some() && self.booked >= PIECE {
            self.flush(out)?;
        }
        Ok(Ok(()))
    }

    /// Write what is booked and charge it, at the time when it is written.
    fn flush(&mut self, out: Option<&mut Out>) -> anyhow::Result<()> {
        if let Some(out) = out {
            out.flush()?;
        }
        if let Some(pacer) = &mut self.pacer {
            pacer.passed(self.clock.now(), self.booked);
        }
        self.booked = 0;
        Ok(())
    }
}

impl Filter for Pace {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        Self::point(self, record, scene, Some(out))
    }

    fn context(
        &mut self,
        _: &Change,
        entry: &[u8],
        _: &Scene<'_>,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        self.comment(entry, Some(out))
    }

    fn other(&mut self, _: &Event, text: &[u8], out: &mut Out) -> anyhow::Result<()> {
        self.comment(text, Some(out))
    }

    fn idle(&mut self, out: &mut Out) -> anyhow::Result<()> {
        self.flush(Some(out))
    }

    fn tally(&self) -> Tally {
        Tally {
            written: self.points,
            left_out: self.rejects.count(),
        }
    }
}

/// Pass all inputs on to standard output.
pub fn to_stdout(args: &input::Args, pace: &mut Pace, fed: &mut Fed) -> anyhow::Result<()> {
    feed::relay(args, EXAMPLE, pace, fed)?;
    pace.rejects.finish()
}

/// Counts what would pass.
struct Dry<'a>(&'a mut Pace);

impl Program for Dry<'_> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.0.point(record, scene, None)
    }

    fn other(&mut self, _: &Event, entry: &[u8], _: &Scene<'_>) -> anyhow::Result<()> {
        self.0.comment(entry, None)
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(signal::check()?)
    }
}

/// Read all inputs and say how long they would take to pass.
pub fn dry_run(
    args: &input::Args,
    rate: Rate,
    pace: &mut Pace,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    feed::run(args, EXAMPLE, &mut Dry(pace), fed)?;
    pace.rejects.finish()?;
    let (bytes, points, time) = (pace.bytes, pace.points, span(pace.waited()));
    let mut out = Out::stdout()?;
    out.write(format!("{bytes} bytes with {points} points take {time} at {rate}\n").as_bytes())?;
    out.finish()
}

/// A length of time for people: its two largest units, rounded up.
fn span(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (minutes, hours) = (seconds.div_ceil(60), seconds.div_ceil(3_600));
    match (seconds, minutes) {
        (0..60, _) => format!("{seconds}s"),
        (60..3_600, _) => format!("{}min {}s", seconds / 60, seconds % 60),
        (_, 0..1_440) => format!("{}h {}min", minutes / 60, minutes % 60),
        _ => format!("{}d {}h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_never_too_short() {
        for (millis, expected) in [
            (0, "0s"),
            (1, "1s"),
            (59_000, "59s"),
            (59_001, "1min 0s"),
            (3_599_000, "59min 59s"),
            (3_601_000, "1h 1min"),
            (86_399_000, "1d 0h"),
            (90_000_000, "1d 1h"),
            (4_233_600_000, "49d 0h"),
        ] {
            assert_eq!(expected, span(Duration::from_millis(millis)), "{millis}");
        }
    }
}
