//! One process per bucket, fed through a pipe.
//!
//! Each process has a queue and a thread that writes it out, so that one which is slow does not stop the others; only
//! when all queues together hold [`MOST`] has the reader to wait. A process is never started twice for one bucket. Of
//! one that ends before its time, what was still queued is handed back, and what lay unread in its pipe is counted:
//! nobody knows what became of it.

mod feeder;

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};

use super::Outlets;
use super::outgoing::Outgoing;
use crate::lp::Context;
use feeder::{Feeder, Sent};

/// What all queues may hold together, in bytes.
pub const MOST: usize = 8 << 20;

/// What is handed to a thread at once, in bytes.
const PIECE: usize = 32 << 10;

/// Marks the length of what is no point.
const COMMENT: u32 = 1 << 31;

/// A process that cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are as many as there may be.
    #[error(
        "bucket {bucket} would be one more than the {max} that --max-open allows (it is raised by that option)"
    )]
    TooMany {
        /// The bucket that is one too many.
        bucket: BString,
        /// How many there may be.
        max: usize,
    },
    /// The environment of a process cannot hold a NUL.
    #[error(
        "bucket {0:?}: a name with a NUL cannot be told to a command (--map gives it another one)"
    )]
    Nul(BString),
    /// The system refused.
    #[error("bucket {bucket}: the command cannot be started")]
    Start {
        /// Whose process it would have been.
        bucket: BString,
        /// Why.
        source: io::Error,
    },
}

/// Entries of one context on their way to a process.
#[derive(Debug, Default)]
struct Segment {
    context: Arc<Context>,
    bytes: Vec<u8>,
    /// The length of each entry; [`COMMENT`] is added where it is no point.
    lens: Vec<u32>,
}

/// Points that were queued for a process that ended.
#[derive(Debug)]
pub struct Lost {
    segment: Segment,
}

impl Lost {
    /// What the points belong to.
    pub fn context(&self) -> &Context {
        &self.segment.context
    }

    /// The points, whole.
    pub fn points(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.segment.bytes.as_slice();
        self.segment.lens.iter().filter_map(move |len| {
            let (entry, tail) = rest.split_at_checked((len & !COMMENT) as usize)?;
            rest = tail;
            (len & COMMENT == 0).then_some(entry)
        })
    }
}

/// How a process ended that did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Whose it was.
    pub bucket: BString,
    /// Its exit status; 128 and the number of a signal that ended it.
    pub status: u8,
    /// Points that lay in its pipe.
    pub unknown: u64,
}

/// What the threads report.
#[derive(Debug, Default)]
struct News {
    /// In the order in which they ended; only those that failed or left something unread.
    ended: Vec<Ended>,
    lost: Vec<Lost>,
    running: usize,
}

#[derive(Debug, Default)]
struct Office {
    /// Bytes in all queues and in what is collected for them.
    queued: AtomicUsize,
    news: Mutex<News>,
    changed: Condvar,
}

impl Office {
    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, tell: impl FnOnce(&mut News)) {
        tell(&mut self.news());
        self.changed.notify_all();
    }

    fn written(&self, bytes: usize) {
        let before = self.queued.fetch_sub(bytes, Relaxed);
        if before >= MOST && before - bytes < MOST {
            // Taken for a moment, so that whoever just found it full hears of it.
            drop(self.news());
            self.changed.notify_all();
        }
    }
}

