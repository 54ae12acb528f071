//! Writes logs, and replays them by the plain rule of the server.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::store::Chunk;
use super::{Cache, Chunks, Entry, Keys, Reader};
use crate::pages::Supply;
use crate::rows::{Kind, Values};
use crate::tsm::merge::Column;

/// An entry of type `code`.
pub fn entry(code: u8, body: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(body).unwrap();
    let length = packed.len() as u32;
    [&[code], length.to_be_bytes().as_slice(), &packed].concat()
}

/// The values of a key in a write.
pub fn group(code: u8, key: &[u8], points: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![code];
    body.extend((key.len() as u16).to_be_bytes());
    body.extend(key);
    body.extend((points.len() as u32).to_be_bytes());
    for (time, value) in points {
        body.extend(time.to_be_bytes());
        body.extend(value);
    }
    body
}

/// Integers of a key in a write.
pub fn integers(key: &[u8], points: &[(i64, i64)]) -> Vec<u8> {
    let packed = |&(t, v): &(i64, i64)| (t, v.to_be_bytes().to_vec());
    group(2, key, &points.iter().map(packed).collect::<Vec<_>>())
}

#[derive(Clone, Debug)]
enum Step {
    Write(u8, Kind, Vec<(i64, i64)>),
    Delete(u8),
    DeleteRange(u8, i64, i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![4 => Just(Kind::Integer), 1 => Just(Kind::String)];
    let points = prop::collection::vec((0..12i64, any::<i64>()), 0..6);
    let step = prop_oneof![
        6 => (0..3u8, kind, points).prop_map(|(k, kind, p)| Step::Write(k, kind, p)),
        1 => (0..3u8).prop_map(Step::Delete),
        2 => (0..3u8, 0..12i64, 0..12i64).prop_map(|(k, a, b)| Step::DeleteRange(k, a, b)),
    ];
    prop::collection::vec(step, 0..25)
}

fn key(k: u8) -> Vec<u8> {
    [&[b'a' + k], b"#!~#v".as_slice()].concat()
}

fn written(step: &Step) -> Vec<u8> {
    match step {
        Step::Write(k, Kind::Integer, points) => entry(1, &integers(&key(*k), points)),
        Step::Write(k, _, points) => {
            let text = |v: i64| [&[0, 0, 0, 8], v.to_be_bytes().as_slice()].concat();
            let points: Vec<_> = points.iter().map(|&(t, v)| (t, text(v))).collect();
            entry(1, &group(4, &key(*k), &points))
        }
        Step::Delete(k) => entry(2, &[key(*k), b"z".to_vec()].join(&b'\n')),
        Step::DeleteRange(k, min, max) => {
            let mut body = [min.to_be_bytes(), max.to_be_bytes()].concat();
            body.extend([0, 0, 0, 6]);
            body.extend(key(*k));
            entry(3, &body)
        }
    }
}

fn replayed(segments: &[Vec<u8>]) -> (Vec<Entry>, Chunks) {
    let (keys, mut cache) = (Keys::default(), Cache::default());
    let supply = Supply::any(6);
    let mut reader = Reader::new(&keys, Some(&supply));
    for segment in segments {
        let part = reader.read(segment.as_slice(), 0, false);
        assert_eq!((0, true), (part.notes.len(), part.done.is_ok()));
        cache.add(part);
    }
    drop(reader);
    cache.finish(keys)
}

type Point = (Kind, i64);

/// The rule of the server: a map, written and deleted step by step.
fn plain(steps: &[Step]) -> BTreeMap<Vec<u8>, BTreeMap<i64, Point>> {
    let mut map: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Write(k, kind, points) => {
                let series = map.entry(key(*k)).or_default();
                series.extend(points.iter().map(|&(t, v)| (t, (*kind, v))));
            }
            Step::Delete(k) => drop(map.remove(&key(*k))),
            Step::DeleteRange(k, min, max) => {
                let series = map.entry(key(*k)).or_default();
                series.retain(|t, _| t < min || max < t);
            }
        }
    }
    map.retain(|_, series| !series.is_empty());
    map
}

fn points(all: &Chunks, chunk: &Chunk) -> Vec<(i64, Point)> {
    let mut column = Column::new(chunk.kind);
    all.unpack(chunk, &mut column);
    let Column { times, values } = column;
    assert_eq!(times.len(), chunk.len as usize);
    assert_eq!(
        (times.first(), times.last()),
        (Some(&chunk.first), Some(&chunk.last))
    );
    let value = |i: usize| match &values {
        Values::Integer(v) => (Kind::Integer, v[i]),
        Values::String(v) => (
            Kind::String,
            i64::from_be_bytes(v.get(i).try_into().unwrap()),
        ),
        other => panic!("{other:?}"),
    };
    (0..times.len()).map(|i| (times[i], value(i))).collect()
}

proptest! {
    #[test]
    fn replay_does_what_the_server_does(steps in steps(), size in 1usize..9) {
        let segment = |steps: &[Step]| steps.iter().flat_map(written).collect::<Vec<u8>>();
        let (entries, all) = replayed(&steps.chunks(size).map(segment).collect::<Vec<_>>());
        let mut found = BTreeMap::new();
        for entry in &entries {
            let chunks: Vec<_> = all.of(&entry.chunks).map(|(_, chunk)| chunk).collect();
            let points: Vec<_> = chunks.iter().map(|chunk| points(&all, chunk)).collect();
            prop_assert!(points.iter().all(|points| points.is_sorted_by(|a, b| a.0 < b.0)));
            let series: BTreeMap<_, _> = points.concat().into_iter().collect();
            if chunks.iter().any(|chunk| chunk.kind != chunks[0].kind) {
                prop_assert!(chunks.chunk_by(|a, b| a.kind == b.kind).count() == 2);
                prop_assert_eq!(points.concat().len(), series.len());
            }
            found.insert(entry.key.to_vec(), series);
        }
        prop_assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        prop_assert_eq!(plain(&steps), found);
    }

    #[test]
    fn any_bytes_are_read_or_are_an_error(segment: Vec<u8>, body: Vec<u8>, code in 1..4u8) {
        let keys = Keys::default();
        let _ = Reader::new(&keys, None).read(segment.as_slice(), 0, true);
        let _ = Reader::new(&keys, None).read(entry(code, &body).as_slice(), 0, false);
    }
}
