//! Does tsm-cat stay within its memory, whatever a shard holds, and does it read only what is wanted?
//!
//! The files are forged. Of each rule there is a small case that always runs, and one of the size that the rule is
//! about, which takes longer. The output is counted and hashed as it comes, and thrown away.

mod heavy;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use xxhash_rust::xxh3::Xxh3;

use crate::forge::disk::{
    ALWAYS, Block, Choice, Column, Segment, T, Tombstone, Tsm, section, segment_path, shard,
    tsm_path,
};
use crate::harness::{points, program, run, scratch};

/// What tsm-cat may take beside the log.
const MEMORY: u64 = 64_000_000;
/// Longer than any case here takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(600);
const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 1440 * MINUTE;

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
struct Output {
    bytes: u64,
    hash: u128,
    /// The last of it.
    tail: Vec<u8>,
    stderr: String,
    status: Option<i32>,
}

impl Output {
    /// The count of points in the comment at the end.
    fn points(&self) -> u64 {
        let text = String::from_utf8_lossy(&self.tail);
        let end = text.rsplit_once("# STREAM-END points:").unwrap().1;
        let (points, left_out) = end.trim_end().split_once(" left-out:").unwrap();
        assert_eq!("0", left_out);
        points.parse().unwrap()
    }
}

/// The most memory the process has had so far; nothing once it has ended.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(1024 * kilobytes)
}

/// Run tsm-cat; its output, and the most memory it took up to the last pipeful of that.
fn watched(args: &[&str]) -> (Output, u64) {
    let mut command = Command::new(program("tsm-cat"));
    command.args(args).env_clear().stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (ended, alarm) = mpsc::channel::<()>();
    let pid = Pid::from_child(&child);
    let watchdog = thread::spawn(move || {
        if alarm.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    });
    let mut said = child.stderr.take().unwrap();
    let said = thread::spawn(move || {
        let mut text = String::new();
        said.read_to_string(&mut text).unwrap();
        text
    });
    let (mut output, most) = consume(&mut child);
    // The process is not reaped before the watchdog has gone home.
    output.stderr = said.join().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    output.status = child.wait().unwrap().code();
    (output, most)
}

fn consume(child: &mut Child) -> (Output, u64) {
    let mut stdout = child.stdout.take().unwrap();
    let (mut hash, mut bytes, mut tail) = (Xxh3::new(), 0, Vec::new());
    let (mut most, mut buf) = (0, vec![0; 1 << 18]);
    // Whoever reads late has everything pile up that may.
    for _ in 0..100 {
        most = most.max(peak(child).unwrap_or(0));
        thread::sleep(Duration::from_millis(2));
    }
    loop {
        most = most.max(peak(child).unwrap_or(0));
        let n = stdout.read(&mut buf).unwrap();
        if n == 0 {
            break;
        }
        hash.update(&buf[..n]);
        bytes += n as u64;
        tail.extend(&buf[..n]);
        tail.drain(..tail.len().saturating_sub(100));
    }
    let output = Output {
        bytes,
        hash: hash.digest128(),
        tail,
        stderr: String::new(),
        status: None,
    };
    (output, most)
}

/// That the export keeps to its memory and is the same with one job and with many; how many points there are.
fn is_bounded(what: &str, root: &Path) -> u64 {
    is_bounded_by(MEMORY, what, root)
}

fn is_bounded_by(bound: u64, what: &str, root: &Path) -> u64 {
    let mut first = None;
    for jobs in ["1", "16"] {
        let before = Instant::now();
        let (output, most) = watched(&["--jobs", jobs, root.to_str().unwrap()]);
        println!(
            "{what}, {jobs} jobs: {:.1} MB at most, {} bytes of text, {:.1} s",
            most as f64 / 1e6,
            output.bytes,
            before.elapsed().as_secs_f64()
        );
        assert_eq!((Some(0), ""), (output.status, &output.stderr[..]));
        assert!(most > 0, "nothing was measured");
        assert!(most < bound, "{what}, {jobs} jobs: {most} bytes");
        assert!(first.get_or_insert_with(|| output.clone()) == &output);
    }
    first.unwrap().points()
}

/// The blocks of a forged file: first and last time, size.
#[derive(Default)]
struct Laid(Vec<(i64, i64, u64)>);

impl Laid {
    fn put(&mut self, tsm: &mut Tsm, block: &Block) {
        tsm.block(block);
        let size = block.bytes.len() as u64;
        self.0.push((block.min, block.max, size));
    }

