//! The predicate: everything that is asked for must hold.

use crate::lp::escape::{self, Place};
use crate::lp::glob::Glob;
use crate::lp::record::{self, Time};

/// What to keep. Whatever is not asked for holds for every record.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Patterns for the decoded measurement; one of them must match, unless there is none.
    pub measurements: Vec<Glob>,
    /// The first nanosecond to keep.
    pub start: Option<i64>,
    /// The first nanosecond that is not kept any more.
    pub stop: Option<i64>,
    /// Keep what does not match instead.
    pub invert: bool,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is selected.
    Keep,
    /// It is not selected.
    Drop,
    /// What the selection asks for cannot be read, for this reason.
    Reject(&'static str),
}

/// Judges records one by one.
#[derive(Debug)]
pub struct Selector {
    selection: Selection,
    /// The measurement judged last, as spelled, and the verdict: the next record mostly has the same.
    last: Vec<u8>,
    last_matches: bool,
    name: Vec<u8>,
}

impl Selector {
    /// Judge by `selection`.
    pub fn new(selection: Selection) -> Self {
        let last_matches = matches_any(&selection.measurements, b"");
        Self {
            selection,
            last: Vec::new(),
            last_matches,
            name: Vec::new(),
        }
    }

    /// What becomes of one whole record.
    pub fn verdict(&mut self, record: &[u8]) -> Verdict {
        let matches = self.selection.measurements.is_empty() || self.measurement_matches(record);
        let matches = match matches && self.asks_for_time() {
            false => Ok(matches),
            true => self.time_matches(record),
        };
        match matches {
            Err(reason) => Verdict::Reject(reason),
            Ok(matches) if matches != self.selection.invert => Verdict::Keep,
            Ok(_) => Verdict::Drop,
        }
    }

    fn asks_for_time(&self) -> bool {
        self.selection.start.is_some() || self.selection.stop.is_some()
    }

    fn time_matches(&self, record: &[u8]) -> Result<bool, &'static str> {
        let Selection { start, stop, .. } = self.selection;
        match record::time(record) {
            Time::At(time) => {
                Ok(start.is_none_or(|start| start <= time) && stop.is_none_or(|stop| time < stop))
            }
            Time::Missing => Err("no timestamp, but a time is asked for"),
            Time::Invalid => Err("the timestamp is no 64-bit number"),
        }
    }

    fn measurement_matches(&mut self, record: &[u8]) -> bool {
        let raw = record::measurement(record);
        if raw != self.last {
            self.last.clear();
            self.last.extend_from_slice(raw);
            self.name.clear();
            escape::decode(Place::Measurement, raw, &mut self.name);
            self.last_matches = matches_any(&self.selection.measurements, &self.name);
        }
        self.last_matches
    }
}

fn matches_any(globs: &[Glob], name: &[u8]) -> bool {
    globs.iter().any(|glob| glob.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(
        measurements: &[&str],
        start: Option<i64>,
        stop: Option<i64>,
        invert: bool,
    ) -> Selector {
        let measurements = measurements
            .iter()
            .map(|text| Glob::new(text.as_bytes()))
            .collect();
        Selector::new(Selection {
            measurements,
            start,
            stop,
            invert,
        })
    }

    #[test]
    fn everything_that_is_asked_for_must_hold() {
        let mut selector = selector(&["cpu", "my m*"], Some(5), Some(8), false);
        for (record, expected) in [
            ("cpu v=1 5\n", Verdict::Keep),
            ("cpu v=1 7\n", Verdict::Keep),
            ("cpu v=1 8\n", Verdict::Drop),
            ("cpu v=1 4\n", Verdict::Drop),
            ("mem v=1 5\n", Verdict::Drop),
            ("my\\ mem,t=a v=1 5\n", Verdict::Keep),
        ] {
            assert_eq!(expected, selector.verdict(record.as_bytes()), "{record}");
        }
    }

    #[test]
    fn inversion_turns_the_whole_selection_round() {
        let mut selector = selector(&["cpu"], Some(5), None, true);
        assert_eq!(Verdict::Drop, selector.verdict(b"cpu v=1 5\n"));
        assert_eq!(Verdict::Keep, selector.verdict(b"cpu v=1 4\n"));
        assert_eq!(Verdict::Keep, selector.verdict(b"mem v=1 5\n"));
    }

    #[test]
    fn only_what_has_to_be_read_and_cannot_is_a_reject() {
        let mut selector = selector(&["cpu"], Some(5), None, false);
        assert!(matches!(selector.verdict(b"cpu v=1\n"), Verdict::Reject(_)));
        assert!(matches!(
            selector.verdict(b"cpu v=1 99999999999999999999\n"),
            Verdict::Reject(_)
        ));
        assert_eq!(Verdict::Drop, selector.verdict(b"mem v=1\n"));
    }
}
