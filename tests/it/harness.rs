//! How do the tests run our programs? In real pipes, beside ordinary tools, with every exit status read.
//!
//! `pipeline(input, &[&["lp-filter"], &["head", "-n1"]])` is what a shell would do, except that nothing of the caller's
//! environment comes in and that a hang fails the test.
#![allow(dead_code)]

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use bstr::BString;
use flate2::read::MultiGzDecoder;
use rustix::process::{Pid, Signal, WaitIdOptions};

/// Longer than any pipeline here takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Our programs, as cargo built them for this test binary.
const PROGRAMS: [(&str, Option<&str>); 5] = [
    ("tsm-cat", option_env!("CARGO_BIN_EXE_tsm-cat")),
    ("lp-filter", option_env!("CARGO_BIN_EXE_lp-filter")),
    (
        "lp-split-by-bucket",
        option_env!("CARGO_BIN_EXE_lp-split-by-bucket"),
    ),
    ("lp-rate", option_env!("CARGO_BIN_EXE_lp-rate")),
    ("lp-post", option_env!("CARGO_BIN_EXE_lp-post")),
];

/// What a name in a pipeline stands for: one of our programs, or whatever `PATH` holds.
pub fn program(name: &str) -> &str {
    match PROGRAMS.iter().find(|(ours, _)| *ours == name) {
        Some((_, Some(path))) => path,
        Some((_, None)) => panic!("{name} is not built yet"),
        None => name,
    }
}

/// A path below `tests/data`.
pub fn fixture(path: impl AsRef<Path>) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let path = data.join(path);
    assert!(path.exists(), "no fixture {}", path.display());
    path
}

/// A fixture's path as an argument.
pub fn fixture_arg(path: &str) -> String {
    fixture(path).to_str().unwrap().to_owned()
}

/// A folder that is gone when the test ends.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("lineflow-test-")
        .tempdir()
        .unwrap()
}

/// Copy a folder and all below it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        match from.is_dir() {
            true => copy(&from, &to),
            false => std::fs::copy(from, to).map(|_| ()).unwrap(),
        }
    }
}

/// The bytes of a gzip file, all members.
pub fn gunzip(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    MultiGzDecoder::new(File::open(path).unwrap())
        .read_to_end(&mut bytes)
        .unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    bytes
}

/// One gzip member holding `bytes`.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    member.write_all(bytes).unwrap();
    member.finish().unwrap()
}

/// The entries of a text (points and comments alike), without their line feeds: the splitter of the servers, rule by
/// rule and byte by byte, so that the programs are not measured with their own machine.
pub fn entries(text: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    let (mut start, mut at) = (0, 0);
    let (mut fields, mut quoted, mut equals, mut commas) = (false, false, 0, 0);
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b' ' => fields = true,
            b'=' if fields && !quoted => equals += 1,
            b',' if fields && !quoted => commas += 1,
            b'"' if fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => {
                all.push(&text[start..at]);
                start = at + 1;
                (fields, equals, commas) = (false, 0, 0);
            }
            _ => {}
        }
        at += 1;
    }
    if start < text.len() {
        all.push(&text[start..]);
    }
    all
}

/// The points of a text: its entries without comments and blank lines.
pub fn points(text: &[u8]) -> Vec<&[u8]> {
    let first = |entry: &[u8]| {
        entry
            .iter()
            .copied()
            .find(|c| !matches!(c, b' ' | b'\t' | 0))
    };
    let is_point = |entry: &&[u8]| !matches!(first(entry), None | Some(b'#'));
    entries(text).into_iter().filter(is_point).collect()
}

/// What became of a pipeline.
#[derive(Debug)]
pub struct Ran {
    /// What the last stage wrote.
    pub stdout: BString,
    /// What all stages said, one stage after the other.
    pub stderr: String,
    /// What each stage said.
    pub stderrs: Vec<String>,
    /// The exit status of each stage; 128 + n for a stage that signal n ended, as a shell shows it.
    pub codes: Vec<Option<i32>>,
}

impl Ran {
    /// The result, after a look that every stage ended with 0; what they said otherwise.
    #[track_caller]
    pub fn ok(self) -> Self {
        let good = self.codes.iter().all(|code| *code == Some(0));
        assert!(good, "statuses {:?}\n{}", self.codes, self.stderr);
        self
    }

    /// The status of the last stage.
    pub fn last(&self) -> Option<i32> {
        self.codes.last().copied().flatten()
    }
}

/// Run the stages, connected by pipes, with `input` on the first one's standard input.
#[track_caller]
pub fn pipeline(input: &[u8], stages: &[&[&str]]) -> Ran {
    Pipeline::new().input(input).run(stages)
}

