//! What the body of an answer says, and where it names lines of the request.

use std::collections::HashMap;

use serde_json::Value;

use crate::http::Answer;

/// Servers name at most this many lines in one answer (InfluxDB 3, distributed).
pub(super) const NAMED_AT_MOST: usize = 100;

/// What a body says, whatever form it has.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The message, in one piece.
    pub message: String,
    /// The lines it names, counted from 1, each with the reason.
    pub lines: Vec<(u64, String)>,
    /// Whether `lines` come from the message.
    pub from_text: bool,
    /// Whether `lines` are certainly all the lines that the server meant.
    pub complete: bool,
    /// Whether it was JSON with a message in it.
    pub structured: bool,
}

impl Said {
    /// JSON first, whatever `Content-Type` says: some servers set none, proxies set a wrong one.
    pub fn read(answer: &Answer) -> Self {
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(value) => Self::from_json(&value),
            Err(_) => Self {
                message: first_text(&answer.body),
                ..Self::default()
            },
        }
    }

    fn from_json(value: &Value) -> Self {
        let word = |key: &str| value.get(key).and_then(Value::as_str);
        let Some(message) = word("message").or_else(|| word("error")) else {
            return Self {
                message: clip(&value.to_string()),
                ..Self::default()
            };
        };
        let mut said = Self {
            message: message.to_owned(),
            structured: true,
            ..Self::default()
        };
        if let Some(data) = value.get("data") {
            (said.lines, said.complete) = data_lines(data);
        }
        if said.lines.is_empty() {
            (said.lines, said.complete) = message_lines(message);
            said.from_text = !said.lines.is_empty();
        }
        if said.lines.is_empty()
            && let Some(line) = value.get("line").and_then(Value::as_u64)
            && line > 0
        {
            said.lines.push((line, message.to_owned()));
        }
        said
    }
}

/// The lines in `data` as InfluxDB 3 Core writes it, one object or an array of them; and whether every entry names one.
fn data_lines(data: &Value) -> (Vec<(u64, String)>, bool) {
    let one = |value: &Value| {
        let line = value
            .get("line_number")?
            .as_u64()
            .filter(|&line| line > 0)?;
        let reason = value.get("error_message").and_then(Value::as_str);
        Some((line, reason.unwrap_or("no reason given").to_owned()))
    };
    let entries = match data {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    let lines: Vec<_> = entries.iter().filter_map(one).collect();
    let complete = lines.len() == entries.len();
    (lines, complete)
}

/// The words by which a message names lines; nobody else may use them where names are to be trusted.
pub const NAMING: [&str; 3] = [
    "error parsing line ",
    "error writing line ",
    "unable to parse '",
];

/// The lines that a message names as `error parsing line N` or `error writing line N`; and whether it says nothing
/// else behind its `line(s):`.
fn message_lines(message: &str) -> (Vec<(u64, String)>, bool) {
    let mut starts: Vec<usize> = NAMING[..2]
        .iter()
        .flat_map(|words| message.match_indices(words).map(|(at, _)| at))
        .collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).copied().chain([message.len()]);
    let clauses = starts.iter().zip(ends);
    let lines: Vec<_> = clauses
        .filter_map(|(&start, end)| clause(message.get(start..end)?))
        .collect();
    let listed = message.split_once("line(s):").map_or("", |(_, list)| list);
    let known = |line: &str| NAMING[..2].iter().any(|words| line.starts_with(words));
    let mut listed = listed
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let complete = lines.len() == starts.len() && listed.all(known);
    (lines, complete)
}

/// Line and reason of `error parsing line 2 (1-based): reason`.
fn clause(text: &str) -> Option<(u64, String)> {
    let rest = text.get(NAMING[0].len()..)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let line = rest.get(..digits)?.parse().ok().filter(|&line| line > 0)?;
    let reason = rest.get(digits..)?;
    let reason = reason.strip_prefix(" (1-based)").unwrap_or(reason);
    let reason = reason.strip_prefix(':').unwrap_or(reason);
    Some((line, reason.trim_matches([' ', ',', ';', '\n']).to_owned()))
}

/// The first line of text in a body that is not JSON, without tags, at most a few hundred characters.
fn first_text(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if !text.trim_start().starts_with('<') {
        return text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(clip)
            .unwrap_or_default();
    }
    let mut plain = String::new();
    let mut rest = text.as_ref();
    while let Some((before, tag)) = rest.split_once('<') {
        plain.push_str(before);
        // A line end between elements, so that a title does not run into what follows it.
        plain.push('\n');
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(clip)
        .unwrap_or_default()
}

pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// Records that a message quotes as `unable to parse '<record>': <reason>`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Quoted {
    /// Position and reason of each, ascending.
    pub records: Vec<(usize, String)>,
    /// Whether the message quotes nothing that is not one of the records.
    pub complete: bool,
}

