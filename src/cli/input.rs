//! Standard input, "-" and files; gzip told by content; larger pipes.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;

use super::exit::Failure;
use super::report::Progress;
use super::{signal, tty};

/// Which records to read.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Args {
    /// Files to read; standard input without any, or where one is "-"
    ///
    /// Plain or gzip (all members), told apart by content.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Longest record to accept, in bytes
    ///
    /// A quote left open makes everything behind it one record; this is where that ends, with status 65.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = super::value::size)]
    pub max_record: u64,

    /// What the inputs must be; either where nothing is said.
    #[arg(skip)]
    pub compression: Option<Compression>,
}

/// What an input is, whatever its content says.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Plain text.
    None,
    /// Gzip.
    Gzip,
}

impl Args {
    /// The inputs in their order: at least one.
    pub fn paths(&self) -> Vec<PathBuf> {
        if self.files.is_empty() {
            vec![PathBuf::from("-")]
        } else {
            self.files.clone()
        }
    }
}

/// One input, opened.
pub struct Input {
    /// How messages call it.
    pub name: String,
    /// Whether it is standard input.
    pub is_stdin: bool,
    /// Its bytes, decompressed.
    pub source: Box<dyn Read + Send>,
    /// Whether its reader is told that nothing comes for a while.
    yields: Option<Arc<AtomicBool>>,
}

/// Open a file, or standard input for "-". `example` is what to type where a terminal would have to.
pub fn open(path: &Path, example: &str) -> anyhow::Result<Input> {
    let mut input = open_as(path, example, None, &Progress::default())?;
    if let Some(yields) = input.yields.take() {
        yields.store(false, Ordering::Relaxed);
    }
    Ok(input)
}

/// The same for an input of a kind; `progress` is told how much of a file has been read.
///
/// Where nothing comes for a second on standard input its reader is told so, as `WouldBlock`.
pub fn open_as(
    path: &Path,
    example: &str,
    kind: Option<Compression>,
    progress: &Progress,
) -> anyhow::Result<Input> {
    if path == Path::new("-") {
        return stdin(example, kind);
    }
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| name.clone())?;
    let progress = progress.clone();
    let source = plain_or_gzip(Watched { file, progress }, kind).with_context(|| name.clone())?;
    Ok(Input {
        name,
        is_stdin: false,
        source,
        yields: None,
    })
}

fn stdin(example: &str, kind: Option<Compression>) -> anyhow::Result<Input> {
    if tty::is_terminal(tty::Stream::Stdin) {
        let text =
            format!("standard input is a terminal (name a file, or pipe into it: {example})");
        return Err(Failure::Usage(text).into());
    }
    let file = duplicate(io::stdin()).context("standard input")?;
    enlarge_pipe(&file);
    let yields = Arc::new(AtomicBool::new(false));
    let patient = Patient {
        file,
        yields: Arc::clone(&yields),
    };
    let source = plain_or_gzip(patient, kind).context("standard input")?;
    yields.store(true, Ordering::Relaxed);
    Ok(Input {
        name: "standard input".into(),
        is_stdin: true,
        source,
        yields: Some(yields),
    })
}

/// What these files hold on disk, in bytes; `None` where one of them is something else than a file.
pub fn sizes(paths: &[PathBuf]) -> Option<u64> {
    let size = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        (data.is_file() && path != Path::new("-")).then_some(data.len())
    };
    paths.iter().map(size).sum()
}

/// A file that says how much of it has been read.
struct Watched {
    file: File,
    progress: Progress,
}

impl Read for Watched {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        self.progress.read(n as u64);
        Ok(n)
    }
}

/// A file of our own on a standard stream, without the buffer that the library puts before it.
pub fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Ask for a pipe of 1 MiB. A system that refuses, or something else than a pipe, is fine as it is.
pub fn enlarge_pipe(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(file, 1 << 20);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

/// A source that may keep us waiting: looks at the stop flag meanwhile.
struct Patient {
    file: File,
    /// Whether the reader wants to be told, as `WouldBlock`, that nothing has come for a second.
    yields: Arc<AtomicBool>,
}

impl Read for Patient {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const SECOND: Timespec = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        loop {
            signal::check().map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&SECOND)) {
                Ok(0) if self.yields.load(Ordering::Relaxed) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // What cannot be polled can be read.
                _ => return self.file.read(buf),
            }
        }
    }
}

type Sniffed<R> = BufReader<Chain<Cursor<Vec<u8>>, R>>;

fn plain_or_gzip(
    mut source: impl Read + Send + 'static,
    kind: Option<Compression>,
) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::with_capacity(2);
    source.by_ref().take(2).read_to_end(&mut head)?;
    let is_gzip = match kind {
        // An empty file is nothing in either way.
        Some(Compression::Gzip) if head.is_empty() || head == [0x1f, 0x8b] => !head.is_empty(),
        Some(Compression::Gzip) => return Err(damaged("is not gzip")),
        Some(Compression::None) => false,
        None => head == [0x1f, 0x8b],
    };
    let all = Cursor::new(head).chain(source);
    if is_gzip {
        return Ok(Box::new(Gzip(MultiGzDecoder::new(
            BufReader::with_capacity(128 << 10, all),
        ))));
    }
    Ok(Box::new(all))
}

/// Gzip whose damage is damage of the data, not an I/O error.
struct Gzip<R: Read>(MultiGzDecoder<Sniffed<R>>);

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        self.0.read(buf).map_err(|err| match err.kind() {
            UnexpectedEof => damaged("the gzip data ends early"),
            InvalidData | InvalidInput => damaged(&format!("the gzip data is damaged: {err}")),
            _ => err,
        })
    }
}

fn damaged(text: &str) -> io::Error {
    io::Error::other(Failure::Data(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        plain_or_gzip(Cursor::new(bytes), None)?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn gzip_is_told_by_content_and_read_to_the_last_member() {
        assert_eq!(
            b"one two ".to_vec(),
            read([gzip(b"one "), gzip(b"two ")].concat()).unwrap()
        );
        for plain in [b"".as_slice(), b"m", b"m v=1 1\n"] {
            assert_eq!(plain.to_vec(), read(plain.to_vec()).unwrap());
        }
    }

    #[test]
    fn gzip_cut_anywhere_is_damage() {
        let whole = gzip(b"cpu,host=a v=1 1\n");
        for n in 2..whole.len() {
            let err = read(whole[..n].to_vec()).unwrap_err();
            assert_eq!(
                super::super::exit::DATA,
                super::super::exit::status(&err.into()),
                "{n}"
            );
        }
    }
}
