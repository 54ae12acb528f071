//! Does every flipped bit and every cut in a storage file end in an error, or in the same points?
//!
//! Nothing in the formats protects the bytes of keys in an index, nor the bytes of the log that snappy copies as they
//! are: what is damaged there passes, unless keys come out of order or a count does not fit.

use std::fs;
use std::path::{Path, PathBuf};

use lineflow::export::text::Text;
use lineflow::export::{Export, Options, Report};
use lineflow::tsm::shard::{self, Files, System, Trouble};

use crate::harness::{fixture, scratch};

fn options(keep_going: bool) -> Options {
    Options {
        measurements: Vec::new(),
        first: i64::MIN,
        last: i64::MAX,
        per_field: false,
        keep_going,
        keep_rejects: true,
    }
}

/// The text of one shard, and how many things were told.
fn export(path: &Path, keep_going: bool) -> Result<(Vec<u8>, usize), Trouble> {
    let files = Files {
        named: vec![path.to_path_buf()],
        ..Files::default()
    };
    let shard = shard::open(&System, &files, keep_going)?.unwrap_or_default();
    let (options, mut text, mut report) = (options(keep_going), Text::default(), Report::default());
    let mut export = Export::new(&shard, &options)?;
    while export.next(&mut text, &mut report)? {}
    let told = report.findings.len() + shard.remarks.len() + shard.damage.len();
    Ok((text.bytes().to_vec(), told))
}

/// What became of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Error,
    Told,
    Same,
    Silent,
}

fn fate(path: &Path, good: &[u8]) -> Fate {
    match export(path, false) {
        Err(_) => {
            // What ends one run must be told in the other, and neither may panic.
            let (_, told) = export(path, true).unwrap();
            assert!(told > 0);
            Fate::Error
        }
        Ok((text, _)) if text == good => Fate::Same,
        Ok((_, 0)) => Fate::Silent,
        Ok(_) => Fate::Told,
    }
}

struct Subject {
    _dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    text: Vec<u8>,
}

fn subject(file: &str) -> Subject {
    let (dir, original) = (scratch(), fixture(file));
    let path = dir.path().join(original.file_name().unwrap());
    fs::copy(&original, &path).unwrap();
    let tombstone = original.with_extension("tombstone");
    if tombstone.exists() {
        fs::copy(tombstone, path.with_extension("tombstone")).unwrap();
    }
    let (text, _) = export(&path, false).unwrap();
    assert!(!text.is_empty());
    Subject {
        bytes: fs::read(&path).unwrap(),
        _dir: dir,
        path,
        text,
    }
}

/// Where the keys are in the index of a TSM file, found by the code here.
fn key_bytes(file: &[u8]) -> Vec<bool> {
    let number = |at: usize, n: usize| {
        file[at..at + n]
            .iter()
            .fold(0usize, |sum, c| sum << 8 | usize::from(*c))
    };
    let mut is_key = vec![false; file.len()];
    let mut at = number(file.len() - 8, 8);
    while at < file.len() - 8 {
        let n = number(at, 2);
        is_key[at + 2..at + 2 + n].fill(true);
        at += 2 + n + 3 + 28 * number(at + 2 + n + 1, 2);
    }
    is_key
}

const TSM: [&str; 3] = [
    "influxdb-1.6/data/typeconf/autogen/64/000000001-000000001.tsm",
    "influxdb-1.6/data/encodings/wide/74/000000001-000000001.tsm",
    "influxdb-1.6/data/bad-utf8/autogen/87/000000001-000000001.tsm",
];

#[test]
fn a_flipped_bit_in_a_tsm_file_outside_of_its_keys_never_changes_a_point() {
    for file in TSM {
        let subject = subject(file);
        let is_key = key_bytes(&subject.bytes);
        for at in 0..subject.bytes.len() {
            for bit in 0..8 {
                let mut bad = subject.bytes.clone();
                bad[at] ^= 1 << bit;
                fs::write(&subject.path, &bad).unwrap();
                let fate = fate(&subject.path, &subject.text);
                let is_fine = matches!(fate, Fate::Error | Fate::Same) || is_key[at];
                assert!(is_fine, "{file}: byte {at}, bit {bit}: {fate:?}");
            }
        }
    }
}

#[test]
fn a_tsm_file_cut_anywhere_is_an_error() {
    for file in TSM {
        let subject = subject(file);
        for n in 0..subject.bytes.len() {
            fs::write(&subject.path, &subject.bytes[..n]).unwrap();
            assert_eq!(
                Fate::Error,
                fate(&subject.path, &subject.text),
                "{file}: cut at {n}"
            );
        }
    }
}

#[test]
fn a_log_cut_anywhere_gives_the_points_before_the_cut_and_says_so() {
    let subject = subject("influxdb-1.6/wal/overlap/autogen/2/_00001.wal");
    let mut entries = vec![0];
    while let Some(header) = subject
        .bytes
        .get(*entries.last().unwrap()..)
        .and_then(|rest| rest.get(..5))
    {
        let n = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        entries.push(entries.last().unwrap() + 5 + n);
    }
    assert_eq!(Some(&subject.bytes.len()), entries.last());
    let mut last = 0;
    for n in 0..subject.bytes.len() {
        fs::write(&subject.path, &subject.bytes[..n]).unwrap();
        let (text, told) = export(&subject.path, false).unwrap();
        assert_eq!(usize::from(!entries.contains(&n)), told, "cut at {n}");
        assert!(text.len() >= last, "cut at {n}");
        last = text.len();
    }
}

#[test]
fn a_flipped_bit_in_a_log_is_no_panic() {
    let subject = subject("influxdb-1.6/wal/walonly/autogen/90/_00001.wal");
    for at in 0..subject.bytes.len() {
        for bit in 0..8 {
            let mut bad = subject.bytes.clone();
            bad[at] ^= 1 << bit;
            fs::write(&subject.path, &bad).unwrap();
            fate(&subject.path, &subject.text);
        }
    }
}

#[test]
fn a_damaged_tombstone_file_never_brings_points_back() {
    let subject = subject("influxdb-1.6/data/tsi-db/autogen/88/000000001-000000001.tsm");
    let path = subject.path.with_extension("tombstone");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let fate = fate(&subject.path, &subject.text);
        assert!(
            matches!(fate, Fate::Error | Fate::Same),
            "byte {at}: {fate:?}"
        );
    }
    // A file that ends where a deletion starts is a valid one from before that deletion.
    let starts = |n: &usize| *n == 0 || good[*n..].starts_with(&[0x1f, 0x8b, 8]);
    for n in (0..good.len()).filter(|n| !starts(n)) {
        fs::write(&path, &good[..n]).unwrap();
        let fate = fate(&subject.path, &subject.text);
        assert_ne!(Fate::Silent, fate, "cut at {n}");
    }
}
