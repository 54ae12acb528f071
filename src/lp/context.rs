//! Comments that say what the points after them belong to: read, print, track.
//!
//! ```text
//! # CONTEXT-DATABASE:example-db
//! # CONTEXT-DATABASE*:a%22b        a value that the servers' splitter would trip over
//! ```
//!
//! The first two spellings are those of `influx_inspect export`, so that its output is a valid input.

use bstr::{BString, ByteSlice};

use super::Error;

/// What a context comment sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The database; clears all other context.
    Database(BString),
    /// The retention policy; clears period, shard and bucket.
    Policy(BString),
    /// The retention period in seconds; 0 is infinite.
    Period(u64),
    /// The shard's id.
    Shard(u64),
    /// The bucket to write to.
    Bucket(BString),
}

/// Everything that is known of a point besides its own bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The database it comes from.
    pub database: Option<BString>,
    /// The retention policy it comes from.
    pub policy: Option<BString>,
    /// How long its policy keeps points, in seconds; 0 is for ever.
    pub period: Option<u64>,
    /// The shard it comes from.
    pub shard: Option<u64>,
    /// The bucket it goes to.
    pub bucket: Option<BString>,
}

const PREFIX: &[u8] = b"# CONTEXT-";
const DATABASE: &str = "DATABASE";
const POLICY: &str = "RETENTION-POLICY";
const PERIOD: &str = "RETENTION-PERIOD";
const SHARD: &str = "SHARD";
const BUCKET: &str = "BUCKET";

impl Change {
    /// What an entry sets; `None` if it is no context comment.
    pub fn parse(entry: &[u8]) -> Result<Option<Self>, Error> {
        let line = entry.strip_suffix(b"\n").unwrap_or(entry);
        let Some((keyword, value)) = line
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once_str(":"))
        else {
            return Ok(None);
        };
        let bad = || Error::Comment(line.into());
        let (keyword, value) = match keyword.strip_suffix(b"*") {
            Some(keyword) => (keyword, decode(value).ok_or_else(bad)?),
            None => (keyword, value.into()),
        };
        let change = match keyword.to_str().unwrap_or_default() {
            DATABASE => Self::Database(value),
            POLICY => Self::Policy(value),
            PERIOD => {
                Self::Period(number(value.strip_suffix(b"s").ok_or_else(bad)?).ok_or_else(bad)?)
            }
            SHARD => Self::Shard(number(&value).ok_or_else(bad)?),
            BUCKET => Self::Bucket(value),
            _ => return Ok(None),
        };
        match &change {
            Self::Database(name) | Self::Policy(name) | Self::Bucket(name) if name.is_empty() => {
                Err(bad())
            }
            _ => Ok(Some(change)),
        }
    }

    /// Append the comment, line feed included.
    pub fn print(&self, out: &mut Vec<u8>) {
        match self {
            Self::Database(name) => print(DATABASE, name, out),
            Self::Policy(name) => print(POLICY, name, out),
            Self::Period(seconds) => print(PERIOD, format!("{seconds}s").as_bytes(), out),
            Self::Shard(id) => print(SHARD, id.to_string().as_bytes(), out),
            Self::Bucket(name) => print(BUCKET, name, out),
        }
    }
}

impl Context {
    /// The context after a comment.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Database(name) => {
                *self = Self {
                    database: Some(name),
                    ..Self::default()
                }
            }
            Change::Policy(name) => {
                *self = Self {
                    database: self.database.take(),
                    policy: Some(name),
                    ..Self::default()
                }
            }
            Change::Period(seconds) => self.period = Some(seconds),
            Change::Shard(id) => self.shard = Some(id),
            Change::Bucket(name) => self.bucket = Some(name),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `database/policy`, where both are known.
    pub fn path(&self) -> Option<BString> {
        let (database, policy) = (self.database.as_ref()?, self.policy.as_ref()?);
        Some([&database[..], b"/", policy].concat().into())
    }

    /// Append the comments that set this context from nothing.
    pub fn print(&self, out: &mut Vec<u8>) {
        let name = |name: &Option<BString>, change: fn(BString) -> Change| name.clone().map(change);
        let changes = [
            name(&self.database, Change::Database),
            name(&self.policy, Change::Policy),
            self.period.map(Change::Period),
            self.shard.map(Change::Shard),
            name(&self.bucket, Change::Bucket),
        ];
        changes
            .iter()
            .flatten()
            .for_each(|change| change.print(out));
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    // A sign is not part of the rule, though `parse` would take a plus.
    digits.first().filter(|c| c.is_ascii_digit())?;
    digits.to_str().ok()?.parse().ok()
}

