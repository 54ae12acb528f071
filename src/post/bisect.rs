//! Which records of a batch are still to be sent, and how the bad ones among them are found.

use std::collections::HashSet;
use std::ops::Range;

use memchr::{memchr, memmem};

use crate::http::answer::Refusal;
use crate::http::said::{NAMING, quoted};
use crate::post::batch::Batch;
use crate::rate::partitions;

/// Some records of a batch, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Ascending, none empty, no two of them touching.
    ranges: Vec<Range<usize>>,
}

impl Part {
    /// All records of a batch of `n`.
    pub fn all(n: usize) -> Self {
        Self::of(Some(0..n))
    }

    /// All records of a batch that may be sent.
    pub fn good(batch: &Batch) -> Self {
        Self::all(batch.len()).without(batch.bad().iter().map(|(record, _)| *record))
    }

    /// One record.
    pub fn one(record: usize) -> Self {
        Self::of(Some(record..record + 1))
    }

    fn of(ranges: impl IntoIterator<Item = Range<usize>>) -> Self {
        let ranges = ranges.into_iter().filter(|range| !range.is_empty());
        Self {
            ranges: ranges.collect(),
        }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Their positions in the batch.
    pub fn records(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranges.iter().flat_map(Clone::clone)
    }

    /// What is to be sent, in pieces of the batch.
    pub fn slices<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = &'a [u8]> {
        self.ranges.iter().map(|range| batch.slice(range.clone()))
    }

    /// How many bytes that are.
    pub fn bytes(&self, batch: &Batch) -> usize {
        self.slices(batch).map(<[u8]>::len).sum()
    }

    /// The same records in parts of at most `most` bytes, as far as single records allow.
    pub fn pieces(self, batch: &Batch, most: usize) -> Vec<Self> {
        if self.bytes(batch) <= most {
            return vec![self];
        }
        let mut bytes = 0;
        self.cut(|record| {
            let len = batch.record(record).len();
            let is_full = bytes + len > most && bytes > 0;
            bytes = if is_full { len } else { bytes + len };
            is_full
        })
    }

    /// The same records in parts that go to at most `most` partitions each.
    pub fn spread(self, batch: &Batch, most: usize) -> Vec<Self> {
        let mut seen = HashSet::new();
        self.cut(|record| {
            let partition = partitions::number(batch.record(record));
            let is_full = seen.len() >= most && !seen.contains(&partition);
            if is_full {
                seen.clear();
            }
            seen.insert(partition);
            is_full
        })
    }

    /// The partitions that the records go to, each of them once.
    pub fn partitions(&self, batch: &Batch, all: &mut Vec<u64>) {
        let records = self.records();
        all.extend(records.map(|record| partitions::number(batch.record(record))));
        all.sort_unstable();
        all.dedup();
    }

    /// The same records, in parts that begin where `begins` says so.
    fn cut(self, mut begins: impl FnMut(usize) -> bool) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut piece: Vec<Range<usize>> = Vec::new();
        for record in self.records() {
            if begins(record) && !piece.is_empty() {
                pieces.push(Self {
                    ranges: std::mem::take(&mut piece),
                });
            }
            match piece.last_mut() {
                Some(Range { end, .. }) if *end == record => *end += 1,
                _ => piece.push(record..record + 1),
            }
        }
        pieces.push(Self { ranges: piece });
        pieces
    }

    /// The first half and the second, which is the smaller one.
    pub fn halves(&self) -> (Self, Self) {
        let mut wanted = self.len().div_ceil(2);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for range in &self.ranges {
            let cut = range.end.min(range.start + wanted);
            wanted -= cut - range.start;
            first.push(range.start..cut);
            second.push(cut..range.end);
        }
        (Self::of(first), Self::of(second))
    }

    /// All but the records at these positions of the batch, which ascend.
    pub fn without(&self, records: impl Iterator<Item = usize>) -> Self {
        let mut left = Vec::new();
        let mut gone = records.peekable();
        for range in &self.ranges {
            let mut start = range.start;
            while let Some(at) = gone.next_if(|at| *at < range.end) {
                left.push(start..at.max(start));
                start = start.max(at + 1);
            }
            left.push(start..range.end);
        }
        Self::of(left)
    }
}

