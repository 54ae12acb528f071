//! Times that fields share: each packed section is unpacked once, and its text is kept for the next series.

use crate::lp::cell::{self, Cell};
use crate::tsm::Error;
use crate::tsm::block::Block;

/// Times of a section whose text is kept; of longer ones it is made anew each time.
const KEPT: usize = 2048;
/// Sections that are kept for the next series.
const SECTIONS: usize = 8;

/// The end of a line: a space, the time, a line feed. The last byte says how long that is.
pub type Stamp = [u8; cell::SIZE];

/// Append the ends of lines with these times.
pub fn stamp<'a>(times: impl ExactSizeIterator<Item = &'a i64>, out: &mut Vec<Stamp>) {
    let start = out.len();
    out.resize(start + times.len(), [b' '; cell::SIZE]);
    let mut long = Long::default();
    // Written where they stay: what has just been written in small pieces is slow to copy.
    for (time, stamp) in times.zip(out.iter_mut().skip(start)) {
        // A time has twenty characters at most.
        let n = match u64::try_from(*time) {
            Ok(time) if time >= LONG => long.put(time, stamp),
            _ => cell::signed_at(*time, stamp, 1),
        };
        stamp[0] = b' ';
        stamp[n % cell::SIZE] = b'\n';
        stamp[cell::SIZE - 1] = n as u8 + 1;
    }
}

/// From here on a time has seventeen digits or more.
const LONG: u64 = cell::E8 * cell::E8;

/// The parts of the time before: times that follow each other differ in few of them.
#[derive(Default)]
struct Long {
    parts: [u64; 3],
    head: Cell,
    /// Where the first part ends.
    at: usize,
    texts: [[u8; 8]; 2],
}

impl Long {
    /// Put a time there, from the second byte on; where it ends.
    #[inline]
    fn put(&mut self, time: u64, stamp: &mut Stamp) -> usize {
        let (rest, low) = (time / cell::E8, time % cell::E8);
        let (high, middle) = (rest / cell::E8, rest % cell::E8);
        if self.parts[0] != high {
            self.parts[0] = high;
            self.at = cell::signed_at(high as i64, &mut self.head, 1);
        }
        for (part, (known, text)) in [middle, low]
            .into_iter()
            .zip(self.parts.iter_mut().skip(1).zip(&mut self.texts))
        {
            if *known != part || text[0] == 0 {
                (*known, *text) = (part, cell::eight(part));
            }
        }
        *stamp = self.head;
        self.texts.iter().fold(self.at, |at, text| {
            cell::put(*text, stamp, at);
            at + text.len()
        })
    }
}

/// The times of a block.
#[derive(Debug, Default)]
pub struct Section {
    packed: Vec<u8>,
    times: Vec<i64>,
    /// As many as have been asked for.
    stamps: Vec<Stamp>,
    extremes: Option<(i64, i64)>,
    is_ascending: bool,
    /// The number of the series that it was last used for.
    used: u64,
}

impl Section {
    /// The times, in the order of the block.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// The least and the greatest time, if there is any.
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
            stamp(times.iter(), scratch);
            return scratch;
        }
        let times = self.times.get(self.stamps.len()..start + n);
        let missing = times.unwrap_or_default().iter();
        stamp(missing, &mut self.stamps);
        self.stamps.get(start..start + n).unwrap_or_default()
    }

    fn unpack(&mut self, block: &Block<'_>) -> Result<(), Error> {
        // On an error the section is of no block.
        self.packed.clear();
        self.times.clear();
        self.stamps.clear();
        block.times(&mut self.times)?;
        self.packed.extend_from_slice(block.time_section());
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

    /// The number of the section of a block, the one at this position of its field.
    pub fn find(&mut self, position: usize, block: &Block<'_>) -> Result<usize, Error> {
        let packed = block.time_section();
        if let Some(id) = self.latest.get(position)
            && let Some(section) = self.all.get_mut(*id)
            && section.packed == packed
            && !packed.is_empty()
        {
            section.used = self.serial;
            return Ok(*id);
        }
        self.enter(position, block)
    }

    fn enter(&mut self, position: usize, block: &Block<'_>) -> Result<usize, Error> {
        let is_taken = |section: &Section| section.used == self.serial;
        while self.all.get(self.free).is_some_and(is_taken) {
            self.free += 1;
        }
        let id = self.free;
        if id == self.all.len() {
            self.all.push(Section::default());
        }
        if let Some(section) = self.all.get_mut(id) {
            section.unpack(block)?;
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
    use proptest::prelude::*;

    fn text(time: i64) -> Vec<u8> {
        let mut stamps = vec![[0; cell::SIZE]];
        stamp([time].iter(), &mut stamps);
        stamps[1][..usize::from(stamps[1][cell::SIZE - 1])].to_vec()
    }

    #[test]
    fn a_stamp_is_the_end_of_a_line() {
        assert_eq!(b" 0\n", &*text(0));
        assert_eq!(b" -9223372036854775808\n", &*text(i64::MIN));
        assert_eq!(b" 1600000000000000000\n", &*text(1_600_000_000_000_000_000));
    }

    proptest! {
        #[test]
        fn any_time_has_its_stamp(time: i64, shift in 0..63u32) {
            let time = time >> shift;
            prop_assert_eq!(format!(" {time}\n").into_bytes(), text(time));
        }
    }
}
