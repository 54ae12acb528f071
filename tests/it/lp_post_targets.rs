//! lp-post and each family of servers: one server a family, which answers as that family does.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::lp_post::{Ran, in_context, points, run};
use crate::server::{Play, Request, Server, answer, answer_with, stored};

const GOOD: [&str; 3] = ["m v=1 1", "m v=2 2", "m v=4 4"];
/// The column is a float there.
const BAD: &str = "m v=\"x\" 3";

type Lines = Arc<Mutex<BTreeSet<String>>>;

/// How a family says that some lines are bad, given their numbers in the body.
type Refuse = fn(&[usize]) -> Play;

/// What a family is like.
struct Family {
    target: &'static str,
    /// The path of a write with its query.
    path: &'static str,
    /// The header by which `u:p` is sent.
    authorization: &'static str,
    /// What it says when it has too much to do.
    busy: fn() -> Play,
    refuse: Refuse,
    /// Whether it stores the lines that it does not refuse.
    stores_rest: bool,
    /// Requests that it takes to get three good records and a bad one there: with the busy one.
    requests: usize,
}

const CONFLICT: &str =
    "input field \\\"v\\\" on measurement \\\"m\\\" is type string, already exists as type float";

fn named(message: &str, lines: &[usize]) -> Play {
    let clause = |n: &usize| {
        format!(
            "error writing line {n}: Unable to insert iox::column_type::field::string type into column v with type iox::column_type::field::float"
        )
    };
    let list: Vec<_> = lines.iter().map(clause).collect();
    let message = format!(
        "{message} errors encountered on line(s): {}",
        list.join(", ")
    );
    let json = serde_json::json!({"code": "invalid", "line": lines[0], "message": message});
    answer_with(400, "Content-Type: application/json\r\n", &json.to_string())
}

const FAMILIES: [Family; 9] = [
    Family {
        target: "serverless",
        path: "/api/v2/write?org=-&bucket=d%2Fr&precision=ns",
        authorization: "Token u:p",
        busy: || {
            answer_with(
                429,
                "Retry-After: 0\r\n",
                "org 00 has exceeded limited_write plan limit",
            )
        },
        refuse: |lines| named("partial write has occurred,", lines),
        stores_rest: true,
        requests: 2,
    },
    Family {
        target: "cloud",
        path: "/api/v2/write?org=-&bucket=d%2Fr&precision=ns",
        authorization: "Token u:p",
        busy: || {
            answer_with(
                503,
                "Content-Type: text/html\r\n",
                "<html><title>503</title></html>",
            )
        },
        refuse: |lines| {
            let n = lines.len();
            answer(
                400,
                &format!(
                    r#"{{"code":"invalid","message":"partial write error (3 accepted): {n} out of 4 points rejected (check rejected_points in your _monitoring bucket for further information)"}}"#
                ),
            )
        },
        stores_rest: true,
        requests: 6,
    },
    Family {
        target: "oss2",
        path: "/api/v2/write?org=o&bucket=d%2Fr&precision=ns",
        authorization: "Token u:p",
        busy: || {
            answer(
                500,
                r#"{"code":"internal error","message":"unexpected error writing points to database: timeout"}"#,
            )
        },
        refuse: |lines| {
            let n = lines.len();
            answer(
                422,
                &format!(
                    r#"{{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: {CONFLICT} dropped={n} for database: 00 for retention policy: autogen"}}"#
                ),
            )
        },
        stores_rest: true,
        requests: 6,
    },
    Family {
        target: "v1",
        path: "/write?db=d&rp=r&precision=ns",
        authorization: "Basic dTpw",
        busy: || {
            answer_with(
                503,
                "Content-Type: text/plain\r\n",
                "request throttled, exceeds timeout",
            )
        },
        refuse: |lines| {
            let n = lines.len();
            answer(
                400,
                &format!(
                    r#"{{"error":"partial write: field type conflict: {CONFLICT} dropped={n}"}}"#
                ),
            )
        },
        stores_rest: true,
        requests: 6,
    },
    Family {
        target: "core",
        path: "/api/v3/write_lp?db=d%2Fr&precision=nanosecond&accept_partial=true&no_sync=false",
        authorization: "Bearer u:p",
        busy: || {
            answer(
                500,
                "write buffer error: error from wal: wal buffer full with 0 ops",
            )
        },
        refuse: |lines| {
            let one = |n: &usize| serde_json::json!({"error_message": "invalid column type for column 'v'", "line_number": n, "original_line": "m v=1 1"});
            let data: Vec<_> = lines.iter().map(one).collect();
            answer(400, &serde_json::json!({"error": "partial write of line protocol occurred", "data": data}).to_string())
        },
        stores_rest: true,
        requests: 2,
    },
    Family {
        target: "enterprise",
        path: "/api/v3/write_lp?db=d%2Fr&precision=nanosecond&accept_partial=true&no_sync=false",
        authorization: "Bearer u:p",
        busy: || answer(503, ""),
        refuse: |lines| {
            let data = serde_json::json!({"error_message": "invalid column type for column 'v'", "line_number": lines[0], "original_line": ""});
            answer(
                400,
                &serde_json::json!({"error": "line protocol parsing error", "data": data})
                    .to_string(),
            )
        },
        stores_rest: false,
        requests: 3,
    },
    Family {
        target: "clustered",
        path: "/api/v2/write?org=-&bucket=d%2Fr&precision=ns",
        authorization: "Token u:p",
        busy: || answer(429, ""),
        refuse: |lines| named("no data written,", lines),
        stores_rest: false,
        requests: 3,
    },
    Family {
        target: "dedicated",
        path: "/api/v2/write?org=-&bucket=d%2Fr&precision=ns",
        authorization: "Token u:p",
        busy: || {
            answer(
                503,
                "dml handler error: rejected write: system overloaded - reduce write rate (some resource has been exhausted)",
            )
        },
        refuse: |lines| named("failed to parse line protocol:", lines),
        stores_rest: true,
        requests: 3,
    },
    Family {
        target: "victoriametrics",
        path: "/api/v2/write?org=-&bucket=d%2Fr&db=d%2Fr&precision=ns",
        authorization: "Basic dTpw",
        busy: || {
            answer_with(
                503,
                "Content-Type: text/plain\r\n",
                "cannot handle more than 8 concurrent inserts during 1m0s",
            )
        },
        refuse: |_| {
            answer_with(
                400,
                "Content-Type: text/plain\r\n",
                "remoteAddr: \"127.0.0.1\"; cannot unmarshal",
            )
        },
        stores_rest: false,
        requests: 6,
    },
];

