//! Does a shard that a server moves about while it is opened come out as it was at some moment in between?
//!
//! A server here takes its steps at every point between the listings and openings of a reader: all ways in which the
//! two can interleave, one after the other. All points must be as the files had them at one moment between the first
//! look and the last, whatever the server did meanwhile. A listing is none of a moment: a long one is read in parts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lineflow::export::catalog::Catalog;
use lineflow::export::pipeline::{self, Event, Means};
use lineflow::export::{Export, Options, Report};
use lineflow::pages::Buffer;
use lineflow::tsm::shard::{self, Disk, Files, Opening, Remark, Shard, System};
use lineflow::tsm::source::Source;
use lineflow::tsm::tree::{Logs, Wanted};

use crate::forge::{Value, tsm, wal};
use crate::harness::{points, scratch};

/// A change of the files, of which no reader sees a part.
#[derive(Clone)]
enum Step {
    /// A file comes, or is replaced.
    Put(&'static str, Vec<u8>),
    Remove(&'static str),
    /// Several of them while no reader looks.
    All(Vec<Step>),
}

use Step::{All, Put, Remove};

/// The files of a shard, below "d" and "w".
type World = BTreeMap<PathBuf, Source>;

/// A disk on which a server works while it is read.
struct Busy<'a> {
    world: RefCell<World>,
    /// The state behind each step, the first of none.
    states: &'a [World],
    /// Before which look, from 0 on, each step is taken. Ascending.
    when: &'a [usize],
    looks: Cell<usize>,
}

impl Busy<'_> {
    /// Let the server work.
    fn look(&self) {
        let taken = self.when.iter().filter(|at| **at <= self.looks.get());
        *self.world.borrow_mut() = self.states[taken.count()].clone();
        self.looks.set(self.looks.get() + 1);
    }

    fn names(&self, folder: &Path, mut is_here: impl FnMut(&Path) -> bool) -> Vec<PathBuf> {
        self.look();
        let world = self.world.borrow();
        let names = world.keys().filter(|path| path.parent() == Some(folder));
        names.filter(|path| is_here(path)).cloned().collect()
    }
}

impl Disk for Busy<'_> {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        if folder == Path::new("w") {
            return Ok(self.names(folder, |_| true));
        }
        // What a compaction makes stands in the first part, and what it removes in the second.
        let is_first = |path: &Path| path >= Path::new("d/000000002-000000002");
        let first = self.names(folder, is_first);
        let second = self.names(folder, |path| !is_first(path));
        Ok([first, second].concat())
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        self.look();
        let world = self.world.borrow();
        let found = world.get(path).cloned();
        Ok(found.ok_or(io::ErrorKind::NotFound)?)
    }
}

/// The states of the files, before the first step and behind each.
fn states(begin: &[Step], steps: &[Step]) -> Vec<World> {
    let mut world = World::new();
    begin.iter().for_each(|step| take(&mut world, step));
    let mut all = vec![world.clone()];
    for step in steps {
        take(&mut world, step);
        all.push(world.clone());
    }
    all
}

fn take(world: &mut World, step: &Step) {
    match step {
        Put(name, bytes) => {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            world.insert(name.into(), Source::whole(file).unwrap());
        }
        Remove(name) => assert!(world.remove(Path::new(name)).is_some(), "{name}"),
        All(steps) => steps.iter().for_each(|step| take(world, step)),
    }
}

fn open(disk: &dyn Disk) -> Option<Shard> {
    let files = Files {
        data: Some("d".into()),
        wal: Some("w".into()),
        ..Files::default()
    };
    shard::open(disk, &files, Opening::alone(false)).unwrap()
}

fn all() -> Options {
    Options::default()
}

/// The values of the field by time.
type Values = BTreeMap<i64, i64>;

fn values(shard: &Shard) -> Values {
    let options = all();
    let (mut text, mut report) = (Buffer::default(), Report::default());
    let mut export = Export::new(shard, &options).unwrap();
    while export.next(&mut text, &mut report).unwrap() {}
    let value = |line: &[u8]| {
        let line = std::str::from_utf8(line).unwrap();
        let (value, time) = line.strip_prefix("m v=").unwrap().split_once("i ").unwrap();
        (time.parse().unwrap(), value.parse().unwrap())
    };
    points(text.bytes()).into_iter().map(value).collect()
}

/// What a reader finds that nobody disturbs.
fn still(world: &World) -> Values {
    let disk = Busy {
        world: RefCell::default(),
        states: std::slice::from_ref(world),
        when: &[],
        looks: Cell::default(),
    };
    open(&disk).map(|shard| values(&shard)).unwrap_or_default()
}

/// Steps that are taken while a shard is opened, at most.
const TAKEN: usize = 3;

