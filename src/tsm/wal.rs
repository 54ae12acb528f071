//! Write-ahead log: what was written to a shard and is in none of its TSM files yet.
//!
//! ```text
//! segment  entries one behind the other
//! entry    type u8 | length u32 | that many bytes of snappy
//! ```
//!
//! Nothing protects an entry but what snappy and its own lengths happen to notice.

mod batch;
mod cache;
mod cuts;
mod entry;
mod keys;
mod list;
#[cfg(test)]
mod model;
mod segment;
mod series;
mod store;
mod window;

use std::io::Read;

use batch::{Batch, Held};
pub use cache::{Cache, Chunks, Entry};
pub use cuts::Cuts;
use entry::{Body, Place};
pub use keys::Keys;
use segment::Segment;
pub use store::Chunk;

use super::{Error, ErrorKind, Note, ReadError};
use crate::pages::{Buffer, LARGE, Supply};

/// Reads segments, or parts of them. Its memory is used again from part to part.
#[derive(Debug)]
pub struct Reader<'a> {
    keys: &'a Keys,
    /// Where its pages are from.
    pages: Option<&'a Supply>,
    packed: Buffer,
    body: Buffer,
    groups: Vec<Place>,
    numbers: Vec<u32>,
    batch: Batch,
}

/// What a segment says, or some entries of it that follow each other. None needs another one to be read.
#[derive(Debug)]
pub struct Part {
    /// What is odd.
    pub notes: Vec<Note>,
    /// Whether all of it was read. If not, what stands before the damage counts, and nothing behind it does.
    pub done: Result<(), ReadError>,
    held: Held,
    /// In order: they hold for what is older.
    deletions: Vec<Deletion>,
}

/// An entry that deletes.
#[derive(Debug)]
struct Deletion {
    /// Where the chunks end that are older.
    older: u32,
    code: u8,
    body: Vec<u8>,
}

impl<'a> Reader<'a> {
    /// One that has numbers for keys from there, and pages from there if there is much to read.
    pub fn new(keys: &'a Keys, pages: Option<&'a Supply>) -> Self {
        let buffer = || Buffer::in_page(pages.and_then(|pages| pages.page(LARGE)));
        Self {
            keys,
            pages,
            packed: buffer(),
            body: buffer(),
            groups: Vec::new(),
            numbers: Vec::new(),
            batch: Batch::on(buffer()),
        }
    }

    /// What the entries of a segment say from offset `at` on; it ends with the last one of them.
    ///
    /// `last` says that nothing follows in the log: only there an entry may be cut short, as a crash leaves it.
    pub fn read(&mut self, segment: impl Read, at: u64, last: bool) -> Part {
        let mut part = Part {
            notes: Vec::new(),
            done: Ok(()),
            held: Held::default(),
            deletions: Vec::new(),
        };
        self.batch.begin();
        let done = self.entries(segment, at, last, &mut part);
        part.done = done.map_err(ReadError::settled);
        self.batch.settle(&mut part.held);
        part
    }

    fn entries(
        &mut self,
        segment: impl Read,
        at: u64,
        last: bool,
        part: &mut Part,
    ) -> Result<(), ReadError> {
        let mut packed = std::mem::take(&mut self.packed);
        let mut segment = Segment::new(segment, at, last, &mut packed);
        while let Some((at, code)) = segment.next(&mut self.body, &mut part.notes)? {
            self.entry(code, part)
                .map_err(|kind| Error::new(at, kind))?;
        }
        self.packed = packed;
        Ok(())
    }

    /// Do what an entry says, if all of it is readable.
    fn entry(&mut self, code: u8, part: &mut Part) -> Result<(), ErrorKind> {
        let Body::Write = entry::parse(code, self.body.bytes(), &mut self.groups)? else {
            self.batch.settle(&mut part.held);
            part.deletions.push(Deletion {
                older: part.held.chunks.end(),
                code,
                body: self.body.bytes().to_vec(),
            });
            return Ok(());
        };
        let body = self.body.bytes();
        let groups = self.groups.iter().map(|place| place.of(body));
        let keys = groups.clone().map(|group| group.key);
        self.keys.number(keys, &mut self.numbers);
        self.batch.expect(self.groups.len());
        for (group, number) in groups.zip(&self.numbers) {
            self.batch.add(*number, &group, &mut part.held);
        }
        Ok(())
    }
}

