//! What is to be exported, and in which order? The shards below all paths with what `meta.db` knows of them.

mod copies;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bstr::BString;

use crate::tsm::backup;
use crate::tsm::meta::{Meta, MetaError};
use crate::tsm::place::{self, Error, Names};
use crate::tsm::shard::{self, Disk, Extent, Files, Opening, Shard, Trouble};
use crate::tsm::source::Source;
use crate::tsm::tree::{self, Found, Logs, Stray, Tree, Wanted};

/// One shard to export.
#[derive(Clone, Debug, Default)]
pub struct Listed {
    /// Whose it is, as far as that is known.
    pub names: Names,
    /// How messages call it.
    pub label: String,
    /// Where its files are: once, or in several copies, the oldest first. Nowhere for a policy without shards.
    pub copies: Vec<Located>,
    /// How long its policy keeps points, in seconds; 0 is for ever.
    pub period: Option<u64>,
    /// The first time of its group.
    pub start: Option<i64>,
    /// The first time behind its group.
    pub end: Option<i64>,
    /// How large its TSM files and the segments of its log are together.
    pub bytes: u64,
}

/// The files of a shard in one place.
#[derive(Clone, Debug, Default)]
pub struct Located {
    /// Where they are.
    pub files: Files,
    /// What the system says of them.
    pub extent: Extent,
}

impl Listed {
    /// A shard of which nothing is known but its files.
    fn new(names: Names, label: String, files: Files) -> Self {
        let copies = vec![Located {
            files,
            ..Located::default()
        }];
        Self {
            names,
            label,
            copies,
            ..Self::default()
        }
    }

    /// Open it; `None` if it has gone meanwhile.
    pub fn open(&self, disk: &dyn Disk, how: Opening<'_>) -> Result<Option<Shard>, Trouble> {
        shard::open_copies(disk, self.copies.iter().map(|copy| &copy.files), how)
    }

    /// Whether the server has dropped it since it was listed.
    pub fn has_gone(&self) -> bool {
        let has_gone = |folder: &Option<PathBuf>| folder.as_ref().is_some_and(|dir| !dir.is_dir());
        self.copies.iter().any(|Located { files, extent }| {
            (extent.data > 0 && has_gone(&files.data)) || (extent.log > 0 && has_gone(&files.wal))
        })
    }

    /// Whether anything of it changed at this time or later; where nothing says when, it did.
    fn has_changed(&self, since: i64) -> bool {
        let changed = |copy: &Located| copy.extent.changed.is_none_or(|time| time >= since);
        self.copies.iter().any(changed)
    }