/// A server of a family, and the lines that it has stored. It is busy at first.
fn server(family: &'static Family) -> (Server, Lines) {
    let held: Lines = Arc::default();
    let kept = Arc::clone(&held);
    let mut is_busy = true;
    let server = Server::start(move |request| {
        if std::mem::take(&mut is_busy) {
            return (family.busy)();
        }
        let text = request.text();
        let numbered = || text.lines().enumerate();
        let bad: Vec<usize> = numbered()
            .filter(|(_, line)| *line == BAD)
            .map(|(n, _)| n + 1)
            .collect();
        let is_taken = bad.is_empty() || family.stores_rest;
        if is_taken {
            let good = text.lines().filter(|line| *line != BAD).map(str::to_owned);
            kept.lock().unwrap().extend(good);
        }
        if bad.is_empty() {
            stored()
        } else {
            (family.refuse)(&bad)
        }
    });
    (server, held)
}

fn write_to(server: &Server, family: &Family, args: &[&str], input: &str) -> Ran {
    let own = [
        "--host",
        &server.url,
        "--target",
        family.target,
        "-j",
        "1",
        "--retry-delay",
        "1ms",
    ];
    let org = if family.target == "oss2" {
        &["-o", "o"][..]
    } else {
        &[]
    };
    run(
        &[&own, org, args].concat(),
        &[("INFLUX_TOKEN", "u:p")],
        input,
    )
}

#[test]
fn every_family_stores_the_good_records_and_gives_the_bad_ones_back() {
    let input = in_context(&format!("{}\n{}\n{BAD}\n{}\n", GOOD[0], GOOD[1], GOOD[2]));
    for family in &FAMILIES {
        let (server, held) = server(family);
        let ran = write_to(&server, family, &[], &input);
        let what = family.target;
        assert_eq!(Some(1), ran.code, "{what}: {}", ran.stderr);
        assert_eq!(vec![BAD], points(&ran.stdout), "{what}");
        let good: BTreeSet<String> = GOOD.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(good, *held.lock().unwrap(), "{what}");
        let requests = server.requests();
        assert_eq!(family.requests, requests.len(), "{what}: {}", ran.stderr);
        for request in &requests {
            assert_eq!(family.path, request.path, "{what}");
            assert_eq!(
                Some(family.authorization),
                request.header("authorization"),
                "{what}"
            );
        }
    }
}

