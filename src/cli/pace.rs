//! Lets a stream pass at its pace: by the clock, or by one that only says how long it would take.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::exit::Failure;
use super::feed::{self, Fed, Filter, Program, Scene, Tally};
use super::lp_rate::EXAMPLE;
use super::out::Out;
use super::rejects::Rejects;
use super::report::{Progress, span};
use super::{input, signal};
use crate::lp::{Change, Context, Event};
use crate::rate::budget::{self, Budget, boot_clock};
use crate::rate::{Counted, Limit, Meter, Pacer, Partitions, Rate, TooLarge, Turn, partitions};

/// Shorter waits are drawn together, so that small records do not wake the processor for each.
const NAP: Duration = Duration::from_millis(20);

/// How long to sleep without a look at the clock and the stop flag.
const SLICE: Duration = Duration::from_millis(100);

/// What may pass.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub rate: Rate,
    /// Points in a time.
    pub points: Option<Limit>,
    /// Partitions written to in a time, for each bucket.
    pub partitions: Option<Limit>,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)?;
        if let Some(limit) = self.points {
            write!(f, ", {} points", Counted(limit))?;
        }
        if let Some(limit) = self.partitions {
            write!(f, ", {} partitions", Counted(limit))?;
        }
        Ok(())
    }
}

/// Tells the time, and waits.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    waited: Duration,
}

#[derive(Debug)]
enum Source {
    /// Time since the program started.
    Own(Instant),
    /// Time since the host started, which others share.
    Host,
    /// Time that moves by waiting only, and that at once.
    Simulated,
}

impl Clock {
    fn of(source: Source) -> Self {
        Self {
            source,
            waited: Duration::ZERO,
        }
    }

    /// The clock on the wall.
    pub fn real() -> Self {
        Self::of(Source::Own(Instant::now()))
    }

    /// The clock that all processes of the host share.
    pub fn host() -> Self {
        Self::of(Source::Host)
    }

    /// A clock that only moves by waiting, and that at once.
    pub fn simulated() -> Self {
        Self::of(Source::Simulated)
    }

    fn now(&self) -> Duration {
        match self.source {
            Source::Own(start) => start.elapsed(),
            Source::Host => boot_clock(),
            Source::Simulated => self.waited,
        }
    }

    fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = self.now() + time;
        self.waited += time;
        if matches!(self.source, Source::Simulated) {
            return Ok(());
        }
        // By the clock: what one slice sleeps too long the next one sleeps less.
        while let Some(rest) = until.checked_sub(self.now()).filter(|rest| !rest.is_zero()) {
            signal::sleep(rest.min(SLICE))?;
        }
        Ok(())
    }
}

/// What stands between a record and the output.
#[derive(Clone, Copy, Debug)]
enum Gate {
    Partitions(u64),
    Points,
    Bytes(u64),
}

/// Lets records pass when it is their turn.
#[derive(Debug)]
pub struct Pace {
    /// `None` where any number of bytes may pass at once.
    bytes: Option<Meter>,
    points: Option<Pacer>,
    partitions: Option<Partitions>,
    clock: Clock,
    rejects: Rejects,
    progress: Progress,
    /// Bytes that are on their way to the output.
    booked: u64,
    booked_points: u64,
    /// All bytes that have passed.
    bytes_passed: u64,
    points_passed: u64,
}

impl Pace {
    /// Start now; `rejects` takes records that can never pass, `budget` shares the rate with others.
    pub fn new(
        limits: Limits,
        budget: Option<&Path>,
        clock: Clock,
        rejects: Rejects,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let now = clock.now();
        let bytes = match (limits.rate, budget) {
            (Rate::Unlimited, _) => None,
            (Rate::Limited(limit), None) => Some(Meter::Own(Pacer::new(limit, now))),
            (Rate::Limited(limit), Some(path)) => {
                let budget = Budget::open(path, limit, now).map_err(failure)?;
                Some(Meter::Shared(budget))
            }
        };
        Ok(Self {
            bytes,
            points: limits.points.map(|limit| Pacer::new(limit, now)),
            partitions: limits.partitions.map(Partitions::new),
            clock,
            rejects: rejects.beside(&progress),
            progress,
            booked: 0,
            booked_points: 0,
            bytes_passed: 0,
            points_passed: 0,
        })
    }

    /// Points that have passed.
    pub fn passed(&self) -> u64 {
        self.points_passed
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
        match self.pass(record, true, out)? {
            Ok(()) => self.points_passed += 1,
            Err(err) => self.rejects.add(record, scene, &err.to_string())?,
        }
        Ok(())
    }

    /// A comment cannot be left out, so one that is larger than the limit passes in pieces.
    fn comment(&mut self, text: &[u8], mut out: Option<&mut Out>) -> anyhow::Result<()> {
        let limit = self
            .bytes
            .as_ref()
            .map_or(u64::MAX, |meter| meter.limit().amount());
        let piece = usize::try_from(limit).unwrap_or(usize::MAX);
        for piece in text.chunks(piece) {
            self.pass(piece, false, out.as_deref_mut())??;
        }
        Ok(())
    }

    /// The points that come now belong to this context.
    fn enter(&mut self, context: &Context) {
        if let Some(partitions) = &mut self.partitions {
            partitions.enter(partitions::bucket(context).as_ref());
        }
    }

    /// Write `bytes` as soon as they may pass; what can never pass is handed back with the reason.
    fn pass(
        &mut self,
        bytes: &[u8],
        is_point: bool,
        mut out: Option<&mut Out>,
    ) -> anyhow::Result<Result<(), TooLarge>> {
        let n = bytes.len() as u64;
        if self.is_limited() {
            if let Err(err) = self.admit(bytes, is_point, out.as_deref_mut())? {
                return Ok(Err(err));
            }
            self.booked += n;
            self.booked_points += u64::from(is_point);
        }
        self.bytes_passed += n;
        if let Some(out) = out.as_deref_mut() {
            out.write(bytes)?;
        }
        if self.booked >= self.piece() {
            self.flush(out)?;
        }
        Ok(Ok(()))
    }

