//! Tombstones: what has been deleted from one TSM file, beside it in a file of its own.
//!
//! ```text
//! version 1   lines of keys; each deletes its whole key
//! version 2   00 00 15 02, records
//! version 3   00 00 15 03, gzip of records
//! version 4   00 00 15 04, one gzip member of records for each deletion
//! record      key length u32 | key | first time i64 | last time i64, both deleted too
//! ```
//!
//! A tombstone that is misread brings deleted points back, so all doubt is an error.

mod read;

pub use read::read;

use crate::rows::Strings;

/// First and last deleted time.
pub type Range = (i64, i64);

const ALWAYS: Range = (i64::MIN, i64::MAX);

/// The deletions of one TSM file by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tombstones {
    /// Ascending, each once.
    keys: Strings,
    /// Where the ranges of each key end in `ranges`.
    ends: Vec<usize>,
    /// Key by key; those of a key ascend and do not touch.
    ranges: Vec<Range>,
}

impl Tombstones {
    /// How many keys have deletions.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing is deleted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The deleted times of `key`: ascending ranges that do not touch, both ends deleted too.
    pub fn ranges(&self, key: &[u8]) -> &[Range] {
        let (mut low, mut high) = (0, self.keys.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.keys.get(middle) < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.ranges_at(low, key)
    }

    /// For questions about ascending keys.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor {
            tombstones: self,
            next: 0,
        }
    }

    /// The ranges of the key at position `i`, if it is `key`.
    fn ranges_at(&self, i: usize, key: &[u8]) -> &[Range] {
        if i >= self.keys.len() || self.keys.get(i) != key {
            return &[];
        }
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.ranges[start..self.ends[i]]
    }

    /// Add the next range in order of keys and times.
    fn push(&mut self, key: &[u8], range: Range) {
        let last = self.keys.len().checked_sub(1);
        match (last.map(|i| self.keys.get(i)), self.ranges.last_mut()) {
            (Some(last), Some(before)) if last == key => {
                if join(before, range) {
                    return;
                }
                self.ends.pop();
            }
            _ => self.keys.push(key),
        }
        self.ranges.push(range);
        self.ends.push(self.ranges.len());
    }
}

/// Goes through the deletions beside a walk through the keys of the TSM file.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    tombstones: &'a Tombstones,
    next: usize,
}

impl<'a> Cursor<'a> {
    /// The deleted times of `key`, which must not be less than any key asked for before.
    pub fn ranges(&mut self, key: &[u8]) -> &'a [Range] {
        let keys = &self.tombstones.keys;
        while self.next < keys.len() && keys.get(self.next) < key {
            self.next += 1;
        }
        self.tombstones.ranges_at(self.next, key)
    }
}

/// When to look for repetitions for the first time.
const TIDY: usize = 1 << 16;

/// Deletions in the order of the file, tidied up from time to time: a small file can repeat a few of them for ever.
struct Deletions {
    /// The keys one behind the other; a key that follows itself stands once.
    keys: Vec<u8>,
    list: Vec<Deletion>,
    /// How many records were read, those that delete nothing included.
    read: u64,
    /// The length of the list at which to tidy up.
    tidy_at: usize,
}

impl Default for Deletions {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            list: Vec::new(),
            read: 0,
            tidy_at: TIDY,
        }
    }
}

struct Deletion {
    start: usize,
    len: usize,
    range: Range,
}

impl Deletions {
    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn key(&self, deletion: &Deletion) -> &[u8] {
        &self.keys[deletion.start..deletion.start + deletion.len]
    }

    fn push(&mut self, key: &[u8], range: Range) {
        self.read += 1;
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
        if self.list.len() >= self.tidy_at {
            self.tidy();
        }
    }

    /// Sort and join what is there. It stays cheap because the list must double before the next time.
    #[cold]
    fn tidy(&mut self) {
        let read = self.read;
        let sorted = std::mem::take(self).sorted();
        self.tidy_at = TIDY.max(2 * sorted.ranges.len());
        for i in 0..sorted.len() {
            let key = sorted.keys.get(i);
            for range in sorted.ranges_at(i, key) {
                self.push(key, *range);
            }
        }
        self.read = read;
    }