/// Open the files in all ways in which some of the steps, one behind the other, can be taken meanwhile, and the
/// others before and after. Gives how many ways there are.
fn interleave(begin: &[Step], steps: &[Step]) -> usize {
    let meanwhile = steps.windows(TAKEN.min(steps.len())).enumerate();
    let ways = meanwhile.map(|(before, steps_meanwhile)| {
        let begin = [begin, &steps[..before]].concat();
        interleave_all(&begin, steps_meanwhile)
    });
    ways.sum()
}

fn interleave_all(begin: &[Step], steps: &[Step]) -> usize {
    let states = states(begin, steps);
    let truths: Vec<Values> = states.iter().map(still).collect();
    let (mut when, mut ways) = (vec![0; steps.len()], 0);
    loop {
        let disk = Busy {
            world: RefCell::default(),
            states: &states,
            when: &when,
            looks: Cell::default(),
        };
        let shard = open(&disk);
        let found = shard.as_ref().map(values).unwrap_or_default();
        let looks = disk.looks.get();
        check(&found, &when, looks, &truths);
        let remarks = shard.map(|shard| shard.remarks).unwrap_or_default();
        let is_restless = |remark: &Remark| matches!(remark, Remark::Restless(_));
        assert!(!remarks.iter().any(is_restless), "{when:?}");
        ways += 1;
        // The last step that was taken at all, one look later, and those behind it with it.
        let Some(last) = when.iter().rposition(|at| *at < looks) else {
            return ways;
        };
        let next = when[last] + 1;
        when[last..].fill(next);
    }
}

/// All must be as it was in some state between the first look and the last.
fn check(found: &Values, when: &[usize], looks: usize, truths: &[Values]) {
    let first = when.iter().filter(|at| **at == 0).count();
    let last = when.iter().filter(|at| **at < looks).count();
    let seen = &truths[first..=last];
    assert!(
        seen.contains(found),
        "{found:?} where the steps are taken before looks {when:?} of {looks}, and there was {seen:?}"
    );
}

fn data(points: &[(i64, i64)]) -> Vec<u8> {
    let key = "m#!~#v";
    let blocks: &[&[(i64, i64)]] = &[points];
    tsm::file(&[tsm::Series {
        key,
        kind: 1,
        blocks,
    }])
}

fn log(points: &[(i64, i64)]) -> Vec<u8> {
    let write = |(time, value): &(i64, i64)| ("m", "v", *time, Value::Integer(*value));
    wal::segment(&points.iter().map(write).collect::<Vec<_>>())
}

fn deleted(min: i64, max: i64) -> Vec<u8> {
    tsm::tombstone(&[("m#!~#v", min, max)])
}

const ONE: &str = "d/000000001-000000001.tsm";
const TWO: &str = "d/000000002-000000001.tsm";
const BOTH: &str = "d/000000002-000000002.tsm";
const ONE_DELETED: &str = "d/000000001-000000001.tombstone";
const TWO_DELETED: &str = "d/000000002-000000001.tombstone";

#[test]
fn a_compaction_at_any_moment_brings_nothing_back_and_hides_nothing() {
    let begin = [
        Put(ONE, data(&[(1, 11), (2, 12), (3, 13)])),
        Put(ONE_DELETED, deleted(2, 2)),
        Put(TWO, data(&[(3, 23), (4, 24)])),
    ];
    let steps = [
        Put(BOTH, data(&[(1, 11), (3, 23), (4, 24)])),
        Remove(ONE),
        Remove(ONE_DELETED),
        Remove(TWO),
    ];
    let ways = interleave(&begin, &steps);
    assert!(ways > 500, "{ways}");
}

#[test]
fn a_deletion_that_reaches_one_file_after_the_other_brings_no_overwritten_value_back() {
    let begin = [
        Put(ONE, data(&[(1, 11), (2, 12)])),
        Put(TWO, data(&[(2, 22), (3, 23)])),
    ];
    // In either order, for the server goes through the files at once.
    let steps = [
        Put(ONE_DELETED, deleted(2, 2)),
        Put(TWO_DELETED, deleted(2, 2)),
    ];
    let ways = interleave(&begin, &steps);
    assert!(ways > 100, "{ways}");
    // And once more, where there are tombstones already.
    let begin = [
        &begin[..],
        &[
            Put(ONE_DELETED, deleted(1, 1)),
            Put(TWO_DELETED, deleted(7, 7)),
        ],
    ]
    .concat();
    interleave(&begin, &steps);
}

#[test]
fn a_deletion_and_the_compaction_behind_it_are_seen_in_their_order() {
    let begin = [
        Put(ONE, data(&[(1, 11), (2, 12)])),
        Put(TWO, data(&[(1, 21), (3, 23)])),
    ];
    let steps = [
        Put(ONE_DELETED, deleted(1, 2)),
        Put(TWO_DELETED, deleted(1, 2)),
        Put(BOTH, data(&[(3, 23)])),
        Remove(ONE),
    ];
    interleave(&begin, &steps);
}

