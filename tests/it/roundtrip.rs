//! Does tsm-cat print exactly the points of a random history?
//!
//! A history is some shards with files of several generations, tombstones and logs, written by code that knows nothing
//! of the readers; what is left of it is kept in plain maps meanwhile. The program's text is cut, parsed and judged by
//! the servers' rules as the tests have them. One for every twenty
//! cases that `PROPTEST_CASES` asks for, or 60.

mod history;
mod names;
mod spelling;

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use crate::forge::disk::SEPARATOR;
use crate::harness::{entries, points, run, scratch};
use crate::oracle::{decoded, records};
use history::{Clock, Model, ShardPlan, Value};

/// The longest line that holds several fields.
const LINE: usize = 1 << 20;

#[derive(Clone, Debug)]
struct Case {
    clock: Clock,
    keys: Vec<Vec<u8>>,
    shards: Vec<ShardPlan>,
    wanted: Wanted,
    means: Means,
}

/// What of it is asked for.
#[derive(Clone, Debug)]
struct Wanted {
    start: Option<i64>,
    stop: Option<i64>,
    measurement: Pattern,
    shard: Option<Index>,
    per_field: bool,
}

/// How, which makes no difference.
#[derive(Clone, Debug)]
struct Means {
    jobs: u16,
    other_jobs: u16,
    compress: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    All,
    Prefix(&'static str),
    /// The measurement of this key.
    Of(Index),
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let step = || proptest::option::weighted(0.4, -10..2500i64);
    let measurement = prop_oneof![
        4 => Just(Pattern::All),
        1 => prop_oneof![Just("m"), Just("c"), Just("a b")].prop_map(Pattern::Prefix),
        1 => any::<Index>().prop_map(Pattern::Of),
    ];
    let shard = proptest::option::weighted(0.2, any::<Index>());
    (step(), step(), measurement, shard, any::<bool>()).prop_map(
        |(start, stop, measurement, shard, per_field)| Wanted {
            start,
            stop,
            measurement,
            shard,
            per_field,
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let means = (1..6u16, 1..6u16, prop::bool::weighted(0.2));
    let means = means.prop_map(|(jobs, other_jobs, compress)| Means {
        jobs,
        other_jobs,
        compress,
    });
    let shards = proptest::collection::vec(history::shard(), 1..4);
    (history::clock(), names::keys(), shards, wanted(), means).prop_map(
        |(clock, keys, shards, wanted, means)| Case {
            clock,
            keys,
            shards,
            wanted,
            means,
        },
    )
}

/// A stored key, cut at the first separator.
fn cut(key: &[u8]) -> (&[u8], &[u8]) {
    let at = key.windows(SEPARATOR.len()).position(|w| w == SEPARATOR);
    let at = at.expect("a key of these tests has a separator");
    (&key[..at], &key[at + SEPARATOR.len()..])
}

impl Case {
    /// The first time that is wanted, and the one behind the last.
    fn times(&self) -> (Option<i64>, Option<i64>) {
        let at = |step: Option<i64>| step.map(|step| self.clock.at(step));
        let (start, stop) = (at(self.wanted.start), at(self.wanted.stop));
        // An empty range is wrong usage.
        let lowest = start.unwrap_or(i64::MIN);
        (start, stop.filter(|stop| *stop > lowest))
    }

    fn pattern(&self) -> Option<String> {
        match &self.wanted.measurement {
            Pattern::All => None,
            Pattern::Prefix(text) => Some(format!("{text}*")),
            Pattern::Of(key) => {
                let name = spelling::measurement(cut(&self.keys[key.index(self.keys.len())]).0);
                let name = String::from_utf8(name).ok()?;
                let mut pattern = String::new();
                for c in name.chars() {
                    if matches!(c, '*' | '?' | '[' | '\\') {
                        pattern.push('\\');
                    }
                    pattern.push(c);
                }
                // What no argument can hold, or is no name.
                (!name.is_empty() && !name.contains('\0')).then_some(pattern)
            }
        }
    }

    fn args(&self, root: &str, jobs: u16) -> Vec<String> {
        let mut args = vec!["tsm-cat".to_owned(), format!("--jobs={jobs}")];
        let (start, stop) = self.times();
        args.extend(start.map(|time| format!("--start={time}")));
        args.extend(stop.map(|time| format!("--stop={time}")));
        args.extend(self.pattern().map(|glob| format!("--measurement={glob}")));
        let shard = self.wanted.shard.map(|i| i.index(self.shards.len()));
        args.extend(shard.map(|i| format!("--shard={}", id(i))));
        args.extend(self.wanted.per_field.then(|| "--per-field".to_owned()));
        args.extend(self.means.compress.then(|| "--compress".to_owned()));
        args.push(root.to_owned());
        args
    }

    fn is_wanted(&self, key: &[u8]) -> bool {
        let name = spelling::measurement(cut(key).0);
        match &self.wanted.measurement {
            Pattern::All => true,
            Pattern::Prefix(text) => name.starts_with(text.as_bytes()),
            Pattern::Of(_) if self.pattern().is_none() => true,
            Pattern::Of(other) => {
                name == spelling::measurement(cut(&self.keys[other.index(self.keys.len())]).0)
            }
        }
    }

    /// What of a shard is wanted.
    fn selected(&self, at: usize, mut model: Model) -> Model {
        let shard = self.wanted.shard.map(|i| i.index(self.shards.len()));
        let (start, stop) = self.times();
        let (start, stop) = (start.unwrap_or(i64::MIN), stop.map(|stop| stop - 1));
        let range = start..=stop.unwrap_or(i64::MAX);
        model.retain(|key, _| shard.is_none_or(|shard| shard == at) && self.is_wanted(key));
        for points in model.values_mut() {
            points.retain(|time, _| range.contains(time));
        }
        model
    }
}

fn id(at: usize) -> u64 {
    [9, 10, 4_000_000_000][at]
}

/// Database, policy, shard, stored key, time.
type Place = (String, String, u64, Vec<u8>, i64);

/// What must come out of a case, and what has no spelling.
#[derive(Default)]
struct Expected {
    points: BTreeMap<Place, Value>,
    /// Whether a string can be in a record of its series depends on what else the record holds.
    doubtful: u64,
    left_out: u64,
}

impl Expected {
    fn add(&mut self, plan: &ShardPlan, id: u64, model: Model) {
        for (key, points) in model {
            let (series, field) = cut(&key);
            let is_spellable = spelling::is_spellable(series, field);
            for (time, value) in points {
                if !is_spellable || !is_writable(time) || !is_finite(&value) {
                    self.left_out += 1;
                    continue;
                }
                let (database, policy) = (plan.database.to_owned(), plan.policy.to_owned());
                let place = (database, policy, id, key.clone(), time);
                self.points.insert(place, value);
            }
        }
    }
}

/// The two lowest times and the highest one are reserved.
fn is_writable(time: i64) -> bool {
    (i64::MIN + 2..i64::MAX).contains(&time)
}

fn is_finite(value: &Value) -> bool {
    !matches!(value, Value::Float(bits) if !f64::from_bits(*bits).is_finite())
}

fn value(text: &[u8]) -> Value {
    if let Some(inner) = text.strip_prefix(b"\"") {
        let (mut out, mut escaped) = (Vec::new(), false);
        for c in inner.strip_suffix(b"\"").unwrap() {
            match c {
                b'\\' if !escaped => escaped = true,
                // No other byte is written with a backslash before it.
                _ => {
                    assert_eq!(escaped, matches!(c, b'"' | b'\\'), "{text:?}");
                    out.push(*c);
                    escaped = false;
                }
            }
        }
        return Value::Text(out);
    }
    let text = std::str::from_utf8(text).unwrap();
    if let Some(number) = text.strip_suffix('i') {
        return Value::Integer(number.parse().unwrap());
    }
    if let Some(number) = text.strip_suffix('u') {
        return Value::Unsigned(number.parse().unwrap());
    }
    match text {
        "true" => Value::Boolean(true),
        "false" => Value::Boolean(false),
        number => Value::Float(number.parse::<f64>().unwrap().to_bits()),
    }
}

/// The points of a text with the places they belong to, each once; in order, as far as `per_field` says it.
fn found(text: &[u8], per_field: bool) -> BTreeMap<Place, Value> {
    let (mut context, mut all) = ((String::new(), String::new(), 0), BTreeMap::new());
    let mut before: Option<(Vec<u8>, i64, usize)> = None;
    for entry in entries(text) {
        if let Some(comment) = entry.strip_prefix(b"# ") {
            if take_context(comment, &mut context) {
                before = None;
            }
            continue;
        }
        let records = records(entry);
        assert!(!per_field || records.len() == 1);
        let time: i64 = String::from_utf8(records[0].2.clone())
            .unwrap()
            .parse()
            .unwrap();
        let mut place = [&records[0].0[..], SEPARATOR].concat();
        if per_field {
            place.extend(spelling::unescaped(&records[0].1));
        }
        if let Some((last, last_time, len)) = before {
            // Of one time there is a second line only where the first one was full.
            let goes_on = (&last, last_time) == (&place, time);
            let is_full = !per_field && len + entry.len() > LINE;
            let follows = (&last, last_time) < (&place, time);
            assert!(follows || goes_on && is_full, "out of order at {time}");
        }
        before = Some((place, time, entry.len()));
        for (series, field, _, text) in records {
            let key = [&series[..], SEPARATOR, &spelling::unescaped(&field)].concat();
            let (database, policy, shard) = context.clone();
            let twice = all.insert((database, policy, shard, key, time), value(&text));
            assert_eq!(None, twice);
        }
    }
    all
}

/// Follow a comment; whether another shard begins.
fn take_context(comment: &[u8], context: &mut (String, String, u64)) -> bool {
    let text = std::str::from_utf8(comment).unwrap();
    let Some((word, value)) = text.split_once(':') else {
        return false;
    };
    let value = match word.ends_with('*') {
        true => decoded(value),
        false => value.to_owned(),
    };
    match word.trim_end_matches('*') {
        "CONTEXT-DATABASE" => *context = (value, String::new(), 0),
        "CONTEXT-RETENTION-POLICY" => (context.1, context.2) = (value, 0),
        "CONTEXT-SHARD" => context.2 = value.parse().unwrap(),
        _ => return false,
    }
    true
}

/// The figures of the comment at the end: points and left out.
fn end(text: &[u8]) -> (u64, u64) {
    let last = String::from_utf8(entries(text).pop().unwrap().to_vec()).unwrap();
    let figures = last.strip_prefix("# STREAM-END points:").unwrap();
    let (points, left_out) = figures.split_once(" left-out:").unwrap();
    (points.parse().unwrap(), left_out.parse().unwrap())
}

fn unpacked(bytes: &[u8], compress: bool) -> Vec<u8> {
    let mut text = Vec::new();
    match compress {
        true => drop(MultiGzDecoder::new(bytes).read_to_end(&mut text).unwrap()),
        false => text.extend(bytes),
    }
    text
}

fn check(case: &Case) {
    let dir = scratch();
    let mut expected = Expected::default();
    for (at, plan) in case.shards.iter().enumerate() {
        let model = plan.write(dir.path(), id(at), &case.keys, case.clock);
        expected.add(plan, id(at), case.selected(at, model));
    }
    let root = dir.path().to_str().unwrap();
    let runs = [case.means.jobs, case.means.other_jobs].map(|jobs| {
        let args = case.args(root, jobs);
        run(b"", &args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let [ran, other] = &runs;
    assert!(ran.stdout == other.stdout && ran.stderr == other.stderr);
    assert!(ran.last().is_some_and(|code| code <= 1), "{}", ran.stderr);
    let text = unpacked(&ran.stdout, case.means.compress);
    for (place, value) in found(&text, case.wanted.per_field) {
        let known = expected.points.remove(&place);
        assert_eq!(Some(value), known, "{place:?}");
    }
    // Nothing is missing but what its own record cannot hold.
    for (place, value) in &expected.points {
        let is_doubtful = spelling::ends_early(cut(&place.3).0);
        let is_text = matches!(value, Value::Text(_));
        assert!(is_doubtful && is_text, "missing: {place:?} {value:?}");
        expected.doubtful += 1;
    }
    let left_out = expected.left_out + expected.doubtful;
    assert_eq!((points(&text).len() as u64, left_out), end(&text));
    assert_eq!(Some(i32::from(left_out > 0)), ran.last(), "{}", ran.stderr);
}

/// A history takes as long as twenty cases of other properties, and more.
const LONG: u32 = 20;

fn config() -> Config {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config::default();
    Config {
        cases: if asked { config.cases / LONG } else { 60 },
        max_shrink_iters: 2000,
        test_name: Some("roundtrip"),
        source_file: Some(file!()),
        ..config
    }
}

/// Not by the macro, which takes all cases that are asked for.
#[test]
fn a_random_history_comes_out_as_exactly_the_points_that_are_left_of_it() {
    let done = TestRunner::new(config()).run(&case(), |case| {
        check(&case);
        Ok(())
    });
    done.unwrap();
}
