//! Do real servers hold exactly the points of the input where the way to them is bad?
//!
//! Between lp-post and the server stands a proxy that answers 503, cuts connections before and after a request went
//! through, and holds answers back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::servers::Server;
use super::{Unit, assert_done, assert_same, influx, truth, units, victoria};
use crate::harness::{Ran, fixture_arg, pipeline, scratch};

/// How long an answer is held back, where it is.
const DELAY: Duration = Duration::from_millis(30);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    /// It arrives, and the answer comes late.
    Delay,
    /// It arrives, and nobody hears of it.
    Unheard,
    /// It never arrives.
    Reset,
    /// The proxy itself is busy.
    Busy,
}

/// The same fates in every run: about half of them bad.
fn fate(n: u64) -> Fate {
    let mut dice = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    dice ^= dice >> 29;
    match dice.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 60 {
        0..8 => Fate::Pass,
        8..10 => Fate::Delay,
        10..12 => Fate::Unheard,
        12..14 => Fate::Reset,
        _ => Fate::Busy,
    }
}

/// A bad way to a server.
struct Proxy {
    port: u16,
    requests: Arc<AtomicU64>,
    met: Arc<Mutex<Vec<Fate>>>,
}

impl Proxy {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            requests: Arc::default(),
            met: Arc::default(),
        };
        let (requests, met, to) = (
            Arc::clone(&proxy.requests),
            Arc::clone(&proxy.met),
            server.port,
        );
        thread::spawn(move || {
            for client in listener.incoming() {
                let fate = fate(requests.fetch_add(1, Ordering::SeqCst));
                met.lock().unwrap().push(fate);
                thread::spawn(move || serve(client.unwrap(), fate, to));
            }
        });
        proxy
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    fn met(&self, fate: Fate) -> usize {
        let met = self.met.lock().unwrap();
        met.iter().filter(|one| **one == fate).count()
    }
}

/// One request, then the connection ends.
fn serve(mut client: TcpStream, fate: Fate, to: u16) {
    if fate == Fate::Reset {
        // What is left unread makes the system reset the connection.
        drop(client.read(&mut [0]));
        return;
    }
    let Some(request) = request(&client) else {
        return;
    };
    let answer = match fate {
        Fate::Busy => {
            b"HTTP/1.1 503 x\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec()
        }
        _ => forward(&request, to),
    };
    if fate == Fate::Delay {
        let (_held, wait) = mpsc::channel::<()>();
        assert_eq!(Err(RecvTimeoutError::Timeout), wait.recv_timeout(DELAY));
    }
    if fate != Fate::Unheard {
        // A client that is gone is killed somewhere else.
        drop(client.write_all(&answer));
    }
}

/// The whole request, as a server gets it that closes the connection behind it.
fn request(client: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&line).to_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if text == "\r\n" {
            break;
        }
        head.extend(line);
    }
    head.extend(b"Connection: close\r\n\r\n");
    let start = head.len();
    head.resize(start + length, 0);
    reader.read_exact(&mut head[start..]).ok()?;
    Some(head)
}

fn forward(request: &[u8], to: u16) -> Vec<u8> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).unwrap();
    server.write_all(request).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    answer
}

/// The programs in their pipe, with a journal, from the files of one unit over a bad way into a server.
fn migrate(unit: &Unit, proxy: &Proxy, target: &str, journal: &str) -> Ran {
    let root = fixture_arg(super::SET);
    let url = proxy.url();
    let (database, policy) = (unit.database.as_str(), unit.policy.as_str());
    let from = [
        "tsm-cat",
        "--keep-going",
        "-d",
        database,
        "-r",
        policy,
        &root,
    ];
    let to = [
        "lp-post",
        "--target",
        target,
        "--host",
        &url,
        "--journal",
        journal,
        "--jobs",
        "4",
        "--batch-lines",
        "40",
        "--retry-delay",
        "1ms",
    ];
    pipeline(b"", &[&from, &["cat"], &to])
}

/// Twice: what the journal knows needs no request at all.
fn migrate_twice(unit: &Unit, proxy: &Proxy, target: &str) {
    let dir = scratch();
    let journal = dir.path().join("journal");
    let journal = journal.to_str().unwrap();
    assert_done(unit, &migrate(unit, proxy, target, journal));
    let before = proxy.requests();
    assert_done(unit, &migrate(unit, proxy, target, journal));
    assert_eq!(
        before,
        proxy.requests(),
        "{}/{}",
        unit.database,
        unit.policy
    );
}

fn assert_was_bad(proxy: &Proxy) {
    for fate in [
        Fate::Pass,
        Fate::Delay,
        Fate::Unheard,
        Fate::Reset,
        Fate::Busy,
    ] {
        println!("{:?}: {} requests", fate, proxy.met(fate));
        assert_ne!(0, proxy.met(fate), "{fate:?}");
    }
}

#[test]
#[ignore = "needs influxd; .ci/run runs it"]
fn live_influxd_holds_exactly_the_points_over_a_bad_way() {
    let server = Server::influxd();
    let proxy = Proxy::before(&server);
    let asked =
        |unit: &Unit| !super::NOT_ASKED.contains(&unit.database.as_str()) && unit.values > 0;
    let units: Vec<Unit> = units().into_iter().filter(asked).collect();
    for unit in &units {
        influx::create(&server, unit);
        migrate_twice(unit, &proxy, "v1");
    }
    assert_was_bad(&proxy);
    // Names are read back from disk then, as they were for the truth.
    let server = server.restart();
    for unit in &units {
        let (wanted, found) = (truth(unit), influx::values(&server, unit));
        assert_same(&unit.file, &wanted, &found);
    }
}

#[test]
#[ignore = "needs victoria-metrics; .ci/run runs it"]
fn live_victoria_metrics_holds_exactly_the_points_over_a_bad_way() {
    let asked = ["example-db", "overlap", "levels", "deletes"];
    let asked = |unit: &Unit| asked.contains(&unit.database.as_str()) && unit.values > 0;
    for unit in units().into_iter().filter(asked) {
        let server = Server::victoria_metrics();
        let proxy = Proxy::before(&server);
        migrate_twice(&unit, &proxy, "victoriametrics");
        let wanted = victoria::numbers(&truth(&unit));
        let mut found = victoria::samples(&server, &wanted);
        // What arrived unheard is there twice, as the same sample.
        found.values_mut().for_each(|samples| samples.dedup());
        assert_eq!(None, victoria::difference(&wanted, &found), "{}", unit.file);
    }
}

#[test]
fn live_fates_are_mixed() {
    let count = |wanted: Fate| (0..1000).filter(|&n| fate(n) == wanted).count();
    assert!(
        (400..600).contains(&count(Fate::Pass)),
        "{}",
        count(Fate::Pass)
    );
    for bad in [Fate::Delay, Fate::Unheard, Fate::Reset, Fate::Busy] {
        assert!((80..180).contains(&count(bad)), "{bad:?}: {}", count(bad));
    }
}
