//! One series, a slice of time: what `tsm` hands to `lp` and all that the two know of each other.

use std::fmt;

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

/// Byte strings one behind the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`; ascending.
    ends: Vec<usize>,
}

impl Strings {
    /// Append one string.
    pub fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.ends.push(self.bytes.len());
    }

    /// The string at position `i`; empty where there is none.
    pub fn get(&self, i: usize) -> &[u8] {
        let start = i
            .checked_sub(1)
            .and_then(|i| self.ends.get(i))
            .copied()
            .unwrap_or(0);
        let end = self.ends.get(i).copied().unwrap_or(start);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Make room for `strings` more strings of `bytes` bytes together.
    pub fn reserve(&mut self, strings: usize, bytes: usize) {
        self.ends.reserve(strings);
        self.bytes.reserve(bytes);
    }

    /// Keep the first `n` strings only.
    pub fn truncate(&mut self, n: usize) {
        self.ends.truncate(n);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// How many strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no string.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forget all strings, keep the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
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

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
