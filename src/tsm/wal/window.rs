//! What is read of a segment, as large as the current entry.

use std::io::{self, Read};

use crate::pages::Buffer;

/// What is read at once at least: of short entries many.
const STEP: usize = 64 << 10;

/// Bytes of a source that is read from front to back. None is copied unless it stands in front of what did not fit.
pub struct Window<'a, R> {
    source: R,
    /// The offset of the first byte that is there.
    at: u64,
    /// What has been read.
    buf: &'a mut Buffer,
    /// Where in it what is there begins.
    start: usize,
}

impl<'a, R: Read> Window<'a, R> {
    /// `source`, whose first byte stands at offset `at`.
    pub fn new(source: R, at: u64, buf: &'a mut Buffer) -> Self {
        buf.clear();
        Self {
            source,
            at,
            buf,
            start: 0,
        }
    }

    /// The offset of the next byte.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next bytes, as far as they are there.
    pub fn there(&self) -> &[u8] {
        self.buf.bytes().get(self.start..).unwrap_or_default()
    }

    /// Have so many bytes or more, or all that are left; what is there then.
    pub fn fill(&mut self, n: usize) -> io::Result<&[u8]> {
        if self.there().len() < n {
            self.buf.keep_from(self.start);
            self.start = 0;
        }
        while self.buf.len() - self.start < n {
            // Memory grows with what is read, not with what is announced.
            let more = n.max(STEP).min(STEP.max(2 * self.buf.len())) - self.buf.len();
            let (end, free) = self.buf.behind(more);
            match self.source.read(free.get_mut(..more).unwrap_or_default()) {
                Ok(0) => break,
                Ok(more) => *end += more,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(self.there())
    }

    /// Go on behind so many bytes, which are there.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        self.at += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives no more than a few bytes at a time, and a signal before each.
    struct Drip<'a>(&'a [u8], usize, bool);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            match self.2 {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => (&mut self.0).take(self.1 as u64).read(out),
            }
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_there_once_whatever_is_asked_for(
            len in 0..300_000usize,
            most in prop_oneof![1000..5000usize, Just(usize::MAX)],
            asked in prop::collection::vec((0..200_000usize, 0..200_000usize), 1..20),
        ) {
            let bytes: Vec<u8> = (0..len).map(|i| (i / 7 * 31 + i) as u8).collect();
            let mut buf = Buffer::default();
            buf.push(&[1; 10]);
            let mut window = Window::new(Drip(&bytes, most, false), 5, &mut buf);
            let mut at = 0;
            for (n, used) in asked {
                let there = window.fill(n).unwrap();
                prop_assert!(there.len() >= n.min(len - at));
                prop_assert_eq!(&bytes[at..at + there.len()], there);
                let used = used.min(there.len());
                window.consume(used);
                at += used;
                prop_assert_eq!(at as u64 + 5, window.at());
            }
        }
    }

    #[test]
    fn what_is_announced_takes_no_memory_before_it_is_there() {
        let mut buf = Buffer::default();
        let mut window = Window::new(&[7; 1000][..], 0, &mut buf);
        assert_eq!(1000, window.fill(usize::MAX).unwrap().len());
        assert!(buf.capacity() <= 2 << 20);
    }
}
