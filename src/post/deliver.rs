//! Brings one batch to the server: as often as it takes, in pieces where it must be, the bad records left out.

use std::borrow::Cow;
use std::io::Write;
use std::sync::{Arc, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::http::answer::Refusal;
use crate::http::bucket::{self, Done};
use crate::http::{Payload, Target, detect};
use crate::post::Error;
use crate::post::batch::Batch;
use crate::post::bisect::{Part, named};
use crate::post::courier::{Courier, Reply};
use crate::post::desk::{Desk, Found};
use crate::post::gate::Load;
use crate::post::journal::Mark;
use crate::post::server::Server;

/// 744 MB/s at 10.7:1 on sample text; higher levels cost more time than the network gives back.
const LEVEL: u32 = 2;

/// Reasons are cut to so many characters: servers repeat whole requests in them.
const REASON: usize = 1000;

/// Brings batches to one server.
pub struct Deliverer {
    server: Server,
    courier: Courier,
    desk: Arc<Desk>,
    packed: Vec<u8>,
    /// The partitions of what is sent, where these are counted.
    partitions: Vec<u64>,
}

/// One batch on its way.
struct Trip<'b> {
    batch: &'b Batch,
    path: String,
    /// Parts still to be sent; the last one comes next.
    todo: Vec<Part>,
    /// Records that are not stored.
    found: Found,
    /// Records that failed alone and may be to blame.
    suspects: Vec<usize>,
    /// Records stored.
    stored: u64,
    /// The largest body that was stored.
    largest: usize,
    /// Whether connections were cut, so that a part was sent in halves.
    cut: bool,
    /// Whether the bucket was made again.
    made: bool,
}

impl Deliverer {
    /// Ready to send.
    pub fn new(server: Server, courier: Courier) -> Self {
        let desk = Arc::clone(&courier.common().desk);
        Self {
            server,
            courier,
            desk,
            packed: Vec::new(),
            partitions: Vec::new(),
        }
    }

    /// What is known of the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Ask the server what it is.
    pub fn detect(&mut self) -> Result<(Target, String), Error> {
        let answer = self.courier.persist("/ping", Payload::Nothing)?;
        let open = |text: String| Error::Setting(format!("{text} (--target says what it is)"));
        let (target, called) = detect(&answer).map_err(open)?;
        self.courier.set_target(target);
        self.server.target = target;
        Ok((target, called))
    }

    /// Store all records of a batch but the bad ones, which are rejected; then put it down as done under its mark.
    pub fn deliver(&mut self, batch: &Batch, mark: Option<Mark>) -> Result<(), Error> {
        let mut trip = Trip {
            batch,
            path: self.server.path(&batch.label().bucket),
            todo: Vec::new(),
            found: batch.bad().to_vec(),
            suspects: Vec::new(),
            stored: 0,
            largest: 0,
            cut: false,
            made: false,
        };
        let result = self.go(&mut trip);
        trip.found.sort_by_key(|(record, _)| *record);
        let committed = self
            .desk
            .commit(batch, &trip.found, mark, result.as_ref().err());
        match (result, committed) {
            // Only now all reasons are counted.
            (Err(Error::TooManyRejects { .. }), Err(err)) => Err(err),
            (result, committed) => result.and(committed),
        }
    }

    fn go(&mut self, trip: &mut Trip<'_>) -> Result<(), Error> {
        let part = self.without_known(trip);
        if part.is_empty() {
            return Ok(());
        }
        // What comes first in the batch lies on top: the points of a series keep their order.
        let most = self.server.most();
        trip.todo = part.pieces(trip.batch, most);
        if let Some(most) = self.courier.common().gate.spread() {
            let parts = trip.todo.drain(..);
            trip.todo = parts
                .flat_map(|part| part.spread(trip.batch, most))
                .collect();
        }
        trip.todo.reverse();
        while let Some(part) = trip.todo.pop() {
            self.step(trip, part)?;
        }
        for record in std::mem::take(&mut trip.suspects) {
            trip.cut = false;
            self.deliver_suspect(trip, record)?;
        }
        if trip.cut {
            // No record was to blame: the server cuts off what is too large for it.
            self.server.shrink(trip.largest);
        }
        Ok(())
    }

    /// Send one part; what is left of it is put on top.
    fn step(&mut self, trip: &mut Trip<'_>, part: Part) -> Result<(), Error> {
        match self.attempt(trip, &part, true)? {
            Reply::Stored => {
                trip.largest = trip.largest.max(part.bytes(trip.batch));
                self.stored(trip, part.len());
            }
            Reply::Refused(refusal) => self.refused(trip, &part, &refusal)?,
            Reply::TooLarge(reason) => match single(&part) {
                Some(record) => self.reject(trip, record, &reason)?,
                None => {
                    self.server.shrink(part.bytes(trip.batch) / 2);
                    trip.halve(&part);
                }
            },
            reply @ (Reply::Suspect(_) | Reply::Cut(_)) => match single(&part) {
                Some(record) => trip.suspects.push(record),
                None => {
                    trip.cut |= matches!(reply, Reply::Cut(_));
                    trip.halve(&part);
                }
            },
            Reply::NoBucket(reason) if trip.made || self.server.buckets.is_none() => {
                return Err(no_bucket(trip.batch, &reason));
            }
            Reply::NoBucket(_) => {
                trip.made = true;
                self.make_again(trip.batch)?;
                trip.todo.push(part);
            }
        }
        Ok(())
    }