    fn is_limited(&self) -> bool {
        self.bytes.is_some() || self.points.is_some() || self.partitions.is_some()
    }

    /// So much is gathered before it is written: the output writes by itself only later.
    fn piece(&self) -> u64 {
        self.bytes.as_ref().map_or(32 << 10, Meter::piece)
    }

    /// Wait until `bytes` may pass, and book them.
    fn admit(
        &mut self,
        bytes: &[u8],
        is_point: bool,
        mut out: Option<&mut Out>,
    ) -> anyhow::Result<Result<(), TooLarge>> {
        let n = bytes.len() as u64;
        if let Some(limit) = self.bytes.as_ref().map(Meter::limit)
            && n > limit.amount()
        {
            return Ok(Err(TooLarge { bytes: n, limit }));
        }
        if self.booked > 0 && self.booked + n > self.piece() {
            self.flush(out.as_deref_mut())?;
        }
        let partition = match &self.partitions {
            Some(_) if is_point => Some(partitions::number(bytes)),
            _ => None,
        };
        if let Some(partition) = partition {
            self.through(Gate::Partitions(partition), out.as_deref_mut())?;
        }
        if is_point {
            self.through(Gate::Points, out.as_deref_mut())?;
        }
        if let (Some(Meter::Shared(_)), 0, Some(out)) = (&self.bytes, self.booked, &out) {
            // What is booked while a reader makes us wait is lost to all others.
            out.wait()?;
        }
        self.through(Gate::Bytes(n), out)?;
        if let (Some(partition), Some(partitions)) = (partition, &mut self.partitions) {
            partitions.touch(self.clock.now(), partition);
        }
        Ok(Ok(()))
    }

    /// Wait until a gate opens. What is on its way is written before any wait.
    fn through(&mut self, gate: Gate, mut out: Option<&mut Out>) -> anyhow::Result<()> {
        while let Some(wait) = self.ask(gate)? {
            if self.booked > 0 {
                self.flush(out.as_deref_mut())?;
            } else {
                self.progress.count(self.bytes_passed, self.points_passed);
                self.progress.held_up(matches!(gate, Gate::Partitions(_)));
                let result = self.clock.wait(wait);
                self.progress.held_up(false);
                result?;
            }
        }
        Ok(())
    }

    /// Book at a gate, or say how long to wait for it.
    fn ask(&mut self, gate: Gate) -> anyhow::Result<Option<Duration>> {
        let now = self.clock.now();
        let (turn, full_in) = match (
            gate,
            &mut self.partitions,
            &mut self.points,
            &mut self.bytes,
        ) {
            (Gate::Partitions(partition), Some(partitions), _, _) => {
                (partitions.ask(now, partition), Duration::ZERO)
            }
            (Gate::Points, _, Some(pacer), _) => (pacer.book(now, 1)?, pacer.full_in()),
            (Gate::Bytes(n), _, _, Some(meter)) => {
                (meter.book(now, n).map_err(failure)??, meter.full_in())
            }
            _ => return Ok(None),
        };
        Ok(match turn {
            Turn::Go => None,
            Turn::Wait(wait) => Some(wait.max(NAP.min(full_in / 2))),
        })
    }

    /// Write what is booked and charge it, at the time when it is written.
    fn flush(&mut self, out: Option<&mut Out>) -> anyhow::Result<()> {
        if let Some(out) = out {
            out.flush()?;
        }
        let now = self.clock.now();
        if let Some(meter) = &mut self.bytes {
            meter.passed(now, self.booked).map_err(failure)?;
        }
        if let Some(pacer) = &mut self.points {
            pacer.passed(now, self.booked_points);
        }
        if let Some(partitions) = &mut self.partitions {
            partitions.passed(now);
        }
        self.progress.count(self.bytes_passed, self.points_passed);
        self.booked = 0;
        self.booked_points = 0;
        Ok(())
    }
}

fn failure(err: budget::Error) -> anyhow::Error {
    match err {
        budget::Error::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            err.into()
        }
        _ => Failure::Config(format!("--budget {:#}", anyhow::Error::from(err))).into(),
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

    fn entered(&mut self, scene: &Scene<'_>) {
        self.enter(scene.context);
    }

    fn other(&mut self, _: &Event, text: &[u8], out: &mut Out) -> anyhow::Result<()> {
        self.comment(text, Some(out))
    }

    fn idle(&mut self, out: &mut Out) -> anyhow::Result<()> {
        self.flush(Some(out))
    }

    fn tally(&self) -> Tally {
        Tally {
            written: self.points_passed,
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

    fn other(&mut self, event: &Event, entry: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.0.comment(entry, None)?;
        if !matches!(event, Event::Comment | Event::Blank) {
            self.0.enter(scene.context);
        }
        Ok(())
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(signal::check()?)
    }
}

/// Read all inputs and say how long they would take to pass.
pub fn dry_run(
    args: &input::Args,
    limits: Limits,
    pace: &mut Pace,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    feed::run(args, EXAMPLE, &mut Dry(pace), fed)?;
    fed.progress.finish();
    pace.rejects.finish()?;
    let (bytes, points, time) = (pace.bytes_passed, pace.points_passed, span(pace.waited()));
    let mut out = Out::stdout()?;
    out.write(format!("{bytes} bytes with {points} points take {time} at {limits}\n").as_bytes())?;
    out.finish()
}
