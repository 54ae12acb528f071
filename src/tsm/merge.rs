//! One value per time: the newest wins, what was deleted is gone.
//!
//! A [`Column`] is what becomes of a block or of the log of one key. [`Merger`] takes the columns of one field
//! in the order in which they were written and gives columns that share no time, at most one per type.

use std::mem;
use std::ops::{Range, RangeInclusive};

use crate::rows::{Kind, Values};

/// Memory of one column that is used again.
const KEPT: usize = 1 << 20;

/// Values of one field and their times: as many of the one as of the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Ascend strictly once [`Column::settle`] has been called.
    pub times: Vec<i64>,
    /// One for each time.
    pub values: Values,
}

impl Column {
    /// Without any value.
    pub fn new(kind: Kind) -> Self {
        Self {
            times: Vec::new(),
            values: Values::new(kind),
        }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The type of the values.
    pub fn kind(&self) -> Kind {
        self.values.kind()
    }

    /// Forget all values, keep the memory.
    pub fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
    }

    /// Append some values of a column of the same type.
    pub fn extend(&mut self, other: &Self, range: Range<usize>) {
        let times = other.times.get(range.clone()).unwrap_or_default();
        self.times.extend_from_slice(times);
        self.values.extend(&other.values, range);
    }

    /// Put the times in order. Of values with the same time the last one stays.
    pub fn settle(&mut self) {
        if !self.times.is_sorted_by(|a, b| a < b) {
            *self = self.sorted();
        }
    }

    #[cold]
    fn sorted(&self) -> Self {
        let time = |i: &usize| self.times.get(*i).copied();
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(time);
        let mut sorted = Self::new(self.kind());
        for (n, i) in order.iter().enumerate() {
            if order.get(n + 1).and_then(time) != time(i) {
                sorted.extend(self, *i..*i + 1);
            }
        }
        sorted
    }

    /// The positions of all values with times in `within` that no range of `deleted` covers.
    ///
    /// `deleted` is sorted, without overlaps, its ranges inclusive; the column is settled.
    pub fn kept<'a>(
        &'a self,
        within: RangeInclusive<i64>,
        deleted: &'a [(i64, i64)],
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let below = |time: i64| self.times.partition_point(|t| *t < time);
        let up_to = |time: i64| self.times.partition_point(|t| *t <= time);
        let (mut start, end) = (below(*within.start()), up_to(*within.end()));
        let first = deleted.partition_point(|(_, max)| max < within.start());
        let mut ranges = deleted.get(first..).unwrap_or_default().iter();
        let mut done = start >= end;
        std::iter::from_fn(move || {
            while !done {
                let next = ranges.next().filter(|(min, _)| min <= within.end());
                let Some((min, max)) = next else {
                    done = true;
                    return Some(start..end);
                };
                let kept = start..below(*min).min(end);
                start = up_to(*max).max(start);
                done = start >= end;
                if !kept.is_empty() {
                    return Some(kept);
                }
            }
            None
        })
    }

    /// Whether all of `self` lies before all of `other`.
    fn is_before(&self, other: &Self) -> bool {
        match (self.times.last(), other.times.first()) {
            (Some(last), Some(first)) => last < first,
            _ => true,
        }
    }
}

/// Append the values of two settled columns of one type, which is not that of strings; where both have a value, that of
/// `new`.
fn newest(old: &Column, new: &Column, out: &mut Column) {
    let times = (&old.times[..], &new.times[..], &mut out.times);
    match (&old.values, &new.values, &mut out.values) {
        (Values::Float(a), Values::Float(b), Values::Float(out)) => interleave(times, (a, b, out)),
        (Values::Integer(a), Values::Integer(b), Values::Integer(out)) => {
            interleave(times, (a, b, out));
        }
        (Values::Unsigned(a), Values::Unsigned(b), Values::Unsigned(out)) => {
            interleave(times, (a, b, out));
        }
        (Values::Boolean(a), Values::Boolean(b), Values::Boolean(out)) => {
            interleave(times, (a, b, out));
        }
        _ => debug_assert!(false, "columns of two types, or of strings"),
    }
}

