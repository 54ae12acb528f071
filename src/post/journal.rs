//! What has been finished, so that a run that starts again does not do it again.
//!
//! A list to which one entry is appended, and made to last, after each batch that is done with:
//!
//! ```text
//! header   "lineflow journal", 16 bytes; then 32 bytes of zero
//! entry    fingerprint 16 | rejects file 8 | its length 8 | rejects 4 | kind 4 | check 8
//! ```
//!
//! Numbers are little-endian. `kind` is 0 for a batch, 1 where a run starts and 2 where one has ended in good order.
//! The check is made of the entry and its number; the first entry that fails it ends the list: it is what a crash has
//! left, and what it stood for is done again. A fingerprint says nothing of where a batch stands, so the source may
//! grow, shrink and be rewritten between runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

const HEADER: &[u8; 48] =
    b"lineflow journal\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const ENTRY: usize = 48;
const CHECKED: usize = 40;

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else is at work with it.
    #[error("{}: another lp-post is at work with this journal", .0.display())]
    Busy(PathBuf),
    /// It holds something else.
    #[error("{}: is no journal (name a file that does not exist yet)", .0.display())]
    Foreign(PathBuf),
}

/// What a batch is known by: its bytes and where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64, u64);

impl Mark {
    /// The mark of `body` on its way to `destination`.
    pub fn of(destination: &str, body: &[u8]) -> Self {
        let mut hasher = Xxh3::new();
        hasher.update(destination.as_bytes());
        hasher.update(b"\n");
        hasher.update(body);
        let hash = hasher.digest128();
        Self((hash >> 64) as u64, hash as u64)
    }

    fn bytes(self) -> [u8; 16] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_le_bytes()
    }

    fn from_bytes(bytes: [u8; 16]) -> Self {
        let hash = u128::from_le_bytes(bytes);
        Self((hash >> 64) as u64, hash as u64)
    }
}

/// A batch that is done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which one.
    pub mark: Mark,
    /// How many of its records were rejected.
    pub rejected: u32,
}

/// What earlier runs have finished. Takes 24 bytes a batch.
#[derive(Debug, Default)]
pub struct History {
    /// Ascending, each mark once.
    known: Vec<Known>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    mark: Mark,
    /// How often it may still be skipped.
    left: u32,
    rejected: u32,
}

impl History {
    fn of(mut known: Vec<Known>) -> Self {
        known.sort_by_key(|known| known.mark);
        known.dedup_by(|next, first| {
            let same = next.mark == first.mark;
            if same {
                first.left = first.left.saturating_add(next.left);
            }
            same
        });
        known.shrink_to_fit();
        Self { known }
    }

    /// Whether a batch with this mark need not be sent; each time that one was finished counts once. Gives the number
    /// of its records that were rejected.
    pub fn skip(&mut self, mark: Mark) -> Option<u32> {
        let at = self.known.binary_search_by_key(&mark, |known| known.mark);
        let known = self.known.get_mut(at.ok()?)?;
        known.left = known.left.checked_sub(1)?;
        Some(known.rejected)
    }
}

/// Where rejects go, as far as a journal has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejects {
    /// Which file; 0 for none.
    pub file: u64,
    /// Its length.
    pub length: u64,
}

/// The kinds of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Batch,
    Start,
    End,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: Mark,
    rejects: Rejects,
    rejected: u32,
    kind: Kind,
}

impl Entry {
    fn print(&self, number: u64) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        let kind: u32 = match self.kind {
            Kind::Batch => 0,
            Kind::Start => 1,
            Kind::End => 2,
        };
        bytes[..16].copy_from_slice(&self.mark.bytes());
        bytes[16..24].copy_from_slice(&self.rejects.file.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.rejects.length.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.rejected.to_le_bytes());
        bytes[36..CHECKED].copy_from_slice(&kind.to_le_bytes());
        let check = xxh3_64_with_seed(&bytes[..CHECKED], number);
        bytes[CHECKED..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8; ENTRY], number: u64) -> Option<Self> {
        let check = xxh3_64_with_seed(&bytes[..CHECKED], number);
        if bytes[CHECKED..] != check.to_le_bytes() {
            return None;
        }
        let long = |at: usize| -> Option<u64> {
            Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
        };
        let short = |at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
        };
        Some(Self {
            mark: Mark::from_bytes(bytes.get(..16)?.try_into().ok()?),
            rejects: Rejects {
                file: long(16)?,
                length: long(24)?,
            },
            rejected: short(32)?,
            kind: match short(36)? {
                0 => Kind::Batch,
                1 => Kind::Start,
                2 => Kind::End,
                _ => return None,
            },
        })
    }
}

