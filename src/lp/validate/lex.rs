//! Where do the parts of one record begin and end? Strictly: what servers read in different ways is a fault.
//!
//! The Go servers look at a record with several scanners that disagree about backslashes (`models/points.go`):
//! measurement and tags look one byte back, the fields take pairs, and a key is cut from its value by looking
//! back again. InfluxDB 3 takes pairs everywhere. Here a record has parts only where all of them agree.

use std::ops::Range;

use memchr::{memchr2, memchr3};

use super::value::{self, Kind};
use super::{Fault, Rule};
use crate::lp::dialect::Spelling;
use crate::lp::frame::Framer;

/// A position in a record, moved forward part by part: blanks, measurement, tags, fields, time.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    spelling: Spelling,
    /// The first blank that InfluxDB 3 does not take for one.
    pub(crate) odd_blank: Option<usize>,
}

/// One tag: where its key and its value are.
pub(crate) type Tag = (Range<usize>, Range<usize>);

/// One field: where its key and its value are, and the type of the value.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) key: Range<usize>,
    pub(crate) value: Range<usize>,
    pub(crate) kind: Kind,
}

impl<'a> Lexer<'a> {
    /// At the start of a record without its line feed; blanks before it are passed over.
    pub(crate) fn new(text: &'a [u8], spelling: Spelling) -> Self {
        let mut lexer = Self {
            text,
            at: 0,
            spelling,
            odd_blank: None,
        };
        while let Some(c @ (b' ' | b'\t' | 0)) = lexer.peek() {
            if c == 0 {
                lexer.odd_blank.get_or_insert(lexer.at);
            }
            lexer.at += 1;
        }
        lexer
    }

    /// The measurement as it is spelled.
    pub(crate) fn measurement(&mut self) -> Result<Range<usize>, Fault> {
        if matches!(self.peek(), None | Some(b',')) {
            return Err(self.fault(Rule::E01, "the measurement is missing"));
        }
        let name = self.name(|c| matches!(c, b',' | b' '));
        if self.peek().is_none() {
            return Err(self.fault(
                Rule::E02,
                "the record has no fields (a space stands before them)",
            ));
        }
        let nul = bare(0, self.text.get(name.clone()).unwrap_or_default());
        match nul.filter(|_| self.spelling == Spelling::V3) {
            Some(at) => Err(Fault::new(
                Rule::W07,
                name.start + at,
                "the measurement holds a NUL, which InfluxDB 3 cannot read (rename it)",
            )),
            None => self.checked(name),
        }
    }

    /// The next tag; `None` at the space before the fields.
    pub(crate) fn tag(&mut self) -> Result<Option<Tag>, Fault> {
        if self.peek() != Some(b',') {
            return Ok(None);
        }
        self.at += 1;
        if matches!(self.peek(), None | Some(b',' | b' ' | b'=')) {
            return Err(self.fault(Rule::E03, "the tag key is empty"));
        }
        let key = self.name(|c| matches!(c, b',' | b' ' | b'='));
        match self.peek() {
            Some(b'=') => self.at += 1,
            None => return Err(self.fault(Rule::E03, "the tag has no =")),
            Some(_) => {
                return Err(self.fault(
                    Rule::E04,
                    "the tag key holds a comma or a space (spell it with a backslash before), or the tag has no =",
                ));
            }
        }
        let key = self.checked(key)?;
        Ok(Some((key, self.tag_value()?)))
    }

    fn tag_value(&mut self) -> Result<Range<usize>, Fault> {
        if matches!(self.peek(), None | Some(b',' | b' ')) {
            return Err(self.fault(Rule::E03, "the tag value is empty (leave the tag out)"));
        }
        // InfluxDB 3 reads on over an equals sign; Go takes one only as the first byte.
        let value = match self.spelling {
            Spelling::Go => self.name(|c| matches!(c, b',' | b' ' | b'=')),
            Spelling::V3 => self.name(|c| matches!(c, b',' | b' ')),
        };
        match self.peek() {
            Some(b'=') => Err(self.fault(
                Rule::E04,
                "the tag value holds an equals sign (spell it with a backslash before)",
            )),
            None => Err(self.fault(Rule::E02, "the record has no fields")),
            Some(_) => self.checked(value),
        }
    }

    /// A name from here to the first byte that ends it and is not escaped, or to the end.
    fn name(&mut self, ends: impl Fn(u8) -> bool) -> Range<usize> {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        self.at += match self.spelling {
            Spelling::Go => behind_one_byte(rest, ends),
            Spelling::V3 => in_pairs(rest, ends),
        };
        start..self.at
    }

    fn checked(&self, range: Range<usize>) -> Result<Range<usize>, Fault> {
        let name = self.text.get(range.clone()).unwrap_or_default();
        if memchr3(b'\\', b'\n', b'\t', name).is_none() {
            return Ok(range);
        }
        if name.ends_with(b"\\") {
            return Err(Fault::new(
                Rule::E06,
                range.end - 1,
                "the name ends with a backslash, which no server reads",
            ));
        }
        let fault = |rule, at, what| Err(Fault::new(rule, range.start + at, what));
        if let Some(at) = bare(b'\n', name) {
            return fault(
                Rule::W09,
                at,
                "the name holds a line feed without a backslash before it, which has no spelling",
            );
        }
        match bare(b'\t', name) {
            Some(at) if self.spelling == Spelling::V3 => fault(
                Rule::W07,
                at,
                "the name holds a tab, which InfluxDB 3 cannot read (rename it)",
            ),
            _ => Ok(range),
        }
    }

