//! Writes storage files as a server would, and as none would: every encoding, blocks in any order, all versions of
//! tombstones, logs with deletes. Made from the description of the formats alone; nothing of the readers is in it.
//!
//! Files are written as they are made, so that a million keys take no memory.

/// How single sections and blocks are packed.
#[allow(dead_code)]
#[path = "../../../src/tsm/encoding/testing.rs"]
mod packing;

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::harness::scratch;
pub use packing::T;
use packing::hex;

/// What deletes a key for all time.
pub const ALWAYS: (i64, i64) = (i64::MIN, i64::MAX);

/// What stands between series and field.
pub const SEPARATOR: &[u8] = b"#!~#";

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// 64-bit floats.
    Float(Vec<f64>),
    /// Signed integers.
    Integer(Vec<i64>),
    /// Truth values.
    Boolean(Vec<bool>),
    /// Strings, which are bytes.
    Strings(Vec<Vec<u8>>),
    /// Unsigned integers.
    Unsigned(Vec<u64>),
}

impl Column {
    /// The type as blocks and indexes number it.
    pub fn block_type(&self) -> u8 {
        match self {
            Self::Float(_) => 0,
            Self::Integer(_) => 1,
            Self::Boolean(_) => 2,
            Self::Strings(_) => 3,
            Self::Unsigned(_) => 4,
        }
    }

    /// The type as the log numbers it.
    fn log_type(&self) -> u8 {
        self.block_type() + 1
    }

    fn section(&self, choice: Choice) -> Vec<u8> {
        let integers = |values: &[u64]| match choice.raw_values {
            true => packing::integers_raw(values),
            false => packing::integers(values, choice.early_runs),
        };
        match self {
            Self::Float(values) => packing::floats(values),
            Self::Integer(v) => integers(&v.iter().map(|v| *v as u64).collect::<Vec<_>>()),
            Self::Boolean(values) => packing::booleans(values),
            Self::Strings(values) => packing::strings(values),
            Self::Unsigned(values) => integers(values),
        }
    }

    /// One value as the log holds it.
    fn logged(&self, i: usize, out: &mut Vec<u8>) {
        match self {
            Self::Float(v) => out.extend(v[i].to_bits().to_be_bytes()),
            Self::Integer(v) => out.extend(v[i].to_be_bytes()),
            Self::Boolean(v) => out.push(u8::from(v[i])),
            Self::Strings(v) => {
                out.extend((v[i].len() as u32).to_be_bytes());
                out.extend(&v[i]);
            }
            Self::Unsigned(v) => out.extend(v[i].to_be_bytes()),
        }
    }
}

/// Which of the encodings that fit a block uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// Timestamps as they are.
    pub raw_times: bool,
    /// Integers as they are.
    pub raw_values: bool,
    /// Runs of ones wherever they are, as the batch encoder packs them.
    pub early_runs: bool,
}

/// A block, and what the index says of it.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its first time.
    pub min: i64,
    /// Its last time.
    pub max: i64,
    /// Checksum and all.
    pub bytes: Vec<u8>,
}

impl Block {
    /// Times in any order, as many as values.
    pub fn new(times: &[i64], column: &Column, choice: Choice) -> Self {
        let section = match choice.raw_times {
            true => packing::times_raw(times),
            false => packing::times(times, choice.early_runs),
        };
        Self::packed(
            times,
            &section,
            column.block_type(),
            &column.section(choice),
        )
    }

    /// With a section of values that is there already.
    pub fn of_section(times: &[i64], block_type: u8, values: &[u8]) -> Self {
        Self::packed(times, &packing::times(times, false), block_type, values)
    }

    fn packed(times: &[i64], section: &[u8], block_type: u8, values: &[u8]) -> Self {
        Self {
            min: *times.iter().min().unwrap(),
            max: *times.iter().max().unwrap(),
            bytes: packing::block(block_type, section, values),
        }
    }
}

/// A section of values for [`Block::of_section`].
pub fn section(column: &Column) -> Vec<u8> {
    column.section(Choice::default())
}

/// The folders of one shard below a root: data and log.
pub fn shard(root: &Path, database: &str, policy: &str, id: u64) -> (PathBuf, PathBuf) {
    let below = |kind: &str| root.join(kind).join(database).join(policy);
    let folder = |kind| below(kind).join(id.to_string());
    (folder("data"), folder("wal"))
}

/// The path of a TSM file of a shard; its folder is made.
pub fn tsm_path(shard: &Path, generation: u32, sequence: u32) -> PathBuf {
    fs::create_dir_all(shard).unwrap();
    shard.join(format!("{generation:09}-{sequence:09}.tsm"))
}

/// The path of a segment of a shard's log; its folder is made.
pub fn segment_path(shard: &Path, id: u64) -> PathBuf {
    fs::create_dir_all(shard).unwrap();
    shard.join(format!("_{id:05}.wal"))
}

/// A TSM file on its way to the disk.
pub struct Tsm {
    blocks: BufWriter<File>,
    /// Spooled to a file of its own until all blocks are written.
    index: BufWriter<File>,
    at: u64,
    key: Vec<u8>,
    block_type: u8,
    entries: Vec<u8>,
}