/// The end of a journal, to which entries are appended. Locked as long as it lives.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The number of the next entry.
    next: u64,
    /// The file that the rejects of this run are in.
    rejects: u64,
}

/// A journal as it was found.
#[derive(Debug)]
pub struct Opened {
    /// Its end.
    pub journal: Journal,
    /// What it says is done.
    pub history: History,
    /// Where the rejects stood when the run before it stopped in the middle; `None` where it did not.
    pub broken_off: Option<Rejects>,
    /// Bytes at the end that say nothing.
    pub torn: u64,
}

impl Journal {
    /// Open it, or make it, and read what is done.
    pub fn open(path: &Path) -> Result<Opened, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(path.to_owned())),
            Err(TryLockError::Error(err)) => return Err(io(err)),
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            next: 0,
            rejects: 0,
        };
        let opened = journal.read().map_err(io)?;
        let (known, last, torn) = opened.ok_or_else(|| Error::Foreign(path.to_owned()))?;
        Ok(Opened {
            journal,
            history: History::of(known),
            broken_off: last
                // More than one entry is no crash but damage: what follows it may be true as well.
                .filter(|last| last.kind != Kind::End && torn <= ENTRY as u64)
                .map(|last| last.rejects),
            torn,
        })
    }

    /// The batches that are done, the last entry, and how much is torn off; `None` if it is no journal.
    #[allow(clippy::type_complexity)]
    fn read(&mut self) -> io::Result<Option<(Vec<Known>, Option<Entry>, u64)>> {
        let length = self.file.metadata()?.len();
        let mut source = BufReader::with_capacity(64 << 10, &self.file);
        let mut header = Vec::new();
        source
            .by_ref()
            .take(HEADER.len() as u64)
            .read_to_end(&mut header)?;
        if !HEADER.starts_with(&header) {
            return Ok(None);
        }
        let (mut known, mut last) = (Vec::new(), None);
        let mut bytes = [0; ENTRY];
        while header.len() == HEADER.len() {
            match source.read_exact(&mut bytes) {
                Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => break,
                result => result?,
            }
            let Some(entry) = Entry::read(&bytes, self.next) else {
                break;
            };
            if entry.kind == Kind::Batch {
                known.push(Known {
                    mark: entry.mark,
                    left: 1,
                    rejected: entry.rejected,
                });
            }
            last = Some(entry);
            self.next += 1;
        }
        let good = self.position();
        let torn = length.saturating_sub(good);
        Ok(Some((known, last, torn)))
    }

    /// Where the next entry goes.
    fn position(&self) -> u64 {
        HEADER.len() as u64 + self.next * ENTRY as u64
    }

    /// A run starts, with its rejects there. What is torn is cut off.
    pub fn start(&mut self, rejects: Rejects) -> Result<(), Error> {
        self.rejects = rejects.file;
        self.begin().map_err(|source| self.io(source))?;
        self.append(Kind::Start, Mark(0, 0), 0, rejects.length)
    }

    fn begin(&mut self) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        if self.next == 0 {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(HEADER)?;
            self.file.sync_all()?;
            sync_folder(&self.path)?;
        }
        self.file.set_len(self.position())?;
        self.file.seek(SeekFrom::Start(self.position()))?;
        Ok(())
    }

    /// A batch is done with; the rejects file has this length now.
    pub fn add(&mut self, done: Done, length: u64) -> Result<(), Error> {
        self.append(Kind::Batch, done.mark, done.rejected, length)
    }

    /// The run has ended, and all in the rejects file belongs there.
    pub fn end(&mut self, length: u64) -> Result<(), Error> {
        self.append(Kind::End, Mark(0, 0), 0, length)
    }

    fn append(&mut self, kind: Kind, mark: Mark, rejected: u32, length: u64) -> Result<(), Error> {
        let entry = Entry {
            mark,
            rejects: Rejects {
                file: self.rejects,
                length,
            },
            rejected,
            kind,
        };
        let bytes = entry.print(self.next);
        let written = self.file.write_all(&bytes);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| self.io(source))?;
        self.next += 1;
        Ok(())
    }

    fn io(&self, source: io::Error) -> Error {
        Error::Io {
            path: self.path.clone(),
            source,
        }
    }
}

