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

/// Powers of ten by which a number of few decimals becomes a whole one.
const POWERS: [f64; 8] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];

/// A float of few digits as a whole number: what it is after the point has been moved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Short(u64);

/// Which of up to 64 floats have at most so many decimals and eight digits in all, a bit for each; what they are then is
/// put beside them.
///
/// Less than sixteen digits that are rounded to a number are its shortest ones: no two of them are rounded to the
/// same number. And a quotient of whole numbers is the number that their digits are rounded to.
#[inline]
pub fn are_short(values: &[f64], decimals: usize, shorts: &mut [Short; 64]) -> u64 {
    /// From here on floats are whole: adding it rounds, and leaves the whole number in the low bits.
    const WHOLE: f64 = (1u64 << 52) as f64;
    const SIGN: u64 = 1 << 63;
    let power = POWERS[decimals % POWERS.len()];
    let mut all = 0;
    for (i, (value, short)) in values.iter().zip(shorts).enumerate() {
        let size = value.abs();
        let shifted = size * power + WHOLE;
        let whole = shifted - WHOLE;
        let is_plain = (size < 1e6) & ((size >= 1e-4) | (value.to_bits() == 0));
        let is_short = (whole / power == size) & (whole < 1e8) & is_plain;
        all |= u64::from(is_short) << (i % 64);
        *short = Short(shifted.to_bits() & ((1 << 52) - 1) | value.to_bits() & SIGN);
    }
    all
}

/// Put a short float of so many decimals there as [`float`] prints it; the length of its text.
#[inline]
pub fn short(Short(number): Short, decimals: usize, cell: &mut Cell) -> usize {
    let decimals = decimals % POWERS.len();
    let digits = apart(number << 1 >> 1);
    let text = ascii(digits);
    let before = 8 - decimals;
    // A digit stands before the point, and none behind the last one that is not zero.
    let zeros = ((digits | 1 << 63).trailing_zeros() as usize / 8).min(before - 1);
    let behind = decimals - (digits.leading_zeros() as usize / 8).min(decimals);
    cell[0] = b'-';
    let at = (number >> 63) as usize;
    word(text >> (8 * zeros), cell, at);
    let point = at + before - zeros;
    word(
        text >> 8 >> (8 * before - 8) << 8 | u64::from(b'.'),
        cell,
        point,
    );
    point + behind + usize::from(behind > 0)
}

/// The text of the numbers below a thousand before and behind the point: digits, the first one lowest, and in the
/// last byte how many bits the text before the point has, and how many bytes the one behind it, point included.
static THOUSANDS: ([u32; 1024], [u32; 1024]) = {
    let mut tables = ([0; 1024], [0; 1024]);
    let mut i = 0;
    while i < 1000 {
        let digits = [i / 100, i / 10 % 10, i % 10];
        let text = 0x30_3030 | digits[0] | digits[1] << 8 | digits[2] << 16;
        let zeros = (digits[0] == 0) as u32 + (i < 10) as u32;
        tables.0[i as usize] = text >> (8 * zeros) | (8 * (3 - zeros)) << 24;
        let behind = match digits {
            [0, 0, 0] => 0,
            [_, 0, 0] => 2,
            [_, _, 0] => 3,
            _ => 4,
        };
        tables.1[i as usize] = text | behind << 24;
        i += 1;
    }
    tables
};

/// Whether all these floats are below a thousand.
#[inline]
pub fn are_brief(values: &[f64]) -> bool {
    values.iter().fold(true, |all, v| all & (v.abs() < 1e3))
}

/// Put a short float below a thousand, of three decimals at most, there as [`short`] does; the length of its text.
#[inline]
pub fn brief(Short(number): Short, decimals: usize, cell: &mut Cell) -> usize {
    const SCALE: [u32; 4] = [1000, 100, 10, 1];
    let thousandths = number as u32 * SCALE[decimals % SCALE.len()];
    let whole = THOUSANDS.0[(thousandths / 1000 % 1024) as usize];
    let part = THOUSANDS.1[(thousandths % 1000) as usize];
    cell[0] = b'-';
    let at = (number >> 63) as usize;
    let bits = whole >> 24;
    let behind = (u64::from(part) << 8 | u64::from(b'.')) << bits;
    word(u64::from(whole & 0xff_ffff) | behind, cell, at);
    at + (bits / 8 + (part >> 24)) as usize
}

