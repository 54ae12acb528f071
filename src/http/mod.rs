//! What servers with an InfluxDB write API want and say.

pub mod answer;
pub mod bucket;
pub mod client;
pub mod limits;
pub mod name;
pub mod profile;
pub mod retry;
pub mod said;
mod target;

use std::fmt;

pub use target::{Catalog, Org, Target};

/// `text` as the value of a query parameter: everything but letters, digits and `-._~` percent-encoded.
pub fn query_value(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

/// What proves to a server who we are. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token in `text`, without line ends after it; `None` if the rest cannot stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let token = text.trim_end_matches(['\r', '\n']);
        let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        visible.then(|| Self(token.to_owned()))
    }

    /// The value of the `Authorization` header for `target`.
    ///
    /// Where a 1.x server may stand behind, `user:password` goes as Basic and anything else as a bearer's token.
    fn header(&self, target: Option<Target>) -> String {
        match target {
            Some(Target::V1 | Target::VictoriaMetrics) if self.0.contains(':') => {
                format!("Basic {}", base64(self.0.as_bytes()))
            }
            Some(Target::V1 | Target::VictoriaMetrics | Target::Core | Target::Enterprise) => {
                format!("Bearer {}", self.0)
            }
            _ => format!("Token {}", self.0),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, &byte| word << 8 | u32::from(byte));
        let word = word << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            text.push(if i > chunk.len() {
                '='
            } else {
                char::from(digit)
            });
        }
    }
    text
}

/// What a server answered to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status of the first line.
    pub status: u16,
    /// `Retry-After`, as sent.
    pub retry_after: Option<String>,
    /// `Date`, as sent.
    pub date: Option<String>,
    /// `Location`, as sent.
    pub location: Option<String>,
    /// `X-Influxdb-Version`, as sent.
    pub version: Option<String>,
    /// `X-Influxdb-Build`, as sent.
    pub build: Option<String>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether the body was longer than what was read of it.
    pub cut: bool,
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The server, or something on the way, ended the connection before it answered.
    #[error("connection closed before an answer: {0}")]
    Closed(String),
    /// No connection, no answer in time, or half an answer: it may be better next time.
    #[error("{0}")]
    Passing(String),
    /// It will be the same next time: an unknown host, a certificate that is not trusted.
    #[error("{0}")]
    Lasting(String),
}

/// What a server is, as far as its answer to `/ping` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// This.
    Target(Target),
    /// An InfluxDB Cloud, with one engine or the other.
    SomeCloud,
}

/// What the server is that answered `/ping` so, and how it called itself.
///
/// # Errors
///
/// What is known of it where that does not settle the matter.
pub fn detect(answer: &Answer) -> Result<(Found, String), String> {
    let version = answer.version.as_deref().unwrap_or_default();
    let build = answer.build.as_deref().unwrap_or_default();
    let called = format!("{version} {build}").trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next();
    let build_is = |word: &str| build.to_ascii_lowercase().contains(word);
    let target = match major {
        _ if build_is("cloud") => return Ok((Found::SomeCloud, called)),
        // What VictoriaMetrics says to everybody; InfluxDB adds its build.
        Some("1") if version == "1.8.0" && build.is_empty() => Target::VictoriaMetrics,
        Some("1") => Target::V1,
        Some("2") => Target::Oss2,
        Some("3") if build_is("enterprise") => Target::Enterprise,
        Some("3") => Target::Core,
        _ if called.is_empty() => {
            return Err(format!(
                "the server does not say what it is: /ping is answered with status {}",
                answer.status
            ));
        }
        _ => return Err(format!("the server calls itself {called}")),
    };
    Ok((Found::Target(target), called))
}

