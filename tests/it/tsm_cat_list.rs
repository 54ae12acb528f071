//! Looking before the export: which shards are there, and which contexts?

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::forge::{Value, meta, wal};
use crate::harness::{Ran, copy, entries, fixture, fixture_arg, pipeline, points, run, scratch};
use crate::server::{Server, answer};
use crate::tsm_cat_sources::tar;

fn cat(args: &[&str]) -> Ran {
    run(b"", &[&["tsm-cat"], args].concat())
}

fn root() -> String {
    fixture_arg("influxdb-1.6")
}

fn rows(args: &[&str]) -> Vec<Vec<String>> {
    let ran = cat(&[&["--list", "--no-header"], args].concat()).ok();
    let text = String::from_utf8(ran.stdout.to_vec()).unwrap();
    let row = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().map(row).collect()
}

/// The comments of a stream that carry context.
fn contexts(text: &[u8]) -> Vec<String> {
    let all = entries(text).into_iter();
    all.filter(|entry| entry.starts_with(b"# CONTEXT-"))
        .map(|entry| String::from_utf8(entry.to_vec()).unwrap())
        .collect()
}

fn bytes_in(folder: &Path, extension: &str) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let ours = paths.filter(|path| path.extension().is_some_and(|ext| ext == extension));
    ours.map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn every_shard_has_a_row_that_says_what_the_server_says() {
    let rows = rows(&["--internal", &root()]);
    let json = fs::read(fixture("influxdb-1.6/expected/shards.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let series = json["results"][0]["series"].as_array().unwrap();
    let shards = series.iter().flat_map(|s| s["values"].as_array().unwrap());
    let mut told = 0;
    for shard in shards {
        let id = shard[0].as_u64().unwrap().to_string();
        let found: Vec<_> = rows.iter().filter(|row| row[2] == id).collect();
        let [row] = found[..] else {
            panic!("shard {id}: {found:?}")
        };
        if !row[0].contains('%') && !row[1].contains('%') {
            assert_eq!(
                (&shard[1], &shard[2]),
                (&row[0].clone().into(), &row[1].clone().into())
            );
        }
        let (start, end) = (shard[4].as_str().unwrap(), shard[5].as_str().unwrap());
        // The server prints whole seconds.
        let seconds = |time: &str| time.get(..19).unwrap().to_owned();
        let told_by_row = (seconds(&row[3]), seconds(&row[4]));
        assert_eq!((seconds(start), seconds(end)), told_by_row, "shard {id}");
        told += 1;
    }
    assert_eq!(rows.len(), told);
}

#[test]
fn a_row_has_sizes_and_the_folder_and_names_are_percent_encoded() {
    for row in rows(&[
        "-d",
        "overlap",
        "-d",
        "walonly",
        "-d",
        "example-db",
        &root(),
    ]) {
        assert_eq!(9, row.len());
        let path = |side: &str| {
            fixture("influxdb-1.6")
                .join(side)
                .join(format!("{}/{}/{}", row[0], row[1], row[2]))
        };
        assert_eq!(bytes_in(&path("data"), "tsm").to_string(), row[5]);
        assert_eq!(bytes_in(&path("wal"), "wal").to_string(), row[6]);
        assert_eq!(path("data").to_str().unwrap(), row[8]);
    }
    let odd = rows(&["-d", "my db, 100% \"ünï\"", &root()]);
    assert_eq!("my db, 100%25 %22ünï%22", odd[0][0]);
    // What is in the log only has no other folder.
    let forged = forged();
    let log = forged.path().join("wal/a/p/2");
    assert_eq!(
        log.to_str().unwrap(),
        rows(&[forged.path().to_str().unwrap()])[0][8]
    );
}

#[test]
fn a_header_names_the_columns_unless_it_is_unwanted() {
    let ran = cat(&["--list", "-d", "levels", &root()]).ok();
    let text = ran.stdout.to_string();
    let (header, rest) = text.split_once('\n').unwrap();
    assert_eq!(
        "database\tpolicy\tshard\tstart\tend\ttsm_bytes\twal_bytes\tchanged\tpath",
        header
    );
    let bare = cat(&["--list", "--no-header", "-d", "levels", &root()]).ok();
    assert_eq!(rest, bare.stdout.to_string());
    assert_eq!(1, rest.lines().count());
}

#[test]
fn shards_one_by_one_make_up_the_whole() {
    let selection = ["-d", "example-db", "-r", "historical-6mo"];
    let whole = cat(&[&selection[..], &[&root()]].concat()).ok();
    let rows = rows(&[&selection[..], &[&root()]].concat());
    let mut all = Vec::new();
    for row in &rows {
        let one = cat(&["--shard", &row[2], "--lp-only", &root()]).ok();
        assert!(!one.stdout.is_empty());
        all.extend(one.stdout.to_vec());
    }
    assert!(rows.len() > 10);
    assert_eq!(points(&whole.stdout), points(&all));
    // The folder of a row is as good as its number.
    let one = cat(&["--shard", &rows[0][2], "--lp-only", &root()]).ok();
    let same = cat(&["--lp-only", &rows[0][8]]).ok();
    assert_eq!(one.stdout, same.stdout);
}

#[test]
fn a_time_range_leaves_out_the_groups_beside_it() {
    let selection = ["-d", "example-db", "-r", "historical-6mo", &root()];
    let all = rows(&selection);
    let (start, end) = (all[3][3].clone(), all[3][4].clone());
    let within = |args: &[&str]| rows(&[args, &selection].concat());
    assert_eq!(all[3..], within(&["--start", &start]));
    assert_eq!(all[..4], within(&["--stop", &end]));
    assert_eq!(all[3..4], within(&["--start", &start, "--stop", &end]));
    assert_eq!(all[3..], within(&["--end", "now", "--start", &start]));
    // A group that ends before it begins has gone beyond the first time there is: it may hold anything.
    let odd = |args: &[&str]| {
        let rows = rows(&[args, &["--shard", "80", &root()]].concat());
        rows.len()
    };
    assert_eq!(
        (1, 1),
        (
            odd(&["--stop", "1677-09-25"]),
            odd(&["--start", "2000-01-01"])
        )
    );
}

#[test]
fn a_list_can_go_to_a_file() {
    let dir = scratch();
    let file = dir.path().join("list.tsv");
    cat(&[
        "--list",
        "-d",
        "levels",
        "-o",
        file.to_str().unwrap(),
        &root(),
    ])
    .ok();
    let ran = cat(&["--list", "-d", "levels", &root()]).ok();
    assert_eq!(ran.stdout.to_vec(), fs::read(file).unwrap());
}

#[test]
fn what_has_no_meaning_beside_a_list_is_wrong_usage() {
    for form in ["--list", "--context-only"] {
        for args in [
            &["-m", "cpu"][..],
            &["--per-field"],
            &["--lp-only"],
            &["--keep-going"],
            &["--rejects", "/nowhere"],
            &["-j", "2"],
        ] {
            let ran = cat(&[&[form], args, &[&root()]].concat());
            assert_eq!(Some(2), ran.last(), "{form} {args:?}");
        }
    }
    assert_eq!(Some(2), cat(&["--list", "--context-only", &root()]).last());
    assert_eq!(Some(2), cat(&["--list", "--compress", &root()]).last());
    assert_eq!(Some(2), cat(&["--no-header", &root()]).last());
}

#[test]
fn contexts_are_those_of_the_export() {
    for args in [
        &["-d", "example-db"][..],
        &["-d", "my db, 100% \"ünï\"", "-d", "overlap"],
        &["-d", "example-db", "-r", "historical-6mo", "--shard", "28"],
    ] {
        let all = cat(&[args, &[&root()]].concat());
        if all.last() == Some(66) {
            panic!("{}", all.stderr);
        }
        let only = cat(&[args, &["--context-only", &root()]].concat()).ok();
        assert_eq!(contexts(&all.stdout), contexts(&only.stdout), "{args:?}");
        assert!(points(&only.stdout).is_empty());
        assert!(only.stdout.starts_with(b"# STREAM-BEGIN once\n"));
        assert!(only.stdout.ends_with(b"# STREAM-END points:0 left-out:0\n"));
    }
}

#[test]
fn a_policy_without_shards_has_a_context_and_is_no_error_then() {
    let named = ["-d", "levels", "-r", "autogen", &root()];
    assert_eq!(Some(66), cat(&named).last());
    let empty = [
        "# CONTEXT-DATABASE:levels",
        "# CONTEXT-RETENTION-POLICY:autogen",
        "# CONTEXT-RETENTION-PERIOD:0s",
    ];
    let only = |args: &[&str]| {
        let ran = cat(&[&["--context-only"], args].concat()).ok();
        contexts(&ran.stdout)
    };
    assert_eq!(empty[..], only(&named));
    let all = only(&["-d", "levels", &root()]);
    assert_eq!(empty[..], all[..3]);
    assert_eq!("# CONTEXT-RETENTION-POLICY:hourly", all[3]);
    assert_eq!(
        empty[..],
        only(&[&named[..4], &[&format!("{}/data/levels", root())]].concat())
    );
    // Where shards are chosen, one that has none is not.
    let chosen = only(&["-d", "levels", "--start", "2000-01-01", &root()]);
    assert!(!chosen.contains(&empty[1].to_owned()));
    let ran = cat(&["--context-only", "-d", "levels", "-r", "none", &root()]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("levels/autogen, levels/hourly"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_policy_without_shards_in_an_archive_has_a_context_too() {
    let only = |names: &[&str], args: &[&str]| {
        let packed = tar(&root(), names);
        let ran = run(&packed, &[&["tsm-cat", "--context-only"], args].concat()).ok();
        contexts(&ran.stdout)
    };
    let empty = [
        "# CONTEXT-DATABASE:levels",
        "# CONTEXT-RETENTION-POLICY:autogen",
        "# CONTEXT-RETENTION-PERIOD:0s",
    ];
    let of = |path: &str| contexts(&cat(&["--context-only", path]).ok().stdout);
    let expected = of(&root());
    let has_empty = |contexts: &[String]| contexts.windows(2).any(|pair| pair == &empty[..2]);
    assert!(has_empty(&expected));
    let set = |contexts: &[String]| contexts.iter().cloned().collect::<BTreeSet<_>>();
    // Shard by shard as they come, and all together.
    let in_parts = only(&["wal", "meta", "data"], &[]);
    assert_eq!(set(&expected), set(&in_parts));
    assert_eq!(expected, only(&["data", "wal", "meta"], &[]));
    assert_eq!(
        empty[..],
        only(&["meta", "data", "wal"], &["-d", "levels", "-r", "autogen"])
    );
    // The metadata alone are enough, and what was not packed has no context.
    let part = ["data/levels", "meta"];
    let databases = |contexts: &[String]| {
        let is_database = |line: &&String| line.starts_with("# CONTEXT-DATABASE");
        contexts
            .iter()
            .filter(is_database)
            .cloned()
            .collect::<Vec<_>>()
    };
    let found = only(&part, &["--no-wal"]);
    assert!(has_empty(&found), "{found:?}");
    assert!(!databases(&found).contains(&"# CONTEXT-DATABASE:overlap".to_owned()));
    assert!(!has_empty(&only(
        &part,
        &["--no-wal", "--start", "2000-01-01"]
    )));
    let packed = tar(&root(), &part);
    let ran = run(
        &packed,
        &["tsm-cat", "--no-wal", "-d", "levels", "-r", "autogen"],
    );
    assert_eq!(Some(66), ran.last());
}

/// A root with a database that has no folder, one with a log, and groups that are deleted.
fn forged() -> tempfile::TempDir {
    let dir = scratch();
    let root = dir.path();
    fs::create_dir_all(root.join("meta")).unwrap();
    fs::create_dir_all(root.join("data")).unwrap();
    let policies = [
        (
            "a",
            "p",
            3600,
            vec![
                meta::group(1, 0, 1000, true),
                meta::group(2, 1000, 2000, false),
            ],
        ),
        ("b", "gone", 0, vec![meta::group(3, 0, 1000, true)]),
        ("c", "new", 7200, vec![]),
    ];
    fs::write(root.join("meta/meta.db"), meta::file(&policies)).unwrap();
    for (path, time) in [("a/p/1", 5), ("a/p/2", 1005), ("b/gone/3", 7)] {
        let folder = root.join("wal").join(path);
        fs::create_dir_all(&folder).unwrap();
        let segment = wal::segment(&[("m", "v", time, Value::Integer(time))]);
        fs::write(folder.join("_00001.wal"), segment).unwrap();
    }
    dir
}

#[test]
fn deleted_groups_are_left_out_and_counted_unless_they_are_asked_for() {
    let dir = forged();
    let root = dir.path().to_str().unwrap();
    let ran = cat(&["--verbose", root]).ok();
    assert_eq!(vec![b"m v=1005i 1005"], points(&ran.stdout));
    assert!(
        ran.stderr.contains("2 deleted shards left out"),
        "{}",
        ran.stderr
    );
    let ran = cat(&["--verbose", "--deleted", root]).ok();
    assert_eq!(3, points(&ran.stdout).len());
    assert!(
        ran.stderr.contains("0 deleted shards left out"),
        "{}",
        ran.stderr
    );
    let ids = |args: &[&str]| {
        let rows = rows(&[args, &[root]].concat());
        rows.into_iter()
            .map(|row| row[2].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(vec!["2"], ids(&[]));
    assert_eq!(vec!["1", "2", "3"], ids(&["--deleted"]));
}

#[test]
fn a_deleted_shard_that_is_named_is_not_passed_over_quietly() {
    let dir = forged();
    let root = dir.path().to_str().unwrap();
    for args in [
        &["--shard", "1"][..],
        &["-d", "b"],
        &["-d", "b", "-r", "gone"],
    ] {
        let ran = cat(&[args, &[root]].concat());
        assert_eq!(Some(66), ran.last(), "{args:?}");
        assert!(ran.stderr.contains("--deleted"), "{}", ran.stderr);
        assert_eq!(
            1,
            points(&cat(&[args, &["--deleted", root]].concat()).ok().stdout).len()
        );
    }
}

#[test]
fn databases_and_policies_that_left_no_trace_have_their_contexts() {
    let dir = forged();
    let root = dir.path().to_str().unwrap();
    let expected = [
        "# CONTEXT-DATABASE:a",
        "# CONTEXT-RETENTION-POLICY:p",
        "# CONTEXT-RETENTION-PERIOD:3600s",
        "# CONTEXT-SHARD:2",
        "# CONTEXT-DATABASE:b",
        "# CONTEXT-RETENTION-POLICY:gone",
        "# CONTEXT-RETENTION-PERIOD:0s",
        "# CONTEXT-DATABASE:c",
        "# CONTEXT-RETENTION-POLICY:new",
        "# CONTEXT-RETENTION-PERIOD:7200s",
    ];
    let only = |args: &[&str]| {
        contexts(
            &cat(&[&["--context-only"], args, &[root]].concat())
                .ok()
                .stdout,
        )
    };
    assert_eq!(expected[..], only(&[]));
    assert_eq!(expected[7..], only(&["-d", "c"]));
    assert_eq!(expected[7..], only(&["-r", "new"]));
    assert_eq!(expected[..4], only(&["--shard", "2"]));
    assert_eq!(Some(66), cat(&["-d", "c", root]).last());
}

#[test]
fn an_archive_can_be_looked_at_as_well() {
    let selection = ["-d", "overlap", "-d", "levels"];
    for order in [["data", "wal"], ["wal", "data"]] {
        let tar = ["tar", "-C", &root(), "-c", order[0], order[1], "meta"];
        let look = |form: &str| {
            let piped = pipeline(b"", &[&tar, &[&["tsm-cat", form], &selection[..]].concat()]);
            let named = cat(&[&[form], &selection[..], &[&root()]].concat()).ok();
            (piped.ok(), named)
        };
        let (piped, named) = look("--schema");
        assert_eq!(named.stdout, piped.stdout);
        let (piped, named) = look("--list");
        let first = |ran: &Ran| {
            let text = ran.stdout.to_string();
            let row = |line: &str| line.split('\t').take(3).collect::<Vec<_>>().join(" ");
            text.lines().map(row).collect::<Vec<_>>()
        };
        assert_eq!(first(&named), first(&piped));
    }
}

#[test]
fn contexts_create_the_buckets_of_all_policies() {
    let dir = forged();
    let server =
        Server::start(
            |request| match (request.method.as_str(), request.path.split('?').next()) {
                ("GET", Some("/api/v2/orgs")) => {
                    answer(200, r#"{"orgs":[{"id":"00000000000000aa","name":"o"}]}"#)
                }
                ("GET", _) => answer(404, r#"{"code":"not found","message":"no"}"#),
                _ => answer(201, "{}"),
            },
        );
    let root = dir.path().to_str().unwrap();
    let post = [
        "lp-post",
        "--host",
        &server.url,
        "--target",
        "serverless",
        "-o",
        "o",
        "--create-buckets",
    ];
    for stages in [
        &[
            &["tsm-cat", "--context-only", root][..],
            &["lp-split-by-bucket"],
            &post,
        ][..],
        &[&["tsm-cat", "--context-only", root], &post],
    ] {
        let before = server.requests().len();
        pipeline(b"", stages).ok();
        let requests = server.requests();
        let made = requests[before..]
            .iter()
            .filter(|request| request.method == "POST");
        let made: BTreeSet<_> = made
            .map(|request| {
                assert_eq!("/api/v2/buckets", request.path);
                let json: serde_json::Value = serde_json::from_str(&request.text()).unwrap();
                let period = json["retentionRules"][0]["everySeconds"].as_u64();
                (
                    json["name"].as_str().unwrap().to_owned(),
                    period.unwrap_or(0),
                )
            })
            .collect();
        let expected = [("a/p", 3600), ("b/gone", 0), ("c/new", 7200)];
        let expected = expected.map(|(name, period)| (name.to_owned(), period));
        assert_eq!(BTreeSet::from(expected), made);
    }
}

#[test]
fn replicas_have_a_row_each() {
    let dir = scratch();
    copy(
        &fixture("influxdb-1.6/data/tsi-db"),
        &dir.path().join("data/tsi-db"),
    );
    let args = [
        "-d",
        "tsi-db",
        "--no-wal",
        "--replicas",
        &root(),
        dir.path().to_str().unwrap(),
    ];
    let rows = rows(&args);
    assert_eq!((2, "88", "88"), (rows.len(), &*rows[0][2], &*rows[1][2]));
    assert_ne!(rows[0][8], rows[1][8]);
}
