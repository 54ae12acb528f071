//! Databases and retention policies of InfluxDB 1.x, by statements.

use serde_json::Value;

use super::{Call, Done, Error, Known, body, entries, refusal, word};
use crate::http::{Payload, query_value};

/// The policy that comes with a database, unless another one is named.
const FIRST: &str = "autogen";

/// A policy as `SHOW RETENTION POLICIES` lists it.
struct Policy {
    name: String,
    /// In seconds; 0 is for ever.
    period: u64,
    is_default: bool,
}

/// How long a policy keeps points; `None` where there is no such database or policy.
pub(super) fn find<E: From<Error>>(
    bucket: &str,
    call: &mut Call<'_, E>,
) -> Result<Option<Known>, E> {
    let (database, policy) = parts(bucket);
    let policies = policies(database, call)?.unwrap_or_default();
    Ok(meant(&policies, policy).map(known))
}

/// See to it that database and policy are there.
pub(super) fn ensure<E: From<Error>>(
    bucket: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(Known, Done), E> {
    let (database, policy) = parts(bucket);
    let made = Known {
        id: String::new(),
        period: Some(period),
        is_ours: true,
    };
    let name = policy.unwrap_or(FIRST);
    let (on, rp, terms) = (quoted(database), quoted(name), terms(period));
    let Some(policies) = policies(database, call)? else {
        // The first policy is the database's default.
        run(
            &format!("CREATE DATABASE {on} WITH {terms} REPLICATION 1 NAME {rp}"),
            call,
        )?;
        return Ok((made, Done::Made));
    };
    if let Some(found) = meant(&policies, policy) {
        return Ok((known(found), Done::Found));
    }
    // Who asks without a policy asks for this one.
    let default = if name == FIRST { " DEFAULT" } else { "" };
    run(
        &format!("CREATE RETENTION POLICY {rp} ON {on} {terms} REPLICATION 1{default}"),
        call,
    )?;
    Ok((made, Done::Made))
}

/// Let a policy keep points for longer.
pub(super) fn raise<E: From<Error>>(
    bucket: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(), E> {
    run(&alter(bucket, period), call)?;
    Ok(())
}

/// The statement that changes how long a policy keeps points.
pub(super) fn alter(bucket: &str, period: u64) -> String {
    let (database, policy) = parts(bucket);
    let (on, rp) = (quoted(database), quoted(policy.unwrap_or(FIRST)));
    format!("ALTER RETENTION POLICY {rp} ON {on} {}", terms(period))
}

fn terms(period: u64) -> String {
    match period {
        0 => "DURATION INF".to_owned(),
        seconds => format!("DURATION {seconds}s"),
    }
}

fn parts(bucket: &str) -> (&str, Option<&str>) {
    match bucket.split_once('/') {
        Some((database, policy)) => (database, Some(policy).filter(|policy| !policy.is_empty())),
        None => (bucket, None),
    }
}

/// The policy of this name; without one, the default.
fn meant<'a>(policies: &'a [Policy], name: Option<&str>) -> Option<&'a Policy> {
    let is_it = |policy: &&Policy| name.map_or(policy.is_default, |name| policy.name == name);
    policies.iter().find(is_it)
}

fn known(policy: &Policy) -> Known {
    Known {
        id: String::new(),
        period: Some(policy.period),
        is_ours: false,
    }
}

/// The policies of a database; `None` where there is no such database.
fn policies<E: From<Error>>(
    database: &str,
    call: &mut Call<'_, E>,
) -> Result<Option<Vec<Policy>>, E> {
    let statement = format!("SHOW RETENTION POLICIES ON {}", quoted(database));
    let Some(value) = ask(&statement, call)? else {
        return Ok(None);
    };
    let empty = Value::Null;
    let table = entries(&value, "series").first().unwrap_or(&empty);
    let columns = entries(table, "columns");
    let column = |name: &str| columns.iter().position(|column| column == name);
    let (name, duration, default) = (column("name"), column("duration"), column("default"));
    let policy = |row: &Value| {
        let duration = row.get(duration?)?.as_str()?;
        Some(Policy {
            name: row.get(name?)?.as_str()?.to_owned(),
            period: seconds(duration)?,
            is_default: row.get(default?)?.as_bool()?,
        })
    };
    let rows = entries(table, "values").iter();
    let all: Option<Vec<Policy>> = rows.map(policy).collect();
    all.map(Some).ok_or_else(|| {
        let text = format!("{statement}: an answer that cannot be read");
        E::from(Error::Refused(text))
    })
}

/// Run a statement that changes something.
fn run<E: From<Error>>(statement: &str, call: &mut Call<'_, E>) -> Result<(), E> {
    match ask(statement, call)? {
        Some(_) => Ok(()),
        None => Err(E::from(Error::Refused(format!(
            "{statement}: the database is not there any more"
        )))),
    }
}

/// The result of a statement; `None` where there is no such database.
fn ask<E: From<Error>>(statement: &str, call: &mut Call<'_, E>) -> Result<Option<Value>, E> {
    let form = format!("q={}", query_value(statement));
    let answer = call("/query", Payload::Form(form.as_bytes()))?;
    if answer.status != 200 {
        return Err(E::from(refusal(statement, &answer)));
    }
    let value = body(&answer)?;
    let result = entries(&value, "results").first().cloned();
    let result = result.unwrap_or_default();
    match word(&result, "error") {
        Some(text) if text.starts_with("database not found") => Ok(None),
        Some(text) => Err(E::from(Error::Refused(format!("{statement}: {text}")))),
        None => Ok(Some(result)),
    }
}

/// A name as InfluxQL takes it.
fn quoted(name: &str) -> String {
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", name.replace('\n', "\\n"))
}

/// Seconds of a duration as Go prints it: `720h0m0s`.
fn seconds(text: &str) -> Option<u64> {
    let (mut sum, mut rest) = (0u64, text);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = match tail.as_bytes().first()? {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = tail.get(1..)?;
    }
    Some(sum).filter(|_| !text.is_empty())
}
