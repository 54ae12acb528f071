//! lp-post's work: which bucket a point goes to, batches, and what becomes of what the server refuses.

pub mod batch;
pub mod bisect;
pub mod column;
pub mod courier;
pub mod deliver;
pub mod desk;
mod doubt;
pub mod dry;
pub mod fit;
pub mod gate;
pub mod intake;
pub mod jobs;
pub mod journal;
mod lane;
mod order;
mod plan;
pub mod routing;
pub mod server;

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bstr::BString;

use crate::http::Found;
use crate::http::bucket::{Wish, period};
use crate::lp::record::Time;
use crate::lp::{Change, Context};
use crate::post::batch::{Batch, Batches, Label};
use crate::post::deliver::{Asked, Deliverer};
use crate::post::desk::Desk;
use crate::post::doubt::Doubt;
use crate::post::dry::Dry;
use crate::post::fit::{Fitter, Misfit};
use crate::post::intake::Intake;
use crate::post::jobs::Pool;
use crate::post::journal::{History, Mark};
use crate::post::lane::Lanes;
use crate::post::order::Order;
use crate::post::routing::{Age, Expired, Keeps, Periods, Routing, own_bucket};

pub use plan::{Moment, Plan, Watch};

/// Why posting stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wrong usage that only the stream shows.
    #[error("{0}")]
    Usage(String),
    /// Something is set up wrongly, here or at the server.
    #[error("{0}")]
    Setting(String),
    /// The token may not do this.
    #[error("{0}")]
    Permission(String),
    /// The server refuses for good.
    #[error("{0}")]
    Service(String),
    /// More rejects than allowed.
    #[error("more than {most} records rejected: {reasons} (--max-rejects allows more)")]
    TooManyRejects {
        /// How many are allowed.
        most: u64,
        /// How often which reason.
        reasons: String,
    },
    /// The times of the input are in another unit, or so it seems.
    #[error("{0}")]
    Times(String),
    /// Patience is at its end.
    #[error("gave up: {0} (run the same command again)")]
    GaveUp(String),
    /// A signal came while waiting.
    #[error("stopped")]
    Stopped,
    /// The rejects cannot be written.
    #[error(transparent)]
    Rejects(#[from] io::Error),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The allowance that is shared with others cannot be kept.
    #[error(transparent)]
    Budget(Box<crate::rate::budget::Error>),
}

/// Where a point stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The context that holds there.
    pub context: &'a Context,
    /// How messages call the input.
    pub input: &'a str,
    /// The line at which it starts.
    pub line: u64,
    /// Whether each point is in the stream at most once.
    pub is_once: bool,
    /// Whether the input has named any context so far.
    pub had_context: bool,
    /// Whether a program of ours has written the stream, which counts in nanoseconds then.
    pub is_begun: bool,
}

/// What is done with full batches.
pub enum Way {
    /// They go to a server.
    Server(Box<Service>),
    /// They are compressed and counted.
    Dry(Dry),
}

/// A server and those who write to it.
pub struct Service {
    /// Asks the server all that is no write.
    pub front: Deliverer,
    /// Those who write.
    pub pool: Pool,
    /// What earlier runs have finished, where that is kept.
    pub history: Option<History>,
}

/// What is known of the point that comes next.
enum Now {
    /// Nothing yet.
    Open,
    /// It goes to a batch, of its lane where the order matters.
    Bucket {
        /// How many lanes there are; 0 where any order will do.
        lanes: usize,
        /// How long it is kept.
        keeps: Keeps,
    },
    /// It has no bucket, for this reason.
    Nowhere(String),
}

/// A context whose comments may not all have been read yet.
struct Pending {
    context: Context,
    input: String,
}

/// Reads records, and writes them as the server wants them.
#[derive(Default)]
struct Tools {
    intake: Intake,
    fitter: Fitter,
}

/// Takes points and context, and posts.
pub struct Poster {
    way: Way,
    desk: Arc<Desk>,
    routing: Routing,
    create: bool,
    map: bool,
    periods: Periods,
    /// How long buckets keep points, as the server said when it was asked.
    asked: Asked,
    expired: Option<Expired>,
    batches: Batches,
    /// Taken out while a point is at work.
    tools: Option<Box<Tools>>,
    doubt: Doubt,
    age: Option<Duration>,
    watch: Watch,
    /// When somebody last looked.
    moment: Moment,
    /// Since when a point waits that no batch has taken along.
    since: Option<Duration>,
    now: Now,
    pending: Option<Pending>,
    /// The bucket of the first context, where all go into one.
    first: Option<BString>,
    /// Points that came.
    points: u64,
    order: Order,
    lanes: Lanes,
}

