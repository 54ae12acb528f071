//! The keys of a TSM file and their blocks, read as a sorted stream.
//!
//! ```text
//! key length u16 2 | key | block type 1 | count u16 2 | count x entry 28
//! entry: min time i64 8 | max time i64 8 | offset of the block i64 8 | size of the block u32 4
//! ```

use std::mem;
use std::ops::Range;

use super::file::File;
use super::key;
use super::source::Source;
use super::{Bytes, Error, ErrorKind, ReadError};

/// Size of one entry in the index.
pub const ENTRY: usize = 28;

/// Bytes read at a time. Many files are open at once, each with one buffer.
const CHUNK: usize = 32 << 10;

/// More wrong entries than this, and nothing in the index can be trusted.
const MAX_FAULTS: usize = 1000;

/// One block, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Time of the first point.
    pub min: i64,
    /// Time of the last point, inclusive.
    pub max: i64,
    /// Offset in the file.
    pub offset: u64,
    /// Size, checksum included.
    pub size: u32,
}

impl Entry {
    #[inline]
    fn parse(bytes: &[u8; ENTRY], at: u64) -> Result<Self, Error> {
        // As long as it is, it is known not to end too early.
        let mut bytes = Bytes::new(bytes, at);
        Ok(Self {
            min: bytes.i64()?,
            max: bytes.i64()?,
            offset: bytes.u64()?,
            size: bytes.u32()?,
        })
    }

    /// What cannot be right about the entry in a file with blocks at `blocks`.
    pub fn fault(&self, blocks: &Range<u64>) -> Option<ErrorKind> {
        let end = self.offset.checked_add(self.size.into());
        let lies_inside = self.offset >= blocks.start && end.is_some_and(|end| end <= blocks.end);
        // A checksum, a type and the length of the timestamps: there is no shorter block.
        if !lies_inside || self.size < 6 {
            return Some(ErrorKind::Place {
                offset: self.offset,
                size: self.size,
            });
        }
        (self.min > self.max).then_some(ErrorKind::EntryTimes {
            min: self.min,
            max: self.max,
        })
    }
}

/// A position in an index: one key, and a place among its entries.
#[derive(Debug)]
pub struct Cursor {
    source: Source,
    /// Where the bytes of `buf` from `pos` on stand in the file.
    at: u64,
    end: u64,
    buf: Vec<u8>,
    pos: usize,
    /// Where the key is in `buf`. It ends at `pos` or before.
    key: Range<usize>,
    /// Where the key before is. It ends where the key starts, or before.
    before: Range<usize>,
    kind: u8,
    /// Entries of the key that have not been read.
    left: usize,
}

impl Cursor {
    /// Before the first key of a file.
    pub fn new(file: &File) -> Self {
        let Range { start, end } = file.index();
        Self {
            source: file.source().clone(),
            at: start,
            end,
            buf: Vec::new(),
            pos: 0,
            key: 0..0,
            before: 0..0,
            kind: 0,
            left: 0,
        }
    }

    /// Go to the next key, past any entries not read; `false` behind the last one.
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        let rest = (self.left * ENTRY) as u64;
        self.skip(rest);
        self.left = 0;
        if self.at == self.end {
            self.key = self.pos..self.pos;
            return Ok(false);
        }
        let n = usize::from(self.take(2)?.u16()?);
        let bytes = self.take(n)?;
        if n == 0 {
            return Err(bytes.error(ErrorKind::KeyLength(0)).into());
        }
        self.before = mem::replace(&mut self.key, self.pos - n..self.pos);
        self.head()?;
        Ok(true)
    }

    /// What stands between a key and its entries.
    fn head(&mut self) -> Result<(), ReadError> {
        let mut head = self.take(3)?;
        let (kind, at, count) = (head.u8()?, head.at(), head.u16()?);
        if count == 0 {
            return Err(Error::new(at, ErrorKind::NoEntries).into());
        }
        self.kind = kind;
        self.left = usize::from(count);
        Ok(())
    }

    /// Go behind the last key.
    pub fn close(&mut self) {
        self.at = self.end;
        self.left = 0;
        self.buf = Vec::new();
        (self.pos, self.key, self.before) = (0, 0..0, 0..0);
    }

    /// The key; empty behind the last one. After an error it may be the one before.
    pub fn key(&self) -> &[u8] {
        self.buf.get(self.key.clone()).unwrap_or_default()
    }

    /// Whether the key is greater than the one before it, if none of that one's entries were skipped.
    fn ascends(&self) -> bool {
        self.key() > self.buf.get(self.before.clone()).unwrap_or_default()
    }

    /// The type of the key's blocks, not checked.
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// How many entries of the key have not been read.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Where the next byte stands in the file.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next entry of the key, not checked; `None` behind the last one.
    pub fn entry(&mut self) -> Result<Option<Entry>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut bytes = self.take(ENTRY)?;
        let at = bytes.at();
        let entry = Entry::parse(&bytes.array()?, at)?;
        self.left -= 1;
        Ok(Some(entry))
    }

    fn skip(&mut self, n: u64) {
        self.at += n;
        let pos = usize::try_from(n)
            .ok()
            .and_then(|n| self.pos.checked_add(n));
        match pos.filter(|pos| *pos <= self.buf.len()) {
            Some(pos) => self.pos = pos,
            None => {
                self.buf.clear();
                (self.pos, self.key, self.before) = (0, 0..0, 0..0);
            }
        }
    }

    /// The next `n` bytes of the index.
    #[inline]
    fn take(&mut self, n: usize) -> Result<Bytes<'_>, ReadError> {
        if self.buf.len() - self.pos < n {
            self.fill(n)?;
        }
        let (at, pos) = (self.at, self.pos);
        self.at += n as u64;
        self.pos += n;
        let bytes = self.buf.get(pos..self.pos).unwrap_or_default();
        Ok(Bytes::new(bytes, at))
    }

    #[cold]
    fn fill(&mut self, n: usize) -> Result<(), ReadError> {
        self.tidy();
        let (pos, have) = (self.pos, self.buf.len() - self.pos);
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        if left < n {
            let missing = n - left;
            return Err(Error::new(self.at, ErrorKind::Truncated { missing }).into());
        }
        let held = left.min(n.max(CHUNK)).max(have);
        self.buf.resize(pos + held, 0);
        let (at, space) = (self.at + have as u64, self.buf.get_mut(pos + have..));
        self.source.read(at, space.unwrap_or_default())
    }

    /// Drop what was read, but for the key and the one before it.
    fn tidy(&mut self) {
        self.buf.drain(self.key.end..self.pos);
        self.buf.drain(self.before.end..self.key.start);
        self.buf.drain(..self.before.start);
        let (before, key) = (self.before.len(), self.key.len());
        self.before = 0..before;
        self.key = before..before + key;
        self.pos = self.key.end;
    }
}

