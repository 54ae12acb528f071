//! Gathers whole records, bucket by bucket, until there are enough for one request.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use crate::lp::Context;

/// What all records of a batch have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The bucket they go to.
    pub bucket: String,
    /// The context they came with.
    pub context: Context,
    /// How messages call the input they came from.
    pub input: String,
    /// Whether each point is in its stream at most once.
    pub is_once: bool,
    /// For how long the bucket must keep points, in seconds, where that is known and wanted; 0 is for ever.
    pub period: Option<u64>,
    /// Whether the records may have been respelled for InfluxDB 3.
    pub is_v3: bool,
}

/// Records for one bucket, one behind the other.
#[derive(Debug, Default)]
pub struct Batch {
    label: Arc<Label>,
    body: Vec<u8>,
    /// Where each record ends in `body`; ascending.
    ends: Vec<usize>,
    /// The line of the input at which each record starts.
    lines: Vec<u64>,
}

impl Batch {
    /// What all records have in common.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All records, each with its line feed.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The records of a range, each with its line feed.
    pub fn slice(&self, records: Range<usize>) -> &[u8] {
        let end = |n: usize| {
            n.checked_sub(1)
                .and_then(|n| self.ends.get(n))
                .copied()
                .unwrap_or(0)
        };
        self.body
            .get(end(records.start)..end(records.end))
            .unwrap_or_default()
    }

    /// One record, with its line feed.
    pub fn record(&self, i: usize) -> &[u8] {
        self.slice(i..i + 1)
    }

    /// The line of the input at which a record starts.
    pub fn line(&self, i: usize) -> u64 {
        self.lines.get(i).copied().unwrap_or(0)
    }

    fn push(&mut self, record: &[u8], line: u64) {
        self.body.extend_from_slice(record);
        if !record.ends_with(b"\n") {
            self.body.push(b'\n');
        }
        self.ends.push(self.body.len());
        self.lines.push(line);
    }

    fn clear(&mut self) {
        self.body.clear();
        self.ends.clear();
        self.lines.clear();
    }
}

/// How large batches grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records in a batch.
    pub lines: NonZeroUsize,
    /// Bytes in a batch; a single record may be longer.
    pub bytes: NonZeroUsize,
    /// Bytes in all unfinished batches together.
    pub total: NonZeroUsize,
}

/// The unfinished batches, one for each bucket at most.
#[derive(Debug)]
pub struct Batches {
    limits: Limits,
    open: Vec<Batch>,
    /// Where in `open` the batch of a bucket is.
    places: HashMap<String, usize>,
    /// The batch that takes the next record.
    current: Option<usize>,
    /// Bytes in `open`.
    total: usize,
    /// Finished batches whose memory serves again.
    spare: Vec<Batch>,
}

