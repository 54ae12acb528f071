//! Which shards are there below a path? Databases, policies and shards of the data and the log side together.

mod backups;
mod known;
mod logs;
mod names;
mod unpack;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::place::{self, Error, Level, Names, Place, enumerate, list};
use super::shard::Files;

pub use backups::backups;
pub use logs::Logs;
pub use names::names_for;
pub use unpack::{How, Refused, Unpacker};

/// The server's own measurements of itself.
const INTERNAL: &[u8] = b"_internal";

/// What of a tree is wanted. Empty lists want everything.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Databases by name. Outside of a tree: the name of the database.
    pub databases: Vec<BString>,
    /// Retention policies by name. Outside of a tree: the name of the policy.
    pub policies: Vec<BString>,
    /// Shards by id.
    pub shards: Vec<u64>,
    /// The database `_internal` as well, though nobody names it.
    pub internal: bool,
    /// Shards that `meta.db` marks as deleted as well.
    pub deleted: bool,
    /// Policies without shards as well, which only `meta.db` knows.
    pub empty: bool,
}

/// One shard, and where its files are.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whose it is, as far as that is known.
    pub names: Names,
    /// The folder of its TSM files, which need not exist.
    pub data: PathBuf,
    /// The folder of its log, which need not exist.
    pub wal: Option<PathBuf>,
    /// Its files, where they are not in folders but out of an archive.
    pub held: Option<Files>,
}

/// What is below a path.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The shards that are wanted.
    pub shards: Vec<Found>,
    /// The policies that are wanted, as `meta.db` lists them; only if those without shards are wanted.
    pub known: Vec<Names>,
    /// Where `meta.db` should be.
    pub meta: Option<PathBuf>,
    /// The `meta.db` of an archive.
    pub archived_meta: Option<(PathBuf, Vec<u8>)>,
    /// The metadata of a portable backup.
    pub backup_meta: Option<(PathBuf, Vec<u8>)>,
    /// Databases called `_internal` that nobody asked for.
    pub internal: u64,
    /// What lies about and is no shard.
    pub strays: Vec<Stray>,
    /// No log is read, because the path stands outside of a tree.
    pub without_logs: bool,
}

/// Something in the tree that does not belong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The file or folder.
    pub path: PathBuf,
    /// What it seems to be.
    pub what: &'static str,
    /// It may hold data that nobody reads.
    pub is_data: bool,
}

/// Find the shards below a folder.
pub fn walk(path: &Path, wanted: &Wanted, logs: &Logs) -> Result<Tree, Error> {
    let mut place = place::locate(path)?;
    let is_outside = place.wal.is_none();
    if is_outside {
        names::name(&mut place, wanted)?;
    }
    let root = logs::root(path, &place, logs)?;
    let mut walker = Walker {
        wanted,
        path,
        is_outside,
        here: Here::default(),
        tree: Tree {
            meta: place.meta.clone(),
            without_logs: is_outside && matches!(logs, Logs::Layout),
            ..Tree::default()
        },
    };
    let wal = match &root {
        Some(root) => Some(logs::folder(root, &place, is_outside)?),
        None => None,
    };
    walker.check_names(&place)?;
    walker.know(&place)?;
    walker.descend(place.level, place.names, place.data, wal)?;
    let tree = walker.finish()?;
    logs::check(logs, &tree.shards)?;
    Ok(tree)
}

/// What a walk has come by, to tell where a name that was asked for is not.
#[derive(Debug, Default)]
struct Here {
    databases: BTreeSet<BString>,
    policies: BTreeSet<(BString, BString)>,
    shards: BTreeSet<u64>,
    /// The database `_internal`, which nobody asked for.
    has_internal: bool,
}

struct Walker<'a> {
    wanted: &'a Wanted,
    path: &'a Path,
    is_outside: bool,
    here: Here,
    tree: Tree,
}

