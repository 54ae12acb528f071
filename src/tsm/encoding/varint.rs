//! Unsigned numbers of one to ten bytes: seven bits a byte, lowest first, high bit = more follow.

use crate::tsm::ErrorKind;

/// The number at the start of `bytes`, and how many bytes it takes.
#[inline]
pub fn read(bytes: &[u8]) -> Result<(u64, usize), ErrorKind> {
    match *bytes {
        [byte, ..] if byte < 0x80 => Ok((u64::from(byte), 1)),
        [low, high, ..] if high < 0x80 => Ok((u64::from(low & 0x7f) | u64::from(high) << 7, 2)),
        _ => long(bytes),
    }
}

fn long(bytes: &[u8]) -> Result<(u64, usize), ErrorKind> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        // Nine bytes hold 63 bits: the tenth may add one, and nothing may follow it.
        if i == 9 && byte > 1 {
            return Err(ErrorKind::VarintOverflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(ErrorKind::Truncated { missing: 1 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing;

    #[test]
    fn a_number_may_be_longer_than_it_must() {
        assert_eq!(Ok((1, 3)), read(&[0x81, 0x80, 0x00, 0xff]));
    }

    #[test]
    fn the_largest_number_takes_ten_bytes() {
        let mut bytes = [0xff; 10];
        bytes[9] = 1;
        assert_eq!(Ok((u64::MAX, 10)), read(&bytes));
    }

    #[test]
    fn a_tenth_byte_above_one_is_an_overflow() {
        for tenth in [2, 0x7f, 0x80, 0x81, 0xff] {
            let mut bytes = [0xff; 11];
            bytes[9] = tenth;
            assert_eq!(Err(ErrorKind::VarintOverflow), read(&bytes));
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_every_truncation_is_noticed(value: u64, shift in 0..64u32) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            testing::uvarint(&mut bytes, value);
            prop_assert_eq!(Ok((value, bytes.len())), read(&bytes));
            for n in 0..bytes.len() {
                prop_assert_eq!(Err(ErrorKind::Truncated { missing: 1 }), read(&bytes[..n]));
            }
        }
    }
}
