//! The stages of tsm-cat: unpacking and cutting blocks of each encoding, reading a log, merging, printing.

#[path = "../../src/tsm/encoding/testing.rs"]
#[allow(dead_code)]
mod encoders;

use lineflow::export::{Export, Options, Report};
use lineflow::pages::Buffer;
use lineflow::rows::{Kind, Strings, Values};
use lineflow::tsm::block::Block;
use lineflow::tsm::merge::{Column, Merger};
use lineflow::tsm::shard::{Logged, Shard};
use lineflow::tsm::wal;

/// Values of a block.
const BLOCK: usize = 1000;
/// Blocks of a run.
const BLOCKS: usize = 1000;
const START: i64 = 1_600_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// Run all stages.
pub fn run() {
    for (name, frame) in blocks() {
        let (mut times, mut values) = (Vec::new(), Values::new(Kind::Float));
        stage(&format!("unpack {name}"), || {
            for _ in 0..BLOCKS {
                let block = Block::open(&frame, 0).unwrap();
                if values.kind() != block.kind() {
                    values = Values::new(block.kind());
                }
                times.clear();
                values.clear();
                block.times(&mut times).unwrap();
                block.values(times.len(), &mut values).unwrap();
            }
        });
    }
    cuts();
    for (keys, each) in [(1000, 50), (10_000, 5), (10_000, 1)] {
        let segment = segment(keys, each);
        stage(&format!("log of {keys} keys, {each} at a time"), || {
            let (keys, mut cache) = (wal::Keys::default(), wal::Cache::default());
            let part = wal::Reader::new(&keys, None).read(&segment[..], 0, true);
            assert!(part.done.is_ok());
            cache.add(part);
            assert!(!cache.finish(keys).0.is_empty());
        });
    }
    for (name, offset) in [("the same times", 0), ("other times", SECOND)] {
        let (old, new) = (column(0, floats(7)), column(offset, floats(8)));
        let (mut merger, mut out) = (Merger::default(), Vec::new());
        stage(&format!("merge {name}"), || {
            for _ in 0..BLOCKS {
                merger.add(&old, i64::MIN..=i64::MAX, &[]);
                merger.add(&new, i64::MIN..=i64::MAX, &[]);
                merger.finish(&mut out);
                out.drain(..).for_each(|column| merger.reclaim(column));
            }
        });
    }
    for (name, values) in columns() {
        for fields in [1, 10] {
            let shard = shard(fields, &values);
            stage(&format!("print {name}, {fields} a line"), || print(&shard));
        }
    }
}

/// What a selection takes that ends within a block: ten values out of a thousand, counted as a thousand.
fn cuts() {
    let wanted = 500..510;
    for (name, frame) in blocks() {
        let (mut times, mut values) = (Vec::new(), Values::new(Kind::Float));
        stage(&format!("cut {name}"), || {
            for _ in 0..BLOCKS {
                let block = Block::open(&frame, 0).unwrap();
                values = Values::new(block.kind());
                times.clear();
                let count = match block.run().unwrap() {
                    Some(run) => {
                        run.decode(wanted.clone(), &mut times);
                        run.count()
                    }
                    None => {
                        block.times(&mut times).unwrap();
                        times.len()
                    }
                };
                block
                    .some_values(count, wanted.clone(), &mut values)
                    .unwrap();
            }
        });
    }
}

/// Run a stage over a thousand times a thousand values and print its best figure.
fn stage(name: &str, run: impl FnMut()) {
    let best = super::best(run);
    let millions = (BLOCK * BLOCKS) as f64 / 1e6;
    println!("{name:40} {:8.1} M values/s", millions / best);
}

/// A log of a thousand times a thousand values: each write has so many of each of so many keys, in no order of keys.
fn segment(keys: usize, each: usize) -> Vec<u8> {
    let (mut log, mut body) = (Vec::new(), Vec::new());
    let key = |i: usize| format!("cpu,host=server{i:05},region=eu#!~#usage_user");
    let keys: Vec<_> = (0..keys).map(key).collect();
    for write in 0..BLOCK * BLOCKS / (keys.len() * each) {
        body.clear();
        for i in 0..keys.len() {
            let key = &keys[(i * 7919 + write) % keys.len()];
            body.push(1);
            body.extend((key.len() as u16).to_be_bytes());
            body.extend(key.as_bytes());
            body.extend((each as u32).to_be_bytes());
            for n in write * each..(write + 1) * each {
                body.extend((START + n as i64 * SECOND).to_be_bytes());
                body.extend((n as f64 / 4.0).to_be_bytes());
            }
        }
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        log.push(1);
        log.extend((packed.len() as u32).to_be_bytes());
        log.extend(packed);
    }
    log
}