impl Poster {
    /// Ready for the first point.
    pub fn new(way: Way, desk: Arc<Desk>, plan: Plan, watch: Watch) -> Self {
        let found = match &way {
            Way::Server(service) => Some(service.front.server().found()),
            Way::Dry(dry) => dry.found,
        };
        let tools = Tools {
            intake: plan.intake,
            fitter: Fitter::new(found),
        };
        Self {
            way,
            desk,
            routing: plan.routing,
            create: plan.create,
            map: plan.map,
            periods: plan.periods,
            asked: Asked::default(),
            expired: plan.expired,
            batches: Batches::new(plan.limits),
            tools: Some(Box::new(tools)),
            doubt: match plan.is_certain {
                true => Doubt::settled(),
                false => Doubt::default(),
            },
            age: plan.age,
            moment: watch(),
            watch,
            since: None,
            now: Now::Open,
            pending: None,
            first: None,
            points: 0,
            order: Order::default(),
            lanes: Lanes::default(),
        }
    }

    /// Where full batches go.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Take one record.
    pub fn point(&mut self, record: &[u8], place: &Place<'_>) -> Result<(), Error> {
        if let Now::Open = self.now {
            self.arrive(place)?;
        }
        self.points += 1;
        match &self.now {
            Now::Nowhere(reason) => {
                let reason = Cow::Owned(reason.clone());
                self.gather(None, record, place.line, Some(reason))
            }
            Now::Bucket { lanes, keeps } => {
                let (lanes, keeps) = (*lanes, *keeps);
                let mut tools = self.tools.take().unwrap_or_default();
                let done = self.admit(record, place, &mut tools, lanes, keeps);
                self.tools = Some(tools);
                done
            }
            Now::Open => Ok(()),
        }
    }

    /// Read a record and put it into its batch, unless it must not be sent.
    fn admit(
        &mut self,
        record: &[u8],
        place: &Place<'_>,
        tools: &mut Tools,
        lanes: usize,
        keeps: Keeps,
    ) -> Result<(), Error> {
        let (record, fault) = match tools.intake.take(record) {
            Ok(record) => (record, None),
            Err((record, reason)) => (record, Some(reason)),
        };
        let lane = (lanes > 0).then(|| self.lanes.of(record, lanes));
        if fault.is_some() {
            return self.gather(lane, record, place.line, fault);
        }
        let look = tools.fitter.look(record);
        if !place.is_begun {
            for batch in self.doubt.look(look.time)? {
                self.send(batch)?;
            }
        }
        match self.age_of(look.time, keeps) {
            Age::Fresh => {}
            Age::Expired => {
                self.desk.count(|tally| tally.expired += 1);
                return Ok(());
            }
            Age::Beyond(seconds) => {
                let reason = format!("older than its bucket keeps points ({})", period(seconds));
                return self.gather(lane, record, place.line, Some(reason.into()));
            }
        }
        match tools.fitter.fit(record, look) {
            Ok(fit) => self.gather(lane, fit, place.line, None),
            Err(Misfit::Reject(reason)) => self.gather(lane, record, place.line, Some(reason)),
            Err(Misfit::Open(why)) => Err(Error::Setting(format!(
                "{}:{}: the record {why}, and which engine this InfluxDB Cloud has is not known (--target serverless, or --target cloud)",
                place.input, place.line
            ))),
        }
    }

    fn age_of(&self, time: Time, keeps: Keeps) -> Age {
        match (keeps.bucket, time) {
            (Some(_), Time::At(time)) => keeps.age(self.expired, time, self.moment.wall),
            _ => Age::Fresh,
        }
    }

    /// Put a record into its batch, after those that must be sent to make room for it.
    fn gather(
        &mut self,
        lane: Option<usize>,
        record: &[u8],
        line: u64,
        bad: Option<Cow<'static, str>>,
    ) -> Result<(), Error> {
        // One more for the line feed that the last record of an input may lack.
        while let Some(batch) = self.batches.overflow(lane, record.len() + 1) {
            self.send(batch)?;
            self.since = None;
        }
        self.batches.push(lane, record, line, bad);
        if self.since.is_none() {
            self.since = Some(self.moment.run);
        }
        Ok(())
    }