impl Walker<'_> {
    fn descend(
        &mut self,
        level: Level,
        names: Names,
        data: PathBuf,
        wal: Option<PathBuf>,
    ) -> Result<(), Error> {
        if level == Level::Shard {
            return self.shard(names, data, wal);
        }
        let below = level.below();
        for name in self.children(below, &data, wal.as_deref())? {
            let names = names.and(below, &name);
            if !self.is_taken(below, &names) {
                continue;
            }
            let wal = wal.as_ref().map(|wal| wal.join(&name));
            self.descend(below, names, data.join(&name), wal)?;
        }
        Ok(())
    }

    /// The names of the folders of a level, on either side.
    fn children(
        &mut self,
        level: Level,
        data: &Path,
        wal: Option<&Path>,
    ) -> Result<BTreeSet<OsString>, Error> {
        let mut names = BTreeSet::new();
        for side in [Some(data), wal].into_iter().flatten() {
            let (folders, files) = list(side)?;
            for folder in folders {
                match folder.file_name() {
                    Some(name) if self.belongs(level, name, &folder) => {
                        names.insert(name.to_os_string());
                    }
                    _ => {}
                }
            }
            if level == Level::Shard {
                self.files(files);
            }
        }
        Ok(names)
    }

    /// Whether a folder is one of this level.
    fn belongs(&mut self, level: Level, name: &OsStr, folder: &Path) -> bool {
        match level {
            Level::Policy => name != "_series",
            Level::Shard if name == "_series" => false,
            Level::Shard if place::shard_id(name).is_none() => {
                self.stray(folder, "a folder whose name is no shard id", false);
                false
            }
            // Made by mkfs on a volume of its own, and readable by root alone.
            Level::Database => name != "lost+found",
            _ => true,
        }
    }

    fn files(&mut self, files: Vec<PathBuf>) {
        for file in files {
            if file.file_name().and_then(place::shard_id).is_some() {
                self.stray(
                    &file,
                    "a shard from before TSM, which no 1.x server reads",
                    true,
                );
            }
        }
    }

    fn stray(&mut self, path: &Path, what: &'static str, is_data: bool) {
        self.tree.strays.push(Stray {
            path: path.to_path_buf(),
            what,
            is_data,
        });
    }

    /// Whether what was met is asked for; `_internal` that is not is counted once.
    fn is_taken(&mut self, level: Level, names: &Names) -> bool {
        if level == Level::Database && self.is_left_out(names) && !self.here.has_internal {
            self.here.has_internal = true;
            self.tree.internal += 1;
        }
        self.is_wanted(level, names)
    }

    /// Whether the names are those of `_internal` and nobody asks for it.
    fn is_left_out(&self, names: &Names) -> bool {
        let is_named = |name: &BString| self.wanted.databases.contains(name);
        let internal = names.database.as_ref().filter(|name| *name == INTERNAL);
        !self.wanted.internal && internal.is_some_and(|name| !is_named(name))
    }

    /// Whether a folder is asked for; remembers that it is there.
    fn is_wanted(&mut self, level: Level, names: &Names) -> bool {
        let database = names.database.clone().unwrap_or_default();
        match level {
            Level::Data => true,
            Level::Database => {
                self.here.databases.insert(database.clone());
                let is_named = self.wanted.databases.contains(&database);
                is_named || (self.wanted.databases.is_empty() && !self.is_left_out(names))
            }
            Level::Policy => {
                let policy = names.policy.clone().unwrap_or_default();
                self.here.policies.insert((database, policy.clone()));
                self.wanted.policies.is_empty() || self.wanted.policies.contains(&policy)
            }
            Level::Shard => {
                let id = names.shard.unwrap_or_default();
                self.here.shards.insert(id);
                self.wanted.shards.is_empty() || self.wanted.shards.contains(&id)
            }
        }
    }

    /// The names that the path itself fixes must be among those asked for.
    fn check_names(&mut self, place: &Place) -> Result<(), Error> {
        if self.is_outside {
            // There `--database` and `--retention-policy` are the names.
            self.here
                .databases
                .extend(self.wanted.databases.iter().cloned());
            let name = |policy: &BString| (BString::default(), policy.clone());
            if place.level <= Level::Policy {
                self.here
                    .policies
                    .extend(self.wanted.policies.iter().map(name));
            }
        }
        for level in [Level::Database, Level::Policy, Level::Shard] {
            if level >= place.level && self.has(place, level) && !self.is_fixed(place, level) {
                return self.check();
            }
        }
        Ok(())
    }

    fn has(&self, place: &Place, level: Level) -> bool {
        match level {
            Level::Database => place.names.database.is_some(),
            Level::Policy => place.names.policy.is_some(),
            Level::Shard => place.names.shard.is_some(),
            Level::Data => false,
        }
    }

    /// Whether what the path says at this level is wanted. `_internal` is, if the path leads there.
    fn is_fixed(&mut self, place: &Place, level: Level) -> bool {
        let is_led_to = level == Level::Database && self.is_left_out(&place.names);
        self.is_wanted(level, &place.names) || (is_led_to && self.wanted.databases.is_empty())
    }

    fn shard(&mut self, names: Names, data: PathBuf, wal: Option<PathBuf>) -> Result<(), Error> {
        // A folder that may not be read must show before any output, not in the middle of it.
        list(&data)?;
        if let Some(wal) = &wal {
            list(wal)?;
        }
        self.tree.shards.push(Found {
            names,
            data,
            wal,
            held: None,
        });
        Ok(())
    }

    fn finish(self) -> Result<Tree, Error> {
        self.check()?;
        if self.tree.shards.is_empty() && self.tree.known.is_empty() {
            let hint = if self.tree.internal > 0 {
                " besides those of _internal (--internal)"
            } else {
                ""
            };
            let path = self.path.display();
            return Err(Error::Missing(format!("{path}: holds no shard{hint}")));
        }
        Ok(self.tree)
    }

    /// Whether all names that were asked for are there.
    fn check(&self) -> Result<(), Error> {
        let Here {
            databases,
            policies,
            shards,
            ..
        } = &self.here;
        for name in &self.wanted.databases {
            if !databases.contains(name) {
                let all = databases.iter().map(ToString::to_string);
                return Err(self.missing("database", name, enumerate(all)));
            }
        }
        for name in &self.wanted.policies {
            if !policies.iter().any(|(_, policy)| policy == name) {
                let all = policies
                    .iter()
                    .map(|(database, policy)| format!("{database}/{policy}"));
                return Err(self.missing("retention policy", name, enumerate(all)));
            }
        }
        for id in &self.wanted.shards {
            if !shards.contains(id) {
                let all = shards.iter().map(ToString::to_string);
                return Err(self.missing("shard", &id.to_string().into(), enumerate(all)));
            }
        }
        Ok(())
    }

    fn missing(&self, what: &str, name: &BString, all: String) -> Error {
        let path = self.path.display();
        let there = if all.is_empty() {
            "none".to_owned()
        } else {
            all
        };
        Error::Missing(format!("{path}: has no {what} {name}; there is {there}"))
    }
}

