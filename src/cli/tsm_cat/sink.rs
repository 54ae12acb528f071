//! Where the stream goes: comments and finished text, all of it compressed or none.

use crate::cli::out::Out;
use crate::cli::signal;
use crate::gzip::Packer;
use crate::pages::Given;

/// The output, as it is or as gzip members.
pub struct Sink {
    out: Out,
    packer: Option<Packer>,
    /// Comments that are not packed yet.
    comments: Vec<u8>,
    is_silent: bool,
    /// Bytes written.
    pub bytes: u64,
}

impl Sink {
    /// Before the first byte. `is_silent` leaves out all comments.
    pub fn new(out: Out, level: Option<u32>, is_silent: bool) -> Self {
        Self {
            out,
            packer: level.map(Packer::new),
            comments: Vec::new(),
            is_silent,
            bytes: 0,
        }
    }

    /// Append what `print` puts there.
    pub fn comment(&mut self, print: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_silent {
            print(&mut self.comments);
        }
    }

    /// Append text, which is packed already if all is.
    pub fn text(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.put(text.len(), |out| out.write(text))
    }

    /// Append text that a pipe may keep as it is.
    pub fn give(&mut self, text: Given<'_>) -> anyhow::Result<()> {
        self.put(text.bytes().len(), |out| out.give(text))
    }

    fn put(
        &mut self,
        n: usize,
        put: impl FnOnce(&mut Out) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.settle()?;
        self.bytes += n as u64;
        put(&mut self.out)?;
        Ok(signal::check()?)
    }

    /// Hand the comments on, and look whether a signal came.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        signal::check()?;
        self.write_comments()
    }

    /// Hand all on for the last time, even if a signal has come.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.write_comments()?;
        self.out.finish()
    }

    /// Hand all to the reader.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.write_comments()?;
        self.out.flush()
    }

    fn write_comments(&mut self) -> anyhow::Result<()> {
        if self.comments.is_empty() {
            return Ok(());
        }
        let mut packed = Vec::new();
        let bytes = match &mut self.packer {
            Some(packer) => {
                packer.member(&self.comments, &mut packed);
                &packed
            }
            None => &self.comments,
        };
        self.bytes += bytes.len() as u64;
        let done = self.out.write(bytes);
        self.comments.clear();
        done
    }
}