/// A block of each encoding.
fn blocks() -> Vec<(&'static str, Vec<u8>)> {
    let regular = encoders::times(&times(0), true);
    let jitter: Vec<i64> = (0..BLOCK as i64)
        .map(|i| START + i * SECOND + i * 7919 % 1000)
        .collect();
    let plain = |kind: u8, section: Vec<u8>| encoders::block(kind, &regular, &section);
    let bits = |values: &[i64]| values.iter().map(|v| *v as u64).collect::<Vec<u64>>();
    let counters = bits(&integers(977));
    let same: Vec<u64> = vec![42; BLOCK];
    let wide: Vec<u64> = (0..BLOCK as u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    let truths: Vec<bool> = (0..BLOCK).map(|i| i % 3 == 0).collect();
    vec![
        ("floats", plain(0, encoders::floats(&floats(7)))),
        (
            "floats of two decimals",
            plain(0, encoders::floats(&short())),
        ),
        ("integers", plain(1, encoders::integers(&counters, true))),
        ("equal integers", plain(1, encoders::integers(&same, true))),
        (
            "integers as they are",
            plain(1, encoders::integers_raw(&wide)),
        ),
        ("booleans", plain(2, encoders::booleans(&truths))),
        ("strings", plain(3, encoders::strings(&texts()))),
        (
            "floats at irregular times",
            encoders::block(
                0,
                &encoders::times(&jitter, true),
                &encoders::floats(&floats(7)),
            ),
        ),
        (
            "floats at times as they are",
            encoders::block(
                0,
                &encoders::times_raw(&jitter),
                &encoders::floats(&floats(7)),
            ),
        ),
    ]
}

fn times(offset: i64) -> Vec<i64> {
    (0..BLOCK as i64)
        .map(|i| START + offset + 10 * SECOND * i)
        .collect()
}

fn floats(seed: usize) -> Vec<f64> {
    (0..BLOCK)
        .map(|i| ((i * 7919 + seed) % 1_000_003) as f64 / 9973.0)
        .collect()
}

fn short() -> Vec<f64> {
    (0..BLOCK)
        .map(|i| (i * 7919 % 10_007) as f64 / 100.0)
        .collect()
}

fn integers(step: i64) -> Vec<i64> {
    (0..BLOCK as i64)
        .map(|i| 123_456_789 + i * step + i * i % 89)
        .collect()
}

fn texts() -> Vec<Vec<u8>> {
    let text = |i: usize| format!("GET /api/v1/items/{i} took \"{}\" ms", i % 89).into_bytes();
    (0..BLOCK).map(text).collect()
}

fn columns() -> Vec<(&'static str, Values)> {
    let mut strings = Strings::default();
    texts().iter().for_each(|text| strings.push(text));
    vec![
        ("floats", Values::Float(floats(7))),
        ("floats of two decimals", Values::Float(short())),
        ("integers", Values::Integer(integers(977))),
        (
            "booleans",
            Values::Boolean((0..BLOCK).map(|i| i % 3 == 0).collect()),
        ),
        ("strings", Values::String(strings)),
    ]
}

fn column(offset: i64, values: Vec<f64>) -> Column {
    Column {
        times: times(offset),
        values: Values::Float(values),
    }
}

/// A shard of a thousand columns, so many in each series.
fn shard(fields: usize, values: &Values) -> Shard {
    let mut shard = Shard::default();
    for series in 0..BLOCKS / fields {
        for field in 0..fields {
            let key = format!("cpu,dc=eu-1,host=host-{series:04}.example.net#!~#usage_{field}");
            let chunks = shard.held.pack(&Column {
                times: times(0),
                values: values.clone(),
            });
            shard.log.push(Logged {
                key: key.into_bytes(),
                chunks,
                above: 0,
            });
        }
    }
    shard
}

fn print(shard: &Shard) {
    let options = Options::default();
    let mut export = Export::new(shard, &options).unwrap();
    let (mut text, mut report) = (Buffer::default(), Report::default());
    while export.next(&mut text, &mut report).unwrap() {
        text.clear();
    }
    assert_eq!((BLOCK * BLOCKS) as u64, report.values);
}
