//! Integers of a block, signed or not: differences to the value before, zigzagged.
//!
//! ```text
//! 0x  zz(difference) u64 each, the first to zero
//! 1x  zz(first) u64, then simple8b words of zz(difference)
//! 2x  zz(first) u64, uvarint zz(difference), uvarint count - 1
//! ```

use std::ops::Range;

use super::{Word, nothing, simple8b, unknown, words};
use crate::tsm::{Bytes, Error, ErrorKind};

/// Append the `n` values of the section.
pub fn decode<T: Word>(mut section: Bytes<'_>, n: usize, out: &mut Vec<T>) -> Result<(), Error> {
    let at = section.at();
    match section.u8()? >> 4 {
        0 => {
            let words = words(&section)?;
            expect(n, words.len() as u64, at)?;
            raw(words, out);
        }
        1 => {
            let first = section.u64()?;
            let words = words(&section)?;
            expect(n, 1 + simple8b::count(words), at)?;
            packed(first, words, n, out);
        }
        2 => even(run(section, n, at)?, 0..n, out),
        codec => return Err(unknown(at, codec, "integers")),
    }
    Ok(())
}

/// If the section is a run of `n` values, append those at these positions without unpacking any other; whether it is.
pub fn decode_run<T: Word>(
    mut section: Bytes<'_>,
    n: usize,
    wanted: Range<usize>,
    out: &mut Vec<T>,
) -> Result<bool, Error> {
    let at = section.at();
    if section.u8()? >> 4 != 2 {
        return Ok(false);
    }
    even(run(section, n, at)?, wanted, out);
    Ok(true)
}

/// The first value and the step of a run of `n` values, its header at `at`.
fn run(mut section: Bytes<'_>, n: usize, at: u64) -> Result<(u64, u64), Error> {
    let first = section.u64()?;
    let step = section.uvarint()?;
    let more = section.uvarint()?;
    nothing(&section)?;
    expect(n, more.saturating_add(1), at)?;
    Ok((unzigzag(first), unzigzag(step)))
}

fn expect(times: usize, values: u64, at: u64) -> Result<(), Error> {
    match usize::try_from(values) {
        Ok(values) if values == times => Ok(()),
        Ok(values) => Err(Error::new(at, ErrorKind::Count { times, values })),
        Err(_) => Err(Error::new(at, ErrorKind::MoreValues { times })),
    }
}

fn unzigzag(bits: u64) -> u64 {
    (bits >> 1) ^ (bits & 1).wrapping_neg()
}

fn raw<T: Word>(words: &[[u8; 8]], out: &mut Vec<T>) {
    let mut value = 0u64;
    out.extend(words.iter().map(|word| {
        value = value.wrapping_add(unzigzag(u64::from_be_bytes(*word)));
        T::from_bits(value)
    }));
}

/// `n` is 1 + the count of the words, so never zero.
fn packed<T: Word>(first: u64, words: &[[u8; 8]], n: usize, out: &mut Vec<T>) {
    let mut value = unzigzag(first);
    out.reserve(n);
    out.push(T::from_bits(value));
    let start = out.len();
    out.resize(start + n - 1, T::default());
    let deltas = &mut out[start..];
    simple8b::unpack(words, deltas);
    for delta in deltas {
        value = value.wrapping_add(unzigzag(delta.to_bits()));
        *delta = T::from_bits(value);
    }
}

