//! Does lp-split-by-bucket bring every point to its bucket, and nothing anywhere else?

use std::fs;
use std::path::Path;

use super::harness::{Pipeline, fixture, gunzip, gzip, pipeline, points, program, run, scratch};

pub const SPLIT: &str = "lp-split-by-bucket";

/// Two buckets, strings that hold line feeds and what looks like context.
pub const STREAM: &str = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:autogen\n\
     # CONTEXT-RETENTION-PERIOD:0s\n# CONTEXT-SHARD:1\nm,t=a s=\"x\n# CONTEXT-DATABASE:evil\n\",v=1 7\n\
     # CONTEXT-SHARD:2\nm v=2i 8\n# CONTEXT-RETENTION-POLICY:month\n# CONTEXT-RETENTION-PERIOD:2678400s\n\
     # CONTEXT-SHARD:3\nm v=\"\\\"\" 9\n# STREAM-END points:3 left-out:0\n";

const ANNOTATED: &str = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:autogen\n\
     # CONTEXT-RETENTION-PERIOD:0s\n# CONTEXT-SHARD:1\n# CONTEXT-BUCKET:db/autogen\nm,t=a s=\"x\n\
     # CONTEXT-DATABASE:evil\n\",v=1 7\n# CONTEXT-SHARD:2\nm v=2i 8\n# CONTEXT-RETENTION-POLICY:month\n\
     # CONTEXT-RETENTION-PERIOD:2678400s\n# CONTEXT-SHARD:3\n# CONTEXT-BUCKET:db/month\nm v=\"\\\"\" 9\n\
     # STREAM-END points:3 left-out:0\n";