/// How many decimals a text of few digits has that [`float`] put there; `None` if they are too many for [`short`].
pub fn decimals(text: &[u8]) -> Option<usize> {
    let is_plain = text.len() <= 10 && !text.contains(&b'e');
    let point = memchr::memchr(b'.', text).filter(|_| is_plain)?;
    let decimals = text.len() - point - 1;
    (decimals < POWERS.len()).then_some(decimals)
}

/// Put a signed integer there, without the `i`; the length of its text.
#[inline]
pub fn signed(value: i64, cell: &mut Cell) -> usize {
    signed_at(value, cell, 0)
}

/// The same from byte `at` on, which is 0 or 1; where it ends.
#[inline]
pub fn signed_at(value: i64, cell: &mut Cell, at: usize) -> usize {
    cell[at % SIZE] = b'-';
    digits(value.unsigned_abs(), cell, at + usize::from(value < 0))
}

/// Whether all these integers are small ones.
#[inline]
pub fn are_small(values: &[i64]) -> bool {
    // Without a branch: it becomes a loop of vectors.
    values.iter().fold(0, |any, v| any | v.unsigned_abs()) < 1 << 26
}

/// Put a small signed integer there, without the `i`; the length of its text.
#[inline]
pub fn small(value: i64, cell: &mut Cell) -> usize {
    cell[0] = b'-';
    few(value.unsigned_abs(), cell, usize::from(value < 0))
}

/// Put an unsigned integer there, without the `u`; the length of its text.
#[inline]
pub fn unsigned(value: u64, cell: &mut Cell) -> usize {
    digits(value, cell, 0)
}

/// As many numbers have eight digits.
pub const E8: u64 = 100_000_000;

/// Put the digits from `at` on; where they end. There must be room for all of them.
#[inline(always)]
fn digits(value: u64, cell: &mut Cell, at: usize) -> usize {
    if value < E8 {
        return few(value, cell, at);
    }
    let (high, low) = (value / E8, value % E8);
    if high < E8 {
        let at = few(high, cell, at);
        put(eight(low), cell, at);
        return at + 8;
    }
    // Four digits at most are left: 2^64 has twenty.
    let at = few(high / E8, cell, at);
    put(eight(high % E8), cell, at);
    put(eight(low), cell, at + 8);
    at + 16
}

/// A number of at most eight digits.
#[inline]
fn few(value: u64, cell: &mut Cell, at: usize) -> usize {
    let digits = apart(value);
    // Zeros in front are low bytes; the last digit stays, whatever it is.
    let zeros = ((digits | 1 << 63).trailing_zeros() / 8) as usize;
    word(ascii(digits) >> (8 * zeros), cell, at);
    at + 8 - zeros
}

