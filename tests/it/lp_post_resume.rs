//! lp-post that is killed and started again: a real upload, with a journal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::{points, scratch};
use crate::lp_post::{STREAM, post, run};
use crate::server::{Play, Server, answer, answer_with, stored};

/// A generator whose numbers are the same in every run of the test.
struct Dice(u64);

impl Dice {
    /// A number below `n`.
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// What is exported, shard by shard.
struct Source {
    shards: BTreeMap<u32, Vec<String>>,
    next: u64,
}

const SHARDS: u32 = 30;
const PER_SHARD: usize = 200;

/// Shards that change between two runs; the others never do.
const CHANGING: u32 = 3;

impl Source {
    fn new() -> Self {
        let mut source = Self {
            shards: BTreeMap::new(),
            next: 0,
        };
        for shard in 0..SHARDS {
            (0..PER_SHARD).for_each(|_| source.add(shard));
        }
        source
    }

    /// One more record. Some that do not change are such that the server refuses them, or lp-post.
    fn add(&mut self, shard: u32) {
        let n = self.next;
        self.next += 1;
        let record = match n % 97 {
            13 if shard >= CHANGING => format!("m,n={n} bad=1 {n}\n"),
            14 if shard >= CHANGING => format!("m,n={n} timeless=1\n"),
            _ => format!("m,n={n} v={n} {n}\n"),
        };
        self.shards.entry(shard).or_default().push(record);
    }

    fn write(&self, path: &Path) {
        let mut text = "# STREAM-BEGIN once\n".to_owned();
        let mut count = 0;
        for (shard, records) in &self.shards {
            let policy = shard % 4;
            text += "# CONTEXT-DATABASE:d\n";
            writeln!(text, "# CONTEXT-RETENTION-POLICY:r{policy}").unwrap();
            writeln!(text, "# CONTEXT-SHARD:{shard}").unwrap();
            text += &records.concat();
            count += records.len();
        }
        writeln!(text, "# STREAM-END points:{count} left-out:0").unwrap();
        fs::write(path, text).unwrap();
    }

    fn records(&self) -> impl Iterator<Item = &String> {
        self.shards.values().flatten()
    }
}

fn is_reject(record: &str) -> bool {
    record.contains("bad") || record.contains("timeless")
}

/// The child that is to be killed, and at which request.
#[derive(Default)]
struct Victim {
    child: Option<Child>,
    left: u64,
    /// How long after it.
    turns: u64,
    /// Which one it is.
    run: u64,
    /// Whether it is on the list.
    doomed: bool,
}

impl Victim {
    /// This one is to be killed after so many requests.
    fn next(&mut self, child: Child, left: u64, turns: u64) {
        *self = Self {
            child: Some(child),
            left,
            turns,
            run: self.run + 1,
            doomed: false,
        };
    }
}

/// A server that stores all but bad records, is busy at times, and has the victim killed.
fn sink(victim: &Arc<Mutex<Victim>>, log: &Arc<Mutex<Vec<String>>>) -> Server {
    let (victim, log) = (Arc::clone(victim), Arc::clone(log));
    let mut busy = Dice(7);
    Server::start(move |request| {
        let mut now = victim.lock().unwrap();
        now.left = now.left.saturating_sub(1);
        if now.left == 0 && !now.doomed {
            now.doomed = true;
            let (victim, run, turns) = (Arc::clone(&victim), now.run, now.turns);
            thread::spawn(move || {
                // Somewhere between this request and a few after it.
                (0..turns).for_each(|_| std::hint::spin_loop());
                let mut now = victim.lock().unwrap();
                if now.run == run
                    && let Some(child) = &mut now.child
                {
                    drop(child.kill());
                }
            });
        }
        drop(now);
        if busy.roll(9) == 0 {
            return answer_with(503, "Retry-After: 0\r\n", "busy");
        }
        let text = request.text();
        log.lock().unwrap().push(text.clone());
        refuse_bad(&text)
    })
}

fn refuse_bad(text: &str) -> Play {
    let bad = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("bad"));
    let clauses: Vec<_> = bad
        .map(|(n, _)| format!("error parsing line {} (1-based): no", n + 1))
        .collect();
    if clauses.is_empty() {
        return stored();
    }
    let list = clauses.join(", ");
    answer(
        400,
        &format!(
            r#"{{"code":"invalid","message":"partial write has occurred, errors encountered on line(s): {list}"}}"#
        ),
    )
}

