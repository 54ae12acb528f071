//! Puts deletions in order, in memory as far as it goes.

use std::io;
use std::mem;

use super::spill::Runs;
use super::{List, Place, Range, Sorted, Space, Tombstones, join};

/// When to look for repetitions for the first time.
const TIDY: usize = 1 << 16;

/// However little memory is left, this much is used before anything goes to a file.
const LEAST: usize = 64 << 10;

/// Deletions in the order of the file, tidied up from time to time: a small file can repeat a few of them for ever.
pub struct Deletions<'a> {
    /// The keys one behind the other; a key that follows itself stands once.
    keys: Vec<u8>,
    list: Vec<Deletion>,
    /// How many records were read, those that delete nothing included.
    pub read: u64,
    /// The length of the list at which to tidy up.
    tidy_at: usize,
    /// What does not fit into memory, in order run by run.
    runs: Option<Runs>,
    limit: usize,
    scratch: &'a dyn Fn() -> io::Result<std::fs::File>,
}

struct Deletion {
    start: usize,
    len: usize,
    range: Range,
}

impl<'a> Deletions<'a> {
    /// None yet.
    pub fn new(space: &Space<'a>) -> Self {
        Self {
            keys: Vec::new(),
            list: Vec::new(),
            read: 0,
            tidy_at: TIDY,
            runs: None,
            // While keys are put in order they are in memory twice.
            limit: LEAST.max(space.memory / 2),
            scratch: space.scratch,
        }
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.runs.is_none()
    }

    fn key(&self, deletion: &Deletion) -> &[u8] {
        &self.keys[deletion.start..deletion.start + deletion.len]
    }

    /// How much memory they take.
    fn size(&self) -> usize {
        self.keys.len() + self.list.len() * size_of::<Deletion>()
    }

    /// Add what a record says. An error is one of the temporary file.
    pub fn push(&mut self, key: &[u8], range: Range) -> io::Result<()> {
        self.read += 1;
        self.add(key, range);
        if self.list.len() >= self.tidy_at {
            self.tidy()?;
        }
        if self.size() > self.limit {
            self.spill()?;
        }
        Ok(())
    }

    fn add(&mut self, key: &[u8], range: Range) {
        if range.0 > range.1 {
            return;
        }
        let mut start = self.keys.len();
        match self.list.last() {
            Some(last) if self.key(last) == key => start = last.start,
            _ => self.keys.extend_from_slice(key),
        }
        if let Some(last) = self.list.last_mut().filter(|last| last.start == start)
            && join(&mut last.range, range)
        {
            return;
        }
        let len = key.len();
        self.list.push(Deletion { start, len, range });
    }

    /// Sort and join what is there. It stays cheap because the list must double before the next time.
    #[cold]
    fn tidy(&mut self) -> io::Result<()> {
        let mut sorted = List::default();
        self.drain(&mut sorted)?;
        self.tidy_at = TIDY.max(2 * sorted.ranges.len());
        for i in 0..sorted.len() {
            let key = sorted.keys.get(i);
            for range in sorted.ranges_at(i, key) {
                self.add(key, *range);
            }
        }
        Ok(())
    }

    /// Hand over all that is in memory, in order.
    fn drain(&mut self, out: &mut impl Sorted) -> io::Result<()> {
        let mut list = mem::take(&mut self.list);
        let by_key = |d: &Deletion| (self.key(d), d.range);
        list.sort_unstable_by(|a, b| by_key(a).cmp(&by_key(b)));
        for deletion in &list {
            out.put(self.key(deletion), deletion.range)?;
        }
        list.clear();
        self.list = list;
        self.keys.clear();
        Ok(())
    }

    /// Put all that is in memory into a run of its own.
    #[cold]
    fn spill(&mut self) -> io::Result<()> {
        let mut runs = match self.runs.take() {
            Some(runs) => runs,
            None => Runs::new(self.scratch)?,
        };
        self.drain(&mut runs)?;
        runs.end_run()?;
        self.runs = Some(runs);
        Ok(())
    }