/// A new file lasts only once its folder does.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Open a journal that was closed. A program that another test is starting holds the lock until it runs.
    fn again(path: &Path) -> Opened {
        loop {
            match Journal::open(path) {
                Err(Error::Busy(_)) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    const HERE: Rejects = Rejects { file: 7, length: 5 };

    fn done(n: u8) -> Done {
        Done {
            mark: Mark::of("there", &[n]),
            rejected: u32::from(n),
        }
    }

    fn written(path: &Path, batches: &[u8], ends: bool) {
        let mut journal = again(path).journal;
        journal.start(HERE).unwrap();
        for &n in batches {
            journal.add(done(n), 10 + u64::from(n)).unwrap();
        }
        if ends {
            journal.end(99).unwrap();
        }
    }

    fn skips(history: &mut History, n: u8) -> Vec<u32> {
        std::iter::from_fn(|| history.skip(done(n).mark)).collect()
    }

    #[test]
    fn a_batch_is_skipped_as_often_as_it_was_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        written(&path, &[1, 2, 1], true);
        written(&path, &[2, 3, 1], true);
        let mut history = again(&path).history;
        assert_eq!(vec![1, 1, 1], skips(&mut history, 1));
        assert_eq!(vec![2, 2], skips(&mut history, 2));
        assert_eq!(vec![3], skips(&mut history, 3));
        assert_eq!(0, skips(&mut history, 4).len());
    }

    #[test]
    fn destination_and_bytes_make_the_mark() {
        assert_ne!(Mark::of("a", b"x"), Mark::of("b", b"x"));
        assert_ne!(Mark::of("a", b"x"), Mark::of("a", b"y"));
        let mark = Mark::of("a", b"x");
        assert_eq!(mark, Mark::from_bytes(mark.bytes()));
    }

    #[test]
    fn a_tail_torn_anywhere_costs_its_own_entry_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        written(&path, &[1, 2, 3], false);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(ENTRY * 5, whole.len());
        for len in 0..=whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            let mut opened = again(&path);
            let entries = (len / ENTRY).saturating_sub(1);
            for n in 1..=3 {
                let expected = usize::from(entries > n as usize);
                assert_eq!(expected, skips(&mut opened.history, n).len(), "{len}");
            }
            let last = [None, Some(5), Some(11), Some(12), Some(13)][entries];
            assert_eq!(last, opened.broken_off.map(|rejects| rejects.length));
            // What is written next stands where it can be read.
            opened.journal.start(HERE).unwrap();
            opened.journal.add(done(9), 0).unwrap();
            drop(opened);
            let mut again = again(&path);
            assert_eq!((vec![9], 0), (skips(&mut again.history, 9), again.torn));
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        written(&path, &[1, 2], true);
        let whole = std::fs::read(&path).unwrap();
        for at in ENTRY * 3..ENTRY * 4 {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, &bytes).unwrap();
            let mut opened = again(&path);
            assert_eq!(2 * ENTRY as u64, opened.torn);
            assert_eq!(1, skips(&mut opened.history, 1).len());
            assert_eq!(0, skips(&mut opened.history, 2).len());
        }
    }

    #[test]
    fn only_a_run_that_broke_off_says_where_the_rejects_stood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        assert_eq!(None, again(&path).broken_off);
        written(&path, &[1], true);
        assert_eq!(None, again(&path).broken_off);
        written(&path, &[4], false);
        let expected = Rejects {
            file: 7,
            length: 14,
        };
        assert_eq!(Some(expected), again(&path).broken_off);
    }

    #[test]
    fn nobody_else_may_have_it_meanwhile_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let first = again(&path);
        assert!(matches!(Journal::open(&path), Err(Error::Busy(_))));
        drop(first);
        again(&path);
        std::fs::write(&path, "m v=1 1\n").unwrap();
        assert!(matches!(Journal::open(&path), Err(Error::Foreign(_))));
        assert_eq!("m v=1 1\n", std::fs::read_to_string(&path).unwrap());
    }
}
