//! The log of a shard: its segments are read side by side, and added up from the oldest to the newest.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::gather::Opened;
use super::{Logged, Opening, Remark, Shard, Trouble};
use crate::lanes::{self, Bounds, Feed, Parts};
use crate::tsm::{Note, ReadError, wal};

/// A log of less than so many bytes is read as fast as threads are started.
const SHORT: u64 = 128 << 10;

impl Shard {
    /// Read the log, all of its segments at once as far as there are threads.
    pub(super) fn replay(&mut self, segments: Vec<Opened>, how: Opening) -> Result<(), Trouble> {
        let mut cache = wal::Cache::default();
        // Only in the last segment with anything in it a torn entry is what a crash leaves.
        let last = segments.iter().rposition(|(_, source)| !source.is_empty());
        let all: u64 = segments.iter().map(|(_, source)| source.len()).sum();
        let segments = segments.into_iter().enumerate();
        let mut segments = segments.map(|(i, opened)| (opened, Some(i) == last));
        let mut add = |read: Segment| {
            let odd = read.notes.into_iter();
            let odd = odd.map(|note| Remark::Odd(read.path.clone(), note));
            self.remarks.extend(odd);
            cache.add(read.part);
            match read.done {
                Ok(()) => Ok(()),
                Err(err) => self.bear(Trouble::new(&read.path, err), how.keep_going),
            }
        };
        if all < SHORT || how.jobs == NonZeroUsize::MIN {
            segments.map(Segment::read).try_for_each(add)?;
        } else {
            let feed = |feed: &Feed<'_, _, _>| {
                let _ = segments.all(|segment| feed.put(segment, 0));
            };
            let read = || |segment, _: &Parts<'_, _, _>| Segment::read(segment);
            lanes::run(Bounds::new(how.jobs, 0), feed, read, &mut add)?;
        }
        let logged = |entry: wal::Entry| Logged {
            key: entry.key.into(),
            chunks: entry.chunks,
            above: self.members.len(),
        };
        let (entries, held) = cache.finish();
        self.log = entries.into_iter().map(logged).collect();
        self.held = held;
        Ok(())
    }
}

/// A segment of the log that was read, as far as that is possible.
struct Segment {
    path: PathBuf,
    part: wal::Part,
    notes: Vec<Note>,
    done: Result<(), ReadError>,
}

impl Segment {
    fn read(((path, source), is_last): (Opened, bool)) -> Self {
        let (mut part, mut notes) = (wal::Part::default(), Vec::new());
        let done = part.replay(source.reader(), is_last, &mut notes);
        Self {
            path,
            part,
            notes,
            done,
        }
    }
}
