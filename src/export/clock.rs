//! Times that fields share: each packed section is unpacked once for each slice at most, and its text is kept for the next
//! series.

use std::ops::{Range, RangeInclusive};

use crate::lp::cell;
use crate::tsm::Error;
use crate::tsm::block::{Block, Run};

/// Times of a section whose text is kept; of longer ones it is made anew each time.
const KEPT: usize = 2048;
/// Sections that are kept for the next series.
const SECTIONS: usize = 8;

/// The end of a line: a space, the time, a line feed. The last byte says how long that is.
pub type Stamp = [u8; cell::SIZE];

/// Append the ends of lines with these times.
pub fn stamp(times: &[i64], out: &mut Vec<Stamp>) {
    let (mut long, mut rest) = (Long::default(), times);
    out.reserve(times.len());
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        match u64::try_from(*first) {
            Ok(time) if time >= LONG => {
                let n = long.stamp(time, rest, out);
                rest = rest.get(n..).unwrap_or_default();
            }
            _ => out.push(short(*first)),
        }
    }
}

/// The end of a line with any time.
fn short(time: i64) -> Stamp {
    let mut stamp = [b' '; cell::SIZE];
    // A time has twenty characters at most.
    let n = cell::signed_at(time, &mut stamp, 1);
    stamp[0] = b' ';
    stamp[n % cell::SIZE] = b'\n';
    stamp[cell::SIZE - 1] = n as u8 + 1;
    stamp
}

/// From here on a time has seventeen digits or more.
const LONG: u64 = cell::E8 * cell::E8;

/// The time before in its digits: times that follow each other differ in few digits, and often by the
/// same step, which then is added to the digits themselves.
#[derive(Default)]
struct Long {
    time: u64,
    /// From the time before to this one.
    step: u64,
    /// The digits of the step, if it has come twice.
    added: Option<[u64; 2]>,
    /// What stands before its last sixteen digits.
    high: u64,
    /// Space and first digits; how many bits that is.
    head: u64,
    bits: u32,
    /// Line feed and length, behind these bits.
    tail: u64,
}

impl Long {
    /// Append the end of a line with a time of seventeen digits or more, and those with the times that follow by the same
    /// step, as long as that is known and the first digits stay; how many followed.
    fn stamp(&mut self, time: u64, others: &[i64], out: &mut Vec<Stamp>) -> usize {
        self.set(time);
        let [mut middle, mut last] = digits(time % LONG);
        let mut last_text = text(last);
        out.push(self.words([text(middle), last_text]));
        let Some(added) = self.added else {
            return 0;
        };
        let Self { mut time, step, .. } = *self;
        let mut n = 0;
        for next in others {
            if (*next as u64).wrapping_sub(time) != step {
                break;
            }
            let mut carry = false;
            if added[1] != 0 {
                (last, carry) = sum(last, added[1], false);
                last_text = text(last);
            }
            (middle, carry) = sum(middle, added[0], carry);
            if carry {
                break;
            }
            time = *next as u64;
            n += 1;
            out.push(self.words([text(middle), last_text]));
        }
        self.time = time;
        n
    }

    /// The end of a line whose last digits are these, put together in words.
    #[inline(always)]
    fn words(&self, [middle, last]: [u64; 2]) -> Stamp {
        // From 16 to 40: a space, and one to four digits.
        let (bits, behind) = (self.bits % 64, 64 - self.bits % 64);
        let words = [
            self.head | middle << bits,
            middle >> (behind % 64) | last << bits,
            last >> (behind % 64) | self.tail,
        ];
        let mut stamp = [0; cell::SIZE];
        let places = stamp.as_chunks_mut().0.iter_mut();
        for (place, word) in places.zip(words) {
            *place = word.to_le_bytes();
        }
        stamp
    }

    /// Find the first digits of the time, and all of the step if it has come again.
    fn set(&mut self, time: u64) {
        let step = time.wrapping_sub(self.time);
        self.added = (step == self.step && step < LONG).then(|| digits(step));
        (self.time, self.step) = (time, step);
        let high = time / LONG;
        if high != self.high {
            self.lead(high);
        }
    }

