//! Memory in the large pages of Linux, of which a pipe is given what is written there without a copy.
//!
//! A pipe that is given memory (`vmsplice`) refers to it until its reader has copied it, and a reader that hands it on in
//! the same way (`splice`, `tee`) for as long as it likes. So what was given is never written again: pages are written
//! once, from their beginning to their end, and then given back to the system, which keeps what somebody refers to.
//! New memory for all that is written would cost more than the copy; in pages of 2 MiB it costs a fraction of it.

use std::fs;
use std::ops::Range;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

/// A large page, on all machines whose small ones have 4 KiB.
const LARGE: usize = 2 << 20;
/// What is asked for at once: a text or two that do not fit at its end are little of it.
const SIZE: usize = 2 * LARGE;
/// So many of these may be there at a time.
const MOST: usize = 6;
/// What Linux says of its large pages: how large they are, and who gets them.
const SYSTEM: &str = "/sys/kernel/mm/transparent_hugepage";

/// Whoever asks gets pages, unless many are there.
#[derive(Debug, Default)]
pub struct Supply {
    /// All that are there hold it.
    held: Arc<()>,
}

impl Supply {
    /// `None` where the system has no large pages for us: in others all this is slower than a copy.
    pub fn of_system() -> Option<Self> {
        let says = |name: &str| fs::read_to_string(format!("{SYSTEM}/{name}")).ok();
        let is_large = says("hpage_pmd_size")?.trim() == LARGE.to_string();
        let is_ours = !says("enabled")?.contains("[never]");
        (is_large && is_ours).then(Self::default)
    }

    /// New pages, all of them free.
    pub fn pages(&self) -> Option<Pages> {
        if Arc::strong_count(&self.held) > MOST {
            return None;
        }
        // Large pages begin at multiples of their size. What is not touched is not there.
        let memory = MmapOptions::new().len(SIZE + LARGE).map_anon().ok()?;
        let start = memory.as_ptr().align_offset(LARGE).min(LARGE);
        #[cfg(target_os = "linux")]
        let _ = memory.advise_range(memmap2::Advice::HugePage, start, SIZE);
        Some(Pages {
            memory,
            free: start..start + SIZE,
            _held: Arc::clone(&self.held),
        })
    }
}

/// Memory that is written once.
#[derive(Debug)]
pub struct Pages {
    memory: MmapMut,
    /// What has not been given away.
    free: Range<usize>,
    _held: Arc<()>,
}

impl Pages {
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
        Given(&self.memory[from..self.free.start])
    }

    /// How much memory they take, whatever has been given away.
    pub fn size(&self) -> usize {
        SIZE
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
        let mut pages = Supply::default().pages().unwrap();
        assert_eq!(SIZE, pages.free().len());
        assert_eq!(0, pages.free().as_ptr().align_offset(LARGE));
        pages.free_mut()[..6].copy_from_slice(b"abcdef");
        assert_eq!(b"abcd", pages.give(4).bytes());
        assert_eq!(b"ef\0", &pages.free()[..3]);
        assert_eq!(SIZE - 4, pages.give(SIZE).bytes().len());
        assert!(pages.free().is_empty());
        assert!(pages.give(1).bytes().is_empty());
    }

    #[test]
    fn no_more_than_a_few_are_there_at_a_time() {
        let supply = Supply::default();
        let mut all: Vec<_> = std::iter::from_fn(|| supply.pages()).collect();
        assert_eq!(MOST, all.len());
        all.pop();
        assert!(supply.pages().is_some());
    }
}
