//! All shards, one after the other: one thread walks the indexes and cuts units, which it and others turn into text, which
//! is taken in order.
//!
//! Only the shard at work is open, and the one before as long as units of it are under way; the logs of two shards
//! are never in memory together.

use std::mem;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use crate::gzip::Packer;
use crate::lanes::{self, Bounds, Feed, Parts};
use crate::pages::{Buffer, Supply};
use crate::tsm::shard::{Disk, Opening, Remark, Shard, Trouble};

use super::catalog::Listed;
use super::outlet::{Outlet, PART};
use super::plan::Planner;
use super::unit::Unit;
use super::work::Worker;
use super::{Options, Report};

/// What units under way may take together: unpacked values, and text that nobody has taken.
const BUDGET: usize = 12 << 20;
/// Buffers are used again up to this size each, and as many as take this much together: what is given back to the
/// allocator stays with the thread that it is from.
const KEPT: (usize, usize) = (4 << 20, 32 << 20);

/// Large pages there may be at a time: for each thread one, and some for texts that wait; in all what memory allows.
fn pages(jobs: usize) -> usize {
    (jobs + 4).min(12)
}

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// Threads that make text.
    pub jobs: NonZeroUsize,
    /// Level of compression, if the text is to be compressed.
    pub level: Option<u32>,
    /// Whether texts go to where they can be given away.
    pub is_given: bool,
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
    pub text: Buffer,
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

/// Memory to be used again.
#[derive(Debug)]
struct Pool {
    /// Where logs are read, and new texts are if they are to be given away, as long as it has any.
    pages: Supply,
    is_given: bool,
    texts: Mutex<Vec<Buffer>>,
    units: Mutex<Vec<Unit>>,
}

fn taken<T>(pool: &Mutex<Vec<T>>) -> Option<T> {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    pool.pop()
}

fn kept<T>(pool: &Mutex<Vec<T>>, buffer: T, size: impl Fn(&T) -> usize) {
    let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
    let (own, held) = (size(&buffer), pool.iter().map(&size).sum::<usize>());
    if own <= KEPT.0 && own + held <= KEPT.1 {
        pool.push(buffer);
    }
}

/// Export all shards. `take` gets what comes out, in any of the threads, and gives back the text it has done with; an
/// error of it ends everything.
pub fn run<E: Send>(
    disk: &(dyn Disk + Sync),
    shards: &[Listed],
    options: &Options,
    means: Means,
    mut take: impl FnMut(Event) -> Result<Option<Buffer>, E> + Send,
) -> Result<(), E> {
    let pool = Pool {
        pages: Supply::large(pages(means.jobs.get())),
        // What is compressed is little.
        is_given: means.is_given && means.level.is_none(),
        texts: Mutex::default(),
        units: Mutex::default(),
    };
    let walk = |feed: &Feed<'_, Work, Event>| {
        let mut walker = Walker::new((disk, shards), options, means.jobs, &pool, feed);
        // It ends early where somebody else has said why.
        let _ = walker.all();
    };
    let worker = || {
        let (mut worker, pool) = (Worker::default(), &pool);
        let mut packer = means.level.map(Packer::new);
        move |work: Work, parts: &Parts<'_, _, _>| {
            let packer = packer.as_mut();
            Event::Piece(worked(work, &mut worker, packer, (options, pool), parts))
        }
    };
    lanes::run(Bounds::new(means.jobs, BUDGET), walk, worker, |event| {
        if let Some(text) = take(event)? {
            pool.recycle(text);
        }
        Ok(())
    })
}

impl Pool {
    fn text(&self) -> Buffer {
        match self.is_given.then(|| self.pages.page(PART)).flatten() {
            None => self.own_text(),
            page => Buffer::in_page(page),
        }
    }

    /// A text in memory of its own.
    fn own_text(&self) -> Buffer {
        taken(&self.texts).unwrap_or_default()
    }

    fn unit(&self) -> Unit {
        taken(&self.units).unwrap_or_default()
    }

    /// Have a text to use again.
    fn recycle(&self, mut text: Buffer) {
        text.clear();
        match text.take_page() {
            Some(page) => self.pages.take_back(page),
            None => kept(&self.texts, text, Buffer::capacity),
        }
    }

    /// Give back what is not in use: all memory is needed elsewhere.
    fn release(&self) {
        self.pages.release();
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.clear();
    }

    fn recycle_unit(&self, mut unit: Unit) {
        unit.clear();
        kept(&self.units, unit, Unit::memory);
    }
}

fn worked(
    work: Work,
    worker: &mut Worker,
    mut packer: Option<&mut Packer>,
    (options, pool): (&Options, &Pool),
    parts: &Parts<'_, Work, Event>,
) -> Piece {
    let Work {
        shard,
        unit,
        mut piece,
    } = work;
    let is_heavy = unit.widest > BUDGET / 2;
    if is_heavy {
        pool.release();
    }
    let new_text = || match is_heavy {
        true => pool.own_text(),
        false => pool.text(),
    };
    let mut hand_on = |text: &mut Buffer| {
        let mut part = Piece {
            text: mem::replace(text, new_text()),
            done: piece.done,
            ..Piece::default()
        };
        pack(&mut part.text, packer.as_deref_mut(), pool);
        // Where nobody wants it, what follows is not wanted either, and soon over.
        let _ = parts.put(Event::Piece(part));
    };
    // Only now: the fewer texts there are, the sooner memory is used again.
    piece.text = new_text();
    let mut out = Outlet::new(&mut piece.text, &mut hand_on);
    let done = worker.run(&unit, &shard, options, &mut out, &mut piece.report);
    piece.failed = done.err();
    pool.recycle_unit(unit);
    pack(&mut piece.text, packer, pool);
    piece
}

/// Make a gzip member of a text, if it is to be compressed.
fn pack(text: &mut Buffer, packer: Option<&mut Packer>, pool: &Pool) {
    if let Some(packer) = packer.filter(|_| !text.is_empty()) {
        let mut packed = pool.text();
        packed.with(|out| packer.member(text.bytes(), out));
        pool.recycle(mem::replace(text, packed));
    }
}

/// Goes through the shards.
struct Walker<'a, 'b> {
    disk: &'a (dyn Disk + Sync),
    shards: &'a [Listed],
    options: &'a Options,
    how: Opening<'a>,
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
                pages: Some(&pool.pages),
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
        if !self.pool.is_given {
            self.pool.pages.release();
        }
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
            Ok(planner) => planner.beside(&self.pool.pages),
            Err(trouble) => return self.fail(trouble),
        };
        let mut done = self.done(listed, planner.passed());
        loop {
            let mut piece = Piece {
                done,
                ..Piece::default()
            };
            let ahead = self.done(listed, planner.passed());
            let mut unit = self.pool.unit();
            let more = planner.next(&mut unit, &mut piece.report);
            // What nothing follows is not worth saying.
            if matches!(more, Ok(true)) {
                piece.done = ahead;
                done = ahead;
            }
            // While a part is made one waits and one is taken.
            let text = (unit.text + unit.strings).min(3 * PART);
            let cost = unit.widest + unit.memory() + text;
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
