//! What must hold for any bytes whatsoever: no panic, no hang, no memory that the bytes do not pay for, and the same
//! answer with and without `keep_going` where nothing is wrong. The fuzz targets and the tests share it.
#![allow(dead_code)]

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::{Compression, Crc};

use lineflow::export::{Export, Options, Report};
use lineflow::pages::Buffer;
use lineflow::rows::Values;
use lineflow::tsm::block::Block;
use lineflow::tsm::index::Cursor;
use lineflow::tsm::merge::Column;
use lineflow::tsm::meta::Meta;
use lineflow::tsm::shard::{self, Disk, Files, Opening, Trouble};
use lineflow::tsm::source::Source;
use lineflow::tsm::tree::{How, Unpacker, Wanted};
use lineflow::tsm::{file, tombstone, wal};

/// A shard in memory: some files in one folder.
struct Memory(Vec<(PathBuf, Source)>);

impl Memory {
    fn of(files: &[(&str, &[u8])]) -> Self {
        let file = |(name, bytes): &(&str, &[u8])| (Path::new("x").join(name), source(bytes));
        Self(files.iter().map(file).collect())
    }
}

impl Disk for Memory {
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.iter().map(|(path, _)| path.clone()).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        let found = self.0.iter().find(|(known, _)| known == path);
        let (_, source) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(source.clone())
    }
}

fn source(bytes: &[u8]) -> Source {
    let mut file = scratch();
    file.write_all(bytes).unwrap();
    Source::whole(file).unwrap()
}

fn scratch() -> File {
    tempfile::tempfile_in("/dev/shm")
        .or_else(|_| tempfile::tempfile())
        .unwrap()
}

/// The text of a shard, and how much was told.
fn export(disk: &Memory, keep_going: bool, per_field: bool) -> Result<(Vec<u8>, usize), Trouble> {
    let named = disk.0.iter().map(|(path, _)| path.clone());
    let is_data = |path: &PathBuf| path.extension().is_some_and(|e| e == "tsm" || e == "wal");
    let files = Files {
        named: named.filter(is_data).collect(),
        ..Files::default()
    };
    let shard = shard::open(disk, &files, Opening::alone(keep_going))?.unwrap_or_default();
    let options = Options {
        per_field,
        keep_going,
        keep_rejects: true,
        ..Options::default()
    };
    let (mut text, mut report) = (Buffer::default(), Report::default());
    let mut export = Export::new(&shard, &options)?;
    while export.next(&mut text, &mut report)? {}
    let told = report.findings.len() + shard.damage.len();
    Ok((text.bytes().to_vec(), told))
}

/// Both ways must agree where nothing is damaged, and the lenient one must come to an end everywhere.
fn both(disk: &Memory) {
    for per_field in [false, true] {
        let lenient = export(disk, true, per_field);
        let (text, told) = lenient.expect("keep_going ends with no damage");
        match export(disk, false, per_field) {
            Ok((strict, _)) => assert!(strict == text, "the two ways differ"),
            Err(_) => assert!(told > 0, "an error in one way, nothing told in the other"),
        }
    }
}

/// A TSM file with any bytes, as it is and with checksums that fit.
pub fn tsm(bytes: &[u8]) {
    both(&Memory::of(&[("000000001-000000001.tsm", bytes)]));
    let mut bytes = bytes.to_vec();
    if mend(&mut bytes) {
        both(&Memory::of(&[("000000001-000000001.tsm", &bytes)]));
    }
}

/// Give the blocks the checksums of what they hold; whether one had another.
fn mend(bytes: &mut [u8]) -> bool {
    let Ok(file) = file::File::open(source(bytes)) else {
        return false;
    };
    let (mut cursor, mut is_new) = (Cursor::new(&file), false);
    while let Ok(true) = cursor.advance() {
        while let Ok(Some(entry)) = cursor.entry() {
            if entry.fault(&file.blocks()).is_some() {
                continue;
            }
            let start = entry.offset as usize;
            let frame = bytes.get_mut(start..start + entry.size as usize);
            let (crc, payload) = frame.unwrap_or_default().split_at_mut(4);
            let right = checksum(payload);
            is_new |= crc != right;
            crc.copy_from_slice(&right);
        }
    }
    is_new
}

fn checksum(payload: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(payload);
    crc.sum().to_be_bytes()
}

/// A float can be one that is not equal to itself.
fn are_same(a: &Values, b: &Values) -> bool {
    match (a, b) {
        (Values::Float(a), Values::Float(b)) => {
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            bits(a) == bits(b)
        }
        _ => a == b,
    }
}

