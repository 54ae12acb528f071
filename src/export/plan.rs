//! Which blocks make up which line? Walks the indexes of all files of a shard and its log together, gathers the
//! fields of a series, and fills units with its slices.

use std::mem;

use crate::lp::escape::{self, Place};
use crate::pages::Supply;
use crate::tsm::index::Cursor;
use crate::tsm::key::{self, Key};
use crate::tsm::shard::{Logged, Member, Shard, Trouble};
use crate::tsm::tombstone;

use super::group::{Group, LIGHT, MUCH, TEXT, is_deleted};
use super::twins::Twins;
use super::unit::{Origin, Unit};
use super::weigh::{Density, Scales};
use super::{Finding, Oddity, Options, Report};

/// Keys that are passed by before that is worth an empty unit.
const PASSED: usize = 10_000;

/// Walks one shard.
#[derive(Debug)]
pub struct Planner<'a> {
    shard: &'a Shard,
    options: &'a Options,
    heads: Vec<Head<'a>>,
    /// The next key of the log.
    log: usize,
    /// The smallest key that has not been dealt with.
    key: Vec<u8>,
    pub(super) group: Group,
    /// The measurement last asked about, and the answer.
    measurement: (Vec<u8>, bool),
    twins: Twins,
    scales: Scales,
    /// What is to be spared while the group takes much memory.
    pages: Option<&'a Supply>,
    is_scarce: bool,
    /// How far the walk was before the group, and behind it; in bytes of blocks.
    before: u64,
    behind: u64,
}

/// What a look for the next series comes to.
#[derive(PartialEq)]
pub(super) enum Gathered {
    /// It is in the group.
    Series,
    /// Nothing so far, but there is more to look at.
    Nothing,
    /// There is none.
    End,
}

/// One file on the walk.
#[derive(Debug)]
struct Head<'a> {
    member: &'a Member,
    cursor: Cursor,
    deleted: tombstone::Cursor<'a>,
    density: Density,
}

impl<'a> Planner<'a> {
    /// Before the first key.
    pub fn new(shard: &'a Shard, options: &'a Options) -> Result<Self, Trouble> {
        let mut heads = Vec::new();
        for member in &shard.members {
            let mut head = Head {
                member,
                cursor: Cursor::new(&member.file),
                deleted: member.deleted.cursor(),
                density: Density::default(),
            };
            head.advance()?;
            heads.push(head);
        }
        let mut planner = Self {
            shard,
            options,
            heads,
            log: 0,
            key: Vec::new(),
            group: Group::default(),
            measurement: (Vec::new(), options.measurements.is_empty()),
            twins: Twins::default(),
            scales: Scales::default(),
            pages: None,
            is_scarce: false,
            before: 0,
            behind: 0,
        };
        planner.behind = planner.logged();
        planner.before = planner.behind;
        Ok(planner)
    }

    /// The same walk, beside others who use pages.
    pub fn beside(mut self, pages: &'a Supply) -> Self {
        self.pages = Some(pages);
        self
    }

    /// The same walk for somebody who reads no block.
    pub(super) fn of_indexes(shard: &'a Shard, options: &'a Options) -> Result<Self, Trouble> {
        let mut planner = Self::new(shard, options)?;
        let heads = planner.heads.iter_mut();
        heads.for_each(|head| head.density = Density::blind());
        Ok(planner)
    }

    /// How far the walk is, in bytes of blocks and of segments of the log. What is not wanted counts when it is passed by.
    pub fn passed(&self) -> u64 {
        let (done, weight) = (self.group.done as u64, self.group.weight.max(1) as u64);
        let step = u128::from(self.behind - self.before) * u128::from(done.min(weight));
        self.before + (step / u128::from(weight)) as u64
    }

    /// How far the walk through the log is, in bytes of its segments: half of the work was done when they had been read.
    fn logged(&self) -> u64 {
        let (keys, all) = (self.log as u128, self.shard.log.len().max(1) as u128);
        let half = self.shard.segments / 2;
        half + (u128::from(half) * keys / all) as u64
    }

    /// Fill `unit` with the next work, which may be none; `false` if there is none left.
    pub fn next(&mut self, unit: &mut Unit, report: &mut Report) -> Result<bool, Trouble> {
        unit.clear();
        while unit.weight < LIGHT && unit.text < TEXT {
            if self.group.from.is_none() {
                self.before = self.behind;
                let gathered = self.gather(report)?;
                self.behind = self.heads.iter().map(Head::passed).sum::<u64>() + self.logged();
                if gathered != Gathered::Series {
                    return Ok(gathered == Gathered::Nothing || !unit.slices.is_empty());
                }
            }
            let first = unit.pieces.len();
            let sum = self.group.slice(self.options.last, unit);
            let pieces = unit.pieces.get(first..).unwrap_or_default();
            let strings = match sum.has_strings {
                true => self.scales.strings(self.shard, pieces),
                false => 0,
            };
            report.bytes += mem::take(&mut self.scales.read);
            unit.strings += strings;
            unit.widest = unit.widest.max(sum.memory(strings));
        }
        Ok(true)
    }

    /// Collect the next series of which something is wanted.
    pub(super) fn gather(&mut self, report: &mut Report) -> Result<Gathered, Trouble> {
        let mut keys = 0;
        while self.smallest() {
            keys += 1;
            if keys > PASSED {
                return Ok(Gathered::Nothing);
            }
            let series = Key::split(&self.key).series.len();
            if !self.is_wanted(series) {
                self.take_key(report, false)?;
                continue;
            }
            self.group.begin(self.key.get(..series).unwrap_or_default());
            self.spare();
            self.twins.see(&self.group.series);
            loop {
                self.take_key(report, true)?;
                self.spare();
                let goes_on = !self.options.per_field && self.smallest();
                if !goes_on || Key::split(&self.key).series != self.group.series {
                    break;
                }
            }
            if self.group.start(self.options.first) {
                return Ok(Gathered::Series);
            }
        }
        self.twins.tell(self.shard, report);
        Ok(Gathered::End)
    }

