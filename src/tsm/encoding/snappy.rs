//! Snappy blocks: no frame, no checksum, only the unpacked length in front.
//!
//! ```text
//! uvarint length of what comes out, elements
//! ```

mod elements;

use super::varint;
use crate::pages::Buffer;
use crate::tsm::ErrorKind;

/// So many bytes are better not moved.
const LARGE: usize = 1 << 20;

/// Why compressed data does not unpack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No length, or one beyond 32 bits.
    #[error("compressed data does not begin with a length")]
    Header,
    /// An element goes on behind the end.
    #[error("compressed data ends early")]
    Cut,
    /// A copy of what is not there.
    #[error("compressed data refers {offset} bytes back and has only {written}")]
    Offset {
        /// How far back.
        offset: usize,
        /// How much came out before.
        written: usize,
    },
    /// More comes out than was claimed.
    #[error("compressed data holds more than the {claimed} bytes it claims")]
    Long {
        /// How much was claimed.
        claimed: usize,
    },
    /// Less comes out than was claimed.
    #[error("compressed data holds {found} bytes of the {claimed} it claims")]
    Short {
        /// How much was claimed.
        claimed: usize,
        /// How much came out.
        found: usize,
    },
}

/// Append what is packed in `packed`. On an error nothing is appended.
pub fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorKind> {
    let (claimed, elements) = checked(packed)?;
    let start = out.len();
    if claimed >= LARGE {
        // What is merged with it comes behind it: memory that is not used yet costs nothing, to move all of it does.
        out.reserve_exact(claimed + claimed / 8);
    }
    out.resize(start + claimed, 0);
    let done = elements::unpack(elements, out.get_mut(start..).unwrap_or_default());
    done.map_err(|fault| {
        out.truncate(start);
        ErrorKind::Snappy(fault)
    })
}

/// Have what is packed in `packed` in the place of what is in `out`. On an error `out` means nothing.
pub fn replace(packed: &[u8], out: &mut Buffer) -> Result<(), ErrorKind> {
    let (claimed, elements) = checked(packed)?;
    // What is overwritten is not cleared before.
    elements::unpack(elements, out.replace(claimed)).map_err(ErrorKind::Snappy)
}

/// The claimed length, if that can be, and the elements.
fn checked(packed: &[u8]) -> Result<(usize, &[u8]), ErrorKind> {
    let (claimed, elements) = header(packed).ok_or(ErrorKind::Snappy(Fault::Header))?;
    // Who claims more than there can be gets no memory.
    if claimed > most(packed.len()) {
        let packed = packed.len();
        return Err(ErrorKind::SnappyLength { packed, claimed });
    }
    Ok((claimed, elements))
}

/// The claimed length, at most five bytes of 32 bits, and what stands behind it.
fn header(packed: &[u8]) -> Option<(usize, &[u8])> {
    let (claimed, width) = varint::read(packed).ok().filter(|(_, width)| *width <= 5)?;
    let claimed = u32::try_from(claimed).ok()?;
    Some((usize::try_from(claimed).ok()?, packed.get(width..)?))
}

/// How many bytes come out by the words of data that starts with `start`; nothing if they are not there.
pub fn claimed(start: &[u8]) -> Option<usize> {
    Some(header(start)?.0)
}

/// Whether data of `length` compressed bytes can start with `start`: whether it claims neither too much nor too little.
pub fn plausible(length: usize, start: &[u8]) -> Result<(), ErrorKind> {
    let Ok((claimed, _)) = varint::read(start) else {
        return Ok(());
    };
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    if claimed > most(length) || length > longest(claimed) {
        let packed = length;
        return Err(ErrorKind::SnappyLength { packed, claimed });
    }
    Ok(())
}

/// The most compressed bytes that a packer makes of so many.
fn longest(claimed: usize) -> usize {
    claimed.saturating_add(claimed / 6).saturating_add(32)
}

