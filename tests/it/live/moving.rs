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
    /// What has been deleted. Nothing is deleted twice, though it may be written again: so what an export has of it
    /// is of before or behind the one deletion.
    deleted: BTreeSet<Key>,
    /// How often the server had to be told again.
    repeated: usize,
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
        let text: String = effects.iter().filter_map(line).collect();
        let port = self.port;
        self.operate(effects, || wire::write(port, "live", &text));
    }

    fn delete(&mut self) {
        let host = self.dice.below(HOSTS);
        let from = self.second - 1 - self.dice.below(2500);
        let to = (from + self.dice.below(500)).min(self.second - 1);
        let may_go =
            |second: &i64| *second != kept(*second) && !self.deleted.contains(&(host, *second));
        let seconds: Vec<i64> = (from..=to).take_while(may_go).collect();
        let Some(to) = seconds.last() else {
            return;
        };
        let keys = seconds.iter().map(|second| (host, *second));
        self.deleted.extend(keys.clone());
        let mut effects: Effects = keys.map(|key| (key, None)).collect();
        self.serial += 1;
        let sign = |second| ((host, second), Some(self.serial));
        effects.extend(
            BTreeSet::from([kept(from), kept(*to)])
                .into_iter()
                .map(sign),
        );
        let signs: String = effects.iter().filter_map(line).collect();
        let place = format!(
            "FROM m WHERE host = 'h{host}' AND time >= {from}000000000 AND time <= {to}000000000"
        );
        let port = self.port;
        self.repeated += self.operate(effects, || delete(port, &place, &signs));
    }

    fn operate<T>(&mut self, effects: Effects, send: impl FnOnce() -> T) -> T {
        self.ledger.lock().unwrap().issued.push(effects.clone());
        let done = send();
        let mut ledger = self.ledger.lock().unwrap();
        ledger.now.extend(effects);
        ledger.confirmed += 1;
        done
    }
}

/// A line that writes what an effect says, unless it deletes.
fn line(((host, second), value): &(Key, Option<i64>)) -> Option<String> {
    let value = (*value)?;
    Some(format!("m,host=h{host} n={value}i {second}000000000\n"))
}

/// The second of a shard that nobody deletes.
fn kept(second: i64) -> i64 {
    (second - second.rem_euclid(3600)).max(START)
}

/// Delete points until the server itself has none of them; how often it had to be told again.
///
/// What a deletion reaches are the TSM files and the cache. A snapshot that is on its way from one to the other keeps
/// its points, here and in every query, though the deletion is acknowledged. If the series has nothing else in a
/// shard, it is even dropped from the index, and no query finds the points until the series is written again: hence
/// the `signs`, written before the server is asked.
fn delete(port: u16, place: &str, signs: &str) -> usize {
    let is_done = |_: &usize| {
        query(port, "live", &format!("DELETE {place}"));
        wire::write(port, "live", signs);
        ask(port, "live", &format!("SELECT n {place}")).is_empty()
    };
    (0..1000).find(is_done).unwrap()
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

/// What the server has, once each shard knows each series again.
///
/// A DELETE looks through all shards for series that have nothing left, whatever its range of time. One whose points
/// of a shard are all in a snapshot that is on its way is dropped from the index of that shard, too, and later no query
/// finds what the files have. So what nobody deletes is written again, as it is.
fn had_behind_signs(port: u16, now: &BTreeMap<Key, Option<i64>>) -> BTreeMap<Key, i64> {
    let at_first = had(port).len();
    let signs: String = now
        .iter()
        .filter(|((_, second), _)| *second == kept(*second))
        .filter_map(|(key, value)| line(&(*key, *value)))
        .collect();
    wire::write(port, "live", &signs);
    let had = had(port);
    println!("queries found {at_first} of {} points at first", had.len());
    had
}

/// What queries of the server find.
fn had(port: u16) -> BTreeMap<Key, i64> {
    let mut all = BTreeMap::new();
    for host in 0..HOSTS {
        let statement = format!("SELECT n FROM m WHERE host = 'h{host}'");
        for series in ask(port, "live", &statement) {
            let rows = series.at("values").items().iter();
            all.extend(rows.map(|row| {
                let row = row.items();
                ((host, row[0].integer()), row[1].integer())
            }));
        }
    }
    all
}

/// Each point must be as it was when the export began, or as something that was under way since then made it: what was
/// issued from `since` on.
///
/// A deletion that is under way reaches the TSM files in no order: where it has found a value in one file and not yet
/// an overwritten one in another, that one is what everybody sees, until the deletion is acknowledged.
fn check(
    whose: &str,
    before: &BTreeMap<Key, Option<i64>>,
    issued: &[Effects],
    since: usize,
    found: &BTreeMap<Key, i64>,
) {
    let mut may: BTreeMap<Key, BTreeSet<Option<i64>>> = BTreeMap::new();
    for (key, value) in issued[since..].iter().flatten() {
        may.entry(*key).or_default().insert(*value);
    }
    let keys: BTreeSet<_> = before.keys().chain(found.keys()).collect();
    let mut wrong = Vec::new();
    for key in keys {
        let then = before.get(key).copied().flatten();
        let now = found.get(key).copied();
        let under_way = may.get(key);
        let is_going = under_way.is_some_and(|values| values.contains(&None));
        let was_once = || issued.iter().flatten().any(|effect| *effect == (*key, now));
        let is_fine = now == then
            || under_way.is_some_and(|values| values.contains(&now))
            || (is_going && was_once());
        if !is_fine {
            wrong.push(format!("{key:?}: was {then:?}, is {now:?}"));
        }
    }
    let n = wrong.len();
    wrong.truncate(10);
    assert!(
        wrong.is_empty(),
        "{whose}: {n} wrong of {}:\n{}",
        found.len(),
        wrong.join("\n")
    );
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
        deleted: BTreeSet::new(),
        repeated: 0,
    };
    writer.write(START, 40);
    let (writing, dropping) = (Arc::clone(&stop), Arc::clone(&stop));
    let writer = thread::spawn(move || {
        while !writing.load(Ordering::Relaxed) {
            writer.step();
        }
        writer
    });
    let dropper = thread::spawn(move || come_and_go(port, &dropping));
    let (began, mut exports, mut told) = (Instant::now(), 0, String::new());
    while began.elapsed() < RUN && !writer.is_finished() && !dropper.is_finished() {
        let (before, from) = {
            let ledger = ledger.lock().unwrap();
            (ledger.now.clone(), ledger.confirmed)
        };
        let ran = export(server.root()).ok();
        let found = found(&ran);
        let issued = &ledger.lock().unwrap().issued;
        check("an export meanwhile", &before, issued, from, &found);
        told.push_str(&ran.stderr);
        exports += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let writer = writer.join().unwrap();
    dropper.join().unwrap();
    let ledger = ledger.lock().unwrap();
    let ran = export(server.root()).ok();
    check("the last export", &ledger.now, &[], 0, &found(&ran));
    let had = had_behind_signs(port, &ledger.now);
    check("the server", &ledger.now, &[], 0, &had);
    let names = files(&server.root().join("data/live"));
    let compacted = names.iter().filter(|name| !name.contains("-000000001.tsm"));
    println!(
        "{exports} exports of up to {} points; {} files; {} points were deleted, {} times the server had to be told \
         again; said:\n{told}",
        had.len(),
        names.len(),
        writer.deleted.len(),
        writer.repeated
    );
    assert!(
        exports >= 10 && compacted.count() > 0 && !writer.deleted.is_empty(),
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