    /// Over the space that ends what came before, and the blanks behind it.
    pub(crate) fn gap(&mut self) {
        self.at += 1;
        while let Some(c) = self.peek() {
            match (c, self.spelling) {
                (b' ', _) => {}
                (b'\t' | 0, Spelling::Go) => {
                    self.odd_blank.get_or_insert(self.at);
                }
                _ => break,
            }
            self.at += 1;
        }
    }

    /// The next field, and whether it is the last.
    pub(crate) fn field(&mut self) -> Result<(Field, bool), Fault> {
        let key = self.field_key()?;
        let start = self.at;
        let kind = match self.peek() {
            None | Some(b',' | b' ') => {
                return Err(self.fault(Rule::E02, "the field has no value"));
            }
            Some(b'"') => self.string()?,
            Some(_) => self.token()?,
        };
        let value = start..self.at;
        let last = self.peek() != Some(b',');
        self.at += usize::from(!last);
        Ok((Field { key, value, kind }, last))
    }

    fn field_key(&mut self) -> Result<Range<usize>, Fault> {
        let (rule, what) = match self.peek() {
            None if !self.text.ends_with(b",") => (Rule::E02, "the record has no fields"),
            Some(b'=') => (Rule::E02, "the field key is empty"),
            None | Some(b',' | b' ') => (Rule::E05, "there is a comma too many between the fields"),
            Some(_) => return self.field_key_text(),
        };
        Err(self.fault(rule, what))
    }

    fn field_key_text(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let len = in_pairs(rest, |c| matches!(c, b',' | b' ' | b'='));
        self.at += len;
        match self.peek() {
            Some(b'=') => {}
            None => return Err(self.fault(Rule::E02, "the field has no = and no value")),
            Some(_) => {
                return Err(self.fault(
                    Rule::E05,
                    "the field key holds a comma or a space (spell it with a backslash before), or the field has no value",
                ));
            }
        }
        self.at += 1;
        self.checked(start..start + len)
    }

    fn string(&mut self) -> Result<Kind, Fault> {
        let open = self.at;
        let Some(len) = string_len(self.text.get(open..).unwrap_or_default()) else {
            return Err(Fault::new(
                Rule::E07,
                open,
                "the string is not closed (a quote inside needs a backslash before it)",
            ));
        };
        self.at += len;
        match self.peek() {
            None | Some(b',' | b' ') => Ok(Kind::String),
            Some(_) => Err(self.fault(
                Rule::E08,
                "something stands behind the closing quote, which a 1.x server would mix into the value (a quote inside needs a backslash before it)",
            )),
        }
    }

    fn token(&mut self) -> Result<Kind, Fault> {
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let len = rest
            .iter()
            .position(|c| matches!(c, b',' | b' '))
            .unwrap_or(rest.len());
        self.at += len;
        value::kind(rest.get(..len).unwrap_or_default(), start)
    }

    /// The time, if there is one.
    pub(crate) fn time(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let end = self.at;
        if self.peek().is_none() {
            return Ok(None);
        }
        self.gap();
        let start = self.at;
        if self.peek().is_none() {
            self.odd_blank.get_or_insert(end);
            return Ok(None);
        }
        let rest = self.text.get(start..).unwrap_or_default();
        let sign = usize::from(rest.starts_with(b"-"));
        let digits = value::digits(rest.get(sign..).unwrap_or_default());
        let (time, tail) = rest.split_at(sign + digits);
        self.at += time.len();
        if digits == 0 || !tail.iter().all(|c| *c == b' ') {
            return Err(self.fault(
                Rule::E13,
                "the time is digits, perhaps after a minus, and only spaces may follow it",
            ));
        }
        match value::signed(time) {
            Some(MIN..=MAX) => Ok(Some(start..start + time.len())),
            _ => Err(Fault::new(
                Rule::E14,
                start,
                "the time in nanoseconds is outside -9223372036854775806 to 9223372036854775806",
            )),
        }
    }

    /// Where it stands.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next byte.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fault(&self, rule: Rule, what: &'static str) -> Fault {
        Fault::new(rule, self.at, what)
    }
}

// The two lowest and the highest number mean something else in the Go servers (models/time.go@1.8).
const MIN: i64 = i64::MIN + 2;
const MAX: i64 = i64::MAX - 1;

/// Length of a name by the rule of Go: the first byte counts as it is, a later one if no backslash is before it.
fn behind_one_byte(text: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    let mut at = 1;
    while let Some(rest) = text.get(at..) {
        let Some(i) = rest.iter().position(|c| ends(*c)) else {
            break;
        };
        at += i;
        if text.get(at - 1) != Some(&b'\\') {
            return at;
        }
        at += 1;
    }
    text.len()
}

/// Length of a name by the rule of InfluxDB 3: a backslash takes the byte behind it along.
pub(crate) fn in_pairs(text: &[u8], ends: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(&c) = text.get(at) {
        if c == b'\\' {
            at += 2;
        } else if ends(c) {
            return at;
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the string that starts `text`, both quotes included; `None` if it is not closed.
pub(super) fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Where a byte stands that no backslash takes along.
fn bare(c: u8, name: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'\\', c, name.get(at..)?)?;
        if name.get(at) == Some(&c) {
            return Some(at);
        }
        at += 2;
    }
}

/// Whether servers find the end of a record, with or without line feed, where it is.
pub(crate) fn is_whole(record: &[u8]) -> bool {
    let mut framer = Framer::default();
    match framer.end(record) {
        Some(end) => end.len == record.len(),
        None => !record.ends_with(b"\n") && !framer.is_unfinished(),
    }
}

/// Servers find the end of a record before they parse it, by a rule of their own.
pub(crate) fn whole(record: &[u8]) -> Result<(), Fault> {
    if is_whole(record) {
        return Ok(());
    }
    Err(Fault::new(
        Rule::W09,
        0,
        "a name holds a backslash before a space, and servers would look for the end of the record behind the next one",
    ))
}
