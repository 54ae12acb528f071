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
    if let Some(time) = nineteen_digits(body(record)) {
        return Time::At(time);
    }
    let Some(digits) = time_text(record) else {
        return Time::Missing;
    };
    parse_time(digits).map_or(Time::Invalid, Time::At)
}

/// The time of nearly every record: nineteen digits, which is any nanosecond since 2001.
fn nineteen_digits(body: &[u8]) -> Option<i64> {
    let (head, digits) = body.split_last_chunk::<19>()?;
    if !head.ends_with(b" ") || head.ends_with(b"\\ ") {
        return None;
    }
    i64::try_from(nineteen(*digits)?).ok()
}

/// The number that nineteen digits spell.
pub(super) fn nineteen(digits: [u8; 19]) -> Option<u64> {
    let (first, rest) = digits.split_first_chunk::<8>()?;
    let (second, rest) = rest.split_first_chunk::<8>()?;
    let mut value = eight_digits(*first)? * 100_000_000 + eight_digits(*second)?;
    for c in rest {
        value = value * 10 + u64::from(c.is_ascii_digit().then(|| c - b'0')?);
    }
    Some(value)
}

/// Eight digits at once: pairs, then fours, then all eight are summed inside one word.
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(text);
    let high = word & 0xF0F0_F0F0_F0F0_F0F0;
    let over = word.wrapping_add(0x0606_0606_0606_0606) & 0xF0F0_F0F0_F0F0_F0F0;
    if high != 0x3030_3030_3030_3030 || over != high {
        return None;
    }
    let ones = word & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = (ones.wrapping_mul(2561) >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_FFFF_0000_FFFF;
    Some(fours.wrapping_mul(42_949_672_960_001) >> 32)
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
    let before = match end[..start].strip_suffix(b" ") {
        Some(before) => before,
        None => before_blanks(&end[..start])?,
    };
    (!before.ends_with(b"\\")).then(|| &end[start..])
}

/// What stands before a space and the tabs and NULs behind it, which Go servers take for blanks as well.
#[cold]
fn before_blanks(text: &[u8]) -> Option<&[u8]> {
    let odd = text
        .iter()
        .rev()
        .take_while(|c| matches!(c, b'\t' | 0))
        .count();
    if odd == 0 {
        None
    } else {
        text[..text.len() - odd].strip_suffix(b" ")
    }
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
    let record = trim(body(record));
    &record[..name_end(record, |rest| memchr(b' ', rest))]
}

/// The measurement as it is spelled, escapes and all.
pub fn measurement(record: &[u8]) -> &[u8] {
    let record = trim(body(record));
    &record[..name_end(record, |rest| memchr2(b',', b' ', rest))]
}

/// Where a name ends: at the first separator without a backslash right before it (`scanTo@1.8`), or with the text.
fn name_end(text: &[u8], find: impl Fn(&[u8]) -> Option<usize>) -> usize {
    let mut from = 0;
    while let Some(at) = find(&text[from..]) {
        let at = from + at;
        if at == 0 || text[at - 1] != b'\\' {
            return at;
        }
        from = at + 1;
    }
    text.len()
}

/// A record cut into its three sections, without the blanks between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Measurement and tags, as spelled.
    pub series: &'a [u8],
    /// All fields, as spelled.
    pub fields: &'a [u8],
    /// The timestamp's digits, if there are any.
    pub time: Option<&'a [u8]>,
}

/// The sections of a whole record.
pub fn parts(record: &[u8]) -> Parts<'_> {
    let text = trim(body(record));
    let series = series_key(text);
    let rest = trim(&text[series.len()..]);
    let time = time_text(rest);
    let fields = match time {
        Some(time) => &rest[..rest.trim_ascii_end().len() - time.len()],
        None => rest,
    };
    let blanks = fields
        .iter()
        .rev()
        .take_while(|c| matches!(c, b' ' | b'\t' | 0))
        .count();
    Parts {
        series,
        fields: &fields[..fields.len() - blanks],
        time,
    }
}

/// A piece of a record that is no `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is malformed: something is not key=value")]
pub struct Malformed;

/// One tag or one field: key and value as they are spelled.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// The tags of a series key, one by one, as spelled.
pub fn tags(series: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, Malformed>> {
    let mut rest = series.get(measurement(series).len() + 1..);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = name_end(text, |rest| memchr(b',', rest));
        rest = text.get(end + 1..);
        Some(pair(&text[..end]))
    })
}

