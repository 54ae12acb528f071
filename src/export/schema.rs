//! Which measurements and columns are there, by indexes and logs alone? No block is read.
//!
//! What a tombstone covers wholly is gone. Where it covers a part, the first and the last time of a block tell
//! whether something is left; where both are deleted, something may still be left between them.

use std::collections::HashMap;

use bstr::BString;

use super::group::{Group, Run};
use super::plan::{Gathered, Planner};
use super::unit::Origin;
use super::{Finding, Oddity, Options, Report, careful};
use crate::lp::escape::{self, Place};
use crate::lp::misfit;
use crate::lp::record;
use crate::rows::Kind;
use crate::tsm::block;
use crate::tsm::key::{self, SEPARATOR};
use crate::tsm::shard::{Shard, Trouble};

/// Tables and columns that are counted at most, those of long names several times: about 100 MB.
pub const MOST: usize = 400_000;

/// Series that are looked at before the caller has a say.
const STEP: usize = 10_000;

/// More columns than are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are more than {MOST} columns (choose some with -m, or less time)")]
pub struct TooMany;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The values of a tag.
    Tag,
    /// The values of a field, all of one type; `None` is a type that nobody knows.
    Field(Option<Kind>),
}

/// Where a column is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// In how many shards.
    pub shards: u64,
    /// The number of the first one in the order of the output.
    pub first: Option<u64>,
    /// The number of the last one.
    pub last: Option<u64>,
    /// Some value of it is there; else it may be that all are deleted.
    pub is_sure: bool,
    /// The latest shard that has been counted, from 1 on.
    pub(super) latest: u64,
}

/// A tag, or a field with one type: a field that has two is two columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its decoded name.
    pub name: BString,
    /// What it holds.
    pub role: Role,
    /// Where it is.
    pub seen: Seen,
}

/// A measurement.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its decoded name.
    pub name: BString,
    /// Its columns.
    pub columns: Vec<Column>,
    pub(super) by_name: HashMap<BString, Vec<usize>>,
}

/// The tables of one policy.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    tables: Vec<Table>,
    by_name: HashMap<BString, usize>,
    /// What has been counted, in units of [`MOST`].
    counted: usize,
    /// The shard at work, and its number.
    shard: u64,
    id: Option<u64>,
    /// Used again for each name.
    name: Vec<u8>,
}

/// Goes through one shard.
#[derive(Debug)]
pub struct Survey<'a> {
    options: &'a Options,
    planner: Planner<'a>,
}

/// Why a walk ends.
#[derive(Debug)]
pub enum Stop {
    /// Damage.
    Trouble(Trouble),
    /// There is more than is counted.
    TooMany,
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<TooMany> for Stop {
    fn from(_: TooMany) -> Self {
        Self::TooMany
    }
}

impl<'a> Survey<'a> {
    /// Before the first series of a shard.
    pub fn new(
        shard: &'a Shard,
        id: Option<u64>,
        options: &'a Options,
        schema: &mut Schema,
    ) -> Result<Self, Trouble> {
        schema.shard += 1;
        schema.id = id;
        Ok(Self {
            options,
            planner: Planner::of_indexes(shard, options)?,
        })
    }

    /// Take some series in; `false` behind the last one.
    pub fn next(&mut self, schema: &mut Schema, report: &mut Report) -> Result<bool, Stop> {
        for _ in 0..STEP {
            match self.planner.gather(report)? {
                Gathered::Series => self.series(schema, report)?,
                Gathered::Nothing => return Ok(true),
                Gathered::End => return Ok(false),
            }
        }
        Ok(true)
    }

    fn series(&self, schema: &mut Schema, report: &mut Report) -> Result<(), TooMany> {
        let group = &self.planner.group;
        if let Some(misfit) = misfit::series(&group.series) {
            report.odd(group.series.clone(), Oddity::Unspelled(misfit));
            return Ok(());
        }
        let table = schema.table(&group.series)?;
        let mut is_sure = None;
        for field in &group.fields {
            let (name, runs) = group.field_runs(field);
            let misfit = misfit::field(name);
            if let Some(misfit) = misfit.or_else(|| careful::misfit(&group.series, name)) {
                let key = [&group.series, SEPARATOR, name].concat();
                report.odd(key, Oddity::Unspelled(misfit));
                continue;
            }
            for (i, run) in runs.iter().enumerate() {
                let own = kind(run);
                let newer = runs.get(i + 1..).unwrap_or_default();
                let sure = self.is_sure(group, run)
                    && !newer
                        .iter()
                        .any(|over| kind(over) != own && overlap(group, run, over));
                schema.column(table, name, Role::Field(own), sure)?;
                is_sure = Some(is_sure == Some(true) || sure);
            }
        }
        // A series of which no field is there has no tags either.
        is_sure.map_or(Ok(()), |is_sure| schema.tags(table, &group.series, is_sure))
    }

