//! Which blocks make up which line? Walks the indexes of all files of a shard and its log together, gathers the
//! fields of a series, and cuts it into slices of time that can be decoded within bounds.
//!
//! A cut stands where blocks begin, so that with blocks of equal times nothing is decoded twice. A block that
//! reaches over a cut is decoded in both slices; a slice holds at least as many other blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::ops::Range;

use crate::lp::escape::{self, Place};
use crate::tsm::index::{Cursor, Entry};
use crate::tsm::key::{self, Key};
use crate::tsm::merge::Column;
use crate::tsm::shard::{Logged, Member, Shard, Trouble};
use crate::tsm::tombstone;

use super::twins::Twins;
use super::unit::{Origin, Part, Piece, Slice, Unit};
use super::weigh::{self, Density, Sweep, weight};
use super::{Finding, Oddity, Options, Report};

/// Weight of a slice with few fields and of a unit of short series. A thousand numbers weigh 1 and take 16 KB decoded.
const LIGHT: usize = 32;
/// Text that a unit of short series and a slice with few fields become, as far as that can be foreseen.
const TEXT: usize = 1 << 20;
/// Weight up to which slices grow with that of the blocks that reach over a cut.
const HEAVY: usize = 1024;
/// Values of the log that count as one block.
const STRETCH: usize = 1000;
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

/// All that is wanted of one series, or of one key if each value gets its line.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) series: Vec<u8>,
    names: Vec<u8>,
    pub(super) fields: Vec<Field>,
    runs: Vec<Run>,
    entries: Vec<Entry>,
    deleted: Vec<(i64, i64)>,
    /// Where the next slice starts; `None` if nothing is left.
    from: Option<i64>,
    is_first: bool,
    /// What it weighs, and how much of that is done.
    weight: usize,
    done: usize,
    /// What a weight of 1 becomes, in bytes of text.
    text: usize,
}

#[derive(Debug)]
pub(super) struct Field {
    name: Range<usize>,
    runs: Range<usize>,
}

