//! Which organisation is meant?

use serde_json::Value;

use super::{Call, Error, body, entries, no_such_interface, refusal, word};
use crate::http::{Org, Payload, query_value};

/// What the server says of an organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its ID.
    pub id: String,
    /// The engine its buckets have by default, where that is said: `tsm` or `iox`.
    pub engine: Option<String>,
}

/// Whether this is what IDs look like.
pub fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The ID of `org`; without one, of the only organisation that the token can see.
pub(super) fn id<E: From<Error>>(org: Option<&Org>, call: &mut Call<'_, E>) -> Result<String, E> {
    match org {
        Some(Org::Id(id)) => Ok(id.clone()),
        Some(Org::Name(name)) if is_id(name) => Ok(name.clone()),
        org => Ok(see(org, call)?.id),
    }
}

/// Look an organisation up; without one, the only organisation that the token can see.
pub fn see<E: From<Error>>(org: Option<&Org>, call: &mut Call<'_, E>) -> Result<Seen, E> {
    let name = org.map(Org::as_str);
    let path = match org {
        Some(Org::Name(name)) if !is_id(name) => format!("/api/v2/orgs?org={}", query_value(name)),
        Some(org) => format!("/api/v2/orgs?orgID={}", query_value(org.as_str())),
        None => "/api/v2/orgs".to_owned(),
    };
    let answer = call(&path, Payload::Nothing)?;
    if answer.status == 404 && org.is_none() {
        return Err(E::from(no_such_interface(&answer, "/api/v2/orgs")));
    }
    let value = match answer.status {
        200 => body(&answer)?,
        404 => Value::Null,
        _ => return Err(E::from(refusal("looking up the organisation", &answer))),
    };
    let meant = |value: &&Value| {
        name.is_none_or(|name| [word(value, "name"), word(value, "id")].contains(&Some(name)))
    };
    let mut found = entries(&value, "orgs").iter().filter(meant);
    match (found.next(), found.next(), name) {
        (Some(one), None, _) => Ok(Seen {
            id: word(one, "id").unwrap_or_default().to_owned(),
            engine: word(one, "defaultStorageType").map(str::to_owned),
        }),
        (Some(_), Some(_), _) => Err(E::from(Error::Setting(
            "the token sees several organisations (--org NAME says which)".to_owned(),
        ))),
        (None, _, Some(name)) => Err(E::from(Error::Setting(format!(
            "there is no organisation {name}, or the token does not see it (--org)"
        )))),
        (None, _, None) => Err(E::from(Error::Setting(
            "the token sees no organisation (--org NAME or ID says which)".to_owned(),
        ))),
    }
}
