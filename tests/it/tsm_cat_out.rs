//! tsm-cat into a file: under its name when it is complete, and else not at all.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::forge::disk::{Block, Choice, Column, T, Tsm, shard, tsm_path};
use crate::harness::{Pipeline, Ran, copy, fixture_arg, program, run, scratch};

fn cat(args: &[&str]) -> Ran {
    run(b"", &[&["tsm-cat"], args].concat())
}

fn root() -> String {
    fixture_arg("influxdb-1.6")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_gets_what_standard_output_would() {
    let dir = scratch();
    let file = dir.path().join("a.lp");
    let args = ["-d", "overlap", &root()];
    let piped = cat(&args).ok();
    let to = ["-o", file.to_str().unwrap()];
    let ran = cat(&[&args[..], &to].concat()).ok();
    assert_eq!("", ran.stdout);
    assert!(piped.stdout == fs::read(&file).unwrap());
    assert_eq!(vec!["a.lp"], names(dir.path()));
    let usual = dir.path().join("usual");
    fs::write(&usual, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&usual), mode(&file));
    let ran = cat(&[&args[..], &["-o", "-"]].concat()).ok();
    assert!(piped.stdout == ran.stdout);
}

#[test]
fn a_file_that_exists_is_73_before_anything_is_read_and_force_replaces_it() {
    let dir = scratch();
    let file = dir.path().join("a.lp");
    fs::write(&file, "mine").unwrap();
    let name = file.to_str().unwrap();
    // The path that is to be read does not even exist.
    let ran = cat(&["-o", name, "/nowhere"]);
    assert_eq!(Some(73), ran.last());
    assert!(
        ran.stderr.contains(name) && ran.stderr.contains("--force"),
        "{}",
        ran.stderr
    );
    assert_eq!("mine", fs::read_to_string(&file).unwrap());
    let ran = cat(&["-o", name, "--force", "/nowhere"]);
    assert_eq!(Some(66), ran.last());
    assert_eq!("mine", fs::read_to_string(&file).unwrap());
    cat(&["-o", name, "--force", "-d", "levels", &root()]).ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# STREAM-BEGIN once\n") && text.contains("\n# STREAM-END "));
    assert_eq!(vec!["a.lp"], names(dir.path()));
    assert_eq!(Some(2), cat(&["--force", &root()]).last());
}

#[test]
fn a_run_that_fails_leaves_nothing() {
    let dir = scratch();
    let file = dir.path().join("a.lp");
    let args = ["-d", "torn", "--shard", "95", "-o", file.to_str().unwrap()];
    let ran = cat(&[&args[..], &[&root()]].concat());
    assert_eq!(Some(65), ran.last());
    assert!(names(dir.path()).is_empty());
    let ran = cat(&[&args[..], &["--keep-going", &root()]].concat());
    assert_eq!(Some(1), ran.last());
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("left-out:1\n"), "{text}");
}

#[test]
fn a_signal_leaves_nothing_and_no_signal_leaves_a_part_under_the_name() {
    for (signal, status) in [
        (Signal::TERM, 143),
        (Signal::INT, 130),
        (Signal::HUP, 129),
        (Signal::KILL, 137),
    ] {
        let dir = scratch();
        let file = dir.path().join("a.lp");
        let running = Pipeline::new().input_held().heeding_signals();
        let running = running.start(&[&["tsm-cat", "-o", file.to_str().unwrap(), "-"]]);
        // It has begun when there is a file; then it waits for its input.
        let late = Instant::now() + Duration::from_secs(60);
        while names(dir.path()).is_empty() {
            assert!(Instant::now() < late);
            std::thread::yield_now();
        }
        assert!(!file.exists());
        running.signal(0, signal);
        let mut running = running;
        let feed = running.feed.take();
        let ran = running.finish();
        drop(feed);
        assert_eq!(Some(status), ran.last(), "{}", ran.stderr);
        assert!(!file.exists());
        if signal != Signal::KILL {
            assert!(names(dir.path()).is_empty());
        }
    }
}

