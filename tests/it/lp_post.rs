//! lp-post against a server that plays a script.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::server::{Play, Request, Server, answer, answer_with, stored};

const STREAM: &str = "# STREAM-BEGIN once
# CONTEXT-DATABASE:d
# CONTEXT-RETENTION-POLICY:r
# CONTEXT-RETENTION-PERIOD:3600s
# CONTEXT-SHARD:1
m,t=a v=1 1
m,t=b v=2 2
# a note

m,t=c s=\"x
y\" 3
# STREAM-END points:3 left-out:0
";

const RECORDS: &str = "m,t=a v=1 1\nm,t=b v=2 2\nm,t=c s=\"x\ny\" 3\n";

struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Run lp-post with nothing in its environment but `env`.
fn run(args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(args)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.as_bytes().to_vec();
    // A program that ends early leaves its input unread.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Post to a server that needs no questions asked.
fn post(server: &Server, args: &[&str], input: &str) -> Ran {
    let own = [
        "--host",
        &server.url,
        "--target",
        "serverless",
        "--retry-delay",
        "1ms",
    ];
    run(&[&own, args].concat(), &[], input)
}

/// lp-post on a server that always says to come back in a minute; `act` is done once it waits.
fn interrupted(act: impl FnOnce(&mut Child)) -> ExitStatus {
    let (told, asked) = mpsc::channel();
    let server = Server::start(move |_| {
        told.send(()).unwrap();
        answer_with(503, "Retry-After: 60\r\n", "")
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(["--host", &server.url, "--target", "v1"])
        .env_clear()
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(STREAM.as_bytes())
        .unwrap();
    asked.recv().unwrap();
    act(&mut child);
    child.wait().unwrap()
}

fn lines(n: std::ops::Range<u32>) -> String {
    n.map(|n| format!("m v={n} {n}\n")).collect()
}

fn in_context(records: &str) -> String {
    format!("# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\n{records}")
}

/// The points among the lines of a stream without line feeds in strings.
fn points(stream: &str) -> Vec<&str> {
    stream
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

/// A server that refuses, by `refuse`, what holds one of its bad records, and stores all the rest.
fn picky(bad: &'static str, refuse: fn() -> Play) -> Server {
    Server::start(move |request| {
        if request.text().contains(bad) {
            refuse()
        } else {
            stored()
        }
    })
}

#[test]
fn everything_is_stored_as_it_came_without_comments() {
    let server = Server::willing();
    let ran = post(&server, &["--token", "secret"], STREAM);
    assert_eq!((Some(0), "", ""), (ran.code, &*ran.stdout, &*ran.stderr));
    let requests = server.requests();
    assert_eq!(1, requests.len());
    let request = &requests[0];
    assert_eq!(
        "/api/v2/write?org=-&bucket=d%2Fr&precision=ns",
        request.path
    );
    assert_eq!(RECORDS, request.text());
    let length = request.body.len().to_string();
    for (name, value) in [
        ("content-encoding", "gzip"),
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", length.as_str()),
        ("accept", "application/json"),
        ("authorization", "Token secret"),
        ("user-agent", concat!("lp-post/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(Some(value), request.header(name));
    }
    assert_eq!(None, request.header("transfer-encoding"));
    assert_eq!(None, request.header("expect"));
}

#[test]
fn version_1_is_written_to_by_database_and_policy() {
    let server = Server::willing();
    let args = ["--host", &server.url, "--target", "v1", "--token", "u:p"];
    assert_eq!(Some(0), run(&args, &[], STREAM).code);
    assert_eq!("/write?db=d&rp=r&precision=ns", server.requests()[0].path);
    assert_eq!(
        Some("Basic dTpw"),
        server.requests()[0].header("authorization")
    );
}

#[test]
fn a_base_url_may_have_a_path() {
    for slash in ["", "/"] {
        let server = Server::willing();
        let host = format!("{}/a/b{slash}", server.url);
        let ran = run(
            &["--host", &host, "--target", "oss2", "-o", "o"],
            &[],
            STREAM,
        );
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let expected = "/a/b/api/v2/write?org=o&bucket=d%2Fr&precision=ns";
        assert_eq!(expected, server.requests()[0].path);
    }
}

#[test]
fn batches_end_at_their_lines_and_never_inside_a_record() {
    let server = Server::willing();
    let text = "m s=\"1\n\n# x\" 1\nm s=\"2\n\" 2\nm v=3 3\n";
    let ran = post(&server, &["-b", "b", "--batch-lines", "2"], text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(
        vec!["m s=\"1\n\n# x\" 1\nm s=\"2\n\" 2\n", "m v=3 3\n"],
        server.writes()
    );
}

#[test]
fn every_context_comment_begins_a_new_batch_but_a_bucket() {
    let server = Server::willing();
    let text = "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\n# CONTEXT-SHARD:1\nm v=1 1\n\
                # CONTEXT-SHARD:2\nm v=2 2\n# CONTEXT-BUCKET:a\nm v=3 3\n# CONTEXT-BUCKET:b\nm v=4 4\n\
                # CONTEXT-BUCKET:a\nm v=5 5\n";
    assert_eq!(Some(0), post(&server, &[], text).code);
    let expected = vec!["m v=1 1\n", "m v=2 2\n", "m v=3 3\nm v=5 5\n", "m v=4 4\n"];
    assert_eq!(expected, server.writes());
    let paths: Vec<_> = server.requests().iter().map(|r| r.path.clone()).collect();
    assert!(
        paths[1].contains("bucket=d%2Fr&") && paths[2].contains("bucket=a&"),
        "{paths:?}"
    );
}

#[test]
fn what_passes_is_sent_again() {
    let server = Server::script(vec![
        answer_with(429, "Retry-After: 0\r\n", ""),
        answer_with(503, "Retry-After: 0.002\r\n", "busy"),
        answer_with(503, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""),
        answer_with(429, "Retry-After: soon\r\n", ""),
        answer(500, r#"{"error":"timeout"}"#),
        answer(
            400,
            r#"{"code":"invalid","message":"write buffer error: error from wal: x"}"#,
        ),
        answer(408, "<html>"),
        stored(),
    ]);
    let ran = post(&server, &[], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vec![RECORDS; 8], server.writes());
    assert!(
        ran.stderr.contains("status 429; again in 0.0 s"),
        "{}",
        ran.stderr
    );
}

#[test]
fn connections_that_break_and_answers_that_are_none_are_sent_again() {
    let server = Server::script(vec![
        Play::SendAndClose(Vec::new()),
        Play::SendAndClose(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Play::SendAndClose(b"HTTP/1.1 500 x\r\nContent-Length: 100\r\n\r\nhalf".to_vec()),
        Play::Hang,
        stored(),
    ]);
    let ran = post(&server, &["--timeout", "200ms"], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vec![RECORDS; 5], server.writes());
}

#[test]
fn a_reset_in_the_middle_of_the_body_is_sent_again() {
    let mut left = 2;
    let early = move |_: &str| {
        left -= 1;
        left >= 0
    };
    let server = Server::start_rude(early, |_| stored());
    // More than the sockets hold, so that the reset comes while it is being sent.
    let text: String = (0..200_000u64)
        .map(|n| format!("m v={} {n}\n", n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
        .collect();
    let ran = post(&server, &["-b", "b", "--batch-lines", "1000000"], &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vec![text], server.writes());
}

#[test]
fn patience_ends_with_status_75() {
    let server = Server::start(|_| answer(503, "busy"));
    let ran = post(&server, &["--retry-max-time", "20ms"], STREAM);
    assert_eq!(Some(75), ran.code);
    assert!(
        ran.stderr.contains("gave up: status 503: busy"),
        "{}",
        ran.stderr
    );
    let told = ran.stderr.matches("again in").count();
    assert!(told <= 3, "{}", ran.stderr);
}

#[test]
fn nobody_there_is_worth_waiting_for() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let args = [
        "--host",
        &gone,
        "--target",
        "v1",
        "--retry-delay",
        "1ms",
        "--retry-max-time",
        "10ms",
    ];
    assert_eq!(Some(75), run(&args, &[], STREAM).code);
}

#[test]
fn what_is_too_large_is_sent_in_halves() {
    let server = Server::start(|request| {
        if request.text().lines().count() > 3 {
            answer(
                413,
                "<html><title>413 Request Entity Too Large</title></html>",
            )
        } else {
            stored()
        }
    });
    let ran = post(&server, &["-b", "b"], &lines(0..8));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let counts: Vec<_> = server
        .writes()
        .iter()
        .map(|text| text.lines().count())
        .collect();
    assert_eq!(vec![8, 4, 2, 2, 4, 2, 2], counts);
    let stored: String = server
        .writes()
        .into_iter()
        .filter(|text| text.lines().count() < 4)
        .collect();
    assert_eq!(lines(0..8), stored);
}

#[test]
fn a_single_record_that_is_too_large_is_a_reject() {
    let server = picky("v=3 ", || {
        answer(500, "max request size (10485760 bytes) exceeded")
    });
    let ran = post(&server, &["-b", "b"], &lines(0..6));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=3 3"], points(&ran.stdout));
}

#[test]
fn lines_that_version_3_names_become_rejects_and_the_rest_goes_again() {
    let refusal = |start: &str, list: &str| {
        let body = format!(
            r#"{{"code":"invalid","line":2,"message":"{start}, errors encountered on line(s): {list}"}}"#
        );
        answer(400, &body)
    };
    let server = Server::script(vec![
        refusal(
            "no data written",
            "error parsing line 2 (1-based): bad one, error writing line 4: bad two",
        ),
        refusal(
            "partial write has occurred",
            "error parsing line 1 (1-based): bad three",
        ),
    ]);
    let ran = post(&server, &[], &in_context(&lines(1..6)));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(
        vec![lines(1..6), "m v=1 1\nm v=3 3\nm v=5 5\n".to_owned()],
        server.writes()
    );
    assert_eq!(
        "# STREAM-BEGIN
# CONTEXT-DATABASE:d
# CONTEXT-RETENTION-POLICY:r
# CONTEXT-BUCKET:d/r
# REJECT standard input:4: bad one
m v=2 2
# REJECT standard input:6: bad two
m v=4 4
# REJECT standard input:3: bad three
m v=1 1
# STREAM-END points:3 left-out:0
",
        ran.stdout
    );
    assert!(
        ran.stderr.contains("2 accepted, 3 rejected"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_hundred_names_may_not_be_all() {
    let server = Server::start(|request| {
        let text = request.text();
        let bad = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains("bad"));
        let clauses: Vec<_> = bad
            .take(100)
            .map(|(n, _)| format!("error parsing line {} (1-based): no", n + 1))
            .collect();
        if clauses.is_empty() {
            return stored();
        }
        let list = clauses.join(", ");
        let body = format!(
            r#"{{"code":"invalid","message":"partial write has occurred, errors encountered on line(s): {list}"}}"#
        );
        answer(400, &body)
    });
    let text: String = (0..500)
        .map(|n| format!("m{} v={n} {n}\n", if n % 2 == 0 { "bad" } else { "" }))
        .collect();
    let ran = post(&server, &["-b", "b"], &text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(250, points(&ran.stdout).len());
    // The third answer names fewer than it could, so all others are stored.
    assert_eq!(3, server.requests().len());
}

#[test]
fn records_that_version_1_quotes_become_rejects_and_nothing_goes_twice() {
    let body = r#"{"error":"partial write: unable to parse 'm,t=b s=\"it's\ny\" x': invalid boolean dropped=0"}"#;
    let server = Server::script(vec![answer(400, body)]);
    let text = "m v=1 1\nm,t=b s=\"it's\ny\" x 2\nm v=3 3\n";
    let args = ["--host", &server.url, "--target", "v1", "-b", "d/r"];
    let ran = run(&args, &[], text);
    // The record in the answer is another one: nothing is believed, and halves are sent.
    assert_ne!(Some(0), ran.code);
    assert!(server.requests().len() > 1);

    let body = r#"{"error":"partial write: unable to parse 'm,t=b s=\"it's\ny\",f=x 2': invalid boolean dropped=0"}"#;
    let server = Server::script(vec![answer(400, body)]);
    let text = "m v=1 1\nm,t=b s=\"it's\ny\",f=x 2\nm v=3 3\n";
    let args = ["--host", &server.url, "--target", "v1", "-b", "d/r"];
    let ran = run(&args, &[], text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.requests().len());
    assert!(
        ran.stdout
            .contains("# REJECT standard input:2: invalid boolean\nm,t=b s=\"it's\ny\",f=x 2\n")
    );
}

#[test]
fn version_2_stores_nothing_of_a_refused_batch_so_the_rest_goes_again() {
    let server = picky("v=x", || {
        answer(
            400,
            r#"{"code":"invalid","message":"unable to parse 'm v=x 2': invalid boolean"}"#,
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
        "b",
    ];
    let ran = run(&args, &[], "m v=1 1\nm v=x 2\nm v=3 3\n");
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!("m v=1 1\nm v=3 3\n", server.writes()[1]);
    assert_eq!(vec!["m v=x 2"], points(&ran.stdout));
}

#[test]
fn a_bad_record_without_a_name_is_found_by_halves() {
    for (status, body) in [
        (
            422,
            r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict dropped=1"}"#,
        ),
        (400, r#"{"code":"invalid"}"#),
        (400, ""),
        (
            500,
            "body content is not valid utf8: invalid utf-8 sequence",
        ),
    ] {
        let server = Server::start(move |request| {
            if request.text().contains("v=700 ") {
                answer(status, body)
            } else {
                stored()
            }
        });
        let ran = post(&server, &["-b", "b"], &lines(0..1024));
        assert_eq!(Some(1), ran.code, "{}", ran.stderr);
        assert_eq!(vec!["m v=700 700"], points(&ran.stdout));
        assert_eq!(21, server.requests().len());
        let texts = server
            .writes()
            .into_iter()
            .filter(|text| !text.contains("v=700 "));
        let mut rest: Vec<String> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        rest.sort();
        let mut expected: Vec<_> = (0..1024)
            .filter(|n| *n != 700)
            .map(|n| format!("m v={n} {n}"))
            .collect();
        expected.sort();
        assert_eq!(expected, rest);
    }
}

#[test]
fn a_record_that_makes_the_server_hang_up_is_found_by_halves() {
    let server = Server::start(|request| {
        if request.path.contains("/write") && request.text().contains("v=3 ") {
            Play::SendAndClose(Vec::new())
        } else {
            stored()
        }
    });
    let ran = post(&server, &["-b", "b"], &lines(0..8));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=3 3"], points(&ran.stdout));
    assert!(
        ran.stdout.contains("again and again for this record alone"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_record_that_breaks_the_server_is_found_even_where_it_comes_first() {
    let server = picky("v=0 ", || answer(500, "panic"));
    let ran = post(&server, &["-b", "b"], &lines(0..8));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=0 0"], points(&ran.stdout));
}

#[test]
fn a_server_that_always_fails_makes_no_rejects() {
    let server = Server::start(|_| answer(500, "timeout"));
    let ran = post(
        &server,
        &["-b", "b", "--retry-max-time", "300ms"],
        &lines(0..8),
    );
    assert_eq!(Some(75), ran.code, "{}", ran.stderr);
    assert_eq!("", ran.stdout);
}

#[test]
fn what_the_data_say_names_nobody() {
    // A record quotes a refusal of its neighbour, and the server quotes the record.
    let bad = "m s=\"unable to parse 'm v=1 1': x\" bad 2\n";
    let server = Server::start(|request| {
        let text = request.text();
        let Some(bad) = text.lines().find(|line| line.contains(" bad ")) else {
            return stored();
        };
        let message = format!("unable to parse '{bad}': missing fields");
        answer(
            400,
            &format!("{{\"error\":{}}}", serde_json::Value::from(message)),
        )
    });
    let ran = post(&server, &["-b", "b"], &format!("m v=1 1\n{bad}m v=3 3\n"));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec![bad.trim_end()], points(&ran.stdout));
}

#[test]
fn a_long_error_is_read_in_part() {
    let server = picky("v=2 ", || answer(400, &"x".repeat(5 << 20)));
    let ran = post(&server, &["-b", "b"], &lines(0..4));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=2 2"], points(&ran.stdout));
    assert!(ran.stdout.len() < 2000);
}

#[test]
fn permission_ends_the_run_with_77_and_shows_no_token() {
    for status in [401, 403] {
        let server =
            Server::start(move |_| answer(status, r#"{"code":"unauthorized","message":"no"}"#));
        let ran = post(&server, &["--token", "very-secret", "--verbose"], STREAM);
        assert_eq!(Some(77), ran.code);
        assert_eq!(1, server.requests().len());
        assert!(!ran.stderr.contains("very-secret"), "{}", ran.stderr);
    }
}

#[test]
fn what_is_set_up_wrongly_ends_the_run_with_78() {
    for play in [
        || {
            answer(
                404,
                r#"{"code":"not found","message":"bucket \"d/r\" not found"}"#,
            )
        },
        || answer(405, ""),
        || answer(200, "<html><title>Log in</title></html>"),
        || answer(500, r#"{"error":"retention policy not found: r"}"#),
        || {
            answer(
                400,
                r#"{"code":"invalid","message":"missing bucket value"}"#,
            )
        },
    ] {
        let server = Server::start(move |_| play());
        let ran = post(&server, &[], STREAM);
        assert_eq!(Some(78), ran.code, "{}", ran.stderr);
        assert_eq!(1, server.requests().len());
    }
}

#[test]
fn no_redirect_is_followed() {
    let target = Server::willing();
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}/elsewhere\r\n", target.url);
        let server = Server::start(move |_| answer_with(status, &location, ""));
        let ran = post(&server, &["--token", "t"], STREAM);
        assert_eq!(Some(78), ran.code);
        assert!(ran.stderr.contains("/elsewhere"), "{}", ran.stderr);
        assert_eq!(1, server.requests().len());
    }
    assert_eq!(0, target.requests().len());
}

#[test]
fn too_many_rejects_end_the_run_with_69_and_the_reasons() {
    let server = Server::start(|_| answer(400, r#"{"code":"invalid","message":"no such thing"}"#));
    let ran = post(&server, &["-b", "b", "--max-rejects", "3"], &lines(0..100));
    assert_eq!(Some(69), ran.code, "{}", ran.stderr);
    assert_eq!(4, points(&ran.stdout).len());
    assert!(ran.stderr.contains("4 x no such thing"), "{}", ran.stderr);
    assert!(
        ran.stdout.ends_with("# STREAM-FAILED status:69\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_cut_stream_is_stored_as_far_as_it_came_and_ends_with_65() {
    let whole = STREAM.trim_end().len() - "# STREAM-END points:3 left-out:0".len();
    let begun = STREAM.find("m,t=a").unwrap();
    for end in begun..STREAM.len() - 1 {
        if !STREAM.is_char_boundary(end) {
            continue;
        }
        let server = Server::willing();
        let ran = post(&server, &[], &STREAM[..end]);
        assert_eq!(Some(65), ran.code, "{end}: {}", ran.stderr);
        let stored: String = server.writes().concat();
        assert!(RECORDS.starts_with(&stored), "{end}");
        assert!(stored.is_empty() || stored.ends_with('\n'), "{end}");
        if end >= whole {
            assert_eq!(RECORDS, stored);
        }
    }
}

#[test]
fn a_failed_stream_ends_with_the_status_of_the_cause() {
    let server = Server::willing();
    let failed = STREAM.replace(
        "# STREAM-END points:3 left-out:0",
        "# STREAM-FAILED status:77",
    );
    let ran = post(&server, &[], &failed);
    assert_eq!(Some(77), ran.code, "{}", ran.stderr);
    assert_eq!(vec![RECORDS], server.writes());
    let server = Server::willing();
    let left_out = STREAM.replace("left-out:0", "left-out:4");
    assert_eq!(Some(1), post(&server, &[], &left_out).code);
    assert_eq!(vec![RECORDS], server.writes());
}

#[test]
fn empty_input_is_no_success_unless_it_may_be() {
    let server = Server::willing();
    let ran = post(&server, &[], "");
    assert_eq!(Some(66), ran.code);
    assert!(
        ran.stderr.contains("the program before wrote nothing"),
        "{}",
        ran.stderr
    );
    assert_eq!(Some(0), post(&server, &["--allow-empty"], "").code);
    let pair = "# STREAM-BEGIN\n# STREAM-END points:0 left-out:0\n";
    assert_eq!(Some(0), post(&server, &[], pair).code);
    assert_eq!(0, server.requests().len());
}

#[test]
fn the_first_point_needs_a_bucket_and_later_ones_without_are_rejects() {
    let server = Server::willing();
    let ran = post(&server, &[], "m v=1 1\n");
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("--context DB/RP"), "{}", ran.stderr);
    assert_eq!(0, server.requests().len());
    let ran = post(&server, &[], &format!("{STREAM}m v=4 4\n"));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=4 4"], points(&ran.stdout));
    assert_eq!(vec![RECORDS], server.writes());
}

#[test]
fn a_stream_without_context_gets_one_from_an_option_or_the_environment() {
    let buckets = |args: &[&str], env: &[(&str, &str)], input: &str| {
        let server = Server::willing();
        let own = ["--host", &server.url, "--target", "serverless"];
        let ran = run(&[&own, args].concat(), env, input);
        let paths: Vec<_> = server
            .requests()
            .iter()
            .map(|request| request.path.split('&').nth(1).unwrap().to_owned())
            .collect();
        (ran.code, paths.join(" "))
    };
    let env = [("INFLUX_BUCKET_NAME", "env")];
    assert_eq!(
        (Some(0), "bucket=x%2Fy".into()),
        buckets(&["--context", "x/y"], &env, "m v=1 1\n")
    );
    assert_eq!(
        (Some(0), "bucket=env".into()),
        buckets(&[], &env, "m v=1 1\n")
    );
    // The stream knows better, and a stream that knew something is not guessed about.
    assert_eq!(
        (Some(0), "bucket=d%2Fr".into()),
        buckets(&["--context", "x/y"], &env, STREAM)
    );
    let more = format!("{STREAM}m v=4 4\n");
    assert_eq!((Some(1), "bucket=d%2Fr".into()), buckets(&[], &env, &more));
    assert_eq!(
        (Some(0), "bucket=b".into()),
        buckets(&["-b", "b"], &env, STREAM)
    );
}

#[test]
fn one_bucket_for_several_needs_a_word() {
    let two = format!("{STREAM}{}", STREAM.replace("DATABASE:d", "DATABASE:e"));
    let server = Server::willing();
    let ran = post(&server, &["-b", "b"], &two);
    assert_eq!(Some(2), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("d/r and of e/r"), "{}", ran.stderr);
    let server = Server::willing();
    assert_eq!(
        Some(0),
        post(&server, &["-b", "b", "--merge-buckets"], &two).code
    );
    assert_eq!(vec![RECORDS; 2], server.writes());
}

/// A server with `/api/v2/buckets` that keeps `period` seconds where the bucket exists.
fn with_buckets(period: Option<u64>) -> Server {
    let mut period = period;
    Server::start(
        move |request| match (request.method.as_str(), request.path.as_str()) {
            ("GET", path) if path.starts_with("/api/v2/orgs") => {
                answer(200, r#"{"orgs":[{"id":"00000000000000aa","name":"o"}]}"#)
            }
            ("GET", _) => match period {
                None => answer(404, r#"{"code":"not found","message":"no"}"#),
                Some(period) => answer(
                    200,
                    &format!(
                        r#"{{"buckets":[{{"id":"bb","name":"d/r","retentionRules":[{{"everySeconds":{period}}}]}}]}}"#
                    ),
                ),
            },
            (_, "/api/v2/buckets") => {
                let json: serde_json::Value = serde_json::from_str(&request.text()).unwrap();
                period = json["retentionRules"][0]["everySeconds"].as_u64();
                answer(201, &json.to_string())
            }
            _ if period.is_none() => answer(
                404,
                r#"{"code":"not found","message":"bucket \"d/r\" not found"}"#,
            ),
            _ => stored(),
        },
    )
}

fn asked(server: &Server) -> Vec<String> {
    let ask = |request: &Request| {
        let path = request.path.split('?').next().unwrap();
        format!("{} {path}", request.method)
    };
    server.requests().iter().map(ask).collect()
}

#[test]
fn missing_buckets_are_made_with_the_period_of_the_context() {
    let server = with_buckets(None);
    let ran = post(&server, &["--create-buckets", "-o", "o"], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let expected = [
        "GET /api/v2/orgs",
        "GET /api/v2/buckets",
        "POST /api/v2/buckets",
        "POST /api/v2/write",
    ];
    assert_eq!(expected.as_slice(), asked(&server));
    let json: serde_json::Value = serde_json::from_str(&server.requests()[2].text()).unwrap();
    let expected = serde_json::json!({
        "orgID": "00000000000000aa",
        "name": "d/r",
        "retentionRules": [{"type": "expire", "everySeconds": 3600}],
    });
    assert_eq!(expected, json);
}

#[test]
fn contexts_without_points_make_buckets_too() {
    let server = with_buckets(None);
    let contexts: String = STREAM
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(
        Some(0),
        post(&server, &["--create-buckets", "-o", "o"], &contexts).code
    );
    assert_eq!(
        vec![
            "GET /api/v2/orgs",
            "GET /api/v2/buckets",
            "POST /api/v2/buckets"
        ],
        asked(&server)
    );
}

#[test]
fn a_bucket_that_keeps_less_ends_the_run_before_its_first_point() {
    let server = with_buckets(Some(60));
    let ran = post(&server, &["--create-buckets", "-o", "o"], STREAM);
    assert_eq!(Some(78), ran.code);
    assert!(
        ran.stderr
            .contains("influx bucket update --id bb --retention 3600s"),
        "{}",
        ran.stderr
    );
    assert_eq!(0, server.writes().len());
    for period in [0, 3600, 7200] {
        let server = with_buckets(Some(period));
        assert_eq!(
            Some(0),
            post(&server, &["--create-buckets", "-o", "o"], STREAM).code
        );
    }
}

#[test]
fn a_period_that_nobody_says_is_never_left_to_the_server() {
    let bare = STREAM.replace("# CONTEXT-RETENTION-PERIOD:3600s\n", "");
    let server = with_buckets(None);
    let ran = post(&server, &["--create-buckets", "-o", "o"], &bare);
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("--retention-period"), "{}", ran.stderr);
    assert_eq!(0, server.requests().len());
    for (said, expected) in [("infinite", 0), ("30d", 2_592_000), ("d/r=2h", 7200)] {
        let server = with_buckets(None);
        let args = ["--create-buckets", "-o", "o", "--retention-period", said];
        assert_eq!(Some(0), post(&server, &args, &bare).code);
        let json: serde_json::Value = serde_json::from_str(&server.requests()[2].text()).unwrap();
        assert_eq!(expected, json["retentionRules"][0]["everySeconds"]);
    }
}

#[test]
fn a_bucket_that_is_gone_is_made_again_once() {
    let mut writes = 0;
    let server = Server::start(move |request| {
        if request.method == "GET" && request.path.contains("orgs") {
            return answer(200, r#"{"orgs":[{"id":"00000000000000aa","name":"o"}]}"#);
        }
        if !request.path.contains("/write") {
            return answer(
                200,
                r#"{"buckets":[{"id":"bb","name":"d/r","retentionRules":[]}]}"#,
            );
        }
        writes += 1;
        if writes == 1 {
            answer(404, "")
        } else {
            stored()
        }
    });
    let ran = post(&server, &["--create-buckets", "-o", "o"], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(2, server.writes().len());
}

#[test]
fn buckets_cannot_be_made_where_there_is_no_way_to() {
    let server = Server::willing();
    let args = ["--host", &server.url, "--target", "v1", "--create-buckets"];
    assert_eq!(Some(2), run(&args, &[], STREAM).code);
}

#[test]
fn a_dry_run_needs_no_server_and_says_what_would_go_where() {
    let ran = run(&["--dry-run"], &[], STREAM);
    assert_eq!((Some(0), ""), (ran.code, &*ran.stdout));
    assert!(
        ran.stderr.contains("d/r: 3 points in 1 request, 40 bytes"),
        "{}",
        ran.stderr
    );
    let server = Server::willing();
    assert_eq!(Some(0), post(&server, &["--dry-run"], STREAM).code);
    assert_eq!(0, server.requests().len());
    assert_eq!(
        Some(65),
        run(&["--dry-run"], &[], &STREAM[..STREAM.len() - 40]).code
    );
}

#[test]
fn the_server_is_asked_what_it_is() {
    for (version, build, path) in [
        ("1.8.10", "OSS", "/write?db=d&rp=r&precision=ns"),
        (
            "v2.7.6",
            "OSS",
            "/api/v2/write?org=o&bucket=d%2Fr&precision=ns",
        ),
        (
            "1.8.0",
            "",
            "/api/v2/write?org=-&bucket=d%2Fr&db=d%2Fr&precision=ns",
        ),
    ] {
        let server = Server::start(move |request| {
            let build = if build.is_empty() {
                String::new()
            } else {
                format!("X-Influxdb-Build: {build}\r\n")
            };
            let headers = format!("X-Influxdb-Version: {version}\r\n{build}");
            if request.path == "/ping" {
                answer_with(204, &headers, "")
            } else {
                stored()
            }
        });
        let ran = run(
            &["--host", &server.url, "-o", "o"],
            &[],
            &in_context("m v=1 1\n"),
        );
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        assert!(ran.stderr.contains("--target"), "{}", ran.stderr);
        assert_eq!(path, server.requests()[1].path);
    }
    let server = Server::start(|_| answer_with(204, "X-Influxdb-Build: cloud2\r\n", ""));
    assert_eq!(Some(78), run(&["--host", &server.url], &[], STREAM).code);
    assert_eq!(1, server.requests().len());
}

#[test]
fn there_is_no_default_server() {
    let ran = run(&[], &[], STREAM);
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("--host"), "{}", ran.stderr);
    for host in [
        "localhost:8086",
        "ftp://h",
        "http://u:p@h",
        "http://h?x=y",
        "http://h#x",
        "http://",
    ] {
        assert_eq!(Some(78), run(&["--host", host], &[], STREAM).code, "{host}");
    }
}

/// A proxy that is itself the server behind it.
fn tunnel() -> Server {
    Server::start(|request| {
        if request.method == "CONNECT" {
            Play::Send(b"HTTP/1.1 200 x\r\n\r\n".to_vec())
        } else {
            stored()
        }
    })
}

#[test]
fn a_token_never_goes_over_plain_http_to_another_machine() {
    let proxy = tunnel();
    let args = ["--host", "http://influx.test:8086", "--target", "v1"];
    let env = [
        ("INFLUX_TOKEN", "very-secret"),
        ("http_proxy", proxy.url.as_str()),
    ];
    let ran = run(&args, &env, STREAM);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("--allow-http") && !ran.stderr.contains("very-secret"));
    assert_eq!(0, proxy.requests().len());
    let allowed = [args.as_slice(), &["--allow-http"]].concat();
    assert_eq!(Some(0), run(&allowed, &env, STREAM).code);
    assert_eq!(Some(0), run(&args, &env[1..], STREAM).code);
}

#[test]
fn settings_come_from_options_then_variables_then_the_profile() {
    let dir = tempfile::tempdir().unwrap();
    let configs = dir.path().join("configs");
    let server = Server::willing();
    let text = format!(
        "[a]\nurl = \"{}\"\ntoken = \"profile-token\"\norg = \"profile-org\"\nactive = true\n",
        server.url
    );
    std::fs::write(&configs, text).unwrap();
    let path = configs.to_str().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "file-token\n").unwrap();
    let seen = |args: &[&str], env: &[(&str, &str)], server: &Server| {
        let before = server.requests().len();
        let own = ["--target", "oss2"];
        let ran = run(&[&own, args].concat(), env, STREAM);
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let request = server.requests()[before].clone();
        let org = request.path.split(['=', '&']).nth(1).unwrap().to_owned();
        let token = request
            .header("authorization")
            .unwrap_or_default()
            .to_owned();
        format!("{org} {token}")
    };
    let configs = ("INFLUX_CONFIGS_PATH", path);
    let env = [
        configs,
        ("INFLUX_TOKEN", "env-token"),
        ("INFLUX_ORG", "env-org"),
    ];
    assert_eq!(
        "profile-org Token profile-token",
        seen(&[], &[configs], &server)
    );
    assert_eq!("env-org Token env-token", seen(&[], &env, &server));
    assert_eq!(
        "o Token t",
        seen(&["-o", "o", "--token", "t"], &env, &server)
    );
    let file = token_file.to_str().unwrap();
    assert_eq!(
        "env-org Token file-token",
        seen(&["--token-file", file], &env, &server)
    );
    // The profile's token is not for another host, unless somebody says so.
    let other = Server::willing();
    let host = ["--host", other.url.as_str(), "-o", "o"];
    assert_eq!("o ", seen(&host, &[configs], &other));
    let named = [host.as_slice(), &["--profile", "a"]].concat();
    assert_eq!("o Token profile-token", seen(&named, &[configs], &other));
    assert_eq!(
        78,
        run(&["--profile", "x"], &[configs], STREAM).code.unwrap()
    );
}

#[test]
fn rejects_can_be_posted_again_as_they_are() {
    let server = picky("v=3 ", || answer(400, "no"));
    let ran = post(&server, &["--context", "x/y"], &lines(0..6));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    let server = Server::willing();
    let again = post(&server, &[], &ran.stdout);
    assert_eq!(
        (Some(0), ""),
        (again.code, &*again.stdout),
        "{}",
        again.stderr
    );
    assert_eq!(vec!["m v=3 3\n"], server.writes());
    assert!(server.requests()[0].path.contains("bucket=x%2Fy"));
}

#[test]
fn rejects_are_appended_to_a_file_that_can_be_posted_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rejects.lp");
    let path = file.to_str().unwrap();
    for _ in 0..2 {
        let server = picky("v=2 ", || answer(400, "no"));
        let ran = post(&server, &["--rejects", path], STREAM);
        assert_eq!((Some(1), ""), (ran.code, &*ran.stdout), "{}", ran.stderr);
    }
    let server = Server::willing();
    let ran = post(&server, &[path], "");
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!("m,t=b v=2 2\nm,t=b v=2 2\n", server.writes().concat());
    assert_eq!(Some(2), post(&server, &["--rejects", path, path], "").code);
}

#[test]
fn a_record_without_time_is_not_sent() {
    let server = Server::willing();
    let ran = post(&server, &["-b", "b"], "m v=1 1\nm v=2\n");
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=2"], points(&ran.stdout));
    assert_eq!(vec!["m v=1 1\n"], server.writes());
}

#[test]
fn the_last_line_needs_no_line_feed() {
    let server = Server::willing();
    assert_eq!(
        Some(0),
        post(&server, &["-b", "b"], "m v=1 1\nm v=2 2").code
    );
    assert_eq!(vec!["m v=1 1\nm v=2 2\n"], server.writes());
}

#[test]
fn the_proxy_is_the_one_of_the_scheme() {
    let proxy = tunnel();
    let args = [
        "--host",
        "http://influx.test:8086",
        "--target",
        "v1",
        "--retry-delay",
        "1ms",
    ];
    let url = proxy.url.as_str();
    let ran = run(
        &args,
        &[("http_proxy", url), ("HTTPS_PROXY", "http://192.0.2.1:1")],
        STREAM,
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!("influx.test:8086", proxy.requests()[0].path);
    assert_eq!(vec![RECORDS], proxy.writes());
    // No such host, and nobody to ask: the library alone would take this one.
    let quick = [
        args.as_slice(),
        &["--timeout", "100ms", "--retry-max-time", "1ms"],
    ]
    .concat();
    for env in [
        [("HTTPS_PROXY", url), ("x", "")],
        [("http_proxy", url), ("NO_PROXY", "other,.test")],
    ] {
        let ran = run(&quick, &env, STREAM);
        assert!(matches!(ran.code, Some(75 | 78)), "{}", ran.stderr);
    }
    assert_eq!(2, proxy.requests().len());
}

#[test]
fn trust_is_set_up_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    let path = empty.to_str().unwrap();
    let server = Server::willing();
    let https = server.url.replace("http://", "https://");
    let args = [
        "--host",
        &https,
        "--target",
        "v1",
        "--retry-delay",
        "1ms",
        "--retry-max-time",
        "5ms",
    ];
    let ran = run(&[&args[..], &["--ca-cert", path]].concat(), &[], STREAM);
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("no PEM certificate"), "{}", ran.stderr);
    // A server that speaks no TLS gets nothing.
    let env = [("SSL_CERT_FILE", path), ("SSL_CERT_DIR", "/nonexistent")];
    let ran = run(&args, &env, STREAM);
    assert!(matches!(ran.code, Some(75 | 78)), "{}", ran.stderr);
    assert!(ran.stderr.contains("bundled"), "{}", ran.stderr);
    assert_eq!(0, server.writes().len());
    let ran = run(&[&args[..], &["--insecure"]].concat(), &env, STREAM);
    assert!(
        ran.stderr.contains("nobody checks who the server is"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_signal_ends_a_wait_and_the_program_dies_by_it() {
    let status = interrupted(|child| {
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    });
    assert_eq!(Some(15), status.signal());
}

#[test]
fn says_141_when_the_reader_of_the_rejects_leaves() {
    let server = Server::start(|_| answer(400, r#"{"code":"invalid","line":1,"message":"no"}"#));
    let mut child = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(["--host", &server.url, "--target", "serverless", "-b", "b"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let long = "x".repeat(1000);
    let text: String = (0..200).map(|n| format!("m s=\"{long}\" {n}\n")).collect();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(Some(141), output.status.code());
    assert!(server.requests().len() < 200);
}
