//! What storage files hold and line protocol cannot carry: counted, explained, kept.

use std::fs;
use std::path::{Path, PathBuf};

use crate::forge::{Block, Value, hex, segment, tsm};
use crate::harness::{Ran, points, run, scratch};

type Point<'a> = (&'a [u8], Value<'a>, i64);

/// A shard of database `db`, policy `rp`, that has these values in its log.
fn tree(dir: &Path, values: &[Point<'_>]) -> PathBuf {
    let shard = dir.join("wal/db/rp/7");
    fs::create_dir_all(&shard).unwrap();
    fs::create_dir_all(dir.join("data")).unwrap();
    fs::write(shard.join("_00001.wal"), segment(values)).unwrap();
    dir.to_path_buf()
}

fn cat(args: &[&str], root: &Path) -> Ran {
    run(
        b"",
        &[&["tsm-cat"], args, &[root.to_str().unwrap()]].concat(),
    )
}

fn lines(ran: &Ran) -> Vec<String> {
    let all = points(&ran.stdout).into_iter();
    all.map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect()
}

/// Keys that have no spelling, what is said of them, and how they are kept.
const MISFITS: [(&[u8], &str, &str); 13] = [
    (
        b"m\\#!~#v",
        "the series key ends with a backslash",
        "m\\ v%3D1i 5",
    ),
    (
        b"m,t=a\\#!~#v",
        "the series key ends with a backslash",
        "m,t%3Da%5C v%3D1i 5",
    ),
    (
        b"m,t=a\\,u=b#!~#v",
        "the tags of the series key are malformed",
        "m,t%3Da%5C,u%3Db v%3D1i 5",
    ),
    (
        b"m#!~#v\\",
        "the field key ends with a backslash",
        "m v%5C%3D1i 5",
    ),
    (b"m#!~#", "the field key is empty", "m %3D1i 5"),
    (
        b"m#!~#a\\,b",
        "odd number of backslashes",
        "m a%5C%5C,b%3D1i 5",
    ),
    (
        b"a\nb#!~#v",
        "a line feed without a backslash",
        "a%0Ab v%3D1i 5",
    ),
    (
        b"m#!~#a\nb",
        "a line feed without a backslash",
        "m a%0Ab%3D1i 5",
    ),
    (b"#m#!~#v", "the measurement starts with #", "#m v%3D1i 5"),
    (b"\tm#!~#v", "starts with a blank or a NUL", "%09m v%3D1i 5"),
    (b"m#!~#\0v", "starts with a blank or a NUL", "m %00v%3D1i 5"),
    (b",t=a#!~#v", "the measurement is empty", ",t%3Da v%3D1i 5"),
    (b"", "the measurement is empty", "%20%3D1i 5"),
];

#[test]
fn each_name_without_a_spelling_is_a_reject_with_its_reason() {
    for (key, why, kept) in MISFITS {
        let kept = kept.replace("m\\ ", "m%5C ");
        let dir = scratch();
        let root = tree(
            dir.path(),
            &[
                (key, Value::Integer(1), 5),
                (b"ok#!~#v", Value::Integer(2), 6),
            ],
        );
        let ran = cat(&[], &root);
        assert_eq!(Some(1), ran.last(), "{why}: {}", ran.stderr);
        assert_eq!(vec!["ok v=2i 6"], lines(&ran), "{why}");
        assert!(
            ran.stdout.ends_with(b"# STREAM-END points:1 left-out:1\n"),
            "{why}"
        );
        let told = ran
            .stderr
            .lines()
            .find(|line| line.contains(why))
            .unwrap_or_default();
        assert!(
            told.starts_with("tsm-cat: db/rp/7: left out 1 values of series"),
            "{}",
            ran.stderr
        );
        let file = dir.path().join("rejects");
        let ran = cat(&["--rejects", file.to_str().unwrap()], &root);
        assert_eq!(Some(1), ran.last());
        assert!(!ran.stderr.contains(why), "{}", ran.stderr);
        let text = fs::read_to_string(&file).unwrap();
        let last: Vec<_> = text.lines().rev().take(2).collect();
        assert_eq!(format!("# REJECT-BYTES*:{kept}"), last[0], "{why}");
        assert!(
            last[1].starts_with("# REJECT db/rp/7: series ") && last[1].contains(why),
            "{text}"
        );
    }
}

#[test]
fn an_empty_key_of_a_log_hides_nothing_of_it_nor_of_the_files() {
    let dir = scratch();
    let (one, two) = (Value::Integer(1), Value::Integer(2));
    let root = tree(dir.path(), &[(b"", one, 5), (b"ok#!~#v", two, 6)]);
    let data = dir.path().join("data/db/rp/7");
    fs::create_dir_all(&data).unwrap();
    // 7 at 1600000000000000000.
    let block = Block {
        min: 1_600_000_000_000_000_000,
        max: 1_600_000_000_000_000_000,
        payload: hex("01091c16345785d8a0000010000000000000000e"),
    };
    let file = tsm(&[(b"m#!~#v", 1, vec![block])]);
    fs::write(data.join("000000001-000000001.tsm"), file).unwrap();
    for jobs in ["1", "3"] {
        let ran = cat(&["--jobs", jobs], &root);
        assert_eq!(Some(1), ran.last(), "{}", ran.stderr);
        assert_eq!(vec!["m v=7i 1600000000000000000", "ok v=2i 6"], lines(&ran));
        assert!(ran.stderr.contains("left out 1 values"), "{}", ran.stderr);
    }
}

#[test]
fn values_and_times_that_no_server_takes_are_rejects_and_their_neighbours_are_not() {
    let dir = scratch();
    let root = tree(
        dir.path(),
        &[
            (b"m,t=a#!~#f", Value::Float(f64::INFINITY), 5),
            (b"m,t=a#!~#g", Value::Float(1.5), 5),
            (b"m,t=a#!~#f", Value::Float(2.5), 6),
            (b"m,t=a#!~#f", Value::Float(f64::NEG_INFINITY), 7),
            (b"m,t=a#!~#i", Value::Integer(3), i64::MAX),
            (b"m,t=a#!~#i", Value::Integer(4), i64::MIN + 1),
            (b"m,t=a#!~#i", Value::Boolean(true), i64::MIN),
            (b"m,t=a#!~#s", Value::String("x"), i64::MIN + 2),
        ],
    );
    let rejects = dir.path().join("rejects");
    let args = ["--rejects", rejects.to_str().unwrap()];
    let ran = cat(&args, &root);
    assert_eq!(Some(1), ran.last(), "{}", ran.stderr);
    let expected = vec![
        "m,t=a s=\"x\" -9223372036854775806",
        "m,t=a g=1.5 5",
        "m,t=a f=2.5 6",
    ];
    assert_eq!(expected, lines(&ran));
    assert!(ran.stdout.ends_with(b" left-out:5\n"));
    let once = fs::read_to_string(&rejects).unwrap();
    let kept: Vec<_> = once
        .lines()
        .filter(|line| !line.starts_with("# REJECT "))
        .collect();
    let expected = [
        "# STREAM-BEGIN",
        "# STREAM-END points:0 left-out:0",
        "# CONTEXT-DATABASE:db",
        "# CONTEXT-RETENTION-POLICY:rp",
        "# CONTEXT-SHARD:7",
        "# REJECT-BYTES*:m,t%3Da f%3D+Inf 5",
        "# REJECT-BYTES*:m,t%3Da f%3D-Inf 7",
    ];
    assert_eq!(expected[..], kept[..7], "{once}");
    let mut times = kept[7..].to_vec();
    times.sort();
    let expected = [
        "m,t=a i=3i 9223372036854775807",
        "m,t=a i=4i -9223372036854775807",
        "m,t=a i=true -9223372036854775808",
    ];
    assert_eq!(expected[..], times, "{once}");
    // Appended, and a text that every program can read.
    cat(&args, &root);
    let twice = fs::read_to_string(&rejects).unwrap();
    assert_eq!([&*once, &once].concat(), twice);
    let read = run(b"", &["lp-filter", rejects.to_str().unwrap()]).ok();
    assert_eq!(6, points(&read.stdout).len());
}

#[test]
fn what_is_left_out_is_explained_ten_times_and_counted_beyond() {
    let dir = scratch();
    let keys: Vec<_> = (0..30)
        .map(|i| format!("m{i}\\#!~#v").into_bytes())
        .collect();
    let values: Vec<Point<'_>> = keys
        .iter()
        .map(|key| (&key[..], Value::Integer(1), 5))
        .collect();
    let ran = cat(&[], &tree(dir.path(), &values));
    assert_eq!(Some(1), ran.last());
    assert_eq!(
        10,
        ran.stderr.matches("the series key ends").count(),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("30 values left out"), "{}", ran.stderr);
    assert!(ran.stdout.ends_with(b" left-out:30\n"));
}

#[test]
fn a_rejects_file_must_not_be_an_input() {
    let dir = scratch();
    let file = dir.path().join("_00001.wal");
    fs::write(&file, segment(&[(b"m#!~#v", Value::Integer(1), 5)])).unwrap();
    let ran = cat(&["--rejects", file.to_str().unwrap()], &file);
    assert_eq!(Some(2), ran.last());
}

#[test]
fn the_stored_key_is_what_tells_series_apart_and_twins_are_told() {
    let dir = scratch();
    let values: [Point<'_>; 4] = [
        (br"m\=x,t=a#!~#v", Value::Integer(1), 5),
        (br"m=x,t=a#!~#v", Value::Integer(2), 5),
        (br"m\=x,t=b#!~#v", Value::Integer(3), 5),
        (br"n\ x#!~#v", Value::Integer(4), 5),
    ];
    let ran = cat(&["--verbose"], &tree(dir.path(), &values)).ok();
    let expected = [
        r"m=x,t=a v=2i 5",
        r"m\=x,t=a v=1i 5",
        r"m\=x,t=b v=3i 5",
        r"n\ x v=4i 5",
    ];
    assert_eq!(expected[..], lines(&ran)[..]);
    assert_eq!(
        1,
        ran.stderr.matches("is there a second time").count(),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains(r#"key "m=x,t=a#!~#v""#) && ran.stderr.contains("1 warnings"),
        "{}",
        ran.stderr
    );
}
