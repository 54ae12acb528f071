//! Memory in the large pages of Linux, of which a pipe is given what is written there without a copy.
//!
//! A pipe that is given memory (`vmsplice`) refers to it until its reader has copied it, and a reader that hands it on in
//! the same way (`splice`, `tee`) for as long as it likes. So what was given is never written again: pages are written
//! once, from their beginning to their end, and then given back to the system, which keeps what somebody refers to.
//! New memory for all that is written would cost more than the copy; in pages of 2 MiB it costs a fraction of it.

mod buffer;

pub use buffer::Buffer;

use std::collections::VecDeque;
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapOptions};

/// A large page, on all machines whose small ones have 4 KiB.
const LARGE: usize = 2 << 20;
/// What a pipe holds at most, unless somebody else has made it larger.
const PIPE: usize = 1 << 20;
/// What Linux says of its large pages: how large they are, and who gets them.
const SYSTEM: &str = "/sys/kernel/mm/transparent_hugepage";

/// Whoever asks gets a page, unless many are there.
///
/// One that is spent is given back to the system when a new one is asked for, and while there may be more not before the
/// pipe has passed on what it was given of it. So it is free at once, and the new one is the same, which is in the cache
/// of the processor.
#[derive(Debug)]
pub struct Supply {
    /// So many pages may be there at a time.
    most: usize,
    /// How much has been given away. All pages that are there hold it.
    given: Arc<AtomicUsize>,
    idle: Mutex<Idle>,
}

/// Pages that nobody has.
#[derive(Debug, Default)]
struct Idle {
    /// Perhaps with room.
    begun: Vec<Page>,
    /// Without, and how much had been given away when that was seen.
    spent: VecDeque<(usize, Page)>,
}

impl Supply {
    /// One of so many pages at a time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            given: Arc::default(),
            idle: Mutex::default(),
        }
    }

    /// One of so many pages at a time, `None` where the system has no large pages for us: in others all this is slower
    /// than a copy.
    pub fn of_system(most: usize) -> Option<Self> {
        let says = |name: &str| fs::read_to_string(format!("{SYSTEM}/{name}")).ok();
        let is_large = says("hpage_pmd_size")?.trim() == LARGE.to_string();
        let is_ours = !says("enabled")?.contains("[never]");
        (is_large && is_ours).then(|| Self::new(most))
    }

    /// A page of which so much is free.
    pub fn page(&self, room: usize) -> Option<Page> {
        let mut idle = self.idle();
        let given = self.given.load(Ordering::Relaxed);
        while let Some(page) = idle.begun.pop() {
            if page.free().len() >= room {
                return Some(page);
            }
            idle.spent.push_back((given, page));
        }
        let is_full = || Arc::strong_count(&self.given) > self.most;
        let is_passed_on = |(at, _): &(usize, Page)| given.wrapping_sub(*at) >= PIPE;
        if is_full() || idle.spent.front().is_some_and(is_passed_on) {
            idle.spent.pop_front();
        }
        if is_full() {
            return None;
        }
        // It begins at a multiple of its size. What is not touched is not there.
        let memory = MmapOptions::new().len(2 * LARGE).map_anon().ok()?;
        let start = memory.as_ptr().align_offset(LARGE).min(LARGE);
        #[cfg(target_os = "linux")]
        let _ = memory.advise_range(memmap2::Advice::HugePage, start, LARGE);
        Some(Page {
            memory,
            free: start..start + LARGE,
            given: Arc::clone(&self.given),
        })
    }

    /// Have a page back.
    pub fn take_back(&self, page: Page) {
        self.idle().begun.push(page);
    }

    /// Give back to the system what nobody has.
    pub fn release(&self) {
        *self.idle() = Idle::default();
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that is written once.
#[derive(Debug)]
pub struct Page {
    memory: MmapMut,
    /// What has not been given away.
    free: Range<usize>,
    given: Arc<AtomicUsize>,
}

impl Page {
    /// What has not been given away; zero where nobody has written.
    pub fn free(&self) -> &[u8] {
        self.memory.get(self.free.clone()).unwrap_or_default()
    }

    /// The same, to write.
    pub fn free_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.free.clone()).unwrap_or_default()
    }

    /// Give the first `n` bytes of what is free away.
    pub fn give(&mut self, n: usize) -> Given<'_> {
        let from = self.free.start;
        self.free.start = self.free.end.min(from + n);
        self.given
            .fetch_add(self.free.start - from, Ordering::Relaxed);
        Given(&self.memory[from..self.free.start])
    }
}

