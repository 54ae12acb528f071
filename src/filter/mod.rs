//! What lp-filter does to a record: select, then rewrite.

use crate::lp::Context;

pub mod cast;
pub mod rewrite;
pub mod rule;
pub mod select;

pub use cast::Loss;
pub use rewrite::{Rewrite, Rewriter};
pub use rule::{NameRule, TagTest};
pub use select::{NoTime, Selection, Selector};

/// Why a record cannot be judged or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A time is asked for and the record has none.
    #[error("no timestamp, but a time is asked for (--no-timestamp keep or drop decides)")]
    NoTime,
    /// What stands there is no number of 64 bits, in nanoseconds.
    #[error("the timestamp does not fit into 64 bits of nanoseconds")]
    BadTime,
    /// The context names none, and one is asked for.
    #[error("no context says which database or retention policy this is")]
    NoContext,
    /// Not a record that could be taken apart.
    #[error("the record is malformed: something is not key=value")]
    Malformed,
    /// A rename makes two equal names.
    #[error(
        "a rename makes two equal names in one point (--allow-collisions lets the renamed one win)"
    )]
    Collision,
    /// A cast cannot be done.
    #[error(transparent)]
    Loss(#[from] Loss),
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes as it is.
    Keep,
    /// It passes with the bytes that `Filter::changed` holds.
    Changed,
    /// It is not selected, or nothing is left of it.
    Drop,
    /// It cannot be judged or rewritten.
    Reject(Reason),
}

/// Selects and rewrites records one by one.
#[derive(Debug)]
pub struct Filter {
    selector: Selector,
    rewriter: Option<Rewriter>,
    changed: Vec<u8>,
}

impl Filter {
    /// Keep what `selection` says, rewritten as `rewrite` says.
    pub fn new(selection: Selection, rewrite: Rewrite) -> Self {
        let rewriter = (!rewrite.is_empty()).then(|| Rewriter::new(rewrite));
        Self {
            selector: Selector::new(selection),
            rewriter,
            changed: Vec::new(),
        }
    }

    /// The context of the records that follow.
    pub fn enter(&mut self, context: &Context) {
        self.selector.enter(context);
    }

    /// What becomes of one whole record.
    pub fn judge(&mut self, record: &[u8]) -> Verdict {
        match self.selector.selects(record) {
            Err(reason) => Verdict::Reject(reason),
            Ok(false) => Verdict::Drop,
            Ok(true) => match &mut self.rewriter {
                None => Verdict::Keep,
                Some(rewriter) => rewriter.rewrite(record, &mut self.changed),
            },
        }
    }

    /// The record that took the place of the one judged last.
    pub fn changed(&self) -> &[u8] {
        &self.changed
    }
}
