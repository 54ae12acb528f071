//! The fields of the slice at work: their names and values, in memory that is used again.

use std::mem;

use crate::lp::escape::{self, Place};
use crate::rows::{Kind, Values};

/// Memory that the values of all lanes may keep from slice to slice.
const KEPT: usize = 2 << 20;

/// One field of a series, or all of it that has one type.
#[derive(Debug)]
pub struct Lane {
    /// Field key as stored.
    pub field: Vec<u8>,
    /// Field key as spelled, with its `=`.
    pub name: Vec<u8>,
    /// Its values.
    pub values: Values,
    /// The number of its times. They ascend strictly; lanes of the same field share no time.
    pub clock: usize,
}

impl Lane {
    fn new() -> Self {
        Self {
            field: Vec::new(),
            name: Vec::new(),
            values: Values::new(Kind::Float),
            clock: 0,
        }
    }
}

/// Lanes in the order of the fields, and what is left of those of slices before.
#[derive(Debug, Default)]
pub struct Lanes {
    all: Vec<Lane>,
    used: usize,
    /// Memory that the values of each keep, and of all together.
    kept: Vec<usize>,
    sum: usize,
}

impl Lanes {
    /// The lanes of the slice.
    pub fn used(&self) -> &[Lane] {
        self.all.get(..self.used).unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn used_mut(&mut self) -> &mut [Lane] {
        self.all.get_mut(..self.used).unwrap_or_default()
    }

    /// The values of the lane that may be added next: those that were put there, or are left of a slice before.
    pub fn values(&mut self) -> &mut Values {
        let next = self.used;
        if next == self.all.len() {
            self.all.push(Lane::new());
        }
        &mut self.all[next].values
    }

    /// Whether the lane that may be added next had this field in a slice before: then the field has a spelling.
    pub fn had(&self, field: &[u8]) -> bool {
        let next = self.all.get(self.used);
        next.is_some_and(|lane| lane.field == field && !lane.name.is_empty())
    }

    /// Add the lane with these values, those of a field that has a spelling.
    pub fn add(&mut self, field: &[u8], clock: usize) {
        let is_spelled = self.had(field);
        if let Some(lane) = self.all.get_mut(self.used) {
            if !is_spelled {
                lane.field.clear();
                lane.field.extend_from_slice(field);
                lane.name.clear();
                escape::encode(Place::Field, field, &mut lane.name);
                lane.name.push(b'=');
            }
            lane.clock = clock;
            self.used += 1;
        }
    }

    /// The slice is done with.
    pub fn clear(&mut self) {
        self.kept.resize(self.all.len(), 0);
        for (lane, kept) in self.all.iter().zip(&mut self.kept).take(self.used) {
            let now = lane.values.memory();
            self.sum += now;
            self.sum -= mem::replace(kept, now);
        }
        self.used = 0;
        if self.sum > KEPT {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_spelled_whatever_it_was_before() {
        let mut lanes = Lanes::default();
        for fields in [["a", "b c"], ["a", "b"], ["b c", "a"]] {
            for (clock, field) in fields.iter().enumerate() {
                lanes.values().clear();
                lanes.add(field.as_bytes(), clock);
            }
            let names = lanes.used().iter().map(|lane| lane.name.clone());
            let spelled =
                fields.map(|field| format!("{}=", field.replace(' ', "\\ ")).into_bytes());
            assert!(names.eq(spelled));
            lanes.clear();
        }
        assert!(lanes.used().is_empty());
    }

    #[test]
    fn a_lane_that_was_never_added_had_no_field() {
        let mut lanes = Lanes::default();
        lanes.values().clear();
        assert!(!lanes.had(b""));
        lanes.add(b"a", 0);
        lanes.clear();
        assert!(lanes.had(b"a") && !lanes.had(b""));
    }

    #[test]
    fn much_memory_is_given_back_whichever_lanes_have_it() {
        let mut lanes = Lanes::default();
        let mut slice = |wide: usize, n: usize| {
            for i in 0..10 {
                let n = if i == wide { n } else { 0 };
                match lanes.values() {
                    Values::Boolean(values) => values.resize(n, true),
                    values => *values = Values::Boolean(vec![true; n]),
                }
                lanes.add(b"f", 0);
            }
            lanes.clear();
            let memory = lanes.all.iter().map(|lane| lane.values.memory());
            memory.sum::<usize>()
        };
        let half = KEPT / 2;
        assert_eq!(half, slice(1, half));
        assert_eq!(2 * half, slice(2, half));
        assert_eq!(2 * half, slice(1, half));
        assert_eq!(0, slice(3, 1));
        assert_eq!(0, slice(3, 0));
        assert_eq!(0, slice(4, KEPT + 1));
    }
}