    /// That so many bytes are those of the blocks that hold any of these times, and of the few that are looked into
    /// to see how much the blocks hold.
    fn is_all_that_was_read(&self, first: i64, last: i64, bytes: u64) {
        let met = self.met(first, last);
        let one = self.0.iter().map(|block| block.2).max().unwrap();
        assert!(
            (met..=met + 4 * one).contains(&bytes),
            "{bytes} instead of {met}"
        );
    }

    /// How many bytes the blocks take that hold any of these times.
    fn met(&self, first: i64, last: i64) -> u64 {
        let met = self
            .0
            .iter()
            .filter(|(min, max, _)| *max >= first && *min <= last);
        met.map(|(_, _, size)| size).sum()
    }
}

/// The data folder of the only shard below a root that has a log folder as well.
fn only_shard(root: &Path) -> std::path::PathBuf {
    let (data, log) = shard(root, "db", "rp", 7);
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(log).unwrap();
    data
}

/// Series of one field with two points each.
fn many_series(root: &Path, count: u64) {
    let mut tsm = Tsm::create(&tsm_path(&only_shard(root), 1, 1));
    let times = [T, T + 10 * SECOND];
    let block = Block::new(&times, &Column::Float(vec![0.5, 1.25]), Choice::default());
    for i in 0..count {
        let key = format!("cpu,host=server-{i:07},region=eu-west-1#!~#usage_user");
        tsm.key(key.as_bytes(), 0).block(&block);
    }
    tsm.finish();
}

#[test]
fn twenty_thousand_series_are_exported_within_bounds() {
    let dir = scratch();
    many_series(dir.path(), 20_000);
    assert_eq!(40_000, is_bounded("20,000 series", dir.path()));
}

#[test]
#[ignore = "takes longer"]
fn a_million_series_are_exported_within_bounds() {
    let dir = scratch();
    many_series(dir.path(), 1_000_000);
    assert_eq!(2_000_000, is_bounded("a million series", dir.path()));
}

/// One field of one series, a value each second: the number of the second within a thousand.
fn long_series(root: &Path, points: i64) -> Laid {
    let (mut tsm, mut laid) = (
        Tsm::create(&tsm_path(&only_shard(root), 1, 1)),
        Laid::default(),
    );
    let values = section(&Column::Integer((0..1000).collect()));
    tsm.key(b"m,t=a#!~#n", 1);
    for start in (0..points).step_by(1000) {
        let times: Vec<_> = (start..start + 1000).map(|i| T + i * SECOND).collect();
        laid.put(&mut tsm, &Block::of_section(&times, 1, &values));
    }
    tsm.finish();
    laid
}

/// The figure `bytes of blocks read`, and the points.
fn read(root: &Path, args: &[&str]) -> (u64, Vec<String>) {
    let summary = root.join("summary");
    let args = [
        &["tsm-cat", "--summary", summary.to_str().unwrap()],
        args,
        &[root.to_str().unwrap()],
    ];
    let ran = run(b"", &args.concat()).ok();
    let figures: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(summary).unwrap()).unwrap();
    let lines = points(&ran.stdout).into_iter();
    (
        figures["bytes_of_blocks_read"].as_u64().unwrap(),
        lines
            .map(|line| String::from_utf8(line.to_vec()).unwrap())
            .collect(),
    )
}

/// One minute of a long series, across two blocks.
fn a_minute_is_read_from_its_blocks_only(count: i64) {
    let dir = scratch();
    let laid = long_series(dir.path(), count);
    let first = T + (count / 2 - 20) * SECOND;
    for jobs in ["1", "16"] {
        let (start, stop) = (first.to_string(), (first + MINUTE).to_string());
        let args = ["--start", &start, "--stop", &stop, "--jobs", jobs];
        let before = Instant::now();
        let (bytes, lines) = read(dir.path(), &args);
        let took = before.elapsed().as_millis();
        println!("one minute of {count} points: {bytes} bytes of blocks, {took} ms");
        let line = |i: i64| {
            let value = (count / 2 - 20 + i) % 1000;
            format!("m,t=a n={value}i {}", first + i * SECOND)
        };
        assert_eq!((0..60).map(line).collect::<Vec<_>>(), lines);
        laid.is_all_that_was_read(first, first + MINUTE - 1, bytes);
        assert!(bytes < 5000, "{bytes}");
    }
}

#[test]
fn one_minute_of_200_000_points_is_read_from_two_blocks() {
    a_minute_is_read_from_its_blocks_only(200_000);
}

#[test]
#[ignore = "takes longer"]
fn one_minute_of_ten_million_points_is_read_from_two_blocks() {
    a_minute_is_read_from_its_blocks_only(10_000_000);
}

