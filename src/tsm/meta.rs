//! `meta.db`: which databases, retention policies and shards a server knows.
//!
//! A bare protobuf message. Names are taken as bytes: nobody checks that they are UTF-8.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;

/// Why `meta.db` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// It is no protobuf message of this kind.
    #[error("metadata: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It ends between two of its parts.
    #[error("metadata ends early")]
    Cut,
}

/// What a server knows of its databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    databases: Vec<Database>,
    shards: HashMap<u64, Shard>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: Vec<u8>,
    /// The policy of points that name none; may be empty.
    pub default_policy: Vec<u8>,
    /// Its retention policies.
    pub policies: Vec<Policy>,
}

/// A retention policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: Vec<u8>,
    /// How long points are kept. Zero: for ever.
    pub period: Duration,
}

/// A shard and the group it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The name of its database.
    pub database: Vec<u8>,
    /// The name of its retention policy.
    pub policy: Vec<u8>,
    /// The first time that belongs to the group.
    pub start: i64,
    /// The first time behind the group.
    pub end: i64,
    /// Whether queries no longer see it, though its files may still be there.
    pub deleted: bool,
}

impl Meta {
    /// Read the whole of a `meta.db`.
    pub fn parse(file: &[u8]) -> Result<Self, MetaError> {
        let data = Data::decode(file)?;
        // The server writes these two always, the second behind all that matters here.
        if data.term.is_none() || data.max_shard_id.is_none() {
            return Err(MetaError::Cut);
        }
        let mut meta = Self::default();
        for database in data.databases {
            meta.add(database);
        }
        Ok(meta)
    }

    fn add(&mut self, info: DatabaseInfo) {
        let mut policies = Vec::new();
        for policy in info.policies {
            for group in &policy.groups {
                self.add_group(&info.name, &policy.name, group);
            }
            policies.push(Policy {
                name: policy.name,
                period: Duration::from_nanos(policy.duration.try_into().unwrap_or(0)),
            });
        }
        self.databases.push(Database {
            name: info.name,
            default_policy: info.default_policy,
            policies,
        });
    }

    fn add_group(&mut self, database: &[u8], policy: &[u8], group: &GroupInfo) {
        let shard = Shard {
            database: database.to_vec(),
            policy: policy.to_vec(),
            start: group.start,
            end: group.end,
            deleted: group.deleted_at != 0,
        };
        let ids = group.shards.iter().map(|info| info.id);
        self.shards.extend(ids.map(|id| (id, shard.clone())));
    }

    /// The databases, in the order the server lists them.
    pub fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// The database of this name.
    pub fn database(&self, name: &[u8]) -> Option<&Database> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// The policy of points that name none.
    pub fn default_policy(&self, database: &[u8]) -> Option<&[u8]> {
        let database = self.database(database)?;
        let name = database.default_policy.as_slice();
        (!name.is_empty()).then_some(name)
    }

    /// How long a policy keeps points. Zero: for ever.
    pub fn period(&self, database: &[u8], policy: &[u8]) -> Option<Duration> {
        let policies = &self.database(database)?.policies;
        let policy = policies.iter().find(|known| known.name == policy)?;
        Some(policy.period)
    }

    /// What is known of the shard with this number.
    pub fn shard(&self, id: u64) -> Option<&Shard> {
        self.shards.get(&id)
    }