/// The records that a refusal names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Position in the batch and reason of each, ascending.
    pub records: Vec<(usize, String)>,
    /// Whether every other record of the part is stored.
    pub others_stored: bool,
}

/// Which records of `part` the server means. None where its names cannot be trusted.
///
/// A message repeats what clients wrote. Where a record holds the very words by which lines are named, somebody may
/// have put them there, and nothing that a text names is believed. Nor is the number of a line behind a record with
/// a line feed inside: it may count lines or records.
pub fn named(batch: &Batch, part: &Part, refusal: &Refusal) -> Named {
    let records: Vec<usize> = part.records().collect();
    if refusal.lines.is_empty() || refusal.from_text {
        let holds = |slice: &[u8]| {
            let mut words = NAMING.iter();
            words.any(|words| memmem::find(slice, words.as_bytes()).is_some())
        };
        if part.slices(batch).any(holds) {
            return Named::default();
        }
    }
    let (found, complete) = if refusal.lines.is_empty() {
        let texts = records.iter().map(|&i| text(batch, i));
        let found = quoted(&refusal.message, texts);
        (found.records, found.complete)
    } else {
        numbered(batch, &records, &refusal.lines)
    };
    let named: Vec<_> = found
        .into_iter()
        .filter_map(|(i, reason)| Some((*records.get(i)?, reason)))
        .collect();
    Named {
        others_stored: refusal.others_stored && complete && !named.is_empty(),
        records: named,
    }
}

/// Positions in `records` of the lines with these numbers, and whether all of them were found.
fn numbered(
    batch: &Batch,
    records: &[usize],
    lines: &[(u64, String)],
) -> (Vec<(usize, String)>, bool) {
    let inner = |&i: &usize| memchr(b'\n', text(batch, i)).is_some();
    // Up to and with the first record of several lines both ways of counting agree.
    let trusted = records
        .iter()
        .position(inner)
        .map_or(records.len(), |at| at + 1);
    let place = |line: u64| usize::try_from(line).ok()?.checked_sub(1);
    let exists = |line: u64| place(line).is_some_and(|at| at < records.len());
    if trusted == records.len() && !lines.iter().all(|(line, _)| exists(*line)) {
        // A number that no record has: the server counts something else.
        return (Vec::new(), false);
    }
    let mut found: Vec<_> = lines
        .iter()
        .filter_map(|(line, reason)| {
            Some((place(*line).filter(|&at| at < trusted)?, reason.clone()))
        })
        .collect();
    let complete = found.len() == lines.len();
    found.sort();
    found.dedup_by_key(|(at, _)| *at);
    (found, complete)
}

