//! `meta.db`.

use prost::Message;

/// A shard group with one shard of the same number.
#[derive(Clone, PartialEq, Message)]
pub struct Group {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub start: i64,
    #[prost(int64, tag = "3")]
    pub end: i64,
    /// Not 0 if it is deleted.
    #[prost(int64, tag = "4")]
    pub deleted_at: i64,
    #[prost(message, repeated, tag = "5")]
    shards: Vec<Shard>,
}

#[derive(Clone, PartialEq, Message)]
struct Shard {
    #[prost(uint64, tag = "1")]
    id: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Policy {
    #[prost(string, tag = "1")]
    name: String,
    /// Nanoseconds.
    #[prost(int64, tag = "2")]
    duration: i64,
    #[prost(message, repeated, tag = "5")]
    groups: Vec<Group>,
}

#[derive(Clone, PartialEq, Message)]
struct Database {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    policies: Vec<Policy>,
}

#[derive(Clone, PartialEq, Message)]
struct Data {
    #[prost(uint64, optional, tag = "1")]
    term: Option<u64>,
    #[prost(message, repeated, tag = "5")]
    databases: Vec<Database>,
    #[prost(uint64, optional, tag = "9")]
    max_shard_id: Option<u64>,
}

/// A group with one shard, of these times.
pub fn group(id: u64, start: i64, end: i64, is_deleted: bool) -> Group {
    Group {
        id,
        start,
        end,
        deleted_at: i64::from(is_deleted),
        shards: vec![Shard { id }],
    }
}

/// The metadata of a server: database, policy, period in seconds, groups. Policies of one database stand together.
pub fn file(policies: &[(&str, &str, i64, Vec<Group>)]) -> Vec<u8> {
    let mut databases: Vec<Database> = Vec::new();
    for (database, policy, period, groups) in policies {
        if databases.last().is_none_or(|last| last.name != *database) {
            databases.push(Database {
                name: (*database).to_owned(),
                policies: Vec::new(),
            });
        }
        databases.last_mut().unwrap().policies.push(Policy {
            name: (*policy).to_owned(),
            duration: period * 1_000_000_000,
            groups: groups.clone(),
        });
    }
    let data = Data {
        term: Some(1),
        databases,
        max_shard_id: Some(9),
    };
    data.encode_to_vec()
}
