//! A block: the points of one key over some time.
//!
//! ```text
//! crc32 u32 | type u8 | uvarint t | t bytes of timestamps | values to the end
//!           '------------- what the checksum covers -------------------'
//! ```
//!
//! A block does not know its own length; the index does.

use std::ops::Range;

pub use super::encoding::MAX_POINTS;
pub use super::encoding::timestamp::Run;
use super::encoding::{boolean, float, integer, string, timestamp};
use super::{Bytes, Error, ErrorKind};
use crate::rows::{Kind, Values};

/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// The type with this number in blocks and in the index.
pub fn kind(code: u8) -> Option<Kind> {
    Some(match code {
        0 => Kind::Float,
        1 => Kind::Integer,
        2 => Kind::Boolean,
        3 => Kind::String,
        4 => Kind::Unsigned,
        _ => return None,
    })
}

/// Where the values of a block stand, by the first bytes of its frame; nothing if these are too few.
pub fn values_at(start: &[u8]) -> Option<u64> {
    let mut rest = Bytes::new(start, 0);
    rest.take(CHECKSUM + 1).ok()?;
    let times = rest.uvarint().ok()?;
    rest.at().checked_add(times)
}

/// How many points a block holds, by its frame; nothing if that does not say. It may not be true: no checksum has been
/// looked at.
pub fn claimed(frame: &[u8]) -> Option<usize> {
    let end = usize::try_from(values_at(frame)?).ok()?;
    let mut times = Bytes::new(frame.get(CHECKSUM + 1..end)?, 0);
    times.uvarint().ok()?;
    timestamp::count(times).ok()
}

/// How many bytes the strings of a block are, with their lengths, by the first bytes of its values; nothing if these do
/// not say. It may not be true: no checksum has been looked at.
pub fn string_bytes(values: &[u8]) -> Option<usize> {
    string::claimed(values)
}

/// A block whose checksum is right, not unpacked yet.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    kind: Kind,
    times: Bytes<'a>,
    values: Bytes<'a>,
}

impl<'a> Block<'a> {
    /// The block in `frame`, its checksum in front, as it stands at offset `at` of the file.
    pub fn open(frame: &'a [u8], at: u64) -> Result<Self, Error> {
        let mut payload = Bytes::new(frame, at);
        let crc = payload.u32()?;
        if crc != crc32fast::hash(payload.rest()) {
            return Err(Error::new(at, ErrorKind::Checksum));
        }
        let at = payload.at();
        let code = payload.u8()?;
        let kind = kind(code).ok_or_else(|| Error::new(at, ErrorKind::BlockType(code)))?;
        let n = payload.uvarint()?;
        let times = payload.section(usize::try_from(n).unwrap_or(usize::MAX))?;
        Ok(Self {
            kind,
            times,
            values: payload,
        })
    }