/// A block with any payload and a checksum that fits.
pub fn block(payload: &[u8]) {
    let frame = [&checksum(payload), payload].concat();
    let Ok(block) = Block::open(&frame, 5) else {
        return;
    };
    let (mut times, mut values) = (vec![7], Values::new(block.kind()));
    let done = block.times(&mut times);
    assert_eq!(Some(&7), times.first());
    match done {
        Ok(()) => assert_eq!(Ok(times.len() - 1), block.count()),
        Err(_) => assert_eq!(1, times.len()),
    }
    times.remove(0);
    // Ends of a selection, from anywhere in the payload.
    let byte = |at: usize| usize::from(payload.get(at).copied().unwrap_or(0));
    let ends = |n: usize| {
        let ends = [byte(payload.len() / 2), byte(payload.len() - 1)].map(|part| part * n / 255);
        ends[0].min(ends[1])..ends[0].max(ends[1])
    };
    if let Ok(Some(run)) = block.run() {
        let ends = ends(times.len() - 1);
        let within = times[ends.start].saturating_add(1)..=times[ends.end];
        let mut some = Vec::new();
        run.decode(run.within(&within), &mut some);
        times.retain(|time| within.contains(time));
        assert_eq!((run.count(), times), (block.count().unwrap(), some));
    }
    for n in [block.count().unwrap_or(7), 0, 1, 1000] {
        let before = values.len();
        let wanted = ends(n);
        let mut some = Values::new(block.kind());
        let done = block.some_values(n, wanted.clone(), &mut some);
        assert_eq!(done, block.values(n, &mut values));
        let added = if done.is_ok() { n } else { 0 };
        assert_eq!(before + added, values.len());
        let mut plain = Values::new(block.kind());
        if done.is_ok() {
            plain.extend(&values, before + wanted.start..before + wanted.end);
        }
        assert!(are_same(&plain, &some), "{plain:?} {some:?}");
    }
}

/// Tombstones of every version that hold any bytes, packed where the version wants it.
pub fn tombstone(bytes: &[u8]) {
    let packed = gzip(bytes);
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    let two = [gzip(half), gzip(rest)].concat();
    let plain = |version| [&[0, 0, 0x15, version], bytes].concat();
    let with = |version, body: &[u8]| [&[0, 0, 0x15, version], body].concat();
    let files = [
        bytes.to_vec(),
        plain(2),
        plain(4),
        with(3, &packed),
        with(4, &two),
    ];
    for file in files {
        let scratch = || Ok(scratch());
        let mut space = tombstone::Space::new(&scratch);
        let Ok((deleted, _)) = tombstone::read(&file[..], &mut space) else {
            continue;
        };
        let mut cursor = deleted.cursor();
        for key in [&b""[..], b"a#!~#v", b"cpu,host=a#!~#v", b"\xff"] {
            let ranges = cursor.ranges(key).unwrap();
            assert!(ranges.iter().all(|(min, max)| min <= max));
            assert!(ranges.is_sorted_by(|a, b| a.1 < b.0));
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    member.write_all(bytes).unwrap();
    member.finish().unwrap()
}

/// A log segment of any bytes; and one whose entries hold them, cut at each byte 0xfe.
pub fn wal(bytes: &[u8]) {
    segment(bytes);
    let mut entries = Vec::new();
    for body in bytes.split(|byte| *byte == 0xfe) {
        let Some((code, body)) = body.split_first() else {
            continue;
        };
        let packed = snap::raw::Encoder::new().compress_vec(body).unwrap();
        entries.push(code % 4);
        entries.extend((packed.len() as u32).to_be_bytes());
        entries.extend(packed);
    }
    segment(&entries);
}

fn segment(bytes: &[u8]) {
    both(&Memory::of(&[("_00001.wal", bytes)]));
    both(&Memory::of(&[("_00001.wal", bytes), ("_00002.wal", bytes)]));
    let (keys, mut cache) = (wal::Keys::default(), wal::Cache::default());
    let mut reader = wal::Reader::new(&keys, None);
    (0..2).for_each(|_| cache.add(reader.read(bytes, 0, false)));
    drop(reader);
    let (entries, all) = cache.finish(keys);
    assert!(entries.is_sorted_by(|a, b| a.key < b.key));
    for (_, chunk) in entries.iter().flat_map(|entry| all.of(&entry.chunks)) {
        let mut column = Column::new(chunk.kind);
        all.unpack(chunk, &mut column);
        assert_eq!(
            (chunk.len as usize, column.values.len()),
            (column.len(), column.len())
        );
        assert!(column.times.is_sorted_by(|a, b| a < b));
    }
}

/// A tar archive of any bytes, as it is and with sums that fit.
pub fn archive(bytes: &[u8]) {
    unpacked(bytes);
    let mut bytes = bytes.to_vec();
    for header in bytes.chunks_exact_mut(512) {
        if header[257..262] == *b"ustar" {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    unpacked(&bytes);
}

fn unpacked(bytes: &[u8]) {
    for (in_parts, without_logs) in [(false, false), (true, true)] {
        let how = How {
            name: "x".into(),
            without_logs,
            in_parts,
            ..How::default()
        };
        let mut archive = Unpacker::new(bytes, Wanted::default(), how).unwrap();
        while let Ok(Some(tree)) = archive.advance() {
            let held = tree.shards.into_iter().filter_map(|found| found.held);
            for files in held {
                let shard = shard::open(&Memory(Vec::new()), &files, Opening::alone(true));
                drop(shard.expect("keep_going ends with no damage"));
            }
        }
    }
}

/// A `meta.db` of any bytes.
pub fn meta(bytes: &[u8]) {
    let Ok(meta) = Meta::parse(bytes) else {
        return;
    };
    for id in meta.shards() {
        assert!(meta.shard(id).is_some());
    }
    for database in meta.databases() {
        assert!(meta.database(&database.name).is_some());
    }
}
