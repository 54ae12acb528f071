//! Makes buckets before anything is written into them, with the period that the points need.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::http::{Answer, Payload, query_value};

/// How many buckets a list holds at most.
const PAGE: usize = 100;

/// Why a bucket cannot be made ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The organisation is not known.
    #[error("{0}")]
    Org(String),
    /// The bucket drops points that the source still keeps.
    #[error(
        "bucket {bucket} keeps points for {} and these are kept for {} (influx bucket update --id {id} --retention {})",
        period(*.has), period(*.wants), command_period(*.wants)
    )]
    KeepsLess {
        /// Its name.
        bucket: String,
        /// Its ID.
        id: String,
        /// How long it keeps points, in seconds; 0 is for ever.
        has: u64,
        /// How long it would have to, in seconds; 0 is for ever.
        wants: u64,
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
    /// It was made.
    Made,
}

/// The buckets of one organisation, as far as they were needed.
#[derive(Debug, Default)]
pub struct Buckets {
    org: Option<String>,
    org_id: Option<String>,
    /// The period that each bucket is known to keep; `u64::MAX` for ever.
    known: HashMap<String, u64>,
}

struct Bucket {
    id: String,
    period: u64,
}

/// Sends a request, as often as it takes.
type Call<'a, E> = dyn FnMut(&str, Payload<'_>) -> Result<Answer, E> + 'a;

impl Buckets {
    /// The buckets of `org`, a name or an ID; without one, of the only organisation that the token can see.
    pub fn new(org: Option<String>) -> Self {
        Self {
            org,
            ..Self::default()
        }
    }

    /// Forget that `name` is there.
    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// See to it that bucket `name` keeps points for `period` seconds at least; 0 is for ever.
    pub fn ensure<E: From<Error>>(
        &mut self,
        name: &str,
        period: u64,
        call: &mut Call<'_, E>,
    ) -> Result<Done, E> {
        if self.known.get(name).is_some_and(|&has| has >= span(period)) {
            return Ok(Done::Known);
        }
        let org = self.org_id(call)?;
        let (bucket, done) = match find(&org, name, call)? {
            Some(bucket) => (bucket, Done::Found),
            None => make(&org, name, period, call)?,
        };
        if span(bucket.period) < span(period) {
            return Err(E::from(Error::KeepsLess {
                bucket: name.to_owned(),
                id: bucket.id,
                has: bucket.period,
                wants: period,
            }));
        }
        self.known.insert(name.to_owned(), span(bucket.period));
        Ok(done)
    }

    fn org_id<E: From<Error>>(&mut self, call: &mut Call<'_, E>) -> Result<String, E> {
        if let Some(id) = &self.org_id {
            return Ok(id.clone());
        }
        let id = match &self.org {
            Some(org) if is_id(org) => org.clone(),
            org => find_org(org.as_deref(), call)?,
        };
        Ok(self.org_id.insert(id).clone())
    }
}

/// A period as a number that grows with it.
fn span(period: u64) -> u64 {
    if period == 0 { u64::MAX } else { period }
}

fn period(seconds: u64) -> String {
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

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn find_org<E: From<Error>>(org: Option<&str>, call: &mut Call<'_, E>) -> Result<String, E> {
    let path = match org {
        Some(org) => format!("/api/v2/orgs?org={}", query_value(org)),
        None => "/api/v2/orgs".to_owned(),
    };
    let answer = call(&path, Payload::Nothing)?;
    if answer.status == 404 && org.is_none() {
        return Err(E::from(no_such_interface(&answer)));
    }
    let value = match answer.status {
        200 => body(&answer)?,
        404 => Value::Null,
        _ => return Err(E::from(refusal("looking up the organisation", &answer))),
    };
    let orgs = entries(&value, "orgs");
    let named = |value: &&Value| org.is_none_or(|org| word(value, "name") == Some(org));
    let mut found = orgs
        .iter()
        .filter(named)
        .filter_map(|value| word(value, "id"));
    match (found.next(), found.next(), org) {
        (Some(id), None, _) => Ok(id.to_owned()),
        (Some(_), Some(_), _) => Err(E::from(Error::Org(
            "the token sees several organisations (--org NAME says which)".to_owned(),
        ))),
        (None, _, Some(org)) => Err(E::from(Error::Org(format!(
            "there is no organisation {org}, or the token does not see it (--org)"
        )))),
        (None, _, None) => Err(E::from(Error::Org(
            "the token sees no organisation (--org NAME or ID says which)".to_owned(),
        ))),
    }
}

/// Look a bucket up by its name; not every server heeds the name, so the lists are searched.
fn find<E: From<Error>>(
    org: &str,
    name: &str,
    call: &mut Call<'_, E>,
) -> Result<Option<Bucket>, E> {
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
            404 => return Err(E::from(no_such_interface(&answer))),
            _ => {
                return Err(E::from(refusal(
                    &format!("looking up bucket {name}"),
                    &answer,
                )));
            }
        };
        let buckets = entries(&value, "buckets");
        if let Some(found) = buckets
            .iter()
            .find(|value| word(value, "name") == Some(name))
        {
            return Ok(Some(read(found)));
        }
        if buckets.len() < PAGE {
            return Ok(None);
        }
    }
    Ok(None)
}

