//! Gathers whole records, bucket by bucket, until there are enough for one request.

use std::borrow::Cow;
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
    /// The lane whose order it keeps; `None` where any order will do.
    lane: Option<usize>,
    body: Vec<u8>,
    /// How long `body` was in an earlier use: memory that is there, filled or not.
    touched: usize,
    /// Where each record ends in `body`; ascending.
    ends: Vec<usize>,
    /// The line of the input at which each record starts.
    lines: Vec<u64>,
    /// Records that must not be sent, and why; ascending.
    bad: Vec<(usize, Cow<'static, str>)>,
}

impl Batch {
    /// What all records have in common.
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The lane whose order it keeps; `None` where any order will do.
    pub fn lane(&self) -> Option<usize> {
        self.lane
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

    /// Records that must not be sent, and why; ascending.
    pub fn bad(&self) -> &[(usize, Cow<'static, str>)] {
        &self.bad
    }

    /// The records of a range, each with its line feed.
    pub fn slice(&self, records: Range<usize>) -> &[u8] {
        let (start, end) = (self.offset(records.start), self.offset(records.end));
        self.body.get(start..end).unwrap_or_default()
    }

    /// One record, with its line feed.
    pub fn record(&self, i: usize) -> &[u8] {
        self.slice(i..i + 1)
    }

    /// The line of the input at which a record starts.
    pub fn line(&self, i: usize) -> u64 {
        self.lines.get(i).copied().unwrap_or(0)
    }

    /// Where a record starts in the body.
    pub fn offset(&self, i: usize) -> usize {
        let before = i.checked_sub(1).and_then(|i| self.ends.get(i));
        before.copied().unwrap_or(0)
    }

    /// Append a record. Once the body is large it gets room for `most` bytes.
    fn push(&mut self, record: &[u8], line: u64, bad: Option<Cow<'static, str>>, most: usize) {
        self.bad.extend(bad.map(|reason| (self.ends.len(), reason)));
        let len = self.body.len() + record.len() + 1;
        if len > self.body.capacity() && len > LARGE {
            // Growing by doubling would leave holes in the memory.
            self.body.reserve_exact(most.max(len) - self.body.len());
        }
        self.body.extend_from_slice(record);
        if !record.ends_with(b"\n") {
            self.body.push(b'\n');
        }
        self.ends.push(self.body.len());
        self.lines.push(line);
    }

    /// What it takes in memory, or nearly so.
    pub(super) fn size(&self) -> usize {
        let body = match self.body.len() {
            // Small ones lie side by side, each with the room that it has to grow.
            len @ ..SMALL => grown(len),
            len => len,
        };
        body + self.len() * PLACE + usize::from(!self.is_empty()) * FRAME
    }

    /// Give back memory that earlier records took and these have not filled, where it is much.
    fn slim(&mut self) {
        if self.touched > grown(self.body.len()) + SMALL {
            // All of it: the next large body fits where this one was.
            self.body = self.body.to_vec();
        }
        self.touched = 0;
    }

    fn clear(&mut self) {
        self.touched = self.touched.max(self.body.len());
        self.body.clear();
        self.ends.clear();
        self.lines.clear();
        self.bad.clear();
    }
}

/// What is kept of each record besides its bytes: end and line, in memory that grows by doubling.
const PLACE: usize = 24;

/// Memory of its own, of which only the pages in use count, begins here.
const SMALL: usize = 128 << 10;

/// Few bodies grow larger than this at the same time.
const LARGE: usize = 1 << 20;

/// So many bytes in memory that grows by doubling.
fn grown(len: usize) -> usize {
    len + len / 2
}

/// What is kept of each batch besides its records: label, lists, its place.
const FRAME: usize = 512;

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

/// The unfinished batches, one for each bucket and lane at most.
///
/// Where a batch begins and ends follows from the records, the comments between them and the limits alone: the same
/// input is cut into the same batches another time.
#[derive(Debug)]
pub struct Batches {
    limits: Limits,
    open: Vec<Batch>,
    /// Where in `open` the batch of a bucket and lane is.
    places: HashMap<(String, Option<usize>), usize>,
    /// What the next records have in common.
    label: Arc<Label>,
    /// Where in `open` the batch of the label's bucket is: for no lane, then for each.
    current: Vec<Option<usize>>,
    /// Bytes in `open`.
    total: usize,
    /// Bytes that the bodies in `open` had in earlier uses.
    touched: usize,
    /// How long a body is that is full, and a little more.
    usual: usize,
    /// A finished batch whose memory serves again.
    spare: Option<Batch>,
}

impl Batches {
    /// No batch yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Vec::new(),
            places: HashMap::new(),
            label: Arc::default(),
            current: Vec::new(),
            total: 0,
            touched: 0,
            usual: limits.bytes.get(),
            spare: None,
        }
    }

