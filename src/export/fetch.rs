//! Blocks of a unit, read from their files: those that lie behind each other are read at once.

use std::ops::Range;

use crate::tsm::ReadError;
use crate::tsm::index::Entry;
use crate::tsm::shard::Member;

use super::unit::{Origin, Piece};

/// Bytes that are read ahead, over all files.
const AHEAD: u64 = 256 << 10;
/// Files that are read ahead of; of more, block by block.
const WINDOWS: usize = 16;
/// How many pieces are looked at for one that lies behind those read.
const LOOK: usize = 512;

/// Bytes of one file.
#[derive(Debug, Default)]
struct Window {
    file: usize,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Where the block is in the window.
    fn place(&self, file: usize, entry: &Entry) -> Option<Range<usize>> {
        let start = usize::try_from(entry.offset.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(entry.size as usize)?;
        (self.file == file && end <= self.bytes.len()).then_some(start..end)
    }
}

/// Reads blocks, with memory that is used again.
#[derive(Debug, Default)]
pub struct Fetcher {
    windows: Vec<Window>,
}

impl Fetcher {
    /// Forget what was read: another unit begins, maybe of other files.
    pub fn clear(&mut self) {
        self.windows.iter_mut().for_each(|window| {
            window.file = usize::MAX;
        });
    }

    /// Give back memory beyond so many bytes, and what was read into it.
    pub fn shrink(&mut self, most: usize) {
        if self.capacity() > most {
            self.windows.clear();
        }
    }

    /// How much memory it takes.
    pub fn capacity(&self) -> usize {
        self.windows
            .iter()
            .map(|window| window.bytes.capacity())
            .sum()
    }

    /// The frame of the first one of `pieces`, which is a block of `member`, the file at position `file` of `files`.
    /// The pieces behind it are needed next. `read` grows by the bytes that were read.
    pub fn frame(
        &mut self,
        member: &Member,
        (file, files): (usize, usize),
        pieces: &[Piece],
        read: &mut u64,
    ) -> Result<&[u8], ReadError> {
        let Some(Piece { entry, .. }) = pieces.first() else {
            return Ok(&[]);
        };
        let at = file % WINDOWS;
        if self.windows.len() <= at {
            self.windows.resize_with(at + 1, Window::default);
        }
        let Some(window) = self.windows.get_mut(at) else {
            return Ok(&[]);
        };
        if window.place(file, entry).is_none() {
            let most = if files <= WINDOWS {
                AHEAD / files.max(1) as u64
            } else {
                0
            };
            window.file = file;
            window.start = entry.offset;
            let len = ahead(file, pieces, most);
            // Who cannot give all of it may still give the block.
            let alone = u64::from(entry.size);
            let blocks = member.file.blocks();
            let is_inside = entry.fault(&blocks).is_none() && len <= blocks.end - entry.offset;
            let mut done = Ok(());
            if len <= alone
                || !is_inside
                || member
                    .file
                    .bytes(entry.offset, len, &mut window.bytes)
                    .is_err()
            {
                done = member.file.frame(entry, &mut window.bytes);
            }
            if let Err(err) = done {
                window.file = usize::MAX;
                return Err(err);
            }
            *read += window.bytes.len() as u64;
        }
        let place = window.place(file, entry).unwrap_or_default();
        Ok(window.bytes.get(place).unwrap_or_default())
    }
}

/// How many bytes from the first piece on belong to it and to pieces that follow it in the file, `most` if they are
/// more than one.
fn ahead(file: usize, pieces: &[Piece], most: u64) -> u64 {
    let own = |piece: &&Piece| matches!(piece.origin, Origin::File(of, _) if of == file);
    let mut own = pieces.iter().take(LOOK).filter(own);
    let Some(first) = own.next() else {
        return 0;
    };
    let start = first.entry.offset;
    let mut len = u64::from(first.entry.size);
    for Piece { entry, .. } in own {
        let more = len + u64::from(entry.size);
        if Some(entry.offset) != start.checked_add(len) || more > most {
            break;
        }
        len = more;
    }
    len
}