    /// Look at the clock: what has waited for long enough is sent.
    pub fn look(&mut self) -> Result<(), Error> {
        self.moment = (self.watch)();
        let waited = self
            .since
            .map(|since| self.moment.run.saturating_sub(since));
        match (waited, self.age) {
            (Some(waited), Some(age)) if waited >= age => self.flush(),
            _ => Ok(()),
        }
    }

    /// A context comment has been read; `place` has the context with it.
    pub fn context(&mut self, change: &Change, place: &Place<'_>) -> Result<(), Error> {
        let had_bucket = |pending: &Pending| pending.context.bucket.is_some();
        let is_next = match change {
            Change::Database(_) | Change::Policy(_) => true,
            Change::Bucket(_) => self.pending.as_ref().is_some_and(had_bucket),
            _ => false,
        };
        if is_next {
            self.settle()?;
        }
        // Another bucket for the same points leads elsewhere; everything else begins something new.
        if !matches!(change, Change::Bucket(_)) {
            self.flush()?;
        }
        self.now = Now::Open;
        self.pending = Some(Pending {
            context: place.context.clone(),
            input: place.input.to_owned(),
        });
        Ok(())
    }

    /// All context ends here: a stream begins or ends, or an input does.
    pub fn boundary(&mut self) -> Result<(), Error> {
        self.settle()?;
        self.flush()?;
        self.order.boundary();
        Ok(())
    }