    /// The next records have this label. Its bucket's batches are gone on with if there are any.
    pub fn switch(&mut self, label: &Arc<Label>) {
        self.label = Arc::clone(label);
        self.current.clear();
    }

    /// Take out a batch that stands in the way of a record of this length; call until there is none.
    pub fn overflow(&mut self, lane: Option<usize>, len: usize) -> Option<Batch> {
        let Limits {
            lines,
            bytes,
            total,
        } = self.limits;
        let current = self.place(lane);
        if self.touched > 0 && self.open.len() > 1 && self.total + self.touched > total.get() {
            self.slim();
        }
        let batch = self.open.get(current)?;
        let full = batch.len() >= lines.get() || batch.body.len() + len > bytes.get();
        if full && !batch.is_empty() {
            let len = batch.body.len();
            self.usual = bytes.get().min(len + len / 16);
            return Some(self.take(current));
        }
        if self.total + grown(len) + PLACE + FRAME <= total.get() || self.total == batch.size() {
            return None;
        }
        // The largest: it brings most memory back and wastes least of a request.
        let sizes = self.open.iter().enumerate().filter(|(i, _)| *i != current);
        let (largest, _) = sizes.max_by_key(|(_, batch)| batch.size())?;
        Some(self.take(largest))
    }

    /// Append a record that starts at `line` of the input, with the reason why it must not be sent, if there is one.
    pub fn push(
        &mut self,
        lane: Option<usize>,
        record: &[u8],
        line: u64,
        bad: Option<Cow<'static, str>>,
    ) {
        let place = self.place(lane);
        if let Some(batch) = self.open.get_mut(place) {
            let before = batch.size();
            batch.push(record, line, bad, self.usual);
            self.total = self.total + batch.size() - before;
        }
    }

    /// Take out everything. The next record needs a label again.
    pub fn take_all(&mut self) -> Vec<Batch> {
        self.places.clear();
        self.current.clear();
        (self.total, self.touched) = (0, 0);
        let mut all = std::mem::take(&mut self.open);
        all.retain(|batch| !batch.is_empty());
        all.iter_mut().for_each(Batch::slim);
        all
    }

    /// Give back all memory that is not filled. Where batches end must not depend on it: it comes from those that
    /// were done with in time.
    #[cold]
    fn slim(&mut self) {
        self.open.iter_mut().for_each(Batch::slim);
        self.touched = 0;
    }

    /// Whether the next batch would take new memory.
    pub fn lacks_spare(&self) -> bool {
        self.spare.is_none()
    }

    /// Use the memory of a batch that is done with again.
    pub fn recycle(&mut self, mut batch: Batch) {
        // More would hold memory that no batch needs.
        if self.spare.is_none() {
            batch.clear();
            self.spare = Some(batch);
        }
    }

    /// Where the batch of the label's bucket and a lane is.
    fn place(&mut self, lane: Option<usize>) -> usize {
        let slot = lane.map_or(0, |lane| lane + 1);
        match self.current.get(slot) {
            Some(Some(place)) => *place,
            _ => self.find(lane, slot),
        }
    }

    #[cold]
    fn find(&mut self, lane: Option<usize>, slot: usize) -> usize {
        if self.current.len() <= slot {
            self.current.resize(slot + 1, None);
        }
        let key = (self.label.bucket.clone(), lane);
        let open = &mut self.open;
        let place = *self.places.entry(key).or_insert_with(|| {
            let batch = self.spare.take().unwrap_or_default();
            self.touched += batch.touched;
            let label = Arc::clone(&self.label);
            open.push(Batch {
                label,
                lane,
                ..batch
            });
            open.len() - 1
        });
        if let Some(slot) = self.current.get_mut(slot) {
            *slot = Some(place);
        }
        place
    }

    fn take(&mut self, place: usize) -> Batch {
        let mut batch = self.open.swap_remove(place);
        self.touched -= batch.touched;
        batch.slim();
        self.places
            .remove(&(batch.label.bucket.clone(), batch.lane));
        self.total -= batch.size();
        let last = self.open.len();
        if let Some(moved) = self.open.get(place) {
            self.places
                .insert((moved.label.bucket.clone(), moved.lane), place);
        }
        for current in &mut self.current {
            *current = match *current {
                Some(at) if at == place => None,
                // The last one stands where the taken one stood.
                Some(at) if at == last => Some(place),
                at => at,
            };
        }
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
        while let Some(batch) = batches.overflow(None, record.len()) {
            gone.push(text(&batch));
            batches.recycle(batch);
        }
        batches.push(None, record.as_bytes(), 1, None);
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
    fn memory_that_served_before_is_given_back_where_others_need_it() {
        let mut batches = batches(1000, 1 << 20, 2 << 20);
        let record = "x".repeat(512 << 10);
        // Each bucket sends a large batch, whose memory serves the next one of the bucket, which stays small.
        for bucket in ["a", "b", "c", "d", "e", "f"] {
            batches.switch(&label(bucket));
            for record in [&record, &record[1..], "small"] {
                push(&mut batches, record);
            }
            let held = batches.open.iter().map(|batch| batch.body.capacity());
            assert!(held.sum::<usize>() <= 3 << 20, "{bucket}");
        }
    }

    #[test]
    fn a_batch_ends_at_its_number_of_lines() {
        let mut batches = batches(2, 100, 100_000);
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
            let mut batches = batches(9, bytes, 100_000);
            batches.switch(&label("b"));
            push(&mut batches, "12\n");
            assert_eq!(expected, push(&mut batches, "34\n").len(), "{bytes}");
        }
    }

