//! lp-post's run: puts the parts together, feeds the stream to them, and says how it went.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::settings::{self, Access};
use super::sink::Sink;
use super::{Args, EXAMPLE};
use crate::cli::exit::{self, Failure};
use crate::cli::feed::{self, Fed, Program, Scene};
use crate::cli::report::{self, Figures, Progress};
use crate::cli::{Outcome, signal, tty};
use crate::http::bucket::Buckets;
use crate::http::client::Client;
use crate::http::retry::{Clock, Patience, SystemClock};
use crate::http::{Carrier, Target};
use crate::lp::Event;
use crate::post::batch::{Batch, Limits};
use crate::post::courier::{Common, Courier};
use crate::post::deliver::Deliverer;
use crate::post::desk::{Desk, Tally};
use crate::post::dry::Dry;
use crate::post::gate::Gate;
use crate::post::jobs::{Pool, Work};
use crate::post::journal::{self, History, Journal, Opened};
use crate::post::server::Server;
use crate::post::{Error, Periods, Place, Poster, Routing, Service, Way};
use crate::rate::budget::{self, Budget, boot_clock};
use crate::rate::{Limit, Meter, Pacer, Partitions, Rate};

const NAME: &str = "lp-post";

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
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let progress = Progress::start(NAME, args.progress, None);
    let inputs = args.input.paths();
    let sink = Sink::open(NAME, args.rejects.as_deref(), &inputs, progress.clone())?;
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
    let way = way(&args, &sink, &desk, stop, history)?;
    let create = args.create_buckets.then(|| periods(&args));
    let shared = Arc::clone(&desk);
    let mut posted = Posted {
        poster: Poster::new(way, shared, routing(&args), create, limits(&args)),
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
    tell(&args, &posted.poster, &tally);
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
        self.post(Poster::check)
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
    }
}