impl Drop for Reader<'_> {
    /// Have its pages used again.
    fn drop(&mut self) {
        let Some(pages) = self.pages else {
            return;
        };
        let buffers = [&mut self.packed, &mut self.body, &mut self.batch.tape];
        let used = buffers.into_iter().filter_map(Buffer::take_page);
        used.for_each(|page| pages.take_back(page));
    }
}

#[cfg(test)]
mod tests {
    use super::model::{entry, group, integers};
    use super::*;
    use crate::rows::{Strings, Values};
    use crate::tsm::NoteKind;
    use crate::tsm::encoding::testing::{T, hex};
    use crate::tsm::merge::Column;
    use crate::tsm::source::Source;
    use std::io::{self, Write};

    /// Seven entries, which start at 0, 54, 88, 117, 153, 189 and 226.
    const SEGMENT: &str = concat!(
        "0100000031367802000f6370752c686f73743d6123217e236e0000000216345785d8a0006400090100090d10",
        "2065000000000000000a010000001d1b680400067323217e23760000000116345785d8a00000000000026869",
        "010000001816540300066223217e23760000000116345785d8a0000001010000001f1d700100066623217e23",
        "760000000116345785d8a000003ff8000000000000010000001f1d700500067523217e237600000001163457",
        "85d8a0000000000000000000050300000020231c16345785d8a000651108480000000f6370752c686f73743d",
        "6123217e236e020000000f0d306623217e23760a6223217e2376"
    );

    const GAP: &str = concat!(
        "010000001f1d700200066123217e23760000000116345785d8a000000000000000000001",
        "0000000000000000",
        "010000001f1d700200066223217e23760000000116345785d8a000000000000000000002"
    );

    /// A key and its values, all of one type together.
    type Found = (Vec<u8>, Vec<Column>);

    fn read(cache: Cache, keys: Keys) -> Vec<Found> {
        let (entries, all) = cache.finish(keys);
        let read = entries.into_iter().map(|entry| {
            let mut columns: Vec<Column> = Vec::new();
            for (_, chunk) in all.of(&entry.chunks) {
                if columns.last().is_none_or(|last| last.kind() != chunk.kind) {
                    columns.push(Column::new(chunk.kind));
                }
                all.unpack(chunk, columns.last_mut().unwrap());
            }
            columns.iter_mut().for_each(Column::settle);
            (entry.key.to_vec(), columns)
        });
        read.collect()
    }

    fn replayed(segments: &[&[u8]]) -> (Vec<Found>, Vec<Note>) {
        let (keys, mut cache, mut notes) = (Keys::default(), Cache::default(), Vec::new());
        let mut reader = Reader::new(&keys, None);
        for (i, segment) in segments.iter().enumerate() {
            let mut part = reader.read(*segment, 0, i + 1 == segments.len());
            notes.append(&mut part.notes);
            part.done.as_ref().unwrap();
            cache.add(part);
        }
        drop(reader);
        (read(cache, keys), notes)
    }

    /// What is there in spite of the damage, and the damage.
    fn damaged(segment: &[u8], last: bool) -> (Vec<Found>, Error) {
        let (keys, mut cache) = (Keys::default(), Cache::default());
        let part = Reader::new(&keys, None).read(segment, 0, last);
        let Err(ReadError::Damage(error)) = &part.done else {
            panic!("{part:?}");
        };
        let error = error.clone();
        cache.add(part);
        (read(cache, keys), error)
    }

    fn column(times: Vec<i64>, values: Values) -> Column {
        Column { times, values }
    }

