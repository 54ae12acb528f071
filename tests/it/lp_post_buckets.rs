//! lp-post and the buckets that it writes into: made, found, kept for long enough, or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Pipeline, fixture_arg, scratch};
use crate::lp_post::{STREAM, post, run};
use crate::server::{Request, Server, answer, stored};

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
    let ran = post(
        &server,
        &["--create-buckets", "--expired", "send", "-o", "o"],
        STREAM,
    );
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
        post(
            &server,
            &["--create-buckets", "--expired", "send", "-o", "o"],
            &contexts
        )
        .code
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
    let ran = post(
        &server,
        &["--create-buckets", "--expired", "send", "-o", "o"],
        STREAM,
    );
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
            post(
                &server,
                &["--create-buckets", "--expired", "send", "-o", "o"],
                STREAM
            )
            .code
        );
    }
}

#[test]
fn a_period_that_nobody_says_is_never_left_to_the_server() {
    let bare = STREAM.replace("# CONTEXT-RETENTION-PERIOD:3600s\n", "");
    let server = with_buckets(None);
    let ran = post(
        &server,
        &["--create-buckets", "--expired", "send", "-o", "o"],
        &bare,
    );
    assert_eq!(Some(78), ran.code);
    assert!(ran.stderr.contains("--retention-period"), "{}", ran.stderr);
    assert_eq!(0, server.requests().len());
    for (said, expected) in [("infinite", 0), ("30d", 2_592_000), ("d/r=2h", 7200)] {
        let server = with_buckets(None);
        let args = [
            "--create-buckets",
            "--expired",
            "send",
            "-o",
            "o",
            "--retention-period",
            said,
        ];
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
    let ran = post(
        &server,
        &["--create-buckets", "--expired", "send", "-o", "o"],
        STREAM,
    );
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(2, server.writes().len());
}

type Made = Arc<Mutex<BTreeMap<String, Value>>>;

/// A server with the buckets and mappings of version 2, and what has been made there.
pub fn version_2() -> (Server, Made) {
    let made = Made::default();
    let held = Arc::clone(&made);
    let server = Server::start(move |request| {
        let mut held = held.lock().unwrap();
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let json = || serde_json::from_str::<Value>(&request.text()).unwrap();
        match (request.method.as_str(), path) {
            (_, "/api/v2/orgs") => {
                answer(200, r#"{"orgs":[{"id":"00000000000000aa","name":"o"}]}"#)
            }
            ("GET", "/api/v2/buckets") => {
                let all: Vec<_> = held
                    .values()
                    .filter(|value| value["name"].is_string())
                    .collect();
                answer(200, &json!({"buckets": all}).to_string())
            }
            ("POST", "/api/v2/buckets") => {
                let mut bucket = json();
                let name = bucket["name"].as_str().unwrap().to_owned();
                bucket["id"] = name.clone().into();
                held.insert(name, bucket.clone());
                answer(201, &bucket.to_string())
            }
            ("PATCH", path) if path.starts_with("/api/v2/buckets/") => {
                let name = path["/api/v2/buckets/".len()..].replace("%2F", "/");
                held.get_mut(&name).unwrap()["retentionRules"] = json()["retentionRules"].clone();
                answer(200, "{}")
            }
            ("GET", "/api/v2/dbrps") => {
                let database = query.rsplit_once("db=").unwrap().1.to_owned();
                let all: Vec<_> = held
                    .values()
                    .filter(|value| value["database"] == database.as_str())
                    .collect();
                answer(200, &json!({"content": all}).to_string())
            }
            ("POST", "/api/v2/dbrps") => {
                let mut mapping = json();
                let id = format!("map {}", mapping["retention_policy"].as_str().unwrap());
                mapping["id"] = id.clone().into();
                if mapping["default"] == true {
                    let others = held
                        .values_mut()
                        .filter(|value| value["database"].is_string());
                    others.for_each(|other| other["default"] = false.into());
                }
                held.insert(id, mapping.clone());
                answer(201, &mapping.to_string())
            }
            _ => stored(),
        }
    });
    (server, made)
}

fn periods(made: &Made) -> BTreeMap<String, u64> {
    let held = made.lock().unwrap();
    let buckets = held.iter().filter(|(_, value)| value["name"].is_string());
    let period = |value: &Value| value["retentionRules"][0]["everySeconds"].as_u64().unwrap();
    buckets
        .map(|(name, value)| (name.clone(), period(value)))
        .collect()
}

pub fn context(policy: &str, period: &str, bucket: &str) -> String {
    format!(
        "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:{policy}\n# CONTEXT-RETENTION-PERIOD:{period}\n# CONTEXT-BUCKET:{bucket}\n"
    )
}

#[test]
fn contexts_of_storage_files_make_their_buckets_and_nothing_else() {
    let (server, made) = version_2();
    let token = scratch();
    let file = token.path().join("token");
    std::fs::write(&file, "administrator").unwrap();
    let root = fixture_arg("influxdb-1.6");
    let ran = Pipeline::new().run(&[
        &["tsm-cat", "-d", "example-db", &root],
        &["grep", "^# "],
        &["lp-split-by-bucket"],
        &[
            "lp-post",
            "--host",
            &server.url,
            "--target",
            "serverless",
            "--create-buckets",
            "--token-file",
            file.to_str().unwrap(),
        ],
    ]);
    let ran = ran.ok();
    assert_eq!("", ran.stdout);
    let expected = [
        ("example-db/autogen", 0),
        ("example-db/historical-1mo", 2_592_000),
        ("example-db/historical-1y", 31_449_600),
        ("example-db/historical-6mo", 15_724_800),
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, period)| (name.to_owned(), period))
        .into();
    assert_eq!(expected, periods(&made));
    assert_eq!(0, server.writes().len());
    for request in server.requests() {
        assert_eq!(Some("Token administrator"), request.header("authorization"));
    }
    // What is written afterwards needs another token, and asks for no bucket.
    let (asked, args) = (
        server.requests().len(),
        ["--host", &server.url, "--target", "serverless"],
    );
    let text = format!("{}m v=1 1\n", context("r", "0s", "example-db/autogen"));
    let ran = run(&args, &[("INFLUX_TOKEN", "writer")], &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(asked + 1, server.requests().len());
}

#[test]
fn the_longest_period_of_the_contexts_of_a_bucket_counts() {
    let (server, made) = version_2();
    let text = [
        ("a", "3600s"),
        ("b", "7200s"),
        ("c", "60s"),
        ("e", "0s"),
        ("f", "7200s"),
    ]
    .map(|(policy, period)| context(policy, period, "one"))
    .concat();
    let ran = post(&server, &["--create-buckets", "-o", "o"], &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(BTreeMap::from([("one".to_owned(), 0)]), periods(&made));
    let raised = asked(&server)
        .iter()
        .filter(|ask| ask.starts_with("PATCH"))
        .count();
    assert_eq!(2, raised);
    assert!(
        ran.stderr.contains("bucket one keeps points for 2h now"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_bucket_is_found_on_the_second_page_of_a_list() {
    let server = Server::start(|request| {
        let offset = request
            .path
            .rsplit_once("offset=")
            .map(|(_, offset)| offset);
        let bucket = |name: &str| json!({"id": "x", "name": name, "retentionRules": []});
        match offset {
            Some("0") => {
                let page: Vec<_> = (0..100).map(|n| bucket(&format!("other {n}"))).collect();
                answer(200, &json!({"buckets": page}).to_string())
            }
            Some("100") => answer(200, &json!({"buckets": [bucket("d/r")]}).to_string()),
            _ => stored(),
        }
    });
    let args = ["--create-buckets", "--org-id", "00000000000000aa"];
    let ran = post(&server, &args, STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(
        [
            "GET /api/v2/buckets",
            "GET /api/v2/buckets",
            "POST /api/v2/write"
        ]
        .as_slice(),
        asked(&server)
    );
}

/// A server that answers the making of a bucket so, and has one of an hour if it is looked for again.
fn refusing(status: u16, body: &'static str) -> Server {
    let mut looked = 0;
    Server::start(move |request| match request.method.as_str() {
        "GET" => {
            looked += 1;
            match looked {
                1 => answer(404, r#"{"code":"not found","message":"no"}"#),
                _ => answer(
                    200,
                    r#"{"buckets":[{"id":"bb","name":"d/r","retentionRules":[{"everySeconds":3600}]}]}"#,
                ),
            }
        }
        _ if request.path == "/api/v2/buckets" => answer(status, body),
        _ => stored(),
    })
}

#[test]
fn somebody_who_was_faster_is_no_trouble_and_a_quota_ends_the_run() {
    let args = [
        "--create-buckets",
        "--expired",
        "send",
        "--org-id",
        "00000000000000aa",
    ];
    let conflict = r#"{"code":"conflict","message":"bucket with name d/r already exists"}"#;
    let server = refusing(422, conflict);
    let ran = post(&server, &args, STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(1, server.writes().len());
    for (status, body, code) in [
        (
            403,
            r#"{"code":"forbidden","message":"creating bucket would exceed quota"}"#,
            69,
        ),
        (
            403,
            r#"{"code":"forbidden","message":"insufficient permissions"}"#,
            77,
        ),
        (401, "", 77),
        (
            422,
            r#"{"code":"unprocessable entity","message":"no such rule"}"#,
            69,
        ),
    ] {
        let server = refusing(status, body);
        let ran = post(&server, &args, STREAM);
        assert_eq!(Some(code), ran.code, "{}", ran.stderr);
        assert!(ran.stderr.contains("making bucket d/r"), "{}", ran.stderr);
        assert_eq!(0, server.writes().len());
    }
}

#[test]
fn influxql_finds_the_buckets_and_every_database_has_a_default() {
    let (server, made) = version_2();
    let text = ["r", "autogen", "s"]
        .map(|policy| context(policy, "0s", &format!("d/{policy}")))
        .concat();
    let args = ["--create-buckets", "--dbrp", "-o", "o"];
    let ran = post(&server, &args, &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    for (policy, default) in [("r", false), ("autogen", true), ("s", false)] {
        let held = made.lock().unwrap();
        let mapping = &held[&format!("map {policy}")];
        assert_eq!(format!("d/{policy}"), mapping["bucketID"], "{mapping}");
        assert_eq!(
            (json!("d"), json!(default)),
            (mapping["database"].clone(), mapping["default"].clone())
        );
    }
    // Again: everything is there.
    let count = server.requests().len();
    assert_eq!(Some(0), post(&server, &args, &text).code);
    let again = &server.requests()[count..];
    assert!(
        again.iter().all(|request| request.method == "GET"),
        "{again:?}"
    );
    assert_eq!(Some(2), post(&server, &["--dbrp", "-o", "o"], &text).code);
}

#[test]
fn databases_of_version_3_are_made_through_their_own_endpoint() {
    for (target, status) in [("core", 200), ("enterprise", 409)] {
        let server = Server::start(move |request| match request.path.as_str() {
            "/api/v3/configure/database" => {
                answer(status, "attempted to create a resource that already exists")
            }
            _ => stored(),
        });
        let args = [
            "--host",
            &server.url,
            "--target",
            target,
            "--create-buckets",
            "--expired",
            "send",
        ];
        let ran = run(&args, &[], STREAM);
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        let requests = server.requests();
        assert_eq!(
            ["POST /api/v3/configure/database", "POST /api/v3/write_lp"].as_slice(),
            asked(&server)
        );
        assert_eq!(
            r#"{"db":"d/r","retention_period":"3600s"}"#,
            requests[0].text()
        );
        let is_blind = ran
            .stderr
            .contains("the server does not say for how long it keeps points");
        assert_eq!(status == 409, is_blind, "{}", ran.stderr);
    }
}

#[test]
fn databases_and_policies_of_version_1_are_made_by_statements() {
    let mut exists = false;
    let server = Server::start(move |request| {
        if request.path != "/query" {
            return stored();
        }
        let text = request.text();
        if text.starts_with("q=SHOW") && !exists {
            return answer(
                200,
                r#"{"results":[{"statement_id":0,"error":"database not found: d"}]}"#,
            );
        }
        exists |= text.starts_with("q=CREATE%20DATABASE");
        answer(
            200,
            r#"{"results":[{"statement_id":0,"series":[{"columns":["name","duration","shardGroupDuration","replicaN","default"],"values":[["r","1h0m0s","1h0m0s",1,true]]}]}]}"#,
        )
    });
    let text = [
        context("r", "3600s", "d/r"),
        context("autogen", "0s", "d/autogen"),
    ]
    .concat();
    let args = ["--host", &server.url, "--target", "v1", "--create-buckets"];
    let ran = run(&args, &[], &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    let statements: Vec<_> = server
        .requests()
        .iter()
        .map(|request| {
            assert_eq!(
                Some("application/x-www-form-urlencoded"),
                request.header("content-type")
            );
            request.text().replace("%20", " ").replace("%22", "\"")
        })
        .collect();
    let expected = [
        "q=SHOW RETENTION POLICIES ON \"d\"",
        "q=CREATE DATABASE \"d\" WITH DURATION 3600s REPLICATION 1 NAME \"r\"",
        "q=SHOW RETENTION POLICIES ON \"d\"",
        "q=CREATE RETENTION POLICY \"autogen\" ON \"d\" DURATION INF REPLICATION 1 DEFAULT",
    ];
    assert_eq!(expected.as_slice(), statements);
}

#[test]
fn where_buckets_are_made_in_another_way_it_is_said() {
    for (target, way) in [
        ("clustered", "influxctl"),
        ("dedicated", "influxctl"),
        ("victoriametrics", "it has no buckets"),
    ] {
        let server = Server::willing();
        let args = [
            "--host",
            &server.url,
            "--target",
            target,
            "--create-buckets",
        ];
        let ran = run(&args, &[], STREAM);
        assert_eq!(Some(2), ran.code);
        assert!(ran.stderr.contains(way), "{}", ran.stderr);
        assert_eq!(0, server.requests().len());
    }
}
