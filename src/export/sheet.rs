//! Lines of one series, some rows at a time: first each field's values become text in places of fixed size, then the
//! lines are put together from names, places and times by copies of fixed width.
//!
//! Only for what is sure to have a spelling and to fit into one line; [`super::careful`] prints the rest.

use crate::lp::cell::{self, Cell};
use crate::lp::escape;
use crate::pages::Buffer;
use crate::rows::{Strings, Values};

use super::clock::Stamp;
use super::lane::Lane;
use super::outlet::Outlet;
use super::pen::{BLOCK, Pen, WIDE};
use super::slot::{Cells, Form, ROWS, Scratch, Slot};

/// Room for lines that are put at a time, unless a single one takes more.
const ROOM: usize = 256 << 10;

/// What all rows have in common up to some place, and what comes then.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Whole blocks of the common text.
    blocks: (usize, usize),
    /// What is left of it.
    tail: [u8; BLOCK],
    tail_len: usize,
    /// The field whose value follows; none at the end of the line.
    slot: Option<usize>,
}

/// What a step puts into each line, if its values are numbers.
struct Part<'a> {
    /// The common text, in blocks; it ends in the last one of them.
    common: &'a [[u8; BLOCK]],
    len: usize,
    /// The last block, and how much of it counts.
    tail: &'a [u8; BLOCK],
    tail_len: usize,
    /// The numbers and their lengths, and where that of the first row is.
    cells: &'a [Cell; ROWS],
    lens: &'a [u8; ROWS],
    at: usize,
}

/// The cells of the end of a line, which has none.
const NO_CELLS: Cells<'static> = (&[[0; cell::SIZE]; ROWS], &[0; ROWS], 0);
const NO_PART: Part<'static> = Part {
    common: &[],
    len: 0,
    tail: &[0; BLOCK],
    tail_len: 0,
    cells: NO_CELLS.0,
    lens: NO_CELLS.1,
    at: 0,
};

/// Writes lines. Reused from slice to slice.
#[derive(Debug, Default)]
pub struct Sheet {
    /// One for each lane, and more after a series with more of them.
    slots: Vec<Slot>,
    steps: Vec<Step>,
    /// The common text of the steps; each begins behind a multiple of a block.
    common: Vec<u8>,
    scratch: Scratch,
}

impl Sheet {
    /// Begin a slice of a series with these fields.
    pub fn begin(&mut self, lanes: &[Lane]) {
        if self.slots.len() < lanes.len() {
            self.slots.resize_with(lanes.len(), Slot::default);
        }
        let slots = self.slots.iter_mut().zip(lanes);
        slots.for_each(|(slot, lane)| slot.begin(&lane.values));
    }

    /// Append a line for each stamp, with one value of each of the fields `active`: those from `next` on, which moves.
    /// The series comes with all its fields.
    pub fn lines(
        &mut self,
        (series, lanes): (&[u8], &[Lane]),
        active: &[usize],
        next: &mut [usize],
        mut stamps: &[Stamp],
        out: &mut Outlet<'_>,
    ) {
        while !stamps.is_empty() {
            let mut rows = stamps.len();
            for &i in active {
                let (Some(slot), Some(at), Some(lane)) =
                    (self.slots.get_mut(i), next.get(i), lanes.get(i))
                else {
                    return;
                };
                rows = rows.min(slot.ready(*at, &lane.values, &mut self.scratch));
            }
            let (now, later) = stamps.split_at(rows);
            stamps = later;
            if let [i] = active
                && self.put_number(*i, (series, lanes), now, out)
            {
                out.line_ended();
                next.get_mut(*i).into_iter().for_each(|at| *at += rows);
                continue;
            }
            let width = self.plan(series, lanes, active);
            let strings = active.iter().filter_map(|i| self.slots.get(*i));
            let strings: usize = strings.map(Slot::strings).sum();
            let room = rows * width + strings + escape::STRING_SLACK;
            match room <= ROOM {
                true => {
                    self.put(now, 0, room, lanes, out.text());
                    out.line_ended();
                }
                false => self.put_wide(now, width, active, lanes, out),
            }
            active.iter().for_each(|&i| {
                if let Some(at) = next.get_mut(i) {
                    *at += rows;
                }
            });
        }
    }