    #[cold]
    fn lead(&mut self, high: u64) {
        self.high = high;
        let text = format!(" {high}");
        let mut head = [0; 8];
        head.iter_mut()
            .zip(text.bytes())
            .for_each(|(place, c)| *place = c);
        self.head = u64::from_le_bytes(head);
        self.bits = 8 * text.len() as u32;
        let len = text.len() as u64 + 17;
        self.tail = u64::from(b'\n') << self.bits | len << 56;
    }
}

/// The digits of a number below 10^16, one in each byte, eight in each word, the first one highest.
fn digits(number: u64) -> [u64; 2] {
    let digits = |eight| u64::from_be_bytes(cell::eight(eight)) & 0x0f0f_0f0f_0f0f_0f0f;
    [number / cell::E8, number % cell::E8].map(digits)
}

/// Eight digits as text.
#[inline]
fn text(digits: u64) -> u64 {
    (digits | 0x3030_3030_3030_3030).swap_bytes()
}

/// The sum of eight digits and eight digits, and whether there is a ninth one.
#[inline]
fn sum(a: u64, b: u64, carry: bool) -> (u64, bool) {
    const SIX: u64 = 0xf6f6_f6f6_f6f6_f6f6;
    // With 246 more in each byte it runs over from ten on, into the next digit. Where it did not, these are to go.
    let (part, ninth) = a.overflowing_add(b + SIX);
    let (all, also) = part.overflowing_add(carry.into());
    let stays = (all >> 7) & 0x0101_0101_0101_0101;
    (all - stays * 0xf6, ninth | also)
}

/// The times of a block, or those of them that are within a slice.
#[derive(Debug, Default)]
pub struct Section {
    packed: Vec<u8>,
    /// The slice, if by the index the block reaches over an end of it.
    cut: Option<RangeInclusive<i64>>,
    /// How many times the block has.
    count: usize,
    /// The positions in the block of the times that are held.
    positions: Range<usize>,
    times: Vec<i64>,
    /// As many as have been asked for.
    stamps: Vec<Stamp>,
    extremes: Option<(i64, i64)>,
    is_ascending: bool,
    /// The number of the series that it was last used for.
    used: u64,
}

impl Section {
    /// How many times the block has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The positions in the block of the times that are held: all of them, or if it was cut those within the slice, and
    /// maybe more.
    pub fn positions(&self) -> Range<usize> {
        self.positions.clone()
    }

    /// The times that are held, in the order of the block.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The least and the greatest time of the block, if there is any.
    pub fn extremes(&self) -> Option<(i64, i64)> {
        self.extremes
    }

    /// Whether each time is greater than the one before.
    pub fn is_ascending(&self) -> bool {
        self.is_ascending
    }

    /// The text of some times, from `start` on; `scratch` is where it is put if it is not to be kept.
    pub fn stamps<'a>(
        &'a mut self,
        start: usize,
        n: usize,
        scratch: &'a mut Vec<Stamp>,
    ) -> &'a [Stamp] {
        if self.times.len() > KEPT {
            let times = self.times.get(start..start + n).unwrap_or_default();
            scratch.clear();
            stamp(times, scratch);
            return scratch;
        }
        let times = self.times.get(self.stamps.len()..start + n);
        stamp(times.unwrap_or_default(), &mut self.stamps);
        self.stamps.get(start..start + n).unwrap_or_default()
    }

    fn unpack(
        &mut self,
        block: &Block<'_>,
        cut: Option<&RangeInclusive<i64>>,
    ) -> Result<(), Error> {
        // On an error the section is of no block.
        self.packed.clear();
        self.times.clear();
        self.stamps.clear();
        let run = if cut.is_some() { block.run()? } else { None };
        if let Some((cut, run)) = cut.zip(run) {
            self.cut_out(&run, cut);
        } else {
            self.unpack_all(block)?;
        }
        self.packed.extend_from_slice(block.time_section());
        self.cut = cut.cloned();
        Ok(())
    }

    /// Hold the times within a slice, and unpack no other.
    fn cut_out(&mut self, run: &Run, cut: &RangeInclusive<i64>) {
        (self.count, self.positions) = (run.count(), run.within(cut));
        run.decode(self.positions(), &mut self.times);
        (self.is_ascending, self.extremes) = (true, Some(run.extremes()));
    }

    fn unpack_all(&mut self, block: &Block<'_>) -> Result<(), Error> {
        block.times(&mut self.times)?;
        (self.count, self.positions) = (self.times.len(), 0..self.times.len());
        self.is_ascending = self.times.is_sorted_by(|a, b| a < b);
        self.extremes = match self.is_ascending {
            true => self.times.first().copied().zip(self.times.last().copied()),
            false => {
                let (first, last) = (self.times.iter().min(), self.times.iter().max());
                first.copied().zip(last.copied())
            }
        };
        Ok(())
    }
}

