//! What is known of the next record from one that was fine: its series and keys, where they are the same again.
//!
//! Exports print a series, or at least a measurement, with the same keys again and again. Keys of which none is
//! reserved and no two are the same are still so when some of them are left out.
//!
//! A series that is not plain is judged by the rules once, and then it is the fields that have to be plain.

use super::fast::{is_ordinary, is_text, key, name, time, value};
use super::lex::in_pairs;

/// A record that was fine, and where its parts are.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// The record up to the last field key; empty if there is none.
    text: Vec<u8>,
    /// Where its fields begin.
    series: usize,
    /// Whether it was plain all over; otherwise that is only known of its field keys.
    is_plain: bool,
    tags: Vec<Span>,
    fields: Vec<Span>,
}

/// Start and end of a key.
pub(super) type Span = (usize, usize);

/// Longer records are not remembered.
const MAX_TEXT: usize = 8 << 10;
/// So few that no table is too narrow.
const MAX_KEYS: usize = 64;
/// So few that comparing each with each costs little.
const FEW_KEYS: usize = 24;

impl Shape {
    /// How many bytes stand before the fields of such records, if these may not be plain.
    pub(super) fn odd_series(&self) -> Option<usize> {
        (!self.is_plain).then_some(self.series)
    }

    /// The time of a record of the same series, with the same field keys or some of them, if its fields are plain.
    pub(super) fn of_series(&self, text: &[u8]) -> Option<i64> {
        let series = self.text.get(..self.series)?;
        if series.is_empty() || !text.starts_with(series) {
            return None;
        }
        let time = self.fields(text, self.series)?;
        is_text(text.get(self.series..)?).then_some(time)
    }

    /// The time of a record of the same measurement, with the same tag and field keys or some of them, if it is plain.
    pub(super) fn of_measurement(&self, text: &[u8]) -> Option<i64> {
        let first = self.tags.first().filter(|_| self.is_plain)?;
        let measurement = self.text.get(..first.0)?;
        if !text.starts_with(measurement) {
            return None;
        }
        let mut at = measurement.len();
        let mut tags = self.tags.iter();
        loop {
            at = name(text, self.known(&mut tags, text, at)?, b", =")?;
            match text.get(at)? {
                b',' => at += 1,
                b' ' => break,
                _ => return None,
            }
        }
        let time = self.fields(text, at + 1)?;
        is_text(text).then_some(time)
    }

    /// The time of a record whose fields begin at `at`.
    fn fields(&self, text: &[u8], mut at: usize) -> Option<i64> {
        let mut fields = self.fields.iter();
        loop {
            at = value(text, self.known(&mut fields, text, at)?)?;
            match text.get(at)? {
                b',' => at += 1,
                b' ' => return time(text.get(at + 1..)?),
                _ => return None,
            }
        }
    }

    /// Behind the `=` of the key at `at`, which is one of these or one behind them.
    fn known(
        &self,
        keys: &mut std::slice::Iter<'_, Span>,
        text: &[u8],
        at: usize,
    ) -> Option<usize> {
        let rest = text.get(at..)?;
        keys.find_map(|(start, end)| {
            let key = self.text.get(*start..=*end)?;
            rest.starts_with(key).then_some(at + key.len())
        })
    }

    /// The time of a record if it is plain, whatever it looks like; it is remembered then.
    pub(super) fn learn(&mut self, text: &[u8]) -> Option<i64> {
        self.text.clear();
        let time = self.scan(text)?;
        if !self.are_distinct(text) || !is_text(text) {
            return None;
        }
        self.is_plain = true;
        self.remember(text);
        Some(time)
    }

    /// Remember a record that keeps all rules. Its fields begin at `series`, their keys are `fields`.
    pub(super) fn judged(
        &mut self,
        text: &[u8],
        series: usize,
        fields: impl Iterator<Item = Span>,
    ) {
        self.text.clear();
        self.series = series;
        self.tags.clear();
        self.fields.clear();
        self.fields.extend(fields);
        self.is_plain = false;
        // Servers have to find the end of the series at the same space, or quotes behind it would not be strings.
        if in_pairs(text, |c| c == b' ') + 1 == series && self.are_ordinary(text) {
            self.remember(text);
        }
    }

    /// Whether the field keys are few, distinct, and stand for themselves.
    fn are_ordinary(&self, text: &[u8]) -> bool {
        let keys = self
            .fields
            .iter()
            .map(|(start, end)| text.get(*start..*end));
        self.fields.len() <= FEW_KEYS
            && keys.enumerate().all(|(i, key)| {
                let mut before = self.fields.iter().take(i);
                key.is_some_and(is_ordinary)
                    && before.all(|(start, end)| text.get(*start..*end) != key)
            })
    }

    /// All up to the last key.
    fn remember(&mut self, text: &[u8]) {
        let head = self.fields.last().and_then(|last| text.get(..=last.1));
        if let Some(head) = head.filter(|head| head.len() <= MAX_TEXT) {
            self.text.extend_from_slice(head);
        }
    }

    fn scan(&mut self, text: &[u8]) -> Option<i64> {
        if text.first() == Some(&b'#') {
            return None;
        }
        self.tags.clear();
        let mut at = name(text, 0, b", ")?;
        while text.get(at) == Some(&b',') {
            at = self.tag(text, at + 1)?;
        }
        if text.get(at) != Some(&b' ') {
            return None;
        }
        self.series = at + 1;
        self.fields.clear();
        loop {
            at = self.field(text, at + 1)?;
            match text.get(at)? {
                b',' => {}
                b' ' => return time(text.get(at + 1..)?),
                _ => return None,
            }
        }
    }

    fn tag(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let end = key(text, start)?;
        self.tags.push((start, end));
        name(text, end + 1, b", =")
    }

    fn field(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let end = key(text, start)?;
        self.fields.push((start, end));
        value(text, end + 1)
    }

    fn are_distinct(&self, text: &[u8]) -> bool {
        let raw = |span: &Span| text.get(span.0..span.1);
        let ordered = |keys: &[Span]| keys.is_sorted_by(|a, b| raw(a) < raw(b));
        let count = self.tags.len() + self.fields.len();
        if ordered(&self.tags) && ordered(&self.fields) {
            let mut tags = self.tags.iter().map(raw).peekable();
            return count <= MAX_KEYS
                && self.fields.iter().map(raw).all(|field| {
                    while tags.next_if(|tag| *tag < field).is_some() {}
                    tags.peek() != Some(&field)
                });
        }
        let keys = || self.tags.iter().chain(&self.fields).map(raw);
        count <= FEW_KEYS
            && keys()
                .enumerate()
                .all(|(i, key)| keys().take(i).all(|other| other != key))
    }
}
