//! What lp-post takes from whom: the words of the influx command, tokens, limits of a cloud, a look before the run.

use std::fs;

use crate::harness::scratch;
use crate::lp_post::{Ran, STREAM, in_context, post, run};
use crate::server::{Play, Server, answer, answer_with, stored};

#[test]
fn the_letters_of_influx_write_mean_what_they_mean_there() {
    let dir = scratch();
    let (configs, file) = (dir.path().join("configs"), dir.path().join("x.lp"));
    let server = Server::willing();
    let profiles = format!(
        "[one]\nurl = \"{}\"\ntoken = \"first\"\norg = \"a\"\nactive = true\n\n[two]\nurl = \"{}\"\ntoken = \"second\"\norg = \"b\"\n",
        server.url, server.url
    );
    fs::write(&configs, &profiles).unwrap();
    fs::write(&file, "m v=1 1577836800\n").unwrap();
    let (configs, file) = (configs.to_str().unwrap(), file.to_str().unwrap());
    let env = [("INFLUX_CONFIGS_PATH", configs)];
    let own = ["--target", "oss2", "-b", "bucket", "-f", file, "-p", "s"];
    let seen = |args: &[&str], env: &[(&str, &str)]| {
        let ran = crate::lp_post::run_bare(&[&own, args].concat(), env, "");
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let last = server.requests().pop().unwrap();
        assert_eq!("m v=1 1577836800000000000\n", last.text());
        let query = last.path.split_once('?').unwrap().1;
        let query = query.replace("&precision=ns", "");
        format!("{query} {}", last.header("authorization").unwrap())
    };
    assert_eq!("org=a&bucket=bucket Token first", seen(&[], &env));
    assert_eq!(
        "org=b&bucket=bucket Token second",
        seen(&["-c", "two"], &env)
    );
    assert_eq!(
        "org=b&bucket=bucket Token second",
        seen(&["--active-config", "two"], &env)
    );
    assert_eq!(
        "org=a&bucket=bucket Token first",
        seen(&["--configs-path", configs], &[])
    );
    assert_eq!(
        "org=x&bucket=bucket Token -y",
        seen(&["-o", "x", "-t", "-y"], &env)
    );
    assert_eq!(
        "orgID=00000000000000aa&bucket=bucket Token first",
        seen(&["--org-id", "00000000000000aa"], &env)
    );
    assert_eq!(
        "org=a&bucket=00000000000000bb Token first",
        seen(&["--bucket-id", "00000000000000bb"], &env)
    );
    assert_eq!(
        "org=a&bucket=bucket Token first",
        seen(&["--skip-verify", "--rate-limit", "5.1MB5m"], &env)
    );
    // Nobody's profile has become another one.
    assert_eq!(profiles, fs::read_to_string(configs).unwrap());
    let both = ["-o", "x", "--org-id", "00000000000000aa"];
    let ran = run(&[&own[..], &both].concat(), &env, "");
    assert_eq!(Some(2), ran.code, "{}", ran.stderr);
}

#[test]
fn a_bucket_has_an_id_only_where_buckets_are_made_with_one() {
    for target in ["v1", "core", "victoriametrics"] {
        let server = Server::willing();
        let args = [
            "--host",
            &server.url,
            "--target",
            target,
            "--bucket-id",
            "00000000000000bb",
        ];
        assert_eq!(Some(2), run(&args, &[], "m v=1 1\n").code, "{target}");
        assert_eq!(0, server.requests().len());
    }
}

#[test]
fn a_token_on_the_command_line_is_warned_of_and_never_shown() {
    let plays: [fn() -> Play; 7] = [
        stored,
        || {
            answer(
                401,
                r#"{"code":"unauthorized","message":"unauthorized access"}"#,
            )
        },
        || answer(400, r#"{"code":"invalid","message":"no"}"#),
        || answer(404, "not found"),
        || answer_with(302, "Location: http://elsewhere/\r\n", ""),
        || answer(200, "<html><title>Log in</title></html>"),
        || answer(503, ""),
    ];
    let dir = scratch();
    let configs = dir.path().join("configs");
    for play in plays {
        let server = Server::start(move |_| play());
        fs::write(
            &configs,
            format!(
                "[p]\nurl = \"{}\"\ntoken = \"very-secret\"\norg = \"o\"\n",
                server.url
            ),
        )
        .unwrap();
        let own = [
            "--target",
            "oss2",
            "-o",
            "o",
            "--retry-max-time",
            "1ms",
            "--retry-delay",
            "1ms",
            "--verbose",
            "--max-rejects",
            "2",
        ];
        let host = ["--host", server.url.as_str()];
        let check = |ran: &Ran| {
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!all.contains("secret"), "{all}");
        };
        let typed = run(
            &[&own[..], &host, &["-t", "very-secret"]].concat(),
            &[],
            STREAM,
        );
        check(&typed);
        assert!(
            typed.stderr.contains("others on this machine can see it"),
            "{}",
            typed.stderr
        );
        let quiet = run(
            &[&own[..], &host].concat(),
            &[("INFLUX_TOKEN", "very-secret")],
            STREAM,
        );
        check(&quiet);
        assert!(!quiet.stderr.contains("can see it"), "{}", quiet.stderr);
        let env = [("INFLUX_CONFIGS_PATH", configs.to_str().unwrap())];
        check(&run(&own, &env, STREAM));
        let bad = [("INFLUX_TOKEN", "very secret")];
        check(&run(&[&own[..], &host].concat(), &bad, STREAM));
    }
}