/// [`newest`] for values that are quickly copied: nothing is predicted about who comes next.
fn interleave<T: Copy>(
    (old, new, times): (&[i64], &[i64], &mut Vec<i64>),
    (a, b, values): (&[T], &[T], &mut Vec<T>),
) {
    let (mut i, mut j) = (0, 0);
    times.reserve(old.len() + new.len());
    values.reserve(old.len() + new.len());
    while let (Some(&first), Some(&other)) = (old.get(i), new.get(j)) {
        let (Some(&x), Some(&y)) = (a.get(i), b.get(j)) else {
            break;
        };
        times.push(first.min(other));
        values.push(if other <= first { y } else { x });
        i += usize::from(first <= other);
        j += usize::from(other <= first);
    }
    times.extend_from_slice(old.get(i..).unwrap_or_default());
    values.extend_from_slice(a.get(i..).unwrap_or_default());
    times.extend_from_slice(new.get(j..).unwrap_or_default());
    values.extend_from_slice(b.get(j..).unwrap_or_default());
}

/// [`newest`] for strings: those of the longer column stay where they are, the others come behind them. The merged column,
/// and the one that is not needed any more.
fn newest_strings(old: Column, new: Column) -> (Column, Column) {
    let old_stays = old.values.memory() >= new.values.memory();
    let (mut out, other) = if old_stays { (old, new) } else { (new, old) };
    let (mut times, mut order) = (Vec::new(), Vec::new());
    let (mut i, mut j) = (0, 0);
    loop {
        let (own, others) = (out.times.get(i), other.times.get(j));
        let Some(time) = own.into_iter().chain(others).min() else {
            break;
        };
        let (is_own, is_others) = (own == Some(time), others == Some(time));
        times.push(*time);
        order.push(match is_own && !(is_others && old_stays) {
            true => i,
            false => out.len() + j,
        });
        (i, j) = (i + usize::from(is_own), j + usize::from(is_others));
    }
    out.values.extend(&other.values, 0..other.len());
    if let Values::String(strings) = &mut out.values {
        strings.arrange(&order);
    }
    out.times = times;
    (out, other)
}

/// The values of a settled column at times that are not among `times`.
fn without(column: &Column, times: &[i64], out: &mut Column) {
    let mut rest = times;
    for (i, time) in column.times.iter().enumerate() {
        rest = rest
            .get(rest.partition_point(|t| t < time)..)
            .unwrap_or_default();
        if rest.first() != Some(time) {
            out.extend(column, i..i + 1);
        }
    }
}

/// Collects the columns of one field, oldest first, and merges them. Reused from field to field.
#[derive(Debug, Default)]
pub struct Merger {
    /// Settled, none empty; in the order in which they were written.
    columns: Vec<Column>,
    spare: Vec<Column>,
}

impl Merger {
    /// Add what was written after all that was added before: the values of `column` that are kept.
    ///
    /// `column` is settled, `deleted` as in [`Column::kept`].
    pub fn add(&mut self, column: &Column, within: RangeInclusive<i64>, deleted: &[(i64, i64)]) {
        let mut kept = column.kept(within, deleted).peekable();
        let Some(first) = kept.peek() else {
            return;
        };
        let Some(start) = column.times.get(first.start) else {
            return;
        };
        let end = self.end(column.kind(), *start);
        kept.for_each(|range| end.extend(column, range));
    }

    /// The column to which values may be appended that were written after all that was added before; their times ascend
    /// from `start` on.
    pub fn end(&mut self, kind: Kind, start: i64) -> &mut Column {
        let follows = |last: &Column| last.kind() == kind && last.times.last() < Some(&start);
        // What follows the newest column in time can only hide what is older still: no need for its own.
        if !self.columns.last().is_some_and(follows) {
            let fresh = self.fresh(kind);
            self.columns.push(fresh);
        }
        let last = self.columns.len() - 1;
        &mut self.columns[last]
    }

    /// The same for a whole settled column that is not needed any more.
    pub fn adopt(&mut self, column: Column) {
        match column.is_empty() {
            true => self.reclaim(column),
            false => self.columns.push(column),
        }
    }

    /// The merged columns, which share no time; more than one only if the types differ. The merger is as new.
    pub fn finish(&mut self, out: &mut Vec<Column>) {
        let kind = self.columns.first().map(Column::kind);
        if self
            .columns
            .iter()
            .any(|column| Some(column.kind()) != kind)
        {
            return self.finish_mixed(out);
        }
        while self.columns.len() > 1 {
            self.halve();
        }
        out.append(&mut self.columns);
    }

