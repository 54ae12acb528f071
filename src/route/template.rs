//! What a bucket is called: text with words in braces that the context or the point fills in.
//!
//! ```text
//! {database} {policy}              from the context; {retention} is {policy}
//! {measurement} {tag:KEY}          from the point, as queries show them
//! {time:FORMAT}                    from the point's time in UTC, as strftime prints it: {time:%Y-%m}
//! ```

use std::str::FromStr;

use bstr::BString;
use jiff::Timestamp;
use jiff::fmt::strtime;

use crate::lp::Context;
use crate::lp::escape::{Place, decode};
use crate::lp::record::{self, Time};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Database,
    Policy,
    Measurement,
    Tag(String),
    Time(Clockwork),
}

/// How to make the name of a bucket from the context of a point, and from the point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// `{database}/{policy}`: what migration guides and `lp-post` call a bucket.
impl Default for Template {
    fn default() -> Self {
        let slash = Part::Text("/".to_owned());
        Self {
            parts: vec![Part::Database, slash, Part::Policy],
        }
    }
}

/// Why a bucket has no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// The database is not known.
    #[error("the stream does not say which database it comes from")]
    Database,
    /// The retention policy is not known.
    #[error("the stream does not say which retention policy it comes from")]
    Policy,
    /// The point has no such tag.
    #[error("the point has no tag {0}, which names its bucket")]
    Tag(String),
    /// The point has no time.
    #[error("the point has no timestamp, which names its bucket")]
    Time,
    /// The target would refuse the name, which comes from the point.
    #[error(transparent)]
    Point(crate::http::name::Refused),
    /// The target would refuse the name, which comes from the context or is given.
    #[error(transparent)]
    Given(crate::http::name::Refused),
    /// The stream cannot say that a bucket has no period after it said one for another.
    #[error(
        "nothing says how long bucket {0} keeps points, and for another bucket of the stream --map-file does (add a line for {0})"
    )]
    Period(BString),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It makes no name.
    #[error("is empty")]
    Empty,
    /// A brace has no partner.
    #[error("has a brace without its partner (a brace itself is written twice)")]
    Brace,
    /// The word in braces means nothing.
    #[error(
        "has {{{0}}} in it, which means nothing ({{database}}, {{policy}}, {{measurement}}, {{tag:KEY}} and \
         {{time:FORMAT}} do)"
    )]
    Word(String),
    /// The time cannot be printed like that.
    #[error(
        "has %{0} in its time, which means nothing here (%Y, %m, %d, %H, %M, %S, %j, %G, %V and others of strftime do)"
    )]
    Time(String),
}

impl Template {
    /// Append the name for a point of this context.
    pub fn name(
        &mut self,
        context: &Context,
        record: &[u8],
        name: &mut Vec<u8>,
    ) -> Result<(), Unnamed> {
        for part in &mut self.parts {
            match part {
                Part::Text(text) => name.extend_from_slice(text.as_bytes()),
                Part::Database => {
                    name.extend_from_slice(context.database.as_ref().ok_or(Unnamed::Database)?);
                }
                Part::Policy => {
                    name.extend_from_slice(context.policy.as_ref().ok_or(Unnamed::Policy)?);
                }
                Part::Measurement => decode(Place::Measurement, record::measurement(record), name),
                Part::Tag(key) => {
                    let value = tag(record, key.as_bytes());
                    let value = value.ok_or_else(|| Unnamed::Tag(key.clone()))?;
                    decode(Place::Tag, value, name);
                }
                Part::Time(clockwork) => clockwork.print(record, name)?,
            }
        }
        Ok(())
    }

    /// Whether points of one context can go to different buckets.
    pub fn is_per_point(&self) -> bool {
        let from_point =
            |part: &Part| matches!(part, Part::Measurement | Part::Tag(_) | Part::Time(_));
        self.parts.iter().any(from_point)
    }

    /// The name, if it is the same for all points there are.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether equal points of two different pairs of database and policy never get the same name: both parts are
    /// there, and a slash, which neither can hold, is all that is between them.
    pub fn keeps_apart(&self) -> bool {
        let default = Self::default();
        self.parts.windows(3).any(|parts| parts == default.parts)
    }

    /// Add a character of plain text.
    fn push(&mut self, c: char) {
        if let Some(Part::Text(text)) = self.parts.last_mut() {
            text.push(c);
        } else {
            self.parts.push(Part::Text(c.to_string()));
        }
    }
}

