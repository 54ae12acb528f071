//! Is a record so plain that every target stores it? Says no where it would take longer to find out.
//!
//! Plain is what exporters print: no backslashes in names but before a separator, one space between the parts,
//! a time, numbers of ordinary length, at most 64 keys (24 in no order), none of them reserved anywhere.
//! Such a record has the same spelling in both dialects.

use super::lex::string_len;
use super::shape::{Shape, Span};
use crate::lp::record;

/// Looks at plain records, and remembers what they looked like.
#[derive(Clone, Debug, Default)]
pub(super) struct Plain {
    /// The last plain record of each of a few measurements.
    shapes: Vec<Shape>,
    /// Which of them the last record was like.
    current: usize,
}

/// So many shapes, of one measurement each if they do not get in each other's way.
const SHAPES: usize = 32;
/// Far below every limit on lengths.
const MAX_LEN: usize = 32 << 10;

/// What is known of a record that keeps all rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its time.
    pub time: i64,
    /// How many bytes stand before its fields, if these may need another spelling; all the rest needs none.
    pub odd_series: Option<usize>,
}

impl Plain {
    /// What is known of the record, without its line feed, if it is plain or like one that was judged.
    pub(super) fn look(&mut self, text: &[u8]) -> Option<Known> {
        if text.len() > MAX_LEN {
            return None;
        }
        // Exports come series by series.
        if let Some(shape) = self.shapes.get(self.current)
            && let Some(time) = shape.of_series(text)
        {
            let odd_series = shape.odd_series();
            return Some(Known { time, odd_series });
        }
        let shape = self.shape(text)?;
        let time = shape.of_measurement(text).or_else(|| shape.learn(text))?;
        Some(Known {
            time,
            odd_series: None,
        })
    }

    /// Remember a record, without its line feed, that was judged by all rules and is fine.
    pub(super) fn judged(
        &mut self,
        text: &[u8],
        series: usize,
        fields: impl Iterator<Item = Span>,
    ) {
        if let Some(shape) = self.shape(text) {
            shape.judged(text, series, fields);
        }
    }

    /// The shape that the record may have.
    fn shape(&mut self, text: &[u8]) -> Option<&mut Shape> {
        if self.shapes.is_empty() {
            self.shapes.resize_with(SHAPES, Shape::default);
        }
        self.current = place(text);
        self.shapes.get_mut(self.current)
    }
}

/// Which shape a record may have, by the first bytes of its measurement.
fn place(text: &[u8]) -> usize {
    let name = text
        .iter()
        .take(32)
        .take_while(|c| !matches!(c, b',' | b' '));
    let hash = name.fold(0_u32, |hash, c| {
        (hash ^ u32::from(*c)).wrapping_mul(0x0100_0193)
    });
    // The upper bits depend on all bytes.
    (hash >> 16) as usize % SHAPES
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
pub(super) fn name(text: &[u8], at: usize, escaped: &[u8]) -> Option<usize> {
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
pub(super) fn key(text: &[u8], at: usize) -> Option<usize> {
    let end = name(text, at, b", =")?;
    let reserved = matches!(text.get(at..end)?, b"time" | [b'_', ..]);
    (text.get(end) == Some(&b'=') && !reserved).then_some(end)
}

/// Where the value that starts at `at` ends.
pub(super) fn value(text: &[u8], at: usize) -> Option<usize> {
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
    let whole = digits(text.get(sign..)?)?;
    let mut len = sign + whole;
    match text.get(len) {
        // 18 digits are below every limit.
        Some(b'i') => return (whole <= 18).then_some(len + 1),
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

/// One to 40 digits: with an exponent of two they are still far below the largest float.
fn digits(text: &[u8]) -> Option<usize> {
    let len = super::value::digits(text);
    (1..=40).contains(&len).then_some(len)
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
pub(super) fn time(text: &[u8]) -> Option<i64> {
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

/// Whether a key stands for itself in every dialect, wherever it stands.
pub(super) fn is_ordinary(key: &[u8]) -> bool {
    key.iter().all(|c| ORDINARY[usize::from(*c)])
}

/// Whether bytes are UTF-8.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}
