//! Which shards are in a tar archive? Their files are put aside as the archive is read.
//!
//! What a member is, its last names say: `DATABASE/POLICY/SHARD/FILE`, whatever stands before. If all logs stand
//! before the data, a shard is complete when the next one begins, and only that much is put aside at a time.

mod role;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::mem;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::{Found, Here, Level, Names, Place, Stray, Tree, Walker, Wanted, names};
use crate::tsm::archive::{self, Archive, Member, What};
use crate::tsm::backup::{self, Backup};
use crate::tsm::meta::Meta;
use crate::tsm::place::{Error, enumerate};
use crate::tsm::shard::{Files, Packed, Trouble};
use crate::tsm::source::Source;
use crate::tsm::spool::Spool;
use crate::tsm::{self, ErrorKind, ReadError};

use role::{Role, role};

/// What to do with an archive.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// How messages call it.
    pub name: PathBuf,
    /// The folder for what is put aside; `None` where the system keeps temporary files.
    pub spool: Option<PathBuf>,
    /// Leave out the logs.
    pub without_logs: bool,
    /// Hand out a shard as soon as it is complete, in the order of the archive.
    pub in_parts: bool,
}

/// Why an archive cannot be used.
#[derive(Debug)]
pub enum Refused {
    /// What was asked for is not there, or not as it would have to be.
    Place(Error),
    /// The archive is damaged or cannot be read.
    Trouble(Trouble),
}

impl From<Error> for Refused {
    fn from(err: Error) -> Self {
        Self::Place(err)
    }
}

/// Files of a shard by the names of their members.
type Put = BTreeMap<BString, Source>;

/// Reads an archive and hands out what is complete.
pub struct Unpacker<R> {
    archive: Archive<R>,
    wanted: Wanted,
    how: How,
    here: Here,
    tree: Tree,
    /// The first member of the next shard, its contents not read.
    pending: Option<(Member, Names)>,
    data: BTreeMap<Names, Put>,
    data_spool: Spool,
    logs: BTreeMap<Names, Put>,
    log_spool: Spool,
    /// What links can stand for and nothing else.
    copies: Put,
    /// Manifests, metadata and archives of portable backups.
    backup: Put,
    meta: Option<(PathBuf, Vec<u8>)>,
    /// Shards that have been handed out.
    done: BTreeSet<Names>,
    /// Whether shards are handed out one by one; known when the first one is met.
    in_parts: Option<bool>,
    has_logs: bool,
    /// The layout puts logs beside the data.
    wants_logs: bool,
    /// A few names, for who wonders what it holds.
    seen: Vec<String>,
    is_over: bool,
}

impl<R: Read> Unpacker<R> {
    /// Before the first member.
    pub fn new(source: R, wanted: Wanted, how: How) -> io::Result<Self> {
        let spool = || Spool::new(how.spool.as_deref());
        Ok(Self {
            archive: Archive::new(source),
            wanted,
            here: Here::default(),
            tree: Tree::default(),
            pending: None,
            data: BTreeMap::new(),
            data_spool: spool()?,
            logs: BTreeMap::new(),
            log_spool: spool()?,
            copies: Put::new(),
            backup: Put::new(),
            meta: None,
            done: BTreeSet::new(),
            in_parts: None,
            has_logs: false,
            wants_logs: false,
            seen: Vec::new(),
            is_over: false,
            how,
        })
    }

    /// Whether all of it was read.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// The shards that are complete, and what was seen up to there; `None` behind the last of them.
    pub fn advance(&mut self) -> Result<Option<Tree>, Refused> {
        if self.is_over {
            return Ok(None);
        }
        if let Some((member, names)) = self.pending.take() {
            self.put(&member, names, false)?;
        }
        while let Some(member) = self.member()? {
            let role = role(&member);
            if let Role::Data(names) = role {
                let names = self.named(names)?;
                if !self.is_wanted(&names) {
                    continue;
                }
                if self.is_next(&names) {
                    self.pending = Some((member, names));
                    return self.part().map(Some);
                }
                self.put(&member, names, false)?;
            } else {
                self.other(&member, role)?;
            }
        }
        self.is_over = true;
        self.rest().map(Some)
    }

