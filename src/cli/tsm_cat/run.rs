//! The run: begin, contexts with their points, end; and what is told meanwhile.

use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::BString;

use super::buckets::{self, Buckets};
use super::findings::Findings;
use super::intake::{self, Intake, STDIN};
use super::since::{self, Since};
use super::sink::Sink;
use super::{Args, Form, NAME, refused};
use crate::cli::outfile::OutFile;
use crate::cli::rejects::Rejects;
use crate::cli::report::Progress;
use crate::cli::{Outcome, exit, outputs, report, value};
use crate::export::Options;
use crate::export::catalog::{Catalog, Listed};
use crate::export::pipeline::{self, Event, Means, Piece};
use crate::lp::{Change, Context, stream};
use crate::pages::Buffer;
use crate::route::plan;
use crate::tsm::place::Names;
use crate::tsm::shard::{Remark, System, Trouble};
use crate::tsm::tree::{Unpacker, Wanted};

/// Level of `--compress`: at the rate at which the text is made, and a twentieth of it is left.
const LEVEL: u32 = 1;

/// Export what the arguments ask for.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let progress = Progress::start(NAME, args.progress, None);
    let level = args.compress.then_some(LEVEL);
    let options = args.options()?;
    // Before anything is listed: what changes from here on belongs to the next run.
    let listed = plan::time(value::now());
    let since = args.changed_since.as_ref().map(Since::time).transpose()?;
    intake::check_folder(args.tmp_dir.as_deref())?;
    let out = ("--out", args.file());
    let [rejects, summary] = outputs::usual(&args.rejects, &args.report);
    outputs::check(&[out, rejects, summary], &args.inputs()?)?;
    let (file, out) = args.output()?;
    let mut cat = Cat {
        options,
        means: Means {
            jobs: args.jobs(),
            level,
            is_given: out.takes_gifts(),
        },
        sink: Sink::new(out.beside(&progress), level, args.lp_only),
        findings: Findings::beside(&progress),
        progress: progress.clone(),
        disk: System {
            spool: args.tmp_dir.clone(),
        },
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
        wanted: args.wanted(),
        are_replicas: args.replicas,
        problems: 0,
        since,
        names: Names::default(),
        at: At::default(),
    };
    let rejects = Rejects::open(NAME, &args.rejects)?;
    cat.findings.reject_to(rejects);
    cat.options.keep_rejects = cat.findings.keeps_rejects();
    let result = match args.form() {
        Form::Points => cat.stream(&args, Cat::points),
        Form::Contexts => cat.stream(&args, Cat::contexts),
        Form::List { has_header } => cat.list(&args, has_header),
        Form::Schema { has_header, target } => cat.schema(&args, has_header, target),
    };
    let result = result.and_then(|()| cat.findings.finish());
    let result = result.and_then(|()| file.map_or(Ok(()), OutFile::keep));
    let result = result.map(|()| Outcome::after(cat.findings.lost() + cat.problems));
    progress.finish();
    let words = [(since::LISTED, listed)];
    report::finish_with(NAME, &args.report, &cat.figures(), &words, result)
}

/// A run: what it reads, where it writes, and what it has come by.
pub(super) struct Cat {
    pub(super) options: Options,
    pub(super) means: Means,
    pub(super) sink: Sink,
    pub(super) findings: Findings,
    progress: Progress,
    pub(super) disk: System,
    pub(super) catalog: Catalog,
    buckets: Buckets,
    /// The archive on standard input, as long as there may be more in it.
    archive: Option<Box<Unpacker<Box<dyn Read + Send>>>>,
    /// Nobody knows how much of it is still to come.
    is_in_parts: bool,
    /// What of a tree is wanted.
    wanted: Wanted,
    /// The same shard in several places is copies of it.
    are_replicas: bool,
    /// What a target would refuse.
    pub(super) problems: u64,
    /// Only shards that have changed since then.
    since: Option<i64>,
    /// What the context comments so far have said of database and policy.
    names: Names,
    pub(super) at: At,
}

/// Where the export is.
#[derive(Default)]
pub(super) struct At {
    /// The number of the shard, from 1 on.
    shard: usize,
    /// The shard that was last told of, and the percentage.
    told: (usize, u64),
    /// The comment that the first points of the shard need.
    pub(super) context: Option<Change>,
}

