//! The run: begin, contexts with their points, end; and what is told meanwhile.

use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::findings::Findings;
use super::since::{self, Since};
use super::sink::Sink;
use super::{Args, EXAMPLE, Form, NAME, list, refused, schema, spooled};
use crate::cli::exit::Failure;
use crate::cli::outfile::OutFile;
use crate::cli::report::Progress;
use crate::cli::{Outcome, exit, input, report, signal, value};
use crate::export::catalog::{Catalog, Listed};
use crate::export::judge::Judge;
use crate::export::pipeline::{self, Event, Means, Piece};
use crate::export::schema::{Schema, Stop, Survey, TooMany};
use crate::export::text::Text;
use crate::export::{Options, Report};
use crate::lp::validate::Target;
use crate::lp::{Change, stream};
use crate::route::plan;
use crate::tsm::place::Names;
use crate::tsm::shard::{Remark, System, Trouble};
use crate::tsm::source::Source;

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
    let (file, out) = args.output()?;
    let mut cat = Cat {
        options,
        means: Means {
            jobs: args.jobs(),
            level,
        },
        sink: Sink::new(out.beside(&progress), level, args.lp_only),
        findings: Findings::beside(&progress),
        progress: progress.clone(),
        catalog: Catalog::default(),
        problems: 0,
        since,
        names: Names::default(),
        at: At::default(),
    };
    let result = match args.form() {
        Form::Points => cat.stream(&args, Cat::shards),
        Form::Contexts => cat.stream(&args, Cat::contexts),
        Form::List { has_header } => cat.list(&args, has_header),
        Form::Schema { has_header, target } => cat.schema(&args, has_header, target),
    };
    let result = result.and_then(|()| file.map_or(Ok(()), OutFile::keep));
    let result = result.map(|()| Outcome::after(cat.findings.lost() + cat.problems));
    progress.finish();
    let words = [(since::LISTED, listed)];
    report::finish_with(NAME, &args.report, &cat.figures(), &words, result)
}

struct Cat {
    options: Options,
    means: Means,
    sink: Sink,
    findings: Findings,
    progress: Progress,
    catalog: Catalog,
    /// What a target would refuse.
    problems: u64,
    /// Only shards that have changed since then.
    since: Option<i64>,
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

    fn find(&mut self, args: &Args) -> anyhow::Result<()> {
        let wanted = args.wanted();
        let (piped, paths): (Vec<_>, Vec<PathBuf>) = args
            .inputs()?
            .into_iter()
            .partition(|path| path == Path::new("-"));
        self.catalog
            .add_paths(&paths, &wanted, &args.logs())
            .map_err(refused)?;
        if !piped.is_empty() {
            let source = spool()?;
            self.catalog
                .add_opened(Path::new("standard input"), source, &wanted)
                .map_err(refused)?;
        }
        self.catalog.settle(args.replicas).map_err(refused)?;
        if let Some(since) = self.since {
            self.catalog.keep_changed(since);
        }
        self.catalog
            .notes
            .iter()
            .for_each(|note| self.findings.note(note));
        Ok(())
    }

    /// All contexts, without points.
    fn contexts(&mut self) -> anyhow::Result<()> {
        self.catalog
            .keep_within(self.options.first, self.options.last);
        for listed in std::mem::take(&mut self.catalog.shards) {
            self.begin(&listed);
            let shard = self.at.context.take();
            self.sink
                .comment(|out| shard.iter().for_each(|change| change.print(out)));
            self.sink.settle()?;
        }
        Ok(())
    }

    /// A row for each shard.
    fn list(&mut self, args: &Args, has_header: bool) -> anyhow::Result<()> {
        self.find(args)?;
        self.catalog
            .keep_within(self.options.first, self.options.last);
        let mut text = Vec::new();
        if has_header {
            text.extend_from_slice(list::HEADER);
        }
        let shards = self.catalog.shards.iter();
        shards.for_each(|listed| list::rows(listed, &mut text));
        self.sink.text(&text)?;
        self.sink.finish()
    }

