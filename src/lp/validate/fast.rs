//! Is a record so plain that every target stores it? Says no where it would take longer to find out.
//!
//! Plain is what exporters print: no backslashes in names but before a separator, one space between the parts,
//! a time, numbers of ordinary length, at most 64 keys (24 in no order), none of them reserved anywhere.

use super::lex::string_len;

/// Looks at plain records. Used again for the next record.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
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
    /// Whether the record, without its line feed, is plain.
    pub(super) fn is_fine(&mut self, text: &[u8]) -> bool {
        text.len() <= MAX_LEN
            && self.scan(text) == Some(())
            && self.are_distinct(text)
            && (text.is_ascii() || std::str::from_utf8(text).is_ok())
    }

    fn scan(&mut self, text: &[u8]) -> Option<()> {
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
        let value = end + 1;
        let rest = text.get(value..)?;
        let len = match rest.first()? {
            b'0'..=b'9' | b'-' => number(rest)?,
            b'"' => string_len(rest)?,
            _ => word(rest)?,
        };
        Some(value + len)
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
fn time(text: &[u8]) -> Option<()> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let few = match digits.len() {
        1..=18 => true,
        19 => digits <= b"9223372036854775806".as_slice(),
        _ => false,
    };
    (few && digits.iter().all(u8::is_ascii_digit)).then_some(())
}