/// The blocks of one key in one file.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) origin: Origin,
    /// By first time. In `Group::entries`, those that are done with left out.
    entries: Range<usize>,
    deleted: Range<usize>,
    /// How many thousands of values a block may hold.
    thousands: usize,
    /// Blocks overlap: a later one may end before an earlier one.
    is_tangled: bool,
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
        Ok(Self {
            shard,
            options,
            heads,
            log: 0,
            key: Vec::new(),
            group: Group::default(),
            measurement: (Vec::new(), options.measurements.is_empty()),
            twins: Twins::default(),
            before: 0,
            behind: 0,
        })
    }

    /// The same walk for somebody who reads no block.
    pub(super) fn of_indexes(shard: &'a Shard, options: &'a Options) -> Result<Self, Trouble> {
        let mut planner = Self::new(shard, options)?;
        let heads = planner.heads.iter_mut();
        heads.for_each(|head| head.density = Density::blind());
        Ok(planner)
    }

    /// How far the walk is, in bytes of blocks. Those that are not wanted count when they are passed by.
    pub fn passed(&self) -> u64 {
        let (done, weight) = (self.group.done as u64, self.group.weight.max(1) as u64);
        let step = u128::from(self.behind - self.before) * u128::from(done.min(weight));
        self.before + (step / u128::from(weight)) as u64
    }

    /// Fill `unit` with the next work, which may be none; `false` if there is none left.
    pub fn next(&mut self, unit: &mut Unit, report: &mut Report) -> Result<bool, Trouble> {
        unit.clear();
        while unit.weight < LIGHT && unit.text < TEXT {
            if self.group.from.is_none() {
                self.before = self.behind;
                let gathered = self.gather(report)?;
                self.behind = self.heads.iter().map(Head::passed).sum();
                if gathered != Gathered::Series {
                    return Ok(gathered == Gathered::Nothing || !unit.slices.is_empty());
                }
            }
            self.group.slice(self.options.last, unit);
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
            self.twins.see(&self.group.series);
            loop {
                self.take_key(report, true)?;
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
        let (group, options) = (&mut self.group, self.options);
        let first = group.runs.len();
        let mut logged = logged(self.shard, self.log, &self.key).peekable();
        for (i, head) in self.heads.iter_mut().enumerate() {
            while let Some(next) = logged.next_if(|(_, logged)| logged.above <= i) {
                self.log += 1;
                group.logged(next, options, is_wanted);
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
            group.logged(next, options, is_wanted);
        }
        group.field(field.field, first);
        Ok(())
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

/// What the logs hold of a key, oldest first, from a place among all keys on; with its place.
fn logged<'a>(
    shard: &'a Shard,
    from: usize,
    key: &'a [u8],
) -> impl Iterator<Item = (usize, &'a Logged)> {
    let ahead = shard.log.iter().enumerate().skip(from);
    ahead.take_while(move |(_, logged)| logged.key == key)
}

/// Whether one of the ranges covers a whole block.
fn is_deleted(entry: &Entry, deleted: &[(i64, i64)]) -> bool {
    let at = deleted.partition_point(|(_, max)| *max < entry.max);
    deleted.get(at).is_some_and(|(min, _)| *min <= entry.min)
}

impl Group {
    fn begin(&mut self, series: &[u8]) {
        self.series.clear();
        self.series.extend_from_slice(series);
        self.names.clear();
        self.fields.clear();
        self.runs.clear();
        self.entries.clear();
        self.deleted.clear();
        self.is_first = true;
    }

    /// Close a run that holds the entries from `first` on.
    fn run(&mut self, origin: Origin, first: usize, deleted: &[(i64, i64)], thousands: usize) {
        let entries = first..self.entries.len();
        let Some(added) = self
            .entries
            .get_mut(entries.clone())
            .filter(|added| !added.is_empty())
        else {
            return;
        };
        let is_tangled = !added.is_sorted_by(|a, b| a.max < b.min);
        if is_tangled {
            added.sort_by_key(|entry| entry.min);
        }
        let start = self.deleted.len();
        self.deleted.extend_from_slice(deleted);
        self.runs.push(Run {
            origin,
            entries,
            deleted: start..self.deleted.len(),
            thousands,
            is_tangled,
        });
    }

    /// Add all columns of a key of the log.
    fn logged(&mut self, (at, logged): (usize, &Logged), options: &Options, is_wanted: bool) {
        for (i, column) in logged.columns.iter().enumerate().filter(|_| is_wanted) {
            self.log(Origin::Log(at, i), column, options);
        }
    }

    /// Add a column of the log, cut into stretches that stand for blocks.
    fn log(&mut self, origin: Origin, column: &Column, options: &Options) {
        let first = self.entries.len();
        for (i, times) in column.times.chunks(STRETCH).enumerate() {
            let (Some(&min), Some(&max)) = (times.first(), times.last()) else {
                continue;
            };
            if max >= options.first && min <= options.last {
                let (offset, size) = ((i * STRETCH) as u64, times.len() as u32);
                self.entries.push(Entry {
                    min,
                    max,
                    offset,
                    size,
                });
            }
        }
        self.run(origin, first, &[], 1);
    }

    /// Close a field that has the runs from `first` on.
    fn field(&mut self, name: &[u8], first: usize) {
        let runs = first..self.runs.len();
        if !runs.is_empty() {
            let start = self.names.len();
            self.names.extend_from_slice(name);
            let name = start..self.names.len();
            self.fields.push(Field { name, runs });
        }
    }

    /// All fields are there; `false` if nothing of them is wanted.
    fn start(&mut self, first: i64) -> bool {
        let weights = self.runs.iter().map(|run| {
            let entries = self.entries(run).iter();
            entries
                .map(|entry| weight(run.origin, entry, run.thousands))
                .sum::<usize>()
        });
        (self.weight, self.done) = (weights.sum(), 0);
        // A thousand values: with few fields there are more lines, and the series is in each of them.
        let fields = self.fields.len().max(1);
        let line = self.series.len() + self.names.len() + 24 + 16 * fields;
        self.text = 1000 * line / fields;
        let min = self.entries.iter().map(|entry| entry.min).min();
        self.from = min.map(|min| min.max(first));
        self.from.is_some()
    }

    /// Add the next slice to `unit`. `last` is the last time that is wanted.
    fn slice(&mut self, last: i64, unit: &mut Unit) {
        let Some(from) = self.from else {
            return;
        };
        let (to, weight) = self.cut(from, last);
        let series = unit.name(&self.series);
        let parts = unit.parts.len();
        for field in &self.fields {
            let pieces = unit.pieces.len();
            for run in self.field_runs(field).1 {
                self.pieces(run, from, to, unit);
            }
            if unit.pieces.len() > pieces {
                let name = unit.name(self.field_runs(field).0);
                let pieces = pieces..unit.pieces.len();
                unit.parts.push(Part { name, pieces });
            }
        }
        unit.slices.push(Slice {
            series,
            parts: parts..unit.parts.len(),
            times: from..=to,
            is_first: mem::take(&mut self.is_first),
        });
        // A series weighs something even if it has but one value.
        unit.weight += weight;
        unit.text += weight * self.text;
        self.done += weight;
        self.advance(to, last);
    }

    fn pieces(&self, run: &Run, from: i64, to: i64, unit: &mut Unit) {
        let entries = self.entries(run);
        let end = entries.partition_point(|entry| entry.min <= to);
        let met = entries.get(..end).unwrap_or_default().iter();
        let first = unit.pieces.len();
        let deleted = unit.deleted.len();
        for entry in met.filter(|entry| entry.max >= from) {
            unit.strings += weigh::strings(run.origin, entry);
            unit.pieces.push(Piece {
                origin: run.origin,
                entry: *entry,
                deleted: (deleted, deleted),
            });
        }
        let Some(added) = unit
            .pieces
            .get_mut(first..)
            .filter(|added| !added.is_empty())
        else {
            return;
        };
        let ranges = self.deleted(run);
        let met = ranges
            .iter()
            .filter(|(min, max)| *max >= from && *min <= to);
        unit.deleted.extend(met);
        let deleted = (deleted, unit.deleted.len());
        added.iter_mut().for_each(|piece| piece.deleted = deleted);
        if run.is_tangled {
            // Of blocks that overlap the later one in the file wins.
            added.sort_by_key(|piece| piece.entry.offset);
        }
    }

    pub(super) fn entries(&self, run: &Run) -> &[Entry] {
        self.entries.get(run.entries.clone()).unwrap_or_default()
    }

    pub(super) fn deleted(&self, run: &Run) -> &[(i64, i64)] {
        self.deleted.get(run.deleted.clone()).unwrap_or_default()
    }

    /// The key of a field, and what there is of it in each file and in the log, oldest first.
    pub(super) fn field_runs(&self, field: &Field) -> (&[u8], &[Run]) {
        let name = self.names.get(field.name.clone()).unwrap_or_default();
        (name, self.runs.get(field.runs.clone()).unwrap_or_default())
    }

    /// Where a slice that starts at `from` ends, and what it weighs.
    fn cut(&self, from: i64, last: i64) -> (i64, usize) {
        let mut sweep = Sweep::default();
        let mut ahead = BinaryHeap::new();
        for (i, run) in self.runs.iter().enumerate() {
            let entries = self.entries(run);
            let at = entries.partition_point(|entry| entry.min <= from);
            let begun = entries.get(..at).unwrap_or_default().iter();
            let begun = begun.filter(|entry| entry.max >= from);
            begun.for_each(|entry| sweep.begin(entry, weight(run.origin, entry, run.thousands)));
            ahead.extend(entries.get(at).map(|entry| Reverse((entry.min, i, at))));
        }
        let light = LIGHT.min(TEXT / self.text.max(1));
        let mut latest = from;
        while let Some(Reverse((min, i, at))) = ahead.pop() {
            let Some((run, entry)) = self
                .runs
                .get(i)
                .and_then(|run| Some((run, self.entries(run).get(at)?)))
            else {
                break;
            };
            let more = weight(run.origin, entry, run.thousands);
            if min > latest && sweep.sum + more > light {
                let over = sweep.over(min);
                if sweep.sum + more > (4 * over).min(HEAVY).max(2 * over) {
                    return (min - 1, sweep.sum);
                }
            }
            sweep.begin(entry, more);
            latest = min;
            let next = self.entries(run).get(at + 1);
            ahead.extend(next.map(|entry| Reverse((entry.min, i, at + 1))));
        }
        (last, sweep.sum)
    }

    /// Drop what lies before `to` and find where the next slice starts.
    fn advance(&mut self, to: i64, last: i64) {
        self.from = None;
        if to >= last {
            return;
        }
        for run in &mut self.runs {
            let entries = self.entries.get(run.entries.clone()).unwrap_or_default();
            let is_ahead = |entry: &Entry| entry.max > to;
            let done = entries.iter().position(is_ahead).unwrap_or(entries.len());
            run.entries.start += done;
            let ahead = entries.iter().skip(done).filter(|entry| is_ahead(entry));
            let wanted = if run.is_tangled { usize::MAX } else { 1 };
            let next = ahead.take(wanted).map(|entry| entry.min.max(to + 1)).min();
            self.from = self.from.into_iter().chain(next).min();
        }
    }
}
