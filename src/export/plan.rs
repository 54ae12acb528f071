//! Which blocks make up which line? Walks the indexes of all files of a shard and its log together, gathers the
//! fields of a series, and fills units with its slices.

use std::mem;

use crate::lp::escape::{self, Place};
use crate::pages::Supply;
use crate::tsm::index::Cursor;
use crate::tsm::key::{self, Key};
use crate::tsm::shard::{Logged, Member, Shard, Trouble};
use crate::tsm::tombstone;

use super::group::{Group, MUCH, is_deleted};
use super::twins::Twins;
use super::unit::{Origin, Unit};
use super::weigh::{Density, Scales, share};
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
    /// The smallest key that has not been dealt with, and how much of it is the series; whether there is one, if that is
    /// known.
    key: Vec<u8>,
    series: usize,
    is_there: Option<bool>,
    /// The first file that has this key; behind the last one if only the log has it.
    first: usize,
    pub(super) group: Group,
    /// The measurement last asked about, and the answer.
    measurement: (Vec<u8>, bool),
    twins: Twins,
    scales: Scales,
    /// What is to be spared while the group takes much memory.
    pages: Option<&'a Supply>,
    is_scarce: bool,
    /// Where in the log the group began.
    log_before: usize,
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
    /// Where in the index the group began.
    before: u64,
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
                before: member.file.index().start,
                deleted: member.deleted.cursor(),
                density: Density::default(),
            };
            head.advance()?;
            heads.push(head);
        }
        Ok(Self {
            shard,
            options,
            heads,
            log: 0,
            key: Vec::new(),
            series: 0,
            is_there: None,
            first: 0,
            group: Group::default(),
            measurement: (Vec::new(), options.measurements.is_empty()),
            twins: Twins::default(),
            scales: Scales::default(),
            pages: None,
            is_scarce: false,
            log_before: 0,
        })
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
        let passed = |at: fn(&Head<'_>) -> u64| -> usize {
            let heads = self.heads.iter().map(|head| head.passed(at(head)));
            heads.sum()
        };
        let before = passed(|head| head.before) + self.logged(self.log_before);
        let behind = passed(|head| head.cursor.at()) + self.logged(self.log);
        let done = share(behind - before, self.group.done, self.group.weight);
        (before + done) as u64
    }

    /// How far a walk through the log is, in bytes of its segments: half of the work was done when they had been read.
    fn logged(&self, at: usize) -> usize {
        let half = self.shard.segments as usize / 2;
        half + share(half, at, self.shard.log.len())
    }

    /// A group begins.
    fn mark(&mut self) {
        self.log_before = self.log;
        for head in &mut self.heads {
            head.before = head.cursor.at();
        }
    }

    /// Fill `unit` with the next work, which may be none; `false` if there is none left.
    pub fn next(&mut self, unit: &mut Unit, report: &mut Report) -> Result<bool, Trouble> {
        unit.clear();
        while !unit.is_full() {
            if self.group.from.is_none() {
                self.mark();
                let gathered = self.gather(report)?;
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
            if !self.is_wanted() {
                self.take_key(report, false)?;
                continue;
            }
            self.group.begin(Key::cut(&self.key, self.series).series);
            self.twins.see(&self.group.series);
            loop {
                self.take_key(report, true)?;
                self.spare();
                let goes_on = !self.options.per_field && self.smallest();
                if !goes_on || Key::cut(&self.key, self.series).series != self.group.series {
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
        if let Some(is_there) = self.is_there {
            return is_there;
        }
        let heads = self.heads.iter().map(|head| head.cursor.key());
        let log = self.shard.log.get(self.log);
        // No file has an empty key, but a log may.
        let smallest = heads
            .enumerate()
            .filter(|(_, key)| !key.is_empty())
            .chain(log.map(|logged| (self.heads.len(), &logged.key[..])))
            .min_by_key(|(_, key)| *key);
        self.key.clear();
        let (first, key) = smallest.unwrap_or_default();
        self.key.extend_from_slice(key);
        self.first = first;
        let is_there = smallest.is_some();
        self.series = Key::split(&self.key).series.len();
        self.is_there = Some(is_there);
        is_there
    }

    /// Whether the measurement of the key is selected.
    fn is_wanted(&mut self) -> bool {
        if self.options.measurements.is_empty() {
            return true;
        }
        let spelled = key::measurement(Key::cut(&self.key, self.series).series);
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
        self.is_there = None;
        let field = Key::cut(&self.key, self.series);
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
            if i < self.first || (i > self.first && head.cursor.key() != self.key) {
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
    /// How far a walk through the file is at a place of the index, in bytes of blocks: as far as that through the index.
    fn passed(&self, at: u64) -> usize {
        let (index, blocks) = (self.member.file.index(), self.member.file.blocks());
        let [of, done, all] = [
            blocks.end - blocks.start,
            at.saturating_sub(index.start),
            index.end - index.start,
        ];
        share(of as usize, done as usize, all as usize)
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
            ..
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
        let values = density.most(member, entries);
        report.bytes += mem::take(&mut density.read);
        group.run(origin, first, deleted, values);
        Ok(())
    }
}

/// What the logs hold of a key, oldest first, from a place among all keys on.
fn logged<'a>(shard: &'a Shard, from: usize, key: &'a [u8]) -> impl Iterator<Item = &'a Logged> {
    let ahead = shard.log.iter().skip(from);
    ahead.take_while(move |logged| logged.key == key)
}
