//! From a unit to text: read, check, unpack, merge and print.

use std::mem;

use crate::lp::misfit::{self, Misfit};
use crate::rows::{Kind, Values};
use crate::tsm::block::{self, Block};
use crate::tsm::index::Entry;
use crate::tsm::key::SEPARATOR;
use crate::tsm::merge::{Column, Merger};
use crate::tsm::shard::{Member, Shard, Trouble};
use crate::tsm::wal::Chunk;
use crate::tsm::{Error, ErrorKind, ReadError};

use super::clock::Sections;
use super::fetch::Fetcher;
use super::lane::Lanes;
use super::outlet::Outlet;
use super::print::{self, Printer};
use super::unit::{Origin, Part, Piece, Slice, Unit};
use super::{Finding, Oddity, Options, Report, Unprintable, careful};

/// Memory that a worker may keep from unit to unit.
const KEPT: usize = 1 << 20;
/// What the values of a slice take, in bytes, that leaves more memory behind than it is worth to keep.
const HEAVY: usize = 3 << 19;

/// Clocks or fields among which the same times are looked for. To miss them costs time, not lines.
const RECENT: usize = 32;

/// Turns units into text, one at a time, with memory that is used again.
#[derive(Debug, Default)]
pub struct Worker {
    fetcher: Fetcher,
    sections: Sections,
    merger: Merger,
    merged: Vec<Column>,
    lanes: Lanes,
    /// By lane, for those that are made of whole blocks: their sections, in `beats`. All others have a clock.
    places: Vec<Option<(usize, usize)>>,
    beats: Vec<usize>,
    clocks: Vec<Vec<i64>>,
    spare_clocks: Vec<Vec<i64>>,
    printer: Printer,
}

/// What all steps of one unit need.
struct Job<'a> {
    unit: &'a Unit,
    shard: &'a Shard,
    options: &'a Options,
    report: &'a mut Report,
}

/// One field of one slice.
#[derive(Clone, Copy)]
struct Task<'a> {
    slice: &'a Slice,
    series: &'a [u8],
    field: &'a [u8],
    misfit: Option<Misfit>,
    /// Servers may end a record of it too early.
    splits_early: bool,
}

/// What has been found of a field so far.
struct Found {
    /// The type of whole blocks, one behind the other, as long as there was nothing else. Their values are in the next lane.
    kind: Option<Kind>,
    /// Where the sections of these blocks start in `Worker::beats`.
    beats: usize,
    /// The last time of these blocks.
    last: Option<i64>,
    /// The merger has it all.
    is_merged: bool,
}

impl Found {
    /// Whether a block of this type, whole and in order, from the first of these times to the last one, can stand behind
    /// those that are there.
    fn goes_on(&self, kind: Kind, extremes: Option<(i64, i64)>) -> bool {
        let follows = |(first, _)| self.last.is_none_or(|last| last < first);
        let is_same = self.kind.is_none_or(|own| own == kind);
        !self.is_merged && is_same && extremes.is_none_or(follows)
    }

    /// Where the values of such a block are to be appended.
    fn values<'a>(
        &mut self,
        lanes: &'a mut Lanes,
        merger: &mut Merger,
        kind: Kind,
    ) -> &'a mut Values {
        let values = lanes.values();
        if self.kind.replace(kind).is_some() {
            return values;
        }
        values.clear();
        if values.kind() != kind {
            // What the lane had goes back to where the merger takes it from: so neither has ever more.
            let mut column = merger.fresh(kind);
            mem::swap(values, &mut column.values);
            merger.reclaim(column);
        }
        values
    }
}

impl Worker {
    /// Append the text of a unit to `out`, whole lines. On an error it ends with the slice before.
    pub fn run(
        &mut self,
        unit: &Unit,
        shard: &Shard,
        options: &Options,
        out: &mut Outlet<'_>,
        report: &mut Report,
    ) -> Result<(), Trouble> {
        let mut job = Job {
            unit,
            shard,
            options,
            report,
        };
        job.report.keep_rejects = options.keep_rejects;
        self.fetcher.clear();
        let done = unit
            .slices
            .iter()
            .try_for_each(|slice| self.slice(slice, &mut job, out));
        if done.is_err() || unit.widest > HEAVY {
            *self = Self::default();
        }
        done
    }

    fn slice(
        &mut self,
        slice: &Slice,
        job: &mut Job<'_>,
        out: &mut Outlet<'_>,
    ) -> Result<(), Trouble> {
        let unit = job.unit;
        let series = unit.bytes(&slice.series);
        self.sections.advance();
        let mut task = Task {
            slice,
            series,
            field: &[],
            misfit: None,
            splits_early: false,
        };
        if !misfit::is_tame(series) {
            task.misfit = misfit::series(series);
            task.splits_early = misfit::splits_early(series);
        }
        for part in unit.parts.get(slice.parts.clone()).unwrap_or_default() {
            task.field = unit.bytes(&part.name);
            self.part(part, task, job)?;
        }
        self.print(series, out, job.report);
        self.clear();
        Ok(())
    }

