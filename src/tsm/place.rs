//! What is a path that a user names: a root, something inside one, or a part that was copied elsewhere?
//!
//! ```text
//! root/data/DATABASE/POLICY/SHARD/000000001-000000001.tsm
//! root/wal/DATABASE/POLICY/SHARD/_00001.wal
//! root/meta/meta.db
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

/// How far down the tree a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Holds the files of one shard.
    Shard,
    /// Holds shards.
    Policy,
    /// Holds retention policies.
    Database,
    /// Holds databases.
    Data,
}

impl Level {
    /// What the folders in such a folder are.
    pub fn below(self) -> Self {
        match self {
            Self::Data => Self::Database,
            Self::Database => Self::Policy,
            _ => Self::Shard,
        }
    }
}

/// A folder that a user named, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the TSM files are, at this level.
    pub data: PathBuf,
    /// What `data` holds.
    pub level: Level,
    /// The names above `data` and of `data` itself, as far as they are known: database, policy, shard.
    pub names: Names,
    /// Where the layout puts the logs of all databases; `None` outside of a tree.
    pub wal: Option<PathBuf>,
    /// Where the layout puts `meta.db`.
    pub meta: Option<PathBuf>,
}

/// Whose a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Names {
    /// The database.
    pub database: Option<BString>,
    /// The retention policy.
    pub policy: Option<BString>,
    /// The shard's id.
    pub shard: Option<u64>,
}

impl Names {
    /// These names and one more, for a folder that is the next level down to `level`.
    pub fn and(&self, level: Level, name: &OsStr) -> Self {
        let mut names = self.clone();
        match level {
            Level::Data => {}
            Level::Database => names.database = Some(name.as_bytes().into()),
            Level::Policy => names.policy = Some(name.as_bytes().into()),
            Level::Shard => names.shard = shard_id(name),
        }
        names
    }

    /// The folder of these names below `root`, as far as they go from `level` upwards.
    pub fn below(&self, root: &Path, level: Level) -> Option<PathBuf> {
        let mut path = root.to_path_buf();
        if level <= Level::Database {
            path.push(OsStr::from_bytes(self.database.as_ref()?));
        }
        if level <= Level::Policy {
            path.push(OsStr::from_bytes(self.policy.as_ref()?));
        }
        if level <= Level::Shard {
            path.push(self.shard?.to_string());
        }
        Some(path)
    }
}

/// The id that the name of a shard's folder spells.
pub fn shard_id(name: &OsStr) -> Option<u64> {
    let digits = name.as_bytes();
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all_digits.then(|| digits.to_str().ok()?.parse().ok())?
}

/// Why a path cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for is not there; the text says what is.
    #[error("{0}")]
    Missing(String),
    /// It is there and may not be read.
    #[error("{}: may not be read by this user{}", path.display(), owner(path))]
    Denied {
        /// The file or folder.
        path: PathBuf,
    },
    /// The same shard is there twice, or a name is missing.
    #[error("{0}")]
    Usage(String),
    /// Two copies of one shard.
    #[error("{0}")]
    Twice(String),
    /// Something that says what is there is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The system does not say what is there.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Error {
    /// That a file may not be read, or a folder above it: the nearest that the system shows.
    pub fn denied(path: &Path) -> Self {
        let shown = path.ancestors().find(|path| fs::metadata(path).is_ok());
        let path = shown.unwrap_or(path).to_path_buf();
        Self::Denied { path }
    }

    /// What the system says about a path.
    pub fn at(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Who owns a path, in words; empty where even that is hidden.
fn owner(path: &Path) -> String {
    let Ok(uid) = fs::metadata(path).map(|meta| meta.uid()) else {
        return String::new();
    };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, id) = (parts.next()?, parts.nth(1)?);
        (id.parse() == Ok(uid)).then_some(name)
    });
    let name = name.map_or_else(|| uid.to_string(), str::to_owned);
    format!(", it belongs to {name} (run as {name}: sudo -u {name} …)")
}

