//! What the storage files of InfluxDB 1.x hold. Layouts: one module per format, drawn at its top.

use std::io;

use crate::rows::Kind;

pub mod archive;
pub mod backup;
pub mod block;
pub mod encoding;
pub mod file;
pub mod index;
pub mod key;
pub mod merge;
pub mod meta;
pub mod place;
pub mod shard;
pub mod source;
pub mod spool;
mod stream;
pub mod tombstone;
pub mod tree;
pub mod wal;

/// A storage file that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {at}: {kind}")]
pub struct Error {
    /// Byte offset in the file where the trouble starts.
    pub at: u64,
    /// What is wrong there.
    pub kind: ErrorKind,
}

impl Error {
    /// `kind`, found at offset `at` of the file.
    pub fn new(at: u64, kind: ErrorKind) -> Self {
        Self { at, kind }
    }
}

/// What can be wrong with a storage file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The data ends before it should.
    #[error("{missing} bytes are missing")]
    Truncated {
        /// How many more bytes were announced.
        missing: usize,
    },
    /// A file that is something else.
    #[error("not a TSM file: it starts with other bytes")]
    Magic,
    /// A TSM file of a version that no release writes.
    #[error("unknown TSM version {0}")]
    Version(u8),
    /// A footer that points where no index can be.
    #[error("footer says that the index is at {0}")]
    IndexOffset(u64),
    /// A TSM file whose name does not say how new it is.
    #[error("file name is not GENERATION-SEQUENCE.tsm")]
    FileName,
    /// A key that does not sort behind the one before it.
    #[error("key is not greater than the one before it")]
    KeyOrder,
    /// Keys that hold the ids of organisation and bucket: only alpha and beta versions of 2.0 wrote such files.
    #[error(
        "written by a server from before the release of 2.0, whose keys nobody reads (upgrade it first)"
    )]
    PreRelease,
    /// A key without any block.
    #[error("key without blocks")]
    NoEntries,
    /// An index that is wrong in so many places that it cannot be an index.
    #[error("index is wrong in more than {0} places")]
    IndexFaults(usize),
    /// A block that would lie outside of its part of the file.
    #[error("index says that a block of {size} bytes is at {offset}")]
    Place {
        /// Where the block should start.
        offset: u64,
        /// How long it should be.
        size: u32,
    },
    /// A block that does not lie behind the one before it.
    #[error("index says that a block is at {found} where {expected} is next")]
    Chain {
        /// Where the block before it ends.
        expected: u64,
        /// Where the index says it starts.
        found: u64,
    },
    /// A block that would end before it starts.
    #[error("index says that a block reaches from time {min} to {max}")]
    EntryTimes {
        /// Its first time.
        min: i64,
        /// Its last time.
        max: i64,
    },
    /// A block that holds other times than the index says.
    #[error("block has a point at time {time}, the index says {min} to {max}")]
    Times {
        /// A time in the block.
        time: i64,
        /// The first time by the index.
        min: i64,
        /// The last time by the index.
        max: i64,
    },
    /// A variable-length number does not fit into 64 bits.
    #[error("variable-length number is larger than 64 bits")]
    VarintOverflow,
    /// A block does not hold what was once written.
    #[error("checksum does not match")]
    Checksum,
    /// A block of none of the five types.
    #[error("unknown block type {0}")]
    BlockType(u8),
    /// A section in an encoding that no server writes.
    #[error("unknown encoding {codec} of the {section}")]
    Encoding {
        /// What the section holds.
        section: &'static str,
        /// The number of the encoding.
        codec: u8,
    },
    /// Bytes that belong to nothing.
    #[error("{0} bytes too many")]
    Surplus(usize),
    /// A block that claims more points than any server puts into one.
    #[error("block claims {0} points")]
    TooManyPoints(u64),
    /// A block whose two halves disagree.
    #[error("{values} values for {times} timestamps")]
    Count {
        /// How many timestamps the block holds.
        times: usize,
        /// How many values it holds.
        values: usize,
    },
    /// A block with more values than timestamps, no matter how many.
    #[error("more values than {times} timestamps")]
    MoreValues {
        /// How many timestamps the block holds.
        times: usize,
    },
    /// Floats whose next change lies outside the 64 bits.
    #[error("float changes in {bits} bits behind {lead}")]
    Window {
        /// How many leading bits stay as they are.
        lead: u32,
        /// How many bits change.
        bits: u32,
    },
    /// Compressed data that does not unpack.
    #[error("{0}")]
    Snappy(encoding::snappy::Fault),
    /// Compressed data that claims to unpack to more than is possible.
    #[error("{packed} compressed bytes claim to hold {claimed}")]
    SnappyLength {
        /// How many compressed bytes there are.
        packed: usize,
        /// How many bytes they claim to unpack to.
        claimed: usize,
    },
    /// Values asked for as another type than they are.
    #[error("block of type {block} where {column} is expected")]
    OtherType {
        /// The type of the block.
        block: Kind,
        /// The type of the column it should go to.
        column: Kind,
    },
    /// A tombstone file of a version that no release writes.
    #[error("unknown tombstone version {0}")]
    TombstoneVersion(u8),
    /// A tombstone file that ends inside a record.
    #[error("tombstone file ends inside a record")]
    CutRecord,
    /// A tombstone file that ends before the first record of a compressed part.
    #[error("tombstone file ends before a record")]
    CutMember,
    /// A tombstone file whose compressed part does not unpack.
    #[error("tombstone file: {0}")]
    Gzip(String),
    /// A key longer than any index can hold, or without any byte.
    #[error("key of {0} bytes")]
    KeyLength(u32),
    /// A line of a version 1 tombstone file that cannot be a key.
    #[error("neither a tombstone header nor a key")]
    NoKey,
    /// An entry of the write-ahead log of none of the three types.
    #[error("unknown entry type {0}")]
    EntryType(u8),
    /// A value in the write-ahead log of none of the five types.
    #[error("unknown value type {0}")]
    ValueType(u8),
    /// A count in the write-ahead log that cannot be.
    #[error("{count} values in {left} bytes")]
    ValueCount {
        /// How many values were announced.
        count: u32,
        /// How many bytes are left for them.
        left: usize,
    },
    /// A tar archive that is not in order.
    #[error(transparent)]
    Archive(archive::Fault),
    /// A backup whose manifest is not in order.
    #[error(transparent)]
    Backup(backup::Fault),
}

