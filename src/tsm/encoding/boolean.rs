//! Truth values of a block.
//!
//! ```text
//! 10  uvarint count, then a bit each, highest bit first
//! ```

use super::only;
use crate::tsm::{Bytes, Error, ErrorKind};

/// Append the `n` values of the section.
pub fn decode(mut section: Bytes<'_>, n: usize, out: &mut Vec<bool>) -> Result<(), Error> {
    let at = section.at();
    only(1, &mut section, "booleans")?;
    let count = section.uvarint()?;
    if count != n as u64 {
        let kind = match usize::try_from(count) {
            Ok(values) => ErrorKind::Count { times: n, values },
            Err(_) => ErrorKind::MoreValues { times: n },
        };
        return Err(Error::new(at, kind));
    }
    let bytes = section.take(n.div_ceil(8))?;
    unpack(bytes, n, out);
    Ok(())
}

fn unpack(bytes: &[u8], n: usize, out: &mut Vec<bool>) {
    let start = out.len();
    out.resize(start + n, false);
    for (byte, values) in bytes.iter().zip(out[start..].chunks_mut(8)) {
        for (i, value) in values.iter_mut().enumerate() {
            *value = byte << i & 0x80 != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing;

    fn decoded(section: &[u8], n: usize) -> Result<Vec<bool>, Error> {
        let mut out = vec![true];
        decode(Bytes::new(section, 0), n, &mut out)?;
        Ok(out.split_off(1))
    }

    #[test]
    fn sections_written_by_a_server_decode_to_what_it_was_given() {
        assert_eq!(Ok(vec![true]), decoded(&[0x10, 1, 0x80], 1));
        let alternating: Vec<bool> = (0..10).map(|i| i % 2 == 0).collect();
        assert_eq!(Ok(alternating), decoded(&[0x10, 10, 0xaa, 0x80], 10));
        let mixed = vec![true, true, true, true, false, false, false, true];
        assert_eq!(Ok(mixed), decoded(&[0x10, 8, 0xf1], 8));
    }

    #[test]
    fn both_forms_of_an_empty_section_are_read() {
        assert_eq!(Ok(vec![]), decoded(&[0x10, 0], 0));
        assert_eq!(Ok(vec![]), decoded(&[0x10, 0, 0], 0));
    }

    #[test]
    fn more_values_than_bits_are_an_error() {
        let missing = ErrorKind::Truncated { missing: 1 };
        assert_eq!(missing, decoded(&[0x10, 9, 0xff], 9).unwrap_err().kind);
    }

    #[test]
    fn a_count_that_differs_from_the_timestamps_is_an_error() {
        let count = ErrorKind::Count {
            times: 7,
            values: 8,
        };
        assert_eq!(count, decoded(&[0x10, 8, 0xf1], 7).unwrap_err().kind);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(values: Vec<bool>) {
            let section = testing::booleans(&values);
            prop_assert_eq!(Ok(values.clone()), decoded(&section, values.len()));
            for n in 0..section.len() {
                prop_assert!(decoded(&section[..n], values.len()).is_err());
            }
        }
    }
}
