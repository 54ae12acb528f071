//! Command lines of `influx_inspect export`, as people have them in their scripts, against our own options.

use std::fs;
use std::path::Path;

use crate::harness::{Pipeline, Ran, copy, fixture, gunzip, points, scratch};

/// A server's home: database and policy of the examples, and two databases more.
fn home() -> tempfile::TempDir {
    let dir = scratch();
    let root = dir.path().join(".influxdb");
    for side in ["data", "wal"] {
        let source = fixture("influxdb-1.6").join(side);
        for (from, to) in [
            ("example-db/historical-6mo", "example-db/example-rp"),
            ("example-db/autogen", "example-db/autogen"),
            ("overlap", "overlap"),
            ("deletes", "deletes"),
        ] {
            // Not every policy has a log.
            let from = source.join(from);
            if side == "data" || from.exists() {
                copy(&from, &root.join(side).join(to));
            }
        }
    }
    dir
}

fn cat(home: &Path, args: &[&str]) -> Ran {
    let pipeline = Pipeline::new().dir(home);
    let pipeline = pipeline.env("HOME", home.to_str().unwrap());
    pipeline.run(&[&[&["tsm-cat"], args].concat()])
}

/// Run theirs and ours, each into a file of its own; the file of theirs, which is the same as that of ours.
fn same(theirs: &str, ours: &str) -> Vec<u8> {
    let home = home();
    let words = |line: &str| {
        let line = line.replace(" D", " .influxdb/data");
        line.replace(" W", " .influxdb/wal")
    };
    let [a, b] = [theirs, ours].map(|line| {
        let line = words(line);
        let ran = cat(home.path(), &line.split(' ').collect::<Vec<_>>()).ok();
        assert_eq!((String::new(), ""), (ran.stdout.to_string(), &*ran.stderr));
        let file = home.path().join(line.split(' ').next_back().unwrap());
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(file).unwrap();
        bytes
    });
    assert!(a == b, "{theirs}\n{ours}");
    assert!(!a.is_empty());
    a
}

fn of(measurement: &str, text: &[u8]) -> usize {
    let points = points(text).into_iter();
    points
        .filter(|point| point.starts_with(measurement.as_bytes()))
        .count()
}

#[test]
fn one_policy_is_exported() {
    let text = same(
        "export -lponly -database example-db -retention example-rp -out F",
        "--lp-only -d example-db -r example-rp .influxdb -o F",
    );
    assert_eq!(225, points(&text).len());
    assert!(!text.starts_with(b"#"));
}

#[test]
fn all_databases_are_exported() {
    let text = same("export -lponly -out F", "--lp-only .influxdb -o F");
    assert!(of("cpu", &text) > 0 && points(&text).len() > 1000);
}

#[test]
fn all_databases_are_exported_compressed() {
    let bytes = same(
        "export -lponly -compress -out F",
        "--lp-only --compress .influxdb -o F",
    );
    let dir = scratch();
    fs::write(dir.path().join("F.gz"), bytes).unwrap();
    let text = same("export -lponly -out F", "--lp-only .influxdb -o F");
    assert!(text == gunzip(dir.path().join("F.gz")));
}

#[test]
fn a_range_of_time_is_exported_whose_end_is_inclusive() {
    let text = same(
        "export -lponly -start 2020-01-01T00:00:00Z -end 2023-01-01T00:00:00Z -out F",
        "--lp-only --start 2020-01-01 --stop 2023-01-01T00:00:00.000000001Z .influxdb -o F",
    );
    let all = same("export -lponly -out F", "--lp-only .influxdb -o F");
    assert!(points(&text).len() < points(&all).len());
    let last = points(&text);
    let last = last.last().unwrap().rsplit(|c| *c == b' ').next().unwrap();
    let last = std::str::from_utf8(last).unwrap();
    // The very last point is still there if its time is the end, and gone a nanosecond before.
    let end = |end: i64| {
        let line = format!("export -lponly -end {end} -out F");
        points(&same(
            &line,
            &format!("--lp-only --stop {} .influxdb -o F", end + 1),
        ))
        .len()
    };
    let last: i64 = last.parse().unwrap();
    assert!(end(last - 1) < end(last));
}

