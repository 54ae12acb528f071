//! Names of the buckets of a 2.x server, whose folders are called by their ids.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use bstr::{BString, ByteSlice};

use crate::cli::exit::Failure;
use crate::tsm::tree::Wanted;

/// Digits of an id.
const ID: usize = 16;

/// Names by id.
#[derive(Clone, Debug, Default)]
pub struct Buckets(HashMap<BString, BString>);

impl Buckets {
    /// Read a file with an id and a name on each line, with tabs between them; further columns are left alone.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| path.display().to_string())?;
        let mut names = HashMap::new();
        for (i, line) in text.lines().enumerate() {
            let columns = line.split_str("\t").map(<[u8]>::trim_ascii);
            let mut columns = columns.filter(|column| !column.is_empty());
            match (columns.next(), columns.next()) {
                (None, _) | (Some(b"ID"), _) => {}
                (Some(id), Some(name)) if is_id(id) => {
                    names.insert(id.into(), name.into());
                }
                _ => {
                    let (path, line) = (path.display(), i + 1);
                    let text = format!(
                        "{path}:{line}: is no bucket id of 16 digits, a tab and a name (influx bucket list prints them)"
                    );
                    return Err(Failure::Config(text).into());
                }
            }
        }
        Ok(Self(names))
    }

    /// What to call the bucket in the folder of this name; `None` if it is no id.
    pub fn name(&self, id: &[u8]) -> Option<&BString> {
        self.0.get(id.as_bstr())
    }

    /// Take the ids of buckets that are asked for by name.
    pub fn resolve(&self, wanted: &mut Wanted) {
        for database in &mut wanted.databases {
            let mut named = self.0.iter().filter(|(_, name)| *name == database);
            if let Some((id, _)) = named.next() {
                *database = id.clone();
            }
        }
    }
}

/// Whether a folder can be that of a bucket.
pub fn is_id(name: &[u8]) -> bool {
    let is_digit = |c: &u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    name.len() == ID && name.iter().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Buckets> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("names");
        fs::write(&path, text)?;
        Buckets::read(&path)
    }

    #[test]
    fn the_table_of_the_client_is_read_as_it_is() {
        let text = "ID\t\t\tName\t\tRetention\tShard group duration\n0123456789abcdef\ta b \t\t72h0m0s\n\n\
                    fedcba9876543210\tc\n";
        let buckets = read(text).unwrap();
        assert_eq!(Some(&"a b".into()), buckets.name(b"0123456789abcdef"));
        assert_eq!(Some(&"c".into()), buckets.name(b"fedcba9876543210"));
        assert_eq!(None, buckets.name(b"0000000000000000"));
    }

    #[test]
    fn a_line_that_is_something_else_is_told() {
        for text in [
            "0123456789abcdef\n",
            "x\ty\n",
            "0123456789abcdef name\n",
            "0123456789ABCDEF\tn\n",
        ] {
            assert!(
                format!("{}", read(text).unwrap_err()).contains("names:1: "),
                "{text}"
            );
        }
    }

    #[test]
    fn names_that_are_asked_for_become_ids() {
        let buckets = read("0123456789abcdef\tc\n").unwrap();
        let mut wanted = Wanted {
            databases: vec!["c".into(), "d".into()],
            ..Wanted::default()
        };
        buckets.resolve(&mut wanted);
        assert_eq!(vec!["0123456789abcdef", "d"], wanted.databases);
    }
}
