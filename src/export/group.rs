//! What there is of one series in all files and in the log, and its slices of time that can be decoded within bounds.
//!
//! A cut stands where blocks begin, so that with blocks of equal times nothing is decoded twice. A block that
//! reaches over a cut is decoded in both slices; a slice holds at least as many other blocks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::ops::Range;

use crate::tsm::index::Entry;
use crate::tsm::shard::Logged;
use crate::tsm::wal;

use super::Options;
use super::unit::{LIGHT, Origin, Part, Piece, Slice, TEXT, Unit};
use super::weigh::{self, Sum, Sweep, share};

/// Weight up to which slices grow with that of the blocks that reach over a cut.
const HEAVY: usize = 1_024_000;

/// What a block adds to a slice however few values it has, and what a chunk of the log: its field needs memory, and there
/// may be very many.
const BLOCK: usize = 500;
const CHUNK: usize = 60;

/// Memory that a group may keep from series to series, and take beside all else that is used again.
pub(super) const MUCH: usize = 8 << 20;

/// All that is wanted of one series, or of one key if each value gets its line.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) series: Vec<u8>,
    names: Vec<u8>,
    pub(super) fields: Vec<Field>,
    pub(super) runs: Vec<Run>,
    pub(super) entries: Vec<Entry>,
    deleted: Vec<(i64, i64)>,
    /// Where the next slice starts; `None` if nothing is left.
    pub(super) from: Option<i64>,
    is_first: bool,
    /// It is one slice.
    is_whole: bool,
    /// Runs of which no slice has had anything, by the first time of each; the next one is the last.
    ahead: Vec<(i64, usize)>,
    /// Runs that have begun and are not done with, ascending.
    begun: Vec<usize>,
    /// What it weighs, and how much of that is done.
    pub(super) weight: usize,
    pub(super) done: usize,
    /// What all of it becomes, in bytes of text.
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
    /// Its field, by position.
    field: usize,
    /// By first time. In `Group::entries`, those that are done with left out.
    entries: Range<usize>,
    deleted: Range<usize>,
    /// How many values a block may hold.
    values: usize,
    /// Blocks overlap: a later one may end before an earlier one.
    is_tangled: bool,
}

/// Whether one of the ranges covers a whole block.
pub(super) fn is_deleted(entry: &Entry, deleted: &[(i64, i64)]) -> bool {
    let at = deleted.partition_point(|(_, max)| *max < entry.max);
    deleted.get(at).is_some_and(|(min, _)| *min <= entry.min)
}

