//! An HTTP server on loopback that plays what a test says and records what it is asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::MultiGzDecoder;

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// A header's value; names in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(key, _)| key == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The body, decompressed.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if self.header("content-encoding") == Some("gzip") {
            let mut gzip = MultiGzDecoder::new(self.body.as_slice());
            gzip.read_to_end(&mut text).unwrap();
        } else {
            text.clone_from(&self.body);
        }
        String::from_utf8(text).unwrap()
    }
}

/// What to do with a request.
pub enum Play {
    /// Send these bytes and keep the connection.
    Send(Vec<u8>),
    /// Send these bytes and close the connection.
    SendAndClose(Vec<u8>),
    /// Send these bytes once a word comes, or nobody is left to say it.
    After(Receiver<()>, Vec<u8>),
    /// Answer nothing until the client gives up.
    Hang,
}

/// An answer with a status, headers (each ending in CRLF) and a body.
pub fn answer_with(status: u16, headers: &str, body: &str) -> Play {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    Play::Send(text.into_bytes())
}

/// An answer with a status and a body.
pub fn answer(status: u16, body: &str) -> Play {
    answer_with(status, "", body)
}

/// Success.
pub const STORED: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Success.
pub fn stored() -> Play {
    Play::Send(STORED.to_vec())
}

/// A running server; its threads end with the test process.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

type Handler = Box<dyn FnMut(&Request) -> Play + Send>;
type Early = Box<dyn FnMut(&str) -> bool + Send>;

impl Server {
    /// Ask `handler` what to do with each request.
    pub fn start(handler: impl FnMut(&Request) -> Play + Send + 'static) -> Self {
        Self::start_rude(|_| false, handler)
    }

    /// Reset the connection in the middle of the body where `early` says so of the path.
    pub fn start_rude(
        early: impl FnMut(&str) -> bool + Send + 'static,
        handler: impl FnMut(&Request) -> Play + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let acts: Arc<Mutex<(Early, Handler)>> =
            Arc::new(Mutex::new((Box::new(early), Box::new(handler))));
        let log = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (acts, log) = (Arc::clone(&acts), Arc::clone(&log));
                thread::spawn(move || serve(stream.unwrap(), &acts, &log));
            }
        });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            requests,
        }
    }

    /// Play these in order; more requests are an error that no client takes for anything else.
    pub fn script(plays: Vec<Play>) -> Self {
        let mut plays = plays.into_iter();
        Self::start(move |_| {
            plays
                .next()
                .unwrap_or_else(|| answer(418, "the script is over"))
        })
    }

    /// Store everything.
    pub fn willing() -> Self {
        Self::start(|_| stored())
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The texts of all writes so far.
    pub fn writes(&self) -> Vec<String> {
        let requests = self.requests();
        let writes = requests
            .iter()
            .filter(|request| request.path.contains("/write"));
        writes.map(Request::text).collect()
    }
}

fn serve(stream: TcpStream, acts: &Mutex<(Early, Handler)>, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(mut request) = head(&mut reader) {
        if (acts.lock().unwrap().0)(&request.path) {
            // What is left unread makes the system reset the connection.
            return;
        }
        let length = request
            .header("content-length")
            .map_or(0, |text| text.parse().unwrap());
        request.body = vec![0; length];
        if reader.read_exact(&mut request.body).is_err() {
            return;
        }
        log.lock().unwrap().push(request.clone());
        let play = (acts.lock().unwrap().1)(&request);
        match play {
            // A client that is gone is what some tests are about.
            Play::Send(bytes) => drop(writer.write_all(&bytes)),
            Play::SendAndClose(bytes) => return drop(writer.write_all(&bytes)),
            Play::After(word, bytes) => {
                let _ = word.recv();
                drop(writer.write_all(&bytes));
            }
            Play::Hang => return drop(reader.read(&mut [0])),
        }
    }
}

fn head(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let pairs = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    Some(Request {
        method,
        path,
        headers: pairs
            .map(|(key, value)| (key.to_lowercase(), value.to_owned()))
            .collect(),
        body: Vec::new(),
    })
}