fn print(keyword: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(PREFIX);
    out.extend_from_slice(keyword.as_bytes());
    if is_plain(value) {
        out.push(b':');
        out.extend_from_slice(value);
    } else {
        out.extend_from_slice(b"*:");
        encode(value, out);
    }
    out.push(b'\n');
}

/// Whether a value can stand in a comment as it is: servers run comments through their splitter too.
fn is_plain(value: &[u8]) -> bool {
    let outer = |c: Option<&u8>| c == Some(&b' ');
    !value.iter().any(|c| needs_code(*c)) && !outer(value.first()) && !outer(value.last())
}

fn needs_code(c: u8) -> bool {
    matches!(c, b'=' | b'"' | b'\\' | b'%') || c.is_ascii_control()
}

/// Append `value` percent-encoded, so that it is one harmless piece of a comment.
pub fn encode(value: &[u8], out: &mut Vec<u8>) {
    let last = value.len().wrapping_sub(1);
    for (i, &c) in value.iter().enumerate() {
        if needs_code(c) || (c == b' ' && (i == 0 || i == last)) {
            out.extend_from_slice(format!("%{c:02X}").as_bytes());
        } else {
            out.push(c);
        }
    }
}

/// The bytes that a percent-encoded text stands for; `None` if a `%` is not followed by two hex digits.
pub fn decode(text: &[u8]) -> Option<BString> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&c) = bytes.next() {
        if c != b'%' {
            out.push(c);
            continue;
        }
        let mut digit = || char::from(*bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push((high * 16 + low) as u8);
    }
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(change: &Change) -> BString {
        let mut out = Vec::new();
        change.print(&mut out);
        out.into()
    }

    #[test]
    fn reads_what_influx_inspect_writes() {
        let read = Change::parse(b"# CONTEXT-DATABASE:my db, 100%\n").unwrap();
        assert_eq!(Some(Change::Database("my db, 100%".into())), read);
        assert_eq!(None, Change::parse(b"# writing tsm data\n").unwrap());
        assert_eq!(None, Change::parse(b"# CONTEXT-COLOUR:red\n").unwrap());
    }

    #[test]
    fn encodes_what_a_splitter_would_trip_over() {
        assert_eq!(
            "# CONTEXT-DATABASE*:a%22b\n",
            printed(&Change::Database("a\"b".into()))
        );
        assert_eq!(
            "# CONTEXT-BUCKET:a/b c\n",
            printed(&Change::Bucket("a/b c".into()))
        );
        assert_eq!(
            "# CONTEXT-BUCKET*:%20a%25%20\n",
            printed(&Change::Bucket(" a% ".into()))
        );
        assert_eq!(
            "# CONTEXT-RETENTION-PERIOD:0s\n",
            printed(&Change::Period(0))
        );
    }

    #[test]
    fn a_comment_that_cannot_be_read_is_an_error() {
        for bad in [
            "# CONTEXT-DATABASE:",
            "# CONTEXT-SHARD:x",
            "# CONTEXT-SHARD:+1",
            "# CONTEXT-BUCKET*:%2",
        ] {
            assert!(Change::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_database_clears_all_and_a_new_policy_what_belongs_to_the_old_one() {
        let mut context = Context::default();
        let all = [
            Change::Database("d".into()),
            Change::Policy("p".into()),
            Change::Period(5),
            Change::Shard(7),
            Change::Bucket("b".into()),
        ];
        all.into_iter().for_each(|change| context.apply(change));
        context.apply(Change::Policy("q".into()));
        assert_eq!(Some("d/q".into()), context.path());
        assert_eq!(
            (None, None, None),
            (context.period, context.shard, context.bucket.clone())
        );
        context.apply(Change::Database("e".into()));
        assert_eq!(None, context.policy);
    }

    proptest! {
        #[test]
        fn every_name_survives_its_comment(name in proptest::collection::vec(any::<u8>(), 1..20)) {
            let change = Change::Policy(name.into());
            let text = printed(&change);
            prop_assert_eq!(1, text.iter().filter(|c| **c == b'\n').count());
            prop_assert_eq!(Some(text.len()), crate::lp::frame::Framer::default().end(&text).map(|end| end.len));
            prop_assert_eq!(Some(change), Change::parse(&text).unwrap());
        }
    }
}