    fn print(&mut self, series: &[u8], out: &mut Outlet<'_>, report: &mut Report) {
        let Self {
            lanes,
            sections,
            printer,
            ..
        } = self;
        let lanes = lanes.used();
        if let Some(beats) = shared(&self.places, &self.beats) {
            let extremes = |id: &usize| sections.get(*id)?.extremes();
            if print::is_plain(series, lanes, beats.iter().filter_map(extremes)) {
                return printer.lockstep(series, lanes, beats, sections, out, report);
            }
        }
        self.settle_clocks();
        self.printer
            .joined(series, self.lanes.used(), &self.clocks, out, report);
    }

    /// Merge one field and make lanes of it, or count what cannot be printed.
    fn part(&mut self, part: &Part, task: Task<'_>, job: &mut Job<'_>) -> Result<(), Trouble> {
        let mut found = Found {
            kind: None,
            beats: self.beats.len(),
            last: None,
            is_merged: false,
        };
        for at in part.pieces.clone() {
            self.piece(at, at - part.pieces.start, task, &mut found, job)?;
        }
        if found.kind.is_some() {
            let place = (found.beats, self.beats.len());
            self.lane(Some(place), Vec::new(), task, job);
            return Ok(());
        }
        let mut merged = mem::take(&mut self.merged);
        self.merger.finish(&mut merged);
        if merged.len() > 1 {
            odd(job, None, task, Oddity::MixedTypes);
        }
        for mut column in merged.drain(..) {
            mem::swap(self.lanes.values(), &mut column.values);
            let times = mem::take(&mut column.times);
            self.lane(None, times, task, job);
            column.times = self.spare_clocks.pop().unwrap_or_default();
            self.merger.reclaim(column);
        }
        self.merged = merged;
        Ok(())
    }

    /// Add the lane whose values are there, or count them as what cannot be printed. Its times are these, unless it is made
    /// of whole blocks.
    fn lane(
        &mut self,
        place: Option<(usize, usize)>,
        times: Vec<i64>,
        task: Task<'_>,
        job: &mut Job<'_>,
    ) {
        let Task { series, field, .. } = task;
        // The series before had the same fields, as a rule.
        let own = || match self.lanes.had(field) {
            true => None,
            false => misfit::field(field),
        };
        let split = || match task.splits_early {
            true => careful::misfit(series, field),
            false => None,
        };
        if let Some(misfit) = task.misfit.or_else(own).or_else(split) {
            let keep = job.options.keep_rejects;
            let mut times = times;
            if let Some((from, to)) = place.filter(|_| keep) {
                let beats = self.beats.get(from..to).unwrap_or_default();
                self.sections.times(beats, &mut times);
            }
            let lost = careful::lost(series, field, self.lanes.values(), &times, keep);
            let why = Unprintable::Name(misfit);
            job.report.leave_out(series, field, why, lost);
        } else if !self.lanes.values().is_empty() {
            let clock = match place {
                Some(_) => 0,
                None => self.clock(times),
            };
            self.lanes.add(field, clock);
            self.places.push(place);
        }
    }

    /// The number of the clock that has these times.
    fn clock(&mut self, times: Vec<i64>) -> usize {
        let is_same = |clock: &Vec<i64>| clock.last() == times.last() && *clock == times;
        let recent = self.clocks.len().saturating_sub(RECENT);
        let known = self.clocks.iter().skip(recent).position(is_same);
        if let Some(known) = known {
            self.spare_clocks.push(times);
            return recent + known;
        }
        self.clocks.push(times);
        self.clocks.len() - 1
    }

    /// Give a clock to each lane that is made of whole blocks.
    fn settle_clocks(&mut self) {
        for i in 0..self.lanes.used().len() {
            let Some(beats) = self.places.get(i).copied().flatten() else {
                continue;
            };
            let beats = self.beats.get(beats.0..beats.1).unwrap_or_default();
            let recent = i.saturating_sub(RECENT);
            let is_same = |place: &Option<(usize, usize)>| {
                place.is_some_and(|(from, to)| self.beats.get(from..to) == Some(beats))
            };
            let before = self.places.iter().take(i).skip(recent).position(is_same);
            let known =
                before.and_then(|before| Some(self.lanes.used().get(recent + before)?.clock));
            let clock = match known {
                Some(clock) => clock,
                None => {
                    let mut times = self.spare_clocks.pop().unwrap_or_default();
                    times.clear();
                    self.sections.times(beats, &mut times);
                    self.clock(times)
                }
            };
            if let Some(lane) = self.lanes.used_mut().get_mut(i) {
                lane.clock = clock;
            }
        }
    }