    /// Give back a column for its memory, if that is not too much to keep.
    pub fn reclaim(&mut self, column: Column) {
        if column.values.memory() <= KEPT {
            self.spare.push(column);
        }
    }

    /// Merge the first column with the second, the third with the fourth, and so on.
    fn halve(&mut self) {
        let mut columns = mem::take(&mut self.columns).into_iter();
        while let Some(old) = columns.next() {
            match columns.next() {
                Some(new) => {
                    let merged = self.merged(old, new);
                    self.columns.push(merged);
                }
                None => self.columns.push(old),
            }
        }
    }

    fn merged(&mut self, mut old: Column, mut new: Column) -> Column {
        if new.is_before(&old) {
            mem::swap(&mut old, &mut new);
        }
        if old.is_before(&new) {
            old.extend(&new, 0..new.len());
            self.reclaim(new);
            return old;
        }
        if old.kind() == Kind::String {
            let (merged, other) = newest_strings(old, new);
            self.reclaim(other);
            return merged;
        }
        let mut out = self.fresh(old.kind());
        newest(&old, &new, &mut out);
        self.reclaim(old);
        self.reclaim(new);
        out
    }

    /// One key with two types: each value keeps its own, the newest wins all the same.
    #[cold]
    fn finish_mixed(&mut self, out: &mut Vec<Column>) {
        let (mut hidden, mut result) = (Column::new(Kind::Boolean), Vec::<Column>::new());
        for column in mem::take(&mut self.columns).into_iter().rev() {
            let mut visible = self.fresh(column.kind());
            without(&column, &hidden.times, &mut visible);
            let times = Column {
                values: Values::Boolean(vec![true; column.len()]),
                times: column.times,
            };
            let mut all = Column::new(Kind::Boolean);
            newest(&hidden, &times, &mut all);
            hidden = all;
            match result
                .iter_mut()
                .find(|other| other.kind() == visible.kind())
            {
                Some(other) => {
                    let newer = mem::replace(other, Column::new(visible.kind()));
                    *other = self.merged(visible, newer);
                }
                None => result.push(visible),
            }
        }
        result.retain(|column| !column.is_empty());
        out.append(&mut result);
    }

    /// How many columns there are to be used again.
    #[cfg(test)]
    pub fn spare(&self) -> usize {
        self.spare.len()
    }

    /// An empty column, with the memory of one that was given back.
    pub fn fresh(&mut self, kind: Kind) -> Column {
        let at = self.spare.iter().position(|column| column.kind() == kind);
        let Some(at) = at else {
            return Column::new(kind);
        };
        let mut column = self.spare.swap_remove(at);
        column.clear();
        column
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn integers(points: &[(i64, i64)]) -> Column {
        Column {
            times: points.iter().map(|p| p.0).collect(),
            values: Values::Integer(points.iter().map(|p| p.1).collect()),
        }
    }

    fn merge(columns: &[Column]) -> Vec<Column> {
        let (mut merger, mut out) = (Merger::default(), Vec::new());
        for column in columns {
            merger.add(column, i64::MIN..=i64::MAX, &[]);
        }
        merger.finish(&mut out);
        out
    }

    #[test]
    fn a_newer_value_hides_the_older_one() {
        let old = integers(&[(1, 10), (2, 20), (4, 40)]);
        let new = integers(&[(2, 21), (3, 31)]);
        let expected = integers(&[(1, 10), (2, 21), (3, 31), (4, 40)]);
        assert_eq!(vec![expected], merge(&[old, new]));
    }

    #[test]
    fn unsorted_times_are_sorted_and_the_last_of_equals_stays() {
        let mut column = integers(&[(3, 1), (1, 2), (3, 3), (1, 4), (2, 5)]);
        column.settle();
        assert_eq!(integers(&[(1, 4), (2, 5), (3, 3)]), column);
    }

    #[test]
    fn deleted_ranges_are_inclusive_and_so_is_the_slice() {
        let column = integers(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]);
        let kept =
            |within, deleted: &[(i64, i64)]| column.kept(within, deleted).collect::<Vec<_>>();
        assert_eq!(vec![0..6], kept(0..=9, &[]));
        assert_eq!(vec![1..3], kept(2..=3, &[]));
        assert_eq!(vec![0..1, 3..4, 5..6], kept(0..=9, &[(2, 3), (5, 5)]));
        assert_eq!(vec![2..4], kept(2..=4, &[(0, 2), (5, 9)]));
        assert!(kept(2..=4, &[(i64::MIN, i64::MAX)]).is_empty());
        assert!(kept(7..=9, &[]).is_empty());
        assert_eq!(vec![0..6], kept(i64::MIN..=i64::MAX, &[(7, 9)]));
    }

