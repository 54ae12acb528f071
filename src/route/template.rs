//! What a bucket is called: text with `{database}` and `{policy}` in it.

use std::str::FromStr;

use bstr::BString;

use crate::lp::Context;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Database,
    Policy,
}

/// How to make the name of a bucket from the context of a point.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// The database is not known.
    #[error("the stream does not say which database it comes from")]
    Database,
    /// The retention policy is not known.
    #[error("the stream does not say which retention policy it comes from")]
    Policy,
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
    #[error("has {{{0}}} in it, which means nothing ({{database}} and {{policy}} do)")]
    Word(String),
}

impl Template {
    /// The name for points of this context.
    pub fn name(&self, context: &Context) -> Result<BString, Unnamed> {
        let mut name = BString::default();
        for part in &self.parts {
            name.extend_from_slice(match part {
                Part::Text(text) => text.as_bytes(),
                Part::Database => context.database.as_ref().ok_or(Unnamed::Database)?,
                Part::Policy => context.policy.as_ref().ok_or(Unnamed::Policy)?,
            });
        }
        Ok(name)
    }

    /// Whether two pairs of database and policy never get the same name: both parts are there, and a slash,
    /// which neither can hold, is all that is between them.
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
    match word {
        "database" => Ok(Part::Database),
        "policy" | "retention" => Ok(Part::Policy),
        _ => Err(Error::Word(word.to_owned())),
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
        let template: Template = template.parse()?;
        Ok(template.name(&context()).unwrap())
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
        assert_eq!(
            "has {db} in it, which means nothing ({database} and {policy} do)",
            named("{db}").unwrap_err().to_string()
        );
    }

    #[test]
    fn a_fixed_name_needs_no_context() {
        let fixed: Template = "fixed".parse().unwrap();
        assert_eq!(Ok("fixed".into()), fixed.name(&Context::default()));
        let by_policy: Template = "x{policy}".parse().unwrap();
        assert_eq!(Err(Unnamed::Policy), by_policy.name(&Context::default()));
    }
}