impl Group {
    /// How much memory it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.names.capacity()
            + self.fields.capacity() * size_of::<Field>()
            + self.runs.capacity() * (size_of::<Run>() + size_of::<(i64, usize)>())
            + self.entries.capacity() * size_of::<Entry>()
            + self.deleted.capacity() * size_of::<(i64, i64)>()
    }

    pub(super) fn begin(&mut self, series: &[u8]) {
        if self.memory() > MUCH {
            *self = Self::default();
        }
        self.series.clear();
        self.series.extend_from_slice(series);
        self.names.clear();
        self.fields.clear();
        self.runs.clear();
        self.entries.clear();
        self.deleted.clear();
        self.is_first = true;
    }

    /// Close a run that holds the entries from `first` on, blocks of at most so many values.
    pub(super) fn run(
        &mut self,
        origin: Origin,
        first: usize,
        deleted: &[(i64, i64)],
        values: usize,
    ) {
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
            field: self.fields.len(),
            entries,
            deleted: start..self.deleted.len(),
            values,
            is_tangled,
        });
    }

    /// Add all chunks of a key of the log, which stand for blocks: a run for each type.
    pub(super) fn logged(
        &mut self,
        logged: &Logged,
        is_wanted: bool,
        held: &wal::Chunks,
        options: &Options,
    ) {
        let chunks = held.of(&logged.chunks).filter(|_| is_wanted);
        let mut chunks = chunks.peekable();
        while let Some(kind) = chunks.peek().map(|(_, chunk)| chunk.kind) {
            let first = self.entries.len();
            while let Some((at, chunk)) = chunks.next_if(|(_, chunk)| chunk.kind == kind) {
                if chunk.last >= options.first && chunk.first <= options.last {
                    self.entries.push(Entry {
                        min: chunk.first,
                        max: chunk.last,
                        offset: at as u64,
                        size: chunk.extent(),
                    });
                }
            }
            self.run(Origin::Log(kind), first, &[], 1000);
        }
    }

    /// Close a field that has the runs from `first` on.
    pub(super) fn field(&mut self, name: &[u8], first: usize) {
        let runs = first..self.runs.len();
        if !runs.is_empty() {
            let start = self.names.len();
            self.names.extend_from_slice(name);
            let name = start..self.names.len();
            self.fields.push(Field { name, runs });
        }
    }

    /// All fields are there; `false` if nothing of them is wanted.
    pub(super) fn start(&mut self, first: i64) -> bool {
        let entries = self.runs.iter();
        let entries =
            entries.flat_map(|run| self.entries(run).iter().map(move |entry| (run, entry)));
        let (mut all, mut values) = (0, 0);
        for (run, entry) in entries {
            all += run.weight(entry);
            values += weigh::values(run.origin, entry, run.values);
        }
        (self.weight, self.done) = (all, 0);
        // With few fields there are more lines, and the series is in each of them.
        let fields = self.fields.len().max(1);
        let line = self.series.len() + self.names.len() + 24 + 16 * fields;
        self.text = values.saturating_mul(line) / fields;
        self.is_whole = all <= LIGHT && self.text <= TEXT;
        let (mut begun, mut ahead) = (mem::take(&mut self.begun), mem::take(&mut self.ahead));
        let starts = self.runs.iter().enumerate();
        let starts = starts.filter_map(|(i, run)| Some((self.entries(run).first()?.min, i)));
        let from = starts.clone().map(|(min, _)| min.max(first)).min();
        begun.clear();
        ahead.clear();
        match self.is_whole {
            true => begun.extend(0..self.runs.len()),
            false => {
                ahead.extend(starts);
                ahead.sort_unstable_by_key(|start| Reverse(*start));
            }
        }
        (self.begun, self.ahead, self.from) = (begun, ahead, from);
        from.is_some()
    }

    /// Add the next slice to `unit`; what its blocks come to. `last` is the last time that is wanted.
    pub(super) fn slice(&mut self, last: i64, unit: &mut Unit) -> Sum {
        let (mut sum, mut before) = (Sum::default(), 0..0);
        let Some(from) = self.from else {
            return sum;
        };
        self.admit(from);
        let (to, weight) = match self.is_whole {
            true => (last, self.weight),
            false => self.cut(from, last),
        };
        self.admit(to);
        let series = unit.name(&self.series);
        let parts = unit.parts.len();
        let runs = self.begun.iter().filter_map(|i| self.runs.get(*i));
        let mut runs = runs.peekable();
        while let Some(run) = runs.next() {
            let (field, pieces) = (run.field, unit.pieces.len());
            let held = sum.values;
            self.pieces(run, from, to, unit, &mut sum);
            while let Some(run) = runs.next_if(|run| run.field == field) {
                self.pieces(run, from, to, unit, &mut sum);
            }
            let own = pieces..unit.pieces.len();
            if !unit.spans(&before).eq(unit.spans(&own)) {
                sum.times += sum.values - held;
            }
            before = own;
            if let Some(field) = self.fields.get(field)
                && unit.pieces.len() > pieces
            {
                let name = unit.name(self.field_runs(field).0);
                let pieces = pieces..unit.pieces.len();
                unit.parts.push(Part { name, pieces });
                sum.fields += 1;
            }
        }
        unit.slices.push(Slice {
            series,
            parts: parts..unit.parts.len(),
            times: from..=to,
            is_first: mem::take(&mut self.is_first),
        });
        (unit.weight, unit.text) = match self.is_whole {
            true => (unit.weight + sum.values, unit.text + self.text),
            false => (
                unit.weight + weight,
                unit.text + share(self.text, weight, self.weight),
            ),
        };
        self.done += weight;
        self.advance(to, last);
        sum
    }

    /// Runs that have something at `time` or before have begun.
    fn admit(&mut self, time: i64) {
        let before = self.begun.len();
        while let Some((_, i)) = self.ahead.pop_if(|(min, _)| *min <= time) {
            self.begun.push(i);
        }
        if self.begun.len() > before {
            self.begun.sort_unstable();
        }
    }

    /// Add the pieces of a run, and what they come to.
    fn pieces(&self, run: &Run, from: i64, to: i64, unit: &mut Unit, sum: &mut Sum) {
        let entries = self.entries(run);
        let end = entries.partition_point(|entry| entry.min <= to);
        let met = entries.get(..end).unwrap_or_default().iter();
        let first = unit.pieces.len();
        let deleted = unit.deleted.len();
        for entry in met.filter(|entry| entry.max >= from) {
            sum.values += weigh::weight(run.origin, entry, run.values);
            sum.has_strings |= weigh::strings(run.origin, entry) > 0;
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
        let first = ranges.partition_point(|(_, max)| *max < from);
        let met = ranges.iter().skip(first);
        unit.deleted.extend(met.take_while(|(min, _)| *min <= to));
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
        let mut next = BinaryHeap::new();
        for &i in &self.begun {
            let Some(run) = self.runs.get(i) else {
                continue;
            };
            let entries = self.entries(run);
            let at = entries.partition_point(|entry| entry.min <= from);
            let begun = entries.get(..at).unwrap_or_default().iter();
            let begun = begun.filter(|entry| entry.max >= from);
            begun.for_each(|entry| sweep.begin(entry, run.weight(entry)));
            next.extend(entries.get(at).map(|entry| Reverse((entry.min, i, at))));
        }
        let mut ahead = self.ahead.iter().rev().map(|(min, i)| (*min, *i, 0));
        next.extend(ahead.next().map(Reverse));
        let light = LIGHT.min(share(TEXT, self.weight, self.text));
        let mut latest = from;
        while let Some(Reverse((min, i, at))) = next.pop() {
            let Some((run, entry)) = self
                .runs
                .get(i)
                .and_then(|run| Some((run, self.entries(run).get(at)?)))
            else {
                break;
            };
            let more = run.weight(entry);
            if min > latest && sweep.sum + more > light {
                let over = sweep.over(min);
                if sweep.sum + more > (4 * over).min(HEAVY).max(2 * over) {
                    return (min - 1, sweep.sum);
                }
            }
            sweep.begin(entry, more);
            latest = min;
            let following = self.entries(run).get(at + 1);
            next.extend(following.map(|entry| Reverse((entry.min, i, at + 1))));
            // Of the runs that have not begun one waits among the others at a time.
            if at == 0 && self.begun.binary_search(&i).is_err() {
                next.extend(ahead.next().map(Reverse));
            }
        }
        (last, sweep.sum)
    }

    /// Drop what lies before `to` and find where the next slice starts.
    fn advance(&mut self, to: i64, last: i64) {
        self.from = None;
        if to >= last {
            return;
        }
        let (runs, entries) = (&mut self.runs, &self.entries);
        let mut from = self.ahead.last().map(|(min, _)| *min);
        self.begun.retain(|i| {
            let next = runs.get_mut(*i).and_then(|run| run.pass(entries, to));
            from = from.into_iter().chain(next).min();
            next.is_some()
        });
        self.from = from;
    }
}

impl Run {
    /// What a block or a chunk adds to a slice.
    fn weight(&self, entry: &Entry) -> usize {
        let least = match self.origin {
            Origin::File(..) => BLOCK,
            Origin::Log(_) => CHUNK,
        };
        weigh::weight(self.origin, entry, self.values).max(least)
    }

    /// Drop what lies before `to`; the first time behind it.
    fn pass(&mut self, entries: &[Entry], to: i64) -> Option<i64> {
        let entries = entries.get(self.entries.clone()).unwrap_or_default();
        let is_ahead = |entry: &Entry| entry.max > to;
        let done = entries.iter().position(is_ahead).unwrap_or(entries.len());
        self.entries.start += done;
        let ahead = entries.iter().skip(done).filter(|entry| is_ahead(entry));
        let wanted = if self.is_tangled { usize::MAX } else { 1 };
        ahead.take(wanted).map(|entry| entry.min.max(to + 1)).min()
    }
}