impl Cat {
    /// A whole stream: begin, what `body` prints, and how it ended.
    fn stream(
        &mut self,
        args: &Args,
        body: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.sink.comment(|out| stream::print_begin(true, out));
        self.sink.flush()?;
        let result = self.find(args).and_then(|()| body(self));
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

    /// Look for the shards, or for the first ones of an archive.
    pub(super) fn find(&mut self, args: &Args) -> anyhow::Result<()> {
        self.buckets.resolve(&mut self.wanted);
        let (piped, paths): (Vec<_>, Vec<PathBuf>) = args
            .inputs()?
            .into_iter()
            .partition(|path| path == Path::new("-"));
        self.catalog
            .add_paths(&paths, &self.wanted, &args.logs())
            .map_err(refused)?;
        if !piped.is_empty() {
            match Intake::open(args, &self.wanted)? {
                Intake::File(source) => self
                    .catalog
                    .add_opened(Path::new(STDIN), source, &self.wanted)
                    .map_err(refused)?,
                Intake::Archive(archive) => {
                    self.archive = Some(archive);
                    self.unpack()?;
                }
            }
        }
        if !self.is_in_parts {
            self.catalog.check().map_err(refused)?;
        }
        self.settle()
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        self.catalog.settle(self.are_replicas).map_err(refused)?;
        if let Some(since) = self.since {
            self.catalog.keep_changed(since);
        }
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
        let added = self.catalog.add_tree(Path::new(STDIN), tree, &self.wanted);
        added.map_err(refused)?;
        Ok(true)
    }

    /// Do something with all shards, which come in parts where an archive has them so.
    pub(super) fn parts(
        &mut self,
        mut work: impl FnMut(&mut Self, Vec<Listed>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let shards = std::mem::take(&mut self.catalog.shards);
            work(self, shards)?;
            if !self.unpack()? {
                return Ok(());
            }
            self.settle()?;
        }
    }

    /// All points, with their contexts.
    fn points(&mut self) -> anyhow::Result<()> {
        let (options, means, disk) = (self.options.clone(), self.means, self.disk.clone());
        self.parts(|cat, shards| {
            pipeline::run(&disk, &shards, &options, means, |event| {
                cat.event(event, &shards)
            })
        })
    }

    pub(super) fn gone(&mut self, label: &str) {
        self.findings
            .warn(&format!("{label}: the server has dropped it meanwhile"));
    }

    pub(super) fn opened(&mut self, remarks: &[Remark], damage: &[Trouble]) {
        let findings = &mut self.findings;
        remarks.iter().for_each(|remark| findings.remark(remark));
        damage.iter().for_each(|trouble| findings.damage(trouble));
    }

    /// Take in what comes next; gives back the text that is written.
    fn event(&mut self, event: Event, shards: &[Listed]) -> anyhow::Result<Option<Buffer>> {
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
                self.gone(label.map_or("", String::as_str));
            }
            Event::Opened(remarks, damage) => self.opened(&remarks, &damage),
            Event::Piece(piece) => return self.piece(piece, shards.len()).map(Some),
            Event::Failed(trouble) => return Err(refused(trouble)),
        }
        Ok(None)
    }

    /// Say whose the shard is, where the one before was somebody else's.
    pub(super) fn begin(&mut self, listed: &Listed) {
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

    /// Say how far it is, whenever that is a shard or a hundredth more.
    fn place(&mut self, piece: &Piece, shards: usize) {
        let place = (self.at.shard, piece.done / 10);
        if self.at.told == place || self.is_in_parts {
            return;
        }
        self.at.told = place;
        let mut text = Vec::new();
        stream::print_at(place.0, shards, piece.done, &mut text);
        self.progress.comment(&text);
        self.sink.comment(|out| out.extend_from_slice(&text));
    }

    fn piece(&mut self, mut piece: Piece, shards: usize) -> anyhow::Result<Buffer> {
        self.place(&piece, shards);
        self.findings.take(&mut piece.report)?;
        if piece.text.is_empty() {
            self.sink.settle()?;
        } else {
            let context = self.at.context.take();
            self.sink
                .comment(|out| context.iter().for_each(|change| change.print(out)));
            match piece.text.give() {
                Some(given) => self.sink.give(given)?,
                None => self.sink.text(piece.text.bytes())?,
            }
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
            ("blocks read", self.findings.blocks),
            ("bytes of blocks read", self.findings.bytes),
            ("values left out", self.findings.left_out),
            ("damaged parts left out", self.findings.damaged),
            ("warnings", self.findings.warnings),
            ("databases _internal left out", self.catalog.internal),
            ("deleted shards left out", self.catalog.deleted),
            ("unchanged shards left out", self.catalog.unchanged),
            ("problems of the schema", self.problems),
        ]
    }
}
