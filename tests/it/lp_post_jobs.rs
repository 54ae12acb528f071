//! lp-post with several requests on their way at once, and at a rate.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::scratch;
use crate::lp_post::{lines, post};
use crate::server::{Play, STORED, Server, answer_with, stored};

/// Records that are in their stream at most once.
fn once(records: &str) -> String {
    let count = records.lines().count();
    format!(
        "# STREAM-BEGIN once\n# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\n{records}# STREAM-END points:{count} left-out:0\n"
    )
}

/// A server that stores nothing before `n` requests are there at once.
fn gathering(n: usize) -> Server {
    let mut waiting: Vec<Sender<()>> = Vec::new();
    let mut gathered = false;
    Server::start(move |_| {
        if gathered {
            return stored();
        }
        let (word, wait) = channel();
        waiting.push(word);
        if waiting.len() == n {
            gathered = true;
            waiting.clear();
        }
        Play::After(wait, STORED.to_vec())
    })
}

#[test]
fn batches_of_points_that_come_once_go_all_at_once() {
    let server = gathering(4);
    let ran = post(
        &server,
        &["--jobs", "4", "--batch-lines", "10"],
        &once(&lines(0..100)),
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(10, server.writes().len());
    let mut all: Vec<_> = server
        .writes()
        .concat()
        .lines()
        .map(str::to_owned)
        .collect();
    all.sort_by_key(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap());
    assert_eq!(lines(0..100).lines().collect::<Vec<_>>(), all);
}

#[test]
fn lanes_keep_the_order_of_each_series_through_faults() {
    let mut n = 0;
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let stored_log = Arc::clone(&log);
    let server = Server::start(move |request| {
        n += 1;
        match n % 5 {
            1 => answer_with(503, "Retry-After: 0\r\n", ""),
            3 => Play::SendAndClose(Vec::new()),
            _ => {
                stored_log.lock().unwrap().push(request.text());
                stored()
            }
        }
    });
    let text: String = (0..3000u32)
        .map(|n| format!("m,s={} v={n} {n}\n", n % 37))
        .collect();
    let ran = post(
        &server,
        &["--jobs", "5", "--batch-lines", "50", "-b", "bb"],
        &text,
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let mut series: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in log.lock().unwrap().concat().lines() {
        let (key, time) = (line.split(' ').next(), line.rsplit(' ').next());
        let times = series.entry(key.unwrap().to_owned()).or_default();
        times.push(time.unwrap().parse().unwrap());
    }
    assert_eq!(37, series.len());
    for times in series.values() {
        assert!(times.is_sorted(), "{times:?}");
    }
    assert_eq!(3000, series.values().map(Vec::len).sum::<usize>());
}

#[test]
fn a_request_that_fails_holds_up_its_own_lane_only() {
    // The first batch that arrives is refused until all series of another lane are there.
    let mut first: Option<String> = None;
    let mut others = 0;
    let server = Server::start(move |request| {
        let text = request.text();
        let key = |text: &str| text.split(' ').next().map(str::to_owned);
        let is_first = *first.get_or_insert_with(|| key(&text).unwrap()) == key(&text).unwrap();
        others += usize::from(!is_first);
        if is_first && others < 3 {
            return answer_with(503, "Retry-After: 0\r\n", "");
        }
        stored()
    });
    // Two series that have lanes of their own, or the test would never end.
    let text: String = (0..6u32)
        .flat_map(|n| ["a", "b", "c", "d", "e"].map(|s| format!("{s} v={n} {n}\n")))
        .collect();
    let args = ["--jobs", "8", "--batch-lines", "2", "-b", "bb"];
    let ran = post(&server, &args, &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
}

#[test]
fn streams_one_after_the_other_keep_their_order() {
    let mut n = 0;
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let stored_log = Arc::clone(&log);
    let server = Server::start(move |request| {
        n += 1;
        if n < 4 {
            return answer_with(503, "Retry-After: 0\r\n", "");
        }
        stored_log.lock().unwrap().push(request.text());
        stored()
    });
    let both = once("m v=1 1\n") + &once("m v=2 1\n");
    let ran = post(&server, &["--jobs", "4"], &both);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=1 1\n", "m v=2 1\n"], *log.lock().unwrap());
}

fn figure(summary: &std::path::Path, name: &str) -> u64 {
    let text = fs::read_to_string(summary).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json[name].as_u64().unwrap()
}

#[test]
fn a_server_that_is_overrun_is_left_alone_by_all() {
    let dir = scratch();
    let summary = dir.path().join("summary");
    let mut n = 0;
    let mut waiting: Vec<Sender<()>> = Vec::new();
    let server = Server::start(move |_| {
        n += 1;
        match n {
            // Three wait for the fourth, which is too much; then four more have to wait for their turn.
            1..=3 => {
                let (word, wait) = channel();
                waiting.push(word);
                Play::After(wait, STORED.to_vec())
            }
            4 => answer_with(429, "Retry-After: 1\r\n", ""),
            _ => {
                waiting.clear();
                stored()
            }
        }
    });
    let args = ["--jobs", "4", "--batch-lines", "10", "--summary"];
    let args = [&args[..], &[summary.to_str().unwrap()]].concat();
    let ran = post(&server, &args, &once(&lines(0..100)));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert!(figure(&summary, "milliseconds_waited") >= 1000);
    assert_eq!(11, server.writes().len());
}

#[test]
fn the_rate_counts_every_attempt_and_clamps_batches() {
    let dir = scratch();
    let summary = dir.path().join("summary");
    let paced = |server: &Server, args: &[&str]| {
        let own = ["--rate", "10kB/s", "--summary", summary.to_str().unwrap()];
        let start = std::time::Instant::now();
        let ran = post(server, &[&own, args].concat(), &once(&lines(0..100)));
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let bytes = figure(&summary, "bytes_sent");
        // No faster than this, however slow the machine is: the bucket is empty at the start.
        assert!(
            start.elapsed() >= Duration::from_micros(bytes * 100),
            "{bytes}"
        );
        assert!(figure(&summary, "milliseconds_paced") > 0);
        bytes
    };
    let server = Server::willing();
    let bytes = paced(&server, &[]);
    assert_eq!(lines(0..100).len() as u64, bytes);
    assert!(server.writes().iter().all(|text| text.len() <= 100));
    let mut n = 0;
    let twice = Server::start(move |_| {
        n += 1;
        match n % 2 {
            1 => answer_with(503, "Retry-After: 0\r\n", ""),
            _ => stored(),
        }
    });
    let budget = dir.path().join("budget");
    let again = paced(&twice, &["--budget", budget.to_str().unwrap()]);
    assert_eq!(2 * bytes, again);
}

#[test]
fn a_budget_is_a_rate_that_is_shared() {
    let dir = scratch();
    let path = dir.path().join("budget");
    let budget = ["--budget", path.to_str().unwrap()];
    let server = Server::willing();
    assert_eq!(Some(2), post(&server, &budget, &once("m v=1 1\n")).code);
    let args = [&budget[..], &["--rate", "unlimited"]].concat();
    assert_eq!(Some(2), post(&server, &args, &once("m v=1 1\n")).code);
    fs::write(&path, "something else").unwrap();
    let args = [&budget[..], &["--rate", "1MB/s"]].concat();
    assert_eq!(Some(2), post(&server, &args, &once("m v=1 1\n")).code);
}

#[test]
fn a_record_that_no_window_has_room_for_is_a_reject() {
    let server = Server::willing();
    let text = format!("m v=1 1\nm s=\"{}\" 2\nm v=3 3\n", "x".repeat(1000));
    let ran = post(&server, &["--rate", "900B/ms", "-b", "bb"], &text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!("m v=1 1\nm v=3 3\n", server.writes().concat());
    assert!(ran.stdout.contains("900B/ms"), "{}", ran.stdout);
}

#[test]
fn a_dry_run_says_how_long_the_rate_would_take() {
    let server = Server::willing();
    let args = ["--dry-run", "--rate", "10B/min", "-b", "bb"];
    let ran = post(&server, &args, &lines(0..10));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("takes 8min 0s at 10B/min"),
        "{}",
        ran.stderr
    );
}

/// The most memory that lp-post had, in bytes, as seen at each of its requests.
fn peak_memory(args: &[&str], input: impl FnOnce(&mut dyn Write)) -> u64 {
    let (pid, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
    let (of, most) = (Arc::clone(&pid), Arc::clone(&peak));
    let server = Server::start(move |_| {
        let status = fs::read_to_string(format!("/proc/{}/status", of.load(Ordering::SeqCst)));
        let status = status.unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        most.fetch_max(kilobytes.unwrap_or(0) * 1024, Ordering::SeqCst);
        stored()
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(["--host", &server.url, "--target", "serverless"])
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    pid.store(child.id(), Ordering::SeqCst);
    let mut stdin = child.stdin.take().unwrap();
    input(&mut stdin);
    drop(stdin);
    assert_eq!(Some(0), child.wait().unwrap().code());
    peak.load(Ordering::SeqCst)
}

#[test]
fn two_thousand_buckets_in_turn_stay_within_the_memory_bound() {
    let args = [
        "--jobs",
        "4",
        "--batch-bytes",
        "4MB",
        "--batch-lines",
        "100000",
    ];
    let peak = peak_memory(&args, |stdin| {
        let mut text = String::from(
            "# STREAM-BEGIN once\n# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\n",
        );
        let long = "x".repeat(150);
        for n in 0..300_000u64 {
            let value = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            text += &format!(
                "# CONTEXT-BUCKET:b{}\nm,host=h{} v={value}u,s=\"{long}\" {n}\n",
                n * 7 % 2000,
                n % 50
            );
            if text.len() > 60_000 {
                stdin.write_all(text.as_bytes()).unwrap();
                text.clear();
            }
        }
        text += "# STREAM-END points:300000 left-out:0\n";
        stdin.write_all(text.as_bytes()).unwrap();
    });
    println!("{peak} bytes at most");
    assert!(peak > 0, "no memory was seen");
    assert!(peak < (16 << 20) + 2 * 4 * 4_000_000, "{peak} bytes");
}

#[test]
fn lanes_of_large_batches_stay_within_the_memory_bound() {
    let args = [
        "--jobs",
        "8",
        "--batch-bytes",
        "4MB",
        "--batch-lines",
        "100000",
        "-b",
        "bb",
        "--precision",
        "ns",
    ];
    // Each lane in turn fills a batch or two, and leaves a few records for the next one.
    let peak = peak_memory(&args, |stdin| {
        let (mut text, long) = (String::new(), "x".repeat(150));
        for n in 0..400_000u64 {
            let value = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            text += &format!(
                "m,host=h{} v={value}u,s=\"{long}\" {n}\n",
                n / 25_000 * 7 % 50
            );
            if text.len() > 60_000 {
                stdin.write_all(text.as_bytes()).unwrap();
                text.clear();
            }
        }
        stdin.write_all(text.as_bytes()).unwrap();
    });
    println!("{peak} bytes at most");
    assert!(peak > 0, "no memory was seen");
    assert!(peak < (16 << 20) + 2 * 8 * 4_000_000, "{peak} bytes");
}
