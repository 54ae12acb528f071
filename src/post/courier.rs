//! Sends one request until there is an answer to it, or patience ends.

use std::sync::Arc;
use std::time::Duration;

use crate::http::answer::{Delay, Refusal, Verdict, judge, passes};
use crate::http::retry::{Clock, Failures, Patience, hint};
use crate::http::{Answer, Carrier, Payload, Target, Trouble};
use crate::post::Error;
use crate::post::desk::Desk;
use crate::post::gate::{Gate, Load, Pass};

/// So many connections that end without an answer mean that the records may be the cause.
const CLOSED_OFTEN: u32 = 3;
/// So many times status 500 for the same records mean the same.
const FAILED_OFTEN: u32 = 5;
/// So many times a limit that does not reset by itself.
const STUCK_OFTEN: u32 = 3;

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
    /// The connection ends again and again: these records may be the cause, or their number.
    Cut(String),
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

/// What all couriers share.
#[derive(Clone)]
pub struct Common {
    /// Where everything is counted and told.
    pub desk: Arc<Desk>,
    /// What every write passes before it is sent.
    pub gate: Arc<Gate>,
    /// How patient to be.
    pub patience: Patience,
}

/// Takes requests to a server, again and again.
pub struct Courier {
    carrier: Box<dyn Carrier + Send>,
    clock: Box<dyn Clock + Send>,
    common: Common,
    failures: Failures,
}

impl Courier {
    /// Ready for the first request.
    pub fn new(
        carrier: Box<dyn Carrier + Send>,
        clock: Box<dyn Clock + Send>,
        common: Common,
    ) -> Self {
        Self {
            carrier,
            clock,
            common,
            failures: Failures::default(),
        }
    }

    /// What all couriers share.
    pub fn common(&self) -> &Common {
        &self.common
    }

    /// Speak to the server as one of this family from here on.
    pub fn set_target(&mut self, target: Target) {
        self.carrier.set_target(target);
    }

    /// Send a write of `load`, compressed as `packed`, until there is an answer that is not "later".
    ///
    /// With `may_suspect` it ends as well where the records may be what keeps the server from answering.
    pub fn write(
        &mut self,
        path: &str,
        packed: &[u8],
        load: Load<'_>,
        may_suspect: bool,
    ) -> Result<Reply, Error> {
        self.failures.begin();
        let mut odd = Odd::default();
        loop {
            match self.common.gate.pass(load, &mut *self.clock)? {
                Pass::Never(reason) => return Ok(Reply::TooLarge(reason)),
                Pass::Go(waits) => self.common.desk.count(|tally| {
                    tally.waited += waits.server;
                    tally.paced += waits.limit;
                    tally.requests += 1;
                    tally.bytes += load.bytes;
                    tally.packed += packed.len() as u64;
                }),
            }
            let result = self.carry(path, Payload::GzipLines(packed));
            self.common.gate.landed(&load, self.clock.now());
            let (delay, hint) = match self.read(result, &mut odd)? {
                Read::Reply(reply) => {
                    self.failures.clear();
                    self.common.desk.relief();
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
                return Ok(match odd.closed {
                    0 => Reply::Suspect(delay.reason),
                    _ => Reply::Cut(delay.reason),
                });
            }
            self.wait(&delay, hint)?;
        }
    }

    fn read(&mut self, result: Result<Answer, Trouble>, odd: &mut Odd) -> Result<Read, Error> {
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
                self.common.desk.news(&text);
                Reply::Stored
            }
            Verdict::Refused(refusal) => Reply::Refused(refusal),
            Verdict::TooLarge(text) => Reply::TooLarge(text),
            Verdict::NoBucket(text) => Reply::NoBucket(text),
            Verdict::Hopeless(hopeless) => return Err(hopeless.into()),
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

    fn wait(&mut self, delay: &Delay, hint: Option<Duration>) -> Result<(), Error> {
        let Common {
            desk,
            gate,
            patience,
        } = &self.common;
        let Some(wait) = self.failures.again(patience, hint, &mut *self.clock) else {
            return Err(Error::GaveUp(delay.reason.clone()));
        };
        let now = self.clock.now();
        if delay.overrun {
            gate.pause(now, wait)?;
        }
        let reason = &delay.reason;
        desk.trouble(
            now,
            &format!("{reason}; again in {:.1} s", wait.as_secs_f64()),
        );
        desk.count(|tally| {
            tally.retries += 1;
            tally.waited += wait;
        });
        if self.clock.sleep(wait) {
            Ok(())
        } else {
            Err(Error::Stopped)
        }
    }

    /// Send a request that is no write, until there is an answer that is not "later".
    pub fn persist(&mut self, path: &str, payload: Payload<'_>) -> Result<Answer, Error> {
        self.failures.begin();
        loop {
            let mut delay = Delay::default();
            let hint = match self.carry(path, payload) {
                Ok(answer) if !passes(answer.status) => {
                    self.failures.clear();
                    return Ok(answer);
                }
                Ok(answer) => {
                    delay.reason = format!("status {}", answer.status);
                    self.hint(&answer)
                }
                Err(Trouble::Lasting(text)) => return Err(Error::Setting(text)),
                Err(err) => {
                    delay.reason = err.to_string();
                    None
                }
            };
            self.wait(&delay, hint)?;
        }
    }

    fn carry(&mut self, path: &str, payload: Payload<'_>) -> Result<Answer, Trouble> {
        let mut result = self.carrier.carry(path, payload);
        // A token that was replaced meanwhile is no failure.
        if matches!(&result, Ok(answer) if answer.status == 401) && self.carrier.renew() {
            result = self.carrier.carry(path, payload);
        }
        if let Some(news) = self.carrier.news() {
            self.common.desk.news(news);
        }
        result
    }
}
