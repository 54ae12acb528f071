//! Columns that take no values of some type: what a refusal says of them, and which records it holds for as well.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bstr::{BStr, BString, ByteSlice};

use crate::lp::escape::{Place, decode};
use crate::lp::record;

/// Columns that are remembered; more than a schema that somebody looks after ever gets wrong.
const MOST: usize = 1000;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// 64-bit floating point.
    Float,
    /// Signed 64-bit integer.
    Integer,
    /// Unsigned 64-bit integer.
    Unsigned,
    /// Text.
    String,
    /// True or false.
    Boolean,
    /// Not a field at all.
    Tag,
}

impl Kind {
    /// The kind that servers call so, alone or at the end of a path: `iox::column_type::field::integer`.
    fn named(name: &str) -> Option<Self> {
        let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        Some(match name.rsplit("::").next()? {
            "float" => Self::Float,
            "integer" => Self::Integer,
            "uinteger" | "unsigned" => Self::Unsigned,
            "string" => Self::String,
            "boolean" => Self::Boolean,
            "tag" => Self::Tag,
            _ => return None,
        })
    }

    /// The kind of a value as it is spelled.
    fn of(value: &[u8]) -> Self {
        match (value.first(), value.last()) {
            (Some(b'"'), _) => Self::String,
            (Some(b't' | b'T' | b'f' | b'F'), _) => Self::Boolean,
            (_, Some(b'i')) => Self::Integer,
            (_, Some(b'u')) => Self::Unsigned,
            _ => Self::Float,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::Tag => "tag",
        })
    }
}

/// A column and the kind of values that it refuses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    /// The bucket it is in.
    pub bucket: String,
    /// The measurement, decoded.
    pub measurement: BString,
    /// The field, decoded.
    pub field: BString,
    /// What it refuses.
    pub refuses: Kind,
}

/// What a refusal says: the field, what came, and what the column holds.
fn read(reason: &str) -> Option<(&str, Kind, Kind)> {
    let between = |from: &str, to: &str| {
        let rest = reason.split_once(from)?.1;
        Some(rest.split_once(to).map_or(rest, |(text, _)| text))
    };
    if let Some(name) = between(" type into column ", " with type ") {
        let came = between("insert ", " type into column ")?;
        let holds = reason.rsplit_once(" with type ")?.1;
        return Some((name, Kind::named(came)?, Kind::named(first_word(holds))?));
    }
    if let Some(name) = between("invalid column type for column '", "', expected ") {
        let holds = between("', expected ", ", got ")?;
        let came = reason.rsplit_once(", got ")?.1;
        return Some((name, Kind::named(first_word(came))?, Kind::named(holds)?));
    }
    let name = between("input field \"", "\" on measurement \"")?;
    let came = between("\" is type ", ", already exists as type ")?;
    let holds = reason.rsplit_once(", already exists as type ")?.1;
    Some((name, Kind::named(came)?, Kind::named(first_word(holds))?))
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// What refusals have said so far.
#[derive(Debug, Default)]
pub struct Columns {
    /// Each with what it holds and how many records were rejected for it.
    known: Mutex<BTreeMap<Column, (Kind, u64)>>,
    /// Whether there is any: asked for every batch.
    any: AtomicBool,
}

impl Columns {
    /// Remember what `reason` says of a record, if it names a column and a type, and the record has both.
    pub fn learn(&self, bucket: &str, record: &[u8], reason: &str) {
        let Some((name, came, holds)) = read(reason) else {
            return;
        };
        let parts = record::parts(record);
        // Servers print the name as it is or as it was spelled; the record decides.
        let mut found = record::fields(parts.fields).filter_map(Result::ok);
        let Some((spelled, _)) =
            found.find(|(key, value)| Kind::of(value) == came && is_called(key, name))
        else {
            return;
        };
        let column = Column {
            bucket: bucket.to_owned(),
            measurement: decoded(Place::Measurement, record::measurement(record)),
            field: decoded(Place::Field, spelled),
            refuses: came,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST || known.contains_key(&column) {
            known.entry(column).or_insert((holds, 0)).1 += 1;
            self.any.store(true, Ordering::Release);
        }
    }

    /// Whether anything is known.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Why a record need not be sent: a column that it has values for refuses them. Counts it.
    pub fn refuse(&self, bucket: &str, record: &[u8]) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = record::parts(record);
        let measurement = decoded(Place::Measurement, record::measurement(record));
        for (key, value) in record::fields(parts.fields).filter_map(Result::ok) {
            let column = Column {
                bucket: bucket.to_owned(),
                measurement: measurement.clone(),
                field: decoded(Place::Field, key),
                refuses: Kind::of(value),
            };
            if let Some((holds, n)) = known.get_mut(&column) {
                *n += 1;
                let (field, refuses) = (column.field, column.refuses);
                return Some(format!(
                    "field {field} is {refuses} and the column is {holds}, as the server has said before"
                ));
            }
        }
        None
    }

    /// What was learned, and the option of lp-filter that mends it; one sentence a column.
    pub fn advice(&self) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .map(|(column, (holds, n))| {
                let (bucket, came) = (&column.bucket, column.refuses);
                let name = format!("{}.{}", BStr::new(&column.measurement), BStr::new(&column.field));
                let mend = match holds {
                    Kind::Tag => format!("--rename-field {name}={}_field", column.field),
                    _ => format!("--cast {name}={holds}"),
                };
                format!(
                    "{n} rejected: {name} is {came} here and {holds} in bucket {bucket} (lp-filter {mend} mends it)"
                )
            })
            .collect()
    }
}