/// Bytes that are never written again, not even when the memory is given back: who is given them need not copy them.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a>(&'a [u8]);

impl<'a> Given<'a> {
    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Those behind the first `n`.
    pub fn behind(self, n: usize) -> Self {
        Self(self.0.get(n..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_free_and_what_is_free_is_not_given() {
        let mut page = Supply::new(6).page(LARGE).unwrap();
        assert_eq!(LARGE, page.free().len());
        assert_eq!(0, page.free().as_ptr().align_offset(LARGE));
        page.free_mut()[..6].copy_from_slice(b"abcdef");
        assert_eq!(b"abcd", page.give(4).bytes());
        assert_eq!(b"ef\0", &page.free()[..3]);
        assert_eq!(LARGE - 4, page.give(LARGE).bytes().len());
        assert!(page.free().is_empty());
        assert!(page.give(1).bytes().is_empty());
    }

    #[test]
    fn no_more_than_a_few_are_there_at_a_time() {
        let supply = Supply::new(6);
        let mut all: Vec<_> = std::iter::from_fn(|| supply.page(1)).collect();
        assert_eq!(6, all.len());
        all.pop();
        assert!(supply.page(1).is_some());
    }

    #[test]
    fn what_is_left_of_a_page_is_used_as_long_as_it_suffices() {
        let supply = Supply::new(6);
        let mut page = supply.page(LARGE).unwrap();
        page.give(LARGE - 10);
        supply.take_back(page);
        let page = supply.page(10).unwrap();
        assert_eq!(10, page.free().len());
        supply.take_back(page);
        assert_eq!(LARGE, supply.page(11).unwrap().free().len());
        // It will not do any more.
        assert_eq!(LARGE, supply.page(1).unwrap().free().len());
    }

    #[test]
    fn one_that_is_spent_is_there_until_a_pipe_has_passed_it_on_or_there_would_be_too_many() {
        let supply = Supply::new(6);
        let there = || Arc::strong_count(&supply.given) - 1;
        let mut all: Vec<_> = (0..2).filter_map(|_| supply.page(LARGE)).collect();
        for mut page in all.drain(..) {
            page.give(1);
            supply.take_back(page);
        }
        all.extend(supply.page(LARGE));
        assert_eq!(3, there());
        all[0].give(PIPE);
        // One for one.
        for _ in 0..2 {
            all.extend(supply.page(LARGE));
            assert_eq!(3, there());
        }
        all.extend(std::iter::from_fn(|| supply.page(LARGE)));
        assert_eq!(6, there());
        for mut page in all {
            page.give(1);
            supply.take_back(page);
        }
        // Nothing is given any more, and all are spent.
        for _ in 0..20 {
            let mut page = supply.page(LARGE).unwrap();
            page.give(1);
            supply.take_back(page);
            assert_eq!(6, there());
        }
    }

    #[test]
    fn what_nobody_has_can_be_given_back_at_once() {
        let supply = Supply::new(6);
        let all: Vec<_> = std::iter::from_fn(|| supply.page(1)).collect();
        for (i, mut page) in all.into_iter().enumerate() {
            page.give(i % 2 * LARGE);
            supply.take_back(page);
        }
        supply.release();
        assert_eq!(1, Arc::strong_count(&supply.given));
    }
}
