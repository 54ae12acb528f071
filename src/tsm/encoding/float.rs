//! Floats of a block: each as what changed since the one before (Gorilla).
//!
//! ```text
//! 10  64 bits of the first value, then for each further one, highest bit first:
//!     0                              the same again
//!     1 0 <bits>                     other bits at the same place
//!     1 1 <lead:5> <width:6> <bits>  other bits at a new place, width 0 = 64
//! ```
//!
//! A mark that no value can have ends the values; zeros fill the last byte.

use std::slice::IterMut;

use super::only;
use crate::tsm::{Bytes, Error, ErrorKind};

/// Go's own NaN. Servers refuse NaN, so it cannot be a value.
pub(crate) const END: u64 = 0x7ff8_0000_0000_0001;

/// The bytes one look needs: 7 bits of the first byte are gone, 13 say where, 64 say what.
const LOOK: usize = 16;

/// Append the `n` values of the section.
pub fn decode(mut section: Bytes<'_>, n: usize, out: &mut Vec<f64>) -> Result<(), Error> {
    let at = section.at();
    only(1, &mut section, "floats")?;
    let first = section.u64()?;
    if first == END || n == 0 {
        return ended(first, n, at);
    }
    let start = out.len();
    out.resize(start + n, 0.0);
    let mut slots = out[start..].iter_mut();
    if let Some(slot) = slots.next() {
        *slot = f64::from_bits(first);
    }
    changes(section.rest(), first, &mut slots).map_err(|(byte, fault)| {
        let values = n - slots.len();
        Error::new(section.at() + byte as u64, fault.kind(n, values))
    })
}

/// A section without any change: right if it holds nothing and nothing is asked for.
fn ended(first: u64, times: usize, at: u64) -> Result<(), Error> {
    match (first == END, times) {
        (true, 0) => Ok(()),
        (true, times) => Err(Error::new(at, ErrorKind::Count { times, values: 0 })),
        (false, times) => Err(Error::new(at, ErrorKind::MoreValues { times })),
    }
}

/// What can be wrong with the changes.
enum Fault {
    Ended,
    NotEnded,
    Cut(usize),
    Window { lead: u32, bits: u32 },
}

impl Fault {
    fn kind(self, times: usize, values: usize) -> ErrorKind {
        match self {
            Self::Ended => ErrorKind::Count { times, values },
            Self::NotEnded => ErrorKind::MoreValues { times },
            Self::Cut(missing) => ErrorKind::Truncated { missing },
            Self::Window { lead, bits } => ErrorKind::Window { lead, bits },
        }
    }
}

/// Fill the slots, then find the mark. An error comes with the byte where it was found.
fn changes(stream: &[u8], first: u64, slots: &mut IterMut<'_, f64>) -> Result<(), (usize, Fault)> {
    let mut reader = Reader::new(first);
    reader
        .fill(stream, slots)
        .map_err(|fault| (reader.bit / 8, fault))?;
    // A look near the end would read behind it: go on with what is left as a number, zeros behind.
    let start = reader.bit / 8;
    let rest = stream.get(start..).unwrap_or_default();
    reader.bit %= 8;
    let limit = 8 * rest.len().min(LOOK);
    reader
        .last(left(rest), limit, slots)
        .map_err(|fault| (start + reader.bit.min(limit) / 8, fault))
}

/// The first bytes of what is left, highest first, zeros behind. A short section is all end: in a copy with zeros behind
/// the first look had to wait until all of the copy was written, with two values a series 5 % of the time of an export.
fn left(bytes: &[u8]) -> u128 {
    let missing = 8 * LOOK.saturating_sub(bytes.len());
    match (bytes.first_chunk(), bytes.first_chunk(), bytes.last_chunk()) {
        (Some(all), ..) => u128::from_be_bytes(*all),
        // They overlap.
        (None, Some(first), Some(last)) => {
            let [first, last] = [*first, *last].map(|half| u128::from(u64::from_be_bytes(half)));
            first << 64 | last << missing
        }
        _ => {
            let all = bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u128::from(*byte));
            all.checked_shl(missing as u32).unwrap_or(0)
        }
    }
}

