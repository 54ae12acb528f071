//! What will it take to decode a block? The index does not say how many values it holds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::rows::Kind;
use crate::tsm::block::{self, Block};
use crate::tsm::index::Entry;
use crate::tsm::shard::{Member, Shard};

use super::unit::{Origin, Piece};

/// What a value may take with all that is needed to print it, and what its time, in bytes.
const VALUE: usize = 10;
const TIME: usize = 16;
/// What a field of a slice takes however few values it has, in bytes.
const FIELD: usize = 2 << 10;
/// What a byte of packed strings can hold.
const STRING: usize = 22;

/// What a short string takes in the log, with its time and its length.
const SHORT_STRING: usize = 24;
/// A block of which it does not matter how many bytes of strings it holds.
const SMALL: u32 = 512;
/// So many bytes of a block have its times in them, as a rule; and so many of its values say how long strings are.
const START: u64 = 4 << 10;
const HEADER: u64 = 6;

/// A block of so many bytes weighs more than its values could say.
const LARGE: u32 = 256 << 10;

/// Passes over the blocks of a slice in the order in which they begin.
#[derive(Default)]
pub struct Sweep {
    /// What all of them weigh.
    pub sum: usize,
    /// Those that may go on, by last time; what they weigh.
    open: BinaryHeap<Reverse<(i64, usize)>>,
    held: usize,
}

impl Sweep {
    /// Pass the beginning of a block.
    pub fn begin(&mut self, entry: &Entry, weight: usize) {
        self.sum += weight;
        self.held += weight;
        self.open.push(Reverse((entry.max, weight)));
    }

    /// What the blocks weigh that reach over a cut before `time`: they are decoded on both sides of it.
    pub fn over(&mut self, time: i64) -> usize {
        while let Some(&Reverse((max, weight))) = self.open.peek() {
            if max >= time {
                break;
            }
            self.open.pop();
            self.held -= weight;
        }
        self.held
    }
}

/// A block of at most so many bytes may hold far fewer values than others, or as many.
const SHORT: u32 = 1 << 10;
/// Bytes that are read at a time where many such blocks lie behind each other.
const AHEAD: u64 = 8 << 10;

/// More blocks than any key has: none is looked into.
const BLIND: usize = usize::MAX / 2;

/// How many values the blocks of a file hold: a thousand as a rule, ten thousand after some compactions, a few where
/// series are short, and the index does not say.
#[derive(Debug, Default)]
pub struct Density {
    thousands: usize,
    /// The most blocks that a key had whose blocks were looked at.
    blocks: usize,
    /// Bytes of the file, from `start` on.
    bytes: Vec<u8>,
    start: u64,
    /// Short blocks that were looked at last, one behind the other.
    row: Range<u64>,
    /// The short block that was looked into last, and how many values it has.
    known: Option<(Entry, usize)>,
    /// How many bytes were read.
    pub read: u64,
}

impl Density {
    /// For whoever reads no blocks: it never looks into one.
    pub fn blind() -> Self {
        Self {
            blocks: BLIND,
            ..Self::default()
        }
    }

    /// How many values one of these blocks of a key may hold. Some are looked into. What is wrong with them is told when
    /// their turn comes.
    pub fn most(&mut self, member: &Member, entries: &[Entry]) -> usize {
        self.look(member, entries);
        let usual = 1000 * self.thousands.max(1);
        if self.blocks == BLIND || entries.iter().any(|entry| entry.size > SHORT) {
            return usual;
        }
        let mut most = 1;
        for entry in entries {
            most = self.claimed(member, entry).unwrap_or(usual).max(most);
            if most >= usual {
                break;
            }
        }
        most
    }

    /// Look into one of the blocks of a key, if it has far more of them than those before.
    fn look(&mut self, member: &Member, entries: &[Entry]) {
        let Some(entry) = entries.get(entries.len() / 2) else {
            return;
        };
        if entries.len() < 2 * self.blocks || entry.size > LARGE {
            return;
        }
        self.blocks = entries.len();
        if let Some(frame) = self.frame(member, entry, 0)
            && let Ok(block) = Block::open(frame, entry.offset)
            && let Ok(values) = block.count()
        {
            self.thousands = self.thousands.max(values.div_ceil(1000));
        }
    }