    fn one(key: &str, time: i64, value: Values) -> Found {
        (key.into(), vec![column(vec![time], value)])
    }

    fn string(value: &str) -> Values {
        let mut strings = Strings::default();
        strings.push(value.as_bytes());
        Values::String(strings)
    }

    #[test]
    fn a_segment_of_a_server_is_replayed() {
        let expected = vec![
            one("cpu,host=a#!~#n", T + 100, Values::Integer(vec![9])),
            one("s#!~#v", T, string("hi")),
            one("u#!~#v", T, Values::Unsigned(vec![5])),
        ];
        assert_eq!((expected, vec![]), replayed(&[&hex(SEGMENT)]));
    }

    #[test]
    fn values_of_every_type_are_read_before_they_are_deleted() {
        let (entries, _) = replayed(&[&hex(SEGMENT)[..189]]);
        assert_eq!(5, entries.len());
        assert_eq!(one("b#!~#v", T, Values::Boolean(vec![true])), entries[0]);
        assert_eq!(one("f#!~#v", T, Values::Float(vec![1.5])), entries[2]);
        let n = column(vec![T + 100, T + 101], Values::Integer(vec![9, 10]));
        assert_eq!(vec![n], entries[1].1);
    }

    #[test]
    fn the_last_segment_may_be_cut_anywhere_and_no_other() {
        let segment = hex(SEGMENT);
        let starts = [0, 54, 88, 117, 153, 189, 226, 246];
        for n in 0..=segment.len() {
            let start = *starts.iter().rfind(|start| **start <= n).unwrap();
            let whole = replayed(&[&segment[..start]]);
            assert_eq!(
                (0, n == start),
                (whole.1.len(), whole == replayed(&[&segment[..n]]))
            );
            if n == start {
                continue;
            }
            let (entries, notes) = replayed(&[&segment[..n]]);
            let bytes = (n - start) as u64;
            let note = Note::new(start as u64, NoteKind::TornEntry { bytes });
            assert_eq!((whole.0.clone(), vec![note]), (entries, notes));
            let (entries, error) = damaged(&segment[..n], false);
            assert_eq!((whole.0, start as u64), (entries, error.at));
            assert!(matches!(error.kind, ErrorKind::Truncated { .. }), "{error}");
        }
    }

    #[test]
    fn entries_behind_a_gap_of_zeros_are_read() {
        let expected = vec![
            one("a#!~#v", T, Values::Integer(vec![1])),
            one("b#!~#v", T, Values::Integer(vec![2])),
        ];
        let gap = Note::new(36, NoteKind::ZeroGap { bytes: 8 });
        assert_eq!((expected, vec![gap]), replayed(&[&hex(GAP)]));
    }

    #[test]
    fn zeros_at_the_end_are_noted_in_any_segment() {
        let segment = hex(GAP);
        for zeros in [1, 4096, 100_000] {
            let mut tail = segment[..36].to_vec();
            tail.resize(36 + zeros, 0);
            let (entries, notes) = replayed(&[&tail, &segment[44..]]);
            let bytes = zeros as u64;
            assert_eq!(vec![Note::new(36, NoteKind::ZeroTail { bytes })], notes);
            assert_eq!(2, entries.len());
        }
    }

    #[test]
    fn an_empty_segment_holds_nothing() {
        assert_eq!((vec![], vec![]), replayed(&[b"", b""]));
    }

    #[test]
    fn an_unknown_type_is_an_error_even_at_the_end() {
        let mut segment = hex(SEGMENT);
        for code in 4..=255 {
            segment[54] = code;
            for n in [55, 56, 246] {
                let (entries, error) = damaged(&segment[..n], true);
                assert_eq!(Error::new(54, ErrorKind::EntryType(code)), error);
                assert_eq!(1, entries.len());
            }
        }
    }

