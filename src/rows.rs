//! One series, a slice of time: what `tsm` hands to `lp` and all that the two know of each other.

use std::fmt;

use std::ops::Range;

/// The five types a field value can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IEEE-754 double.
    Float,
    /// Signed 64-bit integer.
    Integer,
    /// Truth value.
    Boolean,
    /// Bytes, not necessarily UTF-8.
    String,
    /// Unsigned 64-bit integer.
    Unsigned,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Unsigned => "unsigned",
        })
    }
}

/// Byte strings in one buffer, perhaps with something between them.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each string starts and ends in `bytes`; ascending unless they were given another order.
    spans: Vec<(usize, usize)>,
}

impl PartialEq for Strings {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Strings {}

impl Strings {
    /// Append one string.
    pub fn push(&mut self, value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.spans.push((start, self.bytes.len()));
    }

    /// The string at position `i`; empty where there is none.
    pub fn get(&self, i: usize) -> &[u8] {
        let (start, end) = self.spans.get(i).copied().unwrap_or_default();
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// The string at position `i` with all that stands behind it, and how long it is; empty where there is none.
    pub fn open(&self, i: usize) -> (&[u8], usize) {
        let (start, end) = self.spans.get(i).copied().unwrap_or_default();
        (self.bytes.get(start..).unwrap_or_default(), end - start)
    }

    /// All strings.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// How long the longest string is.
    pub fn longest(&self) -> usize {
        let lens = self.spans.iter().map(|(start, end)| end - start);
        lens.max().unwrap_or(0)
    }

    /// Append strings in place: `fill` appends bytes, and then for each string where among these it starts and ends,
    /// ascending. On an error nothing is appended.
    pub fn fill<E>(
        &mut self,
        fill: impl FnOnce(&mut Vec<u8>, &mut Vec<(usize, usize)>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (bytes, spans) = (self.bytes.len(), self.spans.len());
        let done = fill(&mut self.bytes, &mut self.spans);
        if done.is_err() {
            self.spans.truncate(spans);
            self.bytes.truncate(bytes);
        }
        done
    }

    /// Keep the first `n` strings only.
    pub fn truncate(&mut self, n: usize) {
        self.spans.truncate(n);
        let ends = self.spans.iter().map(|span| span.1);
        self.bytes.truncate(ends.max().unwrap_or(0));
    }

    /// Keep the strings whose position `keep` answers with true. It is asked once for each, in order.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        if !self.spans.is_sorted() {
            return retain(&mut self.spans, keep);
        }
        let (mut kept, mut filled) = (0, 0);
        for i in 0..self.spans.len() {
            let (start, end) = self.spans[i];
            if keep(i) {
                self.bytes.copy_within(start..end, filled);
                self.spans[kept] = (filled, filled + end - start);
                filled += end - start;
                kept += 1;
            }
        }
        self.truncate(kept);
    }

    /// Keep the strings at these positions only, in this order. The others go on taking memory.
    pub fn arrange(&mut self, positions: &[usize]) {
        let span = |i: &usize| self.spans.get(*i).copied();
        self.spans = positions.iter().filter_map(span).collect();
    }

    /// Give back memory that holds nothing.
    pub fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// How many strings.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Append some strings of another list; what it does not hold is nothing.
    pub fn extend(&mut self, other: &Self, range: Range<usize>) {
        let spans = other.spans.get(range).unwrap_or_default();
        let (Some(&(start, _)), Some(&(_, end))) = (spans.first(), spans.last()) else {
            return;
        };
        if !spans.is_sorted() {
            let strings = spans
                .iter()
                .filter_map(|span| other.bytes.get(span.0..span.1));
            return strings.for_each(|string| self.push(string));
        }
        let base = self.bytes.len();
        self.bytes
            .extend_from_slice(other.bytes.get(start..end).unwrap_or_default());
        let moved = |at: usize| base + at - start;
        self.spans
            .extend(spans.iter().map(|span| (moved(span.0), moved(span.1))));
    }

    /// Forget all strings, keep the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }
}

/// The values of one field, all of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Doubles.
    Float(Vec<f64>),
    /// Signed integers.
    Integer(Vec<i64>),
    /// Truth values.
    Boolean(Vec<bool>),
    /// Byte strings.
    String(Strings),
    /// Unsigned integers.
    Unsigned(Vec<u64>),
}