/// Where `message` quotes one of `records`.
///
/// The text may itself hold quotes and line feeds, so it is compared with the records and not read.
/// Servers quote a record without the blanks before it, and each byte that is not UTF-8 as U+FFFD.
pub fn quoted<'a>(message: &str, records: impl Iterator<Item = &'a [u8]>) -> Quoted {
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    let mut longest = 0;
    for (i, record) in records.enumerate() {
        let text = as_quoted(record);
        longest = longest.max(text.len());
        places.entry(text).or_default().push(i);
    }
    let mut found = Quoted {
        complete: true,
        ..Quoted::default()
    };
    let mut at = 0;
    while let Some(start) = message.get(at..).and_then(|rest| rest.find(NAMING[2])) {
        at += start + NAMING[2].len();
        let rest = message.get(at..).unwrap_or_default();
        let ends = rest.match_indices("': ").map(|(end, _)| end);
        let mut known = ends
            .take_while(|&end| end <= longest)
            .filter_map(|end| Some((end, places.get(rest.get(..end)?)?)));
        let Some((end, lines)) = known.next() else {
            found.complete = false;
            continue;
        };
        at += end;
        let reason = reason_of(rest.get(end + "': ".len()..).unwrap_or_default());
        let named = lines.iter().map(|&line| (line, reason.to_owned()));
        found.records.extend(named);
    }
    found.records.sort();
    found.records.dedup_by_key(|(line, _)| *line);
    found
}

/// The reason at the start of the rest of a message.
fn reason_of(rest: &str) -> &str {
    let reason = rest.split("\nunable to parse '").next().unwrap_or_default();
    reason
        .strip_suffix(" dropped=0")
        .unwrap_or(reason)
        .trim_end()
}

/// A record as a Go server prints it into JSON.
fn as_quoted(record: &[u8]) -> String {
    let blanks = record
        .iter()
        .take_while(|byte| b" \t\0".contains(byte))
        .count();
    let mut text = String::new();
    for chunk in record.get(blanks..).unwrap_or_default().utf8_chunks() {
        text.push_str(chunk.valid());
        // Go replaces each byte, where Rust would replace a cut character as a whole.
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(message: &str, records: &[&[u8]]) -> (Vec<(usize, String)>, bool) {
        let found = quoted(message, records.iter().copied());
        (found.records, found.complete)
    }

    #[test]
    fn quoted_records_are_found_by_their_content() {
        let records: [&[u8]; 4] = [
            b"m v=1 1",
            b" \tm,t=it's s=\"a': b\nunable\" x",
            b"m v=2 2",
            b"m v=x 3",
        ];
        let message = "partial write: unable to parse 'm,t=it's s=\"a': b\nunable\" x': bad timestamp\nunable to parse 'm v=x 3': invalid boolean dropped=0";
        let expected = vec![
            (1, "bad timestamp".to_owned()),
            (3, "invalid boolean".to_owned()),
        ];
        assert_eq!((expected, true), find(message, &records));
    }

    #[test]
    fn a_quote_of_something_else_is_noticed() {
        let message = "unable to parse 'm v=y 3': bad\nunable to parse 'm v=x 3': bad";
        let expected = vec![(0, "bad".to_owned())];
        assert_eq!((expected, false), find(message, &[b"m v=x 3"]));
        assert_eq!((vec![], true), find("nothing of the kind", &[b"m v=x 3"]));
    }

    #[test]
    fn equal_records_are_all_meant() {
        let message = "unable to parse 'm v=x 3': bad";
        let expected = vec![(0, "bad".to_owned()), (2, "bad".to_owned())];
        let records: [&[u8]; 3] = [b"m v=x 3", b"m v=1 3", b"m v=x 3"];
        assert_eq!((expected, true), find(message, &records));
    }

    #[test]
    fn bytes_that_are_not_utf8_are_quoted_one_by_one() {
        // A cut three-byte character and a lone continuation byte.
        let message = "unable to parse 'm,t=\u{fffd}\u{fffd}\u{fffd} x': bad";
        let expected = vec![(0, "bad".to_owned())];
        assert_eq!((expected, true), find(message, &[b"m,t=\xe2\x82\xff x"]));
    }
}
