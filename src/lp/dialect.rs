//! How is a record spelled for InfluxDB 3, and back?
//!
//! In names InfluxDB 3 reads two backslashes as one, the Go servers (1.x, 2.x) as two; it does not take a
//! backslash away before a quote, nor before `=` in a measurement. The stream holds the Go spelling.
//!
//! | decoded name | Go | InfluxDB 3 |
//! |---|---|---|
//! | measurement `x=y` | `x=y` or `x\=y` | `x=y` |
//! | field key `a"b` | `a"b` or `a\"b` | `a"b` |
//! | tag `a\\b` | `a\\b` | `a\\\b` |
//! | tag `a\,b` | `a\\,b` | `a\\\,b` |
//! | field key `a\,b` | none | `a\\\,b` |
//! | tab, without a backslash before it | as it is | none |
//!
//! Respelling also writes what InfluxDB 3 does not read in a form that it does: `1.` as `1.0`, `.5` as `0.5`,
//! one space between the parts, no blanks at either end. Strings, numbers and times stay as they are.

use memchr::{memchr, memchr_iter, memchr3};

use super::escape::Place;
use super::record;
use super::validate::lex::{self, Lexer};
use super::validate::value::Kind;
use super::validate::{Fault, Rule};

/// One of the two ways to spell names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// InfluxDB 1.x and 2.x, storage files, the stream.
    Go,
    /// InfluxDB 3 in all its editions.
    V3,
}

impl Spelling {
    /// Whether a reader takes a backslash away before this byte.
    fn decodes(self, place: Place, c: u8) -> bool {
        match (self, c) {
            (_, b',' | b' ') => true,
            (Self::Go, b'=') => true,
            (Self::Go, b'"') => place != Place::Tag,
            (Self::V3, b'=') => place != Place::Measurement,
            (Self::V3, b'\\') => true,
            _ => false,
        }
    }

    /// Whether a backslash of the name needs another one before it, given the byte of the name behind it.
    fn doubles(self, place: Place, next: Option<u8>) -> bool {
        match next {
            Some(b'"') => place != Place::Tag,
            Some(b'=') if place == Place::Measurement => true,
            _ if self == Self::Go => false,
            None | Some(b'\\') => true,
            Some(c) => is_special(place, c),
        }
    }
}

/// Whether the byte ends a name where no backslash is before it.
fn is_special(place: Place, c: u8) -> bool {
    matches!(c, b',' | b' ') || (c == b'=' && place != Place::Measurement)
}

/// A name as it is spelled, which gives the bytes of the name itself.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    raw: &'a [u8],
    place: Place,
    spelling: Spelling,
}

impl<'a> Name<'a> {
    /// The bytes that spell a name at a place.
    pub fn new(spelling: Spelling, place: Place, raw: &'a [u8]) -> Self {
        Self {
            raw,
            place,
            spelling,
        }
    }

    /// Whether both spell the same bytes, at whatever place.
    pub fn is(self, other: Self) -> bool {
        // Only backslashes before something else are taken away, so the last byte is always the last byte.
        if self.raw.last() != other.raw.last() {
            return false;
        }
        if memchr(b'\\', self.raw).is_none() && memchr(b'\\', other.raw).is_none() {
            return self.raw == other.raw;
        }
        self.eq(other)
    }

    /// Append the spelling of the same name in one of the dialects.
    pub fn respell(self, to: Spelling, out: &mut Vec<u8>) {
        let place = self.place;
        if !self
            .raw
            .iter()
            .any(|c| *c == b'\\' || is_special(place, *c))
        {
            return out.extend_from_slice(self.raw);
        }
        let mut bytes = self.peekable();
        while let Some(c) = bytes.next() {
            let escaped =
                is_special(place, c) || (c == b'\\' && to.doubles(place, bytes.peek().copied()));
            if escaped {
                out.push(b'\\');
            }
            out.push(c);
        }
    }

