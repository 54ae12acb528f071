//! What is to be exported, and in which order? The shards below all paths with what `meta.db` knows of them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::tsm::backup;
use crate::tsm::meta::{Meta, MetaError};
use crate::tsm::place::{self, Error, Names};
use crate::tsm::shard::Files;
use crate::tsm::source::Source;
use crate::tsm::tree::{self, Found, Logs, Stray, Tree, Wanted};

/// One shard to export.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Whose it is, as far as that is known.
    pub names: Names,
    /// How messages call it.
    pub label: String,
    /// Where its files are.
    pub files: Files,
    /// How long its policy keeps points, in seconds; 0 is for ever.
    pub period: Option<u64>,
    /// The first time of its group.
    pub start: Option<i64>,
    /// How large its data files are together.
    pub bytes: u64,
}

/// Something worth telling about what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Something that does not belong where it is.
    Stray(Stray),
    /// `meta.db` is there and cannot be used.
    Meta(PathBuf, String),
    /// Shards that `meta.db` does not know; they are exported.
    Unknown(Vec<String>),
    /// A path outside of a tree, for which no log is looked for.
    WithoutLog(PathBuf),
}

/// All shards that are wanted.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// In the order of the output.
    pub shards: Vec<Listed>,
    /// Databases called `_internal` that were left out.
    pub internal: u64,
    /// Shards that were left out because `meta.db` marks their group as deleted.
    pub deleted: u64,
    /// What is worth telling.
    pub notes: Vec<Note>,
    /// The folder for what is unpacked; `None` where the system keeps temporary files.
    pub spool: Option<PathBuf>,
}

impl Catalog {
    /// Add what is below `paths`: folders, and files named one by one.
    pub fn add_paths(
        &mut self,
        paths: &[PathBuf],
        wanted: &Wanted,
        logs: &Logs,
    ) -> Result<(), Error> {
        let (files, folders): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.is_file());
        for path in folders {
            let backups = tree::backups(path, wanted, self.spool.as_deref())?;
            let tree = match backups {
                Some(tree) => tree,
                None => tree::walk(path, wanted, logs)?,
            };
            self.add_tree(path, tree);
        }
        self.add_files(&files, wanted)
    }

    /// Add a file that is open already.
    pub fn add_opened(
        &mut self,
        name: &Path,
        source: Source,
        wanted: &Wanted,
    ) -> Result<(), Error> {
        let names = tree::names_for(name, Names::default(), wanted)?;
        let files = Files {
            opened: vec![(name.to_path_buf(), source)],
            ..Files::default()
        };
        self.shards.push(Listed {
            label: name.display().to_string(),
            names,
            files,
            period: None,
            start: None,
            bytes: 0,
        });
        Ok(())
    }

    /// Add the shards of a tree.
    pub fn add_tree(&mut self, path: &Path, tree: Tree) {
        self.internal += tree.internal;
        self.notes.extend(tree.strays.into_iter().map(Note::Stray));
        if tree.without_logs {
            self.notes.push(Note::WithoutLog(path.to_path_buf()));
        }
        let packed = |known: Option<(PathBuf, Vec<u8>)>,
                      parse: fn(&[u8]) -> Result<Meta, MetaError>| {
            known.map(|(path, bytes)| (path, parse(&bytes).map_err(|err| err.to_string())))
        };
        let meta = packed(tree.archived_meta, Meta::parse)
            .or_else(|| packed(tree.backup_meta, backup::meta))
            .or_else(|| tree.meta.and_then(meta_of));
        let meta = meta.and_then(|(path, meta)| match meta {
            Ok(meta) => Some(meta),
            Err(trouble) => {
                self.notes.push(Note::Meta(path, trouble));
                None
            }
        });
        let mut unknown = Vec::new();
        for found in tree.shards {
            self.add_shard(found, meta.as_ref(), &mut unknown);
        }
        if !unknown.is_empty() {
            self.notes.push(Note::Unknown(unknown));
        }
    }

    fn add_shard(&mut self, found: Found, meta: Option<&Meta>, unknown: &mut Vec<String>) {
        let label = found.label();
        let Names {
            database,
            policy,
            shard,
        } = &found.names;
        let (database, policy) = (database.as_ref(), policy.as_ref());
        let known = meta.zip(*shard).and_then(|(meta, id)| meta.shard(id));
        // Ids are unique in a server; another owner means that the folder is not of this server.
        let known = known.filter(|known| {
            Some(&*known.database) == database.map(|name| &***name)
                && Some(&*known.policy) == policy.map(|name| &***name)
        });
        match known {
            Some(known) if known.deleted => {
                self.deleted += 1;
                return;
            }
            None if meta.is_some() => unknown.push(label.clone()),
            _ => {}
        }
        let names = database.zip(policy);
        let period = meta
            .zip(names)
            .and_then(|(meta, (database, policy))| meta.period(database, policy));
        self.shards.push(Listed {
            label,
            period: period.map(|period| period.as_secs()),
            start: known.map(|known| known.start),
            bytes: 0,
            files: found.held.unwrap_or(Files {
                data: Some(found.data),
                wal: found.wal,
                ..Files::default()
            }),
            names: found.names,
        });
    }

    /// Files of one folder are taken for files of one shard.
    fn add_files(&mut self, paths: &[&PathBuf], wanted: &Wanted) -> Result<(), Error> {
        let mut folders: Vec<(PathBuf, Listed)> = Vec::new();
        let mut seen = BTreeSet::new();
        for path in paths {
            let real = fs::canonicalize(path).map_err(|err| Error::at(path, err))?;
            if !seen.insert(real.clone()) {
                return Err(Error::Twice(format!("{}: is named twice", path.display())));
            }
            let folder = real.parent().unwrap_or(Path::new("/")).to_path_buf();
            if let Some((_, listed)) = folders.iter_mut().find(|(known, _)| *known == folder) {
                listed.files.named.push((*path).clone());
                continue;
            }
            let names = tree::names_for(path, place::names_of_file(&real), wanted)?;
            let listed = Listed {
                label: path.display().to_string(),
                names,
                files: Files {
                    named: vec![(*path).clone()],
                    ..Files::default()
                },
                period: None,
                start: None,
                bytes: 0,
            };
            folders.push((folder, listed));
        }
        self.shards
            .extend(folders.into_iter().map(|(_, listed)| listed));
        Ok(())
    }

    /// Put the shards into the order of the output. The same shard twice is an error.
    pub fn settle(&mut self) -> Result<(), Error> {
        let shards = self.shards.iter_mut();
        shards.for_each(|listed| listed.bytes = listed.files.bytes());
        self.shards.sort_by(|a, b| key(a).cmp(&key(b)));
        let twins = self.shards.windows(2).find_map(|pair| match pair {
            [a, b] if is_same(a, b) => Some((a, b)),
            _ => None,
        });
        let Some((a, b)) = twins else {
            return Ok(());
        };
        let place = |listed: &Listed| {
            let folder = listed.files.data.as_ref().or(listed.files.named.first());
            folder
                .map(|path| path.display().to_string())
                .unwrap_or_default()
        };
        let (label, a, b) = (&a.label, place(a), place(b));
        Err(Error::Twice(format!(
            "shard {label} is there twice: {a} and {b}"
        )))
    }
}