pub fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All files below a folder with their contents, as paths within it.
pub fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let below = files(&path).into_iter();
            found.extend(below.map(|(below, text)| (format!("{name}/{below}"), text)));
        } else {
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_bucket_is_said_in_place_and_points_pass_as_they_are() {
    assert_eq!(ANNOTATED, run(STREAM.as_bytes(), &[SPLIT]).ok().stdout);
    let twice = pipeline(STREAM.as_bytes(), &[&[SPLIT], &[SPLIT]]).ok();
    assert_eq!(ANNOTATED, twice.stdout);
    assert_eq!("", twice.stderr);
}

#[test]
fn a_bucket_gets_another_name() {
    let map = [SPLIT, "--map", "db/month=a=b", "--map", "typo=x"];
    let ran = run(STREAM.as_bytes(), &map).ok();
    let expected = ANNOTATED
        .replace("BUCKET:db/month", "BUCKET*:a%3Db")
        .replace("BEGIN once", "BEGIN");
    assert_eq!(expected, ran.stdout);
    assert_eq!(
        "lp-split-by-bucket: --map typo=...: no bucket was called that\n",
        ran.stderr
    );
    let twice = [SPLIT, "--map", "a=b", "--map", "a=c"];
    assert_eq!(Some(2), run(b"", &twice).last());
    assert_eq!(Some(2), run(b"", &[SPLIT, "--map", "a"]).last());
}

#[test]
fn a_template_names_the_bucket_whatever_the_stream_says() {
    let ran = run(ANNOTATED.as_bytes(), &[SPLIT, "--bucket", "x-{policy}"]).ok();
    let expected = ANNOTATED
        .replace("BUCKET:db/", "BUCKET:x-")
        .replace("BEGIN once", "BEGIN");
    assert_eq!(expected, ran.stdout);
    let ran = run(b"m v=1 1\n", &[SPLIT, "--bucket", "all"]).ok();
    assert_eq!("# CONTEXT-BUCKET:all\nm v=1 1\n", ran.stdout);
}

#[test]
fn a_folder_gets_one_complete_stream_per_bucket() {
    let dir = scratch();
    let out = dir.path().join("a/out");
    let ran = run(STREAM.as_bytes(), &[SPLIT, "--dir", arg(&out)]).ok();
    assert_eq!(
        ("", ""),
        (ran.stdout.to_string().as_str(), ran.stderr.as_str())
    );
    let context = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:";
    let autogen = format!("{context}autogen\n# CONTEXT-RETENTION-PERIOD:0s\n# CONTEXT-SHARD:1\n");
    let autogen = format!(
        "{autogen}# CONTEXT-BUCKET:db/autogen\nm,t=a s=\"x\n# CONTEXT-DATABASE:evil\n\",v=1 7\n\
         # CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:autogen\n# CONTEXT-RETENTION-PERIOD:0s\n\
         # CONTEXT-SHARD:2\n# CONTEXT-BUCKET:db/autogen\nm v=2i 8\n# STREAM-END points:2 left-out:0\n"
    );
    let month = format!(
        "{context}month\n# CONTEXT-RETENTION-PERIOD:2678400s\n# CONTEXT-SHARD:3\n\
         # CONTEXT-BUCKET:db/month\nm v=\"\\\"\" 9\n# STREAM-END points:1 left-out:0\n"
    );
    let index = "bucket\tfile\tpoints\ndb/autogen\tdb/autogen.lp\t2\ndb/month\tdb/month.lp\t1\n";
    let expected = [
        ("INDEX.tsv", index.to_owned()),
        ("db/autogen.lp", autogen),
        ("db/month.lp", month),
    ];
    assert_eq!(
        expected
            .map(|(name, text)| (name.to_owned(), text))
            .to_vec(),
        files(&out)
    );
    let both = [out.join("db/autogen.lp"), out.join("db/month.lp")];
    let ran = run(b"", &["lp-rate", "unlimited", arg(&both[0]), arg(&both[1])]).ok();
    assert_eq!(points(STREAM.as_bytes()), points(&ran.stdout));
}

#[test]
fn no_bucket_name_leaves_or_breaks_the_folder() {
    let dir = scratch();
    let out = dir.path().join("deep/out");
    let long = "long/".repeat(60);
    let names = [
        "../../x", "/etc/x", "a%00b", "..", "%2E", "a.lp/b", "a", "-rf", "ü \"", &long,
    ];
    let mut text = String::new();
    for (i, name) in names.iter().enumerate() {
        text += &format!(
            "# CONTEXT-BUCKET*:{}\nm v={i} 1\n",
            name.replace('"', "%22")
        );
    }
    let any = [SPLIT, "--target", "victoriametrics", "--dir", arg(&out)];
    run(text.as_bytes(), &any).ok();
    let found = files(&out);
    assert_eq!(names.len() + 1, found.len());
    for (i, name) in names.iter().enumerate() {
        let point = format!("m v={i} 1");
        let holding = found.iter().filter(|(_, text)| text.contains(&point));
        assert_eq!(1, holding.count(), "{name}");
    }
    // Nothing but the folder has come into being around it.
    assert_eq!(found.len(), files(dir.path()).len());
    assert_eq!(1, fs::read_dir(dir.path()).unwrap().count());
    let index = &found
        .iter()
        .find(|(name, _)| name == "INDEX.tsv")
        .unwrap()
        .1;
    for line in index.lines().skip(1) {
        let file = line.split('\t').nth(1).unwrap();
        assert!(out.join(file).exists(), "{file}");
    }
}

#[test]
fn a_file_that_exists_is_left_alone_and_nothing_is_read() {
    for name in ["db/autogen.lp", "other.lp", "INDEX.tsv"] {
        let dir = scratch();
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "old").unwrap();
        let script = format!("{} --dir .; echo $?; cat", program(SPLIT));
        let there = Pipeline::new().dir(dir.path()).input(STREAM.as_bytes());
        let ran = there.run(&[&["sh", "-c", &script]]);
        assert_eq!(format!("73\n{STREAM}"), ran.stdout);
        assert!(
            ran.stderr.contains(&format!("./{name} exists")),
            "{}",
            ran.stderr
        );
        assert_eq!(vec![(name.to_owned(), "old".to_owned())], files(dir.path()));
    }
}

#[test]
fn nothing_is_routed_if_the_first_point_has_no_bucket() {
    let dir = scratch();
    let out = dir.path().join("out");
    let text =
        "# STREAM-BEGIN\nm v=1 1\n# CONTEXT-BUCKET:b\nm v=2 2\n# STREAM-END points:2 left-out:0\n";
    let ran = run(text.as_bytes(), &[SPLIT]);
    assert_eq!("# STREAM-BEGIN\n# STREAM-FAILED status:78\n", ran.stdout);
    assert_eq!(Some(78), ran.last());
    assert!(
        ran.stderr
            .contains("standard input:2: offset 15: the stream does not say which database")
    );
    assert!(ran.stderr.contains("--context DB/RP"));
    assert_eq!(
        Some(78),
        run(text.as_bytes(), &[SPLIT, "--dir", arg(&out)]).last()
    );
    assert!(!out.exists());
}

