//! Exports that go on where the one before stopped, and shards that are there more than once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::forge::{Value, tsm, wal};
use crate::harness::{Ran, copy, entries, fixture, points, run, scratch};

fn cat(args: &[&str]) -> Ran {
    run(b"", &[&["tsm-cat"], args].concat())
}

/// Set the time of a file or folder and of all below it.
fn stamp(path: &Path, time: SystemTime) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            stamp(&entry.unwrap().path(), time);
        }
    }
    let file = fs::File::open(path).unwrap();
    file.set_modified(time).unwrap();
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Three shards with data and log that last changed in 2001.
fn old() -> tempfile::TempDir {
    let dir = scratch();
    for side in ["data", "wal"] {
        for database in ["overlap", "deletes", "churn"] {
            let path = format!("{side}/{database}");
            copy(&fixture("influxdb-1.6").join(&path), &dir.path().join(path));
        }
    }
    stamp(dir.path(), at(1_000_000_000));
    dir
}

fn databases(ran: &Ran) -> Vec<String> {
    let all = entries(&ran.stdout).into_iter();
    all.filter_map(|entry| entry.strip_prefix(b"# CONTEXT-DATABASE:"))
        .map(|name| String::from_utf8(name.to_vec()).unwrap())
        .collect()
}

#[test]
fn a_shard_has_changed_if_any_of_its_files_or_folders_has() {
    let dir = old();
    let root = dir.path().to_str().unwrap();
    let since = |time: &str| databases(&cat(&["--changed-since", time, root]).ok());
    assert_eq!(vec!["churn", "deletes", "overlap"], since("1000000000s"));
    assert!(since("2010-01-01").is_empty());
    for path in [
        "wal/deletes/autogen/3/_00001.wal",
        "wal/deletes/autogen/3",
        "data/deletes/autogen/3/000000002-000000001.tsm",
        "data/deletes/autogen/3/000000002-000000001.tombstone",
        "data/deletes/autogen/3",
    ] {
        let file = fs::File::open(dir.path().join(path)).unwrap();
        file.set_modified(at(1_500_000_000)).unwrap();
        assert_eq!(vec!["deletes"], since("2010-01-01"), "{path}");
        assert_eq!(vec!["deletes"], since("1500000000s"), "{path}");
        assert!(since("1500000003s").is_empty(), "{path}");
        file.set_modified(at(1_000_000_000)).unwrap();
    }
    // The bit of a second that a file system may round away.
    assert_eq!(3, since("1000000001s").len());
}

#[test]
fn a_shard_that_changed_is_exported_whole_and_the_others_are_counted() {
    let dir = old();
    let root = dir.path().to_str().unwrap();
    stamp(&dir.path().join("wal/overlap"), SystemTime::now());
    let ran = cat(&["--verbose", "--changed-since", "-1h", root]).ok();
    let whole = cat(&["-d", "overlap", root]).ok();
    assert_eq!(points(&whole.stdout), points(&ran.stdout));
    assert!(
        ran.stderr.contains("2 unchanged shards left out"),
        "{}",
        ran.stderr
    );
    for form in ["--list", "--context-only"] {
        let ran = cat(&[form, "--changed-since", "-1h", root]).ok();
        let text = ran.stdout.to_string();
        assert!(
            text.contains("overlap") && !text.contains("churn"),
            "{text}"
        );
    }
    let ran = cat(&["--changed-since", "now", "-d", "churn", root]).ok();
    assert_eq!(
        "# STREAM-BEGIN once\n# STREAM-END points:0 left-out:0\n",
        ran.stdout
    );
}

#[test]
fn a_run_goes_on_from_the_summary_of_the_one_before() {
    let dir = old();
    let root = dir.path().to_str().unwrap();
    let summary = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (first, second, third) = (summary("1.json"), summary("2.json"), summary("3.json"));
    let since = |file: &str| format!("@{file}");
    let begin = SystemTime::now();
    assert_eq!(3, databases(&cat(&["--summary", &first, root]).ok()).len());
    // Nothing has changed; but a little earlier counts too, so time has to pass for what is new.
    let ran = cat(&[
        "--changed-since",
        &since(&first),
        "--summary",
        &second,
        root,
    ])
    .ok();
    assert!(databases(&ran).is_empty());
    let log = dir.path().join("wal/churn/autogen/4");
    let name = fs::read_dir(&log).unwrap().next().unwrap().unwrap().path();
    let text = fs::read(&name).unwrap();
    fs::write(&name, text).unwrap();
    for former in [&first, &second] {
        let args = ["--changed-since", &since(former), "--summary", &third, root];
        assert_eq!(vec!["churn"], databases(&cat(&args).ok()));
    }
    // The time that is stored is that of the beginning.
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&first).unwrap()).unwrap();
    let listed: jiff::Timestamp = json["listed"].as_str().unwrap().parse().unwrap();
    let begin = jiff::Timestamp::try_from(begin).unwrap();
    let end = jiff::Timestamp::try_from(fs::metadata(&first).unwrap().modified().unwrap()).unwrap();
    assert!(begin <= listed && listed <= end, "{begin} {listed} {end}");
}

