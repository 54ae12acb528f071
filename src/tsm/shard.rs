//! The files of one shard, opened together: TSM files with their tombstones, oldest first, and the log.
//!
//! A server may snapshot and compact meanwhile. The log is opened first, so that points on their way from the log
//! into a TSM file are seen at least once; if a segment has gone when all files are open, a snapshot came between
//! and everything is opened again, so that the log can count as newest.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::file::File;
use super::index::Survey;
use super::merge::Column;
use super::place;
use super::source::Source;
use super::tombstone::{self, Tombstones};
use super::wal;
use super::{Error, Note, ReadError};

/// How often everything is opened again before what is open must do.
const TRIES: usize = 10;

/// Damage, or a file that cannot be read, and where.
#[derive(Debug)]
pub struct Trouble {
    /// The file.
    pub path: PathBuf,
    /// The key it concerns, if it is about one.
    pub key: Option<Vec<u8>>,
    /// What is wrong.
    pub cause: ReadError,
}

impl Trouble {
    /// Trouble with a whole file.
    pub fn new(path: &Path, cause: impl Into<ReadError>) -> Self {
        Self {
            path: path.to_path_buf(),
            key: None,
            cause: cause.into(),
        }
    }

    /// Trouble with one key of a file.
    pub fn with_key(path: &Path, key: &[u8], cause: impl Into<ReadError>) -> Self {
        Self {
            key: Some(key.to_vec()),
            ..Self::new(path, cause)
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.key {
            Some(key) => write!(f, ": key {:?}", key.as_bstr()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Trouble {
    /// The cause itself, so that a search through the chain finds its type.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match &self.cause {
            ReadError::Io(err) => err,
            ReadError::Damage(err) => err,
        })
    }
}

/// Where files come from. Listing and opening are apart, and a server may work between the two.
pub trait Disk {
    /// All names in a folder; none where there is no such folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Open a file for reading.
    fn open(&self, path: &Path) -> io::Result<Source>;
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub struct System;

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
}

/// Where the files of a shard are.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The folder of the TSM files.
    pub data: Option<PathBuf>,
    /// The folder of the log.
    pub wal: Option<PathBuf>,
    /// TSM files and segments named one by one.
    pub named: Vec<PathBuf>,
    /// A TSM file or a segment that is open already, and how messages call it.
    pub opened: Option<(PathBuf, Source)>,
}

/// One TSM file of a shard.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub path: PathBuf,
    /// The file, its frame in order.
    pub file: File,
    /// What its index shows.
    pub survey: Survey,
    /// What is deleted from it.
    pub deleted: Tombstones,
}

/// What the log has of one key.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The composite key.
    pub key: Vec<u8>,
    /// Settled; more than one if the log holds more than one type. They share no time.
    pub columns: Vec<Column>,
}

/// Something worth telling that costs no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Something odd in a file.
    Odd(PathBuf, Note),
    /// Files that are not read, in their folder.
    Strays(PathBuf, Vec<PathBuf>),
    /// A server kept moving files about; some deleted or overwritten points may have come back.
    Restless(PathBuf),
}

/// One shard, open and checked as far as that is possible without reading blocks.
#[derive(Debug, Default)]
pub struct Shard {
    /// Oldest first.
    pub members: Vec<Member>,
    /// What is newer than all of them, keys ascending.
    pub log: Vec<Logged>,
    /// What is worth telling.
    pub remarks: Vec<Remark>,
    /// What is damaged and left out.
    pub damage: Vec<Trouble>,
}

/// Open a shard; `None` if nothing of it is there any more.
///
/// Damage is an error, unless `keep_going`: then the file, or the rest of a segment, is left out and listed.
/// Entries of an index that cannot be right are left to whoever walks the index.
pub fn open(disk: &dyn Disk, files: &Files, keep_going: bool) -> Result<Option<Shard>, Trouble> {
    let mut shard = Shard::default();
    let opened = gather(disk, files, &mut shard)?;
    let gone = opened.segments.is_empty() && opened.files.is_empty() && !opened.exists;
    if gone {
        return Ok(None);
    }
    for (path, source, tombstone) in opened.files {
        match member(path, source, tombstone, &mut shard.remarks) {
            Ok(member) => shard.members.push(member),
            Err(trouble) => shard.bear(trouble, keep_going)?,
        }
    }
    shard.check_entries(keep_going)?;
    shard.replay(opened.segments, keep_going)?;
    Ok(Some(shard))
}

/// A file that is open, and where it is.
type Opened = (PathBuf, Source);