    fn member(&mut self) -> Result<Option<Member>, Refused> {
        let member = self.archive.advance().map_err(|err| self.trouble(err))?;
        if let Some(member) = &member {
            let top = member.name.split_str("/").next().unwrap_or_default();
            let top = top.as_bstr().to_string();
            if self.seen.len() <= 10 && !top.is_empty() && !self.seen.contains(&top) {
                self.seen.push(top);
            }
        }
        Ok(member)
    }

    /// Whether the shards before are complete now that a file of this one comes.
    fn is_next(&mut self, names: &Names) -> bool {
        let may = self.how.in_parts && (self.has_logs || self.how.without_logs);
        let in_parts = *self.in_parts.get_or_insert(may);
        in_parts && !self.data.is_empty() && !self.data.contains_key(names)
    }

    /// Take in a member that is no data.
    fn other(&mut self, member: &Member, role: Role) -> Result<(), Refused> {
        match role {
            Role::Log(names) => {
                self.has_logs = true;
                let names = self.named(names)?;
                if !self.how.without_logs && self.is_wanted(&names) {
                    self.put(member, names, true)?;
                }
            }
            Role::Logs => self.has_logs = true,
            Role::Meta => {
                let mut bytes = Vec::new();
                let read = self.archive.read_to_end(&mut bytes);
                read.map_err(|err| self.trouble(err.into()))?;
                self.meta = Some((self.path(&member.name), bytes));
                if !self.done.is_empty() {
                    self.stray(
                        member,
                        "metadata that stands behind the data (pack it before)",
                        false,
                    );
                }
            }
            Role::Backup => {
                let source = self.aside(member, false)?;
                self.backup.insert(member.name.clone(), source);
            }
            Role::Copy => {
                let source = self.aside(member, false)?;
                self.copies.insert(member.name.clone(), source);
            }
            Role::Stray(what, is_data) => self.stray(member, what, is_data),
            Role::Data(_) | Role::Nothing => {}
        }
        Ok(())
    }

    /// Put a file of a shard aside.
    fn put(&mut self, member: &Member, names: Names, is_log: bool) -> Result<(), Refused> {
        if self.done.contains(&names) {
            return Err(self.apart(&names).into());
        }
        self.wants_logs |= !is_log && role::is_below(member, b"data");
        let source = self.aside(member, is_log)?;
        let shards = if is_log {
            &mut self.logs
        } else {
            &mut self.data
        };
        let put = shards.entry(names).or_default();
        if put.insert(member.name.clone(), source).is_some() {
            let what = "an earlier file of the same name in the archive";
            self.stray(member, what, false);
        }
        Ok(())
    }

    /// Put the contents of a member aside: logs can wait for long, all else goes with its shard.
    fn aside(&mut self, member: &Member, is_log: bool) -> Result<Source, Refused> {
        if let What::Twin(target) = &member.what {
            return self.twin(member, target);
        }
        let spool = if is_log {
            &mut self.log_spool
        } else {
            &mut self.data_spool
        };
        let added = spool.add(&mut self.archive);
        added.map_err(|err| self.trouble(err.into()))
    }

    /// The file that a hard link stands for.
    fn twin(&self, member: &Member, target: &BString) -> Result<Source, Refused> {
        let all = self
            .data
            .values()
            .chain(self.logs.values())
            .chain([&self.copies, &self.backup]);
        let found = all.filter_map(|put| put.get(target)).next();
        found.cloned().ok_or_else(|| {
            let (name, target) = (member.name.clone(), target.clone());
            let kind = ErrorKind::Archive(archive::Fault::Link { name, target });
            self.trouble(tsm::Error::new(member.at, kind).into())
        })
    }

