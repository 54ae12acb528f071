//! A file that gets its name when it is complete, so that nobody takes a part of it for the whole.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

use super::exit::Failure;
use super::out::Out;

/// A file on its way to its name. Dropped before `keep`, it leaves nothing behind.
#[derive(Debug)]
pub struct OutFile {
    /// `None` for what is written to as it is: a device, a named pipe.
    temp: Option<TempPath>,
    path: PathBuf,
    replaces: bool,
}

impl OutFile {
    /// Begin to write a file. One that is there already is replaced if `force`, and else an error.
    pub fn create(path: &Path, force: bool) -> anyhow::Result<(Self, Out)> {
        let name = path.display().to_string();
        // A link keeps its place: what it leads to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        let there = fs::metadata(&target).ok();
        let (file, temp) = match there {
            Some(there) if is_passage(&there) => {
                let file = OpenOptions::new().write(true).open(path);
                (file.map_err(|err| at(path, err))?, None)
            }
            Some(there) if there.is_dir() => {
                return Err(Failure::Usage(format!("{name}: is a folder")).into());
            }
            Some(_) if !force => return Err(exists(path)),
            _ => {
                let (file, temp) = temporary(&target)?;
                (file, Some(temp))
            }
        };
        let outfile = Self {
            temp,
            path: target,
            replaces: force,
        };
        Ok((outfile, Out::file(file, name)))
    }

    /// All is written: bring it to the disk, and give it its name.
    pub fn keep(self) -> anyhow::Result<()> {
        let Some(temp) = self.temp else {
            return Ok(());
        };
        let synced = File::open(&temp).and_then(|file| file.sync_all());
        synced.map_err(|err| at(&self.path, err))?;
        let kept = match self.replaces {
            true => temp.persist(&self.path),
            false => temp.persist_noclobber(&self.path),
        };
        kept.map_err(|err| match err.error.kind() {
            io::ErrorKind::AlreadyExists => exists(&self.path),
            _ => at(&self.path, err.error),
        })
    }
}

fn is_passage(there: &Metadata) -> bool {
    let kind = there.file_type();
    kind.is_char_device() || kind.is_fifo() || kind.is_socket()
}

/// A file beside the one that it is to become, readable to whom any new file would be.
fn temporary(target: &Path) -> anyhow::Result<(File, TempPath)> {
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let made = tempfile::Builder::new()
        .prefix(".lineflow-")
        .suffix(".part")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder);
    Ok(made.map_err(|err| at(target, err))?.into_parts())
}

fn exists(path: &Path) -> anyhow::Error {
    Failure::Exists(format!("{}: exists (--force replaces it)", path.display())).into()
}

/// What the system says about an output. That a folder is missing there is no missing input.
fn at(path: &Path, err: io::Error) -> anyhow::Error {
    match err.kind() {
        io::ErrorKind::PermissionDenied => {
            let text = format!("{}: may not be written by this user", path.display());
            Failure::NoPermission(text).into()
        }
        _ => anyhow::anyhow!("{}: {err}", path.display()),
    }
}