/// An entry that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key it belongs to.
    pub key: Vec<u8>,
    /// What is wrong, and where in the index.
    pub error: Error,
}

/// What one pass over an index shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many keys.
    pub keys: u64,
    /// Some key has blocks that do not follow each other in time.
    pub is_unsorted: bool,
    /// Entries that cannot be right, in their order.
    pub faults: Vec<Fault>,
}

impl Survey {
    /// Read a whole index and check all that can be checked without reading a block.
    pub fn of(file: &File) -> Result<Self, ReadError> {
        let (mut survey, mut cursor) = (Self::default(), Cursor::new(file));
        let mut next = file.blocks().start;
        loop {
            let at = cursor.at();
            if !cursor.advance()? {
                return Ok(survey);
            }
            if !cursor.ascends() {
                return Err(Error::new(at, ErrorKind::KeyOrder).into());
            }
            if survey.keys == 0 && key::is_pre_release(cursor.key()) {
                return Err(Error::new(at, ErrorKind::PreRelease).into());
            }
            survey.keys += 1;
            survey.entries(&mut cursor, &file.blocks(), &mut next)?;
        }
    }

    /// Check the entries of one key. `next` is where the next block must start.
    fn entries(
        &mut self,
        cursor: &mut Cursor,
        blocks: &Range<u64>,
        next: &mut u64,
    ) -> Result<(), ReadError> {
        let mut before = None;
        loop {
            let at = cursor.at();
            let Some(entry) = cursor.entry()? else {
                return Ok(());
            };
            self.is_unsorted |= before.is_some_and(|max| entry.min <= max);
            before = Some(entry.max);
            // Whatever is wrong with this block, the next one is measured by where it says it ends.
            let end = entry.offset.saturating_add(entry.size.into());
            let expected = mem::replace(next, end);
            let chain = || {
                let found = entry.offset;
                (found != expected).then_some(ErrorKind::Chain { expected, found })
            };
            if let Some(kind) = entry.fault(blocks).or_else(chain) {
                self.fault(cursor.key(), Error::new(at, kind))?;
            }
        }
    }

    fn fault(&mut self, key: &[u8], error: Error) -> Result<(), Error> {
        if self.faults.len() == MAX_FAULTS {
            return Err(Error::new(error.at, ErrorKind::IndexFaults(MAX_FAULTS)));
        }
        let key = key.to_vec();
        self.faults.push(Fault { key, error });
        Ok(())
    }

