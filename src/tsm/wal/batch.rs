//! Puts together what entries say of a key, many entries at a time: in each a key has a few values, and there are many
//! keys. What is known as a whole needs no room to grow, and times that are even are seen to be so.

use std::iter;

use super::entry::Group;
use super::list::List;
use super::series::Series;
use super::store::{Chunk, Store};
use crate::pages::Buffer;
use crate::rows::Kind;

/// Bytes of points of each key that are worth to be put together, and of all keys at least and at most.
const EACH: usize = 1 << 10;
const LIMITS: (usize, usize) = (512 << 10, 4 << 20);
/// Bytes on the tape in front of the points of a group.
const HEAD: usize = 8;
/// Bits of a number by which groups are sorted at once.
const DIGIT: u32 = 11;
/// Types by their numbers on the tape.
const KINDS: [Kind; 5] = [
    Kind::Float,
    Kind::Integer,
    Kind::Boolean,
    Kind::String,
    Kind::Unsigned,
];

/// Groups of points in the order they were written. Its memory is used again.
#[derive(Debug, Default)]
pub struct Batch {
    /// One behind the other: a word of the length of the points and their type, the points.
    pub tape: Buffer,
    /// Of each group the number of its key, and where it stands on the tape.
    groups: Vec<(u32, u32)>,
    sorted: Vec<(u32, u32)>,
    points: Buffer,
    chunks: Vec<Chunk>,
    /// How long the tape may become.
    limit: usize,
}

/// What a part of the log says of its keys, in memory.
#[derive(Debug, Default)]
pub struct Held {
    /// Those of a key in the order they were written.
    pub chunks: List,
    /// Their values.
    pub store: Store,
}

impl Batch {
    /// One whose tape is there.
    pub fn on(tape: Buffer) -> Self {
        Self {
            tape,
            ..Self::default()
        }
    }

    /// Begin with entries that others may go on behind: what is put together is a matter of these alone.
    pub fn begin(&mut self) {
        self.limit = LIMITS.0;
    }

    /// What comes next may be of any of so many keys.
    pub fn expect(&mut self, keys: usize) {
        self.limit = self.limit.max((keys * EACH).min(LIMITS.1));
    }

    /// Add a group, of the key that has this number.
    pub fn add(&mut self, number: u32, group: &Group<'_>, held: &mut Held) {
        if group.points.is_empty() {
            return;
        }
        if self.tape.len() + group.points.len() > self.limit {
            self.settle(held);
        }
        if group.points.len() > self.limit {
            // As good as put together, and too much to have twice.
            let whole = (group.kind, group.points);
            return held.put(number, Some(whole), iter::once(whole), &mut self.chunks);
        }
        self.groups.push((number, self.tape.len() as u32));
        let head = (group.points.len() as u64) << 8 | group.kind as u64;
        let (end, free) = self.tape.behind(HEAD + group.points.len());
        if let Some((place, free)) = free.split_first_chunk_mut() {
            *place = head.to_ne_bytes();
            put(group.points, free);
            *end += HEAD + group.points.len();
        }
    }

    /// Put together what was added since this was last done.
    pub fn settle(&mut self, held: &mut Held) {
        sort(&mut self.groups, &mut self.sorted);
        let (tape, mut keys) = (self.tape.bytes(), 0);
        for groups in self.groups.chunk_by(|a, b| a.0 == b.0) {
            let group = |(_, at): &(u32, u32)| taped(tape, *at as usize);
            let all = groups.iter().map(group);
            let mut rest = all.clone();
            let Some((kind, mut points)) = rest.next() else {
                continue;
            };
            let mut is_one_type = true;
            if groups.len() > 1 {
                self.points.clear();
                append(points, &mut self.points);
                for (other, points) in rest {
                    is_one_type &= other == kind;
                    append(points, &mut self.points);
                }
                points = self.points.bytes();
            }
            let whole = is_one_type.then_some((kind, points));
            held.put(groups[0].0, whole, all, &mut self.chunks);
            keys += 1;
        }
        self.expect(keys);
        self.groups.clear();
        self.tape.clear();
    }
}

