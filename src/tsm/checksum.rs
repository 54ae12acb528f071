//! CRC-32 (IEEE 802.3), which each block has in front of it.

use flate2::Crc;

/// Below so many bytes the library is slow, and where they are no multiple of [`STEP`].
const LONG: usize = 4 * STEP;
const STEP: usize = 16;

/// By its place among eight bytes: what a byte does to the sum.
static TABLES: [[u32; 256]; 8] = tables();

/// The checksum of some bytes.
pub fn of(bytes: &[u8]) -> u32 {
    let steps = match bytes.len() {
        n if n < LONG => 0,
        n => n - n % STEP,
    };
    let (bytes, rest) = bytes.split_at(steps);
    let mut crc = Crc::new();
    if !bytes.is_empty() {
        crc.update(bytes);
    }
    more(crc.sum(), rest)
}

/// The checksum of bytes with some more behind them: eight at a time by tables.
fn more(sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(!sum, |sum, word| {
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
        assert_eq!(0xcbf4_3926, of(b"123456789"));
        assert_eq!(0, of(b""));
    }

    proptest! {
        #[test]
        fn any_bytes_have_the_sum_that_the_library_gives(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut: prop::sample::Index) {
            let sum = |bytes: &[u8]| {
                let mut crc = Crc::new();
                crc.update(bytes);
                crc.sum()
            };
            prop_assert_eq!(sum(&bytes), of(&bytes));
            let (first, rest) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(sum(&bytes), more(sum(first), rest));
        }
    }
}