    /// A row for each column, or for each problem that a target has; policy by policy.
    fn schema(
        &mut self,
        args: &Args,
        has_header: bool,
        target: Option<Target>,
    ) -> anyhow::Result<()> {
        self.find(args)?;
        let shards = std::mem::take(&mut self.catalog.shards);
        let mut judge = target.map(Judge::new);
        let mut text = match target {
            _ if !has_header => Vec::new(),
            None => schema::HEADER.to_vec(),
            Some(_) => schema::PROBLEMS.to_vec(),
        };
        let policy = |listed: &Listed| (listed.names.database.clone(), listed.names.policy.clone());
        for shards in shards.chunk_by(|a, b| policy(a) == policy(b)) {
            let mut tables = Schema::default();
            for listed in shards {
                self.survey(listed, &mut tables)?;
            }
            let names = shards.first().map(|listed| listed.names.clone());
            let (names, tables) = (names.unwrap_or_default(), tables.tables());
            match &mut judge {
                None => tables
                    .iter()
                    .for_each(|table| schema::rows(&names, table, &mut text)),
                Some(judge) => {
                    let problems = judge.policy(&tables);
                    self.problems += problems.len() as u64;
                    let problems = problems.iter();
                    problems.for_each(|problem| schema::problem(&names, problem, &mut text));
                }
            }
            self.sink.text(&text)?;
            text.clear();
        }
        self.sink.text(&text)?;
        self.sink.finish()
    }

    /// Add the columns of a shard.
    fn survey(&mut self, listed: &Listed, schema: &mut Schema) -> anyhow::Result<()> {
        self.sink.settle()?;
        let opened = listed.open(&System, self.options.keep_going);
        let Some(shard) = opened.map_err(refused)? else {
            self.gone(&listed.label);
            return Ok(());
        };
        self.opened(&shard.remarks, &shard.damage);
        let mut report = Report::default();
        let survey = Survey::new(&shard, listed.names.shard, &self.options, schema);
        let mut survey = survey.map_err(refused)?;
        loop {
            let more = survey.next(schema, &mut report);
            self.findings.take(&mut report);
            match more {
                Ok(true) => signal::check()?,
                Ok(false) => return Ok(()),
                Err(Stop::Trouble(trouble)) => return Err(refused(trouble)),
                Err(Stop::TooMany) => return Err(Failure::Config(TooMany.to_string()).into()),
            }
        }
    }

    fn gone(&mut self, label: &str) {
        self.findings
            .warn(&format!("{label}: the server has dropped it meanwhile"));
    }

    fn opened(&mut self, remarks: &[Remark], damage: &[Trouble]) {
        let findings = &mut self.findings;
        remarks.iter().for_each(|remark| findings.remark(remark));
        damage.iter().for_each(|trouble| findings.damage(trouble));
    }

    fn shards(&mut self) -> anyhow::Result<()> {
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
                self.gone(label.map_or("", String::as_str));
            }
            Event::Opened(remarks, damage) => self.opened(&remarks, &damage),
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
        self.names = listed.names.clone();
        self.at.context = listed.names.shard.map(Change::Shard);
        self.sink.comment(|out| {
            [database, policy, period]
                .iter()
                .flatten()
                .for_each(|change| change.print(out))
        });
    }

    fn piece(&mut self, mut piece: Piece, shards: usize) -> anyhow::Result<Text> {
        let place = (self.at.shard, piece.done / 10);
        if self.at.told != place {
            self.at.told = place;
            let mut text = Vec::new();
            stream::print_at(place.0, shards, piece.done, &mut text);
            self.progress.comment(&text);
            self.sink.comment(|out| out.extend_from_slice(&text));
        }
        self.findings.take(&mut piece.report);
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

/// Standard input in a file without a name, as its parts are needed in another order.
fn spool() -> anyhow::Result<Source> {
    let mut input = input::open(Path::new("-"), EXAMPLE)?;
    let mut file = tempfile::tempfile().context("temporary file")?;
    io::copy(&mut input.source, &mut file).context("standard input")?;
    file.rewind().context("temporary file")?;
    Ok(spooled(Source::whole(file).context("temporary file")?)?)
}