/// The sections of the series at work, and of the one before.
#[derive(Debug, Default)]
pub struct Sections {
    all: Vec<Section>,
    /// The number of the series at work.
    serial: u64,
    /// By position among the blocks of a field: the section of the field before.
    latest: Vec<usize>,
    /// All before this one are of the series at work.
    free: usize,
}

impl Sections {
    /// Go to the next series: what only the one before last has used can go.
    pub fn advance(&mut self) {
        self.serial += 1;
        self.free = 0;
        self.latest.truncate(SECTIONS);
        let latest = &mut self.latest;
        if self.all.len() > SECTIONS || self.all.iter().any(|section| section.times.len() > KEPT) {
            self.all.clear();
            latest.clear();
        }
    }

    /// The section with this number.
    pub fn get(&self, id: usize) -> Option<&Section> {
        self.all.get(id)
    }

    /// Append the times of some sections.
    pub fn times(&self, ids: &[usize], out: &mut Vec<i64>) {
        let sections = ids.iter().filter_map(|id| self.all.get(*id));
        sections.for_each(|section| out.extend_from_slice(&section.times));
    }

    /// The section with this number, to be written out.
    pub fn get_mut(&mut self, id: usize) -> Option<&mut Section> {
        self.all.get_mut(id)
    }

    /// The number of the section of a block, the one at this position of its field. `cut` is the slice, if the block
    /// reaches over an end of it: of what lies outside nothing has to be unpacked.
    pub fn find(
        &mut self,
        position: usize,
        block: &Block<'_>,
        cut: Option<&RangeInclusive<i64>>,
    ) -> Result<usize, Error> {
        let packed = block.time_section();
        if let Some(id) = self.latest.get(position)
            && let Some(section) = self.all.get_mut(*id)
            && section.packed == packed
            && section.cut.as_ref() == cut
            && !packed.is_empty()
        {
            section.used = self.serial;
            return Ok(*id);
        }
        self.enter(position, block, cut)
    }