    /// Why InfluxDB 3 has no spelling for the name, and at which byte of this one.
    pub fn misfit_v3(self) -> Option<(Rule, usize, &'static str)> {
        memchr3(b'\t', b'\n', 0, self.raw)?;
        let place = self.place;
        let (mut rest, mut before) = (self, 0);
        while let Some(c) = rest.next() {
            let what = match c {
                _ if before == b'\\' => None,
                b'\t' => Some((
                    Rule::W07,
                    "the name holds a tab, which InfluxDB 3 cannot read (rename it)",
                )),
                b'\n' => Some((
                    Rule::W09,
                    "the name holds a line feed, which InfluxDB 3 cannot read (rename it)",
                )),
                0 if place == Place::Measurement => Some((
                    Rule::W07,
                    "the measurement holds a NUL, which InfluxDB 3 cannot read (rename it)",
                )),
                _ => None,
            };
            if let Some((rule, what)) = what {
                return Some((rule, self.raw.len() - rest.raw.len() - 1, what));
            }
            before = c;
        }
        None
    }

    /// Why the Go servers have no spelling for the name; `None` for every name that they have read.
    pub fn misfit_go(self) -> Option<&'static str> {
        if self.place == Place::Field {
            // Fields are scanned in pairs of a backslash and a byte, but cut at an `=` with none right before it.
            let mut odd = false;
            for c in self {
                if odd && is_special(Place::Field, c) {
                    return Some(
                        "the field key holds a backslash before a comma, an equals sign or a space, which has no spelling for 1.x and 2.x servers",
                    );
                }
                odd = c == b'\\' && !odd;
            }
        }
        None
    }
}

impl Iterator for Name<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&c, rest) = self.raw.split_first()?;
        self.raw = rest;
        if c == b'\\'
            && let Some((&escaped, rest)) = rest.split_first()
            && self.spelling.decodes(self.place, escaped)
        {
            self.raw = rest;
            return Some(escaped);
        }
        Some(c)
    }
}

/// What respelling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Respelled {
    /// Nothing: the record is right as it is, and nothing has been appended.
    Unchanged,
    /// The record was appended in its new spelling, with a line feed if it had one.
    Written,
}

/// Append the record in the spelling of InfluxDB 3, if it needs another one than it has.
///
/// The record is one that 1.x or 2.x servers read: what passes the validator for `v1` or `oss2`. A fault says what
/// has no spelling; nothing has been appended then.
pub fn to_v3(record: &[u8], out: &mut Vec<u8>) -> Result<Respelled, Fault> {
    if is_canonical(record::body(record)) {
        return Ok(Respelled::Unchanged);
    }
    respell(record, Spelling::Go, Spelling::V3, out)
}

/// Append the record in the spelling of the stream, if it needs another one than it has.
///
/// The record is spelled for InfluxDB 3. A fault says what has no spelling or is read in different ways; nothing
/// has been appended then.
pub fn from_v3(record: &[u8], out: &mut Vec<u8>) -> Result<Respelled, Fault> {
    let start = out.len();
    let respelled = respell(record, Spelling::V3, Spelling::Go, out)?;
    if out.get(start..) == Some(record) {
        out.truncate(start);
        return Ok(Respelled::Unchanged);
    }
    Ok(respelled)
}

/// Whether nothing in a record can need another spelling. May say no where the answer is yes.
fn is_canonical(text: &[u8]) -> bool {
    memchr3(b'\\', b'\t', 0, text).is_none()
        && text.first() != Some(&b' ')
        && (text.last() != Some(&b' ') || record::time_text(text).is_some())
        && memchr_iter(b'.', text).all(|at| is_inner_point(text, at))
        && (text.is_ascii() || std::str::from_utf8(text).is_ok())
}

/// Whether a point is not at the edge of a number. May say no for a point that belongs to a name.
fn is_inner_point(text: &[u8], at: usize) -> bool {
    let behind = !matches!(text.get(at + 1), None | Some(b',' | b' ' | b'e' | b'E'));
    let before = at.checked_sub(1).and_then(|i| text.get(i));
    behind && !matches!(before, None | Some(b'=' | b'-'))
}

#[cold]
fn respell(
    record: &[u8],
    from: Spelling,
    to: Spelling,
    out: &mut Vec<u8>,
) -> Result<Respelled, Fault> {
    let start = out.len();
    let text = record::body(record);
    let written = Writer { text, from, to }.record(out);
    if written.is_ok() && text.len() < record.len() {
        out.push(b'\n');
    }
    let checked = written.and_then(|()| lex::whole(out.get(start..).unwrap_or_default()));
    if checked.is_err() {
        out.truncate(start);
    }
    checked.map(|()| Respelled::Written)
}

