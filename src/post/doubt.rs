//! Are the times of the input in nanoseconds? Nothing is sent as long as all of them would lie in 1970.

use crate::lp::record::Time;
use crate::post::Error;
use crate::post::batch::Batch;

/// So many times are looked at.
const LOOKED_AT: u32 = 1_000;

/// No more is held back meanwhile, in bytes.
const HELD: usize = 16 << 20;

/// The year, in nanoseconds.
const YEAR: std::ops::Range<i64> = 0..31_536_000_000_000_000;

/// What the times have shown so far.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    settled: bool,
    /// Times seen, all of them in 1970.
    seen: u32,
    held: Vec<Batch>,
    bytes: usize,
}

impl Doubt {
    /// Somebody has said what the times are.
    pub fn settled() -> Self {
        Self {
            settled: true,
            ..Self::default()
        }
    }

    /// Look at the time of a record. Gives what may be sent from here on, at the first time that lies elsewhere.
    pub fn look(&mut self, time: Time) -> Result<Vec<Batch>, Error> {
        if self.settled {
            return Ok(Vec::new());
        }
        match time {
            Time::At(time) if YEAR.contains(&time) => self.seen += 1,
            Time::At(_) => {
                self.settled = true;
                return Ok(std::mem::take(&mut self.held));
            }
            Time::Missing | Time::Invalid => {}
        }
        match self.seen {
            LOOKED_AT.. => Err(self.failure()),
            _ => Ok(Vec::new()),
        }
    }

    /// A batch that may be sent now, if it may; it is held back otherwise.
    pub fn pass(&mut self, batch: Batch) -> Result<Option<Batch>, Error> {
        if self.settled || self.seen == 0 {
            return Ok(Some(batch));
        }
        self.bytes += batch.size();
        self.held.push(batch);
        match self.bytes {
            HELD.. => Err(self.failure()),
            _ => Ok(None),
        }
    }

    /// All has been read.
    pub fn end(&self) -> Result<(), Error> {
        match self.settled || self.seen == 0 {
            true => Ok(()),
            false => Err(self.failure()),
        }
    }

    fn failure(&self) -> Error {
        let times = match self.seen {
            1 => "the only time lies".to_owned(),
            LOOKED_AT.. => "the first 1000 times all lie".to_owned(),
            n => format!("all {n} times lie"),
        };
        Error::Times(format!(
            "{times} in 1970 if they are nanoseconds: nothing is sent (--precision s, ms, us, or ns where that is right)"
        ))
    }
}
