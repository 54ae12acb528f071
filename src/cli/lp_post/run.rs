//! lp-post's run: puts the parts together, feeds the stream to them, and says how it went.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::connect::{Line, Pace};
use super::figures::{advise, figures, tell};
use super::settings;
use super::sink::Sink;
use super::{Args, Dialect, EXAMPLE, Old, Quota};
use crate::cli::exit::{self, Failure};
use crate::cli::feed::{self, Fed, Program, Scene};
use crate::cli::report::{self, Progress};
use crate::cli::{Outcome, outputs, signal, tty};
use crate::lp::Event;
use crate::lp::dialect::Spelling;
use crate::post::batch::Limits;
use crate::post::desk::Desk;
use crate::post::dry::Dry;
use crate::post::intake::Intake;
use crate::post::journal::{self, History, Journal, Opened};
use crate::post::routing::{Expired, Periods, Routing};
use crate::post::{Error, Moment, Place, Plan, Poster, Way};
use crate::rate::budget::{self, boot_clock};

pub(super) const NAME: &str = "lp-post";

/// How long a point waits for its batch, where no journal wants the same batches another time.
const BATCH_AGE: Duration = Duration::from_secs(10);

/// Batches are at most this part of the rate: so none of them takes more than a moment of it.
const RATE_PART: u64 = 100;

/// A stream of points on its way into a server.
struct Posted {
    poster: Poster,
    sink: Sink,
    desk: Arc<Desk>,
    /// Whether it was the posting that failed: then nothing more is sent.
    broken: bool,
    /// Entries of the input so far.
    entries: u64,
    /// Whether standard input held nothing.
    empty: bool,
}

