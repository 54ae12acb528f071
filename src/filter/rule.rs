//! How users spell what lp-filter looks for and what it renames.

use bstr::{BString, ByteSlice};
use regex::bytes::Regex;

use crate::lp::escape::{self, Place};
use crate::lp::glob::Glob;
use crate::lp::misfit;

/// `key=value`, `key!=value`, `key=~regex` or `key!~regex`.
#[derive(Clone, Debug)]
pub struct TagTest {
    /// The decoded tag key.
    pub key: BString,
    /// The test must fail.
    pub negated: bool,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Equal(BString),
    Match(Regex),
}

impl TagTest {
    /// Read a test as it is typed. `\=` and `\!` belong to the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (key, rest) = cut(text, |rest| {
            rest.starts_with('=') || rest.starts_with("!=") || rest.starts_with("!~")
        })
        .ok_or("is no test of a tag (key=value, key!=value, key=~regex, key!~regex)")?;
        if key.is_empty() {
            return Err("names no tag key".into());
        }
        let negated = rest.starts_with('!');
        let rest = rest.trim_start_matches('!');
        let wanted = match rest.strip_prefix("=~").or_else(|| rest.strip_prefix('~')) {
            Some(regex) => Wanted::Match(Regex::new(regex).map_err(|err| err.to_string())?),
            None => Wanted::Equal(rest.get(1..).unwrap_or_default().into()),
        };
        Ok(Self {
            key,
            negated,
            wanted,
        })
    }

    /// Whether the value of the tag, empty where it is missing, is the wanted one. Does not look at `negated`.
    pub fn matches(&self, value: &[u8]) -> bool {
        match &self.wanted {
            Wanted::Equal(wanted) => wanted == value,
            Wanted::Match(regex) => regex.is_match(value),
        }
    }
}

/// What is to be done to one name below the measurements that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRule {
    /// Which measurements, by decoded name.
    pub measurement: Glob,
    /// The decoded tag or field key.
    pub name: BString,
    /// What it becomes.
    pub new: BString,
}

impl NameRule {
    /// Read `MEASUREMENT.OLD=NEW`. A backslash takes `.`, `=` and pattern signs for what they are.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "is not MEASUREMENT.OLD=NEW (a dot in the measurement is spelled \\.)";
        let (old, new) = cut(text, |rest| rest.starts_with('=')).ok_or(FORM)?;
        let old_len = text.len() - new.len();
        let (measurement, name) =
            split_measurement(text.get(..old_len).unwrap_or_default()).ok_or(FORM)?;
        if old.is_empty() || new.len() < 2 {
            return Err(FORM.into());
        }
        Ok(Self {
            measurement,
            name,
            new: new[1..].into(),
        })
    }

    /// Read `MEASUREMENT.NAME`; there is nothing it becomes.
    pub fn parse_name(text: &str) -> Result<Self, String> {
        let (measurement, name) = split_measurement(text)
            .ok_or("is not MEASUREMENT.NAME (a dot in the measurement is spelled \\.)")?;
        Ok(Self {
            measurement,
            name,
            new: BString::default(),
        })
    }
}

/// Read `OLD=NEW`, a renamed measurement.
pub fn rename(text: &str) -> Result<(BString, BString), String> {
    let (old, new) = cut(text, |rest| rest.starts_with('=')).ok_or("is not OLD=NEW")?;
    let new: BString = new.get(1..).unwrap_or_default().into();
    if old.is_empty() {
        return Err("names no measurement".into());
    }
    spelled(Place::Measurement, &new)?;
    Ok((old, new))
}

/// Whether a name that a user gave can be written at all.
pub fn spelled(place: Place, name: &[u8]) -> Result<(), String> {
    let mut text = Vec::new();
    match place {
        Place::Field => {
            return misfit::field(name).map_or(Ok(()), |misfit| Err(misfit.to_string()));
        }
        Place::Measurement => escape::encode(place, name, &mut text),
        Place::Tag => {
            text.extend_from_slice(b"m,");
            escape::encode(place, name, &mut text);
            text.extend_from_slice(b"=v");
        }
    }
    match misfit::series(&text) {
        Some(misfit) => Err(misfit.to_string()),
        None if name.is_empty() => Err("is empty".into()),
        None => Ok(()),
    }
}

/// How a pattern that means this name alone is typed; `None` if no word of an option can hold it.
pub fn typed_pattern(name: &[u8]) -> Option<String> {
    let mut pattern = String::new();
    for c in typeable(name)?.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    Some(pattern)
}

/// How `MEASUREMENT.NAME` is typed, where the measurement is this one alone.
pub fn typed_place(measurement: &[u8], name: &[u8]) -> Option<String> {
    let measurement = typed_pattern(measurement)?
        .replace('.', "\\.")
        .replace('=', "\\=");
    let name = typed_name(name)?;
    // A backslash before the dot or the equals sign would take its meaning away.
    (!measurement.ends_with('\\')).then(|| format!("{measurement}.{name}"))
}

