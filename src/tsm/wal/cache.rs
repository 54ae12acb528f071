//! All parts of the log of a shard, put together.

use std::ops::Range;

use super::entry::{self, Body};
use super::list::List;
use super::series::Series;
use super::store::{Chunk, Store};
use super::{Deletion, Keys, Part};
use crate::tsm::ErrorKind;
use crate::tsm::merge::Column;

/// What a server would hold in memory after reading the log of a shard.
///
/// Add what the segments say from the oldest to the newest one. A deletion removes what was written before it in the log
/// and never touches TSM files: their own deletions are in their tombstones.
#[derive(Debug, Default)]
pub struct Cache {
    list: List,
    store: Store,
    /// In order.
    deletions: Vec<Deletion>,
}

/// All values of one key.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Series and field.
    pub key: Box<[u8]>,
    /// Where its chunks are among all. Nearly always they are of one type, and then as they were written: of values of the
    /// same time the last one holds. Of more than one, those of one type stand behind those of another; no time is in two.
    pub chunks: Range<usize>,
}

/// The chunks of all keys, those of each one behind the other, and their values.
#[derive(Debug, Default)]
pub struct Chunks {
    list: List,
    /// Places in the list: only these are moved, and they are small.
    order: Vec<u32>,
    store: Store,
}

/// What is counted of a key.
#[derive(Clone, Copy, Default)]
struct Count {
    chunks: u32,
    /// A bit for each type.
    kinds: u8,
    has_cuts: bool,
}

/// What a deletion takes from a key: of so many chunks, from the first one, the values from `min` to `max`.
struct Cut {
    number: u32,
    older: usize,
    min: i64,
    max: i64,
}

impl Cache {
    /// Add what the next segment says, or the next part of one.
    pub fn add(&mut self, newer: Part) {
        let shift = self.store.absorb(newer.held.store);
        let grown = self.list.absorb(newer.held.chunks, shift);
        let deletions = newer.deletions.into_iter().map(|deletion| Deletion {
            older: deletion.older + grown,
            ..deletion
        });
        self.deletions.extend(deletions);
    }

    /// All keys in ascending order, those without values left out, and their chunks. All parts have had the numbers of
    /// their keys from there.
    pub fn finish(self, keys: Keys) -> (Vec<Entry>, Chunks) {
        let (counts, mut cuts) = self.count(&keys);
        // Those of a key stay in order.
        cuts.sort_by_key(|cut| cut.number);
        let mut all = Chunks {
            order: self.order(&counts),
            list: self.list,
            store: self.store,
        };
        let (mut entries, mut cuts, mut end) = (Vec::new(), &cuts[..], 0);
        for ((number, key), count) in (0..).zip(keys.into_all()).zip(counts) {
            let mut chunks = end..end + count.chunks as usize;
            end = chunks.end;
            if count.has_cuts || count.kinds.count_ones() > 1 {
                let (own, rest) = cuts.split_at(cuts.partition_point(|cut| cut.number == number));
                chunks = all.settle(&chunks, own);
                cuts = rest;
            }
            if !chunks.is_empty() {
                entries.push(Entry { key, chunks });
            }
        }
        // Many are in order already.
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        (entries, all)
    }

    /// What there is of each key, by number, and what is deleted of it.
    fn count(&self, keys: &Keys) -> (Vec<Count>, Vec<Cut>) {
        let (mut counts, mut cuts) = (vec![Count::default(); keys.count()], Vec::new());
        let mut start = 0;
        for deletion in &self.deletions {
            self.add_up(start..deletion.older, &mut counts);
            start = deletion.older;
            // It has been read before.
            let _ = deletion.each(|key, min, max| {
                let Some(number) = keys.find(key) else {
                    return;
                };
                let count = &mut counts[number as usize];
                count.has_cuts = true;
                cuts.push(Cut {
                    number,
                    older: count.chunks as usize,
                    min,
                    max,
                });
            });
        }
        self.add_up(start..self.list.end(), &mut counts);
        (counts, cuts)
    }

    fn add_up(&self, places: Range<u32>, counts: &mut [Count]) {
        self.list.range(places).for_each(|(_, (number, chunk))| {
            let count = &mut counts[*number as usize];
            count.chunks += 1;
            count.kinds |= 1 << chunk.kind as u8;
        });
    }

