//! Output that tells "the reader is gone" from every other error.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;

use super::exit::Closed;
use super::report::Progress;
use super::{input, signal};
use crate::pages::Given;

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
    takes_gifts: bool,
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
        let is_pipe = kind.is_ok_and(|kind| kind.is_fifo());
        Self {
            is_pipe,
            // Not everybody may give, and not every system can: nothing is enough to find out.
            takes_gifts: is_pipe && vmsplice(&file, b"").is_ok(),
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
        loop {
            signal::check()?;
            if self.is_ready() {
                return Ok(());
            }
        }
    }

    /// Whether a pipe takes some bytes, within a moment. What cannot be polled can be written.
    fn is_ready(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const SLICE: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        let polled = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&SLICE));
        !matches!(polled, Ok(0) | Err(rustix::io::Errno::INTR))
    }

    /// Append bytes.
    pub fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if bytes.len() >= BLOCK {
            // Not worth a copy.
            self.flush()?;
            return self.put(bytes);
        }
        self.buf.extend_from_slice(bytes);
        if self.buf.len() < BLOCK {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// Append bytes that a pipe may keep as they are.
    pub fn give(&mut self, given: Given<'_>) -> anyhow::Result<()> {
        let mut rest = given.bytes();
        if !self.takes_gifts || rest.len() < BLOCK {
            return self.write(rest);
        }
        self.flush()?;
        while !rest.is_empty() {
            match vmsplice(&self.file, rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if err.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(closed(err, &self.name));
                }
                Err(_) => return self.put(rest),
            }
        }
        Ok(())
    }

    /// Whether what is given is not copied.
    pub fn takes_gifts(&self) -> bool {
        self.takes_gifts
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

    fn put(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut steps = bytes.chunks(if self.is_pipe { STEP } else { usize::MAX });
        self.progress
            .suspend(|| steps.try_for_each(|step| self.step(step)))
            .map_err(|err| closed(err, &self.name))
    }

    fn step(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.file).write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares it may have asked not to wait.
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => while !self.is_ready() {},
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Hand everything to the reader. To be called before any sleep or wait.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.finish()?;
        Ok(signal::check()?)
    }

    /// Flush for the last time, even if a signal has come.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        let done = self.put(&self.buf);
        self.buf.clear();
        done
    }
}

#[cfg(target_os = "linux")]
fn vmsplice(pipe: &File, bytes: &[u8]) -> io::Result<usize> {
    use nix::fcntl::{SpliceFFlags, vmsplice};
    let flags = SpliceFFlags::empty();
    Ok(vmsplice(pipe, &[io::IoSlice::new(bytes)], flags)?)
}

#[cfg(not(target_os = "linux"))]
fn vmsplice(_: &File, _: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

fn closed(err: io::Error, name: &str) -> anyhow::Error {
    match err.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::new(err).context(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::pages::{Page, Supply};

    /// A page that begins with so many of this byte.
    fn filled(byte: u8, n: usize) -> Page {
        let mut page = Supply::any(6).page(1).unwrap();
        page.free_mut()[..n].fill(byte);
        page
    }

    fn pipe() -> (File, Out) {
        let (reader, writer) = io::pipe().unwrap();
        let out = Out::file(OwnedFd::from(writer).into(), "pipe".to_owned());
        (OwnedFd::from(reader).into(), out)
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_pipe_was_given_is_kept_for_whoever_has_it() {
        let ((mut reader, mut out), (mut held, holder)) = (pipe(), io::pipe().unwrap());
        assert!(out.takes_gifts());
        // Less than the pipe holds, so that nobody has to wait.
        let mut page = filled(b'a', BLOCK);
        out.give(page.give(BLOCK)).unwrap();
        // A reader that hands on what it was given has not copied it.
        let some = rustix::pipe::splice(
            &reader,
            None,
            &holder,
            None,
            1 << 15,
            rustix::pipe::SpliceFlags::empty(),
        );
        let some = some.unwrap();
        page.free_mut().fill(b'b');
        drop(page);
        let other = filled(b'c', BLOCK);
        drop((holder, out));
        let (mut first, mut rest) = (Vec::new(), Vec::new());
        held.read_to_end(&mut first).unwrap();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!((some, BLOCK), (first.len(), first.len() + rest.len()));
        assert!(first.iter().chain(&rest).all(|byte| *byte == b'a'));
        drop(other);
    }

    /// Write and give some; what a slow reader gets.
    fn read_slowly((mut reader, mut out): (File, Out)) {
        let mut all = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut page = filled(b'a', 3 * BLOCK + 10);
                out.write(b"begin ").unwrap();
                out.give(page.give(3 * BLOCK)).unwrap();
                out.write(b" middle ").unwrap();
                out.give(page.give(10)).unwrap();
                out.write(&[b'b'; 5 * BLOCK]).unwrap();
                out.finish().unwrap();
            });
            let mut some = [0; 1000];
            while let n @ 1.. = reader.read(&mut some).unwrap() {
                all.extend_from_slice(&some[..n]);
            }
        });
        let (long, short) = ([b'a'; 3 * BLOCK], [b'a'; 10]);
        let rest = [b'b'; 5 * BLOCK];
        assert!(all == [b"begin ", &long[..], b" middle ", &short, &rest].concat());
    }

    #[test]
    fn what_is_given_stands_behind_what_was_written_and_a_slow_reader_gets_all() {
        read_slowly(pipe());
    }

    #[test]
    fn a_slow_reader_gets_all_of_a_pipe_that_is_not_to_be_waited_for() {
        for takes_gifts in [false, true] {
            let (reader, mut out) = pipe();
            rustix::fs::fcntl_setfl(&out.file, rustix::fs::OFlags::NONBLOCK).unwrap();
            out.takes_gifts &= takes_gifts;
            read_slowly((reader, out));
        }
    }

    #[test]
    fn what_cannot_be_given_is_written() {
        let mut file = tempfile::tempfile().unwrap();
        let mut out = Out::file(file.try_clone().unwrap(), "file".to_owned());
        let mut page = filled(b'a', 3 * BLOCK);
        out.give(page.give(BLOCK)).unwrap();
        // As where the system refuses.
        out.takes_gifts = true;
        out.give(page.give(2 * BLOCK)).unwrap();
        let mut all = Vec::new();
        io::Seek::rewind(&mut file).unwrap();
        file.read_to_end(&mut all).unwrap();
        assert!(all == [b'a'; 3 * BLOCK]);
    }

    #[test]
    fn a_reader_that_is_gone_is_told_as_such() {
        let (reader, mut out) = pipe();
        drop(reader);
        let mut page = filled(b'a', BLOCK);
        let said = out.give(page.give(BLOCK)).unwrap_err();
        assert!(said.is::<Closed>(), "{said:?}");
    }
}
