//! The run: begin, contexts with their points, end; and what is told meanwhile.

use std::io::{self, Seek};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::findings::Findings;
use super::{Args, EXAMPLE, NAME, refused, spooled};
use crate::cli::out::Out;
use crate::cli::{Outcome, exit, input, report};
use crate::export::catalog::{Catalog, Listed};
use crate::export::text::Text;
use crate::export::{Export, Options, Report};
use crate::lp::{Change, stream};
use crate::tsm::place::Names;
use crate::tsm::shard::{self, System};
use crate::tsm::source::Source;

/// Export what the arguments ask for.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut cat = Cat {
        options: args.options()?,
        lp_only: args.lp_only,
        out: Out::stdout()?,
        findings: Findings::default(),
        catalog: Catalog::default(),
        names: Names::default(),
    };
    let result = cat.export(&args);
    let result = result.map(|()| Outcome::after(cat.findings.lost()));
    report::finish(NAME, &args.report, &cat.figures(), result)
}

struct Cat {
    options: Options,
    lp_only: bool,
    out: Out,
    findings: Findings,
    catalog: Catalog,
    /// What the context comments so far have said of database and policy.
    names: Names,
}

impl Cat {
    /// A whole stream: begin, contexts with their points, and how it ended.
    fn export(&mut self, args: &Args) -> anyhow::Result<()> {
        self.comment(|out| stream::print_begin(true, out))?;
        self.out.flush()?;
        let result = self.find(args).and_then(|()| self.shards());
        let status = result.as_ref().err().map(exit::status);
        let (points, lost) = (self.findings.points, self.findings.lost());
        match status {
            Some(exit::CLOSED) => return result,
            Some(status) => {
                // The first failure is the one to report.
                let _ = self.comment(|out| stream::print_failed(status, out));
                let _ = self.out.finish();
                return result;
            }
            None => self.comment(|out| stream::print_end(points, lost, out))?,
        }
        self.out.finish()
    }

    fn comment(&mut self, print: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
        if self.lp_only {
            return Ok(());
        }
        self.out.print(print)
    }

    fn find(&mut self, args: &Args) -> anyhow::Result<()> {
        let wanted = args.wanted();
        let (piped, paths): (Vec<_>, Vec<PathBuf>) = args
            .inputs()
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
        self.catalog.settle().map_err(refused)?;
        self.catalog
            .notes
            .iter()
            .for_each(|note| self.findings.note(note));
        Ok(())
    }

    fn shards(&mut self) -> anyhow::Result<()> {
        for listed in std::mem::take(&mut self.catalog.shards) {
            self.context(&listed)?;
            self.shard(&listed)?;
        }
        Ok(())
    }

    /// Say whose the shard is, where the one before was somebody else's.
    fn context(&mut self, listed: &Listed) -> anyhow::Result<()> {
        let Names {
            database, policy, ..
        } = &listed.names;
        let is_new = self.names.database != *database;
        let database = database.clone().filter(|_| is_new).map(Change::Database);
        let is_new = is_new || self.names.policy != *policy;
        let policy = policy.clone().filter(|_| is_new).map(Change::Policy);
        let period = listed.period.filter(|_| is_new).map(Change::Period);
        self.names = listed.names.clone();
        self.comment(|out| {
            [database, policy, period]
                .iter()
                .flatten()
                .for_each(|change| change.print(out))
        })
    }

    fn shard(&mut self, listed: &Listed) -> anyhow::Result<()> {
        let shard =
            shard::open(&System, &listed.files, self.options.keep_going).map_err(refused)?;
        let Some(shard) = shard else {
            self.findings.warn(&format!(
                "{}: the server has dropped it meanwhile",
                listed.label
            ));
            return Ok(());
        };
        shard
            .remarks
            .iter()
            .for_each(|remark| self.findings.remark(remark));
        shard
            .damage
            .iter()
            .for_each(|trouble| self.findings.damage(trouble));
        let options = self.options.clone();
        let mut export = Export::new(&shard, &options).map_err(refused)?;
        let (mut text, mut report) = (Text::default(), Report::default());
        let mut context = listed.names.shard.map(Change::Shard);
        loop {
            text.clear();
            let more = export.next(&mut text, &mut report);
            self.findings.take(&mut report);
            if !text.is_empty() {
                if let Some(change) = context.take() {
                    self.comment(|out| change.print(out))?;
                }
                self.out.write(text.bytes())?;
            }
            if !more.map_err(refused)? {
                return Ok(());
            }
        }
    }

    fn figures(&self) -> report::Figures {
        vec![
            ("points", self.findings.points),
            ("values", self.findings.values),
            ("values left out", self.findings.left_out),
            ("damaged parts left out", self.findings.damaged),
            ("warnings", self.findings.warnings),
            ("databases _internal left out", self.catalog.internal),
            ("deleted shards left out", self.catalog.deleted),
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
