//! Databases of InfluxDB 3 Core and Enterprise.

use serde_json::{Map, Value};

use super::{Call, Done, Error, Known, no_such_interface, refusal};
use crate::http::{Answer, Payload};

const PATH: &str = "/api/v3/configure/database";

/// Make a database; one that is there says nothing of how long it keeps points.
pub(super) fn make<E: From<Error>>(
    name: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(Known, Done), E> {
    let wanted = wish(name, period);
    let answer = call(PATH, Payload::Json(wanted.as_bytes()))?;
    let known = Known {
        id: String::new(),
        period: Some(period),
        is_ours: true,
    };
    match answer.status {
        200..=204 => Ok((known, Done::Made)),
        409 => Ok((Known::default(), Done::FoundBlindly)),
        _ => Err(E::from(failure("making", name, &answer))),
    }
}

/// Let a database keep points for longer.
pub(super) fn raise<E: From<Error>>(
    name: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(), E> {
    let wanted = wish(name, period);
    let answer = call(PATH, Payload::JsonPut(wanted.as_bytes()))?;
    match answer.status {
        200..=204 => Ok(()),
        _ => Err(E::from(failure("changing", name, &answer))),
    }
}

/// No period is for ever; zero would mean that everything expires at once.
fn wish(name: &str, period: u64) -> String {
    let mut wish = Map::new();
    wish.insert("db".to_owned(), name.into());
    if period > 0 {
        wish.insert("retention_period".to_owned(), format!("{period}s").into());
    }
    Value::Object(wish).to_string()
}

fn failure(doing: &str, name: &str, answer: &Answer) -> Error {
    match (
        answer.status,
        refusal(&format!("{doing} database {name}"), answer),
    ) {
        (404 | 405, _) => no_such_interface(answer, PATH),
        (400, Error::Refused(text)) => Error::Setting(text),
        (_, err) => err,
    }
}