    /// A record that failed alone. It is to blame only if others were stored; else it is the server.
    fn deliver_suspect(&mut self, trip: &mut Trip<'_>, record: usize) -> Result<(), Error> {
        let others = trip.stored > 0;
        let reason = match self.attempt(trip, &Part::one(record), others)? {
            Reply::Stored => {
                self.stored(trip, 1);
                return Ok(());
            }
            Reply::Refused(refusal) => refusal.message,
            Reply::TooLarge(reason) => reason,
            Reply::NoBucket(reason) => return Err(no_bucket(trip.batch, &reason)),
            Reply::Suspect(reason) | Reply::Cut(reason) => {
                format!("{reason}, again and again for this record alone while others are stored")
            }
        };
        self.reject(trip, record, &reason)
    }

    /// The records that may be sent, without those of which the server has already said that it refuses them.
    fn without_known(&self, trip: &mut Trip<'_>) -> Part {
        let part = Part::good(trip.batch);
        let columns = &self.server.columns;
        // Where each shard has its own types, a refusal says nothing of another time.
        if !columns.any() || !self.server.target.reads_names_as_v3() {
            return part;
        }
        let bucket = &trip.batch.label().bucket;
        let refused = part.records().filter_map(|record| {
            let reason = columns.refuse(bucket, trip.batch.record(record))?;
            Some((record, Cow::Owned(reason)))
        });
        let refused: Found = refused.collect();
        let rest = part.without(refused.iter().map(|(record, _)| *record));
        trip.found.extend(refused);
        rest
    }

    /// Some records are bad: those named are rejected and the rest goes again; without names, halves find them.
    fn refused(
        &mut self,
        trip: &mut Trip<'_>,
        part: &Part,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        let named = named(trip.batch, part, refusal);
        if let Some(record) = single(part) {
            let reason = named
                .records
                .first()
                .map_or(&refusal.message, |(_, reason)| reason);
            return self.reject(trip, record, reason);
        }
        if named.records.is_empty() {
            trip.halve(part);
            return Ok(());
        }
        for (record, reason) in &named.records {
            self.reject(trip, *record, reason)?;
        }
        let rest = part.without(named.records.iter().map(|(record, _)| *record));
        if named.others_stored {
            self.stored(trip, rest.len());
        } else if !rest.is_empty() {
            trip.todo.push(rest);
        }
        Ok(())
    }

    fn reject(&self, trip: &mut Trip<'_>, record: usize, reason: &str) -> Result<(), Error> {
        let (bucket, text) = (&trip.batch.label().bucket, trip.batch.record(record));
        self.server.columns.learn(bucket, text, reason);
        let reason: String = reason.chars().take(REASON).collect();
        trip.found.push((record, Cow::Owned(reason)));
        // One more than allowed is written, with the reasons of all.
        if self.desk.is_too_much(trip.found.len()) {
            return Err(self.desk.too_many());
        }
        Ok(())
    }

    fn stored(&self, trip: &mut Trip<'_>, records: usize) {
        trip.stored += records as u64;
        self.desk.count(|tally| tally.accepted += records as u64);
    }

    fn attempt(&mut self, trip: &Trip<'_>, part: &Part, may_suspect: bool) -> Result<Reply, Error> {
        pack(part.slices(trip.batch), &mut self.packed)?;
        self.partitions.clear();
        if self.courier.common().gate.spread().is_some() {
            part.partitions(trip.batch, &mut self.partitions);
        }
        let load = Load {
            bytes: part.bytes(trip.batch) as u64,
            bucket: &trip.batch.label().bucket,
            partitions: &self.partitions,
        };
        self.courier
            .write(&trip.path, &self.packed, load, may_suspect)
    }

    /// See to it that a bucket is there before the first record goes into it.
    pub fn ensure(&mut self, name: &str, period: u64) -> Result<(), Error> {
        let Some(buckets) = &self.server.buckets else {
            return Ok(());
        };
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let courier = &mut self.courier;
        let done = buckets.ensure::<Error>(name, period, &mut |path, payload| {
            courier.persist(path, payload)
        });
        if done? == Done::Made {
            self.desk.count(|tally| tally.made += 1);
        }
        Ok(())
    }

    /// The bucket was there and is gone, or was made a moment ago and is not known everywhere yet.
    fn make_again(&mut self, batch: &Batch) -> Result<(), Error> {
        let label = batch.label();
        if let Some(buckets) = &self.server.buckets {
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.forget(&label.bucket);
        }
        match label.period {
            Some(period) => self.ensure(&label.bucket, period),
            None => Ok(()),
        }
    }
}

impl Trip<'_> {
    fn halve(&mut self, part: &Part) {
        let (first, second) = part.halves();
        self.todo.push(second);
        self.todo.push(first);
    }
}

