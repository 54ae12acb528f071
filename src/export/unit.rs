//! A unit: some slices of time of some series. It names its blocks, and needs nothing else but the open shard.

use std::ops::{Range, RangeInclusive};

use crate::rows::Kind;
use crate::tsm::index::Entry;

/// Weight of a unit of short series, and of a slice with few fields. A thousand numbers take 16 KB decoded.
pub const LIGHT: usize = 32_000;
/// Text that either becomes, as far as that can be foreseen. Little enough that some fifteen of them may be under way.
pub const TEXT: usize = 1 << 19;
/// Pieces of a unit of short series, of which each takes some memory before it is read.
const PIECES: usize = 4096;

/// Where the values of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Blocks of the TSM file at this position of the shard, with this type by the index.
    File(usize, u8),
    /// Chunks of the log, of this type.
    Log(Kind),
}

/// A block, or a chunk of the log.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it comes from.
    pub origin: Origin,
    /// The block; of a log, where the chunk is among all and its extent stand for offset and size.
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
    /// What it may take to decode it all: as much as so many numbers.
    pub weight: usize,
    /// What the values of a single slice may take in memory, in bytes: one after the other is decoded.
    pub widest: usize,
    /// How long the text may become, strings aside, in bytes.
    pub text: usize,
    /// How many bytes the strings may be.
    pub strings: usize,
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
        self.widest = 0;
        self.text = 0;
        self.strings = 0;
    }

    /// The first and the last time of each of these pieces.
    pub fn spans(&self, pieces: &Range<usize>) -> impl Iterator<Item = (i64, i64)> {
        let pieces = self.pieces.get(pieces.clone()).unwrap_or_default();
        pieces
            .iter()
            .map(|piece| (piece.entry.min, piece.entry.max))
    }

    /// Whether there is work enough in it for one thread to be given.
    pub fn is_full(&self) -> bool {
        self.weight >= LIGHT
            || self.text >= TEXT
            || self.strings >= 2 * TEXT
            || self.pieces.len() >= PIECES
    }

    /// How much memory it takes.
    pub fn memory(&self) -> usize {
        self.slices.capacity() * size_of::<Slice>()
            + self.parts.capacity() * size_of::<Part>()
            + self.pieces.capacity() * size_of::<Piece>()
            + self.names.capacity()
            + self.deleted.capacity() * size_of::<(i64, i64)>()
    }

    /// Append a name.
    pub fn name(&mut self, name: &[u8]) -> Range<usize> {
        let start = self.names.len();
        self.names.extend_from_slice(name);
        start..self.names.len()
    }

    /// What stands at this place among the names.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.names.get(range.clone()).unwrap_or_default()
    }
}