/// The folders in a folder and what else is there, by name. Nothing where there is no such folder.
pub(super) fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(err) => return Err(Error::at(folder, err)),
    };
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry.map_err(|err| Error::at(folder, err))?;
        let path = entry.path();
        // Links are followed: the depth is fixed, so they cannot lead round in circles.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() || (kind.is_symlink() && path.is_dir()) => folders.push(path),
            _ => files.push(path),
        }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

/// The names that the layout gives to a file, from its real path; none outside of a tree.
pub fn names_of_file(real: &Path) -> Names {
    let folders: Vec<_> = real
        .ancestors()
        .skip(1)
        .take(4)
        .map(Path::file_name)
        .collect();
    match folders[..] {
        [Some(shard), Some(policy), Some(database), Some(root)]
            if root == "data" || root == "wal" =>
        {
            let names = Names::default().and(Level::Database, database);
            let names = names.and(Level::Policy, policy).and(Level::Shard, shard);
            if names.shard.is_some() {
                names
            } else {
                Names::default()
            }
        }
        _ => Names::default(),
    }
}

/// The name of a file or folder as bytes.
pub fn name_of(path: &Path) -> Option<BString> {
    Some(path.file_name()?.as_bytes().into())
}

/// Understand a folder. `path` must be one.
pub fn locate(path: &Path) -> Result<Place, Error> {
    let real = fs::canonicalize(path).map_err(|err| match err.kind() {
        io::ErrorKind::NotFound => missing(path),
        _ => Error::at(path, err),
    })?;
    if let Some(place) = in_tree(path, &real) {
        return Ok(place);
    }
    // What holds the storage engine of a 2.x server, and its own files beside it.
    let engine = path.join("engine");
    if engine.join("data").is_dir() && engine.join("wal").is_dir() {
        return locate(&engine);
    }
    let data = path.join("data");
    let has = |name: &str| path.join(name).is_dir();
    if data.is_dir() && (has("wal") || has("meta") || height(&data)? == Some(Level::Data)) {
        return Ok(at_data(data, path));
    }
    let Some(level) = height(path)? else {
        return Err(no_shard(path));
    };
    if level == Level::Data {
        return Ok(at_data(path.to_path_buf(), &parent(path)));
    }
    Ok(outside(path, &real, level))
}

fn at_data(data: PathBuf, root: &Path) -> Place {
    Place {
        data,
        level: Level::Data,
        names: Names::default(),
        wal: Some(root.join("wal")),
        meta: Some(root.join("meta/meta.db")),
    }
}

/// The folder that holds a path, spelled so that messages stay close to what was typed.
fn parent(path: &Path) -> PathBuf {
    match path.file_name() {
        Some(_) => path.parent().map_or_else(PathBuf::new, Path::to_path_buf),
        None => path.join(".."),
    }
}

/// A folder below one called `data`, which has a sibling that makes it a data directory or lies as deep as it holds.
fn in_tree(path: &Path, real: &Path) -> Option<Place> {
    const LEVELS: [Level; 4] = [Level::Data, Level::Database, Level::Policy, Level::Shard];
    let is_data = |dir: &&Path| dir.file_name() == Some(OsStr::new("data"));
    for (depth, level) in LEVELS.into_iter().enumerate() {
        let Some(data) = real.ancestors().nth(depth).filter(is_data) else {
            continue;
        };
        let root = data.parent()?;
        let is_root = root.join("wal").is_dir() || root.join("meta").is_dir();
        if !is_root && height(path).ok().flatten() != Some(level) {
            continue;
        }
        let mut place = at_data(path.to_path_buf(), root);
        place.level = level;
        let below = real.strip_prefix(data).ok()?;
        for (part, level) in below.iter().zip(LEVELS.into_iter().skip(1)) {
            place.names = place.names.and(level, part);
        }
        return Some(place);
    }
    None
}

fn outside(path: &Path, real: &Path, level: Level) -> Place {
    let name = real.file_name().unwrap_or_default();
    Place {
        data: path.to_path_buf(),
        level,
        names: Names::default().and(level, name),
        wal: None,
        meta: None,
    }
}