/// How a name before an equals sign is typed.
pub fn typed_name(name: &[u8]) -> Option<String> {
    let name = typeable(name)?;
    let typed = name
        .replace('=', "\\=")
        .replace('!', "\\!")
        .replace('.', "\\.");
    (!name.is_empty() && !name.ends_with('\\')).then_some(typed)
}

/// A name that can stand in a word on one line.
fn typeable(name: &[u8]) -> Option<&str> {
    let name = name.to_str().ok()?;
    (!name.contains(char::is_control)).then_some(name)
}

/// The pattern before the first dot and the name behind it.
fn split_measurement(text: &str) -> Option<(Glob, BString)> {
    let dot = (0..text.len()).find(|i| text.as_bytes()[*i] == b'.' && !is_escaped(text, *i))?;
    let (name, rest) = (unescape(&text[dot + 1..]), &text[..dot]);
    let pattern = rest.replace("\\.", ".").replace("\\=", "=");
    (!name.is_empty() && !rest.is_empty()).then(|| (Glob::new(pattern.as_bytes()), name))
}

/// The text before the first place that `at` likes and that is not escaped, unescaped; and what starts there.
fn cut(text: &str, at: impl Fn(&str) -> bool) -> Option<(BString, &str)> {
    let place = text
        .char_indices()
        .map(|(i, _)| i)
        .find(|i| at(&text[*i..]) && !is_escaped(text, *i))?;
    Some((unescape(&text[..place]), &text[place..]))
}

fn is_escaped(text: &str, at: usize) -> bool {
    text.as_bytes()[..at].ends_with(b"\\")
}

fn unescape(text: &str) -> BString {
    text.as_bytes()
        .replace("\\=", "=")
        .replace("\\!", "!")
        .replace("\\.", ".")
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tag_test_is_an_operator_between_key_and_value() {
        for (text, value, matches, negated) in [
            ("dc=eu", "eu", true, false),
            ("dc=eu", "us", false, false),
            ("dc!=eu", "eu", true, true),
            ("dc=~^e", "eu", true, false),
            ("dc!~^e", "us", false, true),
            ("dc=", "", true, false),
            ("dc=~(?i)EU\\d", "eu5", true, false),
        ] {
            let test = TagTest::parse(text).unwrap();
            assert_eq!(
                ("dc", matches, negated),
                (
                    test.key.to_str().unwrap(),
                    test.matches(value.as_bytes()),
                    test.negated
                ),
                "{text}"
            );
        }
        assert_eq!("a=b", TagTest::parse("a\\=b=c").unwrap().key);
        for bad in ["dc", "=x", "dc=~(", "!=x"] {
            assert!(TagTest::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_typed_for_a_name_reads_as_that_name_alone(
            measurement in "[ab.=!*?\\[\\]\\\\é -]{1,6}", name in "[ab.=!*?\\[\\]\\\\é -]{1,6}", other in "[ab.\\\\]{1,3}",
        ) {
            let (m, n) = (measurement.as_bytes(), name.as_bytes());
            let matches = |glob: &Glob| (glob.matches(m), other == measurement || !glob.matches(other.as_bytes()));
            prop_assert_eq!((true, true), matches(&Glob::new(typed_pattern(m).unwrap().as_bytes())));
            match typed_place(m, n) {
                Some(typed) => {
                    let rule = NameRule::parse(&format!("{typed}=new")).unwrap();
                    prop_assert_eq!((true, true), matches(&rule.measurement));
                    prop_assert_eq!((&name, "new"), (&rule.name.to_string(), &*rule.new.to_string()));
                    prop_assert_eq!(name, NameRule::parse_name(&typed).unwrap().name.to_string());
                }
                None => prop_assert!(measurement.ends_with('\\') || name.ends_with('\\')),
            }
            if let Some(typed) = typed_name(m) {
                prop_assert_eq!(measurement, rename(&format!("{typed}=new")).unwrap().0.to_string());
            }
        }
    }

    #[test]
    fn a_name_that_no_word_can_hold_is_not_typed() {
        for bad in [&b"a\nb"[..], b"a\tb", b"a\xff"] {
            assert_eq!(None, typed_pattern(bad));
            assert_eq!(None, typed_place(b"m", bad));
        }
        assert_eq!(None, typed_name(b""));
    }

    #[test]
    fn a_rename_names_measurement_old_and_new() {
        let rule = NameRule::parse("disk\\.io*.a.b=c=d").unwrap();
        assert!(rule.measurement.matches(b"disk.io2") && !rule.measurement.matches(b"diskxio"));
        assert_eq!(
            ("a.b", "c=d"),
            (rule.name.to_str().unwrap(), rule.new.to_str().unwrap())
        );
        for bad in ["old=new", "m.old", "m.=x", ".old=x", "m.old="] {
            assert!(NameRule::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(("a b".into(), "c".into()), rename("a b=c").unwrap());
        for bad in ["x", "=x", "x=", "x=#y", "x=y\\"] {
            assert!(rename(bad).is_err(), "{bad}");
        }
    }
}