/// All files of a shard, open, none of them read.
struct Gathered {
    /// Oldest first, each with its tombstone file.
    files: Vec<(PathBuf, Source, Option<Opened>)>,
    /// Oldest first.
    segments: Vec<Opened>,
    /// Whether there is a folder at all.
    exists: bool,
}

fn gather(disk: &dyn Disk, files: &Files, shard: &mut Shard) -> Result<Gathered, Trouble> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut strays = Vec::new();
        let segments = open_log(disk, files, &mut strays)?;
        let data = open_data(disk, files, &mut strays, tries >= TRIES)?;
        // Its files were moved about between listing and opening, or a snapshot was finished meanwhile.
        let is_settled = match &data {
            None => false,
            Some(_) => log_stands(disk, files, &segments)?,
        };
        match data {
            Some(data) if is_settled || tries >= TRIES => {
                shard.remarks.append(&mut strays);
                if !is_settled {
                    let place = files.wal.clone().unwrap_or_default();
                    shard.remarks.push(Remark::Restless(place));
                }
                let exists = [&files.data, &files.wal]
                    .into_iter()
                    .flatten()
                    .any(|dir| dir.is_dir());
                return Ok(Gathered {
                    files: data,
                    segments,
                    exists,
                });
            }
            _ => {}
        }
    }
}

fn open_log(
    disk: &dyn Disk,
    files: &Files,
    strays: &mut Vec<Remark>,
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
        note_strays(folder, others, strays);
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
    if let Some((path, source)) = &files.opened {
        if !is_tsm(source) {
            opened.push((path.clone(), source.clone()));
        }
    }
    Ok(opened)
}

/// Open all TSM files; `None` if one of them has gone since it was listed, unless it is the `last` try.
fn open_data(
    disk: &dyn Disk,
    files: &Files,
    strays: &mut Vec<Remark>,
    is_last: bool,
) -> Result<Option<Vec<(PathBuf, Source, Option<Opened>)>>, Trouble> {
    let mut paths: Vec<_> = files
        .named
        .iter()
        .filter(|path| !is_segment(path))
        .cloned()
        .collect();
    if let Some(folder) = &files.data {
        let listed = disk.list(folder).map_err(|err| Trouble::new(folder, err))?;
        let (data, others): (Vec<_>, Vec<_>) = listed
            .into_iter()
            .partition(|path| has_extension(path, "tsm"));
        note_strays(folder, without_companions(others, &data), strays);
        paths.extend(data);
    }
    let is_alone = paths.len() == 1;
    let mut ranked = Vec::new();
    for path in paths {
        match rank(&path) {
            Some(rank) => ranked.push((rank, path)),
            None if is_alone => ranked.push(((0, 0), path)),
            None => {
                return Err(Trouble::new(
                    &path,
                    Error::new(0, super::ErrorKind::FileName),
                ));
            }
        }
    }
    ranked.sort();
    let mut opened = Vec::new();
    for (_, path) in ranked {
        match open_pair(disk, &path) {
            Ok((source, tombstone)) => opened.push((path, source, tombstone)),
            Err(err) if err.kind() == io::ErrorKind::NotFound && !is_last => return Ok(None),
            Err(err) => return Err(Trouble::new(&path, err)),
        }
    }
    if let Some((path, source)) = &files.opened {
        if is_tsm(source) {
            opened.push((path.clone(), source.clone(), None));
        }
    }
    Ok(Some(opened))
}