impl Held {
    /// Hold the points of a key: as a whole, if they are of one type and ascend in time, or else group by group.
    fn put<'a>(
        &mut self,
        number: u32,
        whole: Option<(Kind, &[u8])>,
        groups: impl Iterator<Item = (Kind, &'a [u8])>,
        chunks: &mut Vec<Chunk>,
    ) {
        let hold = |(kind, points): (Kind, &[u8])| self.store.hold(kind, points, chunks);
        if !whole.is_some_and(hold) {
            *chunks = Series::of(groups).settle(&mut self.store);
        }
        for chunk in chunks.drain(..) {
            self.chunks.push(number, chunk);
        }
    }
}

/// The type and the points of the group at this place.
fn taped(tape: &[u8], at: usize) -> (Kind, &[u8]) {
    let group = tape.get(at..).unwrap_or_default();
    let (head, rest) = group.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let head = u64::from_ne_bytes(*head);
    let points = rest.get(..(head >> 8) as usize);
    let kind = KINDS[head as usize % 256 % KINDS.len()];
    (kind, points.unwrap_or_default())
}

/// Append points.
fn append(points: &[u8], out: &mut Buffer) {
    let (end, free) = out.behind(points.len());
    put(points, free);
    *end += points.len();
}

/// Put points where there is room for them. A single one, as most writes have it of a key, is put without a call.
fn put(points: &[u8], room: &mut [u8]) {
    match <&[u8; 16]>::try_from(points) {
        Ok(one) => room
            .first_chunk_mut()
            .into_iter()
            .for_each(|place| *place = *one),
        Err(_) => room[..points.len()].copy_from_slice(points),
    }
}

