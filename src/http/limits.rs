//! What an organisation of InfluxDB Cloud may write, as far as the server says it.

use serde_json::Value;

use crate::http::Answer;

/// The limits of an organisation; `None` where there is none, or it is not said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Line protocol, in thousands of bytes a second, as a mean over five minutes.
    pub write_kilobytes: Option<u64>,
    /// Requests to write at once.
    pub requests: Option<u64>,
}

/// The path that tells the limits of an organisation.
pub fn path(org_id: &str) -> String {
    format!("/api/v2/orgs/{}/limits", crate::http::query_value(org_id))
}

/// The limits in an answer; `None` where it holds none.
pub fn read(answer: &Answer) -> Option<Limits> {
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    let limits = value.get("limits").filter(|_| answer.status == 200)?;
    // What is not limited is 0.
    let figure = |group: &str, name: &str| {
        let figure = limits.get(group)?.get(name)?.as_u64()?;
        Some(figure).filter(|figure| *figure > 0)
    };
    Some(Limits {
        write_kilobytes: figure("rate", "writeKBs"),
        requests: figure("rate", "concurrentWriteRequests"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(status: u16, body: &str) -> Option<Limits> {
        read(&Answer {
            status,
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        })
    }

    #[test]
    fn limits_are_read_and_zero_is_none() {
        let body = r#"{"limits":{"orgID":"1","rate":{"readKBs":1000,"concurrentReadRequests":0,"writeKBs":17,"concurrentWriteRequests":0,"cardinality":10000},"bucket":{"maxBuckets":2,"maxRetentionDuration":2592000000000000}}}"#;
        let expected = Limits {
            write_kilobytes: Some(17),
            requests: None,
        };
        assert_eq!(Some(expected), limits(200, body));
        assert_eq!(Some(Limits::default()), limits(200, r#"{"limits":{}}"#));
        assert_eq!(None, limits(200, "{}"));
        assert_eq!(None, limits(404, body));
        assert_eq!(None, limits(200, "<html>"));
    }
}
