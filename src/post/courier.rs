//! Sends one request until there is an answer to it, or patience ends.

use std::time::Duration;

use crate::http::answer::{Delay, Hopeless, Refusal, Verdict, judge, passes};
use crate::http::retry::{Clock, Failures, Patience, hint};
use crate::http::{Answer, Carrier, Payload, Target, Trouble};
use crate::post::{Desk, Error};

/// So many connections that end without an answer mean that the records may be the cause.
const CLOSED_OFTEN: u32 = 3;
/// So many times status 500 for the same records mean the same.
const FAILED_OFTEN: u32 = 5;
/// So many times a limit that does not reset by itself.
const STUCK_OFTEN: u32 = 3;

/// Failures in a row that are told one by one; after these one a minute.
const TOLD: u32 = 3;

/// How a request to write ended.
pub enum Reply {
    /// All records are stored.
    Stored,
    /// Some are bad.
    Refused(Refusal),
    /// They are too many for one request.
    TooLarge(String),
    /// It fails again and again, and these very records may be the cause.
    Suspect(String),
    /// There is no such bucket.
    NoBucket(String),
}

/// Failures of one request.
#[derive(Default)]
struct Odd {
    closed: u32,
    failed: u32,
    stuck: u32,
}

impl Odd {
    fn count(&mut self, delay: &Delay, is_closed: bool) {
        let next = |n: u32, more: bool| if more { n + 1 } else { 0 };
        self.closed = next(self.closed, is_closed);
        self.failed = next(self.failed, delay.suspicious && !is_closed);
        self.stuck = next(self.stuck, delay.stuck);
    }
}

enum Read {
    Reply(Reply),
    Later(Delay, Option<Duration>),
}

/// Takes requests to a server, again and again.
pub struct Courier<'a> {
    carrier: Box<dyn Carrier + 'a>,
    clock: Box<dyn Clock + 'a>,
    patience: Patience,
    failures: Failures,
    /// When trouble was told last.
    told: Option<Duration>,
}

impl<'a> Courier<'a> {
    /// Ready for the first request.
    pub fn new(
        carrier: Box<dyn Carrier + 'a>,
        clock: Box<dyn Clock + 'a>,
        patience: Patience,
    ) -> Self {
        Self {
            carrier,
            clock,
            patience,
            failures: Failures::default(),
            told: None,
        }
    }

    /// Speak to the server as one of this family from here on.
    pub fn set_target(&mut self, target: Target) {
        self.carrier.set_target(target);
    }

    /// Send a write of `bytes` bytes before compression, until there is an answer that is not "later".
    ///
    /// With `may_suspect` it ends as well where the records may be what keeps the server from answering.
    pub fn write(
        &mut self,
        path: &str,
        packed: &[u8],
        bytes: u64,
        may_suspect: bool,
        desk: &mut Desk<'_>,
    ) -> Result<Reply, Error> {
        self.failures.begin();
        let mut odd = Odd::default();
        loop {
            desk.tally.requests += 1;
            desk.tally.bytes += bytes;
            desk.tally.packed += packed.len() as u64;
            let result = self.carry(path, Payload::GzipLines(packed), desk);
            let (delay, hint) = match self.read(result, &mut odd, desk)? {
                Read::Reply(reply) => {
                    self.failures.clear();
                    return Ok(reply);
                }
                Read::Later(delay, hint) => (delay, hint),
            };
            if odd.stuck >= STUCK_OFTEN {
                return Err(Error::Service(format!(
                    "{} (it does not reset by itself)",
                    delay.reason
                )));
            }
            if may_suspect && self.is_suspicious(&odd) {
                return Ok(Reply::Suspect(delay.reason));
            }
            self.wait(&delay.reason, hint, desk)?;
        }
    }

    fn read(
        &mut self,
        result: Result<Answer, Trouble>,
        odd: &mut Odd,
        desk: &mut Desk<'_>,
    ) -> Result<Read, Error> {
        let answer = match result {
            Ok(answer) => answer,
            Err(Trouble::Lasting(text)) => return Err(Error::Setting(text)),
            Err(err) => {
                let delay = Delay {
                    reason: err.to_string(),
                    ..Delay::default()
                };
                odd.count(&delay, matches!(err, Trouble::Closed(_)));
                return Ok(Read::Later(delay, None));
            }
        };
        Ok(Read::Reply(match judge(&answer) {
            Verdict::Stored => Reply::Stored,
            Verdict::StoredWith(text) => {
                desk.out.note(&text);
                Reply::Stored
            }
            Verdict::Refused(refusal) => Reply::Refused(refusal),
            Verdict::TooLarge(text) => Reply::TooLarge(text),
            Verdict::NoBucket(text) => Reply::NoBucket(text),
            Verdict::Hopeless(Hopeless::Setting(text)) => return Err(Error::Setting(text)),
            Verdict::Hopeless(Hopeless::Permission(text)) => return Err(Error::Permission(text)),
            Verdict::Hopeless(Hopeless::Service(text)) => return Err(Error::Service(text)),
            Verdict::Later(delay) => {
                odd.count(&delay, false);
                return Ok(Read::Later(delay, self.hint(&answer)));
            }
        }))
    }

    fn hint(&self, answer: &Answer) -> Option<Duration> {
        let text = answer.retry_after.as_deref()?;
        hint(text, answer.date.as_deref(), self.clock.wall())
    }

    /// Whether it may be the records; connections that end mean it only while the server answers others.
    fn is_suspicious(&mut self, odd: &Odd) -> bool {
        odd.failed >= FAILED_OFTEN
            || odd.closed >= CLOSED_OFTEN && self.carrier.carry("/ping", Payload::Nothing).is_ok()
    }

    fn wait(
        &mut self,
        reason: &str,
        hint: Option<Duration>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Error> {
        let wait = self.failures.again(&self.patience, hint, &mut *self.clock);
        let Some(wait) = wait else {
            return Err(Error::GaveUp(reason.to_owned()));
        };
        let now = self.clock.now();
        let told_lately = self
            .told
            .is_some_and(|told| now.saturating_sub(told) < Duration::from_secs(60));
        if self.failures.count() <= TOLD || !told_lately {
            self.told = Some(now);
            desk.out
                .note(&format!("{reason}; again in {:.1} s", wait.as_secs_f64()));
        }
        desk.out.flush()?;
        desk.tally.retries += 1;
        desk.tally.waited += wait;
        if self.clock.sleep(wait) {
            Ok(())
        } else {
            Err(Error::Stopped)
        }
    }

    /// Send a request that is no write, until there is an answer that is not "later".
    pub fn persist(
        &mut self,
        path: &str,
        payload: Payload<'_>,
        desk: &mut Desk<'_>,
    ) -> Result<Answer, Error> {
        self.failures.begin();
        loop {
            let (reason, hint) = match self.carry(path, payload, desk) {
                Ok(answer) if !passes(answer.status) => {
                    self.failures.clear();
                    return Ok(answer);
                }
                Ok(answer) => (format!("status {}", answer.status), self.hint(&answer)),
                Err(Trouble::Lasting(text)) => return Err(Error::Setting(text)),
                Err(err) => (err.to_string(), None),
            };
            self.wait(&reason, hint, desk)?;
        }
    }

    fn carry(
        &mut self,
        path: &str,
        payload: Payload<'_>,
        desk: &mut Desk<'_>,
    ) -> Result<Answer, Trouble> {
        let result = self.carrier.carry(path, payload);
        if let Some(news) = self.carrier.news() {
            desk.out.note(news);
        }
        result
    }
}
