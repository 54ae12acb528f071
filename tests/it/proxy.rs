//! An HTTP proxy that opens tunnels, all of them to one place whatever they are asked for.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A running proxy; its threads end with the test process.
pub struct Tunnel {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// Tunnels lead to this port of the machine.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming() {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(client.unwrap(), port, &log));
            }
        });
        Self { url, asked }
    }

    /// What tunnels were asked for, each as `CONNECT host:port`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(client: TcpStream, port: u16, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let first = line(&mut reader);
    let wanted = first.rsplit_once(' ').map_or("", |(wanted, _)| wanted);
    log.lock().unwrap().push(wanted.to_owned());
    // The rest of the head.
    while !line(&mut reader).is_empty() {}
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut client = client;
    client.write_all(b"HTTP/1.1 200 x\r\n\r\n").unwrap();
    let (mut up, mut down) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let mut server = server;
    // Who goes away first ends both ways; that is not what the tests are about.
    thread::spawn(move || {
        drop(std::io::copy(&mut server, &mut down));
        drop(down.shutdown(std::net::Shutdown::Both));
    });
    drop(std::io::copy(&mut reader, &mut up));
    drop(up.shutdown(std::net::Shutdown::Both));
}

/// The next line of a head, without its end.
fn line(reader: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    drop(reader.read_line(&mut line));
    line.trim_end().to_owned()
}
