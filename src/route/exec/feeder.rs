//! The thread that feeds one process, and what it knows of the bytes in between.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::Arc;

use bstr::BString;

use super::{COMMENT, Ended, Inbox, Lost, Office, Segment};

/// The thread that feeds one process.
pub(super) struct Feeder {
    pub(super) bucket: BString,
    pub(super) child: Child,
    pub(super) stdin: ChildStdin,
    pub(super) inbox: Arc<Inbox>,
    pub(super) office: Arc<Office>,
    pub(super) sent: Sent,
}

impl Feeder {
    /// Write what comes until no more does, and wait for the process.
    pub(super) fn run(mut self) {
        while let Some(mut segment) = self.inbox.take() {
            let written = self.write(&segment.bytes);
            let (whole, entries) = self.sent.add(&segment, written);
            self.office.written(whole);
            if written < segment.bytes.len() {
                segment.bytes.drain(..whole);
                segment.lens.drain(..entries);
                return self.died(segment, written - whole);
            }
            self.sent.forget(capacity(&self.stdin));
        }
        self.closed();
    }

    /// Write to the pipe; gives how much of it went in.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stdin.write(rest) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        written
    }

    /// The process reads no more, though there is more to read, which begins with `rest`; `torn` bytes of that are
    /// in the pipe, and of no use to anybody.
    fn died(mut self, rest: Segment, torn: usize) {
        let unknown = self.sent.last(unread(&self.stdin).saturating_sub(torn));
        drop(self.stdin);
        let status = self.child.wait();
        let mut state = self.inbox.state();
        state.dead = true;
        let queued = std::mem::take(&mut state.segments);
        drop(state);
        let ended = Ended {
            bucket: self.bucket,
            status: code(status),
            unknown,
        };
        self.office.tell(|news| {
            let segments = std::iter::once(rest).chain(queued);
            news.lost.extend(segments.map(|segment| Lost { segment }));
            news.ended.push(ended);
            news.running -= 1;
        });
    }

    /// All is written. What the process leaves unread shows at the other end of the pipe.
    fn closed(mut self) {
        let end = File::open(format!("/proc/self/fd/{}", self.stdin.as_raw_fd()));
        drop(self.stdin);
        let status = code(self.child.wait());
        let unread = end.map_or(0, |end| unread(&end));
        let ended = Ended {
            bucket: self.bucket,
            status,
            unknown: self.sent.last(unread),
        };
        self.office.tell(|news| {
            if ended.status != 0 || ended.unknown > 0 {
                news.ended.push(ended);
            }
            news.running -= 1;
        });
    }
}

/// Bytes in a pipe that nobody has read.
fn unread(pipe: impl AsFd) -> usize {
    let bytes = rustix::io::ioctl_fionread(pipe).unwrap_or_default();
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// How much a pipe can hold; its reader may have asked for more than usual.
fn capacity(pipe: impl AsFd) -> usize {
    #[cfg(target_os = "linux")]
    return rustix::pipe::fcntl_getpipe_size(pipe).unwrap_or(64 << 10);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pipe;
        64 << 10
    }
}

fn code(status: io::Result<ExitStatus>) -> u8 {
    let Ok(status) = status else { return 1 };
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// The lengths of the entries that may still lie in a pipe.
#[derive(Debug, Default)]
pub(super) struct Sent {
    lens: VecDeque<u32>,
    bytes: usize,
}

impl Sent {
    /// Take in the entries of a segment of which so many bytes were written; gives how many bytes those hold that
    /// were written whole, and how many they are.
    fn add(&mut self, segment: &Segment, written: usize) -> (usize, usize) {
        let (mut whole, mut entries) = (0, 0);
        for len in &segment.lens {
            let next = whole + (len & !COMMENT) as usize;
            if next > written {
                break;
            }
            whole = next;
            entries += 1;
            self.lens.push_back(*len);
        }
        self.bytes += whole;
        (whole, entries)
    }

    /// Forget what a pipe of this capacity cannot hold.
    fn forget(&mut self, capacity: usize) {
        while let Some(first) = self.lens.front().map(|len| (len & !COMMENT) as usize)
            && self.bytes - first >= capacity
        {
            self.lens.pop_front();
            self.bytes -= first;
        }
    }

    /// The points that the last `unread` bytes touch.
    fn last(&self, unread: usize) -> u64 {
        let mut bytes = 0;
        let mut points = 0;
        for len in self.lens.iter().rev() {
            if bytes >= unread {
                break;
            }
            bytes += (len & !COMMENT) as usize;
            points += u64::from(len & COMMENT == 0);
        }
        points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(lens: &[u32]) -> Segment {
        let bytes: u32 = lens.iter().map(|len| len & !COMMENT).sum();
        Segment {
            bytes: vec![b'x'; bytes as usize],
            lens: lens.to_vec(),
            ..Segment::default()
        }
    }

    #[test]
    fn the_entries_in_a_pipe_are_the_last_ones() {
        let mut sent = Sent::default();
        let all = segment(&[COMMENT | 5, 10, 20, COMMENT | 7, 30]);
        assert_eq!((72, 5), sent.add(&all, 72));
        for (unread, points) in [
            (0, 0),
            (1, 1),
            (30, 1),
            (37, 1),
            (38, 2),
            (57, 2),
            (58, 3),
            (72, 3),
            (999, 3),
        ] {
            assert_eq!(points, sent.last(unread), "{unread}");
        }
        sent.forget(38);
        assert_eq!((57, 2), (sent.bytes, sent.last(999)));
        assert_eq!((15, 2), sent.add(&all, 34));
    }
}
