//! Does lp-rate keep to its rate, and pass everything else on as it came?

use std::fs;
use std::time::{Duration, Instant};

use super::harness::{Pipeline, pipeline, points, program, run, scratch};

const STREAM: &str = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\nm,t=a s=\"x\n# STREAM-BEGIN\n\",v=1 7\n# note\n\n\
     m v=2 8\n# STREAM-AT shard:1/1 done:100.0%\n# STREAM-END points:2 left-out:0\n";

#[test]
fn everything_passes_as_it_came() {
    for rate in ["unlimited", "serverless", "100kB/s"] {
        let ran = run(STREAM.as_bytes(), &["lp-rate", rate]).ok();
        assert_eq!(
            (STREAM, ""),
            (ran.stdout.to_string().as_str(), ran.stderr.as_str())
        );
    }
    let plain = "m v=1 1\nm v=2 2";
    assert_eq!(
        plain,
        run(plain.as_bytes(), &["lp-rate", "1MB/s"]).ok().stdout
    );
    let large = format!(
        "{}\n",
        "m,host=a value=1 1577836800000000000\n".repeat(100_000)
    );
    assert_eq!(
        large,
        run(large.as_bytes(), &["lp-rate", "unlimited"]).ok().stdout
    );
}

#[test]
fn it_takes_the_time_that_the_rate_leaves() {
    let input = "m v=1 1\n".repeat(1_000);
    let start = Instant::now();
    let ran = run(input.as_bytes(), &["lp-rate", "2kB/200ms"]).ok();
    // 8 kB, of which one burst of 20 bytes may have been there at the start.
    assert!(start.elapsed() >= Duration::from_millis(798));
    assert_eq!(input, ran.stdout);
}

#[test]
fn the_wait_of_a_tiny_rate_ends_with_a_signal_and_the_output_with_a_whole_record() {
    let dir = scratch();
    // A background process gets /dev/null as standard input unless another file is named.
    let script = format!(
        "mkfifo out; exec 4<&0; {} 20B/s <&4 >out & pid=$!; exec 3<out; read -r line <&3; kill -TERM $pid; \
         wait $pid; echo $?; cat <&3",
        program("lp-rate")
    );
    let input = format!("# STREAM-BEGIN\n{}", "m v=1 1\n".repeat(10_000));
    let there = Pipeline::new().dir(dir.path()).input(input.as_bytes());
    let ran = there.run(&[&["sh", "-c", &script]]).ok();
    let text = ran.stdout.to_string();
    let (status, rest) = text.split_once('\n').unwrap();
    assert_eq!("143", status);
    let rest = rest.strip_suffix("# STREAM-FAILED status:143\n").unwrap();
    assert_eq!("", rest.replace("m v=1 1\n", ""));
}

#[test]
fn a_record_that_can_never_pass_is_a_reject() {
    let dir = scratch();
    let rejects = dir.path().join("rejects.lp");
    let input = "# STREAM-BEGIN\nm v=1 1\nm s=\"much too large\" 2\nm v=3 3\n# STREAM-END points:3 left-out:1\n";
    let ran = run(
        input.as_bytes(),
        &[
            "lp-rate",
            "20B/10ms",
            "--rejects",
            rejects.to_str().unwrap(),
        ],
    );
    let expected = "# STREAM-BEGIN\nm v=1 1\nm v=3 3\n# STREAM-END points:2 left-out:2\n";
    assert_eq!(
        (expected, Some(1)),
        (ran.stdout.to_string().as_str(), ran.last())
    );
    let expected = "# REJECT standard input:3: offset 23: 23 bytes in one piece are more than 20B/10ms ever lets pass\n\
         m s=\"much too large\" 2\n";
    assert_eq!(expected, fs::read_to_string(rejects).unwrap());
}

#[test]
fn a_comment_larger_than_the_limit_passes_in_time() {
    let input = format!("# {}\nm v=1 1\n", "x".repeat(100));
    let ran = run(input.as_bytes(), &["lp-rate", "10B/1ms"]).ok();
    assert_eq!(input, ran.stdout);
}

#[test]
fn a_dry_run_says_how_long_it_would_take() {
    let input = "m,host=a value=1 1577836800000000000\n".repeat(100_000);
    let ran = run(input.as_bytes(), &["lp-rate", "--dry-run", "1kB/s"]).ok();
    // 3.7 MB at 963 bytes a second: the burst is a record of 37.
    let expected = "3700000 bytes with 100000 points take 1h 5min at 1kB/s\n";
    assert_eq!(expected, ran.stdout);
    let ran = run(input.as_bytes(), &["lp-rate", "--dry-run", "unlimited"]).ok();
    assert_eq!(
        "3700000 bytes with 100000 points take 0s at unlimited\n",
        ran.stdout
    );
}

#[test]
fn what_is_no_rate_is_wrong_usage() {
    for (args, said) in [
        (
            &["300", "MB", "/", "5", "min"][..],
            "lp-rate '300 MB / 5 min'",
        ),
        (&["1mb/s"], "may mean bits"),
        (&["0"], "say unlimited"),
        (&["0MB/s"], "say unlimited"),
        (&["1MB"], "how long that is for"),
        (&[], "RATE"),
    ] {
        let ran = run(b"m v=1 1\n", &[&["lp-rate"], args].concat());
        assert_eq!((Some(2), ""), (ran.last(), ran.stdout.to_string().as_str()));
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[test]
fn a_stream_cut_anywhere_in_its_last_records_is_noticed_and_no_fragment_passes() {
    let whole = points(STREAM.as_bytes());
    for at in STREAM.find("m,t=a").unwrap()..STREAM.len() - 1 {
        let ran = run(&STREAM.as_bytes()[..at], &["lp-rate", "1GB/s"]);
        assert_eq!(Some(65), ran.last(), "{at}");
        assert!(ran.stdout.ends_with(b"# STREAM-FAILED status:65\n"), "{at}");
        let passed = points(&ran.stdout)
            .into_iter()
            .all(|point| whole.contains(&point));
        assert!(passed, "{at}");
    }
}

#[test]
fn says_141_and_nothing_else_when_the_reader_leaves() {
    let input = "cpu v=1 1\n".repeat(300_000);
    for rate in ["unlimited", "100MB/s"] {
        let ran = pipeline(input.as_bytes(), &[&["lp-rate", rate], &["head", "-n1"]]);
        assert_eq!("cpu v=1 1\n", ran.stdout);
        assert_eq!(
            (vec![Some(141), Some(0)], ""),
            (ran.codes, ran.stderr.as_str())
        );
    }
}