/// Read everything and post it.
pub fn run(mut args: Args) -> anyhow::Result<Outcome> {
    let files = std::mem::take(&mut args.file);
    args.input.files.splice(0..0, files);
    args.input.compression = args.compression;
    let args = args;
    let progress = Progress::start(NAME, args.progress, None);
    let outputs = [
        ("--rejects", args.rejects.as_deref()),
        ("--journal", args.journal.as_deref()),
        ("--summary", args.report.summary.as_deref()),
    ];
    outputs::check(&outputs, &args.input.paths())?;
    let sink = Sink::open(NAME, args.rejects.as_deref(), progress.clone())?;
    let (journal, history) = match args.journal.as_deref().filter(|_| !args.dry_run) {
        Some(path) => open_journal(path, &args, &sink)?,
        None => (None, None),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let max_rejects = args.max_rejects.unwrap_or_else(|| max_rejects(&args));
    let desk = Desk::new(
        Box::new(sink.clone()),
        journal,
        max_rejects,
        Arc::clone(&stop),
    );
    let desk = Arc::new(desk);
    let (way, pace) = if args.dry_run {
        (Way::Dry(Dry::new(args.target.target())), dry_pace(&args)?)
    } else {
        let line = Line::open(&args, &sink, &desk, stop)?;
        if args.ping {
            line.ping(&pinged(&args)?, &sink)?;
            return Ok(Outcome::Complete);
        }
        let pace = line.pace(&args, &sink)?;
        let service = line.service(&args, &pace, history)?;
        (Way::Server(Box::new(service)), pace)
    };
    let shared = Arc::clone(&desk);
    let mut posted = Posted {
        poster: Poster::new(way, shared, plan(&args, &pace), Box::new(moment)),
        sink,
        desk,
        broken: false,
        entries: 0,
        empty: false,
    };
    let mut fed = Fed {
        progress,
        ..Fed::default()
    };
    let result = feed::run(&args.input, EXAMPLE, &mut posted, &mut fed);
    let result = posted.finish(result, args.allow_empty);
    fed.progress.finish();
    let tally = posted.desk.tally();
    tell(&args, pace.bytes, &posted.poster, &tally);
    let left_out = tally.rejected + tally.rejected_before + fed.left_out;
    let outcome = result.map(|()| Outcome::after(left_out));
    let figures = figures(&posted.poster, &tally, &fed);
    let outcome = report::finish(NAME, &args.report, &figures, outcome);
    advise(&posted.poster);
    outcome
}

impl Posted {
    /// What came whole is stored, however the input ended; the first failure is the one to report.
    fn finish(&mut self, result: anyhow::Result<()>, allow_empty: bool) -> anyhow::Result<()> {
        let mut stopped = signal::check();
        let mut flushed = Ok(());
        if !self.broken && stopped.is_ok() {
            flushed = self.post(Poster::finish);
            stopped = signal::check();
        }
        if self.broken || stopped.is_err() {
            self.poster.give_up();
        }
        let mut result = result.map_err(|err| stopped.err().map_or(err, Into::into));
        flushed = flushed.map_err(|err| stopped.err().map_or(err, Into::into));
        if let (Err(_), Err(second)) = (&result, &flushed) {
            self.sink.note(&format!("{second:#}"));
        }
        result = result.and(flushed);
        let closed = self.desk.close().map_err(|err| self.failure(err));
        result = result.and(closed);
        if result.is_ok() && self.empty && !allow_empty {
            let text = "standard input is empty: the program before wrote nothing (--allow-empty)";
            result = Err(Failure::NoInput(text.to_owned()).into());
        }
        let status = result.as_ref().err().map(exit::status);
        let closed = match status {
            Some(exit::CLOSED) => Ok(()),
            status => self.sink.finish(status),
        };
        result.and(closed)
    }

    fn post(&mut self, work: impl FnOnce(&mut Poster) -> Result<(), Error>) -> anyhow::Result<()> {
        let result = work(&mut self.poster);
        self.broken |= result.is_err();
        result.map_err(|err| self.failure(err))
    }

    fn failure(&self, err: Error) -> anyhow::Error {
        self.sink.take_error().unwrap_or_else(|| failure(err))
    }
}

/// Read the journal, and take the rejects back to where it says they were when a run broke off.
fn open_journal(
    path: &Path,
    args: &Args,
    sink: &Sink,
) -> anyhow::Result<(Option<Journal>, Option<History>)> {
    if args.rejects.as_deref() == Some(path) || args.input.paths().iter().any(|p| p == path) {
        let text = format!("--journal {}: has another use here", path.display());
        return Err(Failure::Usage(text).into());
    }
    let Opened {
        mut journal,
        history,
        broken_off,
        torn,
    } = Journal::open(path).map_err(|err| failure(err.into()))?;
    if torn > 0 {
        let path = path.display();
        sink.note(&format!(
            "{path}: the last {torn} bytes are torn: what they stood for is sent again"
        ));
    }
    if let Some(rejects) = broken_off {
        sink.cut_back(rejects)?;
    }
    let started = journal.start(sink.place()?);
    started.map_err(|err| failure(err.into()))?;
    Ok((Some(journal), Some(history)))
}

impl Program for Posted {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.entries += 1;
        let place = place(scene);
        self.post(|poster| poster.point(record, &place))
    }

    fn other(&mut self, event: &Event, _: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.entries += 1;
        self.post(|poster| match event {
            Event::Context(change) => poster.context(change, &place(scene)),
            Event::Begin { .. } | Event::End { .. } => poster.boundary(),
            _ => Ok(()),
        })
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        signal::check()?;
        self.post(Poster::check)?;
        self.post(Poster::look)
    }

    fn input_end(&mut self, scene: &Scene<'_>, _: bool) -> anyhow::Result<()> {
        self.empty |= self.entries == 0 && scene.input == "standard input";
        self.entries = 0;
        self.post(Poster::boundary)
    }
}

fn place<'a>(scene: &'a Scene<'_>) -> Place<'a> {
    Place {
        context: scene.context,
        input: scene.input,
        line: scene.line,
        is_once: scene.is_once,
        had_context: scene.had_context,
        is_begun: scene.is_begun,
    }
}

/// The error with the exit status that belongs to it.
pub(super) fn failure(err: Error) -> anyhow::Error {
    let text = err.to_string();
    match err {
        Error::Usage(_) => Failure::Usage(text).into(),
        Error::Setting(_) => Failure::Config(text).into(),
        Error::Permission(_) => Failure::NoPermission(text).into(),
        Error::Service(_) | Error::TooManyRejects { .. } => Failure::Refused(text).into(),
        Error::Times(_) => Failure::Data(text).into(),
        Error::GaveUp(_) => Failure::Temporary(text).into(),
        // The signal that came is told by whoever looks for it next.
        Error::Stopped => Failure::Temporary(text).into(),
        Error::Rejects(err) => err.into(),
        Error::Journal(journal::Error::Busy(_)) => Failure::Temporary(text).into(),
        Error::Journal(journal::Error::Foreign(_)) => Failure::Usage(text).into(),
        Error::Journal(err) => err.into(),
        Error::Budget(err) => match *err {
            budget::Error::Io { .. } => anyhow::Error::new(err),
            _ => Failure::Usage(text).into(),
        },
    }
}

