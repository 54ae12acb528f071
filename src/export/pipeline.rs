//! All shards, one after the other: one thread walks the indexes and cuts units, some turn them into text, and the
//! caller takes it in order.
//!
//! Only the shard at work is open, and the one before as long as units of it are under way; the logs of two shards
//! are never in memory together.

use std::mem;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::gzip::Packer;
use crate::lanes::{self, Bounds, Feed};
use crate::tsm::shard::{Disk, Opening, Remark, Shard, Trouble};

use super::catalog::Listed;
use super::plan::Planner;
use super::text::Text;
use super::unit::Unit;
use super::work::Worker;
use super::{Options, Report};

/// What units under way may take together: unpacked values, and their text.
const BUDGET: usize = 32 << 20;
/// What a thousand values may take of it.
const WEIGHT: usize = 16 << 10;
/// What a byte of packed strings may take beyond its weight: it can hold 22, and they become as much text.
const STRING: usize = 44;
/// Buffers up to this size are used again.
const KEPT: usize = 2 << 20;

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Threads that make text.
    pub jobs: NonZeroUsize,
    /// Level of compression, if the text is to be compressed.
    pub level: Option<u32>,
}

/// Something that comes out, in order.
#[derive(Debug)]
pub enum Event {
    /// The shard at this position of the list begins.
    Shard(usize),
    /// The server has dropped the shard meanwhile, before it was opened or behind that.
    Gone,
    /// What was seen when the shard was opened, and what is damaged and left out.
    Opened(Vec<Remark>, Vec<Trouble>),
    /// Some lines of the shard.
    Piece(Piece),
    /// The end of it.
    Failed(Trouble),
}

/// Some lines of a shard, and what there is to tell of them.
#[derive(Debug, Default)]
pub struct Piece {
    /// Whole lines, or one gzip member of them. May be empty.
    pub text: Text,
    /// What making them came to.
    pub report: Report,
    /// What made an end of it behind these lines.
    pub failed: Option<Trouble>,
    /// How far the export was when they began, in thousandths.
    pub done: u64,
}

/// A unit and all it needs.
struct Work {
    shard: Arc<Shard>,
    unit: Unit,
    piece: Piece,
}

/// Buffers to be used again.
#[derive(Debug, Default)]
struct Pool {
    texts: Mutex<Vec<Text>>,
    units: Mutex<Vec<Unit>>,
}

fn taken<T: Default>(pool: &Mutex<Vec<T>>) -> T {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    pool.pop().unwrap_or_default()
}

fn given<T>(pool: &Mutex<Vec<T>>, buffer: T) {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    pool.push(buffer);
}

/// Export all shards. `take` gets what comes out, and gives back the text it has done with; an error of it ends
/// everything.
pub fn run<E>(
    disk: &(dyn Disk + Sync),
    shards: &[Listed],
    options: &Options,
    means: Means,
    mut take: impl FnMut(Event) -> Result<Option<Text>, E>,
) -> Result<(), E> {
    let pool = Pool::default();
    let walk = |feed: &Feed<'_, Work, Event>| {
        let mut walker = Walker::new((disk, shards), options, means.jobs, &pool, feed);
        // It ends early where somebody else has said why.
        let _ = walker.all();
    };
    let worker = || {
        let (mut worker, pool) = (Worker::default(), &pool);
        let mut packer = means.level.map(Packer::new);
        move |work: Work| Event::Piece(worked(work, &mut worker, packer.as_mut(), options, pool))
    };
    lanes::run(Bounds::new(means.jobs, BUDGET), walk, worker, |event| {
        if let Some(text) = take(event)? {
            recycle(&pool, text);
        }
        Ok(())
    })
}

fn recycle(pool: &Pool, mut text: Text) {
    if text.capacity() <= KEPT {
        text.clear();
        given(&pool.texts, text);
    }
}

