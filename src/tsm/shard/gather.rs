//! Which files does a shard have right now? They are listed and opened while a server may move them about.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::{Files, Remark, Shard, Trouble};
use crate::tsm::file::File;
use crate::tsm::place;
use crate::tsm::source::Source;
use crate::tsm::{Error, ErrorKind};

/// How often everything is opened again before what is open must do.
const TRIES: usize = 10;

/// How often TSM files are looked for again because one has gone since it was listed. A server that drops a shard
/// takes them away one by one, so there is an end to it.
const LOOKS: usize = 1000;

/// Where files come from. Listing and opening are apart, and a server may work between the two.
pub trait Disk {
    /// All names in a folder; none where there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Open a file for reading.
    fn open(&self, path: &Path) -> io::Result<Source>;

    /// An empty file without a name, for what does not fit into memory.
    fn scratch(&self) -> io::Result<fs::File> {
        tempfile::tempfile()
    }
}

/// The file system.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// The folder for what does not fit into memory; `None` where the system keeps temporary files.
    pub spool: Option<PathBuf>,
}

impl Disk for System {
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(err) => Err(err),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        Source::whole(fs::File::open(path)?)
    }

    fn scratch(&self) -> io::Result<fs::File> {
        match &self.spool {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }
}

/// A file that is open, and where it is.
pub(super) type Opened = (PathBuf, Source);

/// A TSM file and its tombstone file.
pub(super) type Pair = (PathBuf, Source, Option<Opened>);

/// The TSM files of a shard, open.
struct Data {
    /// Oldest first.
    pairs: Vec<Pair>,
    /// All that were in the folder.
    listed: BTreeSet<PathBuf>,
}

/// All files of a shard, open, none of them read.
pub(super) struct Gathered {
    /// Oldest first.
    pub files: Vec<Pair>,
    /// Oldest first.
    pub segments: Vec<Opened>,
    /// Whether there is a folder at all.
    pub exists: bool,
}

/// What is worth telling of the files that were found.
#[derive(Default)]
struct Seen {
    strays: Vec<Remark>,
    /// Files whose names do not say how new they are.
    faults: Vec<Trouble>,
}

/// Open all files of a shard. Remarks go to `shard`.
pub(super) fn gather(
    disk: &dyn Disk,
    files: &Files,
    shard: &mut Shard,
    keep_going: bool,
) -> Result<Gathered, Trouble> {
    let mut held = files.opened.clone();
    if let Some(packed) = &files.packed
        && let Err(trouble) = packed.unpack(disk, &mut held)
    {
        shard.bear(trouble, keep_going)?;
    }
    let is_held = !held.is_empty() || files.packed.is_some();
    let (mut looks, mut tries) = (0, 0);
    loop {
        let mut seen = Seen::default();
        let segments = open_log(disk, files, &held, &mut seen)?;
        looks += 1;
        // A file that has gone was moved about between listing and opening.
        let Some(data) = open_data(disk, files, &held, &mut seen, looks >= LOOKS)? else {
            continue;
        };
        tries += 1;
        let is_settled =
            log_stands(disk, files, &segments)? && data_stands(disk, files, &held, &data)?;
        if !is_settled && tries < TRIES {
            continue;
        }
        seen.tell(shard, keep_going)?;
        let mut folders = [&files.data, &files.wal].into_iter().flatten();
        if !is_settled {
            let place = folders.clone().chain(&files.named).next().cloned();
            let remark = Remark::Restless(place.unwrap_or_default());
            shard.remarks.push(remark);
        }
        return Ok(Gathered {
            files: data.pairs,
            segments,
            exists: is_held || folders.any(|dir| dir.is_dir()),
        });
    }
}

impl Seen {
    fn tell(mut self, shard: &mut Shard, keep_going: bool) -> Result<(), Trouble> {
        shard.remarks.append(&mut self.strays);
        let mut faults = self.faults.into_iter();
        faults.try_for_each(|fault| shard.bear(fault, keep_going))
    }
}