struct Place {
    input: PathBuf,
    journal: PathBuf,
    rejects: PathBuf,
}

const JOBS: usize = 3;

fn start(server: &Server, place: &Place) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(["--host", &server.url, "--target", "serverless"])
        .args(["--retry-delay", "1ms", "--batch-lines", "20"])
        .args(["--jobs", &JOBS.to_string(), "--journal"])
        .arg(&place.journal)
        .arg("--rejects")
        .args([&place.rejects, &place.input])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Wait for the end of the victim; its status, and what it said.
fn outlive(victim: &Mutex<Victim>) -> (Option<i32>, String) {
    let stderr = victim.lock().unwrap().child.as_mut().unwrap().stderr.take();
    let mut said = String::new();
    stderr.unwrap().read_to_string(&mut said).unwrap();
    let mut child = victim.lock().unwrap().child.take().unwrap();
    (child.wait().unwrap().code(), said)
}

fn survives(kills: u64) {
    let dir = scratch();
    let place = Place {
        input: dir.path().join("input.lp"),
        journal: dir.path().join("journal"),
        rejects: dir.path().join("rejects.lp"),
    };
    let (victim, log): (Arc<Mutex<Victim>>, Arc<Mutex<Vec<String>>>) = Default::default();
    let server = sink(&victim, &log);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15 + kills);
    let mut source = Source::new();
    let (mut killed, mut finished, mut n) = (0, false, 0);
    while killed < kills as usize {
        source.write(&place.input);
        // After a run that came to its end there is little left to send: the next one dies at its first request.
        let (left, turns) = match finished {
            true => (1, 0),
            false => (
                1 + dice.roll(2 * u64::from(SHARDS) * 10 / kills),
                dice.roll(3_000_000),
            ),
        };
        // Held meanwhile: no request is counted before it is known whose it is.
        let mut now = victim.lock().unwrap();
        let child = start(&server, &place);
        now.next(child, left, turns);
        drop(now);
        let (code, said) = outlive(&victim);
        assert!(code.is_none() || code == Some(1), "{code:?}: {said}");
        finished = code.is_some();
        killed += usize::from(!finished);
        source.add(n % CHANGING);
        n += 1;
        assert!(u64::from(n) < 10 * kills, "only {killed} were killed");
    }
    source.write(&place.input);
    let spared = || {
        victim
            .lock()
            .unwrap()
            .next(start(&server, &place), u64::MAX, 0)
    };
    spared();
    let (code, said) = outlive(&victim);
    assert_eq!(Some(1), code, "{said}");
    check(&source, &log.lock().unwrap(), &place, killed);
    // Nothing is left to do.
    let before = log.lock().unwrap().len();
    spared();
    assert_eq!(Some(1), outlive(&victim).0);
    assert_eq!(before, log.lock().unwrap().len());
}

/// Every point is there, no batch of an unchanged shard twice but those that a kill cut off, each reject once.
fn check(source: &Source, log: &[String], place: &Place, killed: usize) {
    let sent: BTreeSet<&str> = log.iter().flat_map(|text| text.lines()).collect();
    let missing = source
        .records()
        .filter(|record| !is_reject(record) && !sent.contains(record.trim_end()));
    assert_eq!(0, missing.count());
    let changing: BTreeSet<&str> = (0..CHANGING)
        .flat_map(|shard| source.shards[&shard].iter().map(|record| record.trim_end()))
        .collect();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for text in log {
        if !text.lines().any(|line| changing.contains(line)) {
            *times.entry(text).or_default() += 1;
        }
    }
    let again: usize = times.values().map(|n| n - 1).sum();
    assert!(
        again <= killed * JOBS,
        "{again} batches again, {killed} kills"
    );
    let rejects = fs::read(&place.rejects).unwrap();
    let mut found: Vec<_> = points(&rejects)
        .iter()
        .map(|record| String::from_utf8_lossy(record).into_owned())
        .collect();
    let mut expected: Vec<_> = source
        .records()
        .filter(|record| is_reject(record))
        .map(|record| record.trim_end().to_owned())
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(expected, found);
}

#[test]
fn an_upload_that_is_killed_ten_times_loses_nothing_and_repeats_next_to_nothing() {
    survives(10);
}