#[test]
fn a_summary_that_tells_no_time_or_of_a_failure_is_refused() {
    let dir = old();
    let root = dir.path().to_str().unwrap();
    let file = dir.path().join("s.json");
    let name = file.to_str().unwrap();
    let since = format!("@{name}");
    let ran = cat(&["--changed-since", &since, root]);
    assert_eq!(Some(66), ran.last(), "{}", ran.stderr);
    assert!(ran.stderr.contains("s.json"), "{}", ran.stderr);
    assert_eq!(
        Some(66),
        cat(&["-d", "none", "--summary", name, root]).last()
    );
    let ran = cat(&["--changed-since", &since, root]);
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr.contains("failed with status 66"),
        "{}",
        ran.stderr
    );
    for (text, status) in [
        ("{}", 65),
        ("yesterday", 65),
        ("now", 65),
        ("2010-01-01\n", 0),
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(
            Some(status),
            cat(&["--changed-since", &since, root]).last(),
            "{text}"
        );
    }
}

/// Lines by series and time; only for names and values without blanks.
fn by_place(text: &[u8]) -> BTreeMap<(String, String), String> {
    let lines = points(text).into_iter();
    lines
        .map(|line| {
            let line = std::str::from_utf8(line).unwrap();
            let parts: Vec<_> = line.split(' ').collect();
            (
                (parts[0].to_owned(), parts[2].to_owned()),
                parts[1].to_owned(),
            )
        })
        .collect()
}

#[test]
fn replicas_that_differ_are_merged_and_the_later_path_is_newer() {
    let dir = scratch();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    for root in [&a, &b] {
        fs::create_dir_all(root.join("wal/db/rp/7")).unwrap();
        fs::create_dir_all(root.join("data/db/rp/7")).unwrap();
    }
    let file = |root: &Path, name: &str, bytes: Vec<u8>| {
        fs::write(
            root.join(name).join(if name.starts_with("wal") {
                "_00001.wal"
            } else {
                "000000001-000000001.tsm"
            }),
            bytes,
        )
        .unwrap();
    };
    let blocks = |blocks| {
        let key = "m,t=x#!~#v";
        tsm::file(&[tsm::Series {
            key,
            kind: 1,
            blocks,
        }])
    };
    // Times 1 to 6: in data and log of either, in one of them, in both with different values.
    file(&a, "data/db/rp/7", blocks(&[&[(1, 11), (2, 12), (3, 13)]]));
    file(
        &a,
        "wal/db/rp/7",
        wal::segment(&[
            ("m,t=x", "v", 3, Value::Integer(113)),
            ("m,t=x", "w", 9, Value::Integer(119)),
        ]),
    );
    file(
        &b,
        "data/db/rp/7",
        blocks(&[&[(2, 22), (3, 23), (4, 24)], &[(5, 25)]]),
    );
    file(
        &b,
        "wal/db/rp/7",
        wal::segment(&[("m,t=x", "v", 4, Value::Integer(124))]),
    );
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let merged = |paths: [&str; 2]| {
        let ran = cat(&[&["--lp-only", "--replicas"][..], &paths].concat()).ok();
        ran.stdout.to_string()
    };
    // The log of the older copy lies below the data of the newer one.
    let expected = "m,t=x v=11i 1\nm,t=x v=22i 2\nm,t=x v=23i 3\nm,t=x v=124i 4\nm,t=x v=25i 5\nm,t=x w=119i 9\n";
    assert_eq!(expected, merged([a, b]));
    let expected = "m,t=x v=11i 1\nm,t=x v=12i 2\nm,t=x v=113i 3\nm,t=x v=124i 4\nm,t=x v=25i 5\nm,t=x w=119i 9\n";
    assert_eq!(expected, merged([b, a]));
    let ran = cat(&[a, b]);
    assert_eq!(Some(65), ran.last());
    assert!(ran.stderr.contains("--replicas"), "{}", ran.stderr);
    assert_eq!(Some(65), cat(&["--replicas", a, a]).last());
}

#[test]
fn a_replica_that_lacks_its_log_takes_nothing_away() {
    let dir = scratch();
    for database in ["overlap", "deletes"] {
        let path = format!("data/{database}");
        copy(
            &fixture("influxdb-1.6").join(&path),
            &dir.path().join("b").join(path),
        );
        for side in ["data", "wal"] {
            let path = format!("{side}/{database}");
            copy(
                &fixture("influxdb-1.6").join(&path),
                &dir.path().join("a").join(path),
            );
        }
    }
    fs::create_dir(dir.path().join("b/wal")).unwrap();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let export = |paths: &[&str]| cat(&[&["--per-field"], paths].concat()).ok().stdout;
    let key = |text: &[u8]| {
        let field = |line: &String| line.split('=').next().unwrap().to_owned();
        let all = by_place(text).into_iter();
        all.map(|((series, time), value)| ((series, field(&value), time), value))
            .collect::<BTreeMap<_, _>>()
    };
    let values = |text: &[u8]| {
        let mut all = BTreeMap::new();
        for line in points(text) {
            all.extend(key(&[line, b"\n"].concat()));
        }
        all
    };
    let (of_a, of_b) = (values(&export(&[&a])), values(&export(&[&b])));
    assert_ne!(of_a, of_b);
    let on_top = |below: &BTreeMap<_, _>, above: &BTreeMap<_, _>| {
        let mut all: BTreeMap<(String, String, String), String> = below.clone();
        all.extend(above.clone());
        all
    };
    assert_eq!(
        on_top(&of_a, &of_b),
        values(&export(&["--replicas", &a, &b]))
    );
    assert_eq!(
        on_top(&of_b, &of_a),
        values(&export(&["--replicas", &b, &a]))
    );
    for jobs in ["1", "4"] {
        let joined = cat(&["--replicas", "-j", jobs, &a, &b]).ok();
        let once = cat(&["--replicas", &a, &b]).ok();
        assert!(joined.stdout == once.stdout);
    }
}