/// What a request carries.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// Nothing: the request is a GET.
    Nothing,
    /// Line protocol, compressed with gzip.
    GzipLines(&'a [u8]),
    /// Line protocol as it is.
    Lines(&'a [u8]),
    /// JSON, for something new.
    Json(&'a [u8]),
    /// JSON that changes a part of something.
    JsonPatch(&'a [u8]),
    /// JSON that replaces something.
    JsonPut(&'a [u8]),
    /// The fields of a form.
    Form(&'a [u8]),
}

/// Something that takes a request to the server and brings the answer back.
pub trait Carrier {
    /// Send one request to `path` (with its query), once.
    ///
    /// # Errors
    ///
    /// [`Trouble`] where no whole answer came.
    fn carry(&mut self, path: &str, payload: Payload<'_>) -> Result<Answer, Trouble>;

    /// Speak to the server as one of this family from here on.
    fn set_target(&mut self, target: Target) {
        let _ = target;
    }

    /// The server does not know our token: whether there is another one by now, which is used from here on.
    fn renew(&mut self) -> bool {
        false
    }

    /// Something that somebody should know of how it is done, once.
    fn news(&mut self) -> Option<&'static str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_by_what_they_say_to_a_ping() {
        let detected = |version: &str, build: &str| {
            let word = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let answer = Answer {
                status: 204,
                version: word(version),
                build: word(build),
                ..Answer::default()
            };
            detect(&answer).map(|(found, _)| found).ok()
        };
        assert_eq!(
            Some(Found::Target(Target::V1)),
            detected("1.6.7~rc0", "OSS")
        );
        assert_eq!(Some(Found::Target(Target::V1)), detected("1.8.0", "OSS"));
        assert_eq!(
            Some(Found::Target(Target::V1)),
            detected("1.11.3-c1.11.3", "ENT")
        );
        assert_eq!(Some(Found::Target(Target::Oss2)), detected("v2.7.6", "OSS"));
        assert_eq!(Some(Found::Target(Target::Oss2)), detected("2.0.4", ""));
        assert_eq!(
            Some(Found::Target(Target::VictoriaMetrics)),
            detected("1.8.0", "")
        );
        let v3 = |build| detected("3.6.0", build);
        assert_eq!(Some(Found::Target(Target::Core)), v3("Core"));
        assert_eq!(Some(Found::Target(Target::Core)), v3(""));
        assert_eq!(Some(Found::Target(Target::Enterprise)), v3("Enterprise"));
        assert_eq!(Some(Found::SomeCloud), detected("", "Cloud2"));
        assert_eq!(None, detected("4.0", ""));
        assert_eq!(None, detected("", ""));
    }

    #[test]
    fn tokens_are_one_visible_word_and_never_shown() {
        let token = Token::new("-abc==\r\n").unwrap();
        assert_eq!("Token -abc==", token.header(Some(Target::Serverless)));
        assert_eq!("Token(…)", format!("{token:?}"));
        for bad in ["", "\n", "a b", "a\nb", "a\tb", " a", "a\u{7f}", "ü"] {
            assert_eq!(None, Token::new(bad), "{bad:?}");
        }
    }

    #[test]
    fn version_1_gets_user_and_password_or_a_bearer() {
        let header = |text| Token::new(text).unwrap().header(Some(Target::V1));
        assert_eq!("Basic dXNlcjpwYXNz", header("user:pass"));
        assert_eq!("Basic dTpw", header("u:p"));
        assert_eq!("Basic dTpwYQ==", header("u:pa"));
        assert_eq!("Basic dTpwYXM=", header("u:pas"));
        assert_eq!("Bearer ey.J.x", header("ey.J.x"));
    }

    #[test]
    fn query_values_keep_only_what_no_parser_reads_otherwise() {
        assert_eq!("a-b_c.d~9", query_value("a-b_c.d~9"));
        assert_eq!(
            "a%20b%26c%23d%2Be%25f%2F%3D%3F",
            query_value("a b&c#d+e%f/=?")
        );
        assert_eq!("%C3%BC%22%0A", query_value("ü\"\n"));
    }
}