impl Values {
    /// An empty column of the type.
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Float => Self::Float(Vec::new()),
            Kind::Integer => Self::Integer(Vec::new()),
            Kind::Boolean => Self::Boolean(Vec::new()),
            Kind::String => Self::String(Strings::default()),
            Kind::Unsigned => Self::Unsigned(Vec::new()),
        }
    }

    /// The type of the values.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Float(_) => Kind::Float,
            Self::Integer(_) => Kind::Integer,
            Self::Boolean(_) => Kind::Boolean,
            Self::String(_) => Kind::String,
            Self::Unsigned(_) => Kind::Unsigned,
        }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Integer(v) => v.len(),
            Self::Boolean(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Unsigned(v) => v.len(),
        }
    }

    /// How many bytes of memory they take, strings without their spans.
    pub fn memory(&self) -> usize {
        match self {
            Self::Float(v) => 8 * v.capacity(),
            Self::Integer(v) => 8 * v.capacity(),
            Self::Boolean(v) => v.capacity(),
            Self::String(v) => v.bytes.capacity(),
            Self::Unsigned(v) => 8 * v.capacity(),
        }
    }

    /// Keep the first `n` values only.
    pub fn truncate(&mut self, n: usize) {
        match self {
            Self::Float(v) => v.truncate(n),
            Self::Integer(v) => v.truncate(n),
            Self::Boolean(v) => v.truncate(n),
            Self::String(v) => v.truncate(n),
            Self::Unsigned(v) => v.truncate(n),
        }
    }

    /// Remove the values at these positions. The bytes of strings go on taking memory.
    pub fn remove(&mut self, range: Range<usize>) {
        fn remove<T>(from: &mut Vec<T>, range: Range<usize>) {
            let end = range.end.min(from.len());
            from.drain(range.start.min(end)..end);
        }
        match self {
            Self::Float(v) => remove(v, range),
            Self::Integer(v) => remove(v, range),
            Self::Boolean(v) => remove(v, range),
            Self::String(v) => remove(&mut v.spans, range),
            Self::Unsigned(v) => remove(v, range),
        }
    }

    /// Append the value at position `i` of a column of the same type; whether there is one.
    pub fn push_from(&mut self, other: &Values, i: usize) -> bool {
        if i >= other.len() {
            return false;
        }
        match (self, other) {
            (Self::Float(out), Self::Float(v)) => out.push(v[i]),
            (Self::Integer(out), Self::Integer(v)) => out.push(v[i]),
            (Self::Boolean(out), Self::Boolean(v)) => out.push(v[i]),
            (Self::String(out), Self::String(v)) => out.push(v.get(i)),
            (Self::Unsigned(out), Self::Unsigned(v)) => out.push(v[i]),
            _ => return false,
        }
        true
    }

    /// Keep the values whose position `keep` answers with true. It is asked once for each, in order.
    pub fn retain(&mut self, keep: impl FnMut(usize) -> bool) {
        match self {
            Self::Float(v) => retain(v, keep),
            Self::Integer(v) => retain(v, keep),
            Self::Boolean(v) => retain(v, keep),
            Self::String(v) => v.retain(keep),
            Self::Unsigned(v) => retain(v, keep),
        }
    }

    /// Give back memory that holds nothing.
    pub fn shrink_to_fit(&mut self) {
        match self {
            Self::Float(v) => v.shrink_to_fit(),
            Self::Integer(v) => v.shrink_to_fit(),
            Self::Boolean(v) => v.shrink_to_fit(),
            Self::String(v) => v.shrink_to_fit(),
            Self::Unsigned(v) => v.shrink_to_fit(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Append some values of a column of the same type; of another type, or beyond its end, nothing.
    pub fn extend(&mut self, other: &Self, range: Range<usize>) {
        fn append<T: Copy>(to: &mut Vec<T>, from: &[T], range: Range<usize>) {
            to.extend_from_slice(from.get(range).unwrap_or_default());
        }
        match (self, other) {
            (Self::Float(to), Self::Float(from)) => append(to, from, range),
            (Self::Integer(to), Self::Integer(from)) => append(to, from, range),
            (Self::Boolean(to), Self::Boolean(from)) => append(to, from, range),
            (Self::String(to), Self::String(from)) => to.extend(from, range),
            (Self::Unsigned(to), Self::Unsigned(from)) => append(to, from, range),
            _ => debug_assert!(false, "columns of two types"),
        }
    }

    /// Forget all values, keep the memory.
    pub fn clear(&mut self) {
        match self {
            Self::Float(v) => v.clear(),
            Self::Integer(v) => v.clear(),
            Self::Boolean(v) => v.clear(),
            Self::String(v) => v.clear(),
            Self::Unsigned(v) => v.clear(),
        }
    }
}

fn retain<T>(values: &mut Vec<T>, mut keep: impl FnMut(usize) -> bool) {
    let mut positions = 0..;
    values.retain(|_| positions.next().is_some_and(&mut keep));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Strings {
        let mut strings = Strings::default();
        values.iter().for_each(|v| strings.push(v.as_bytes()));
        strings
    }

    #[test]
    fn strings_that_stay_keep_their_bytes() {
        let all = ["one", "", "three", "four", "5"];
        for mask in 0..32u32 {
            let kept: Vec<&str> = (0..5)
                .filter(|i| mask >> i & 1 == 1)
                .map(|i| all[i])
                .collect();
            let mut some = strings(&all);
            some.retain(|i| mask >> i & 1 == 1);
            assert_eq!(strings(&kept), some);
        }
    }

    #[test]
    fn strings_in_another_order_are_as_any_others() {
        let mut some = strings(&["one", "two", "", "four"]);
        some.arrange(&[3, 1, 2]);
        assert_eq!(strings(&["four", "two", ""]), some);
        let mut more = strings(&["x"]);
        more.extend(&some, 0..2);
        assert_eq!(strings(&["x", "four", "two"]), more);
        let mut less = some.clone();
        less.truncate(1);
        assert_eq!(strings(&["four"]), less);
        some.retain(|i| i != 1);
        assert_eq!(strings(&["four", ""]), some);
        some.push(b"five");
        assert_eq!(strings(&["four", "", "five"]), some);
    }

    #[test]
    fn an_open_string_goes_on_with_those_behind_it() {
        let some = strings(&["a", "bc", ""]);
        assert_eq!((&b"bc"[..], 2), some.open(1));
        assert_eq!((&b""[..], 0), some.open(2));
        assert_eq!(0, some.open(3).1);
    }

    #[test]
    fn the_first_strings_stay_when_the_rest_is_cut_off() {
        for n in 0..4 {
            let mut some = strings(&["a", "bc", ""]);
            some.truncate(n);
            assert_eq!(strings(&["a", "bc", ""][..n.min(3)]), some);
        }
    }

    #[test]
    fn values_that_are_removed_leave_the_others_in_their_order() {
        let numbers = |values: &[i64]| Values::Integer(values.to_vec());
        let texts = |values: &[&str]| Values::String(strings(values));
        for (range, left) in [(0..0, "abcd"), (1..3, "ad"), (2..9, "ab"), (0..4, "")] {
            let (mut n, mut s) = (numbers(&[0, 1, 2, 3]), texts(&["a", "b", "c", "d"]));
            n.remove(range.clone());
            s.remove(range);
            let kept: Vec<i64> = left.bytes().map(|c| i64::from(c - b'a')).collect();
            let text: Vec<String> = left.chars().map(String::from).collect();
            let text: Vec<&str> = text.iter().map(String::as_str).collect();
            assert_eq!((numbers(&kept), texts(&text)), (n, s));
        }
    }

    #[test]
    fn a_value_goes_to_a_column_of_its_type_only() {
        let from = Values::Integer(vec![7, 8]);
        let mut out = Values::new(Kind::Integer);
        assert!(out.push_from(&from, 1));
        assert!(!out.push_from(&from, 2));
        assert_eq!(Values::Integer(vec![8]), out);
        assert!(!Values::new(Kind::Unsigned).push_from(&from, 0));
    }

    #[test]
    fn strings_of_another_list_are_appended_by_position() {
        let mut from = Strings::default();
        [&b"ab"[..], b"", b"cde", b"f"]
            .into_iter()
            .for_each(|s| from.push(s));
        let mut to = Strings::default();
        to.push(b"x");
        to.extend(&from, 1..3);
        to.extend(&from, 0..1);
        to.extend(&from, 3..9);
        let all: Vec<_> = (0..to.len()).map(|i| to.get(i)).collect();
        assert_eq!(vec![&b"x"[..], b"", b"cde", b"ab"], all);
    }
}
