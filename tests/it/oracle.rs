//! Does tsm-cat give what the server itself answered, and what influx_inspect printed?
//!
//! The expected files hold one record per series, field and time. Ours are cut into such records by the code here,
//! which knows nothing of the library. What the fixtures' READMEs list as peculiar is spelled out, nothing is waived.

use std::collections::BTreeMap;
use std::fs;

use crate::harness::{fixture, fixture_arg, gunzip, points, run};

/// A value and where it belongs: series and field as spelled, time as text.
pub type Record = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

/// Where the first unescaped one of `stops` is, by the rule of the servers' name scanners: no backslash before it.
pub fn end_of_name(text: &[u8], from: usize, stops: &[u8]) -> usize {
    let ends = |i: &usize| stops.contains(&text[*i]) && (*i == 0 || text[*i - 1] != b'\\');
    (from..text.len()).find(ends).unwrap_or(text.len())
}

fn end_of_value(text: &[u8], from: usize) -> usize {
    if text[from] != b'"' {
        let ends = |i: &usize| matches!(text[*i], b',' | b' ');
        return (from..text.len()).find(ends).unwrap_or(text.len());
    }
    let mut at = from + 1;
    while text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// One record for each field of a line.
pub fn records(line: &[u8]) -> Vec<Record> {
    let series = end_of_name(line, 1, b" ");
    let (mut at, mut fields) = (series + 1, Vec::new());
    loop {
        let equals = end_of_name(line, at, b"=");
        let end = end_of_value(line, equals + 1);
        fields.push((at..equals, equals + 1..end));
        at = end + 1;
        if line[end] == b' ' {
            break;
        }
    }
    let one = |(name, value): &(std::ops::Range<usize>, std::ops::Range<usize>)| {
        let (series, time) = (line[..series].to_vec(), line[at..].to_vec());
        (
            series,
            line[name.clone()].to_vec(),
            time,
            line[value.clone()].to_vec(),
        )
    };
    fields.iter().map(one).collect()
}

fn all_records(text: &[u8]) -> Vec<Record> {
    points(text).into_iter().flat_map(records).collect()
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort();
    records
}

/// One row of `expected/INDEX.tsv`: database, policy, file, count.
fn index(set: &str) -> Vec<(String, String, String, usize)> {
    let text = fs::read_to_string(fixture(format!("{set}/expected/INDEX.tsv"))).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [database, policy, file, count] = &cells[..] else {
            panic!("{line}");
        };
        (
            database.clone(),
            policy.clone(),
            file.clone(),
            count.parse().unwrap(),
        )
    };
    text.lines().skip(1).map(row).collect()
}

/// The points of a stream by database and policy, as its context comments say.
fn by_context(text: &[u8]) -> BTreeMap<(String, String), Vec<Record>> {
    let (mut database, mut policy) = (String::new(), String::new());
    let mut all = BTreeMap::<_, Vec<Record>>::new();
    for entry in crate::harness::entries(text) {
        let comment = |word: &str| {
            let value = entry.strip_prefix(format!("# CONTEXT-{word}").as_bytes())?;
            let value = String::from_utf8(value.to_vec()).unwrap();
            Some(match value.strip_prefix("*:") {
                Some(coded) => decoded(coded),
                None => value.strip_prefix(':')?.to_owned(),
            })
        };
        if let Some(name) = comment("DATABASE") {
            (database, policy) = (name, String::new());
        } else if let Some(name) = comment("RETENTION-POLICY") {
            policy = name;
        } else if !entry.starts_with(b"#") {
            let context = (database.clone(), policy.clone());
            all.entry(context).or_default().extend(records(entry));
        }
    }
    all
}