impl Found {
    /// How messages call the shard.
    pub fn label(&self) -> String {
        let part = |name: &Option<BString>| name.as_ref().map(|name| name.as_bstr().to_string());
        let id = self.names.shard.map(|id| id.to_string());
        let parts = [part(&self.names.database), part(&self.names.policy), id];
        let known: Vec<_> = parts.into_iter().flatten().collect();
        if known.is_empty() {
            return self.data.display().to_string();
        }
        known.join("/")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::place::name_of;
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        dir
    }

    const FILES: &[&str] = &[
        "data/a/p/1/000000001-000000001.tsm",
        "data/a/p/2/000000001-000000001.tsm",
        "data/a/q/3/000000001-000000001.tsm",
        "data/a/_series/00/0000",
        "data/b/p/4/000000001-000000001.tsm",
        "data/b/p/old/x",
        "data/b/p/77",
        "data/b/stray.txt",
        "data/_internal/monitor/5/000000001-000000001.tsm",
        "data/lost+found/x",
        "wal/a/p/1/_00001.wal",
        "wal/c/p/6/_00001.wal",
        "meta/meta.db",
    ];

    fn wanted(databases: &[&str], policies: &[&str], shards: &[u64]) -> Wanted {
        let names = |names: &[&str]| names.iter().map(|name| BString::from(*name)).collect();
        Wanted {
            databases: names(databases),
            policies: names(policies),
            shards: shards.to_vec(),
            ..Wanted::default()
        }
    }

    fn labels(path: &Path, wanted: &Wanted) -> Vec<String> {
        let tree = walk(path, wanted, &Logs::Layout).unwrap();
        tree.shards.iter().map(Found::label).collect()
    }

    fn said(path: &Path, wanted: &Wanted, logs: &Logs) -> String {
        walk(path, wanted, logs).unwrap_err().to_string()
    }

    #[test]
    fn shards_of_both_sides_are_found_and_strays_noted() {
        let dir = tree(FILES);
        let tree = walk(dir.path(), &Wanted::default(), &Logs::Layout).unwrap();
        let labels: Vec<_> = tree.shards.iter().map(Found::label).collect();
        assert_eq!(vec!["a/p/1", "a/p/2", "a/q/3", "b/p/4", "c/p/6"], labels);
        assert_eq!(1, tree.internal);
        let strays: Vec<_> = tree
            .strays
            .iter()
            .map(|s| (name_of(&s.path).unwrap(), s.is_data))
            .collect();
        assert_eq!(vec![("old".into(), false), ("77".into(), true)], strays);
        assert_eq!(Some(dir.path().join("wal/c/p/6")), tree.shards[4].wal);
    }