/// A number as eight digits, with its zeros in front.
#[inline]
pub fn eight(value: u64) -> [u8; 8] {
    ascii(apart(value)).to_le_bytes()
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
fn word(text: u64, cell: &mut Cell, at: usize) {
    put(text.to_le_bytes(), cell, at);
}

/// A copy of fixed size. There must be room for it.
#[inline(always)]
pub fn put<const N: usize>(bytes: [u8; N], cell: &mut Cell, at: usize) {
    if let Some(place) = cell.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

/// A text of at least one byte, in steps of fixed size that may overlap.
#[inline]
fn copied(text: &[u8], cell: &mut Cell) -> usize {
    let n = text.len();
    if let (Some(head), Some(tail)) = (text.first_chunk::<16>(), text.last_chunk::<8>()) {
        put(*head, cell, 0);
        put(*tail, cell, n - 8);
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        put(*head, cell, 0);
        put(*tail, cell, n - 8);
    } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        put(*head, cell, 0);
        put(*tail, cell, n - 4);
    } else {
        cell.iter_mut().zip(text).for_each(|(place, c)| *place = *c);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A float with so many decimals at most; nothing if it is not short.
    fn one(value: f64, decimals: usize, cell: &mut Cell) -> usize {
        let mut shorts = [Short::default(); 64];
        match are_short(&[value], decimals, &mut shorts) {
            0 => 0,
            _ => short(shorts[0], decimals, cell),
        }
    }

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
    fn small_integers_have_their_digits() {
        for value in [0, 1, -1, 9, 10, -99, 100_000, (1 << 26) - 1, 1 - (1 << 26)] {
            assert!(are_small(&[0, value]));
            assert_eq!(value.to_string(), text(|cell| small(value, cell)));
        }
        for value in [1 << 26, -(1 << 26), i64::MAX, i64::MIN] {
            assert!(!are_small(&[value, 0]));
        }
    }

    #[test]
    fn short_floats_at_the_edges() {
        for (value, decimals, expected) in [
            (0.0, 0, "0"),
            (0.0, 7, "0"),
            (-0.0, 2, ""),
            (f64::NAN, 2, ""),
            (f64::INFINITY, 0, ""),
            (21.5, 1, "21.5"),
            (21.5, 2, "21.5"),
            (-21.53, 2, "-21.53"),
            (21.53, 1, ""),
            (0.05, 2, "0.05"),
            (100.0, 2, "100"),
            (999_999.0, 0, "999999"),
            (1e6, 0, ""),
            (0.0001, 4, "0.0001"),
            (0.0001, 7, "0.0001"),
            (0.00009, 5, ""),
            (9.999_999_9, 7, "9.9999999"),
            (10.0, 7, ""),
            (9.999_999, 7, "9.999999"),
            (99_999.999, 3, "99999.999"),
            (100_000.25, 2, "100000.25"),
            (0.1 + 0.2, 7, ""),
        ] {
            assert_eq!(expected, text(|cell| one(value, decimals, cell)), "{value}");
        }
    }

    #[test]
    fn every_four_digits_come_apart() {
        for value in 0..10_000u64 {
            let cell = text(|cell| {
                put(eight(value * 10_000 + 9_999 - value), cell, 0);
                8
            });
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

        #[test]
        fn a_short_float_is_printed_as_any_other(n in -120_000_000i64..120_000_000, scale in 0usize..9, decimals in 0usize..8) {
            let value = n as f64 / 10f64.powi(scale as i32);
            let mut cell = [b'?'; SIZE];
            let len = one(value, decimals, &mut cell);
            let found = String::from_utf8(cell[..len].to_vec()).unwrap();
            let rule = text(|cell| float(value, cell));
            prop_assert!(len == 0 || found == rule, "{} is not {}", found, rule);
            let own = super::decimals(rule.as_bytes());
            let is_short = own == Some(decimals) && value.abs() * POWERS[decimals] < 1e8;
            prop_assert!(len > 0 || !is_short, "{} is not taken with {} decimals", rule, decimals);
        }

        #[test]
        fn a_brief_float_is_printed_as_a_short_one(n in -999_999i64..1_000_000, decimals in 0usize..4) {
            let value = (n % [1000, 10_000, 100_000, 1_000_000][decimals]) as f64 / POWERS[decimals];
            prop_assert!(are_brief(&[value]) && !are_brief(&[value + 1e3, value - 1e3]));
            let mut shorts = [Short::default(); 64];
            prop_assert_eq!(1, are_short(&[value], decimals, &mut shorts));
            let brief = text(|cell| brief(shorts[0], decimals, cell));
            prop_assert_eq!(text(|cell| short(shorts[0], decimals, cell)), brief);
        }

        #[test]
        fn any_float_is_short_or_not(bits: u64, decimals in 0usize..8) {
            let value = f64::from_bits(bits);
            let mut cell = [b'?'; SIZE];
            let len = one(value, decimals, &mut cell);
            prop_assert!(len == 0 || text(|cell| float(value, cell)).as_bytes() == &cell[..len]);
        }
    }
}