    /// The type of the values.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The timestamps, packed. Two blocks with equal sections have equal timestamps.
    pub fn time_section(&self) -> &'a [u8] {
        self.times.rest()
    }

    /// How many timestamps the block holds, found without unpacking them.
    pub fn count(&self) -> Result<usize, Error> {
        timestamp::count(self.times)
    }

    /// Append the timestamps. They may be in any order and come more than once. On an error nothing is appended.
    pub fn times(&self, out: &mut Vec<i64>) -> Result<(), Error> {
        timestamp::decode(self.times, out)
    }

    /// The timestamps as a run, if they are packed as one and ascend: of these some can be had without the others.
    pub fn run(&self) -> Result<Option<Run>, Error> {
        timestamp::run(self.times)
    }

    /// Append exactly `n` values to a column of the same type. On an error nothing is appended.
    pub fn values(&self, n: usize, out: &mut Values) -> Result<(), Error> {
        self.limit(n)?;
        let before = out.len();
        let done = self.decode(n, out);
        if done.is_err() {
            out.truncate(before);
        }
        done
    }

    /// That a block may have so many values.
    fn limit(&self, n: usize) -> Result<(), Error> {
        match n > MAX_POINTS {
            true => Err(self.values.error(ErrorKind::TooManyPoints(n as u64))),
            false => Ok(()),
        }
    }

    /// Append those of exactly `n` values that stand at the `wanted` positions, which lie within `0..n`. Of a run no other
    /// is unpacked; all else is unpacked whole and then cut: only so is it known that there are `n`. On an error nothing is
    /// appended.
    pub fn some_values(
        &self,
        n: usize,
        wanted: Range<usize>,
        out: &mut Values,
    ) -> Result<(), Error> {
        if wanted == (0..n) {
            return self.values(n, out);
        }
        debug_assert!(
            wanted.start <= wanted.end && wanted.end <= n,
            "positions beyond {n}"
        );
        self.limit(n)?;
        let before = out.len();
        let (start, end) = (before + wanted.start, before + wanted.end);
        let is_run = match (self.kind, &mut *out) {
            (Kind::Integer, Values::Integer(out)) => {
                integer::decode_run(self.values, n, wanted, out)?
            }
            (Kind::Unsigned, Values::Unsigned(out)) => {
                integer::decode_run(self.values, n, wanted, out)?
            }
            _ => false,
        };
        if !is_run {
            self.values(n, out)?;
            out.truncate(end);
            out.remove(before..start);
        }
        Ok(())
    }

    fn decode(&self, n: usize, out: &mut Values) -> Result<(), Error> {
        match (self.kind, out) {
            (Kind::Float, Values::Float(out)) => float::decode(self.values, n, out),
            (Kind::Integer, Values::Integer(out)) => integer::decode(self.values, n, out),
            (Kind::Boolean, Values::Boolean(out)) => boolean::decode(self.values, n, out),
            (Kind::String, Values::String(out)) => string::decode(self.values, n, out),
            (Kind::Unsigned, Values::Unsigned(out)) => integer::decode(self.values, n, out),
            (block, out) => {
                let column = out.kind();
                Err(self.values.error(ErrorKind::OtherType { block, column }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rows::Strings;
    use crate::tsm::encoding::testing::{self, T, framed, hex};

    fn decoded(frame: &[u8], at: u64) -> Result<(Vec<i64>, Values), Error> {
        let block = Block::open(frame, at)?;
        let (mut times, mut values) = (Vec::new(), Values::new(block.kind()));
        block.times(&mut times)?;
        assert_eq!(Ok(times.len()), block.count());
        assert_eq!(Some(times.len()), claimed(frame));
        block.values(times.len(), &mut values)?;
        assert_eq!(times.len(), values.len());
        Ok((times, values))
    }

    fn strings(values: &[&[u8]]) -> Values {
        let mut strings = Strings::default();
        values.iter().for_each(|v| strings.push(v));
        Values::String(strings)
    }

    fn payloads() -> Vec<(&'static str, Vec<i64>, Values)> {
        let second = 1_000_000_000;
        vec![
            (
                "000b2a16345785d8a000000103103ff80000000000006133fff17dffc0000000000008",
                vec![T, T + 10 * second, T + 20 * second],
                Values::Float(vec![1.5, 1.5, 2.0]),
            ),
            (
                "01091c16345785d8a0000010000000000000000e",
                vec![T],
                Values::Integer(vec![7]),
            ),
            (
                "04091c16345785d8a00000100000000000000001",
                vec![T],
                Values::Unsigned(vec![u64::MAX]),
            ),
            (
                "020b2916345785d8a000000102100280",
                vec![T, T + second],
                Values::Boolean(vec![true, false]),
            ),
            (
                "03091c16345785d8a000001006140568656c6c6f",
                vec![T],
                strings(&[b"hello"]),
            ),
        ]
    }

    #[test]
    fn payloads_written_by_a_server_decode_to_what_it_was_given() {
        for (payload, times, values) in payloads() {
            assert_eq!(Ok((times, values)), decoded(&framed(&hex(payload)), 5));
        }
    }

    #[test]
    fn the_values_are_found_by_the_first_bytes() {
        let hello = framed(&hex("03091c16345785d8a000001006140568656c6c6f"));
        let at = values_at(&hello[..6]).unwrap() as usize;
        assert_eq!((15, Some(6)), (at, string_bytes(&hello[at..at + 2])));
        assert_eq!(None, values_at(&hello[..5]));
        assert_eq!(
            (Some(1), None),
            (claimed(&hello[..15]), claimed(&hello[..14]))
        );
    }

    #[test]
    fn the_blocks_of_a_whole_file_decode() {
        let file = hex(concat!(
            "16d116d101b4cb576c000b2a16345785d8a000000103103ff80000000000006133fff17dffc0000000000008",
            "c1c24fd701091c16345785d8a0000010000000000000000e"
        ));
        let (times, values) = decoded(&file[5..44], 5).unwrap();
        assert_eq!(
            (3, Values::Float(vec![1.5, 1.5, 2.0])),
            (times.len(), values)
        );
        let (times, values) = decoded(&file[44..68], 44).unwrap();
        assert_eq!((vec![T], Values::Integer(vec![7])), (times, values));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_fails_the_checksum() {
        for (payload, ..) in payloads() {
            let frame = framed(&hex(payload));
            for n in 4..frame.len() {
                assert_eq!(
                    Err(Error::new(9, ErrorKind::Checksum)),
                    decoded(&frame[..n], 9)
                );
            }
            for bit in 0..8 * frame.len() {
                let mut frame = frame.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Err(Error::new(9, ErrorKind::Checksum)), decoded(&frame, 9));
            }
        }
    }

    #[test]
    fn every_truncation_with_a_right_checksum_is_an_error_too() {
        for (payload, ..) in payloads() {
            let payload = hex(payload);
            for n in 0..payload.len() {
                let error = decoded(&framed(&payload[..n]), 1000).unwrap_err();
                assert!((1004..=1004 + n as u64).contains(&error.at), "{error}");
            }
        }
    }

    #[test]
    fn a_frame_without_a_whole_checksum_is_an_error() {
        for n in 0..4 {
            let missing = ErrorKind::Truncated { missing: 4 - n };
            assert_eq!(Err(Error::new(7, missing)), decoded(&[0; 4][..n], 7));
        }
    }

    #[test]
    fn an_unknown_type_is_an_error() {
        for code in 5..=255 {
            let frame = testing::block(code, &testing::times(&[1], true), &[]);
            let error = decoded(&frame, 5).unwrap_err();
            assert_eq!(Error::new(9, ErrorKind::BlockType(code)), error);
        }
    }

    #[test]
    fn timestamps_longer_than_the_block_are_an_error() {
        for n in [12, 1 << 32, u64::MAX] {
            let mut payload = vec![0];
            testing::uvarint(&mut payload, n);
            payload.extend([0; 11]);
            let kind = decoded(&framed(&payload), 0).unwrap_err().kind;
            assert!(matches!(kind, ErrorKind::Truncated { .. }), "{kind}");
        }
    }

    #[test]
    fn values_go_to_a_column_of_their_own_type_only() {
        let frame = framed(&hex(payloads()[0].0));
        let block = Block::open(&frame, 5).unwrap();
        let error = block
            .values(3, &mut Values::new(Kind::Integer))
            .unwrap_err();
        let (block, column) = (Kind::Float, Kind::Integer);
        assert_eq!(ErrorKind::OtherType { block, column }, error.kind);
    }

    #[test]
    fn an_error_leaves_the_column_as_it_was() {
        for (payload, times, values) in payloads() {
            let mut payload = hex(payload);
            let frame = framed(&payload);
            let mut out = Values::new(values.kind());
            Block::open(&frame, 5)
                .unwrap()
                .values(times.len(), &mut out)
                .unwrap();
            assert_eq!(values, out);
            payload.pop();
            let frame = framed(&payload);
            assert!(
                Block::open(&frame, 5)
                    .unwrap()
                    .values(times.len(), &mut out)
                    .is_err()
            );
            assert_eq!(values, out);
        }
    }

    #[test]
    fn more_points_than_a_block_can_have_are_not_asked_for() {
        // A run of integers claims 2^60 values, as do the timestamps.
        let mut times = hex("20000000000000000001");
        testing::uvarint(&mut times, 1 << 60);
        let mut values = hex("20000000000000000000");
        testing::uvarint(&mut values, (1 << 60) - 1);
        let frame = testing::block(1, &times, &values);
        let block = Block::open(&frame, 0).unwrap();
        let kind = block.times(&mut Vec::new()).unwrap_err().kind;
        assert_eq!(ErrorKind::TooManyPoints(1 << 60), kind);
        let n = MAX_POINTS + 1;
        assert!(block.values(n, &mut Values::new(Kind::Integer)).is_err());
    }

    #[test]
    fn equal_times_have_equal_sections() {
        let times = testing::times(&[1, 2, 4], true);
        let floats = testing::block(0, &times, &testing::floats(&[1.0, 2.0, 3.0]));
        let truths = testing::block(2, &times, &testing::booleans(&[true; 3]));
        let section = |frame| Block::open(frame, 0).map(|block| block.time_section().to_vec());
        assert_eq!(Ok(times), section(&floats));
        assert_eq!(section(&floats), section(&truths));
    }

    /// A block of `n` values of each type, integers as a run and otherwise.
    fn some_of_each(n: usize) -> Vec<Vec<u8>> {
        let times: Vec<i64> = (0..n as i64).map(|i| T + 10 * i).collect();
        let times = testing::times(&times, true);
        let numbers = |step: u64| (0..n as u64).map(move |i| i * (step + i % step));
        let (run, other): (Vec<_>, Vec<_>) = (numbers(1).collect(), numbers(3).collect());
        let floats: Vec<f64> = other.iter().map(|v| *v as f64 / 8.0).collect();
        let truths: Vec<bool> = other.iter().map(|v| v % 2 == 0).collect();
        let words: Vec<Vec<u8>> = other.iter().map(|v| vec![b'x'; (v % 5) as usize]).collect();
        vec![
            testing::block(0, &times, &testing::floats(&floats)),
            testing::block(1, &times, &testing::integers(&run, true)),
            testing::block(1, &times, &testing::integers(&other, true)),
            testing::block(1, &times, &testing::integers_raw(&other)),
            testing::block(2, &times, &testing::booleans(&truths)),
            testing::block(3, &times, &testing::strings(&words)),
            testing::block(4, &times, &testing::integers(&run, true)),
        ]
    }

    proptest! {
        /// By the plain rule: unpack all, then take some.
        #[test]
        fn some_values_are_those_of_all(n in 1..60usize, ends: [prop::sample::Index; 2], is_first: bool) {
            let ends = ends.map(|end| end.index(n + 1));
            let wanted = ends[0].min(ends[1])..ends[0].max(ends[1]);
            for frame in some_of_each(n) {
                let block = Block::open(&frame, 0).unwrap();
                let mut all = Values::new(block.kind());
                block.values(n, &mut all).unwrap();
                let (mut plain, mut some) = (Values::new(block.kind()), Values::new(block.kind()));
                if !is_first {
                    plain.extend(&all, 0..1);
                    some.extend(&all, 0..1);
                }
                let before = some.clone();
                plain.extend(&all, wanted.clone());
                for wrong in [n - 1, n + 1] {
                    let part = wanted.start.min(wrong)..wanted.end.min(wrong);
                    prop_assert!(block.some_values(wrong, part, &mut some).is_err());
                    prop_assert_eq!(&before, &some);
                }
                prop_assert_eq!(Ok(()), block.some_values(n, wanted.clone(), &mut some));
                prop_assert_eq!(&plain, &some);
            }
        }

        #[test]
        fn any_payload_decodes_or_is_an_error(mut payload: Vec<u8>, code in 0..5u8) {
            payload.insert(0, code);
            let _ = decoded(&framed(&payload), 5);
        }
    }
}