/// The value so far, and where its next change starts.
struct Reader {
    value: u64,
    lead: u32,
    width: u32,
    bit: usize,
}

/// What comes next.
enum Next {
    /// The value again, up to so many times.
    Same(usize),
    /// Another value.
    Changed,
}

impl Reader {
    fn new(value: u64) -> Self {
        Self {
            value,
            lead: 0,
            width: 64,
            bit: 0,
        }
    }

    /// Fill slots as long as a whole look fits into the stream.
    fn fill(&mut self, stream: impl Stream, slots: &mut IterMut<'_, f64>) -> Result<(), Fault> {
        while slots.len() > 0 {
            let Some(look) = stream.look(self.bit) else {
                break;
            };
            match self.next(look)? {
                Next::Same(n) => self.repeat(n, slots),
                Next::Changed if self.value == END => return Err(Fault::Ended),
                Next::Changed => {
                    if let Some(slot) = slots.next() {
                        *slot = f64::from_bits(self.value);
                    }
                }
            }
        }
        Ok(())
    }

    fn repeat(&mut self, n: usize, slots: &mut IterMut<'_, f64>) {
        let n = n.min(slots.len());
        let value = f64::from_bits(self.value);
        slots.by_ref().take(n).for_each(|slot| *slot = value);
        self.bit += n;
    }

    /// The slots left over when `limit` bits of the stream are left, and the mark behind them.
    fn last(
        &mut self,
        left: u128,
        limit: usize,
        slots: &mut IterMut<'_, f64>,
    ) -> Result<(), Fault> {
        let filled = self.fill(left, slots);
        self.within(limit)?;
        filled?;
        let cut = Fault::Cut(1);
        let next = self.next(left.look(self.bit).ok_or(cut)?)?;
        self.within(limit)?;
        match next {
            Next::Changed if self.value == END => Ok(()),
            Next::Same(_) if self.bit >= limit => Err(Fault::Cut(1)),
            _ => Err(Fault::NotEnded),
        }
    }

    fn within(&self, limit: usize) -> Result<(), Fault> {
        match self.bit.checked_sub(limit) {
            None | Some(0) => Ok(()),
            Some(bits) => Err(Fault::Cut(bits.div_ceil(8))),
        }
    }

    /// What the look shows; a change is taken, repetitions are for the caller to take.
    #[inline(always)]
    fn next(&mut self, look: impl Look) -> Result<Next, Fault> {
        let skip = self.bit % 8;
        let head = look.bits(0) << skip;
        let mut size = 2;
        match head >> 62 {
            0 | 1 => return Ok(Next::Same((head.leading_zeros() as usize).min(64 - skip))),
            2 => {}
            _ => {
                self.lead = (head >> 57) as u32 & 31;
                self.width = ((head >> 51) as u32).wrapping_sub(1) % 64 + 1;
                size = 13;
                if self.lead + self.width > 64 {
                    return Err(self.outside());
                }
            }
        }
        let bits = look.bits(skip + size) >> (64 - self.width);
        self.value ^= bits << (64 - self.lead - self.width);
        self.bit += size + self.width as usize;
        Ok(Next::Changed)
    }

    #[cold]
    fn outside(&self) -> Fault {
        Fault::Window {
            lead: self.lead,
            bits: self.width,
        }
    }
}

/// Where looks are taken.
trait Stream: Copy {
    type Look: Look;

    /// The bytes from the one that holds bit `bit` on.
    fn look(self, bit: usize) -> Option<Self::Look>;
}

/// So many bytes as one look needs.
trait Look {
    /// 64 bits from bit `bit` on, which is at most 20.
    fn bits(&self, bit: usize) -> u64;
}

