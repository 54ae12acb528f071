//! Does lp-rate keep to its rate, and pass everything else on as it came?

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::{Pipeline, Ran, pipeline, points, program, run, scratch};

const STREAM: &str = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\nm,t=a s=\"x\n# STREAM-BEGIN\n\",v=1 7\n# note\n\n\
     m v=2 8\n# STREAM-AT shard:1/1 done:100.0%\n# STREAM-END points:2 left-out:0\n";

#[test]
fn everything_passes_as_it_came() {
    for rate in ["unlimited", "0", "serverless", "100kB/s"] {
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
        (&["unlimited", "--points", "5"], "10000/s"),
        (
            &["unlimited", "--budget", "x"],
            "nothing that could be shared",
        ),
        (&["1MB/s", "--report", "0"], "--report"),
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

#[test]
fn points_are_counted_whatever_their_size() {
    let input = format!("# note\nm s=\"{}\" 1\n", "x".repeat(1_000)).repeat(1_000);
    let args = ["lp-rate", "--dry-run", "--points", "100/s", "unlimited"];
    let ran = run(input.as_bytes(), &args).ok();
    // One at a time, 99 a second.
    let expected = "1016000 bytes with 1000 points take 11s at unlimited, 100/s points\n";
    assert_eq!(expected, ran.stdout);
    let start = Instant::now();
    let args = ["lp-rate", "--points", "100/100ms", "unlimited"];
    let ran = run(&input.as_bytes()[..input.len() / 2], &args).ok();
    assert!(start.elapsed() >= Duration::from_millis(494));
    assert_eq!(&input[..input.len() / 2], ran.stdout);
}

/// Points of `n` measurements on two days in each of two buckets.
fn partitions(n: usize) -> String {
    let mut text = String::new();
    for bucket in ["a", "b"] {
        text += &format!("# CONTEXT-BUCKET:{bucket}\n");
        for i in 0..n {
            text += &format!("m{i} v=1 0\nm{i},t=x v=1 7\nm{i} v=1 86400000000000\n");
        }
    }
    text
}

#[test]
fn partitions_are_counted_for_each_bucket_and_waited_for() {
    let input = partitions(25);
    let with = |args: &[&str]| {
        run(
            input.as_bytes(),
            &[&["lp-rate", "--dry-run"], args].concat(),
        )
        .ok()
    };
    // 50 for each bucket: the 21st waits for a window, the 41st for another; then those of the second bucket.
    let ran = with(&["--partitions", "20/15min", "unlimited"]);
    let expected = "take 1h 1min at unlimited, 20/15min partitions\n";
    assert!(ran.stdout.ends_with(expected.as_bytes()), "{}", ran.stdout);
    let ran = with(&["--partitions", "50/15min", "unlimited"]);
    let expected = "take 0s at unlimited, 50/15min partitions\n";
    assert!(ran.stdout.ends_with(expected.as_bytes()), "{}", ran.stdout);
}

#[test]
fn the_rate_of_a_tariff_includes_its_partitions() {
    let input = partitions(2_501);
    for (rate, time) in [
        (
            "serverless",
            "30min 1s at 300MB/5min, 5000/15min partitions",
        ),
        ("300MB/5min", "1s at 300MB/5min"),
    ] {
        let ran = run(input.as_bytes(), &["lp-rate", "--dry-run", rate]).ok();
        let expected = format!("with 15006 points take {time}\n");
        assert!(ran.stdout.ends_with(expected.as_bytes()), "{}", ran.stdout);
    }
}

#[test]
fn partitions_wait_by_the_clock_too() {
    let start = Instant::now();
    let input = partitions(10);
    let ran = run(
        input.as_bytes(),
        &["lp-rate", "unlimited", "--partitions", "10/100ms"],
    )
    .ok();
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(input, ran.stdout);
}

/// What a command says whose standard error is a terminal.
fn on_a_terminal(input: &str, command: &str) -> Ran {
    let dir = scratch();
    fs::write(dir.path().join("in.lp"), input).unwrap();
    let command = command.replace("lp-rate", program("lp-rate"));
    let there = Pipeline::new().dir(dir.path()).env("TERM", "xterm");
    there
        .run(&[&["script", "-qec", &command, "/dev/null"]])
        .ok()
}

#[test]
fn one_program_of_a_pipe_draws_progress_and_only_for_a_terminal() {
    let input = "# STREAM-AT shard:1/4 done:12.5%\nm v=1 1\n";
    let drawn = |command: &str| on_a_terminal(input, command).stdout.to_string();
    let alone = drawn("lp-rate 1kB/s in.lp >/dev/null");
    assert!(
        alone.contains("lp-rate: ") && alone.contains("0 B, 0 points"),
        "{alone}"
    );
    // A line of figures is all that stays.
    assert!(
        alone.ends_with("1 points passed, 0 rejected, 0 left out before, 0 seconds waited\r\n"),
        "{alone}"
    );
    let first = drawn("lp-rate 1kB/s in.lp | cat >/dev/null");
    assert!(!first.contains("0 B, 0 points"), "{first}");
    let quiet = drawn("lp-rate --quiet 1kB/s in.lp >/dev/null");
    assert!(!quiet.contains("0 B, 0 points"), "{quiet}");
    let asked = drawn("lp-rate --progress 1kB/s in.lp | cat >/dev/null");
    assert!(asked.contains("0 B, 0 points"), "{asked}");
    let asked = run(input.as_bytes(), &["lp-rate", "--progress", "1kB/s"]).ok();
    assert!(asked.stderr.contains("0 B, 0 points"), "{}", asked.stderr);
    assert_eq!(input, asked.stdout);
    let unasked = run(input.as_bytes(), &["lp-rate", "1kB/s"]).ok();
    assert_eq!("", unasked.stderr);
    let both = run(
        input.as_bytes(),
        &["lp-rate", "--progress", "--quiet", "1kB/s"],
    );
    assert_eq!(Some(2), both.last());
}

#[test]
fn progress_shows_what_the_stream_says_of_the_whole() {
    let points = "m v=1 1\n".repeat(50);
    let input = format!("# STREAM-AT shard:1/4 done:12.5%\n{points}");
    let ran = on_a_terminal(&input, "lp-rate '100B/100ms' in.lp >/dev/null");
    let text = ran.stdout.to_string();
    let line = text.split("12.5%, ").nth(1).unwrap();
    assert!(line.contains("s left, shard 1/4, "), "{text}");
}

#[test]
fn points_on_a_terminal_stay_apart_from_the_progress() {
    let points = "m v=1 1\n".repeat(50);
    let text = on_a_terminal(&points, "lp-rate '100B/100ms' in.lp")
        .stdout
        .to_string();
    let whole = text.matches("m v=1 1\r\n").count();
    assert_eq!(50, whole, "{text}");
}

#[test]
fn a_log_gets_a_line_every_so_often() {
    let input = "m v=1 1\n".repeat(275);
    let ran = run(
        input.as_bytes(),
        &["lp-rate", "--report", "1", "200B/100ms"],
    )
    .ok();
    assert_eq!(input, ran.stdout);
    let line = ran.stderr.lines().next().unwrap();
    let shape = ["lp-rate: ", "kB, ", " points, ", "/s"];
    assert!(shape.iter().all(|word| line.contains(word)), "{line}");
}

/// One of several programs that share a budget, and where its output is told to.
struct Sharer {
    child: Child,
    got: Receiver<Instant>,
    reader: thread::JoinHandle<Vec<u8>>,
}

impl Sharer {
    fn start(rate: &str, budget: &Path, input: &str, log: Sender<(Instant, usize)>) -> Self {
        let mut child = Command::new(program("lp-rate"))
            .args([rate, "--budget"])
            .arg(budget)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
        // A program that is killed reads no more.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let mut stdout = child.stdout.take().unwrap();
        let (tell, got) = mpsc::channel();
        let reader = thread::spawn(move || {
            let (mut all, mut buf) = (Vec::new(), [0; 4096]);
            while let Ok(n @ 1..) = stdout.read(&mut buf) {
                let now = Instant::now();
                all.extend_from_slice(&buf[..n]);
                log.send((now, n)).unwrap();
                let _ = tell.send(now);
            }
            all
        });
        Self { child, got, reader }
    }
}

#[test]
fn four_programs_share_one_allowance_and_one_of_them_may_be_killed() {
    let dir = scratch();
    let budget = dir.path().join("budget");
    let input = "cpu,host=a usage=1.5 1577836800000000000\n".repeat(250);
    let (log, events) = mpsc::channel();
    let start = Instant::now();
    let sharer = || Sharer::start("20kB/s", &budget, &input, log.clone());
    let mut sharers: Vec<Sharer> = (0..4).map(|_| sharer()).collect();
    drop(log);
    // All of them get their turn, and then one dies with whatever it has booked.
    for sharer in &sharers {
        sharer.got.recv().unwrap();
    }
    let mut victim = sharers.remove(0);
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    for mut sharer in sharers {
        assert!(sharer.child.wait().unwrap().success());
        assert_eq!(input.as_bytes(), sharer.reader.join().unwrap());
    }
    let mut events: Vec<_> = events.iter().collect();
    events.sort();
    let mut sum = 0.0;
    for (at, bytes) in events {
        // What has come by now passed before now, and the bucket was empty at the start.
        sum += bytes as f64;
        let most = 19_800.0 * (at - start).as_secs_f64();
        assert!(sum <= most, "{sum} bytes in {:?}", at - start);
    }
    assert!(sum >= 3.0 * input.len() as f64);
    // The file is as good as before for the next one.
    let args = ["lp-rate", "20kB/s", "--budget", budget.to_str().unwrap()];
    assert_eq!(STREAM, run(STREAM.as_bytes(), &args).ok().stdout);
    let state = fs::read_to_string(&budget).unwrap();
    let seats = state
        .split("\nend ")
        .next()
        .unwrap()
        .matches("\nseat ")
        .count();
    assert!(seats <= 1, "{state}");
}

#[test]
fn a_budget_is_one_rate_and_a_file_of_its_own() {
    let dir = scratch();
    let budget = dir.path().join("budget");
    let name = budget.to_str().unwrap();
    run(
        STREAM.as_bytes(),
        &["lp-rate", "10kB/1ms", "--budget", name],
    )
    .ok();
    run(
        STREAM.as_bytes(),
        &["lp-rate", "10kB/2ms", "--budget", name],
    );
    let held = dir.path().join("held");
    let held = held.to_str().unwrap();
    run(STREAM.as_bytes(), &["lp-rate", "100MB/h", "--budget", held]).ok();
    let ran = run(STREAM.as_bytes(), &["lp-rate", "1GB/h", "--budget", held]);
    assert_eq!(
        (Some(78), ""),
        (ran.last(), ran.stdout.to_string().as_str())
    );
    assert!(
        ran.stderr.contains("held is shared at 100MB/h by others"),
        "{}",
        ran.stderr
    );
    fs::write(&budget, STREAM).unwrap();
    let ran = run(
        STREAM.as_bytes(),
        &["lp-rate", "10kB/1ms", "--budget", name],
    );
    assert_eq!(Some(78), ran.last());
    assert!(ran.stderr.contains("is no budget file"), "{}", ran.stderr);
    assert_eq!(STREAM, fs::read_to_string(&budget).unwrap());
    let ran = run(b"", &["lp-rate", "1MB/s", "--budget", "/nonexistent/x"]);
    assert_eq!(Some(78), ran.last());
    let both = run(b"", &["lp-rate", "1MB/s", "--budget", name, "--dry-run"]);
    assert_eq!(Some(2), both.last());
}
