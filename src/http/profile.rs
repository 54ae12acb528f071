//! What the `influx` command line already knows: the profiles in its file, which is only ever read.
//!
//! ```text
//! [default]
//!   url = "https://eu-central-1-1.aws.cloud2.influxdata.com"
//!   token = "…"
//!   org = "my-org"
//!   active = true
//! ```

use toml::{Table, Value};

use crate::http::Token;

/// One profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its name in the file.
    pub name: String,
    /// Where the server is.
    pub url: Option<String>,
    /// The token to use there.
    pub token: Option<Token>,
    /// The organisation to write for.
    pub org: Option<String>,
}

/// Why no profile can be taken from a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is not what the `influx` command writes. Says nothing of what stands there: it may be a token.
    #[error("line {0} is no TOML")]
    Syntax(usize),
    /// There is no profile of that name.
    #[error("there is no profile {name} (there is {there})")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        there: String,
    },
    /// Several profiles, and none or more than one is the active one.
    #[error("which profile is meant is not clear (--profile NAME, one of {0})")]
    Unclear(String),
    /// The token has bytes that no token has.
    #[error("the token of profile {0} holds blanks or control characters")]
    Token(String),
}

/// The profile called `wanted`, else the active one, else the only one; `None` if the file has none.
pub fn choose(text: &str, wanted: Option<&str>) -> Result<Option<Profile>, Error> {
    let file: Table = text.parse().map_err(|err| syntax(text, &err))?;
    let tables = || {
        file.iter()
            .filter_map(|(name, value)| Some((name, value.as_table()?)))
    };
    if let Some(name) = wanted {
        let table = file.get(name).and_then(Value::as_table);
        return match table {
            Some(table) => read(name, table).map(Some),
            None => Err(Error::Unknown {
                name: name.to_owned(),
                there: names(tables()),
            }),
        };
    }
    let is_active = |table: &Table| table.get("active").and_then(Value::as_bool) == Some(true);
    let active: Vec<_> = tables().filter(|(_, table)| is_active(table)).collect();
    let all: Vec<_> = tables().collect();
    match (active.as_slice(), all.as_slice()) {
        ([(name, table)], _) | ([], [(name, table)]) => read(name, table).map(Some),
        ([], []) => Ok(None),
        _ => Err(Error::Unclear(names(tables()))),
    }
}

fn syntax(text: &str, err: &toml::de::Error) -> Error {
    let at = err.span().map_or(0, |span| span.start);
    let before = text.as_bytes().get(..at).unwrap_or_default();
    Error::Syntax(1 + before.iter().filter(|&&byte| byte == b'\n').count())
}

fn names<'a>(tables: impl Iterator<Item = (&'a String, &'a Table)>) -> String {
    let names: Vec<_> = tables.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return "none".to_owned();
    }
    names.join(", ")
}

fn read(name: &str, table: &Table) -> Result<Profile, Error> {
    let word = |key: &str| {
        let text = table.get(key).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    };
    let token = match word("token") {
        Some(text) => Some(Token::new(text).ok_or_else(|| Error::Token(name.to_owned()))?),
        None => None,
    };
    Ok(Profile {
        name: name.to_owned(),
        url: word("url").map(str::to_owned),
        token,
        org: word("org").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
[default]
  url = "http://localhost:8086"
  token = "secret-one"
  org = "here"

[cloud]
  url = "https://example.com"
  token = "secret-two"
  org = "there"
  active = true
  previous = false

# [eu-central]
#   url = "https://eu-central-1-1.aws.cloud2.influxdata.com"
"#;

    fn name(text: &str, wanted: Option<&str>) -> Result<Option<String>, Error> {
        Ok(choose(text, wanted)?.map(|profile| profile.name))
    }

    #[test]
    fn the_active_profile_is_taken() {
        let expected = Profile {
            name: "cloud".to_owned(),
            url: Some("https://example.com".to_owned()),
            token: Token::new("secret-two"),
            org: Some("there".to_owned()),
        };
        assert_eq!(Ok(Some(expected)), choose(TWO, None));
    }

    #[test]
    fn a_name_wins_over_the_active_one() {
        assert_eq!(Ok(Some("default".to_owned())), name(TWO, Some("default")));
        let text = name(TWO, Some("other")).unwrap_err().to_string();
        assert_eq!("there is no profile other (there is cloud, default)", text);
    }

    #[test]
    fn nothing_is_guessed_where_several_could_be_meant() {
        let none = TWO.replace("active = true", "");
        assert!(matches!(name(&none, None), Err(Error::Unclear(_))));
        let both = TWO.replace("org = \"here\"", "active = true");
        assert!(matches!(name(&both, None), Err(Error::Unclear(_))));
    }

    #[test]
    fn the_only_profile_needs_no_mark_and_an_empty_file_has_none() {
        assert_eq!(
            Ok(Some("a".to_owned())),
            name("[a]\nurl = \"http://h\"", None)
        );
        assert_eq!(Ok(None), name("# nothing yet\n", None));
    }

    #[test]
    fn an_error_says_the_line_and_never_what_stands_there() {
        let text = name("[a]\ntoken = \"secret\n", None)
            .unwrap_err()
            .to_string();
        assert_eq!("line 2 is no TOML", text);
        let text = format!("{:?}", choose(TWO, None));
        assert!(!text.contains("secret"), "{text}");
        let bad = name("[a]\ntoken = \"a b\"", None).unwrap_err();
        assert_eq!(Error::Token("a".to_owned()), bad);
    }
}