fn even<T: Word>((first, step): (u64, u64), wanted: Range<usize>, out: &mut Vec<T>) {
    let value = |i: usize| T::from_bits(first.wrapping_add((i as u64).wrapping_mul(step)));
    out.extend(wanted.map(value));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing::{self, hex};

    fn decoded<T: Word>(section: &[u8], n: usize) -> Result<Vec<T>, Error> {
        let mut out = vec![T::from_bits(9)];
        decode(Bytes::new(section, 0), n, &mut out)?;
        assert_eq!(9, out[0].to_bits());
        Ok(out.split_off(1))
    }

    fn vectors() -> Vec<(&'static str, Vec<i64>)> {
        let mut i12: Vec<i64> = (0..130).map(|i| -i).collect();
        i12.push(77);
        let i9 = vec![i64::MAX, i64::MAX - 1, i64::MAX - 3];
        vec![
            ("100000000000000054", vec![42]),
            ("100000000000000001", vec![-1]),
            ("100000000000000002f000000000000004", vec![1, 3]),
            (
                "100000000000000014c001000000008004",
                vec![10, 12, 11, 11, 15],
            ),
            ("20000000000000000e0002", vec![7, 7, 7]),
            ("20000000000000000a0603", vec![5, 8, 11, 14]),
            ("2000000000000000c81302", vec![100, 90, 80]),
            (
                "000000000000000000fffffffffffffffefffffffffffffffb",
                vec![0, i64::MAX, 1],
            ),
            (
                "00fffffffffffffffe00000000000000010000000000000003",
                i9.clone(),
            ),
            ("10fffffffffffffffee0000000c0000001", i9),
            (
                "10fffffffffffffffff000000000000001",
                vec![i64::MIN, i64::MAX],
            ),
            (
                "10000000000000000010000000000000008002040810204081e000006700000001",
                i12,
            ),
        ]
    }

    #[test]
    fn sections_written_by_a_server_decode_to_what_it_was_given() {
        for (section, values) in vectors() {
            assert_eq!(
                Ok(&values),
                decoded(&hex(section), values.len()).as_ref(),
                "{section}"
            );
        }
    }

    #[test]
    fn unsigned_sections_decode_to_what_the_server_was_given() {
        let near = [1 << 63, (1 << 63) + 1];
        for (section, values) in [
            (
                "100000000000000001e000000380000001",
                &[u64::MAX, u64::MAX - 1, 5][..],
            ),
            ("00ffffffffffffffff0000000000000002", &near),
            ("10fffffffffffffffff000000000000002", &near),
        ] {
            assert_eq!(
                Ok(values.to_vec()),
                decoded(&hex(section), values.len()),
                "{section}"
            );
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        for (section, values) in vectors() {
            let section = hex(section);
            for n in 0..section.len() {
                assert!(decoded::<i64>(&section[..n], values.len()).is_err());
            }
        }
    }

    #[test]
    fn a_count_that_differs_from_the_timestamps_is_an_error() {
        for (section, values) in vectors() {
            let n = values.len();
            for times in [0, n - 1, n + 1, n + 1000] {
                let kind = decoded::<i64>(&hex(section), times).unwrap_err().kind;
                assert_eq!(ErrorKind::Count { times, values: n }, kind);
            }
        }
    }

    #[test]
    fn a_run_of_impossible_length_is_refused() {
        for n in [1 << 40, 1 << 63, u64::MAX] {
            let mut section = hex("20000000000000000e00");
            testing::uvarint(&mut section, n);
            assert!(decoded::<i64>(&section, 3).is_err());
        }
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            Just(u64::MAX),
            0..5u64,
            (any::<u64>(), 0..64u32).prop_map(|(v, s)| v >> s)
        ];
        let steps = prop::collection::vec((step, 1..260usize), 0..6);
        (any::<u64>(), steps).prop_map(|(first, steps)| {
            let mut values = vec![first];
            for (step, n) in steps {
                values.extend((1..=n).scan(*values.last().unwrap(), |v, _| {
                    *v = v.wrapping_add(step);
                    Some(*v)
                }));
            }
            values
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(values in values(), early_runs: bool) {
            let n = values.len();
            for section in [testing::integers(&values, early_runs), testing::integers_raw(&values)] {
                prop_assert_eq!(Ok(values.clone()), decoded(&section, n));
                let signed: Vec<i64> = values.iter().map(|v| *v as i64).collect();
                prop_assert_eq!(Ok(signed), decoded(&section, n));
            }
        }

        #[test]
        fn wild_values_are_exact(values: Vec<u64>, early_runs: bool) {
            let section = testing::integers(&values, early_runs);
            prop_assert_eq!(Ok(values.clone()), decoded(&section, values.len()));
        }

        #[test]
        fn any_bytes_decode_or_are_an_error(header: u8, section: Vec<u8>, n in 0..300usize) {
            let _ = decoded::<i64>(&[&[header & 0x3f], section.as_slice()].concat(), n);
        }
    }
}