/// Run one program with `input` on its standard input.
#[track_caller]
pub fn run(input: &[u8], stage: &[&str]) -> Ran {
    pipeline(input, &[stage])
}

enum Input {
    Bytes(Vec<u8>),
    File(PathBuf),
    Null,
    Held,
}

/// A pipeline to be: what goes in, and what surrounds it.
pub struct Pipeline {
    input: Input,
    env: Vec<(String, String)>,
    dir: PathBuf,
    limit: Duration,
    signals: Option<&'static str>,
}

impl Pipeline {
    /// Nothing on standard input, a bare environment, the package as working directory.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            input: Input::Null,
            env: Vec::new(),
            dir: env!("CARGO_MANIFEST_DIR").into(),
            limit: LIMIT,
            signals: None,
        }
    }

    /// Have SIGINT and SIGHUP ignored when the stages start.
    pub fn ignoring_signals(mut self) -> Self {
        self.signals = Some("--ignore-signal=INT,HUP");
        self
    }

    /// Have no signal ignored when the stages start: who runs the tests in the background may have some so.
    pub fn heeding_signals(mut self) -> Self {
        self.signals = Some("--default-signal=INT,HUP");
        self
    }

    /// Feed these bytes to the first stage.
    pub fn input(mut self, bytes: &[u8]) -> Self {
        self.input = Input::Bytes(bytes.to_vec());
        self
    }

    /// Open this file as the first stage's standard input.
    pub fn input_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.input = Input::File(path.into());
        self
    }

    /// Leave the first stage's standard input to the caller: `Running::feed`.
    pub fn input_held(mut self) -> Self {
        self.input = Input::Held;
        self
    }

    /// Set a variable for all stages.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Run all stages in this directory.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// How long the whole may take before it is killed and the test fails.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Run the stages to their end.
    #[track_caller]
    pub fn run(self, stages: &[&[&str]]) -> Ran {
        self.start(stages).finish()
    }

    /// Start the stages and come back at once.
    #[track_caller]
    pub fn start(self, stages: &[&[&str]]) -> Running {
        let (mut stdin, feed) = self.stdin();
        let mut children = Vec::new();
        let mut stderrs = Vec::new();
        for stage in stages {
            let (next, stdout) = io::pipe().unwrap();
            let (said, stderr) = io::pipe().unwrap();
            let stdin = std::mem::replace(&mut stdin, next.into());
            children.push(self.spawn(stage, stdin, stdout, stderr));
            stderrs.push(drain(said));
        }
        Running {
            feed,
            children,
            stdout: drain(stdin),
            stderrs,
            limit: self.limit,
        }
    }

    /// The first stage's standard input, and its other end if the caller wants to hold it.
    fn stdin(&self) -> (Stream, Option<PipeWriter>) {
        match &self.input {
            Input::Null => (File::open("/dev/null").unwrap().into(), None),
            Input::File(path) => (File::open(path).unwrap().into(), None),
            Input::Held => {
                let (read, write) = io::pipe().unwrap();
                (read.into(), Some(write))
            }
            Input::Bytes(bytes) => {
                let (read, mut write) = io::pipe().unwrap();
                let bytes = bytes.clone();
                // A stage that stops reading is no fault of the feeder.
                thread::spawn(move || drop(write.write_all(&bytes)));
                (read.into(), None)
            }
        }
    }

    #[track_caller]
    fn spawn(
        &self,
        stage: &[&str],
        stdin: Stream,
        stdout: PipeWriter,
        stderr: PipeWriter,
    ) -> Child {
        let (name, args) = stage.split_first().unwrap();
        let mut command = match self.signals {
            Some(signals) => {
                let mut command = Command::new("/usr/bin/env");
                command.arg(signals).arg(program(name));
                command
            }
            None => Command::new(program(name)),
        };
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        command
            .spawn()
            .unwrap_or_else(|err| panic!("{name}: {err}"))
    }
}

/// What a stage reads from.
enum Stream {
    Pipe(PipeReader),
    File(File),
}

impl From<PipeReader> for Stream {
    fn from(pipe: PipeReader) -> Self {
        Self::Pipe(pipe)
    }
}

impl From<File> for Stream {
    fn from(file: File) -> Self {
        Self::File(file)
    }
}

impl From<Stream> for Stdio {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Pipe(pipe) => pipe.into(),
            Stream::File(file) => file.into(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => pipe.read(buf),
            Self::File(file) => file.read(buf),
        }
    }
}

/// Read to the end on a thread of its own.
fn drain(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        drop(done.send(bytes));
    });
    result
}

