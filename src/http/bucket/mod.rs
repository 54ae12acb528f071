//! Makes buckets, or what stands for them, before anything is written into them, with the period that the points need.

use std::collections::HashMap;

use serde_json::Value;

use crate::http::{Answer, Catalog, Org, Payload};

mod database;
mod dbrp;
pub mod org;
mod statement;
mod v2;

/// Why a bucket cannot be made ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something is set up wrongly: an organisation that nobody knows, a name that the server cannot have.
    #[error("{0}")]
    Setting(String),
    /// The bucket drops points that the source still keeps.
    #[error(
        "bucket {bucket} keeps points for {} and these are kept for {} ({command})",
        period(*.has), period(*.wants)
    )]
    KeepsLess {
        /// Its name.
        bucket: String,
        /// How long it keeps points, in seconds; 0 is for ever.
        has: u64,
        /// How long it would have to, in seconds; 0 is for ever.
        wants: u64,
        /// What mends it.
        command: String,
    },
    /// The token may not do this.
    #[error("{0}")]
    Permission(String),
    /// The server refuses for good.
    #[error("{0}")]
    Refused(String),
}

/// What had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is there and was looked at before.
    Known,
    /// It was there.
    Found,
    /// It was there, and the server does not say how long it keeps points.
    FoundBlindly,
    /// It was made.
    Made,
    /// It was made by us, and keeps points for longer from now on.
    Raised,
}

/// What a bucket is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Its name.
    pub name: &'a str,
    /// How long it has to keep points at least, in seconds; 0 is for ever.
    pub period: u64,
    /// Database and policy by which InfluxQL is to find it.
    pub mapping: Option<(&'a str, &'a str)>,
}

/// The buckets of one organisation, as far as they were needed.
#[derive(Debug)]
pub struct Buckets {
    catalog: Catalog,
    org: Option<Org>,
    org_id: Option<String>,
    known: HashMap<String, Known>,
    /// Databases and policies that InfluxQL finds, and the bucket of each.
    mapped: HashMap<(String, String), String>,
}

/// A bucket that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    id: String,
    /// How long it keeps points, in seconds; 0 is for ever. `None` where the server does not say it.
    period: Option<u64>,
    /// Whether this run has made it.
    is_ours: bool,
}

/// Sends a request, as often as it takes.
type Call<'a, E> = dyn FnMut(&str, Payload<'_>) -> Result<Answer, E> + 'a;

impl Buckets {
    /// The buckets of `org`; without one, of the only organisation that the token can see.
    pub fn new(catalog: Catalog, org: Option<Org>) -> Self {
        Self {
            catalog,
            org,
            org_id: None,
            known: HashMap::new(),
            mapped: HashMap::new(),
        }
    }

    /// Forget that `name` is there.
    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// How long a bucket keeps points, in seconds, as far as this run has found out; 0 is for ever.
    pub fn keeps(&self, name: &str) -> Option<u64> {
        self.known.get(name)?.period
    }

    /// Ask how long a bucket keeps points, in seconds; `None` where there is none of that name or it is not said.
    pub fn ask<E: From<Error>>(
        &mut self,
        name: &str,
        call: &mut Call<'_, E>,
    ) -> Result<Option<u64>, E> {
        let known = match self.catalog {
            Catalog::Buckets => {
                let org = self.org_id(call)?;
                v2::find(&org, name, call)?
            }
            Catalog::Statements => statement::find(name, call)?,
            Catalog::Databases | Catalog::Elsewhere(_) => None,
        };
        Ok(known.and_then(|known| known.period))
    }

    /// See to it that a bucket is there and keeps points for long enough.
    pub fn ensure<E: From<Error>>(
        &mut self,
        wish: &Wish<'_>,
        call: &mut Call<'_, E>,
    ) -> Result<Done, E> {
        let done = self.ensure_bucket(wish, call)?;
        if let (Some((database, policy)), Catalog::Buckets) = (wish.mapping, self.catalog) {
            let pair = (database.to_owned(), policy.to_owned());
            if self.mapped.get(&pair).map(String::as_str) != Some(wish.name) {
                let org = self.org_id(call)?;
                let id = self.known.get(wish.name).map(|known| known.id.clone());
                let id = id.unwrap_or_default();
                dbrp::ensure(&org, (database, policy), (wish.name, &id), call)?;
                self.mapped.insert(pair, wish.name.to_owned());
            }
        }
        Ok(done)
    }

