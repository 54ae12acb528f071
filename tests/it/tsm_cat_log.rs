//! Long logs, which several threads read in parts.

use std::fs;
use std::path::{Path, PathBuf};

use crate::forge::disk::{Block, Column, Segment, T, Tsm, section, segment_path, shard, tsm_path};
use crate::harness::{Ran, points, run, scratch};

const SECOND: i64 = 1_000_000_000;
/// Entries of a segment, and values of a key in each of them.
const ENTRIES: i64 = 60;
const VALUES: i64 = 1000;
/// The key of which nothing is deleted, and some values are written late; each value is the number of its entry.
const LATE: usize = 6;

fn key(i: usize) -> Vec<u8> {
    format!("m,t={i}#!~#v").into_bytes()
}

/// Two segments of some 5 MB, with deletions and late values throughout. Numbers without a pattern, so that they do not
/// pack.
fn long_log(root: &Path) -> [PathBuf; 2] {
    let (data, log) = shard(root, "db", "rp", 7);
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&log).unwrap();
    let mut number = 1u64;
    [1, 2].map(|part| {
        let path = segment_path(&log, part);
        let mut segment = Segment::create(&path);
        for entry in (part as i64 - 1) * ENTRIES..part as i64 * ENTRIES {
            let times = |i: i64| T + (entry * VALUES + i) * SECOND;
            let mut groups = Vec::new();
            for i in 0..7 {
                // One key at uneven times, two that write some of them again.
                let shift = if i == 1 { entry % 7 } else { 0 };
                let back = if [2, LATE].contains(&i) && entry % 10 == 9 {
                    3 * VALUES * SECOND
                } else {
                    0
                };
                let times: Vec<_> = (0..VALUES)
                    .map(|n| times(n) + shift * (n % 3) - back)
                    .collect();
                let values = times.iter().map(|_| {
                    number = number
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (number >> 1) as i64
                });
                let values = match i {
                    LATE => times.iter().map(|_| entry).collect(),
                    _ => values.collect(),
                };
                let values = Column::Integer(values);
                groups.push((key(i), times, values));
            }
            let groups: Vec<_> = groups.iter().map(|(k, t, v)| (&k[..], &t[..], v)).collect();
            segment.write(&groups);
            match entry % 50 {
                17 => segment.delete(&[&key(3)]),
                23 => segment.delete_range(&[&key(4), &key(2)], (times(-2500), times(-100))),
                31 => segment.delete_range(&[&key(5)], (i64::MIN, times(3))),
                _ => {}
            }
        }
        segment.finish();
        assert!(fs::metadata(&path).unwrap().len() > 4 << 20);
        path
    })
}

/// Where the entries begin.
fn starts(segment: &[u8]) -> Vec<usize> {
    let next = |at: &usize| {
        let length = segment.get(at + 1..at + 5)?.try_into().unwrap();
        Some(at + 5 + u32::from_be_bytes(length) as usize)
    };
    let all = std::iter::successors(Some(0), next);
    all.take_while(|at| *at < segment.len()).collect()
}

/// What the program does, which is the same for every number of jobs, in each byte.
#[track_caller]
fn cat(root: &Path, options: &[&str]) -> Ran {
    let ran = |jobs: &str| {
        let root = root.to_str().unwrap();
        run(
            b"",
            &[&["tsm-cat", "--jobs", jobs], options, &[root]].concat(),
        )
    };
    let alone = ran("1");
    for jobs in ["2", "3", "16"] {
        let others = ran(jobs);
        assert!(alone.stdout == others.stdout, "{jobs}");
        assert_eq!(
            (alone.last(), said(&alone)),
            (others.last(), said(&others)),
            "{jobs}"
        );
    }
    alone
}

fn said(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines();
    lines.filter(|line| line.contains("offset ")).collect()
}