/// The queue of one process.
#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Segment>,
    closed: bool,
    dead: bool,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queue a segment, or get it back from the dead.
    fn put(&self, segment: Segment) -> Result<(), Segment> {
        let mut state = self.state();
        if state.dead {
            return Err(segment);
        }
        state.segments.push_back(segment);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// The next segment, as soon as there is one; `None` when no more will come.
    fn take(&self) -> Option<Segment> {
        let mut state = self.state();
        loop {
            if let Some(segment) = state.segments.pop_front() {
                return Some(segment);
            }
            if state.closed {
                return None;
            }
            let woken = self.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }
}

/// What the reader knows of a process.
#[derive(Debug)]
struct Hand {
    stream: Outgoing,
    /// Not handed over yet.
    pending: Segment,
    inbox: Arc<Inbox>,
    is_dead: bool,
}

/// Processes, one per bucket.
#[derive(Debug)]
pub struct Crew {
    command: OsString,
    max_open: usize,
    hands: Vec<Hand>,
    by_bucket: HashMap<BString, usize>,
    current: Option<usize>,
    /// Those with something pending.
    dirty: Vec<usize>,
    office: Arc<Office>,
}

impl Crew {
    /// Run `command` in a shell for each bucket, at most `max_open` of them.
    pub fn new(command: OsString, max_open: usize) -> Self {
        Self {
            command,
            max_open,
            hands: Vec::new(),
            by_bucket: HashMap::new(),
            current: None,
            dirty: Vec::new(),
            office: Arc::default(),
        }
    }

    /// Hand over what is collected, however little.
    pub fn flush(&mut self) {
        for i in std::mem::take(&mut self.dirty) {
            self.hand_over(i);
        }
    }

    /// Whether the queues hold as much as they may.
    pub fn is_full(&self) -> bool {
        self.office.queued.load(Relaxed) >= MOST
    }

    /// Wait until there is room or something has happened, but no longer than `time`.
    pub fn wait(&self, time: Duration) {
        let news = self.office.news();
        if self.is_full() && news.lost.is_empty() {
            drop(self.office.changed.wait_timeout(news, time));
        }
    }

    /// Write the end of all streams; no points come any more.
    pub fn close(&mut self, left_out: u64) {
        self.finish(|stream, out| stream.end(left_out, out));
    }

    /// Say in all streams that the run has failed.
    pub fn fail(&mut self, status: u8) {
        self.finish(|stream, out| stream.fail(status, out));
    }

    fn finish(&mut self, end: impl Fn(&mut Outgoing, &mut Vec<u8>)) {
        self.current = None;
        for i in 0..self.hands.len() {
            self.comment(i, &end);
            self.hand_over(i);
            if let Some(hand) = self.hands.get(i) {
                hand.inbox.close();
            }
        }
    }

    /// Wait until all processes have ended, but no longer than `time`; whether they have.
    pub fn ended(&self, time: Duration) -> bool {
        let news = self.office.news();
        if news.running == 0 {
            return true;
        }
        let waited = self.office.changed.wait_timeout(news, time);
        let (news, _) = waited.unwrap_or_else(PoisonError::into_inner);
        news.running == 0
    }

    /// The points that were queued for processes that have ended since the last question.
    pub fn lost(&mut self) -> Vec<Lost> {
        let lost = std::mem::take(&mut self.office.news().lost);
        let bytes = lost.iter().map(|lost| lost.segment.bytes.len()).sum();
        self.office.queued.fetch_sub(bytes, Relaxed);
        lost
    }

    /// The processes that failed or left points unread, in the order in which they ended.
    pub fn failures(&self) -> Vec<Ended> {
        self.office.news().ended.clone()
    }

    fn start(&mut self, bucket: &BStr, context: &Context) -> Result<usize, Error> {
        if self.hands.len() >= self.max_open {
            let (bucket, max) = (bucket.to_owned(), self.max_open);
            return Err(Error::TooMany { bucket, max });
        }
        let mut child = spawn(&self.command, bucket, context)?;
        let inbox = Arc::new(Inbox::default());
        self.office.news().running += 1;
        if let Some(stdin) = child.stdin.take() {
            let feeder = Feeder {
                bucket: bucket.to_owned(),
                child,
                stdin,
                inbox: Arc::clone(&inbox),
                office: Arc::clone(&self.office),
                sent: Sent::default(),
            };
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            let started = thread.spawn(move || feeder.run());
            started.map_err(|source| Error::Start {
                bucket: bucket.to_owned(),
                source,
            })?;
        }
        let i = self.hands.len();
        self.hands.push(Hand {
            stream: Outgoing::default(),
            pending: Segment::default(),
            inbox,
            is_dead: false,
        });
        self.by_bucket.insert(bucket.to_owned(), i);
        Ok(i)
    }

    /// Add what `append` writes as a comment.
    fn comment(&mut self, i: usize, append: impl FnOnce(&mut Outgoing, &mut Vec<u8>)) {
        let Some(hand) = self.hands.get_mut(i) else {
            return;
        };
        let pending = &mut hand.pending;
        let before = pending.bytes.len();
        append(&mut hand.stream, &mut pending.bytes);
        let len = pending.bytes.len() - before;
        if len > 0 {
            pending.lens.push(COMMENT | entry_len(len));
            self.office.queued.fetch_add(len, Relaxed);
            if before == 0 {
                self.dirty.push(i);
            }
        }
    }

    fn hand_over(&mut self, i: usize) {
        let Some(hand) = self.hands.get_mut(i) else {
            return;
        };
        if hand.pending.bytes.is_empty() {
            return;
        }
        let next = Segment {
            context: Arc::clone(&hand.pending.context),
            ..Segment::default()
        };
        let mut segment = std::mem::replace(&mut hand.pending, next);
        // It may wait for long, and the bound is one of memory.
        segment.bytes.shrink_to_fit();
        segment.lens.shrink_to_fit();
        if let Err(segment) = hand.inbox.put(segment) {
            hand.is_dead = true;
            self.office.tell(|news| news.lost.push(Lost { segment }));
        }
    }
}

fn entry_len(len: usize) -> u32 {
    u32::try_from(len).map_or(COMMENT - 1, |len| len.min(COMMENT - 1))
}

impl Outlets for Crew {
    type Error = Error;

    fn select(&mut self, context: &Context, once: bool, left_out: u64) -> Result<(), Error> {
        let bucket = context.bucket.as_ref();
        let bucket = bucket.map_or(BStr::new(b""), |name| name.as_bstr());
        let i = match self.by_bucket.get(bucket) {
            Some(i) => *i,
            None => self.start(bucket, context)?,
        };
        self.current = Some(i);
        let is_new = |hand: &Hand| *hand.pending.context != *context;
        if self.hands.get(i).is_some_and(is_new) {
            self.hand_over(i);
            if let Some(hand) = self.hands.get_mut(i) {
                hand.pending.context = Arc::new(context.clone());
            }
        }
        self.comment(i, |stream, out| stream.say(context, once, left_out, out));
        Ok(())
    }

    fn point(&mut self, record: &[u8]) -> Result<bool, Error> {
        let current = self.current.and_then(|i| Some((i, self.hands.get_mut(i)?)));
        let Some((i, hand)) = current else {
            return Ok(true);
        };
        if hand.is_dead {
            return Ok(false);
        }
        let pending = &mut hand.pending;
        let before = pending.bytes.len();
        pending.bytes.extend_from_slice(record);
        if !record.ends_with(b"\n") {
            pending.bytes.push(b'\n');
        }
        let len = pending.bytes.len() - before;
        pending.lens.push(entry_len(len));
        hand.stream.point();
        self.office.queued.fetch_add(len, Relaxed);
        if before == 0 {
            self.dirty.push(i);
        }
        if before + len >= PIECE {
            self.hand_over(i);
        }
        Ok(true)
    }

    fn end_streams(&mut self, left_out: u64) {
        self.current = None;
        for i in 0..self.hands.len() {
            self.comment(i, |stream, out| stream.end(left_out, out));
        }
    }
}

fn spawn(command: &OsStr, bucket: &BStr, context: &Context) -> Result<Child, Error> {
    let period = context
        .period
        .map(|seconds| BString::from(format!("{seconds}s")));
    let variables = [
        ("LP_BUCKET", Some(bucket)),
        (
            "LP_DATABASE",
            context.database.as_ref().map(|name| name.as_bstr()),
        ),
        (
            "LP_RETENTION_POLICY",
            context.policy.as_ref().map(|name| name.as_bstr()),
        ),
        (
            "LP_RETENTION_PERIOD",
            period.as_ref().map(|name| name.as_bstr()),
        ),
    ];
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped());
    for (name, value) in variables {
        match value {
            Some(value) if value.contains(&0) => return Err(Error::Nul(bucket.to_owned())),
            Some(value) => shell.env(name, OsStr::from_bytes(value)),
            None => shell.env_remove(name),
        };
    }
    shell.spawn().map_err(|source| Error::Start {
        bucket: bucket.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