/// By number; of the same number in the order they were.
fn sort(groups: &mut Vec<(u32, u32)>, sorted: &mut Vec<(u32, u32)>) {
    let most = groups.iter().map(|group| group.0).max().unwrap_or(0);
    let mut shift = 0;
    sorted.resize(groups.len(), (0, 0));
    while most.checked_shr(shift).is_some_and(|left| left > 0) {
        let digit = |group: &(u32, u32)| (group.0 >> shift) as usize % (1 << DIGIT);
        let mut places = [0; 1 << DIGIT];
        groups.iter().for_each(|group| places[digit(group)] += 1);
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        for group in &*groups {
            let place = &mut places[digit(group)];
            sorted[*place] = *group;
            *place += 1;
        }
        std::mem::swap(groups, sorted);
        shift += DIGIT;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rows::Values;
    use crate::tsm::merge::Column;

    /// A key, the type of its values, and their times.
    type Written = (u32, Kind, Vec<i64>);

    fn written() -> impl Strategy<Value = Vec<Written>> {
        let kind = prop_oneof![9 => Just(Kind::Integer), 1 => Just(Kind::Unsigned), 1 => Just(Kind::Float)];
        let group = (0..5u32, kind, 0..40i64, 1..4i64, 0..8i64);
        let group = group.prop_map(|(key, kind, first, step, n)| {
            (key, kind, (0..n).map(|i| first + i * step).collect())
        });
        prop::collection::vec(group, 0..60)
    }

    /// The values of a key, by time.
    fn read(held: &mut Held, key: u32) -> BTreeMap<i64, (Kind, u64)> {
        let mut series = Series::default();
        let all = held.chunks.range(0..held.chunks.end());
        for (_, (_, chunk)) in all.filter(|(_, (number, _))| *number == key) {
            series.push(*chunk, &held.store);
        }
        let mut found = BTreeMap::new();
        for chunk in series.settle(&mut held.store) {
            let mut column = Column::new(chunk.kind);
            held.store.unpack(&chunk, &mut column);
            assert!(column.times.is_sorted_by(|a, b| a < b));
            let bits: Vec<u64> = match column.values {
                Values::Integer(all) => all.iter().map(|value| *value as u64).collect(),
                Values::Unsigned(all) => all,
                Values::Float(all) => all.iter().map(|value| value.to_bits()).collect(),
                other => panic!("{other:?}"),
            };
            let bits = bits.into_iter().map(|bits| (chunk.kind, bits));
            found.extend(column.times.into_iter().zip(bits));
        }
        found
    }

    proptest! {
        #[test]
        fn the_value_of_each_time_is_the_last_one_written_wherever_it_was_put_together(
            written in written(),
            limit in prop_oneof![0..1000usize, Just(usize::MAX)],
        ) {
            let (mut batch, mut held) = (Batch { limit, ..Batch::default() }, Held::default());
            let mut plain: [BTreeMap<_, _>; 5] = Default::default();
            for ((number, kind, times), first) in written.iter().zip((0u64..).step_by(10)) {
                let values = times.iter().zip(first..);
                plain[*number as usize].extend(values.clone().map(|(time, value)| (*time, (*kind, value))));
                let points = values.flat_map(|(time, value)| [time.to_be_bytes(), value.to_be_bytes()]);
                let points: Vec<_> = points.flatten().collect();
                let group = Group { key: b"k", kind: *kind, points: &points };
                batch.add(*number, &group, &mut held);
            }
            batch.settle(&mut held);
            for (number, plain) in (0..).zip(&plain) {
                prop_assert_eq!(plain, &read(&mut held, number));
            }
        }

        #[test]
        fn groups_are_sorted_by_number_and_of_the_same_one_stay_in_order(
            numbers in prop::collection::vec(prop_oneof![0..9u32, 2040..2060u32, any::<u32>()], 0..200),
        ) {
            let mut groups: Vec<_> = numbers.into_iter().zip(0..).collect();
            let mut plain = groups.clone();
            plain.sort_by_key(|group| group.0);
            sort(&mut groups, &mut vec![(7, 7); 3]);
            prop_assert_eq!(plain, groups);
        }
    }

    #[test]
    fn no_more_is_put_together_than_was_to_be() {
        let (mut batch, mut held) = (Batch::default(), Held::default());
        for (keys, limit) in [(1, LIMITS.0), (1000, 1000 * EACH), (1 << 20, LIMITS.1)] {
            batch.begin();
            batch.expect(keys);
            let points = [0; 16];
            let group = Group {
                key: b"k",
                kind: Kind::Integer,
                points: &points,
            };
            for number in 0..400_000 {
                batch.add(number % keys as u32, &group, &mut held);
                assert!(batch.tape.len() <= limit + 8);
            }
            batch.settle(&mut held);
            assert!(batch.tape.capacity() <= 2 * limit);
            // A group that is longer on its own is not taken along.
            let (before, points) = (held.chunks.end(), vec![0; limit + 16]);
            let strings = Group {
                kind: Kind::String,
                points: &points,
                ..group
            };
            batch.add(7, &group, &mut held);
            batch.add(8, &strings, &mut held);
            assert_eq!((0, before + 2), (batch.tape.len(), held.chunks.end()));
        }
    }

    #[test]
    fn what_is_put_together_is_a_matter_of_the_entries_of_a_part_alone() {
        let points = [0; 16];
        let group = |_| Group {
            key: b"k",
            kind: Kind::Integer,
            points: &points,
        };
        let mut batch = Batch::default();
        // Behind a part of many keys as behind one of few, which know as many after a while.
        let read = |batch: &mut Batch, keys: u32| {
            let mut held = Held::default();
            batch.begin();
            (0..100_000).for_each(|n| batch.add(n % keys, &group(n), &mut held));
            batch.settle(&mut held);
            (held.chunks.end(), batch.limit)
        };
        let many = read(&mut batch, 3000);
        assert_eq!(3000 * EACH, many.1);
        assert_eq!(LIMITS.0, read(&mut batch, 3).1);
        assert_eq!(many, read(&mut batch, 3000));
    }
}
