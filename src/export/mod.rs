//! tsm-cat's work: from the open files of a shard to lines of text, in units that stand for themselves.
//!
//! [`plan::Planner`] walks the indexes and cuts what is wanted into units in the order of the output;
//! [`work::Worker`] turns a unit into text. A unit needs no other: any number of workers may run beside each other.

mod careful;
pub mod catalog;
mod clock;
mod fetch;
mod group;
pub mod judge;
mod lane;
pub mod outlet;
mod pen;
pub mod pipeline;
pub mod plan;
mod print;
pub mod schema;
mod sheet;
mod slot;
mod twins;
pub mod unit;
mod walk;
mod weigh;
pub mod work;

use std::path::PathBuf;

use crate::lp::glob::Glob;
use crate::lp::misfit::Misfit;
use crate::pages::Buffer;
use crate::rows::{Kind, Strings};
use crate::tsm::shard::{Shard, Trouble};

use outlet::Outlet;
use plan::Planner;
use unit::Unit;
use work::Worker;

/// What of a shard is wanted, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Patterns of which one must match the decoded measurement; none let all pass.
    pub measurements: Vec<Glob>,
    /// The first time that is wanted.
    pub first: i64,
    /// The last time that is wanted, inclusive.
    pub last: i64,
    /// One line for each value instead of one for each point.
    pub per_field: bool,
    /// Leave out damaged blocks instead of ending at the first one.
    pub keep_going: bool,
    /// Hand out the text of what line protocol cannot carry, not only its number.
    pub keep_rejects: bool,
}

impl Default for Options {
    /// All points, as they are; damage is an end.
    fn default() -> Self {
        Self {
            measurements: Vec::new(),
            first: i64::MIN,
            last: i64::MAX,
            per_field: false,
            keep_going: false,
            keep_rejects: false,
        }
    }
}

/// Why a value that is stored is not in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unprintable {
    /// A name has no spelling.
    #[error("{0}")]
    Name(#[from] Misfit),
    /// Line protocol has neither infinities nor NaN.
    #[error("the value is no finite number")]
    Float,
    /// Reserved by servers.
    #[error("the time is outside of what servers accept")]
    Time,
    /// The servers' splitter would end the record inside the string.
    #[error(
        "a string cannot be told from the end of the line behind a backslash pair in the series key"
    )]
    Split,
}

/// Something that is not as it should be, but costs nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    /// Index and block disagree; the block is believed.
    #[error("block of type {block} where the index says {index}")]
    BlockType {
        /// What the block says.
        block: Kind,
        /// What the index says, as a number.
        index: u8,
    },
    /// A block that holds fewer times than the index says, as 1.7.0 wrote them.
    #[error("block holds times {first} to {last}, the index says {min} to {max}")]
    Times {
        /// The first time in the block.
        first: i64,
        /// The last time in the block.
        last: i64,
        /// The first time by the index.
        min: i64,
        /// The last time by the index.
        max: i64,
    },
    /// Values of more than one type in one shard.
    #[error("values of more than one type")]
    MixedTypes,
    /// A name without spelling: its values are in no export, and so its columns in no schema.
    #[error("not in the schema, as line protocol cannot carry it: {0}")]
    Unspelled(Misfit),
    /// A key that could be cut in two ways.
    #[error("key holds the separator #!~# more than once, cut at the first as by the server")]
    Ambiguous,
    /// A series that is there once more, spelled in another way.
    #[error(
        "the series is there a second time, with a backslash before = or \" in its measurement; servers may take the two for one"
    )]
    Twin,
}

/// Something to tell the user.
#[derive(Debug)]
pub enum Finding {
    /// Damage that was left out.
    Damage(Trouble),
    /// Values that line protocol cannot carry.
    LeftOut {
        /// Their series key.
        series: Vec<u8>,
        /// Their field key.
        field: Vec<u8>,
        /// What is in the way.
        why: Unprintable,
        /// How many values.
        count: u64,
        /// Their text, each as a record would be; none if nobody wants it.
        records: Strings,
    },
    /// A warning.
    Odd {
        /// The file, if it is about one.
        path: Option<PathBuf>,
        /// The key.
        key: Vec<u8>,
        /// What is odd.
        what: Oddity,
    },
}

/// What a stretch of work came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines printed.
    pub points: u64,
    /// Values printed.
    pub values: u64,
    /// Blocks read.
    pub blocks: u64,
    /// Bytes of blocks read.
    pub bytes: u64,
    /// What to tell, in order.
    pub findings: Vec<Finding>,
    /// Somebody wants the text of what cannot be printed.
    pub keep_rejects: bool,
}

/// Values that cannot be printed: how many, and their text if somebody wants it.
#[derive(Clone, Debug, Default)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// Each as a record would be.
    pub records: Strings,
}

impl Report {
    /// Note values that cannot be printed.
    pub fn leave_out(&mut self, series: &[u8], field: &[u8], why: Unprintable, lost: Lost) {
        let Lost { count, records } = lost;
        if count == 0 {
            return;
        }
        if let Some(Finding::LeftOut {
            series: s,
            field: f,
            why: w,
            count: n,
            records: all,
        }) = self.findings.last_mut()
            && (&s[..], &f[..], *w) == (series, field, why)
        {
            *n += count;
            (0..records.len()).for_each(|i| all.push(records.get(i)));
            return;
        }
        self.findings.push(Finding::LeftOut {
            series: series.to_vec(),
            field: field.to_vec(),
            why,
            count,
            records,
        });
    }

    /// Note damage, or make an end of it.
    pub fn bear(&mut self, trouble: Trouble, keep_going: bool) -> Result<(), Trouble> {
        if !keep_going {
            return Err(trouble);
        }
        self.findings.push(Finding::Damage(trouble));
        Ok(())
    }
}

/// The text of one shard, piece by piece.
#[derive(Debug)]
pub struct Export<'a> {
    shard: &'a Shard,
    options: &'a Options,
    planner: Planner<'a>,
    unit: Unit,
    worker: Worker,
}

impl<'a> Export<'a> {
    /// Before the first piece.
    pub fn new(shard: &'a Shard, options: &'a Options) -> Result<Self, Trouble> {
        Ok(Self {
            shard,
            options,
            planner: Planner::new(shard, options)?,
            unit: Unit::default(),
            worker: Worker::default(),
        })
    }

    /// Append the next piece, whole lines, to `out`; `false` behind the last one. A piece may be empty.
    pub fn next(&mut self, out: &mut Buffer, report: &mut Report) -> Result<bool, Trouble> {
        if !self.planner.next(&mut self.unit, report)? {
            return Ok(false);
        }
        let mut keep = |_: &mut Buffer| {};
        let mut out = Outlet::new(out, &mut keep);
        self.worker
            .run(&self.unit, self.shard, self.options, &mut out, report)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
