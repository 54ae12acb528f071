//! The frame of a TSM file: is it one, and where do its blocks end and its index begin?
//!
//! ```text
//! +------------------+-------------------+---------+--------------------+
//! | magic 4  version 1 | blocks            | index   | index offset u64 8 |
//! +------------------+-------------------+---------+--------------------+
//! 0                  5                   index offset        size - 8
//! ```

use std::ops::Range;

use super::index::Entry;
use super::source::Source;
use super::{Error, ErrorKind, ReadError};

const MAGIC: [u8; 4] = [0x16, 0xd1, 0x16, 0xd1];
const HEADER: u64 = 5;
const FOOTER: u64 = 8;

/// A TSM file whose header and footer are in order.
#[derive(Debug)]
pub struct File {
    source: Source,
    index: Range<u64>,
}

impl File {
    /// Check header and footer.
    pub fn open(source: Source) -> Result<Self, ReadError> {
        let len = source.len();
        let mut header = [0; HEADER as usize];
        source.read(0, &mut header)?;
        let [magic @ .., version] = header;
        if magic != MAGIC {
            return Err(Error::new(0, ErrorKind::Magic).into());
        }
        if version != 1 {
            return Err(Error::new(4, ErrorKind::Version(version)).into());
        }
        let footer = len.saturating_sub(FOOTER).max(HEADER);
        let mut offset = [0; FOOTER as usize];
        source.read(footer, &mut offset)?;
        let start = u64::from_be_bytes(offset);
        if start < HEADER || start >= footer {
            return Err(Error::new(footer, ErrorKind::IndexOffset(start)).into());
        }
        Ok(Self {
            source,
            index: start..footer,
        })
    }

    /// Whether a file that starts with these bytes is meant as a TSM file.
    pub fn is_tsm(head: &[u8]) -> bool {
        head.starts_with(&MAGIC)
    }

    /// Where the index is.
    pub fn index(&self) -> Range<u64> {
        self.index.clone()
    }

    /// Where the blocks are.
    pub fn blocks(&self) -> Range<u64> {
        HEADER..self.index.start
    }

    /// The bytes of the file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Read the frame of a block into `buf`, in place of what it holds.
    pub fn frame(&self, entry: &Entry, buf: &mut Vec<u8>) -> Result<(), ReadError> {
        if let Some(kind) = entry.fault(&self.blocks()) {
            return Err(Error::new(entry.offset, kind).into());
        }
        self.bytes(entry.offset, entry.size.into(), buf)
    }

    /// Read so many bytes into `buf`, in place of what it holds.
    pub fn bytes(&self, at: u64, len: u64, buf: &mut Vec<u8>) -> Result<(), ReadError> {
        // Not cleared first: what is overwritten next need not be zero.
        buf.resize(len as usize, 0);
        self.source.read(at, buf)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::io::Write;

    use super::*;

    /// The worked file: `cpu,host=a#!~#idle` floats and `cpu,host=a#!~#n`, one integer.
    pub(crate) const WORKED: &str = concat!(
        "16d116d101b4cb576c000b2a16345785d8a000000103103ff80000000000006133fff17dffc0000000000008",
        "c1c24fd701091c16345785d8a0000010000000000000000e00126370752c686f73743d6123217e2369646c65",
        "00000116345785d8a000001634578a80b7c800000000000000000500000027000f6370752c686f73743d6123",
        "217e236e01000116345785d8a0000016345785d8a00000000000000000002c000000180000000000000044"
    );

    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    pub(crate) fn source(bytes: &[u8]) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Source::whole(file).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{WORKED, bytes, source};
    use super::*;

    fn fault(bytes: &[u8]) -> String {
        File::open(source(bytes)).unwrap_err().to_string()
    }

    #[test]
    fn the_worked_file_has_its_index_at_68() {
        let file = File::open(source(&bytes(WORKED))).unwrap();
        assert_eq!((68..167, 5..68), (file.index(), file.blocks()));
    }

    #[test]
    fn says_what_is_wrong_with_header_and_footer() {
        let good = bytes(WORKED);
        let with = |at: usize, c: u8| {
            let mut bad = good.clone();
            bad[at] = c;
            bad
        };
        assert_eq!("offset 0: 5 bytes are missing", fault(b""));
        assert_eq!("offset 5: 8 bytes are missing", fault(&good[..5]));
        assert_eq!(
            "offset 0: not a TSM file: it starts with other bytes",
            fault(&with(0, 0))
        );
        assert_eq!("offset 4: unknown TSM version 2", fault(&with(4, 2)));
        assert_eq!(
            "offset 167: footer says that the index is at 4",
            fault(&with(174, 4))
        );
        assert_eq!(
            "offset 167: footer says that the index is at 167",
            fault(&with(174, 167))
        );
    }
}