    /// The numbers of all known shards, ascending.
    pub fn shards(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.shards.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}

#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(uint64, optional, tag = "1")]
    term: Option<u64>,
    #[prost(message, repeated, tag = "5")]
    databases: Vec<DatabaseInfo>,
    #[prost(uint64, optional, tag = "9")]
    max_shard_id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct DatabaseInfo {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    default_policy: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    policies: Vec<PolicyInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct PolicyInfo {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    duration: i64,
    #[prost(message, repeated, tag = "5")]
    groups: Vec<GroupInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct GroupInfo {
    #[prost(int64, tag = "2")]
    start: i64,
    #[prost(int64, tag = "3")]
    end: i64,
    #[prost(int64, tag = "4")]
    deleted_at: i64,
    #[prost(message, repeated, tag = "5")]
    shards: Vec<ShardInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct ShardInfo {
    #[prost(uint64, tag = "1")]
    id: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tsm::encoding::testing::{T, hex};

    const VECTOR: &str = concat!(
        "0800100218012a610a0364623012076175746f67656e1a510a076175746f67656e1000188080a4c9ffc18901",
        "20012a1c0801108080c085bae9959916188080e4ceb9ab9f9a1620002a0208012a1b08021000188080a4c9ff",
        "c1890120808080c5ddf0959a162a020802380040024802"
    );

    #[test]
    fn metadata_of_a_server_is_read() {
        let meta = Meta::parse(&hex(VECTOR)).unwrap();
        let names: Vec<_> = meta.databases().iter().map(|d| d.name.as_slice()).collect();
        assert_eq!(vec![b"db0"], names);
        assert_eq!(Some(b"autogen".as_slice()), meta.default_policy(b"db0"));
        assert_eq!(Some(Duration::ZERO), meta.period(b"db0", b"autogen"));
        assert_eq!(vec![1, 2], meta.shards());
        let first = meta.shard(1).unwrap();
        let group = (1_599_436_800_000_000_000, 1_600_041_600_000_000_000, false);
        assert_eq!(group, (first.start, first.end, first.deleted));
        assert!((first.start..first.end).contains(&T));
        let second = meta.shard(2).unwrap();
        assert_eq!(
            (0, 604_800_000_000_000, true),
            (second.start, second.end, second.deleted)
        );
        assert_eq!(
            (&b"db0"[..], &b"autogen"[..]),
            (&second.database[..], &second.policy[..])
        );
    }

    #[test]
    fn what_is_not_known_is_nothing() {
        let meta = Meta::parse(&hex(VECTOR)).unwrap();
        assert_eq!(None, meta.default_policy(b"db1"));
        assert_eq!(None, meta.period(b"db0", b"other"));
        assert_eq!(None, meta.shard(3));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let file = hex(VECTOR);
        for n in 0..file.len() {
            assert!(Meta::parse(&file[..n]).is_err(), "{n}");
        }
    }

    fn fixture(path: &str) -> Meta {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/");
        let file = std::fs::read(format!("{root}{path}/meta/meta.db")).unwrap();
        (0..file.len()).for_each(|n| assert!(Meta::parse(&file[..n]).is_err(), "{n}"));
        Meta::parse(&file).unwrap()
    }

    #[test]
    fn periods_of_a_real_server_are_read() {
        let meta = fixture("influxdb-1.6");
        let hours = |n: u64| Some(Duration::from_secs(n * 3600));
        let period = |policy: &str| meta.period(b"example-db", policy.as_bytes());
        assert_eq!(hours(0), period("autogen"));
        assert_eq!(hours(30 * 24), period("historical-1mo"));
        assert_eq!(Some(&b"monitor"[..]), meta.default_policy(b"_internal"));
        let odd = "my db, 100% \"ünï\"".as_bytes();
        assert!(meta.period(odd, b"rp with space, comma").is_some());
        let shard = meta.shard(92).unwrap();
        assert_eq!(
            (&b"torn"[..], &b"autogen"[..]),
            (&shard.database[..], &shard.policy[..])
        );
        assert!(shard.start < shard.end && !shard.deleted);
    }

    #[test]
    fn every_fixture_is_read() {
        for path in ["influxdb-1.6-uint64", "influxdb-1.6-broken"] {
            assert!(!fixture(path).shards().is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_are_an_error(file: Vec<u8>, cut: prop::sample::Index, put: u8) {
            let _ = Meta::parse(&file);
            let mut file = hex(VECTOR);
            let at = cut.index(file.len());
            file[at] = put;
            let _ = Meta::parse(&file);
        }
    }
}
