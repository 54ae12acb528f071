//! Timestamps of a block.
//!
//! ```text
//! 0e  first u64, then differences u64, not scaled
//! 1e  first u64, then simple8b words of differences / 10^e
//! 2e  first u64, uvarint difference / 10^e, uvarint count
//! ```
//!
//! All arithmetic wraps: an unsorted block has huge differences and still decodes exactly.

use std::num::NonZeroU64;
use std::ops::{Range, RangeInclusive};

use super::{nothing, points, simple8b, unknown, words};
use crate::tsm::{Bytes, Error};

/// A section understood, but not unpacked.
enum Packed<'a> {
    Raw(&'a [[u8; 8]]),
    Words {
        first: u64,
        scale: u64,
        words: &'a [[u8; 8]],
    },
    Run {
        first: u64,
        step: u64,
    },
}

/// How many timestamps the section holds.
pub fn count(section: Bytes<'_>) -> Result<usize, Error> {
    Ok(parse(section)?.1)
}

/// Append the timestamps of the section.
pub fn decode(section: Bytes<'_>, out: &mut Vec<i64>) -> Result<(), Error> {
    let (packed, n) = parse(section)?;
    out.reserve(n);
    match packed {
        Packed::Raw(words) => raw(words, out),
        Packed::Words {
            first,
            scale,
            words,
        } => scaled(first, scale, words, n, out),
        Packed::Run { first, step } => even(first, step, 0..n, out),
    }
    Ok(())
}

/// The run that the section is, if it is one and its timestamps ascend.
pub fn run(section: Bytes<'_>) -> Result<Option<Run>, Error> {
    let (packed, n) = parse(section)?;
    let Packed::Run { first, step } = packed else {
        return Ok(None);
    };
    let first = first as i64;
    let Some(more) = n.checked_sub(1) else {
        return Ok(None);
    };
    // The step to nowhere of a single timestamp is as good as any other.
    let step = NonZeroU64::new(if more == 0 { 1 } else { step });
    let length = |step: NonZeroU64| step.get().checked_mul(more as u64);
    let last = step
        .and_then(length)
        .and_then(|length| first.checked_add_unsigned(length));
    Ok(step.zip(last).map(|(step, last)| Run {
        first,
        last,
        step,
        n,
    }))
}

/// Timestamps with the same step from each to the next, one at least, ascending: none has to be unpacked to be known.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    first: i64,
    last: i64,
    step: NonZeroU64,
    n: usize,
}

impl Run {
    /// How many timestamps.
    pub fn count(&self) -> usize {
        self.n
    }

    /// The first and the last timestamp.
    pub fn extremes(&self) -> (i64, i64) {
        (self.first, self.last)
    }

    /// The positions of the timestamps within a range.
    pub fn within(&self, times: &RangeInclusive<i64>) -> Range<usize> {
        // How many lie before a time.
        let before = |time: i64| match time > self.first {
            true => {
                let steps = (time.abs_diff(self.first) - 1) / self.step;
                steps.saturating_add(1).min(self.n as u64) as usize
            }
            false => 0,
        };
        let start = before(*times.start());
        let end = times.end().checked_add(1).map_or(self.n, before);
        start..end.max(start)
    }

    /// Append the timestamps at these positions.
    pub fn decode(&self, wanted: Range<usize>, out: &mut Vec<i64>) {
        even(self.first as u64, self.step.get(), wanted, out);
    }
}

/// Append those at these positions.
fn even(first: u64, step: u64, wanted: Range<usize>, out: &mut Vec<i64>) {
    let time = |i: usize| first.wrapping_add((i as u64).wrapping_mul(step)) as i64;
    out.extend(wanted.map(time));
}

fn parse(mut section: Bytes<'_>) -> Result<(Packed<'_>, usize), Error> {
    let at = section.at();
    let header = section.u8()?;
    // Fifteen is the most that four bits can say, and 10^15 still fits.
    let scale = 10u64.pow(u32::from(header & 15));
    match header >> 4 {
        0 => {
            let words = words(&section)?;
            Ok((Packed::Raw(words), points(words.len() as u64, at)?))
        }
        1 => {
            let first = section.u64()?;
            let words = words(&section)?;
            let n = points(1 + simple8b::count(words), at)?;
            let packed = Packed::Words {
                first,
                scale,
                words,
            };
            Ok((packed, n))
        }
        2 => {
            let first = section.u64()?;
            let step = section.uvarint()?.wrapping_mul(scale);
            let n = section.uvarint()?;
            nothing(&section)?;
            Ok((Packed::Run { first, step }, points(n, at)?))
        }
        codec => Err(unknown(at, codec, "timestamps")),
    }
}