#[test]
fn no_family_is_sent_what_it_cannot_hold() {
    for (target, bad) in [
        ("serverless", "m,a=1 a=1 1"),
        ("cloud", "m,_field=x v=1 1"),
        ("oss2", "m v=1e400 1"),
        ("v1", "m v=1u 1"),
        ("core", "m,t=a\tb v=1 1"),
        ("enterprise", "m time=1 1"),
        ("clustered", "m,time=x v=1 1"),
        ("dedicated", "m,t=a,t=b v=1 1"),
        ("victoriametrics", "m s=\"a\nb\" 1"),
    ] {
        let family = FAMILIES
            .iter()
            .find(|family| family.target == target)
            .unwrap();
        let server = Server::willing();
        let ran = write_to(
            &server,
            family,
            &[],
            &in_context(&format!("m v=1 1\n{bad}\n")),
        );
        assert_eq!(Some(1), ran.code, "{target}: {}", ran.stderr);
        assert!(
            ran.stdout.contains(&format!("\n{bad}\n")),
            "{target}: {}",
            ran.stdout
        );
        assert_eq!(vec!["m v=1 1\n"], server.writes(), "{target}");
    }
}

#[test]
fn names_are_spelled_for_version_3_and_for_nobody_else() {
    let go = "m,t=C:\\\\x v=1 1\n";
    let v3 = "m,t=C:\\\\\\x v=1 1\n";
    for family in &FAMILIES {
        let server = Server::willing();
        let ran = write_to(&server, family, &[], &in_context(go));
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let is_v3 = matches!(
            family.target,
            "serverless" | "core" | "enterprise" | "clustered" | "dedicated"
        );
        assert_eq!(
            vec![if is_v3 { v3 } else { go }],
            server.writes(),
            "{}",
            family.target
        );
    }
}