#[test]
fn a_series_of_200_000_points_is_exported_within_bounds() {
    let dir = scratch();
    long_series(dir.path(), 200_000);
    assert_eq!(200_000, is_bounded("200,000 points", dir.path()));
}

#[test]
#[ignore = "takes longer"]
fn a_series_of_ten_million_points_is_exported_within_bounds() {
    let dir = scratch();
    long_series(dir.path(), 10_000_000);
    assert_eq!(10_000_000, is_bounded("10 million points", dir.path()));
}

/// Fields of one series in five files whose blocks overlap: each has all of the fields, a hundred seconds later than
/// the one before. How many lines there are.
fn wide_series(root: &Path, fields: usize, blocks: i64) -> u64 {
    let values: Vec<f64> = (0..1000).map(|i| f64::from(i) * 0.37 + 0.001).collect();
    let values = section(&Column::Float(values));
    for file in 0..5 {
        let mut tsm = Tsm::create(&tsm_path(&only_shard(root), file + 1, 1));
        let start = |block: i64| i64::from(file) * 100 + block * 1000;
        let block = |block: i64| {
            let times = (0..1000).map(|i| T + (start(block) + i) * SECOND);
            Block::of_section(&times.collect::<Vec<_>>(), 0, &values)
        };
        let blocks: Vec<_> = (0..blocks).map(block).collect();
        for field in 0..fields {
            tsm.key(format!("wide,t=a#!~#field{field:03}").as_bytes(), 0);
            for block in &blocks {
                tsm.block(block);
            }
        }
        tsm.finish();
    }
    1000 * blocks as u64 + 400
}

#[test]
fn fifty_fields_in_five_overlapping_files_are_exported_within_bounds() {
    let dir = scratch();
    let lines = wide_series(dir.path(), 50, 3);
    assert_eq!(lines, is_bounded("50 fields in 5 files", dir.path()));
}

#[test]
#[ignore = "takes longer"]
fn three_hundred_fields_in_five_overlapping_files_are_exported_within_bounds() {
    let dir = scratch();
    let lines = wide_series(dir.path(), 300, 30);
    assert_eq!(lines, is_bounded("300 fields in 5 files", dir.path()));
}

/// Fields of one series that have a time of their own each, or two of them, so that each spans all others. How many
/// lines there are.
fn fields_apart(root: &Path, fields: i64, is_spread: bool) -> u64 {
    let mut tsm = Tsm::create(&tsm_path(&only_shard(root), 1, 1));
    let times = |i: i64| match is_spread {
        true => vec![T + i * SECOND, T + (fields + i) * SECOND],
        false => vec![T + i * SECOND],
    };
    for i in 0..fields {
        let values = section(&Column::Float(vec![0.25; times(i).len()]));
        tsm.key(format!("m,t=a#!~#field{i:06}").as_bytes(), 0);
        tsm.block(&Block::of_section(&times(i), 0, &values));
    }
    tsm.finish();
    fields as u64 * times(0).len() as u64
}

#[test]
fn many_fields_with_a_time_each_are_exported_within_bounds() {
    for (fields, is_spread) in [(40_000, false), (20_000, true)] {
        let dir = scratch();
        let lines = fields_apart(dir.path(), fields, is_spread);
        let what = format!("{fields} fields with their own times");
        assert_eq!(lines, is_bounded(&what, dir.path()));
    }
}

#[test]
#[ignore = "takes longer"]
fn hundreds_of_thousands_of_fields_with_a_time_each_are_exported_within_bounds() {
    let dir = scratch();
    let lines = fields_apart(dir.path(), 250_000, false);
    assert_eq!(lines, is_bounded("250,000 fields", dir.path()));
    // The same behind series whose texts were in much memory.
    let mut tsm = Tsm::create(&tsm_path(&only_shard(dir.path()), 2, 1));
    let times: Vec<_> = (0..1000).map(|i| T + i * SECOND).collect();
    let block = Block::new(&times, &Column::Float(vec![0.25; 1000]), Choice::default());
    for i in 0..1000 {
        let key = format!("a,t={i:04}#!~#v");
        tsm.key(key.as_bytes(), 0).block(&block);
    }
    tsm.finish();
    let all = is_bounded("a million points and 250,000 fields", dir.path());
    assert_eq!(lines + 1_000_000, all);
}