/// The value of a tag, as it is spelled.
fn tag<'a>(record: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let mut tags = record::tags(record::series_key(record)).map_while(Result::ok);
    let found = tags.find(|(spelled, _)| {
        if !spelled.contains(&b'\\') {
            return *spelled == key;
        }
        let mut name = Vec::new();
        decode(Place::Tag, spelled, &mut name);
        name == key
    });
    found.map(|(_, value)| value)
}

/// Prints times, and remembers the last print.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clockwork {
    format: String,
    /// All times of one such span print alike; nanoseconds.
    span: i64,
    /// The number of a span since 1970, and its print.
    last: Option<(i64, String)>,
}

const SECOND: i64 = 1_000_000_000;

impl Clockwork {
    fn new(format: &str) -> Result<Self, Error> {
        let mut span = 86_400 * SECOND;
        let mut rest = format;
        while let Some((_, spec)) = rest.split_once('%') {
            let spec = spec.trim_start_matches(['-', '_', '0', '^', '#']);
            let letter = spec.chars().next();
            span = span.min(match letter {
                Some(
                    '%' | 'Y' | 'y' | 'C' | 'G' | 'g' | 'm' | 'd' | 'e' | 'j' | 'U' | 'V' | 'W'
                    | 'u' | 'w' | 'a' | 'A' | 'b' | 'B' | 'h' | 'F' | 'D',
                ) => span,
                Some('H' | 'I' | 'k' | 'l' | 'p' | 'P') => 3_600 * SECOND,
                Some('M' | 'R') => 60 * SECOND,
                Some('S' | 'T' | 's') => SECOND,
                other => return Err(Error::Time(other.map(String::from).unwrap_or_default())),
            });
            rest = spec
                .get(letter.map_or(0, char::len_utf8)..)
                .unwrap_or_default();
        }
        let mut clockwork = Self {
            format: format.to_owned(),
            span,
            last: None,
        };
        let tried = clockwork.print(b"m v=1 0", &mut Vec::new());
        tried.map_err(|_| Error::Time(format.trim_start_matches('%').to_owned()))?;
        Ok(clockwork)
    }

    fn print(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), Unnamed> {
        let Time::At(time) = record::time(record) else {
            return Err(Unnamed::Time);
        };
        let number = time.div_euclid(self.span);
        if let Some((last, text)) = &self.last
            && *last == number
        {
            out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let time = Timestamp::from_nanosecond(i128::from(time)).map_err(|_| Unnamed::Time)?;
        let text = strtime::format(&self.format, time).map_err(|_| Unnamed::Time)?;
        out.extend_from_slice(text.as_bytes());
        self.last = Some((number, text));
        Ok(())
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut template = Self { parts: Vec::new() };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let doubled = rest.starts_with("{{") || rest.starts_with("}}");
            let (_, tail) = rest.split_at(if doubled { 2 } else { c.len_utf8() });
            rest = tail;
            match c {
                '{' if !doubled => {
                    let (word, tail) = rest.split_once('}').ok_or(Error::Brace)?;
                    template.parts.push(part(word)?);
                    rest = tail;
                }
                '}' if !doubled => return Err(Error::Brace),
                _ => template.push(c),
            }
        }
        if template.parts.is_empty() {
            return Err(Error::Empty);
        }
        Ok(template)
    }
}