/// The bucket that is to be tried.
fn pinged(args: &Args) -> anyhow::Result<String> {
    let named = [&args.bucket_id, &args.bucket, &args.context];
    let named = named.into_iter().flatten().next().cloned();
    named.or_else(fallback).ok_or_else(|| {
        let text = "--ping: which bucket is to be tried (--bucket NAME)";
        Failure::Usage(text.to_owned()).into()
    })
}

/// What may be sent, where there is nobody to ask.
fn dry_pace(args: &Args) -> anyhow::Result<Pace> {
    match args.rate {
        Some(Quota::Auto) => {
            let text = "--rate auto: a dry run asks no server (--rate 300MB/5min)";
            Err(Failure::Usage(text.to_owned()).into())
        }
        _ => Ok(Pace::told(args)),
    }
}

fn moment() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = since.unwrap_or_default().as_nanos();
    Moment {
        wall: i64::try_from(wall).unwrap_or(i64::MAX),
        run: boot_clock(),
    }
}

fn plan(args: &Args, pace: &Pace) -> Plan {
    let unit = args.precision.map_or(1, |unit| unit.nanoseconds());
    let spelling = match args.input_dialect {
        Dialect::Go => Spelling::Go,
        Dialect::V3 => Spelling::V3,
    };
    let age = match (args.batch_age, &args.journal) {
        (Some(age), _) => Some(age).filter(|age| !age.is_zero()),
        (None, Some(_)) => None,
        (None, None) => Some(BATCH_AGE),
    };
    Plan {
        routing: routing(args),
        create: args.create_buckets,
        map: args.dbrp,
        periods: periods(args),
        expired: args.expired.map(|what| match what {
            Old::Skip => Expired::Skip,
            Old::Reject => Expired::Reject,
            Old::Send => Expired::Send,
        }),
        intake: Intake::new(unit, spelling),
        is_certain: args.precision.is_some(),
        limits: batch_limits(args, pace),
        age,
    }
}

fn routing(args: &Args) -> Routing {
    Routing {
        // As in the influx command the ID wins.
        bucket: args.bucket_id.clone().or_else(|| args.bucket.clone()),
        merge: args.merge_buckets,
        context: args.context.clone(),
        fallback: fallback(),
    }
}

/// The bucket of streams that never say anything.
fn fallback() -> Option<String> {
    let id = settings::variable("INFLUX_BUCKET_ID");
    id.or_else(|| settings::variable("INFLUX_BUCKET_NAME"))
}

fn periods(args: &Args) -> Periods {
    let mut named = HashMap::new();
    let mut default = None;
    for (bucket, period) in &args.retention_period {
        match bucket {
            Some(bucket) => _ = named.insert(bucket.clone(), *period),
            None => default = Some(*period),
        }
    }
    Periods { named, default }
}

/// Batches as large as one may send at once. Those on their way are as many as there are jobs, and fewer than half as
/// many wait to be filled: one waits for its way, one is memory for the next, and all have to be compressed.
pub(super) fn batch_limits(args: &Args, pace: &Pace) -> Limits {
    let part = pace
        .bytes
        .map_or(u64::MAX, |limit| limit.amount() / RATE_PART);
    let part = usize::try_from(part).unwrap_or(usize::MAX);
    let bytes = NonZeroUsize::new(part).unwrap_or(NonZeroUsize::MIN);
    let bytes = bytes.min(args.batch_bytes);
    let open = pace.jobs / 2 - pace.jobs / 8;
    let open = NonZeroUsize::new(open).unwrap_or(NonZeroUsize::MIN);
    Limits {
        lines: args.batch_lines,
        bytes,
        total: bytes.saturating_mul(open),
    }
}

fn max_rejects(args: &Args) -> u64 {
    if args.rejects.is_none() && tty::is_terminal(tty::Stream::Stdout) {
        10
    } else {
        10_000
    }
}
