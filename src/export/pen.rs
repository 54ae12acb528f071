//! Writes into a buffer with room behind the end of what is written, so that short pieces are copied in steps of fixed
//! size.

use std::mem;

use crate::lp::cell::Cell;
use crate::pages::Buffer;

/// Bytes of a step.
pub const BLOCK: usize = 32;

/// Common text of a line of one number that is put with it at once.
pub const WIDE: usize = 3 * BLOCK;

/// Room for such a line, and more than any step reaches behind the end of what it copies.
const SLACK: usize = WIDE + 2 * BLOCK;

/// Writes behind the end of a buffer; what it wrote counts once it is done.
///
/// Writing more than was asked for is a mistake in this program, and a panic.
#[derive(Debug)]
pub struct Pen<'a> {
    rest: &'a mut [u8],
    room: usize,
    len: &'a mut usize,
}

impl<'a> Pen<'a> {
    /// For at most `n` more bytes.
    pub fn new(out: &'a mut Buffer, n: usize) -> Self {
        let (len, rest) = out.behind(n + SLACK);
        let room = rest.len();
        Self { rest, room, len }
    }

    /// Write what `put` puts into the next bytes, which is as much as it returns, at most `2 * BLOCK - 2`.
    #[inline(always)]
    fn step(&mut self, put: impl FnOnce(&mut [u8; 2 * BLOCK]) -> usize) {
        let rest = mem::take(&mut self.rest);
        let Some(place) = rest.first_chunk_mut() else {
            no_room();
        };
        let n = put(place);
        self.rest = rest.get_mut(n..).unwrap_or_default();
    }

    /// Put a line at once: `len` bytes of common text, at most `WIDE`, which are all of these blocks but for the end of the
    /// last one, the first `n` bytes of a cell, and the first `m` of another one, each less than a block.
    #[inline(always)]
    pub fn line(
        &mut self,
        (common, len): (&[[u8; BLOCK]], usize),
        (cell, n): (&Cell, usize),
        (end, m): (&Cell, usize),
    ) {
        let rest = mem::take(&mut self.rest);
        let Some(place) = rest.first_chunk_mut::<SLACK>() else {
            no_room();
        };
        let blocks = place.as_chunks_mut().0.iter_mut();
        blocks.zip(common).for_each(|(to, from)| *to = *from);
        let at = len.min(WIDE);
        copy(cell, place, at);
        let at = at + n % BLOCK;
        copy(end, place, at);
        self.rest = rest.get_mut(at + m % BLOCK..).unwrap_or_default();
    }

    /// Put a whole block.
    #[inline(always)]
    pub fn block(&mut self, block: &[u8; BLOCK]) {
        self.step(|place| {
            copy(block, place, 0);
            BLOCK
        });
    }

    /// Put the first `n` bytes of a block, less than all of them.
    #[inline(always)]
    pub fn part(&mut self, block: &[u8; BLOCK], n: usize) {
        self.step(|place| {
            copy(block, place, 0);
            n % BLOCK
        });
    }

    /// Put the first `n` bytes of a block, less than all of them, and behind them the first `m` of a cell.
    #[inline(always)]
    pub fn pair(&mut self, block: &[u8; BLOCK], n: usize, cell: &Cell, m: usize) {
        self.step(|place| {
            copy(block, place, 0);
            copy(cell, place, n % BLOCK);
            n % BLOCK + m % BLOCK
        });
    }

    /// Put the first `n` bytes of a cell.
    #[inline(always)]
    pub fn cell(&mut self, cell: &Cell, n: usize) {
        self.step(|place| {
            copy(cell, place, 0);
            n % BLOCK
        });
    }

    /// Put what `put` writes at the beginning of the room that is left, which is as much as it returns.
    #[inline(always)]
    pub fn with(&mut self, put: impl FnOnce(&mut [u8]) -> usize) {
        let rest = mem::take(&mut self.rest);
        let n = put(rest);
        let Some(rest) = rest.get_mut(n..) else {
            no_room();
        };
        self.rest = rest;
    }

    /// Add what was put to the text.
    pub fn done(self) {
        *self.len += self.room - self.rest.len();
    }
}

/// A copy of fixed size.
#[inline(always)]
fn copy<const N: usize, const M: usize>(bytes: &[u8; N], place: &mut [u8; M], at: usize) {
    if let Some(place) = place.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = *bytes;
    }
}

#[cold]
fn no_room() -> ! {
    panic!("more text than was asked for");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_reach_behind_the_end_and_leave_nothing_there() {
        let mut text = Buffer::default();
        text.push(b"ab");
        let long: Vec<u8> = (0..160).collect();
        let block: [u8; BLOCK] = *b"abcdefghijklmnopqrstuvwxyz012345";
        for n in [0, 1, 31, 32, 33, 64, 65, 128] {
            let mut pen = Pen::new(&mut text, n + 96);
            pen.block(&block);
            pen.part(&block, n % 32);
            pen.with(|place| {
                place[..n].copy_from_slice(&long[..n]);
                n
            });
            pen.pair(&block, 31 - n % 32, b"ABCDEFGHIJKLMNOPQRSTUVWX", n % 25);
            pen.cell(b"ABCDEFGHIJKLMNOPQRSTUVWX", n % 25);
            pen.done();
            let expected = [
                b"ab",
                &block[..],
                &block[..n % 32],
                &long[..n],
                &block[..31 - n % 32],
                &b"ABCDEFGHIJKLMNOPQRSTUVWX"[..n % 25],
                &b"ABCDEFGHIJKLMNOPQRSTUVWX"[..n % 25],
            ];
            assert_eq!(expected.concat(), text.bytes(), "{n}");
            text.clear();
            text.push(b"ab");
        }
    }

    #[test]
    #[should_panic(expected = "more text than was asked for")]
    fn nothing_is_lost_where_there_is_no_room() {
        let mut text = Buffer::default();
        let mut pen = Pen::new(&mut text, 1);
        (0..1 << 12).for_each(|_| pen.block(&[0; BLOCK]));
    }

    #[test]
    #[should_panic(expected = "more text than was asked for")]
    fn nobody_puts_more_than_there_is_room_for() {
        let mut text = Buffer::default();
        Pen::new(&mut text, 1).with(|place| place.len() + 1);
    }

    #[test]
    fn what_was_pushed_stands_behind_what_was_put() {
        let mut text = Buffer::default();
        let mut pen = Pen::new(&mut text, 100_000);
        (0..100_000).for_each(|_| pen.part(&[b'x'; BLOCK], 1));
        pen.done();
        text.push(b"yz");
        assert_eq!(100_002, text.len());
        assert!(text.bytes().ends_with(b"xyz"));
    }
}