/// What the server knows; missing is fine, as is one that cannot be used, though that is told.
fn meta_of(path: PathBuf) -> Option<(PathBuf, Result<Meta, String>)> {
    let meta = match fs::read(&path) {
        Ok(bytes) => Meta::parse(&bytes).map_err(|err| err.to_string()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => return None,
        Err(err) => Err(err.to_string()),
    };
    Some((path, meta))
}

/// Databases and policies by name, shards by start where it is known and else by id.
fn key(listed: &Listed) -> impl Ord {
    let Names {
        database,
        policy,
        shard,
    } = listed.names.clone();
    let start = listed.start;
    (
        database,
        policy,
        shard.is_some(),
        start.is_none(),
        start,
        shard,
        listed.label.clone(),
    )
}

fn is_same(a: &Listed, b: &Listed) -> bool {
    let real = |listed: &Listed| fs::canonicalize(listed.files.data.as_ref()?).ok();
    let is_named =
        a.names.database.is_some() && a.names.policy.is_some() && a.names.shard.is_some();
    (is_named && a.names == b.names) || real(a).is_some_and(|path| Some(path) == real(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(database: &str, policy: &str, shard: u64, start: Option<i64>) -> Listed {
        Listed {
            names: Names {
                database: Some(database.into()),
                policy: Some(policy.into()),
                shard: Some(shard),
            },
            label: format!("{database}/{policy}/{shard}"),
            files: Files::default(),
            period: None,
            start,
            bytes: 0,
        }
    }

    fn labels(catalog: &Catalog) -> Vec<&str> {
        catalog.shards.iter().map(|listed| &*listed.label).collect()
    }

    #[test]
    fn names_come_first_then_start_then_id() {
        let mut catalog = Catalog {
            shards: vec![
                listed("b", "p", 1, Some(0)),
                listed("a", "q", 2, None),
                listed("a", "p", 5, None),
                listed("a", "p", 4, None),
                listed("a", "p", 9, Some(-7)),
                listed("a", "p", 3, Some(8)),
            ],
            ..Catalog::default()
        };
        catalog.settle().unwrap();
        assert_eq!(
            vec!["a/p/9", "a/p/3", "a/p/4", "a/p/5", "a/q/2", "b/p/1"],
            labels(&catalog)
        );
    }

    #[test]
    fn the_same_shard_twice_is_refused() {
        let mut catalog = Catalog {
            shards: vec![
                listed("a", "p", 1, None),
                listed("a", "p", 2, None),
                listed("a", "p", 1, None),
            ],
            ..Catalog::default()
        };
        assert!(matches!(catalog.settle(), Err(Error::Twice(_))));
    }

    #[test]
    fn files_of_one_folder_are_one_shard_and_the_layout_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"").unwrap();
            path
        };
        let paths = [
            file("data/db/rp/7/000000001-000000001.tsm"),
            file("data/db/rp/7/000000002-000000001.tsm"),
            file("else/a.tsm"),
        ];
        let mut catalog = Catalog::default();
        catalog
            .add_paths(&paths, &Wanted::default(), &Logs::Layout)
            .unwrap();
        let names: Vec<_> = catalog
            .shards
            .iter()
            .map(|listed| (listed.names.shard, listed.files.named.len()))
            .collect();
        assert_eq!(vec![(Some(7), 2), (None, 1)], names);
        let twice = [paths[2].clone(), paths[2].clone()];
        let err = Catalog::default().add_paths(&twice, &Wanted::default(), &Logs::Layout);
        assert!(matches!(err, Err(Error::Twice(_))));
    }
}