    /// How many values a short block says it holds.
    fn claimed(&mut self, member: &Member, entry: &Entry) -> Option<usize> {
        if entry.offset != self.row.end {
            self.row.start = entry.offset;
        }
        // As much as there was before: so it is not much that is read in vain.
        let ahead = (entry.offset - self.row.start).min(AHEAD);
        self.row.end = entry.offset.saturating_add(entry.size.into());
        // Series that are written together have the same times, as a rule.
        let is_alike = |known: &Entry| {
            (known.min, known.max, known.size) == (entry.min, entry.max, entry.size)
        };
        if let Some((_, values)) = self.known.filter(|(known, _)| is_alike(known)) {
            return Some(values);
        }
        let values = block::claimed(self.frame(member, entry, ahead)?)?;
        self.known = Some((*entry, values));
        Some(values)
    }

    /// The bytes of a block; if they have to be read, with so many that follow.
    fn frame(&mut self, member: &Member, entry: &Entry, ahead: u64) -> Option<&[u8]> {
        let (size, held) = (u64::from(entry.size), self.bytes.len() as u64);
        let mut at = entry.offset.wrapping_sub(self.start);
        if at > held || held - at < size {
            let blocks = member.file.blocks();
            if entry.fault(&blocks).is_some() {
                return None;
            }
            let len = size.max(ahead.min(blocks.end - entry.offset));
            let done = member.file.bytes(entry.offset, len, &mut self.bytes);
            if done.is_err() {
                self.bytes.clear();
                return None;
            }
            (self.start, at) = (entry.offset, 0);
            self.read += len;
        }
        self.bytes.get(at as usize..)?.get(..size as usize)
    }
}

/// How many bytes of strings a block or chunk can hold, by what is known of it without reading it.
pub fn strings(origin: Origin, entry: &Entry) -> usize {
    let size = entry.size as usize;
    match origin {
        Origin::File(_, kind) if block::kind(kind) == Some(Kind::String) => STRING * size,
        Origin::Log(Kind::String) => size,
        _ => 0,
    }
}

/// What the blocks of a slice come to.
#[derive(Debug, Default)]
pub struct Sum {
    /// What all weigh, and those whose times are hardly those of the field before.
    pub values: usize,
    pub times: usize,
    /// How many fields there are.
    pub fields: usize,
    /// Whether there are strings among them.
    pub has_strings: bool,
}

impl Sum {
    /// What they may take in memory, in bytes, with so many bytes of strings.
    pub fn memory(&self, strings: usize) -> usize {
        self.values * VALUE + self.times * TIME + self.fields * FIELD + strings
    }
}

/// Finds out how long strings are that have not been read.
#[derive(Debug, Default)]
pub struct Scales {
    start: Vec<u8>,
    /// Bytes that were read.
    pub read: u64,
}

impl Scales {
    /// How many bytes of strings these pieces may hold.
    pub fn strings(&mut self, shard: &Shard, pieces: &[Piece]) -> usize {
        let strings = pieces.iter().map(|Piece { origin, entry, .. }| {
            let most = strings(*origin, entry);
            let member = match origin {
                Origin::File(file, _) if most > 0 => shard.members.get(*file),
                _ => None,
            };
            let member = member.filter(|_| entry.size > SMALL);
            let claimed = member.and_then(|member| self.claimed(member, entry));
            claimed.map_or(most, |claimed| claimed.min(most))
        });
        strings.sum()
    }

    /// What a block says of its strings. What is wrong with it is told when its turn comes.
    fn claimed(&mut self, member: &Member, entry: &Entry) -> Option<usize> {
        if entry.fault(&member.file.blocks()).is_some() {
            return None;
        }
        let size = u64::from(entry.size);
        let start = self.bytes(member, entry.offset, START.min(size))?;
        let at = block::values_at(start)?;
        let values = start.get(usize::try_from(at).ok()?..).unwrap_or_default();
        if values.len() as u64 >= HEADER.min(size.checked_sub(at)?) {
            return block::string_bytes(values);
        }
        let rest = HEADER.min(size - at);
        let values = self.bytes(member, entry.offset.checked_add(at)?, rest)?;
        block::string_bytes(values)
    }