fn raw(words: &[[u8; 8]], out: &mut Vec<i64>) {
    let mut time = 0u64;
    out.extend(words.iter().map(|word| {
        time = time.wrapping_add(u64::from_be_bytes(*word));
        time as i64
    }));
}

/// Unpack first, then sum up: two loops, each of them simple enough for vectors.
fn scaled(first: u64, scale: u64, words: &[[u8; 8]], n: usize, out: &mut Vec<i64>) {
    out.push(first as i64);
    let start = out.len();
    out.resize(start + n - 1, 0);
    let deltas = &mut out[start..];
    simple8b::unpack(words, deltas);
    let mut time = first;
    for delta in deltas {
        time = time.wrapping_add((*delta as u64).wrapping_mul(scale));
        *delta = time as i64;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::ErrorKind;
    use crate::tsm::encoding::MAX_POINTS;
    use crate::tsm::encoding::testing::{self, T, hex};

    fn decoded(section: &[u8]) -> Result<Vec<i64>, Error> {
        let mut out = vec![-7];
        let n = count(Bytes::new(section, 0))?;
        decode(Bytes::new(section, 0), &mut out)?;
        assert_eq!((n + 1, -7), (out.len(), out[0]));
        Ok(out.split_off(1))
    }

    fn vectors() -> Vec<(&'static str, Vec<i64>)> {
        let second = 1_000_000_000;
        let from = |deltas: &[i64]| deltas.iter().map(|d| T + d).collect::<Vec<_>>();
        let mut t14: Vec<i64> = (0..123).map(|i| T + i * second).collect();
        t14.push(T + 128 * second);
        let mut t15: Vec<i64> = (0..299).map(|i| T + i * second).collect();
        t15.push(T + 304 * second);
        vec![
            ("1c16345785d8a00000", from(&[0])),
            (
                "2a16345785d8a000000103",
                from(&[0, 10 * second, 20 * second]),
            ),
            (
                "1916345785d8a00000d000010000200001",
                from(&[0, second, 3 * second, 4 * second]),
            ),
            (
                "1316345785d8a00000d000010000200001",
                from(&[0, 1000, 3000, 4000]),
            ),
            ("1016345785d8a00000d000010000200001", from(&[0, 1, 3, 4])),
            ("2216345785d8a000000f02", from(&[0, 1500])),
            (
                "00000000000000000020000000000000000000000000000001",
                vec![0, 2305843009213693952, 2305843009213693953],
            ),
            (
                "100000000000000000fffffffffffffffff000000000000001",
                vec![0, 1152921504606846975, 1152921504606846976],
            ),
            (
                "208000000000000002fcffffffffffffffff0102",
                vec![-9223372036854775806, 9223372036854775806],
            ),
            (
                "18ffffffff88ca6c00e0000003c000000a",
                vec![-2000000000, -1000000000, 500000000],
            ),
            (
                "1b0000000000000000e00001b000000360",
                vec![0, 86400000000000, 259200000000000],
            ),
            (
                "0016345785d8a00000ffffffffc465360000000000ee6b2800",
                from(&[0, -second, 3 * second]),
            ),
            ("2c16345785d8a000000003", from(&[0, 0, 0])),
            ("1916345785d8a000001000000000000000d000060000100001", t14),
            (
                "1916345785d8a000000000000000000000355555555555555542492492492492498002040810204081f000000000000006",
                t15,
            ),
        ]
    }

    #[test]
    fn sections_written_by_a_server_decode_to_what_it_was_given() {
        for (section, times) in vectors() {
            assert_eq!(Ok(times), decoded(&hex(section)), "{section}");
        }
    }

    #[test]
    fn a_truncated_section_is_an_error_or_ends_at_a_whole_word() {
        for (section, times) in vectors() {
            let section = hex(section);
            for n in 0..section.len() {
                match decoded(&section[..n]) {
                    Ok(fewer) => assert_eq!(fewer, times[..fewer.len()]),
                    Err(e) => assert!(e.at <= n as u64),
                }
                let whole = (n == 1 || n >= 9) && n % 8 == 1 && section[0] >> 4 < 2;
                let first = n >= 9 || section[0] >> 4 == 0;
                assert_eq!(
                    whole && first,
                    decoded(&section[..n]).is_ok(),
                    "{n} of {section:x?}"
                );
            }
        }
    }

    #[test]
    fn exponents_above_those_of_a_server_scale_too() {
        let e15 = 1_000_000_000_000_000;
        assert_eq!(
            Ok(vec![0, 2 * e15, 4 * e15]),
            decoded(&hex("2f00000000000000000203"))
        );
    }

    #[test]
    fn a_count_above_the_limit_is_refused_before_there_is_memory_for_it() {
        for n in [MAX_POINTS as u64 + 1, 1 << 40, 1 << 63, u64::MAX] {
            let mut section = hex("200000000000000000ff01");
            testing::uvarint(&mut section, n);
            assert_eq!(
                Err(Error::new(0, ErrorKind::TooManyPoints(n))),
                decoded(&section)
            );
        }
        // 4,370 words of 240.
        let mut section = hex("100000000000000000");
        section.resize(9 + 8 * 4370, 0);
        let n = 1 + 240 * 4370;
        assert_eq!(
            Err(Error::new(0, ErrorKind::TooManyPoints(n))),
            decoded(&section)
        );
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut section = hex("20000000000000000001");
        testing::uvarint(&mut section, MAX_POINTS as u64);
        let times = decoded(&section).unwrap();
        assert_eq!(
            (MAX_POINTS, 1_048_575),
            (times.len(), times[MAX_POINTS - 1])
        );
    }

    #[test]
    fn bytes_behind_a_run_are_an_error() {
        let surplus = Err(Error::new(11, ErrorKind::Surplus(1)));
        assert_eq!(surplus, decoded(&hex("2a16345785d8a00000010300")));
    }

    #[test]
    fn an_encoding_that_does_not_exist_is_an_error() {
        for codec in 3..16 {
            let section = [codec << 4, 0, 0, 0, 0, 0, 0, 0, 0];
            let kind = decoded(&section).unwrap_err().kind;
            assert_eq!(
                ErrorKind::Encoding {
                    section: "timestamps",
                    codec
                },
                kind
            );
        }
    }

    #[test]
    fn a_cut_word_is_named_where_it_stands() {
        let error = decoded(&hex("1016345785d8a00000d000010000200001aabb")).unwrap_err();
        assert_eq!(Error::new(17, ErrorKind::Surplus(2)), error);
    }

    /// Steps of the kinds that choose each encoding: regular, scaled, runs of ones, wild.
    fn times() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![Just(1), 0..5i64, Just(1_000), any::<i64>()];
        let steps = prop::collection::vec((step, 1..260usize), 0..6);
        (
            any::<i64>(),
            prop_oneof![Just(1), Just(1_000_000_000i64)],
            steps,
        )
            .prop_map(|(first, scale, steps)| {
                let mut times = vec![first];
                for (step, n) in steps {
                    let step = step.wrapping_mul(scale);
                    times.extend((1..=n as i64).scan(*times.last().unwrap(), |t, _| {
                        *t = t.wrapping_add(step);
                        Some(*t)
                    }));
                }
                times
            })
    }

    /// A section that is a run, from its parts.
    fn packed_run(first: i64, scale: u8, step: u64, n: usize) -> Vec<u8> {
        let mut section = vec![0x20 | scale];
        section.extend(first.to_be_bytes());
        testing::uvarint(&mut section, step);
        testing::uvarint(&mut section, n as u64);
        section
    }

    fn run_of(section: &[u8]) -> Option<Run> {
        run(Bytes::new(section, 0)).unwrap()
    }

    #[test]
    fn a_run_is_known_only_where_times_ascend() {
        for (section, times) in vectors() {
            let section = hex(section);
            let is_run = section[0] >> 4 == 2 && times.is_sorted_by(|a, b| a < b);
            let known = run_of(&section).map(|run| (run.count(), run.extremes()));
            let ends = (times[0], times[times.len() - 1]);
            assert_eq!(is_run.then_some((times.len(), ends)), known);
        }
        let backwards = packed_run(5, 0, u64::MAX, 3);
        assert_eq!(Ok(vec![5, 4, 3]), decoded(&backwards));
        assert!(run_of(&backwards).is_none());
        // The third time is too late for 64 bits.
        assert!(run_of(&packed_run(i64::MAX - 6, 0, 4, 3)).is_none());
        assert!(run_of(&packed_run(i64::MAX - 8, 0, 4, 3)).is_some());
        assert!(run_of(&packed_run(7, 0, 1, 0)).is_none());
    }

    #[test]
    fn a_run_of_one_time_has_no_step() {
        let run = run_of(&packed_run(7, 0, 0, 1)).unwrap();
        assert_eq!((1, (7, 7)), (run.count(), run.extremes()));
        assert_eq!(
            [0..1, 0..0, 1..1],
            [6..=7, 5..=6, 8..=9].map(|times| run.within(&times))
        );
    }

    #[test]
    fn a_run_over_all_times_is_cut_anywhere() {
        let run = run_of(&packed_run(i64::MIN, 0, u64::MAX, 2)).unwrap();
        assert_eq!((i64::MIN, i64::MAX), run.extremes());
        let ranges = [i64::MIN..=i64::MAX, i64::MIN..=0, 0..=0, 0..=i64::MAX];
        assert_eq!(
            [0..2, 0..1, 1..1, 1..2],
            ranges.map(|times| run.within(&times))
        );
    }

    #[test]
    fn what_is_wrong_with_a_section_is_found_without_unpacking_it() {
        for (section, _) in vectors() {
            let section = hex(section);
            for n in 0..section.len() {
                let section = Bytes::new(&section[..n], 0);
                assert_eq!(count(section).err(), run(section).err());
            }
        }
        let section = packed_run(0, 0, 1, MAX_POINTS + 1);
        let kind = run(Bytes::new(&section, 0)).unwrap_err().kind;
        assert_eq!(ErrorKind::TooManyPoints(MAX_POINTS as u64 + 1), kind);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(times in times(), early_runs: bool) {
            prop_assert_eq!(Ok(times.clone()), decoded(&testing::times(&times, early_runs)));
            prop_assert_eq!(Ok(times.clone()), decoded(&testing::times_raw(&times)));
        }

        #[test]
        fn any_bytes_decode_or_are_an_error(header: u8, section: Vec<u8>) {
            let _ = decoded(&[&[header & 0x3f], section.as_slice()].concat());
        }

        /// By the plain rule: unpack all, and look at each.
        #[test]
        fn a_run_is_cut_where_its_times_are(
            (first, shift) in (any::<i64>(), 0..64u32),
            (scale, step, width) in (0..16u8, any::<u64>(), 0..64u32),
            n in 0..70usize,
            (start, end) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            off in prop::array::uniform2(-2..3i64),
        ) {
            let section = packed_run(first >> shift, scale, step >> width, n);
            let times = decoded(&section).unwrap();
            let run = run_of(&section);
            prop_assert_eq!(n > 0 && times.is_sorted_by(|a, b| a < b), run.is_some());
            let Some(run) = run else { return Ok(()) };
            let near = |index: prop::sample::Index, off: i64| times[index.index(n)].saturating_add(off);
            let within = near(start, off[0])..=near(end, off[1]);
            let kept: Vec<_> = times.iter().copied().filter(|time| within.contains(time)).collect();
            let wanted = run.within(&within);
            let mut out = vec![-7];
            run.decode(wanted.clone(), &mut out);
            prop_assert_eq!((-7, &kept[..]), (out[0], &out[1..]));
            prop_assert_eq!(&kept[..], &times[wanted]);
        }

        #[test]
        fn wild_times_are_exact(times in prop::collection::vec(any::<i64>(), 1..50)) {
            prop_assert_eq!(Ok(times.clone()), decoded(&testing::times(&times, true)));
        }
    }
}