    /// Leave no more to others than there is beside the group.
    fn spare(&mut self) {
        let is_scarce = self.group.memory() > MUCH;
        if self.is_scarce != is_scarce {
            self.is_scarce = is_scarce;
            self.pages.iter().for_each(|pages| pages.spare(is_scarce));
        }
    }

    /// Make `key` the smallest key not dealt with; `false` if there is none.
    fn smallest(&mut self) -> bool {
        let heads = self.heads.iter().map(|head| head.cursor.key());
        let log = self.shard.log.get(self.log).map(|logged| &logged.key[..]);
        let smallest = heads.filter(|key| !key.is_empty()).chain(log).min();
        self.key.clear();
        self.key.extend_from_slice(smallest.unwrap_or_default());
        smallest.is_some()
    }

    /// Whether the measurement of the series, so many bytes of the key, is selected.
    fn is_wanted(&mut self, series: usize) -> bool {
        if self.options.measurements.is_empty() {
            return true;
        }
        let spelled = key::measurement(self.key.get(..series).unwrap_or_default());
        if self.measurement.0 != spelled {
            let mut name = Vec::new();
            escape::decode(Place::Measurement, spelled, &mut name);
            let mut globs = self.options.measurements.iter();
            self.measurement = (spelled.to_vec(), globs.any(|glob| glob.matches(&name)));
        }
        self.measurement.1
    }

    /// Go past the key in all files and in the log, and add it to the group if it is wanted.
    fn take_key(&mut self, report: &mut Report, is_wanted: bool) -> Result<(), Trouble> {
        let field = Key::split(&self.key);
        if is_wanted && field.is_ambiguous() {
            report.findings.push(Finding::Odd {
                path: None,
                key: self.key.clone(),
                what: Oddity::Ambiguous,
            });
        }
        let (group, held, options) = (&mut self.group, &self.shard.held, self.options);
        let first = group.runs.len();
        let mut logged = logged(self.shard, self.log, &self.key).peekable();
        for (i, head) in self.heads.iter_mut().enumerate() {
            while let Some(next) = logged.next_if(|logged| logged.above <= i) {
                self.log += 1;
                group.logged(next, is_wanted, held, options);
            }
            if head.cursor.key() != self.key {
                continue;
            }
            let done = match is_wanted {
                true => head.read(i, group, options, report),
                false => Ok(()),
            };
            if let Err(trouble) = done.and_then(|()| head.advance()) {
                head.cursor.close();
                report.bear(trouble, options.keep_going)?;
            }
        }
        for next in logged {
            self.log += 1;
            group.logged(next, is_wanted, held, options);
        }
        group.field(field.field, first);
        Ok(())
    }
}

impl Drop for Planner<'_> {
    fn drop(&mut self) {
        if self.is_scarce {
            self.pages.iter().for_each(|pages| pages.spare(false));
        }
    }
}

impl Head<'_> {
    /// How far the walk through the file is, in bytes of blocks: as far as that through the index.
    fn passed(&self) -> u64 {
        let (index, blocks) = (self.member.file.index(), self.member.file.blocks());
        let keys = u128::from(self.cursor.at().saturating_sub(index.start));
        let all = u128::from((index.end - index.start).max(1));
        (u128::from(blocks.end - blocks.start) * keys / all) as u64
    }

    fn advance(&mut self) -> Result<(), Trouble> {
        let advanced = self.cursor.advance();
        advanced.map_err(|err| Trouble::new(&self.member.path, err))?;
        Ok(())
    }

    /// Add the entries of the key that are wanted and not wholly deleted.
    fn read(
        &mut self,
        file: usize,
        group: &mut Group,
        options: &Options,
        report: &mut Report,
    ) -> Result<(), Trouble> {
        let Self {
            member,
            cursor,
            deleted,
            density,
        } = self;
        let origin = Origin::File(file, cursor.kind());
        let deleted = deleted
            .ranges(cursor.key())
            .map_err(|err| Trouble::new(&member.path, err))?;
        let first = group.entries.len();
        loop {
            let at = cursor.at();
            let entry = cursor
                .entry()
                .map_err(|err| Trouble::new(&member.path, err))?;
            let Some(entry) = entry else {
                break;
            };
            if let Some(fault) = member.survey.fault_at(at) {
                let trouble = Trouble::with_key(&member.path, &fault.key, fault.error.clone());
                report.bear(trouble, options.keep_going)?;
                continue;
            }
            let is_wanted = entry.max >= options.first && entry.min <= options.last;
            if is_wanted && !is_deleted(&entry, deleted) {
                group.entries.push(entry);
            }
        }
        let entries = group.entries.get(first..).unwrap_or_default();
        report.bytes += density.look(member, entries);
        group.run(origin, first, deleted, density.thousands);
        Ok(())
    }
}

/// What the logs hold of a key, oldest first, from a place among all keys on.
fn logged<'a>(shard: &'a Shard, from: usize, key: &'a [u8]) -> impl Iterator<Item = &'a Logged> {
    let ahead = shard.log.iter().skip(from);
    ahead.take_while(move |logged| logged.key == key)
}