    fn bytes(&mut self, member: &Member, at: u64, len: u64) -> Option<&[u8]> {
        member.file.bytes(at, len, &mut self.start).ok()?;
        self.read += len;
        Some(&self.start)
    }
}

/// As much of something as `some` is of `all`, and not more than it.
pub fn share(of: usize, some: usize, all: usize) -> usize {
    let all = all.max(1);
    (of as u128 * some.min(all) as u128 / all as u128) as usize
}

/// What it takes to decode a block of at most so many values, as far as that can be foreseen: as much as that many
/// numbers. A chunk of the log says how many it has; of strings it is their bytes that count.
pub fn weight(origin: Origin, entry: &Entry, values: usize) -> usize {
    let size = entry.size as usize;
    let large = match origin {
        Origin::Log(Kind::String) => return size.div_ceil(VALUE),
        Origin::Log(_) => return size,
        Origin::File(..) if strings(origin, entry) > 0 => size / 4096,
        Origin::File(..) => size / 16384,
    };
    let by_size = if large > 0 { 1000 * (1 + large) } else { 1 };
    values.max(by_size)
}

/// For how many values a block is taken.
pub fn values(origin: Origin, entry: &Entry, values: usize) -> usize {
    match origin {
        Origin::Log(Kind::String) => (entry.size as usize).div_ceil(SHORT_STRING),
        _ => weight(origin, entry, values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(min: i64, max: i64) -> Entry {
        Entry {
            min,
            max,
            offset: 5,
            size: 100,
        }
    }

    #[test]
    fn what_reaches_over_a_cut_is_what_began_before_and_ends_behind() {
        let mut sweep = Sweep::default();
        sweep.begin(&entry(0, 9), 1);
        sweep.begin(&entry(0, 20), 10);
        assert_eq!(10, sweep.over(10));
        sweep.begin(&entry(10, 15), 100);
        assert_eq!((110, 111), (sweep.over(15), sweep.sum));
        assert_eq!((10, 0), (sweep.over(16), sweep.over(21)));
    }

    #[test]
    fn a_block_weighs_what_its_size_or_its_values_say() {
        let (number, string) = (Origin::File(0, 0), Origin::File(0, 3));
        let large = Entry {
            size: 40_000,
            ..entry(0, 1)
        };
        let of_file = |origin, entry, values| weight(origin, &entry, values);
        let small = [1, 300, 10_000].map(|values| of_file(number, entry(0, 1), values));
        assert_eq!([1, 300, 10_000], small);
        assert_eq!(3000, of_file(number, large, 1000));
        assert_eq!(10_000, of_file(string, large, 1000));
        let of_log = |kind, size| weight(Origin::Log(kind), &Entry { size, ..large }, 10_000);
        let numbers = [1, 400, 1000].map(|size| of_log(Kind::Float, size));
        assert_eq!([1, 400, 1000], numbers);
        // Of strings it is their bytes that count.
        let strings = [20, 16_000, 1 << 20].map(|size| of_log(Kind::String, size));
        assert_eq!([2, 1600, 104_858], strings);
    }

    #[test]
    fn a_block_is_taken_for_what_it_may_have_and_a_chunk_for_those_it_has() {
        let (file, log) = (Origin::File(0, 0), Origin::Log(Kind::Float));
        let (small, large) = (
            entry(0, 1),
            Entry {
                size: 40_000,
                ..entry(0, 1)
            },
        );
        let all = |values_of: usize| {
            [(file, small), (log, small), (file, large)]
                .map(|(origin, entry)| values(origin, &entry, values_of))
        };
        assert_eq!([3000, 100, 3000], all(3000));
        assert_eq!([2, 100, 3000], all(2));
    }
}