impl Tsm {
    /// A file with its header.
    pub fn create(path: &Path) -> Self {
        let mut blocks = BufWriter::new(File::create_new(path).unwrap());
        blocks.write_all(&[0x16, 0xd1, 0x16, 0xd1, 1]).unwrap();
        Self {
            blocks,
            index: BufWriter::new(tempfile::tempfile().unwrap()),
            at: 5,
            key: Vec::new(),
            block_type: 0,
            entries: Vec::new(),
        }
    }

    /// Go on with the next key, which must be above the one before and get a block at least.
    pub fn key(&mut self, key: &[u8], block_type: u8) -> &mut Self {
        assert!(*key > *self.key, "keys must ascend");
        self.close_key();
        self.key.extend(key);
        self.block_type = block_type;
        self
    }

    /// Append a block of the key.
    pub fn block(&mut self, block: &Block) -> &mut Self {
        self.blocks.write_all(&block.bytes).unwrap();
        let size = block.bytes.len() as u32;
        self.entries.extend(block.min.to_be_bytes());
        self.entries.extend(block.max.to_be_bytes());
        self.entries.extend(self.at.to_be_bytes());
        self.entries.extend(size.to_be_bytes());
        self.at += u64::from(size);
        self
    }

    fn close_key(&mut self) {
        if self.key.is_empty() {
            return;
        }
        let count = u16::try_from(self.entries.len() / 28).unwrap();
        assert!(count > 0, "a key without blocks");
        let length = u16::try_from(self.key.len()).unwrap();
        self.index.write_all(&length.to_be_bytes()).unwrap();
        self.index.write_all(&self.key).unwrap();
        self.index.write_all(&[self.block_type]).unwrap();
        self.index.write_all(&count.to_be_bytes()).unwrap();
        self.index.write_all(&self.entries).unwrap();
        self.key.clear();
        self.entries.clear();
    }

    /// Append index and footer; how many bytes the blocks take.
    pub fn finish(mut self) -> u64 {
        self.close_key();
        let mut index = self.index.into_inner().unwrap();
        index.rewind().unwrap();
        io::copy(&mut index, &mut self.blocks).unwrap();
        self.blocks.write_all(&self.at.to_be_bytes()).unwrap();
        self.blocks.flush().unwrap();
        self.at - 5
    }
}

/// A tombstone file on its way to the disk.
pub struct Tombstone {
    version: u8,
    body: Option<Body>,
}

/// A gzip member to be written.
fn gzip(file: BufWriter<File>) -> Box<GzEncoder<BufWriter<File>>> {
    Box::new(GzEncoder::new(file, Compression::fast()))
}

enum Body {
    Plain(BufWriter<File>),
    Member(Box<GzEncoder<BufWriter<File>>>),
}

impl Tombstone {
    /// The file beside this TSM file, in one of the versions 1 to 4.
    pub fn create(tsm: &Path, version: u8) -> Self {
        let file = File::create_new(tsm.with_extension("tombstone")).unwrap();
        let mut file = BufWriter::new(file);
        if version > 1 {
            file.write_all(&[0, 0, 0x15, version]).unwrap();
        }
        let body = match version {
            1 | 2 => Body::Plain(file),
            3 | 4 => Body::Member(gzip(file)),
            _ => panic!("no such version: {version}"),
        };
        Self {
            version,
            body: Some(body),
        }
    }

    /// Delete a range of a key, both ends included. Version 1 knows no ranges.
    pub fn record(&mut self, key: &[u8], (min, max): (i64, i64)) {
        let length = (key.len() as u32).to_be_bytes();
        let (min_bytes, max_bytes) = (min.to_be_bytes(), max.to_be_bytes());
        let bytes = match self.version {
            1 => {
                assert_eq!(ALWAYS, (min, max));
                [key, b"\n"].concat()
            }
            _ => [&length, key, &min_bytes, &max_bytes].concat(),
        };
        match self.body.as_mut().unwrap() {
            Body::Plain(file) => file.write_all(&bytes).unwrap(),
            Body::Member(member) => member.write_all(&bytes).unwrap(),
        }
    }

    /// Put what follows into a gzip member of its own, where there are any.
    pub fn member(&mut self) {
        self.body = match self.body.take() {
            Some(Body::Member(member)) => {
                let file = member.finish().unwrap();
                Some(Body::Member(gzip(file)))
            }
            other => other,
        };
    }

    /// Write what is left.
    pub fn finish(self) {
        let mut file = match self.body.unwrap() {
            Body::Plain(file) => file,
            Body::Member(member) => member.finish().unwrap(),
        };
        file.flush().unwrap();
    }
}

/// A segment of a log on its way to the disk.
pub struct Segment(BufWriter<File>);

impl Segment {
    /// An empty one.
    pub fn create(path: &Path) -> Self {
        Self(BufWriter::new(File::create_new(path).unwrap()))
    }

