//! Does every flipped bit and every cut in a storage file end in an error, or in the same points?
//!
//! Nothing in the formats protects the bytes of keys in an index, nor the bytes of the log that snappy copies as they
//! are: what is damaged there passes, unless keys come out of order or a count does not fit.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use lineflow::export::{Export, Options, Report};
use lineflow::pages::Buffer;
use lineflow::tsm::meta::Meta;
use lineflow::tsm::shard::{self, Files, Opening, System, Trouble};

use crate::harness::{fixture, run, scratch};

fn options(keep_going: bool) -> Options {
    Options {
        keep_going,
        keep_rejects: true,
        ..Options::default()
    }
}

/// The text of one shard, and how many things were told.
fn export(path: &Path, keep_going: bool) -> Result<(Vec<u8>, usize), Trouble> {
    let files = Files {
        named: vec![path.to_path_buf()],
        ..Files::default()
    };
    let shard =
        shard::open(&System::default(), &files, Opening::alone(keep_going))?.unwrap_or_default();
    let (options, mut text, mut report) =
        (options(keep_going), Buffer::default(), Report::default());
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

/// All storage files among the fixtures but those that are damaged already, by extension.
fn fixtures(extension: &str) -> Vec<String> {
    fn walk(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            match entry.unwrap().path() {
                path if path.is_dir() => walk(&path, all),
                path => all.push(path),
            }
        }
    }
    let (data, mut all) = (fixture(""), Vec::new());
    walk(&data, &mut all);
    all.retain(|path| path.extension().is_some_and(|e| e == extension));
    all.sort();
    let name = |path: &PathBuf| {
        path.strip_prefix(&data)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let mut names: Vec<_> = all.iter().map(name).collect();
    let is_damaged = |name: &String| name.contains("-broken/") || name.contains("/torn/");
    names.retain(|name| !is_damaged(name));
    assert!(!names.is_empty());
    names
}

/// Small numbers that depend on a seed only.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

impl Subject {
    /// With one bit changed: an error or the same points, unless it is in the name of a key.
    fn flip(&self, file: &str, at: usize, bit: usize, is_key: bool) {
        let mut bad = self.bytes.clone();
        bad[at] ^= 1 << bit;
        fs::write(&self.path, &bad).unwrap();
        let fate = fate(&self.path, &self.text);
        let is_fine = matches!(fate, Fate::Error | Fate::Same) || is_key;
        assert!(is_fine, "{file}: byte {at}, bit {bit}: {fate:?}");
    }

    /// Cut to so many bytes, which leaves no index.
    fn cut(&self, file: &str, n: usize) {
        fs::write(&self.path, &self.bytes[..n]).unwrap();
        assert_eq!(
            Fate::Error,
            fate(&self.path, &self.text),
            "{file}: cut at {n}"
        );
    }
}

#[test]
fn a_sample_of_flips_and_cuts_over_all_tsm_files_never_changes_a_point() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    for file in fixtures("tsm") {
        let subject = subject(&file);
        let is_key = key_bytes(&subject.bytes);
        for _ in 0..4 {
            let at = dice.below(subject.bytes.len());
            subject.flip(&file, at, dice.below(8), is_key[at]);
            subject.cut(&file, dice.below(subject.bytes.len()));
        }
    }
}

/// Work through all fixtures on all processors, from the largest to the smallest.
fn on_all_processors(extension: &str, work: impl Fn(&str) + Sync) {
    let mut files = fixtures(extension);
    files.sort_by_key(|file| fs::metadata(fixture(file)).unwrap().len());
    let files = Mutex::new(files);
    let next = || files.lock().unwrap().pop();
    let worker = || {
        while let Some(file) = next() {
            work(&file);
        }
    };
    thread::scope(|scope| {
        (0..thread::available_parallelism().unwrap().get()).for_each(|_| {
            scope.spawn(worker);
        });
    });
}

