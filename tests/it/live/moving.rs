//! Does an export see everything that was acknowledged before it began, and nothing that was deleted, while a real
//! server writes, snapshots, compacts, deletes and drops?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::servers::Server;
use super::wire;
use crate::harness::{Ran, points, run};

/// Snapshots all the time, and compactions as soon as there is something to compact.
const RESTLESS: &str = "cache-snapshot-memory-size = \"16k\"\n  cache-snapshot-write-cold-duration = \"100ms\"\n  \
                        compact-full-write-cold-duration = \"1s\"";
const START: i64 = 1_600_000_000;
const HOSTS: i64 = 5;
const RUN: Duration = Duration::from_secs(40);

/// Host and second.
type Key = (i64, i64);
/// What an operation does: values written, or nothing left.
type Effects = Vec<(Key, Option<i64>)>;

/// What the server was told, and what it has confirmed.
#[derive(Default)]
struct Ledger {
    now: BTreeMap<Key, Option<i64>>,
    issued: Vec<Effects>,
    confirmed: usize,
}

/// Small numbers that depend on a seed only.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as i64
    }
}

struct Writer {
    port: u16,
    ledger: Arc<Mutex<Ledger>>,
    dice: Dice,
    /// The next second, and the next value: no value is written twice.
    second: i64,
    serial: i64,
}

impl Writer {
    fn step(&mut self) {
        match self.dice.below(12) {
            0 => self.delete(),
            1 | 2 => {
                let back = self.dice.below(3000);
                self.write((self.second - back).max(START), 10);
            }
            _ => {
                self.write(self.second, 40);
                self.second += 40;
            }
        }
    }

    fn write(&mut self, from: i64, seconds: i64) {
        let mut effects = Effects::new();
        for second in from..from + seconds {
            for host in 0..HOSTS {
                self.serial += 1;
                effects.push(((host, second), Some(self.serial)));
            }
        }
        let line = |((host, second), value): &(Key, Option<i64>)| {
            let value = value.unwrap();
            format!("m,host=h{host} n={value}i {second}000000000\n")
        };
        let text: String = effects.iter().map(line).collect();
        let port = self.port;
        self.operate(effects, || wire::write(port, "live", &text));
    }

    fn delete(&mut self) {
        let host = self.dice.below(HOSTS);
        let to = self.second - self.dice.below(2000);
        let from = to - self.dice.below(500);
        let effects = (from..=to).map(|second| ((host, second), None)).collect();
        let statement = format!(
            "DELETE FROM m WHERE host = 'h{host}' AND time >= {from}000000000 AND time <= {to}000000000"
        );
        let port = self.port;
        self.operate(effects, || query(port, "live", &statement));
    }

    fn operate(&mut self, effects: Effects, send: impl FnOnce()) {
        self.ledger.lock().unwrap().issued.push(effects.clone());
        send();
        let mut ledger = self.ledger.lock().unwrap();
        ledger.now.extend(effects);
        ledger.confirmed += 1;
    }
}

fn query(port: u16, database: &str, statement: &str) {
    ask(port, database, statement);
}

/// The series of the answer.
fn ask(port: u16, database: &str, statement: &str) -> Vec<wire::Value> {
    let form: [(&str, &[u8]); 3] = [
        ("db", database.as_bytes()),
        ("epoch", b"s"),
        ("q", statement.as_bytes()),
    ];
    loop {
        let answer = wire::unpack(&wire::post_form(port, "/query", &form));
        let result = &answer.at("results").items()[0];
        match result.at("error") {
            wire::Value::Nil => return result.at("series").items().to_vec(),
            // This server trips over a database that is dropped meanwhile. What it was asked can be asked again.
            error if error.text() == b"engine is closed" => {}
            error => panic!("{statement}: {error:?}"),
        }
    }
}

fn export(root: &Path) -> Ran {
    run(b"", &["tsm-cat", root.to_str().unwrap()])
}

/// The values of the database that is written to.
fn found(ran: &Ran) -> BTreeMap<Key, i64> {
    let mut all = BTreeMap::new();
    for line in points(&ran.stdout) {
        let line = std::str::from_utf8(line).unwrap();
        let Some(rest) = line.strip_prefix("m,host=h") else {
            continue;
        };
        let parts: Vec<_> = rest.split([' ', '=']).collect();
        let [host, _, value, time] = parts[..] else {
            panic!("{line}");
        };
        let value = value.strip_suffix('i').unwrap().parse().unwrap();
        let second = time.strip_suffix("000000000").unwrap().parse().unwrap();
        let twin = all.insert((host.parse().unwrap(), second), value);
        assert_eq!(None, twin, "twice: {line}");
    }
    all
}