    #[test]
    fn selections_choose_and_what_is_not_there_is_told_with_what_is() {
        let dir = tree(FILES);
        let root = dir.path();
        assert_eq!(vec!["a/q/3"], labels(root, &wanted(&["a"], &["q"], &[])));
        assert_eq!(
            vec!["a/p/2", "b/p/4"],
            labels(root, &wanted(&[], &[], &[4, 2]))
        );
        assert_eq!(
            vec!["_internal/monitor/5"],
            labels(root, &wanted(&["_internal"], &[], &[]))
        );
        let said = |wanted: &Wanted| said(root, wanted, &Logs::Layout);
        assert!(
            said(&wanted(&["x"], &[], &[]))
                .ends_with("has no database x; there is _internal, a, b, c")
        );
        assert!(
            said(&wanted(&["a"], &["r"], &[]))
                .ends_with("has no retention policy r; there is a/p, a/q")
        );
        assert!(said(&wanted(&["a"], &[], &[9])).ends_with("has no shard 9; there is 1, 2, 3"));
    }

    #[test]
    fn a_path_into_the_tree_selects_by_itself_and_must_agree_with_the_options() {
        let dir = tree(FILES);
        let none = Wanted::default();
        assert_eq!(
            vec!["a/p/1", "a/p/2"],
            labels(&dir.path().join("data/a/p"), &none)
        );
        assert_eq!(vec!["a/p/2"], labels(&dir.path().join("data/a/p/2"), &none));
        assert_eq!(
            vec!["_internal/monitor/5"],
            labels(&dir.path().join("data/_internal"), &none)
        );
        let text = said(
            &dir.path().join("data/a"),
            &wanted(&["b"], &[], &[]),
            &Logs::Layout,
        );
        assert!(text.ends_with("has no database b; there is a"), "{text}");
        let text = said(
            &dir.path().join("data/a/p/2"),
            &wanted(&[], &[], &[1]),
            &Logs::Layout,
        );
        assert!(text.ends_with("has no shard 1; there is 2"), "{text}");
    }

    #[test]
    fn a_missing_log_directory_is_told_with_both_ways_on() {
        let dir = tree(&["data/a/p/1/000000001-000000001.tsm"]);
        let none = Wanted::default();
        let text = said(dir.path(), &none, &Logs::Layout);
        assert!(
            text.contains("--wal-dir") && text.contains("--no-wal"),
            "{text}"
        );
        assert_eq!(
            1,
            walk(dir.path(), &none, &Logs::Without)
                .unwrap()
                .shards
                .len()
        );
        let text = said(dir.path(), &none, &Logs::At("/nowhere".into()));
        assert!(
            text.contains("/nowhere") && !text.contains("--no-wal"),
            "{text}"
        );
    }

    #[test]
    fn a_log_directory_one_level_too_high_is_told() {
        let dir = tree(FILES);
        let text = said(
            dir.path(),
            &Wanted::default(),
            &Logs::At(dir.path().to_path_buf()),
        );
        assert!(text.contains("the logs are in"), "{text}");
    }

    #[test]
    fn outside_of_a_tree_options_are_names_and_no_log_is_expected() {
        let dir = tree(&[
            "copy/1/000000001-000000001.tsm",
            "logs/db/p/1/_00001.wal",
            "seg/_00001.wal",
        ]);
        let shard = dir.path().join("copy/1");
        let tree = walk(&shard, &wanted(&["db"], &["p"], &[]), &Logs::Layout).unwrap();
        assert_eq!(
            ("db/p/1".to_owned(), None, true),
            (
                tree.shards[0].label(),
                tree.shards[0].wal.clone(),
                tree.without_logs
            )
        );
        let logs = Logs::At(dir.path().join("logs"));
        let tree = walk(&shard, &wanted(&["db"], &["p"], &[]), &logs).unwrap();
        assert_eq!(Some(dir.path().join("logs/db/p/1")), tree.shards[0].wal);
        let logs = Logs::At(dir.path().join("seg"));
        let tree = walk(&shard, &Wanted::default(), &logs).unwrap();
        assert_eq!(Some(dir.path().join("seg")), tree.shards[0].wal);
        let logs = Logs::At(dir.path().join("logs/db"));
        let text = said(&shard, &wanted(&["db"], &["p"], &[]), &logs);
        assert!(text.contains("has no log of any of these shards"), "{text}");
        let text = said(
            &dir.path().join("copy"),
            &wanted(&["a", "b"], &[], &[]),
            &Logs::Layout,
        );
        assert!(text.contains("given once"), "{text}");
    }

    #[test]
    fn a_root_with_nothing_but_internal_says_so() {
        let dir = tree(&[
            "data/_internal/monitor/5/000000001-000000001.tsm",
            "wal/x",
            "meta/meta.db",
        ]);
        assert!(said(dir.path(), &Wanted::default(), &Logs::Layout).contains("--internal"));
    }
}
