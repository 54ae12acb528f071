//! How are numbers printed? As Go prints them, so that text from here and from InfluxDB's own tools is the same.

use super::cell::{self, Cell};

/// Append a float in the form of Go's `strconv.FormatFloat(v, 'g', -1, 64)`.
///
/// The shortest digits that read back as the same bits, with an exponent of at least two digits where it is
/// below -4 or above 5: `100000`, `1e+06`, `0.0001`, `1e-05`, `-0`. Infinities and NaN, which line protocol
/// cannot hold, are the caller's business; here they come out as `+Inf`, `-Inf` and `NaN`.
pub fn float(value: f64, out: &mut Vec<u8>) {
    let mut cell = [0; cell::SIZE];
    let n = cell::float(value, &mut cell);
    out.extend_from_slice(cell.get(..n).unwrap_or_default());
}

/// Append a signed integer, without the `i`.
pub fn signed(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Append an unsigned integer, without the `u`.
pub fn unsigned(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// What has no digits of its own, or zero below zero; the length of its text.
#[cold]
pub(super) fn odd(value: f64, cell: &mut Cell) -> usize {
    let text = match value {
        v if v.is_nan() => b"NaN".as_slice(),
        0.0 => b"-0",
        v if v > 0.0 => b"+Inf",
        _ => b"-Inf",
    };
    let mut layout = Layout { cell, len: 0 };
    layout.bytes(text);
    layout.len
}

/// Text such as `0.00001`, `1234567.5`, `1e-7` or `1.5e300` with one digit before the point and an exponent of at
/// least two digits; the length of the text.
pub(super) fn scientific(text: &[u8], cell: &mut Cell) -> usize {
    let mut layout = Layout { cell, len: 0 };
    let text = match text.split_first() {
        Some((b'-', rest)) => {
            layout.byte(b'-');
            rest
        }
        _ => text,
    };
    let (number, mut exponent) =
        match memchr::memchr(b'e', text).and_then(|at| text.split_at_checked(at)) {
            Some((number, behind)) => (number, parsed(behind.get(1..).unwrap_or_default())),
            None => (text, 0),
        };
    let point = memchr::memchr(b'.', number).unwrap_or(number.len());
    let first = number
        .iter()
        .position(|c| !matches!(c, b'0' | b'.'))
        .unwrap_or(0);
    let last = number
        .iter()
        .rposition(|c| !matches!(c, b'0' | b'.'))
        .unwrap_or(0);
    exponent += match first < point {
        true => point as i32 - first as i32 - 1,
        false => point as i32 - first as i32,
    };
    let mut digits = number
        .get(first..=last)
        .unwrap_or_default()
        .iter()
        .filter(|c| **c != b'.');
    digits
        .next()
        .into_iter()
        .for_each(|digit| layout.byte(*digit));
    if last > first {
        layout.byte(b'.');
        digits.for_each(|digit| layout.byte(*digit));
    }
    layout.exponent(exponent);
    layout.len
}

/// A text in the making.
struct Layout<'a> {
    cell: &'a mut Cell,
    len: usize,
}

impl Layout<'_> {
    fn byte(&mut self, c: u8) {
        if let Some(place) = self.cell.get_mut(self.len) {
            *place = c;
            self.len += 1;
        }
    }

    fn bytes(&mut self, text: &[u8]) {
        text.iter().for_each(|c| self.byte(*c));
    }

    fn exponent(&mut self, exponent: i32) {
        self.bytes(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            self.byte(b'0');
        }
        self.bytes(
            itoa::Buffer::new()
                .format(exponent.unsigned_abs())
                .as_bytes(),
        );
    }
}

/// The number behind an `e`; what is no number cannot come from a formatter and counts as zero.
fn parsed(text: &[u8]) -> i32 {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn go(value: f64) -> String {
        let mut out = Vec::new();
        float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_as_go_prints_them() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("1", 1.0),
            ("-7", -7.0),
            ("100000", 1e5),
            ("999999", 999_999.0),
            ("999999.5", 999_999.5),
            ("1e+06", 1e6),
            ("-1e+06", -1e6),
            ("1.234567e+06", 1_234_567.0),
            ("1.23456789e+08", 123_456_789.0),
            ("1.5", 1.5),
            ("123.25", 123.25),
            ("0.1", 0.1),
            ("0.30000000000000004", 0.1 + 0.2),
            ("0.0001", 1e-4),
            ("0.00012345", 1.2345e-4),
            ("1e-05", 1e-5),
            ("1.5e-07", 1.5e-7),
            ("1e+20", 1e20),
            ("1e+21", 1e21),
            ("1e+100", 1e100),
            ("5e-324", 5e-324),
            ("2.2250738585072014e-308", f64::MIN_POSITIVE),
            ("1.7976931348623157e+308", f64::MAX),
            ("+Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
            ("NaN", f64::NAN),
        ] {
            assert_eq!(text, go(value));
        }
    }

    #[test]
    fn integers_reach_both_ends() {
        let mut out = Vec::new();
        signed(i64::MIN, &mut out);
        unsigned(u64::MAX, &mut out);
        assert_eq!(
            "-922337203685477580818446744073709551615",
            String::from_utf8(out).unwrap()
        );
    }

    /// Rust's own scientific form, bent to Go's rules digit by digit.
    fn plain_rule(value: f64) -> String {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        if !(-4..6).contains(&exponent) {
            let sign = if exponent < 0 { '-' } else { '+' };
            return format!("{mantissa}e{sign}{:02}", exponent.abs());
        }
        format!("{value}")
    }

    proptest! {
        #[test]
        fn any_float_reads_back_and_has_the_plain_layout(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let text = go(value);
            prop_assert_eq!(bits, text.parse::<f64>().unwrap().to_bits());
            prop_assert_eq!(plain_rule(value).len(), text.len());
        }

        #[test]
        fn numbers_of_human_size_have_the_plain_layout(n in -10_000_000i64..10_000_000, scale in 0i32..9) {
            let value = n as f64 / 10f64.powi(scale);
            prop_assert_eq!(plain_rule(value), go(value));
        }
    }
}