/// What the server has of a host at a second.
fn has(port: u16, (host, second): Key) -> bool {
    let statement = format!("SELECT n FROM m WHERE host = 'h{host}' AND time = {second}000000000");
    !ask(port, "live", &statement).is_empty()
}

/// Each point must be as it was when the export began, or as something that was under way since then made it.
///
/// A deletion that meets a snapshot leaves the points in it, here and for every query: what the server itself brings
/// back is handed back, to be expected from now on. Nothing may be written meanwhile. Where the same point was deleted
/// once more since then, nobody can tell whether it had come back before.
fn check(
    port: u16,
    before: &BTreeMap<Key, Option<i64>>,
    since: &[Effects],
    found: &BTreeMap<Key, i64>,
) -> Effects {
    let mut may: BTreeMap<Key, BTreeSet<Option<i64>>> = BTreeMap::new();
    for (key, value) in since.iter().flatten() {
        may.entry(*key).or_default().insert(*value);
    }
    let keys: BTreeSet<_> = before.keys().chain(found.keys()).collect();
    let (mut wrong, mut back) = (Vec::new(), Effects::new());
    for key in keys {
        let then = before.get(key).copied().flatten();
        let now = found.get(key).copied();
        let is_fine = now == then || may.get(key).is_some_and(|values| values.contains(&now));
        if is_fine {
            continue;
        }
        let is_open = may.get(key).is_some_and(|values| values.contains(&None));
        if then.is_none() && is_open {
            continue;
        }
        if then.is_none() && has(port, *key) {
            back.push((*key, now));
        } else {
            wrong.push(format!("{key:?}: was {then:?}, is {now:?}"));
        }
    }
    let n = wrong.len();
    wrong.truncate(10);
    assert!(
        wrong.is_empty(),
        "{n} wrong of {}:\n{}",
        found.len(),
        wrong.join("\n")
    );
    back
}

/// Databases that come and go meanwhile.
fn come_and_go(port: u16, stop: &AtomicBool) {
    let mut i = 0;
    while !stop.load(Ordering::Relaxed) {
        let database = format!("gone{}", i % 3);
        query(port, "", &format!("CREATE DATABASE {database}"));
        let line = |n: i64| format!("g n={n}i {}000000000\n", START + n * 604_800);
        wire::write(port, &database, &(0..8).map(line).collect::<String>());
        thread::sleep(Duration::from_millis(150));
        query(port, "", &format!("DROP DATABASE {database}"));
        i += 1;
    }
}

#[test]
#[ignore = "needs influxd"]
fn live_every_export_of_a_directory_in_use_is_whole() {
    let server = Server::influxd_with(RESTLESS);
    let (port, stop) = (server.port, Arc::new(AtomicBool::new(false)));
    query(
        port,
        "",
        "CREATE DATABASE live WITH DURATION INF SHARD DURATION 1h NAME autogen",
    );
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut writer = Writer {
        port,
        ledger: Arc::clone(&ledger),
        dice: Dice(0x9e37_79b9_7f4a_7c15),
        second: START,
        serial: 0,
    };
    writer.write(START, 40);
    let (writing, dropping) = (Arc::clone(&stop), Arc::clone(&stop));
    let writer = thread::spawn(move || {
        while !writing.load(Ordering::Relaxed) {
            writer.step();
        }
    });
    let dropper = thread::spawn(move || come_and_go(port, &dropping));
    let (began, mut exports, mut told, mut back) = (Instant::now(), 0, String::new(), 0);
    while began.elapsed() < RUN && !writer.is_finished() && !dropper.is_finished() {
        let (before, from) = {
            let ledger = ledger.lock().unwrap();
            (ledger.now.clone(), ledger.confirmed)
        };
        let ran = export(server.root()).ok();
        // As long as this is held nothing else is written or deleted.
        let mut ledger = ledger.lock().unwrap();
        let revived = check(port, &before, &ledger.issued[from..], &found(&ran));
        back += revived.len();
        for (key, value) in revived {
            let now = ledger.now.entry(key).or_default();
            *now = now.or(value);
        }
        told.push_str(&ran.stderr);
        exports += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    dropper.join().unwrap();
    let ran = export(server.root()).ok();
    back += check(port, &ledger.lock().unwrap().now, &[], &found(&ran)).len();
    let names = files(&server.root().join("data/live"));
    let compacted = names.iter().filter(|name| !name.contains("-000000001.tsm"));
    println!(
        "{exports} exports of {} points; {} files; {back} came back in the server; said:\n{told}",
        found(&ran).len(),
        names.len()
    );
    assert!(
        exports >= 10 && compacted.count() > 0,
        "{exports} exports, {names:?}"
    );
}

fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(files(&path)),
            path => all.push(path.display().to_string()),
        }
    }
    all.retain(|name| name.ends_with(".tsm"));
    all
}
