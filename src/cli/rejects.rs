//! Where the records go that a program cannot handle: counted, explained, kept if a file is named for them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bstr::ByteSlice;

use super::feed::Scene;
use super::report::Progress;
use crate::lp::frame::Framer;
use crate::lp::{Context, context};

/// How many rejects are shown one by one where no file takes them.
const SHOWN: u64 = 10;
/// How much of each.
const SHOWN_BYTES: usize = 200;

/// Where to put rejects.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Args {
    /// Append records that cannot be handled to this file, each under a comment with its place and reason
    ///
    /// Without it the first ten are shown on standard error and the rest is counted. Status 1 either way.
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
}

/// Takes rejects, counts them, and says so at the end.
#[derive(Debug)]
pub struct Rejects {
    program: &'static str,
    file: Option<(String, BufWriter<File>)>,
    /// The context that the file is in.
    context: Context,
    count: u64,
    progress: Progress,
}

impl Rejects {
    /// Open the file, if one is named.
    pub fn open(program: &'static str, args: &Args) -> anyhow::Result<Self> {
        let file = args.rejects.as_deref().map(append).transpose()?;
        Ok(Self {
            program,
            file,
            context: Context::default(),
            count: 0,
            progress: Progress::default(),
        })
    }

    /// Stay clear of the progress when rejects are shown.
    pub fn beside(mut self, progress: &Progress) -> Self {
        self.progress = progress.clone();
        self
    }

    /// Whether they go to a file.
    pub fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Take one record.
    pub fn add(&mut self, record: &[u8], scene: &Scene<'_>, reason: &str) -> anyhow::Result<()> {
        if self.is_shown() {
            self.put(record, scene.context, &format!("{scene}: {reason}"))
        } else {
            self.count += 1;
            Ok(())
        }
    }

    /// Take what would have been a record, had line protocol a spelling for it.
    pub fn add_bytes(
        &mut self,
        bytes: &[u8],
        context: &Context,
        reason: &str,
    ) -> anyhow::Result<()> {
        self.put_as(bytes, context, reason, print_bytes)
    }

    /// Take one record whose place is not known any more.
    pub fn add_late(
        &mut self,
        record: &[u8],
        context: &Context,
        reason: &str,
    ) -> anyhow::Result<()> {
        self.put(record, context, reason)
    }

    /// Whether the next record is more than counted.
    fn is_shown(&self) -> bool {
        self.file.is_some() || self.count < SHOWN
    }

    fn put(&mut self, record: &[u8], context: &Context, reason: &str) -> anyhow::Result<()> {
        self.put_as(record, context, reason, print)
    }

    fn put_as(
        &mut self,
        record: &[u8],
        context: &Context,
        reason: &str,
        print: fn(&[u8], &str, &mut Vec<u8>),
    ) -> anyhow::Result<()> {
        let is_shown = self.is_shown();
        self.count += 1;
        let Some((name, file)) = &mut self.file else {
            if is_shown {
                self.progress.suspend(|| show(self.program, record, reason));
            }
            return Ok(());
        };
        let mut text = Vec::new();
        if self.context != *context {
            self.context = context.clone();
            // An empty pair is what ends all context.
            crate::lp::stream::print_begin(false, &mut text);
            crate::lp::stream::print_end(0, 0, &mut text);
            self.context.print(&mut text);
        }
        print(record, reason, &mut text);
        file.write_all(&text).with_context(|| name.clone())
    }

    /// Write out what is left and say how many more there were than have been shown.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        if let Some((name, file)) = &mut self.file {
            file.flush().with_context(|| name.clone())?;
        } else if self.count > SHOWN {
            let more = self.count - SHOWN;
            let _ = writeln!(
                io::stderr(),
                "{}: {more} more records rejected (--rejects FILE keeps them)",
                self.program
            );
        }
        Ok(())
    }
}

fn show(program: &str, record: &[u8], reason: &str) {
    let record = record.trim_end_with(|c| c == '\n');
    let (head, dots) = match record.get(..SHOWN_BYTES) {
        Some(head) => (head, "..."),
        None => (record, ""),
    };
    let head = head.as_bstr();
    let _ = writeln!(io::stderr(), "{program}: {reason}: {head:?}{dots}");
}

pub(super) fn append(path: &Path) -> anyhow::Result<(String, BufWriter<File>)> {
    let name = path.display().to_string();
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| name.clone())?;
    Ok((name, BufWriter::new(file)))
}

/// Append a record under a comment. What would not end where it should is kept inside a comment instead.
pub fn print(record: &[u8], comment: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# REJECT ");
    context::encode(comment.as_bytes(), out);
    out.push(b'\n');
    let start = out.len();
    out.extend_from_slice(record);
    if !record.ends_with(b"\n") {
        out.push(b'\n');
    }
    if Framer::default().end(&out[start..]).map(|end| end.len) != Some(out.len() - start) {
        out.truncate(start);
        bytes(record, out);
    }
}

/// Append what is no record at all, in a comment under a comment.
pub fn print_bytes(record: &[u8], comment: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# REJECT ");
    context::encode(comment.as_bytes(), out);
    out.push(b'\n');
    bytes(record, out);
}

fn bytes(record: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"# REJECT-BYTES*:");
    context::encode(record, out);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reject_can_be_read_back_and_swallows_nothing() {
        let mut out = Vec::new();
        print(b"m f=x 1\n", "a.lp:3: field \"f\"=x", &mut out);
        print(b"m f=\"open 1\n", "a.lp:4: open", &mut out);
        assert_eq!(
            "# REJECT a.lp:3: field %22f%22%3Dx\nm f=x 1\n# REJECT a.lp:4: open\n# REJECT-BYTES*:m f%3D%22open 1%0A\n",
            out.as_bstr()
        );
    }
}
