//! What an answer to a write means: one table for all servers, and where an answer names lines.

use crate::http::Answer;
use crate::http::said::{NAMED_AT_MOST, Said, clip};

/// What to do after an answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is stored.
    Stored,
    /// Everything is taken, with something that somebody should know.
    StoredWith(String),
    /// Some of the lines are bad.
    Refused(Refusal),
    /// Too much for one request: send it in halves.
    TooLarge(String),
    /// Not now: send the same again later.
    Later(Delay),
    /// There is no such bucket, database or organisation.
    NoBucket(String),
    /// Nothing that is sent to this place in this way will ever be stored.
    Hopeless(Hopeless),
}

/// Some lines of a request are bad.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What the server said, in one piece.
    pub message: String,
    /// The lines it named, counted from 1 in the body sent, each with the reason.
    pub lines: Vec<(u64, String)>,
    /// Whether `lines` were read out of text, in which the words of a client may stand too.
    pub from_text: bool,
    /// Whether the server said that it stored the lines it does not name.
    pub others_stored: bool,
}

/// Why a request has to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// What the server said.
    pub reason: String,
    /// Whether one record may be the cause, so that waiting alone might never help.
    pub suspicious: bool,
    /// Whether it is a limit that does not reset by itself.
    pub stuck: bool,
    /// Whether the server has had more than it takes, from everybody together.
    pub overrun: bool,
}

/// Why there is no hope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hopeless {
    /// The URL, a parameter or a header is wrong.
    Setting(String),
    /// The token is missing, wrong, or may not write there.
    Permission(String),
    /// The server refuses for good.
    Service(String),
}

/// The meaning of `answer` to a request that carried at least one record.
pub fn judge(answer: &Answer) -> Verdict {
    let said = Said::read(answer);
    let text = said.message.as_str();
    match answer.status {
        204 => Verdict::Stored,
        200..=299 => odd_success(answer.status, said),
        300..=399 => redirect(answer),
        400 | 422 => refused(said),
        401 | 403 => Verdict::Hopeless(Hopeless::Permission(with_status(answer.status, text))),
        404 => Verdict::NoBucket(with_status(404, text)),
        408 | 425 | 499 => later(answer.status, text, false),
        413 => Verdict::TooLarge(with_status(413, text)),
        429 => Verdict::Later(Delay {
            reason: with_status(429, text),
            suspicious: false,
            stuck: answer.retry_after.is_none() && text.contains("cardinality"),
            overrun: true,
        }),
        500 => failed(said),
        501 | 505 => Verdict::Hopeless(Hopeless::Setting(with_status(answer.status, text))),
        502..=599 => later(answer.status, text, false),
        405 | 406 | 411 | 415 => {
            Verdict::Hopeless(Hopeless::Setting(with_status(answer.status, text)))
        }
        _ => Verdict::Hopeless(Hopeless::Service(with_status(answer.status, text))),
    }
}

/// The meaning of `answer` to a request that carried no record at all.
pub fn judge_nothing(answer: &Answer) -> Verdict {
    let text = Said::read(answer).message;
    match answer.status {
        // 1.x says so where it has read nothing.
        200 if answer.body.is_empty() => Verdict::Stored,
        400 if NOTHING.iter().any(|words| text.contains(words)) => Verdict::Stored,
        _ => judge(answer),
    }
}

/// How servers say that a body was empty: where they come to say it all the rest was right.
const NOTHING: [&str; 3] = [
    "incoming write was empty",
    "writing requires points",
    "no lines",
];

/// Whether a request that is no write may be sent again after an answer with this status.
pub fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 499 | 500 | 502..=504 | 506..=599)
}

/// A status that says success in words that no write endpoint uses.
fn odd_success(status: u16, said: Said) -> Verdict {
    if said.structured {
        return refused(said);
    }
    let text = format!(
        "status {status} where a write is answered with 204: a login page or a wrong URL{}{}",
        if said.message.is_empty() { "" } else { ": " },
        said.message
    );
    Verdict::Hopeless(Hopeless::Setting(text))
}

fn redirect(answer: &Answer) -> Verdict {
    let to = answer.location.as_deref().unwrap_or("nowhere");
    let text = format!(
        "status {}: the server sends us to {to}; redirects are not followed, set --host to the right URL",
        answer.status
    );
    Verdict::Hopeless(Hopeless::Setting(text))
}