fn open_log(
    disk: &dyn Disk,
    files: &Files,
    held: &[Opened],
    seen: &mut Seen,
) -> Result<Vec<Opened>, Trouble> {
    let mut paths: Vec<_> = files
        .named
        .iter()
        .filter(|path| is_segment(path))
        .cloned()
        .collect();
    if let Some(folder) = &files.wal {
        let listed = disk.list(folder).map_err(|err| Trouble::new(folder, err))?;
        let (segments, others): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|path| place::segment_id(path).is_some());
        paths.extend(segments);
        note_strays(folder, others, &mut seen.strays);
    }
    paths.sort_by_cached_key(|path| (place::segment_id(path), path.clone()));
    let mut opened = Vec::new();
    for path in paths {
        match disk.open(&path) {
            Ok(source) => opened.push((path, source)),
            // A snapshot was finished; its points are in a TSM file by now.
            Err(err) if err.kind() == io::ErrorKind::NotFound && files.wal.is_some() => {}
            Err(err) => return Err(Trouble::new(&path, err)),
        }
    }
    let mut segments: Vec<_> = held.iter().filter(|held| is_held_segment(held)).collect();
    segments.sort_by_cached_key(|(path, _)| (place::segment_id(path), path));
    opened.extend(segments.into_iter().cloned());
    Ok(opened)
}

/// Open all TSM files; `None` if one of them has gone since it was listed, unless it is the `last` try.
fn open_data(
    disk: &dyn Disk,
    files: &Files,
    held: &[Opened],
    seen: &mut Seen,
    is_last: bool,
) -> Result<Option<Data>, Trouble> {
    let named = files.named.iter().filter(|path| !is_segment(path));
    let mut paths: Vec<_> = named.cloned().collect();
    let mut listed = BTreeSet::new();
    if let Some(folder) = &files.data {
        let others;
        (listed, others) = list_data(disk, folder)?;
        note_strays(
            folder,
            without_companions(others, &listed),
            &mut seen.strays,
        );
        paths.extend(listed.iter().cloned());
    }
    let is_data = |held: &&Opened| !is_held_segment(held) && !has_extension(&held.0, "tombstone");
    paths.extend(held.iter().filter(is_data).map(|(path, _)| path.clone()));
    let is_alone = paths.len() == 1;
    let mut ranked = Vec::new();
    for path in paths {
        match rank(&path) {
            Some(rank) => ranked.push((rank, path)),
            None if is_alone => ranked.push(((0, 0), path)),
            None => {
                let error = Error::new(0, ErrorKind::FileName);
                seen.faults.push(Trouble::new(&path, error));
            }
        }
    }
    ranked.sort();
    let mut pairs = Vec::new();
    for (_, path) in ranked {
        if let Some((source, tombstone)) = held_pair(held, &path) {
            pairs.push((path, source, tombstone));
            continue;
        }
        // A file that a user names has to be there.
        let may_go = files.data.is_some() && !is_last;
        match open_pair(disk, &path) {
            Ok((source, tombstone)) => pairs.push((path, source, tombstone)),
            Err((_, err)) if err.kind() == io::ErrorKind::NotFound && may_go => return Ok(None),
            Err((path, err)) => return Err(Trouble::new(&path, err)),
        }
    }
    Ok(Some(Data { pairs, listed }))
}

/// The TSM files in a folder, and what else is there.
fn list_data(disk: &dyn Disk, folder: &Path) -> Result<(BTreeSet<PathBuf>, Vec<PathBuf>), Trouble> {
    let listed = disk.list(folder).map_err(|err| Trouble::new(folder, err))?;
    let (data, others): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .partition(|path| has_extension(path, "tsm"));
    Ok((data.into_iter().collect(), others))
}

/// A TSM file that is open already, and its tombstone file.
fn held_pair(held: &[Opened], path: &Path) -> Option<(Source, Option<Opened>)> {
    let of = |path: &Path| held.iter().find(|(known, _)| known == path);
    let (_, source) = of(path)?;
    Some((
        source.clone(),
        of(&path.with_extension("tombstone")).cloned(),
    ))
}

