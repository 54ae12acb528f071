//! A long list of chunks. What is in it never moves: a longer list costs no copy of a shorter one.

use std::ops::Range;

use super::store::{Chunk, Shift};

/// Places of a page.
const PAGE: u32 = 1 << 10;

/// Chunks, with the numbers of their keys, in the order they were added. Their places ascend; not every place is taken.
#[derive(Debug, Default)]
pub struct List {
    /// Each but the last one of a part of the log is full.
    pages: Vec<Vec<(u32, Chunk)>>,
}

impl List {
    /// Add a chunk of the key that has this number; its place.
    pub fn push(&mut self, number: u32, chunk: Chunk) -> u32 {
        let place = self.end();
        if place.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE as usize));
        }
        let last = self.pages.len() - 1;
        self.pages[last].push((number, chunk));
        place
    }

    /// All places are before this one.
    pub fn end(&self) -> u32 {
        let last = self.pages.last().map_or(PAGE as usize, Vec::len) as u32;
        self.pages.len() as u32 * PAGE + last - PAGE
    }

    /// The chunk at a place that is taken.
    pub fn get(&self, place: u32) -> Option<&Chunk> {
        let page = self.pages.get((place / PAGE) as usize)?;
        page.get((place % PAGE) as usize).map(|(_, chunk)| chunk)
    }

    /// The places that are taken of these, and the numbers of the keys and the chunks there.
    pub fn range(&self, places: Range<u32>) -> impl Iterator<Item = (u32, &(u32, Chunk))> {
        let pages = (0..).step_by(PAGE as usize).zip(&self.pages);
        let pages = pages.skip((places.start / PAGE) as usize);
        let all = pages.flat_map(|(first, page)| (first..).zip(page));
        all.skip_while(move |(place, _)| *place < places.start)
            .take_while(move |(place, _)| *place < places.end)
    }

    /// Take over another list, whose values are elsewhere now; by how much its places grow.
    pub fn absorb(&mut self, mut other: Self, shift: Shift) -> u32 {
        let chunks = other.pages.iter_mut().flatten();
        chunks.for_each(|(_, chunk)| shift.apply(chunk));
        let grown = self.pages.len() as u32 * PAGE;
        self.pages.append(&mut other.pages);
        grown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::Kind;
    use crate::tsm::merge::Column;
    use crate::tsm::wal::store::Store;

    /// One that is known by its time.
    fn chunk(time: i64) -> Chunk {
        let mut column = Column::new(Kind::Integer);
        column.times.push(time);
        column.values = crate::rows::Values::Integer(vec![0]);
        Store::default().pack(&column)[0]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn chunks_are_found_where_they_were_put_and_stay_in_order(
            lengths in prop::collection::vec(prop_oneof![0..4usize, 1020..1030usize, 0..3000usize], 1..6),
            from: prop::sample::Index,
            to: prop::sample::Index,
        ) {
            let (mut all, mut put, mut time) = (List::default(), Vec::new(), 0);
            for length in lengths {
                let (mut part, mut places) = (List::default(), Vec::new());
                for _ in 0..length {
                    prop_assert!(places.last().is_none_or(|last| *last < part.end()));
                    time += 1;
                    places.push(part.push(time as u32, chunk(time)));
                }
                prop_assert!(places.last().is_none_or(|last| *last < part.end()));
                let grown = all.absorb(part, Store::default().absorb(Store::default()));
                put.extend(places.iter().map(|place| place + grown));
            }
            let first = |(place, (number, chunk)): (u32, &(u32, Chunk))| (place, *number, chunk.first);
            let found: Vec<_> = all.range(0..all.end()).map(first).collect();
            let wanted: Vec<_> = put.iter().zip(1..).map(|(place, n)| (*place, n, i64::from(n))).collect();
            prop_assert_eq!(&wanted, &found);
            for (place, _, time) in &wanted {
                prop_assert_eq!(Some(*time), all.get(*place).map(|chunk| chunk.first));
            }
            let (from, to) = (from.index(put.len() + 1), to.index(put.len() + 1));
            let place = |i: usize| put.get(i).copied().unwrap_or(all.end());
            let some: Vec<_> = all.range(place(from)..place(to)).map(first).collect();
            prop_assert_eq!(wanted.get(from..to).unwrap_or_default(), some);
        }
    }
}
