//! Lines one value at a time, with a look at everything that may be in the way: values without a spelling, times that
//! servers reserve, lines that grow too long, strings that would cut their line.
//!
//! Slow, and the rule that [`super::sheet`] must agree with.

use crate::lp::escape::{self, Place};
use crate::lp::frame::Framer;
use crate::lp::misfit::{self, Misfit};
use crate::lp::number;
use crate::rows::Values;

use super::lane::Lane;
use super::outlet::Outlet;
use super::print::{LINE, TIMES};
use super::walk::Walk;
use super::{Lost, Report, Unprintable};

/// What could not be printed, by lane.
#[derive(Debug)]
struct Counts {
    floats: Vec<Lost>,
    times: Vec<Lost>,
    cut: Vec<Lost>,
}

/// Where a line stands while it is written.
struct Line {
    start: usize,
    fields: u64,
}

/// Append all lines of a series in which some of `lanes` have values.
pub fn print(
    series: &[u8],
    lanes: &[Lane],
    clocks: &[Vec<i64>],
    out: &mut Outlet<'_>,
    report: &mut Report,
) {
    let zeros = vec![Lost::default(); lanes.len()];
    let mut writer = Writer {
        series,
        lanes,
        clocks,
        out: Vec::new(),
        report,
        is_careful: misfit::splits_early(series),
        counts: Counts {
            floats: zeros.clone(),
            times: zeros.clone(),
            cut: zeros,
        },
    };
    writer.joined(out);
    let Counts { floats, times, cut } = writer.counts;
    let lost = floats.into_iter().zip(times).zip(cut);
    for (lane, ((floats, times), cut)) in lanes.iter().zip(lost) {
        report.leave_out(series, &lane.field, Unprintable::Float, floats);
        report.leave_out(series, &lane.field, Unprintable::Time, times);
        report.leave_out(series, &lane.field, Unprintable::Split, cut);
    }
}

/// Why not even a number can stand behind a field key in a record of its series; both have a spelling.
pub fn misfit(series: &[u8], field: &[u8]) -> Option<Misfit> {
    if !misfit::splits_early(series) {
        return None;
    }
    let (mut line, number) = (Vec::new(), Values::Integer(vec![0]));
    record(series, field, &number, (0, 0), &mut line);
    line.push(b'\n');
    (!is_one(&line)).then_some(Misfit::Quote)
}

/// Whether the servers' splitter sees one record, and all of it.
fn is_one(line: &[u8]) -> bool {
    let end = Framer::default().end(line);
    end.is_some_and(|end| end.len == line.len())
}

/// All values of a field that has no spelling, or whose series has none.
pub fn lost(series: &[u8], field: &[u8], values: &Values, times: &[i64], keep: bool) -> Lost {
    let mut lost = Lost {
        count: values.len() as u64,
        ..Lost::default()
    };
    if keep {
        let mut text = Vec::new();
        for (row, time) in times.iter().enumerate() {
            record(series, field, values, (row, *time), &mut text);
            lost.records.push(&text);
        }
    }
    lost
}

/// What the record of one value would be if there could be one.
fn record(
    series: &[u8],
    field: &[u8],
    values: &Values,
    (row, time): (usize, i64),
    out: &mut Vec<u8>,
) {
    out.clear();
    out.extend_from_slice(series);
    out.push(b' ');
    escape::encode(Place::Field, field, out);
    out.push(b'=');
    value(values, row, out);
    out.push(b' ');
    number::signed(time, out);
}

struct Writer<'a> {
    series: &'a [u8],
    lanes: &'a [Lane],
    clocks: &'a [Vec<i64>],
    /// The lines of one time.
    out: Vec<u8>,
    report: &'a mut Report,
    is_careful: bool,
    counts: Counts,
}

impl Writer<'_> {
    fn joined(&mut self, out: &mut Outlet<'_>) {
        let (lanes, clocks) = (self.lanes, self.clocks);
        let (mut next, mut walk) = (vec![0; lanes.len()], Walk::default());
        walk.begin(lanes, clocks);
        while let Some(times) = walk.next(clocks) {
            for &time in times {
                let mut line = self.begin();
                for &i in walk.active() {
                    if let (Some(lane), Some(row)) = (lanes.get(i), next.get_mut(i)) {
                        self.field(&mut line, i, lane, *row, time);
                        *row += 1;
                    }
                }
                self.end(line, time);
                out.text().push(&self.out);
                self.out.clear();
                out.line_ended();
            }
        }
    }

    fn begin(&mut self) -> Line {
        let start = self.out.len();
        self.out.extend_from_slice(self.series);
        Line { start, fields: 0 }
    }

    /// Append a field to the line, or count why not.
    fn field(&mut self, line: &mut Line, i: usize, lane: &Lane, row: usize, time: i64) {
        if !TIMES.contains(&time) {
            return self.lose(|counts| &mut counts.times, i, (row, time));
        }
        let start = self.out.len();
        self.out.push(if line.fields == 0 { b' ' } else { b',' });
        self.out.extend_from_slice(&lane.name);
        if !value(&lane.values, row, &mut self.out) {
            self.out.truncate(start);
            return self.lose(|counts| &mut counts.floats, i, (row, time));
        }
        let is_string = matches!(lane.values, Values::String(_));
        if self.is_careful && is_string && !self.is_whole(line) {
            self.out.truncate(start);
            return self.lose(|counts| &mut counts.cut, i, (row, time));
        }
        if line.fields > 0 && self.out.len() - line.start > LINE {
            self.wrap(line, start, time);
        }
        line.fields += 1;
    }

    /// Count a value of a lane that cannot be printed.
    fn lose(&mut self, of: fn(&mut Counts) -> &mut Vec<Lost>, i: usize, place: (usize, i64)) {
        let (Some(lane), Some(lost)) = (self.lanes.get(i), of(&mut self.counts).get_mut(i)) else {
            return;
        };
        lost.count += 1;
        if self.report.keep_rejects {
            let mut text = Vec::new();
            record(self.series, &lane.field, &lane.values, place, &mut text);
            lost.records.push(&text);
        }
    }

    /// Whether the servers' splitter sees the line so far, and whatever follows it, as one record.
    fn is_whole(&self, line: &Line) -> bool {
        let text = self.out.get(line.start..).unwrap_or_default();
        is_one(&[text, b" 0\n"].concat())
    }

    /// Close the line before the field that starts at `field`, and put that field on a line of its own.
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
        number::signed(time, &mut self.out);
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
    use super::*;

    #[test]
    fn a_quote_behind_what_the_splitter_takes_for_the_end_of_the_names_has_no_record() {
        let quote = Some(Misfit::Quote);
        let series = br#"m,\\ =a,t=""#.as_slice();
        assert_eq!(
            (None, quote),
            (misfit::series(series), misfit(series, b"f"))
        );
        // Without a quote, with one that is closed, and where the names end for both.
        for series in [
            br"m,\\ =a,t=b".as_slice(),
            br#"m,\\ =a,t="b""#,
            br#"m,\ =a,t=""#,
        ] {
            assert_eq!(None, misfit(series, b"f"));
        }
        let series = br"m,a\\ b=c".as_slice();
        assert_eq!(
            (None, quote),
            (misfit(series, b"f"), misfit(series, br#"f""#))
        );
    }
}
