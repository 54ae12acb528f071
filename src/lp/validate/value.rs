//! Is the text behind a field's `=` a number or a boolean, and of which type?

use super::{Fault, Rule};

/// The type of a field value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A float that every server reads.
    Float,
    /// A float such as `1.` or `.5`, which InfluxDB 3 does not read.
    BareFloat,
    /// An integer, `1i`.
    Integer,
    /// An unsigned integer, `1u`.
    Unsigned,
    /// A boolean.
    Boolean,
    /// A string.
    String,
}

impl Kind {
    /// Whether a column can hold both.
    pub(crate) fn same_type(self, other: Self) -> bool {
        let plain = |kind| match kind {
            Self::BareFloat => Self::Float,
            kind => kind,
        };
        plain(self) == plain(other)
    }
}

/// The type of a value that is no string; `at` is where it stands in its record.
pub(crate) fn kind(text: &[u8], at: usize) -> Result<Kind, Fault> {
    let fault = |(rule, what)| Fault::new(rule, at, what);
    match text.first() {
        Some(b't' | b'T' | b'f' | b'F') => boolean(text).map_err(fault),
        Some(b'0'..=b'9' | b'-' | b'.') => number(text).map_err(fault),
        _ => Err(fault(word(text))),
    }
}

type Wrong = (Rule, &'static str);

fn boolean(text: &[u8]) -> Result<Kind, Wrong> {
    match text {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(Kind::Boolean),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(Kind::Boolean),
        _ => Err((
            Rule::E12,
            "a boolean is t, T, true, True, TRUE or f, F, false, False, FALSE (a string needs quotes)",
        )),
    }
}

fn word(text: &[u8]) -> Wrong {
    match text.strip_prefix(b"+") {
        None if is_not_finite(text) => NOT_FINITE,
        None => (
            Rule::E12,
            "the value is no number, boolean or quoted string (a string needs double quotes)",
        ),
        Some(text) if is_not_finite(text) => NOT_FINITE,
        Some(_) => (Rule::E09, "a number has no plus sign"),
    }
}

const NOT_FINITE: Wrong = (
    Rule::E10,
    "the float is not finite: line protocol has no NaN and no infinity (leave the field out)",
);
const NUMBER: Wrong = (
    Rule::E09,
    "the value is no number that a server reads: digits, at most one point, an exponent, a final i or u",
);

fn is_not_finite(text: &[u8]) -> bool {
    [&b"nan"[..], b"inf", b"infinity"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

fn number(text: &[u8]) -> Result<Kind, Wrong> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(unsigned);
    match unsigned.get(whole..).unwrap_or_default() {
        b"" if whole > 0 => finite(text, 0).map(|()| Kind::Float),
        b"i" if whole > 0 => integer(text),
        b"u" if whole > 0 => unsigned_integer(text),
        rest => float(text, whole, rest),
    }
}

/// `rest` follows the digits before the point.
fn float(text: &[u8], whole: usize, rest: &[u8]) -> Result<Kind, Wrong> {
    let (point, rest) = match rest.strip_prefix(b".") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let fraction = if point { digits(rest) } else { 0 };
    let exponent = exponent(rest.get(fraction..).unwrap_or_default());
    let Some(exponent) = exponent.filter(|_| whole + fraction > 0) else {
        let word = text.strip_prefix(b"-").unwrap_or_default();
        return Err(if is_not_finite(word) {
            NOT_FINITE
        } else {
            NUMBER
        });
    };
    finite(text, exponent)?;
    let bare = point && (whole == 0 || fraction == 0);
    Ok(if bare { Kind::BareFloat } else { Kind::Float })
}

/// How many digits the exponent has, which may be missing.
fn exponent(text: &[u8]) -> Option<usize> {
    let rest = match text.split_first() {
        None => return Some(0),
        Some((b'e' | b'E', rest)) => rest,
        Some(_) => return None,
    };
    let sign = matches!(rest.first(), Some(b'+' | b'-'));
    let rest = rest.get(usize::from(sign)..).unwrap_or_default();
    (!rest.is_empty() && digits(rest) == rest.len()).then_some(rest.len())
}

/// Whether digits with perhaps a point and an exponent are a finite float.
fn finite(text: &[u8], exponent: usize) -> Result<(), Wrong> {
    // 200 digits before an exponent of two are far below the largest float, which has 309.
    if text.len() < 200 && exponent < 3 {
        return Ok(());
    }
    let value: Option<f64> = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
    match value {
        Some(value) if value.is_finite() => Ok(()),
        Some(_) => Err((
            Rule::E10,
            "the float is too large for 64 bits and would be stored as infinity or not at all",
        )),
        None => Err(NUMBER),
    }
}

fn integer(text: &[u8]) -> Result<Kind, Wrong> {
    let digits = text.strip_suffix(b"i").unwrap_or(text);
    signed(digits).map(|_| Kind::Integer).ok_or((
        Rule::E11,
        "the integer is outside -9223372036854775808 to 9223372036854775807",
    ))
}

fn unsigned_integer(text: &[u8]) -> Result<Kind, Wrong> {
    let digits = text.strip_suffix(b"u").unwrap_or(text);
    let value = digits.iter().try_fold(0u64, |sum, c| {
        sum.checked_mul(10)?
            .checked_add(u64::from(c.wrapping_sub(b'0')))
    });
    let value = value.filter(|_| !digits.starts_with(b"-"));
    value.map(|_| Kind::Unsigned).ok_or((
        Rule::E11,
        "the unsigned integer is outside 0 to 18446744073709551615",
    ))
}

/// The 64-bit number that digits after an optional minus spell; the caller has seen that they are digits.
pub(super) fn signed(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let negative = digits.len() < text.len();
    digits.iter().try_fold(0i64, |sum, c| {
        let digit = i64::from(c.wrapping_sub(b'0'));
        let sum = sum.checked_mul(10)?;
        if negative {
            sum.checked_sub(digit)
        } else {
            sum.checked_add(digit)
        }
    })
}

/// How many bytes from the start are digits.
pub(super) fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|c| c.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Kind, Rule> {
        kind(text.as_bytes(), 0).map_err(|fault| fault.rule)
    }

    #[test]
    fn every_type_has_its_spellings() {
        let all = [
            (
                Kind::Float,
                "1 -1 1.0 01 00.5 1e10 1E+10 1e-10 -1.5e3 -0 -0.0 9223372036854775808 1e-400",
            ),
            (Kind::BareFloat, "1. .5 -.5 1.e5 .5e5 -1."),
            (
                Kind::Integer,
                "1i -1i -0i 01i 9223372036854775807i -9223372036854775808i 0000000000000000000000001i",
            ),
            (Kind::Unsigned, "1u 0u 01u 18446744073709551615u"),
            (Kind::Boolean, "t T true True TRUE f F false False FALSE"),
        ];
        for (kind, texts) in all {
            for text in texts.split(' ') {
                assert_eq!(Ok(kind), read(text), "{text}");
            }
        }
    }

    #[test]
    fn what_no_server_reads_is_refused_with_its_rule() {
        let all = [
            (
                Rule::E09,
                "+1 +1i . - -. --1 1-1 1e 1e+ 1.1.1 0x10 1f 1_0 1.5i 1e2i -i 1ii 1i2 1iu 1e5e5 .e5 -e5 1ui - .i 1.u",
            ),
            (
                Rule::E10,
                "NaN nan Inf inf -inf +Inf infinity -Infinity 1e400 -1e400 1.7976931348623159e308 1.e309 99e307 1e+309",
            ),
            (
                Rule::E11,
                "9223372036854775808i -9223372036854775809i 18446744073709551616u -1u -0u 99999999999999999999999999i",
            ),
            (
                Rule::E12,
                "e5 i u tRUE tr yes TrUe falsee 'abc' \\\"abc\\\" 1␍",
            ),
        ];
        for (rule, texts) in all {
            for text in texts.split(' ') {
                let expected = if text.starts_with("1␍") {
                    Rule::E09
                } else {
                    rule
                };
                assert_eq!(Err(expected), read(text), "{text}");
            }
        }
    }

    #[test]
    fn the_longest_finite_floats_pass() {
        assert_eq!(Ok(Kind::Float), read("1.7976931348623157e308"));
        assert_eq!(Ok(Kind::Float), read(&"9".repeat(308)));
        assert_eq!(Err(Rule::E10), read(&"9".repeat(400)));
    }

    proptest! {
        #[test]
        fn numbers_are_finite_exactly_when_they_parse_so(
            digits in "[0-9]{1,25}", fraction in "(\\.[0-9]{0,20})?", exponent in "([eE][+-]?[0-9]{1,4})?"
        ) {
            let text = format!("{digits}{fraction}{exponent}");
            let value: f64 = text.parse().unwrap();
            prop_assert_eq!(value.is_finite(), read(&text).is_ok(), "{}", text);
        }
    }
}
