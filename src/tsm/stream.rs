//! A file read once, front to back.

use std::io::{self, BufRead, BufReader, Read};

/// Buffered bytes that know their offset, and whether the system ever failed to give them.
pub(super) struct Stream<R> {
    source: BufReader<R>,
    at: u64,
    failed: bool,
}

impl<R: Read> Stream<R> {
    /// `source`, whose first byte stands at offset `at` of its file.
    pub fn new(source: R, at: u64) -> Self {
        Self {
            source: BufReader::with_capacity(1 << 16, source),
            at,
            failed: false,
        }
    }

    /// The offset of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Whether a read has failed. Decoders use the same error type for their own complaints.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// The next byte, left where it is.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.fill_buf()?.first().copied())
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: Read> BufRead for Stream<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        // Decoders do not try again after a signal, so it must not reach them.
        while let Err(e) = self.source.fill_buf() {
            if e.kind() != io::ErrorKind::Interrupted {
                self.failed = true;
                return Err(e);
            }
        }
        Ok(self.source.buffer())
    }

    fn consume(&mut self, n: usize) {
        self.source.consume(n);
        self.at += n as u64;
    }
}

/// Read until `out` is full or the source ends; how many bytes it gave.
pub(super) fn fill(source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < out.len() {
        match source.read(&mut out[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, and a signal before each.
    struct Drip<'a>(&'a [u8], bool);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            match self.1 {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => (&mut self.0).take(1).read(out),
            }
        }
    }

    #[test]
    fn signals_and_short_reads_go_unnoticed() {
        let mut stream = Stream::new(Drip(b"abcdef", false), 10);
        assert_eq!(Some(b'a'), stream.peek().unwrap());
        let mut three = [0; 3];
        assert_eq!(3, fill(&mut stream, &mut three).unwrap());
        assert_eq!((b"abc", 13), (&three, stream.at()));
        let mut rest = Vec::new();
        assert_eq!(3, stream.read_until(b'x', &mut rest).unwrap());
        assert_eq!(None, stream.peek().unwrap());
        assert_eq!((16, false), (stream.at(), stream.failed()));
        assert_eq!(6, fill(&mut Drip(b"abcdef", false), &mut [0; 9]).unwrap());
    }
}