/// Writes one record in another spelling.
struct Writer<'a> {
    text: &'a [u8],
    from: Spelling,
    to: Spelling,
}

impl Writer<'_> {
    fn record(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.is_text()?;
        let mut lexer = Lexer::new(self.text, self.from);
        self.name(Place::Measurement, lexer.measurement()?, out)?;
        while let Some((key, value)) = lexer.tag()? {
            out.push(b',');
            self.name(Place::Tag, key, out)?;
            out.push(b'=');
            self.name(Place::Tag, value, out)?;
        }
        out.push(b' ');
        lexer.gap();
        self.first_field(&lexer)?;
        loop {
            let (field, last) = lexer.field()?;
            if field.kind == Kind::BareFloat && self.from == Spelling::V3 {
                return Err(bare_float(field.value.start));
            }
            self.name(Place::Field, field.key, out)?;
            out.push(b'=');
            value(
                self.text.get(field.value).unwrap_or_default(),
                field.kind,
                out,
            );
            if last {
                break;
            }
            out.push(b',');
        }
        if let Some(time) = lexer.time()? {
            out.push(b' ');
            out.extend_from_slice(self.text.get(time).unwrap_or_default());
        }
        match lexer.odd_blank {
            Some(at) if self.from == Spelling::V3 => Err(odd_blank(at)),
            _ => Ok(()),
        }
    }

    /// Where the fields begin, Go servers skip more kinds of blanks than InfluxDB 3.
    fn first_field(&self, lexer: &Lexer<'_>) -> Result<(), Fault> {
        match lexer.peek() {
            Some(0) if self.to == Spelling::Go => Err(Fault::new(
                Rule::W09,
                lexer.at(),
                "the field key starts with a NUL, which 1.x and 2.x servers skip",
            )),
            _ => Ok(()),
        }
    }

    fn is_text(&self) -> Result<(), Fault> {
        match std::str::from_utf8(self.text) {
            Err(err) => Err(not_utf8(err.valid_up_to())),
            Ok(_) => Ok(()),
        }
    }

    fn name(
        &self,
        place: Place,
        range: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let at = range.start;
        let name = Name::new(self.from, place, self.text.get(range).unwrap_or_default());
        // InfluxDB 3 cannot have written what it cannot read.
        if let Some((rule, i, what)) = name.misfit_v3() {
            return Err(Fault::new(rule, at + i, what));
        }
        if let Some(what) = name.misfit_go().filter(|_| self.to == Spelling::Go) {
            return Err(Fault::new(Rule::W09, at, what));
        }
        name.respell(self.to, out);
        Ok(())
    }
}

pub(crate) fn not_utf8(at: usize) -> Fault {
    Fault::new(
        Rule::W06,
        at,
        "the record is not UTF-8, and InfluxDB 3 refuses the whole request with it",
    )
}

pub(crate) fn bare_float(at: usize) -> Fault {
    Fault::new(
        Rule::E09,
        at,
        "InfluxDB 3 wants digits on both sides of a point",
    )
}

pub(crate) fn odd_blank(at: usize) -> Fault {
    Fault::new(
        Rule::W08,
        at,
        "a blank stands where InfluxDB 3 takes none (one space between the parts, none at the end)",
    )
}

