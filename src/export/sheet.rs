//! Lines of one series, some rows at a time: first each field's values become text in places of fixed size, then the
//! lines are put together from names, places and times by copies of fixed width.
//!
//! Only for what is sure to have a spelling and to fit into one line; [`super::careful`] prints the rest.

use crate::lp::cell::{self, Cell};
use crate::lp::escape;
use crate::rows::{Strings, Values};

use super::clock::Stamp;
use super::print::Lane;
use super::text::Text;

/// Values of a field that become text at a time.
pub const ROWS: usize = 64;
/// Names up to this length are copied in one step.
const NAME: usize = 32;
/// A run of strings ends behind this much text, so that long ones do not pile up.
const STRINGS: usize = 64 << 10;

/// Some values of one field as text.
#[derive(Debug)]
struct Slot {
    /// A comma, the field key as spelled, `=`; longer by at least 31 bytes than `name_len`.
    name: Vec<u8>,
    short: [u8; NAME],
    name_len: usize,
    /// Positions in the column of the first value and behind the last one.
    start: usize,
    end: usize,
    /// Where the next row stands among the places.
    at: usize,
    cells: [Cell; ROWS],
    lens: [u8; ROWS],
    /// All places hold the text of the number with these bits.
    uniform: Option<u64>,
    /// Strings: their text, with room behind it, and where each starts and ends.
    text: Text,
    spans: [(u32, u32); ROWS],
    /// How long the strings of all rows are together.
    strings: usize,
    is_text: bool,
}

/// Writes lines. Reused from slice to slice.
#[derive(Debug, Default)]
pub struct Sheet {
    /// The series key and what a copy in steps reads behind it.
    series: Vec<u8>,
    series_len: usize,
    /// More than there are fields, after a series with more of them.
    slots: Vec<Slot>,
    fields: usize,
}

impl Sheet {
    /// Begin a slice of a series.
    pub fn begin(&mut self, series: &[u8]) {
        padded(series, &mut self.series);
        self.series_len = series.len();
        self.fields = 0;
    }

    /// Add a field; `name` is spelled, with `=` behind it. Its number is the count of those before.
    pub fn field(&mut self, name: &[u8]) {
        if self.slots.len() == self.fields {
            self.slots.push(Slot::default());
        }
        if let Some(slot) = self.slots.get_mut(self.fields) {
            slot.begin(name);
        }
        self.fields += 1;
    }

    /// Append a line for each stamp, with one value of each of the fields `active`: those from `next` on, which moves.
    /// `lanes` has the values of all fields.
    pub fn lines(
        &mut self,
        active: &[usize],
        next: &mut [usize],
        lanes: &[Lane],
        mut stamps: &[Stamp],
        out: &mut Text,
    ) {
        while !stamps.is_empty() {
            let mut rows = stamps.len();
            let mut width = self.series_len + cell::SIZE;
            let mut strings = 0;
            for &i in active {
                let (Some(slot), Some(at), Some(lane)) =
                    (self.slots.get_mut(i), next.get(i), lanes.get(i))
                else {
                    return;
                };
                rows = rows.min(slot.ready(*at, &lane.values));
                width += slot.name_len + cell::SIZE;
                strings += slot.strings;
            }
            let (now, later) = stamps.split_at(rows);
            stamps = later;
            let room = rows * width + strings;
            let slots = self.slots.get(..self.fields).unwrap_or_default();
            match active.len() == self.fields {
                true => put(&self.series, self.series_len, slots.iter(), now, room, out),
                false => {
                    let some = active.iter().filter_map(|i| slots.get(*i));
                    put(&self.series, self.series_len, some, now, room, out);
                }
            }
            active.iter().for_each(|&i| {
                if let Some(at) = next.get_mut(i) {
                    *at += rows;
                }
            });
        }
    }
}

/// Append one line for each stamp.
fn put<'a>(
    series: &[u8],
    series_len: usize,
    slots: impl Iterator<Item = &'a Slot> + Clone,
    stamps: &[Stamp],
    room: usize,
    out: &mut Text,
) {
    let mut pen = out.pen(room);
    for (row, stamp) in stamps.iter().enumerate() {
        pen.put_padded(series, series_len);
        let first = pen.at();
        for slot in slots.clone() {
            if slot.name_len <= NAME {
                pen.put(&slot.short, slot.name_len);
            } else {
                pen.put_padded(&slot.name, slot.name_len);
            }
            let place = (slot.at + row) % ROWS;
            if slot.is_text {
                let (start, end) = slot.spans[place];
                let (start, end) = (start as usize, end as usize);
                pen.put_padded(slot.text.padded(start), end - start);
            } else {
                pen.put(&slot.cells[place], usize::from(slot.lens[place]));
            }
        }
        // The first field follows a space, all others a comma.
        pen.amend(first, b' ');
        pen.put(stamp, usize::from(stamp[cell::SIZE - 1]));
    }
    pen.done();
}

