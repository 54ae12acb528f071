//! The files of one shard, opened together: TSM files with their tombstones, oldest first, and the log.
//!
//! A server may snapshot and compact meanwhile. The log is opened first, so that points on their way from the log
//! into a TSM file are seen at least once; if a segment has gone when all files are open, a snapshot came between
//! and everything is opened again, so that the log can count as newest.

mod extent;
mod gather;
mod log;
mod packed;

use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;

use super::file::File;
use super::index::Survey;
use super::source::Source;
use super::tombstone::{self, Tombstones};
use super::wal;
use super::{Note, ReadError};
use crate::pages::Supply;

pub use extent::Extent;
pub use gather::{Disk, System};
use gather::{Opened, gather};

/// How to open a shard.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// What is damaged is left out and listed, instead of being an error.
    pub keep_going: bool,
    /// Threads that may read the log.
    pub jobs: NonZeroUsize,
    /// What a long log is read into, as far as there are any.
    pub pages: Option<&'a Supply>,
}

impl Opening<'_> {
    /// With one thread, and memory of its own.
    pub fn alone(keep_going: bool) -> Self {
        Self {
            keep_going,
            jobs: NonZeroUsize::MIN,
            pages: None,
        }
    }
}

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
            Some(key) => write!(f, ": key {}", shortened(key)),
            None => Ok(()),
        }
    }
}

/// A name in quotes as messages show it: keys can be as long as 64 KiB.
pub fn shortened(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    match name.split_at_checked(SHOWN) {
        Some((head, tail)) if !tail.is_empty() => {
            format!("{:?} and {} bytes more", head.as_bstr(), tail.len())
        }
        _ => format!("{:?}", name.as_bstr()),
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

/// Where the files of a shard are.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The folder of the TSM files.
    pub data: Option<PathBuf>,
    /// The folder of the log.
    pub wal: Option<PathBuf>,
    /// TSM files and segments named one by one.
    pub named: Vec<PathBuf>,
    /// TSM files, tombstone files and segments that are open already, and how messages call them.
    pub opened: Vec<(PathBuf, Source)>,
    /// An archive that holds all of them.
    pub packed: Option<Packed>,
}

/// The archive of a shard in a backup, to be unpacked when the shard is opened.
#[derive(Clone, Debug)]
pub struct Packed {
    /// How messages call it, and where it is unless it is open.
    pub path: PathBuf,
    /// Its bytes, if it is open already.
    pub source: Option<Source>,
    /// The folder for what is unpacked; `None` where the system keeps temporary files.
    pub spool: Option<PathBuf>,
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
    /// Which of [`Shard::held`] are its own: of one type as they were written, or by type and time, no time in two.
    pub chunks: Range<usize>,
    /// How many of the shard's TSM files, from the first, are older. All, unless the shard is made of copies.
    pub above: usize,
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
    /// What is in the log, keys ascending; of one key the older first.
    pub log: Vec<Logged>,
    /// The values of the log.
    pub held: wal::Chunks,
    /// Bytes of the segments they were read from.
    pub segments: u64,
    /// What is worth telling.
    pub remarks: Vec<Remark>,
    /// What is damaged and left out.
    pub damage: Vec<Trouble>,
}

/// Open a shard; `None` if nothing of it is there any more.
///
/// Damage is an error, or the file, or the rest of a segment, is left out and listed.
/// Entries of an index that cannot be right are left to whoever walks the index.
pub fn open(disk: &dyn Disk, files: &Files, how: Opening<'_>) -> Result<Option<Shard>, Trouble> {
    let mut shard = Shard::default();
    let opened = gather(disk, files, &mut shard, how.keep_going)?;
    let gone = opened.segments.is_empty() && opened.files.is_empty() && !opened.exists;
    if gone {
        return Ok(None);
    }
    let scratch = || disk.scratch();
    let mut space = tombstone::Space::new(&scratch);
    for (path, source, tombstone) in opened.files {
        match member(path, source, tombstone, &mut space, &mut shard.remarks) {
            Ok(member) => shard.members.push(member),
            Err(trouble) => shard.bear(trouble, how.keep_going)?,
        }
    }
    shard.check_entries(how.keep_going)?;
    shard.replay(opened.segments, how)?;
    Ok(Some(shard))
}

/// Open the copies of a shard, from the oldest to the newest; `None` if nothing of any is there any more.
pub fn open_copies<'a>(
    disk: &dyn Disk,
    copies: impl Iterator<Item = &'a Files>,
    how: Opening<'_>,
) -> Result<Option<Shard>, Trouble> {
    let mut all: Option<Shard> = None;
    for files in copies {
        let copy = open(disk, files, how)?;
        all = match (all, copy) {
            (Some(older), Some(copy)) => Some(copy.over(older)),
            (older, copy) => copy.or(older),
        };
    }
    Ok(all)
}

