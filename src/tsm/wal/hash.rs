//! A hash for keys: short byte strings, many of them, looked up once per value.

use std::hash::{BuildHasher, Hasher, RandomState};

/// An odd number without pattern in its bits (2^64 divided by the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Starts each hash from the same secret, so that no file can be made to collide.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Default for Seed {
    fn default() -> Self {
        Self(RandomState::new().hash_one(MULTIPLIER))
    }
}

impl BuildHasher for Seed {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// Multiplies word by word and folds both halves of each product.
pub struct Folded(u64);

impl Folded {
    fn fold(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(MULTIPLIER);
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks();
        words
            .iter()
            .for_each(|word| self.fold(u64::from_le_bytes(*word)));
        if !tail.is_empty() {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            self.fold(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn similar_keys_spread_over_low_and_high_bits() {
        let seed = Seed::default();
        let hash = |i: u32| seed.hash_one(format!("cpu,host=h{i:06}#!~#usage_idle").as_bytes());
        let low: HashSet<u64> = (0..1000).map(|i| hash(i) % 4096).collect();
        let high: HashSet<u64> = (0..1000).map(|i| hash(i) >> 52).collect();
        // 1,000 balls in 4,096 bins fill 887 of them on average.
        assert!(
            low.len() > 800 && high.len() > 800,
            "{} {}",
            low.len(),
            high.len()
        );
    }

    #[test]
    fn zeros_at_the_end_make_another_key() {
        let seed = Seed::default();
        let hashes: HashSet<u64> = (0..20).map(|n| seed.hash_one(&[0u8; 20][..n])).collect();
        assert_eq!(20, hashes.len());
    }
}