/// A copy of `bytes` that can be read in steps of 32.
fn padded(bytes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(bytes);
    out.resize(bytes.len().next_multiple_of(32), 0);
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            name: Vec::new(),
            short: [0; NAME],
            name_len: 0,
            start: 0,
            end: 0,
            at: 0,
            cells: [[0; cell::SIZE]; ROWS],
            lens: [0; ROWS],
            uniform: None,
            text: Text::default(),
            spans: [(0, 0); ROWS],
            strings: 0,
            is_text: false,
        }
    }
}

impl Slot {
    /// Become the place of another field.
    fn begin(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.push(b',');
        self.name.extend_from_slice(name);
        self.name_len = self.name.len();
        self.name.resize(self.name_len.next_multiple_of(NAME), 0);
        if let Some(start) = self.name.first_chunk() {
            self.short = *start;
        }
        (self.start, self.end) = (0, 0);
        self.uniform = None;
        self.strings = 0;
    }

    /// Have the text of the value at position `at`; for how many values from there on it is there.
    fn ready(&mut self, at: usize, values: &Values) -> usize {
        if !(self.start..self.end).contains(&at) {
            self.start = at;
            self.end = at + self.fill(at, values);
        }
        self.at = at - self.start;
        self.end - at
    }

    /// Make text of the values from position `at` on; of how many.
    fn fill(&mut self, at: usize, values: &Values) -> usize {
        fn some<T>(values: &[T], at: usize) -> &[T] {
            let end = values.len().min(at + ROWS);
            values.get(at..end).unwrap_or_default()
        }
        match values {
            Values::Float(v) => self.numbers(some(v, at), |v| v.to_bits(), cell::float),
            Values::Integer(v) => self.numbers(some(v, at), |v| v as u64, integer),
            Values::Unsigned(v) => self.numbers(some(v, at), |v| v, unsigned),
            Values::Boolean(v) => self.numbers(some(v, at), u64::from, boolean),
            Values::String(v) => self.strings(v, at),
        }
    }

    #[inline(always)]
    fn numbers<T: Copy>(
        &mut self,
        values: &[T],
        bits: impl Fn(T) -> u64,
        print: impl Fn(T, &mut Cell) -> usize,
    ) -> usize {
        self.is_text = false;
        let Some(first) = values.first().map(|v| bits(*v)) else {
            return 0;
        };
        if values.iter().all(|v| bits(*v) == first) {
            self.uniform(first, values, &print);
            return values.len();
        }
        self.uniform = None;
        let mut before = !first;
        for (i, value) in values.iter().enumerate().take(ROWS) {
            if bits(*value) == before {
                (self.cells[i], self.lens[i]) = (self.cells[i - 1], self.lens[i - 1]);
            } else {
                before = bits(*value);
                self.lens[i] = print(*value, &mut self.cells[i]) as u8;
            }
        }
        values.len()
    }

    /// The same value again and again.
    fn uniform<T: Copy>(
        &mut self,
        bits: u64,
        values: &[T],
        print: &impl Fn(T, &mut Cell) -> usize,
    ) {
        if self.uniform != Some(bits)
            && let Some(value) = values.first()
        {
            let mut text = [0; cell::SIZE];
            let n = print(*value, &mut text) as u8;
            // A single value is the rule where a series has but one.
            let places = if values.len() == 1 { 1 } else { ROWS };
            self.cells[..places].fill(text);
            self.lens[..places].fill(n);
            self.uniform = (places == ROWS).then_some(bits);
        }
    }

    fn strings(&mut self, values: &Strings, at: usize) -> usize {
        self.is_text = true;
        self.text.clear();
        self.strings = 0;
        let mut before: Option<&[u8]> = None;
        let (mut span, mut n) = ((0, 0), 0);
        for (place, i) in self.spans.iter_mut().zip(at..values.len()) {
            let value = values.get(i);
            if before != Some(value) {
                let start = self.text.len() as u32;
                self.text.with(|text| escape::encode_string(value, text));
                span = (start, self.text.len() as u32);
                before = Some(value);
            }
            *place = span;
            n += 1;
            self.strings += (span.1 - span.0) as usize;
            if self.strings > STRINGS {
                break;
            }
        }
        // What is copied in steps reads behind the end.
        self.text.pen(0).done();
        n
    }
}

fn integer(value: i64, cell: &mut Cell) -> usize {
    let n = cell::signed(value, cell);
    cell[n] = b'i';
    n + 1
}

fn unsigned(value: u64, cell: &mut Cell) -> usize {
    let n = cell::unsigned(value, cell);
    cell[n] = b'u';
    n + 1
}

fn boolean(value: bool, cell: &mut Cell) -> usize {
    let text: &[u8; 8] = if value { b"true    " } else { b"false   " };
    cell[..8].copy_from_slice(text);
    if value { 4 } else { 5 }
}
