//! Do the programs keep their promises to each other, in one pipe?

use std::collections::BTreeSet;

use crate::harness::{
    Pipeline, Ran, entries, fixture, fixture_arg, gunzip, gzip, pipeline, points, run,
};

/// A selection that everything a server accepts is in.
const FILTER: &[&str] = &["lp-filter", "--start=-9223372036854775806"];
/// The names of 1.x, `_internal` among them.
const SPLIT: &[&str] = &["lp-split-by-bucket", "--target", "v1"];
const RATE: &[&str] = &["lp-rate", "unlimited"];
const POST: &[&str] = &["lp-post", "--dry-run"];

/// All programs that may stand behind another one.
const LATER: [&[&str]; 4] = [FILTER, SPLIT, RATE, POST];

/// A whole stream: a string with a newline, another bucket, a last record that parses wherever it is cut.
const STREAM: &str = "# STREAM-BEGIN once\n\
    # CONTEXT-DATABASE:db\n\
    # CONTEXT-RETENTION-POLICY:autogen\n\
    # CONTEXT-RETENTION-PERIOD:0s\n\
    # CONTEXT-SHARD:1\n\
    cpu,host=a usage=1.5,n=97i 1577836800000000000\n\
    # CONTEXT-RETENTION-POLICY:short\n\
    # CONTEXT-RETENTION-PERIOD:86400s\n\
    # CONTEXT-SHARD:2\n\
    log,host=a text=\"one\n# CONTEXT-DATABASE:evil\ntwo\",n=12i 1577836800000000001\n\
    cpu,host=b usage=2.25,n=98i 1577836800000000002\n\
    # STREAM-END points:3 left-out:0\n";

/// The first and all later programs on one fixture; what they count goes to files.
#[track_caller]
fn whole_chain(first: &[&str]) -> (Ran, Vec<serde_json::Value>) {
    let dir = crate::harness::scratch();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mut stages: Vec<Vec<String>> = Vec::new();
    for (i, stage) in [first, FILTER, SPLIT, &["lp-rate", "serverless"], POST]
        .iter()
        .enumerate()
    {
        let mut stage: Vec<String> = stage.iter().map(|word| word.to_string()).collect();
        stage.extend(["--summary".to_owned(), file(&i.to_string())]);
        stages.push(stage);
    }
    let stages: Vec<Vec<&str>> = stages
        .iter()
        .map(|stage| stage.iter().map(String::as_str).collect())
        .collect();
    let stages: Vec<&[&str]> = stages.iter().map(Vec::as_slice).collect();
    let ran = Pipeline::new().run(&stages);
    let read =
        |i: usize| serde_json::from_slice(&std::fs::read(file(&i.to_string())).unwrap()).unwrap();
    (ran, (0..stages.len()).map(read).collect())
}

#[test]
fn the_last_stage_reports_as_many_points_as_the_first() {
    let root = fixture_arg("influxdb-1.6");
    let (ran, summaries) = whole_chain(&["tsm-cat", "-d", "example-db", &root]);
    let ran = ran.ok();
    assert_eq!("", ran.stderrs[..4].concat(), "success is silent");
    assert_eq!(vec![843; 5], counts(&ran, &summaries));
}

#[test]
fn all_of_a_server_with_damage_goes_through_and_every_stage_says_that_something_was_left_out() {
    let root = fixture_arg("influxdb-1.6");
    let (ran, summaries) = whole_chain(&["tsm-cat", "--keep-going", "--internal", &root]);
    assert_eq!(vec![Some(1); 5], ran.codes, "{}", ran.stderr);
    let counts = counts(&ran, &summaries);
    assert_eq!(vec![counts[0]; 5], counts);
}

/// What each program says it passed on; the last one, what it would send.
fn counts(ran: &Ran, summaries: &[serde_json::Value]) -> Vec<u64> {
    let count = |summary: &serde_json::Value| match summary["program"].as_str().unwrap() {
        "tsm-cat" => summary["points"].as_u64().unwrap(),
        "lp-rate" => summary["points_passed"].as_u64().unwrap(),
        "lp-post" => would_send(ran),
        _ => summary["points_written"].as_u64().unwrap(),
    };
    summaries.iter().map(count).collect()
}

