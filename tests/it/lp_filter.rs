//! lp-filter: what passes, what is rewritten, what is a reject.

use proptest::prelude::*;

use crate::harness::{
    Pipeline, fixture, fixture_arg, gunzip, gzip, pipeline, points, run, scratch,
};

/// All exports of the fixtures, each a text without context.
fn exports() -> Vec<Vec<u8>> {
    let root = fixture("influxdb-1.6/expected");
    let files = std::fs::read_dir(root).unwrap().flat_map(|folder| {
        let folder = folder.unwrap().path();
        folder
            .is_dir()
            .then(|| std::fs::read_dir(folder).unwrap())
            .into_iter()
            .flatten()
    });
    files.map(|file| gunzip(file.unwrap().path())).collect()
}

fn filtered(input: &[u8], options: &[&str]) -> Vec<u8> {
    let stage: Vec<_> = ["lp-filter"].iter().chain(options).copied().collect();
    run(input, &stage).ok().stdout.into()
}

#[test]
fn without_options_every_fixture_passes_byte_for_byte() {
    let texts = exports();
    assert!(texts.len() > 10);
    for text in texts {
        assert!(text == filtered(&text, &[]));
        assert!(text == filtered(&gzip(&text), &[]));
    }
}

/// An entry of a stream: points with strings over several lines, comments, blanks, contexts with no points.
fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => r#"m[a-c"é#]{1,3}(,t[a-c"]{1,2}=v[a-c"](\\ x)?)? f=-?[0-9]{1,3}(i|u|\.5)?( [0-9]{1,20})?\n"#,
        2 => r#"m f="([a-z ,=#\n]|\\"|\\\\){0,12}",g=t [0-9]{1,19}\n"#,
        1 => r"#[a-z #:]{0,9}\n",
        1 => r"[ \t]{0,3}\n",
        1 => r"# CONTEXT-(DATABASE|RETENTION-POLICY|BUCKET):[a-z/é]{1,5}\n",
        1 => r"# CONTEXT-SHARD:[0-9]{1,5}\n",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn without_options_any_stream_passes_byte_for_byte(
        entries in proptest::collection::vec(entry(), 0..40), begun in any::<bool>(), tail in "(m f=1 5)?"
    ) {
        let body = entries.concat();
        let text = match begun {
            true => {
                let n = points(body.as_bytes()).len();
                format!("# STREAM-BEGIN once\n{body}# STREAM-END points:{n} left-out:0\n")
            }
            false => body + &tail,
        };
        prop_assert_eq!(bstr::BString::from(text.as_bytes()), filtered(text.as_bytes(), &[]));
    }
}

#[test]
fn adjacent_slices_give_back_every_point_exactly_once() {
    let text = gunzip(fixture("influxdb-1.6/expected/overlap/autogen.lp.gz"));
    let mut whole: Vec<_> = points(&text).into_iter().map(<[u8]>::to_vec).collect();
    let mut times: Vec<i64> = whole.iter().map(|point| last_number(point)).collect();
    times.sort_unstable();
    let cuts: Vec<_> = (1..7)
        .map(|i| times[times.len() * i / 7].to_string())
        .collect();
    let mut slices = Vec::new();
    for i in 0..=cuts.len() {
        let mut options = Vec::new();
        if i > 0 {
            options.extend(["--start", &cuts[i - 1]]);
        }
        if i < cuts.len() {
            options.extend(["--stop", &cuts[i]]);
        }
        let slice = filtered(&text, &options);
        assert!(!slice.is_empty());
        slices.extend(points(&slice).into_iter().map(<[u8]>::to_vec));
    }
    whole.sort();
    slices.sort();
    assert!(whole == slices);
}

