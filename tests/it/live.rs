//! Does a real server hold, after the whole pipeline has run, what the fixtures say is true?
//!
//! These tests start `influxd` and `victoria-metrics` from Debian's packages on loopback ports of their own:
//! `cargo test --locked --test it live -- --ignored`. `.ci/run` does it. A missing server is a failure.

mod access;
mod faults;
mod influx;
mod moving;
pub mod servers;
mod victoria;
pub mod wire;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use bstr::{BStr, BString, ByteSlice};

use crate::harness::{Ran, fixture, fixture_arg, gunzip, pipeline, points};
use servers::Server;

const SET: &str = "influxdb-1.6";

/// What this server is not asked: names it cannot open after a restart, keys longer than it accepts in one write.
const NOT_ASKED: [&str; 2] = ["bad-utf8", "weird-long"];

/// One value of one field of one series at one time: `series field`, each spelled as in `expected/`, and the time.
type Key = (BString, i64);

/// A value with its type; a float by its bits, because -0 is not 0.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Float(u64),
    Integer(i64),
    Boolean(bool),
    String(BString),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Float(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Self::Integer(value) => write!(f, "{value}i"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::String(value) => write!(f, "{value:?}"),
        }
    }
}

type Values = BTreeMap<Key, Vec<Value>>;

/// A database and one of its policies, and where the truth about it is.
struct Unit {
    database: String,
    policy: String,
    file: String,
    values: usize,
}

/// The rows of `expected/INDEX.tsv` that have values. The one without has no shard, so there is nothing to export.
fn units() -> Vec<Unit> {
    let index = fs::read_to_string(fixture(format!("{SET}/expected/INDEX.tsv"))).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split('\t').collect();
        Unit {
            database: columns[0].to_owned(),
            policy: columns[1].to_owned(),
            file: format!("{SET}/expected/{}", columns[2]),
            values: columns[3].parse().unwrap(),
        }
    };
    index
        .lines()
        .skip(1)
        .map(row)
        .filter(|unit| unit.values > 0)
        .collect()
}

/// What the server that wrote the files answered.
fn truth(unit: &Unit) -> Values {
    let mut all = Values::new();
    for record in points(&gunzip(fixture(&unit.file))) {
        let (key, value) = parse(record);
        all.entry(key).or_default().push(value);
    }
    assert_eq!(unit.values, all.len(), "{}", unit.file);
    all
}

/// `series field=value time`, as it is spelled in `expected/`.
fn parse(record: &[u8]) -> (Key, Value) {
    let space = unescaped(record, b' ', 0);
    let equals = unescaped(record, b'=', space + 1);
    let last = record.rfind_byte(b' ').unwrap();
    let time = record[last + 1..].to_str().unwrap().parse().unwrap();
    (
        (record[..equals].into(), time),
        parse_value(&record[equals + 1..last]),
    )
}

/// Where the first such byte without a backslash before it is.
fn unescaped(record: &[u8], wanted: u8, from: usize) -> usize {
    let is = |at: &usize| record[*at] == wanted && (*at == 0 || record[at - 1] != b'\\');
    (from..record.len()).find(is).unwrap()
}