fn later(status: u16, text: &str, suspicious: bool) -> Verdict {
    Verdict::Later(Delay {
        reason: with_status(status, text),
        suspicious,
        ..Delay::default()
    })
}

/// Status 500 of servers that use it for everything.
fn failed(said: Said) -> Verdict {
    let text = said.message.as_str();
    let reason = with_status(500, text);
    // What follows was read from the sources of the servers; none of it repeats what a client sent.
    if text.starts_with("max request size") {
        Verdict::TooLarge(reason)
    } else if text.starts_with("body content is not valid utf8") {
        Verdict::Refused(Refusal {
            message: said.message,
            ..Refusal::default()
        })
    } else if text.starts_with("error decoding gzip stream") {
        Verdict::Hopeless(Hopeless::Service(reason))
    } else if text.starts_with("retention policy not found") {
        Verdict::Hopeless(Hopeless::Setting(reason))
    } else if text.starts_with("hinted handoff queue not empty") {
        Verdict::StoredWith(reason)
    } else {
        later(500, text, true)
    }
}

fn refused(said: Said) -> Verdict {
    let text = said.message.as_str();
    if text.starts_with("max request size") {
        return Verdict::TooLarge(said.message);
    }
    if is_about_lines(text) || !said.lines.is_empty() {
        return Verdict::Refused(refusal(said));
    }
    if OVERLOADED.iter().any(|words| text.contains(words)) {
        return later(400, text, false);
    }
    if EXHAUSTED.iter().any(|words| text.starts_with(words)) {
        return Verdict::Hopeless(Hopeless::Service(with_status(422, text)));
    }
    if MISBUILT.iter().any(|words| text.starts_with(words)) {
        return Verdict::Hopeless(Hopeless::Setting(with_status(400, text)));
    }
    Verdict::Refused(refusal(said))
}

/// Words of a refusal that goes on to repeat what the client sent, in which any other words may stand.
fn is_about_lines(text: &str) -> bool {
    [
        "unable to parse '",
        "partial write",
        "line protocol",
        "errors encountered on line",
        "error parsing line",
        "error writing line",
    ]
    .iter()
    .any(|words| text.contains(words))
}

/// Trouble of the moment that some versions answer with 400.
const OVERLOADED: [&str; 5] = [
    "error from wal",
    "object store",
    "persister",
    "system overloaded",
    "resource has been exhausted",
];

/// How refusals begin that no other record would change anything of.
const EXHAUSTED: [&str; 1] = ["Adding a new database would exceed limit of"];

/// How refusals begin that are about the request and not about its lines.
const MISBUILT: [&str; 15] = [
    "missing bucket value",
    "missing org/bucket value",
    "failed to deserialize",
    "namespace name",
    "invalid precision",
    "missing query parameter",
    "serde error",
    "db name",
    "database is required",
    "database name",
    "cannot write to soft-deleted database",
    "Authorization header was malformed",
    "unacceptable content-encoding",
    "organization",
    "incoming write was empty",
];