    #[test]
    fn a_damaged_length_is_not_taken_for_a_torn_entry() {
        let segment = hex(SEGMENT);
        for length in [10_000, 1 << 24, u32::MAX] {
            let mut segment = segment.clone();
            segment[55..59].copy_from_slice(&u32::to_be_bytes(length));
            let error = damaged(&segment, true).1;
            let kind = ErrorKind::SnappyLength {
                packed: length as usize,
                claimed: 27,
            };
            assert_eq!(Error::new(54, kind), error);
        }
    }

    #[test]
    fn an_entry_that_is_damaged_inside_is_not_applied_in_part() {
        let good = integers(b"a#!~#v", &[(1, 1)]);
        let bad = [good.as_slice(), &[9, 0, 0]].concat();
        let segment = [entry(1, &good), entry(1, &bad)].concat();
        let (entries, error) = damaged(&segment, true);
        assert_eq!(vec![one("a#!~#v", 1, Values::Integer(vec![1]))], entries);
        let at = entry(1, &good).len() as u64;
        assert_eq!(Error::new(at, ErrorKind::ValueType(9)), error);
    }

    #[test]
    fn every_truncation_inside_an_entry_is_an_error() {
        let mut write = integers(b"a#!~#v", &[(1, 1), (2, 2)]);
        let first = write.len();
        write.extend(group(4, b"b#!~#v", &[(1, b"\0\0\0\x02hi".to_vec())]));
        let second = write.len();
        write.extend(group(3, b"c#!~#v", &[(1, vec![1]), (2, vec![0])]));
        for n in (1..write.len()).filter(|n| ![first, second].contains(n)) {
            damaged(&entry(1, &write[..n]), true);
        }
        let mut delete = [0; 16].to_vec();
        delete.extend(b"\0\0\0\x01a");
        for n in (0..delete.len()).filter(|n| *n != 16) {
            damaged(&entry(3, &delete[..n]), true);
        }
    }

    #[test]
    fn a_count_that_cannot_be_is_refused_before_there_is_memory_for_it() {
        for (code, size) in [(1, 16), (2, 16), (3, 9), (4, 12), (5, 16)] {
            for count in [3, 1 << 28, u32::MAX] {
                let mut body = group(code, b"k#!~#v", &[]);
                let n = body.len();
                body[n - 4..].copy_from_slice(&u32::to_be_bytes(count));
                body.resize(n + 3 * size - 1, 0);
                let left = 3 * size - 1;
                let kind = damaged(&entry(1, &body), true).1.kind;
                assert_eq!(ErrorKind::ValueCount { count, left }, kind);
            }
        }
    }

    #[test]
    fn a_type_that_changes_leaves_one_value_per_time() {
        let key = b"k#!~#v";
        let float = |t, v: f64| (t, v.to_bits().to_be_bytes().to_vec());
        let segment = [
            entry(1, &group(1, key, &[float(3, 0.5), float(1, 1.5)])),
            entry(1, &integers(key, &[(3, 30), (2, 20), (4, 40)])),
            entry(1, &group(1, key, &[float(2, 2.5), float(5, 5.5)])),
        ];
        let columns = vec![
            column(vec![1, 2, 5], Values::Float(vec![1.5, 2.5, 5.5])),
            column(vec![3, 4], Values::Integer(vec![30, 40])),
        ];
        assert_eq!(
            vec![(key.to_vec(), columns)],
            replayed(&[&segment.concat()]).0
        );
    }

    #[test]
    fn a_truth_value_is_true_for_one_only() {
        let points: Vec<_> = (0..4).map(|v| (i64::from(v), vec![v])).collect();
        let segment = entry(1, &group(3, b"k#!~#v", &points));
        let values = Values::Boolean(vec![false, true, false, false]);
        assert_eq!(values, replayed(&[&segment]).0[0].1[0].values);
    }