fn open_pair(disk: &dyn Disk, path: &Path) -> io::Result<(Source, Option<Opened>)> {
    let source = disk.open(path)?;
    let tombstone = path.with_extension("tombstone");
    match disk.open(&tombstone) {
        Ok(deleted) => Ok((source, Some((tombstone, deleted)))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok((source, None)),
        Err(err) => Err(err),
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

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
}

fn is_segment(path: &Path) -> bool {
    has_extension(path, "wal")
}

fn is_tsm(source: &Source) -> bool {
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
fn without_companions(others: Vec<PathBuf>, data: &[PathBuf]) -> Vec<PathBuf> {
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

fn member(
    path: PathBuf,
    source: Source,
    tombstone: Option<Opened>,
    remarks: &mut Vec<Remark>,
) -> Result<Member, Trouble> {
    let file = File::open(source).map_err(|err| Trouble::new(&path, err))?;
    let survey = Survey::of(&file).map_err(|err| Trouble::new(&path, err))?;
    let deleted = match tombstone {
        Some((path, source)) => {
            let read = tombstone::read(io::BufReader::new(source.reader()));
            let (deleted, notes) = read.map_err(|err| Trouble::new(&path, err))?;
            remarks.extend(
                notes
                    .into_iter()
                    .map(|note| Remark::Odd(path.clone(), note)),
            );
            deleted
        }
        None => Tombstones::default(),
    };
    Ok(Member {
        path,
        file,
        survey,
        deleted,
    })
}

impl Shard {
    /// List damage, or make an end of it.
    fn bear(&mut self, trouble: Trouble, keep_going: bool) -> Result<(), Trouble> {
        if !keep_going {
            return Err(trouble);
        }
        self.damage.push(trouble);
        Ok(())
    }

    fn check_entries(&self, keep_going: bool) -> Result<(), Trouble> {
        for member in &self.members {
            if let (Some(fault), false) = (member.survey.faults.first(), keep_going) {
                let cause = fault.error.clone();
                return Err(Trouble::with_key(&member.path, &fault.key, cause));
            }
        }
        Ok(())
    }

    fn replay(&mut self, segments: Vec<Opened>, keep_going: bool) -> Result<(), Trouble> {
        let mut cache = wal::Cache::default();
        // Only in the last segment with anything in it a torn entry is what a crash leaves.
        let last = segments.iter().rposition(|(_, source)| !source.is_empty());
        for (i, (path, source)) in segments.into_iter().enumerate() {
            let mut notes = Vec::new();
            let replayed = cache.replay(source.reader(), Some(i) == last, &mut notes);
            let odd = notes
                .into_iter()
                .map(|note| Remark::Odd(path.clone(), note));
            self.remarks.extend(odd);
            if let Err(err) = replayed {
                self.bear(Trouble::new(&path, err), keep_going)?;
            }
        }
        self.log = cache.finish().into_iter().map(Logged::from).collect();
        Ok(())
    }
}

impl From<wal::Entry> for Logged {
    fn from(entry: wal::Entry) -> Self {
        let column = |(times, values): wal::Column| Column { times, values };
        Self {
            key: entry.key.into(),
            columns: entry.columns.into_iter().map(column).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;

    use super::super::file::testing::{WORKED, bytes};
    use super::*;

    /// A shard whose files change while it is opened: each listing may be followed by a change.
    struct Busy {
        /// What is there before the first listing, after it, and so on; the last one stays.
        states: Vec<Vec<(&'static str, &'static str)>>,
        listings: RefCell<usize>,
    }

    impl Busy {
        fn now(&self) -> &[(&'static str, &'static str)] {
            let at = (*self.listings.borrow()).min(self.states.len() - 1);
            &self.states[at]
        }
    }

    impl Disk for Busy {
        fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
            let paths = self.now().iter().map(|(path, _)| PathBuf::from(path));
            let listed = paths.filter(|path| path.parent() == Some(folder)).collect();
            *self.listings.borrow_mut() += 1;
            Ok(listed)
        }

        fn open(&self, path: &Path) -> io::Result<Source> {
            let found = self
                .now()
                .iter()
                .find(|(there, _)| path == Path::new(there));
            let (_, hex) = found.ok_or(io::ErrorKind::NotFound)?;
            let mut file = tempfile::tempfile()?;
            file.write_all(&bytes(hex))?;
            Source::whole(file)
        }
    }

    /// `a#!~#v` is 1 in the log.
    const SEGMENT: &str =
        "010000001f1d700200066123217e23760000000116345785d8a000000000000000000001";

    fn files() -> Files {
        Files {
            data: Some("d".into()),
            wal: Some("w".into()),
            ..Files::default()
        }
    }

    fn opened(states: Vec<Vec<(&'static str, &'static str)>>) -> Shard {
        let disk = Busy {
            states,
            listings: RefCell::new(0),
        };
        open(&disk, &files(), false).unwrap().unwrap()
    }

    fn names(shard: &Shard) -> Vec<&str> {
        let paths = shard
            .members
            .iter()
            .map(|member| member.path.to_str().unwrap());
        paths.collect()
    }

    #[test]
    fn files_are_ranked_by_number_and_the_log_is_read() {
        let shard = opened(vec![vec![
            ("d/1000000000-000000001.tsm", WORKED),
            ("d/000000002-000000010.tsm", WORKED),
            ("d/000000002-000000009.tsm", WORKED),
            ("w/_00001.wal", SEGMENT),
        ]]);
        let expected = vec![
            "d/000000002-000000009.tsm",
            "d/000000002-000000010.tsm",
            "d/1000000000-000000001.tsm",
        ];
        assert_eq!(expected, names(&shard));
        assert_eq!(b"a#!~#v".to_vec(), shard.log[0].key);
    }

    #[test]
    fn a_compaction_between_listing_and_opening_costs_nothing() {
        let before = vec![
            ("d/000000001-000000001.tsm", WORKED),
            ("d/000000002-000000001.tsm", WORKED),
        ];
        let after = vec![("d/000000002-000000002.tsm", WORKED)];
        // The log is listed, then the data, then a file is gone.
        let shard = opened(vec![before.clone(), before, after]);
        assert_eq!(vec!["d/000000002-000000002.tsm"], names(&shard));
        assert!(shard.remarks.is_empty());
    }

    #[test]
    fn a_snapshot_that_ends_meanwhile_is_seen_as_one() {
        let before = vec![("w/_00001.wal", SEGMENT)];
        let after = vec![("d/000000001-000000001.tsm", WORKED)];
        // The log and the data are listed and open when the segment goes.
        let shard = opened(vec![before.clone(), before, after]);
        assert_eq!(vec!["d/000000001-000000001.tsm"], names(&shard));
        assert!(shard.log.is_empty());
    }

    #[test]
    fn a_shard_that_never_rests_is_taken_as_it_is_with_a_remark() {
        let one = vec![("w/_00001.wal", SEGMENT)];
        let two = vec![("w/_00002.wal", SEGMENT)];
        let states = (0..31).map(|i| if i % 3 == 2 { two.clone() } else { one.clone() });
        let shard = opened(states.collect());
        assert!(
            matches!(shard.remarks[..], [Remark::Restless(_)]),
            "{:?}",
            shard.remarks
        );
        assert_eq!(1, shard.log.len());
    }

    #[test]
    fn what_is_no_data_is_told() {
        let shard = opened(vec![vec![
            ("d/000000001-000000001.tsm", WORKED),
            ("d/000000001-000000001.tombstone", ""),
            ("d/000000003-000000001.tombstone", ""),
            ("d/000000002-000000001.tsm.bad", ""),
            ("d/fields.idx", ""),
            ("w/x", ""),
        ]]);
        let strays = |folder: &str, names: &[&str]| {
            Remark::Strays(folder.into(), names.iter().map(PathBuf::from).collect())
        };
        let expected = vec![
            strays("w", &["w/x"]),
            strays(
                "d",
                &[
                    "d/000000002-000000001.tsm.bad",
                    "d/000000003-000000001.tombstone",
                ],
            ),
        ];
        assert_eq!(expected, shard.remarks);
    }

    fn broken() -> Busy {
        Busy {
            states: vec![vec![
                ("d/000000001-000000001.tsm", WORKED),
                ("d/000000002-000000001.tsm", "16d116d102"),
                ("d/000000003-000000001.tsm", WORKED),
                ("d/000000003-000000001.tombstone", "00001502ff"),
                ("w/_00001.wal", "09"),
                ("w/_00002.wal", SEGMENT),
            ]],
            listings: RefCell::new(0),
        }
    }

    #[test]
    fn damage_ends_everything_unless_it_is_to_go_on() {
        let trouble = open(&broken(), &files(), false).unwrap_err();
        assert_eq!("d/000000002-000000001.tsm", trouble.to_string());
        let shard = open(&broken(), &files(), true).unwrap().unwrap();
        assert_eq!(vec!["d/000000001-000000001.tsm"], names(&shard));
        let damage: Vec<_> = shard.damage.iter().map(ToString::to_string).collect();
        let expected = vec![
            "d/000000002-000000001.tsm",
            "d/000000003-000000001.tombstone",
            "w/_00001.wal",
        ];
        assert_eq!(expected, damage);
        assert_eq!(1, shard.log.len());
    }

    #[test]
    fn a_name_without_rank_will_do_for_a_single_file_only() {
        let disk = |states| Busy {
            states: vec![states],
            listings: RefCell::new(0),
        };
        let named = |names: &[&str]| Files {
            named: names.iter().map(PathBuf::from).collect(),
            ..Files::default()
        };
        let there = vec![("copy.tsm", WORKED), ("1-1.tsm", WORKED)];
        assert!(
            open(&disk(there.clone()), &named(&["copy.tsm"]), false)
                .unwrap()
                .is_some()
        );
        let trouble = open(&disk(there), &named(&["copy.tsm", "1-1.tsm"]), false).unwrap_err();
        assert!(trouble.cause.to_string().contains("GENERATION-SEQUENCE"));
    }

    #[test]
    fn trouble_leads_to_its_cause_by_type() {
        let cause = Error::new(7, super::super::ErrorKind::Checksum);
        let trouble = Trouble::with_key(Path::new("a.tsm"), b"m#!~#v", cause);
        assert_eq!("a.tsm: key \"m#!~#v\"", trouble.to_string());
        let source = std::error::Error::source(&trouble).unwrap();
        assert!(source.is::<Error>());
    }
}
