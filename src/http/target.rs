//! What kinds of servers are there, and what does each want of a request to write?

use std::fmt;

use crate::http::name::Rules;
use crate::http::query_value;

/// A family of servers: which endpoint takes points, how bodies are limited, how names are read.
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
    /// InfluxDB 3 Core.
    Core,
    /// InfluxDB 3 Enterprise.
    Enterprise,
    /// InfluxDB Clustered: version 3 behind the version 2 endpoints, on machines of one's own.
    Clustered,
    /// InfluxDB Cloud Dedicated.
    Dedicated,
    /// VictoriaMetrics, single node.
    VictoriaMetrics,
}

/// How buckets, or what stands for them, are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catalog {
    /// `/api/v2/buckets`.
    Buckets,
    /// `/api/v3/configure/database`.
    Databases,
    /// `CREATE DATABASE` and `CREATE RETENTION POLICY`.
    Statements,
    /// Not by those who write; this is the way.
    Elsewhere(&'static str),
}

/// The organisation to write for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Org {
    /// By name, or by ID where it looks like one: servers take either.
    Name(String),
    /// By ID.
    Id(String),
}

impl Org {
    /// Name or ID as text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Name(text) | Self::Id(text) => text,
        }
    }
}

impl Target {
    /// Every target there is.
    pub const ALL: [Self; 9] = [
        Self::Serverless,
        Self::Cloud,
        Self::Oss2,
        Self::V1,
        Self::Core,
        Self::Enterprise,
        Self::Clustered,
        Self::Dedicated,
        Self::VictoriaMetrics,
    ];

    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serverless => "serverless",
            Self::Cloud => "cloud",
            Self::Oss2 => "oss2",
            Self::V1 => "v1",
            Self::Core => "core",
            Self::Enterprise => "enterprise",
            Self::Clustered => "clustered",
            Self::Dedicated => "dedicated",
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
            Self::Serverless | Self::Cloud | Self::Clustered | Self::Dedicated => 50_000_000,
            // `--max-http-request-size`, before and after compression.
            Self::Core | Self::Enterprise => 10 << 20,
            // OSS 2.x has no limit; the one of VictoriaMetrics serves for both.
            Self::Oss2 | Self::VictoriaMetrics => 64 << 20,
        }
    }

    /// Whether names with backslashes are read as InfluxDB 3 reads them, and a column has one type for good.
    pub fn is_v3(self) -> bool {
        matches!(
            self,
            Self::Serverless | Self::Core | Self::Enterprise | Self::Clustered | Self::Dedicated
        )
    }

    /// Whether the server cuts a body at every line feed, even inside a string.
    pub fn cuts_strings(self) -> bool {
        self == Self::VictoriaMetrics
    }

    /// How buckets are made.
    pub fn catalog(self) -> Catalog {
        match self {
            Self::Serverless | Self::Cloud | Self::Oss2 => Catalog::Buckets,
            Self::Core | Self::Enterprise => Catalog::Databases,
            Self::V1 => Catalog::Statements,
            Self::Clustered | Self::Dedicated => {
                Catalog::Elsewhere("its databases are made by influxctl database create")
            }
            Self::VictoriaMetrics => {
                Catalog::Elsewhere("it has no buckets: database and policy become the label db")
            }
        }
    }

    /// Whether the server wants to be told the organisation by name or ID.
    pub fn needs_org(self) -> bool {
        self == Self::Oss2
    }

    /// Which names of buckets the server takes.
    pub fn names(self) -> Rules {
        Rules::named(self.name()).unwrap_or_default()
    }

    /// Path and query of the request that writes into `bucket`, times in nanoseconds.
    ///
    /// For 1.x the bucket is `database/policy`, cut at its first slash; without a policy the
    /// database's default one is meant.
    pub fn write_path(self, org: Option<&Org>, bucket: &str) -> String {
        let named = query_value(bucket);
        match self {
            Self::V1 => v1_path(bucket),
            // Good records are stored whatever stands beside them, and are on disk when the answer comes.
            Self::Core | Self::Enterprise => format!(
                "/api/v3/write_lp?db={named}&precision=nanosecond&accept_partial=true&no_sync=false"
            ),
            Self::VictoriaMetrics => {
                // The bucket has no meaning there, `db` becomes a label.
                format!("/api/v2/write?org=-&bucket={named}&db={named}&precision=ns")
            }
            Self::Serverless | Self::Cloud | Self::Oss2 | Self::Clustered | Self::Dedicated => {
                let org = match org {
                    Some(Org::Name(name)) => format!("org={}", query_value(name)),
                    Some(Org::Id(id)) => format!("orgID={}", query_value(id)),
                    // Ignored by Cloud, where the token decides, but it must not be empty.
                    None => "org=-".to_owned(),
                };
                format!("/api/v2/write?{org}&bucket={named}&precision=ns")
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let name = Org::Name("my org".to_owned());
        assert_eq!(
            "/api/v2/write?org=my%20org&bucket=example-db%2Fautogen&precision=ns",
            Target::Oss2.write_path(Some(&name), "example-db/autogen")
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
    fn version_3_writes_name_the_database_and_the_long_precision() {
        for target in [Target::Core, Target::Enterprise] {
            assert_eq!(
                "/api/v3/write_lp?db=d%2Fr&precision=nanosecond&accept_partial=true&no_sync=false",
                target.write_path(None, "d/r")
            );
        }
        let id = Org::Id("0123".to_owned());
        for target in [Target::Clustered, Target::Dedicated, Target::Serverless] {
            assert_eq!(
                "/api/v2/write?orgID=0123&bucket=d%2Fr&precision=ns",
                target.write_path(Some(&id), "d/r")
            );
        }
    }

    #[test]
    fn every_target_has_rules_for_names() {
        for target in Target::ALL {
            assert!(Rules::named(target.name()).is_some(), "{target}");
        }
        assert_eq!(Target::ALL.len() + 1, Rules::names().count());
    }
}
