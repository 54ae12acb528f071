//! How are numbers printed? As Go prints them, so that text from here and from InfluxDB's own tools is the same.

/// Append a float in the form of Go's `strconv.FormatFloat(v, 'g', -1, 64)`.
///
/// The shortest digits that read back as the same bits, with an exponent of at least two digits where it is
/// below -4 or above 5: `100000`, `1e+06`, `0.0001`, `1e-05`, `-0`. Infinities and NaN, which line protocol
/// cannot hold, are the caller's business; here they come out as `+Inf`, `-Inf` and `NaN`.
pub fn float(value: f64, out: &mut Vec<u8>) {
    if value.abs() < 1e6 && value.trunc() == value && (value != 0.0 || value.is_sign_positive()) {
        // A whole number below a million has its digits in itself.
        return signed(value as i64, out);
    }
    shortest(value, out);
}

/// Append a signed integer, without the `i`.
pub fn signed(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Append an unsigned integer, without the `u`.
pub fn unsigned(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn shortest(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    let mut buf = zmij::Buffer::new();
    let mut text = buf.format_finite(value).as_bytes();
    if let Some((b'-', rest)) = text.split_first() {
        out.push(b'-');
        text = rest;
    }
    let digits = Digits::of(text);
    if (-4..6).contains(&(digits.point - 1)) {
        digits.plain(out);
    } else {
        digits.scientific(out);
    }
}

/// The digits of a float, without zeros at either end, and where the point stands.
struct Digits {
    /// Seventeen at most are significant; zeros in front of them do not get here.
    bytes: [u8; 24],
    len: usize,
    /// The value is `0.DIGITS * 10^point`.
    point: i32,
}

impl Digits {
    /// Taken from text such as `0.001`, `123.5`, `1e-7` or `1.5e300`.
    fn of(text: &[u8]) -> Self {
        let mut digits = Self {
            bytes: [0; 24],
            len: 0,
            point: 0,
        };
        let mut behind = false;
        for (i, &c) in text.iter().enumerate() {
            match c {
                b'.' => behind = true,
                b'e' => {
                    digits.point += exponent(text.get(i + 1..).unwrap_or_default());
                    break;
                }
                _ => digits.push(c, behind),
            }
        }
        while digits.len > 0 && digits.bytes.get(digits.len - 1) == Some(&b'0') {
            digits.len -= 1;
        }
        if digits.len == 0 {
            digits.point = 1;
        }
        digits
    }

    fn push(&mut self, digit: u8, behind: bool) {
        if self.len == 0 && digit == b'0' {
            self.point -= i32::from(behind);
            return;
        }
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = digit;
            self.len += 1;
        }
        self.point += i32::from(!behind);
    }

    fn significant(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn plain(&self, out: &mut Vec<u8>) {
        let digits = self.significant();
        let whole = usize::try_from(self.point).unwrap_or(0);
        if whole == 0 {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + self.point.unsigned_abs() as usize, b'0');
            return out.extend_from_slice(digits);
        }
        match digits.split_at_checked(whole) {
            Some((head, tail)) if !tail.is_empty() => {
                out.extend_from_slice(head);
                out.push(b'.');
                out.extend_from_slice(tail);
            }
            _ => {
                out.extend_from_slice(digits);
                out.resize(out.len() + whole - digits.len(), b'0');
            }
        }
    }

    fn scientific(&self, out: &mut Vec<u8>) {
        if let Some((first, rest)) = self.significant().split_first() {
            out.push(*first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
        }
        let exponent = self.point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        unsigned(exponent.unsigned_abs().into(), out);
    }
}

/// The number behind an `e`; what is no number cannot come from a formatter and counts as zero.
fn exponent(text: &[u8]) -> i32 {
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