#[test]
fn later_points_without_bucket_are_rejects() {
    let dir = scratch();
    let (out, rejects) = (dir.path().join("out"), dir.path().join("rejects.lp"));
    let text = "# STREAM-BEGIN\n# CONTEXT-BUCKET:b\nm v=1 1\n# CONTEXT-DATABASE:db\nm v=2 2\n\
         # STREAM-END points:2 left-out:3\n";
    let ran = run(text.as_bytes(), &[SPLIT, "--rejects", arg(&rejects)]);
    let expected = "# STREAM-BEGIN\n# CONTEXT-BUCKET:b\nm v=1 1\n# CONTEXT-DATABASE:db\n\
         # STREAM-END points:1 left-out:4\n";
    assert_eq!(
        (expected, Some(1)),
        (ran.stdout.to_string().as_str(), ran.last())
    );
    let rejects = fs::read_to_string(rejects).unwrap();
    assert!(
        rejects.ends_with("which retention policy it comes from\nm v=2 2\n"),
        "{rejects}"
    );
    let ran = run(text.as_bytes(), &[SPLIT, "--dir", arg(&out)]);
    assert_eq!(Some(1), ran.last());
    let expected =
        "# STREAM-BEGIN\n# CONTEXT-BUCKET:b\nm v=1 1\n# STREAM-END points:1 left-out:4\n";
    assert_eq!(expected, fs::read_to_string(out.join("b.lp")).unwrap());
}

#[test]
fn files_without_context_take_the_given_one() {
    let dir = scratch();
    let (plain, packed) = (dir.path().join("a.lp"), dir.path().join("b.lp.gz"));
    fs::write(
        &plain,
        "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:p\nm v=1 1",
    )
    .unwrap();
    fs::write(&packed, gzip(b"m v=2 2")).unwrap();
    let ran = run(b"", &[SPLIT, "--context", "x/y", arg(&plain), arg(&packed)]).ok();
    let expected = "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:p\n# CONTEXT-BUCKET:d/p\nm v=1 1\n\
         # STREAM-BEGIN\n# STREAM-END points:0 left-out:0\n# CONTEXT-DATABASE:x\n\
         # CONTEXT-RETENTION-POLICY:y\n# CONTEXT-BUCKET:x/y\nm v=2 2\n";
    assert_eq!(expected, ran.stdout);
    for bad in ["x", "x/", "/y", "x/y/z"] {
        assert_eq!(
            Some(2),
            run(b"", &[SPLIT, "--context", bad]).last(),
            "{bad}"
        );
    }
}

#[test]
fn an_export_of_the_stock_tool_is_routed_with_its_own_context() {
    let export = gunzip(fixture(
        "influxdb-1.6/influx_inspect-1.12/weird/autogen.lp.gz",
    ));
    let head = "# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z\n# DDL\n\
         CREATE DATABASE weird WITH NAME autogen\n# DML\n# CONTEXT-DATABASE:weird\n\
         # CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\n";
    let whole = [head.as_bytes(), &export].concat();
    let dir = scratch();
    let out = dir.path().join("out");
    run(&whole, &[SPLIT, "--dir", arg(&out)]).ok();
    let found = fs::read(out.join("weird/autogen.lp")).unwrap();
    assert_eq!(points(&export), points(&found));
    let ran = run(&export, &[SPLIT, "--context", "weird/autogen"]).ok();
    assert_eq!(points(&export), points(&ran.stdout));
    assert!(ran.stdout.starts_with(b"# CONTEXT-DATABASE:weird\n"));
}

