//! Does lp-split-by-bucket feed one command per bucket, and say beforehand what would go where?

use std::fs;

use super::harness::{Pipeline, points, program, run, scratch};
use super::lp_split::{SPLIT, STREAM, arg, files, many};

/// Points in turn for so many buckets, of which two get far more than a pipe holds.
fn crowd(buckets: usize) -> (String, usize) {
    let mut text = "# STREAM-BEGIN once\n".to_owned();
    let mut points = 0;
    for round in 0..200 {
        for i in 0..buckets {
            text += &format!("# CONTEXT-BUCKET:b{i}\n");
            let more = if i < 3 { 100 } else { 1 };
            for n in 0..more {
                text += &format!("m,bucket=b{i} s=\"{round}\n{n}\" 1577836800000000000\n");
            }
            points += more;
        }
    }
    text += "# CONTEXT-BUCKET:b59\nlast v=1 1\n";
    (
        text + &format!("# STREAM-END points:{points} left-out:0\n"),
        points + 1,
    )
}

#[test]
fn sixty_commands_run_side_by_side_and_the_slow_and_the_dead_stop_nobody() {
    let dir = scratch();
    let rejects = dir.path().join("rejects.lp");
    let (text, total) = crowd(60);
    assert!(text.len() > 3 << 20);
    // b0 sleeps until the last point has come through to another one, b1 ends at once, b2 never reads and ends then.
    let command = "echo >>started-$LP_BUCKET; case $LP_BUCKET in \
         b0) until [ -e go ]; do sleep 0.02; done; cat >b0;; \
         b1) exit 3;; \
         b2) until [ -e go ]; do sleep 0.02; done; exit 4;; \
         b59) while IFS= read -r line; do printf '%s\\n' \"$line\"; case $line in last*) : >go;; esac; done >b59;; \
         *) cat >$LP_BUCKET;; esac";
    let there = Pipeline::new().dir(dir.path()).input(text.as_bytes());
    let ran = there.run(&[&[
        SPLIT,
        "--exec",
        command,
        "--rejects",
        arg(&rejects),
        "--verbose",
    ]]);
    // b1 was the first that failed.
    assert_eq!(Some(3), ran.last(), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("bucket b1: its command ended with status 3"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .contains("bucket b2: its command ended with status 4"),
        "{}",
        ran.stderr
    );
    let mut found = 0;
    for i in (0..60).filter(|i| ![1, 2].contains(i)) {
        let got = fs::read(dir.path().join(format!("b{i}"))).unwrap();
        let end = got.split(|c| *c == b'\n').rev().nth(1).unwrap();
        assert!(end.starts_with(b"# STREAM-END points:"), "{i}");
        let own = format!("m,bucket=b{i} ");
        let points = points(&got);
        assert!(
            points
                .iter()
                .all(|point| point.starts_with(own.as_bytes()) || *point == b"last v=1 1")
        );
        found += points.len();
        assert_eq!(
            "\n",
            fs::read_to_string(dir.path().join(format!("started-b{i}"))).unwrap()
        );
    }
    let rejected = fs::read(&rejects).unwrap();
    let back = points(&rejected);
    assert!(
        back.iter()
            .all(|point| point.starts_with(b"m,bucket=b1 ") || point.starts_with(b"m,bucket=b2 "))
    );
    let unknown: usize = ran
        .stderr
        .lines()
        .filter_map(|line| {
            line.strip_suffix(" points, fate unknown")?
                .rsplit(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert!(unknown > 100, "{}", ran.stderr);
    assert_eq!(total, found + back.len() + unknown, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("{} rejected", back.len())),
        "{}",
        ran.stderr
    );
}

#[test]
fn points_that_a_command_never_read_are_no_success() {
    let ran = run(
        STREAM.as_bytes(),
        &[
            SPLIT,
            "--exec",
            "[ $LP_BUCKET = db/autogen ] || cat >/dev/null",
        ],
    );
    assert_eq!(Some(1), ran.last());
    // They were in its pipe, or it was gone before.
    let told = ran.stderr.contains("2 points, fate unknown")
        || ran.stderr.contains("its command has ended");
    assert!(told, "{}", ran.stderr);
}

#[test]
fn one_command_too_many_is_refused_before_it_starts() {
    let dir = scratch();
    let there = Pipeline::new().dir(dir.path()).input(many(3, 1).as_bytes());
    let ran = there.run(&[&[SPLIT, "--exec", "cat >$LP_BUCKET", "--max-open", "2"]]);
    assert_eq!(Some(78), ran.last());
    assert!(
        ran.stderr
            .contains("bucket b2 would be one more than the 2"),
        "{}",
        ran.stderr
    );
    assert!(!dir.path().join("b2").exists());
    // The others are told that the run has failed.
    for name in ["b0", "b1"] {
        let text = fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(text.ends_with("1\n# STREAM-FAILED status:78\n"), "{text}");
    }
}

#[test]
fn commands_know_their_bucket_and_hand_their_status_on() {
    let show = "cat >/dev/null; echo \"$LP_BUCKET|$LP_DATABASE|$LP_RETENTION_POLICY|$LP_RETENTION_PERIOD\"";
    let ran = run(STREAM.as_bytes(), &[SPLIT, "--exec", show]).ok();
    let mut lines: Vec<_> = ran
        .stdout
        .split(|c| *c == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    lines.sort();
    assert_eq!(b"db/autogen|db|autogen|0s".to_vec(), lines[0]);
    assert_eq!(b"db/month|db|month|2678400s".to_vec(), lines[1]);
    let ran = run(
        STREAM.as_bytes(),
        &[SPLIT, "--exec", "cat >/dev/null; kill -9 $$"],
    );
    assert_eq!(Some(137), ran.last());
    // The failure of the program before reaches every command, and is the status.
    let failed = STREAM.replace(
        "# STREAM-END points:3 left-out:0",
        "# STREAM-FAILED status:66",
    );
    let ran = run(failed.as_bytes(), &[SPLIT, "--exec", "tail -n1"]);
    assert_eq!(Some(66), ran.last());
    assert_eq!("# STREAM-FAILED status:66\n".repeat(2), ran.stdout);
}

#[test]
fn a_plan_says_what_goes_where() {
    let expected = "bucket\tperiod\tpoints\tbytes\tfirst\tlast\tdays\tpartitions\n\
         db/autogen\t0s\t2\t52\t1970-01-01T00:00:00.000000007Z\t1970-01-01T00:00:00.000000008Z\t1\t1\n\
         db/month\t2678400s\t1\t11\t1970-01-01T00:00:00.000000009Z\t1970-01-01T00:00:00.000000009Z\t1\t1\n";
    let ran = run(STREAM.as_bytes(), &[SPLIT, "--plan"]).ok();
    assert_eq!(expected, ran.stdout);
    let expired = "bucket db/month: its first point, of 1970-01-01T00:00:00.000000009Z, is older than its period of 31d";
    assert!(ran.stderr.contains(expired), "{}", ran.stderr);
    let ran = run(STREAM.as_bytes(), &[SPLIT, "--plan=commands"]).ok();
    let expected = "influx bucket create --name db/autogen --retention 0\n\
         influx bucket create --name db/month --retention 2678400s\n";
    assert_eq!(expected, ran.stdout);
    let ran = run(
        STREAM.as_bytes(),
        &[SPLIT, "--plan", "--json", "--rate", "serverless-free"],
    )
    .ok();
    let json: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!("db/month", json["buckets"][1]["bucket"]);
    assert_eq!(2_678_400, json["buckets"][1]["period_seconds"]);
    assert_eq!(
        (3, 63, 1),
        (
            json["points"].as_u64().unwrap(),
            json["bytes"].as_u64().unwrap(),
            json["upload_seconds"].as_u64().unwrap()
        )
    );
    assert_eq!(3, json["warnings"].as_array().unwrap().len(), "{json}");
    let ran = run(
        many(3, 1).as_bytes(),
        &[SPLIT, "--plan", "--rate", "serverless-free"],
    )
    .ok();
    for said in [
        "3 buckets, and serverless-free allows 2",
        "bucket b2: nothing says how long",
        "1s at 5MB/5min",
    ] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[test]
fn a_plan_is_a_table_for_people() {
    let dir = scratch();
    fs::write(dir.path().join("in.lp"), STREAM).unwrap();
    let command = format!("{} --plan in.lp 2>/dev/null", program(SPLIT));
    let there = Pipeline::new().dir(dir.path()).env("TERM", "xterm");
    let ran = there
        .run(&[&["script", "-qec", &command, "/dev/null"]])
        .ok();
    let text = ran.stdout.to_string();
    let mut lines = text.lines();
    let head = lines.next().unwrap();
    assert!(
        head.starts_with("BUCKET      KEPT      POINTS  BYTES  FIRST"),
        "{head}"
    );
    let row = lines.next().unwrap();
    assert!(
        row.starts_with("db/autogen  for ever       2     52  1970-01-01T"),
        "{row}"
    );
}

#[test]
fn a_plan_needs_contexts_only_and_writes_nothing_else() {
    let dir = scratch();
    let there = Pipeline::new().dir(dir.path()).input(b"m v=1 1\n");
    let ran = there.run(&[&[SPLIT, "--plan"]]);
    assert_eq!(
        (Some(78), ""),
        (ran.last(), ran.stdout.to_string().as_str())
    );
    assert_eq!(Some(66), run(b"", &[SPLIT, "--plan"]).last());
    assert_eq!(0, files(dir.path()).len());
}

#[test]
fn a_signal_ends_the_run_even_if_a_command_never_reads() {
    let dir = scratch();
    let (text, _) = crowd(3);
    let script = format!(
        "exec 4<&0; {} --exec 'while [ ! -e gone ]; do sleep 0.05; done' <&4 & pid=$!; \
         until [ -d /proc/$pid/task ] && [ $(ls /proc/$pid/task | wc -l) -gt 3 ]; do :; done; \
         kill -TERM $pid; wait $pid; echo $?; >gone",
        program(SPLIT)
    );
    let there = Pipeline::new().dir(dir.path()).input(text.as_bytes());
    assert_eq!("143\n", there.run(&[&["sh", "-c", &script]]).stdout);
}

#[test]
fn force_replaces_the_files_of_an_earlier_run_when_the_new_ones_are_complete() {
    let dir = scratch();
    let out = dir.path().join("out");
    let split = |text: &str, more: &[&str]| {
        run(
            text.as_bytes(),
            &[&[SPLIT, "--dir", arg(&out)], more].concat(),
        )
        .last()
    };
    assert_eq!(Some(0), split(&many(3, 2), &[]));
    let before = files(&out);
    assert_eq!(Some(73), split(&many(1, 1), &[]));
    let cut = many(1, 1).replace("# STREAM-END", "# ");
    assert_eq!(Some(65), split(&cut, &["--force"]));
    assert_eq!(before, files(&out));
    assert_eq!(Some(0), split(&many(1, 1), &["--force"]));
    let names: Vec<_> = files(&out).into_iter().map(|(name, _)| name).collect();
    assert_eq!(vec!["INDEX.tsv", "b0.lp"], names);
}

#[test]
fn a_folder_without_permission_is_an_error_and_holds_nothing() {
    let dir = scratch();
    let command = format!(
        "mkdir out; chmod 555 out; if touch out/x; then rm out/x; exit 77; fi 2>/dev/null; {} --dir out",
        program(SPLIT)
    );
    let there = Pipeline::new().dir(dir.path()).input(STREAM.as_bytes());
    // Who may write everywhere learns nothing here.
    let ran = there.run(&[&["sh", "-c", &command]]);
    assert_eq!(Some(77), ran.last());
    assert_eq!(0, files(&dir.path().join("out")).len());
}

#[test]
fn lp_post_takes_every_part_without_further_options() {
    let dir = scratch();
    let out = dir.path().join("out");
    let split = [SPLIT, "--dir", arg(&out), "--max-lines", "1", "--compress"];
    run(STREAM.as_bytes(), &split).ok();
    let script = format!(
        "{} --dry-run --target serverless out/*/*.lp.gz",
        program("lp-post")
    );
    let there = Pipeline::new().dir(dir.path());
    let ran = there.run(&[&["sh", "-c", &script]]).ok();
    for said in ["db/autogen: 2 ", "db/month: 1 "] {
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}