/// Whether it is a segment: by its name, or, where that says nothing, by how it starts.
fn is_held_segment((path, source): &Opened) -> bool {
    match path.extension() {
        Some(extension) if extension == "tsm" || extension == "tombstone" => false,
        Some(extension) if extension == "wal" => true,
        _ => !is_tsm(source),
    }
}

/// What cannot be opened, and why.
type Closed = (PathBuf, io::Error);

fn open_pair(disk: &dyn Disk, path: &Path) -> Result<(Source, Option<Opened>), Closed> {
    let source = disk.open(path).map_err(|err| (path.to_path_buf(), err))?;
    Ok((source, open_tombstone(disk, path)?))
}

fn open_tombstone(disk: &dyn Disk, path: &Path) -> Result<Option<Opened>, Closed> {
    let tombstone = path.with_extension("tombstone");
    match disk.open(&tombstone) {
        Ok(deleted) => Ok(Some((tombstone, deleted))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err((tombstone, err)),
    }
}

/// Whether all segments that are open are still in their folder.
fn log_stands(disk: &dyn Disk, files: &Files, opened: &[Opened]) -> Result<bool, Trouble> {
    let Some(folder) = &files.wal else {
        return Ok(true);
    };
    let listed = disk.list(folder).map_err(|err| Trouble::new(folder, err))?;
    let is_there = |path: &PathBuf| listed.contains(path) || path.parent() != Some(folder);
    Ok(opened.iter().all(|(path, _)| is_there(path)))
}

/// Whether the folder holds the same TSM files as before, with the tombstones that are open.
///
/// A compaction deletes a TSM file before its tombstones: who opens the one before and the other after that takes
/// what was deleted for what is there. A deletion that reaches some files before they are opened, and others behind
/// that, brings back what it finds overwritten. And a long listing can miss what a compaction makes as well as what
/// it removes.
fn data_stands(
    disk: &dyn Disk,
    files: &Files,
    held: &[Opened],
    data: &Data,
) -> Result<bool, Trouble> {
    for (path, _, tombstone) in &data.pairs {
        if held_pair(held, path).is_some() {
            continue;
        }
        let now = open_tombstone(disk, path).map_err(|(path, err)| Trouble::new(&path, err))?;
        let is_same = match (tombstone, &now) {
            (Some((_, then)), Some((_, now))) => then.is_same(now),
            (then, now) => then.is_some() == now.is_some(),
        };
        if !is_same {
            return Ok(false);
        }
    }
    // Behind the tombstones: as long as a file is there they are too.
    match &files.data {
        Some(folder) => Ok(list_data(disk, folder)?.0 == data.listed),
        None => Ok(true),
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

fn is_segment(path: &Path) -> bool {
    has_extension(path, "wal")
}

pub(super) fn is_tsm(source: &Source) -> bool {
    let mut head = [0; 4];
    source.read(0, &mut head).is_ok() && File::is_tsm(&head)
}

/// Generation and sequence, as the server reads them: up to the first dot, parted at the first dash.
fn rank(path: &Path) -> Option<(u64, u64)> {
    let name = path.file_name()?.as_bytes();
    let (stem, _) = name.split_once_str(".")?;
    let (generation, sequence) = stem.split_once_str("-")?;
    let number = |digits: &[u8]| place::shard_id(OsStr::from_bytes(digits));
    Some((number(generation)?, number(sequence)?))
}

/// Without the files that belong to a TSM file, or that a server keeps beside them for itself.
fn without_companions(others: Vec<PathBuf>, data: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    const KNOWN: &[&str] = &[
        "fields.idx",
        "fields.idxl",
        "index",
        "digest.tsd",
        "do_not_compact",
    ];
    let is_known = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        let owner = path.with_extension("tsm");
        KNOWN.iter().any(|known| name == *known)
            || (has_extension(path, "tombstone") && data.contains(&owner))
    };
    others.into_iter().filter(|path| !is_known(path)).collect()
}

fn note_strays(folder: &Path, mut strays: Vec<PathBuf>, remarks: &mut Vec<Remark>) {
    if !strays.is_empty() {
        strays.sort();
        remarks.push(Remark::Strays(folder.to_path_buf(), strays));
    }
}