    fn enter(
        &mut self,
        position: usize,
        block: &Block<'_>,
        cut: Option<&RangeInclusive<i64>>,
    ) -> Result<usize, Error> {
        let is_taken = |section: &Section| section.used == self.serial;
        while self.all.get(self.free).is_some_and(is_taken) {
            self.free += 1;
        }
        let id = self.free;
        if id == self.all.len() {
            self.all.push(Section::default());
        }
        if let Some(section) = self.all.get_mut(id) {
            section.unpack(block, cut)?;
            section.used = self.serial;
        }
        if let Some(latest) = self.latest.get_mut(position) {
            *latest = id;
        } else if position == self.latest.len() {
            self.latest.push(id);
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Values;
    use crate::tsm::block::MAX_POINTS;
    use crate::tsm::encoding::testing;
    use proptest::prelude::*;

    fn text(time: i64) -> Vec<u8> {
        let mut stamps = vec![[0; cell::SIZE]];
        stamp(&[time], &mut stamps);
        stamps[1][..usize::from(stamps[1][cell::SIZE - 1])].to_vec()
    }

    #[test]
    fn digits_carry_over() {
        let sums = |a: u64, b: u64, carry| {
            let [_, a] = digits(a);
            let [_, b] = digits(b);
            let (sum, ninth) = sum(a, b, carry);
            (super::text(sum).to_le_bytes(), ninth)
        };
        assert_eq!((*b"00000000", true), sums(99_999_999, 0, true));
        assert_eq!((*b"99999999", true), sums(99_999_999, 99_999_999, true));
        assert_eq!((*b"99999999", false), sums(90_909_090, 9_090_909, false));
        assert_eq!((*b"10000000", false), sums(9_999_999, 0, true));
    }

    #[test]
    fn a_stamp_is_the_end_of_a_line() {
        assert_eq!(b" 0\n", &*text(0));
        assert_eq!(b" -9223372036854775808\n", &*text(i64::MIN));
        assert_eq!(b" 1600000000000000000\n", &*text(1_600_000_000_000_000_000));
    }

    fn block_of(times: &[i64]) -> Vec<u8> {
        let values = vec![7; times.len()];
        let values = testing::integers(&values, true);
        testing::block(1, &testing::times(times, true), &values)
    }

    #[test]
    fn of_a_run_only_the_times_of_a_selection_are_unpacked() {
        let frame = block_of(&(0..MAX_POINTS as i64).map(|i| 10 * i).collect::<Vec<_>>());
        let block = Block::open(&frame, 5).unwrap();
        let mut sections = Sections::default();
        sections.advance();
        let id = sections.find(0, &block, Some(&(25..=60))).unwrap();
        let section = sections.get(id).unwrap();
        assert_eq!(&[30, 40, 50, 60], section.times());
        assert_eq!((MAX_POINTS, 3..7), (section.count(), section.positions()));
        assert_eq!(Some((0, 10 * (MAX_POINTS as i64 - 1))), section.extremes());
        assert!(section.times.capacity() < 100);
        // The values too.
        let mut values = Values::Integer(Vec::new());
        let (n, wanted) = (section.count(), section.positions());
        block.some_values(n, wanted, &mut values).unwrap();
        assert_eq!(Values::Integer(vec![7; 4]), values);
        assert!(values.memory() < 100);
    }

    #[test]
    fn of_other_blocks_all_times_are_held() {
        let times = [1, 3, 4, 9, 7];
        let frame = block_of(&times);
        let block = Block::open(&frame, 5).unwrap();
        let mut sections = Sections::default();
        sections.advance();
        let id = sections.find(0, &block, Some(&(4..=8))).unwrap();
        let section = sections.get(id).unwrap();
        assert_eq!((5, 0..5), (section.count(), section.positions()));
        assert_eq!(
            (&times[..], Some((1, 9))),
            (section.times(), section.extremes())
        );
        assert!(!section.is_ascending());
    }

    #[test]
    fn a_section_that_was_cut_serves_the_same_selection_only() {
        let frame = block_of(&[0, 10, 20, 30]);
        let block = Block::open(&frame, 5).unwrap();
        let mut sections = Sections::default();
        sections.advance();
        let first = sections.find(0, &block, Some(&(5..=20))).unwrap();
        assert_eq!(Ok(first), sections.find(0, &block, Some(&(5..=20))));
        for (cut, times) in [
            (None, &[0, 10, 20, 30][..]),
            (Some(5..=10), &[10]),
            (Some(12..=18), &[]),
            (Some(5..=20), &[10, 20]),
        ] {
            let id = sections.find(0, &block, cut.as_ref()).unwrap();
            assert_eq!(times, sections.get(id).unwrap().times());
        }
    }

    proptest! {
        #[test]
        fn times_with_the_same_step_have_their_stamps(start: u64, steps in proptest::collection::vec((0u64..64, any::<u64>(), 1..40usize), 1..6)) {
            let mut time = (start >> 1) as i64;
            let mut times = vec![time];
            for (shift, step, n) in steps {
                let step = (step >> shift >> 1) as i64;
                times.extend((0..n).map(|_| {
                    time = time.saturating_add(step);
                    time
                }));
            }
            let mut stamps = Vec::new();
            stamp(&times, &mut stamps);
            for (time, stamp) in times.iter().zip(stamps) {
                let text = &stamp[..usize::from(stamp[cell::SIZE - 1])];
                prop_assert_eq!(format!(" {time}\n").into_bytes(), text);
            }
        }

        #[test]
        fn times_in_a_row_have_their_stamps(start: u64, steps in proptest::collection::vec(0u64..64, 1..9)) {
            let mut time = (start >> 1) as i64;
            let step = |shift: &u64| {
                time = time.saturating_add((1u64 << shift >> 1) as i64);
                time
            };
            let times: Vec<_> = steps.iter().map(step).collect();
            let mut stamps = Vec::new();
            stamp(&times, &mut stamps);
            for (time, stamp) in times.iter().zip(stamps) {
                let text = &stamp[..usize::from(stamp[cell::SIZE - 1])];
                prop_assert_eq!(format!(" {time}\n").into_bytes(), text);
            }
        }

        #[test]
        fn any_time_has_its_stamp(time: i64, shift in 0..63u32) {
            let time = time >> shift;
            prop_assert_eq!(format!(" {time}\n").into_bytes(), text(time));
        }
    }
}
