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
/// Bytes of a part of a short log and of a long one: no thread waits long for another one's last.
const PARTS: (u64, u64) = (1 << 20, 2 << 20);

/// Bytes of a part, as far as its segment has them. Each part has chunks of its own for all keys that are in it, and what
/// comes out is cut where these are: so it is a matter of the log, not of who reads it.
fn size(all: u64) -> u64 {
    match all < SHORT {
        true => u64::MAX,
        false => (all / 16).clamp(PARTS.0, PARTS.1).min(all / 2),
    }
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
            parts(&segments, size(all)).try_for_each(|part| add(part.read(&mut reader)))?;
        } else {
            let feed = |feed: &Feed<'_, _, _>| {
                let _ = parts(&segments, size(all)).all(|part| feed.put(part, 0));
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

/// Cut segments into parts, each of so many bytes.
fn parts(segments: &[Opened], size: u64) -> impl Iterator<Item = Part<'_>> {
    // Only in the last segment with anything in it a torn entry is what a crash leaves.
    let last = segments.iter().rposition(|(_, source)| !source.is_empty());
    segments
        .iter()
        .enumerate()
        .flat_map(move |(i, (path, source))| {
            let mut cuts = wal::Cuts::new(source);
            iter::from_fn(move || {
                let offsets = cuts.next(size)?;
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