impl Batches {
    /// No batch yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Vec::new(),
            places: HashMap::new(),
            current: None,
            total: 0,
            spare: Vec::new(),
        }
    }

    /// The next records have this label. Its bucket's batch is gone on with if there is one.
    pub fn switch(&mut self, label: &Arc<Label>) {
        if let Some(&place) = self.places.get(&label.bucket) {
            self.current = Some(place);
            return;
        }
        let mut batch = self.spare.pop().unwrap_or_default();
        batch.label = Arc::clone(label);
        self.places.insert(label.bucket.clone(), self.open.len());
        self.current = Some(self.open.len());
        self.open.push(batch);
    }

    /// Take out a batch that stands in the way of a record of this length; call until there is none.
    pub fn overflow(&mut self, len: usize) -> Option<Batch> {
        let Limits {
            lines,
            bytes,
            total,
        } = self.limits;
        let current = self.current?;
        let batch = self.open.get(current)?;
        let full = batch.len() >= lines.get() || batch.body.len() + len > bytes.get();
        if full && !batch.is_empty() {
            let label = Arc::clone(&batch.label);
            let batch = self.take(current);
            self.switch(&label);
            return Some(batch);
        }
        if self.total + len <= total.get() || self.total == batch.body.len() {
            return None;
        }
        // The largest: it brings most memory back and wastes least of a request.
        let sizes = self.open.iter().enumerate().filter(|(i, _)| *i != current);
        let (largest, _) = sizes.max_by_key(|(_, batch)| batch.body.len())?;
        Some(self.take(largest))
    }

    /// Append a record that starts at `line` of the input to the current batch.
    pub fn push(&mut self, record: &[u8], line: u64) {
        if let Some(batch) = self.current.and_then(|current| self.open.get_mut(current)) {
            let before = batch.body.len();
            batch.push(record, line);
            self.total += batch.body.len() - before;
        }
    }

    /// Take out everything. The next record needs a label again.
    pub fn take_all(&mut self) -> Vec<Batch> {
        self.places.clear();
        self.current = None;
        self.total = 0;
        let mut all = std::mem::take(&mut self.open);
        all.retain(|batch| !batch.is_empty());
        all
    }

    /// Use the memory of a batch that is done with again.
    pub fn recycle(&mut self, mut batch: Batch) {
        // A few are enough: more would hold memory that no batch needs.
        if self.spare.len() < 4 {
            batch.clear();
            self.spare.push(batch);
        }
    }

    /// Larger requests have been refused: make batches of at most this many bytes from now on.
    pub fn shrink(&mut self, bytes: usize) {
        const SMALLEST: usize = 64 << 10;
        let bytes = NonZeroUsize::new(bytes.max(SMALLEST)).unwrap_or(self.limits.bytes);
        self.limits.bytes = self.limits.bytes.min(bytes);
    }

    fn take(&mut self, place: usize) -> Batch {
        let batch = self.open.swap_remove(place);
        self.places.remove(&batch.label.bucket);
        self.total -= batch.body.len();
        if let Some(moved) = self.open.get(place) {
            self.places.insert(moved.label.bucket.clone(), place);
        }
        self.current = match self.current {
            Some(current) if current == place => None,
            // The last one stands where the taken one stood.
            Some(current) if current == self.open.len() => Some(place),
            current => current,
        };
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    fn batches(lines: usize, bytes: usize, total: usize) -> Batches {
        Batches::new(Limits {
            lines: size(lines),
            bytes: size(bytes),
            total: size(total),
        })
    }

    fn label(bucket: &str) -> Arc<Label> {
        Arc::new(Label {
            bucket: bucket.to_owned(),
            ..Label::default()
        })
    }

    /// Push a record; the bodies of the batches that had to go before it.
    fn push(batches: &mut Batches, record: &str) -> Vec<String> {
        let mut gone = Vec::new();
        while let Some(batch) = batches.overflow(record.len()) {
            gone.push(text(&batch));
            batches.recycle(batch);
        }
        batches.push(record.as_bytes(), 1);
        gone
    }

    fn text(batch: &Batch) -> String {
        let body = String::from_utf8(batch.body().to_vec()).unwrap();
        format!("{}:{body}", batch.label().bucket)
    }

    fn rest(batches: &mut Batches) -> Vec<String> {
        batches.take_all().iter().map(text).collect()
    }

    #[test]
    fn a_batch_ends_at_its_number_of_lines() {
        let mut batches = batches(2, 100, 100);
        batches.switch(&label("b"));
        assert_eq!(
            0,
            push(&mut batches, "1\n").len() + push(&mut batches, "2\n").len()
        );
        assert_eq!(vec!["b:1\n2\n"], push(&mut batches, "3\n"));
        assert_eq!(vec!["b:3\n"], rest(&mut batches));
        assert_eq!(0, rest(&mut batches).len());
    }

    #[test]
    fn a_batch_ends_before_it_grows_over_its_bytes() {
        for (bytes, expected) in [(5, 1), (6, 0), (7, 0)] {
            let mut batches = batches(9, bytes, 100);
            batches.switch(&label("b"));
            push(&mut batches, "12\n");
            assert_eq!(expected, push(&mut batches, "34\n").len(), "{bytes}");
        }
    }

    #[test]
    fn a_record_longer_than_a_batch_goes_alone() {
        let mut batches = batches(9, 4, 100);
        batches.switch(&label("b"));
        push(&mut batches, "1\n");
        assert_eq!(vec!["b:1\n"], push(&mut batches, "long record\n"));
        assert_eq!(vec!["b:long record\n"], push(&mut batches, "2\n"));
    }

    #[test]
    fn each_bucket_has_a_batch_of_its_own() {
        let mut batches = batches(2, 100, 100);
        for (bucket, record) in [("a", "1\n"), ("b", "2\n"), ("a", "3\n"), ("b", "4\n")] {
            batches.switch(&label(bucket));
            assert_eq!(0, push(&mut batches, record).len());
        }
        assert_eq!(vec!["b:2\n4\n"], push(&mut batches, "5\n"));
        assert_eq!(vec!["a:1\n3\n", "b:5\n"], rest(&mut batches));
    }

    #[test]
    fn all_unfinished_batches_together_are_bounded_and_the_largest_goes_first() {
        let mut batches = batches(100, 100, 12);
        for (bucket, record) in [("a", "1\n"), ("b", "22222\n"), ("c", "3\n"), ("d", "4\n")] {
            batches.switch(&label(bucket));
            assert_eq!(0, push(&mut batches, record).len());
        }
        assert_eq!(vec!["b:22222\n"], push(&mut batches, "5\n"));
        assert_eq!(0, push(&mut batches, "6\n").len());
        batches.switch(&label("c"));
        assert_eq!(vec!["d:4\n5\n6\n"], push(&mut batches, "7\n7\n"));
        assert_eq!(vec!["a:1\n", "c:3\n7\n7\n"], rest(&mut batches));
    }

    #[test]
    fn two_thousand_buckets_in_turn_stay_within_the_bound() {
        let mut batches = batches(100, 1000, 4000);
        let labels: Vec<_> = (0..2000).map(|n| label(&n.to_string())).collect();
        let mut gone = 0;
        for n in 0..20_000 {
            batches.switch(&labels[n * 7 % 2000]);
            gone += push(&mut batches, "m v=1 1\n").len();
            assert!(batches.total <= 4000);
        }
        assert!(gone > 0);
        let waiting: usize = batches.open.iter().map(|batch| batch.body.len()).sum();
        assert_eq!(waiting, batches.total);
    }

    #[test]
    fn records_can_be_found_again() {
        let mut batches = batches(9, 100, 100);
        batches.switch(&label("b"));
        batches.push(b"one\n", 3);
        batches.push(b"two", 7);
        let all = batches.take_all();
        let batch = &all[0];
        assert_eq!(b"one\ntwo\n", batch.body());
        assert_eq!((b"two\n".as_slice(), 7), (batch.record(1), batch.line(1)));
        assert_eq!(b"one\ntwo\n", batch.slice(0..2));
        assert_eq!(b"", batch.slice(2..3));
        assert_eq!(0, batch.line(2));
    }

    #[test]
    fn refused_sizes_are_not_tried_again_but_never_get_silly() {
        let mut batches = batches(9, 1 << 20, 1 << 20);
        batches.shrink(100 << 10);
        assert_eq!(100 << 10, batches.limits.bytes.get());
        batches.shrink(200 << 10);
        assert_eq!(100 << 10, batches.limits.bytes.get());
        batches.shrink(1);
        assert_eq!(64 << 10, batches.limits.bytes.get());
    }
}