/// The most that so many bytes can hold. Three bytes of copy yield 64.
fn most(packed: usize) -> usize {
    packed.saturating_mul(22).saturating_add(64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing;

    #[test]
    fn the_best_packed_data_there_is_unpacks() {
        let zeros = vec![0; 10_000_000];
        let packed = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        let mut out = vec![1, 2, 3];
        unpack(&packed, &mut out).unwrap();
        assert_eq!([1, 2, 3], out[..3]);
        assert_eq!(zeros, out[3..]);
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_there_is_memory_for_it() {
        let mut out = Vec::new();
        let packed = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let claimed = ErrorKind::SnappyLength {
            packed: 6,
            claimed: u32::MAX as usize,
        };
        assert_eq!(Err(claimed), unpack(&packed, &mut out));
        assert_eq!(0, out.capacity());
    }

    #[test]
    fn the_start_of_packed_data_tells_how_long_it_can_be() {
        let start = [100, 4];
        assert_eq!(Ok(()), plausible(50, &start));
        assert_eq!(Ok(()), plausible(104, &start));
        assert!(plausible(1, &start).is_err());
        assert!(plausible(1 << 20, &start).is_err());
        assert_eq!(Ok(()), plausible(1 << 20, &start[..0]));
    }

    #[test]
    fn a_length_that_is_not_that_of_the_data_is_an_error() {
        let ab = |claimed| unpacked(&[claimed, 4, b'a', b'b']);
        assert_eq!(Ok(b"ab".to_vec()), ab(2));
        let (claimed, found) = (3, 2);
        assert_eq!(Err(Fault::Short { claimed, found }), ab(3));
        assert_eq!(Err(Fault::Long { claimed: 1 }), ab(1));
    }

    #[test]
    fn what_is_wrong_is_told() {
        let cut = Err(Fault::Cut);
        for (packed, expected) in [
            (&[][..], Err(Fault::Header)),
            (&[0x80], Err(Fault::Header)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0], Err(Fault::Header)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f, 0], Err(Fault::Header)),
            (&[0x80, 0x80, 0x80, 0x80, 0], Ok(vec![])),
            (&[2, 4, b'a'], cut.clone()),
            (&[9, 60 << 2], cut.clone()),
            (&[9, 63 << 2, 0xff, 0xff, 0xff, 0xff, 0], cut.clone()),
            (&[9, 0, b'a', 1], cut.clone()),
            (&[9, 0, b'a', 2, 1], cut.clone()),
            (&[9, 0, b'a', 3, 1, 0, 0], cut),
            (
                &[5, 0, b'a', 1, 0],
                Err(Fault::Offset {
                    offset: 0,
                    written: 1,
                }),
            ),
            (
                &[5, 0, b'a', 1, 2],
                Err(Fault::Offset {
                    offset: 2,
                    written: 1,
                }),
            ),
            (&[5, 0, b'a', 1, 1], Ok(b"aaaaa".to_vec())),
            (&[5, 0, b'a', 3 << 2 | 3, 1, 0, 0, 0], Ok(b"aaaaa".to_vec())),
            (&[4, 0, b'a', 1, 1], Err(Fault::Long { claimed: 4 })),
        ] {
            assert_eq!(expected, unpacked(packed), "{packed:?}");
        }
    }

    #[test]
    fn copies_of_every_length_from_every_offset_repeat() {
        for (offset, len) in (1..=70).flat_map(|offset| (1..=64).map(move |len| (offset, len))) {
            let first: Vec<u8> = (0..offset as u8).collect();
            let whole: Vec<u8> = first.iter().copied().cycle().take(offset + len).collect();
            let copies = [
                (len - 1) << 2 | 2 | offset << 8,
                (len - 1) << 2 | 3 | offset << 8,
                (len.clamp(4, 11) - 4) << 2 | 1 | offset << 8,
            ];
            let widths = [3, 5, 2];
            // Near the end, and far from it.
            for ((copy, width), more) in copies.into_iter().zip(widths).zip([0, 200].repeat(3)) {
                if width == 2 && !(4..=11).contains(&len) {
                    continue;
                }
                let mut elements = literal(&first);
                elements.extend_from_slice(&(copy as u64).to_le_bytes()[..width]);
                elements.extend_from_slice(&literal(&vec![b'x'; more]));
                let expected = [&whole[..], &vec![b'x'; more]].concat();
                let mut packed = vec![];
                testing::uvarint(&mut packed, expected.len() as u64);
                packed.extend(elements);
                assert_eq!(Ok(expected), unpacked(&packed), "{offset} {len}");
            }
        }
    }

    #[test]
    fn literals_of_every_class_of_length_are_copied() {
        for n in [
            1,
            15,
            16,
            17,
            59,
            60,
            61,
            64,
            255,
            256,
            257,
            65_536,
            65_537,
            1 << 24,
            (1 << 24) + 1,
        ] {
            let bytes: Vec<u8> = (0..n).map(|i| (i / 3) as u8).collect();
            let mut packed = vec![];
            testing::uvarint(&mut packed, n as u64);
            packed.extend(literal(&bytes));
            assert_eq!(Ok(bytes), unpacked(&packed), "{n}");
        }
    }

    /// Our result; nothing but it is appended.
    fn unpacked(packed: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut out = b"before".to_vec();
        let done = unpack(packed, &mut out);
        assert!(out.starts_with(b"before"));
        match done {
            Ok(()) => Ok(out.split_off(6)),
            Err(ErrorKind::Snappy(fault)) => {
                assert_eq!(b"before", &out[..]);
                Err(fault)
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn literal(bytes: &[u8]) -> Vec<u8> {
        let Some(last) = bytes.len().checked_sub(1) else {
            return vec![];
        };
        let number = (last as u32).to_le_bytes();
        let width = 4 - last.leading_zeros().saturating_sub(32) as usize / 8;
        let head = match last {
            0..60 => vec![(last as u8) << 2],
            _ => [&[(59 + width as u8) << 2], &number[..width]].concat(),
        };
        [&head[..], bytes].concat()
    }

    /// That we and another decoder agree.
    fn agree(packed: &[u8]) -> Result<(), TestCaseError> {
        let claimed = snap::raw::decompress_len(packed).unwrap_or(0);
        let ours = match claimed > most(packed.len()) {
            true => return Ok(()),
            false => unpacked(packed),
        };
        let theirs = snap::raw::Decoder::new().decompress_vec(packed);
        prop_assert_eq!(
            theirs.is_ok(),
            ours.is_ok(),
            "{:?} {:?}",
            theirs.err(),
            ours.err()
        );
        prop_assert_eq!(theirs.ok(), ours.ok());
        Ok(())
    }

    /// Texts that pack well, in ways of their own, and some that do not.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let noise = proptest::collection::vec(any::<u8>(), 0..400);
        let few = proptest::collection::vec(0u8..3, 0..3000);
        let words = proptest::collection::vec("[a-d]{3}|[a-c]{8,20}|user=[0-9]", 0..300);
        let points = proptest::collection::vec((0u16..4000, 0u8..9), 0..300).prop_map(|points| {
            let point = |(time, value): (u16, u8)| {
                [
                    &1_700_000_000_000u64.to_be_bytes()[..6],
                    &time.to_be_bytes(),
                    &[0; 7],
                    &[value],
                ]
                .concat()
            };
            points.into_iter().flat_map(point).collect()
        });
        let runs = proptest::collection::vec((any::<u8>(), 1usize..200), 0..40).prop_map(|runs| {
            runs.into_iter()
                .flat_map(|(byte, n)| vec![byte; n])
                .collect()
        });
        prop_oneof![
            noise,
            few,
            words.prop_map(|words| words.concat().into()),
            points,
            runs
        ]
    }

    /// Elements of every kind, most of them possible.
    fn elements() -> impl Strategy<Value = Vec<u8>> {
        let literals = (1usize..90, any::<u8>()).prop_map(|(n, byte)| literal(&vec![byte; n]));
        let offset = prop_oneof![1u64..20, 0u64..300, 0u64..70_000];
        let copies = (offset, 0u64..64, 1u64..4).prop_map(|(offset, len, kind)| match kind {
            1 => vec![
                ((offset >> 8 & 7) << 5 | (len & 7) << 2 | 1) as u8,
                offset as u8,
            ],
            2 => (offset << 8 | len << 2 | 2).to_le_bytes()[..3].to_vec(),
            _ => (offset << 8 | len << 2 | 3).to_le_bytes()[..5].to_vec(),
        });
        let any = prop_oneof![2 => literals, 3 => copies];
        proptest::collection::vec(any, 1..40).prop_map(|all| all.concat())
    }

    /// How many bytes come out; anything if one of the elements is impossible.
    fn length(elements: &[u8]) -> u64 {
        let mut packed = vec![];
        testing::uvarint(&mut packed, 100_000);
        packed.extend_from_slice(elements);
        match snap::raw::Decoder::new().decompress_vec(&packed) {
            Err(snap::Error::HeaderMismatch { got_len, .. }) => got_len,
            _ => 100,
        }
    }

    proptest! {
        #[test]
        fn what_a_packer_made_unpacks_and_mutilated_no_other_than_elsewhere(
            text in texts(),
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut packed = snap::raw::Encoder::new().compress_vec(&text).unwrap();
            prop_assert_eq!(Ok(text), unpacked(&packed));
            agree(&packed[..cut.index(packed.len())])?;
            for (at, byte) in flips {
                let at = at.index(packed.len());
                packed[at] = byte;
                agree(&packed)?;
            }
        }

        #[test]
        fn elements_of_every_kind_unpack_or_are_refused_as_elsewhere(
            elements in elements(),
            off in -1i64..2,
        ) {
            let mut packed = vec![];
            testing::uvarint(&mut packed, length(&elements).saturating_add_signed(off));
            packed.extend(elements);
            agree(&packed)?;
        }

        #[test]
        fn any_bytes_unpack_or_are_refused_as_elsewhere(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            agree(&bytes)?;
        }
    }
}
