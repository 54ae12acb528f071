//! tsm-cat on portable backups of 1.x and on directories of 2.x.

use std::fs;
use std::path::Path;

use bstr::ByteSlice;

use crate::forge::meta;
use crate::harness::{fixture_arg, pipeline, points, run, scratch};
use crate::tsm_cat_sources::{cat, comments, placed, root, tar};

fn backup() -> String {
    fixture_arg("influxdb-1.6-backup")
}

fn copy(from: &str, to: &Path) {
    run(b"", &["cp", "-r", from, to.to_str().unwrap()]).ok();
}

#[test]
fn a_portable_backup_gives_what_the_server_had() {
    let expected = cat(b"", &["-d", "deletes", "-d", "typeconf", &root()]).ok();
    // Written between the first backup of this database and the second.
    let added = b"added,host=late v=1i 1600000000000000000";
    let ran = cat(b"", &[&backup()]).ok();
    let mut found = points(&ran.stdout);
    assert!(found.contains(&&added[..]));
    found.retain(|point| point != added);
    let sort = |points: &mut Vec<&[u8]>| points.sort();
    let mut wanted = points(&expected.stdout);
    sort(&mut wanted);
    sort(&mut found);
    assert!(wanted == found, "{} {}", wanted.len(), found.len());
    let comments = comments(&ran.stdout);
    let context = [
        "# CONTEXT-DATABASE:deletes",
        "# CONTEXT-RETENTION-POLICY:autogen",
        "# CONTEXT-RETENTION-PERIOD:0s",
        "# CONTEXT-SHARD:3",
    ];
    assert_eq!(context[..], comments[1..5]);
    assert_eq!("", ran.stderr);
    let ran = cat(b"", &["-d", "typeconf", "--shard", "65", &backup()]).ok();
    assert_eq!(
        1,
        ran.stdout
            .windows(14)
            .filter(|text| text == b"CONTEXT-SHARD:")
            .count()
    );
    let ran = cat(b"", &["-d", "none", &backup()]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("there is deletes, typeconf"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_portable_backup_can_come_in_an_archive() {
    let named = cat(b"", &[&backup()]).ok();
    let bytes = tar(&backup(), &["."]);
    for bytes in [bytes, tar(&fixture_arg(""), &["influxdb-1.6-backup"])] {
        let piped = cat(&bytes, &[]).ok();
        assert!(placed(&named.stdout) == placed(&piped.stdout));
        assert_eq!(comments(&named.stdout), comments(&piped.stdout));
    }
}

#[test]
fn policies_without_shards_have_contexts_in_a_backup_and_what_was_not_packed_has_none() {
    let dir = scratch();
    let shards = |id| vec![meta::group(id, 0, 9, false)];
    let known = meta::file(&[
        ("deletes", "autogen", 0, shards(3)),
        ("deletes", "none", 3600, vec![]),
        ("elsewhere", "autogen", 0, shards(4)),
        ("elsewhere", "none", 3600, vec![]),
        ("fresh", "autogen", 60, vec![]),
    ]);
    // A message whose first field are the metadata of a server.
    let length = [known.len() as u8 | 0x80, (known.len() >> 7) as u8];
    let known = [&[0x0a], &length[..], &known].concat();
    for file in ["manifest", "meta", "s3.tar.gz"] {
        let name = format!("20261122T184240Z.{file}");
        fs::copy(Path::new(&backup()).join(&name), dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("20261122T184240Z.meta"), known).unwrap();
    let path = dir.path().to_str().unwrap();
    let expected = [
        "# CONTEXT-DATABASE:deletes",
        "# CONTEXT-RETENTION-POLICY:none",
        "# CONTEXT-RETENTION-PERIOD:3600s",
        "# CONTEXT-DATABASE:fresh",
        "# CONTEXT-RETENTION-POLICY:autogen",
        "# CONTEXT-RETENTION-PERIOD:60s",
    ];
    let only = |input: &[u8], path: &[&str]| {
        let ran = cat(input, &[&["--context-only"], path].concat()).ok();
        let mut all = comments(&ran.stdout);
        let from = all.iter().position(|line| line.ends_with(":none"));
        let at = all
            .iter()
            .position(|line| line.ends_with("CONTEXT-SHARD:3"));
        assert!(at.is_some());
        all.retain(|line| line.contains("CONTEXT") && !line.ends_with("SHARD:3"));
        assert!(from.is_some(), "{all:?}");
        all
    };
    let found = only(b"", &[path]);
    for line in expected {
        assert!(found.iter().any(|found| found == line), "{line} {found:?}");
    }
    assert!(!found.iter().any(|line| line.contains("elsewhere")));
    assert_eq!(found, only(&tar(path, &["."]), &[]));
    let ran = cat(b"", &["--context-only", "-d", "fresh", path]).ok();
    assert_eq!(expected[3..], comments(&ran.stdout)[1..4]);
    assert_eq!(Some(66), cat(b"", &["-d", "fresh", path]).last());
}

#[test]
fn a_backup_that_is_not_whole_is_told() {
    let dir = scratch();
    let path = dir.path().join("b");
    copy(&backup(), &path);
    let (at, arg) = (|name: &str| path.join(name), path.to_str().unwrap());
    // An archive that a newer one replaces is not missed.
    fs::remove_file(at("20261122T184237Z.s3.tar.gz")).unwrap();
    cat(b"", &[arg]).ok();
    let good = fs::read(at("20261122T184240Z.s3.tar.gz")).unwrap();
    for n in [0, 1, 100, good.len() / 2, good.len() - 1] {
        fs::write(at("20261122T184240Z.s3.tar.gz"), &good[..n]).unwrap();
        let ran = cat(b"", &[arg]);
        assert_eq!(Some(65), ran.last(), "{n}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("184240Z.s3.tar.gz: offset"),
            "{}",
            ran.stderr
        );
        let ran = cat(b"", &["--keep-going", arg]);
        assert_eq!(Some(1), ran.last(), "{n}: {}", ran.stderr);
        assert!(ran.stdout.ends_with(b" left-out:1\n"), "{n}");
    }
    fs::remove_file(at("20261122T184240Z.s3.tar.gz")).unwrap();
    let ran = cat(b"", &[arg]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("the manifest of the backup names it"),
        "{}",
        ran.stderr
    );
    assert_eq!(Some(66), cat(&tar(arg, &["."]), &[]).last());
    // Without metadata there are no periods, and all else is there.
    fs::remove_file(at("20261122T184240Z.meta")).unwrap();
    let ran = cat(b"", &["-d", "typeconf", arg]).ok();
    assert!(
        !comments(&ran.stdout)
            .iter()
            .any(|comment| comment.contains("PERIOD"))
    );
    for text in ["", "{", "{\"files\":[{\"shardID\":1}]}"] {
        fs::write(at("20261122T184240Z.manifest"), text).unwrap();
        let ran = cat(b"", &[arg]);
        assert_eq!(Some(65), ran.last());
        assert!(
            ran.stderr.contains("184240Z.manifest: manifest "),
            "{}",
            ran.stderr
        );
        assert_eq!(Some(65), cat(&tar(arg, &["."]), &[]).last());
    }
}

#[test]
fn a_directory_of_2_x_has_buckets_for_context() {
    let (dir, id) = (scratch(), "0123456789abcdef");
    let engine = dir.path().join("engine");
    for side in ["data", "wal"] {
        let from = fixture_arg(&format!("influxdb-1.6/{side}/overlap"));
        fs::create_dir_all(engine.join(side)).unwrap();
        copy(&from, &engine.join(side).join(id));
    }
    fs::create_dir_all(engine.join("replicationq")).unwrap();
    fs::write(dir.path().join("influxd.bolt"), b"").unwrap();
    let expected = cat(b"", &["-d", "overlap", &root()]).ok();
    let context = |bucket: &str| {
        [
            format!("# CONTEXT-DATABASE:{id}"),
            "# CONTEXT-RETENTION-POLICY:autogen".into(),
            format!("# CONTEXT-BUCKET:{bucket}"),
            "# CONTEXT-SHARD:2".into(),
        ]
    };
    for path in [
        dir.path(),
        &engine,
        &engine.join("data"),
        &engine.join("data").join(id),
    ] {
        let ran = cat(b"", &[path.to_str().unwrap()]).ok();
        assert!(points(&expected.stdout) == points(&ran.stdout));
        assert_eq!(context(id)[..], comments(&ran.stdout)[1..5]);
    }
    let names = dir.path().join("names");
    fs::write(
        &names,
        format!("ID\t\tName\tRetention\n{id}\tmy bucket\tinfinite\n"),
    )
    .unwrap();
    let (names, engine) = (names.to_str().unwrap(), engine.to_str().unwrap());
    let ran = cat(b"", &["--bucket-names", names, "-d", "my bucket", engine]).ok();
    assert_eq!(context("my bucket")[..], comments(&ran.stdout)[1..5]);
    let piped = cat(&tar(engine, &["wal", "data"]), &["--bucket-names", names]).ok();
    assert_eq!(context("my bucket")[..], comments(&piped.stdout)[1..5]);
    // The bucket is where the points go.
    let post = ["lp-post", "--dry-run", "--target", "oss2", "--verbose"];
    let ran = pipeline(b"", &[&["tsm-cat", "--bucket-names", names, engine], &post]).ok();
    assert!(
        ran.stderr.contains("my bucket") || ran.stdout.contains_str("my bucket"),
        "{}",
        ran.stderr
    );
    fs::write(names, "x\n").unwrap();
    assert_eq!(
        Some(78),
        cat(b"", &["--bucket-names", names, engine]).last()
    );
}
