//! Brings one batch to the server: as often as it takes, in pieces where it must be, the bad records left out.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::answer::Refusal;
use crate::http::bucket::{self, Buckets, Done};
use crate::http::{Payload, Target, detect};
use crate::post::batch::Batch;
use crate::post::bisect::{Part, named};
use crate::post::courier::{Courier, Reply};
use crate::post::{Desk, Error};

/// 744 MB/s at 10.7:1 on sample text; higher levels cost more time than the network gives back.
const LEVEL: u32 = 2;

/// Where records go and how.
pub struct Server<'a> {
    /// What takes requests there.
    pub courier: Courier<'a>,
    /// What the server is.
    pub target: Target,
    /// The organisation to write for.
    pub org: Option<String>,
    /// The buckets to make, where that is wanted.
    pub buckets: Option<Buckets>,
}

/// Brings batches to one server.
pub struct Deliverer<'a> {
    server: Server<'a>,
    packed: Vec<u8>,
    piece: Vec<u8>,
    /// What the server is willing to take at once, once it refused more.
    pub(super) shrink: Option<usize>,
}

impl<'a> Deliverer<'a> {
    /// Ready to send.
    pub fn new(server: Server<'a>) -> Self {
        Self {
            server,
            packed: Vec::new(),
            piece: Vec::new(),
            shrink: None,
        }
    }

    /// What the server is.
    pub fn target(&self) -> Target {
        self.server.target
    }

    /// Ask the server what it is.
    pub fn detect(&mut self, desk: &mut Desk<'_>) -> Result<(Target, String), Error> {
        let courier = &mut self.server.courier;
        let answer = courier.persist("/ping", Payload::Nothing, desk)?;
        let open = |text: String| Error::Setting(format!("{text} (--target says what it is)"));
        let (target, called) = detect(&answer).map_err(open)?;
        courier.set_target(target);
        self.server.target = target;
        Ok((target, called))
    }

    /// Store all records of a batch but the bad ones, which go to `out`.
    pub fn deliver(&mut self, batch: &Batch, desk: &mut Desk<'_>) -> Result<(), Error> {
        let before = desk.tally.accepted;
        let path = self
            .server
            .target
            .write_path(self.server.org.as_deref(), &batch.label().bucket);
        let mut suspects = Vec::new();
        let mut made = false;
        // What comes first in the batch lies on top: the points of a series keep their order.
        let mut todo = vec![Part::all(batch.len())];
        while let Some(part) = todo.pop() {
            match self.attempt(&path, batch, &part, true, desk)? {
                Reply::Stored => desk.tally.accepted += part.len() as u64,
                Reply::Refused(refusal) => refused(batch, &part, &refusal, &mut todo, desk)?,
                Reply::TooLarge(reason) => self.halve(batch, &part, &reason, &mut todo, desk)?,
                Reply::Suspect(reason) => match part.records().next() {
                    Some(record) if part.len() == 1 => suspects.push((record, reason)),
                    _ => push_halves(&part, &mut todo),
                },
                Reply::NoBucket(reason) if made || !self.makes_buckets() => {
                    return Err(no_bucket(batch, &reason));
                }
                Reply::NoBucket(_) => {
                    made = true;
                    self.make_again(batch, desk)?;
                    todo.push(part);
                }
            }
        }
        for (record, _) in suspects {
            self.deliver_suspect(&path, batch, record, before, desk)?;
        }
        Ok(())
    }

    /// A record that failed alone. It is to blame only if others were stored; else it is the server.
    fn deliver_suspect(
        &mut self,
        path: &str,
        batch: &Batch,
        record: usize,
        before: u64,
        desk: &mut Desk<'_>,
    ) -> Result<(), Error> {
        let part = Part::one(record);
        let others = desk.tally.accepted > before;
        let reason = match self.attempt(path, batch, &part, others, desk)? {
            Reply::Stored => {
                desk.tally.accepted += 1;
                return Ok(());
            }
            Reply::Refused(refusal) => refusal.message,
            Reply::TooLarge(reason) => reason,
            Reply::NoBucket(reason) => return Err(no_bucket(batch, &reason)),
            Reply::Suspect(reason) => {
                format!("{reason}, again and again for this record alone while others are stored")
            }
        };
        desk.reject(batch, record, &reason)
    }