fn refusal(said: Said) -> Refusal {
    let text = said.message.as_str();
    let named_all = said.complete
        && (text.starts_with("partial write of line protocol")
            || text.starts_with("partial write has occurred") && said.lines.len() < NAMED_AT_MOST);
    // 1.x: the count leaves out what did not parse, so 0 means that all the rest went in.
    let old = text.starts_with("partial write: unable to parse '") && text.ends_with(" dropped=0");
    Refusal {
        others_stored: named_all || old,
        message: said.message,
        lines: said.lines,
        from_text: said.from_text,
    }
}
fn with_status(status: u16, text: &str) -> String {
    if text.is_empty() {
        format!("status {status}")
    } else {
        format!("status {status}: {}", clip(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        }
    }

    fn judged(status: u16, body: &str) -> Verdict {
        judge(&answer(status, body))
    }

    fn refusal(status: u16, body: &str) -> Refusal {
        match judged(status, body) {
            Verdict::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn delay(status: u16, body: &str) -> Delay {
        match judged(status, body) {
            Verdict::Later(delay) => delay,
            other => panic!("{status} {body}: {other:?}"),
        }
    }

    fn is_setting(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Hopeless(Hopeless::Setting(_)))
    }

    #[test]
    fn only_204_is_success() {
        assert_eq!(Verdict::Stored, judged(204, ""));
        for status in [200, 201, 202, 206] {
            assert!(is_setting(&judged(status, "<html><title>Log in</title>")));
            assert!(is_setting(&judged(status, "")));
            assert!(is_setting(&judged(status, "[1]")));
        }
    }

    #[test]
    fn another_success_with_a_message_is_a_partial_write() {
        let body = r#"{"code":"invalid","line":3,"message":"something about it"}"#;
        let expected = vec![(3, "something about it".to_owned())];
        assert_eq!(expected, refusal(201, body).lines);
        assert!(!refusal(201, body).others_stored);
    }

    #[test]
    fn redirects_are_shown_and_not_followed() {
        for status in [301, 302, 303, 307, 308] {
            let mut answer = answer(status, "");
            answer.location = Some("https://example.com/".to_owned());
            let Verdict::Hopeless(Hopeless::Setting(text)) = judge(&answer) else {
                panic!("{status}");
            };
            assert!(text.contains("https://example.com/"), "{text}");
        }
    }

    #[test]
    fn refusals_of_distributed_version_3_name_lines_in_their_text() {
        let body = r#"{"code":"invalid","line":2,"message":"partial write has occurred, errors encountered on line(s): error parsing line 2 (1-based): Invalid measurement was provided, error writing line 4: Unable to insert iox::column_type::field::integer type into column temp with type iox::column_type::field::string"}"#;
        let refusal = refusal(400, body);
        let lines: Vec<u64> = refusal.lines.iter().map(|(line, _)| *line).collect();
        assert_eq!(vec![2, 4], lines);
        assert_eq!("Invalid measurement was provided", refusal.lines[0].1);
        assert!(refusal.lines[1].1.starts_with("Unable to insert iox"));
        assert!(refusal.from_text);
        assert!(refusal.others_stored);
    }

    #[test]
    fn a_list_that_may_go_on_or_cannot_be_read_in_full_leaves_the_rest_open() {
        let list = |n: u64| -> String {
            let clauses = (1..=n).map(|n| format!("error parsing line {n} (1-based): x\\n"));
            clauses.collect()
        };
        let body = |list: String| {
            format!(
                r#"{{"code":"invalid","line":1,"message":"partial write has occurred, errors encountered on line(s):\n{list}"}}"#
            )
        };
        assert!(refusal(400, &body(list(99))).others_stored);
        assert_eq!(100, refusal(400, &body(list(100))).lines.len());
        assert!(!refusal(400, &body(list(100))).others_stored);
        assert!(!refusal(400, &body(list(3) + "line 7: unheard of")).others_stored);
        let none = body(list(2)).replace("partial write has occurred", "no data written");
        assert!(!refusal(400, &none).others_stored);
    }

    #[test]
    fn a_line_of_its_own_is_used_where_the_message_names_none() {
        let body = r#"{"code":"invalid","line":7,"message":"failed to parse line protocol: no"}"#;
        assert_eq!(7, refusal(400, body).lines[0].0);
        assert!(!refusal(400, body).from_text);
    }

    #[test]
    fn core_names_lines_in_an_array_or_in_one_object() {
        let array = r#"{"error":"partial write of line protocol occurred","data":[{"error_message":"bad","line_number":2,"original_line":"x"},{"error_message":"worse","line_number":4}]}"#;
        let expected = vec![(2, "bad".to_owned()), (4, "worse".to_owned())];
        assert_eq!(expected, refusal(400, array).lines);
        assert!(refusal(400, array).others_stored);
        assert!(!refusal(400, array).from_text);
        let object = r#"{"error":"parsing failed for write_lp endpoint","data":{"error_message":"bad","line_number":1}}"#;
        assert_eq!(vec![(1, "bad".to_owned())], refusal(400, object).lines);
        assert!(!refusal(400, object).others_stored);
    }

    #[test]
    fn refusals_without_names_name_nothing() {
        for (status, body) in [
            (
                400,
                r#"{"code":"invalid","message":"write buffer error: parsing for line protocol failed"}"#,
            ),
            (400, r#"{"code":"invalid"}"#),
            (400, ""),
            (
                422,
                r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: points beyond retention policy dropped=1"}"#,
            ),
            (
                400,
                r#"{"error":"partial write: field type conflict: input field \"v\" dropped=1"}"#,
            ),
            (
                400,
                "dml handler error: service limit reached: couldn't create columns in table m",
            ),
            (
                500,
                "body content is not valid utf8: invalid utf-8 sequence of 1 bytes from index 7",
            ),
        ] {
            let refusal = refusal(status, body);
            assert_eq!(0, refusal.lines.len(), "{body}");
            assert!(!refusal.others_stored, "{body}");
        }
    }

    #[test]
    fn version_1_says_that_it_stored_what_it_could_parse() {
        let part = r#"{"error":"partial write: unable to parse 'm x 1': bad dropped=0"}"#;
        assert!(refusal(400, part).others_stored);
        let whole = r#"{"error":"unable to parse 'm x 1': bad"}"#;
        assert!(!refusal(400, whole).others_stored);
    }

    #[test]
    fn requests_built_wrongly_end_the_run() {
        for body in [
            r#"{"code":"invalid","message":"missing bucket value"}"#,
            r#"{"code":"invalid","message":"failed to deserialize org/bucket/precision in request: unknown variant"}"#,
            r#"{"code":"invalid","message":"namespace name length must be between 1 and 64 characters"}"#,
            r#"{"error":"invalid precision \"x\" (use n, u, ms, s, m or h)"}"#,
            r#"{"error":"database is required"}"#,
        ] {
            assert!(is_setting(&judged(400, body)), "{body}");
        }
    }

    #[test]
    fn overload_is_no_refusal_whatever_the_status() {
        for body in [
            r#"{"code":"invalid","message":"write buffer error: error from wal: wal buffer full with 0 ops"}"#,
            "dml handler error: rejected write: system overloaded - reduce write rate (some resource has been exhausted)",
        ] {
            assert!(!delay(400, body).suspicious, "{body}");
        }
        // The words stand in the data here.
        let body = r#"{"error":"unable to parse 'm s=\"system overloaded\" x': bad timestamp"}"#;
        assert_eq!(0, refusal(400, body).lines.len());
    }

    #[test]
    fn what_passes_is_tried_again() {
        for status in [408, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524] {
            assert_eq!(status == 500, delay(status, "later").suspicious, "{status}");
        }
        let text = delay(503, "request throttled, queue full").reason;
        assert_eq!("status 503: request throttled, queue full", text);
        assert!(delay(500, r#"{"error":"timeout"}"#).suspicious);
    }

    #[test]
    fn other_requests_are_tried_again_after_the_same_statuses() {
        for status in 100..600 {
            let write = matches!(judged(status, ""), Verdict::Later(_));
            assert_eq!(write, passes(status), "{status}");
        }
    }

    #[test]
    fn a_cardinality_limit_without_a_hint_does_not_reset() {
        let text = "max cardinality exceeded";
        assert!(delay(429, text).stuck);
        let hinted = Answer {
            retry_after: Some("30".to_owned()),
            ..answer(429, text)
        };
        assert!(matches!(
            judge(&hinted),
            Verdict::Later(Delay { stuck: false, .. })
        ));
    }

    #[test]
    fn status_500_of_some_servers_means_something_else() {
        let large = judged(500, "max request size (10485760 bytes) exceeded");
        assert!(matches!(large, Verdict::TooLarge(_)));
        let large = judged(400, "max request size (10485760 bytes) exceeded");
        assert!(matches!(large, Verdict::TooLarge(_)));
        let gzip = judged(500, "error decoding gzip stream: x");
        assert!(matches!(gzip, Verdict::Hopeless(Hopeless::Service(_))));
        let policy = judged(500, r#"{"error":"retention policy not found: x"}"#);
        assert!(is_setting(&policy));
        let handoff = judged(500, r#"{"error":"hinted handoff queue not empty"}"#);
        assert!(matches!(handoff, Verdict::StoredWith(_)));
    }

    #[test]
    fn permission_place_and_size_have_their_own_verdicts() {
        for status in [401, 403] {
            let verdict = judged(status, "");
            assert!(matches!(
                verdict,
                Verdict::Hopeless(Hopeless::Permission(_))
            ));
        }
        let text = "status 404: bucket \"x\" not found".to_owned();
        let body = r#"{"code":"not found","message":"bucket \"x\" not found"}"#;
        assert_eq!(Verdict::NoBucket(text), judged(404, body));
        let page = "<html>\n<head><title>413 Request Entity Too Large</title></head>";
        let text = "status 413: 413 Request Entity Too Large".to_owned();
        assert_eq!(Verdict::TooLarge(text), judged(413, page));
        for status in [405, 406, 411, 415, 501] {
            assert!(is_setting(&judged(status, "")), "{status}");
        }
    }

    #[test]
    fn long_texts_are_clipped() {
        let text = delay(503, &"é".repeat(5000)).reason;
        assert_eq!("status 503: ".len() + 600 + "…".len(), text.len());
    }
}