/// Why a file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system did not give the bytes.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes do not hold what they should.
    #[error(transparent)]
    Damage(#[from] Error),
}

impl ReadError {
    /// Damage that came out of a reader, which can only hand on errors of the system, as damage.
    pub fn settled(self) -> Self {
        let Self::Io(err) = &self else {
            return self;
        };
        let damage = err
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        damage.cloned().map_or(self, Self::Damage)
    }
}

/// Something odd in a storage file that costs no data which the server itself would have kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {at}: {kind}")]
pub struct Note {
    /// Byte offset in the file.
    pub at: u64,
    /// What is odd there.
    pub kind: NoteKind,
}

impl Note {
    /// `kind`, found at offset `at` of the file.
    pub fn new(at: u64, kind: NoteKind) -> Self {
        Self { at, kind }
    }
}

/// What can be odd in a storage file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteKind {
    /// A tombstone file of version 2: no server since 1.4 applies it, we do.
    #[error("tombstones of version 2, which servers since 1.4 fail to apply, are applied")]
    Version2,
    /// A tombstone file that starts with its compressed part.
    #[error("header of the tombstone file is missing, read as version 4")]
    NoHeader,
    /// A tombstone file that ends between two records or in the last checksum.
    #[error("tombstone file is cut behind a whole record")]
    CutBehindRecord,
    /// A tombstone file that goes on behind its last compressed part.
    #[error("tombstone file ends in bytes that are no tombstones, ignored")]
    Garbage,
    /// A line of a version 1 tombstone file that is too long to match any key.
    #[error("tombstone matches nothing: its key is longer than 65535 bytes")]
    LongKey,
    /// The last entry of a log was not written to its end: the crash came first.
    #[error("last entry is torn, its {bytes} bytes are left out as by the server")]
    TornEntry {
        /// How many bytes of it there are.
        bytes: u64,
    },
    /// Zeros between two entries of a log, where servers stop reading.
    #[error("{bytes} zero bytes between entries, read on behind them")]
    ZeroGap {
        /// How many zeros.
        bytes: u64,
    },
    /// Zeros up to the end of a log.
    #[error("{bytes} zero bytes at the end")]
    ZeroTail {
        /// How many zeros.
        bytes: u64,
    },
}