    /// The shard at hand, complete.
    fn part(&mut self) -> Result<Tree, Refused> {
        // What was put aside lives as long as somebody reads it.
        let fresh = Spool::new(self.how.spool.as_deref());
        self.data_spool = fresh.map_err(|err| self.trouble(err.into()))?;
        let mut found = Vec::new();
        for (names, put) in mem::take(&mut self.data) {
            let log = self.logs.remove(&names).unwrap_or_default();
            found.push(self.found(&names, put, log));
            self.done.insert(names);
        }
        Ok(self.hand_out(found))
    }

    /// All that has not been handed out, once the whole archive was read.
    fn rest(&mut self) -> Result<Tree, Refused> {
        let mut found = Vec::new();
        for (names, put) in mem::take(&mut self.data) {
            let log = self.logs.remove(&names).unwrap_or_default();
            found.push(self.found(&names, put, log));
        }
        for (names, log) in mem::take(&mut self.logs) {
            found.push(self.found(&names, Put::new(), log));
        }
        self.backups(&mut found)?;
        if self.wants_logs && !self.has_logs && !self.how.without_logs {
            let name = self.how.name.display();
            return Err(Error::Missing(format!(
                "{name}: the archive holds data and no log directory (pack wal before data, or leave it out with --no-wal)"
            ))
            .into());
        }
        self.tree.without_logs =
            !self.wants_logs && !self.has_logs && !self.how.without_logs && self.backup.is_empty();
        self.know();
        let has_any = !found.is_empty() || !self.done.is_empty() || !self.tree.known.is_empty();
        self.walker(|walker| walker.check())?;
        if !has_any {
            return Err(self.nothing().into());
        }
        Ok(self.hand_out(found))
    }

    /// Note the policies that the metadata list, if those without shards are wanted.
    fn know(&mut self) {
        let meta = match (&self.meta, &self.tree.backup_meta) {
            (Some((_, bytes)), _) => Meta::parse(bytes).ok(),
            (None, Some((_, bytes))) => backup::meta(bytes).ok(),
            (None, None) => None,
        };
        let Some(meta) = meta.filter(|_| self.wanted.empty) else {
            return;
        };
        self.walker(|walker| walker.know_packed(&meta));
    }

    fn nothing(&self) -> Error {
        let name = self.how.name.display();
        let hint = match self.here.has_internal {
            true => " besides those of _internal (--internal)",
            false => "",
        };
        let held = enumerate(self.seen.iter().cloned());
        let held = if held.is_empty() { "nothing" } else { &held };
        Error::Missing(format!("{name}: holds no shard{hint}; it holds {held}"))
    }

    fn hand_out(&mut self, found: Vec<Found>) -> Tree {
        let mut tree = mem::take(&mut self.tree);
        tree.shards = found;
        tree.archived_meta = self.meta.clone();
        tree
    }

    fn found(&self, names: &Names, data: Put, log: Put) -> Found {
        let opened = data.into_iter().chain(log);
        let opened = opened.map(|(name, source)| (self.path(&name), source));
        Found {
            names: names.clone(),
            data: self.how.name.clone(),
            wal: None,
            held: Some(Files {
                opened: opened.collect(),
                ..Files::default()
            }),
        }
    }

