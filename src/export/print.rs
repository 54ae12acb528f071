//! From columns to lines: one line for each time, with all fields that have a value then.

use std::ops::RangeInclusive;

use crate::lp::{cell, misfit};
use crate::rows::Values;

use super::clock::{Sections, Stamp, stamp};
use super::lane::Lane;
use super::outlet::Outlet;
use super::sheet::Sheet;
use super::walk::Walk;
use super::{Report, careful};

/// A line that would grow longer than this goes on in a second one.
pub(super) const LINE: usize = 1 << 20;

/// Times that servers write; the two below and the one above are reserved (`models/time.go`).
pub(super) const TIMES: RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// With more fields than these one value after the other is printed: text is kept of some rows of all of them otherwise.
const LANES: usize = 4096;

/// Stamps that are made at a time.
const STAMPS: usize = 256;

/// Prints lanes of one series. Reused from slice to slice.
#[derive(Debug, Default)]
pub struct Printer {
    sheet: Sheet,
    /// The next value of each lane.
    next: Vec<usize>,
    walk: Walk,
    active: Vec<usize>,
    stamps: Vec<Stamp>,
}

impl Printer {
    /// Append all lines of a series whose lanes all have values at the times of these sections, one after the other.
    ///
    /// What [`is_plain`] says no to is not for here.
    pub fn lockstep(
        &mut self,
        series: &[u8],
        lanes: &[Lane],
        beats: &[usize],
        sections: &mut Sections,
        out: &mut Outlet<'_>,
        report: &mut Report,
    ) {
        self.begin(lanes);
        self.active.extend(0..lanes.len());
        for section in beats {
            let Some(section) = sections.get_mut(*section) else {
                continue;
            };
            let len = section.times().len();
            for start in (0..len).step_by(STAMPS) {
                let stamps = section.stamps(start, STAMPS.min(len - start), &mut self.stamps);
                self.sheet
                    .lines((series, lanes), &self.active, &mut self.next, stamps, out);
            }
            report.points += len as u64;
            report.values += (len * lanes.len()) as u64;
        }
    }

    /// Append all lines of a series in which some of `lanes` have values, at the times that are theirs in `clocks`.
    pub fn joined(
        &mut self,
        series: &[u8],
        lanes: &[Lane],
        clocks: &[Vec<i64>],
        out: &mut Outlet<'_>,
        report: &mut Report,
    ) {
        let ends = |times: &Vec<i64>| times.first().copied().zip(times.last().copied());
        if !is_plain(series, lanes, clocks.iter().filter_map(ends)) {
            return careful::print(series, lanes, clocks, out, report);
        }
        self.begin(lanes);
        let Self {
            sheet,
            next,
            walk,
            stamps,
            ..
        } = self;
        walk.begin(lanes, clocks);
        while let Some(times) = walk.next(clocks) {
            for times in times.chunks(STAMPS) {
                stamps.clear();
                stamp(times, stamps);
                sheet.lines((series, lanes), walk.active(), next, stamps, out);
            }
            report.points += times.len() as u64;
            report.values += (times.len() * walk.active().len()) as u64;
        }
    }

    fn begin(&mut self, lanes: &[Lane]) {
        self.sheet.begin(lanes);
        self.next.clear();
        self.next.resize(lanes.len(), 0);
        self.active.clear();
    }
}