    fn piece(
        &mut self,
        at: usize,
        position: usize,
        task: Task<'_>,
        found: &mut Found,
        job: &mut Job<'_>,
    ) -> Result<(), Trouble> {
        let Some(piece) = job.unit.pieces.get(at) else {
            return Ok(());
        };
        match piece.origin {
            Origin::Log(_) => {
                self.hand_over(found);
                if let Some(chunk) = job.shard.held.get(piece.entry.offset as usize) {
                    self.logged(chunk, piece, task, job);
                }
                Ok(())
            }
            Origin::File(file, kind) => {
                let Some(member) = job.shard.members.get(file) else {
                    return Ok(());
                };
                match self.block(member, (file, kind), (at, position), task, found, job) {
                    Err(trouble) if is_its_first(task.slice, piece) => {
                        job.report.bear(trouble, job.options.keep_going)
                    }
                    // It has been told with the slice before.
                    Err(_) if job.options.keep_going => Ok(()),
                    done => done,
                }
            }
        }
    }

    /// Add the values of a chunk of the log to the merger.
    fn logged(&mut self, chunk: &Chunk, piece: &Piece, task: Task<'_>, job: &Job<'_>) {
        let (within, deleted) = (&task.slice.times, deleted(job.unit, piece));
        if within.contains(&chunk.first) && within.contains(&chunk.last) && deleted.is_empty() {
            let end = self.merger.end(chunk.kind, chunk.first);
            return job.shard.held.unpack(chunk, end);
        }
        let mut column = self.merger.fresh(chunk.kind);
        job.shard.held.unpack(chunk, &mut column);
        self.merger.add(&column, within.clone(), deleted);
        self.merger.reclaim(column);
    }

    /// Read a block, and add its values to what was found, or to the merger.
    fn block(
        &mut self,
        member: &Member,
        (file, kind): (usize, u8),
        (at, position): (usize, usize),
        task: Task<'_>,
        found: &mut Found,
        job: &mut Job<'_>,
    ) -> Result<(), Trouble> {
        let pieces = job.unit.pieces.get(at..).unwrap_or_default();
        let Some(piece) = pieces.first() else {
            return Ok(());
        };
        let (entry, deleted) = (&piece.entry, deleted(job.unit, piece));
        let trouble = |cause: ReadError| {
            let key = [task.series, SEPARATOR, task.field].concat();
            Trouble::with_key(&member.path, &key, cause)
        };
        let damage = |cause: Error| trouble(cause.into());
        let files = (file, job.shard.members.len());
        let block = open(&mut self.fetcher, member, files, pieces, job.report).map_err(trouble)?;
        let times = &task.slice.times;
        let is_within = *times.start() <= entry.min && entry.max <= *times.end();
        let cut = (!is_within).then_some(times);
        let id = self.sections.find(position, &block, cut).map_err(damage)?;
        let Some(section) = self.sections.get(id) else {
            return Ok(());
        };
        let (extremes, read) = (section.extremes(), block.kind());
        let is_whole = is_within && deleted.is_empty();
        let is_direct = is_whole && section.is_ascending() && found.goes_on(read, extremes);
        let mut column = (!is_direct).then(|| self.merger.fresh(read));
        let values = match &mut column {
            Some(column) => &mut column.values,
            None => found.values(&mut self.lanes, &mut self.merger, read),
        };
        let before = values.len();
        let done = block
            .some_values(section.count(), section.positions(), values)
            .and_then(|()| in_time(extremes, entry))
            .map_err(damage);
        if done.is_err() {
            values.truncate(before);
        } else if let Some(ends) = extremes.filter(|_| is_its_first(task.slice, piece)) {
            tell_odd(ends, entry, (kind, read), member, task, job);
        }
        self.fetcher.shrink(KEPT);
        let Some(mut column) = column else {
            done?;
            found.last = extremes.map(|ends| ends.1).or(found.last);
            self.beats.push(id);
            return Ok(());
        };
        if done.is_ok() {
            column.times.extend_from_slice(section.times());
            self.hand_over(found);
            column.settle();
            self.merger.add(&column, times.clone(), deleted);
        }
        self.merger.reclaim(column);
        done
    }

    /// There is more to a field than whole blocks one behind the other: the merger is to have them.
    fn hand_over(&mut self, found: &mut Found) {
        if let Some(kind) = found.kind.take() {
            let mut column = self.merger.fresh(kind);
            mem::swap(self.lanes.values(), &mut column.values);
            let beats = self.beats.get(found.beats..).unwrap_or_default();
            self.sections.times(beats, &mut column.times);
            self.merger.adopt(column);
        }
        self.beats.truncate(found.beats);
        found.is_merged = true;
    }