#[test]
#[ignore = "takes minutes"]
fn every_tsm_file_cut_at_every_length_is_an_error() {
    on_all_processors("tsm", |file| {
        let subject = subject(file);
        // From the end on: what is left need not be written again.
        let cut = fs::File::options().write(true).open(&subject.path).unwrap();
        for n in (0..subject.bytes.len()).rev() {
            cut.set_len(n as u64).unwrap();
            let fate = fate(&subject.path, &subject.text);
            assert_eq!(Fate::Error, fate, "{file}: cut at {n}");
        }
    });
}

#[test]
#[ignore = "takes minutes"]
fn a_bit_flipped_in_any_byte_of_any_tsm_file_never_changes_a_point() {
    on_all_processors("tsm", |file| {
        let subject = subject(file);
        let is_key = key_bytes(&subject.bytes);
        // Of the few large ones a part: they are read whole for each byte.
        let step = 1 + subject.bytes.len() / 8000;
        for at in (0..subject.bytes.len()).step_by(step) {
            subject.flip(file, at, (at * 5 + 3) % 8, is_key[at]);
        }
    });
}

/// Damage a log in some places: no panic, and what ends one run is told in the other.
fn damage_log(file: &str, places: impl Iterator<Item = usize>) {
    let subject = subject(file);
    for at in places.map(|at| at % subject.bytes.len()) {
        let mut bad = subject.bytes.clone();
        bad[at] ^= 1 << ((at * 5 + 3) % 8);
        fs::write(&subject.path, &bad).unwrap();
        fate(&subject.path, &subject.text);
        fs::write(&subject.path, &subject.bytes[..at]).unwrap();
        let fate = fate(&subject.path, &subject.text);
        assert_ne!(Fate::Error, fate, "{file}: cut at {at}");
    }
}

#[test]
fn a_sample_of_damage_over_all_logs_is_no_panic() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    for file in fixtures("wal") {
        let places: Vec<_> = (0..8).map(|_| dice.below(1 << 20)).collect();
        damage_log(&file, places.into_iter());
    }
}

#[test]
#[ignore = "takes minutes"]
fn damage_in_any_byte_of_any_log_is_no_panic() {
    on_all_processors("wal", |file| {
        let n = fs::metadata(fixture(file)).unwrap().len() as usize;
        damage_log(file, (0..n).step_by(1 + n / 8000));
    });
}

#[test]
fn metadata_cut_or_flipped_anywhere_is_no_panic() {
    for file in fixtures("db") {
        let good = fs::read(fixture(&file)).unwrap();
        for at in 0..good.len() {
            assert!(Meta::parse(&good[..at]).is_err(), "{file}: cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let _ = Meta::parse(&bad);
        }
    }
}

#[test]
fn the_program_says_what_is_damaged_and_never_panics() {
    let mut dice = Dice(0x0dd0_5eed_0dd0_5eed);
    let files = [fixtures("tsm"), fixtures("wal")].concat();
    for _ in 0..60 {
        let subject = subject(&files[dice.below(files.len())]);
        let (at, bit) = (dice.below(subject.bytes.len()), dice.below(8));
        let mut bad = subject.bytes.clone();
        bad[at] ^= 1 << bit;
        if dice.below(3) == 0 {
            bad.truncate(at);
        }
        fs::write(&subject.path, &bad).unwrap();
        let path = subject.path.to_str().unwrap();
        let ran = run(b"", &["tsm-cat", path]);
        assert!(!ran.stderr.contains("panicked"), "{path}: {}", ran.stderr);
        let said = ran.stderr.lines().find(|line| line.contains("offset "));
        match ran.last() {
            // A name that has changed may have no spelling.
            Some(0 | 1) => {}
            Some(65) => assert!(
                said.is_some_and(|line| line.contains(path)),
                "{}",
                ran.stderr
            ),
            other => panic!("{path}: {other:?} {}", ran.stderr),
        }
        let lenient = run(b"", &["tsm-cat", "--keep-going", path]);
        let expected = i32::from(ran.last() != Some(0));
        assert_eq!(Some(expected), lenient.last(), "{}", lenient.stderr);
    }
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
