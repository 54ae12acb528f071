//! Real servers on loopback ports of their own, with folders that are gone afterwards.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::harness::scratch;

/// Longer than either server takes to start or to stop on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A server that answers; killed when dropped.
pub struct Server {
    /// The port it listens on, at 127.0.0.1.
    pub port: u16,
    child: Child,
    /// What it logs, line by line; ends when the server does.
    log: Receiver<String>,
    dir: tempfile::TempDir,
}

impl Server {
    /// InfluxDB 1.x with nothing in it.
    #[track_caller]
    pub fn influxd() -> Self {
        Self::influxd_with("")
    }

    /// The same, with these lines about its data.
    #[track_caller]
    pub fn influxd_with(data: &str) -> Self {
        let dir = scratch();
        let (port, rpc) = (free_port(), free_port());
        let text = config(dir.path(), port, rpc, data);
        fs::write(dir.path().join("influxdb.conf"), text).unwrap();
        let command = influxd(dir.path());
        Self::start(dir, port, command)
    }

    /// The same, which asks everybody who they are.
    #[track_caller]
    pub fn influxd_with_users() -> Self {
        let dir = scratch();
        let (port, rpc) = (free_port(), free_port());
        let text = config(dir.path(), port, rpc, "");
        fs::write(dir.path().join("influxdb.conf"), text).unwrap();
        let mut command = influxd(dir.path());
        command.env("INFLUXDB_HTTP_AUTH_ENABLED", "true");
        Self::start(dir, port, command)
    }

    /// VictoriaMetrics with nothing in it.
    #[track_caller]
    pub fn victoria_metrics() -> Self {
        let (dir, port) = (scratch(), free_port());
        let command = victoria_metrics(dir.path(), port);
        Self::start(dir, port, command)
    }

    /// Stop in good order and start again on the same files.
    #[track_caller]
    pub fn restart(mut self) -> Self {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        while self.log.recv_timeout(LIMIT).is_ok() {}
        self.child.wait().unwrap();
        (self.child, self.log) = launch(influxd(self.dir.path()), self.port);
        self
    }

    #[track_caller]
    fn start(dir: tempfile::TempDir, port: u16, command: Command) -> Self {
        let (child, log) = launch(command, port);
        Self {
            port,
            child,
            log,
            dir,
        }
    }

    /// Where its files are.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The address for `--host`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn influxd(dir: &Path) -> Command {
    let mut command = Command::new("influxd");
    command.arg("-config").arg(dir.join("influxdb.conf"));
    command
}

fn victoria_metrics(dir: &Path, port: u16) -> Command {
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg(format!("-storageDataPath={}", dir.display()))
        .arg("-retentionPeriod=100y");
    command
}

/// A port that nobody had a moment ago.
fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// Start it and come back when its port answers.
#[track_caller]
fn launch(mut command: Command, port: u16) -> (Child, Receiver<String>) {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|err| panic!("{name}: {err} (the live tests need its Debian package)"));
    let log = follow(child.stderr.take().unwrap());
    let mut said = String::new();
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        match log.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => said.push_str(&(line + "\n")),
            Err(RecvTimeoutError::Timeout) if started.elapsed() < LIMIT => {}
            Err(err) => {
                drop(child.kill());
                panic!("{name} does not answer ({err}); it said\n{said}");
            }
        }
    }
    (child, log)
}

/// The log line by line, always read, so that the server never waits for us.
fn follow(log: ChildStderr) -> Receiver<String> {
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for text in BufReader::new(log).split(b'\n').map_while(Result::ok) {
            drop(line.send(String::from_utf8_lossy(&text).into_owned()));
        }
    });
    lines
}

fn config(dir: &Path, port: u16, rpc: u16, data: &str) -> String {
    let dir = dir.display();
    format!(
        r#"
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{dir}/meta"
[data]
  dir = "{dir}/data"
  wal-dir = "{dir}/wal"
  query-log-enabled = false
  max-series-per-database = 0
  max-values-per-tag = 0
  {data}
[retention]
  enabled = false
[shard-precreation]
  enabled = false
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[continuous_queries]
  enabled = false
[logging]
  level = "info"
"#
    )
}
