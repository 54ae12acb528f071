use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use flate2::read::GzDecoder;

use super::*;
use crate::http::retry::tests::FakeClock;
use crate::http::retry::{Clock, Patience};
use crate::http::{Answer, Carrier, Trouble};
use crate::http::{Payload, Target};
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