#[test]
fn no_family_is_asked_for_larger_requests_than_it_takes() {
    for (target, most) in [
        ("v1", "25000001"),
        ("core", "10485761"),
        ("enterprise", "10485761"),
        ("serverless", "50000001"),
        ("clustered", "50000001"),
        ("victoriametrics", "67108865"),
    ] {
        let family = FAMILIES
            .iter()
            .find(|family| family.target == target)
            .unwrap();
        let server = Server::willing();
        let ran = write_to(
            &server,
            family,
            &["--batch-bytes", most],
            &in_context("m v=1 1\n"),
        );
        assert_eq!(Some(2), ran.code, "{target}");
        assert!(ran.stderr.contains("takes at most"), "{}", ran.stderr);
        assert_eq!(0, server.requests().len());
    }
    // The largest of the smallest passes, and a server that takes less still is met halfway.
    let core = FAMILIES
        .iter()
        .find(|family| family.target == "core")
        .unwrap();
    let server = Server::start(|request| match request.text().len() {
        51.. => answer(500, "max request size (50 bytes) exceeded"),
        _ => stored(),
    });
    let text: String = (0..100).map(|n| format!("m v={n} {n}\n")).collect();
    let ran = write_to(
        &server,
        core,
        &["--batch-bytes", "10485760"],
        &in_context(&text),
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let kept = server.writes().into_iter().filter(|text| text.len() <= 50);
    assert_eq!(text, kept.collect::<String>());
}

#[test]
fn names_of_buckets_that_a_family_cannot_have_end_the_run_before_its_first_point() {
    for (target, bucket) in [
        ("serverless", "_a"),
        ("core", "my db/autogen"),
        ("enterprise", "a/b/c"),
        ("clustered", "a.b"),
        ("v1", "/r"),
    ] {
        let family = FAMILIES
            .iter()
            .find(|family| family.target == target)
            .unwrap();
        let server = Server::willing();
        let ran = write_to(&server, family, &["-b", bucket], "m v=1 1\n");
        assert_eq!(Some(78), ran.code, "{target}: {}", ran.stderr);
        assert!(ran.stderr.contains("--map"), "{}", ran.stderr);
        assert_eq!(0, server.requests().len());
    }
}

#[test]
fn a_limit_on_databases_ends_the_run_and_makes_no_rejects() {
    let core = FAMILIES
        .iter()
        .find(|family| family.target == "core")
        .unwrap();
    let server = Server::start(|_| {
        answer(
            422,
            r#"{"error":"Adding a new database would exceed limit of 5 databases"}"#,
        )
    });
    let ran = write_to(&server, core, &[], &in_context("m v=1 1\nm v=2 2\n"));
    assert_eq!((Some(69), ""), (ran.code, &*ran.stdout), "{}", ran.stderr);
    assert_eq!(1, server.requests().len());
}

/// A server that says this of itself, and of its organisation.
fn calling_itself(headers: &'static str, org: &'static str) -> Server {
    Server::start(
        move |request: &Request| match request.path.split('?').next() {
            Some("/ping") => answer_with(204, headers, ""),
            Some("/api/v2/orgs") => answer(200, org),
            _ => stored(),
        },
    )
}

fn ask(server: &Server, input: &str) -> Ran {
    run(&["--host", &server.url, "-o", "o"], &[], &in_context(input))
}

#[test]
fn the_server_is_asked_what_it_is() {
    let v2 = "/api/v2/write?org=o&bucket=d%2Fr&precision=ns";
    let v3 = "/api/v3/write_lp?db=d%2Fr&precision=nanosecond&accept_partial=true&no_sync=false";
    let vm = "/api/v2/write?org=-&bucket=d%2Fr&db=d%2Fr&precision=ns";
    let org = |engine: &str| -> &'static str {
        let text = format!(r#"{{"orgs":[{{"id":"00000000000000aa","name":"o"{engine}}}]}}"#);
        Box::leak(text.into_boxed_str())
    };
    let cloud = "X-Influxdb-Version: cloud2\r\nX-Influxdb-Build: Cloud2\r\n";
    for (headers, org, target, path) in [
        (
            "X-Influxdb-Version: 1.8.10\r\nX-Influxdb-Build: OSS\r\n",
            "",
            "v1",
            "/write?db=d&rp=r&precision=ns",
        ),
        (
            "X-Influxdb-Version: v2.7.6\r\nX-Influxdb-Build: OSS\r\n",
            "",
            "oss2",
            v2,
        ),
        ("X-Influxdb-Version: 1.8.0\r\n", "", "victoriametrics", vm),
        (
            "X-Influxdb-Version: 3.6.0\r\nX-Influxdb-Build: Core\r\n",
            "",
            "core",
            v3,
        ),
        (
            "X-Influxdb-Version: 3.6.0\r\nX-Influxdb-Build: Enterprise\r\n",
            "",
            "enterprise",
            v3,
        ),
        (
            cloud,
            org(r#","defaultStorageType":"iox""#),
            "serverless",
            v2,
        ),
        (cloud, org(r#","defaultStorageType":"tsm""#), "cloud", v2),
    ] {
        let server = calling_itself(headers, org);
        let ran = ask(&server, "m v=1 1\n");
        assert_eq!(Some(0), ran.code, "{target}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("--target {target}\n")),
            "{}",
            ran.stderr
        );
        assert_eq!(path, server.requests().last().unwrap().path, "{target}");
    }
    // VictoriaMetrics says it where it is queried, if not before.
    let server = Server::start(|request: &Request| match request.path.as_str() {
        "/query" => answer_with(200, "X-Influxdb-Version: 1.8.0\r\n", r#"{"results":[]}"#),
        _ => stored(),
    });
    let ran = ask(&server, "m v=1 1\n");
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vm, server.requests().last().unwrap().path);
    // One that says nothing has to be named.
    let silent = Server::start(|_| answer(404, ""));
    let ran = ask(&silent, "m v=1 1\n");
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("--target"), "{}", ran.stderr);
    assert_eq!(0, silent.writes().len());
}

#[test]
fn a_name_that_the_engines_of_the_cloud_spell_differently_needs_an_answer() {
    let cloud = "X-Influxdb-Build: Cloud2\r\n";
    let server = calling_itself(cloud, r#"{"code":"unauthorized"}"#);
    let ran = ask(&server, "m,t=a\\ b v=1 1\n");
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m,t=a\\ b v=1 1\n"], server.writes());
    let server = calling_itself(cloud, "{}");
    let ran = ask(&server, "m v=1 1\nm,t=C:\\\\x v=1 1\n");
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("--target serverless, or --target cloud"),
        "{}",
        ran.stderr
    );
}
