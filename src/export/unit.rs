//! A unit: some slices of time of some series, and from it to text. Needs nothing but the open shard.

use std::ops::{Range, RangeInclusive};

use crate::lp::escape::{self, Misfit, Place};
use crate::rows::{Kind, Values};
use crate::tsm::block::Block;
use crate::tsm::index::Entry;
use crate::tsm::key::SEPARATOR;
use crate::tsm::merge::{Column, Merger};
use crate::tsm::shard::{Member, Shard, Trouble};
use crate::tsm::{Error, ErrorKind};

use super::print::{Lane, Printer};
use super::{Finding, Oddity, Options, Report, Unprintable};

/// Where the values of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Blocks of the TSM file at this position of the shard, with this type by the index.
    File(usize, u8),
    /// Column of the log: position of the key, position of the column.
    Log(usize, usize),
}

/// A block, or a stretch of a column of the log.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it comes from.
    pub origin: Origin,
    /// The block; of a log, position of the first value and count stand for offset and size.
    pub entry: Entry,
    /// What is deleted of it, in `Unit::deleted`.
    pub deleted: (usize, usize),
}

/// One field in one slice.
#[derive(Clone, Debug)]
pub struct Part {
    /// Field key, in `Unit::names`.
    pub name: Range<usize>,
    /// Oldest first, in `Unit::pieces`.
    pub pieces: Range<usize>,
}

/// A stretch of time of one series.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Series key, in `Unit::names`.
    pub series: Range<usize>,
    /// In `Unit::parts`, in the order of the index.
    pub parts: Range<usize>,
    /// The times that are wanted of it.
    pub times: RangeInclusive<i64>,
    /// No slice of this series came before.
    pub is_first: bool,
}

/// Work that can be done by itself: slices in the order of the output, in flat lists that are used again.
#[derive(Debug, Default)]
pub struct Unit {
    /// In order of output.
    pub slices: Vec<Slice>,
    /// Fields of the slices.
    pub parts: Vec<Part>,
    /// Values of the fields.
    pub pieces: Vec<Piece>,
    /// Series and field keys.
    pub names: Vec<u8>,
    /// Ascending ranges of each run, inclusive.
    pub deleted: Vec<(i64, i64)>,
    /// What it may take to decode it all, in thousands of values.
    pub weight: usize,
}

impl Unit {
    /// Forget everything, keep the memory.
    pub fn clear(&mut self) {
        self.slices.clear();
        self.parts.clear();
        self.pieces.clear();
        self.names.clear();
        self.deleted.clear();
        self.weight = 0;
    }

    /// Append a name.
    pub fn name(&mut self, name: &[u8]) -> Range<usize> {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        start..self.names.len()
    }

    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.names.get(range.clone()).unwrap_or_default()
    }
}

/// Turns units into text, one at a time, with memory that is used again.
#[derive(Debug, Default)]
pub struct Worker {
    frame: Vec<u8>,
    /// The latest packed timestamps, and what they unpack to: fields written together share them.
    section: Vec<u8>,
    times: Vec<i64>,
    scratch: Vec<Column>,
    merger: Merger,
    merged: Vec<Column>,
    lanes: Vec<Lane>,
    spare: Vec<Lane>,
    printer: Printer,
}

/// What all steps of one unit need.
struct Job<'a> {
    unit: &'a Unit,
    shard: &'a Shard,
    options: &'a Options,
    report: &'a mut Report,
}

impl Worker {
    /// Append the text of a unit to `out`, whole lines. On an error `out` ends with the slice before.
    pub fn run(
        &mut self,
        unit: &Unit,
        shard: &Shard,
        options: &Options,
        out: &mut Vec<u8>,
        report: &mut Report,
    ) -> Result<(), Trouble> {
        let mut job = Job {
            unit,
            shard,
            options,
            report,
        };
        for slice in &unit.slices {
            self.slice(slice, &mut job, out)?;
        }
        Ok(())
    }

    fn slice(
        &mut self,
        slice: &Slice,
        job: &mut Job<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let series = job.unit.bytes(&slice.series);
        let misfit = escape::series_misfit(series);
        let parts = job.unit.parts.get(slice.parts.clone()).unwrap_or_default();
        for part in parts {
            if let Err(trouble) = self.part(part, slice, misfit, job) {
                self.clear();
                return Err(trouble);
            }
        }
        self.printer.print(series, &self.lanes, out, job.report);
        self.clear();
        Ok(())
    }

    /// Merge one field and make lanes of it, or count what cannot be printed.
    fn part(
        &mut self,
        part: &Part,
        slice: &Slice,
        misfit: Option<Misfit>,
        job: &mut Job<'_>,
    ) -> Result<(), Trouble> {
        let pieces = job.unit.pieces.get(part.pieces.clone()).unwrap_or_default();
        for piece in pieces {
            self.piece(piece, part, slice, job)?;
        }
        self.merger.finish(&mut self.merged);
        let (series, field) = (job.unit.bytes(&slice.series), job.unit.bytes(&part.name));
        if self.merged.len() > 1 {
            job.odd(None, series, field, Oddity::MixedTypes);
        }
        if let Some(misfit) = misfit.or_else(|| escape::field_misfit(field)) {
            for column in self.merged.drain(..) {
                let count = column.len() as u64;
                job.report
                    .leave_out(series, field, Unprintable::Name(misfit), count);
                self.merger.reclaim(column);
            }
        }
        for column in self.merged.drain(..) {
            let mut lane = self.spare.pop().unwrap_or_else(|| Lane {
                field: Vec::new(),
                name: Vec::new(),
                column: Column::new(Kind::Float),
            });
            lane.field.clear();
            lane.field.extend_from_slice(field);
            lane.name.clear();
            escape::encode(Place::Field, field, &mut lane.name);
            lane.name.push(b'=');
            lane.column = column;
            self.lanes.push(lane);
        }
        Ok(())
    }