    fn ensure_bucket<E: From<Error>>(
        &mut self,
        wish: &Wish<'_>,
        call: &mut Call<'_, E>,
    ) -> Result<Done, E> {
        let Wish { name, period, .. } = *wish;
        match self.known.get(name) {
            Some(known) if known.keeps(period) => return Ok(Done::Known),
            Some(known) if known.is_ours => {
                let id = known.id.clone();
                self.raise(name, &id, period, call)?;
                if let Some(known) = self.known.get_mut(name) {
                    known.period = Some(period);
                }
                return Ok(Done::Raised);
            }
            _ => {}
        }
        let (known, done) = match self.catalog {
            Catalog::Buckets => {
                let org = self.org_id(call)?;
                match v2::find(&org, name, call)? {
                    Some(found) => (found, Done::Found),
                    None => v2::make(&org, name, period, call)?,
                }
            }
            Catalog::Databases => database::make(name, period, call)?,
            Catalog::Statements => statement::ensure(name, period, call)?,
            Catalog::Elsewhere(why) => {
                return Err(E::from(Error::Refused(format!("bucket {name}: {why}"))));
            }
        };
        if !known.keeps(period) {
            return Err(E::from(Error::KeepsLess {
                bucket: name.to_owned(),
                has: known.period.unwrap_or_default(),
                wants: period,
                command: self.command(name, &known.id, period),
            }));
        }
        self.known.insert(name.to_owned(), known);
        Ok(done)
    }

    fn raise<E: From<Error>>(
        &mut self,
        name: &str,
        id: &str,
        period: u64,
        call: &mut Call<'_, E>,
    ) -> Result<(), E> {
        match self.catalog {
            Catalog::Buckets => v2::raise(name, id, period, call),
            Catalog::Databases => database::raise(name, period, call),
            Catalog::Statements => statement::raise(name, period, call),
            Catalog::Elsewhere(_) => Ok(()),
        }
    }

    /// What makes a bucket that is there keep points for longer.
    fn command(&self, name: &str, id: &str, period: u64) -> String {
        match self.catalog {
            Catalog::Statements => format!("influx -execute '{}'", statement::alter(name, period)),
            _ => format!(
                "influx bucket update --id {id} --retention {}",
                command_period(period)
            ),
        }
    }

    /// The ID of the organisation.
    pub fn org_id<E: From<Error>>(&mut self, call: &mut Call<'_, E>) -> Result<String, E> {
        if let Some(id) = &self.org_id {
            return Ok(id.clone());
        }
        let id = org::id(self.org.as_ref(), call)?;
        Ok(self.org_id.insert(id).clone())
    }
}

impl Known {
    fn keeps(&self, period: u64) -> bool {
        self.period.is_none_or(|has| span(has) >= span(period))
    }
}

/// A period as a number that grows with it.
fn span(period: u64) -> u64 {
    if period == 0 { u64::MAX } else { period }
}

/// A period for people.
pub fn period(seconds: u64) -> String {
    match seconds {
        0 => "ever".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ => format!("{seconds}s"),
    }
}

/// A period as the `influx` command reads it.
fn command_period(seconds: u64) -> String {
    match seconds {
        0 => "0".to_owned(),
        _ => format!("{seconds}s"),
    }
}

fn entries<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn word<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn body(answer: &Answer) -> Result<Value, Error> {
    serde_json::from_slice(&answer.body).map_err(|_| {
        Error::Refused(format!(
            "status {} with a body that is no JSON: not an InfluxDB, or a wrong URL",
            answer.status
        ))
    })
}

fn is_json(answer: &Answer) -> bool {
    serde_json::from_slice::<Value>(&answer.body).is_ok_and(|value| value.is_object())
}

fn is_conflict(answer: &Answer) -> bool {
    let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    answer.status == 409 || word(&value, "code") == Some("conflict")
}

fn no_such_interface(answer: &Answer, path: &str) -> Error {
    Error::Refused(format!(
        "status {}: this server has no {path} (make its buckets by hand, or --target says what it is)",
        answer.status
    ))
}

fn refusal(doing: &str, answer: &Answer) -> Error {
    let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = String::from_utf8_lossy(&answer.body);
    let message = word(&value, "message").or_else(|| word(&value, "error"));
    let plain = text.lines().next().filter(|_| value.is_null());
    let message = message.or(plain).filter(|message| !message.is_empty());
    let text = match message {
        Some(message) => {
            let message: String = message.chars().take(300).collect();
            format!("{doing}: status {}: {message}", answer.status)
        }
        None => format!("{doing}: status {}", answer.status),
    };
    let quota = message.is_some_and(|message| message.contains("exceed quota"));
    match answer.status {
        401 | 403 if !quota => Error::Permission(text),
        _ => Error::Refused(text),
    }
}

#[cfg(test)]
mod tests;