/// The error with the exit status that belongs to it.
fn failure(err: Error) -> anyhow::Error {
    let text = err.to_string();
    match err {
        Error::Usage(_) => Failure::Usage(text).into(),
        Error::Setting(_) => Failure::Config(text).into(),
        Error::Permission(_) => Failure::NoPermission(text).into(),
        Error::Service(_) | Error::TooManyRejects { .. } => Failure::Refused(text).into(),
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

fn way(
    args: &Args,
    sink: &Sink,
    desk: &Arc<Desk>,
    stop: Arc<AtomicBool>,
    history: Option<History>,
) -> anyhow::Result<Way> {
    if args.dry_run {
        return Ok(Way::Dry(Dry::new(args.target.target())));
    }
    let Access { base, token, org } = settings::access(args)?;
    let Some(base) = base else {
        let text = "there is no server to write to (--host URL, INFLUX_HOST, or a profile of the influx command)";
        return Err(Failure::Config(text.to_owned()).into());
    };
    if args.insecure {
        sink.note("--insecure: nobody checks who the server is");
    }
    let url = base.as_str().to_owned();
    let mut client = settings::client(args, base, token)?;
    let mut server = Server::new(url, args.target.target().unwrap_or(Target::V1), org.clone());
    if args.create_buckets {
        server.buckets = Some(Arc::new(Mutex::new(Buckets::new(org.clone()))));
    }
    let common = Common {
        desk: Arc::clone(desk),
        gate: Arc::new(Gate::new(meter(args)?, partitions(args))),
        patience: patience(args),
    };
    let clock = clock(stop);
    let front = |client: &Client, server: Server| {
        let (carrier, clock) = (Box::new(client.clone()), Box::new(clock.another()));
        Deliverer::new(server, Courier::new(carrier, clock, common.clone()))
    };
    match args.target.target() {
        Some(target) => client.set_target(target),
        None => {
            let mut first = front(&client, server.clone());
            let (target, called) = first.detect().map_err(failure)?;
            let url = &server.url;
            sink.note(&format!("{url} calls itself {called}: --target {target}"));
            client.set_target(target);
            server.target = target;
        }
    }
    check(args, server.target, org.as_deref())?;
    let workers = (0..args.jobs).map(|_| {
        let mut deliverer = front(&client, server.clone());
        Box::new(move |batch: &Batch, mark| deliverer.deliver(batch, mark)) as Work
    });
    let mut watch = clock.another();
    let stopped = Box::new(move || !watch.sleep(Duration::ZERO));
    let room = limits(args).bytes.get().saturating_mul(jobs(args));
    Ok(Way::Server(Box::new(Service {
        pool: Pool::start(workers.collect(), room, stopped),
        front: front(&client, server),
        history,
    })))
}

/// The clock of all workers; whoever waits by it looks for a signal and for the end of the run.
fn clock(stop: Arc<AtomicBool>) -> SystemClock {
    const SLICE: Duration = Duration::from_millis(100);
    let sleep = move |mut time: Duration| loop {
        let slice = time.min(SLICE);
        if stop.load(Ordering::Relaxed) || signal::sleep(slice).is_err() {
            return false;
        }
        time -= slice;
        if time.is_zero() {
            return true;
        }
    };
    SystemClock::new(boot_clock, Arc::new(sleep))
}

/// The partitions that belong to the tariff, where one is named.
fn partitions(args: &Args) -> Option<Partitions> {
    args.rate?.partitions.map(Partitions::new)
}

fn limit(args: &Args) -> Option<Limit> {
    match args.rate?.bytes {
        Rate::Unlimited => None,
        Rate::Limited(limit) => Some(limit),
    }
}

fn meter(args: &Args) -> anyhow::Result<Option<Meter>> {
    let now = boot_clock();
    Ok(match (limit(args), &args.budget) {
        (None, None) => None,
        (None, Some(_)) => {
            let text = "--budget: there is no rate to share (--rate 300MB/5min)";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        (Some(limit), None) => Some(Meter::Own(Pacer::new(limit, now))),
        (Some(limit), Some(path)) => {
            let opened = Budget::open(path, limit, now);
            let opened = opened.map_err(|err| failure(Error::Budget(Box::new(err))))?;
            Some(Meter::Shared(opened))
        }
    })
}

/// What only shows once the target is known.
fn check(args: &Args, target: Target, org: Option<&str>) -> anyhow::Result<()> {
    let usage = |text: String| Err(Failure::Usage(text).into());
    if args.create_buckets && !target.makes_buckets() {
        return usage(format!("--create-buckets: {target} has no /api/v2/buckets"));
    }
    if args.batch_bytes.get() as u64 > target.ceiling() {
        let ceiling = target.ceiling();
        return usage(format!(
            "--batch-bytes: {target} takes at most {ceiling} bytes at once"
        ));
    }
    if target.needs_org() && org.is_none() {
        let text = format!("{target} has to be told the organisation (--org NAME)");
        return Err(Failure::Config(text).into());
    }
    Ok(())
}

fn patience(args: &Args) -> Patience {
    Patience {
        base: args.retry_delay,
        total: Some(args.retry_max_time).filter(|time| !time.is_zero()),
        ..Patience::default()
    }
}

fn routing(args: &Args) -> Routing {
    Routing {
        bucket: args.bucket.clone(),
        merge: args.merge_buckets,
        context: args.context.clone(),
        fallback: settings::variable("INFLUX_BUCKET_NAME"),
    }
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

fn jobs(args: &Args) -> usize {
    usize::from(args.jobs)
}

/// Batches as large as one may send at once. Those on their way are as many as there are jobs, and half as many wait
/// to be filled; what they take when compressed has room beside them.
fn limits(args: &Args) -> Limits {
    let part = limit(args).map_or(u64::MAX, |limit| limit.amount() / RATE_PART);
    let part = usize::try_from(part).unwrap_or(usize::MAX);
    let bytes = NonZeroUsize::new(part).unwrap_or(NonZeroUsize::MIN);
    let bytes = bytes.min(args.batch_bytes);
    let open = NonZeroUsize::new(jobs(args) / 2).unwrap_or(NonZeroUsize::MIN);
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

/// The reasons of rejects, and what a dry run has found.
fn tell(args: &Args, poster: &Poster, tally: &Tally) {
    let mut err = io::stderr().lock();
    // If standard error is gone there is nobody left to tell.
    if tally.rejected > 0 {
        let _ = writeln!(err, "{NAME}: rejected: {}", tally.reasons());
    }
    let Way::Dry(dry) = poster.way() else {
        return;
    };
    for (bucket, sent) in dry.buckets.iter().take(100) {
        let _ = writeln!(err, "{NAME}: dry run: {bucket}: {sent}");
    }
    let more = dry.buckets.len().saturating_sub(100);
    if more > 0 {
        let _ = writeln!(err, "{NAME}: dry run: {more} more buckets");
    }
    let (total, host) = (dry.total(), args.host.as_deref().unwrap_or("a server"));
    let _ = writeln!(err, "{NAME}: dry run: {total}, would be sent to {host}");
    if let Some(limit) = limit(args) {
        let time = report::span(limit.time_for(total.bytes));
        let _ = writeln!(err, "{NAME}: dry run: takes {time} at {limit}");
    }
}

/// What would mend the rejects, where the server has said enough of them: the last lines of the run.
fn advise(poster: &Poster) {
    if let Way::Server(service) = poster.way() {
        for advice in service.front.server().columns.advice().iter().take(10) {
            let _ = writeln!(io::stderr(), "{NAME}: {advice}");
        }
    }
}

fn figures(poster: &Poster, tally: &Tally, fed: &Fed) -> Figures {
    let mut figures = vec![
        ("points read", fed.points),
        ("accepted", tally.accepted),
        ("rejected", tally.rejected),
        ("left out before", fed.left_out),
    ];
    if let Way::Server(service) = poster.way() {
        if service.history.is_some() {
            figures.extend([
                ("skipped by the journal", tally.skipped),
                ("rejected in earlier runs", tally.rejected_before),
            ]);
        }
        figures.extend([
            ("requests", tally.requests),
            ("retries", tally.retries),
            ("bytes sent", tally.bytes),
            ("bytes compressed", tally.packed),
            ("milliseconds waited", tally.waited.as_millis() as u64),
            ("milliseconds paced", tally.paced.as_millis() as u64),
            ("buckets made", tally.made),
        ]);
    }
    figures
}
