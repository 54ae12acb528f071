//! Where lp-post's rejects go: a stream on standard output, or a file that a journal can cut back.

use std::fs::File;
use std::hash::Hasher;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use bstr::BString;

use crate::cli::out::Out;
use crate::cli::rejects;
use crate::cli::report::Progress;
use crate::lp::{Context, stream};
use crate::post::desk::{Outlet, Reject};
use crate::post::journal;

/// Takes rejects and news; clones are the same one.
#[derive(Clone)]
pub struct Sink(Arc<Mutex<Inner>>);

struct Inner {
    program: &'static str,
    way: Way,
    progress: Progress,
    /// Why rejects could not be written.
    lost: Option<anyhow::Error>,
}

enum Way {
    File(Appended),
    Stream(Stream),
}

/// A file to which rejects are appended.
struct Appended {
    path: PathBuf,
    file: BufWriter<File>,
    length: u64,
    /// The context that the file is in, once anything was written.
    context: Option<Context>,
}

/// Standard output; holds nothing at all where there is no reject.
struct Stream {
    progress: Progress,
    out: Option<Out>,
    context: Context,
    count: u64,
}

impl Sink {
    /// Rejects go to this file, or to standard output; news go out of the way of `progress`.
    pub fn open(
        program: &'static str,
        file: Option<&Path>,
        progress: Progress,
    ) -> anyhow::Result<Self> {
        let way = match file {
            Some(path) => Way::File(Appended::open(path)?),
            None => Way::Stream(Stream::new(progress.clone())),
        };
        Ok(Self(Arc::new(Mutex::new(Inner {
            program,
            way,
            progress,
            lost: None,
        }))))
    }

    /// Tell somebody.
    pub fn note(&self, text: &str) {
        self.inner().note(text);
    }

    /// Why the last write failed, with all that is known of it.
    pub fn take_error(&self) -> Option<anyhow::Error> {
        self.inner().lost.take()
    }

    /// What a journal has to know of the file, if it is one.
    pub fn place(&self) -> anyhow::Result<journal::Rejects> {
        match &self.inner().way {
            Way::File(file) => file.place(),
            Way::Stream(_) => Ok(journal::Rejects::default()),
        }
    }

    /// Take back what a run wrote that did not come to an end, if it was to the same file.
    pub fn cut_back(&self, to: journal::Rejects) -> anyhow::Result<()> {
        let mut inner = self.inner();
        let Way::File(file) = &mut inner.way else {
            return Ok(());
        };
        let here = file.place()?;
        if here.file != to.file || here.length <= to.length {
            return Ok(());
        }
        let cut = file.file.get_ref().set_len(to.length);
        cut.with_context(|| file.path.display().to_string())?;
        file.length = to.length;
        let text = format!(
            "{}: the last {} bytes belong to what the last run did not finish: cut off",
            file.path.display(),
            here.length - to.length
        );
        inner.note(&text);
        Ok(())
    }

    /// Close the stream in good order, or tell the next program the status of the failure.
    pub fn finish(&self, failed: Option<u8>) -> anyhow::Result<()> {
        match &mut self.inner().way {
            Way::File(file) => file.flush(false).map(drop),
            Way::Stream(stream) => stream.finish(failed),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Appended {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let (name, file) = rejects::append(path)?;
        let length = file.get_ref().metadata().context(name)?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            context: None,
        })
    }

    /// Path and inode tell the file from another one that takes its name.
    fn place(&self) -> anyhow::Result<journal::Rejects> {
        let name = || self.path.display().to_string();
        let path = self.path.canonicalize().with_context(name)?;
        let data = self.file.get_ref().metadata().with_context(name)?;
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.write(path.as_os_str().as_encoded_bytes());
        #[cfg(unix)]
        hasher.write_u64(std::os::unix::fs::MetadataExt::ino(&data));
        Ok(journal::Rejects {
            // 0 is no file at all.
            file: hasher.finish() | 1,
            length: data.len(),
        })
    }

