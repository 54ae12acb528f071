//! Portable backups (`influxd backup -portable`, 1.5 and later): which archive holds which shard?
//!
//! ```text
//! 20180401T120000Z.manifest       JSON: the files of one backup
//! 20180401T120000Z.meta           protobuf: 1 meta.db, 2 highest node id
//! 20180401T120000Z.s12.tar.gz     DATABASE/POLICY/12/000000001-000000001.tsm ...
//! ```
//!
//! A folder can hold several backups. As for a restore the newest archive of a shard counts, and the newest metadata.

use std::collections::BTreeMap;

use bstr::BString;
use prost::Message;
use serde_json::Value;

use super::meta::{Meta, MetaError};
use super::place::Names;

/// The end of a manifest's name.
pub const MANIFEST: &str = ".manifest";

/// What is wrong with a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON.
    #[error("manifest is damaged: {0}")]
    Json(String),
    /// Something is not there, or of another type.
    #[error("manifest does not say {0}")]
    Missing(&'static str),
    /// A file that cannot be beside the manifest.
    #[error("manifest names a file {0:?}, which is no plain name")]
    Name(String),
}

/// The archive of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Whose it is.
    pub names: Names,
    /// The name of the archive, beside the manifest.
    pub file: String,
    /// When the shard last changed, as the server said; 0 if it did not.
    changed: i64,
}

/// What the manifests of a folder say together.
#[derive(Clone, Debug, Default)]
pub struct Backup {
    /// The name of the newest file of metadata.
    pub meta: Option<String>,
    shards: BTreeMap<u64, Packed>,
    /// Archives that a newer one has replaced.
    pub replaced: u64,
}

impl Backup {
    /// Add a manifest that is older than those before it.
    pub fn add(&mut self, manifest: &[u8]) -> Result<(), Fault> {
        let manifest: Value =
            serde_json::from_slice(manifest).map_err(|err| Fault::Json(err.to_string()))?;
        let files = manifest.get("files").ok_or(Fault::Missing("its files"))?;
        // A backup of nothing has none.
        for file in files.as_array().map(Vec::as_slice).unwrap_or_default() {
            self.shard(file)?;
        }
        let meta = manifest.get("meta").and_then(|meta| meta.get("fileName"));
        if let (None, Some(name)) = (&self.meta, meta) {
            self.meta = Some(file_name(name)?);
        }
        Ok(())
    }

    fn shard(&mut self, entry: &Value) -> Result<(), Fault> {
        let text = |key: &'static str| {
            let text = entry.get(key).and_then(Value::as_str);
            text.map(BString::from).ok_or(Fault::Missing(key))
        };
        let id = entry.get("shardID").and_then(Value::as_u64);
        let id = id.ok_or(Fault::Missing("shardID"))?;
        let packed = Packed {
            names: Names {
                database: Some(text("database")?),
                policy: Some(text("policy")?),
                shard: Some(id),
            },
            file: file_name(entry.get("fileName").unwrap_or(&Value::Null))?,
            changed: entry
                .get("lastModified")
                .and_then(Value::as_i64)
                .unwrap_or(0),
        };
        let known = self.shards.get(&id);
        self.replaced += u64::from(known.is_some());
        if known.is_none_or(|known| packed.changed > known.changed) {
            self.shards.insert(id, packed);
        }
        Ok(())
    }

    /// The newest archive of each shard.
    pub fn shards(&self) -> impl Iterator<Item = &Packed> {
        self.shards.values()
    }
}

/// A name without a folder in it: the manifest may come from anywhere.
fn file_name(value: &Value) -> Result<String, Fault> {
    let name = value.as_str().ok_or(Fault::Missing("fileName"))?;
    let is_plain = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    match is_plain {
        true => Ok(name.to_owned()),
        false => Err(Fault::Name(name.to_owned())),
    }
}

#[derive(Clone, PartialEq, Message)]
struct Portable {
    #[prost(bytes = "vec", optional, tag = "1")]
    data: Option<Vec<u8>>,
}

/// What the server knows, from the file of metadata.
pub fn meta(file: &[u8]) -> Result<Meta, MetaError> {
    let portable = Portable::decode(file)?;
    Meta::parse(&portable.data.ok_or(MetaError::Cut)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(stamp: &str, shards: &[(u64, i64)]) -> Vec<u8> {
        let file = |(id, changed): &(u64, i64)| {
            format!(
                r#"{{"database":"d b","policy":"p","shardID":{id},"fileName":"{stamp}.s{id}.tar.gz","size":2048,"lastModified":{changed}}}"#
            )
        };
        let files: Vec<_> = shards.iter().map(file).collect();
        let files = files.join(",");
        format!(
            r#"{{"meta":{{"fileName":"{stamp}.meta","size":1}},"limited":false,"files":[{files}]}}"#
        )
        .into_bytes()
    }

    fn files(backup: &Backup) -> Vec<&str> {
        backup.shards().map(|packed| &*packed.file).collect()
    }

    #[test]
    fn the_newest_archive_of_each_shard_counts() {
        let mut backup = Backup::default();
        backup.add(&manifest("3", &[(1, 0), (2, 5)])).unwrap();
        backup
            .add(&manifest("2", &[(1, 0), (2, 6), (3, 0)]))
            .unwrap();
        backup.add(&manifest("1", &[])).unwrap();
        let expected = vec!["3.s1.tar.gz", "2.s2.tar.gz", "2.s3.tar.gz"];
        assert_eq!(expected, files(&backup));
        assert_eq!(
            (Some("3.meta"), 2),
            (backup.meta.as_deref(), backup.replaced)
        );
        let names = &backup.shards().next().unwrap().names;
        assert_eq!(
            (Some("d b".into()), Some(1)),
            (names.database.clone(), names.shard)
        );
    }

    #[test]
    fn a_manifest_that_names_files_elsewhere_or_none_is_refused() {
        let with = |name: &str| {
            let text = String::from_utf8(manifest("1", &[(1, 0)])).unwrap();
            Backup::default().add(text.replace("1.s1.tar.gz", name).as_bytes())
        };
        for name in ["../x", "/etc/passwd", "", ".", "..", "a/b"] {
            assert_eq!(Err(Fault::Name(name.into())), with(name));
        }
        assert_eq!(Ok(()), with("x"));
        for text in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"files":[{}]}"#,
            r#"{"files":[{"shardID":-1}]}"#,
        ] {
            assert!(Backup::default().add(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Ok(()), Backup::default().add(br#"{"files":null}"#));
    }

    #[test]
    fn metadata_of_a_real_backup_is_read_and_no_part_of_it() {
        let root = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/influxdb-1.6-backup/"
        );
        let file = std::fs::read(format!("{root}20261122T184240Z.meta")).unwrap();
        let known = meta(&file).unwrap();
        assert_eq!(b"typeconf", &known.shard(64).unwrap().database[..]);
        // The last two bytes are the highest node id.
        for n in (0..file.len() - 2).chain([file.len() - 1]) {
            assert!(meta(&file[..n]).is_err(), "{n}");
        }
    }
}
