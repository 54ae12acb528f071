//! The run: begin, contexts with their points, end; and what is told meanwhile.

use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::BString;

use super::buckets::{self, Buckets};
use super::findings::Findings;
use super::intake::{Intake, STDIN};
use super::sink::Sink;
use super::{Args, NAME, refused};
use crate::cli::out::Out;
use crate::cli::rejects::Rejects;
use crate::cli::report::Progress;
use crate::cli::{Outcome, exit, report};
use crate::export::Options;
use crate::export::catalog::{Catalog, Listed};
use crate::export::pipeline::{self, Event, Means, Piece};
use crate::export::text::Text;
use crate::lp::{Change, Context, stream};
use crate::tsm::place::Names;
use crate::tsm::shard::System;
use crate::tsm::tree::Unpacker;

/// Level of `--compress`: at the rate at which the text is made, and a twentieth of it is left.
const LEVEL: u32 = 1;

/// Export what the arguments ask for.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let progress = Progress::start(NAME, args.progress, None);
    let level = args.compress.then_some(LEVEL);
    let mut cat = Cat {
        options: args.options()?,
        means: Means {
            jobs: args.jobs(),
            level,
        },
        sink: Sink::new(Out::stdout()?.beside(&progress), level, args.lp_only),
        findings: Findings::beside(&progress),
        progress: progress.clone(),
        catalog: Catalog {
            spool: args.tmp_dir.clone(),
            ..Catalog::default()
        },
        buckets: match &args.bucket_names {
            Some(path) => Buckets::read(path)?,
            None => Buckets::default(),
        },
        archive: None,
        is_in_parts: false,
        names: Names::default(),
        at: At::default(),
    };
    let rejects = Rejects::open(NAME, &args.rejects, &args.inputs())?;
    cat.findings.reject_to(rejects);
    cat.options.keep_rejects = cat.findings.keeps_rejects();
    let exported = cat.export(&args);
    let result = exported.and_then(|()| cat.findings.finish());
    let result = result.map(|()| Outcome::after(cat.findings.lost()));
    progress.finish();
    report::finish(NAME, &args.report, &cat.figures(), result)
}

struct Cat {
    options: Options,
    means: Means,
    sink: Sink,
    findings: Findings,
    progress: Progress,
    catalog: Catalog,
    buckets: Buckets,
    /// The archive on standard input, as long as there may be more in it.
    archive: Option<Box<Unpacker<Box<dyn Read>>>>,
    /// Nobody knows how much of it is still to come.
    is_in_parts: bool,
    /// What the context comments so far have said of database and policy.
    names: Names,
    at: At,
}

/// Where the export is.
#[derive(Default)]
struct At {
    /// The number of the shard, from 1 on.
    shard: usize,
    /// The shard that the comment on the place last named, and the percentage.
    told: (usize, u64),
    /// The comment that the first points of the shard need.
    context: Option<Change>,
}

impl Cat {
    /// A whole stream: begin, contexts with their points, and how it ended.
    fn export(&mut self, args: &Args) -> anyhow::Result<()> {
        self.sink.comment(|out| stream::print_begin(true, out));
        self.sink.flush()?;
        let result = self.find(args).and_then(|()| self.shards());
        let status = result.as_ref().err().map(exit::status);
        let (points, lost) = (self.findings.points, self.findings.lost());
        match status {
            Some(exit::CLOSED) => return result,
            Some(status) => {
                // The first failure is the one to report.
                self.sink.comment(|out| stream::print_failed(status, out));
                let _ = self.sink.finish();
                return result;
            }
            None => self
                .sink
                .comment(|out| stream::print_end(points, lost, out)),
        }
        self.sink.finish()
    }

    fn find(&mut self, args: &Args) -> anyhow::Result<()> {
        let mut wanted = args.wanted();
        self.buckets.resolve(&mut wanted);
        let (piped, paths): (Vec<_>, Vec<PathBuf>) = args
            .inputs()
            .into_iter()
            .partition(|path| path == Path::new("-"));
        self.catalog
            .add_paths(&paths, &wanted, &args.logs())
            .map_err(refused)?;
        if !piped.is_empty() {
            match Intake::open(args, &wanted)? {
                Intake::File(source) => self
                    .catalog
                    .add_opened(Path::new(STDIN), source, &wanted)
                    .map_err(refused)?,
                Intake::Archive(archive) => {
                    self.archive = Some(archive);
                    self.unpack()?;
                }
            }
        }
        self.settle()
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        self.catalog.settle().map_err(refused)?;
        let notes = std::mem::take(&mut self.catalog.notes);
        notes.iter().for_each(|note| self.findings.note(note));
        Ok(())
    }

