//! lp-post against a server that plays a script.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::server::{Play, Server, answer, answer_with, stored};

pub const STREAM: &str = "# STREAM-BEGIN once
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

pub const RECORDS: &str = "m,t=a v=1 1\nm,t=b v=2 2\nm,t=c s=\"x\ny\" 3\n";

pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Run lp-post with nothing in its environment but `env`. The times of most tests are small numbers, and meant so.
pub fn run(args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    run_bare(&[&["--precision", "ns"], args].concat(), env, input)
}

/// The same with no argument but these.
pub fn run_bare(args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
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
pub fn post(server: &Server, args: &[&str], input: &str) -> Ran {
    let own = [
        "--host",
        &server.url,
        "--target",
        "serverless",
        "--retry-delay",
        "1ms",
    ];
    // One request at a time is told apart more easily.
    let one = ["--jobs", "1"];
    let jobs = if args.contains(&"--jobs") {
        &one[..0]
    } else {
        &one
    };
    run(&[&own, jobs, args].concat(), &[], input)
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

pub fn lines(n: std::ops::Range<u32>) -> String {
    n.map(|n| format!("m v={n} {n}\n")).collect()
}

pub fn in_context(records: &str) -> String {
    format!("# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\n{records}")
}

/// The points among the lines of a stream without line feeds in strings.
pub fn points(stream: &str) -> Vec<&str> {
    stream
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect()
}

/// A server that refuses, by `refuse`, what holds one of its bad records, and stores all the rest.
pub fn picky(bad: &'static str, refuse: fn() -> Play) -> Server {
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
    let args = ["--host", &server.url, "--target", "serverless"];
    let ran = run(&args, &[("INFLUX_TOKEN", "secret")], STREAM);
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
    let ran = post(&server, &["-b", "bb", "--batch-lines", "2"], text);
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
                # CONTEXT-SHARD:2\nm v=2 2\n# CONTEXT-BUCKET:aa\nm v=3 3\n# CONTEXT-BUCKET:bb\nm v=4 4\n\
                # CONTEXT-BUCKET:aa\nm v=5 5\n";
    assert_eq!(Some(0), post(&server, &[], text).code);
    let expected = vec!["m v=1 1\n", "m v=2 2\n", "m v=3 3\nm v=5 5\n", "m v=4 4\n"];
    assert_eq!(expected, server.writes());
    let paths: Vec<_> = server.requests().iter().map(|r| r.path.clone()).collect();
    assert!(
        paths[1].contains("bucket=d%2Fr&") && paths[2].contains("bucket=aa&"),
        "{paths:?}"
    );
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
        || answer(406, ""),
        || answer(411, "<html>"),
        || answer(415, r#"{"code":"unsupported media type","message":"no"}"#),
        || answer(501, ""),
        || answer(200, "<html><title>Log in</title></html>"),
        || answer(201, ""),
        || answer(202, "queued"),
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
    let ran = post(&server, &["-b", "bb", "--max-rejects", "3"], &lines(0..100));
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
        (Some(0), "bucket=bb".into()),
        buckets(&["-b", "bb"], &env, STREAM)
    );
}

#[test]
fn one_bucket_for_several_needs_a_word() {
    let two = format!("{STREAM}{}", STREAM.replace("DATABASE:d", "DATABASE:e"));
    let server = Server::willing();
    let ran = post(&server, &["-b", "bb"], &two);
    assert_eq!(Some(2), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("d/r and of e/r"), "{}", ran.stderr);
    let server = Server::willing();
    assert_eq!(
        Some(0),
        post(&server, &["-b", "bb", "--merge-buckets"], &two).code
    );
    assert_eq!(vec![RECORDS; 2], server.writes());
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
    let ran = post(&server, &["-b", "bb"], "m v=1 1\nm v=2\n");
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=2"], points(&ran.stdout));
    assert_eq!(vec!["m v=1 1\n"], server.writes());
}

#[test]
fn the_last_line_needs_no_line_feed() {
    let server = Server::willing();
    assert_eq!(
        Some(0),
        post(&server, &["-b", "bb"], "m v=1 1\nm v=2 2").code
    );
    assert_eq!(vec!["m v=1 1\nm v=2 2\n"], server.writes());
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
        .args(["--host", &server.url, "--target", "serverless", "-b", "bb"])
        .args(["--batch-lines", "10", "--precision", "ns"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let long = "x".repeat(1000);
    let text: String = (0..200).map(|n| format!("m s=\"{long}\" {n}\n")).collect();
    // It may leave before it has read all of it.
    drop(child.stdin.take().unwrap().write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(Some(141), output.status.code());
    assert!(server.requests().len() < 200);
}