    fn clear(&mut self) {
        self.lanes.clear();
        self.spare_clocks.append(&mut self.clocks);
        self.places.clear();
        self.beats.clear();
    }
}

/// The sections that all lanes are made of, if that is so.
fn shared<'a>(places: &[Option<(usize, usize)>], beats: &'a [usize]) -> Option<&'a [usize]> {
    let of = |place: &Option<(usize, usize)>| place.and_then(|(from, to)| beats.get(from..to));
    let (first, rest) = places.split_first()?;
    let first = of(first)?;
    rest.iter()
        .all(|place| of(place) == Some(first))
        .then_some(first)
}

/// Read the block of the first of these pieces.
fn open<'a>(
    fetcher: &'a mut Fetcher,
    member: &Member,
    files: (usize, usize),
    pieces: &[Piece],
    report: &mut Report,
) -> Result<Block<'a>, ReadError> {
    report.blocks += 1;
    let at = pieces.first().map_or(0, |piece| piece.entry.offset);
    let frame = fetcher.frame(member, files, pieces, &mut report.bytes)?;
    Ok(Block::open(frame, at)?)
}

/// What is deleted of a piece.
fn deleted<'a>(unit: &'a Unit, piece: &Piece) -> &'a [(i64, i64)] {
    let (from, to) = piece.deleted;
    unit.deleted.get(from..to).unwrap_or_default()
}

/// That the index does not promise less than the block holds.
fn in_time(extremes: Option<(i64, i64)>, entry: &Entry) -> Result<(), Error> {
    let (min, max) = (entry.min, entry.max);
    let times = extremes.map(|(first, last)| [first, last]);
    let outside = |time: &i64| !(min..=max).contains(time);
    match times.into_iter().flatten().find(outside) {
        Some(time) => Err(Error::new(
            entry.offset,
            ErrorKind::Times { time, min, max },
        )),
        None => Ok(()),
    }
}

/// Note where index and block disagree.
fn tell_odd(
    (first, last): (i64, i64),
    entry: &Entry,
    (index, block): (u8, Kind),
    member: &Member,
    task: Task<'_>,
    job: &mut Job<'_>,
) {
    let (min, max) = (entry.min, entry.max);
    if (first, last) != (min, max) {
        let what = Oddity::Times {
            first,
            last,
            min,
            max,
        };
        odd(job, Some(member), task, what);
    }
    if block::kind(index) != Some(block) {
        odd(job, Some(member), task, Oddity::BlockType { block, index });
    }
}

#[cold]
fn odd(job: &mut Job<'_>, member: Option<&Member>, task: Task<'_>, what: Oddity) {
    job.report.findings.push(Finding::Odd {
        path: member.map(|member| member.path.clone()),
        key: [task.series, SEPARATOR, task.field].concat(),
        what,
    });
}

/// Whether no earlier slice has met this piece: what is to be said of it is said once.
fn is_its_first(slice: &Slice, piece: &Piece) -> bool {
    slice.is_first || piece.entry.min >= *slice.times.start()
}

#[cfg(test)]
mod tests {
    use super::super::Export;
    use super::super::tests::{long_series, mixed_series, options};
    use super::*;
    use crate::pages::Buffer;

    /// Positions of the times that are held, how many the block has, and the points that came out.
    fn held(first: i64, last: i64, is_plain: bool) -> (std::ops::Range<usize>, usize, u64) {
        let shard = long_series(1, 10_000, is_plain);
        let options = options(first, last, false);
        let mut export = Export::new(&shard, &options).unwrap();
        let (mut text, mut report) = (Buffer::default(), Report::default());
        while export.next(&mut text, &mut report).unwrap() {}
        let section = export.worker.sections.get(0).unwrap();
        (section.positions(), section.count(), report.points)
    }

    #[test]
    fn no_more_columns_are_kept_where_types_change_from_series_to_series() {
        let shard = mixed_series(300);
        // The integers are cut, and so come from the merger; the truth values are not.
        let options = options(5, 200, true);
        let mut export = Export::new(&shard, &options).unwrap();
        let (mut text, mut report) = (Buffer::default(), Report::default());
        while export.next(&mut text, &mut report).unwrap() {}
        assert_eq!(150 * 15, report.points);
        assert!(export.worker.merger.spare() < 6);
    }

    #[test]
    fn a_run_over_the_ends_of_a_selection_is_not_unpacked_behind_them() {
        assert_eq!((5000..5010, 10_000, 10), held(5000, 5009, false));
        assert_eq!((0..10_000, 10_000, 10), held(5000, 5009, true));
        assert_eq!((0..10_000, 10_000, 10_000), held(0, 9_999, false));
    }
}
