//! A lazy view of one point: where its names and its time are.

use memchr::{memchr, memchr2};

/// What stands where a timestamp may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// A number.
    At(i64),
    /// Nothing: the server would use its own clock.
    Missing,
    /// Digits that are no 64-bit number.
    Invalid,
}

/// The record without the line feed that ends it.
pub fn body(record: &[u8]) -> &[u8] {
    record.strip_suffix(b"\n").unwrap_or(record)
}

/// The timestamp at the end of a complete record.
///
/// From the right: blanks, digits, a sign, a space that is not escaped. Exact for every record a server accepts.
pub fn time(record: &[u8]) -> Time {
    let Some(digits) = time_text(record) else {
        return Time::Missing;
    };
    parse_time(digits).map_or(Time::Invalid, Time::At)
}

/// The bytes of the timestamp: an optional minus and digits.
pub fn time_text(record: &[u8]) -> Option<&[u8]> {
    let mut end = body(record);
    while let Some(rest) = end.strip_suffix(b" ") {
        end = rest;
    }
    let digits = end.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let mut start = end.len() - digits;
    if digits == 0 {
        return None;
    }
    start -= usize::from(end[..start].ends_with(b"-"));
    let before = end[..start].strip_suffix(b" ")?;
    (!before.ends_with(b"\\")).then(|| &end[start..])
}

fn parse_time(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    digits.iter().try_fold(0i64, |sum, c| {
        let digit = i64::from(c - b'0');
        let sum = sum.checked_mul(10)?;
        if negative {
            sum.checked_sub(digit)
        } else {
            sum.checked_add(digit)
        }
    })
}

/// The record from its first byte that is no blank (space, tab or NUL, as in the Go servers).
pub fn trim(record: &[u8]) -> &[u8] {
    let blanks = record
        .iter()
        .take_while(|c| matches!(c, b' ' | b'\t' | 0))
        .count();
    &record[blanks..]
}

/// Measurement and tags as they are spelled, up to the first space that is not escaped.
pub fn series_key(record: &[u8]) -> &[u8] {
    let record = trim(record);
    let mut from = 0;
    while let Some(at) = memchr(b' ', &record[from..]) {
        let at = from + at;
        if at == 0 || record[at - 1] != b'\\' {
            return &record[..at];
        }
        from = at + 1;
    }
    record
}

/// The measurement as it is spelled, escapes and all.
pub fn measurement(record: &[u8]) -> &[u8] {
    let record = trim(body(record));
    let mut from = 0;
    while let Some(at) = memchr2(b',', b' ', &record[from..]) {
        let at = from + at;
        if at == 0 || record[at - 1] != b'\\' {
            return &record[..at];
        }
        from = at + 1;
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_timestamp_from_the_right_end() {
        for (record, expected) in [
            ("m f=1 5\n", Time::At(5)),
            ("m f=1 -5  \n", Time::At(-5)),
            ("m f=1 007", Time::At(7)),
            ("m f=1\n", Time::Missing),
            ("m f=\"at 1465839830100400200\"\n", Time::Missing),
            ("m f=\"a b c\" 1\n", Time::At(1)),
            ("m f=\"a\"\\ 1\n", Time::Missing),
            ("m 1=1\n", Time::Missing),
            ("m f=1 1.5\n", Time::Missing),
            ("m f=1 9223372036854775807\n", Time::At(i64::MAX)),
            ("m f=1 -9223372036854775808\n", Time::At(i64::MIN)),
            ("m f=1 9223372036854775808\n", Time::Invalid),
            ("m f=1 1\r\n", Time::Missing),
            ("5\n", Time::Missing),
            ("\n", Time::Missing),
        ] {
            assert_eq!(expected, time(record.as_bytes()), "{record:?}");
        }
    }

    #[test]
    fn names_end_at_the_first_separator_that_is_not_escaped() {
        assert_eq!(
            b"my\\ m".as_slice(),
            measurement(b"my\\ m,host=a\\ b f=1 1\n")
        );
        assert_eq!(
            b"my\\ m,host=a\\ b".as_slice(),
            series_key(b"my\\ m,host=a\\ b f=1 1\n")
        );
        assert_eq!(b"m".as_slice(), measurement(b" \tm f=1\n"));
        assert_eq!(b"m\\\\,t=a".as_slice(), measurement(b"m\\\\,t=a f=1 1\n"));
        assert_eq!(b"".as_slice(), measurement(b",t=a f=1 1\n"));
        assert_eq!(b"m".as_slice(), measurement(b"m\n"));
    }
}