/// Append a value; a float gets digits on both sides of its point.
fn value(text: &[u8], kind: Kind, out: &mut Vec<u8>) {
    let point = memchr(b'.', text).filter(|_| kind == Kind::BareFloat);
    let Some((whole, fraction)) = point.and_then(|at| text.split_at_checked(at)) else {
        return out.extend_from_slice(text);
    };
    out.extend_from_slice(whole);
    if !whole.last().is_some_and(u8::is_ascii_digit) {
        out.push(b'0');
    }
    out.push(b'.');
    let fraction = fraction.get(1..).unwrap_or_default();
    if !fraction.first().is_some_and(u8::is_ascii_digit) {
        out.push(b'0');
    }
    out.extend_from_slice(fraction);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lp::escape;
    use proptest::prelude::*;

    /// A record in its other spelling, or what is wrong; unchanged ones come back as they are.
    fn respelled(
        run: fn(&[u8], &mut Vec<u8>) -> Result<Respelled, Fault>,
        record: &[u8],
    ) -> Result<Vec<u8>, (Rule, usize)> {
        let mut out = b"before".to_vec();
        match run(record, &mut out) {
            Ok(Respelled::Written) => Ok(out.split_off(6)),
            unchanged => {
                assert_eq!(b"before".to_vec(), out);
                unchanged
                    .map(|_| record.to_vec())
                    .map_err(|fault| (fault.rule, fault.at))
            }
        }
    }

    #[test]
    fn names_are_spelled_for_their_reader_and_back() {
        for (go, v3) in [
            (&br"m,t=a\b f=1 1"[..], &br"m,t=a\b f=1 1"[..]),
            (br"m,t=a\\b f=1 1", br"m,t=a\\\b f=1 1"),
            (br"m,t=a\\\\b f=1 1", br"m,t=a\\\\\\\b f=1 1"),
            (br"m,t=a\\,b f=1 1", br"m,t=a\\\,b f=1 1"),
            (br"m,t=a\\=b f=1 1", br"m,t=a\\\=b f=1 1"),
            (br"m,a\\ b=c f=1 1", br"m,a\\\ b=c f=1 1"),
            (br"my\\,t=a f=1 1", br"my\\\,t=a f=1 1"),
            (br"my\\=m f=1 1", br"my\\=m f=1 1"),
            (br#"my\\"m f=1 1"#, br#"my\\"m f=1 1"#),
            (br#"m a\\"b=1 1"#, br#"m a\\"b=1 1"#),
            (br"m a\\b=1 1", br"m a\\\b=1 1"),
            (br"m a\\\=b=1 1", br"m a\\\\\=b=1 1"),
            (br#"m,t=a\"b f=1 1"#, br#"m,t=a\"b f=1 1"#),
            (br"m,t=a\ b\,c\=d f=1 1", br"m,t=a\ b\,c\=d f=1 1"),
            (b"m,t=a\\\nb f=1 1", b"m,t=a\\\nb f=1 1"),
            (b"m,t=a\\\tb f=1 1\n", b"m,t=a\\\tb f=1 1\n"),
            (br#"m f="a\\b\"c\nd" 1"#, br#"m f="a\\b\"c\nd" 1"#),
            (br"\#m f=1 1", br"\#m f=1 1"),
        ] {
            let shown = bstr::BStr::new(go);
            assert_eq!(Ok(v3.to_vec()), respelled(to_v3, go), "{shown}");
            assert_eq!(Ok(go.to_vec()), respelled(from_v3, v3), "{shown}");
        }
    }

    #[test]
    fn escapes_that_only_go_takes_away_are_taken_away() {
        for (go, v3) in [
            (&br"my\=m f=1 1"[..], &br"my=m f=1 1"[..]),
            (br#"my\"m f=1 1"#, br#"my"m f=1 1"#),
            (br#"m a\"b=1 1"#, br#"m a"b=1 1"#),
        ] {
            assert_eq!(Ok(v3.to_vec()), respelled(to_v3, go));
            assert_eq!(Ok(v3.to_vec()), respelled(from_v3, v3));
        }
        assert_eq!(
            Ok(br#"my\\=m a\\"b=1 1"#.to_vec()),
            respelled(from_v3, br#"my\=m a\"b=1 1"#)
        );
        assert_eq!(
            Ok(br"m,t=\=a\=b f=1 1".to_vec()),
            respelled(from_v3, br"m,t==a=b f=1 1")
        );
    }

    #[test]
    fn floats_and_blanks_get_the_form_that_v3_reads() {
        for (go, v3) in [
            (&b"m f=1. 1\n"[..], &b"m f=1.0 1\n"[..]),
            (
                b"m f=.5,g=-.5,h=1.e5,i=-1. 1",
                b"m f=0.5,g=-0.5,h=1.0e5,i=-1.0 1",
            ),
            (b"m f=1 ", b"m f=1"),
            (b"m f=1 \t\0\n", b"m f=1\n"),
            (b"\0 \tm \tf=1  \t1  \n", b"m f=1 1\n"),
            (b"m f=1 1  \n", b"m f=1 1  \n"),
            (b"m f=\"1. \t\" 1", b"m f=\"1. \t\" 1"),
            (b"m,v=1. f=1 1", b"m,v=1. f=1 1"),
        ] {
            assert_eq!(Ok(v3.to_vec()), respelled(to_v3, go));
        }
    }

    #[test]
    fn plain_records_are_not_copied() {
        for record in [
            "cpu,host=a.b usage=1.5,idle=97i 1577836800000000000\n",
            "m f=\"a b\",g=t",
            "m,stadt=Köln f=-1.5e-07 -1",
        ] {
            let mut out = Vec::new();
            assert_eq!(Ok(Respelled::Unchanged), to_v3(record.as_bytes(), &mut out));
            assert_eq!(
                Ok(Respelled::Unchanged),
                from_v3(record.as_bytes(), &mut out)
            );
            assert!(is_canonical(record::body(record.as_bytes())));
        }
    }

    #[test]
    fn what_v3_cannot_read_has_its_reason_and_place() {
        for (rule, at, record) in [
            (Rule::W07, 5, &b"m,t=a\tb f=1 1"[..]),
            (Rule::W07, 8, br"m,t=a\ b	 f=1 1"),
            (Rule::W07, 1, b"m\0 f=1 1"),
            (Rule::W06, 5, b"m,t=a\xff f=1 1"),
            (Rule::W06, 5, b"m f=\"\xff\" 1"),
            (Rule::E04, 9, br"m,t=C:\,u=b f=1 1"),
            (Rule::E08, 13, br#"m,t=\\x f="a"b 1"#),
        ] {
            assert_eq!(
                Err((rule, at)),
                respelled(to_v3, record),
                "{}",
                bstr::BStr::new(record)
            );
        }
    }

    #[test]
    fn what_go_cannot_read_has_its_reason_and_place() {
        for (rule, at, record) in [
            (Rule::W09, 2, &br"m a\\\,b=1 1"[..]),
            (Rule::W09, 2, br"m a\\\=b=1 1"),
            (Rule::W09, 2, br"m a\\\ b=1 1"),
            (Rule::W09, 2, b"m \0f=1 1"),
            (Rule::E06, 6, br"m,t=a\\ f=1 1"),
            (Rule::E06, 6, br"m,t=a\\,u=b f=1 1"),
            (Rule::W07, 5, b"m,t=a\tb f=1 1"),
            (Rule::E09, 4, b"m f=1. 1"),
            (Rule::W08, 5, b"m f=1 "),
            (Rule::E04, 3, b"m,a,b=c f=1 1"),
            (Rule::E05, 6, b"m f=1, 1"),
            (Rule::W09, 0, br#"m,a\\\ b=a a"b=1 1"#),
        ] {
            assert_eq!(
                Err((rule, at)),
                respelled(from_v3, record),
                "{}",
                bstr::BStr::new(record)
            );
        }
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            proptest::sample::select(b"ab\\\\\\,= \"\n\t\0#".to_vec()),
            0..8,
        )
    }

    const PLACES: [Place; 3] = [Place::Measurement, Place::Tag, Place::Field];

    proptest! {
        #[test]
        fn names_read_and_are_written_as_the_stream_does(raw in name()) {
            for place in PLACES {
                let (mut plain, mut spelled) = (Vec::new(), Vec::new());
                escape::decode(place, &raw, &mut plain);
                escape::encode(place, &plain, &mut spelled);
                let name = Name::new(Spelling::Go, place, &raw);
                let mut out = Vec::new();
                name.respell(Spelling::Go, &mut out);
                prop_assert_eq!(&plain, &name.collect::<Vec<_>>());
                prop_assert_eq!(&spelled, &out);
            }
        }

        #[test]
        fn every_name_reads_back_from_its_v3_spelling(raw in name()) {
            for place in PLACES {
                let name = Name::new(Spelling::Go, place, &raw);
                let mut out = Vec::new();
                name.respell(Spelling::V3, &mut out);
                let back = Name::new(Spelling::V3, place, &out);
                prop_assert!(name.is(back), "{:?} at {:?}", bstr::BStr::new(&out), place);
            }
        }
    }
}