    fn entry(&mut self, code: u8, body: &[u8]) {
        let packed = snap::raw::Encoder::new().compress_vec(body).unwrap();
        self.0.write_all(&[code]).unwrap();
        let length = (packed.len() as u32).to_be_bytes();
        self.0.write_all(&length).unwrap();
        self.0.write_all(&packed).unwrap();
    }

    /// One write: values of some keys, in any order.
    pub fn write(&mut self, groups: &[(&[u8], &[i64], &Column)]) {
        let mut body = Vec::new();
        for (key, times, column) in groups {
            body.push(column.log_type());
            body.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
            body.extend(*key);
            body.extend((times.len() as u32).to_be_bytes());
            for (i, time) in times.iter().enumerate() {
                body.extend(time.to_be_bytes());
                column.logged(i, &mut body);
            }
        }
        self.entry(1, &body);
    }

    /// Delete what the log holds of these keys so far. A key with a line feed cannot be named.
    pub fn delete(&mut self, keys: &[&[u8]]) {
        assert!(keys.iter().all(|key| !key.contains(&b'\n')));
        self.entry(2, &keys.join(&b'\n'));
    }

    /// Delete a range of what the log holds of these keys so far, both ends included.
    pub fn delete_range(&mut self, keys: &[&[u8]], (min, max): (i64, i64)) {
        let mut body = [min.to_be_bytes(), max.to_be_bytes()].concat();
        for key in keys {
            body.extend((key.len() as u32).to_be_bytes());
            body.extend(*key);
        }
        self.entry(3, &body);
    }

    /// Write what is left.
    pub fn finish(mut self) {
        self.0.flush().unwrap();
    }
}

#[test]
fn the_worked_file_of_two_keys_is_written_byte_for_byte() {
    let dir = scratch();
    let path = tsm_path(dir.path(), 1, 1);
    let mut tsm = Tsm::create(&path);
    let times = [T, T + 10_000_000_000, T + 20_000_000_000];
    let idle = Column::Float(vec![1.5, 1.5, 2.0]);
    tsm.key(b"cpu,host=a#!~#idle", 0)
        .block(&Block::new(&times, &idle, Choice::default()));
    let n = Column::Integer(vec![7]);
    tsm.key(b"cpu,host=a#!~#n", 1)
        .block(&Block::new(&[T], &n, Choice::default()));
    assert_eq!(63, tsm.finish());
    let expected = concat!(
        "16d116d101b4cb576c000b2a16345785d8a000000103103ff80000000000006133fff17dffc0000000",
        "000008c1c24fd701091c16345785d8a0000010000000000000000e00126370752c686f73743d612321",
        "7e2369646c6500000116345785d8a000001634578a80b7c800000000000000000500000027000f6370",
        "752c686f73743d6123217e236e01000116345785d8a0000016345785d8a00000000000000000002c00",
        "0000180000000000000044"
    );
    assert_eq!(hex(expected), fs::read(path).unwrap());
}

#[test]
fn a_tombstone_of_version_2_is_written_byte_for_byte() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let mut tombstone = Tombstone::create(&path, 2);
    tombstone.record(b"old#!~#v", (-2000, -2000));
    tombstone.finish();
    assert_eq!(
        hex("00001502000000086f6c6423217e2376fffffffffffff830fffffffffffff830"),
        fs::read(path.with_extension("tombstone")).unwrap()
    );
}

#[test]
fn a_log_of_all_types_and_deletes_is_written_byte_for_byte() {
    let dir = scratch();
    let path = segment_path(dir.path(), 1);
    let mut segment = Segment::create(&path);
    let n = Column::Integer(vec![9, 10]);
    segment.write(&[(b"cpu,host=a#!~#n", &[T + 100, T + 101], &n)]);
    let s = Column::Strings(vec![b"hi".to_vec()]);
    segment.write(&[(b"s#!~#v", &[T], &s)]);
    segment.write(&[(b"b#!~#v", &[T], &Column::Boolean(vec![true]))]);
    segment.write(&[(b"f#!~#v", &[T], &Column::Float(vec![1.5]))]);
    segment.write(&[(b"u#!~#v", &[T], &Column::Unsigned(vec![5]))]);
    segment.delete_range(&[b"cpu,host=a#!~#n"], (T + 101, T + 101));
    segment.delete(&[b"f#!~#v", b"b#!~#v"]);
    segment.finish();
    let expected = concat!(
        "0100000031367802000f6370752c686f73743d6123217e236e0000000216345785d8a0006400090100",
        "090d102065000000000000000a010000001d1b680400067323217e23760000000116345785d8a00000",
        "000000026869010000001816540300066223217e23760000000116345785d8a0000001010000001f1d",
        "700100066623217e23760000000116345785d8a000003ff8000000000000010000001f1d7005000675",
        "23217e23760000000116345785d8a0000000000000000000050300000020231c16345785d8a0006511",
        "08480000000f6370752c686f73743d6123217e236e020000000f0d306623217e23760a6223217e2376"
    );
    assert_eq!(hex(expected), fs::read(path).unwrap());
}