    fn piece(
        &mut self,
        piece: &Piece,
        part: &Part,
        slice: &Slice,
        job: &mut Job<'_>,
    ) -> Result<(), Trouble> {
        let unit = job.unit;
        let deleted = unit
            .deleted
            .get(piece.deleted.0..piece.deleted.1)
            .unwrap_or_default();
        match piece.origin {
            Origin::Log(key, column) => {
                let logged = job
                    .shard
                    .log
                    .get(key)
                    .and_then(|logged| logged.columns.get(column));
                if let Some(column) = logged {
                    self.merger
                        .add(column, within(slice, &piece.entry), deleted);
                }
                Ok(())
            }
            Origin::File(file, kind) => {
                let Some(member) = job.shard.members.get(file) else {
                    return Ok(());
                };
                match self.decode(member, piece, kind, part, slice, job) {
                    Ok(column) => {
                        self.merger.add(&column, slice.times.clone(), deleted);
                        self.scratch.push(column);
                        Ok(())
                    }
                    Err(trouble) if is_its_first(slice, piece) => {
                        job.report.bear(trouble, job.options.keep_going)
                    }
                    // It has been told with the slice before.
                    Err(trouble) if !job.options.keep_going => Err(trouble),
                    Err(_) => Ok(()),
                }
            }
        }
    }

    /// The values of a block, settled.
    fn decode(
        &mut self,
        member: &Member,
        piece: &Piece,
        kind: u8,
        part: &Part,
        slice: &Slice,
        job: &mut Job<'_>,
    ) -> Result<Column, Trouble> {
        let unit = job.unit;
        let (series, field) = (unit.bytes(&slice.series), unit.bytes(&part.name));
        let entry = &piece.entry;
        let trouble = |cause| {
            let key = [series, SEPARATOR, field].concat();
            Trouble::with_key(&member.path, &key, cause)
        };
        job.report.blocks += 1;
        member.file.frame(entry, &mut self.frame).map_err(trouble)?;
        let mut column = self.unpack(entry).map_err(|err| trouble(err.into()))?;
        let extremes = column
            .times
            .iter()
            .fold(None, |extremes: Option<(i64, i64)>, &t| {
                let (first, last) = extremes.unwrap_or((t, t));
                Some((first.min(t), last.max(t)))
            });
        let Some((first, last)) = extremes else {
            return Ok(column);
        };
        if let Some(time) = [first, last]
            .into_iter()
            .find(|t| !(entry.min..=entry.max).contains(t))
        {
            let (min, max) = (entry.min, entry.max);
            self.scratch.push(column);
            return Err(trouble(
                Error::new(entry.offset, ErrorKind::Times { time, min, max }).into(),
            ));
        }
        if is_its_first(slice, piece) {
            let (min, max) = (entry.min, entry.max);
            if (first, last) != (min, max) {
                let what = Oddity::Times {
                    first,
                    last,
                    min,
                    max,
                };
                job.odd(Some(member), series, field, what);
            }
            if crate::tsm::block::kind(kind) != Some(column.kind()) {
                let (block, index) = (column.kind(), kind);
                job.odd(
                    Some(member),
                    series,
                    field,
                    Oddity::BlockType { block, index },
                );
            }
        }
        column.settle();
        Ok(column)
    }

    fn unpack(&mut self, entry: &Entry) -> Result<Column, Error> {
        let block = Block::open(&self.frame, entry.offset)?;
        let is_same = !self.times.is_empty() && block.time_section() == self.section;
        if !is_same {
            self.times.clear();
            block.times(&mut self.times)?;
            self.section.clear();
            self.section.extend_from_slice(block.time_section());
        }
        let kind = block.kind();
        let at = self.scratch.iter().position(|column| column.kind() == kind);
        let mut column = at.map_or_else(|| Column::new(kind), |at| self.scratch.swap_remove(at));
        column.clear();
        block.values(self.times.len(), &mut column.values)?;
        column.times.extend_from_slice(&self.times);
        Ok(column)
    }

    fn clear(&mut self) {
        for mut lane in self.lanes.drain(..) {
            let empty = Column {
                times: Vec::new(),
                values: Values::Float(Vec::new()),
            };
            self.merger
                .reclaim(std::mem::replace(&mut lane.column, empty));
            self.spare.push(lane);
        }
        self.merged.clear();
    }
}

impl Job<'_> {
    #[cold]
    fn odd(&mut self, member: Option<&Member>, series: &[u8], field: &[u8], what: Oddity) {
        self.report.findings.push(Finding::Odd {
            path: member.map(|member| member.path.clone()),
            key: [series, SEPARATOR, field].concat(),
            what,
        });
    }
}

/// Whether no earlier slice has met this piece: what is to be said of it is said once.
fn is_its_first(slice: &Slice, piece: &Piece) -> bool {
    slice.is_first || piece.entry.min >= *slice.times.start()
}

/// The part of a slice that a stretch of the log covers.
fn within(slice: &Slice, entry: &Entry) -> RangeInclusive<i64> {
    entry.min.max(*slice.times.start())..=entry.max.min(*slice.times.end())
}