    /// The places of all chunks by the number of their key; of the same one in the order they were written.
    fn order(&self, counts: &[Count]) -> Vec<u32> {
        let mut next = 0;
        let ends = counts.iter().map(|count| {
            next += count.chunks as usize;
            next - count.chunks as usize
        });
        let mut ends: Vec<_> = ends.collect();
        let mut order = vec![0; next];
        let all = self.list.range(0..self.list.end());
        all.for_each(|(place, (number, _))| {
            let end = &mut ends[*number as usize];
            order[*end] = place;
            *end += 1;
        });
        order
    }
}

/// What cuts take together: ranges that ascend and do not touch.
fn united(cuts: &[Cut]) -> Vec<(i64, i64)> {
    let ranges = cuts.iter().map(|cut| (cut.min, cut.max));
    let mut ranges: Vec<_> = ranges.filter(|(min, max)| min <= max).collect();
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let touches = next.0 <= before.1.saturating_add(1);
        if touches {
            before.1 = before.1.max(next.1);
        }
        touches
    });
    ranges
}

impl Deletion {
    /// Each key, and from when to when it is deleted.
    fn each(&self, mut delete: impl FnMut(&[u8], i64, i64)) -> Result<(), ErrorKind> {
        match entry::parse(self.code, &self.body, &mut Vec::new())? {
            Body::Write => {}
            Body::Delete(keys) => keys
                .split(|byte| *byte == b'\n')
                .for_each(|key| delete(key, i64::MIN, i64::MAX)),
            Body::DeleteRange(min, max, keys) => keys.for_each(|key| delete(key, min, max)),
        }
        Ok(())
    }
}

impl Chunks {
    /// Those of a key, and where each is.
    pub fn of(&self, chunks: &Range<usize>) -> impl Iterator<Item = (usize, &Chunk)> {
        let places = self.order.get(chunks.clone()).unwrap_or_default();
        let all = places.iter().map(|place| self.list.get(*place));
        (chunks.start..)
            .zip(all)
            .filter_map(|(at, chunk)| Some((at, chunk?)))
    }

    /// The one that is there.
    pub fn get(&self, at: usize) -> Option<&Chunk> {
        self.list.get(*self.order.get(at)?)
    }

    /// Append the values of a chunk to a column of its type.
    pub fn unpack(&self, chunk: &Chunk, out: &mut Column) {
        self.store.unpack(chunk, out);
    }

    /// Take over those of another log; how much further they are now.
    pub fn absorb(&mut self, other: Self) -> usize {
        let further = self.order.len();
        let shift = self.store.absorb(other.store);
        let grown = self.list.absorb(other.list, shift);
        let places = other.order.iter().map(|place| place + grown);
        self.order.extend(places);
        further
    }

    /// Hold a column whose times ascend; where its chunks are.
    pub fn pack(&mut self, column: &Column) -> Range<usize> {
        let chunks = self.store.pack(column);
        self.add(chunks)
    }

    /// Do away with what is deleted, and let no time be in chunks of two types; where the chunks are now.
    #[cold]
    fn settle(&mut self, chunks: &Range<usize>, cuts: &[Cut]) -> Range<usize> {
        let (mut series, mut written) = (Series::default(), self.of(chunks).enumerate().peekable());
        // What is deleted without a write in between is deleted at once: an entry may name a key a million times.
        for cuts in cuts.chunk_by(|a, b| a.older == b.older) {
            while let Some((_, (_, chunk))) = written.next_if(|(i, _)| *i < cuts[0].older) {
                series.push(*chunk, &self.store);
            }
            series.delete(&united(cuts), &self.store);
        }
        written.for_each(|(_, (_, chunk))| series.push(*chunk, &self.store));
        let chunks = series.settle(&mut self.store);
        self.add(chunks)
    }

    fn add(&mut self, chunks: Vec<Chunk>) -> Range<usize> {
        let start = self.order.len();
        let places = chunks.into_iter().map(|chunk| self.list.push(0, chunk));
        self.order.extend(places);
        start..self.order.len()
    }
}
