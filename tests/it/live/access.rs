//! Real servers that ask who one is, that are asked whether a run would work, and that stand behind a proxy.

use super::servers::Server;
use super::wire::{self, Value};
use crate::lp_post::{Ran, run_bare};
use crate::proxy::Tunnel;

const POINTS: &str = "m,t=a v=1 1577836800000000000\nm,t=b v=2 1577836801000000000\n";

fn stream(policy: &str, period: &str, points: &str) -> String {
    format!(
        "# CONTEXT-DATABASE:my db\n# CONTEXT-RETENTION-POLICY:{policy}\n# CONTEXT-RETENTION-PERIOD:{period}\n{points}"
    )
}

/// What a statement of the administrator gives: the rows of the first series.
#[track_caller]
fn ask(server: &Server, statement: &str) -> Vec<Value> {
    let path = "/query?u=root&p=se%20cret";
    let form: [(&str, &[u8]); 2] = [("epoch", b"ns"), ("q", statement.as_bytes())];
    let answer = wire::unpack(&wire::post_form(server.port, path, &form));
    let result = &answer.at("results").items()[0];
    assert_eq!(&Value::Nil, result.at("error"), "{statement}");
    let series = result.at("series").items();
    series
        .first()
        .map_or_else(Vec::new, |series| series.at("values").items().to_vec())
}

fn post(server: &Server, token: &str, more: &[&str], input: &str) -> Ran {
    let url = server.url();
    // One request at a time: of two that are the first ones into a shard the server can lose one.
    let args = [
        "--host",
        &url,
        "--target",
        "v1",
        "--retry-max-time",
        "10s",
        "--jobs",
        "1",
    ];
    let env = [("INFLUX_TOKEN", token)];
    let env = if token.is_empty() { &env[..0] } else { &env };
    run_bare(&[&args[..], more].concat(), env, input)
}

#[test]
#[ignore = "needs influxd; .ci/run runs it"]
fn live_influxd_takes_writes_from_those_who_may_and_databases_from_its_administrator() {
    let server = Server::influxd_with_users();
    let first = "CREATE USER root WITH PASSWORD 'se cret' WITH ALL PRIVILEGES";
    wire::post_form(server.port, "/query", &[("q", first.as_bytes())]);
    ask(&server, "CREATE USER writer WITH PASSWORD 'w'");
    let contexts = [
        ("autogen", "0s"),
        ("month", "2592000s"),
        ("week", "604800s"),
    ]
    .map(|(policy, period)| stream(policy, period, ""))
    .concat();
    // Tokens hold no blanks, so the administrator has a second one.
    ask(
        &server,
        "CREATE USER boss WITH PASSWORD 'b' WITH ALL PRIVILEGES",
    );
    for (token, code) in [
        ("", 77),
        ("boss:wrong", 77),
        ("writer:w", 77),
        ("boss:b", 0),
        ("boss:b", 0),
    ] {
        let ran = post(&server, token, &["--create-buckets"], &contexts);
        assert_eq!(Some(code), ran.code, "{token}: {}", ran.stderr);
        assert!(!ran.stderr.contains("wrong"), "{}", ran.stderr);
    }
    let policies = ask(&server, "SHOW RETENTION POLICIES ON \"my db\"");
    let seen: Vec<_> = policies
        .iter()
        .map(|row| {
            let row = row.items();
            (
                row[0].text().to_vec(),
                row[1].text().to_vec(),
                row[4] == Value::Boolean(true),
            )
        })
        .collect();
    let wanted = [
        ("autogen", "0s", true),
        ("month", "720h0m0s", false),
        ("week", "168h0m0s", false),
    ];
    let wanted = wanted.map(|(name, period, default)| (name.into(), period.into(), default));
    assert_eq!(wanted.to_vec(), seen);
    // A policy that keeps less than the points are kept for.
    let longer = stream("week", "1209600s", POINTS);
    let ran = post(&server, "boss:b", &["--create-buckets"], &longer);
    assert_eq!(Some(78), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("ALTER RETENTION POLICY \"week\" ON \"my db\" DURATION 1209600s"),
        "{}",
        ran.stderr
    );

    for (token, bucket, code) in [
        ("", "my db/autogen", 77),
        ("writer:w", "my db/autogen", 77),
        ("boss:b", "my db/autogen", 0),
        ("boss:b", "other/autogen", 78),
    ] {
        let ran = post(&server, token, &["--ping", "-b", bucket], "");
        assert_eq!(Some(code), ran.code, "{token} {bucket}: {}", ran.stderr);
    }
    ask(&server, "GRANT WRITE ON \"my db\" TO writer");
    for (token, code) in [("", 77), ("writer:no", 77), ("writer:w", 0)] {
        let ran = post(&server, token, &[], &stream("autogen", "0s", POINTS));
        assert_eq!(Some(code), ran.code, "{token}: {}", ran.stderr);
    }
    assert_eq!(
        Some(0),
        post(&server, "writer:w", &["--ping", "-b", "my db/autogen"], "").code
    );
    let rows = ask(&server, "SELECT count(v) FROM \"my db\".autogen.m");
    assert_eq!(2, rows[0].items()[1].integer());
}

#[test]
#[ignore = "needs influxd; .ci/run runs it"]
fn live_influxd_is_written_to_through_a_proxy() {
    let server = Server::influxd();
    wire::post_form(
        server.port,
        "/query",
        &[("q", b"CREATE DATABASE \"my db\"")],
    );
    let proxy = Tunnel::to(server.port);
    let args = ["--host", "http://influx.test:8086", "--jobs", "1"];
    let env = [("http_proxy", proxy.url.as_str())];
    let ran = run_bare(&args, &env, &stream("autogen", "0s", POINTS));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("--target v1"), "{}", ran.stderr);
    assert!(
        proxy
            .asked()
            .contains(&"CONNECT influx.test:8086".to_owned()),
        "{:?}",
        proxy.asked()
    );
    let rows = ask(&server, "SELECT count(v) FROM \"my db\".autogen.m");
    assert_eq!(2, rows[0].items()[1].integer());
}

#[test]
#[ignore = "needs victoria-metrics; .ci/run runs it"]
fn live_victoria_metrics_says_what_it_is_and_takes_writes_of_version_2() {
    let server = Server::victoria_metrics();
    let url = server.url();
    let ping = run_bare(&["--host", &url, "--ping", "-b", "d/r"], &[], "");
    assert_eq!(Some(0), ping.code, "{}", ping.stderr);
    let ran = run_bare(&["--host", &url], &[], &stream("autogen", "0s", POINTS));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("--target victoriametrics"),
        "{}",
        ran.stderr
    );
    wire::get(server.port, "/internal/force_flush");
    let path = "/api/v1/export?start=1&end=4102444800&match%5B%5D=m_v";
    let answer = String::from_utf8(wire::get(server.port, path)).unwrap();
    let rows: Vec<serde_json::Value> = answer
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(2, rows.len(), "{answer}");
    assert!(
        rows.iter()
            .all(|row| row["metric"]["db"] == "my db/autogen"),
        "{answer}"
    );
}