/// The record of a part that has only one.
fn single(part: &Part) -> Option<usize> {
    part.records().next().filter(|_| part.len() == 1)
}

/// Compress into `packed`.
pub(super) fn pack<'a>(
    slices: impl Iterator<Item = &'a [u8]>,
    packed: &mut Vec<u8>,
) -> Result<(), Error> {
    packed.clear();
    let mut encoder = GzEncoder::new(std::mem::take(packed), Compression::new(LEVEL));
    for slice in slices {
        encoder.write_all(slice)?;
    }
    *packed = encoder.finish()?;
    Ok(())
}

fn no_bucket(batch: &Batch, reason: &str) -> Error {
    let bucket = &batch.label().bucket;
    Error::Setting(format!(
        "{reason} (make {bucket} by hand, or --create-buckets where the server can; --org and --host may be wrong as well)"
    ))
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
    use std::io::{self, Read};
    use std::num::NonZeroUsize;
    use std::sync::Mutex;
    use std::time::Duration;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::http::retry::tests::FakeClock;
    use crate::http::retry::{Clock, Patience};
    use crate::http::{Answer, Carrier, Trouble};
    use crate::post::batch::{Batches, Label, Limits};
    use crate::post::courier::Common;
    use crate::post::desk::{Outlet, Reject, Tally};

    type Script = Box<dyn FnMut(&str, &str) -> Result<Answer, Trouble> + Send>;

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
    struct Shared(Arc<Mutex<FakeClock>>);

    impl Clock for Shared {
        fn now(&self) -> Duration {
            self.0.lock().unwrap().now()
        }
        fn wall(&self) -> jiff::Timestamp {
            self.0.lock().unwrap().wall()
        }
        fn chance(&mut self) -> f64 {
            0.0
        }
        fn sleep(&mut self, time: Duration) -> bool {
            self.0.lock().unwrap().sleep(time)
        }
    }

    #[derive(Clone, Default)]
    struct Notebook(Arc<Mutex<Notes>>);

    #[derive(Clone, Default)]
    struct Notes {
        rejects: Vec<(String, String)>,
        notes: Vec<String>,
    }

    impl Outlet for Notebook {
        fn reject(&mut self, reject: &Reject<'_>) -> io::Result<()> {
            let record = String::from_utf8_lossy(reject.record).trim_end().to_owned();
            let mut notes = self.0.lock().unwrap();
            notes.rejects.push((record, reject.reason.to_owned()));
            Ok(())
        }
        fn flush(&mut self, _: bool) -> io::Result<u64> {
            Ok(0)
        }
        fn note(&mut self, text: &str) {
            self.0.lock().unwrap().notes.push(text.to_owned());
        }
    }

    struct Delivered {
        result: Result<(), Error>,
        tally: Tally,
        notebook: Notes,
        slept: Vec<Duration>,
    }

    fn batch(records: impl Iterator<Item = String>) -> Batch {
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
        for (n, record) in records.enumerate() {
            batches.push(None, record.as_bytes(), n as u64 + 1, None);
        }
        batches.take_all().remove(0)
    }

    fn deliver(
        n: usize,
        script: impl FnMut(&str, &str) -> Result<Answer, Trouble> + Send + 'static,
    ) -> Delivered {
        deliver_all(
            vec![batch((0..n).map(|n| format!("m v={n} {n}\n")))],
            script,
        )
    }

    /// Deliver batches until one fails.
    fn deliver_all(
        batches: Vec<Batch>,
        script: impl FnMut(&str, &str) -> Result<Answer, Trouble> + Send + 'static,
    ) -> Delivered {
        let (clock, notebook) = (Shared::default(), Notebook::default());
        let desk = Arc::new(Desk::new(
            Box::new(notebook.clone()),
            None,
            1000,
            Arc::default(),
        ));
        let common = Common {
            desk: Arc::clone(&desk),
            gate: Arc::default(),
            patience: Patience::default(),
        };
        let carrier = Box::new(Fake(Box::new(script)));
        let courier = Courier::new(carrier, Box::new(clock.clone()), common);
        let server = Server::new("http://x".to_owned(), Target::Serverless, None);
        let mut deliverer = Deliverer::new(server, courier);
        let result = batches
            .iter()
            .try_for_each(|batch| deliverer.deliver(batch, None));
        let slept = clock.0.lock().unwrap().slept.clone();
        let notebook = notebook.0.lock().unwrap().clone();
        Delivered {
            result,
            tally: desk.tally(),
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
        let mut tries = 0;
        let done = deliver(1, move |_, _| {
            tries += 1;
            // Half of 1, 2, 4, ... and 60 s: after 16 tries more than 310 s are over.
            if tries > 16 {
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
        let stored = Arc::new(Mutex::new(String::new()));
        let log = Arc::clone(&stored);
        let done = deliver(64, move |_, text| {
            if text.lines().count() > 5 {
                return status(413, None);
            }
            log.lock().unwrap().push_str(text);
            status(204, None)
        });
        assert!(done.result.is_ok());
        let expected: String = (0..64).map(|n| format!("m v={n} {n}\n")).collect();
        assert_eq!(expected, *stored.lock().unwrap());
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
