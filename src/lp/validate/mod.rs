//! Which records does a target refuse, and why?
//!
//! A record passes if the target stores it, and stores what it says. So it is refused where the target refuses
//! it, and also where the target takes it and stores something else, or keeps only a part of it:
//!
//! - bytes behind a closing quote and a carriage return at the end (E08, E16: 1.x and 2.x mix them into the value);
//! - bare separators in names (E04, E05), which InfluxDB 3 reads in its own way and Go servers refuse;
//! - floats beyond 64 bits (E10: infinity in InfluxDB 3); times that only InfluxDB 3 takes (E14);
//! - a field `time` (W04: dropped without a word); an empty field key behind a tab (E02);
//! - a line feed in a name without a backslash before it, and names that make the splitter of the servers look
//!   for the end of the record behind the next one (W09).
//!
//! What the target takes and understands passes, even if others would not: `1.` and tabs between the parts for
//! `v1` and `oss2`, two values of one type for one field where the last one wins, no time (unless one is required).
//!
//! A target stands for all servers of its kind: `v1` refuses 100 tags, which crash 1.x before 1.8.6, strings over
//! 1 MiB, which 1.9 and later refuse, and measurements and field keys that are no UTF-8, which 1.6 answers with
//! 500 once, with 204 from then on, and has lost after a restart; `serverless` refuses strings over 64 KiB.
//!
//! Names are read in the Go spelling, which is that of the stream, whatever the target. `lp-post` respells them
//! for InfluxDB 3 (`dialect`), so there they are refused only if they have no spelling. It also rewrites blanks
//! and floats; a validator that shall let them pass is made with [`Validator::respelled`].
//!
//! Blank records pass, and comments too unless they swallow records. Line feeds in strings (W12) and a byte order
//! mark (W14), which becomes part of the measurement, are taken by every target. What only many records together
//! show, such as a column with two types, is nothing that one record is refused for.

use super::dialect::{Name, Spelling, bare_float, not_utf8, odd_blank};
use super::escape::Place;
use super::record;

use fast::Plain;
use keys::{Key, Keys};
use lex::{Field, Lexer};
use value::Kind;

mod fast;
mod keys;
pub(crate) mod lex;
mod rule;
mod shape;
mod target;
pub(crate) mod value;

pub use fast::Known;
pub use rule::{Fault, Rule};
pub use target::{TableLimit, Target};

/// Checks records for one target.
#[derive(Clone, Debug)]
pub struct Validator {
    target: Target,
    require_time: bool,
    respelled: bool,
    plain: Plain,
    keys: Keys,
}

