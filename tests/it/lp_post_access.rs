//! How lp-post finds its server and its buckets, and whom it trusts.

use crate::lp_post::{RECORDS, STREAM, in_context, post, run};
use crate::server::{Play, Request, Server, answer, answer_with, stored};

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
