//! CRC-32 (IEEE 802.3), which each block has in front of it.

use flate2::Crc;

/// Below so many bytes a library made for long stretches is slow.
const SHORT: usize = 64;

/// By its place among eight bytes: what a byte does to the sum.
static TABLES: [[u32; 256]; 8] = tables();

/// The checksum of some bytes.
pub fn of(bytes: &[u8]) -> u32 {
    if bytes.len() < SHORT {
        return short(bytes);
    }
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Eight bytes at a time by tables.
fn short(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(!0, |sum, word| {
        let word = u64::from_le_bytes(*word) ^ u64::from(sum);
        let bytes = word.to_le_bytes().into_iter().zip(&TABLES);
        bytes.fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)])
    });
    let [.., last] = &TABLES;
    !rest.iter().fold(sum, |sum, byte| {
        let [low, ..] = sum.to_le_bytes();
        (sum >> 8) ^ last[usize::from(low ^ byte)]
    })
}

const fn tables() -> [[u32; 256]; 8] {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u32, 0);
        while bit < 64 {
            sum = (sum >> 1) ^ ((sum & 1) * POLYNOMIAL);
            bit += 1;
            if bit % 8 == 0 {
                tables[8 - bit / 8][byte] = sum;
            }
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_of_the_standard_comes_out() {
        assert_eq!(0xcbf4_3926, short(b"123456789"));
        assert_eq!(0, short(b""));
    }

    proptest! {
        #[test]
        fn any_bytes_have_the_sum_that_the_library_gives(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut crc = Crc::new();
            crc.update(&bytes);
            prop_assert_eq!(crc.sum(), short(&bytes));
            prop_assert_eq!(crc.sum(), of(&bytes));
        }
    }
}