    /// All of them. What stays in memory is taken from `space`.
    pub fn sorted(mut self, space: &mut Space<'_>) -> io::Result<Tombstones> {
        if self.runs.is_some() && !self.list.is_empty() {
            self.spill()?;
        }
        if let Some(runs) = self.runs.take() {
            return Ok(Tombstones(Place::File(runs.merge(self.scratch)?)));
        }
        let mut list = List::default();
        self.drain(&mut list)?;
        let ranges = list.ranges.len() * size_of::<Range>();
        let keys = list.keys.iter().map(<[u8]>::len).sum::<usize>() + 24 * list.len();
        space.memory = space.memory.saturating_sub(ranges + keys);
        Ok(Tombstones(Place::Memory(list)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ALWAYS;
    use super::super::testing::space;
    use super::*;

    fn sorted(list: &[(&[u8], Range)], memory: usize) -> Tombstones {
        let mut space = space(memory);
        let mut deletions = Deletions::new(&space);
        deletions.limit = memory;
        for (key, range) in list {
            deletions.push(key, *range).unwrap();
        }
        deletions.sorted(&mut space).unwrap()
    }

    #[test]
    fn a_million_equal_deletions_take_the_memory_of_one() {
        let space = space(1 << 30);
        let mut deletions = Deletions::new(&space);
        (0..1_000_000).for_each(|_| deletions.push(b"a#!~#v", (1, 2)).unwrap());
        assert_eq!((1, 6), (deletions.list.len(), deletions.keys.len()));
    }

    #[test]
    fn a_few_deletions_repeated_in_turn_take_the_memory_of_a_few() {
        let mut space = space(1 << 30);
        let mut deletions = Deletions::new(&space);
        for i in 0..400_000 {
            let key = [b"a#!~#v", b"b#!~#v"][i % 2];
            deletions.push(key, (i as i64 % 14, 20)).unwrap();
        }
        assert!(deletions.list.len() < TIDY && deletions.keys.len() < 6 * TIDY);
        assert_eq!(400_000, deletions.read);
        let sorted = deletions.sorted(&mut space).unwrap();
        let ranges = (sorted.ranges(b"a#!~#v"), sorted.ranges(b"b#!~#v"));
        assert_eq!((vec![(0, 20)], vec![(1, 20)]), ranges);
    }

    #[test]
    fn many_different_deletions_are_all_kept() {
        let mut space = space(1 << 30);
        let mut deletions = Deletions::new(&space);
        let n = 3 * TIDY as i64;
        for i in 0..n {
            let time = 2 * (i * 7919 % n);
            deletions.push(b"a#!~#v", (time, time)).unwrap();
        }
        let sorted = deletions.sorted(&mut space).unwrap();
        assert_eq!(n as usize, sorted.ranges(b"a#!~#v").len());
    }

    #[test]
    fn ranges_are_joined_when_no_time_is_between_them() {
        let list: [(&[u8], Range); 8] = [
            (b"b#!~#v", (10, 20)),
            (b"a#!~#v", (i64::MIN, 3)),
            (b"b#!~#v", (40, 50)),
            (b"b#!~#v", (21, 25)),
            (b"b#!~#v", (45, 47)),
            (b"b#!~#v", (9, 8)),
            (b"a#!~#v", (4, i64::MAX)),
            (b"b#!~#v", (i64::MIN, i64::MIN)),
        ];
        for memory in [1 << 20, 100, 0] {
            let tombstones = sorted(&list, memory);
            assert_eq!(memory < 200, tombstones.is_spilled());
            assert_eq!([ALWAYS], *tombstones.ranges(b"a#!~#v"));
            let ranges = [(i64::MIN, i64::MIN), (10, 25), (40, 50)];
            assert_eq!(ranges, *tombstones.ranges(b"b#!~#v"));
        }
    }

    #[test]
    fn what_cannot_be_kept_is_an_error_that_names_the_temporary_file() {
        let scratch = || Err(io::ErrorKind::StorageFull.into());
        let space = Space {
            memory: 0,
            scratch: &scratch,
        };
        let mut deletions = Deletions::new(&space);
        let mut keys = (0..100_000).map(|i| format!("m,t={i}#!~#v"));
        let failed = keys.find_map(|key| deletions.push(key.as_bytes(), (1, 2)).err());
        let failed = failed.expect("more than fits").to_string();
        assert!(failed.starts_with("temporary file: "), "{failed}");
    }

    fn deletions() -> impl Strategy<Value = Vec<(Vec<u8>, Range)>> {
        let key = (0..4u8).prop_map(|k| vec![b'a' + k, b'#', b'!', b'~', b'#']);
        prop::collection::vec((key, (-9..9i64, -9..9i64)), 0..30)
    }

    proptest! {
        #[test]
        fn a_time_is_deleted_if_any_record_deletes_it(deletions in deletions(), memory in 0..1000usize) {
            let list: Vec<_> = deletions.iter().map(|(k, r)| (k.as_slice(), *r)).collect();
            let tombstones = sorted(&list, memory);
            let mut cursor = tombstones.cursor();
            for key in [&b"a#!~#"[..], b"b#!~#", b"c#!~#", b"c#!~#x", b"d#!~#"] {
                let ranges = tombstones.ranges(key);
                prop_assert_eq!(&ranges[..], cursor.ranges(key).unwrap());
                prop_assert!(ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0));
                for t in -10..10 {
                    let hides = |r: &Range| r.0 <= t && t <= r.1;
                    let expected = list.iter().any(|(k, r)| *k == key && hides(r));
                    prop_assert_eq!(expected, ranges.iter().any(hides));
                }
            }
        }

    }
}
