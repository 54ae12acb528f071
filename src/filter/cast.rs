//! Field values of one type turned into another, exactly or not at all.

use bstr::ByteSlice;

use crate::lp::escape;
use crate::lp::number;
use crate::rows::Kind;

/// Why a value cannot have another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The value would not be the same afterwards.
    #[error("a cast would change the value (--allow-loss rounds it)")]
    Inexact,
    /// There is no such value of the other type.
    #[error("a cast meets a value that the new type cannot hold")]
    Impossible,
    /// The value cannot be read.
    #[error("a cast meets something that is no field value")]
    Malformed,
}

/// A field value as it stands in a record.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scalar<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    /// What stands between the quotes.
    String(&'a [u8]),
}

/// Append `value` as a value of the type `to`; false, and nothing appended, if it is one already.
pub fn cast(value: &[u8], to: Kind, allow_loss: bool, out: &mut Vec<u8>) -> Result<bool, Loss> {
    let scalar = read(value).ok_or(Loss::Malformed)?;
    if kind(scalar) == to {
        return Ok(false);
    }
    match to {
        Kind::Float => number::float(float(scalar, allow_loss)?, out),
        Kind::Integer => {
            let whole = whole(scalar, allow_loss)?;
            number::signed(i64::try_from(whole).map_err(|_| Loss::Impossible)?, out);
            out.push(b'i');
        }
        Kind::Unsigned => {
            let whole = whole(scalar, allow_loss)?;
            number::unsigned(u64::try_from(whole).map_err(|_| Loss::Impossible)?, out);
            out.push(b'u');
        }
        Kind::Boolean => out.extend_from_slice(if boolean(scalar)? { b"true" } else { b"false" }),
        Kind::String => {
            let text = match scalar {
                Scalar::Integer(_) | Scalar::Unsigned(_) => &value[..value.len() - 1],
                _ => value,
            };
            escape::encode_string(text, out);
        }
    }
    Ok(true)
}

fn kind(scalar: Scalar<'_>) -> Kind {
    match scalar {
        Scalar::Float(_) => Kind::Float,
        Scalar::Integer(_) => Kind::Integer,
        Scalar::Unsigned(_) => Kind::Unsigned,
        Scalar::Boolean(_) => Kind::Boolean,
        Scalar::String(_) => Kind::String,
    }
}

fn read(value: &[u8]) -> Option<Scalar<'_>> {
    if let Some(text) = value.strip_prefix(b"\"") {
        return Some(Scalar::String(text.strip_suffix(b"\"")?));
    }
    if let Some(value) = boolean_word(value) {
        return Some(Scalar::Boolean(value));
    }
    if let Some(digits) = value.strip_suffix(b"i") {
        return Some(Scalar::Integer(digits_only(digits)?.parse().ok()?));
    }
    if let Some(digits) = value.strip_suffix(b"u") {
        return Some(Scalar::Unsigned(digits_only(digits)?.parse().ok()?));
    }
    decimal(value).map(Scalar::Float)
}

/// A whole number as servers take it: an optional minus, then digits.
fn digits_only(text: &[u8]) -> Option<&str> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then(|| text.to_str().ok())?
}

/// A finite number as servers take it: no plus in front, no words.
fn decimal(text: &[u8]) -> Option<f64> {
    let sane = |c: &u8| c.is_ascii_digit() || matches!(c, b'.' | b'-' | b'+' | b'e' | b'E');
    let value: f64 = text.to_str().ok()?.parse().ok()?;
    (text.iter().all(sane) && text.first() != Some(&b'+') && value.is_finite()).then_some(value)
}