fn pair(tag: &[u8]) -> Result<Pair<'_>, Malformed> {
    let at = name_end(tag, |rest| memchr(b'=', rest));
    let value = tag.get(at + 1..).ok_or(Malformed)?;
    if at == 0 || value.is_empty() {
        Err(Malformed)
    } else {
        Ok((&tag[..at], value))
    }
}

/// The fields of a field section, one by one, as spelled; a string with its quotes.
pub fn fields(section: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, Malformed>> {
    let mut rest = Some(section);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let found = field(text);
        if let Ok((key, value)) = found {
            match text.get(key.len() + 1 + value.len()..) {
                Some([b',', behind @ ..]) => rest = Some(behind),
                Some([]) | None => {}
                Some(_) => return Some(Err(Malformed)),
            }
        }
        Some(found)
    })
}

fn field(text: &[u8]) -> Result<Pair<'_>, Malformed> {
    let at = name_end(text, |rest| memchr(b'=', rest));
    let value = text.get(at + 1..).ok_or(Malformed)?;
    let len = match value.first() {
        Some(b'"') => string_len(value).ok_or(Malformed)?,
        _ => memchr(b',', value).unwrap_or(value.len()),
    };
    if at == 0 || len == 0 {
        Err(Malformed)
    } else {
        Ok((&text[..at], &value[..len]))
    }
}

/// The length of the string that starts a text, with both quotes.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
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
            ("m f=1 \t1\n", Time::At(1)),
            ("m f=1 \0\t-1\n", Time::At(-1)),
            ("m f=1\t1\n", Time::Missing),
            ("5\n", Time::Missing),
            ("\n", Time::Missing),
        ] {
            assert_eq!(expected, time(record.as_bytes()), "{record:?}");
        }
    }

    /// The rule without the shortcut.
    fn plain_time(record: &[u8]) -> Time {
        time_text(record).map_or(Time::Missing, |text| {
            parse_time(text).map_or(Time::Invalid, Time::At)
        })
    }

    proptest::proptest! {
        #[test]
        fn the_shortcut_for_nineteen_digits_agrees_with_the_rule(
            head in "[m f=1\\\\\"-]{0,6}", digits in "[0-9:/a.]{17,21}|[0-9]{18,20}", tail in "( {0,2}\n)?"
        ) {
            let record = head + &digits + &tail;
            proptest::prop_assert_eq!(plain_time(record.as_bytes()), time(record.as_bytes()));
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

    fn pairs<'a>(items: impl Iterator<Item = Result<Pair<'a>, Malformed>>) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        items
            .map(|item| item.map_or("!".into(), |(key, value)| text(key) + ">" + &text(value)))
            .collect()
    }

    #[test]
    fn a_record_has_three_sections() {
        let found = parts(b" m,t=a \tf=1,s=\"a 5\"  7  \n");
        assert_eq!(
            Parts {
                series: b"m,t=a",
                fields: b"f=1,s=\"a 5\"",
                time: Some(b"7")
            },
            found
        );
        assert_eq!(
            Parts {
                series: b"m",
                fields: b"f=1",
                time: None
            },
            parts(b"m f=1 \n")
        );
        assert_eq!(
            Parts {
                series: b"m",
                fields: b"",
                time: None
            },
            parts(b"m")
        );
    }

    #[test]
    fn tags_are_cut_where_no_backslash_stands_before() {
        assert_eq!(
            ["a>1", "b\\,c>d\\=e"],
            pairs(tags(b"m,a=1,b\\,c=d\\=e")).as_slice()
        );
        assert_eq!(["t>=a"], pairs(tags(b"m,t==a")).as_slice());
        assert_eq!(["!"], pairs(tags(b"m,a")).as_slice());
        assert_eq!(["!", "b>c"], pairs(tags(b"m,a=,b=c")).as_slice());
        assert_eq!(["a>1", "!"], pairs(tags(b"m,a=1,")).as_slice());
        assert!(pairs(tags(b"m")).is_empty());
    }

    #[test]
    fn fields_are_cut_outside_of_strings() {
        assert_eq!(
            ["a>1", "s>\"x,y=\\\"z\"", "b>t"],
            pairs(fields(b"a=1,s=\"x,y=\\\"z\",b=t")).as_slice()
        );
        assert_eq!(["!"], pairs(fields(b"s=\"open")).as_slice());
        assert_eq!(["s>\"a\"", "!"], pairs(fields(b"s=\"a\",")).as_slice());
        assert_eq!(["!"], pairs(fields(b"")).as_slice());
    }
}