#[test]
fn what_is_no_ordinary_file_is_written_to() {
    cat(&["-o", "/dev/null", "-d", "levels", &root()]).ok();
    assert!(fs::metadata("/dev/null").is_ok_and(|null| !null.is_file()));
    let piped = cat(&["-d", "levels", &root()]).ok();
    let ran = cat(&["-o", "/dev/stdout", "-d", "levels", &root()]).ok();
    assert!(piped.stdout == ran.stdout);
}

#[test]
fn a_link_keeps_its_place() {
    let dir = scratch();
    let (link, file) = (dir.path().join("link"), dir.path().join("file"));
    fs::write(&file, "old").unwrap();
    symlink(&file, &link).unwrap();
    let args = ["-o", link.to_str().unwrap(), "-d", "levels", &root()];
    assert_eq!(Some(73), cat(&args).last());
    cat(&[&args[..], &["--force"]].concat()).ok();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().starts_with("# STREAM-"));
}

#[test]
fn what_cannot_be_written_is_74_and_a_folder_is_wrong_usage() {
    let dir = scratch();
    let file = dir.path().join("none/a.lp");
    let ran = cat(&["-o", file.to_str().unwrap(), &root()]);
    assert_eq!(Some(74), ran.last(), "{}", ran.stderr);
    let ran = cat(&["-o", dir.path().to_str().unwrap(), &root()]);
    assert_eq!(Some(2), ran.last(), "{}", ran.stderr);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_disk_that_is_full_is_74() {
    let ran = cat(&["-o", "/dev/full", "-d", "overlap", &root()]);
    assert_eq!(Some(74), ran.last(), "{}", ran.stderr);
    assert!(ran.stderr.contains("/dev/full"), "{}", ran.stderr);
}

#[test]
fn the_summary_counts_what_was_written_and_how_it_ended() {
    let dir = scratch();
    let summary = dir.path().join("s.json");
    let told = |args: &[&str]| {
        let ran = cat(&[args, &["--summary", summary.to_str().unwrap(), &root()]].concat());
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&summary).unwrap()).unwrap();
        assert_eq!(ran.last().map(i64::from), json["status"].as_i64());
        assert_eq!("tsm-cat", json["program"]);
        (ran, json)
    };
    let (ran, json) = told(&["-d", "overlap"]);
    let n = crate::harness::points(&ran.stdout).len() as u64;
    assert_eq!(Some(n), json["points"].as_u64());
    assert!(json["values"].as_u64() >= Some(n) && json["bytes_of_blocks_read"].as_u64() > Some(0));
    let (_, json) = told(&["-d", "torn", "--shard", "95", "--keep-going"]);
    assert_eq!(
        (Some(1), Some(1)),
        (
            json["status"].as_u64(),
            json["damaged_parts_left_out"].as_u64()
        )
    );
    let (_, json) = told(&["-d", "none"]);
    assert_eq!(
        (Some(66), Some(0)),
        (json["status"].as_u64(), json["points"].as_u64())
    );
}