/// What stands behind the colon of a comment whose keyword ends in a star.
pub fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&c, tail)) = rest.split_first() {
        let code = std::str::from_utf8(tail.get(..2).unwrap_or_default());
        match (c, code.map(|code| u8::from_str_radix(code, 16))) {
            (b'%', Ok(Ok(byte))) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(c);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What the server shows under another name than it stores, and the one value that it cannot show.
fn as_the_server_shows(database: &str, records: Vec<Record>) -> Vec<Record> {
    let shown = records.into_iter().filter_map(|mut record| {
        match (database, &record.0[..]) {
            // The measurement of the index has no backslash before the equals sign.
            ("weird", br"m\=eq") => record.0 = b"m=eq".to_vec(),
            // The server refuses to open the shard; this measurement could not be asked for.
            ("bad-utf8", b"b\xc3(ad,t=x") => return None,
            _ => {}
        }
        Some(record)
    });
    shown.collect()
}

/// Compare a whole set with what its server answered; how many values were compared.
fn agrees_with_the_server(set: &str, options: &[&str]) -> usize {
    let root = fixture_arg(set);
    let ran = run(
        b"",
        &[&["tsm-cat", "--keep-going", "--internal", &root], options].concat(),
    );
    // Two segments of `torn` are damaged on purpose.
    let status = if set == "influxdb-1.6" { 1 } else { 0 };
    assert_eq!(Some(status), ran.last(), "{}", ran.stderr);
    let mut ours = by_context(&ran.stdout);
    let mut compared = 0;
    for (database, policy, file, count) in index(set) {
        let expected = sorted(all_records(&gunzip(
            fixture(format!("{set}/expected")).join(file),
        )));
        assert_eq!(
            count,
            expected.len(),
            "{database}/{policy}: the fixture itself"
        );
        let found = ours
            .remove(&(database.clone(), policy.clone()))
            .unwrap_or_default();
        let found = sorted(as_the_server_shows(&database, found));
        let missing = expected.iter().filter(|r| found.binary_search(r).is_err());
        let extra = found.iter().filter(|r| expected.binary_search(r).is_err());
        let differs = (missing.collect::<Vec<_>>(), extra.collect::<Vec<_>>());
        assert_eq!(
            (vec![], vec![]),
            differs,
            "{database}/{policy}: missing and extra"
        );
        // The same lists in the same order: nothing is there twice.
        assert!(
            expected == found,
            "{database}/{policy}: {} values",
            found.len()
        );
        compared += found.len();
    }
    assert!(ours.is_empty(), "points of nobody: {:?}", ours.keys());
    compared
}

#[test]
fn every_value_of_every_database_is_what_the_server_answered() {
    assert_eq!(92_033, agrees_with_the_server("influxdb-1.6", &[]));
    assert_eq!(7_820, agrees_with_the_server("influxdb-1.6-uint64", &[]));
}

#[test]
fn every_value_on_a_line_of_its_own_is_what_the_server_answered() {
    assert_eq!(
        92_033,
        agrees_with_the_server("influxdb-1.6", &["--per-field"])
    );
    assert_eq!(
        7_820,
        agrees_with_the_server("influxdb-1.6-uint64", &["--per-field"])
    );
}

#[test]
fn fields_of_one_time_are_on_one_line() {
    let root = fixture_arg("influxdb-1.6");
    let text = run(b"", &["tsm-cat", "--keep-going", "--internal", &root]).stdout;
    for (context, _) in by_context(&text) {
        let stdout = run(
            b"",
            &[
                "tsm-cat",
                "--keep-going",
                &root,
                "-d",
                &context.0,
                "-r",
                &context.1,
            ],
        )
        .stdout;
        let lines = points(&stdout);
        let mut seen: Vec<_> = lines
            .iter()
            .map(|line| records(line)[0].clone())
            .map(|r| (r.0, r.2))
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(lines.len(), seen.len(), "{context:?}");
    }
}

/// Series, field and time.
type Point = (Vec<u8>, Vec<u8>, Vec<u8>);

/// What is left of the tool's lines once the last one of each series, field and time has won.
fn last_one_wins(text: &[u8]) -> BTreeMap<Point, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (series, field, time, value) in all_records(text) {
        all.insert((series, field, time), value);
    }
    all
}

#[test]
fn influx_inspect_agrees_except_for_its_own_faults() {
    // Database, policy, how many deleted points the tool brings back, how many field keys it spells with a backslash
    // that only 1.x takes away. (Of the four values of `weird` that differ from the server's answer the fourth is
    // `m\=eq`, where tool and file agree against the server.)
    let sets = [
        ("influxdb-1.6", "overlap", "autogen", 0, 0),
        ("influxdb-1.6", "levels", "hourly", 0, 0),
        ("influxdb-1.6", "deletes", "autogen", 0, 0),
        ("influxdb-1.6", "deletes-rewritten", "autogen", 0, 0),
        ("influxdb-1.6", "churn", "autogen", 126, 0),
        ("influxdb-1.6", "walonly", "autogen", 223, 0),
        ("influxdb-1.6", "torn", "autogen", 0, 0),
        ("influxdb-1.6", "weird", "autogen", 0, 3),
        ("influxdb-1.6", "bad-utf8", "autogen", 0, 0),
        ("influxdb-1.6", "tsi-db", "autogen", 0, 0),
        ("influxdb-1.6-uint64", "unsigned", "autogen", 0, 0),
    ];
    for (set, database, policy, back, quoted) in sets {
        let file = fixture(format!(
            "{set}/influx_inspect-1.12/{database}/{policy}.lp.gz"
        ));
        let mut theirs = last_one_wins(&gunzip(file));
        let spelled = theirs
            .keys()
            .filter(|key| key.1.contains(&b'"'))
            .cloned()
            .collect::<Vec<_>>();
        assert_eq!(quoted, spelled.len(), "{database}: field keys with a quote");
        for key in spelled {
            let value = theirs.remove(&key).unwrap();
            let field = String::from_utf8(key.1).unwrap().replace("\\\"", "\"");
            theirs.insert((key.0, field.into(), key.2), value);
        }
        let root = fixture_arg(set);
        let ran = run(
            b"",
            &[
                "tsm-cat",
                "--per-field",
                "--keep-going",
                "-d",
                database,
                "-r",
                policy,
                &root,
            ],
        );
        let ours = all_records(&ran.stdout);
        for (series, field, time, value) in &ours {
            let key = (series.clone(), field.clone(), time.clone());
            assert_eq!(
                Some(value.clone()),
                theirs.remove(&key),
                "{database}: {key:?}"
            );
        }
        assert_eq!(
            back,
            theirs.len(),
            "{database}: deleted points that come back"
        );
        assert!(!ours.is_empty(), "{database}");
    }
}

#[test]
fn one_file_without_overwrites_gives_the_text_of_influx_inspect_byte_for_byte() {
    let root = fixture_arg("influxdb-1.6");
    for (database, policy) in [("tsi-db", "autogen"), ("bad-utf8", "autogen")] {
        let file = format!("influxdb-1.6/influx_inspect-1.12/{database}/{policy}.lp.gz");
        let ours = ["tsm-cat", "--per-field", "--lp-only", "-d", database, &root];
        let ours = run(b"", &ours).ok().stdout;
        assert!(gunzip(fixture(file)) == *ours, "{database}");
    }
}