    fn halve(
        &mut self,
        batch: &Batch,
        part: &Part,
        reason: &str,
        todo: &mut Vec<Part>,
        desk: &mut Desk<'_>,
    ) -> Result<(), Error> {
        match part.records().next() {
            Some(record) if part.len() == 1 => return desk.reject(batch, record, reason),
            _ => push_halves(part, todo),
        }
        let bytes = part.body(batch, &mut self.piece).len();
        self.shrink = Some(self.shrink.unwrap_or(usize::MAX).min(bytes / 2));
        Ok(())
    }

    fn attempt(
        &mut self,
        path: &str,
        batch: &Batch,
        part: &Part,
        may_suspect: bool,
        desk: &mut Desk<'_>,
    ) -> Result<Reply, Error> {
        let body = part.body(batch, &mut self.piece);
        pack(body, &mut self.packed)?;
        let (courier, bytes) = (&mut self.server.courier, body.len() as u64);
        courier.write(path, &self.packed, bytes, may_suspect, desk)
    }

    fn makes_buckets(&self) -> bool {
        self.server.buckets.is_some()
    }

    /// See to it that a bucket is there before the first record goes into it.
    pub fn ensure(&mut self, name: &str, period: u64, desk: &mut Desk<'_>) -> Result<(), Error> {
        let Server {
            courier, buckets, ..
        } = &mut self.server;
        let Some(buckets) = buckets else {
            return Ok(());
        };
        let done = buckets.ensure::<Error>(name, period, &mut |path, payload| {
            courier.persist(path, payload, desk)
        });
        if done? == Done::Made {
            desk.tally.made += 1;
        }
        Ok(())
    }

    /// The bucket was there and is gone, or was made a moment ago and is not known everywhere yet.
    fn make_again(&mut self, batch: &Batch, desk: &mut Desk<'_>) -> Result<(), Error> {
        let label = batch.label();
        if let Some(buckets) = &mut self.server.buckets {
            buckets.forget(&label.bucket);
        }
        match label.period {
            Some(period) => self.ensure(&label.bucket, period, desk),
            None => Ok(()),
        }
    }
}

/// Compress into `packed`.
pub(super) fn pack(body: &[u8], packed: &mut Vec<u8>) -> Result<(), Error> {
    packed.clear();
    let mut encoder = GzEncoder::new(std::mem::take(packed), Compression::new(LEVEL));
    encoder.write_all(body)?;
    *packed = encoder.finish()?;
    Ok(())
}

fn push_halves(part: &Part, todo: &mut Vec<Part>) {
    let (first, second) = part.halves();
    todo.push(second);
    todo.push(first);
}

fn no_bucket(batch: &Batch, reason: &str) -> Error {
    let bucket = &batch.label().bucket;
    Error::Setting(format!(
        "{reason} (make {bucket} by hand, or --create-buckets where the server can; --org and --host may be wrong as well)"
    ))
}

/// Some records are bad: those named are rejected and the rest goes again; without names, halves find them.
fn refused(
    batch: &Batch,
    part: &Part,
    refusal: &Refusal,
    todo: &mut Vec<Part>,
    desk: &mut Desk<'_>,
) -> Result<(), Error> {
    let named = named(batch, part, refusal);
    if let (1, Some(record)) = (part.len(), part.records().next()) {
        let reason = named
            .records
            .first()
            .map_or(&refusal.message, |(_, reason)| reason);
        return desk.reject(batch, record, reason);
    }
    if named.records.is_empty() {
        push_halves(part, todo);
        return Ok(());
    }
    for (record, reason) in &named.records {
        desk.reject(batch, *record, reason)?;
    }
    let rest = part.without(named.records.iter().map(|(record, _)| *record));
    if named.others_stored {
        desk.tally.accepted += rest.len() as u64;
    } else if !rest.is_empty() {
        todo.push(rest);
    }
    Ok(())
}

