//! lp-post's work: which bucket a point goes to, batches, and what becomes of what the server refuses.

pub mod batch;
pub mod bisect;
pub mod column;
pub mod courier;
pub mod deliver;
pub mod desk;
pub mod dry;
pub mod fit;
pub mod gate;
pub mod jobs;
pub mod journal;
mod lane;
pub mod server;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bstr::{BString, ByteSlice};

use crate::http::Target;
use crate::lp::{Change, Context};
use crate::post::batch::{Batch, Batches, Label, Limits};
use crate::post::deliver::Deliverer;
use crate::post::desk::Desk;
use crate::post::dry::Dry;
use crate::post::fit::Fitter;
use crate::post::jobs::Pool;
use crate::post::journal::{History, Mark};
use crate::post::lane::Lanes;

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
}

/// Which bucket is whose.
#[derive(Clone, Debug, Default)]
pub struct Routing {
    /// The bucket of all points.
    pub bucket: Option<String>,
    /// Whether that may be so for points that the stream keeps apart.
    pub merge: bool,
    /// `database/policy` of points without context.
    pub context: Option<String>,
    /// The bucket of points of a stream that never had a context.
    pub fallback: Option<String>,
}

impl Routing {
    /// The bucket of a point, or why it has none.
    fn bucket(&self, place: &Place<'_>) -> Result<String, String> {
        if let Some(bucket) = &self.bucket {
            return Ok(bucket.clone());
        }
        let own = own_bucket(place.context);
        if let Some(own) = own {
            let name = own
                .to_str()
                .map_err(|_| "the name of its bucket is not UTF-8")?;
            return Ok(name.to_owned());
        }
        if place.context.is_empty()
            && let Some(bucket) = &self.context
        {
            return Ok(bucket.clone());
        }
        match &self.fallback {
            Some(bucket) if !place.had_context => Ok(bucket.clone()),
            _ if place.context.is_empty() => Err("it has no context, so no bucket".to_owned()),
            _ => Err("its context names no bucket and no retention policy".to_owned()),
        }
    }
}

/// The bucket that the stream itself names.
fn own_bucket(context: &Context) -> Option<BString> {
    context.bucket.clone().or_else(|| context.path())
}

/// How long buckets that are made keep their points, in seconds; 0 is for ever.
#[derive(Clone, Debug, Default)]
pub struct Periods {
    /// For buckets by name; stronger than what the stream says.
    pub named: HashMap<String, u64>,
    /// For all others of which the stream does not say it.
    pub default: Option<u64>,
}

impl Periods {
    fn of(&self, bucket: &str, context: &Context) -> Option<u64> {
        let named = self.named.get(bucket).copied();
        named.or(context.period).or(self.default)
    }
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
    },
    /// It has no bucket, for this reason.
    Nowhere(String),
}

/// A context whose comments may not all have been read yet.
struct Pending {
    context: Context,
    input: String,
}

/// Takes points and context, and posts.
pub struct Poster {
    way: Way,
    desk: Arc<Desk>,
    routing: Routing,
    /// Whether buckets are made, and for how long they keep points.
    create: Option<Periods>,
    batches: Batches,
    fitter: Fitter,
    now: Now,
    pending: Option<Pending>,
    /// The bucket of the first context, where all go into one.
    first: Option<BString>,
    /// Points that came.
    points: u64,
    order: Order,
    lanes: Lanes,
}

/// What has to be there before the next batch is sent, where several are on their way at once.
#[derive(Debug, Default)]
struct Order {
    /// Batches that go in any order are on their way.
    free: bool,
    /// Batches of lanes are on their way.
    lanes: bool,
    /// All of that comes before what is sent next.
    due: bool,
}

impl Order {
    /// A stream ends here. Each point is in it at most once, but the next one may hold the same.
    fn boundary(&mut self) {
        self.due |= self.free;
    }

    /// Whether a batch has to wait for all before it.
    fn holds_up(&mut self, lane: Option<usize>) -> bool {
        let waits = self.due || (lane.is_none() && self.lanes);
        if waits {
            *self = Self::default();
        }
        match lane {
            Some(_) => self.lanes = true,
            None => self.free = true,
        }
        waits
    }
}

impl Poster {
    /// Ready for the first point.
    pub fn new(
        way: Way,
        desk: Arc<Desk>,
        routing: Routing,
        create: Option<Periods>,
        limits: Limits,
    ) -> Self {
        Self {
            way,
            desk,
            routing,
            create,
            batches: Batches::new(limits),
            fitter: Fitter::default(),
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
        let mut fitter = std::mem::take(&mut self.fitter);
        let (lane, fit) = match &self.now {
            Now::Nowhere(reason) => (None, Err(Cow::Owned(reason.clone()))),
            Now::Bucket { lanes } => {
                let lane = (*lanes > 0).then(|| self.lanes.of(record, *lanes));
                (lane, fitter.fit(self.target(), record))
            }
            Now::Open => (None, Ok(record)),
        };
        let done = match fit {
            Ok(fit) => self.gather(lane, fit, place.line, None),
            Err(reason) => self.gather(lane, record, place.line, Some(reason)),
        };
        self.fitter = fitter;
        done
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
        }
        self.batches.push(lane, record, line, bad);
        Ok(())
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
        for batch in self.batches.take_all() {
            self.send(batch)?;
        }
        Ok(())
    }

    /// Send everything that has come, and wait until it is there.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.flush()?;
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

    fn target(&self) -> Option<Target> {
        match &self.way {
            Way::Server(service) => Some(service.front.server().target),
            Way::Dry(dry) => dry.target,
        }
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
                let periods = self.create.as_ref();
                let period = periods.and_then(|periods| periods.of(&bucket, place.context));
                let label = Label {
                    period,
                    is_v3: self.target().is_some_and(Target::reads_names_as_v3),
                    ..label(place, bucket)
                };
                self.batches.switch(&Arc::new(label));
                let lanes = match &self.way {
                    Way::Server(service) if !place.is_once => service.pool.len(),
                    _ => 0,
                };
                self.now = Now::Bucket {
                    lanes: if lanes > 1 { lanes } else { 0 },
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
        let Some(periods) = &self.create else {
            return Ok(());
        };
        let Some(period) = periods.of(bucket, context) else {
            return Err(Error::Setting(format!(
                "bucket {bucket}: how long it is to keep points is not known (--retention-period [BUCKET=]DURATION, or infinite)"
            )));
        };
        match &mut self.way {
            Way::Server(service) => service.front.ensure(bucket, period),
            Way::Dry(_) => Ok(()),
        }
    }

    fn send(&mut self, batch: Batch) -> Result<(), Error> {
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
                if let Some(spare) = pool.spare() {
                    self.batches.recycle(spare);
                }
            }
            Way::Dry(dry) => {
                dry.count(&batch)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_may_hold_the_same_points_are_sent_one_after_the_other() {
        let mut order = Order::default();
        assert!(!order.holds_up(None));
        assert!(!order.holds_up(None));
        order.boundary();
        assert!(order.holds_up(None));
        order.boundary();
        assert!(order.holds_up(Some(1)));
        assert!(!order.holds_up(Some(2)));
        // Lanes keep their order from stream to stream.
        order.boundary();
        assert!(!order.holds_up(Some(1)));
        assert!(order.holds_up(None));
        assert!(!order.holds_up(None));
    }
}
