//! Tombstones: what has been deleted from one TSM file, beside it in a file of its own.
//!
//! ```text
//! version 1   lines of keys; each deletes its whole key
//! version 2   00 00 15 02, records
//! version 3   00 00 15 03, gzip of records
//! version 4   00 00 15 04, one gzip member of records for each deletion
//! record      key length u32 | key | first time i64 | last time i64, both deleted too
//! ```
//!
//! A tombstone that is misread brings deleted points back, so all doubt is an error.

mod read;
mod sort;
mod spill;

use std::fs::File;
use std::io;

pub use read::read;
use spill::{Records, Spilled};

use super::ReadError;
use crate::rows::Strings;

/// First and last deleted time.
pub type Range = (i64, i64);

const ALWAYS: Range = (i64::MIN, i64::MAX);

/// What the tombstones of a shard may take in memory together before they go to a temporary file.
const MEMORY: usize = 16 << 20;

/// Where deletions are put in order: so much memory, and unnamed files for what does not fit.
pub struct Space<'a> {
    memory: usize,
    scratch: &'a dyn Fn() -> io::Result<File>,
}

impl<'a> Space<'a> {
    /// For the tombstones of one shard. `scratch` makes an empty file to write and read.
    pub fn new(scratch: &'a dyn Fn() -> io::Result<File>) -> Self {
        let memory = MEMORY;
        Self { memory, scratch }
    }
}

/// The deletions of one TSM file by key.
#[derive(Debug)]
pub struct Tombstones(Place);

#[derive(Debug)]
enum Place {
    Memory(List),
    File(Spilled),
}

impl Default for Tombstones {
    fn default() -> Self {
        Self(Place::Memory(List::default()))
    }
}

impl Tombstones {
    /// For questions about ascending keys.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor(match &self.0 {
            Place::Memory(list) => Walk::Memory { list, next: 0 },
            Place::File(spilled) => Walk::File(spilled.records()),
        })
    }
}

/// Goes through the deletions beside a walk through the keys of the TSM file.
#[derive(Debug)]
pub struct Cursor<'a>(Walk<'a>);

#[derive(Debug)]
enum Walk<'a> {
    Memory { list: &'a List, next: usize },
    File(Records),
}

impl Cursor<'_> {
    /// The deleted times of `key`: ascending ranges that do not touch, both ends deleted too.
    ///
    /// `key` must not be less than any key asked for before. An error is one of the temporary file.
    pub fn ranges(&mut self, key: &[u8]) -> Result<&[Range], ReadError> {
        match &mut self.0 {
            Walk::Memory { list, next } => {
                while *next < list.len() && list.keys.get(*next) < key {
                    *next += 1;
                }
                Ok(list.ranges_at(*next, key))
            }
            Walk::File(records) => records.ranges(key),
        }
    }
}

/// Takes deletions in order of keys and times.
trait Sorted {
    fn put(&mut self, key: &[u8], range: Range) -> io::Result<()>;
}

/// Deletions in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct List {
    /// Ascending, each once.
    keys: Strings,
    /// Where the ranges of each key end in `ranges`.
    ends: Vec<usize>,
    /// Key by key; those of a key ascend and do not touch.
    ranges: Vec<Range>,
}

impl List {
    /// How many keys have deletions.
    fn len(&self) -> usize {
        self.keys.len()
    }

    /// The ranges of the key at position `i`, if it is `key`.
    fn ranges_at(&self, i: usize, key: &[u8]) -> &[Range] {
        if i >= self.keys.len() || self.keys.get(i) != key {
            return &[];
        }
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ranges[start..self.ends[i]]
    }
}

impl Sorted for List {
    fn put(&mut self, key: &[u8], range: Range) -> io::Result<()> {
        let last = self.keys.len().checked_sub(1);
        match (last.map(|i| self.keys.get(i)), self.ranges.last_mut()) {
            (Some(last), Some(before)) if last == key => {
                if join(before, range) {
                    return Ok(());
                }
                self.ends.pop();
            }
            _ => self.keys.push(key),
        }
        self.ranges.push(range);
        self.ends.push(self.ranges.len());
        Ok(())
    }
}

/// Widen `range` to hold `other` too, unless there is a time between them.
fn join(range: &mut Range, other: Range) -> bool {
    let touch = range.0 <= other.1.saturating_add(1) && other.0 <= range.1.saturating_add(1);
    if touch {
        *range = (range.0.min(other.0), range.1.max(other.1));
    }
    touch
}

#[cfg(test)]
mod testing {
    use super::*;

    impl Tombstones {
        /// How many keys have deletions.
        pub fn count(&self) -> usize {
            match &self.0 {
                Place::Memory(list) => list.len(),
                Place::File(_) => unreachable!("small enough for memory"),
            }
        }

        /// The deleted times of `key`.
        pub fn ranges(&self, key: &[u8]) -> Vec<Range> {
            self.cursor().ranges(key).unwrap().to_vec()
        }

        /// Whether they are in a temporary file.
        pub fn is_spilled(&self) -> bool {
            matches!(self.0, Place::File(_))
        }
    }

    impl PartialEq for Tombstones {
        fn eq(&self, other: &Self) -> bool {
            match (&self.0, &other.0) {
                (Place::Memory(own), Place::Memory(other)) => own == other,
                _ => unreachable!("small enough for memory"),
            }
        }
    }

    /// So much memory, and files in the folder for temporary ones.
    pub fn space(memory: usize) -> Space<'static> {
        let scratch = &tempfile::tempfile;
        Space { memory, scratch }
    }
}
