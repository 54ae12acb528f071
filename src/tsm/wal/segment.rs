//! The entries of a segment, one behind the other.

use std::io::{self, Read};

use super::entry;
use super::window::Window;
use crate::pages::Buffer;
use crate::tsm::encoding::snappy;
use crate::tsm::{Error, ErrorKind, Note, NoteKind, ReadError};

/// Bytes of type and length of an entry.
pub const HEADER: usize = 5;

/// The type of an entry and the length of its payload, if there can be such an entry and its header is whole.
pub fn header(bytes: &[u8]) -> Option<(u8, u32)> {
    let (code, length) = bytes.first_chunk::<HEADER>()?.split_first()?;
    let length = length.first_chunk().copied().map(u32::from_be_bytes)?;
    entry::is_type(*code).then_some((*code, length))
}

/// Reads a segment.
pub struct Segment<'a, R> {
    window: Window<'a, R>,
    is_last: bool,
}

impl<'a, R: Read> Segment<'a, R> {
    /// `segment` is read from the entry at offset `at` on, through `buf`. `is_last` says that nothing follows in the log:
    /// only there an entry may be cut short, as a crash leaves it.
    pub fn new(segment: R, at: u64, is_last: bool, buf: &'a mut Buffer) -> Self {
        let window = Window::new(segment, at, buf);
        Self { window, is_last }
    }

    /// Where the next entry stands and its type; what it says is in the place of what was in `body`.
    pub fn next(
        &mut self,
        body: &mut Buffer,
        notes: &mut Vec<Note>,
    ) -> Result<Option<(u64, u8)>, ReadError> {
        while self.skip_zeros(notes)? {
            let at = self.window.at();
            let damage = |kind| Error::new(at, kind);
            let code = self.window.fill(1)?.first().copied().unwrap_or_default();
            if !entry::is_type(code) {
                return Err(damage(ErrorKind::EntryType(code)).into());
            }
            let length = header(self.window.fill(HEADER)?).map(|(_, length)| length as usize);
            let whole = HEADER + length.unwrap_or(0);
            let there = self.window.fill(whole)?;
            let n = there.len().min(whole);
            if n < whole {
                self.torn(length, whole - n).map_err(damage)?;
                let bytes = n as u64;
                notes.push(Note::new(at, NoteKind::TornEntry { bytes }));
            } else {
                let payload = there.get(HEADER..n).unwrap_or_default();
                snappy::replace(payload, body).map_err(damage)?;
            }
            self.window.consume(n);
            if n == whole {
                return Ok(Some((at, code)));
            }
        }
        Ok(None)
    }

    /// Whether a cut entry of this length is what a crash leaves, rather than a whole one whose length is damaged.
    fn torn(&self, length: Option<usize>, missing: usize) -> Result<(), ErrorKind> {
        if !self.is_last {
            return Err(ErrorKind::Truncated { missing });
        }
        match (length, self.window.there().get(HEADER..)) {
            (Some(length), Some(payload)) => snappy::plausible(length, payload),
            _ => Ok(()),
        }
    }

    /// Whether an entry follows, behind zeros if there are any.
    ///
    /// After a crash the server cuts the torn entry off, but goes on writing where it ended: the gap reads as zeros.
    fn skip_zeros(&mut self, notes: &mut Vec<Note>) -> io::Result<bool> {
        let at = self.window.at();
        let more = loop {
            let there = self.window.fill(1)?;
            match there.iter().position(|byte| *byte != 0) {
                Some(zeros) => {
                    self.window.consume(zeros);
                    break true;
                }
                None if there.is_empty() => break false,
                None => {
                    let zeros = there.len();
                    self.window.consume(zeros);
                }
            }
        };
        match (self.window.at() - at, more) {
            (0, _) => {}
            (bytes, true) => notes.push(Note::new(at, NoteKind::ZeroGap { bytes })),
            (bytes, false) => notes.push(Note::new(at, NoteKind::ZeroTail { bytes })),
        }
        Ok(more)
    }
}
