//! The next values of one field as text, each in a place of its own.

use crate::lp::cell::{self, Cell, Short};
use crate::lp::escape;
use crate::rows::{Strings, Values};

/// Values that become text at a time.
pub const ROWS: usize = 64;
/// A run of strings ends behind this much text, so that long ones do not pile up.
const STRINGS: usize = 64 << 10;
/// A longer string is no common text of its rows.
const COMMON: usize = 256;

/// Some values of one field as text. Reused from field to field.
#[derive(Debug)]
pub struct Slot {
    /// Positions in the column of the first value and behind the last one.
    start: usize,
    end: usize,
    /// Where the next row stands among the places.
    at: usize,
    cells: [Cell; ROWS],
    lens: [u8; ROWS],
    /// All values are the number with these bits, whose text is in the first place.
    uniform: Option<u64>,
    /// Decimals that the latest short float had.
    decimals: usize,
    /// None of the latest floats was short.
    are_long: bool,
    is_text: bool,
    /// How long the strings of all rows can become together.
    strings: usize,
    /// All rows have the same short string, whose text is there.
    is_same: bool,
    text: Vec<u8>,
}

/// Where floats are put while they become text.
#[derive(Debug)]
pub struct Scratch([Short; ROWS]);

impl Default for Scratch {
    fn default() -> Self {
        Self([Short::default(); ROWS])
    }
}

/// The text of numbers or truth values in places, their lengths, and which place is that of the first row.
pub type Cells<'a> = (&'a [Cell; ROWS], &'a [u8; ROWS], usize);

/// The text of a value, which goes on behind its length, or where that is to be had.
pub enum Form<'a> {
    /// A number or a truth value.
    Cell(&'a Cell, usize),
    /// The string at that position of the column.
    Text(usize),
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            start: 0,
            end: 0,
            at: 0,
            cells: [[0; cell::SIZE]; ROWS],
            lens: [0; ROWS],
            uniform: None,
            decimals: 0,
            are_long: false,
            is_text: false,
            strings: 0,
            is_same: false,
            text: Vec::new(),
        }
    }
}

impl Slot {
    /// Become the place of another field.
    pub fn begin(&mut self, values: &Values) {
        (self.start, self.end) = (0, 0);
        self.uniform = None;
        self.are_long = false;
        self.strings = 0;
        self.is_text = matches!(values, Values::String(_));
    }

    /// How long the strings of all rows can become together; 0 for other values.
    pub fn strings(&self) -> usize {
        self.strings
    }

    /// How long the string of a row, of those that were made ready, can become.
    pub fn string(&self, row: usize, values: &Strings) -> usize {
        let at = self.start + self.at + row;
        2 * values.open(at).1 + 2
    }

    /// The text that all rows have, if it is short.
    pub fn common(&self) -> Option<&[u8]> {
        match self.is_text {
            true => Some(self.text.as_slice()).filter(|_| self.is_same),
            false => {
                self.uniform?;
                self.cells[0].get(..usize::from(self.lens[0]))
            }
        }
    }