fn make<E: From<Error>>(
    org: &str,
    name: &str,
    period: u64,
    call: &mut Call<'_, E>,
) -> Result<(Bucket, Done), E> {
    // The rule is always said: what a server does without one is days in one place and for ever in another.
    let wanted = json!({
        "orgID": org,
        "name": name,
        "retentionRules": [{"type": "expire", "everySeconds": period}],
    });
    let answer = call(
        "/api/v2/buckets",
        Payload::Json(wanted.to_string().as_bytes()),
    )?;
    match answer.status {
        200 | 201 => Ok((read(&body(&answer)?), Done::Made)),
        // Somebody else was faster, or an earlier try did it and its answer was lost.
        409 | 422 if is_conflict(&answer) => match find(org, name, call)? {
            Some(bucket) => Ok((bucket, Done::Found)),
            None => Err(E::from(refusal(&format!("making bucket {name}"), &answer))),
        },
        _ => Err(E::from(refusal(&format!("making bucket {name}"), &answer))),
    }
}

fn read(value: &Value) -> Bucket {
    let rules = entries(value, "retentionRules");
    let period = rules
        .iter()
        .find_map(|rule| rule.get("everySeconds")?.as_u64());
    Bucket {
        id: word(value, "id").unwrap_or_default().to_owned(),
        period: period.unwrap_or(0),
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

fn no_such_interface(answer: &Answer) -> Error {
    Error::Refused(format!(
        "status {}: this server has no /api/v2/buckets (make its buckets by hand, or --target says what it is)",
        answer.status
    ))
}

fn refusal(doing: &str, answer: &Answer) -> Error {
    let value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let message = word(&value, "message").or_else(|| word(&value, "error"));
    let text = match message {
        Some(message) => format!("{doing}: status {}: {message}", answer.status),
        None => format!("{doing}: status {}", answer.status),
    };
    let quota = message.is_some_and(|message| message.contains("exceed quota"));
    match answer.status {
        401 | 403 if !quota => Error::Permission(text),
        _ => Error::Refused(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected requests with their answers, in order.
    struct Script(Vec<(&'static str, u16, &'static str)>);

    impl Script {
        fn run(self, org: Option<&str>, period: u64) -> Result<Done, Error> {
            let mut buckets = Buckets::new(org.map(str::to_owned));
            let mut steps = self.0.into_iter();
            let result = buckets.ensure("d/r", period, &mut |path, payload| {
                let (expected, status, body) = steps.next().unwrap();
                let request = match payload {
                    Payload::Json(json) => format!("{path} {}", String::from_utf8_lossy(json)),
                    _ => path.to_owned(),
                };
                assert_eq!(expected, request);
                Ok(Answer {
                    status,
                    body: body.as_bytes().to_vec(),
                    ..Answer::default()
                })
            });
            assert_eq!(0, steps.len());
            result
        }
    }

    const ID: &str = "0123456789abcdef";
    const ORGS: &str = "/api/v2/orgs?org=my%20org";
    const ORG: &str = r#"{"orgs":[{"id":"0123456789abcdef","name":"my org"}]}"#;
    const FIND: &str = "/api/v2/buckets?orgID=0123456789abcdef&name=d%2Fr&limit=100&offset=0";
    const MAKE: &str = r#"/api/v2/buckets {"name":"d/r","orgID":"0123456789abcdef","retentionRules":[{"everySeconds":3600,"type":"expire"}]}"#;
    const NONE: &str = r#"{"code":"not found","message":"bucket \"d/r\" not found"}"#;
    const HOUR: &str = r#"{"buckets":[{"id":"b","name":"d/r","retentionRules":[{"type":"expire","everySeconds":3600}]}]}"#;
    const MADE: &str =
        r#"{"id":"b","name":"d/r","retentionRules":[{"type":"expire","everySeconds":3600}]}"#;

    #[test]
    fn a_bucket_that_is_missing_is_made_with_the_period() {
        let script = Script(vec![(ORGS, 200, ORG), (FIND, 404, NONE), (MAKE, 201, MADE)]);
        assert_eq!(Ok(Done::Made), script.run(Some("my org"), 3600));
        let script = Script(vec![(FIND, 200, r#"{"buckets":[]}"#), (MAKE, 201, MADE)]);
        assert_eq!(Ok(Done::Made), script.run(Some(ID), 3600));
    }

    #[test]
    fn without_a_name_the_only_organisation_is_taken() {
        let script = Script(vec![("/api/v2/orgs", 200, ORG), (FIND, 200, HOUR)]);
        assert_eq!(Ok(Done::Found), script.run(None, 3600));
        let two = r#"{"orgs":[{"id":"1","name":"a"},{"id":"2","name":"b"}]}"#;
        let script = Script(vec![("/api/v2/orgs", 200, two)]);
        assert!(matches!(script.run(None, 3600), Err(Error::Org(_))));
        let script = Script(vec![(ORGS, 200, two)]);
        assert!(matches!(script.run(Some("my org"), 0), Err(Error::Org(_))));
    }

    #[test]
    fn a_bucket_that_keeps_less_stops_with_the_command_that_mends_it() {
        let script = Script(vec![(FIND, 200, HOUR)]);
        let text = script.run(Some(ID), 0).unwrap_err().to_string();
        assert_eq!(
            "bucket d/r keeps points for 1h and these are kept for ever (influx bucket update --id b --retention 0)",
            text
        );
        let script = Script(vec![(FIND, 200, HOUR)]);
        let text = script.run(Some(ID), 7200).unwrap_err().to_string();
        assert!(text.ends_with("--retention 7200s)"), "{text}");
    }

    #[test]
    fn a_bucket_that_keeps_more_is_taken() {
        let ever = r#"{"buckets":[{"id":"b","name":"d/r","retentionRules":[]}]}"#;
        for period in [0, 1, u64::MAX] {
            let script = Script(vec![(FIND, 200, ever)]);
            assert_eq!(Ok(Done::Found), script.run(Some(ID), period));
        }
    }

    #[test]
    fn a_conflict_means_to_look_again() {
        let conflict = r#"{"code":"conflict","message":"bucket with name d/r already exists"}"#;
        let script = Script(vec![
            (FIND, 404, NONE),
            (MAKE, 422, conflict),
            (FIND, 200, HOUR),
        ]);
        assert_eq!(Ok(Done::Found), script.run(Some(ID), 3600));
        let other = r#"{"code":"unprocessable entity","message":"too short"}"#;
        let script = Script(vec![(FIND, 404, NONE), (MAKE, 422, other)]);
        let text = "making bucket d/r: status 422: too short".to_owned();
        assert_eq!(Err(Error::Refused(text)), script.run(Some(ID), 3600));
    }

    #[test]
    fn lists_are_searched_to_their_end() {
        let entry = r#"{"id":"x","name":"other"}"#;
        let full: &'static str =
            Box::leak(format!(r#"{{"buckets":[{}]}}"#, [entry; 100].join(",")).into_boxed_str());
        let next = "/api/v2/buckets?orgID=0123456789abcdef&name=d%2Fr&limit=100&offset=100";
        let script = Script(vec![(FIND, 200, full), (next, 200, HOUR)]);
        assert_eq!(Ok(Done::Found), script.run(Some(ID), 3600));
    }

    #[test]
    fn permission_and_quota_are_told_apart() {
        let script = Script(vec![(FIND, 401, "")]);
        assert!(matches!(script.run(Some(ID), 0), Err(Error::Permission(_))));
        let quota = r#"{"code":"forbidden","message":"creating bucket would exceed quota"}"#;
        let script = Script(vec![(FIND, 404, NONE), (MAKE, 403, quota)]);
        assert!(matches!(script.run(Some(ID), 3600), Err(Error::Refused(_))));
    }

    #[test]
    fn a_server_without_the_interface_is_no_missing_bucket() {
        let script = Script(vec![(FIND, 404, "not found")]);
        assert!(matches!(script.run(Some(ID), 0), Err(Error::Refused(_))));
        let script = Script(vec![("/api/v2/orgs", 404, "not found")]);
        assert!(matches!(script.run(None, 0), Err(Error::Refused(_))));
    }

    #[test]
    fn a_known_bucket_is_not_asked_for_again_unless_more_is_wanted() {
        let mut buckets = Buckets::new(Some(ID.to_owned()));
        let mut asked = 0;
        let mut ensure = |buckets: &mut Buckets, period| {
            buckets.ensure::<Error>("d/r", period, &mut |_, _| {
                asked += 1;
                Ok(Answer {
                    status: 200,
                    body: HOUR.as_bytes().to_vec(),
                    ..Answer::default()
                })
            })
        };
        assert_eq!(Ok(Done::Found), ensure(&mut buckets, 60));
        assert_eq!(Ok(Done::Known), ensure(&mut buckets, 3600));
        assert!(ensure(&mut buckets, 3601).is_err());
        assert!(ensure(&mut buckets, 0).is_err());
        buckets.forget("d/r");
        assert_eq!(Ok(Done::Found), ensure(&mut buckets, 60));
        assert_eq!(4, asked);
    }
}
