//! Times that are not even: how long after the first one each is, big-endian, in six bytes where that suffices. These
//! are three days of nanoseconds.

use super::time;

const SHORT: usize = 6;

/// The bytes of each time from the first to the last one.
pub fn width(first: i64, last: i64) -> usize {
    match last.wrapping_sub(first) as u64 >> (8 * SHORT) {
        0 => SHORT,
        _ => 8,
    }
}

/// Put the times of these points there.
pub fn put<const N: usize>(first: i64, points: &[[u8; N]], width: usize, out: &mut [u8]) {
    let offsets = points.iter().map(|point| time(point).wrapping_sub(first));
    match width {
        SHORT => {
            let places = out.as_chunks_mut::<SHORT>().0.iter_mut();
            places.zip(offsets).for_each(|(place, offset)| {
                let [_, _, offset @ ..] = offset.to_be_bytes();
                *place = offset;
            });
        }
        _ => {
            let places = out.as_chunks_mut().0.iter_mut();
            places
                .zip(offsets)
                .for_each(|(place, offset)| *place = offset.to_be_bytes());
        }
    }
}

/// Append what was put.
pub fn unpack(first: i64, bytes: &[u8], width: usize, out: &mut Vec<i64>) {
    let time = |offset: [u8; 8]| first.wrapping_add(i64::from_be_bytes(offset));
    match width {
        SHORT => {
            let offsets = bytes.as_chunks::<SHORT>().0.iter();
            out.extend(offsets.map(|&[a, b, c, d, e, f]| time([0, 0, a, b, c, d, e, f])));
        }
        _ => out.extend(bytes.as_chunks().0.iter().map(|offset| time(*offset))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_time_is_found_again(
            mut times in prop::collection::vec(any::<i64>(), 1..50),
            shift in 0..64u32,
            start: i64,
        ) {
            times.iter_mut().for_each(|time| *time = start.saturating_add(*time >> shift));
            times.sort_unstable();
            let (first, last) = (times[0], times[times.len() - 1]);
            let points: Vec<_> = times.iter().map(|time| time.to_be_bytes()).collect();
            let width = width(first, last);
            let mut bytes = vec![0; times.len() * width];
            put(first, &points, width, &mut bytes);
            let mut found = vec![7];
            unpack(first, &bytes, width, &mut found);
            prop_assert_eq!(times, &found[1..]);
        }
    }

    #[test]
    fn three_days_are_short() {
        let days = |n: i64| width(i64::MIN, i64::MIN + n * 86_400_000_000_000);
        assert_eq!((6, 8), (days(3), days(4)));
        assert_eq!(8, width(i64::MIN, i64::MAX));
    }
}