/// Bytes of a file, a slice that only moves forward and knows its offset.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Bytes<'a> {
    /// `bytes`, which stand at offset `at` of their file.
    pub fn new(bytes: &'a [u8], at: u64) -> Self {
        Self { rest: bytes, at }
    }

    /// The offset of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all has been taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// That `kind` is wrong at the next byte.
    pub fn error(&self, kind: ErrorKind) -> Error {
        Error::new(self.at, kind)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let Some((head, rest)) = self.rest.split_at_checked(n) else {
            let missing = n - self.rest.len();
            return Err(self.error(ErrorKind::Truncated { missing }));
        };
        self.rest = rest;
        self.at += n as u64;
        Ok(head)
    }

    /// The next `n` bytes, as bytes that move forward themselves.
    pub fn section(&mut self, n: usize) -> Result<Bytes<'a>, Error> {
        let at = self.at;
        Ok(Bytes::new(self.take(n)?, at))
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((head, rest)) = self.rest.split_first_chunk() else {
            let missing = N - self.rest.len();
            return Err(self.error(ErrorKind::Truncated { missing }));
        };
        self.rest = rest;
        self.at += N as u64;
        Ok(*head)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    /// The next two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next eight bytes, big-endian.
    pub fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes)
    }

    /// The next variable-length number.
    pub fn uvarint(&mut self) -> Result<u64, Error> {
        let (value, n) = encoding::varint::read(self.rest).map_err(|kind| self.error(kind))?;
        self.take(n)?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_big_endian_and_move_the_offset() {
        let bytes: Vec<u8> = (1..=23).collect();
        let mut bytes = Bytes::new(&bytes, 100);
        assert_eq!(0x01, bytes.u8().unwrap());
        assert_eq!(0x0203, bytes.u16().unwrap());
        assert_eq!(0x0405_0607, bytes.u32().unwrap());
        assert_eq!(0x0809_0a0b_0c0d_0e0f, bytes.u64().unwrap());
        assert_eq!(0x1011_1213_1415_1617, bytes.i64().unwrap());
        assert_eq!(123, bytes.at());
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_number_that_is_cut_says_where_it_starts_and_takes_nothing() {
        let mut bytes = Bytes::new(&[1, 2, 3], 40);
        let missing = ErrorKind::Truncated { missing: 5 };
        assert_eq!(Err(Error::new(40, missing)), bytes.u64());
        assert_eq!(&[1, 2, 3], bytes.rest());
    }

    #[test]
    fn a_section_keeps_its_offset() {
        let mut bytes = Bytes::new(b"abcdef", 7);
        bytes.take(2).unwrap();
        let section = bytes.section(3).unwrap();
        assert_eq!((b"cde".as_slice(), 9), (section.rest(), section.at()));
        assert_eq!((b"f".as_slice(), 12), (bytes.rest(), bytes.at()));
    }

    #[test]
    fn a_variable_length_number_moves_by_its_own_length() {
        let mut bytes = Bytes::new(&[0xac, 0x02, 0x07, 0x80], 0);
        assert_eq!(Ok(300), bytes.uvarint());
        assert_eq!(Ok(7), bytes.uvarint());
        assert_eq!(3, bytes.uvarint().unwrap_err().at);
    }

    #[test]
    fn an_error_is_one_line_with_its_offset() {
        let error = Error::new(4096, ErrorKind::Checksum);
        assert_eq!("offset 4096: checksum does not match", error.to_string());
    }
}