#[test]
fn a_token_that_is_replaced_meanwhile_is_read_again() {
    let dir = scratch();
    let file = dir.path().join("token");
    fs::write(&file, "old\n").unwrap();
    let path = file.clone();
    let mut n = 0;
    let server = Server::start(move |request| {
        n += 1;
        if n == 2 {
            fs::write(&path, "new\n").unwrap();
        }
        match (n, request.header("authorization")) {
            (1, Some("Token old")) | (2.., Some("Token new")) => stored(),
            _ => answer(
                401,
                r#"{"code":"unauthorized","message":"unauthorized access"}"#,
            ),
        }
    });
    let args = [
        "--token-file",
        file.to_str().unwrap(),
        "-b",
        "bb",
        "--batch-lines",
        "1",
    ];
    let ran = post(&server, &args, "m v=1 1\nm v=2 2\nm v=3 3\n");
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(
        vec!["m v=1 1\n", "m v=2 2\n", "m v=2 2\n", "m v=3 3\n"],
        server.writes()
    );
    // One that is still the same is no better the second time.
    let server = Server::start(|_| answer(401, ""));
    let ran = post(&server, &args, "m v=1 1\n");
    assert_eq!(Some(77), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.requests().len());
}

#[test]
fn certificates_are_not_checked_where_the_environment_says_so() {
    let server = Server::willing();
    let args = ["--host", server.url.as_str(), "--target", "v1"];
    for (value, is_off) in [("true", true), ("1", true), ("false", false), ("", false)] {
        let ran = run(&args, &[("INFLUX_SKIP_VERIFY", value)], STREAM);
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let warned = ran.stderr.contains("nobody checks who the server is");
        assert_eq!(is_off, warned, "{value}: {}", ran.stderr);
    }
}

/// A cloud that tells these limits.
fn limited(limits: &'static str) -> Server {
    Server::start(move |request| match request.path.as_str() {
        "/api/v2/orgs/00000000000000aa/limits" => answer(200, limits),
        "/api/v2/orgs?org=o" => answer(200, r#"{"orgs":[{"id":"00000000000000aa","name":"o"}]}"#),
        path if path.contains("/write") => stored(),
        _ => answer(404, "not found"),
    })
}

#[test]
fn the_rate_can_be_what_the_cloud_says() {
    let server = limited(
        r#"{"limits":{"rate":{"writeKBs":17,"concurrentWriteRequests":2},"bucket":{"maxRetentionDuration":0}}}"#,
    );
    // Each request is a hundredth of the 4,950,000 bytes of five minutes at most.
    let text: String = (0..2_000).map(|n| format!("m v={n} {n}\n")).collect();
    let args = ["--rate", "auto", "-o", "o", "-b", "bb", "--jobs", "8"];
    let ran = post(&server, &args, &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("--rate auto: 4950kB/5min, 2 requests at once"),
        "{}",
        ran.stderr
    );
    let asked: Vec<_> = server
        .requests()
        .iter()
        .take(2)
        .map(|request| request.path.clone())
        .collect();
    assert_eq!(
        vec!["/api/v2/orgs?org=o", "/api/v2/orgs/00000000000000aa/limits"],
        asked
    );
    for (target, limits) in [
        ("serverless", "{}"),
        ("serverless", r#"{"limits":{"rate":{"writeKBs":0}}}"#),
        ("v1", "{}"),
    ] {
        let server = limited(limits);
        let args = [
            "--host",
            &server.url,
            "--target",
            target,
            "--rate",
            "auto",
            "-o",
            "o",
        ];
        let ran = run(&args, &[], &in_context("m v=1 1\n"));
        assert_eq!(Some(78), ran.code, "{}", ran.stderr);
        assert!(ran.stderr.contains("--rate 300MB/5min"), "{}", ran.stderr);
        assert_eq!(0, server.writes().len());
    }
    assert_eq!(
        Some(2),
        run(&["--dry-run", "--rate", "auto"], &[], STREAM).code
    );
}

#[test]
fn one_harmless_request_says_whether_a_run_would_work() {
    for (target, play, code) in [
        ("serverless", (|| stored()) as fn() -> Play, 0),
        ("oss2", || stored(), 0),
        ("v1", || answer(200, ""), 0),
        ("core", || answer(400, "incoming write was empty"), 0),
        ("victoriametrics", || stored(), 0),
        (
            "oss2",
            || {
                answer(
                    401,
                    r#"{"code":"unauthorized","message":"unauthorized access"}"#,
                )
            },
            77,
        ),
        (
            "oss2",
            || {
                answer(
                    404,
                    r#"{"code":"not found","message":"bucket \"d/r\" not found"}"#,
                )
            },
            78,
        ),
        (
            "v1",
            || answer(200, "<html><title>Log in</title></html>"),
            78,
        ),
        ("core", || answer(400, r#"{"error":"db name is bad"}"#), 78),
    ] {
        let server = Server::start(move |_| play());
        let args = [
            "--host",
            &server.url,
            "--target",
            target,
            "--ping",
            "-o",
            "o",
            "-b",
            "d/r",
        ];
        let ran = run(&args, &[("INFLUX_TOKEN", "t")], "this is never read");
        assert_eq!(Some(code), ran.code, "{target}: {}", ran.stderr);
        assert_eq!("", ran.stdout);
        let requests = server.requests();
        assert_eq!(1, requests.len());
        assert_eq!(
            ("POST", ""),
            (requests[0].method.as_str(), requests[0].text().as_str())
        );
        let works = ran.stderr.contains("takes writes into d/r");
        assert_eq!(code == 0, works, "{}", ran.stderr);
    }
    let server = Server::willing();
    assert_eq!(Some(2), post(&server, &["--ping"], "").code);
    let env = [("INFLUX_BUCKET_NAME", "bb")];
    let args = ["--host", &server.url, "--target", "serverless", "--ping"];
    assert_eq!(Some(0), run(&args, &env, "").code);
}