#[test]
fn no_output_replaces_what_is_read_or_stored_or_written_beside_it() {
    let dir = scratch();
    let own = dir.path().join("own");
    copy(Path::new(&root()), &own);
    let own = own.to_str().unwrap();
    let stored = format!("{own}/data/overlap/autogen/2/000000001-000000001.tsm");
    let (metadata, beside) = (format!("{own}/meta/meta.db"), format!("{own}/../beside"));
    let clashes: [&[&str]; 7] = [
        &["--summary", &stored],
        &["--summary", &metadata],
        &["--rejects", &metadata],
        &["--force", "-o", &stored],
        &["-o", &beside, "--summary", &beside],
        &["--rejects", &beside, "--summary", &beside],
        &["-o", &beside, "--rejects", &beside],
    ];
    let (before, meta) = (fs::read(&stored).unwrap(), fs::read(&metadata).unwrap());
    for args in clashes {
        let ran = cat(&[args, &["-d", "overlap", own]].concat());
        assert_eq!(Some(2), ran.last(), "{args:?}: {}", ran.stderr);
        assert_eq!("", ran.stdout, "{args:?}");
    }
    assert!(before == fs::read(&stored).unwrap() && meta == fs::read(&metadata).unwrap());
    assert!(!Path::new(&beside).exists());
    let ran = cat(&["--summary", "/dev/null", "-o", "/dev/null", own]);
    assert_eq!(Some(65), ran.last(), "{}", ran.stderr);
    let lines = dir.path().join("in.lp");
    fs::write(&lines, "m v=1 1\n").unwrap();
    let lines = lines.to_str().unwrap();
    for program in ["lp-filter", "lp-rate"] {
        let rate: &[&str] = if program == "lp-rate" {
            &["unlimited"]
        } else {
            &[]
        };
        let ran = run(
            b"",
            &[&[program, "--summary", lines], rate, &[lines]].concat(),
        );
        assert_eq!(Some(2), ran.last(), "{}", ran.stderr);
    }
    assert_eq!("m v=1 1\n", fs::read_to_string(lines).unwrap());
}

#[test]
fn what_is_ignored_from_the_start_stays_so() {
    let dir = scratch();
    let file = dir.path().join("a.lp");
    let cat = ["tsm-cat", "-o", file.to_str().unwrap(), "-"];
    let running = Pipeline::new().input_held().ignoring_signals();
    let mut running = running.start(&[&cat]);
    let late = Instant::now() + Duration::from_secs(60);
    while names(dir.path()).is_empty() {
        assert!(Instant::now() < late);
        std::thread::yield_now();
    }
    running.signal(0, Signal::INT);
    running.signal(0, Signal::HUP);
    drop(running.feed.take());
    let ran = running.finish();
    assert_eq!(Some(66), ran.last(), "{}", ran.stderr);
}

/// A shard of so many points in series of a thousand, all of them different.
fn points(root: &Path, count: i64) {
    let (data, log) = shard(root, "db", "rp", 1);
    fs::create_dir_all(log).unwrap();
    let mut tsm = Tsm::create(&tsm_path(&data, 1, 1));
    for series in 0..count / 1000 {
        let values = series * 1000..series * 1000 + 1000;
        let times: Vec<_> = values.clone().map(|value| T + value * 1_000_001).collect();
        let column = Column::Integer(values.map(|value| value * 7919).collect());
        tsm.key(format!("m,series={series:05}#!~#value").as_bytes(), 1)
            .block(&Block::new(&times, &column, Choice::default()));
    }
    tsm.finish();
}

#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_hands_on_what_it_has_not_copied_hands_on_what_was_exported() {
    use std::io::{self, Read};

    use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};
    let dir = scratch();
    points(dir.path(), 300_000);
    let (root, file) = (dir.path().to_str().unwrap(), dir.path().join("a.lp"));
    cat(&["-o", file.to_str().unwrap(), root]).ok();
    let wanted = fs::read(&file).unwrap();
    assert!(wanted.len() > 10_000_000);
    let mut child = Command::new(program("tsm-cat"))
        .arg(root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // Every second piece is held on to, without a copy, until all has been exported.
    let mut pieces = Vec::new();
    loop {
        let (held, holder) = io::pipe().unwrap();
        let size = fcntl_setpipe_size(&holder, 1 << 18).unwrap();
        let (mut moved, mut more) = (0, 1);
        while moved < size / 2 && more > 0 {
            more = splice(&stdout, None, &holder, None, size / 4, SpliceFlags::empty()).unwrap();
            moved += more;
        }
        let mut copied = Vec::new();
        let mut next = (&mut stdout).take(size as u64);
        let n = next.read_to_end(&mut copied).unwrap();
        pieces.push((held, copied));
        if n < size {
            break;
        }
    }
    assert!(child.wait().unwrap().success());
    let mut all = Vec::new();
    for (mut held, copied) in pieces {
        held.read_to_end(&mut all).unwrap();
        all.extend(copied);
    }
    assert!(wanted == all);
}