fn boolean_word(text: &[u8]) -> Option<bool> {
    match text {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

fn float(scalar: Scalar<'_>, allow_loss: bool) -> Result<f64, Loss> {
    let whole = match scalar {
        Scalar::Float(value) => return Ok(value),
        Scalar::String(text) => return decimal(text).ok_or(Loss::Impossible),
        Scalar::Boolean(value) => i128::from(value),
        Scalar::Integer(value) => i128::from(value),
        Scalar::Unsigned(value) => i128::from(value),
    };
    let value = whole as f64;
    if value as i128 == whole || allow_loss {
        Ok(value)
    } else {
        Err(Loss::Inexact)
    }
}

fn whole(scalar: Scalar<'_>, allow_loss: bool) -> Result<i128, Loss> {
    match scalar {
        Scalar::Integer(value) => Ok(value.into()),
        Scalar::Unsigned(value) => Ok(value.into()),
        Scalar::Boolean(value) => Ok(value.into()),
        Scalar::String(text) => digits_only(text)
            .and_then(|digits| digits.parse().ok())
            .ok_or(Loss::Impossible),
        // Minus zero has no whole number of its own.
        Scalar::Float(value)
            if value.fract() == 0.0 && !(value == 0.0 && value.is_sign_negative()) =>
        {
            Ok(value as i128)
        }
        Scalar::Float(value) if allow_loss => Ok(value as i128),
        Scalar::Float(_) => Err(Loss::Inexact),
    }
}

fn boolean(scalar: Scalar<'_>) -> Result<bool, Loss> {
    match scalar {
        Scalar::Boolean(value) => Ok(value),
        Scalar::String(text) => boolean_word(text).ok_or(Loss::Impossible),
        scalar => match float(scalar, false) {
            Ok(0.0) => Ok(false),
            Ok(1.0) => Ok(true),
            _ => Err(Loss::Impossible),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast_text(value: &str, to: Kind, allow_loss: bool) -> Result<String, Loss> {
        let mut out = Vec::new();
        let changed = cast(value.as_bytes(), to, allow_loss, &mut out)?;
        Ok(if changed {
            String::from_utf8(out).unwrap()
        } else {
            value.into()
        })
    }

    #[test]
    fn casts_that_keep_the_value_are_done() {
        for (value, to, expected) in [
            ("1.0", Kind::Integer, "1i"),
            ("-3e2", Kind::Integer, "-300i"),
            ("5i", Kind::Float, "5"),
            ("9007199254740992i", Kind::Float, "9.007199254740992e+15"),
            ("5i", Kind::Unsigned, "5u"),
            (
                "18446744073709551615u",
                Kind::String,
                "\"18446744073709551615\"",
            ),
            ("1.50", Kind::String, "\"1.50\""),
            ("true", Kind::String, "\"true\""),
            ("t", Kind::Integer, "1i"),
            ("\"7\"", Kind::Integer, "7i"),
            ("\"1.5\"", Kind::Float, "1.5"),
            ("\"True\"", Kind::Boolean, "true"),
            ("0i", Kind::Boolean, "false"),
            ("1.50", Kind::Float, "1.50"),
        ] {
            assert_eq!(
                Ok(expected.to_owned()),
                cast_text(value, to, false),
                "{value} {to:?}"
            );
        }
    }

    #[test]
    fn casts_that_would_lose_something_are_refused() {
        for (value, to, expected) in [
            ("1.5", Kind::Integer, Loss::Inexact),
            ("-0", Kind::Integer, Loss::Inexact),
            ("9223372036854775807i", Kind::Float, Loss::Inexact),
            ("1e19", Kind::Integer, Loss::Impossible),
            ("-1i", Kind::Unsigned, Loss::Impossible),
            ("\"x\"", Kind::Integer, Loss::Impossible),
            ("\"+1\"", Kind::Integer, Loss::Impossible),
            ("\"inf\"", Kind::Float, Loss::Impossible),
            ("2i", Kind::Boolean, Loss::Impossible),
            ("1x", Kind::Integer, Loss::Malformed),
            ("NaN", Kind::String, Loss::Malformed),
        ] {
            assert_eq!(Err(expected), cast_text(value, to, false), "{value} {to:?}");
        }
    }

    #[test]
    fn a_flag_allows_rounding_and_nothing_else() {
        assert_eq!(Ok("1i".into()), cast_text("1.9", Kind::Integer, true));
        assert_eq!(
            Ok("9.223372036854776e+18".into()),
            cast_text("9223372036854775807i", Kind::Float, true)
        );
        assert_eq!(
            Err(Loss::Impossible),
            cast_text("1e300", Kind::Integer, true)
        );
    }
}