fn worked(
    work: Work,
    worker: &mut Worker,
    packer: Option<&mut Packer>,
    options: &Options,
    pool: &Pool,
) -> Piece {
    let Work {
        shard,
        mut unit,
        mut piece,
    } = work;
    let done = worker.run(&unit, &shard, options, &mut piece.text, &mut piece.report);
    piece.failed = done.err();
    unit.clear();
    given(&pool.units, unit);
    if let Some(packer) = packer.filter(|_| !piece.text.is_empty()) {
        let mut packed = taken(&pool.texts);
        packed.with(|out| packer.member(piece.text.bytes(), out));
        recycle(pool, mem::replace(&mut piece.text, packed));
    }
    piece
}

/// Goes through the shards.
struct Walker<'a, 'b> {
    disk: &'a (dyn Disk + Sync),
    shards: &'a [Listed],
    options: &'a Options,
    how: Opening,
    pool: &'a Pool,
    feed: &'a Feed<'b, Work, Event>,
    /// Bytes of the shards that are done with, and of all.
    passed: u64,
    total: u64,
}

/// Nobody wants any more.
struct Stopped;

impl<'a, 'b> Walker<'a, 'b> {
    fn new(
        (disk, shards): (&'a (dyn Disk + Sync), &'a [Listed]),
        options: &'a Options,
        jobs: NonZeroUsize,
        pool: &'a Pool,
        feed: &'a Feed<'b, Work, Event>,
    ) -> Self {
        Self {
            disk,
            shards,
            options,
            how: Opening {
                keep_going: options.keep_going,
                jobs,
            },
            pool,
            feed,
            passed: 0,
            total: shards.iter().map(|listed| listed.bytes).sum(),
        }
    }

    fn all(&mut self) -> Result<(), Stopped> {
        for (i, listed) in self.shards.iter().enumerate() {
            self.tell(Event::Shard(i))?;
            self.shard(listed)?;
            self.passed += listed.bytes;
        }
        Ok(())
    }

    fn tell(&self, event: Event) -> Result<(), Stopped> {
        match self.feed.done(event) {
            true => Ok(()),
            false => Err(Stopped),
        }
    }

    fn shard(&self, listed: &Listed) -> Result<(), Stopped> {
        let mut shard = match listed.open(self.disk, self.how) {
            Ok(Some(shard)) => shard,
            Ok(None) => return self.tell(Event::Gone),
            Err(trouble) => return self.fail(trouble),
        };
        let (remarks, damage) = (mem::take(&mut shard.remarks), mem::take(&mut shard.damage));
        self.tell(Event::Opened(remarks, damage))?;
        let has_log = !shard.log.is_empty();
        self.units(listed, &Arc::new(shard))?;
        if listed.has_gone() {
            // It may have been on its way out when it was opened: who knows what was there any more.
            self.tell(Event::Gone)?;
        }
        match !has_log || self.feed.wait() {
            true => Ok(()),
            false => Err(Stopped),
        }
    }

    fn fail(&self, trouble: Trouble) -> Result<(), Stopped> {
        self.tell(Event::Failed(trouble))?;
        Err(Stopped)
    }

    fn units(&self, listed: &Listed, shard: &Arc<Shard>) -> Result<(), Stopped> {
        let mut planner = match Planner::new(shard, self.options) {
            Ok(planner) => planner,
            Err(trouble) => return self.fail(trouble),
        };
        let mut done = self.done(listed, planner.passed());
        loop {
            let mut piece = Piece {
                text: taken(&self.pool.texts),
                done,
                ..Piece::default()
            };
            let ahead = self.done(listed, planner.passed());
            let mut unit: Unit = taken(&self.pool.units);
            let more = planner.next(&mut unit, &mut piece.report);
            // What nothing follows is not worth saying.
            if matches!(more, Ok(true)) {
                piece.done = ahead;
                done = ahead;
            }
            let cost = unit.weight * WEIGHT + unit.text + unit.strings * STRING;
            let work = Work {
                shard: Arc::clone(shard),
                unit,
                piece,
            };
            if !self.feed.put(work, cost) {
                return Err(Stopped);
            }
            match more {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(trouble) => return self.fail(trouble),
            }
        }
    }

    /// How far it is, in thousandths.
    fn done(&self, listed: &Listed, passed: u64) -> u64 {
        let passed = u128::from(self.passed + passed.min(listed.bytes));
        let done = passed * 1000 / u128::from(self.total.max(1));
        done.min(1000) as u64
    }
}
