//! InfluxDB 1.x: databases and policies made before, everything asked for afterwards.

use bstr::BString;

use super::servers::Server;
use super::wire::{self, unpack};
use super::{Unit, Value, Values, field_key, series};

/// Make a database and a policy that keeps forever. Shards last a week, as in the files, because a field may have another
/// type in each; where times reach from one limit to the other, they last for decades.
#[track_caller]
pub fn create(server: &Server, unit: &Unit) {
    let (database, policy) = (
        quoted(unit.database.as_bytes()),
        quoted(unit.policy.as_bytes()),
    );
    let shards = match unit.policy.as_str() {
        "wide" | "wider" => "1000w",
        _ => "1w",
    };
    query(server, &[b"CREATE DATABASE ", &database]);
    let terms = format!(" DURATION INF REPLICATION 1 SHARD DURATION {shards}");
    let parts: [&[u8]; 5] = [
        b"CREATE RETENTION POLICY ",
        &policy,
        b" ON ",
        &database,
        terms.as_bytes(),
    ];
    if unit.policy == "autogen" {
        // It came with the database.
        let alter: [&[u8]; 5] = [
            b"ALTER RETENTION POLICY ",
            &policy,
            b" ON ",
            &database,
            terms.as_bytes(),
        ];
        query(server, &alter);
    } else {
        query(server, &parts);
    }
}

/// All values of a database's policy, with their types.
#[track_caller]
pub fn values(server: &Server, unit: &Unit) -> Values {
    let mut all = Values::new();
    for measurement in measurements(server, unit) {
        for condition in conditions(server, unit) {
            let statement = [
                b"SELECT *::field FROM ".as_slice(),
                &quoted(unit.policy.as_bytes()),
                b".",
                &quoted(&measurement),
                condition.as_bytes(),
                b" GROUP BY *",
            ];
            collect(&ask(server, unit, &statement), &mut all);
        }
    }
    all
}

fn measurements(server: &Server, unit: &Unit) -> Vec<Vec<u8>> {
    let answer = ask(server, unit, &[b"SHOW MEASUREMENTS"]);
    let rows = answer.iter().flat_map(|series| series.at("values").items());
    rows.map(|row| row.items()[0].text().to_vec()).collect()
}

/// A field that changes its type from shard to shard is only shown whole where one shard is asked at a time; everybody
/// else is asked without a time, because the two ends of it cannot be written in a condition.
fn conditions(server: &Server, unit: &Unit) -> Vec<String> {
    if unit.database != "typeconf" {
        return vec![String::new()];
    }
    let mut all = Vec::new();
    for series in ask(server, unit, &[b"SHOW SHARDS"]) {
        for row in series.at("values").items() {
            let column = |i: usize| String::from_utf8(row.items()[i].text().to_vec()).unwrap();
            if column(1) == unit.database && column(2) == unit.policy {
                let (start, stop) = (column(4), column(5));
                all.push(format!(" WHERE time >= '{start}' AND time < '{stop}'"));
            }
        }
    }
    all
}

fn collect(answer: &[wire::Value], all: &mut Values) {
    for table in answer {
        let tags = table.at("tags").entries().iter();
        let tags = tags.map(|(key, value)| (key.clone(), value.text().to_vec()));
        let series = series(table.at("name").text(), tags);
        let columns = table.at("columns").items();
        for row in table.at("values").items() {
            let time = row.items()[0].integer();
            for (column, value) in columns.iter().zip(row.items()).skip(1) {
                if let Some(value) = typed(value) {
                    let key = (field_key(series.as_ref(), column.text()), time);
                    all.entry(key).or_default().push(value);
                }
            }
        }
    }
}

fn typed(value: &wire::Value) -> Option<Value> {
    Some(match value {
        wire::Value::Nil => return None,
        wire::Value::Boolean(value) => Value::Boolean(*value),
        wire::Value::Float(value) => Value::Float(value.to_bits()),
        wire::Value::String(value) => Value::String(BString::from(value.clone())),
        number => Value::Integer(number.integer()),
    })
}

#[track_caller]
fn ask(server: &Server, unit: &Unit, statement: &[&[u8]]) -> Vec<wire::Value> {
    request(server, unit.database.as_bytes(), statement)
}

#[track_caller]
fn query(server: &Server, statement: &[&[u8]]) {
    request(server, b"", statement);
}

/// The series of the answer to one statement; an error fails the test.
#[track_caller]
fn request(server: &Server, database: &[u8], statement: &[&[u8]]) -> Vec<wire::Value> {
    let statement = statement.concat();
    let form: [(&str, &[u8]); 3] = [("db", database), ("epoch", b"ns"), ("q", &statement)];
    let answer = unpack(&wire::post_form(server.port, "/query", &form));
    let result = &answer.at("results").items()[0];
    let error = result.at("error");
    assert_eq!(&wire::Value::Nil, error, "{}", BString::from(statement));
    result.at("series").items().to_vec()
}

/// A name as InfluxQL takes it.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    for byte in name {
        match byte {
            b'\n' => text.extend(b"\\n"),
            b'\\' | b'"' => text.extend([b'\\', *byte]),
            other => text.push(*other),
        }
    }
    text.push(b'"');
    text
}