fn parse_value(text: &[u8]) -> Value {
    match text {
        b"true" => Value::Boolean(true),
        b"false" => Value::Boolean(false),
        [b'"', inner @ .., b'"'] => {
            Value::String(inner.replace(r#"\""#, "\"").replace(r"\\", r"\").into())
        }
        [digits @ .., b'i'] => Value::Integer(digits.to_str().unwrap().parse().unwrap()),
        float => Value::Float(float.to_str().unwrap().parse::<f64>().unwrap().to_bits()),
    }
}

/// What is missing, extra or changed; nothing if both hold the same.
fn differences(wanted: &Values, found: &Values) -> String {
    let mut text = String::new();
    for (key, value) in wanted {
        match found.get(key) {
            Some(same) if same == value => {}
            Some(other) => writeln!(text, "{key:?} is {other:?}, not {value:?}").unwrap(),
            None => writeln!(text, "{key:?} is missing, {value:?}").unwrap(),
        }
    }
    for (key, value) in found.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
        writeln!(text, "{key:?} is extra, {value:?}").unwrap();
    }
    text
}

/// Fails with the first differences and their number.
#[track_caller]
fn assert_same(what: &str, wanted: &Values, found: &Values) {
    let text = differences(wanted, found);
    let some: Vec<&str> = text.lines().take(10).collect();
    let count = text.lines().count();
    assert!(
        count == 0,
        "{what}: {count} differences\n{}",
        some.join("\n")
    );
}

/// A measurement or tag set as `expected/` spells it.
fn series(measurement: &[u8], tags: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> BString {
    let mut tags: Vec<_> = tags
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    tags.sort();
    let mut text = escape(measurement, b", ");
    for (key, value) in tags {
        text.push(b',');
        text.extend(escape(&key, b",= "));
        text.push(b'=');
        text.extend(escape(&value, b",= "));
    }
    text.into()
}

fn escape(name: &[u8], special: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in name {
        if special.contains(byte) {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

fn field_key(series: &BStr, field: &[u8]) -> BString {
    let mut key = series.to_owned();
    key.push(b' ');
    key.extend(escape(field, b",= "));
    key
}

/// The programs in their pipe, from the files of one unit into a server.
#[track_caller]
fn migrate(unit: &Unit, server: &Server, target: &str, between: &[&str]) -> Ran {
    let root = fixture_arg(SET);
    let mut from = vec![
        "tsm-cat",
        "--keep-going",
        "-d",
        &unit.database,
        "-r",
        &unit.policy,
    ];
    from.push(&root);
    let url = server.url();
    let to = ["lp-post", "--target", target, "--host", &url];
    let split = ["lp-split-by-bucket", "--target", target];
    let stages: [&[&str]; 4] = [&from, between, &split, &to];
    pipeline(b"", &stages)
}

/// Nothing is lost on the way: all 0, or 1 from the first on where the files are damaged.
#[track_caller]
fn assert_done(unit: &Unit, ran: &Ran) {
    let wanted = Some(i32::from(unit.database == "torn"));
    let done = ran
        .codes
        .iter()
        .enumerate()
        .all(|(i, code)| *code == wanted || i == 1);
    assert!(
        done,
        "{}/{}: {:?}\n{}",
        unit.database, unit.policy, ran.codes, ran.stderr
    );
    assert_eq!(
        "", ran.stdout,
        "rejects of {}/{}",
        unit.database, unit.policy
    );
}

#[test]
#[ignore = "needs influxd; .ci/run runs it"]
fn live_influxd_answers_what_the_fixtures_say() {
    let server = Server::influxd();
    let units: Vec<Unit> = units()
        .into_iter()
        .filter(|unit| !NOT_ASKED.contains(&unit.database.as_str()))
        .collect();
    assert_eq!(20, units.len());
    for unit in &units {
        influx::create(&server, unit);
        assert_done(unit, &migrate(unit, &server, "v1", &["cat"]));
    }
    // The truth was asked after a restart too: names are read back from disk then.
    let server = server.restart();
    for unit in &units {
        let (wanted, found) = (truth(unit), influx::values(&server, unit));
        assert_same(&unit.file, &wanted, &found);
        println!(
            "influxd holds {} values of {}/{}, as it should",
            found.len(),
            unit.database,
            unit.policy
        );
    }
}

#[test]
#[ignore = "needs influxd; .ci/run runs it"]
fn live_influxd_shows_that_a_point_was_dropped_on_the_way() {
    let server = Server::influxd();
    let unit = units()
        .into_iter()
        .find(|unit| unit.policy == "hourly")
        .unwrap();
    influx::create(&server, &unit);
    let drop_one = ["sed", "0,/^[^#]/{/^[^#]/d}"];
    assert_done(&unit, &migrate(&unit, &server, "v1", &drop_one));
    let text = differences(&truth(&unit), &influx::values(&server, &unit));
    assert!(
        text.lines().all(|line| line.contains("is missing")),
        "{text}"
    );
    assert_ne!(0, text.lines().count());
}

#[test]
#[ignore = "needs victoria-metrics; .ci/run runs it"]
fn live_victoria_metrics_answers_what_the_fixtures_say() {
    let asked = ["example-db", "overlap", "levels", "deletes"];
    for unit in units()
        .into_iter()
        .filter(|unit| asked.contains(&unit.database.as_str()))
    {
        let server = Server::victoria_metrics();
        assert_done(&unit, &migrate(&unit, &server, "victoriametrics", &["cat"]));
        let wanted = victoria::numbers(&truth(&unit));
        let found = victoria::samples(&server, &wanted);
        assert_eq!(None, victoria::difference(&wanted, &found), "{}", unit.file);
        let count: usize = found.values().map(Vec::len).sum();
        println!(
            "VictoriaMetrics holds {count} numbers of {}/{}, as it should",
            unit.database, unit.policy
        );
    }
}

#[test]
fn live_comparison_notices_one_value_missing_changed_or_too_many() {
    let unit = units()
        .into_iter()
        .find(|unit| unit.database == "weird")
        .unwrap();
    let whole = truth(&unit);
    assert_eq!("", differences(&whole, &whole));
    for (key, value) in &whole {
        let mut less = whole.clone();
        less.remove(key);
        assert_eq!(1, differences(&whole, &less).lines().count());
        assert_eq!(1, differences(&less, &whole).lines().count());
        let mut other = whole.clone();
        other.insert(key.clone(), vec![value[0].clone(), value[0].clone()]);
        assert_eq!(1, differences(&whole, &other).lines().count());
    }
}

#[test]
fn live_comparison_tells_types_and_zeros_apart() {
    let one =
        |record: &[u8]| Values::from_iter([parse(record)].map(|(key, value)| (key, vec![value])));
    let same = one(b"m v=1 5");
    for other in [
        "m v=1i 5",
        "m v=true 5",
        "m v=\"1\" 5",
        "m v=2 5",
        "m v=1 6",
        "n v=1 5",
    ] {
        assert_ne!("", differences(&same, &one(other.as_bytes())), "{other}");
    }
    assert_ne!("", differences(&one(b"m v=0 5"), &one(b"m v=-0 5")));
    assert_eq!("", differences(&same, &one(b"m v=1e0 5")));
}

#[test]
fn live_comparison_of_numbers_notices_one_sample_missing_or_changed() {
    let unit = units()
        .into_iter()
        .find(|unit| unit.policy == "hourly")
        .unwrap();
    let whole = victoria::numbers(&truth(&unit));
    assert_eq!(None, victoria::difference(&whole, &whole));
    let mut less = whole.clone();
    less.values_mut().next().unwrap().pop();
    assert!(victoria::difference(&whole, &less).is_some());
    let mut other = whole.clone();
    other.values_mut().next().unwrap()[0].1 += 1.0;
    assert!(victoria::difference(&whole, &other).is_some());
}