    /// Send everything that has come so far.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.now = Now::Open;
        self.since = None;
        for batch in self.batches.take_all() {
            self.send(batch)?;
        }
        Ok(())
    }

    /// Send everything that has come, and wait until it is there.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.doubt.end()?;
        match &mut self.way {
            Way::Server(service) => service.pool.drain(),
            Way::Dry(_) => Ok(()),
        }
    }

    /// The failure of a request that is on its way, if there was one.
    pub fn check(&mut self) -> Result<(), Error> {
        match &mut self.way {
            Way::Server(service) => service.pool.check(),
            Way::Dry(_) => Ok(()),
        }
    }

    /// Send no more. What is on its way gets a moment to end.
    pub fn give_up(&mut self) {
        if let Way::Server(service) = &mut self.way {
            self.desk.stop();
            service.pool.give_up();
        }
    }

    fn found(&self) -> Option<Found> {
        match &self.way {
            Way::Server(service) => Some(service.front.server().found()),
            Way::Dry(dry) => dry.found,
        }
    }

    fn is_v3(&self) -> bool {
        matches!(self.found(), Some(Found::Target(target)) if target.is_v3())
    }

    /// The context read last is whole: see to its bucket, whether points follow or not.
    fn settle(&mut self) -> Result<(), Error> {
        let Some(Pending { context, input }) = self.pending.take() else {
            return Ok(());
        };
        let Some(own) = own_bucket(&context) else {
            return Ok(());
        };
        if let (Some(bucket), false) = (&self.routing.bucket, self.routing.merge) {
            let first = self.first.get_or_insert_with(|| own.clone());
            if *first != own {
                return Err(Error::Usage(format!(
                    "--bucket {bucket}: the stream holds points of {first} and of {own} (--merge-buckets puts them together)"
                )));
            }
        }
        let place = Place {
            context: &context,
            input: &input,
            line: 0,
            is_once: false,
            had_context: true,
            is_begun: false,
        };
        match self.routing.bucket(&place) {
            Ok(bucket) => self.ensure(&bucket, &context),
            // Its points will say so, if there are any.
            Err(_) => Ok(()),
        }
    }

    /// The first point since something changed: where does it go?
    fn arrive(&mut self, place: &Place<'_>) -> Result<(), Error> {
        self.settle()?;
        match self.routing.bucket(place) {
            Ok(bucket) => {
                self.ensure(&bucket, place.context)?;
                let keeps = self.keeps(&bucket, place.context)?;
                let period = self.periods.of(&bucket, place.context);
                let label = Label {
                    period: period.filter(|_| self.create),
                    is_v3: self.is_v3(),
                    ..label(place, bucket)
                };
                self.batches.switch(&Arc::new(label));
                let lanes = match &self.way {
                    Way::Server(service) if !place.is_once => service.pool.len(),
                    _ => 0,
                };
                self.now = Now::Bucket {
                    lanes: if lanes > 1 { lanes } else { 0 },
                    keeps,
                };
            }
            Err(reason) if self.points == 0 => {
                return Err(Error::Setting(format!(
                    "{}:{}: the first point has no bucket: {reason} (--context DB/RP, or --bucket NAME for all points)",
                    place.input, place.line
                )));
            }
            Err(reason) => {
                self.batches.switch(&Arc::new(label(place, String::new())));
                self.now = Now::Nowhere(reason);
            }
        }
        Ok(())
    }

    fn ensure(&mut self, bucket: &str, context: &Context) -> Result<(), Error> {
        let found = self.found();
        if let Some(Found::Target(target)) = found
            && let Err(refused) = target.names().check(bucket.as_bytes())
        {
            return Err(Error::Setting(format!(
                "{refused} (lp-split-by-bucket --map {bucket}=NAME renames it)"
            )));
        }
        if !self.create {
            return Ok(());
        }
        let Some(period) = self.periods.of(bucket, context) else {
            return Err(Error::Setting(format!(
                "bucket {bucket}: how long it is to keep points is not known (--retention-period [BUCKET=]DURATION, or infinite)"
            )));
        };
        let name = |name: &Option<BString>| String::from_utf8(name.as_deref()?.to_vec()).ok();
        let pair = name(&context.database).zip(name(&context.policy));
        let pair = pair.as_ref().filter(|_| self.map);
        match &mut self.way {
            Way::Server(service) => service.front.ensure(&Wish {
                name: bucket,
                period,
                mapping: pair.map(|(database, policy)| (database.as_str(), policy.as_str())),
            }),
            Way::Dry(_) => Ok(()),
        }
    }

    /// How long points are kept, there and here, as far as somebody says it.
    fn keeps(&mut self, bucket: &str, context: &Context) -> Result<Keeps, Error> {
        let named = self.periods.said(bucket);
        let wants_to_know = matches!(self.expired, Some(Expired::Skip | Expired::Reject));
        let there = match &mut self.way {
            Way::Dry(_) => named.or(context.period.filter(|_| self.create)),
            Way::Server(service) => match (service.front.keeps(bucket).or(named), wants_to_know) {
                (None, true) => self.asked.period(bucket, &mut service.front)?,
                (known, _) => known,
            },
        };
        // For ever is as good as unknown.
        Ok(Keeps {
            bucket: there.filter(|period| *period > 0),
            source: context.period.filter(|period| *period > 0),
        })
    }

    fn send(&mut self, batch: Batch) -> Result<(), Error> {
        let Some(batch) = self.doubt.pass(batch)? else {
            return Ok(());
        };
        let sent = self.dispatch(batch);
        // The time that a full pool takes is no time that a point has waited for others.
        self.moment = (self.watch)();
        sent
    }

    fn dispatch(&mut self, batch: Batch) -> Result<(), Error> {
        match &mut self.way {
            Way::Server(service) => {
                let Service {
                    front,
                    pool,
                    history,
                } = &mut **service;
                let mark = history.as_ref().map(|_| {
                    let destination = front.server().destination(&batch.label().bucket);
                    Mark::of(&destination, batch.body())
                });
                let known = mark.zip(history.as_mut());
                if let Some(rejected) = known.and_then(|(mark, history)| history.skip(mark)) {
                    self.desk.count(|tally| {
                        tally.skipped += batch.len() as u64;
                        tally.rejected_before += u64::from(rejected);
                    });
                    self.batches.recycle(batch);
                    return Ok(());
                }
                if pool.len() > 1 && self.order.holds_up(batch.lane()) {
                    pool.drain()?;
                }
                pool.push(batch, mark)?;
                if self.batches.lacks_spare()
                    && let Some(spare) = pool.spare()
                {
                    self.batches.recycle(spare);
                }
            }
            Way::Dry(dry) => {
                dry.count(&batch);
                self.desk.commit(&batch, batch.bad(), None, None)?;
                self.batches.recycle(batch);
            }
        }
        Ok(())
    }
}

fn label(place: &Place<'_>, bucket: String) -> Label {
    Label {
        bucket,
        context: place.context.clone(),
        input: place.input.to_owned(),
        is_once: place.is_once,
        period: None,
        is_v3: false,
    }
}
