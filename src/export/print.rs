//! From columns to lines: one line for each time, with all fields that have a value then.

use crate::lp::escape;
use crate::lp::frame::Framer;
use crate::lp::number;
use crate::rows::Values;
use crate::tsm::merge::Column;

use super::{Report, Unprintable};

/// A line that would grow longer than this goes on in a second one.
const LINE: usize = 1 << 20;

/// Times that servers write; the two below and the one above are reserved (`models/time.go`).
const TIMES: std::ops::RangeInclusive<i64> = i64::MIN + 2..=i64::MAX - 1;

/// One field of a series, or all of it that has one type.
#[derive(Debug)]
pub struct Lane {
    /// Field key as stored.
    pub field: Vec<u8>,
    /// Field key as spelled, with its `=`.
    pub name: Vec<u8>,
    /// Its values; settled. Lanes of the same field share no time.
    pub column: Column,
}

/// Prints lanes of one series. Reused from slice to slice.
#[derive(Debug, Default)]
pub struct Printer {
    /// The next value of each lane.
    next: Vec<usize>,
    counts: Counts,
}

/// What could not be printed, by lane.
#[derive(Debug, Default)]
struct Counts {
    floats: Vec<u64>,
    times: Vec<u64>,
    cut: Vec<u64>,
}

/// Where a line stands while it is written.
struct Line {
    start: usize,
    fields: u64,
}

impl Printer {
    /// Append all lines of a series in which some of `lanes` have values.
    pub fn print(&mut self, series: &[u8], lanes: &[Lane], out: &mut Vec<u8>, report: &mut Report) {
        self.next.clear();
        self.next.resize(lanes.len(), 0);
        self.counts.reset(lanes.len());
        let is_careful = escape::splits_early(series);
        let mut writer = Writer {
            series,
            lanes,
            out,
            report,
            is_careful,
        };
        if is_lockstep(lanes) {
            writer.lockstep(&mut self.counts);
        } else {
            writer.joined(&mut self.next, &mut self.counts);
        }
        for (i, lane) in lanes.iter().enumerate() {
            let count = |counts: &[u64]| counts.get(i).copied().unwrap_or(0);
            let Counts { floats, times, cut } = &self.counts;
            report.leave_out(series, &lane.field, Unprintable::Float, count(floats));
            report.leave_out(series, &lane.field, Unprintable::Time, count(times));
            report.leave_out(series, &lane.field, Unprintable::Split, count(cut));
        }
    }
}

/// Whether all lanes have values at the same times, which is the rule for what one client writes.
fn is_lockstep(lanes: &[Lane]) -> bool {
    let Some((first, rest)) = lanes.split_first() else {
        return false;
    };
    rest.iter()
        .all(|lane| lane.column.times == first.column.times)
}

impl Counts {
    fn reset(&mut self, lanes: usize) {
        for counts in [&mut self.floats, &mut self.times, &mut self.cut] {
            counts.clear();
            counts.resize(lanes, 0);
        }
    }
}

fn add(counts: &mut [u64], i: usize) {
    if let Some(count) = counts.get_mut(i) {
        *count += 1;
    }
}

struct Writer<'a> {
    series: &'a [u8],
    lanes: &'a [Lane],
    out: &'a mut Vec<u8>,
    report: &'a mut Report,
    is_careful: bool,
}