#[test]
fn a_stream_cut_anywhere_in_its_last_records_is_noticed_and_no_fragment_passes() {
    let dir = scratch();
    let out = dir.path().join("out");
    let whole = points(STREAM.as_bytes());
    let from = STREAM.find("m v=2i 8").unwrap();
    for at in from..STREAM.len() - 1 {
        let cut = &STREAM.as_bytes()[..at];
        let ran = run(cut, &[SPLIT]);
        assert_eq!(Some(65), ran.last(), "{at}");
        assert!(ran.stdout.ends_with(b"# STREAM-FAILED status:65\n"), "{at}");
        let passed = points(&ran.stdout)
            .into_iter()
            .all(|point| whole.contains(&point));
        assert!(passed, "{at}");
        if at % 8 == 0 {
            assert_eq!(Some(65), run(cut, &[SPLIT, "--dir", arg(&out)]).last());
            assert!(!out.exists(), "{at}");
        }
    }
}

#[test]
fn the_failure_of_the_program_before_is_handed_on_and_nothing_gets_a_name() {
    let dir = scratch();
    let out = dir.path().join("out");
    let text = "# STREAM-BEGIN\n# CONTEXT-BUCKET:b\nm v=1 1\n# STREAM-FAILED status:66\n";
    let ran = run(text.as_bytes(), &[SPLIT]);
    assert_eq!(
        (text, Some(66)),
        (ran.stdout.to_string().as_str(), ran.last())
    );
    assert_eq!(
        Some(66),
        run(text.as_bytes(), &[SPLIT, "--dir", arg(&out)]).last()
    );
    assert!(!out.exists());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let dir = scratch();
    fs::write(dir.path().join("file"), "").unwrap();
    let ran = run(
        STREAM.as_bytes(),
        &[SPLIT, "--dir", arg(&dir.path().join("file/out"))],
    );
    assert_eq!(Some(74), ran.last());
    assert!(ran.stderr.contains("file/out: "), "{}", ran.stderr);
}