    #[test]
    fn values_of_two_types_stay_what_they_are() {
        let old = integers(&[(1, 10), (2, 20), (3, 30)]);
        let newer = Column {
            times: vec![2, 5],
            values: Values::Float(vec![0.5, 5.5]),
        };
        let newest = integers(&[(5, 50)]);
        let floats = Column {
            times: vec![2],
            values: Values::Float(vec![0.5]),
        };
        let expected = vec![integers(&[(1, 10), (3, 30), (5, 50)]), floats];
        assert_eq!(expected, merge(&[old, newer, newest]));
    }

    #[test]
    fn a_type_that_is_hidden_everywhere_leaves_no_column() {
        let old = integers(&[(1, 10)]);
        let new = Column {
            times: vec![1],
            values: Values::Boolean(vec![true]),
        };
        assert_eq!(vec![new.clone()], merge(&[old, new]));
    }

    /// Whether it is of another type than most, its times, what is deleted of it.
    type Written = (bool, Vec<i64>, Vec<(i64, i64)>);

    /// Columns of few times, so that they overlap.
    fn history() -> impl Strategy<Value = Vec<Written>> {
        let times = proptest::collection::vec(0i64..60, 0..30);
        let deleted = proptest::collection::btree_set(0i64..60, 0..6).prop_map(|bounds| {
            let bounds: Vec<i64> = bounds.into_iter().collect();
            bounds
                .chunks_exact(2)
                .map(|pair| (pair[0], pair[1]))
                .collect()
        });
        let column = (proptest::bool::weighted(0.1), times, deleted);
        proptest::collection::vec(column, 0..12)
    }

    proptest! {
        #[test]
        fn any_history_ends_as_in_a_map(history in history(), from in 0i64..30, len in 0i64..60) {
            let within = from..=from + len;
            let (mut model, mut merger) = (BTreeMap::new(), Merger::default());
            for round in 0..2 {
                for (n, (is_text, times, deleted)) in history.iter().enumerate() {
                    let value = |i: usize| (n * 100 + i) as i64;
                    let mut column = integers(&times.iter().enumerate().map(|(i, t)| (*t, value(i))).collect::<Vec<_>>());
                    if *is_text {
                        column.values = Values::new(Kind::String);
                        if let Values::String(strings) = &mut column.values {
                            (0..times.len()).for_each(|i| strings.push(value(i).to_string().as_bytes()));
                        }
                    }
                    let mut own = BTreeMap::new();
                    times.iter().enumerate().for_each(|(i, t)| { own.insert(*t, (value(i), *is_text)); });
                    let gone = |t: &i64| deleted.iter().any(|(min, max)| (min..=max).contains(&t));
                    own.retain(|t, _| within.contains(t) && !gone(t));
                    model.extend(own);
                    column.settle();
                    merger.add(&column, within.clone(), deleted);
                }
                let mut columns = Vec::new();
                merger.finish(&mut columns);
                let mut merged = BTreeMap::new();
                for column in &columns {
                    prop_assert!(!column.is_empty());
                    prop_assert!(column.times.is_sorted_by(|a, b| a < b));
                    for (i, t) in column.times.iter().enumerate() {
                        let value = match &column.values {
                            Values::Integer(v) => (v[i], false),
                            Values::String(v) => (std::str::from_utf8(v.get(i)).unwrap().parse().unwrap(), true),
                            other => panic!("{other:?}"),
                        };
                        prop_assert_eq!(None, merged.insert(*t, value), "time {} twice in round {}", t, round);
                    }
                }
                prop_assert_eq!(&model, &merged);
                columns.into_iter().for_each(|column| merger.reclaim(column));
            }
        }
    }
}
