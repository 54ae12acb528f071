//! Do the keys of one record go together, and is none of them one that the target keeps for itself?

use std::cmp::Ordering;
use std::ops::Range;

use super::value::Kind;
use super::{Fault, Rule, Target};
use crate::lp::dialect::{Name, Spelling};
use crate::lp::escape::Place;

/// The keys of a record in their order, tags first. Used again for the next record.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    all: Vec<Key>,
    /// How many bytes measurement and tags have as they are spelled.
    pub(super) series_len: usize,
}

/// Where a key stands, and what it is the key of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) start: usize,
    pub(super) end: usize,
    /// `None` for a tag.
    kind: Option<Kind>,
}

impl Key {
    pub(super) fn tag(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
            kind: None,
        }
    }

    pub(super) fn field(range: Range<usize>, kind: Kind) -> Self {
        Self {
            start: range.start,
            end: range.end,
            kind: Some(kind),
        }
    }

    fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }

    fn name<'a>(&self, text: &'a [u8]) -> Name<'a> {
        let place = self.kind.map_or(Place::Tag, |_| Place::Field);
        Name::new(Spelling::Go, place, self.raw(text))
    }
}

/// Up to here every key is compared with every other one, which is faster than sorting.
const FEW: usize = 24;

impl Keys {
    pub(super) fn clear(&mut self) {
        self.all.clear();
    }

    pub(super) fn push(&mut self, key: Key) {
        self.all.push(key);
    }

    /// Where the field keys are, in the order of the record, unless there are too many to have kept it.
    pub(super) fn fields(&self) -> Option<impl Iterator<Item = (usize, usize)>> {
        let fields = self.all.iter().filter(|key| key.kind.is_some());
        (self.all.len() <= FEW).then(|| fields.map(|key| (key.start, key.end)))
    }

    pub(super) fn check(&mut self, text: &[u8], target: Target) -> Result<(), Fault> {
        let tags = self.all.iter().filter(|key| key.kind.is_none()).count();
        if target == Target::V1 && tags % 100 == 0 && (tags / 100).is_power_of_two() {
            return Err(Fault::new(
                Rule::W15,
                0,
                "exactly 100, 200, 400 or so tags crash 1.x servers before 1.8.6, and the whole request is lost",
            ));
        }
        for key in &self.all {
            reserved(key, text, target)?;
        }
        if self.all.len() <= FEW {
            return self.pairs(text, target);
        }
        self.sorted(text, target)
    }

    fn pairs(&self, text: &[u8], target: Target) -> Result<(), Fault> {
        for (i, second) in self.all.iter().enumerate() {
            for first in self.all.iter().take(i) {
                if first.name(text).is(second.name(text)) {
                    clash(first, second, target)?;
                }
            }
        }
        Ok(())
    }

    fn sorted(&mut self, text: &[u8], target: Target) -> Result<(), Fault> {
        let order = |a: &Key, b: &Key| match a.name(text).cmp(b.name(text)) {
            Ordering::Equal => a.start.cmp(&b.start),
            order => order,
        };
        self.all.sort_unstable_by(order);
        let mut columns = self.all.len();
        for (first, second) in self.all.iter().zip(self.all.iter().skip(1)) {
            if first.name(text).is(second.name(text)) {
                clash(first, second, target)?;
                columns -= 1;
            }
        }
        if columns > target.column_limit() {
            return Err(Fault::new(
                Rule::W16,
                0,
                "the record has more tags and fields than a table of the target can have columns",
            ));
        }
        Ok(())
    }
}

/// A key that the target does not store under its name.
fn reserved(key: &Key, text: &[u8], target: Target) -> Result<(), Fault> {
    match reserved_name(key.raw(text), key.kind.is_none(), target) {
        Some((rule, what)) => Err(Fault::new(rule, key.start, what)),
        None => Ok(()),
    }
}

/// Why the target does not store a tag or a field under this name.
pub(super) fn reserved_name(
    name: &[u8],
    is_tag: bool,
    target: Target,
) -> Option<(Rule, &'static str)> {
    Some(match name {
        b"time" if is_tag => (Rule::W02, "a tag cannot be called time (rename it)"),
        b"time" => (
            Rule::W04,
            "a field called time is dropped or refused (rename it)",
        ),
        b"_field" | b"_measurement" | b"\0" | b"\xff" if is_tag && target == Target::V2 => (
            Rule::W03,
            "2.x servers keep this tag key for themselves (rename it)",
        ),
        b"__chunk_order" if target == Target::Core => {
            let rule = if is_tag { Rule::W02 } else { Rule::W04 };
            (rule, "InfluxDB 3 keeps this name for itself (rename it)")
        }
        _ => return None,
    })
}

/// Two keys with the same name.
fn clash(first: &Key, second: &Key, target: Target) -> Result<(), Fault> {
    let (rule, what) = match (first.kind, second.kind) {
        (None, None) => (Rule::E15, "the tag key stands there twice"),
        (Some(a), Some(b)) if !a.same_type(b) => (
            Rule::W05,
            "the field key stands there twice, with two types",
        ),
        (Some(_), Some(_)) if target == Target::Core => {
            (Rule::W05, "the field key stands there twice")
        }
        (None, Some(_)) | (Some(_), None) if target.is_v3() => (
            Rule::W13,
            "tag and field have the same name, which InfluxDB 3 cannot store (rename one)",
        ),
        _ => return Ok(()),
    };
    Err(Fault::new(rule, second.start, what))
}