fn text(batch: &Batch, i: usize) -> &[u8] {
    let record = batch.record(i);
    record.strip_suffix(b"\n").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::post::batch::{Batches, Limits};

    fn batch(records: &[&str]) -> Batch {
        let most = NonZeroUsize::MAX;
        let mut batches = Batches::new(Limits {
            lines: most,
            bytes: most,
            total: most,
        });
        batches.switch(&Arc::default());
        for record in records {
            batches.push(None, format!("{record}\n").as_bytes(), 1, None);
        }
        batches.take_all().remove(0)
    }

    fn positions(part: &Part) -> Vec<usize> {
        part.records().collect()
    }

    fn lines(numbers: &[u64]) -> Vec<(u64, String)> {
        numbers.iter().map(|&n| (n, format!("bad {n}"))).collect()
    }

    #[test]
    fn a_part_loses_records_and_keeps_the_order() {
        let part = Part::all(6).without([0, 2, 5].into_iter());
        assert_eq!(vec![1, 3, 4], positions(&part));
        let batch = batch(&["a", "b", "c", "d", "e", "f"]);
        let body = |part: &Part| part.slices(&batch).collect::<Vec<_>>().concat();
        assert_eq!(b"b\nd\ne\n".to_vec(), body(&part));
        assert_eq!(
            (6, batch.body().to_vec()),
            (part.bytes(&batch), body(&Part::all(6)))
        );
        let pieces = |most| {
            part.clone()
                .pieces(&batch, most)
                .iter()
                .map(positions)
                .collect::<Vec<_>>()
        };
        assert_eq!(vec![vec![1, 3, 4]], pieces(6));
        assert_eq!(vec![vec![1, 3], vec![4]], pieces(5));
        assert_eq!(vec![vec![1], vec![3], vec![4]], pieces(1));
        let (first, second) = part.halves();
        assert_eq!(
            (vec![1, 3], vec![4]),
            (positions(&first), positions(&second))
        );
        assert!(Part::all(2).without([0, 1].into_iter()).is_empty());
    }

    #[test]
    fn numbers_count_the_records_of_the_part() {
        let batch = batch(&["a", "b", "c", "d"]);
        let part = Part::all(4).without([1].into_iter());
        let refusal = Refusal {
            lines: lines(&[3, 1]),
            others_stored: true,
            ..Refusal::default()
        };
        let expected = Named {
            records: vec![(0, "bad 1".to_owned()), (3, "bad 3".to_owned())],
            others_stored: true,
        };
        assert_eq!(expected, named(&batch, &part, &refusal));
    }

    #[test]
    fn a_number_that_no_line_has_makes_all_numbers_worthless() {
        let batch = batch(&["a", "b"]);
        for numbers in [[1, 3], [0, 1]] {
            let refusal = Refusal {
                lines: lines(&numbers),
                ..Refusal::default()
            };
            assert_eq!(Named::default(), named(&batch, &Part::all(2), &refusal));
        }
    }

    #[test]
    fn numbers_behind_a_record_of_several_lines_are_not_believed() {
        let batch = batch(&["a", "m s=\"x\ny\" 1", "c", "d"]);
        let refusal = Refusal {
            lines: lines(&[1, 2, 4, 5]),
            others_stored: true,
            ..Refusal::default()
        };
        let expected = Named {
            records: vec![(0, "bad 1".to_owned()), (1, "bad 2".to_owned())],
            others_stored: false,
        };
        assert_eq!(expected, named(&batch, &Part::all(4), &refusal));
    }

    #[test]
    fn quoted_records_are_named() {
        let batch = batch(&["m v=1 1", "m v=x 2"]);
        let refusal = Refusal {
            message: "partial write: unable to parse 'm v=x 2': invalid dropped=0".to_owned(),
            others_stored: true,
            ..Refusal::default()
        };
        let expected = Named {
            records: vec![(1, "invalid".to_owned())],
            others_stored: true,
        };
        assert_eq!(expected, named(&batch, &Part::all(2), &refusal));
        let other = Refusal {
            message: refusal.message.replace("x 2", "x 3"),
            ..refusal
        };
        assert_eq!(Named::default(), named(&batch, &Part::all(2), &other));
    }

    #[test]
    fn words_that_stand_in_a_record_name_nobody() {
        let batch = batch(&["m v=1 1", "m s=\"unable to parse 'm v=1 1': x\" bad"]);
        let refusal = Refusal {
            message: "unable to parse 'm s=\"unable to parse 'm v=1 1': x\" bad': bad timestamp"
                .to_owned(),
            ..Refusal::default()
        };
        assert_eq!(Named::default(), named(&batch, &Part::all(2), &refusal));
        let refusal = Refusal {
            lines: lines(&[1]),
            from_text: true,
            ..Refusal::default()
        };
        assert_eq!(Named::default(), named(&batch, &Part::all(2), &refusal));
        let refusal = Refusal {
            from_text: false,
            ..refusal
        };
        assert_eq!(1, named(&batch, &Part::all(2), &refusal).records.len());
    }

    proptest! {
        #[test]
        fn halves_and_rests_lose_nothing(n in 1usize..40, gone in proptest::collection::btree_set(0usize..40, 0..40)) {
            let part = Part::all(n).without(gone.iter().copied());
            let expected: Vec<_> = (0..n).filter(|i| !gone.contains(i)).collect();
            prop_assert_eq!(&expected, &positions(&part));
            prop_assert_eq!(expected.len(), part.len());
            let (first, second) = part.halves();
            prop_assert_eq!(expected.len().div_ceil(2), first.len());
            let both: Vec<_> = first.records().chain(second.records()).collect();
            prop_assert_eq!(expected, both);
        }
    }
}