    #[test]
    fn a_failing_disk_is_not_taken_for_a_torn_entry() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::Other.into())
            }
        }
        let segment = hex(SEGMENT);
        for n in 0..=segment.len() {
            let keys = Keys::default();
            let done = Reader::new(&keys, None)
                .read(segment[..n].chain(Broken), 0, true)
                .done;
            assert!(matches!(done, Err(ReadError::Io(_))), "{n}");
        }
    }

    #[test]
    fn a_segment_that_shrinks_while_it_is_read_is_damaged_wherever_it_ends_now() {
        let segment = hex(SEGMENT);
        for n in 0..segment.len() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&segment).unwrap();
            let source = Source::whole(file.try_clone().unwrap()).unwrap();
            file.set_len(n as u64).unwrap();
            let keys = Keys::default();
            let done = Reader::new(&keys, None).read(source.reader(), 0, true).done;
            assert!(done.is_err(), "{n}");
        }
    }

    fn fixture(path: &str) -> Vec<u8> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");
        std::fs::read(format!("{root}{path}")).unwrap()
    }

    fn torn(shard: u32) -> Vec<u8> {
        fixture(&format!("influxdb-1.6/wal/torn/autogen/{shard}/_00001.wal"))
    }

    #[test]
    fn what_a_crash_tears_is_noted() {
        for shard in [92, 93] {
            let segment = torn(shard);
            let (entries, notes) = replayed(&[&segment]);
            assert!(!entries.is_empty());
            let [
                Note {
                    at,
                    kind: NoteKind::TornEntry { bytes },
                },
            ] = notes[..]
            else {
                panic!("{notes:?}");
            };
            assert_eq!(segment.len() as u64, at + bytes);
        }
        let notes = replayed(&[&torn(94)]).1;
        let [
            Note {
                kind: NoteKind::ZeroTail { bytes: 4096 },
                ..
            },
        ] = notes[..]
        else {
            panic!("{notes:?}");
        };
    }

    #[test]
    fn damage_in_the_middle_is_an_error_that_says_where_and_what() {
        let (entries, error) = damaged(&torn(95), true);
        assert!(!entries.is_empty());
        assert!(matches!(error.kind, ErrorKind::EntryType(_)), "{error}");
        let (entries, error) = damaged(&torn(96), true);
        assert!(!entries.is_empty());
        assert!(
            matches!(
                error.kind,
                ErrorKind::Snappy(_) | ErrorKind::SnappyLength { .. }
            ),
            "{error}"
        );
    }

    fn count(entries: &[Found]) -> usize {
        let columns = entries.iter().flat_map(|(_, columns)| columns);
        columns.map(Column::len).sum()
    }

    #[test]
    fn shards_that_are_only_in_the_log_have_as_many_values_as_the_server_counts() {
        let shard = |n| fixture(&format!("influxdb-1.6/wal/walonly/autogen/{n}/_00001.wal"));
        let found: usize = (89..=91).map(|n| count(&replayed(&[&shard(n)]).0)).sum();
        assert_eq!(1017, found);
        let noted: usize = (92..=94).map(|n| count(&replayed(&[&torn(n)]).0)).sum();
        let damaged: usize = (95..=96).map(|n| count(&damaged(&torn(n), true).0)).sum();
        assert_eq!(168, noted + damaged);
    }

    #[test]
    fn segments_of_a_server_are_read_to_their_end() {
        for path in [
            "influxdb-1.6/wal/deletes/autogen/3/_00001.wal",
            "influxdb-1.6/wal/overlap/autogen/2/_00001.wal",
            "influxdb-1.6/wal/walonly/autogen/89/_00001.wal",
            "influxdb-1.6/wal/walonly/autogen/90/_00001.wal",
            "influxdb-1.6/wal/walonly/autogen/91/_00001.wal",
            "influxdb-1.6/wal/_internal/monitor/1/_00002.wal",
            "influxdb-1.6/wal/churn/autogen/4/_00001.wal",
            "influxdb-1.6/wal/deletes-rewritten/autogen/5/_00002.wal",
            "influxdb-1.6-uint64/wal/unsigned/autogen/1/_00003.wal",
        ] {
            let segment = fixture(path);
            let notes = replayed(&[&segment]).1;
            assert_eq!((false, 0), (segment.is_empty(), notes.len()), "{path}");
        }
    }
}
