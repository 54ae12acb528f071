//! Numbers for keys. Whoever reads a part of the log gives them, so that nobody has to compare keys once more to find
//! what all parts say of one.

use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

/// No number: nobody has met the key.
const NEW: u32 = u32::MAX;
/// Slots at first.
const FEW: usize = 1 << 10;

/// All keys that were met in a log. Memory ends before numbers do.
#[derive(Debug, Default)]
pub struct Keys(RwLock<Table>);

#[derive(Debug)]
struct Table {
    /// By number.
    keys: Vec<Box<[u8]>>,
    /// Hash and number of a key, at the first place free from the one that the hash says; at most half of them in use.
    slots: Vec<(u32, u32)>,
    /// Secret, so that no file can be made to collide.
    seeds: [u64; 2],
}

impl Keys {
    /// The numbers of these keys, in their order. Of those that nobody has met before the smaller one gets the smaller
    /// number: then what is one behind the other in the result is often so in memory as well.
    pub fn number<'a>(&self, keys: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u32>) {
        out.clear();
        self.known(keys.clone(), out);
        if out.contains(&NEW) {
            let new = out.iter().zip(keys.clone());
            let new = new.filter_map(|(number, key)| (*number == NEW).then_some(key));
            let mut new: Vec<_> = new.collect();
            new.sort_unstable();
            self.add(&new);
            out.clear();
            self.known(keys, out);
        }
    }

    fn known<'a>(&self, keys: impl Iterator<Item = &'a [u8]> + Clone, out: &mut Vec<u32>) {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Step by step for all of them: then what is said of one key need not wait for what is read of the one before.
        out.extend(keys.clone().map(|key| hash(table.seeds, key)));
        out.iter_mut().for_each(|it| *it = table.guess(*it));
        for (number, key) in out.iter_mut().zip(keys) {
            if *number != NEW && *table.keys[*number as usize] != *key {
                *number = table.find(key).unwrap_or(NEW);
            }
        }
    }

    fn add(&self, keys: &[&[u8]]) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        keys.iter().for_each(|key| table.add(key));
    }

    /// The number of a key that was met.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.find(key)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        table.keys.len()
    }

    /// All keys by number.
    pub fn into_all(self) -> Vec<Box<[u8]>> {
        let table = self.0.into_inner();
        table.unwrap_or_else(PoisonError::into_inner).keys
    }
}

impl Default for Table {
    fn default() -> Self {
        let secret = RandomState::new();
        Self {
            keys: Vec::new(),
            slots: vec![(0, NEW); FEW],
            seeds: [secret.hash_one(0), secret.hash_one(1)],
        }
    }
}

impl Table {
    fn find(&self, key: &[u8]) -> Option<u32> {
        self.place(key, hash(self.seeds, key)).ok()
    }

    /// The number of the first key with this hash: nearly always the only one.
    fn guess(&self, hash: u32) -> u32 {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at].0 != hash && self.slots[at].1 != NEW {
            at = (at + 1) & mask;
        }
        self.slots[at].1
    }

    /// The number of a key, or the slot that is for it.
    fn place(&self, key: &[u8], hash: u32) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                (_, NEW) => return Err(at),
                (known, number) if known == hash && *self.keys[number as usize] == *key => {
                    return Ok(number);
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn add(&mut self, key: &[u8]) {
        let hash = hash(self.seeds, key);
        if let Err(at) = self.place(key, hash) {
            self.slots[at] = (hash, self.keys.len() as u32);
            self.keys.push(key.into());
            if self.keys.len() * 2 > self.slots.len() {
                self.grow();
            }
        }
    }

    fn grow(&mut self) {
        let size = 2 * self.slots.len();
        let mut slots = vec![(0, NEW); size];
        for slot in self.slots.iter().filter(|slot| slot.1 != NEW) {
            let mut at = slot.0 as usize & (size - 1);
            while slots[at].1 != NEW {
                at = (at + 1) & (size - 1);
            }
            slots[at] = *slot;
        }
        self.slots = slots;
    }
}

/// Multiplies two words at a time and folds both halves of each product.
fn hash([seed, secret]: [u64; 2], key: &[u8]) -> u32 {
    let fold = |state: u64, pair: u128| {
        let (low, high) = (pair as u64, (pair >> 64) as u64);
        let product = u128::from(low ^ secret) * u128::from(high ^ state);
        product as u64 ^ (product >> 64) as u64
    };
    let (pairs, tail) = key.as_chunks();
    let all = pairs.iter().map(|pair| u128::from_le_bytes(*pair));
    let mut state = all.fold(seed ^ key.len() as u64, fold);
    if !tail.is_empty() {
        let mut pair = [0; 16];
        pair[..tail.len()].copy_from_slice(tail);
        state = fold(state, u128::from_le_bytes(pair));
    }
    (state >> 32) as u32 ^ state as u32
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_has_a_number_of_its_own_whoever_asks(
            all in prop::collection::vec(prop::collection::vec(prop::collection::vec(0..3u8, 0..40), 0..60), 1..5),
        ) {
            let keys = Keys::default();
            let numbers = std::thread::scope(|scope| {
                let ask = |own: &Vec<Vec<u8>>| {
                    let mut numbers = Vec::new();
                    keys.number(own.iter().map(Vec::as_slice), &mut numbers);
                    numbers
                };
                let asked: Vec<_> = all.iter().map(|own| scope.spawn(move || ask(own))).collect();
                asked.into_iter().map(|it| it.join().unwrap()).collect::<Vec<_>>()
            });
            for (own, numbers) in all.iter().zip(&numbers) {
                let found: Vec<_> = own.iter().map(|key| keys.find(key).unwrap()).collect();
                prop_assert_eq!(&found, numbers);
            }
            let known = keys.into_all();
            for (key, number) in all.iter().flatten().zip(numbers.iter().flatten()) {
                prop_assert_eq!(&**key, &*known[*number as usize]);
            }
            let distinct: BTreeSet<_> = all.iter().flatten().collect();
            prop_assert_eq!(distinct.len(), known.len());
        }
    }

    #[test]
    fn more_keys_than_there_were_slots_are_found() {
        let (keys, mut numbers) = (Keys::default(), Vec::new());
        let all: Vec<_> = (0..5000).map(|i| format!("cpu,host=h{i}#!~#v")).collect();
        keys.number(all.iter().map(String::as_bytes), &mut numbers);
        for (key, number) in all.iter().zip(&numbers) {
            assert_eq!(Some(*number), keys.find(key.as_bytes()));
        }
        assert_eq!(None, keys.find(b"cpu,host=h5000#!~#v"));
        assert!(keys.into_all().is_sorted());
    }

    #[test]
    fn hashes_of_similar_keys_spread_over_low_and_high_bits() {
        let hash = |i: u32| hash([1, 2], format!("cpu,host=h{i:06}#!~#usage_idle").as_bytes());
        let low: HashSet<u32> = (0..1000).map(|i| hash(i) % 4096).collect();
        let high: HashSet<u32> = (0..1000).map(|i| hash(i) >> 20).collect();
        // 1,000 balls in 4,096 bins fill 887 of them on average.
        let (low, high) = (low.len(), high.len());
        assert!(low > 800 && high > 800, "{low} {high}");
    }

    #[test]
    fn zeros_at_the_end_make_another_hash() {
        let hashes: HashSet<u32> = (0..40).map(|n| hash([1, 2], &[0u8; 40][..n])).collect();
        assert_eq!(40, hashes.len());
    }
}