/// Three files with the same keys, of which all but each eleventh are deleted in each of them, in no order. How many
/// points are left.
fn many_deletes(root: &Path, deleted: u64) -> u64 {
    let keys = deleted / 10 * 11;
    let key = |i: u64| format!("cpu,host=server-{i:07},region=eu-west-1#!~#usage_user");
    for file in 0..3 {
        let path = tsm_path(&only_shard(root), file + 1, 1);
        let mut tsm = Tsm::create(&path);
        let block = Block::new(&[T], &Column::Integer(vec![file.into()]), Choice::default());
        for i in 0..keys {
            tsm.key(key(i).as_bytes(), 1).block(&block);
        }
        tsm.finish();
        let mut tombstone = Tombstone::create(&path, 4);
        // A prime that does not divide the number of keys: each comes once.
        let shuffled = (0..keys).map(|i| i * 7_368_787 % keys);
        for (n, i) in shuffled.filter(|i| i % 11 > 0).enumerate() {
            if n % 100_000 == 99_999 {
                tombstone.member();
            }
            let all = n % 2 == 0;
            let range = if all { ALWAYS } else { (T - DAY, T + DAY) };
            tombstone.record(key(i).as_bytes(), range);
        }
        tombstone.finish();
    }
    keys / 11
}

#[test]
fn twenty_thousand_deleted_keys_in_each_of_three_files_are_left_out_within_bounds() {
    let dir = scratch();
    let left = many_deletes(dir.path(), 20_000);
    assert_eq!(left, is_bounded("20,000 deleted keys", dir.path()));
}

#[test]
#[ignore = "takes longer"]
fn a_million_deleted_keys_in_each_of_three_files_are_left_out_within_bounds() {
    let dir = scratch();
    let left = many_deletes(dir.path(), 1_000_000);
    assert_eq!(left, is_bounded("a million deleted keys", dir.path()));
}

#[test]
fn a_tombstone_file_that_unpacks_to_far_more_than_it_is_takes_no_more_memory() {
    let dir = scratch();
    let path = tsm_path(&only_shard(dir.path()), 1, 1);
    let mut tsm = Tsm::create(&path);
    let block = Block::new(&[T], &Column::Integer(vec![1]), Choice::default());
    tsm.key(b"m#!~#f", 1).block(&block);
    tsm.finish();
    let mut tombstone = Tombstone::create(&path, 4);
    let key = [b"m,t=", &vec![b'x'; 60_000][..], b"#!~#f"].concat();
    for i in 0..4000 {
        tombstone.record(&key, (T + 2 * i, T + 2 * i));
    }
    tombstone.finish();
    let size = fs::metadata(path.with_extension("tombstone"))
        .unwrap()
        .len();
    assert!(size < 4_000_000, "{size}");
    assert_eq!(1, is_bounded("240 MB of tombstones", dir.path()));
}

/// A log of some entries in four segments, each with so many values of each of some fields; how many values it has.
fn long_log(root: &Path, entries: i64, fields: usize, each: i64) -> u64 {
    let (data, log) = shard(root, "db", "rp", 7);
    fs::create_dir_all(&data).unwrap();
    fs::create_dir_all(&log).unwrap();
    let keys: Vec<_> = (0..fields)
        .map(|i| format!("m,t=a{i:03}#!~#f").into_bytes())
        .collect();
    let values = Column::Float((0..each).map(|i| i as f64 * 0.37).collect());
    for part in 0..4 {
        let mut segment = Segment::create(&segment_path(&log, 1 + part as u64));
        for entry in part * entries / 4..(part + 1) * entries / 4 {
            // Not the same distance everywhere: they have to be kept.
            let time = |i| T + (each * entry + i) * SECOND + (i + 1) * entry % 7;
            let times: Vec<_> = (0..each).map(time).collect();
            let groups: Vec<_> = keys
                .iter()
                .map(|key| (&key[..], &times[..], &values))
                .collect();
            segment.write(&groups);
        }
        segment.finish();
    }
    (each * entries) as u64 * fields as u64
}

/// Sixteen bytes a number are the log itself, and some more are room to grow.
fn is_log_bounded(entries: i64, fields: usize, each: i64) {
    let dir = scratch();
    let values = long_log(dir.path(), entries, fields, each);
    let what = format!("a log of {values} values");
    assert_eq!(
        values,
        is_bounded_by(MEMORY + 20 * values, &what, dir.path())
    );
}

#[test]
fn a_log_of_200_000_values_is_exported_within_bounds() {
    is_log_bounded(200, 100, 10);
    is_log_bounded(20, 10_000, 1);
}

#[test]
#[ignore = "takes longer"]
fn a_log_of_ten_million_values_is_exported_within_bounds() {
    is_log_bounded(2500, 400, 10);
    is_log_bounded(100, 10_000, 10);
    is_log_bounded(1000, 10_000, 1);
}

