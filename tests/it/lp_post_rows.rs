//! What lp-post makes of an answer: the rows of the list of servers' habits that need a run of their own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::harness::scratch;
use crate::lp_post::{STREAM, in_context, lines, picky, points, post, run};
use crate::server::{Play, STORED, Server, answer, answer_with, stored};

#[test]
fn a_timeout_inside_the_server_passes_and_a_text_without_headers_too() {
    let timeout = || {
        answer(
            500,
            r#"{"code":"internal error","message":"unexpected error writing points to database: timeout"}"#,
        )
    };
    let server = Server::script(vec![
        timeout(),
        timeout(),
        timeout(),
        answer(503, "request throttled, queue full"),
        answer(
            502,
            "<html><head><title>502 Bad Gateway</title></head></html>",
        ),
        answer(520, ""),
        answer(499, ""),
        answer(425, ""),
        stored(),
    ]);
    let ran = post(&server, &[], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(9, server.requests().len());
}

#[test]
fn a_line_that_version_2_quotes_is_known_by_its_content() {
    let bad = "m,t=it's\\ \"x\" s=\"a\nb': no\",f=77 2";
    let server = Server::start(move |request| {
        if !request.text().contains(bad) {
            return stored();
        }
        let message = format!("unable to parse '{bad}': missing field value");
        answer(
            400,
            &serde_json::json!({"code": "invalid", "message": message}).to_string(),
        )
    });
    let args = [
        "--host",
        &server.url,
        "--target",
        "oss2",
        "-o",
        "o",
        "-b",
        "bb",
        "-j1",
    ];
    let ran = run(&args, &[], &format!("m v=1 1\n{bad}\nm v=3 3\n"));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert!(ran.stdout.contains(bad), "{}", ran.stdout);
    assert_eq!("m v=1 1\nm v=3 3\n", server.writes()[1]);
    assert_eq!(2, server.requests().len());
}

#[test]
fn lines_in_data_are_counted_and_what_they_quote_is_not_read() {
    let array: fn() -> Play = || {
        answer(
            400,
            r#"{"error":"partial write of line protocol occurred","data":[{"error_message":"bad","line_number":2,"original_line":"m v=1 1"}]}"#,
        )
    };
    let object: fn() -> Play = || {
        answer(
            400,
            r#"{"error":"parsing failed for write_lp endpoint","data":{"error_message":"bad","line_number":2,"original_line":"m v=1 1"}}"#,
        )
    };
    // Where all others are stored nothing goes twice.
    for (refuse, requests) in [(array, 1), (object, 2)] {
        let server = picky("v=2 ", refuse);
        let ran = post(&server, &["-b", "bb"], &lines(1..4));
        assert_eq!(Some(1), ran.code, "{}", ran.stderr);
        assert_eq!(vec!["m v=2 2"], points(&ran.stdout));
        assert_eq!(requests, server.requests().len());
    }
}

#[test]
fn a_size_that_was_refused_is_not_tried_again_for_later_batches() {
    let server = Server::start(|request| match request.text().len() {
        150_001.. => answer(
            413,
            "<html><title>413 Request Entity Too Large</title></html>",
        ),
        _ => stored(),
    });
    let text: String = (0..100_000u64).map(|n| format!("m v={n} {n}\n")).collect();
    let ran = post(
        &server,
        &[
            "-b",
            "bb",
            "--batch-bytes",
            "500kB",
            "--batch-lines",
            "1000000",
        ],
        &text,
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let sizes: Vec<_> = server.writes().iter().map(String::len).collect();
    // The first batch, its half and its quarter are too large at most.
    assert!(
        sizes.iter().filter(|size| **size > 150_000).count() <= 4,
        "{sizes:?}"
    );
    assert!(
        sizes.iter().rev().take(10).all(|size| *size <= 150_000),
        "{sizes:?}"
    );
    let kept = server
        .writes()
        .into_iter()
        .filter(|text| text.len() <= 150_000);
    assert_eq!(text, kept.collect::<String>());
}

#[test]
fn a_single_record_that_a_proxy_finds_too_large_is_a_reject() {
    let server = picky("v=3 ", || {
        answer(413, "<html><title>too large</title></html>")
    });
    let ran = post(&server, &["-b", "bb"], &lines(0..6));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=3 3"], points(&ran.stdout));
}

#[test]
fn a_success_with_a_message_is_a_partial_write() {
    let server = picky("v=2 ", || {
        answer(
            201,
            r#"{"code":"invalid","line":2,"message":"partial write: column type"}"#,
        )
    });
    let ran = post(&server, &["-b", "bb"], &lines(1..4));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=2 2"], points(&ran.stdout));
    assert_eq!("m v=1 1\nm v=3 3\n", server.writes()[1]);
}

#[test]
fn a_connection_that_was_closed_while_it_was_idle_is_opened_anew() {
    let server = Server::start(|_| Play::SendAndClose(STORED.to_vec()));
    let ran = post(&server, &["-b", "bb", "--batch-lines", "2"], &lines(0..20));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(lines(0..20), server.writes().concat());
}

#[test]
fn a_hand_off_that_the_server_has_queued_is_stored() {
    let server = Server::start(|_| answer(500, r#"{"error":"hinted handoff queue not empty"}"#));
    let ran = post(&server, &["--verbose"], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.requests().len());
    assert!(ran.stderr.contains("hinted handoff"), "{}", ran.stderr);
}

#[test]
fn a_request_that_is_no_gzip_to_the_server_ends_the_run() {
    let server = Server::start(|_| answer(500, "error decoding gzip stream: invalid header"));
    let ran = post(&server, &[], STREAM);
    assert_eq!(Some(69), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.requests().len());
}

#[test]
fn a_limit_that_never_resets_ends_the_run_after_a_few_tries() {
    let server = Server::start(|_| answer(429, "max cardinality exceeded"));
    let ran = post(&server, &[], STREAM);
    assert_eq!(Some(69), ran.code, "{}", ran.stderr);
    assert_eq!(3, server.requests().len());
    let server = Server::script(vec![
        answer_with(429, "Retry-After: 0\r\n", "max cardinality exceeded"),
        stored(),
    ]);
    assert_eq!(Some(0), post(&server, &[], STREAM).code);
}

/// A server with one schema a table, where `m.v` is a float.
fn typed() -> Server {
    Server::start(|request| {
        let text = request.text();
        let bad = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains("i "));
        let clauses: Vec<_> = bad
            .map(|(n, _)| format!("error writing line {}: Unable to insert iox::column_type::field::integer type into column v with type iox::column_type::field::float", n + 1))
            .collect();
        match clauses.len() {
            0 => stored(),
            _ => {
                let list = clauses.join(", ");
                let message =
                    format!("partial write has occurred, errors encountered on line(s): {list}");
                answer(
                    400,
                    &serde_json::json!({"code": "invalid", "message": message}).to_string(),
                )
            }
        }
    })
}

#[test]
fn a_type_that_a_column_refuses_is_not_sent_again() {
    let server = typed();
    let records = "m v=1 1\nm v=2i 2\nm v=3 3\nm v=4i 4\nm v=5 5\nm v=6i 6\n";
    let args = ["--batch-lines", "2"];
    let ran = post(&server, &args, &in_context(records));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(
        vec!["m v=2i 2", "m v=4i 4", "m v=6i 6"],
        points(&ran.stdout)
    );
    let expected = ["m v=1 1\nm v=2i 2\n", "m v=3 3\n", "m v=5 5\n"];
    assert_eq!(expected, server.writes()[..]);
    let last = ran.stderr.lines().last().unwrap();
    let mends = "3 rejected: m.v is integer here and float in bucket d/r (lp-filter --cast m.v=float mends it)";
    assert_eq!(format!("lp-post: {mends}"), last);
    // What it says is true.
    let mended =
        crate::harness::run(ran.stdout.as_bytes(), &["lp-filter", "--cast", "m.v=float"]).ok();
    let server = typed();
    let ran = post(&server, &[], &mended.stdout.to_string());
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!("m v=2 2\nm v=4 4\nm v=6 6\n", server.writes().concat());
}

#[test]
fn a_type_that_one_shard_refuses_is_sent_to_the_next() {
    let server = picky("v=2i ", || {
        answer(
            400,
            r#"{"error":"partial write: field type conflict: input field \"v\" on measurement \"m\" is type integer, already exists as type float dropped=1"}"#,
        )
    });
    let args = [
        "--host",
        &server.url,
        "--target",
        "v1",
        "-b",
        "d/r",
        "-j1",
        "--batch-lines",
        "1",
    ];
    let ran = run(&args, &[], "m v=2i 2\nm v=4i 700000000000000\n");
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=2i 2"], points(&ran.stdout));
    assert_eq!(2, server.writes().len());
}

#[test]
fn a_kill_between_the_answer_and_the_journal_costs_one_batch_again() {
    let dir = scratch();
    let journal = dir.path().join("journal");
    let journal = journal.to_str().unwrap();
    let child: Arc<Mutex<Option<std::process::Child>>> = Arc::default();
    let victim = Arc::clone(&child);
    let mut n = 0;
    let server = Server::start(move |_| {
        n += 1;
        if n == 3 {
            // It has been stored here; the answer finds nobody.
            victim.lock().unwrap().as_mut().unwrap().kill().unwrap();
        }
        stored()
    });
    let args = [
        "--host",
        &server.url,
        "--target",
        "v1",
        "-b",
        "d/r",
        "-j1",
        "--batch-lines",
        "10",
        "--journal",
        journal,
    ];
    let mut held = child.lock().unwrap();
    let mut started = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(args)
        .env_clear()
        .env("INFLUX_PRECISION", "ns")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = started.stdin.take().unwrap();
    *held = Some(started);
    drop(held);
    drop(stdin.write_all(lines(0..100).as_bytes()));
    drop(stdin);
    while server.requests().len() < 3 {
        std::thread::yield_now();
    }
    let mut killed = child.lock().unwrap().take().unwrap();
    assert_eq!(None, killed.wait().unwrap().code());
    let ran = run(&args, &[], &lines(0..100));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let writes = server.writes();
    assert_eq!(11, writes.len());
    assert_eq!(writes[2], writes[3]);
    assert_eq!(
        lines(0..100),
        [&writes[..2], &writes[3..]].concat().concat()
    );
}

#[test]
fn a_request_that_hangs_does_not_hold_up_the_end() {
    let (told, asked) = std::sync::mpsc::channel();
    let server = Server::start(move |_| {
        told.send(()).unwrap();
        Play::Hang
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(["--host", &server.url, "--target", "v1", "--timeout", "1h"])
        .env_clear()
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(STREAM.as_bytes()).unwrap();
    asked.recv().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(Some(15), child.wait().unwrap().signal());
    drop(stdin);
}

#[test]
fn a_success_that_comes_late_is_one_and_nothing_goes_twice() {
    let dir = scratch();
    let journal = dir.path().join("journal");
    // The first batch is answered once the second one was sent six times: several retry delays are over then.
    let (word, wait) = std::sync::mpsc::channel::<()>();
    let (mut word, mut wait) = (Some(word), Some(wait));
    let mut tries = 0;
    let server = Server::start(move |request| {
        if request.text() == lines(0..5) {
            return match wait.take() {
                Some(wait) => Play::After(wait, STORED.to_vec()),
                None => answer(418, "this one has come before"),
            };
        }
        tries += 1;
        if tries < 6 {
            return answer_with(503, "Retry-After: 0\r\n", "");
        }
        drop(word.take());
        stored()
    });
    let input = format!(
        "# STREAM-BEGIN once\n{}# STREAM-END points:10 left-out:0\n",
        in_context(&lines(0..10))
    );
    let args = [
        "--jobs",
        "2",
        "--batch-lines",
        "5",
        "--journal",
        journal.to_str().unwrap(),
    ];
    for _ in 0..2 {
        let ran = post(&server, &args, &input);
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        assert_eq!("", ran.stdout);
        // The journal knows both: the second run sends nothing.
        assert_eq!(7, server.writes().len());
    }
}

#[test]
fn a_host_that_nobody_knows_ends_the_run_at_once() {
    // No name server has to be asked: a part of a name has 63 bytes at most.
    let host = format!("https://{}.invalid", "a".repeat(64));
    let args = ["--host", &host, "--target", "v1", "--retry-max-time", "1h"];
    let ran = run(&args, &[], STREAM);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("there is no such host"),
        "{}",
        ran.stderr
    );
}