fn member(
    path: PathBuf,
    source: Source,
    tombstone: Option<Opened>,
    space: &mut tombstone::Space<'_>,
    remarks: &mut Vec<Remark>,
) -> Result<Member, Trouble> {
    let file = File::open(source).map_err(|err| Trouble::new(&path, err))?;
    let survey = Survey::of(&file).map_err(|err| Trouble::new(&path, err))?;
    let deleted = match tombstone {
        Some((path, source)) => {
            let read = tombstone::read(io::BufReader::new(source.reader()), space);
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

    /// This copy on top of an older one: all of it is newer, its TSM files over the log of the other.
    fn over(mut self, mut older: Self) -> Self {
        let below = older.members.len();
        let further = older.held.absorb(self.held);
        older.segments += self.segments;
        for logged in &mut self.log {
            logged.above += below;
            logged.chunks.start += further;
            logged.chunks.end += further;
        }
        older.members.append(&mut self.members);
        older.log.append(&mut self.log);
        older.log.sort_by(|a, b| a.key.cmp(&b.key));
        older.remarks.append(&mut self.remarks);
        older.damage.append(&mut self.damage);
        older
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::io::Write;

    use super::super::file::testing::{WORKED, bytes};
    use super::super::{Error, ErrorKind};
    use super::*;

    /// A shard whose files change while it is opened: each listing may be followed by a change.
    struct Busy {
        /// What is there before the first listing, after it, and so on; the last one stays.
        states: Vec<Vec<(&'static str, &'static str)>>,
        listings: RefCell<usize>,
        /// What was opened: a file stays the same file.
        opened: RefCell<BTreeMap<PathBuf, Source>>,
    }

    impl Busy {
        fn new(states: Vec<Vec<(&'static str, &'static str)>>) -> Self {
            Self {
                states,
                listings: RefCell::default(),
                opened: RefCell::default(),
            }
        }

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
            let mut known = self.opened.borrow_mut();
            if let Some(source) = known.get(path) {
                return Ok(source.clone());
            }
            let mut file = tempfile::tempfile()?;
            file.write_all(&bytes(hex))?;
            let source = Source::whole(file)?;
            known.insert(path.to_path_buf(), source.clone());
            Ok(source)
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
        let disk = Busy::new(states);
        open(&disk, &files(), Opening::alone(false))
            .unwrap()
            .unwrap()
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
        Busy::new(vec![vec![
            ("d/000000001-000000001.tsm", WORKED),
            ("d/000000002-000000001.tsm", "16d116d102"),
            ("d/000000003-000000001.tsm", WORKED),
            ("d/000000003-000000001.tombstone", "00001502ff"),
            ("w/_00001.wal", "09"),
            ("w/_00002.wal", SEGMENT),
        ]])
    }

    #[test]
    fn damage_ends_everything_unless_it_is_to_go_on() {
        let trouble = open(&broken(), &files(), Opening::alone(false)).unwrap_err();
        assert_eq!("d/000000002-000000001.tsm", trouble.to_string());
        let shard = open(&broken(), &files(), Opening::alone(true))
            .unwrap()
            .unwrap();
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
        let disk = |states| Busy::new(vec![states]);
        let named = |names: &[&str]| Files {
            named: names.iter().map(PathBuf::from).collect(),
            ..Files::default()
        };
        let there = vec![("copy.tsm", WORKED), ("1-1.tsm", WORKED)];
        assert!(
            open(
                &disk(there.clone()),
                &named(&["copy.tsm"]),
                Opening::alone(false)
            )
            .unwrap()
            .is_some()
        );
        let trouble = open(
            &disk(there),
            &named(&["copy.tsm", "1-1.tsm"]),
            Opening::alone(false),
        )
        .unwrap_err();
        assert!(trouble.cause.to_string().contains("GENERATION-SEQUENCE"));
    }

    #[test]
    fn long_names_are_shown_in_part() {
        assert_eq!("\"a\\\"b\"", shortened(b"a\"b"));
        let text = shortened(&[b'x'; 65_535]);
        assert!(
            text.len() < 250 && text.ends_with("x\" and 65335 bytes more"),
            "{text}"
        );
    }

    #[test]
    fn trouble_leads_to_its_cause_by_type() {
        let cause = Error::new(7, ErrorKind::Checksum);
        let trouble = Trouble::with_key(Path::new("a.tsm"), b"m#!~#v", cause);
        assert_eq!("a.tsm: key \"m#!~#v\"", trouble.to_string());
        let source = std::error::Error::source(&trouble).unwrap();
        assert!(source.is::<Error>());
    }
}
