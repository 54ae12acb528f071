//! Where lp-post's rejects go: a stream on standard output, or a file.

use std::io::{self, Write};
use std::path::PathBuf;

use bstr::BString;

use crate::cli::feed::Scene;
use crate::cli::out::Out;
use crate::cli::rejects::{self, Rejects};
use crate::lp::{Context, stream};
use crate::post::{Outlet, Reject};

/// Takes rejects and news.
pub struct Sink {
    program: &'static str,
    way: Way,
    /// Why rejects could not be written.
    lost: Option<anyhow::Error>,
}

enum Way {
    File(Rejects),
    Stream(Stream),
}

/// Standard output; holds nothing at all where there is no reject.
#[derive(Default)]
struct Stream {
    out: Option<Out>,
    context: Context,
    count: u64,
}

impl Sink {
    /// Rejects go to this file, or to standard output.
    pub fn open(
        program: &'static str,
        file: Option<PathBuf>,
        inputs: &[PathBuf],
    ) -> anyhow::Result<Self> {
        let way = match file {
            Some(_) => {
                let args = rejects::Args { rejects: file };
                Way::File(Rejects::open(program, &args, inputs)?)
            }
            None => Way::Stream(Stream::default()),
        };
        Ok(Self {
            program,
            way,
            lost: None,
        })
    }

    /// Why the last write failed, with all that is known of it.
    pub fn take_error(&mut self) -> Option<anyhow::Error> {
        self.lost.take()
    }

    fn keep(&mut self, result: anyhow::Result<()>) -> io::Result<()> {
        result.map_err(|err| {
            let text = err.to_string();
            self.lost = Some(err);
            io::Error::other(text)
        })
    }

    /// Close the stream in good order, or tell the next program the status of the failure.
    pub fn finish(&mut self, failed: Option<u8>) -> anyhow::Result<()> {
        match &mut self.way {
            Way::File(file) => file.finish(),
            Way::Stream(stream) => stream.finish(failed),
        }
    }
}

impl Stream {
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
        let label = reject.label;
        let comment = format!("{}:{}: {}", label.input, reject.line, reject.reason);
        rejects::print(reject.record, &comment, &mut text);
        self.count += 1;
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(Out::stdout()?),
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

impl Outlet for Sink {
    fn reject(&mut self, reject: &Reject<'_>) -> io::Result<()> {
        let label = reject.label;
        let mut context = label.context.clone();
        // Posted again, the record needs no option to find its way.
        if !label.bucket.is_empty() {
            context.bucket = Some(BString::from(label.bucket.as_str()));
        }
        let result = match &mut self.way {
            Way::Stream(stream) => stream.reject(reject, &context),
            Way::File(file) => {
                let scene = Scene {
                    context: &context,
                    input: &label.input,
                    line: reject.line,
                    offset: None,
                    is_once: label.is_once,
                    had_context: true,
                };
                file.add(reject.record, &scene, reject.reason)
            }
        };
        self.keep(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = match &mut self.way {
            Way::Stream(Stream { out: Some(out), .. }) => out.flush(),
            _ => Ok(()),
        };
        self.keep(result)
    }

    fn note(&mut self, text: &str) {
        // If standard error is gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{}: {text}", self.program);
    }
}