impl From<bucket::Error> for Error {
    fn from(err: bucket::Error) -> Self {
        let text = err.to_string();
        match err {
            bucket::Error::Org(_) | bucket::Error::KeepsLess { .. } => Self::Setting(text),
            bucket::Error::Permission(_) => Self::Permission(text),
            bucket::Error::Refused(_) => Self::Service(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::{self, Read};
    use std::num::NonZeroUsize;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::http::retry::tests::FakeClock;
    use crate::http::retry::{Clock, Patience};
    use crate::http::{Answer, Carrier, Trouble};
    use crate::post::batch::{Batches, Label, Limits};
    use crate::post::{Outlet, Reject, Tally};

    type Script = Box<dyn FnMut(&str, &str) -> Result<Answer, Trouble>>;

    /// A server that is a function of path and text.
    struct Fake(Script);

    impl Carrier for Fake {
        fn carry(&mut self, path: &str, payload: Payload<'_>) -> Result<Answer, Trouble> {
            let mut text = String::new();
            if let Payload::GzipLines(bytes) = payload {
                GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
            }
            (self.0)(path, &text)
        }
    }

    /// A clock that all hold.
    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<FakeClock>>);

    impl Clock for Shared {
        fn now(&self) -> Duration {
            self.0.borrow().now()
        }
        fn wall(&self) -> jiff::Timestamp {
            self.0.borrow().wall()
        }
        fn chance(&mut self) -> f64 {
            0.0
        }
        fn sleep(&mut self, time: Duration) -> bool {
            self.0.borrow_mut().sleep(time)
        }
    }

    #[derive(Default)]
    struct Notebook {
        rejects: Vec<(String, String)>,
        notes: Vec<String>,
    }

    impl Outlet for Notebook {
        fn reject(&mut self, reject: &Reject<'_>) -> io::Result<()> {
            let record = String::from_utf8_lossy(reject.record).trim_end().to_owned();
            self.rejects.push((record, reject.reason.to_owned()));
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn note(&mut self, text: &str) {
            self.notes.push(text.to_owned());
        }
    }

    struct Delivered {
        result: Result<(), Error>,
        tally: Tally,
        notebook: Notebook,
        slept: Vec<Duration>,
    }

    fn deliver(
        n: usize,
        script: impl FnMut(&str, &str) -> Result<Answer, Trouble> + 'static,
    ) -> Delivered {
        let most = NonZeroUsize::MAX;
        let mut batches = Batches::new(Limits {
            lines: most,
            bytes: most,
            total: most,
        });
        batches.switch(&Arc::new(Label {
            bucket: "b".to_owned(),
            ..Label::default()
        }));
        (0..n).for_each(|n| batches.push(format!("m v={n} {n}\n").as_bytes(), n as u64 + 1));
        let clock = Shared::default();
        let server = Server {
            courier: Courier::new(
                Box::new(Fake(Box::new(script))),
                Box::new(clock.clone()),
                Patience::default(),
            ),
            target: Target::Serverless,
            org: None,
            buckets: None,
        };
        let mut deliverer = Deliverer::new(server);
        let mut tally = Tally::new(1000);
        let mut notebook = Notebook::default();
        let mut desk = Desk {
            tally: &mut tally,
            out: &mut notebook,
        };
        let result = deliverer.deliver(&batches.take_all()[0], &mut desk);
        let slept = clock.0.borrow().slept.clone();
        Delivered {
            result,
            tally,
            notebook,
            slept,
        }
    }

    fn status(status: u16, retry_after: Option<&str>) -> Result<Answer, Trouble> {
        Ok(Answer {
            status,
            retry_after: retry_after.map(str::to_owned),
            ..Answer::default()
        })
    }

    #[test]
    fn a_hint_of_the_server_is_waited_for() {
        let mut hints = vec![
            Some("2"),
            Some("2.5"),
            Some("Mon, 01 Jan 2024 00:00:07 GMT"),
        ]
        .into_iter();
        let done = deliver(1, move |_, _| match hints.next() {
            Some(hint) => status(429, hint),
            None => status(204, None),
        });
        assert!(done.result.is_ok());
        let waits: Vec<_> = done.slept.iter().map(Duration::as_millis).collect();
        assert_eq!(vec![2000, 2500, 7000], waits);
        assert_eq!(
            (3, Duration::from_millis(11_500)),
            (done.tally.retries, done.tally.waited)
        );
    }

    #[test]
    fn a_whole_quota_window_is_survived_and_told_once_a_minute() {
        let clock = Rc::new(RefCell::new(0));
        let tries = Rc::clone(&clock);
        let done = deliver(1, move |_, _| {
            *tries.borrow_mut() += 1;
            // Half of 1, 2, 4, ... and 60 s: after 16 tries more than 310 s are over.
            if *tries.borrow() > 16 {
                status(204, None)
            } else {
                status(429, None)
            }
        });
        assert!(done.result.is_ok());
        assert!(
            done.tally.waited > Duration::from_secs(310),
            "{:?}",
            done.tally.waited
        );
        let minutes = done.tally.waited.as_secs() as usize / 60;
        assert!(
            done.notebook.notes.len() <= 3 + minutes,
            "{:?}",
            done.notebook.notes
        );
    }

    #[test]
    fn a_limit_that_does_not_reset_ends_the_run() {
        let done = deliver(1, |_, _| {
            Ok(Answer {
                status: 429,
                body: b"cardinality limit".to_vec(),
                ..Answer::default()
            })
        });
        assert!(matches!(done.result, Err(Error::Service(_))));
        assert_eq!(3, done.tally.requests);
    }

    #[test]
    fn a_record_that_closes_the_connection_is_isolated_only_while_the_server_is_there() {
        let closes = |is_there: bool| {
            deliver(16, move |path, text| {
                if path == "/ping" && !is_there || text.contains("v=5 ") {
                    return Err(Trouble::Closed("reset".to_owned()));
                }
                status(204, None)
            })
        };
        let done = closes(true);
        assert!(done.result.is_ok());
        assert_eq!((15, 1), (done.tally.accepted, done.tally.rejected));
        assert_eq!("m v=5 5", done.notebook.rejects[0].0);
        let done = closes(false);
        assert!(matches!(done.result, Err(Error::GaveUp(_))));
        assert_eq!((0, 0), (done.tally.accepted, done.tally.rejected));
    }

    #[test]
    fn order_is_kept_when_halves_are_sent() {
        let stored = Rc::new(RefCell::new(String::new()));
        let log = Rc::clone(&stored);
        let done = deliver(64, move |_, text| {
            if text.lines().count() > 5 {
                return status(413, None);
            }
            log.borrow_mut().push_str(text);
            status(204, None)
        });
        assert!(done.result.is_ok());
        let expected: String = (0..64).map(|n| format!("m v={n} {n}\n")).collect();
        assert_eq!(expected, *stored.borrow());
        assert_eq!(64, done.tally.accepted);
    }

    #[test]
    fn every_set_of_bad_records_is_found_and_nothing_else() {
        for bad in 0u32..64 {
            let is_bad = move |line: &str| {
                let n: u32 = line.rsplit(' ').next().unwrap().parse().unwrap();
                bad >> n & 1 == 1
            };
            let done = deliver(6, move |_, text| {
                status(if text.lines().any(is_bad) { 422 } else { 204 }, None)
            });
            assert!(done.result.is_ok());
            let found: u32 = done
                .notebook
                .rejects
                .iter()
                .map(|(record, _)| 1 << record.rsplit(' ').next().unwrap().parse::<u32>().unwrap())
                .sum();
            assert_eq!(bad, found);
            assert_eq!(6 - u64::from(bad.count_ones()), done.tally.accepted);
        }
    }
}
