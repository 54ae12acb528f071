//! Which names does a target take for a bucket?

use std::fmt;

use bstr::{BStr, BString, ByteSlice};

/// What a target says about names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    /// What all of InfluxDB from version 2 on refuse.
    #[default]
    Auto,
    /// InfluxDB Cloud, Serverless or with the TSM engine.
    Cloud(&'static str),
    /// InfluxDB OSS 2.x.
    Oss2,
    /// InfluxDB Clustered and Cloud Dedicated.
    Managed(&'static str),
    /// InfluxDB 3 Core and Enterprise.
    V3(&'static str),
    /// InfluxDB 1.x: a database, or a database and a policy.
    V1,
    /// VictoriaMetrics, where the bucket is the value of a label.
    Label,
}

/// Every target there is, and its rules.
const TARGETS: [(&str, Rules); 10] = [
    ("auto", Rules::Auto),
    ("serverless", Rules::Cloud("serverless")),
    ("cloud", Rules::Cloud("cloud")),
    ("oss2", Rules::Oss2),
    ("v1", Rules::V1),
    ("core", Rules::V3("core")),
    ("enterprise", Rules::V3("enterprise")),
    ("clustered", Rules::Managed("clustered")),
    ("dedicated", Rules::Managed("dedicated")),
    ("victoriametrics", Rules::Label),
];

/// A name that a target would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bucket name {name:?} {why}, which {target} refuses")]
pub struct Refused {
    /// The name.
    pub name: BString,
    /// What is wrong with it.
    pub why: &'static str,
    /// Who says so.
    pub target: Rules,
}

impl Rules {
    /// The rules of the target that users call so.
    pub fn named(name: &str) -> Option<Self> {
        let found = TARGETS.iter().find(|(target, _)| *target == name);
        found.map(|(_, rules)| *rules)
    }

    /// The names of all targets.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TARGETS.iter().map(|(name, _)| *name)
    }

    /// Whether the target takes the name.
    pub fn check(self, name: &[u8]) -> Result<(), Refused> {
        match self.misfit(name) {
            None => Ok(()),
            Some(why) => Err(Refused {
                name: name.into(),
                why,
                target: self,
            }),
        }
    }

    /// What is wrong with a name.
    fn misfit(self, name: &[u8]) -> Option<&'static str> {
        let plain = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-' | b'/');
        let leads = name.first().is_some_and(u8::is_ascii_alphanumeric);
        match self {
            _ if name.is_empty() => Some("is empty"),
            Self::Auto | Self::Oss2 | Self::Cloud(_) if name.starts_with(b"_") => {
                Some("begins with an underscore")
            }
            Self::Auto | Self::Oss2 | Self::Cloud(_) if name.contains(&b'"') => {
                Some("holds a double quote")
            }
            Self::Cloud(_) if name.chars().count() < 2 => Some("is shorter than two characters"),
            Self::Managed(_) | Self::V3(_) if name.len() > 64 => Some("is longer than 64 bytes"),
            Self::Managed(_) | Self::V3(_) if !name.iter().all(plain) => {
                Some("holds something else than letters, digits, _, - and /")
            }
            Self::Managed(_) | Self::V3(_) if !leads => Some("begins with no letter or digit"),
            Self::V3(_) if name.ends_with(b"/") => Some("ends in a slash"),
            Self::V3(_) if name.iter().filter(|c| **c == b'/').count() > 1 => {
                Some("holds two slashes")
            }
            Self::V1 => v1_misfit(name.as_bstr()),
            _ => None,
        }
    }
}

fn v1_misfit(name: &BStr) -> Option<&'static str> {
    let mut parts = name.split_str("/");
    let bad = |part: &[u8]| part.is_empty() || part == b"." || part == b"..";
    if name.iter().any(|c| c.is_ascii_control() || *c == b'\\') {
        Some("holds a control character or a backslash")
    } else if parts.clone().count() > 2 {
        Some("holds two slashes")
    } else if parts.any(bad) {
        Some("has an empty part, or . or .. for one")
    } else {
        None
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "InfluxDB from version 2 on",
            Self::Cloud(name) | Self::Managed(name) | Self::V3(name) => name,
            Self::Oss2 => "oss2",
            Self::V1 => "v1",
            Self::Label => "victoriametrics",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The targets that take a name.
    fn takers(name: &str) -> Vec<&'static str> {
        let takes = |(target, rules): &(&'static str, Rules)| {
            rules.check(name.as_bytes()).is_ok().then_some(*target)
        };
        TARGETS.iter().filter_map(takes).collect()
    }

    #[test]
    fn every_target_has_its_own_rules() {
        let all: Vec<_> = Rules::names().collect();
        let but = |refuse: &[&str]| -> Vec<&str> {
            all.iter()
                .copied()
                .filter(|target| !refuse.contains(target))
                .collect()
        };
        let v3 = ["core", "enterprise", "clustered", "dedicated"];
        assert_eq!(all, takers("example-db/autogen"));
        assert_eq!(but(&all), takers(""));
        assert_eq!(but(&["serverless", "cloud"]), takers("b"));
        let clouds = ["serverless", "cloud"];
        assert_eq!(takers("bb"), all);
        assert_eq!(vec!["v1", "victoriametrics"], takers("_internal/monitor"));
        assert_eq!(vec!["v1", "victoriametrics"], takers("a\"b"));
        assert_eq!(but(&v3), takers("my db/ü"));
        assert_eq!(but(&["v1", "core", "enterprise"]), takers("a/b/c"));
        assert_eq!(but(&["v1", "core", "enterprise"]), takers("ab/"));
        assert_eq!(but(&v3), takers(&"x".repeat(65)));
        assert_eq!(all, takers(&"x".repeat(64)));
        assert_eq!(but(&[&v3[..], &["v1"]].concat()), takers("a\\b"));
        assert_eq!(
            but(&[&v3[..], &["v1"], &clouds[..0]].concat()),
            takers("a/..")
        );
    }

    #[test]
    fn a_refusal_says_which_name_and_why() {
        let err = Rules::default().check(b"_x").unwrap_err().to_string();
        assert_eq!(
            "bucket name \"_x\" begins with an underscore, which InfluxDB from version 2 on refuses",
            err
        );
        let err = Rules::named("serverless").unwrap().check(b"x").unwrap_err();
        assert!(
            err.to_string()
                .ends_with("is shorter than two characters, which serverless refuses")
        );
        assert_eq!(None, Rules::named("influx"));
    }
}
