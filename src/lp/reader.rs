//! A rolling buffer: bytes from a source in, whole entries out.

use std::io::{ErrorKind, Read};

use super::Error;
use super::frame::Framer;

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

impl Entry<'_> {
    /// Whether a line feed ends the entry. Only the last one of an input can lack it.
    pub fn is_whole(&self) -> bool {
        self.bytes.last() == Some(&b'\n')
    }
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
    at_end: bool,
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
            at_end: false,
        }
    }

    /// The next entry; the last one may lack its line feed. `None` at the end.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        loop {
            let unread = &self.buf[self.start..self.end];
            if let Some(len) = self.framer.end(unread) {
                return Ok(Some(self.cut(len)));
            }
            if self.at_end {
                let len = unread.len();
                self.framer = Framer::default();
                return Ok((len > 0).then(|| self.cut(len)));
            }
            self.fill()?;
        }
    }

    /// Whether all that was read so far has been handed out: the next entry has to be waited for.
    pub fn is_drained(&self) -> bool {
        self.start == self.end
    }

    /// Line and offset of the entry that comes next.
    pub fn place(&self) -> (u64, u64) {
        (self.line, self.offset)
    }

    fn cut(&mut self, len: usize) -> Entry<'_> {
        let bytes = &self.buf[self.start..self.start + len];
        let entry = Entry {
            bytes,
            line: self.line,
            offset: self.offset,
        };
        self.start += len;
        self.offset += len as u64;
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
        entry
    }

    fn fill(&mut self) -> Result<(), Error> {
        let unread = self.end - self.start;
        if unread > self.max_record {
            return Err(Error::TooLong {
                max: self.max_record,
            });
        }
        self.buf.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, unread);
        if self.buf.len() - unread < CHUNK / 2 {
            self.buf.resize(unread + CHUNK.max(unread), 0);
        }
        let n = loop {
            match self.source.read(&mut self.buf[unread..]) {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.end += n;
        self.at_end = n == 0;
        Ok(())
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
        while let Some(entry) = reader.next_entry().unwrap() {
            found.push((entry.bytes.to_vec(), entry.line, entry.offset));
        }
        found
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
        assert!(matches!(
            reader.next_entry(),
            Err(Error::TooLong { max: 1048576 })
        ));
        assert!(reader.buf.len() < 4 << 20);
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