    /// Append a line of one number for each stamp; `false` if it is something else, or not short. Many series have one
    /// field and few points: a plan would take longer than the lines.
    fn put_number(
        &mut self,
        field: usize,
        (series, lanes): (&[u8], &[Lane]),
        stamps: &[Stamp],
        out: &mut Outlet<'_>,
    ) -> bool {
        let (Some(slot), Some(lane)) = (self.slots.get(field), lanes.get(field)) else {
            return false;
        };
        let len = series.len() + 1 + lane.name.len();
        let Some((cells, lens, at)) = slot.cells().filter(|_| len <= WIDE) else {
            return false;
        };
        if slot.common().is_some() {
            return false;
        }
        self.common.clear();
        self.common.extend_from_slice(series);
        self.common.push(b' ');
        self.common.extend_from_slice(&lane.name);
        self.common.resize(len.next_multiple_of(BLOCK), 0);
        let part = Part {
            common: self.common.as_chunks().0,
            len,
            cells,
            lens,
            at,
            ..NO_PART
        };
        let room = stamps.len() * (len + 2 * cell::SIZE);
        put_one(&part, stamps, Pen::new(out.text(), room));
        true
    }

    /// Find out what the rows have in common; how long a line can be, strings aside.
    fn plan(&mut self, series: &[u8], lanes: &[Lane], active: &[usize]) -> usize {
        let (mut start, mut width) = (0, cell::SIZE);
        self.steps.clear();
        self.common.clear();
        self.common.extend_from_slice(series);
        let mut separator = b' ';
        for &i in active {
            let (Some(slot), Some(lane)) = (self.slots.get(i), lanes.get(i)) else {
                continue;
            };
            self.common.push(separator);
            self.common.extend_from_slice(&lane.name);
            separator = b',';
            match slot.common() {
                Some(text) => self.common.extend_from_slice(text),
                None => {
                    width += self.step(&mut start, Some(i)) + cell::SIZE;
                }
            }
        }
        width + self.step(&mut start, None)
    }

    /// Close a step whose text begins at `start`; how long it is.
    fn step(&mut self, start: &mut usize, slot: Option<usize>) -> usize {
        let len = self.common.len() - *start;
        let end = *start + len / BLOCK * BLOCK;
        self.common
            .resize((*start + len).next_multiple_of(BLOCK).max(end + BLOCK), 0);
        let tail = self.common.get(end..).and_then(|rest| rest.first_chunk());
        self.steps.push(Step {
            blocks: (*start, end),
            tail: tail.copied().unwrap_or_default(),
            tail_len: len % BLOCK,
            slot,
        });
        *start = self.common.len();
        len
    }

    /// Append one line for each stamp, as many at a time as find room; `width` is how long one can be, strings aside.
    fn put_wide(
        &self,
        stamps: &[Stamp],
        width: usize,
        active: &[usize],
        lanes: &[Lane],
        out: &mut Outlet<'_>,
    ) {
        let texts = active
            .iter()
            .map(|i| (self.slots.get(*i), values(Some(*i), lanes)));
        let texts: Vec<_> = texts
            .filter_map(|(slot, values)| match values? {
                Values::String(strings) => Some((slot?, strings)),
                _ => None,
            })
            .collect();
        let long = |row| {
            let longest = |(slot, strings): &(&Slot, &Strings)| slot.string(row, strings);
            width + texts.iter().map(longest).sum::<usize>()
        };
        let mut row = 0;
        while row < stamps.len() {
            let (mut room, mut end) = (escape::STRING_SLACK + long(row), row + 1);
            while end < stamps.len() {
                let more = long(end);
                if room + more > ROOM {
                    break;
                }
                (room, end) = (room + more, end + 1);
            }
            let now = stamps.get(row..end).unwrap_or_default();
            self.put(now, row, room, lanes, out.text());
            out.line_ended();
            row = end;
        }
    }

    /// Append one line for each stamp, in so much room. The first one is that of row `from`.
    fn put(&self, stamps: &[Stamp], from: usize, room: usize, lanes: &[Lane], out: &mut Buffer) {
        let Some(parts) = self.parts(from) else {
            return self.put_any(stamps, from, room, lanes, out);
        };
        let pen = Pen::new(out, room);
        let (last, parts) = parts.split_last().unwrap_or((&NO_PART, &[]));
        match parts {
            [part] if last.len == 0 && part.len <= WIDE => put_one(part, stamps, pen),
            parts => put_all(parts, last, stamps, pen),
        }
    }

