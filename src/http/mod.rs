//! What servers with an InfluxDB write API want and say.

pub mod answer;
pub mod bucket;
pub mod client;
pub mod profile;
pub mod retry;
pub mod said;

use std::fmt;

/// A family of servers: which endpoint takes points, how bodies are limited, how errors read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// InfluxDB Cloud Serverless: version 3 behind the version 2 endpoints.
    Serverless,
    /// InfluxDB Cloud with the TSM engine.
    Cloud,
    /// InfluxDB OSS 2.x.
    Oss2,
    /// InfluxDB 1.x, OSS or Enterprise.
    V1,
    /// VictoriaMetrics, single node.
    VictoriaMetrics,
}

impl Target {
    /// Every target there is.
    pub const ALL: [Self; 5] = [
        Self::Serverless,
        Self::Cloud,
        Self::Oss2,
        Self::V1,
        Self::VictoriaMetrics,
    ];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serverless => "serverless",
            Self::Cloud => "cloud",
            Self::Oss2 => "oss2",
            Self::V1 => "v1",
            Self::VictoriaMetrics => "victoriametrics",
        }
    }

    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The largest body the server takes by default, in bytes before compression.
    pub fn ceiling(self) -> u64 {
        match self {
            // `max-body-size`, and the limit on what Cloud's front proxy lets through.
            Self::V1 => 25_000_000,
            Self::Serverless | Self::Cloud => 50_000_000,
            // OSS 2.x has no limit; the one of VictoriaMetrics serves for both.
            Self::Oss2 | Self::VictoriaMetrics => 64 * 1024 * 1024,
        }
    }

    /// Whether names with backslashes are read as InfluxDB 3 reads them.
    pub fn reads_names_as_v3(self) -> bool {
        self == Self::Serverless
    }

    /// Whether one byte that is not UTF-8 makes the server refuse the whole request.
    pub fn needs_utf8(self) -> bool {
        self == Self::Serverless
    }

    /// Whether the server cuts a body at every line feed, even inside a string.
    pub fn cuts_strings(self) -> bool {
        self == Self::VictoriaMetrics
    }

    /// Whether `/api/v2/buckets` makes buckets.
    pub fn makes_buckets(self) -> bool {
        matches!(self, Self::Serverless | Self::Cloud | Self::Oss2)
    }

    /// Whether the server wants to be told the organisation by name or ID.
    pub fn needs_org(self) -> bool {
        self == Self::Oss2
    }

    /// Path and query of the request that writes into `bucket`, times in nanoseconds.
    ///
    /// For 1.x the bucket is `database/policy`, cut at its first slash; without a policy the
    /// database's default one is meant.
    pub fn write_path(self, org: Option<&str>, bucket: &str) -> String {
        match self {
            Self::V1 => v1_path(bucket),
            Self::VictoriaMetrics => {
                let bucket = query_value(bucket);
                // The bucket has no meaning there, `db` becomes a label.
                format!("/api/v2/write?org=-&bucket={bucket}&db={bucket}&precision=ns")
            }
            Self::Serverless | Self::Cloud | Self::Oss2 => {
                // Ignored by Cloud, where the token decides, but it must not be empty.
                let org = query_value(org.unwrap_or("-"));
                let bucket = query_value(bucket);
                format!("/api/v2/write?org={org}&bucket={bucket}&precision=ns")
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

fn v1_path(bucket: &str) -> String {
    // `ns` is valid from 1.8 on, and what older servers do not know is nanoseconds there.
    match bucket.split_once('/') {
        Some((db, rp)) if !rp.is_empty() => {
            let (db, rp) = (query_value(db), query_value(rp));
            format!("/write?db={db}&rp={rp}&precision=ns")
        }
        Some((db, _)) => format!("/write?db={}&precision=ns", query_value(db)),
        None => format!("/write?db={}&precision=ns", query_value(bucket)),
    }
}

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
            Some(Target::V1 | Target::VictoriaMetrics) => format!("Bearer {}", self.0),
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

/// The family of the server that answered `/ping` so, and how it called itself.
///
/// # Errors
///
/// What is known of it where that does not settle the matter.
pub fn detect(answer: &Answer) -> Result<(Target, String), String> {
    let version = answer.version.as_deref().unwrap_or_default();
    let build = answer.build.as_deref().unwrap_or_default();
    let called = format!("{version} {build}").trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next();
    let is_cloud = build.to_ascii_lowercase().contains("cloud");
    match major {
        _ if is_cloud => Err("the server is an InfluxDB Cloud (--target serverless, or cloud where it has the TSM engine)".to_owned()),
        // What VictoriaMetrics says to everybody; InfluxDB adds its build.
        Some("1") if version == "1.8.0" && build.is_empty() => Ok((Target::VictoriaMetrics, called)),
        Some("1") => Ok((Target::V1, called)),
        Some("2") => Ok((Target::Oss2, called)),
        _ if called.is_empty() => Err(format!(
            "the server does not say what it is: /ping is answered with status {}",
            answer.status
        )),
        _ => Err(format!("the server calls itself {called}")),
    }
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
    /// JSON.
    Json(&'a [u8]),
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
            detect(&answer).map(|(target, _)| target).ok()
        };
        assert_eq!(Some(Target::V1), detected("1.6.7~rc0", "OSS"));
        assert_eq!(Some(Target::V1), detected("1.8.0", "OSS"));
        assert_eq!(Some(Target::V1), detected("1.11.3-c1.11.3", "ENT"));
        assert_eq!(Some(Target::Oss2), detected("v2.7.6", "OSS"));
        assert_eq!(Some(Target::Oss2), detected("2.0.4", ""));
        assert_eq!(Some(Target::VictoriaMetrics), detected("1.8.0", ""));
        assert_eq!(None, detected("", "Cloud2"));
        assert_eq!(None, detected("3.6.0", "Core"));
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
    fn every_target_is_found_by_its_name() {
        for target in Target::ALL {
            assert_eq!(Some(target), Target::named(target.name()));
        }
        assert_eq!(None, Target::named("Serverless"));
        assert_eq!(None, Target::named("auto"));
    }

    #[test]
    fn version_2_writes_name_organisation_bucket_and_precision() {
        assert_eq!(
            "/api/v2/write?org=my%20org&bucket=example-db%2Fautogen&precision=ns",
            Target::Oss2.write_path(Some("my org"), "example-db/autogen")
        );
        assert_eq!(
            "/api/v2/write?org=-&bucket=b&precision=ns",
            Target::Serverless.write_path(None, "b")
        );
    }

    #[test]
    fn version_1_writes_cut_the_bucket_at_its_first_slash() {
        let path = |bucket| Target::V1.write_path(None, bucket);
        assert_eq!("/write?db=d&rp=r&precision=ns", path("d/r"));
        assert_eq!("/write?db=d&rp=r%2Fs&precision=ns", path("d/r/s"));
        assert_eq!("/write?db=d&precision=ns", path("d"));
        assert_eq!("/write?db=d&precision=ns", path("d/"));
    }

    #[test]
    fn victoriametrics_gets_the_bucket_as_database_too() {
        assert_eq!(
            "/api/v2/write?org=-&bucket=d%2Fr&db=d%2Fr&precision=ns",
            Target::VictoriaMetrics.write_path(None, "d/r")
        );
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
