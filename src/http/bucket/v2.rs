//! Buckets of `/api/v2/buckets`.

use serde_json::{Value, json};

use super::{
    Call, Done, Error, Known, body, entries, is_conflict, is_json, no_such_interface, refusal, word,
};
use crate::http::{Payload, query_value};

/// How many buckets a list holds at most.
const PAGE: usize = 100;

/// Look a bucket up by its name; not every server heeds the name, so the lists are searched.
pub(super) fn find<E: From<Error>>(
    org: &str,
    name: &str,
    call: &mut Call<'_, E>,
) -> Result<Option<Known>, E> {
    for page in 0.. {
        let path = format!(
            "/api/v2/buckets?orgID={}&name={}&limit={PAGE}&offset={}",
            query_value(org),
            query_value(name),
            page * PAGE
        );
        let answer = call(&path, Payload::Nothing)?;
        let value = match answer.status {
            200 => body(&answer)?,
            404 if is_json(&answer) => return Ok(None),
            404 => return Err(E::from(no_such_interface(&answer, "/api/v2/buckets"))),
            _ => {
                let doing = format!("looking up bucket {name}");
                return Err(E::from(refusal(&doing, &answer)));
            }
        };
        let buckets = entries(&value, "buckets");
        let is_it = |value: &&Value| word(value, "name") == Some(name);
        if let Some(found) = buckets.iter().find(is_it) {
            return Ok(Some(read(found)));
        }
        if buckets.len() < PAGE {
            return Ok(None);
        }
    }
    Ok(None)
}

pub(super) fn make<E: From<Error>>(
    org: &str,
    name: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(Known, Done), E> {
    // The rule is always said: what a server does without one is days in one place and for ever in another.
    let wanted = json!({
        "orgID": org,
        "name": name,
        "retentionRules": [{"type": "expire", "everySeconds": period}],
    });
    let wanted = wanted.to_string();
    let answer = call("/api/v2/buckets", Payload::Json(wanted.as_bytes()))?;
    let doing = || format!("making bucket {name}");
    match answer.status {
        200 | 201 => {
            let made = Known {
                is_ours: true,
                ..read(&body(&answer)?)
            };
            Ok((made, Done::Made))
        }
        // Somebody else was faster, or an earlier try did it and its answer was lost.
        409 | 422 if is_conflict(&answer) => match find(org, name, call)? {
            Some(found) => Ok((found, Done::Found)),
            None => Err(E::from(refusal(&doing(), &answer))),
        },
        _ => Err(E::from(refusal(&doing(), &answer))),
    }
}

/// Let a bucket keep points for longer.
pub(super) fn raise<E: From<Error>>(
    name: &str,
    id: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(), E> {
    let wanted = json!({"retentionRules": [{"type": "expire", "everySeconds": period}]});
    let wanted = wanted.to_string();
    let path = format!("/api/v2/buckets/{}", query_value(id));
    let answer = call(&path, Payload::JsonPatch(wanted.as_bytes()))?;
    match answer.status {
        200..=299 => Ok(()),
        _ => Err(E::from(refusal(
            &format!("changing bucket {name}"),
            &answer,
        ))),
    }
}

fn read(value: &Value) -> Known {
    let rules = entries(value, "retentionRules");
    let period = rules
        .iter()
        .find_map(|rule| rule.get("everySeconds")?.as_u64());
    Known {
        id: word(value, "id").unwrap_or_default().to_owned(),
        period: Some(period.unwrap_or(0)),
        is_ours: false,
    }
}
