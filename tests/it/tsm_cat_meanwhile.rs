//! What a server does while tsm-cat is at work: each test holds the program at a named pipe in the place of a file, does
//! something to the directory, and lets it go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::forge::tsm;
use crate::harness::{Pipeline, Ran, Running, points, run, scratch};

/// A named pipe: who opens it as a file waits until somebody meets him there.
struct Gate(PathBuf);

impl Gate {
    fn at(path: &Path) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        Self(path.to_path_buf())
    }

    /// Wait until it is opened. Who reads from it is held until the other end is dropped.
    #[track_caller]
    fn meet(&self) -> fs::File {
        let path = self.0.clone();
        let (done, met) = mpsc::channel();
        thread::spawn(move || drop(done.send(fs::OpenOptions::new().write(true).open(path))));
        let pipe = met.recv_timeout(Duration::from_secs(60));
        pipe.expect("nobody opens the pipe").unwrap()
    }

    /// Nobody waits any more as long as this is held, be he there already or not.
    fn leave_open(&self) -> fs::File {
        let both = fs::OpenOptions::new().read(true).write(true).open(&self.0);
        both.unwrap()
    }
}

/// A root with three shards of a point each.
fn three() -> tempfile::TempDir {
    let dir = scratch();
    for id in 1..=3 {
        add(dir.path(), id);
    }
    dir
}

fn add(root: &Path, id: i64) {
    for side in ["data", "wal"] {
        fs::create_dir_all(root.join(format!("{side}/db/rp/{id}"))).unwrap();
    }
    let series = tsm::Series {
        key: "m#!~#v",
        kind: 1,
        blocks: &[&[(id, id)]],
    };
    let path = format!("data/db/rp/{id}/000000001-000000001.tsm");
    fs::write(root.join(path), tsm::file(&[series])).unwrap();
}

/// As the server drops a shard.
fn drop_shard(root: &Path, id: i64) {
    for side in ["data", "wal"] {
        fs::remove_dir_all(root.join(format!("{side}/db/rp/{id}"))).unwrap();
    }
}

fn start(root: &Path, args: &[&str]) -> Running {
    let stage = [&["tsm-cat"], args, &[root.to_str().unwrap()]].concat();
    Pipeline::new().start(&[&stage])
}

/// Without points, and with them.
const FORMS: [&[&str]; 2] = [&["--schema"], &[]];

/// The second shard is told to be gone, and the others are there.
#[track_caller]
fn assert_second_is_gone(ran: Ran, args: &[&str]) {
    let ran = ran.ok();
    assert_eq!(
        "tsm-cat: warning: db/rp/2: the server has dropped it meanwhile\n",
        ran.stderr
    );
    match args {
        [] => assert_eq!(vec![&b"m v=1i 1"[..], b"m v=3i 3"], points(&ran.stdout)),
        _ => assert!(ran.stdout.ends_with(b"\tinteger\tyes\t2\t1\t3\n")),
    }
}

#[test]
fn a_shard_dropped_between_listing_and_opening_is_a_note_and_the_rest_is_there() {
    for args in FORMS {
        let dir = three();
        let gate = |n: u8| Gate::at(&dir.path().join(format!("wal/db/rp/1/_0000{n}.wal")));
        let (first, second) = (gate(1), gate(2));
        let running = start(dir.path(), args);
        // Shards are opened in order: who is at the first has listed all.
        drop(first.meet());
        drop_shard(dir.path(), 2);
        let held = second.leave_open();
        assert_second_is_gone(running.finish(), args);
        drop(held);
    }
}

#[test]
fn a_shard_dropped_between_opening_one_file_and_the_next_is_a_note_and_the_rest_is_there() {
    for args in FORMS {
        let dir = three();
        let gate = |n: u8| Gate::at(&dir.path().join(format!("wal/db/rp/2/_0000{n}.wal")));
        let (first, second) = (gate(1), gate(2));
        // Another name, which stays.
        let kept = dir.path().join("kept");
        fs::hard_link(&second.0, &kept).unwrap();
        let running = start(dir.path(), args);
        drop(first.meet());
        drop_shard(dir.path(), 2);
        let held = Gate(kept).leave_open();
        assert_second_is_gone(running.finish(), args);
        drop(held);
    }
}

#[test]
fn what_comes_while_a_run_lists_is_of_the_next_run() {
    let (one, two) = (three(), scratch());
    let meta = Gate::at(&one.path().join("meta/meta.db"));
    add(two.path(), 4);
    let summary = two.path().join("summary.json");
    let name = summary.to_str().unwrap();
    let root = two.path().to_str().unwrap();
    let running = start(one.path(), &["--summary", name, root]);
    // The later root is listed first; its time is over when the metadata of the other are read.
    let held = meta.meet();
    add(two.path(), 5);
    let now = jiff::Timestamp::now();
    drop(held);
    let ran = running.finish().ok();
    assert_eq!(4, points(&ran.stdout).len(), "{}", ran.stderr);
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&summary).unwrap()).unwrap();
    let listed: jiff::Timestamp = json["listed"].as_str().unwrap().parse().unwrap();
    assert!(listed < now, "{listed} is not before {now}");
    let since = format!("@{name}");
    let ran = run(b"", &["tsm-cat", "--changed-since", &since, root]).ok();
    assert!(points(&ran.stdout).contains(&&b"m v=5i 5"[..]));
}
