//! Small numbers packed into words of 64 bits: 4 bits say how many and how wide, 60 hold them.
//!
//! ```text
//! selector   0   1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
//! values   240 120 60 30 20 15 12 10  8  7  6  5  4  3  2  1
//! bits       0   0  1  2  3  4  5  6  7  8 10 12 15 20 30 60
//! ```
//!
//! Selectors 0 and 1 are runs of ones, not of zeros. The first value has the lowest bits. Every word is full.

use std::mem;

use super::Word;

const VALUES: [u8; 16] = [240, 120, 60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1];

/// How many values the words hold.
pub fn count(words: &[[u8; 8]]) -> u64 {
    let values = |word: &[u8; 8]| u64::from(VALUES[usize::from(word[0] >> 4)]);
    words.iter().map(values).sum()
}

/// Unpack the words into `out`, which has room for exactly [`count`] values.
pub fn unpack<T: Word>(words: &[[u8; 8]], mut out: &mut [T]) {
    for word in words {
        let word = u64::from_be_bytes(*word);
        let rest = mem::take(&mut out);
        out = match word >> 60 {
            0 => ones::<240, T>(rest),
            1 => ones::<120, T>(rest),
            2 => spread::<60, 1, T>(word, rest),
            3 => spread::<30, 2, T>(word, rest),
            4 => spread::<20, 3, T>(word, rest),
            5 => spread::<15, 4, T>(word, rest),
            6 => spread::<12, 5, T>(word, rest),
            7 => spread::<10, 6, T>(word, rest),
            8 => spread::<8, 7, T>(word, rest),
            9 => spread::<7, 8, T>(word, rest),
            10 => spread::<6, 10, T>(word, rest),
            11 => spread::<5, 12, T>(word, rest),
            12 => spread::<4, 15, T>(word, rest),
            13 => spread::<3, 20, T>(word, rest),
            14 => spread::<2, 30, T>(word, rest),
            _ => spread::<1, 60, T>(word, rest),
        };
    }
}

fn ones<const N: usize, T: Word>(out: &mut [T]) -> &mut [T] {
    let Some((values, rest)) = out.split_first_chunk_mut::<N>() else {
        return &mut [];
    };
    values.fill(T::from_bits(1));
    rest
}

fn spread<const N: usize, const BITS: usize, T: Word>(word: u64, out: &mut [T]) -> &mut [T] {
    let Some((values, rest)) = out.split_first_chunk_mut::<N>() else {
        return &mut [];
    };
    for (i, value) in values.iter_mut().enumerate() {
        *value = T::from_bits(word >> (i * BITS) & ((1 << BITS) - 1));
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing;

    fn unpacked(words: &[u64]) -> Vec<u64> {
        let words: Vec<_> = words.iter().map(|word| word.to_be_bytes()).collect();
        let mut out = vec![0; count(&words) as usize];
        unpack(&words, &mut out);
        out
    }

    /// The rule word by word, one value at a time.
    fn plain(words: &[u64]) -> Vec<u64> {
        const BITS: [u32; 16] = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60];
        let mut out = Vec::new();
        for word in words {
            let selector = (word >> 60) as usize;
            for k in 0..u32::from(VALUES[selector]) {
                let mask = (1u64 << BITS[selector]) - 1;
                let value = (word >> (k * BITS[selector] % 64)) & mask;
                out.push(if selector < 2 { 1 } else { value });
            }
        }
        out
    }

    #[test]
    fn the_first_value_has_the_lowest_bits() {
        assert_eq!(vec![1, 2, 1], unpacked(&[0xd000_0100_0020_0001]));
        assert_eq!(vec![1, 2], unpacked(&[0xe000_0000_8000_0001]));
        assert_eq!(vec![4, 1, 0, 8], unpacked(&[0xc001_0000_0000_8004]));
        assert_eq!(vec![(1 << 60) - 1], unpacked(&[u64::MAX]));
    }

    #[test]
    fn selectors_0_and_1_are_runs_of_ones_whatever_else_the_word_holds() {
        assert_eq!(vec![1; 240], unpacked(&[0]));
        assert_eq!(vec![1; 120], unpacked(&[1 << 60]));
        assert_eq!(vec![1; 240], unpacked(&[(1 << 60) - 1]));
    }

    #[test]
    fn the_spare_bits_of_selectors_8_and_9_are_ignored() {
        assert_eq!(vec![0; 8], unpacked(&[0x8f00_0000_0000_0000]));
        assert_eq!(vec![0; 7], unpacked(&[0x9f00_0000_0000_0000]));
    }

    fn small() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(1),
            0..4u64,
            (any::<u64>(), 4..64u32).prop_map(|(v, s)| v >> s)
        ]
    }

    proptest! {
        #[test]
        fn words_of_any_bits_unpack_as_the_rule_says(words: Vec<u64>) {
            prop_assert_eq!(plain(&words), unpacked(&words));
        }

        #[test]
        fn what_either_encoder_packed_is_unpacked(
            parts in prop::collection::vec((small(), 1..300usize), 0..8),
            early_runs: bool,
        ) {
            let values: Vec<u64> = parts.iter().flat_map(|&(v, n)| vec![v; n]).collect();
            prop_assert_eq!(&values, &unpacked(&testing::simple8b(&values, early_runs)));
        }
    }
}
