//! Where a segment can be cut into parts that are read on their own.

use std::ops::Range;

use super::segment::{HEADER, header};
use crate::tsm::source::Source;

/// What is read at once. Where entries are short it has many headers.
const WINDOW: usize = 4 << 10;

/// Goes through a segment in parts.
///
/// It cuts at entries that the headers of all entries before lead to, as who reads the segment is led. From where these
/// make no sense, or cannot be read, all is one part: who reads that finds out why.
pub struct Cuts<'a> {
    segment: &'a Source,
    at: u64,
    /// Some bytes of the segment, and their offset.
    window: Vec<u8>,
    start: u64,
}

impl<'a> Cuts<'a> {
    /// Begin with the first entry of a segment.
    pub fn new(segment: &'a Source) -> Self {
        Self {
            segment,
            at: 0,
            window: Vec::new(),
            start: 0,
        }
    }

    /// How many bytes are in no part yet.
    pub fn left(&self) -> u64 {
        self.segment.len() - self.at
    }

    /// The offsets of the next part, which has at least `size` bytes, unless it is the last one. All that is left is one
    /// part if that is not half as much again.
    pub fn next(&mut self, size: u64) -> Option<Range<u64>> {
        let (from, len) = (self.at, self.segment.len());
        if self.left() / 3 * 2 < size {
            self.at = len;
        }
        while self.at < len && self.at - from < size {
            self.at = self.entry(self.at).unwrap_or(len);
        }
        (from < len).then_some(from..self.at)
    }

    /// Where the entry at this offset ends, if another one follows.
    fn entry(&mut self, at: u64) -> Option<u64> {
        let length = header(self.header(at)?)?.1;
        let end = at + (HEADER as u64) + u64::from(length);
        (end < self.segment.len()).then_some(end)
    }

    fn header(&mut self, at: u64) -> Option<&[u8]> {
        let place = |start: u64| usize::try_from(at - start).ok();
        let there = place(self.start).and_then(|at| self.window.get(at..at + HEADER));
        if there.is_none() {
            let left = self.segment.len() - at;
            self.window
                .resize(WINDOW.min(usize::try_from(left).ok()?), 0);
            self.start = at;
            self.segment.read(at, &mut self.window).ok()?;
        }
        let at = place(self.start)?;
        self.window.get(at..at + HEADER)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::model::{entry, integers};
    use super::*;

    fn source(bytes: &[u8]) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Source::whole(file).unwrap()
    }

    fn all(segment: &Source, size: u64) -> Vec<Range<u64>> {
        let mut cuts = Cuts::new(segment);
        std::iter::from_fn(|| cuts.next(size)).collect()
    }

    fn cuts(bytes: &[u8], size: u64) -> Vec<Range<u64>> {
        all(&source(bytes), size)
    }

    fn entries(sizes: &[usize]) -> Vec<Vec<u8>> {
        let points = |n: usize| (0..n as i64).map(|i| (i, i * i)).collect::<Vec<_>>();
        let entry = |n: &usize| entry(1, &integers(b"a#!~#v", &points(*n)));
        sizes.iter().map(entry).collect()
    }

    proptest! {
        #[test]
        fn parts_follow_each_other_and_begin_with_entries(
            sizes in prop::collection::vec(prop_oneof![0..9usize, 0..2000usize], 0..30),
            size in 1..20_000u64,
            odd in prop::option::of((0..=255u8, any::<prop::sample::Index>())),
        ) {
            let entries = entries(&sizes);
            let mut bytes = entries.concat();
            let starts: Vec<_> = entries.iter().scan(0, |at, entry| {
                *at += entry.len() as u64;
                Some(*at - entry.len() as u64)
            }).collect();
            // From there on nothing is to be believed.
            let odd = odd.filter(|_| !starts.is_empty()).map(|(code, at)| (code, starts[at.index(starts.len())]));
            if let Some((code, at)) = odd {
                bytes[at as usize] = code;
            }
            let parts = cuts(&bytes, size);
            let (first, last) = (parts.first().map_or(0, |part| part.start), parts.last().map_or(0, |part| part.end));
            prop_assert_eq!((0, bytes.len() as u64), (first, last));
            prop_assert!(parts.is_sorted_by(|a, b| a.end == b.start));
            prop_assert!(parts.iter().all(|part| starts.contains(&part.start)));
            for part in parts.iter().rev().skip(1) {
                let longest = starts.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
                prop_assert!((size..size + longest).contains(&(part.end - part.start)));
            }
            if let (Some((0 | 4.., at)), Some(last)) = (odd, parts.last()) {
                prop_assert!(last.start <= at);
            }
        }
    }

    #[test]
    fn what_is_torn_or_gone_is_in_the_last_part() {
        let bytes = entries(&[5, 5, 5]).concat();
        let one = bytes.len() as u64 / 3;
        for n in 1..one {
            let parts = cuts(&bytes[..(2 * one + n) as usize], 1);
            assert_eq!(vec![0..one, one..2 * one, 2 * one..2 * one + n], parts);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let segment = Source::whole(file.try_clone().unwrap()).unwrap();
        file.set_len(one).unwrap();
        assert_eq!(1, all(&segment, 1).len());
        assert_eq!(0, cuts(b"", 1).len());
    }
}