fn decoded(place: Place, spelled: &[u8]) -> BString {
    let mut name = Vec::new();
    decode(place, spelled, &mut name);
    name.into()
}

fn is_called(spelled: &[u8], name: &str) -> bool {
    spelled == name.as_bytes() || decoded(Place::Field, spelled).as_bytes() == name.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVERLESS: &str = "Unable to insert iox::column_type::field::integer type into column temp with type iox::column_type::field::string";
    const CORE: &str = "invalid column type for column 'temp', expected iox::column_type::field::string, got iox::column_type::field::integer";
    const OLD: &str = "failure writing points to database: partial write: field type conflict: input field \"temp\" on measurement \"m\" is type integer, already exists as type string dropped=1";

    #[test]
    fn refusals_of_all_servers_name_column_and_types() {
        for reason in [SERVERLESS, CORE, OLD] {
            assert_eq!(Some(("temp", Kind::Integer, Kind::String)), read(reason));
        }
        assert_eq!(
            None,
            read("partial write: points beyond retention policy dropped=1")
        );
        assert_eq!(
            None,
            read("Unable to insert x type into column y with type z")
        );
    }

    #[test]
    fn records_of_the_kind_are_known_and_others_are_not() {
        let columns = Columns::default();
        columns.learn("b", b"m,t=a temp=1i,v=2 5\n", SERVERLESS);
        assert!(columns.any());
        assert!(columns.refuse("b", b"m,t=z u=1,temp=7i 9\n").is_some());
        for other in [
            "m temp=7 9\n",
            "m temp=\"i\" 9\n",
            "n temp=7i 9\n",
            "m,temp=7i u=1i 9\n",
        ] {
            assert_eq!(None, columns.refuse("b", other.as_bytes()), "{other}");
        }
        assert_eq!(None, columns.refuse("c", b"m temp=7i 9\n"));
        assert_eq!(
            vec![
                "2 rejected: m.temp is integer here and string in bucket b (lp-filter --cast m.temp=string mends it)"
            ],
            columns.advice()
        );
    }

    #[test]
    fn what_the_record_does_not_hold_is_not_believed() {
        let columns = Columns::default();
        columns.learn("b", b"m temp=1 5\n", SERVERLESS);
        columns.learn("b", b"m other=1i 5\n", SERVERLESS);
        columns.learn("b", b"m temp=1i 5\n", "no");
        assert!(!columns.any());
    }

    #[test]
    fn a_name_is_known_however_it_is_spelled() {
        let columns = Columns::default();
        let reason = SERVERLESS.replace("temp", "a b");
        columns.learn("b", b"m a\\ b=1i 5\n", &reason);
        assert!(columns.refuse("b", b"m a\\ b=2i 5\n").is_some());
    }
}
