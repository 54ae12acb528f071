//! lp-post against servers that refuse, fail and break.

use crate::lp_post::{RECORDS, STREAM, in_context, lines, picky, points, post, run};
use crate::server::{Play, Server, answer, answer_with, stored};

#[test]
fn what_passes_is_sent_again() {
    let server = Server::script(vec![
        answer_with(429, "Retry-After: 0\r\n", ""),
        answer_with(503, "Retry-After: 0.002\r\n", "busy"),
        answer_with(503, "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""),
        answer_with(429, "Retry-After: soon\r\n", ""),
        answer(429, "org 0 has exceeded limited_write plan limit"),
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
    assert_eq!(vec![RECORDS; 9], server.writes());
    assert!(
        ran.stderr.contains("status 429; again in 0.0 s"),
        "{}",
        ran.stderr
    );
}

#[test]
fn connections_that_break_and_answers_that_are_none_are_sent_again() {
    let mut plays = vec![
        Play::SendAndClose(Vec::new()),
        Play::SendAndClose(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Play::SendAndClose(b"HTTP/1.1 500 x\r\nContent-Length: 100\r\n\r\nhalf".to_vec()),
        Play::Hang,
    ]
    .into_iter();
    let server = Server::start(move |_| plays.next().unwrap_or_else(stored));
    let ran = post(&server, &["--timeout", "500ms"], STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    // One more where this machine is so busy that an answer comes too late.
    assert!(server.writes().len() >= 5);
    assert!(server.writes().iter().all(|text| text == RECORDS));
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
    let ran = post(&server, &["-b", "bb", "--batch-lines", "1000000"], &text);
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
    let ran = post(&server, &["-b", "bb"], &lines(0..8));
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
    let ran = post(&server, &["-b", "bb"], &lines(0..6));
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
# REJECT standard input:3: bad three
m v=1 1
# REJECT standard input:4: bad one
m v=2 2
# REJECT standard input:6: bad two
m v=4 4
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
    let ran = post(&server, &["-b", "bb"], &text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(250, points(&ran.stdout).len());
    // The third answer names fewer than it could, so all others are stored.
    assert_eq!(3, server.requests().len());
}

#[test]
fn records_that_version_1_quotes_become_rejects_and_nothing_goes_twice() {
    let body = r#"{"error":"partial write: unable to parse 'm,t=b s=\"it's\ny\" x': invalid boolean dropped=0"}"#;
    let server = Server::script(vec![answer(400, body)]);
    let text = "m v=1 1\nm,t=b s=\"it's\ny\" 2\nm v=3 3\n";
    let args = ["--host", &server.url, "--target", "v1", "-b", "d/r", "-j1"];
    let ran = run(&args, &[], text);
    // The record in the answer is another one: nothing is believed, and halves are sent.
    assert_ne!(Some(0), ran.code);
    assert!(server.requests().len() > 1);

    let body = r#"{"error":"partial write: unable to parse 'm,t=b s=\"it's\ny\",f=77 2': invalid boolean dropped=0"}"#;
    let server = Server::script(vec![answer(400, body)]);
    let text = "m v=1 1\nm,t=b s=\"it's\ny\",f=77 2\nm v=3 3\n";
    let args = ["--host", &server.url, "--target", "v1", "-b", "d/r", "-j1"];
    let ran = run(&args, &[], text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.requests().len());
    assert!(
        ran.stdout
            .contains("# REJECT standard input:2: invalid boolean\nm,t=b s=\"it's\ny\",f=77 2\n")
    );
}

#[test]
fn version_2_stores_nothing_of_a_refused_batch_so_the_rest_goes_again() {
    let server = picky("v=77", || {
        answer(
            400,
            r#"{"code":"invalid","message":"unable to parse 'm v=77 2': invalid boolean"}"#,
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
    ];
    let ran = run(&args, &[], "m v=1 1\nm v=77 2\nm v=3 3\n");
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!("m v=1 1\nm v=3 3\n", server.writes()[1]);
    assert_eq!(vec!["m v=77 2"], points(&ran.stdout));
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
        let ran = post(&server, &["-b", "bb"], &lines(0..1024));
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
    let ran = post(&server, &["-b", "bb"], &lines(0..8));
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
    let ran = post(&server, &["-b", "bb"], &lines(0..8));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=0 0"], points(&ran.stdout));
}

#[test]
fn a_server_that_always_fails_makes_no_rejects() {
    let server = Server::start(|_| answer(500, "timeout"));
    let ran = post(
        &server,
        &["-b", "bb", "--retry-max-time", "300ms"],
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
    let ran = post(&server, &["-b", "bb"], &format!("m v=1 1\n{bad}m v=3 3\n"));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec![bad.trim_end()], points(&ran.stdout));
}

#[test]
fn a_long_error_is_read_in_part() {
    let server = picky("v=2 ", || answer(400, &"x".repeat(50 << 20)));
    let ran = post(&server, &["-b", "bb"], &lines(0..4));
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=2 2"], points(&ran.stdout));
    assert!(ran.stdout.len() < 2000);
}
