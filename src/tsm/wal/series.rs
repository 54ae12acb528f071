//! The values of one key, gathered from the entries of the log.

use super::entry::{Group, string};
use crate::rows::{Kind, Values};
use crate::tsm::Bytes;

/// Times and values of one type, side by side.
pub type Column = (Vec<i64>, Values);

/// Values in the order they were written: a new column wherever the type changes.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<Column>);

impl Series {
    /// Append the values of a group.
    pub fn append(&mut self, group: &Group<'_>) {
        let (times, values) = self.column(group.kind);
        match values {
            Values::Float(out) => words(group.points, times, out, f64::from_bits),
            Values::Integer(out) => words(group.points, times, out, |bits| bits as i64),
            Values::Unsigned(out) => words(group.points, times, out, |bits| bits),
            Values::Boolean(out) => {
                for [time @ .., value] in group.points.as_chunks::<9>().0 {
                    times.push(i64::from_be_bytes(*time));
                    out.push(*value == 1);
                }
            }
            Values::String(out) => {
                let mut points = Bytes::new(group.points, 0);
                while let Ok((time, value)) = string(&mut points) {
                    times.push(time);
                    out.push(value);
                }
            }
        }
    }

    /// The column that the next values of this type go to.
    fn column(&mut self, kind: Kind) -> &mut Column {
        let goes_on = |column: &Column| column.1.kind() == kind;
        let n = match self.0.last().is_some_and(goes_on) {
            true => self.0.len() - 1,
            false => {
                // Nearly all keys have one column for ever.
                self.0.reserve_exact(1);
                self.0.push((Vec::new(), Values::new(kind)));
                self.0.len() - 1
            }
        };
        &mut self.0[n]
    }

    /// Remove the values from `min` to `max`, both included.
    pub fn delete(&mut self, min: i64, max: i64) {
        let stays = |time: i64| time < min || max < time;
        for (times, values) in &mut self.0 {
            if times.iter().all(|&time| stays(time)) {
                continue;
            }
            values.retain(|i| stays(times[i]));
            times.retain(|&time| stays(time));
        }
        self.0.retain(|(times, _)| !times.is_empty());
    }

    /// The values by time, of equal times the last one written, in a column for each type.
    pub fn settle(mut self) -> Vec<Column> {
        let ascends = |column: &Column| column.0.is_sorted_by(|a, b| a < b);
        if self.0.len() > 1 || !self.0.iter().all(ascends) {
            self.0 = sorted(&self.0);
        }
        for (times, values) in &mut self.0 {
            times.shrink_to_fit();
            values.shrink_to_fit();
        }
        self.0
    }
}

fn words<T>(points: &[u8], times: &mut Vec<i64>, out: &mut Vec<T>, value: impl Fn(u64) -> T) {
    for point in points.as_chunks::<16>().0 {
        let point = u128::from_be_bytes(*point);
        times.push((point >> 64) as i64);
        out.push(value(point as u64));
    }
}

#[cold]
fn sorted(written: &[Column]) -> Vec<Column> {
    let places = |(c, column): (usize, &Column)| {
        let place = move |(i, &time): (usize, &i64)| (time, c, i);
        column.0.iter().enumerate().map(place).collect::<Vec<_>>()
    };
    // Later columns and later places were written later.
    let mut order: Vec<_> = written.iter().enumerate().flat_map(places).collect();
    order.sort_unstable();
    let mut columns: Vec<Column> = Vec::new();
    let next = order.iter().skip(1).map(|place| Some(place.0));
    for (&(time, c, i), next) in order.iter().zip(next.chain([None])) {
        if next == Some(time) {
            continue;
        }
        let (times, values) = of_kind(&mut columns, written[c].1.kind());
        times.push(time);
        values.push_from(&written[c].1, i);
    }
    columns
}

fn of_kind(columns: &mut Vec<Column>, kind: Kind) -> &mut Column {
    let i = columns.iter().position(|column| column.1.kind() == kind);
    let i = i.unwrap_or_else(|| {
        columns.push((Vec::new(), Values::new(kind)));
        columns.len() - 1
    });
    &mut columns[i]
}
