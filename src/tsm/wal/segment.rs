//! The entries of a segment, one behind the other.

use std::io::{self, BufRead, Read};

use super::entry;
use crate::tsm::encoding::snappy;
use crate::tsm::stream::Stream;
use crate::tsm::{Error, ErrorKind, Note, NoteKind, ReadError};

/// Type and length of an entry.
const HEADER: usize = 5;

/// An entry that can be applied.
#[derive(Debug)]
pub struct Unpacked {
    /// Where it stands in the segment.
    pub at: u64,
    /// Its type.
    pub code: u8,
    /// What it says.
    pub body: Vec<u8>,
}

/// Reads a segment.
pub struct Segment<R> {
    stream: Stream<R>,
    is_last: bool,
    /// The current entry with its header, as it stands in the segment.
    packed: Vec<u8>,
}

impl<R: Read> Segment<R> {
    /// `is_last` says that no later segment holds anything: only there an entry may be cut short, as a crash leaves it.
    pub fn new(segment: R, is_last: bool) -> Self {
        Self {
            stream: Stream::new(segment, 0),
            is_last,
            packed: Vec::new(),
        }
    }

    /// The next entry, unpacked in the place of what is in `body`.
    pub fn next(
        &mut self,
        mut body: Vec<u8>,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Unpacked>, ReadError> {
        while skip_zeros(&mut self.stream, notes)? {
            let at = self.stream.at();
            let damage = |kind| Error::new(at, kind);
            let missing = self.load()?;
            if missing > 0 {
                self.torn(missing).map_err(damage)?;
                let bytes = self.stream.at() - at;
                notes.push(Note::new(at, NoteKind::TornEntry { bytes }));
                continue;
            }
            let payload = self.packed.get(HEADER..).unwrap_or_default();
            snappy::replace(payload, &mut body).map_err(damage)?;
            let code = self.code();
            return Ok(Some(Unpacked { at, code, body }));
        }
        Ok(None)
    }

    /// Load the next entry; how many bytes of it are missing.
    fn load(&mut self) -> Result<usize, ReadError> {
        let at = self.stream.at();
        self.packed.clear();
        let mut header = self.stream.by_ref().take(HEADER as u64);
        header.read_to_end(&mut self.packed)?;
        let code = self.code();
        if !entry::is_type(code) {
            return Err(Error::new(at, ErrorKind::EntryType(code)).into());
        }
        let Some(length) = self.length() else {
            return Ok(HEADER - self.packed.len());
        };
        // Memory grows with what is read, not with what is announced.
        let mut payload = self.stream.by_ref().take(length as u64);
        let n = payload.read_to_end(&mut self.packed)?;
        Ok(length - n)
    }

    /// Whether a cut entry is what a crash leaves, rather than a whole one whose length is damaged.
    fn torn(&self, missing: usize) -> Result<(), ErrorKind> {
        if !self.is_last {
            return Err(ErrorKind::Truncated { missing });
        }
        match (self.length(), self.packed.get(HEADER..)) {
            (Some(length), Some(payload)) => snappy::plausible(length, payload),
            _ => Ok(()),
        }
    }

    /// The type of the loaded entry.
    fn code(&self) -> u8 {
        self.packed.first().copied().unwrap_or_default()
    }

    /// The length that the loaded entry announces, if its header is whole.
    fn length(&self) -> Option<usize> {
        let (_, length) = self.packed.first_chunk::<HEADER>()?.split_first()?;
        let length = length.first_chunk().copied().map(u32::from_be_bytes)?;
        usize::try_from(length).ok()
    }
}

/// Whether an entry follows, behind zeros if there are any.
///
/// After a crash the server cuts the torn entry off, but goes on writing where it ended: the gap reads as zeros.
fn skip_zeros(segment: &mut Stream<impl Read>, notes: &mut Vec<Note>) -> io::Result<bool> {
    let at = segment.at();
    while let Some(0) = segment.peek()? {
        let bytes = segment.fill_buf()?;
        let n = bytes.iter().take_while(|byte| **byte == 0).count();
        segment.consume(n);
    }
    let more = segment.peek()?.is_some();
    match (segment.at() - at, more) {
        (0, _) => {}
        (bytes, true) => notes.push(Note::new(at, NoteKind::ZeroGap { bytes })),
        (bytes, false) => notes.push(Note::new(at, NoteKind::ZeroTail { bytes })),
    }
    Ok(more)
}
