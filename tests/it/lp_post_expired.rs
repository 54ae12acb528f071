//! What becomes of points that are older than their bucket keeps?

use serde_json::Value;

use crate::harness::scratch;
use crate::lp_post::{points, post, run};
use crate::lp_post_buckets::{context, version_2};
use crate::server::{Server, answer, stored};

/// One point that is older than any bucket keeps, and one that will be new for long.
const OLD_AND_NEW: &str = "m v=1 1\nm v=2 4102444800000000000\n";

fn figure(path: &std::path::Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()[name]
        .as_u64()
        .unwrap()
}

#[test]
fn points_that_their_source_would_drop_as_well_are_counted_and_no_loss() {
    let dir = scratch();
    let summary = dir.path().join("summary");
    let (server, _) = version_2();
    let args = [
        "--create-buckets",
        "-o",
        "o",
        "--summary",
        summary.to_str().unwrap(),
    ];
    let text = context("r", "3600s", "d/r") + OLD_AND_NEW;
    let ran = post(&server, &args, &text);
    assert_eq!((Some(0), ""), (ran.code, &*ran.stdout), "{}", ran.stderr);
    assert_eq!(vec!["m v=2 4102444800000000000\n"], server.writes());
    assert_eq!(
        (1, 1, 0),
        (
            figure(&summary, "expired"),
            figure(&summary, "accepted"),
            figure(&summary, "rejected")
        )
    );
}

#[test]
fn points_that_only_the_bucket_drops_are_rejects() {
    let text = context("r", "0s", "d/r") + OLD_AND_NEW;
    let server = Server::willing();
    let ran = post(&server, &["--retention-period", "d/r=1h"], &text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=1 1"], points(&ran.stdout));
    assert!(
        ran.stdout
            .contains("older than its bucket keeps points (1h)"),
        "{}",
        ran.stdout
    );
    assert_eq!(vec!["m v=2 4102444800000000000\n"], server.writes());
}

#[test]
fn where_nobody_says_how_long_points_are_kept_that_is_told_once() {
    let server = Server::start(|request| match request.method.as_str() {
        "GET" => answer(200, "[]"),
        _ => stored(),
    });
    let args = [
        "--host",
        &server.url,
        "--target",
        "core",
        "--expired",
        "reject",
    ];
    let text =
        context("r", "3600s", "d/r") + OLD_AND_NEW + &context("r", "3600s", "d/r") + OLD_AND_NEW;
    let ran = run(&args, &[], &text);
    assert_eq!((Some(0), ""), (ran.code, &*ran.stdout), "{}", ran.stderr);
    let told = ran
        .stderr
        .matches("nobody says for how long it keeps points");
    assert_eq!(1, told.count(), "{}", ran.stderr);
    let sent = server.writes().concat();
    assert_eq!(4, sent.lines().count(), "{sent}");
}

#[test]
fn what_becomes_of_expired_points_can_be_said() {
    let hour = r#"{"buckets":[{"id":"bb","name":"d/r","retentionRules":[{"everySeconds":3600}]}]}"#;
    for (period, what, code, rejects, writes) in [
        ("0s", "skip", 0, 0, 1),
        ("0s", "reject", 1, 1, 1),
        ("3600s", "reject", 1, 1, 1),
        ("3600s", "send", 0, 0, 2),
    ] {
        let server = Server::start(move |request| match request.method.as_str() {
            "GET" => answer(200, hour),
            _ => stored(),
        });
        let args = ["--org-id", "00000000000000aa", "--expired", what];
        let ran = post(&server, &args, &(context("r", period, "d/r") + OLD_AND_NEW));
        assert_eq!(Some(code), ran.code, "{what}: {}", ran.stderr);
        assert_eq!(rejects, points(&ran.stdout).len(), "{what}");
        assert_eq!(writes, server.writes().concat().lines().count(), "{what}");
        // The server is asked once, and only where the answer matters.
        let questions = server
            .requests()
            .iter()
            .filter(|request| request.method == "GET")
            .count();
        assert_eq!(usize::from(what != "send"), questions, "{what}");
    }
}