/// The figure of the line that closes a dry run.
#[track_caller]
fn would_send(ran: &Ran) -> u64 {
    let said = ran.stderrs.last().unwrap();
    let line = said.lines().find(|line| line.contains("would be sent to"));
    let line = line.unwrap_or_else(|| panic!("no figures: {said}"));
    let (_, figures) = line.split_once("dry run: ").unwrap();
    figures.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn no_stage_changes_a_byte_of_a_point_or_the_order() {
    let root = fixture_arg("influxdb-1.6");
    let first: &[&str] = &["tsm-cat", "--keep-going", "--internal", &root];
    let alone = pipeline(b"", &[first]);
    let behind = pipeline(b"", &[first, FILTER, SPLIT, RATE]);
    assert_eq!(vec![Some(1); 4], behind.codes);
    let (wanted, found) = (points(&alone.stdout), points(&behind.stdout));
    assert!(wanted.len() > 20_000);
    assert!(
        wanted == found,
        "{} points became {}",
        wanted.len(),
        found.len()
    );
}

#[test]
fn a_stream_cut_at_any_byte_is_noticed_by_every_stage_and_none_passes_what_the_whole_does_not_hold()
{
    let whole: BTreeSet<&[u8]> = points(STREAM.as_bytes()).into_iter().collect();
    assert_eq!(3, whole.len());
    // One byte tells nothing.
    for n in 2..STREAM.len() {
        let cut = &STREAM.as_bytes()[..n];
        for stage in LATER {
            let ran = run(cut, stage);
            assert_eq!(Some(65), ran.last(), "{stage:?} at {n}\n{}", ran.stderr);
            for point in passed(&ran) {
                assert!(whole.contains(point), "{stage:?} at {n}: {}", ran.stdout);
            }
        }
    }
}

#[test]
fn a_stream_cut_at_any_byte_of_its_last_two_records_fails_the_whole_pipeline() {
    let last_two = STREAM.find("log,host=a").unwrap();
    for n in last_two..STREAM.len() {
        let ran = pipeline(&STREAM.as_bytes()[..n], &[FILTER, SPLIT, RATE, POST]);
        assert_eq!(vec![Some(65); 4], ran.codes, "at {n}\n{}", ran.stderr);
    }
    let whole = pipeline(STREAM.as_bytes(), &[FILTER, SPLIT, RATE, POST]);
    assert_eq!(vec![Some(0); 4], whole.codes, "{}", whole.stderr);
}

#[test]
fn a_compressed_stream_cut_at_any_byte_is_noticed_by_every_stage() {
    let half = STREAM.find("log,host=a").unwrap();
    let (a, b) = STREAM.as_bytes().split_at(half);
    let members = [gzip(a), gzip(b)].concat();
    for stage in LATER {
        for n in 2..members.len() {
            let ran = run(&members[..n], stage);
            assert_eq!(Some(65), ran.last(), "{stage:?} at {n}\n{}", ran.stderr);
        }
        assert_eq!(Some(0), run(&members, stage).last(), "{stage:?}");
    }
}

#[test]
fn every_stage_reads_all_members_of_a_compressed_stream() {
    let half = STREAM.find("log,host=a").unwrap();
    let (a, b) = STREAM.as_bytes().split_at(half);
    let members = [gzip(a), gzip(b)].concat();
    for stage in [FILTER, SPLIT, RATE] {
        let ran = run(&members, stage).ok();
        assert_eq!(points(STREAM.as_bytes()), points(&ran.stdout), "{stage:?}");
    }
}

#[test]
fn a_first_stage_that_dies_before_its_first_byte_does_not_end_in_success() {
    for first in [&["false"][..], &["sh", "-c", "kill -9 $$"], &["true"]] {
        let ran = pipeline(b"", &[first, FILTER, SPLIT, RATE, POST]);
        assert_eq!(Some(66), ran.last(), "{}", ran.stderr);
        assert!(ran.stderrs[4].contains("wrote nothing"), "{}", ran.stderr);
        assert_eq!(Some(66), pipeline(b"", &[first, POST]).last());
    }
}

#[test]
fn a_failed_stream_ends_every_stage_with_the_status_of_the_cause() {
    let text = STREAM.replace(
        "# STREAM-END points:3 left-out:0",
        "# STREAM-FAILED status:77",
    );
    let ran = pipeline(text.as_bytes(), &[FILTER, SPLIT, RATE, POST]);
    assert_eq!(vec![Some(77); 4], ran.codes, "{}", ran.stderr);
    assert_eq!(4, ran.stderr.matches("77").count(), "{}", ran.stderr);
}

#[test]
fn damage_ends_every_stage_with_65_and_the_cause_is_named_first() {
    for database in [
        "cut",
        "magic",
        "empty",
        "footer",
        "index",
        "flip",
        "tomb-cut",
        "tomb-magic",
    ] {
        let root = fixture_arg("influxdb-1.6-broken");
        let first: &[&str] = &["tsm-cat", "--no-wal", "-d", database, &root];
        let ran = pipeline(b"", &[first, FILTER, SPLIT, RATE, POST]);
        assert_eq!(vec![Some(65); 5], ran.codes, "{database}\n{}", ran.stderr);
        let said = &ran.stderrs[0];
        assert!(said.contains(&format!("{database}/autogen")), "{said}");
    }
}

#[test]
fn a_path_that_does_not_exist_ends_every_stage_with_66() {
    let ran = pipeline(
        b"",
        &[
            &["tsm-cat", "/nonexistent/influxdb"],
            FILTER,
            SPLIT,
            RATE,
            POST,
        ],
    );
    assert_eq!(vec![Some(66); 5], ran.codes, "{}", ran.stderr);
}

#[test]
fn what_was_left_out_upstream_makes_every_later_stage_partial() {
    let text = STREAM.replace("left-out:0", "left-out:7");
    let ran = pipeline(text.as_bytes(), &[FILTER, SPLIT, RATE, POST]);
    assert_eq!(vec![Some(1); 4], ran.codes, "{}", ran.stderr);
}

#[test]
fn a_reader_that_leaves_ends_every_stage_before_it_quietly() {
    let many = many_points(200_000);
    for stage in [FILTER, SPLIT, RATE] {
        let ran = pipeline(&many, &[stage, &["head", "-n1"]]);
        assert_eq!(vec![Some(141), Some(0)], ran.codes, "{stage:?}");
        assert_eq!("", ran.stderr, "{stage:?}");
    }
    let ran = pipeline(&many, &[FILTER, SPLIT, RATE, &["head", "-n1"]]);
    assert_eq!(vec![Some(141), Some(141), Some(141), Some(0)], ran.codes);
    assert_eq!("", ran.stderr);
}

#[test]
fn tsm_cat_ends_quietly_when_its_reader_leaves() {
    let root = fixture_arg("influxdb-1.6");
    let ran = pipeline(
        b"",
        &[
            &["tsm-cat", "--per-field", "--keep-going", &root],
            &["head", "-n1"],
        ],
    );
    assert_eq!(vec![Some(141), Some(0)], ran.codes, "{}", ran.stderr);
    assert_eq!("", ran.stderr);
}

/// A whole stream larger than all buffers and pipes together.
fn many_points(n: usize) -> Vec<u8> {
    let mut text = b"# STREAM-BEGIN once\n# CONTEXT-BUCKET:b\n".to_vec();
    for i in 0..n {
        text.extend(format!("cpu,host=a usage={i}i {}\n", 1_577_836_800_000_000_000 + i).bytes());
    }
    text.extend(format!("# STREAM-END points:{n} left-out:0\n").bytes());
    text
}

/// What `influx_inspect export -lponly` wrote.
fn lp_only(database: &str) -> Vec<u8> {
    let path = format!("influxdb-1.6/influx_inspect-1.12/{database}/autogen.lp.gz");
    gunzip(fixture(path))
}

/// The same as it is without `-lponly`: title, DDL, contexts.
fn with_comments(database: &str) -> Vec<u8> {
    let head = format!(
        "# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z\n# DDL\n\
         CREATE DATABASE {database} WITH NAME autogen\n# DML\n# CONTEXT-DATABASE:{database}\n\
         # CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\n"
    );
    [head.as_bytes(), &lp_only(database)].concat()
}

const EXPORTED: [&str; 6] = [
    "overlap",
    "deletes",
    "deletes-rewritten",
    "churn",
    "torn",
    "tsi-db",
];

#[test]
fn an_export_with_comments_goes_through_as_it_is() {
    for database in EXPORTED {
        let export = with_comments(database);
        let ran = pipeline(&export, &[FILTER, SPLIT, RATE]).ok();
        assert_eq!(points_of(&export), points(&ran.stdout), "{database}");
        let bucket = format!("# CONTEXT-BUCKET:{database}/autogen");
        assert!(
            entries(&ran.stdout).contains(&bucket.as_bytes()),
            "{database}"
        );
        sends(&export, &[FILTER, SPLIT, POST], points(&ran.stdout).len());
    }
}

#[test]
fn an_export_without_comments_goes_through_by_context_or_bucket() {
    for database in EXPORTED {
        let export = lp_only(database);
        let context = format!("{database}/autogen");
        let split: &[&str] = &["lp-split-by-bucket", "--context", &context];
        let ran = pipeline(&export, &[FILTER, split]).ok();
        assert_eq!(points(&export), points(&ran.stdout), "{database}");
        let n = points(&export).len();
        sends(&export, &[FILTER, split, POST], n);
        sends(
            &export,
            &[FILTER, &["lp-post", "--dry-run", "--context", &context]],
            n,
        );
        sends(
            &export,
            &[FILTER, &["lp-post", "--dry-run", "--bucket", "b"]],
            n,
        );
    }
}

#[test]
fn an_export_without_comments_and_without_a_word_about_where_to_is_not_sent() {
    let export = lp_only("torn");
    for last in [SPLIT, POST] {
        let ran = pipeline(&export, &[FILTER, last]);
        assert_eq!(Some(78), ran.last(), "{}", ran.stderr);
        assert!(ran.stderr.contains("--context"), "{}", ran.stderr);
        assert!(passed(&ran).is_empty());
    }
}

/// The points a program passed on: what it wrote, where that is a stream and not a report.
fn passed(ran: &Ran) -> Vec<&[u8]> {
    points(&ran.stdout)
        .into_iter()
        .filter(|entry| entry.contains(&b'='))
        .collect()
}

/// The points of an export, whose DDL is none.
fn points_of(export: &[u8]) -> Vec<&[u8]> {
    let mut all = points(export);
    all.retain(|entry| !entry.starts_with(b"CREATE "));
    all
}

/// The last stage would send all of them.
#[track_caller]
fn sends(input: &[u8], stages: &[&[&str]], n: usize) {
    let ran = pipeline(input, stages).ok();
    assert_eq!(n as u64, would_send(&ran), "{stages:?}");
}
