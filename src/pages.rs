//! Memory in the large pages of Linux, of which a pipe is given what is written there without a copy.
//!
//! A pipe that is given memory (`vmsplice`) refers to it until its reader has copied it, and a reader that hands it on in
//! the same way (`splice`, `tee`) for as long as it likes. So what was given is never written again: pages are written
//! once, from their beginning to their end, and then given back to the system, which keeps what somebody refers to.
//! New memory for all that is written would cost more than the copy; in pages of 2 MiB it costs a fraction of it. So they
//! are used only as long as the system has them: it may be set up without, or have no such piece of memory free. A reader
//! that keeps a few bytes for long without copying them keeps all of their page.

mod buffer;

pub use buffer::Buffer;

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapMut, MmapOptions};

/// A large page, on all machines whose small ones have 4 KiB.
pub const LARGE: usize = 2 << 20;
/// What a pipe holds at most, unless somebody else has made it larger.
const PIPE: usize = 1 << 20;
/// Whoever was not given a large page so often, one time after the other, need not ask again.
const MISSES: usize = 4;

/// Whoever asks gets a page, unless many are there.
///
/// One that is spent is given back to the system when a new one is asked for, and while there may be more not before the
/// pipe has passed on what it was given of it. So it is free at once, and the new one is the same, which is in the cache
/// of the processor.
#[derive(Debug)]
pub struct Supply {
    /// So many pages may be there at a time.
    most: usize,
    /// Memory that is no large page will do, as tests have it.
    takes_small: bool,
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
    /// How often the system had no large page, since it had one.
    misses: usize,
    /// Memory is needed elsewhere.
    is_scarce: bool,
}

impl Supply {
    /// One of so many pages at a time, and of none where the system has no large ones: in others all this is slower than
    /// a copy.
    pub fn large(most: usize) -> Self {
        Self {
            most,
            takes_small: false,
            given: Arc::default(),
            idle: Mutex::default(),
        }
    }

    /// One of so many pages at a time, wherever that is.
    #[cfg(test)]
    pub fn any(most: usize) -> Self {
        Self {
            takes_small: true,
            ..Self::large(most)
        }
    }

    /// A page of which so much is free.
    pub fn page(&self, room: usize) -> Option<Page> {
        let next = self.idle().page(room, self.most, &self.given);
        // What takes its time nobody is to wait for: giving back, and the first touch.
        let (given, old) = match next {
            Next::Begun(page) => return Some(page),
            Next::New(given, old) => (given, old),
        };
        drop(old);
        let mut page = Page::map(given?)?;
        let will_do = self.takes_small || page.is_large();
        self.idle().had(will_do);
        will_do.then_some(page)
    }

    /// Have a page back.
    pub fn take_back(&self, page: Page) {
        let mut idle = self.idle();
        if !idle.is_scarce {
            idle.begun.push(page);
        }
    }

    /// Whether memory is needed elsewhere: then nobody gets a page, and those that nobody has are given back.
    pub fn spare(&self, is_scarce: bool) {
        self.idle().is_scarce = is_scarce;
        if is_scarce {
            self.release();
        }
    }