/// That a path is not there, and what is there instead.
pub(super) fn missing(path: &Path) -> Error {
    let folder = parent(path);
    let (folders, files) = list(&folder).unwrap_or_default();
    let all = folders.iter().chain(&files);
    let names = all.filter_map(|path| path.file_name());
    let names = enumerate(names.map(|name| name.display().to_string()));
    let there = if names.is_empty() {
        String::new()
    } else {
        format!("; beside it there is {names}")
    };
    Error::Missing(format!("{}: does not exist{there}", path.display()))
}

/// That a folder is not what it would have to be, and what it holds.
fn no_shard(path: &Path) -> Error {
    let (folders, files) = list(path).unwrap_or_default();
    let what = if folders.is_empty() && files.is_empty() {
        "it is empty".to_owned()
    } else {
        let names = folders
            .iter()
            .chain(&files)
            .filter_map(|path| path.file_name());
        format!(
            "it holds {}",
            enumerate(names.map(|name| name.display().to_string()))
        )
    };
    let hint = if holds_logs(path, Level::Data) {
        " (these are logs: name the data directory, and the folder of all logs with --wal-dir)"
    } else {
        ""
    };
    Error::Missing(format!("{}: holds no shard; {what}{hint}", path.display()))
}

/// Whether a folder, which may be one of this level, holds segments of logs.
fn holds_logs(folder: &Path, level: Level) -> bool {
    let (folders, files) = list(folder).unwrap_or_default();
    files.iter().any(|file| segment_id(file).is_some())
        || level != Level::Shard && folders.iter().any(|dir| holds_logs(dir, level.below()))
}

/// The number of a log segment; `None` if the name is not one of a segment.
pub(super) fn segment_id(path: &Path) -> Option<u64> {
    let name = path.file_name()?.as_bytes();
    let digits = name.strip_prefix(b"_")?.strip_suffix(b".wal")?;
    shard_id(OsStr::from_bytes(digits))
}

/// A few names, and how many more there are.
pub(super) fn enumerate(names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 10;
    let names: Vec<_> = names.collect();
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if let Some(more) = names.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        text += &format!(" and {more} more");
    }
    text
}

/// The level of a folder, told by how far down the first shards are.
fn height(path: &Path) -> Result<Option<Level>, Error> {
    if holds_shard_files(path) {
        return Ok(Some(Level::Shard));
    }
    let mut layer = vec![path.to_path_buf()];
    let (mut weak, mut denied) = (None, None);
    for level in [Level::Policy, Level::Database, Level::Data] {
        let mut next = Vec::new();
        for folder in layer {
            // If a shard is found elsewhere, this is met again, and named, when the tree is walked.
            match list(&folder) {
                Ok((folders, _)) => next.extend(folders),
                Err(err) => denied = denied.or(Some(err)),
            }
        }
        let numbered = |dir: &&PathBuf| dir.file_name().and_then(shard_id).is_some();
        if next
            .iter()
            .filter(numbered)
            .any(|dir| holds_shard_files(dir))
        {
            return Ok(Some(level));
        }
        // A shard that has been written to the log only may have an empty folder here.
        let hollow = |dir: &PathBuf| {
            let is_flat = list(dir).is_ok_and(|(folders, _)| folders.is_empty());
            is_flat && !holds_logs(dir, Level::Shard)
        };
        if weak.is_none() && next.iter().filter(numbered).any(hollow) {
            weak = Some(level);
        }
        layer = next;
    }
    match denied.filter(|_| weak.is_none()) {
        Some(err) => Err(err),
        None => Ok(weak),
    }
}

