//! Where all workers put down what they did: counts, rejects, news, and the journal that makes it last.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::lp::dialect::{self, Respelled};
use crate::post::Error;
use crate::post::batch::{Batch, Label};
use crate::post::journal::{Done, Journal, Mark};

/// Reasons that are told apart when rejects are counted.
const REASONS: usize = 100;

/// Failures in a row that are told one by one; after these one a minute.
const TOLD: u32 = 3;

const MINUTE: Duration = Duration::from_secs(60);

/// A record that is not stored.
#[derive(Clone, Copy, Debug)]
pub struct Reject<'a> {
    /// Where it should have gone and where it came from.
    pub label: &'a Label,
    /// The line of the input at which it starts.
    pub line: u64,
    /// Why it is not stored.
    pub reason: &'a str,
    /// The record, with its line feed.
    pub record: &'a [u8],
}

/// What takes rejects and news.
pub trait Outlet {
    /// Take a record that is not stored.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    fn reject(&mut self, reject: &Reject<'_>) -> io::Result<()>;

    /// Hand over all rejects so far; with `lasting` so that not even a power cut takes them back. Gives the length of
    /// the file they are in, 0 where it is none.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    fn flush(&mut self, lasting: bool) -> io::Result<u64>;

    /// Tell somebody.
    fn note(&mut self, text: &str);

    /// A request has to be sent again.
    fn retried(&mut self) {}
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Points that are stored.
    pub accepted: u64,
    /// Points that are not.
    pub rejected: u64,
    /// Points that are older than their bucket keeps, and were in their source as well.
    pub expired: u64,
    /// Points in batches that an earlier run has finished.
    pub skipped: u64,
    /// Points among these that the earlier run rejected.
    pub rejected_before: u64,
    /// Requests to write.
    pub requests: u64,
    /// Waits before a request was sent again.
    pub retries: u64,
    /// Bytes of line protocol sent, every attempt counted.
    pub bytes: u64,
    /// The same after compression.
    pub packed: u64,
    /// Time waited for the server, by all workers together.
    pub waited: Duration,
    /// Time waited for the rate, by all workers together.
    pub paced: Duration,
    /// Buckets made.
    pub made: u64,
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    /// How often which reason, the most frequent first.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let words: Vec<_> = reasons
            .iter()
            .take(10)
            .map(|(reason, n)| format!("{n} x {reason}"))
            .collect();
        words.join("; ")
    }

    fn count(&mut self, reason: &str) {
        self.rejected += 1;
        let mut kind: String = reason.chars().take(200).collect();
        if self.reasons.len() >= REASONS && !self.reasons.contains_key(&kind) {
            kind = "other reasons".to_owned();
        }
        *self.reasons.entry(kind).or_default() += 1;
    }
}

