//! Bytes in the making.

use std::mem;

use super::{Given, Page};

/// Memory grows in steps of so many bytes.
const STEP: usize = 64 << 10;
/// How long a buffer becomes without being moved.
const LONG: usize = 1 << 20;

/// Bytes that grow, in a large page as long as they fit it. What is cleared keeps its memory.
#[derive(Debug, Default)]
pub struct Buffer {
    /// Longer than what has been written; what lies behind its end is of no meaning.
    own: Vec<u8>,
    /// Where all is instead, at the beginning of what is free.
    page: Option<Page>,
    len: usize,
}

impl Buffer {
    /// One in a page, where there is one. What is written there can be given away.
    pub fn in_page(page: Option<Page>) -> Self {
        Self {
            page,
            ..Self::default()
        }
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        self.room().get(..self.len).unwrap_or_default()
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

    /// All memory there is, that of what has been written first.
    fn room(&self) -> &[u8] {
        self.page.as_ref().map_or(&self.own, Page::free)
    }

    /// Memory of so many bytes or more, that of what has been written first.
    #[inline]
    fn room_for(&mut self, n: usize) -> &mut [u8] {
        if self.room().len() < n {
            self.grow(n);
        }
        self.page.as_mut().map_or(&mut *self.own, Page::free_mut)
    }

    #[cold]
    fn grow(&mut self, n: usize) {
        let n = n.next_multiple_of(STEP);
        let own = self.own();
        if own.capacity() < n {
            // What grows at once is not copied, and what is not used need not be there.
            own.reserve(LONG.max(n) - own.len());
        }
        own.resize(n, 0);
    }

    /// Memory of its own, to which what has been written moves.
    fn own(&mut self) -> &mut Vec<u8> {
        if let Some(page) = self.page.take() {
            let there = page.free().get(..self.len);
            self.own = there.unwrap_or_default().to_vec();
        }
        &mut self.own
    }

    /// Append bytes.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        let (start, end) = (self.len, self.len + bytes.len());
        let place = self.room_for(end).get_mut(start..end);
        place.unwrap_or_default().copy_from_slice(bytes);
        self.len = end;
    }

    /// Append what `print` puts behind the end, in memory of its own.
    pub fn with(&mut self, print: impl FnOnce(&mut Vec<u8>)) {
        let len = self.len;
        let own = self.own();
        own.truncate(len);
        print(own);
        self.len = own.len();
    }

    /// The end, and so many bytes or more behind it, of no meaning. How many of them are written is to be added to the
    /// end.
    #[inline]
    pub fn behind(&mut self, n: usize) -> (&mut usize, &mut [u8]) {
        let start = self.len;
        if self.room().len() < start + n {
            self.grow(start + n);
        }
        let room = self.page.as_mut().map_or(&mut *self.own, Page::free_mut);
        (&mut self.len, room.get_mut(start..).unwrap_or_default())
    }

    /// So many bytes of no meaning, in the place of what has been written.
    pub fn replace(&mut self, n: usize) -> &mut [u8] {
        self.len = 0;
        let (end, room) = self.behind(n);
        *end = n;
        room.get_mut(..n).unwrap_or_default()
    }

    /// Keep of what has been written only what stands at `start` and behind, in front.
    pub fn keep_from(&mut self, start: usize) {
        let there = start.min(self.len)..self.len;
        self.len = there.len();
        self.room_for(0).copy_within(there, 0);
    }

    /// What has been written, given away if it can be; then the buffer goes on behind it, empty.
    pub fn give(&mut self) -> Option<Given<'_>> {
        let page = self.page.as_mut()?;
        Some(page.give(mem::take(&mut self.len)))
    }

    /// The page where it is; what has been written there is forgotten.
    pub fn take_page(&mut self) -> Option<Page> {
        let page = self.page.take()?;
        self.len = 0;
        Some(page)
    }

    /// How much memory of its own it has.
    pub fn capacity(&self) -> usize {
        self.own.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pages::Supply;

    /// What is done to a buffer.
    #[derive(Clone, Debug)]
    enum Act {
        Push(usize),
        Behind(usize, usize),
        Print(usize),
        Replace(usize),
        Keep(prop::sample::Index),
        Clear,
        Give,
    }

    fn act() -> impl Strategy<Value = Act> {
        let len = || prop_oneof![0..300usize, 60_000..70_000usize, 600_000..700_000usize];
        prop_oneof![
            4 => len().prop_map(Act::Push),
            4 => (len(), 0..300usize).prop_map(|(n, more)| Act::Behind(n, more)),
            1 => (0..300usize).prop_map(Act::Print),
            1 => len().prop_map(Act::Replace),
            1 => any::<prop::sample::Index>().prop_map(Act::Keep),
            1 => Just(Act::Clear),
            4 => Just(Act::Give),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn a_buffer_holds_what_was_written_wherever_it_is(acts in prop::collection::vec(act(), 0..40), is_in_page: bool) {
            let long: Vec<u8> = (0..1_000_000u32).map(|i| (i / 251 * 31 + i) as u8).collect();
            let new = || Buffer::in_page(Supply::any(6).page(1).filter(|_| is_in_page));
            let (mut buffer, mut model) = (new(), Vec::new());
            for (act, n) in acts.into_iter().zip(0..) {
                match act {
                    Act::Push(len) => {
                        buffer.push(&long[n..n + len]);
                        model.extend_from_slice(&long[n..n + len]);
                    }
                    Act::Behind(len, more) => {
                        let (end, room) = buffer.behind(len + more);
                        room[..len].copy_from_slice(&long[n..n + len]);
                        room[len..len + more].fill(b'?');
                        *end += len;
                        model.extend_from_slice(&long[n..n + len]);
                    }
                    Act::Print(len) => {
                        buffer.with(|out| out.extend_from_slice(&long[n..n + len]));
                        model.extend_from_slice(&long[n..n + len]);
                    }
                    Act::Replace(len) => {
                        buffer.replace(len).copy_from_slice(&long[n..n + len]);
                        model = long[n..n + len].to_vec();
                    }
                    Act::Keep(from) => {
                        let from = from.index(model.len() + 1);
                        buffer.keep_from(from);
                        model.drain(..from);
                    }
                    Act::Clear => {
                        buffer.clear();
                        model.clear();
                    }
                    Act::Give => {
                        match buffer.give() {
                            Some(given) => prop_assert_eq!(&model, given.bytes()),
                            None => prop_assert_eq!(&model, buffer.bytes()),
                        }
                        buffer.clear();
                        model.clear();
                        if is_in_page && buffer.page.is_none() {
                            buffer = new();
                        }
                    }
                }
                prop_assert_eq!((model.len(), model.is_empty()), (buffer.len(), buffer.is_empty()));
                prop_assert_eq!(&model, buffer.bytes());
            }
        }
    }
}