fn part(word: &str) -> Result<Part, Error> {
    let unknown = || Error::Word(word.to_owned());
    match word.split_once(':') {
        Some(("tag", "")) | Some(("time", "")) => Err(unknown()),
        Some(("tag", key)) => Ok(Part::Tag(key.to_owned())),
        Some(("time", format)) => Ok(Part::Time(Clockwork::new(format)?)),
        Some(_) => Err(unknown()),
        None => match word {
            "database" => Ok(Part::Database),
            "policy" | "retention" => Ok(Part::Policy),
            "measurement" => Ok(Part::Measurement),
            _ => Err(unknown()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            database: Some("db".into()),
            policy: Some("rp".into()),
            ..Context::default()
        }
    }

    fn named(template: &str) -> Result<BString, Error> {
        let mut template: Template = template.parse()?;
        Ok(name(&mut template, &context(), "").unwrap())
    }

    fn name(template: &mut Template, context: &Context, record: &str) -> Result<BString, Unnamed> {
        let mut name = Vec::new();
        template.name(context, record.as_bytes(), &mut name)?;
        Ok(name.into())
    }

    fn of_point(template: &str, record: &str) -> Result<BString, Unnamed> {
        let mut template: Template = template.parse().unwrap();
        assert!(template.is_per_point());
        let first = name(&mut template, &context(), record);
        let again = name(&mut template, &context(), record);
        assert_eq!(first, again);
        first
    }

    #[test]
    fn words_in_braces_are_replaced_by_the_context() {
        assert_eq!(Ok("db/rp".into()), named("{database}/{policy}"));
        assert_eq!(
            Ok("ü-db-rprp".into()),
            named("ü-{database}-{retention}{policy}")
        );
        assert_eq!(Ok("{db}".into()), named("{{{database}}}"));
        assert_eq!(Ok("fixed name".into()), named("fixed name"));
        assert_eq!(
            Ok(Template::default()),
            "{database}/{policy}".parse::<Template>()
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        assert_eq!(Err(Error::Empty), named(""));
        assert_eq!(Err(Error::Brace), named("{database"));
        assert_eq!(Err(Error::Brace), named("database}"));
        assert_eq!(Err(Error::Word("db".into())), named("{db}"));
        for word in ["db", "tag", "tag:", "time:", "time", "x:y", ""] {
            assert_eq!(Err(Error::Word(word.into())), named(&format!("{{{word}}}")));
        }
        assert_eq!(
            "has {db} in it, which means nothing ({database}, {policy}, {measurement}, {tag:KEY} and {time:FORMAT} do)",
            named("{db}").unwrap_err().to_string()
        );
    }

    #[test]
    fn a_fixed_name_needs_no_context() {
        let none = Context::default();
        let mut fixed: Template = "fixed".parse().unwrap();
        assert_eq!(Ok("fixed".into()), name(&mut fixed, &none, ""));
        assert_eq!(Some("fixed"), fixed.fixed());
        let mut by_policy: Template = "x{policy}".parse().unwrap();
        assert_eq!(Err(Unnamed::Policy), name(&mut by_policy, &none, ""));
        assert_eq!(None, by_policy.fixed());
    }

    #[test]
    fn measurement_and_tags_are_decoded_as_queries_show_them() {
        let record = "my\\ cpu\\,x,host=a\\=b,my\\ key=v,z=ü v=1 0\n";
        assert_eq!(Ok("my cpu,x".into()), of_point("{measurement}", record));
        assert_eq!(
            Ok("db-a=b".into()),
            of_point("{database}-{tag:host}", record)
        );
        assert_eq!(Ok("v/ü".into()), of_point("{tag:my key}/{tag:z}", record));
        assert_eq!(Err(Unnamed::Tag("no".into())), of_point("{tag:no}", record));
        assert_eq!(Err(Unnamed::Tag("v".into())), of_point("{tag:v}", "m v=1"));
    }

    #[test]
    fn times_print_in_utc() {
        let of = |format: &str, time: &str| of_point(format, &format!("m v=1 {time}\n"));
        for (format, time, expected) in [
            ("x-{time:%Y-%m}", "1577836800000000000", "x-2020-01"),
            ("{time:%Y-%m}", "1577836799999999999", "2019-12"),
            ("{time:%F %H:%M:%S}", "-1", "1969-12-31 23:59:59"),
            ("{time:%G-W%V}", "1609459200000000000", "2020-W53"),
            ("{time:%-m}", "1577836800000000000", "1"),
            ("{time:100%%}", "0", "100%"),
            ("{time:%Y}", "-9223372036854775808", "1677"),
            ("{time:%Y}", "9223372036854775807", "2262"),
        ] {
            assert_eq!(Ok(expected.into()), of(format, time), "{format} {time}");
        }
        assert_eq!(Err(Unnamed::Time), of_point("{time:%Y}", "m v=1"));
        for format in ["%", "%Q", "%Y%", "%:z", "%é"] {
            let bad = format!("{{time:{format}}}").parse::<Template>();
            assert!(matches!(bad, Err(Error::Time(_))), "{format}");
        }
    }

    #[test]
    fn the_print_of_a_time_is_used_as_long_as_it_holds() {
        let mut template: Template = "{time:%H:%M}".parse().unwrap();
        for (time, expected) in [
            ("0", "00:00"),
            ("59999999999", "00:00"),
            ("60000000000", "00:01"),
            ("3600000000000", "01:00"),
            ("86400000000000", "00:00"),
        ] {
            let record = format!("m v=1 {time}");
            assert_eq!(
                Ok(expected.into()),
                name(&mut template, &context(), &record)
            );
        }
    }
}