    /// What is wrong with the entry that stands at this offset of the index.
    pub fn fault_at(&self, at: u64) -> Option<&Fault> {
        let i = self
            .faults
            .binary_search_by_key(&at, |fault| fault.error.at);
        i.ok().and_then(|i| self.faults.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::testing::{WORKED, bytes, source};
    use super::*;
    use proptest::prelude::*;

    fn survey(bytes: &[u8]) -> Result<Survey, String> {
        let file = File::open(source(bytes)).map_err(|err| err.to_string())?;
        Survey::of(&file).map_err(|err| err.to_string())
    }

    fn with(at: usize, patch: &[u8]) -> Vec<u8> {
        let mut bad = bytes(WORKED);
        bad[at..at + patch.len()].copy_from_slice(patch);
        bad
    }

    /// A file that is all index: keys with blocks of 6 bytes, one behind the other.
    fn forged(keys: &[(Vec<u8>, usize)]) -> Vec<u8> {
        let (mut index, mut offset) = (Vec::new(), 5u64);
        for (key, count) in keys {
            index.extend((key.len() as u16).to_be_bytes());
            index.extend(key);
            index.push(1);
            index.extend((*count as u16).to_be_bytes());
            for i in 0..*count as i64 {
                index.extend((2 * i).to_be_bytes());
                index.extend((2 * i + 1).to_be_bytes());
                index.extend(offset.to_be_bytes());
                index.extend(6u32.to_be_bytes());
                offset += 6;
            }
        }
        let mut file = bytes("16d116d101");
        file.resize(offset as usize, 0);
        file.extend(index);
        file.extend(offset.to_be_bytes());
        file
    }

    #[test]
    fn the_worked_file_has_two_keys_of_one_block() {
        let file = File::open(source(&bytes(WORKED))).unwrap();
        let mut cursor = Cursor::new(&file);
        assert!(cursor.advance().unwrap());
        assert_eq!(
            (&b"cpu,host=a#!~#idle"[..], 0, 1),
            (cursor.key(), cursor.kind(), cursor.left())
        );
        let entry = Entry {
            min: 1_600_000_000_000_000_000,
            max: 1_600_000_020_000_000_000,
            offset: 5,
            size: 39,
        };
        assert_eq!(Some(entry), cursor.entry().unwrap());
        assert_eq!(None, cursor.entry().unwrap());
        assert!(cursor.advance().unwrap());
        assert_eq!(b"cpu,host=a#!~#n", cursor.key());
        assert!(!cursor.advance().unwrap());
        assert!(!cursor.advance().unwrap());
        assert_eq!(2, survey(&bytes(WORKED)).unwrap().keys);
    }

    #[test]
    fn a_damaged_index_is_an_error_with_its_offset() {
        assert_eq!(
            "offset 70: 65438 bytes are missing".to_owned(),
            survey(&with(68, &[0xff, 0xff])).unwrap_err()
        );
        assert_eq!(
            "offset 89: key without blocks".to_owned(),
            survey(&with(89, &[0, 0])).unwrap_err()
        );
        assert_eq!(
            "offset 119: key is not greater than the one before it".to_owned(),
            survey(&with(121, b"a")).unwrap_err()
        );
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let good = bytes(WORKED);
        for n in 0..good.len() {
            assert!(survey(&good[..n]).is_err(), "cut at {n}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_right_is_found_where_it_stands() {
        let faults = |at: usize, patch: &[u8]| {
            let survey = survey(&with(at, patch)).unwrap();
            let all = survey.faults.iter().map(|fault| fault.error.to_string());
            all.collect::<Vec<_>>()
        };
        assert!(faults(0, &[]).is_empty());
        // The offset of the second block, its size, its times; and the size of the first one.
        assert_eq!(
            vec!["offset 139: index says that a block of 24 bytes is at 45"],
            faults(162, &[45])
        );
        assert_eq!(
            vec!["offset 139: index says that a block is at 43 where 44 is next"],
            faults(162, &[43])
        );
        assert_eq!(
            vec!["offset 139: index says that a block of 5 bytes is at 44"],
            faults(166, &[5])
        );
        assert_eq!(1, faults(139, &[0x17]).len());
        assert_eq!(
            vec!["offset 139: index says that a block is at 44 where 45 is next"],
            faults(118, &[40])
        );
    }

    #[test]
    fn too_many_wrong_entries_condemn_the_index() {
        let mut file = forged(&[(b"k".to_vec(), 1002)]);
        let index = 5 + 6 * 1002;
        for i in 0..1002 {
            // The last byte of each size: no block is that short.
            file[index + 6 + 28 * i + 27] = 1;
        }
        assert!(survey(&file).unwrap_err().contains("more than 1000 places"));
    }

    #[test]
    fn an_index_larger_than_the_buffer_is_read_to_its_end() {
        let key = |i: usize| {
            format!("{i:05}{}", "x".repeat(if i == 7 { 65_000 } else { i % 90 })).into_bytes()
        };
        let keys: Vec<_> = (0..3000)
            .map(|i| (key(i), 1 + i % 4 + 2000 * usize::from(i == 9)))
            .collect();
        let file = File::open(source(&forged(&keys))).unwrap();
        let mut cursor = Cursor::new(&file);
        for (i, (key, count)) in keys.iter().enumerate() {
            assert!(cursor.advance().unwrap());
            assert_eq!((key.as_slice(), *count), (cursor.key(), cursor.left()));
            // Sometimes all entries are read, sometimes a few, sometimes none.
            for _ in 0..i % 3 * count / 2 {
                assert!(cursor.entry().unwrap().is_some());
            }
        }
        assert!(!cursor.advance().unwrap());
        assert_eq!(3000, Survey::of(&file).unwrap().keys);
    }

    proptest! {
        #[test]
        fn no_flipped_byte_in_an_index_is_a_panic(at in 68usize..175, to in any::<u8>()) {
            let _ = survey(&with(at, &[to]));
        }
    }
}
