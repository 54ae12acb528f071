//! lp-post's run: puts the parts together, feeds the stream to them, and says how it went.

use std::collections::HashMap;
use std::io::{self, Write};
use std::num::NonZeroUsize;

use super::settings::{self, Access};
use super::sink::Sink;
use super::{Args, EXAMPLE};
use crate::cli::exit::{self, Failure};
use crate::cli::feed::{self, Fed, Program, Scene};
use crate::cli::report::{self, Figures};
use crate::cli::{Outcome, signal, tty};
use crate::http::bucket::Buckets;
use crate::http::retry::{Patience, SystemClock};
use crate::http::{Carrier, Target};
use crate::lp::Event;
use crate::post::batch::Limits;
use crate::post::courier::Courier;
use crate::post::deliver::{Deliverer, Server};
use crate::post::dry::Dry;
use crate::post::{Desk, Error, Outlet, Periods, Place, Poster, Routing, Tally, Way};

const NAME: &str = "lp-post";

/// Unfinished batches hold at most so many full ones in all.
const OPEN_BATCHES: usize = 4;

/// A stream of points on its way into a server.
struct Posted<'a> {
    poster: Poster<'a>,
    sink: Sink,
    /// Whether it was the posting that failed: then nothing more is sent.
    broken: bool,
    /// Entries of the input so far.
    entries: u64,
    /// Whether standard input held nothing.
    empty: bool,
}

/// Read everything and post it.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut sink = Sink::open(NAME, args.rejects.clone(), &args.input.paths())?;
    let way = way(&args, &mut sink)?;
    let max_rejects = args.max_rejects.unwrap_or_else(|| max_rejects(&args));
    let create = args.create_buckets.then(|| periods(&args));
    let mut posted = Posted {
        poster: Poster::new(way, routing(&args), create, limits(&args), max_rejects),
        sink,
        broken: false,
        entries: 0,
        empty: false,
    };
    let mut fed = Fed::default();
    let result = feed::run(&args.input, EXAMPLE, &mut posted, &mut fed);
    let result = posted.finish(result, args.allow_empty);
    tell(&args, &posted.poster);
    let tally = &posted.poster.tally;
    let outcome = result.map(|()| Outcome::after(tally.rejected + fed.left_out));
    report::finish(NAME, &args.report, &figures(&posted.poster, &fed), outcome)
}

impl Posted<'_> {
    /// What came whole is stored, however the input ended; the first failure is the one to report.
    fn finish(&mut self, result: anyhow::Result<()>, allow_empty: bool) -> anyhow::Result<()> {
        let stopped = signal::check();
        let flushed = if self.broken || stopped.is_err() {
            Ok(())
        } else {
            self.post(|poster, sink| poster.flush(sink))
        };
        let mut result = result.map_err(|err| stopped.err().map_or(err, Into::into));
        if let (Err(_), Err(second)) = (&result, &flushed) {
            self.sink.note(&format!("{second:#}"));
        }
        result = result.and(flushed);
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

    fn post(
        &mut self,
        work: impl FnOnce(&mut Poster<'_>, &mut Sink) -> Result<(), Error>,
    ) -> anyhow::Result<()> {
        let result = work(&mut self.poster, &mut self.sink);
        self.broken |= result.is_err();
        result.map_err(|err| self.sink.take_error().unwrap_or_else(|| failure(err)))
    }
}

impl Program for Posted<'_> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.entries += 1;
        self.post(|poster, sink| poster.point(record, &place(scene), sink))
    }

    fn other(&mut self, event: &Event, _: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        self.entries += 1;
        self.post(|poster, sink| match event {
            Event::Context(change) => poster.context(change, &place(scene), sink),
            Event::Begin { .. } | Event::End { .. } => poster.boundary(sink),
            _ => Ok(()),
        })
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(signal::check()?)
    }

    fn input_end(&mut self, scene: &Scene<'_>, _: bool) -> anyhow::Result<()> {
        self.empty |= self.entries == 0 && scene.input == "standard input";
        self.entries = 0;
        self.post(|poster, sink| poster.boundary(sink))
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
    }
}

fn way<'a>(args: &Args, sink: &mut Sink) -> anyhow::Result<Way<'a>> {
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
    if let Some(target) = args.target.target() {
        client.set_target(target);
    }
    let clock = SystemClock::new(|time| signal::sleep(time).is_ok());
    let server = Server {
        courier: Courier::new(Box::new(client), Box::new(clock), patience(args)),
        target: args.target.target().unwrap_or(Target::V1),
        org: org.clone(),
        buckets: args.create_buckets.then(|| Buckets::new(org.clone())),
    };
    let mut deliverer = Deliverer::new(server);
    if args.target.target().is_none() {
        let mut desk = Desk {
            tally: &mut Tally::default(),
            out: sink,
        };
        let (target, called) = deliverer.detect(&mut desk).map_err(failure)?;
        sink.note(&format!("{url} calls itself {called}: --target {target}"));
    }
    check(args, deliverer.target(), org.as_deref())?;
    Ok(Way::Server(Box::new(deliverer)))
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

fn limits(args: &Args) -> Limits {
    let bytes = args.batch_bytes;
    let batches = NonZeroUsize::MIN.saturating_add(OPEN_BATCHES - 1);
    Limits {
        lines: args.batch_lines,
        bytes,
        total: bytes.saturating_mul(batches),
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
fn tell(args: &Args, poster: &Poster<'_>) {
    let mut err = io::stderr().lock();
    // If standard error is gone there is nobody left to tell.
    if poster.tally.rejected > 0 {
        let _ = writeln!(err, "{NAME}: rejected: {}", poster.tally.reasons());
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
    let host = args.host.as_deref().unwrap_or("a server");
    let _ = writeln!(
        err,
        "{NAME}: dry run: {}, would be sent to {host}",
        dry.total()
    );
}

fn figures(poster: &Poster<'_>, fed: &Fed) -> Figures {
    let tally = &poster.tally;
    let mut figures = vec![
        ("points read", fed.points),
        ("accepted", tally.accepted),
        ("rejected", tally.rejected),
        ("left out before", fed.left_out),
    ];
    if let Way::Server(_) = poster.way() {
        figures.extend([
            ("requests", tally.requests),
            ("retries", tally.retries),
            ("bytes sent", tally.bytes),
            ("bytes compressed", tally.packed),
            ("milliseconds waited", tally.waited.as_millis() as u64),
            ("buckets made", tally.made),
        ]);
    }
    figures
}
