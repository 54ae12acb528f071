//! Is a record so plain that every target stores it? Says no where it would take longer to find out.
//!
//! Plain is what exporters print: no backslashes in names but before a separator, one space between the parts,
//! a time, numbers of ordinary length, at most 64 keys (24 in no order), none of them reserved anywhere.
//! Such a record has the same spelling in both dialects.
//!
//! Exports come series by series: what has been seen of the last plain record is not looked at again where the
//! next one begins with the same bytes and has the same field keys, or some of them.

use super::lex::string_len;
use crate::lp::record;

/// Looks at plain records, and remembers the last one.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// The last record that was looked at all over and found plain; empty if there is none.
    last: Vec<u8>,
    /// Where its fields begin.
    series: usize,
    tags: Vec<Span>,
    fields: Vec<Span>,
}

/// Start and end of a key.
type Span = (usize, usize);

/// Far below every limit on lengths.
const MAX_LEN: usize = 32 << 10;
/// So few that no table is too narrow.
const MAX_KEYS: usize = 64;
/// So few that comparing each with each costs little.
const FEW_KEYS: usize = 24;

impl Plain {
    /// The time of the record, without its line feed, if it is plain.
    pub(super) fn time(&mut self, text: &[u8]) -> Option<i64> {
        if text.len() > MAX_LEN {
            return None;
        }
        if !self.last.is_empty()
            && text.starts_with(self.last.get(..self.series)?)
            && let Some(time) = self.again(text)
        {
            return Some(time);
        }
        self.anew(text)
    }

    /// The series is that of the last record, and so are the field keys.
    pub(super) fn again(&self, text: &[u8]) -> Option<i64> {
        let mut keys = self.fields.iter();
        let mut at = self.series;
        let time = loop {
            let rest = text.get(at..)?;
            let len = keys.find_map(|(start, end)| {
                let key = self.last.get(*start..=*end)?;
                rest.starts_with(key).then_some(key.len())
            })?;
            at = value(text, at + len)?;
            match text.get(at)? {
                b',' => at += 1,
                b' ' => break time(text.get(at + 1..)?)?,
                _ => return None,
            }
        };
        is_text(text.get(self.series..)?).then_some(time)
    }

    /// The whole record, without what is known of the last one.
    fn anew(&mut self, text: &[u8]) -> Option<i64> {
        self.last.clear();
        let time = self.scan(text)?;
        if !self.are_distinct(text) || !is_text(text) {
            return None;
        }
        self.last.extend_from_slice(text);
        Some(time)
    }

    fn scan(&mut self, text: &[u8]) -> Option<i64> {
        if text.first() == Some(&b'#') {
            return None;
        }
        self.tags.clear();
        let mut at = name(text, 0, b", ")?;
        while text.get(at) == Some(&b',') {
            at = self.tag(text, at + 1)?;
        }
        if text.get(at) != Some(&b' ') {
            return None;
        }
        self.series = at + 1;
        self.fields.clear();
        loop {
            at = self.field(text, at + 1)?;
            match text.get(at)? {
                b',' => {}
                b' ' => return time(text.get(at + 1..)?),
                _ => return None,
            }
        }
    }

    fn tag(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let end = key(text, start)?;
        self.tags.push((start, end));
        name(text, end + 1, b", =")
    }

    fn field(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let end = key(text, start)?;
        self.fields.push((start, end));
        value(text, end + 1)
    }

    fn are_distinct(&self, text: &[u8]) -> bool {
        let raw = |span: &Span| text.get(span.0..span.1);
        let ordered = |keys: &[Span]| keys.is_sorted_by(|a, b| raw(a) < raw(b));
        let count = self.tags.len() + self.fields.len();
        if ordered(&self.tags) && ordered(&self.fields) {
            let mut tags = self.tags.iter().map(raw).peekable();
            return count <= MAX_KEYS
                && self.fields.iter().map(raw).all(|field| {
                    while tags.next_if(|tag| *tag < field).is_some() {}
                    tags.peek() != Some(&field)
                });
        }
        let keys = || self.tags.iter().chain(&self.fields).map(raw);
        count <= FEW_KEYS
            && keys()
                .enumerate()
                .all(|(i, key)| keys().take(i).all(|other| other != key))
    }
}

/// Bytes that stand for themselves in every name.
const ORDINARY: [bool; 256] = {
    let mut table = [true; 256];
    let mut c = 0;
    while c < 0x20 {
        table[c] = false;
        c += 1;
    }
    table[b' ' as usize] = false;
    table[b',' as usize] = false;
    table[b'=' as usize] = false;
    table[b'"' as usize] = false;
    table[b'\\' as usize] = false;
    table
};

/// Where the name that starts at `at` ends; it is not empty.
///
/// A backslash is allowed where everybody takes it away: before one of these bytes.
fn name(text: &[u8], at: usize, escaped: &[u8]) -> Option<usize> {
    let mut end = at;
    loop {
        let rest = text.get(end..)?;
        end += rest.iter().position(|c| !ORDINARY[usize::from(*c)])?;
        if text.get(end) != Some(&b'\\') {
            return (end > at).then_some(end);
        }
        if !escaped.contains(text.get(end + 1)?) {
            return None;
        }
        end += 2;
    }
}

/// Where the key that starts at `at` has its `=`; no target keeps it for itself.
fn key(text: &[u8], at: usize) -> Option<usize> {
    let end = name(text, at, b", =")?;
    let reserved = matches!(text.get(at..end)?, b"time" | [b'_', ..]);
    (text.get(end) == Some(&b'=') && !reserved).then_some(end)
}

/// Where the value that starts at `at` ends.
fn value(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let len = match rest.first()? {
        b'0'..=b'9' | b'-' => number(rest)?,
        b'"' => string_len(rest)?,
        _ => word(rest)?,
    };
    Some(at + len)
}

/// The length of a number of ordinary size.
fn number(text: &[u8]) -> Option<usize> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let mut len = sign + digits(text.get(sign..)?)?;
    match text.get(len) {
        Some(b'i') => return Some(len + 1),
        Some(b'.') => len += 1 + digits(text.get(len + 1..)?)?,
        _ => {}
    }
    if matches!(text.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(text.get(len + 1 + sign..)?)?;
        len += (exponent <= 2).then_some(1 + sign + exponent)?;
    }
    Some(len)
}

/// One to 18 digits, which are below every limit.
fn digits(text: &[u8]) -> Option<usize> {
    let len = super::value::digits(text);
    (1..=18).contains(&len).then_some(len)
}

/// The length of a boolean.
fn word(text: &[u8]) -> Option<usize> {
    let len = text.iter().position(|c| matches!(c, b',' | b' '))?;
    matches!(
        text.get(..len)?,
        b"t" | b"T" | b"true" | b"True" | b"TRUE" | b"f" | b"F" | b"false" | b"False" | b"FALSE"
    )
    .then_some(len)
}

/// A time and nothing else.
fn time(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let value = match digits.first_chunk() {
        Some(all) if digits.len() == 19 => record::nineteen(*all)?,
        _ => few(digits)?,
    };
    let value = i64::try_from(value)
        .ok()
        .filter(|value| *value < i64::MAX)?;
    Some(if digits.len() < text.len() {
        -value
    } else {
        value
    })
}

/// The number that one to 18 digits spell.
fn few(digits: &[u8]) -> Option<u64> {
    if !(1..=18).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |sum, c| {
        c.is_ascii_digit().then(|| sum * 10 + u64::from(c - b'0'))
    })
}

fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}
