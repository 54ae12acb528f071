//! Bytes at an offset: a file, or a region of a larger one.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use super::{Error, ErrorKind, ReadError};

/// Bytes that can be read at any offset, by any number of readers at a time.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<File>,
    /// Where offset 0 is in the file.
    start: u64,
    len: u64,
}

impl Source {
    /// All bytes that a file has now.
    pub fn whole(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            start: 0,
            len,
        })
    }

    /// `len` bytes of a file from `start` on.
    pub fn region(file: Arc<File>, start: u64, len: u64) -> Self {
        Self { file, start, len }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether both are of the same file, as far as the system tells.
    pub fn is_same(&self, other: &Self) -> bool {
        let place = |source: &Self| {
            let meta = source.file.metadata().ok()?;
            Some((meta.dev(), meta.ino(), source.start, source.len))
        };
        Arc::ptr_eq(&self.file, &other.file)
            || place(self).is_some_and(|own| place(other) == Some(own))
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fill `buf` with the bytes at offset `at`.
    pub fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let left = self.len.saturating_sub(at);
        if let Some(missing) = (buf.len() as u64).checked_sub(left).filter(|n| *n > 0) {
            return Err(truncated(at, missing));
        }
        match self.file.read_exact_at(buf, self.start + at) {
            Ok(()) => Ok(()),
            // The file has shrunk since it was opened.
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                Err(truncated(at, buf.len() as u64))
            }
            Err(err) => Err(err.into()),
        }
    }

    /// The bytes from the first to the last, in order.
    pub fn reader(&self) -> Reader {
        self.part(0..self.len)
    }

    /// The bytes from one offset up to another one, in order.
    pub fn part(&self, offsets: Range<u64>) -> Reader {
        let mut source = self.clone();
        source.len = source.len.min(offsets.end);
        let at = source.len.min(offsets.start);
        Reader { source, at }
    }
}

fn truncated(at: u64, missing: u64) -> ReadError {
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    Error::new(at, ErrorKind::Truncated { missing }).into()
}

/// A [`Source`], or a part of it, read from start to end.
#[derive(Debug)]
pub struct Reader {
    source: Source,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.source.len - self.at;
        let n = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(0);
        }
        let at = self.source.start + self.at;
        let n = self
            .source
            .file
            .read_at(buf.get_mut(..n).unwrap_or_default(), at)?;
        if n == 0 {
            // The file has shrunk since it was opened. To who reads from start to end that would look like the end.
            let missing = usize::try_from(left).unwrap_or(usize::MAX);
            let err = Error::new(self.at, ErrorKind::Truncated { missing });
            return Err(io::Error::other(err));
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_region_ends_where_it_ends_though_the_file_goes_on() {
        let source = Source::region(Arc::new(file(b"0123456789")), 2, 5);
        let mut buf = [0; 3];
        source.read(2, &mut buf).unwrap();
        assert_eq!(b"456", &buf);
        let err = source.read(3, &mut buf).unwrap_err();
        assert_eq!("offset 3: 1 bytes are missing", err.to_string());
        let mut all = Vec::new();
        source.reader().read_to_end(&mut all).unwrap();
        source.part(1..3).read_to_end(&mut all).unwrap();
        source.part(3..9).read_to_end(&mut all).unwrap();
        source.part(7..9).read_to_end(&mut all).unwrap();
        assert_eq!(b"234563456".to_vec(), all);
    }

    #[test]
    fn a_file_that_shrinks_is_cut() {
        let file = file(b"0123456789");
        let source = Source::whole(file.try_clone().unwrap()).unwrap();
        file.set_len(4).unwrap();
        assert!(matches!(
            source.read(2, &mut [0; 3]),
            Err(ReadError::Damage(_))
        ));
        let err = source.reader().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!("offset 4: 6 bytes are missing", err.to_string());
        source.part(1..4).read_to_end(&mut Vec::new()).unwrap();
    }
}