    /// Take the next shards from the archive; whether there were any.
    fn unpack(&mut self) -> anyhow::Result<bool> {
        let Some(archive) = &mut self.archive else {
            return Ok(false);
        };
        let Some(tree) = archive.advance().map_err(refused)? else {
            return Ok(false);
        };
        self.is_in_parts |= !archive.is_over();
        if archive.is_over() {
            self.archive = None;
        }
        self.catalog.add_tree(Path::new(STDIN), tree);
        Ok(true)
    }

    fn shards(&mut self) -> anyhow::Result<()> {
        loop {
            self.listed()?;
            if !self.unpack()? {
                return Ok(());
            }
            self.settle()?;
        }
    }

    fn listed(&mut self) -> anyhow::Result<()> {
        let shards = std::mem::take(&mut self.catalog.shards);
        let (options, means) = (self.options.clone(), self.means);
        pipeline::run(&System, &shards, &options, means, |event| {
            self.event(event, &shards)
        })
    }

    /// Take in what comes next; gives back the text that is written.
    fn event(&mut self, event: Event, shards: &[Listed]) -> anyhow::Result<Option<Text>> {
        match event {
            Event::Shard(i) => {
                self.at.shard = i + 1;
                shards
                    .get(i)
                    .into_iter()
                    .for_each(|listed| self.begin(listed));
                self.sink.settle()?;
            }
            Event::Gone => {
                let label = shards.get(self.at.shard - 1).map(|listed| &listed.label);
                let label = label.map_or("", String::as_str);
                self.findings
                    .warn(&format!("{label}: the server has dropped it meanwhile"));
            }
            Event::Opened(remarks, damage) => {
                let findings = &mut self.findings;
                remarks.iter().for_each(|remark| findings.remark(remark));
                damage.iter().for_each(|trouble| findings.damage(trouble));
            }
            Event::Piece(piece) => return self.piece(piece, shards.len()).map(Some),
            Event::Failed(trouble) => return Err(refused(trouble)),
        }
        Ok(None)
    }

    /// Say whose the shard is, where the one before was somebody else's.
    fn begin(&mut self, listed: &Listed) {
        let Names {
            database, policy, ..
        } = &listed.names;
        let is_new = self.names.database != *database;
        let database = database.clone().filter(|_| is_new).map(Change::Database);
        let is_new = is_new || self.names.policy != *policy;
        let policy = policy.clone().filter(|_| is_new).map(Change::Policy);
        let period = listed.period.filter(|_| is_new).map(Change::Period);
        let bucket = self.bucket(listed).filter(|_| is_new).map(Change::Bucket);
        self.names = listed.names.clone();
        self.findings.enter(&listed.label, self.context(listed));
        self.at.context = listed.names.shard.map(Change::Shard);
        self.sink.comment(|out| {
            [database, policy, period, bucket]
                .iter()
                .flatten()
                .for_each(|change| change.print(out))
        });
    }

    /// What the comments say of the shard, together.
    fn context(&self, listed: &Listed) -> Context {
        let names = listed.names.clone();
        Context {
            bucket: self.bucket(listed),
            database: names.database,
            policy: names.policy,
            period: listed.period,
            shard: names.shard,
        }
    }

    /// The bucket of a 2.x server that the shard is of.
    fn bucket(&self, listed: &Listed) -> Option<BString> {
        let names = &listed.names;
        let (id, policy) = (names.database.as_ref()?, names.policy.as_ref()?);
        // A 1.x server has metadata, in which its databases are.
        if !buckets::is_id(id) || policy != "autogen" || listed.period.is_some() {
            return None;
        }
        Some(self.buckets.name(id).unwrap_or(id).clone())
    }

    fn piece(&mut self, mut piece: Piece, shards: usize) -> anyhow::Result<Text> {
        let place = (self.at.shard, piece.done / 10);
        if self.at.told != place && !self.is_in_parts {
            self.at.told = place;
            let mut text = Vec::new();
            stream::print_at(place.0, shards, piece.done, &mut text);
            self.progress.comment(&text);
            self.sink.comment(|out| out.extend_from_slice(&text));
        }
        self.findings.take(&mut piece.report)?;
        if piece.text.is_empty() {
            self.sink.settle()?;
        } else {
            let context = self.at.context.take();
            self.sink
                .comment(|out| context.iter().for_each(|change| change.print(out)));
            self.sink.text(piece.text.bytes())?;
        }
        self.progress.count(self.sink.bytes, self.findings.points);
        match piece.failed {
            Some(trouble) => Err(refused(trouble)),
            None => Ok(piece.text),
        }
    }

    fn figures(&self) -> report::Figures {
        vec![
            ("points", self.findings.points),
            ("values", self.findings.values),
            ("bytes of blocks read", self.findings.bytes),
            ("values left out", self.findings.left_out),
            ("damaged parts left out", self.findings.damaged),
            ("warnings", self.findings.warnings),
            ("databases _internal left out", self.catalog.internal),
            ("deleted shards left out", self.catalog.deleted),
        ]
    }
}
