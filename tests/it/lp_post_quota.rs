//! lp-post and what it may send in a time: partitions, an allowance shared with others, and how far it is.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::scratch;
use crate::lp_post::{in_context, lines, post};
use crate::server::{Play, STORED, Server, answer_with, stored};

fn start(server: &Server, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args([
            "--host",
            &server.url,
            "--target",
            "serverless",
            "--jobs",
            "1",
        ])
        .args(args)
        .env_clear()
        .env("INFLUX_PRECISION", "ns")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn feed(child: &mut Child, text: &str) {
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_tariff_limits_the_partitions_that_requests_go_to() {
    let (told, full) = channel();
    let mut n = 0;
    let server = Server::start(move |_| {
        n += 1;
        if n == 10 {
            told.send(()).unwrap();
        }
        stored()
    });
    let mut child = start(&server, &["--rate", "serverless"]);
    const DAY: u64 = 86_400_000_000_000;
    // One more than may be written to in a quarter of an hour.
    let text: String = (0..5001).map(|n| format!("m v=1 {}\n", n * DAY)).collect();
    feed(&mut child, &in_context(&text));
    full.recv().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(Some(15), child.wait().unwrap().signal());
    let writes = server.writes();
    assert_eq!(
        vec![500; 10],
        writes
            .iter()
            .map(|text| text.lines().count())
            .collect::<Vec<_>>()
    );
    assert_eq!(text[..writes.concat().len()], writes.concat());
}

#[test]
fn a_rate_that_is_no_tariff_counts_no_partitions() {
    let server = Server::willing();
    let text: String = (0..5001)
        .map(|n: u64| format!("m v=1 {}\n", n * 86_400_000_000_000))
        .collect();
    let ran = post(&server, &["--rate", "300 GB / 5 min"], &in_context(&text));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.writes().len());
}

#[test]
fn a_server_that_one_process_has_overrun_is_left_alone_by_all_of_its_budget() {
    let dir = scratch();
    let budget = dir.path().join("budget");
    let summary = dir.path().join("summary");
    let rate = ["--rate", "1GB/s", "--budget", budget.to_str().unwrap()];
    let busy = Server::start(|_| answer_with(429, "Retry-After: 3\r\n", ""));
    let mut one = start(&busy, &rate);
    feed(&mut one, &in_context("m v=1 1\n"));
    let mut said = String::new();
    BufReader::new(one.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    assert!(said.contains("status 429"), "{said}");
    let other = Server::willing();
    let args = [&rate[..], &["--summary", summary.to_str().unwrap()]].concat();
    let ran = post(&other, &args, &in_context("m v=2 2\n"));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    one.kill().unwrap();
    one.wait().unwrap();
    let figures: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&summary).unwrap()).unwrap();
    assert!(
        figures["milliseconds_paced"].as_u64().unwrap() > 500,
        "{figures}"
    );
}

#[test]
fn progress_shows_retries_and_the_time_left_of_named_files() {
    let dir = scratch();
    let path = dir.path().join("all.lp");
    fs::write(&path, in_context(&lines(0..100_000))).unwrap();
    let (word, wait) = channel();
    let mut plays = vec![
        Play::After(wait, STORED.to_vec()),
        answer_with(503, "Retry-After: 1\r\n", ""),
    ];
    let server = Server::start(move |_| plays.pop().unwrap_or_else(stored));
    let args = [
        "--progress",
        "--batch-bytes",
        "20kB",
        path.to_str().unwrap(),
    ];
    let mut child = start(&server, &args);
    let mut stderr = child.stderr.take().unwrap();
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    // A part of the file has been read, and no more is taken while the first request is on its way.
    while !String::from_utf8_lossy(&said).contains("left, ")
        || !String::from_utf8_lossy(&said).contains(", 1 retry")
    {
        let n = stderr.read(&mut chunk).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk[..n]);
    }
    drop(word);
    std::io::copy(&mut stderr, &mut std::io::sink()).unwrap();
    assert_eq!(Some(0), child.wait().unwrap().code());
    assert_eq!(lines(0..100_000), server.writes()[1..].concat());
}