    /// Whether its group, if it is known, has times from `first` to `last`.
    pub fn meets(&self, first: i64, last: i64) -> bool {
        match self.start.zip(self.end) {
            // Servers let the times of groups run over at the ends of all time.
            Some((start, end)) if start < end => end > first && start <= last,
            _ => true,
        }
    }
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
    /// Shards that were left out because they have not changed.
    pub unchanged: u64,
    /// What is worth telling.
    pub notes: Vec<Note>,
    /// Databases and policies that have been added.
    pub policies: BTreeSet<(Option<BString>, Option<BString>)>,
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
            self.add_tree(path, tree, wanted)?;
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
        let label = name.display().to_string();
        self.shards.push(Listed::new(names, label, files));
        Ok(())
    }

    /// Add the shards of a tree.
    pub fn add_tree(&mut self, path: &Path, tree: Tree, wanted: &Wanted) -> Result<(), Error> {
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
            .or_else(|| packed(tree.backup_meta, backup::meta));
        let meta = match (meta, tree.meta) {
            (None, Some(path)) => meta_of(path)?,
            (meta, _) => meta,
        };
        let meta = meta.and_then(|(path, meta)| match meta {
            Ok(meta) => Some(meta),
            Err(trouble) => {
                self.notes.push(Note::Meta(path, trouble));
                None
            }
        });
        let mut unknown = Vec::new();
        for found in tree.shards {
            self.add_shard(found, meta.as_ref(), wanted, &mut unknown)?;
        }
        if !unknown.is_empty() {
            self.notes.push(Note::Unknown(unknown));
        }
        for names in tree.known {
            self.add_policy(names, meta.as_ref());
        }
        Ok(())
    }

    /// Add a policy, unless it is there with a shard.
    fn add_policy(&mut self, names: Names, meta: Option<&Meta>) {
        if self.policies.insert(owner(&names)) {
            self.shards.push(Listed {
                period: period(meta, &names),
                names,
                ..Listed::default()
            });
        }
    }

    fn add_shard(
        &mut self,
        found: Found,
        meta: Option<&Meta>,
        wanted: &Wanted,
        unknown: &mut Vec<String>,
    ) -> Result<(), Error> {
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
            Some(known) if known.deleted && !wanted.deleted => {
                if shard.is_some_and(|id| wanted.shards.contains(&id)) {
                    let text = format!(
                        "shard {label}: meta.db marks it as deleted (--deleted exports it)"
                    );
                    return Err(Error::Missing(text));
                }
                self.deleted += 1;
                return Ok(());
            }
            None if meta.is_some() => unknown.push(label.clone()),
            _ => {}
        }
        self.policies.insert(owner(&found.names));
        let files = found.held.unwrap_or(Files {
            data: Some(found.data),
            wal: found.wal,
            ..Files::default()
        });
        self.shards.push(Listed {
            period: period(meta, &found.names),
            start: known.map(|known| known.start),
            end: known.map(|known| known.end),
            ..Listed::new(found.names, label, files)
        });
        Ok(())
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
            let of_folder = folders.iter_mut().find(|(known, _)| *known == folder);
            if let Some(copy) = of_folder.and_then(|(_, listed)| listed.copies.first_mut()) {
                copy.files.named.push((*path).clone());
                continue;
            }
            let names = tree::names_for(path, place::names_of_file(&real), wanted)?;
            let files = Files {
                named: vec![(*path).clone()],
                ..Files::default()
            };
            let label = path.display().to_string();
            folders.push((folder, Listed::new(names, label, files)));
        }
        self.shards
            .extend(folders.into_iter().map(|(_, listed)| listed));
        Ok(())
    }

    /// Put the shards into the order of the output. The same shard twice is an error, unless these are `replicas`.
    pub fn settle(&mut self, replicas: bool) -> Result<(), Error> {
        self.join_copies(replicas)?;
        for listed in &mut self.shards {
            let copies = listed.copies.iter_mut();
            copies.for_each(|copy| copy.extent = copy.files.extent());
            let extents = listed.copies.iter().map(|copy| copy.extent);
            listed.bytes = extents.map(|extent| extent.data + extent.log).sum();
        }
        self.shards.sort_by(|a, b| key(a).cmp(&key(b)));
        Ok(())
    }

    /// That nothing is left but what is deleted is an error.
    pub fn check(&self) -> Result<(), Error> {
        if !self.shards.is_empty() || self.deleted == 0 {
            return Ok(());
        }
        let n = self.deleted;
        Err(Error::Missing(format!(
            "there is no shard besides {n} that meta.db marks as deleted (--deleted exports them)"
        )))
    }

    /// Leave out the shards that have not changed since this time.
    pub fn keep_changed(&mut self, since: i64) {
        let before = self.shards.len();
        self.shards.retain(|listed| listed.has_changed(since));
        self.unchanged += (before - self.shards.len()) as u64;
    }
}

fn owner(names: &Names) -> (Option<BString>, Option<BString>) {
    (names.database.clone(), names.policy.clone())
}

/// How long the policy of these names keeps points.
fn period(meta: Option<&Meta>, names: &Names) -> Option<u64> {
    let (database, policy) = (names.database.as_ref()?, names.policy.as_ref()?);
    Some(meta?.period(database, policy)?.as_secs())
}

/// Where metadata are, and what they say or what is wrong with them.
type MetaAt = (PathBuf, Result<Meta, String>);

/// What the server knows; missing is fine, as is one that cannot be used, though that is told. With one that may not be
/// read, shards that it marks as deleted would come back, and buckets would keep points for another time.
fn meta_of(path: PathBuf) -> Result<Option<MetaAt>, Error> {
    let meta = match fs::read(&path) {
        Ok(bytes) => Meta::parse(&bytes).map_err(|err| err.to_string()),
        Err(err) => match err.kind() {
            io::ErrorKind::NotFound => return Ok(None),
            io::ErrorKind::PermissionDenied => return Err(Error::denied(&path)),
            _ => Err(err.to_string()),
        },
    };
    Ok(Some((path, meta)))
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
            start,
            copies: vec![Located::default()],
            ..Listed::default()
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
        catalog.settle(false).unwrap();
        assert_eq!(
            vec!["a/p/9", "a/p/3", "a/p/4", "a/p/5", "a/q/2", "b/p/1"],
            labels(&catalog)
        );
    }

    #[test]
    fn a_group_that_ends_where_the_range_begins_is_outside() {
        let group = Listed {
            end: Some(20),
            ..listed("a", "p", 1, Some(10))
        };
        let meets = |first, last| group.meets(first, last);
        assert_eq!(
            [false, true, true, true, false],
            [
                meets(0, 9),
                meets(0, 10),
                meets(12, 13),
                meets(19, 99),
                meets(20, 99)
            ]
        );
        assert!(listed("a", "p", 1, None).meets(i64::MIN, i64::MIN));
        let over = Listed {
            start: Some(i64::MAX - 9),
            ..group
        };
        assert!(over.meets(0, 0));
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
            .map(|listed| (listed.names.shard, listed.copies[0].files.named.len()))
            .collect();
        assert_eq!(vec![(Some(7), 2), (None, 1)], names);
        let twice = [paths[2].clone(), paths[2].clone()];
        let err = Catalog::default().add_paths(&twice, &Wanted::default(), &Logs::Layout);
        assert!(matches!(err, Err(Error::Twice(_))));
    }
}