impl Validator {
    /// Checks records as they are; one without time passes.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            require_time: false,
            respelled: false,
            plain: Plain::default(),
            keys: Keys::default(),
        }
    }

    /// Refuse records without time.
    pub fn require_time(mut self) -> Self {
        self.require_time = true;
        self
    }

    /// Let pass what `dialect::to_v3` mends: floats such as `1.`, blanks that InfluxDB 3 does not take.
    pub fn respelled(mut self) -> Self {
        self.respelled = true;
        self
    }

    /// The target.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Whether the target stores what this record says. One record as the framer cuts it, line feed or not.
    pub fn check(&mut self, record: &[u8]) -> Result<(), Fault> {
        match self.known(record) {
            Some(_) => Ok(()),
            None => self.careful(record),
        }
    }

    /// What is known of a record that keeps the rules, if it is plain, or like the last one.
    ///
    /// Says no where it would take longer to find out: that is no verdict.
    pub fn known(&mut self, record: &[u8]) -> Option<Known> {
        self.plain.look(record::body(record))
    }

    /// What [`Self::check`] says of a record of which nothing is known: all rules, one after the other.
    #[cold]
    pub fn careful(&mut self, record: &[u8]) -> Result<(), Fault> {
        let text = record::body(record);
        match record::trim(text).first() {
            None => return Ok(()),
            Some(b'#') => return comment(record),
            Some(_) => {}
        }
        self.as_a_whole(text)?;
        let mut lexer = Lexer::new(text, Spelling::Go);
        self.keys.clear();
        self.series(text, &mut lexer)?;
        lexer.gap();
        let series = lexer.at();
        self.fields(text, &mut lexer)?;
        let time = lexer.time()?;
        if time.is_none() && self.require_time {
            return Err(Fault::new(
                Rule::W11,
                text.len(),
                "the record has no time, and the server would take its own clock",
            ));
        }
        match lexer.odd_blank {
            Some(at) if self.target.is_v3() && !self.respelled => return Err(odd_blank(at)),
            _ => {}
        }
        self.keys.check(text, self.target)?;
        lex::whole(record)?;
        if let Some(fields) = self.keys.fields() {
            self.plain.judged(text, series, fields);
        }
        Ok(())
    }

    fn as_a_whole(&self, text: &[u8]) -> Result<(), Fault> {
        let last = text.len().saturating_sub(1);
        match text.last() {
            Some(b'\r') => {
                return Err(Fault::new(
                    Rule::E16,
                    last,
                    "the record ends with a carriage return (take it away, but not inside strings: tr would)",
                ));
            }
            Some(b'\\') => {
                return Err(Fault::new(
                    Rule::E06,
                    last,
                    "the record ends with a backslash, which hides the line feed from the server",
                ));
            }
            _ => {}
        }
        match std::str::from_utf8(text) {
            Err(err) if self.target.is_v3() => Err(not_utf8(err.valid_up_to())),
            _ => Ok(()),
        }
    }

    fn series(&mut self, text: &[u8], lexer: &mut Lexer<'_>) -> Result<(), Fault> {
        let measurement = lexer.measurement()?;
        let start = measurement.start;
        let name = text.get(measurement.clone()).unwrap_or_default();
        let mut end = measurement.end;
        self.name(Place::Measurement, name, start)?;
        while let Some((key, value)) = lexer.tag()? {
            end = value.end;
            self.name(
                Place::Tag,
                text.get(key.clone()).unwrap_or_default(),
                key.start,
            )?;
            self.name(
                Place::Tag,
                text.get(value.clone()).unwrap_or_default(),
                value.start,
            )?;
            self.keys.push(Key::tag(key));
        }
        self.keys.series_len = end - start;
        Ok(())
    }

    /// Whether the target can read a name.
    fn name(&self, place: Place, raw: &[u8], at: usize) -> Result<(), Fault> {
        match self.target {
            Target::V1 if place != Place::Tag && std::str::from_utf8(raw).is_err() => {
                return Err(Fault::new(
                    Rule::W06,
                    at,
                    "the name is not UTF-8, and a 1.x server answers the whole request with status 500 (rename it)",
                ));
            }
            Target::V1 | Target::V2 => return Ok(()),
            Target::Serverless | Target::Core => {}
        }
        let name = Name::new(Spelling::Go, place, raw);
        if let Some((rule, i, what)) = name.misfit_v3() {
            return Err(Fault::new(rule, at + i, what));
        }
        let max = self.target.string_limit();
        if raw.len() > max && name.count() > max {
            return Err(Fault::new(
                Rule::E17,
                at,
                "the name is longer than the target allows",
            ));
        }
        Ok(())
    }

    fn fields(&mut self, text: &[u8], lexer: &mut Lexer<'_>) -> Result<(), Fault> {
        loop {
            let (field, last) = lexer.field()?;
            let key = text.get(field.key.clone()).unwrap_or_default();
            self.name(Place::Field, key, field.key.start)?;
            if !self.target.is_v3() && self.keys.series_len + key.len() > MAX_KEY {
                return Err(Fault::new(
                    Rule::E17,
                    field.key.start,
                    "series key and field key together are longer than 65531 bytes",
                ));
            }
            self.value(text, &field)?;
            self.keys.push(Key::field(field.key, field.kind));
            if last {
                return Ok(());
            }
        }
    }

    fn value(&self, text: &[u8], field: &Field) -> Result<(), Fault> {
        let at = field.value.start;
        match field.kind {
            Kind::Unsigned if !self.target.has_unsigned() => Err(Fault::new(
                Rule::W01,
                at,
                "1.x servers take no unsigned integer (cast it to an integer)",
            )),
            Kind::BareFloat if self.target.is_v3() && !self.respelled => Err(bare_float(at)),
            Kind::String if self.is_too_long(text.get(field.value.clone()).unwrap_or_default()) => {
                Err(Fault::new(
                    Rule::W10,
                    at,
                    "the string is longer than the target allows",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether a string, given with its quotes, is longer than the target stores.
    fn is_too_long(&self, quoted: &[u8]) -> bool {
        let max = self.target.string_limit();
        let raw = quoted.len().saturating_sub(2);
        raw > max && raw - escapes(quoted) > max
    }
}

/// The series key and the field key are stored as one, with four bytes between them, in 65,535 bytes.
const MAX_KEY: usize = 65_531;

/// How many bytes of a string only escape others.
fn escapes(quoted: &[u8]) -> usize {
    let (mut at, mut count) = (1, 0);
    while let Some(pair) = quoted.get(at..quoted.len() - 1) {
        match pair {
            [] => break,
            [b'\\', b'"' | b'\\', ..] => {
                count += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    count
}

/// Servers drop a comment with everything that their splitter takes for its rest.
fn comment(record: &[u8]) -> Result<(), Fault> {
    let at = match memchr::memchr(b'\n', record::body(record)) {
        Some(at) => at,
        None if !lex::is_whole(record) => record.len(),
        None => return Ok(()),
    };
    Err(Fault::new(
        Rule::W17,
        at,
        "the comment has an open quote behind a = or ends with a backslash, and what follows is dropped with it",
    ))
}

#[cfg(test)]
mod tests;