#[test]
fn a_long_log_is_the_same_however_many_threads_read_it() {
    let dir = scratch();
    long_log(dir.path());
    let ran = cat(dir.path(), &[]);
    assert_eq!(Some(0), ran.last(), "{}", ran.stderr);
    let all = (2 * ENTRIES * VALUES) as usize;
    let series = |i: usize| {
        let name = format!("m,t={i} ");
        let lines = points(&ran.stdout).into_iter();
        lines
            .filter(|line| line.starts_with(name.as_bytes()))
            .count()
    };
    assert_eq!((all, all), (series(0), series(1)));
    // Deleted behind entries 17, 67 and 117, and up to the fourth time of entries 31 and 81.
    assert_eq!(2 * VALUES as usize, series(3));
    assert_eq!(all - (81 * VALUES as usize + 4), series(5));
    cat(dir.path(), &["--compress"]);
}

#[test]
fn files_with_a_long_log_over_them_are_the_same_however_many_threads_read_it() {
    let dir = scratch();
    long_log(dir.path());
    let data = shard(dir.path(), "db", "rp", 7).0;
    let mut tsm = Tsm::create(&tsm_path(&data, 1, 1));
    let values = section(&Column::Integer((0..1000).collect()));
    for i in 0..7 {
        tsm.key(&key(i), 1);
        for n in 0..50 {
            let times: Vec<_> = (0..1000).map(|m| T + (n * 1000 + m) * SECOND + 1).collect();
            tsm.block(&Block::of_section(&times, 1, &values));
        }
    }
    tsm.finish();
    for options in [&[][..], &["--compress"]] {
        let ran = cat(dir.path(), options);
        assert_eq!(Some(0), ran.last(), "{}", ran.stderr);
    }
}

#[test]
fn of_values_of_the_same_time_the_one_written_last_is_printed_whatever_part_it_is_in() {
    let dir = scratch();
    long_log(dir.path());
    let ran = cat(dir.path(), &[]);
    // Every tenth entry stands for the third one before it.
    let entries = (0..2 * ENTRIES).filter(|entry| entry % 10 != 9);
    let lines = entries.flat_map(|entry| {
        let last = if entry % 10 == 6 { entry + 3 } else { entry };
        let time = move |n| T + (entry * VALUES + n) * SECOND;
        (0..VALUES).map(move |n| format!("m,t={LATE} v={last}i {}", time(n)))
    });
    let mut found = points(&ran.stdout);
    found.retain(|line| line.starts_with(format!("m,t={LATE} ").as_bytes()));
    let found: Vec<_> = found
        .iter()
        .map(|line| String::from_utf8_lossy(line))
        .collect();
    assert!(lines.eq(found));
}

#[test]
fn nothing_counts_behind_damage_in_a_segment_whoever_reads_it() {
    let dir = scratch();
    let [first, second] = long_log(dir.path());
    let whole = fs::read(&first).unwrap();
    let starts = starts(&whole);
    // In the first part, and in later ones: a type that is none, and data that cannot be so long.
    for (entry, within, byte) in [(3, 0, 9), (40, 0, 9), (3, 7, 0xff), (40, 7, 0xff)] {
        let at = starts[entry];
        let mut damaged = whole.clone();
        damaged[at + within] = byte;
        fs::write(&first, &damaged).unwrap();
        let ran = cat(dir.path(), &[]);
        assert_eq!(Some(65), ran.last(), "{}", ran.stderr);
        assert!(
            said(&ran)[0].contains(&format!("offset {at}")),
            "{}",
            ran.stderr
        );
        let ran = cat(dir.path(), &["--keep-going"]);
        assert_eq!(
            (Some(1), 1),
            (ran.last(), said(&ran).len()),
            "{}",
            ran.stderr
        );
        // As if the segment ended there.
        fs::write(&first, &whole[..at]).unwrap();
        let cut = cat(dir.path(), &[]);
        assert!(points(&ran.stdout) == points(&cut.stdout));
    }
    fs::write(&first, &whole).unwrap();
    let last = fs::read(&second).unwrap();
    fs::write(&second, &last[..last.len() - 10]).unwrap();
    let torn = cat(dir.path(), &[]);
    assert_eq!(
        (Some(0), 1),
        (torn.last(), said(&torn).len()),
        "{}",
        torn.stderr
    );
}