impl Writer<'_> {
    fn lockstep(&mut self, counts: &mut Counts) {
        let lanes = self.lanes;
        let times = lanes.first().map_or(&[][..], |lane| &lane.column.times);
        for (row, &time) in times.iter().enumerate() {
            let mut line = self.begin();
            for (i, lane) in lanes.iter().enumerate() {
                self.field(&mut line, i, lane, row, time, counts);
            }
            self.end(line, time);
        }
    }

    fn joined(&mut self, next: &mut [usize], counts: &mut Counts) {
        let lanes = self.lanes;
        let time_of = |lane: &Lane, row: usize| lane.column.times.get(row).copied();
        loop {
            let heads = lanes
                .iter()
                .zip(&*next)
                .filter_map(|(lane, row)| time_of(lane, *row));
            let Some(time) = heads.min() else {
                return;
            };
            let mut line = self.begin();
            for (i, (lane, row)) in lanes.iter().zip(&mut *next).enumerate() {
                if time_of(lane, *row) == Some(time) {
                    self.field(&mut line, i, lane, *row, time, counts);
                    *row += 1;
                }
            }
            self.end(line, time);
        }
    }

    fn begin(&mut self) -> Line {
        let start = self.out.len();
        self.out.extend_from_slice(self.series);
        Line { start, fields: 0 }
    }

    /// Append a field to the line, or count why not.
    fn field(
        &mut self,
        line: &mut Line,
        i: usize,
        lane: &Lane,
        row: usize,
        time: i64,
        counts: &mut Counts,
    ) {
        if !TIMES.contains(&time) {
            return add(&mut counts.times, i);
        }
        let start = self.out.len();
        self.out.push(if line.fields == 0 { b' ' } else { b',' });
        self.out.extend_from_slice(&lane.name);
        if !value(&lane.column.values, row, self.out) {
            self.out.truncate(start);
            return add(&mut counts.floats, i);
        }
        let is_string = matches!(lane.column.values, Values::String(_));
        if self.is_careful && is_string && !self.is_whole(line) {
            self.out.truncate(start);
            return add(&mut counts.cut, i);
        }
        if line.fields > 0 && self.out.len() - line.start > LINE {
            self.wrap(line, start, time);
        }
        line.fields += 1;
    }

    /// Whether the servers' splitter sees the line so far, and whatever follows it, as one record.
    #[cold]
    fn is_whole(&self, line: &Line) -> bool {
        let text = self.out.get(line.start..).unwrap_or_default();
        let whole = [text, b" 0\n"].concat();
        Framer::default()
            .end(&whole)
            .is_some_and(|end| end.len == whole.len())
    }

    /// Close the line before the field that starts at `field`, and put that field on a line of its own.
    #[cold]
    fn wrap(&mut self, line: &mut Line, field: usize, time: i64) {
        let tail = self.out.split_off(field);
        self.close(line.fields, time);
        *line = self.begin();
        self.out.push(b' ');
        self.out
            .extend_from_slice(tail.get(1..).unwrap_or_default());
    }

    fn end(&mut self, line: Line, time: i64) {
        if line.fields == 0 {
            self.out.truncate(line.start);
        } else {
            self.close(line.fields, time);
        }
    }

    fn close(&mut self, fields: u64, time: i64) {
        self.out.push(b' ');
        number::signed(time, self.out);
        self.out.push(b'\n');
        self.report.points += 1;
        self.report.values += fields;
    }
}

/// Append a value; `false` if it has no spelling. Then `out` may hold a part of it.
fn value(values: &Values, row: usize, out: &mut Vec<u8>) -> bool {
    match values {
        Values::Float(v) => {
            let value = v.get(row).copied().unwrap_or(f64::NAN);
            number::float(value, out);
            return value.is_finite();
        }
        Values::Integer(v) => {
            number::signed(v.get(row).copied().unwrap_or_default(), out);
            out.push(b'i');
        }
        Values::Unsigned(v) => {
            number::unsigned(v.get(row).copied().unwrap_or_default(), out);
            out.push(b'u');
        }
        Values::Boolean(v) => {
            let value = v.get(row).copied().unwrap_or_default();
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
        Values::String(v) => escape::encode_string(v.get(row), out),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::Finding;
    use super::*;
    use crate::rows::Strings;

    fn lane(name: &str, times: &[i64], values: Values) -> Lane {
        Lane {
            field: name.into(),
            name: format!("{name}=").into(),
            column: Column {
                times: times.to_vec(),
                values,
            },
        }
    }

    fn strings(values: &[&str]) -> Values {
        let mut strings = Strings::default();
        values
            .iter()
            .for_each(|value| strings.push(value.as_bytes()));
        Values::String(strings)
    }

    fn printed(series: &str, lanes: &[Lane]) -> (String, Report) {
        let (mut out, mut report) = (Vec::new(), Report::default());
        Printer::default().print(series.as_bytes(), lanes, &mut out, &mut report);
        (String::from_utf8(out).unwrap(), report)
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
        let (text, report) = printed("m,t=a", &lanes);
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
        let (text, _) = printed("m", &lanes);
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
        let (text, report) = printed("m", &lanes);
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
        let (text, report) = printed("m", &lanes);
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
        let (text, report) = printed("m\\\\ =,t=a\"b", &lanes);
        assert!(
            text.lines().all(|line| line.starts_with("m\\\\ =,t=a\"b ")),
            "{text}"
        );
        assert!(!report.findings.is_empty());
    }

    #[test]
    fn nothing_is_printed_for_nothing() {
        assert_eq!("", printed("m", &[]).0);
        assert_eq!("", printed("m", &[lane("f", &[], Values::Float(vec![]))]).0);
    }
}