    #[test]
    fn a_record_longer_than_a_batch_goes_alone() {
        let mut batches = batches(9, 4, 100_000);
        batches.switch(&label("b"));
        push(&mut batches, "1\n");
        assert_eq!(vec!["b:1\n"], push(&mut batches, "long record\n"));
        assert_eq!(vec!["b:long record\n"], push(&mut batches, "2\n"));
    }

    #[test]
    fn each_bucket_has_a_batch_of_its_own() {
        let mut batches = batches(2, 100, 100_000);
        for (bucket, record) in [("a", "1\n"), ("b", "2\n"), ("a", "3\n"), ("b", "4\n")] {
            batches.switch(&label(bucket));
            assert_eq!(0, push(&mut batches, record).len());
        }
        assert_eq!(vec!["b:2\n4\n"], push(&mut batches, "5\n"));
        assert_eq!(vec!["a:1\n3\n", "b:5\n"], rest(&mut batches));
    }

    #[test]
    fn all_unfinished_batches_together_are_bounded_and_the_largest_goes_first() {
        // Four batches and one more record fit; two more do not.
        let four = 3 * grown(2) + grown(6) + 4 * (PLACE + FRAME);
        let mut batches = batches(100, 1000, four + grown(2) + PLACE + FRAME);
        for (bucket, record) in [("a", "1\n"), ("b", "22222\n"), ("c", "3\n"), ("d", "4\n")] {
            batches.switch(&label(bucket));
            assert_eq!(0, push(&mut batches, record).len());
        }
        assert_eq!(0, push(&mut batches, "5\n").len());
        assert_eq!(vec!["b:22222\n"], push(&mut batches, "6\n"));
        batches.switch(&label("c"));
        let long = format!("{}\n", "7".repeat(FRAME));
        assert_eq!(vec!["d:4\n5\n6\n"], push(&mut batches, &long));
        assert_eq!(
            vec!["a:1\n".to_owned(), format!("c:3\n{long}")],
            rest(&mut batches)
        );
    }

    #[test]
    fn two_thousand_buckets_in_turn_stay_within_the_bound() {
        let mut batches = batches(100, 1000, 100_000);
        let labels: Vec<_> = (0..2000).map(|n| label(&n.to_string())).collect();
        let mut gone = 0;
        for n in 0..20_000 {
            batches.switch(&labels[n * 7 % 2000]);
            gone += push(&mut batches, "m v=1 1\n").len();
            assert!(batches.total <= 100_000);
        }
        assert!(gone > 0);
        let waiting: usize = batches.open.iter().map(Batch::size).sum();
        assert_eq!(waiting, batches.total);
    }

    #[test]
    fn records_can_be_found_again() {
        let mut batches = batches(9, 100, 100_000);
        batches.switch(&label("b"));
        batches.push(None, b"one\n", 3, None);
        batches.push(None, b"two", 7, Some("no".into()));
        let all = batches.take_all();
        let batch = &all[0];
        assert_eq!(b"one\ntwo\n", batch.body());
        assert_eq!((b"two\n".as_slice(), 7), (batch.record(1), batch.line(1)));
        assert_eq!(b"one\ntwo\n", batch.slice(0..2));
        assert_eq!(b"", batch.slice(2..3));
        assert_eq!(0, batch.line(2));
        assert_eq!([(1, "no".into())], batch.bad());
    }

    #[test]
    fn lanes_of_one_bucket_have_batches_of_their_own() {
        let mut batches = batches(2, 100, 100_000);
        for (bucket, lane, record) in [
            ("a", 0, "1\n"),
            ("a", 1, "2\n"),
            ("b", 1, "3\n"),
            ("a", 0, "4\n"),
        ] {
            batches.switch(&label(bucket));
            assert!(batches.overflow(Some(lane), 2).is_none());
            batches.push(Some(lane), record.as_bytes(), 1, None);
        }
        batches.switch(&label("a"));
        let full = batches.overflow(Some(0), 2).unwrap();
        assert_eq!(("a:1\n4\n".to_owned(), Some(0)), (text(&full), full.lane()));
        batches.push(Some(1), b"5\n", 1, None);
        assert_eq!(vec!["b:3\n", "a:2\n5\n"], rest(&mut batches));
    }
}