    /// What the steps put from this row on, if there are only numbers.
    fn parts(&self, from: usize) -> Option<Vec<Part<'_>>> {
        let steps = self.steps.iter();
        steps.map(|step| self.part(step, from)).collect()
    }

    fn part<'a>(&'a self, step: &'a Step, from: usize) -> Option<Part<'a>> {
        let (cells, lens, at) = match step.slot {
            Some(slot) => self.slots.get(slot)?.cells()?,
            None => NO_CELLS,
        };
        let len = step.blocks.1 - step.blocks.0 + step.tail_len;
        let common = self.common.get(step.blocks.0..).unwrap_or_default();
        let common = common.as_chunks().0.get(..len.div_ceil(BLOCK));
        Some(Part {
            common: common.unwrap_or_default(),
            len,
            tail: &step.tail,
            tail_len: step.tail_len,
            cells,
            lens,
            at: at + from,
        })
    }

    /// The same for any values.
    fn put_any(
        &self,
        stamps: &[Stamp],
        from: usize,
        room: usize,
        lanes: &[Lane],
        out: &mut Buffer,
    ) {
        let mut pen = Pen::new(out, room);
        for (row, stamp) in (from..).zip(stamps) {
            for step in &self.steps {
                if step.blocks.0 < step.blocks.1 {
                    let (from, to) = step.blocks;
                    let blocks = self.common.get(from..to).unwrap_or_default();
                    blocks
                        .as_chunks()
                        .0
                        .iter()
                        .for_each(|block| pen.block(block));
                }
                let slot = step.slot.and_then(|slot| self.slots.get(slot));
                match slot.map(|slot| slot.form(row)) {
                    Some(Form::Cell(cell, len)) => pen.pair(&step.tail, step.tail_len, cell, len),
                    Some(Form::Text(at)) => {
                        pen.part(&step.tail, step.tail_len);
                        if let Some(Values::String(strings)) = values(step.slot, lanes) {
                            let (text, len) = strings.open(at);
                            pen.with(|place| escape::put_string(text, len, place));
                        }
                    }
                    None => {
                        let len = usize::from(stamp[cell::SIZE - 1]);
                        match step.tail_len {
                            0 => pen.cell(stamp, len),
                            n => pen.pair(&step.tail, n, stamp, len),
                        }
                    }
                }
            }
        }
        pen.done();
    }
}

/// The values of a field.
fn values(slot: Option<usize>, lanes: &[Lane]) -> Option<&Values> {
    slot.and_then(|slot| lanes.get(slot))
        .map(|lane| &lane.values)
}

impl Part<'_> {
    /// The blocks before the tail.
    #[inline(always)]
    fn whole(&self) -> &[[u8; BLOCK]] {
        self.common.get(..self.len / BLOCK).unwrap_or_default()
    }

    /// The number of a row, and its length.
    #[inline(always)]
    fn cell(&self, row: usize) -> (&Cell, usize) {
        let place = (self.at + row) % ROWS;
        (&self.cells[place], usize::from(self.lens[place]))
    }
}

/// Lines of one number.
fn put_one(part: &Part<'_>, stamps: &[Stamp], mut pen: Pen<'_>) {
    for (row, stamp) in stamps.iter().enumerate() {
        let len = usize::from(stamp[cell::SIZE - 1]);
        pen.line((part.common, part.len), part.cell(row), (stamp, len));
    }
    pen.done();
}

/// Lines of some numbers.
fn put_all(parts: &[Part<'_>], last: &Part<'_>, stamps: &[Stamp], mut pen: Pen<'_>) {
    for (row, stamp) in stamps.iter().enumerate() {
        for part in parts {
            let (cell, len) = part.cell(row);
            part.whole().iter().for_each(|block| pen.block(block));
            pen.pair(part.tail, part.tail_len, cell, len);
        }
        let len = usize::from(stamp[cell::SIZE - 1]);
        last.whole().iter().for_each(|block| pen.block(block));
        pen.pair(last.tail, last.tail_len, stamp, len);
    }
    pen.done();
}