#[test]
#[ignore = "long; .ci/run --full runs it"]
fn an_upload_that_is_killed_fifty_times_loses_nothing_and_repeats_next_to_nothing() {
    survives(50);
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_the_journal_knows_is_not_sent_again_and_keeps_its_status() {
    let dir = scratch();
    let journal = dir.path().join("journal");
    let server = Server::start(|request| refuse_bad(&request.text()));
    let input = format!(
        "# STREAM-BEGIN once\n# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\nm bad=1 1\nm v=1 2\n# STREAM-END points:2 left-out:0\n{STREAM}{STREAM}"
    );
    let args = ["--journal", text(&journal), "--verbose"];
    let ran = post(&server, &args, &input);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(3, server.writes().len());
    let ran = post(&server, &args, &input);
    assert_eq!((Some(1), ""), (ran.code, &*ran.stdout), "{}", ran.stderr);
    assert_eq!(3, server.writes().len());
    let figures = "0 accepted, 0 rejected, 0 expired, 0 left out before, 8 skipped by the journal, 1 rejected in earlier runs";
    assert!(ran.stderr.contains(figures), "{}", ran.stderr);
    // The same batch counts as often as it was stored, and no oftener.
    let ran = post(&server, &args, &format!("{STREAM}{STREAM}{STREAM}"));
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(4, server.writes().len());
    // Another bucket is another place.
    let ran = post(&server, &[&args[..], &["-b", "xx"]].concat(), STREAM);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(5, server.writes().len());
}

#[test]
fn skipping_waits_for_no_rate() {
    let dir = scratch();
    let journal = dir.path().join("journal");
    let server = Server::willing();
    let records = |n: std::ops::Range<u64>| -> String {
        n.map(|n| format!("m,host=h{} v={n} {n}\n", n % 100))
            .collect()
    };
    let context = "# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-POLICY:r\n";
    let long = format!("{context}{}", records(0..100_000));
    let args = |rate| {
        let args = ["--journal", text(&journal), "--rate", rate];
        args.map(str::to_owned)
    };
    let post = |rate, input: &str| {
        let args = args(rate);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = post(&server, &args, input);
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    };
    // The same amount, so the same batches of a hundredth of it.
    post("1MB/ms", &long);
    let before = server.writes();
    assert!(before.iter().all(|text| text.len() <= 10_000));
    assert_eq!(long.len() - context.len(), before.concat().len());
    // All of it would take two hours and more.
    post("1MB/h", &format!("{long}# CONTEXT-SHARD:2\nm v=1 1\n"));
    assert_eq!(["m v=1 1\n"], server.writes()[before.len()..]);
}

#[test]
fn one_journal_is_for_one_process() {
    let dir = scratch();
    let journal = dir.path().join("journal");
    let (told, asked) = std::sync::mpsc::channel();
    let server = Server::start(move |_| {
        told.send(()).unwrap();
        Play::Hang
    });
    let args = [
        "--host",
        &server.url,
        "--target",
        "v1",
        "--journal",
        text(&journal),
    ];
    let mut first = Command::new(env!("CARGO_BIN_EXE_lp-post"))
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = first.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, STREAM.as_bytes()).unwrap();
    asked.recv().unwrap();
    let ran = run(&args, &[], STREAM);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(Some(75), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("another lp-post"), "{}", ran.stderr);
}

#[test]
fn a_journal_is_no_other_file() {
    let dir = scratch();
    let other = dir.path().join("input.lp");
    fs::write(&other, STREAM).unwrap();
    let server = Server::willing();
    let both = ["--journal", text(&other), text(&other)];
    assert_eq!(Some(2), post(&server, &both, "").code);
    assert_eq!(Some(2), post(&server, &both[..2], STREAM).code);
    assert_eq!(STREAM, fs::read_to_string(&other).unwrap());
    assert_eq!(0, server.requests().len());
}

#[test]
fn rejects_of_a_run_that_came_to_its_end_are_never_cut() {
    let dir = scratch();
    let (journal, rejects) = (dir.path().join("journal"), dir.path().join("rejects"));
    let server = Server::start(|request| refuse_bad(&request.text()));
    let args = ["--journal", text(&journal), "--rejects", text(&rejects)];
    let input = STREAM.replace("v=1", "bad=1");
    assert_eq!(Some(1), post(&server, &args, &input).code);
    let mut mended = fs::read_to_string(&rejects).unwrap();
    mended += "# a note of mine\n";
    fs::write(&rejects, &mended).unwrap();
    assert_eq!(Some(1), post(&server, &args, &input).code);
    assert_eq!(mended, fs::read_to_string(&rejects).unwrap());
}
