//! What the storage files of InfluxDB 1.x hold. Layouts: one module per format, drawn at its top.

/// A storage file that does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("offset {at}: {kind}")]
pub struct Error {
    /// Byte offset in the file where the trouble starts.
    pub at: u64,
    /// What is wrong there.
    pub kind: ErrorKind,
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

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let Some((head, rest)) = self.rest.split_at_checked(n) else {
            let missing = n - self.rest.len();
            return Err(Error {
                at: self.at,
                kind: ErrorKind::Truncated { missing },
            });
        };
        self.rest = rest;
        self.at += n as u64;
        Ok(head)
    }
}
