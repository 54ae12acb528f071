//! Strings of a block.
//!
//! ```text
//! 10  one snappy block of { uvarint length, bytes }
//! ```

use super::{only, snappy, varint};
use crate::rows::Strings;
use crate::tsm::{Bytes, Error, ErrorKind};

/// Append the `n` values of the section.
pub fn decode(mut section: Bytes<'_>, n: usize, out: &mut Strings) -> Result<(), Error> {
    let at = section.at();
    only(1, &mut section, "strings")?;
    // Offsets within unpacked data mean nothing in the file: all are those of the section.
    out.fill(|bytes, spans| {
        let start = bytes.len();
        snappy::unpack(section.rest(), bytes).map_err(|kind| section.error(kind))?;
        let unpacked = bytes.get(start..).unwrap_or_default();
        split(unpacked, start, n, spans).map_err(|kind| Error::new(at, kind))
    })
}

/// How many bytes the strings of a section are by its own words, with their lengths; nothing if `start` does not say.
pub fn claimed(start: &[u8]) -> Option<usize> {
    let (code, packed) = start.split_first()?;
    snappy::claimed(packed).filter(|_| code >> 4 == 1)
}

/// Append where the `n` strings are that stand in `unpacked`, itself at `start`.
fn split(
    unpacked: &[u8],
    start: usize,
    n: usize,
    spans: &mut Vec<(usize, usize)>,
) -> Result<(), ErrorKind> {
    spans.reserve(n.min(unpacked.len()));
    let mut at = 0;
    for values in 0..n {
        let rest = unpacked.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Err(ErrorKind::Count { times: n, values });
        }
        let (len, width) = varint::read(rest)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let left = rest.len() - width;
        if len > left {
            let missing = len - left;
            return Err(ErrorKind::Truncated { missing });
        }
        spans.push((start + at + width, start + at + width + len));
        at += width + len;
    }
    match at == unpacked.len() {
        true => Ok(()),
        false => Err(ErrorKind::MoreValues { times: n }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing;

    fn decoded(section: &[u8], n: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut out = Strings::default();
        out.push(b"before");
        decode(Bytes::new(section, 0), n, &mut out)?;
        Ok((1..out.len()).map(|i| out.get(i).to_vec()).collect())
    }

    #[test]
    fn sections_written_by_a_server_decode_to_what_it_was_given() {
        let long = vec![b'a'; 24];
        for (section, strings) in [
            ("1002040161", vec![b"a".to_vec()]),
            ("10010000", vec![vec![]]),
            (
                "1009200001610568656c6c6f",
                vec![vec![], b"a".to_vec(), b"hello".to_vec()],
            ),
            ("10320418615a0100621900", vec![long.clone(), long]),
        ] {
            let n = strings.len();
            assert_eq!(Ok(strings), decoded(&testing::hex(section), n), "{section}");
        }
    }

    #[test]
    fn a_section_says_how_long_its_strings_are() {
        let section = testing::strings(&[vec![b'a'; 300], vec![]]);
        assert_eq!(Some(303), claimed(&section));
        assert_eq!(Some(303), claimed(&section[..3]));
        for start in [&section[..2], &section[..0], &[0x20, 1, 0]] {
            assert_eq!(None, claimed(start));
        }
    }

    #[test]
    fn no_strings_take_two_bytes() {
        assert_eq!(Ok(vec![]), decoded(&[0x10, 0], 0));
    }

    #[test]
    fn a_length_past_the_end_is_an_error() {
        // Literal of 2 bytes: length 9, then "a".
        let missing = ErrorKind::Truncated { missing: 8 };
        assert_eq!(
            missing,
            decoded(&[0x10, 2, 4, 9, b'a'], 1).unwrap_err().kind
        );
    }

    #[test]
    fn more_or_fewer_strings_than_timestamps_are_an_error() {
        let section = testing::strings(&[b"a".to_vec(), b"b".to_vec()]);
        let more = ErrorKind::MoreValues { times: 1 };
        assert_eq!(more, decoded(&section, 1).unwrap_err().kind);
        let fewer = ErrorKind::Count {
            times: 3,
            values: 2,
        };
        assert_eq!(fewer, decoded(&section, 3).unwrap_err().kind);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(values: Vec<Vec<u8>>) {
            let section = testing::strings(&values);
            prop_assert_eq!(Ok(values.clone()), decoded(&section, values.len()));
            for n in 0..section.len() {
                prop_assert!(decoded(&section[..n], values.len()).is_err());
            }
        }
    }
}