    /// Give back to the system what nobody has.
    pub fn release(&self) {
        let mut idle = self.idle();
        let all = (mem::take(&mut idle.begun), mem::take(&mut idle.spent));
        drop(idle);
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What there is for whoever asks.
enum Next {
    Begun(Page),
    /// A part of all that were given away, if there may be a new one, and one to give back before.
    New(Option<Arc<AtomicUsize>>, Option<Page>),
}

impl Idle {
    /// What there is for whoever wants so much room, if there may be so many pages.
    fn page(&mut self, room: usize, most: usize, all: &Arc<AtomicUsize>) -> Next {
        if self.is_scarce {
            return Next::New(None, None);
        }
        let given = all.load(Ordering::Relaxed);
        while let Some(page) = self.begun.pop() {
            if page.free().len() >= room {
                return Next::Begun(page);
            }
            self.spent.push_back((given, page));
        }
        let there = Arc::strong_count(all) - 1;
        let is_passed_on = |(at, _): &(usize, Page)| given.wrapping_sub(*at) >= PIPE;
        let old = match self.spent.front() {
            Some(page) if there >= most || is_passed_on(page) => self.spent.pop_front(),
            _ => None,
        };
        let is_new = there < most + usize::from(old.is_some()) && self.misses < MISSES;
        Next::New(is_new.then(|| Arc::clone(all)), old.map(|(_, page)| page))
    }

    /// The system had a large page, or none.
    fn had(&mut self, one: bool) {
        self.misses = if one { 0 } else { self.misses + 1 };
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
    /// New memory, which is not there before it is touched.
    fn map(given: Arc<AtomicUsize>) -> Option<Self> {
        // It begins at a multiple of its size.
        let memory = MmapOptions::new().len(2 * LARGE).map_anon().ok()?;
        let start = memory.as_ptr().align_offset(LARGE).min(LARGE);
        #[cfg(target_os = "linux")]
        let _ = memory.advise_range(memmap2::Advice::HugePage, start, LARGE);
        Some(Self {
            memory,
            free: start..start + LARGE,
            given,
        })
    }

    /// Whether the system has made it of one piece: then all of it is there once its beginning is.
    #[cfg(target_os = "linux")]
    fn is_large(&mut self) -> bool {
        use nix::sys::resource::{UsageWho, getrusage};
        let faults = || getrusage(UsageWho::RUSAGE_THREAD).map(|usage| usage.minor_page_faults());
        let before = faults();
        let free = self.free_mut();
        (free[0], free[LARGE / 2]) = (0, 0);
        matches!((before, faults()), (Ok(before), Ok(after)) if after == before + 1)
    }

    /// Nobody else knows how to make use of it.
    #[cfg(not(target_os = "linux"))]
    fn is_large(&mut self) -> bool {
        false
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_not_free_and_what_is_free_is_not_given() {
        let mut page = Supply::any(6).page(LARGE).unwrap();
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
        let supply = Supply::any(6);
        let mut all: Vec<_> = std::iter::from_fn(|| supply.page(1)).collect();
        assert_eq!(6, all.len());
        all.pop();
        assert!(supply.page(1).is_some());
    }

    #[test]
    fn what_is_left_of_a_page_is_used_as_long_as_it_suffices() {
        let supply = Supply::any(6);
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
        let supply = Supply::any(6);
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
    fn nobody_gets_a_page_while_memory_is_scarce() {
        let supply = Supply::any(6);
        let there = || Arc::strong_count(&supply.given) - 1;
        let (one, other) = (supply.page(1).unwrap(), supply.page(1).unwrap());
        supply.take_back(one);
        supply.spare(true);
        assert_eq!(1, there());
        assert!(supply.page(1).is_none());
        supply.take_back(other);
        assert_eq!(0, there());
        supply.spare(false);
        assert!(supply.page(1).is_some());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_system_without_large_pages_is_asked_a_few_times_only() {
        rustix::thread::disable_transparent_huge_pages(true).unwrap();
        let supply = Supply::large(6);
        for asked in 1..10 {
            assert!(supply.page(1).is_none());
            assert_eq!(asked.min(MISSES), supply.idle().misses);
            assert_eq!(1, Arc::strong_count(&supply.given));
        }
        rustix::thread::disable_transparent_huge_pages(false).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_of_small_pages_is_known_as_such() {
        let mut page = Supply::any(6).page(1).unwrap();
        let small = page.memory.as_ptr().align_offset(LARGE).min(LARGE);
        page.memory
            .advise_range(memmap2::Advice::NoHugePage, small, LARGE)
            .unwrap();
        assert!(!page.is_large());
        // What is there already is not known as anything.
        assert!(!page.is_large());
    }

    #[test]
    fn what_nobody_has_can_be_given_back_at_once() {
        let supply = Supply::any(6);
        let all: Vec<_> = std::iter::from_fn(|| supply.page(1)).collect();
        for (i, mut page) in all.into_iter().enumerate() {
            page.give(i % 2 * LARGE);
            supply.take_back(page);
        }
        supply.release();
        assert_eq!(1, Arc::strong_count(&supply.given));
    }
}