#[test]
fn a_full_disk_leaves_no_file_behind() {
    let dir = scratch();
    let point = "cpu,host=a v=1 1\n".repeat(10_000);
    let input = format!("# CONTEXT-BUCKET:a/b\n{point}# CONTEXT-BUCKET:c\n{point}");
    let script = format!("trap '' XFSZ; ulimit -f 100; {} --dir out", program(SPLIT));
    let there = Pipeline::new().dir(dir.path()).input(input.as_bytes());
    let ran = there.run(&[&["sh", "-c", &script]]);
    assert_eq!(Some(74), ran.last());
    assert!(ran.stderr.contains("out/a/b.lp: "), "{}", ran.stderr);
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_signal_ends_the_run_and_leaves_no_file_behind() {
    let dir = scratch();
    let script = format!(
        "mkfifo in; {} --dir out - <in & pid=$!; exec 3>in; until [ -d out ]; do :; done; \
         echo '# CONTEXT-BUCKET:b' >&3; echo 'm v=1 1' >&3; kill -TERM $pid; wait $pid; echo $?",
        program(SPLIT)
    );
    let ran = Pipeline::new()
        .dir(dir.path())
        .run(&[&["sh", "-c", &script]]);
    assert_eq!("143\n", ran.stdout);
    assert!(!dir.path().join("out").exists());
}

#[test]
fn a_first_stage_that_writes_nothing_is_no_success() {
    let dir = scratch();
    let out = dir.path().join("out");
    assert_eq!(Some(66), run(b"", &[SPLIT, "--dir", arg(&out)]).last());
    assert!(!out.exists());
    let empty = "# STREAM-BEGIN once\n# STREAM-END points:0 left-out:0\n";
    run(empty.as_bytes(), &[SPLIT, "--dir", arg(&out)]).ok();
    assert_eq!(1, files(&out).len());
}

#[test]
fn says_141_and_nothing_else_when_the_reader_leaves() {
    let input = format!("# CONTEXT-BUCKET:b\n{}", "cpu v=1 1\n".repeat(300_000));
    let ran = pipeline(input.as_bytes(), &[&[SPLIT], &["head", "-n1"]]);
    assert_eq!("# CONTEXT-BUCKET:b\n", ran.stdout);
    assert_eq!(vec![Some(141), Some(0)], ran.codes);
    assert_eq!("", ran.stderr);
}

/// Points of two measurements, teams and months.
const TEAMS: &str = "# STREAM-BEGIN\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n\
     cpu,team=a v=1 1577836800000000000\nmem,team=b v=2 1580515200000000000\ncpu v=3 1577836800000000000\n\
     cpu,team=a v=4\n# STREAM-END points:4 left-out:0\n";

#[test]
fn measurements_tags_and_times_name_buckets() {
    let dir = scratch();
    let rejects = dir.path().join("rejects.lp");
    let buckets = |template: &str, more: &[&str]| {
        let args = [&[SPLIT, "--bucket", template], more].concat();
        let ran = run(TEAMS.as_bytes(), &args);
        let points = points(&ran.stdout).len();
        let said = ran.stdout.to_string();
        let said: Vec<_> = said
            .lines()
            .filter_map(|line| line.strip_prefix("# CONTEXT-BUCKET:"))
            .map(str::to_owned)
            .collect();
        (said.join(" "), points, ran.last())
    };
    let of = |said: &str, points, status| (said.to_owned(), points, Some(status));
    assert_eq!(
        of("db-cpu db-mem db-cpu", 4, 0),
        buckets("{database}-{measurement}", &[])
    );
    assert_eq!(
        of("2020-01 2020-02 2020-01", 3, 1),
        buckets("{time:%Y-%m}", &[])
    );
    let default = ["--default", "rest"];
    assert_eq!(of("a b rest a", 4, 0), buckets("{tag:team}", &default));
    let kept = ["--rejects", arg(&rejects)];
    assert_eq!(of("a b a", 3, 1), buckets("{tag:team}", &kept));
    let text = fs::read_to_string(&rejects).unwrap();
    assert!(
        text.contains("the point has no tag team, which names its bucket\ncpu v=3 "),
        "{text}"
    );
    assert_eq!(of("xrp", 4, 0), buckets("x{retention}", &[]));
}

#[test]
fn new_names_and_periods_come_from_a_file() {
    let dir = scratch();
    let map = dir.path().join("map.tsv");
    fs::write(
        &map,
        "# from\tto\tperiod\ndb/autogen\tnew\t1d\ndb/month\t\t\n",
    )
    .unwrap();
    let with = [SPLIT, "--map-file", arg(&map)];
    let ran = run(STREAM.as_bytes(), &with);
    assert_eq!(Some(2), ran.last());
    assert!(
        ran.stderr.contains("map.tsv: line 3: says neither"),
        "{}",
        ran.stderr
    );
    fs::write(&map, "db/autogen\tnew\t1d\ndb/month\t\tinfinite\n").unwrap();
    let expected = "# STREAM-BEGIN\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:autogen\n# CONTEXT-SHARD:1\n\
         # CONTEXT-RETENTION-PERIOD:86400s\n# CONTEXT-BUCKET:new\nm,t=a s=\"x\n# CONTEXT-DATABASE:evil\n\",v=1 7\n\
         # CONTEXT-SHARD:2\nm v=2i 8\n# CONTEXT-RETENTION-POLICY:month\n# CONTEXT-SHARD:3\n\
         # CONTEXT-RETENTION-PERIOD:0s\n# CONTEXT-BUCKET:db/month\nm v=\"\\\"\" 9\n# STREAM-END points:3 left-out:0\n";
    assert_eq!(expected, run(STREAM.as_bytes(), &with).ok().stdout);
    let out = dir.path().join("out");
    run(
        STREAM.as_bytes(),
        &[&with[..], &["--dir", arg(&out)]].concat(),
    )
    .ok();
    let text = fs::read_to_string(out.join("new.lp")).unwrap();
    assert!(
        text.contains("# CONTEXT-RETENTION-PERIOD:86400s\n"),
        "{text}"
    );
    let missing = [SPLIT, "--map-file", "/nonexistent"];
    assert_eq!(Some(66), run(STREAM.as_bytes(), &missing).last());
}

#[test]
fn names_that_the_target_refuses_are_an_error_before_anything_is_written() {
    let dir = scratch();
    let out = dir.path().join("out");
    for (args, said) in [
        (&["--bucket", "_x"][..], "begins with an underscore"),
        (&["--map", "db/autogen=a\"b"], "holds a double quote"),
        (
            &["--default", "x", "--target", "serverless"],
            "is shorter than two characters",
        ),
        (
            &["--bucket", "my bucket", "--target", "core"],
            "holds something else than letters",
        ),
        (
            &["--bucket", &"x".repeat(65), "--target", "clustered"],
            "is longer than 64 bytes",
        ),
    ] {
        let ran = run(STREAM.as_bytes(), &[&[SPLIT], args].concat());
        assert_eq!(
            (Some(78), ""),
            (ran.last(), ran.stdout.to_string().as_str())
        );
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    let text = "# CONTEXT-BUCKET:good\nm v=1 1\n# CONTEXT-BUCKET:_bad\nm v=2 2\n";
    let ran = run(text.as_bytes(), &[SPLIT]);
    assert_eq!(Some(78), ran.last());
    assert_eq!(
        "# CONTEXT-BUCKET:good\nm v=1 1\n# STREAM-FAILED status:78\n",
        ran.stdout
    );
    assert_eq!(
        Some(78),
        run(text.as_bytes(), &[SPLIT, "--dir", arg(&out)]).last()
    );
    assert!(!out.exists());
    run(text.as_bytes(), &[SPLIT, "--map", "_bad=fine"]).ok();
    // A name that comes from a point concerns that point alone.
    let text = "ok v=1 1\n_no v=2 2\n";
    let ran = run(text.as_bytes(), &[SPLIT, "--bucket", "{measurement}"]);
    assert_eq!("# CONTEXT-BUCKET:ok\nok v=1 1\n", ran.stdout);
    assert_eq!(Some(1), ran.last());
}

/// One point for each of so many buckets, so many times.
pub fn many(buckets: usize, rounds: usize) -> String {
    let mut text = "# STREAM-BEGIN once\n".to_owned();
    for round in 0..rounds {
        for i in 0..buckets {
            text += &format!("# CONTEXT-BUCKET:b{i}\nm{i} v={round} 1\n");
        }
    }
    text + &format!("# STREAM-END points:{} left-out:0\n", buckets * rounds)
}

#[test]
fn thousands_of_buckets_need_few_files_at_a_time() {
    for compress in [&[][..], &["--compress"]] {
        let dir = scratch();
        fs::write(dir.path().join("in.lp"), many(2_000, 3)).unwrap();
        // Standard streams, the input and 32 files.
        let command = format!(
            "ulimit -n 40; {} --bucket '{{measurement}}' --dir out {} in.lp",
            program(SPLIT),
            compress.concat()
        );
        let there = Pipeline::new().dir(dir.path());
        there.run(&[&["sh", "-c", &command]]).ok();
        let suffix = if compress.is_empty() { "lp" } else { "lp.gz" };
        for i in [0, 777, 1_999] {
            let path = dir.path().join(format!("out/m{i}.{suffix}"));
            let text = if compress.is_empty() {
                fs::read(path).unwrap()
            } else {
                gunzip(path)
            };
            assert_eq!(3, points(&text).len());
            assert!(
                text.starts_with(b"# STREAM-BEGIN\n") && text.ends_with(b"points:3 left-out:0\n")
            );
        }
    }
}

#[test]
fn parts_are_complete_and_together_they_are_the_whole() {
    let dir = scratch();
    let out = dir.path().join("out");
    let text = many(3, 200);
    let with = [
        SPLIT,
        "--dir",
        arg(&out),
        "--max-bytes",
        "1kB",
        "--max-lines",
        "40",
        "--compress",
    ];
    run(text.as_bytes(), &with).ok();
    let mut parts: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    parts.retain(|path| path.extension().is_some_and(|end| end == "gz"));
    parts.sort();
    assert_eq!(15, parts.len());
    for path in &parts {
        let part = gunzip(path);
        assert!(part.len() <= 1_000 && points(&part).len() <= 40);
    }
    // Each can be read by itself, and a shell's pattern puts them in order.
    let names: Vec<&str> = parts.iter().map(|path| arg(path)).collect();
    let ran = run(b"", &[&["lp-rate", "unlimited"], &names[..]].concat()).ok();
    let mut expected = points(text.as_bytes());
    expected.sort_by_key(|point| point.split(|c| *c == b' ').next().unwrap());
    assert_eq!(expected, points(&ran.stdout));
}