/// Whether everything has a spelling, each line fits and fields are not too many; `times` are the first and the last one of each clock.
pub fn is_plain(
    series: &[u8],
    lanes: &[Lane],
    mut times: impl Iterator<Item = (i64, i64)>,
) -> bool {
    let (mut width, mut has_strings) = (series.len() + cell::SIZE, false);
    for lane in lanes {
        width += lane.name.len() + cell::SIZE;
        match &lane.values {
            // All of them, without a branch: the loop becomes one of vectors.
            Values::Float(v) if !v.iter().fold(true, |all, v| all & v.is_finite()) => return false,
            Values::String(v) => {
                has_strings = true;
                width += 2 * v.longest() + 2;
            }
            _ => {}
        }
    }
    let is_writable = |(first, last)| TIMES.contains(&first) && TIMES.contains(&last);
    let is_narrow = lanes.len() <= LANES && width <= LINE;
    is_narrow && times.all(is_writable) && !(has_strings && misfit::splits_early(series))
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Unprintable};
    use super::*;
    use crate::pages::Buffer;
    use crate::rows::Strings;
    use proptest::prelude::*;

    fn lane(name: &str, times: &[i64], values: Values) -> (Lane, Vec<i64>) {
        let lane = Lane {
            field: name.into(),
            name: format!("{name}=").into(),
            values,
            clock: 0,
        };
        (lane, times.to_vec())
    }

    fn strings(values: &[&str]) -> Values {
        let mut strings = Strings::default();
        values
            .iter()
            .for_each(|value| strings.push(value.as_bytes()));
        Values::String(strings)
    }

    /// Lanes with equal times share a clock.
    fn printed(
        series: &str,
        lanes: impl IntoIterator<Item = (Lane, Vec<i64>)>,
    ) -> (String, Report) {
        let (mut all, mut clocks) = (Vec::new(), Vec::new());
        for (mut lane, times) in lanes {
            let clock = clocks.iter().position(|known| *known == times);
            lane.clock = clock.unwrap_or(clocks.len());
            clocks.extend(clock.is_none().then_some(times));
            all.push(lane);
        }
        let (out, report) = whole(|out, report| {
            Printer::default().joined(series.as_bytes(), &all, &clocks, out, report);
        });
        let (plain, rule) =
            whole(|out, report| careful::print(series.as_bytes(), &all, &clocks, out, report));
        assert!(plain == out);
        assert_eq!((rule.points, rule.values), (report.points, report.values));
        (String::from_utf8(plain).unwrap(), report)
    }

    /// All text that is handed on, and what is left behind it.
    fn whole(print: impl FnOnce(&mut Outlet<'_>, &mut Report)) -> (Vec<u8>, Report) {
        let (mut all, mut text, mut report) = (Vec::new(), Buffer::default(), Report::default());
        let mut hand_on = |text: &mut Buffer| {
            assert!(text.bytes().ends_with(b"\n"));
            all.extend_from_slice(text.bytes());
            text.clear();
        };
        print(&mut Outlet::new(&mut text, &mut hand_on), &mut report);
        all.extend_from_slice(text.bytes());
        (all, report)
    }

    fn left_out(report: &Report) -> Vec<(Unprintable, u64)> {
        let all = report.findings.iter().map(|finding| match finding {
            Finding::LeftOut { why, count, .. } => (*why, *count),
            other => panic!("{other:?}"),
        });
        all.collect()
    }

    #[test]
    fn fields_of_one_time_share_a_line() {
        let lanes = [
            lane("f", &[1, 2], Values::Float(vec![0.5, 1e6])),
            lane("i", &[1, 2], Values::Integer(vec![-7, 8])),
            lane("s", &[1, 2], strings(&["a\"b", ""])),
        ];
        let (text, report) = printed("m,t=a", lanes);
        assert_eq!(
            "m,t=a f=0.5,i=-7i,s=\"a\\\"b\" 1\nm,t=a f=1e+06,i=8i,s=\"\" 2\n",
            text
        );
        assert_eq!((2, 6), (report.points, report.values));
    }

    #[test]
    fn times_that_only_some_fields_have_get_lines_of_their_own() {
        let lanes = [
            lane("b", &[-1, 3], Values::Boolean(vec![true, false])),
            lane("u", &[2, 3], Values::Unsigned(vec![u64::MAX, 0])),
        ];
        let (text, _) = printed("m", lanes);
        assert_eq!(
            "m b=true -1\nm u=18446744073709551615u 2\nm b=false,u=0u 3\n",
            text
        );
    }

    #[test]
    fn what_has_no_spelling_is_counted_and_its_neighbours_stay() {
        let ends = [
            i64::MIN,
            i64::MIN + 1,
            i64::MIN + 2,
            5,
            i64::MAX - 1,
            i64::MAX,
        ];
        let floats = vec![1.0, 1.0, 2.0, f64::INFINITY, 3.0, 1.0];
        let lanes = [
            lane("f", &ends, Values::Float(floats)),
            lane("i", &[5, 6], Values::Integer(vec![1, 2])),
            lane("n", &[7], Values::Float(vec![f64::NAN])),
        ];
        let (text, report) = printed("m", lanes);
        let expected =
            "m f=2 -9223372036854775806\nm i=1i 5\nm i=2i 6\nm f=3 9223372036854775806\n";
        assert_eq!(expected, text);
        let expected = vec![
            (Unprintable::Float, 1),
            (Unprintable::Time, 3),
            (Unprintable::Float, 1),
        ];
        assert_eq!(expected, left_out(&report));
        assert_eq!((4, 4), (report.points, report.values));
    }

    #[test]
    fn a_line_beyond_one_mebibyte_goes_on_in_a_second_one() {
        let long = "x".repeat(600_000);
        let lanes = ["a", "b", "c"].map(|name| lane(name, &[1], strings(&[&long])));
        let (text, report) = printed("m", lanes);
        let lines: Vec<_> = text.lines().map(|line| (line.len(), &line[..4])).collect();
        assert_eq!(
            vec![(600_008, "m a="), (600_008, "m b="), (600_008, "m c=")],
            lines
        );
        assert_eq!((3, 3), (report.points, report.values));
    }

    #[test]
    fn a_string_that_the_splitter_would_cut_is_left_out() {
        // Behind the pair of backslashes the splitter counts the = of the measurement.
        let lanes = [
            lane("s", &[1, 2], strings(&["a\nb", "ab"])),
            lane("i", &[1, 2], Values::Integer(vec![1, 2])),
        ];
        let (text, report) = printed("m\\\\ =,t=a\"b", lanes);
        assert!(
            text.lines().all(|line| line.starts_with("m\\\\ =,t=a\"b ")),
            "{text}"
        );
        assert!(!report.findings.is_empty());
    }

    #[test]
    fn nothing_is_printed_for_nothing() {
        assert_eq!("", printed("m", []).0);
        assert_eq!("", printed("m", [lane("f", &[], Values::Float(vec![]))]).0);
    }

    /// Runs of strings, some of them long.
    fn runs() -> impl Strategy<Value = Vec<String>> {
        let long = (0usize..5, "[a\"]{1,9}").prop_map(|(n, text)| text.repeat(20 << (2 * n)));
        let text = prop_oneof![8 => "[ab\"\\\\]{0,9}", 4 => "[a-z\"]{20,90}", 1 => long];
        proptest::collection::vec((text, 1usize..90), 1..9).prop_map(|runs| {
            let all = runs.iter().map(|(text, n)| vec![text.clone(); *n]);
            all.flatten().collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn strings_of_every_length_come_out_as_one_by_one(columns in proptest::collection::vec(runs(), 1..4)) {
            let lanes = columns.iter().enumerate().map(|(i, column)| {
                let times: Vec<i64> = (0..column.len() as i64).collect();
                let texts: Vec<&str> = column.iter().map(String::as_str).collect();
                lane(&i.to_string(), &times, strings(&texts))
            });
            let points = columns.iter().map(Vec::len).max().unwrap_or(0);
            prop_assert_eq!(points as u64, printed("m,t=a", lanes).1.points);
        }
    }
}