impl<'a> Stream for &'a [u8] {
    type Look = &'a [u8; LOOK];

    #[inline(always)]
    fn look(self, bit: usize) -> Option<Self::Look> {
        self.get(bit / 8..)?.first_chunk()
    }
}

impl Look for &[u8; LOOK] {
    #[inline(always)]
    fn bits(&self, bit: usize) -> u64 {
        let (at, skip) = (bit / 8 % 4, bit % 8);
        word(self, at) << skip | u64::from(self[at + 8]) >> (8 - skip)
    }
}

#[inline(always)]
fn word(look: &[u8; LOOK], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&look[at..at + 8]);
    u64::from_be_bytes(word)
}

/// The end of a stream, with twice as many zeros behind it.
impl Stream for u128 {
    type Look = Self;

    #[inline(always)]
    fn look(self, bit: usize) -> Option<Self> {
        let at = bit / 8;
        (at <= 2 * LOOK).then(|| self.checked_shl(8 * at as u32).unwrap_or(0))
    }
}

impl Look for u128 {
    #[inline(always)]
    fn bits(&self, bit: usize) -> u64 {
        (self << bit >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing;

    /// The rule bit by bit: all values up to the mark, or nothing.
    fn plain(section: &[u8]) -> Option<Vec<u64>> {
        let bit = |i: usize| Some(u64::from(section.get(i / 8)? >> (7 - i % 8) & 1));
        let mut at = 8;
        let mut take = |n: u64| {
            (0..n).try_fold(0, |bits, _| {
                at += 1;
                Some(bits << 1 | bit(at - 1)?)
            })
        };
        let (mut value, mut lead, mut width) = (take(64)?, 0, 64);
        let mut values = Vec::new();
        while value != END {
            values.push(value);
            while take(1)? == 0 {
                values.push(value);
            }
            if take(1)? == 1 {
                lead = take(5)?;
                width = take(6)?;
                width = if width == 0 { 64 } else { width };
            }
            let trail = 64u64.checked_sub(lead + width)?;
            value ^= take(width)? << trail;
        }
        Some(values)
    }

    fn decoded(section: &[u8], n: usize) -> Result<Vec<u64>, Error> {
        let mut out = vec![7.5];
        decode(Bytes::new(section, 0), n, &mut out)?;
        assert_eq!(7.5, out[0]);
        Ok(out[1..].iter().map(|v| v.to_bits()).collect())
    }

    fn vectors() -> Vec<(&'static str, Vec<f64>)> {
        vec![
            ("107ff8000000000001", vec![]),
            ("103ff0000000000000c3fc0080000000000010", vec![1.0]),
            (
                "103ff000000000000030ff0020000000000004",
                vec![1.0, 1.0, 1.0],
            ),
            (
                "1040280000000000006b07ac49a462fbfc00000000000010",
                vec![12.0, 12.0, 24.0, 13.0, 24.0, 24.0, 24.0, 24.0],
            ),
            (
                "104035800000000000e7666666666666d9999999999b811803fe002ffc80000000000040",
                vec![21.5, 21.6, 21.5, -3.25],
            ),
            (
                "100000000000000000c00f001fff00000000000020",
                vec![0.0, -0.0],
            ),
            (
                "107ff0000000000000c20f005e00200200000000000040",
                vec![f64::INFINITY, 1.0, f64::NEG_INFINITY],
            ),
            (
                "107fefffffffffffffc00f07fffdffffffffffffe7ff80000000000000",
                vec![f64::MAX, f64::MIN, 5e-324],
            ),
            (
                "100000000000000000c004000000000000000dfff0000000000000",
                vec![0.0, -5e-324],
            ),
            ("100000000000000000ff0800000007099ffe", vec![0.0, 5e-324]),
            (
                "104028000000000000d60f58971e2fbfd0000000000001",
                vec![12.0, 24.0, 15.0, 12.0],
            ),
        ]
    }

    #[test]
    fn sections_written_by_a_server_decode_to_what_it_was_given() {
        for (section, values) in vectors() {
            let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
            assert_eq!(
                Ok(bits),
                decoded(&testing::hex(section), values.len()),
                "{section}"
            );
            assert_eq!(testing::hex(section), testing::floats(&values), "{section}");
        }
    }

    #[test]
    fn a_mark_that_comes_early_or_late_is_an_error() {
        let section = testing::floats(&[1.0, 2.0, 3.0]);
        for n in [1, 2, 4, 100] {
            assert!(decoded(&section, n).is_err(), "{n}");
        }
        let early = decoded(&section, 4).unwrap_err().kind;
        assert_eq!(
            ErrorKind::Count {
                times: 4,
                values: 3
            },
            early
        );
        let late = decoded(&section, 2).unwrap_err().kind;
        assert_eq!(ErrorKind::MoreValues { times: 2 }, late);
    }

    #[test]
    fn a_window_of_more_than_64_bits_is_an_error() {
        // 11, lead 31, width 63.
        let mut section = vec![0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0b1111_1111, 0b1111_1000];
        section.extend([0; 30]);
        let kind = decoded(&section, 2).unwrap_err().kind;
        assert_eq!(ErrorKind::Window { lead: 31, bits: 63 }, kind);
    }

    #[test]
    fn the_same_place_before_any_place_means_all_64_bits() {
        let mut section = vec![0x10, 0, 0, 0, 0, 0, 0, 0, 0];
        // 10, then 64 bits of 5; 10, then 64 bits of 5 ^ END; padding.
        let mut writer = testing::BitWriter::default();
        for change in [5, 5 ^ END] {
            writer.put(0b10, 2);
            writer.put(change, 64);
        }
        section.extend(writer.bytes());
        assert_eq!(Ok(vec![0, 5]), decoded(&section, 2));
    }

    fn value() -> impl Strategy<Value = f64> {
        let bits = (any::<u64>(), 0..64u32, 0..64u32);
        prop_oneof![
            Just(0.0),
            (-20..20i32).prop_map(|v| f64::from(v) / 4.0),
            bits.prop_map(|(v, up, down)| f64::from_bits(v << up >> down)),
        ]
        .prop_filter("a server stores no NaN", |v| !v.is_nan())
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let run = (value(), prop_oneof![Just(1), 1..200usize]);
        prop::collection::vec(run, 0..40)
            .prop_map(|runs| runs.iter().flat_map(|&(v, n)| vec![v; n]).collect())
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(values in values()) {
            let bits: Vec<u64> = values.iter().map(|v| v.to_bits()).collect();
            prop_assert_eq!(Ok(bits), decoded(&testing::floats(&values), values.len()));
        }

        #[test]
        fn any_bits_decode_as_the_plain_rule_says(mut section: Vec<u8>, more in 0..3usize) {
            section.insert(0, 0x10);
            let plain = plain(&section);
            let n = plain.as_ref().map_or(section.len(), Vec::len);
            prop_assert_eq!(plain, decoded(&section, n).ok());
            prop_assert!(decoded(&section, n + more + 1).is_err());
        }

        #[test]
        fn every_truncation_is_an_error(values in values()) {
            let section = testing::floats(&values);
            for n in 0..section.len() {
                prop_assert!(decoded(&section[..n], values.len()).is_err());
            }
        }

        #[test]
        fn a_flipped_bit_decodes_as_the_plain_rule_says(values in values(), flip: prop::sample::Index) {
            let mut section = testing::floats(&values);
            let flip = 8 + flip.index(8 * section.len() - 8);
            section[flip / 8] ^= 1 << (flip % 8);
            let plain = plain(&section);
            let n = plain.as_ref().map_or(values.len(), Vec::len);
            prop_assert_eq!(plain, decoded(&section, n).ok());
        }
    }
}