    /// Whether a point that is wanted is left for certain: the first and the last one of a block are there.
    fn is_sure(&self, group: &Group, run: &Run) -> bool {
        let deleted = group.deleted(run);
        let is_left = |time: i64| {
            let at = deleted.partition_point(|(_, max)| *max < time);
            let is_deleted = deleted.get(at).is_some_and(|(min, _)| *min <= time);
            (self.options.first..=self.options.last).contains(&time) && !is_deleted
        };
        let mut entries = group.entries(run).iter();
        entries.any(|entry| is_left(entry.min) || is_left(entry.max))
    }
}

/// The type of its values.
fn kind(run: &Run) -> Option<Kind> {
    match run.origin {
        Origin::File(_, kind) => block::kind(kind),
        Origin::Log(kind) => Some(kind),
    }
}

/// Whether values of the one may stand at the times of the other.
fn overlap(group: &Group, a: &Run, b: &Run) -> bool {
    let span = |run: &Run| {
        let entries = group.entries(run).iter();
        let last = entries.clone().map(|entry| entry.max).max();
        entries.map(|entry| entry.min).min().zip(last)
    };
    span(a)
        .zip(span(b))
        .is_some_and(|(a, b)| a.0 <= b.1 && b.0 <= a.1)
}

impl Report {
    fn odd(&mut self, key: Vec<u8>, what: Oddity) {
        self.findings.push(Finding::Odd {
            path: None,
            key,
            what,
        });
    }
}

impl Schema {
    /// The tables by name, their columns by name, tags first.
    pub fn tables(mut self) -> Vec<Table> {
        for table in &mut self.tables {
            let key =
                |column: &Column| (column.role != Role::Tag, column.name.clone(), column.role);
            table.columns.sort_by_cached_key(key);
        }
        self.tables.sort_by(|a, b| a.name.cmp(&b.name));
        self.tables.retain(|table| !table.columns.is_empty());
        self.tables
    }

    /// The place of the table that a series belongs to.
    fn table(&mut self, series: &[u8]) -> Result<usize, TooMany> {
        self.name.clear();
        escape::decode(Place::Measurement, key::measurement(series), &mut self.name);
        if let Some(at) = self.by_name.get(&self.name[..]) {
            return Ok(*at);
        }
        self.count(self.name.len())?;
        let name = BString::from(&self.name[..]);
        self.by_name.insert(name.clone(), self.tables.len());
        self.tables.push(Table {
            name,
            ..Table::default()
        });
        Ok(self.tables.len() - 1)
    }

    fn tags(&mut self, table: usize, series: &[u8], is_sure: bool) -> Result<(), TooMany> {
        for (key, _) in record::tags(series).flatten() {
            let mut name = std::mem::take(&mut self.name);
            name.clear();
            escape::decode(Place::Tag, key, &mut name);
            let done = self.column(table, &name, Role::Tag, is_sure);
            self.name = name;
            done?;
        }
        Ok(())
    }

    fn column(
        &mut self,
        table: usize,
        name: &[u8],
        role: Role,
        is_sure: bool,
    ) -> Result<(), TooMany> {
        let (shard, id) = (self.shard, self.id);
        let known = self.tables.get_mut(table).and_then(|table| {
            let places = table.by_name.get(name)?;
            let mut places = places.iter();
            let at = places.find(|at| table.columns.get(**at).is_some_and(|c| c.role == role))?;
            table.columns.get_mut(*at)
        });
        if let Some(column) = known {
            column.seen.note(shard, id, is_sure);
            return Ok(());
        }
        self.count(name.len())?;
        let Some(table) = self.tables.get_mut(table) else {
            return Ok(());
        };
        let mut seen = Seen::default();
        seen.note(shard, id, is_sure);
        let places = table.by_name.entry(name.into()).or_default();
        places.push(table.columns.len());
        let name = name.into();
        table.columns.push(Column { name, role, seen });
        Ok(())
    }

    fn count(&mut self, len: usize) -> Result<(), TooMany> {
        self.counted += 1 + len / 50;
        match self.counted > MOST {
            true => Err(TooMany),
            false => Ok(()),
        }
    }
}

impl Seen {
    fn note(&mut self, shard: u64, id: Option<u64>, is_sure: bool) {
        self.is_sure |= is_sure;
        if self.latest != shard {
            self.latest = shard;
            self.shards += 1;
            self.first = self.first.or(id);
            self.last = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_counted_once_a_shard() {
        let mut schema = Schema::default();
        for (shard, id) in [(1, 7), (1, 7), (2, 9)] {
            (schema.shard, schema.id) = (shard, Some(id));
            let table = schema.table(b"m,t=a").unwrap();
            schema.tags(table, b"m,t=a", shard == 2).unwrap();
            let kind = Role::Field(Some(Kind::Float));
            schema.column(table, b"v", kind, false).unwrap();
        }
        let tables = schema.tables();
        assert_eq!((1, "m"), (tables.len(), &*tables[0].name.to_string()));
        let seen = |column: &Column| {
            let Seen {
                shards,
                first,
                last,
                is_sure,
                ..
            } = column.seen;
            (column.name.to_string(), shards, first, last, is_sure)
        };
        let columns: Vec<_> = tables[0].columns.iter().map(seen).collect();
        let expected = [
            ("t".to_owned(), 2, Some(7), Some(9), true),
            ("v".to_owned(), 2, Some(7), Some(9), false),
        ];
        assert_eq!(expected[..], columns);
    }

    #[test]
    fn names_that_are_spelled_in_two_ways_are_one() {
        let mut schema = Schema::default();
        for series in [&b"m\\=x,a\\ b=1"[..], b"m=x,a\\ b=2"] {
            let table = schema.table(series).unwrap();
            schema.tags(table, series, true).unwrap();
        }
        let tables = schema.tables();
        assert_eq!((1, 1), (tables.len(), tables[0].columns.len()));
        assert_eq!("a b", tables[0].columns[0].name);
    }

    #[test]
    fn it_is_counted_to_a_limit_and_long_names_sooner() {
        let mut schema = Schema::default();
        let table = schema.table(b"m").unwrap();
        let mut add = |name: String| schema.column(table, name.as_bytes(), Role::Tag, true);
        let n = (0..MOST).find(|i| add(format!("f{i}")).is_err());
        assert_eq!(Some(MOST - 1), n);
        let mut schema = Schema::default();
        let table = schema.table(b"m").unwrap();
        let long = "x".repeat(60_000);
        let mut add =
            |i: usize| schema.column(table, format!("{long}{i}").as_bytes(), Role::Tag, true);
        assert!((0..1000).any(|i| add(i).is_err()));
    }
}
