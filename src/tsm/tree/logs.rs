//! Where are the logs of what a path holds?

use std::path::{Path, PathBuf};

use super::Found;
use crate::tsm::place::{self, Error, Level, Place, list};

/// Where the logs are.
#[derive(Clone, Debug, Default)]
pub enum Logs {
    /// Where the layout puts them.
    #[default]
    Layout,
    /// Nowhere: they are left out.
    Without,
    /// In this folder, which holds databases.
    At(PathBuf),
}

/// The folder that holds the logs of all databases.
pub(super) fn root(path: &Path, place: &Place, logs: &Logs) -> Result<Option<PathBuf>, Error> {
    let (root, advice) = match (logs, &place.wal) {
        (Logs::Without, _) | (Logs::Layout, None) => return Ok(None),
        (Logs::At(dir), _) => (dir.clone(), ""),
        (Logs::Layout, Some(dir)) => (
            dir.clone(),
            " (say where the log is with --wal-dir, or leave it out with --no-wal)",
        ),
    };
    if !root.is_dir() {
        return Err(Error::Missing(format!(
            "{}: there is no log directory {}{advice}",
            path.display(),
            root.display()
        )));
    }
    if root.join("wal").is_dir() && (root.join("data").is_dir() || root.join("meta").is_dir()) {
        let inner = root.join("wal");
        return Err(Error::Missing(format!(
            "{}: is a root, the logs are in {}",
            root.display(),
            inner.display()
        )));
    }
    Ok(Some(root))
}

/// A folder that was named for the logs, and is not empty, must have some of these shards: else it may be the wrong one,
/// and all that is in the log be lost.
pub(super) fn check(logs: &Logs, shards: &[Found]) -> Result<(), Error> {
    let is_there = |shard: &Found| shard.wal.as_deref().is_some_and(Path::is_dir);
    match logs {
        Logs::At(dir) if !shards.is_empty() && !shards.iter().any(is_there) => {
            let (folders, files) = list(dir)?;
            if folders.is_empty() && files.is_empty() {
                return Ok(());
            }
            Err(Error::Missing(format!(
                "{}: has no log of any of these shards (--wal-dir is the folder that holds a folder for each database; \
                 leave logs out with --no-wal)",
                dir.display()
            )))
        }
        _ => Ok(()),
    }
}

/// The folder with the logs of what `place` is.
pub(super) fn folder(root: &Path, place: &Place, is_outside: bool) -> Result<PathBuf, Error> {
    let (_, files) = list(root)?;
    let is_segment = |file: &PathBuf| place::segment_id(file).is_some();
    if is_outside && place.level == Level::Shard && files.iter().any(is_segment) {
        return Ok(root.to_path_buf());
    }
    place.names.below(root, place.level).ok_or_else(|| {
        Error::Usage(format!(
            "{}: stands outside of a data directory, so --wal-dir needs --database and --retention-policy to find its log",
            place.data.display()
        ))
    })
}
