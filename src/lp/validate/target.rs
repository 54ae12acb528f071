//! What the servers of one kind take.

use super::keys::reserved_name;

/// A kind of server to write to: one for all that have the same rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// InfluxDB OSS 1.x.
    V1,
    /// InfluxDB OSS 2.x.
    V2,
    /// InfluxDB Cloud Serverless.
    Serverless,
    /// InfluxDB 3 Core.
    Core,
}

/// How many tables there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableLimit {
    /// In one bucket.
    Bucket(usize),
    /// In all databases together.
    Server(usize),
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 4] = [Self::V1, Self::V2, Self::Serverless, Self::Core];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "oss2",
            Self::Serverless => "serverless",
            Self::Core => "core",
        }
    }

    /// Whether it reads names as InfluxDB 3 does.
    pub fn is_v3(self) -> bool {
        matches!(self, Self::Serverless | Self::Core)
    }

    /// Whether it stores unsigned integers.
    pub(super) fn has_unsigned(self) -> bool {
        self != Self::V1
    }

    /// The longest string value, and in InfluxDB 3 the longest name, in bytes without escapes.
    pub(super) fn string_limit(self) -> usize {
        match self {
            Self::Serverless => 65_536,
            _ => 1_048_576,
        }
    }

    /// Why it does not store a tag or a field under this name.
    pub fn reserves(self, name: &[u8], is_tag: bool) -> Option<&'static str> {
        Some(reserved_name(name, is_tag, self)?.1)
    }

    /// The most tables that it holds.
    pub fn table_limit(self) -> Option<TableLimit> {
        match self {
            Self::V1 | Self::V2 => None,
            Self::Serverless => Some(TableLimit::Bucket(500)),
            Self::Core => Some(TableLimit::Server(2000)),
        }
    }

    /// The most tags and fields that a table can hold beside the time.
    pub fn column_limit(self) -> usize {
        match self {
            Self::V1 | Self::V2 => usize::MAX,
            Self::Serverless => 199,
            Self::Core => 499,
        }
    }
}