fn last_number(point: &[u8]) -> i64 {
    let text = std::str::from_utf8(point).unwrap();
    text.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn points_are_chosen_by_context_tags_and_fields() {
    let input = "# CONTEXT-DATABASE:a\n# CONTEXT-RETENTION-POLICY:p\ncpu,dc=eu,host=x u=1,v=2i 5\ncpu,dc=us u=1 6\n\
                 # CONTEXT-DATABASE:b\n# CONTEXT-RETENTION-POLICY:p\ncpu,dc=eu u=1 7\n";
    let contexts = |a: &str, b: &str| {
        format!(
            "# CONTEXT-DATABASE:a\n# CONTEXT-RETENTION-POLICY:p\n{a}# CONTEXT-DATABASE:b\n# CONTEXT-RETENTION-POLICY:p\n{b}"
        )
    };
    for (options, a, b) in [
        (
            vec!["--database", "a"],
            "cpu,dc=eu,host=x u=1,v=2i 5\ncpu,dc=us u=1 6\n",
            "",
        ),
        (
            vec!["-t", "dc=eu"],
            "cpu,dc=eu,host=x u=1,v=2i 5\n",
            "cpu,dc=eu u=1 7\n",
        ),
        (vec!["-t", "host!="], "cpu,dc=eu,host=x u=1,v=2i 5\n", ""),
        (
            vec!["-v", "-t", "dc=~^e", "-d", "a"],
            "cpu,dc=us u=1 6\n",
            "cpu,dc=eu u=1 7\n",
        ),
        (vec!["-f", "v"], "cpu,dc=eu,host=x v=2i 5\n", ""),
        (
            vec!["--drop-field", "v", "--start", "6"],
            "cpu,dc=us u=1 6\n",
            "cpu,dc=eu u=1 7\n",
        ),
        (
            vec!["--rename-tag", "cpu.dc=region", "--stop", "6"],
            "cpu,region=eu,host=x u=1,v=2i 5\n",
            "",
        ),
        (
            vec!["--cast", "c*.u=integer", "-r", "p"],
            "cpu,dc=eu,host=x u=1i,v=2i 5\ncpu,dc=us u=1i 6\n",
            "cpu,dc=eu u=1i 7\n",
        ),
    ] {
        let got = filtered(input.as_bytes(), &options);
        assert_eq!(
            contexts(a, b),
            String::from_utf8(got).unwrap(),
            "{options:?}"
        );
    }
}

#[test]
fn what_cannot_be_judged_is_a_counted_and_explained_reject() {
    let input = b"# STREAM-BEGIN once\nm f=1 5\nm f=2\n# STREAM-END points:2 left-out:3\n";
    let ran = run(input, &["lp-filter", "--start", "1"]);
    assert_eq!(Some(1), ran.last());
    assert_eq!(
        "# STREAM-BEGIN once\nm f=1 5\n# STREAM-END points:1 left-out:4\n",
        ran.stdout
    );
    assert!(
        ran.stderr
            .contains("standard input:3: offset 28: no timestamp"),
        "{}",
        ran.stderr
    );
    for (what, expected) in [("keep", "m f=1 5\nm f=2\n"), ("drop", "m f=1 5\n")] {
        let got = filtered(
            b"m f=1 5\nm f=2\n",
            &["--start", "1", "--no-timestamp", what],
        );
        assert_eq!(expected, String::from_utf8(got).unwrap());
    }
}

#[test]
fn rejects_go_to_a_file_with_their_context_and_can_be_mended_there() {
    let dir = scratch();
    let input = b"# CONTEXT-DATABASE:d\nm f=1.5 5\nm f=2 6\nm f=\"a\nb\" 7\n";
    let stage = [
        "lp-filter",
        "--cast",
        "m.f=integer",
        "--rejects",
        "rejects.lp",
    ];
    let ran = Pipeline::new().input(input).dir(dir.path()).run(&[&stage]);
    assert_eq!(
        (Some(1), "# CONTEXT-DATABASE:d\nm f=2i 6\n"),
        (ran.last(), ran.stdout.to_string().as_str())
    );
    let rejects = std::fs::read_to_string(dir.path().join("rejects.lp")).unwrap();
    assert_eq!(
        vec!["m f=1.5 5", "m f=\"a\nb\" 7"],
        points(rejects.as_bytes())
            .iter()
            .map(|p| std::str::from_utf8(p).unwrap())
            .collect::<Vec<_>>()
    );
    assert!(
        rejects
            .contains("# CONTEXT-DATABASE:d\n# REJECT standard input:2: offset 21: a cast would"),
        "{rejects}"
    );
    let mended = Pipeline::new()
        .dir(dir.path())
        .run(&[&["lp-filter", "--cast", "m.f=string", "rejects.lp"]])
        .ok();
    assert!(mended.stdout.to_string().contains("m f=\"1.5\" 5\n"));
    let both = Pipeline::new().dir(dir.path()).run(&[&[
        "lp-filter",
        "--rejects",
        "rejects.lp",
        "./rejects.lp",
    ]]);
    assert_eq!(Some(2), both.last());
}

#[test]
fn strict_stops_at_the_first_reject_and_says_so_downstream() {
    let ran = pipeline(
        b"m f=1\nm f=2 2\n",
        &[&["lp-filter", "--strict", "--start", "1"], &["lp-filter"]],
    );
    assert_eq!(vec![Some(65), Some(65)], ran.codes);
    assert_eq!("# STREAM-FAILED status:65\n", ran.stdout);
}

#[test]
fn a_rename_no_longer_promises_each_point_once() {
    let input = b"# STREAM-BEGIN once\nm f=1 5\n# STREAM-END points:1 left-out:0\n";
    let got = filtered(input, &["--rename-measurement", "m=n"]);
    assert_eq!(
        "# STREAM-BEGIN\nn f=1 5\n# STREAM-END points:1 left-out:0\n",
        String::from_utf8(got).unwrap()
    );
    let got = filtered(input, &["--precision", "s"]);
    assert_eq!(
        "# STREAM-BEGIN once\nm f=1 5000000000\n# STREAM-END points:1 left-out:0\n",
        String::from_utf8(got).unwrap()
    );
}

#[test]
fn the_context_of_one_file_does_not_reach_the_next() {
    let dir = scratch();
    std::fs::write(dir.path().join("a.lp"), "# CONTEXT-DATABASE:a\nm f=1 1").unwrap();
    std::fs::write(dir.path().join("b.lp.gz"), gzip(b"m f=2 2")).unwrap();
    let two = ["lp-filter", "a.lp", "b.lp.gz"];
    let ran = Pipeline::new()
        .dir(dir.path())
        .run(&[&two, &["lp-filter", "-d", "a"]]);
    assert_eq!(vec![Some(0), Some(1)], ran.codes);
    let expected =
        "# CONTEXT-DATABASE:a\nm f=1 1\n# STREAM-BEGIN\n# STREAM-END points:0 left-out:0\n";
    assert_eq!(expected, ran.stdout);
}

#[test]
fn wrong_usage_is_refused_before_anything_is_read() {
    for options in [
        vec!["--start", "yesterday"],
        vec!["-v"],
        vec!["--drop-tag", "m.t"],
        vec!["--cast", "m.f=double"],
        vec!["--rename-field", "m.f=g\\"],
        vec!["--rename-tag", "f=g"],
        vec!["-t", "key"],
        vec!["-t", "key=~("],
        vec!["--max-record", "0"],
    ] {
        let stage: Vec<_> = ["lp-filter"].into_iter().chain(options).collect();
        let ran = run(b"m f=1 1\n", &stage);
        assert_eq!(
            (Some(2), ""),
            (ran.last(), ran.stdout.to_string().as_str()),
            "{stage:?}"
        );
    }
}

#[test]
fn a_missing_or_damaged_file_is_named() {
    let dir = scratch();
    let ran = run(b"", &["lp-filter", "/nonexistent/x.lp"]);
    assert_eq!(Some(66), ran.last());
    assert!(ran.stderr.contains("/nonexistent/x.lp: "), "{}", ran.stderr);
    let member = gzip(b"m f=1 1\nm f=2 2\n");
    std::fs::write(dir.path().join("cut.gz"), &member[..member.len() - 9]).unwrap();
    let ran = Pipeline::new()
        .dir(dir.path())
        .run(&[&["lp-filter", "cut.gz"]]);
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr.contains("cut.gz: the gzip data ends early"),
        "{}",
        ran.stderr
    );
    std::fs::write(dir.path().join("open.lp"), "m f=1 1\nm f=\"x\nm f=2 2\n").unwrap();
    let ran = Pipeline::new()
        .dir(dir.path())
        .run(&[&["lp-filter", "open.lp"]]);
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr.contains("open.lp:2: offset 8: "),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_longest_record_can_be_limited() {
    let input = format!("m f=1 1\nm f=\"{}\" 2\n", "x".repeat(300_000));
    assert_eq!(input.as_bytes(), filtered(input.as_bytes(), &[]));
    let ran = run(input.as_bytes(), &["lp-filter", "--max-record", "100kB"]);
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr
            .contains("standard input:2: offset 8: a record is longer than 100000 bytes"),
        "{}",
        ran.stderr
    );
}

