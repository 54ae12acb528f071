//! Which shards are in a folder with portable backups?

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::unpack::backup_file_missing;
use super::{Found, Here, Level, Tree, Walker, Wanted};
use crate::tsm::backup::{self, Backup, MANIFEST};
use crate::tsm::place::{Error, list, name_of};
use crate::tsm::shard::{Files, Packed};

/// The shards in a folder that holds manifests of backups; `None` where it holds none.
pub fn backups(path: &Path, wanted: &Wanted, spool: Option<&Path>) -> Result<Option<Tree>, Error> {
    // What cannot be listed may hold a tree whose folders are known by name.
    let Ok((_, files)) = list(path) else {
        return Ok(None);
    };
    let is_manifest =
        |file: &&PathBuf| name_of(file).is_some_and(|name| name.ends_with_str(MANIFEST));
    let mut backup = Backup::default();
    let mut manifests = files.iter().filter(is_manifest).rev().peekable();
    if manifests.peek().is_none() {
        return Ok(None);
    }
    for file in manifests {
        let bytes = fs::read(file).map_err(|err| Error::at(file, err))?;
        let added = backup.add(&bytes);
        added.map_err(|fault| Error::Damaged(format!("{}: {fault}", file.display())))?;
    }
    let mut walker = Walker {
        wanted,
        path,
        is_outside: false,
        here: Here::default(),
        tree: Tree::default(),
    };
    walker.tree.backup_meta = metadata(path, &backup)?;
    for packed in backup.shards() {
        let levels = [Level::Database, Level::Policy, Level::Shard];
        if !levels
            .into_iter()
            .all(|level| walker.is_taken(level, &packed.names))
        {
            continue;
        }
        walker.tree.shards.push(found(path, packed, spool)?);
    }
    if let Some(meta) = walker.tree.backup_meta.as_ref().filter(|_| wanted.empty)
        && let Ok(meta) = backup::meta(&meta.1)
    {
        walker.know_packed(&meta);
    }
    walker.finish().map(Some)
}

/// A shard, whose archive must be there: one is opened much later, and there would be half an export by then.
fn found(folder: &Path, shard: &backup::Packed, spool: Option<&Path>) -> Result<Found, Error> {
    let path = folder.join(&shard.file);
    match fs::File::open(&path) {
        Ok(_) => {}
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return Err(backup_file_missing(&path));
        }
        Err(err) => return Err(Error::at(&path, err)),
    }
    let packed = Packed {
        path,
        source: None,
        spool: spool.map(Path::to_path_buf),
    };
    Ok(Found {
        names: shard.names.clone(),
        data: folder.to_path_buf(),
        wal: None,
        held: Some(Files {
            packed: Some(packed),
            ..Files::default()
        }),
    })
}

/// The newest metadata; a backup without it can be read all the same.
fn metadata(path: &Path, backup: &Backup) -> Result<Option<(PathBuf, Vec<u8>)>, Error> {
    let Some(name) = &backup.meta else {
        return Ok(None);
    };
    let file = path.join(name);
    match fs::read(&file) {
        Ok(bytes) => Ok(Some((file, bytes))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(Error::at(&file, err)),
    }
}
