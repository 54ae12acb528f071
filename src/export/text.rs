//! Bytes in the making: a buffer with room behind its end, so that short pieces are copied in steps of fixed size.

use std::mem;

use crate::lp::cell::Cell;
use crate::pages::{Given, Page};

/// Bytes of a step.
pub const BLOCK: usize = 32;

/// Common text of a line of one number that is put with it at once.
pub const WIDE: usize = 3 * BLOCK;

/// Room for such a line, and more than any step reaches behind the end of what it copies.
const SLACK: usize = WIDE + 2 * BLOCK;

/// How long a text becomes without being moved.
const LONG: usize = 1 << 20;

/// Text that grows. What is cleared keeps its memory.
#[derive(Debug, Default)]
pub struct Text {
    /// Longer than the text; what lies behind its end is of no meaning.
    own: Vec<u8>,
    /// Where the text is instead, at the beginning of what is free.
    page: Option<Page>,
    len: usize,
}

impl Text {
    /// Text that can be given away.
    pub fn in_page(page: Page) -> Self {
        Self {
            page: Some(page),
            ..Self::default()
        }
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        self.room().get(..self.len).unwrap_or_default()
    }

    /// Where it is, and what lies behind its end.
    fn room(&self) -> &[u8] {
        self.page.as_ref().map_or(&self.own, Page::free)
    }

    /// How much has been written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forget what has been written, keep the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// What has been written, given away if it can be; then the text goes on behind it, empty.
    pub fn give(&mut self) -> Option<Given<'_>> {
        let page = self.page.as_mut()?;
        Some(page.give(mem::take(&mut self.len)))
    }

    /// The page where it is. What has been written and not been given is forgotten.
    pub fn into_page(self) -> Option<Page> {
        self.page
    }

    /// How much memory it takes.
    pub fn capacity(&self) -> usize {
        self.own.capacity() + self.page.as_ref().map_or(0, Page::size)
    }

    /// Whether so much can be written where it is. Memory of its own grows.
    pub fn has_room(&self, n: usize) -> bool {
        self.page.is_none() || self.room().len() >= self.len + n + SLACK
    }

    /// Append bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut pen = self.pen(bytes.len());
        pen.with(|room| {
            let place = room.get_mut(..bytes.len());
            place.unwrap_or_default().copy_from_slice(bytes);
            bytes.len()
        });
        pen.done();
    }

    /// Append what `print` puts behind the end, in memory of its own.
    pub fn with(&mut self, print: impl FnOnce(&mut Vec<u8>)) {
        let len = self.len;
        let own = self.own();
        own.truncate(len);
        print(own);
        self.len = own.len();
    }

    /// A pen for at most `n` more bytes.
    pub fn pen(&mut self, n: usize) -> Pen<'_> {
        let wanted = self.len + n + SLACK;
        if self.room().len() < wanted {
            self.grow(wanted);
        }
        let bytes = self.page.as_mut().map_or(&mut *self.own, Page::free_mut);
        let len = &mut self.len;
        let rest = bytes.get_mut(*len..).unwrap_or_default();
        Pen {
            room: rest.len(),
            rest,
            len,
        }
    }

    #[cold]
    fn grow(&mut self, wanted: usize) {
        let wanted = wanted.next_multiple_of(1 << 16);
        let own = self.own();
        if own.capacity() < wanted {
            // What grows at once is not copied, and what is not used need not be there.
            own.reserve(LONG.max(wanted) - own.len());
        }
        own.resize(wanted, 0);
    }

    /// Memory of its own, to which what has been written moves.
    fn own(&mut self) -> &mut Vec<u8> {
        if let Some(page) = self.page.take() {
            let there = page.free().get(..self.len);
            self.own = there.unwrap_or_default().to_vec();
        }
        &mut self.own
    }
}

/// Writes behind the end of a text; what it wrote counts once it is done.
///
/// Writing more than was asked for is a mistake in this program, and a panic.
#[derive(Debug)]
pub struct Pen<'a> {
    rest: &'a mut [u8],
    room: usize,
    len: &'a mut usize,
}

impl<'a> Pen<'a> {
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
    use proptest::prelude::*;

    use super::*;
    use crate::pages::Supply;

    #[test]
    fn steps_reach_behind_the_end_and_leave_nothing_there() {
        let mut text = Text::default();
        text.push(b"ab");
        let long: Vec<u8> = (0..160).collect();
        let block: [u8; BLOCK] = *b"abcdefghijklmnopqrstuvwxyz012345";
        for n in [0, 1, 31, 32, 33, 64, 65, 128] {
            let mut pen = text.pen(n + 96);
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
        let mut text = Text::default();
        let mut pen = text.pen(1);
        (0..1 << 12).for_each(|_| pen.block(&[0; BLOCK]));
    }

    #[test]
    #[should_panic(expected = "more text than was asked for")]
    fn nobody_puts_more_than_there_is_room_for() {
        let mut text = Text::default();
        text.pen(1).with(|place| place.len() + 1);
    }

    #[test]
    fn what_was_pushed_stands_behind_what_was_put() {
        let mut text = Text::default();
        let mut pen = text.pen(100_000);
        (0..100_000).for_each(|_| pen.part(&[b'x'; BLOCK], 1));
        pen.done();
        text.push(b"yz");
        assert_eq!(100_002, text.len());
        assert!(text.bytes().ends_with(b"xyz"));
    }

    /// What is done to a text.
    #[derive(Clone, Debug)]
    enum Step {
        Push(usize),
        Pen(usize, usize),
        Print(usize),
        Clear,
        Take,
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = || prop_oneof![0..300usize, 60_000..70_000usize, 600_000..700_000usize];
        prop_oneof![
            4 => len().prop_map(Step::Push),
            4 => (len(), 0..300usize).prop_map(|(n, more)| Step::Pen(n, more)),
            1 => (0..300usize).prop_map(Step::Print),
            1 => Just(Step::Clear),
            4 => Just(Step::Take),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_text_in_large_pages_is_what_it_is_in_memory_of_its_own(steps in prop::collection::vec(step(), 0..40)) {
            let long: Vec<u8> = (0..1_000_000u32).map(|i| (i / 251 * 31 + i) as u8).collect();
            let page = || Supply::default().page().map(Text::in_page).unwrap();
            let (mut text, mut model, mut n) = (page(), Vec::new(), 0);
            for step in steps {
                n += 1;
                match step {
                    Step::Push(len) => {
                        text.push(&long[n..n + len]);
                        model.extend_from_slice(&long[n..n + len]);
                    }
                    Step::Pen(len, more) => {
                        let mut pen = text.pen(len + more);
                        pen.with(|room| {
                            room[..len].copy_from_slice(&long[n..n + len]);
                            len
                        });
                        pen.done();
                        model.extend_from_slice(&long[n..n + len]);
                    }
                    Step::Print(len) => {
                        text.with(|out| out.extend_from_slice(&long[n..n + len]));
                        model.extend_from_slice(&long[n..n + len]);
                    }
                    Step::Clear => {
                        text.clear();
                        model.clear();
                    }
                    Step::Take => {
                        match text.give() {
                            Some(given) => prop_assert_eq!(&model, given.bytes()),
                            None => prop_assert_eq!(&model, text.bytes()),
                        }
                        text.clear();
                        model.clear();
                        if !text.has_room(1000) {
                            text = page();
                        }
                    }
                }
                prop_assert_eq!(model.len(), text.len());
                prop_assert_eq!(model.is_empty(), text.is_empty());
                prop_assert_eq!(&model, text.bytes());
            }
        }
    }
}
