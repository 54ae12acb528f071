//! The log of a shard: parts of its segments are read side by side, and added up from the oldest to the newest.

use std::iter;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::gather::Opened;
use super::{Logged, Opening, Remark, Shard, Trouble};
use crate::lanes::{self, Bounds, Feed, Parts};
use crate::tsm::source::Source;
use crate::tsm::wal;

/// A log of less than so many bytes is read as fast as threads are started.
const SHORT: u64 = 512 << 10;
/// No thread gets more of what is left than its part of a half, so that none waits long for another one's last.
const SHARE: u64 = 2;
/// Bytes of a part that suffice for any log and any number of threads.
const ENOUGH: u64 = 2 << 20;

/// Bytes of a part at least, as far as its segment has them. Each part has chunks of its own for all keys that are in it:
/// so smaller ones are only for few threads, of which each that waits is many, and for logs that are short.
fn least(all: u64, jobs: u64) -> u64 {
    ENOUGH.min((jobs << 19).max(all / 16)).min(all / 2)
}

impl Shard {
    /// Read the log, parts of it side by side as far as there are threads.
    pub(super) fn replay(
        &mut self,
        segments: Vec<Opened>,
        how: Opening<'_>,
    ) -> Result<(), Trouble> {
        let all: u64 = segments.iter().map(|(_, source)| source.len()).sum();
        let is_alone = all < SHORT || how.jobs == NonZeroUsize::MIN;
        let jobs = how.jobs.get() as u64;
        let least = least(all, jobs);
        let size = move |left: u64| match is_alone {
            true => u64::MAX,
            false => least.max(left / (SHARE * jobs)),
        };
        let (keys, mut cache) = (wal::Keys::default(), wal::Cache::default());
        let mut damaged = None::<PathBuf>;
        let mut add = |(path, mut part): (&Path, wal::Part)| {
            // Nothing counts that stands behind damage in a segment.
            if damaged.as_deref() == Some(path) {
                return Ok(());
            }
            let odd = part.notes.drain(..);
            self.remarks
                .extend(odd.map(|note| Remark::Odd(path.into(), note)));
            let done = std::mem::replace(&mut part.done, Ok(()));
            cache.add(part);
            done.or_else(|err| {
                damaged = Some(path.into());
                self.bear(Trouble::new(path, err), how.keep_going)
            })
        };
        let pages = how.pages.filter(|_| all >= SHORT);
        if is_alone {
            let mut reader = wal::Reader::new(&keys, pages);
            parts(&segments, size).try_for_each(|part| add(part.read(&mut reader)))?;
        } else {
            let feed = |feed: &Feed<'_, _, _>| {
                let _ = parts(&segments, size).all(|part| feed.put(part, 0));
            };
            let read = || {
                let mut reader = wal::Reader::new(&keys, pages);
                move |part, _: &Parts<'_, _, _>| Part::read(part, &mut reader)
            };
            lanes::run(Bounds::new(how.jobs, 0), feed, read, &mut add)?;
        }
        let logged = |entry: wal::Entry| Logged {
            key: entry.key.into(),
            chunks: entry.chunks,
            above: self.members.len(),
        };
        let (entries, held) = cache.finish(keys);
        self.log = entries.into_iter().map(logged).collect();
        self.held = held;
        self.segments = all;
        Ok(())
    }
}

/// Cut segments into parts, each of as many bytes as `size` says of so many that are left.
fn parts(segments: &[Opened], size: impl Fn(u64) -> u64 + Copy) -> impl Iterator<Item = Part<'_>> {
    // Only in the last segment with anything in it a torn entry is what a crash leaves.
    let last = segments.iter().rposition(|(_, source)| !source.is_empty());
    segments
        .iter()
        .enumerate()
        .flat_map(move |(i, (path, source))| {
            let later = segments.iter().skip(i + 1);
            let later: u64 = later.map(|(_, source)| source.len()).sum();
            let mut cuts = wal::Cuts::new(source);
            iter::from_fn(move || {
                let offsets = cuts.next(size(later + cuts.left()))?;
                Some(Part {
                    path,
                    source,
                    is_last: Some(i) == last && cuts.left() == 0,
                    offsets,
                })
            })
        })
}

/// Entries of a segment that follow each other.
struct Part<'a> {
    path: &'a Path,
    source: &'a Source,
    offsets: Range<u64>,
    is_last: bool,
}

impl<'a> Part<'a> {
    fn read(self, reader: &mut wal::Reader<'_>) -> (&'a Path, wal::Part) {
        let entries = self.source.part(self.offsets.clone());
        (
            self.path,
            reader.read(entries, self.offsets.start, self.is_last),
        )
    }
}
