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
        loop {
            match self.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
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
        let filled = self.source.fill_buf();
        if let Err(e) = &filled {
            self.failed |= e.kind() != io::ErrorKind::Interrupted;
        }
        filled
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