#[test]
fn storage_files_are_sliced_as_the_exporter_itself_slices() {
    let root = fixture_arg("influxdb-1.6");
    let time = ["--start", "2026-01-01", "--stop", "2026-09-01"];
    let cat = ["tsm-cat", "-d", "example-db", "--lp-only"];
    let there: Vec<_> = cat
        .iter()
        .chain(&time)
        .chain([&root.as_str()])
        .copied()
        .collect();
    let all: Vec<_> = cat.iter().chain([&root.as_str()]).copied().collect();
    let here: Vec<_> = ["lp-filter"].iter().chain(&time).copied().collect();
    let pushed_down = pipeline(b"", &[&there]).ok().stdout;
    let filtered = pipeline(b"", &[&all, &here]).ok().stdout;
    assert!(points(&pushed_down).len() > 50);
    assert!(pushed_down == filtered);
}

#[test]
fn every_record_is_checked_by_the_rules_of_a_target() {
    let input =
        "m f=1u 1\nm,t=a,t=b f=1 2\nm f=.5 3\nm,time=x f=1 4\n# x=\"open\nm f=1 5\n# \"\nm f=2 6\n";
    for (target, kept, rules) in [
        (
            "v1",
            "m f=.5 3\nm f=2 6\n",
            vec!["W01:", "E15:", "W02:", "W17:"],
        ),
        (
            "serverless",
            "m f=1u 1\nm f=2 6\n",
            vec!["E15:", "E09:", "W02:", "W17:"],
        ),
    ] {
        let ran = run(input.as_bytes(), &["lp-filter", "--validate", target]);
        assert_eq!(
            (Some(1), kept),
            (ran.last(), ran.stdout.to_string().as_str())
        );
        for rule in rules {
            assert!(ran.stderr.contains(rule), "{rule} {}", ran.stderr);
        }
    }
    // Targets have the names that lp-post knows them by; the rules of some are the same.
    for (target, kept) in [
        ("oss2", "m f=1u 1\nm f=.5 3\nm f=2 6\n"),
        ("cloud", "m f=1u 1\nm f=.5 3\nm f=2 6\n"),
        ("core", "m f=1u 1\nm f=2 6\n"),
        ("enterprise", "m f=1u 1\nm f=2 6\n"),
        ("clustered", "m f=1u 1\nm f=2 6\n"),
        ("dedicated", "m f=1u 1\nm f=2 6\n"),
    ] {
        let ran = run(input.as_bytes(), &["lp-filter", "--validate", target]);
        assert_eq!(
            (Some(1), kept),
            (ran.last(), ran.stdout.to_string().as_str()),
            "{target}"
        );
    }
    for (target, says) in [
        (
            "victoriametrics",
            "lp-post --dry-run --target victoriametrics",
        ),
        (
            "influx",
            "is none of serverless, cloud, oss2, v1, core, enterprise, clustered, dedicated",
        ),
    ] {
        let ran = run(b"", &["lp-filter", "--validate", target]);
        assert_eq!(Some(2), ran.last());
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    // What goes out is checked, and what does not go out as it came.
    let mended = [
        "lp-filter",
        "--validate",
        "v1",
        "--rename-tag",
        "m.time=t",
        "--stop",
        "5",
    ];
    let ran = run(b"m,time=x f=1 4\nm,time=x f=1 6\n", &mended);
    assert_eq!(
        (Some(1), "m,t=x f=1 4\n"),
        (ran.last(), ran.stdout.to_string().as_str())
    );
}
