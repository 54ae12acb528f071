//! A rolling buffer: bytes from a source in, whole entries out.

use std::io::{ErrorKind, Read};

use super::Error;
use super::frame::{End, Framer};

/// How much is asked of the source at once.
const CHUNK: usize = 256 << 10;

/// One entry of an input.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its bytes, with the line feed that ends it.
    pub bytes: &'a [u8],
    /// The number of its first physical line, from 1.
    pub line: u64,
    /// The offset of its first byte in the (decompressed) input.
    pub offset: u64,
}

/// Cuts an input into entries without ever copying one, and holds no more than one entry and one chunk.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    buf: Vec<u8>,
    /// The first byte of the next entry in `buf`.
    start: usize,
    /// Behind the last byte read into `buf`.
    end: usize,
    framer: Framer,
    /// Line and offset of the byte at `start`.
    line: u64,
    offset: u64,
    max_record: usize,
}

impl<R: Read> Reader<R> {
    /// Read entries of up to `max_record` bytes from `source`.
    pub fn new(source: R, max_record: usize) -> Self {
        Self {
            source,
            buf: vec![0; CHUNK],
            start: 0,
            end: 0,
            framer: Framer::default(),
            line: 1,
            offset: 0,
            max_record,
        }
    }

    /// The next entry of those read so far, whole; `None` when more has to be read.
    pub fn next_entry(&mut self) -> Option<Entry<'_>> {
        let End { len, lines } = self.framer.end(&self.buf[self.start..self.end])?;
        Some(self.cut(len, lines))
    }

    /// What is left at the end of the input: an entry without line feed.
    ///
    /// A rest that a line feed would not end (a quote is open, a backslash hides what follows) is an error.
    pub fn tail(&mut self) -> Result<Option<Entry<'_>>, Error> {
        let len = self.end - self.start;
        let unfinished = self.framer.is_unfinished() || self.buf[..self.end].ends_with(b"\n");
        self.framer = Framer::default();
        match (len, unfinished) {
            (0, _) => Ok(None),
            (_, true) => Err(Error::Unfinished),
            (_, false) => Ok(Some(self.cut(len, 0))),
        }
    }

    /// Line and offset of the entry that comes next.
    pub fn place(&self) -> (u64, u64) {
        (self.line, self.offset)
    }

    fn cut(&mut self, len: usize, lines: u64) -> Entry<'_> {
        let bytes = &self.buf[self.start..self.start + len];
        let entry = Entry {
            bytes,
            line: self.line,
            offset: self.offset,
        };
        self.start += len;
        self.offset += len as u64;
        self.line += lines;
        entry
    }

    /// Read more; false at the end of the input.
    pub fn fill(&mut self) -> Result<bool, Error> {
        let unread = self.end - self.start;
        if unread > self.max_record {
            return Err(Error::TooLong {
                max: self.max_record,
            });
        }
        self.buf.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, unread);
        if self.buf.len() - unread < CHUNK / 2 {
            self.buf.resize(unread + CHUNK.max(unread / 4), 0);
        }
        let n = loop {
            match self.source.read(&mut self.buf[unread..]) {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += n;
        Ok(n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn entries(text: &[u8], step: usize) -> Vec<(Vec<u8>, u64, u64)> {
        let mut reader = Reader::new(Drip(text, step), 1 << 20);
        let mut found = Vec::new();
        let own = |entry: Entry<'_>| (entry.bytes.to_vec(), entry.line, entry.offset);
        loop {
            while let Some(entry) = reader.next_entry() {
                found.push(own(entry));
            }
            if !reader.fill().unwrap() {
                found.extend(reader.tail().unwrap().map(own));
                return found;
            }
        }
    }

    #[test]
    fn entries_keep_line_and_offset_at_every_chunk_size() {
        let text = b"m v=1 1\nm s=\"a\nb\" 2\n# c\n\nm v=3";
        let expected = vec![
            (b"m v=1 1\n".to_vec(), 1, 0),
            (b"m s=\"a\nb\" 2\n".to_vec(), 2, 8),
            (b"# c\n".to_vec(), 4, 20),
            (b"\n".to_vec(), 5, 24),
            (b"m v=3".to_vec(), 6, 25),
        ];
        for step in 1..text.len() + 1 {
            assert_eq!(expected, entries(text, step));
        }
    }

    #[test]
    fn a_record_longer_than_the_limit_is_an_error_and_takes_no_more_memory() {
        let text = [b"m s=\"".as_slice(), &vec![b'x'; 3 << 20]].concat();
        let mut reader = Reader::new(text.as_slice(), 1 << 20);
        let err = loop {
            assert!(reader.next_entry().is_none());
            if let Err(err) = reader.fill() {
                break err;
            }
        };
        assert!(matches!(err, Error::TooLong { max: 1048576 }));
        assert!(reader.buf.len() < 4 << 20);
    }

    #[test]
    fn a_rest_that_no_line_feed_would_end_is_an_error() {
        for text in ["m f=\"abc 1\nm f=2 2\n", "m f=1 1\\", "m f=1 1\\\n"] {
            let mut reader = Reader::new(text.as_bytes(), 1 << 20);
            while reader.fill().unwrap() {
                assert!(reader.next_entry().is_none());
            }
            assert!(matches!(reader.tail(), Err(Error::Unfinished)), "{text:?}");
        }
    }

    #[test]
    fn records_around_the_chunk_size_come_out_whole() {
        for n in [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            let text = [vec![b'a'; n], b"\n".to_vec(), vec![b'b'; n], b"\n".to_vec()].concat();
            let lens: Vec<_> = entries(&text, usize::MAX)
                .iter()
                .map(|e| e.0.len())
                .collect();
            assert_eq!(vec![n + 1, n + 1], lens);
        }
    }
}
