//! What lp-filter does to a record: select, then rewrite.

use crate::lp::Context;
use crate::lp::validate::{Fault, Target, Validator};

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
    /// The target would refuse the record, or store something else.
    #[error(transparent)]
    Fault(#[from] Fault),
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
    validator: Option<Validator>,
    changed: Vec<u8>,
}

impl Filter {
    /// Keep what `selection` says, rewritten as `rewrite` says.
    pub fn new(selection: Selection, rewrite: Rewrite) -> Self {
        let rewriter = (!rewrite.is_empty()).then(|| Rewriter::new(rewrite));
        Self {
            selector: Selector::new(selection),
            rewriter,
            validator: None,
            changed: Vec::new(),
        }
    }

    /// Check every record by the rules of a target: as it goes out, or as it came if it does not.
    pub fn validate(mut self, target: Target) -> Self {
        self.validator = Some(Validator::new(target));
        self
    }

    /// The context of the records that follow.
    pub fn enter(&mut self, context: &Context) {
        self.selector.enter(context);
    }

    /// What becomes of one whole record.
    pub fn judge(&mut self, record: &[u8]) -> Verdict {
        let verdict = match self.selector.selects(record) {
            Err(reason) => Verdict::Reject(reason),
            Ok(false) => Verdict::Drop,
            Ok(true) => match &mut self.rewriter {
                None => Verdict::Keep,
                Some(rewriter) => rewriter.rewrite(record, &mut self.changed),
            },
        };
        let Some(validator) = &mut self.validator else {
            return verdict;
        };
        let checked = match verdict {
            Verdict::Changed => validator.check(&self.changed),
            Verdict::Keep | Verdict::Drop => validator.check(record),
            Verdict::Reject(_) => Ok(()),
        };
        checked.map_or_else(|fault| Verdict::Reject(fault.into()), |()| verdict)
    }

    /// Why a comment must not be passed on; only a validator knows.
    pub fn judge_comment(&mut self, comment: &[u8]) -> Result<(), Reason> {
        let Some(validator) = &mut self.validator else {
            return Ok(());
        };
        validator.check(comment).map_err(Reason::from)
    }

    /// The record that took the place of the one judged last.
    pub fn changed(&self) -> &[u8] {
        &self.changed
    }
}