    fn reject(&mut self, reject: &Reject<'_>, context: &Context) -> anyhow::Result<()> {
        let mut text = Vec::new();
        if self.context.as_ref() != Some(context) {
            // An empty pair is what ends all context.
            stream::print_begin(false, &mut text);
            stream::print_end(0, 0, &mut text);
            context.print(&mut text);
            self.context = Some(context.clone());
        }
        print(reject, &mut text);
        self.length += text.len() as u64;
        let written = self.file.write_all(&text);
        written.with_context(|| self.path.display().to_string())
    }

    fn flush(&mut self, lasting: bool) -> anyhow::Result<u64> {
        let flushed = self.file.flush();
        let flushed = flushed.and_then(|()| match lasting {
            true => self.file.get_ref().sync_data(),
            false => Ok(()),
        });
        flushed.with_context(|| self.path.display().to_string())?;
        Ok(self.length)
    }
}

fn print(reject: &Reject<'_>, text: &mut Vec<u8>) {
    let comment = format!("{}:{}: {}", reject.label.input, reject.line, reject.reason);
    rejects::print(reject.record, &comment, text);
}

impl Stream {
    fn new(progress: Progress) -> Self {
        Self {
            progress,
            out: None,
            context: Context::default(),
            count: 0,
        }
    }

    fn reject(&mut self, reject: &Reject<'_>, context: &Context) -> anyhow::Result<()> {
        let mut text = Vec::new();
        if self.out.is_none() {
            stream::print_begin(false, &mut text);
        }
        if self.context != *context {
            if self.count > 0 {
                // All context ends here, even what the next one does not set.
                stream::print_end(self.count, 0, &mut text);
                stream::print_begin(false, &mut text);
                self.count = 0;
            }
            context.print(&mut text);
            self.context = context.clone();
        }
        print(reject, &mut text);
        self.count += 1;
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(Out::stdout()?.beside(&self.progress)),
        };
        out.write(&text)
    }

    fn finish(&mut self, failed: Option<u8>) -> anyhow::Result<()> {
        let Some(out) = &mut self.out else {
            return Ok(());
        };
        out.print(|text| match failed {
            Some(status) => stream::print_failed(status, text),
            None => stream::print_end(self.count, 0, text),
        })?;
        out.finish()
    }
}

impl Inner {
    fn note(&self, text: &str) {
        // If standard error is gone there is nobody left to tell.
        let write = || writeln!(io::stderr(), "{}: {text}", self.program);
        let _ = self.progress.suspend(write);
    }

    fn keep<T>(&mut self, result: anyhow::Result<T>) -> io::Result<T> {
        result.map_err(|err| {
            let text = err.to_string();
            self.lost = Some(err);
            io::Error::other(text)
        })
    }
}

impl Outlet for Sink {
    fn retried(&mut self) {
        self.inner().progress.retried();
    }

    fn reject(&mut self, reject: &Reject<'_>) -> io::Result<()> {
        let label = reject.label;
        let mut context = label.context.clone();
        // Posted again, the record needs no option to find its way.
        if !label.bucket.is_empty() {
            context.bucket = Some(BString::from(label.bucket.as_str()));
        }
        let mut inner = self.inner();
        let result = match &mut inner.way {
            Way::Stream(stream) => stream.reject(reject, &context),
            Way::File(file) => file.reject(reject, &context),
        };
        inner.keep(result)
    }

    fn flush(&mut self, lasting: bool) -> io::Result<u64> {
        let mut inner = self.inner();
        let result = match &mut inner.way {
            Way::Stream(Stream { out: Some(out), .. }) => out.flush().map(|()| 0),
            Way::Stream(_) => Ok(0),
            Way::File(file) => file.flush(lasting),
        };
        inner.keep(result)
    }

    fn note(&mut self, text: &str) {
        self.inner().note(text);
    }
}