/// Strings of that many times four bytes, which pack well: what is read is small, what it becomes is not.
fn long_strings(root: &Path, blocks: i64, times: usize) -> u64 {
    let mut tsm = Tsm::create(&tsm_path(&only_shard(root), 1, 1));
    let text = |i: i64| format!("{i:04}").repeat(times).into_bytes();
    let values = section(&Column::Strings((0..1000).map(text).collect()));
    tsm.key(b"m,t=a#!~#s", 3);
    for start in (0..blocks).map(|i| 1000 * i) {
        let times: Vec<_> = (start..start + 1000).map(|i| T + i * SECOND).collect();
        tsm.block(&Block::of_section(&times, 3, &values));
    }
    tsm.finish();
    1000 * blocks as u64
}

#[test]
fn strings_that_pack_well_are_exported_within_bounds() {
    let dir = scratch();
    let lines = long_strings(dir.path(), 4, 1000);
    assert_eq!(lines, is_bounded("strings of 4 KB", dir.path()));
}

#[test]
#[ignore = "takes longer"]
fn many_strings_that_pack_well_are_exported_within_bounds() {
    for (blocks, times) in [(200, 250), (60, 1000), (30, 2000)] {
        let dir = scratch();
        let lines = long_strings(dir.path(), blocks, times);
        let what = format!("{lines} strings of {} KB", 4 * times / 1000);
        assert_eq!(lines, is_bounded(&what, dir.path()));
    }
}

/// Sixty days, a value a minute, of some hosts in two measurements; what is where in the first and in the second one.
fn sixty_days(root: &Path) -> [Laid; 2] {
    let mut tsm = Tsm::create(&tsm_path(&only_shard(root), 1, 1));
    let values = section(&Column::Integer((0..1000).collect()));
    let mut block_of = |key: String, laid: &mut Laid| {
        tsm.key(key.as_bytes(), 1);
        for start in (0..60 * 1440).step_by(1000) {
            let times: Vec<_> = (start..start + 1000).map(|i| T + i * MINUTE).collect();
            laid.put(&mut tsm, &Block::of_section(&times, 1, &values));
        }
    };
    let mut both = [Laid::default(), Laid::default()];
    for (name, laid) in ["cpu", "memory"].iter().zip(&mut both) {
        for host in 0..5 {
            for field in ["a", "b"] {
                block_of(format!("{name},host={host}#!~#{field}"), laid);
            }
        }
    }
    tsm.finish();
    both
}

#[test]
fn one_day_of_sixty_is_read_from_a_small_part_of_the_shard() {
    let dir = scratch();
    let [cpu, memory] = sixty_days(dir.path());
    let laid = Laid(cpu.0.into_iter().chain(memory.0).collect());
    let (first, last) = (T + 30 * DAY, T + 31 * DAY - 1);
    let (start, stop) = (first.to_string(), (last + 1).to_string());
    let (bytes, lines) = read(dir.path(), &["--start", &start, "--stop", &stop]);
    assert_eq!(2 * 5 * 1440, lines.len());
    laid.is_all_that_was_read(first, last, bytes);
    let all = laid.met(i64::MIN, i64::MAX);
    assert!(20 * bytes < all, "{bytes} of {all}");
}

#[test]
fn another_measurement_is_not_read() {
    let dir = scratch();
    let [_, memory] = sixty_days(dir.path());
    let (bytes, lines) = read(dir.path(), &["-m", "mem*"]);
    assert_eq!(5 * 87_000, lines.len());
    assert!(lines.iter().all(|line| line.starts_with("memory,")));
    memory.is_all_that_was_read(i64::MIN, i64::MAX, bytes);
    let (bytes, lines) = read(dir.path(), &["-m", "disk"]);
    assert_eq!((0, 0), (bytes, lines.len()));
}

#[test]
fn a_block_that_is_wholly_deleted_is_not_read() {
    let dir = scratch();
    let [cpu, memory] = sixty_days(dir.path());
    let path = only_shard(dir.path()).join("000000001-000000001.tsm");
    let mut tombstone = Tombstone::create(&path, 4);
    let until = T + 50 * DAY;
    for host in 0..5 {
        for field in ["a", "b"] {
            let key = format!("cpu,host={host}#!~#{field}");
            tombstone.record(key.as_bytes(), (i64::MIN, until - 1));
        }
    }
    tombstone.finish();
    let (bytes, lines) = read(dir.path(), &[]);
    assert_eq!(5 * (87_000 + 87_000 - 50 * 1440), lines.len());
    let late = cpu.0.into_iter().filter(|block| block.1 >= until);
    let left = Laid(late.chain(memory.0).collect());
    left.is_all_that_was_read(i64::MIN, i64::MAX, bytes);
}
