//! What will it take to decode a block? The index does not say how many values it holds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::rows::Kind;
use crate::tsm::block::{self, Block};
use crate::tsm::index::Entry;
use crate::tsm::shard::{Member, Shard};

use super::unit::{Origin, Piece};

/// What a thousand values weigh; no block weighs less, and chunks of the log what their values say.
pub const THOUSAND: usize = 16;
/// What the values of a weight of 1 may take with all that is needed to print them, and what their times, in bytes.
const VALUES: usize = (10 << 10) / THOUSAND;
const TIMES: usize = (16 << 10) / THOUSAND;
/// What a byte of packed strings can hold.
const STRING: usize = 22;

/// What a short string takes in the log, with its time and its length.
const SHORT: usize = 24;
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

/// How many values the blocks of a file hold: a thousand as a rule, ten thousand after some compactions, and the index
/// does not say.
#[derive(Debug, Default)]
pub struct Density {
    pub thousands: usize,
    /// The most blocks that a key had whose blocks were looked at.
    blocks: usize,
    frame: Vec<u8>,
}

impl Density {
    /// For whoever reads no blocks: it never looks into one.
    pub fn blind() -> Self {
        Self {
            blocks: usize::MAX / 2,
            ..Self::default()
        }
    }

    /// Look into one of the blocks of a key, if it has far more of them than those before; how many bytes were read.
    pub fn look(&mut self, member: &Member, entries: &[Entry]) -> u64 {
        let Some(entry) = entries.get(entries.len() / 2) else {
            return 0;
        };
        if entries.len() < 2 * self.blocks || entry.size > LARGE {
            return 0;
        }
        self.blocks = entries.len();
        // What is wrong with the block is told when its turn comes.
        if member.file.frame(entry, &mut self.frame).is_ok()
            && let Ok(block) = Block::open(&self.frame, entry.offset)
            && let Ok(values) = block.count()
        {
            self.thousands = self.thousands.max(values.div_ceil(1000));
        }
        entry.size.into()
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
    /// The weight of all, and of those whose times are hardly those of the field before.
    pub values: usize,
    pub times: usize,
    /// Whether there are strings among them.
    pub has_strings: bool,
}

impl Sum {
    /// What they may take in memory, in bytes, with so many bytes of strings.
    pub fn memory(&self, strings: usize) -> usize {
        self.values * VALUES + self.times * TIMES + strings
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

/// What it takes to decode a block, as far as that can be foreseen.
pub fn weight(origin: Origin, entry: &Entry, thousands: usize) -> usize {
    let size = entry.size as usize;
    let by_size = match origin {
        Origin::Log(Kind::String) => return size.div_ceil(VALUES),
        Origin::Log(_) => return (size * THOUSAND).div_ceil(1000),
        Origin::File(..) if strings(origin, entry) > 0 => 1 + size / 4096,
        Origin::File(..) => 1 + size / 16384,
    };
    by_size.max(thousands) * THOUSAND
}

/// For how many values a block is taken; a chunk of the log says it, unless it holds strings.
pub fn values(origin: Origin, entry: &Entry, thousands: usize) -> usize {
    match origin {
        Origin::File(..) => 1000 * weight(origin, entry, thousands) / THOUSAND,
        Origin::Log(Kind::String) => (entry.size as usize).div_ceil(SHORT),
        Origin::Log(_) => entry.size as usize,
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
        assert_eq!(THOUSAND, weight(number, &entry(0, 1), 1));
        assert_eq!(10 * THOUSAND, weight(number, &entry(0, 1), 10));
        assert_eq!(3 * THOUSAND, weight(number, &large, 1));
        assert_eq!(10 * THOUSAND, weight(string, &large, 1));
        let of_log = |kind, size| weight(Origin::Log(kind), &Entry { size, ..large }, 10);
        let numbers = [1, 400, 1000].map(|size| of_log(Kind::Float, size));
        assert_eq!([1, 7, THOUSAND], numbers);
        // Of strings it is their bytes that count.
        let strings = [20, 16_000, 1 << 20].map(|size| of_log(Kind::String, size));
        assert_eq!([1, 25, 1639], strings);
    }

    #[test]
    fn a_block_is_taken_for_thousands_of_values_and_a_chunk_for_those_it_has() {
        let (file, log) = (Origin::File(0, 0), Origin::Log(Kind::Float));
        let entry = entry(0, 1);
        assert_eq!(
            (3000, 100),
            (values(file, &entry, 3), values(log, &entry, 3))
        );
    }
}