/// A pipeline on its way.
pub struct Running {
    /// The writing end of the first stage's standard input, after `Pipeline::input_held`.
    pub feed: Option<PipeWriter>,
    children: Vec<Child>,
    stdout: Receiver<Vec<u8>>,
    stderrs: Vec<Receiver<Vec<u8>>>,
    limit: Duration,
}

impl Running {
    /// Send a signal to one stage.
    pub fn signal(&self, stage: usize, signal: Signal) {
        rustix::process::kill_process(pid(&self.children[stage]), signal).unwrap();
    }

    /// Close the input, wait for every stage and collect what they left.
    #[track_caller]
    pub fn finish(mut self) -> Ran {
        drop(self.feed.take());
        let hung = self.outlast();
        let codes = self.children.iter_mut().map(|child| code(child.wait()));
        let codes: Vec<_> = codes.collect();
        assert!(!hung, "still running after {:?}: {codes:?}", self.limit);
        let stderrs: Vec<String> = self.stderrs.iter().map(|said| self.text(said)).collect();
        Ran {
            stdout: self.bytes(&self.stdout).into(),
            stderr: stderrs.concat(),
            stderrs,
            codes,
        }
    }

    /// Wait until every child has ended, by itself or because the limit was over; whether it was. None is reaped before
    /// the watchdog has gone home, so that no number it kills can belong to somebody else.
    fn outlast(&self) -> bool {
        let (ended, alarm) = mpsc::channel::<()>();
        let pids: Vec<Pid> = self.children.iter().map(pid).collect();
        let limit = self.limit;
        let watchdog = thread::spawn(move || {
            let late = alarm.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                for pid in pids {
                    let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                }
            }
            late
        });
        for child in &self.children {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            rustix::process::waitid(rustix::process::WaitId::Pid(pid(child)), options).unwrap();
        }
        drop(ended);
        watchdog.join().unwrap()
    }

    /// What a reader collected; a grandchild that keeps the pipe open must not hang the test either.
    #[track_caller]
    fn bytes(&self, reader: &Receiver<Vec<u8>>) -> Vec<u8> {
        let bytes = reader.recv_timeout(self.limit);
        bytes.expect("somebody still holds the output open")
    }

    #[track_caller]
    fn text(&self, reader: &Receiver<Vec<u8>>) -> String {
        String::from_utf8_lossy(&self.bytes(reader)).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Both say nothing new for a child that was waited for.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn code(status: io::Result<ExitStatus>) -> Option<i32> {
    let status = status.unwrap();
    status.code().or(status.signal().map(|signal| 128 + signal))
}

#[test]
fn stages_are_connected_and_every_status_is_read() {
    let ran = pipeline(
        b"b\na\n",
        &[
            &["cat"],
            &["sh", "-c", "cat; echo two >&2; exit 3"],
            &["sort"],
        ],
    );
    assert_eq!("a\nb\n", ran.stdout);
    assert_eq!(vec![Some(0), Some(3), Some(0)], ran.codes);
    assert_eq!(vec!["", "two\n", ""], ran.stderrs);
}

#[test]
fn a_stage_that_a_signal_ends_shows_what_a_shell_shows() {
    let ran = pipeline(b"", &[&["yes"], &["head", "-n1"]]);
    assert_eq!(vec![Some(141), Some(0)], ran.codes);
    assert_eq!("y\n", ran.stdout);
}

#[test]
fn input_comes_from_where_it_is_said() {
    let dir = scratch();
    std::fs::write(dir.path().join("in"), "file").unwrap();
    let cat: &[&[&str]] = &[&["cat"]];
    assert_eq!("", Pipeline::new().run(cat).ok().stdout);
    let file = Pipeline::new().input_file(dir.path().join("in"));
    assert_eq!("file", file.run(cat).ok().stdout);
    let mut held = Pipeline::new().input_held().start(cat);
    held.feed.as_mut().unwrap().write_all(b"held").unwrap();
    assert_eq!("held", held.finish().ok().stdout);
    let here = Pipeline::new().dir(dir.path()).env("X", "1");
    let ran = here.run(&[&["sh", "-c", "cat in; echo $X"]]).ok();
    assert_eq!("file1\n", ran.stdout);
}

#[test]
#[should_panic(expected = "still running")]
fn a_hang_fails_the_test() {
    let short = Pipeline::new().limit(Duration::from_millis(50));
    short.input_held().start(&[&["sleep", "600"]]).finish();
}

#[test]
fn entries_end_where_the_servers_say() {
    let text = b"# c\nm s=\"a\nb\" 1\nm\\\nx v=1 2\nlast v=1";
    assert_eq!(
        vec![&b"# c"[..], b"m s=\"a\nb\" 1", b"m\\\nx v=1 2", b"last v=1"],
        entries(text)
    );
    assert_eq!(3, points(text).len());
}
