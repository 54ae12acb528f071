//! Output that tells "the reader is gone" from every other error.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;

use super::exit::Closed;
use super::report::Progress;
use super::{input, signal};

/// What is gathered before it is written.
const BLOCK: usize = 64 << 10;

/// What is written into a pipe at once. Linux keeps two pages of a pipe at hand, finds, counts and gives back all others
/// anew, and lets the reader spin on the lock while more is written; but where no processor is free for the reader each
/// write is a switch to it and back. This is little of the one and of the other, and cheapest on two processors.
const STEP: usize = 16 << 10;

/// What messages call standard output.
const STDOUT: &str = "standard output";

/// Standard output, or a file, behind a buffer. Nothing is flushed on drop: call `finish`.
#[derive(Debug)]
pub struct Out {
    file: File,
    is_pipe: bool,
    /// What messages call it.
    name: Cow<'static, str>,
    buf: Vec<u8>,
    /// Drawn on the terminal that the output goes to as well.
    progress: Progress,
}

impl Out {
    /// The standard output of this process.
    pub fn stdout() -> anyhow::Result<Self> {
        let file = input::duplicate(io::stdout()).map_err(|err| closed(err, STDOUT))?;
        input::enlarge_pipe(&file);
        Ok(Self::new(file, STDOUT.into()))
    }

    /// A file that is open for writing, and what messages call it.
    pub fn file(file: File, name: String) -> Self {
        Self::new(file, name.into())
    }

    fn new(file: File, name: Cow<'static, str>) -> Self {
        let kind = file.metadata().map(|data| data.file_type());
        Self {
            is_pipe: kind.is_ok_and(|kind| kind.is_fifo()),
            file,
            name,
            buf: Vec::with_capacity(2 * BLOCK),
            progress: Progress::default(),
        }
    }

    /// Stay clear of the progress if both go to a terminal.
    pub fn beside(mut self, progress: &Progress) -> Self {
        if progress.is_drawn() && self.file.is_terminal() {
            self.progress = progress.clone();
        }
        self
    }

    /// Wait until a pipe takes some bytes: as many as fit one page are then written without waiting.
    pub fn wait(&self) -> anyhow::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const SLICE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        loop {
            signal::check()?;
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&SLICE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // What cannot be polled can be written.
                _ => return Ok(()),
            }
        }
    }

    /// Append bytes.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.len() >= BLOCK {
            // Not worth a copy.
            self.flush()?;
            return self.put(bytes).map_err(|err| closed(err, &self.name));
        }
        self.buf.extend_from_slice(bytes);
        if self.buf.len() < BLOCK {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// Append what `print` puts into the buffer.
    pub fn print(&mut self, print: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<()> {
        print(&mut self.buf);
        if self.buf.len() < BLOCK {
            Ok(())
        } else {
            self.flush()
        }
    }

    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        let mut steps = bytes.chunks(if self.is_pipe { STEP } else { usize::MAX });
        self.progress
            .suspend(|| steps.try_for_each(|step| (&self.file).write_all(step)))
    }

    /// Hand everything to the reader. To be called before any sleep or wait.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        let result = self.put(&self.buf);
        self.buf.clear();
        result.map_err(|err| closed(err, &self.name))?;
        Ok(signal::check()?)
    }

    /// Flush for the last time, even if a signal has come.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let result = self.put(&self.buf);
        self.buf.clear();
        result.map_err(|err| closed(err, &self.name))
    }
}

fn closed(err: io::Error, name: &str) -> anyhow::Error {
    match err.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::new(err).context(name.to_owned()),
    }
}