fn holds_shard_files(folder: &Path) -> bool {
    let Ok((folders, files)) = list(folder) else {
        return false;
    };
    let is_tsm = |path: &PathBuf| path.extension() == Some(OsStr::new("tsm"));
    let named = |path: &PathBuf, name: &str| path.file_name() == Some(OsStr::new(name));
    files
        .iter()
        .any(|path| is_tsm(path) || named(path, "fields.idx"))
        || folders.iter().any(|path| named(path, "index"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, b"").unwrap();
            }
        }
        dir
    }

    const ROOT: &[&str] = &[
        "data/db/rp/12/000000001-000000001.tsm",
        "data/db/rp/13/",
        "data/db/_series/00/0000",
        "wal/db/rp/12/_00001.wal",
        "meta/meta.db",
    ];

    fn names(place: &Place) -> (Option<&[u8]>, Option<&[u8]>, Option<u64>) {
        let Names {
            database,
            policy,
            shard,
        } = &place.names;
        (
            database.as_deref().map(|v| &**v),
            policy.as_deref().map(|v| &**v),
            *shard,
        )
    }

    #[test]
    fn a_root_and_every_folder_below_it_is_known() {
        let dir = tree(ROOT);
        let at = |path: &str| locate(&dir.path().join(path)).unwrap();
        for (path, level, expected) in [
            ("", Level::Data, (None, None, None)),
            ("data", Level::Data, (None, None, None)),
            ("data/", Level::Data, (None, None, None)),
            ("data/db", Level::Database, (Some(&b"db"[..]), None, None)),
            (
                "data/db/rp",
                Level::Policy,
                (Some(b"db"), Some(&b"rp"[..]), None),
            ),
            (
                "data/db/rp/12",
                Level::Shard,
                (Some(b"db"), Some(b"rp"), Some(12)),
            ),
            (
                "data/db/rp/13",
                Level::Shard,
                (Some(b"db"), Some(b"rp"), Some(13)),
            ),
        ] {
            let place = at(path);
            assert_eq!((level, expected), (place.level, names(&place)), "{path}");
            let wal = fs::canonicalize(place.wal.unwrap()).unwrap();
            assert_eq!(
                fs::canonicalize(dir.path().join("wal")).unwrap(),
                wal,
                "{path}"
            );
        }
    }

    #[test]
    fn a_database_called_data_does_not_make_its_folder_a_root() {
        let dir = tree(&["x/data/rp/12/000000001-000000001.tsm", "x/db/rp/13/a.tsm"]);
        let place = locate(&dir.path().join("x")).unwrap();
        assert_eq!(
            (Level::Data, dir.path().join("x")),
            (place.level, place.data)
        );
        assert_eq!(Some(dir.path().join("wal")), place.wal);
    }

    #[test]
    fn a_part_that_was_copied_elsewhere_is_known_by_what_it_holds() {
        let dir = tree(&[
            "copy/rp/12/000000001-000000001.tsm",
            "copy/rp/12/fields.idx",
        ]);
        for (path, level, expected) in [
            ("copy", Level::Database, (Some(&b"copy"[..]), None, None)),
            ("copy/rp", Level::Policy, (None, Some(&b"rp"[..]), None)),
            ("copy/rp/12", Level::Shard, (None, None, Some(12))),
        ] {
            let place = locate(&dir.path().join(path)).unwrap();
            assert_eq!(
                (level, expected, None),
                (place.level, names(&place), place.wal.clone()),
                "{path}"
            );
        }
    }

    #[test]
    fn a_folder_without_shards_says_what_it_holds() {
        let dir = tree(&["a/b.txt", "c", "logs/db/rp/1/_00001.wal"]);
        let said = |path: &str| match locate(&dir.path().join(path)) {
            Err(Error::Missing(text)) => text,
            other => panic!("{other:?}"),
        };
        assert!(
            said("").ends_with("holds no shard; it holds a, logs, c"),
            "{}",
            said("")
        );
        assert!(said("a").ends_with("it holds b.txt"));
        for path in ["logs", "logs/db", "logs/db/rp", "logs/db/rp/1"] {
            assert!(said(path).contains("--wal-dir"), "{}", said(path));
        }
        assert!(said("none").ends_with("none: does not exist; beside it there is a, logs, c"));
    }

    #[test]
    fn shards_and_segments_are_known_by_their_names() {
        assert_eq!(Some(12), shard_id(OsStr::new("12")));
        for name in ["", "12.tmp", "+12", "-1", "99999999999999999999"] {
            assert_eq!(None, shard_id(OsStr::new(name)), "{name}");
        }
        assert_eq!(Some(7), segment_id(Path::new("x/_00007.wal")));
        assert_eq!(Some(100_000), segment_id(Path::new("_100000.wal")));
        assert_eq!(None, segment_id(Path::new("x/_00007.wal.bak")));
    }
}
