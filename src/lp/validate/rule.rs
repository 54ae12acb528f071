//! Which rule does a record break, and where?

use std::fmt;

/// A rule of the validator: `E` holds for every target, `W` depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A measurement.
    E01,
    /// At least one field, each with key and value.
    E02,
    /// Tags with key, `=` and value.
    E03,
    /// No bare `,` or space in a tag key, no bare `=` in a tag value behind its first byte.
    E04,
    /// No bare `,` or space in a field key, no comma too many.
    E05,
    /// Neither a name nor the record ends with a backslash.
    E06,
    /// Strings are closed.
    E07,
    /// Nothing but `,`, a space or the end behind a string.
    E08,
    /// Numbers as the target reads them.
    E09,
    /// Floats are finite.
    E10,
    /// Integers fit into 64 bits.
    E11,
    /// Booleans in one of the ten spellings.
    E12,
    /// A time is digits, perhaps after a minus, and nothing but spaces follow.
    E13,
    /// The time can be stored.
    E14,
    /// Each tag key once.
    E15,
    /// No carriage return at the end.
    E16,
    /// Names are not too long.
    E17,
    /// Unsigned values.
    W01,
    /// The tag keys `time` and such.
    W02,
    /// The tag keys that 2.x keeps for itself.
    W03,
    /// The field keys `time` and such.
    W04,
    /// Each field key once, or at least with one type.
    W05,
    /// UTF-8.
    W06,
    /// Control bytes in names.
    W07,
    /// Blanks where InfluxDB 3 takes none.
    W08,
    /// Names that have a spelling.
    W09,
    /// Strings are not too long.
    W10,
    /// A time.
    W11,
    /// A key is a tag or a field.
    W13,
    /// Not a hundred tags, or two hundred, or four.
    W15,
    /// Not more columns than a table may have.
    W16,
    /// Comments that swallow what follows.
    W17,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {what}")]
pub struct Fault {
    /// The rule that is broken.
    pub rule: Rule,
    /// Where, as an offset into the record.
    pub at: usize,
    /// What is wrong and, where there is something, what to do.
    pub what: &'static str,
}

impl Fault {
    pub(crate) fn new(rule: Rule, at: usize, what: &'static str) -> Self {
        Self { rule, at, what }
    }
}