#[test]
fn snapshots_at_any_moment_cost_nothing_and_old_values_stay_overwritten() {
    const FIRST: &str = "w/_00001.wal";
    const SECOND: &str = "w/_00002.wal";
    let begin = [Put(FIRST, log(&[(1, 11), (2, 12)]))];
    // A snapshot, a value written over, and another snapshot.
    let steps = [
        Put(SECOND, log(&[(3, 13)])),
        Put(ONE, data(&[(1, 11), (2, 12)])),
        Remove(FIRST),
        Put(SECOND, log(&[(3, 13), (2, 22)])),
    ];
    let ways = interleave(&begin, &steps);
    assert!(ways > 300, "{ways}");
    let begin = [&begin[..], &steps].concat();
    let steps = [
        Put(TWO, data(&[(2, 22), (3, 13)])),
        Remove(SECOND),
        Put(BOTH, data(&[(1, 11), (2, 22), (3, 13)])),
        Remove(ONE),
    ];
    interleave(&begin, &steps);
}

#[test]
fn a_log_that_has_become_data_is_not_taken_for_newer_than_what_followed() {
    const FIRST: &str = "w/_00001.wal";
    const SECOND: &str = "w/_00002.wal";
    let begin = [Put(FIRST, log(&[(1, 11), (2, 12)]))];
    let steps = [
        All(vec![
            Put(ONE, data(&[(1, 11), (2, 12)])),
            Remove(FIRST),
            Put(SECOND, log(&[(2, 22)])),
        ]),
        Put(SECOND, log(&[(2, 22), (3, 23)])),
        All(vec![Put(TWO, data(&[(2, 22), (3, 23)])), Remove(SECOND)]),
    ];
    interleave(&begin, &steps);
}

/// As many files as a shard may have, which go one by one, each just when it is to be opened.
struct Dropped(RefCell<Vec<PathBuf>>);

impl Disk for Dropped {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let here = self.0.borrow();
        let names = here.iter().filter(|path| path.parent() == Some(folder));
        Ok(names.cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        let mut here = self.0.borrow_mut();
        here.retain(|there| there != path);
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn a_shard_whose_files_go_one_by_one_is_gone_and_no_error() {
    let names = (1..300).map(|i| format!("d/{i:09}-000000001.tsm").into());
    assert!(open(&Dropped(RefCell::new(names.collect()))).is_none());
    let names = (1..300).map(|i| format!("w/_{i:05}.wal").into());
    assert!(open(&Dropped(RefCell::new(names.collect()))).is_none());
}

/// A folder in which a name stands for nothing, as a link does whose goal is gone.
struct Dangling;

impl Disk for Dangling {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(vec![folder.join("000000001-000000001.tsm")])
    }

    fn open(&self, _: &Path) -> io::Result<Source> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn scratch(&self) -> io::Result<File> {
        unreachable!("nothing is spilled")
    }
}

#[test]
fn a_file_that_is_always_listed_and_never_there_is_an_error() {
    let files = Files {
        data: Some("d".into()),
        ..Files::default()
    };
    let trouble = shard::open(&Dangling, &files, Opening::alone(false)).unwrap_err();
    assert_eq!(ONE, trouble.to_string());
}

/// The file system, on which a shard is dropped as soon as all of its files are open.
struct Late<'a> {
    root: &'a Path,
    listings: AtomicUsize,
}

impl Disk for Late<'_> {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let listed = System::default().list(folder);
        // Log and data, and both again.
        if self.listings.fetch_add(1, Ordering::Relaxed) == 3 {
            fs::remove_dir_all(self.root).unwrap();
        }
        listed
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        System::default().open(path)
    }
}

#[test]
fn a_shard_that_is_dropped_behind_its_opening_is_exported_and_told() {
    let dir = scratch();
    let shard = dir.path().join("data/db/rp/1");
    fs::create_dir_all(&shard).unwrap();
    fs::create_dir_all(dir.path().join("wal/db/rp/1")).unwrap();
    fs::write(shard.join("000000001-000000001.tsm"), data(&[(1, 11)])).unwrap();
    let mut catalog = Catalog::default();
    let root = dir.path().to_path_buf();
    catalog
        .add_paths(&[root], &Wanted::default(), &Logs::Layout)
        .unwrap();
    catalog.settle(false).unwrap();
    let (root, listings) = (dir.path(), AtomicUsize::new(0));
    let (mut text, mut has_gone) = (Vec::new(), false);
    let means = Means {
        jobs: NonZeroUsize::MIN,
        level: None,
        is_given: true,
    };
    let take = |event| -> Result<Option<Buffer>, ()> {
        match event {
            Event::Piece(piece) => text.extend_from_slice(piece.text.bytes()),
            Event::Gone => has_gone = true,
            Event::Failed(trouble) => panic!("{trouble}"),
            _ => {}
        }
        Ok(None)
    };
    let disk = Late { root, listings };
    pipeline::run(&disk, &catalog.shards, &all(), means, take).unwrap();
    assert_eq!((&b"m v=11i 1\n"[..], true), (&text[..], has_gone));
}