    /// The text of all values, if they are no strings.
    pub fn cells(&self) -> Option<Cells<'_>> {
        (!self.is_text).then_some((&self.cells, &self.lens, self.at))
    }

    /// The text of the value that many rows behind the one that was made ready.
    #[inline(always)]
    pub fn form(&self, row: usize) -> Form<'_> {
        if self.is_text {
            return Form::Text(self.start + self.at + row);
        }
        let place = (self.at + row) % ROWS;
        Form::Cell(&self.cells[place], usize::from(self.lens[place]))
    }

    /// Have the text of the value at position `at`; for how many values from there on it is there.
    pub fn ready(&mut self, at: usize, values: &Values, scratch: &mut Scratch) -> usize {
        if !(self.start..self.end).contains(&at) {
            self.start = at;
            self.end = at + self.fill(at, values, scratch);
        }
        self.at = at - self.start;
        self.end - at
    }

    /// Make text of the values from position `at` on; of how many.
    fn fill(&mut self, at: usize, values: &Values, scratch: &mut Scratch) -> usize {
        fn some<T>(values: &[T], at: usize) -> &[T] {
            let end = values.len().min(at + ROWS);
            values.get(at..end).unwrap_or_default()
        }
        match values {
            Values::Float(v) => self.floats(some(v, at), scratch),
            Values::Integer(v) => {
                let v = some(v, at);
                match cell::are_small(v) {
                    true => self.numbers(v, |v| v as u64, small),
                    false => self.numbers(v, |v| v as u64, integer),
                }
            }
            Values::Unsigned(v) => self.numbers(some(v, at), |v| v, unsigned),
            Values::Boolean(v) => self.numbers(some(v, at), u64::from, boolean),
            Values::String(v) => self.strings_from(v, at),
        }
    }

    fn floats(&mut self, values: &[f64], Scratch(shorts): &mut Scratch) -> usize {
        if !self.are_one(values, f64::to_bits, cell::float) {
            let short = self.shorts(values, shorts);
            let all = u64::MAX >> (ROWS - values.len().clamp(1, ROWS));
            if short == all && self.decimals < 4 && cell::are_brief(values) {
                for (i, short) in shorts.iter().enumerate().take(values.len()) {
                    self.lens[i] = cell::brief(*short, self.decimals, &mut self.cells[i]) as u8;
                }
                return values.len();
            }
            for (i, value) in values.iter().enumerate().take(ROWS) {
                self.lens[i] = if short >> i & 1 == 1 {
                    cell::short(shorts[i], self.decimals, &mut self.cells[i]) as u8
                } else if i > 0 && value.to_bits() == values[i - 1].to_bits() {
                    self.cells[i] = self.cells[i - 1];
                    self.lens[i - 1]
                } else {
                    cell::float(*value, &mut self.cells[i]) as u8
                };
            }
        }
        values.len()
    }

    /// Which floats are short, a bit for each: with as many decimals as the latest ones had, or with those that the
    /// first one has that is not short then.
    fn shorts(&mut self, values: &[f64], shorts: &mut [Short; ROWS]) -> u64 {
        // Floats that measure something stay long: then a look at the first one is enough.
        if self.are_long
            && values
                .first()
                .is_some_and(|first| decimals(*first).is_none())
        {
            return 0;
        }
        let mut found = cell::are_short(values, self.decimals, shorts);
        let first = found.trailing_ones() as usize;
        if let Some(decimals) = values.get(first).and_then(|other| decimals(*other)) {
            let mut others = *shorts;
            let more = cell::are_short(values, decimals, &mut others);
            if more.count_ones() > found.count_ones() {
                (self.decimals, *shorts) = (decimals, others);
                found = more;
            }
        }
        self.are_long = found == 0;
        found
    }

    #[inline(always)]
    fn numbers<T: Copy>(
        &mut self,
        values: &[T],
        bits: impl Fn(T) -> u64,
        print: impl Fn(T, &mut Cell) -> usize,
    ) -> usize {
        if !self.are_one(values, &bits, &print) {
            for (i, value) in values.iter().enumerate().take(ROWS) {
                if i > 0 && bits(*value) == bits(values[i - 1]) {
                    (self.cells[i], self.lens[i]) = (self.cells[i - 1], self.lens[i - 1]);
                } else {
                    self.lens[i] = print(*value, &mut self.cells[i]) as u8;
                }
            }
        }
        values.len()
    }

    /// Whether all values are the same number; if so its text is in the first place.
    #[inline(always)]
    fn are_one<T: Copy>(
        &mut self,
        values: &[T],
        bits: impl Fn(T) -> u64,
        print: impl FnOnce(T, &mut Cell) -> usize,
    ) -> bool {
        let Some(first) = values.first() else {
            return true;
        };
        let uniform = Some(bits(*first)).filter(|it| values.iter().all(|v| bits(*v) == *it));
        if uniform.is_some() && self.uniform != uniform {
            self.lens[0] = print(*first, &mut self.cells[0]) as u8;
        }
        self.uniform = uniform;
        uniform.is_some()
    }

    /// Find out how long the strings from position `at` on are, and whether all are the same short one.
    fn strings_from(&mut self, values: &Strings, at: usize) -> usize {
        let first = values.get(at);
        (self.strings, self.is_same) = (0, first.len() <= COMMON);
        let mut n = 0;
        for value in (at..values.len()).map(|i| values.get(i)).take(ROWS) {
            self.is_same = self.is_same && value == first;
            self.strings += 2 * value.len() + 2;
            n += 1;
            if self.strings > STRINGS {
                break;
            }
        }
        self.text.clear();
        if self.is_same {
            escape::encode_string(first, &mut self.text);
        }
        n
    }
}

/// How many decimals a float has, if it has few digits.
fn decimals(value: f64) -> Option<usize> {
    let mut cell = [0; cell::SIZE];
    let n = cell::float(value, &mut cell);
    cell::decimals(cell.get(..n).unwrap_or_default())
}

fn integer(value: i64, cell: &mut Cell) -> usize {
    let n = cell::signed(value, cell);
    cell[n] = b'i';
    n + 1
}

fn small(value: i64, cell: &mut Cell) -> usize {
    let n = cell::small(value, cell);
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
    if let Some(place) = cell.first_chunk_mut() {
        *place = *text;
    }
    if value { 4 } else { 5 }
}