/// The records of a batch that are not stored, by position, and why.
pub type Found = Vec<(usize, Cow<'static, str>)>;

/// Shared by all workers.
pub struct Desk {
    office: Mutex<Office>,
    max_rejects: u64,
    stop: Arc<AtomicBool>,
}

struct Office {
    tally: Tally,
    out: Box<dyn Outlet + Send>,
    journal: Option<Journal>,
    trouble: Trouble,
    /// What has been told once and for all.
    news: Vec<String>,
    /// Nothing is written any more.
    closed: bool,
    /// Rejects have been written that no entry of the journal answers for.
    ahead: bool,
}

impl Desk {
    /// A desk in front of `out`; more than `max_rejects` rejects are an error.
    ///
    /// Whoever waits looks at `stop`, which is set when there is no use in going on.
    pub fn new(
        out: Box<dyn Outlet + Send>,
        journal: Option<Journal>,
        max_rejects: u64,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            office: Mutex::new(Office {
                tally: Tally::default(),
                out,
                journal,
                trouble: Trouble::default(),
                news: Vec::new(),
                closed: false,
                ahead: false,
            }),
            max_rejects,
            stop,
        }
    }

    /// What was done so far.
    pub fn tally(&self) -> Tally {
        self.office().tally.clone()
    }

    /// Count something.
    pub fn count(&self, count: impl FnOnce(&mut Tally)) {
        count(&mut self.office().tally);
    }

    /// Tell somebody.
    pub fn note(&self, text: &str) {
        self.office().out.note(text);
    }

    /// Tell somebody, unless it has been told before.
    pub(super) fn news(&self, text: &str) {
        let mut office = self.office();
        if !office.news.iter().any(|told| told == text) && office.news.len() < REASONS {
            office.news.push(text.to_owned());
            office.out.note(text);
        }
    }

    /// Something failed that is going to be tried again: tell it, unless it has been told often enough.
    pub(super) fn trouble(&self, now: Duration, text: &str) {
        let mut office = self.office();
        office.out.retried();
        if office.trouble.is_news(now) {
            office.out.note(text);
        }
    }

    /// Something went well.
    pub(super) fn relief(&self) {
        self.office().trouble.streak = 0;
    }

    /// Call everybody back.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether so many more rejects would be too many.
    pub(super) fn is_too_much(&self, more: usize) -> bool {
        self.office().tally.rejected + more as u64 > self.max_rejects
    }

    /// A batch is done with: write down its rejects, then that it is done.
    ///
    /// If it `failed` it is not, and its rejects are written only where nothing else will bring them again.
    pub(super) fn commit(
        &self,
        batch: &Batch,
        found: &[(usize, Cow<'static, str>)],
        mark: Option<Mark>,
        failed: Option<&Error>,
    ) -> Result<(), Error> {
        let mut office = self.office();
        if office.closed {
            return Err(Error::Stopped);
        }
        let is_journaled = office.journal.is_some();
        let too_many = matches!(failed, Some(Error::TooManyRejects { .. }));
        if failed.is_some() && is_journaled && !too_many {
            // The next run finds them again.
            return Ok(());
        }
        for (record, reason) in found {
            office.ahead = true;
            office.reject(batch, *record, reason)?;
            if office.tally.rejected > self.max_rejects {
                office.out.flush(false)?;
                return Err(office.too_many(self.max_rejects));
            }
        }
        let length = if found.is_empty() && !is_journaled {
            0
        } else {
            office.out.flush(is_journaled && !found.is_empty())?
        };
        match (&mut office.journal, mark, failed) {
            (Some(journal), Some(mark), None) => {
                let rejected = u32::try_from(found.len()).unwrap_or(u32::MAX);
                journal.add(Done { mark, rejected }, length)?;
                office.ahead = false;
            }
            (Some(_), ..) => {}
            (None, ..) => office.ahead = false,
        }
        Ok(())
    }

    /// Too many rejects, for these reasons.
    pub(super) fn too_many(&self) -> Error {
        self.office().too_many(self.max_rejects)
    }

    /// Write nothing any more, and tell the journal that all rejects are where they belong.
    pub fn close(&self) -> Result<(), Error> {
        let mut office = self.office();
        office.closed = true;
        let (ahead, is_journaled) = (office.ahead, office.journal.is_some());
        let length = office.out.flush(is_journaled)?;
        match &mut office.journal {
            Some(journal) if !ahead => Ok(journal.end(length)?),
            _ => Ok(()),
        }
    }

    fn office(&self) -> MutexGuard<'_, Office> {
        self.office.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Office {
    fn reject(&mut self, batch: &Batch, i: usize, reason: &str) -> io::Result<()> {
        self.tally.count(reason);
        let mut record = batch.record(i);
        let mut respelled = Vec::new();
        // Rejects are a stream like any other, in the Go spelling; what was never sent has it still.
        if batch.label().is_v3
            && !batch.bad().iter().any(|(bad, _)| *bad == i)
            && let Ok(Respelled::Written) = dialect::from_v3(record, &mut respelled)
        {
            record = &respelled;
        }
        self.out.reject(&Reject {
            label: batch.label(),
            line: batch.line(i),
            reason,
            record,
        })
    }

    fn too_many(&self, most: u64) -> Error {
        Error::TooManyRejects {
            most,
            reasons: self.tally.reasons(),
        }
    }
}

/// What is told of failures: three in a minute, and one a minute where nothing succeeds between them.
#[derive(Debug, Default)]
struct Trouble {
    /// Failures since something went well.
    streak: u32,
    /// When the first was told in this minute.
    since: Option<Duration>,
    /// How many have been told in this minute.
    told: u32,
}

impl Trouble {
    fn is_news(&mut self, now: Duration) -> bool {
        self.streak = self.streak.saturating_add(1);
        if self.since.is_none_or(|since| now >= since + MINUTE) {
            self.since = Some(now);
            self.told = 0;
        }
        let most = if self.streak > TOLD { 1 } else { TOLD };
        self.told += 1;
        self.told <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(trouble: &mut Trouble, seconds: std::ops::Range<u64>, heals: bool) -> usize {
        let mut told = 0;
        for second in seconds {
            told += usize::from(trouble.is_news(Duration::from_secs(second)));
            if heals {
                trouble.streak = 0;
            }
        }
        told
    }

    #[test]
    fn three_failures_in_a_row_are_told_and_then_one_a_minute() {
        let mut trouble = Trouble::default();
        assert_eq!(3, told(&mut trouble, 0..60, false));
        assert_eq!(1, told(&mut trouble, 60..120, false));
        assert_eq!(10, told(&mut trouble, 120..720, false));
    }

    #[test]
    fn failures_between_successes_are_told_three_times_a_minute() {
        assert_eq!(30, told(&mut Trouble::default(), 0..600, true));
    }
}
