//! What is printed instead of points: contexts, a list of shards, a schema.

use super::run::Cat;
use super::{Args, list, refused, schema};
use crate::cli::exit::Failure;
use crate::cli::signal;
use crate::export::Report;
use crate::export::catalog::Listed;
use crate::export::judge::Judge;
use crate::export::schema::{Schema, Stop, Survey, TooMany};
use crate::lp::validate::Target;
use crate::tsm::place::Names;
use crate::tsm::shard::Opening;

/// The tables of the policy at work, and what becomes of them.
struct Tables {
    names: Names,
    schema: Schema,
    judge: Option<Judge>,
    text: Vec<u8>,
}

impl Cat {
    /// All contexts, without points.
    pub(super) fn contexts(&mut self) -> anyhow::Result<()> {
        self.parts(|cat, shards| {
            for listed in cat.within(shards) {
                cat.begin(&listed);
                let shard = cat.at.context.take();
                cat.sink
                    .comment(|out| shard.iter().for_each(|change| change.print(out)));
                cat.sink.settle()?;
            }
            Ok(())
        })
    }

    /// A row for each shard.
    pub(super) fn list(&mut self, args: &Args, has_header: bool) -> anyhow::Result<()> {
        self.find(args)?;
        let mut text = Vec::new();
        if has_header {
            text.extend_from_slice(list::HEADER);
        }
        self.parts(|cat, shards| {
            let shards = cat.within(shards);
            shards
                .iter()
                .for_each(|listed| list::rows(listed, &mut text));
            cat.sink.text(&text)?;
            text.clear();
            Ok(())
        })?;
        self.sink.finish()
    }

    /// The shards whose groups have wanted times, as far as they are known.
    fn within(&self, mut shards: Vec<Listed>) -> Vec<Listed> {
        let (first, last) = (self.options.first, self.options.last);
        shards.retain(|listed| listed.meets(first, last));
        shards
    }

    /// A row for each column, or for each problem that a target has; policy by policy.
    pub(super) fn schema(
        &mut self,
        args: &Args,
        has_header: bool,
        target: Option<Target>,
    ) -> anyhow::Result<()> {
        self.find(args)?;
        let header = match target {
            None => schema::HEADER,
            Some(_) => schema::PROBLEMS,
        };
        let mut tables = Tables {
            names: Names::default(),
            schema: Schema::default(),
            judge: target.map(Judge::new),
            text: header.iter().copied().filter(|_| has_header).collect(),
        };
        self.parts(|cat, shards| {
            for listed in &shards {
                let policy = |names: &Names| (names.database.clone(), names.policy.clone());
                if policy(&tables.names) != policy(&listed.names) {
                    cat.rows(&mut tables)?;
                }
                tables.names = listed.names.clone();
                cat.survey(listed, &mut tables.schema)?;
            }
            Ok(())
        })?;
        self.rows(&mut tables)?;
        self.sink.finish()
    }

    /// Print what a policy has; there is nothing in it afterwards.
    fn rows(&mut self, tables: &mut Tables) -> anyhow::Result<()> {
        let all = std::mem::take(&mut tables.schema).tables();
        let (names, text) = (&tables.names, &mut tables.text);
        match &mut tables.judge {
            None => all
                .iter()
                .for_each(|table| schema::rows(names, table, text)),
            Some(judge) => {
                let problems = judge.policy(&all);
                self.problems += problems.len() as u64;
                problems
                    .iter()
                    .for_each(|problem| schema::problem(names, problem, text));
            }
        }
        self.sink.text(text)?;
        text.clear();
        Ok(())
    }

    /// Add the columns of a shard.
    fn survey(&mut self, listed: &Listed, schema: &mut Schema) -> anyhow::Result<()> {
        self.sink.settle()?;
        let how = Opening {
            keep_going: self.options.keep_going,
            jobs: self.means.jobs,
            pages: None,
        };
        let opened = listed.open(&self.disk, how);
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
            self.findings.take(&mut report)?;
            match more {
                Ok(true) => signal::check()?,
                Ok(false) => return Ok(()),
                Err(Stop::Trouble(trouble)) => return Err(refused(trouble)),
                Err(Stop::TooMany) => return Err(Failure::Config(TooMany.to_string()).into()),
            }
        }
    }
}
