//! By which database and policy does InfluxQL find a bucket?

use serde_json::{Value, json};

use super::{Call, Error, body, entries, no_such_interface, refusal, word};
use crate::http::{Payload, query_value};

const PATH: &str = "/api/v2/dbrps";

/// The policy that 1.x makes with a database.
const FIRST: &str = "autogen";

/// See to it that InfluxQL finds a bucket (name and ID) by database and policy.
///
/// The policy `autogen`, and the first one of a database, become the database's default: queries that name no policy
/// find nothing without one.
pub(super) fn ensure<E: From<Error>>(
    org: &str,
    (database, policy): (&str, &str),
    (name, bucket): (&str, &str),
    call: &mut Call<'_, E>,
) -> Result<(), E> {
    let all = find(org, database, call)?;
    let has_default = all.iter().any(is_default);
    let is_default_wanted = policy == FIRST || !has_default;
    let own = all
        .iter()
        .find(|mapping| word(mapping, "retention_policy") == Some(policy));
    let Some(own) = own else {
        return make(
            org,
            (database, policy),
            (name, bucket),
            is_default_wanted,
            call,
        );
    };
    if word(own, "bucketID") != Some(bucket) {
        let id = word(own, "id").unwrap_or_default();
        return Err(E::from(Error::Setting(format!(
            "{database}/{policy} leads to another bucket than {name} (influx v1 dbrp delete --id {id})"
        ))));
    }
    match is_default_wanted && !is_default(own) {
        true => make_default(org, own, policy, call),
        false => Ok(()),
    }
}

fn is_default(mapping: &Value) -> bool {
    mapping.get("default").and_then(Value::as_bool) == Some(true)
}

/// The mappings of a database that somebody has made; those that follow from the names of buckets are no help.
fn find<E: From<Error>>(
    org: &str,
    database: &str,
    call: &mut Call<'_, E>,
) -> Result<Vec<Value>, E> {
    let path = format!(
        "{PATH}?orgID={}&db={}",
        query_value(org),
        query_value(database)
    );
    let answer = call(&path, Payload::Nothing)?;
    let value = match answer.status {
        200 => body(&answer)?,
        404 => return Err(E::from(no_such_interface(&answer, PATH))),
        _ => {
            let doing = format!("looking up how {database} is mapped");
            return Err(E::from(refusal(&doing, &answer)));
        }
    };
    let is_virtual =
        |mapping: &Value| mapping.get("virtual").and_then(Value::as_bool) == Some(true);
    let is_its = |mapping: &&Value| {
        word(mapping, "database").is_none_or(|name| name == database) && !is_virtual(mapping)
    };
    let all = entries(&value, "content").iter().filter(is_its);
    Ok(all.cloned().collect())
}

fn make<E: From<Error>>(
    org: &str,
    (database, policy): (&str, &str),
    (name, bucket): (&str, &str),
    is_default: bool,
    call: &mut Call<'_, E>,
) -> Result<(), E> {
    let wanted = json!({
        "orgID": org,
        "bucketID": bucket,
        "database": database,
        "retention_policy": policy,
        "default": is_default,
    });
    let wanted = wanted.to_string();
    let answer = call(PATH, Payload::Json(wanted.as_bytes()))?;
    match answer.status {
        200 | 201 => Ok(()),
        _ => {
            let doing = format!("mapping {database}/{policy} to bucket {name}");
            Err(E::from(refusal(&doing, &answer)))
        }
    }
}

fn make_default<E: From<Error>>(
    org: &str,
    mapping: &Value,
    policy: &str,
    call: &mut Call<'_, E>,
) -> Result<(), E> {
    let id = query_value(word(mapping, "id").unwrap_or_default());
    let wanted = json!({"retention_policy": policy, "default": true}).to_string();
    let path = format!("{PATH}/{id}?orgID={}", query_value(org));
    let answer = call(&path, Payload::JsonPatch(wanted.as_bytes()))?;
    match answer.status {
        200..=299 => Ok(()),
        _ => {
            let doing = format!("making {policy} the default policy");
            Err(E::from(refusal(&doing, &answer)))
        }
    }
}