    fn sorted(mut self) -> Tombstones {
        let mut list = std::mem::take(&mut self.list);
        let by_key = |d: &Deletion| (self.key(d), d.range);
        list.sort_unstable_by(|a, b| by_key(a).cmp(&by_key(b)));
        let mut sorted = Tombstones::default();
        for deletion in &list {
            sorted.push(self.key(deletion), deletion.range);
        }
        sorted
    }
}

/// Widen `range` to hold `other` too, unless there is a time between them.
fn join(range: &mut Range, other: Range) -> bool {
    let touch = range.0 <= other.1.saturating_add(1) && other.0 <= range.1.saturating_add(1);
    if touch {
        *range = (range.0.min(other.0), range.1.max(other.1));
    }
    touch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sorted(list: &[(&[u8], Range)]) -> Tombstones {
        let mut deletions = Deletions::default();
        list.iter()
            .for_each(|(key, range)| deletions.push(key, *range));
        deletions.sorted()
    }

    #[test]
    fn a_million_equal_deletions_take_the_memory_of_one() {
        let mut deletions = Deletions::default();
        (0..1_000_000).for_each(|_| deletions.push(b"a#!~#v", (1, 2)));
        assert_eq!((1, 6), (deletions.list.len(), deletions.keys.len()));
    }

    #[test]
    fn a_few_deletions_repeated_in_turn_take_the_memory_of_a_few() {
        let mut deletions = Deletions::default();
        for i in 0..400_000 {
            deletions.push([b"a#!~#v", b"b#!~#v"][i % 2], (i as i64 % 14, 20));
        }
        assert!(deletions.list.len() < TIDY && deletions.keys.len() < 6 * TIDY);
        assert_eq!(400_000, deletions.read);
        let sorted = deletions.sorted();
        let ranges = (sorted.ranges(b"a#!~#v"), sorted.ranges(b"b#!~#v"));
        assert_eq!((&[(0, 20)][..], &[(1, 20)][..]), ranges);
    }

    #[test]
    fn many_different_deletions_are_all_kept() {
        let mut deletions = Deletions::default();
        let n = 3 * TIDY as i64;
        (0..n).for_each(|i| deletions.push(b"a#!~#v", (2 * (i * 7919 % n), 2 * (i * 7919 % n))));
        assert_eq!(n as usize, deletions.sorted().ranges(b"a#!~#v").len());
    }

    #[test]
    fn ranges_are_joined_when_no_time_is_between_them() {
        let tombstones = sorted(&[
            (b"b#!~#v", (10, 20)),
            (b"a#!~#v", (i64::MIN, 3)),
            (b"b#!~#v", (40, 50)),
            (b"b#!~#v", (21, 25)),
            (b"b#!~#v", (45, 47)),
            (b"b#!~#v", (9, 8)),
            (b"a#!~#v", (4, i64::MAX)),
            (b"b#!~#v", (i64::MIN, i64::MIN)),
        ]);
        assert_eq!([ALWAYS], tombstones.ranges(b"a#!~#v"));
        let ranges = [(i64::MIN, i64::MIN), (10, 25), (40, 50)];
        assert_eq!(ranges, tombstones.ranges(b"b#!~#v"));
    }

    fn deletions() -> impl Strategy<Value = Vec<(Vec<u8>, Range)>> {
        let key = (0..4u8).prop_map(|k| vec![b'a' + k, b'#', b'!', b'~', b'#']);
        prop::collection::vec((key, (-9..9i64, -9..9i64)), 0..30)
    }

    proptest! {
        #[test]
        fn a_time_is_deleted_if_any_record_deletes_it(deletions in deletions()) {
            let list: Vec<_> = deletions.iter().map(|(k, r)| (k.as_slice(), *r)).collect();
            let tombstones = sorted(&list);
            let mut cursor = tombstones.cursor();
            for key in [&b"a#!~#"[..], b"b#!~#", b"c#!~#", b"c#!~#x", b"d#!~#"] {
                let ranges = tombstones.ranges(key);
                prop_assert_eq!(ranges, cursor.ranges(key));
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