    /// The shards of the portable backups in the archive.
    fn backups(&mut self, found: &mut Vec<Found>) -> Result<(), Refused> {
        let is_manifest = |name: &&BString| name.ends_with(backup::MANIFEST.as_bytes());
        let mut manifests: Vec<_> = self.backup.keys().filter(is_manifest).cloned().collect();
        manifests.sort();
        let mut backup = Backup::default();
        for name in manifests.iter().rev() {
            let bytes = self.bytes(name)?;
            let added = backup.add(&bytes);
            added.map_err(|fault| self.manifest(name, fault))?;
        }
        let folder = manifests.last().map_or(&b""[..], |name| role::folder(name));
        let beside = |name: &str| -> BString {
            match folder.is_empty() {
                true => name.into(),
                false => [folder, b"/", name.as_bytes()].concat().into(),
            }
        };
        if let Some(name) = backup.meta.as_deref().map(beside)
            && self.backup.contains_key(&name)
        {
            let bytes = self.bytes(&name)?;
            self.tree.backup_meta = Some((self.path(&name), bytes));
        }
        for packed in backup.shards() {
            if !self.is_wanted(&packed.names) {
                continue;
            }
            let name = beside(&packed.file);
            let Some(source) = self.backup.get(&name) else {
                let path = self.path(&name);
                return Err(backup_file_missing(&path).into());
            };
            found.push(Found {
                names: packed.names.clone(),
                data: self.how.name.clone(),
                wal: None,
                held: Some(Files {
                    packed: Some(Packed {
                        path: self.path(&name),
                        source: Some(source.clone()),
                        spool: self.how.spool.clone(),
                    }),
                    ..Files::default()
                }),
            });
        }
        Ok(())
    }

    fn bytes(&self, name: &BString) -> Result<Vec<u8>, Refused> {
        let mut bytes = Vec::new();
        if let Some(source) = self.backup.get(name) {
            let read = source.reader().read_to_end(&mut bytes);
            read.map_err(|err| self.trouble(err.into()))?;
        }
        Ok(bytes)
    }

    fn manifest(&self, name: &BString, fault: backup::Fault) -> Refused {
        let error = tsm::Error::new(0, ErrorKind::Backup(fault));
        Refused::Trouble(Trouble::new(&self.path(name), error))
    }

    /// How messages call a member. It is never opened.
    fn path(&self, name: &BString) -> PathBuf {
        self.how.name.join(name.to_path_lossy())
    }

    fn stray(&mut self, member: &Member, what: &'static str, is_data: bool) {
        self.tree.strays.push(Stray {
            path: self.path(&member.name),
            what,
            is_data,
        });
    }

    fn trouble(&self, cause: ReadError) -> Refused {
        Refused::Trouble(Trouble::new(&self.how.name, cause.settled()))
    }

    fn apart(&self, names: &Names) -> Error {
        let found = Found {
            names: names.clone(),
            ..self.found(names, Put::new(), Put::new())
        };
        let (name, label) = (self.how.name.display(), found.label());
        Error::Twice(format!(
            "{name}: the files of shard {label} do not stand together in the archive, nor does its log before them"
        ))
    }

    /// Names as the options complete them, where the archive says less than all.
    fn named(&self, names: Names) -> Result<Names, Refused> {
        if names.database.is_some() {
            return Ok(names);
        }
        let mut place = Place {
            data: self.how.name.clone(),
            level: Level::Shard,
            names,
            wal: None,
            meta: None,
        };
        names::name(&mut place, &self.wanted)?;
        Ok(place.names)
    }

    fn is_wanted(&mut self, names: &Names) -> bool {
        let names = names.clone();
        let levels = [
            (Level::Database, names.database.is_some()),
            (Level::Policy, names.policy.is_some()),
            (Level::Shard, names.shard.is_some()),
        ];
        let mut known = levels.into_iter().filter(|(_, is_known)| *is_known);
        self.walker(|walker| known.all(|(level, _)| walker.is_taken(level, &names)))
    }

    /// What a walk through folders would do.
    fn walker<T>(&mut self, act: impl FnOnce(&mut Walker<'_>) -> T) -> T {
        let mut walker = Walker {
            wanted: &self.wanted,
            path: &self.how.name,
            is_outside: false,
            here: mem::take(&mut self.here),
            tree: mem::take(&mut self.tree),
        };
        let done = act(&mut walker);
        (self.here, self.tree) = (walker.here, walker.tree);
        done
    }
}

/// That an archive which a manifest names is not there.
pub(super) fn backup_file_missing(path: &Path) -> Error {
    let path = path.display();
    Error::Missing(format!(
        "{path}: does not exist, though the manifest of the backup names it"
    ))
}