#[test]
fn one_database_is_exported() {
    let text = same(
        "export -lponly -database example-db -out F",
        "--lp-only -d example-db .influxdb -o F",
    );
    assert_eq!(525, points(&text).len());
}

#[test]
fn directories_are_read_where_they_are() {
    same(
        "export -lponly -datadir D -waldir W -out F",
        "--lp-only --wal-dir W D -o F",
    );
    let all = same("export -lponly -out F", "--lp-only .influxdb -o F");
    let there = same(
        "export -lponly -datadir D -out F",
        "--lp-only .influxdb -o F",
    );
    assert!(all == there);
}

#[test]
fn one_file_is_exported_without_its_log() {
    let file = ".influxdb/data/deletes/autogen/3/000000002-000000001.tsm";
    let text = same(
        &format!(
            "export -lponly -database deletes -retention autogen -tsmfile {file} -datadir D -waldir W -out F"
        ),
        &format!("--lp-only -d deletes -r autogen --no-wal {file} -o F"),
    );
    assert!(!points(&text).is_empty());
    // A file that lies elsewhere belongs to whom the command says.
    let home = home();
    fs::copy(home.path().join(file), home.path().join("a.tsm")).unwrap();
    let args = [
        "-database",
        "db",
        "-retention",
        "rp",
        "-tsmfile",
        "a.tsm",
        "-out",
        "-",
    ];
    let ran = cat(home.path(), &args).ok();
    let head = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n";
    assert!(ran.stdout.starts_with(head.as_bytes()), "{}", ran.stdout);
}

#[test]
fn two_dashes_equals_signs_and_no_command_word_do_as_well() {
    let plain = same(
        "export -lponly -database example-db -retention example-rp -out F",
        "--lp-only -d example-db -r example-rp .influxdb -o F",
    );
    for theirs in [
        "--lponly --database example-db --retention example-rp --out F",
        "export -lponly=true -compress=false -database=example-db --retention=example-rp -out F",
        "-lponly -database example-db -retention example-rp .influxdb -out F",
    ] {
        assert!(
            plain
                == same(
                    theirs,
                    "--lp-only -d example-db -r example-rp .influxdb -o F"
                ),
            "{theirs}"
        );
    }
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let home = home();
    fs::write(home.path().join("F"), "mine").unwrap();
    let ran = cat(home.path(), &["export", "-lponly", "-out", "F"]);
    assert_eq!(Some(73), ran.last());
    assert!(ran.stderr.contains("--force"), "{}", ran.stderr);
    assert_eq!("mine", fs::read_to_string(home.path().join("F")).unwrap());
}

#[test]
fn a_home_without_data_is_66_and_says_what_to_do() {
    let dir = scratch();
    let ran = cat(dir.path(), &["export", "-lponly", "-out", "-"]);
    assert_eq!(Some(66), ran.last());
    for word in ["/.influxdb", "-datadir", "/var/lib/influxdb"] {
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
}

#[test]
fn an_end_is_not_a_date_and_goes_with_no_stop() {
    let home = home();
    let end = |args: &[&str]| cat(home.path(), &[&["-lponly"], args].concat());
    let ran = end(&["-end", "2022-12-31"]);
    assert_eq!(Some(2), ran.last());
    assert!(ran.stderr.contains("--stop 2023-01-01"), "{}", ran.stderr);
    let ran = end(&["-end", "2023-01-01T00:00:00Z", "--stop", "2023-01-01"]);
    assert_eq!(Some(2), ran.last());
    assert!(ran.stderr.contains("cannot be used with"), "{}", ran.stderr);
}

#[test]
fn a_folder_called_export_is_read() {
    let home = home();
    fs::rename(
        home.path().join(".influxdb/data"),
        home.path().join("export"),
    )
    .unwrap();
    let ran = cat(home.path(), &["export", "--no-wal", "-d", "overlap"]).ok();
    let named = cat(home.path(), &["./export", "--no-wal", "-d", "overlap"]).ok();
    assert!(ran.stdout == named.stdout && !points(&ran.stdout).is_empty());
}
