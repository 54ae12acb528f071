//! Numbers as text in places of fixed size, for whoever lays out many of them: the text starts at the first byte,
//! what stands behind its end means nothing. The same text as in [`super::number`], without a look at a length.

/// No number takes more: `-1.7976931348623157e+308`.
pub const SIZE: usize = 24;

/// A place for one number.
pub type Cell = [u8; SIZE];

/// Put a float there as [`super::number::float`] prints it; the length of its text.
#[inline]
pub fn float(value: f64, cell: &mut Cell) -> usize {
    let size = value.abs();
    if size < 1e6 && f64::from(value as i32) == value && value.to_bits() != 1 << 63 {
        // A whole number below a million has its digits in itself.
        return signed(i64::from(value as i32), cell);
    }
    if !value.is_finite() || value == 0.0 {
        return super::number::odd(value, cell);
    }
    let mut buf = zmij::Buffer::new();
    let text = buf.format_finite(value).as_bytes();
    if (1e-4..1e6).contains(&size) {
        return copied(text, cell);
    }
    super::number::scientific(text, cell)
}

/// Put a signed integer there, without the `i`; the length of its text.
#[inline]
pub fn signed(value: i64, cell: &mut Cell) -> usize {
    cell[0] = b'-';
    digits(value.unsigned_abs(), cell, usize::from(value < 0))
}

/// Put an unsigned integer there, without the `u`; the length of its text.
#[inline]
pub fn unsigned(value: u64, cell: &mut Cell) -> usize {
    digits(value, cell, 0)
}

const E8: u64 = 100_000_000;

/// Put the digits from `at` on, which is 0 or 1; where they end.
#[inline]
fn digits(value: u64, cell: &mut Cell, at: usize) -> usize {
    if value < E8 {
        return few(value, cell, at);
    }
    let (high, low) = (value / E8, value % E8);
    if high < E8 {
        let at = few(high, cell, at);
        return eight(low, cell, at);
    }
    // Four digits at most are left: 2^64 has twenty.
    let at = few(high / E8, cell, at);
    let at = eight(high % E8, cell, at);
    eight(low, cell, at)
}

/// A number of at most eight digits.
#[inline]
fn few(value: u64, cell: &mut Cell, at: usize) -> usize {
    let digits = apart(value);
    // Zeros in front are low bytes; the last digit stays, whatever it is.
    let zeros = ((digits | 1 << 63).trailing_zeros() / 8) as usize;
    put(ascii(digits) >> (8 * zeros), cell, at);
    at + 8 - zeros
}

/// A number as eight digits, with its zeros in front.
#[inline]
fn eight(value: u64, cell: &mut Cell, at: usize) -> usize {
    put(ascii(apart(value)), cell, at);
    at + 8
}

/// The eight digits of a number below 10^8, one in each byte, the first one lowest.
///
/// Halved three times, all halves of a step at once. The factors are reciprocals that are exact below 10^4 and 10^2.
#[inline]
fn apart(value: u64) -> u64 {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | ((twos - tens * 10) << 8)
}

#[inline]
fn ascii(digits: u64) -> u64 {
    digits | 0x3030_3030_3030_3030
}

#[inline]
fn put(text: u64, cell: &mut Cell, at: usize) {
    cell[at..at + 8].copy_from_slice(&text.to_le_bytes());
}

/// A text of at least one byte, in steps of fixed size that may overlap.
#[inline]
fn copied(text: &[u8], cell: &mut Cell) -> usize {
    let n = text.len();
    if let (Some(head), Some(tail)) = (text.first_chunk::<16>(), text.last_chunk::<8>()) {
        cell[..16].copy_from_slice(head);
        cell[n - 8..n].copy_from_slice(tail);
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        cell[..8].copy_from_slice(head);
        cell[n - 8..n].copy_from_slice(tail);
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        cell[..4].copy_from_slice(head);
        cell[n - 4..n].copy_from_slice(tail);
    } else {
        cell[..n].copy_from_slice(text);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(put: impl FnOnce(&mut Cell) -> usize) -> String {
        let mut cell = [b'?'; SIZE];
        let n = put(&mut cell);
        String::from_utf8(cell[..n].to_vec()).unwrap()
    }

    #[test]
    fn integers_of_every_length_have_their_digits() {
        for n in 0..20 {
            for value in [10u64.pow(n), 10u64.pow(n) - 1, 10u64.pow(n) + 1] {
                assert_eq!(value.to_string(), text(|cell| unsigned(value, cell)));
                let negative = (value as i64).wrapping_neg();
                assert_eq!(negative.to_string(), text(|cell| signed(negative, cell)));
            }
        }
        assert_eq!(i64::MIN.to_string(), text(|cell| signed(i64::MIN, cell)));
        assert_eq!(u64::MAX.to_string(), text(|cell| unsigned(u64::MAX, cell)));
    }

    #[test]
    fn every_four_digits_come_apart() {
        for value in 0..10_000u64 {
            let cell = text(|cell| eight(value * 10_000 + 9_999 - value, cell, 0));
            assert_eq!(format!("{value:04}{:04}", 9_999 - value), cell);
        }
    }

    #[test]
    fn texts_of_every_length_are_copied_whole() {
        let all = b"abcdefghijklmnopqrstuvwx";
        for n in 1..=SIZE {
            assert_eq!(all[..n], *text(|cell| copied(&all[..n], cell)).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn integers_are_printed_as_the_standard_library_prints_them(value: u64, shift in 0..64u32) {
            let value = value >> shift;
            prop_assert_eq!(value.to_string(), text(|cell| unsigned(value, cell)));
            let value = value as i64;
            prop_assert_eq!(value.to_string(), text(|cell| signed(value, cell)));
            let value = value.wrapping_neg();
            prop_assert_eq!(value.to_string(), text(|cell| signed(value, cell)));
        }
    }
}
