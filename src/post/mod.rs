//! lp-post's work: which bucket a point goes to, batches, and what becomes of what the server refuses.

pub mod batch;
pub mod bisect;
pub mod courier;
pub mod deliver;
pub mod dry;
pub mod fit;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bstr::{BString, ByteSlice};

use crate::http::Target;
use crate::lp::dialect::{self, Respelled};
use crate::lp::{Change, Context};
use crate::post::batch::{Batch, Batches, Label, Limits};
use crate::post::deliver::Deliverer;
use crate::post::dry::Dry;
use crate::post::fit::Fitter;

/// Reasons that are told apart when rejects are counted.
const REASONS: usize = 100;

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
}

/// A record that is not stored.
#[derive(Clone, Copy, Debug)]
pub struct Reject<'a> {
    /// Where it should have gone and where it came from.
    pub label: &'a Label,
    /// The line of the input at which it starts.
    pub line: u64,
    /// Why it is not stored.
    pub reason: &'a str,
    /// The record, with its line feed.
    pub record: &'a [u8],
}

/// What takes rejects and news.
pub trait Outlet {
    /// Take a record that is not stored.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    fn reject(&mut self, reject: &Reject<'_>) -> io::Result<()>;

    /// Hand over all rejects so far: there is going to be a wait.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    fn flush(&mut self) -> io::Result<()>;

    /// Tell somebody.
    fn note(&mut self, text: &str);
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Points that came.
    pub points: u64,
    /// Points that are stored.
    pub accepted: u64,
    /// Points that are not.
    pub rejected: u64,
    /// Rejects that are allowed.
    pub max_rejects: u64,
    /// Requests to write.
    pub requests: u64,
    /// Waits before a request was sent again.
    pub retries: u64,
    /// Bytes of line protocol sent, every attempt counted.
    pub bytes: u64,
    /// The same after compression.
    pub packed: u64,
    /// Time waited for the server.
    pub waited: Duration,
    /// Buckets made.
    pub made: u64,
    reasons: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing yet; `max_rejects` are allowed.
    pub fn new(max_rejects: u64) -> Self {
        Self {
            max_rejects,
            ..Self::default()
        }
    }

    /// How often which reason, the most frequent first.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let words: Vec<_> = reasons
            .iter()
            .take(10)
            .map(|(reason, n)| format!("{n} x {reason}"))
            .collect();
        words.join("; ")
    }

    fn count(&mut self, reason: &str) {
        self.rejected += 1;
        let mut kind: String = reason.chars().take(200).collect();
        if self.reasons.len() >= REASONS && !self.reasons.contains_key(&kind) {
            kind = "other reasons".to_owned();
        }
        *self.reasons.entry(kind).or_default() += 1;
    }
}

/// Where what happens is counted and told.
pub struct Desk<'o> {
    /// What was done so far.
    pub tally: &'o mut Tally,
    /// What takes rejects and news.
    pub out: &'o mut dyn Outlet,
}

impl Desk<'_> {
    fn reject(&mut self, batch: &Batch, i: usize, reason: &str) -> Result<(), Error> {
        let (label, line) = (batch.label(), batch.line(i));
        let mut record = batch.record(i);
        let mut respelled = Vec::new();
        // Rejects are a stream like any other: names are in the Go spelling.
        if label.is_v3
            && let Ok(Respelled::Written) = dialect::from_v3(record, &mut respelled)
        {
            record = &respelled;
        }
        self.turn_away(&reject(label, line, reason, record))
    }

    fn turn_away(&mut self, reject: &Reject<'_>) -> Result<(), Error> {
        self.tally.count(reject.reason);
        self.out.reject(reject)?;
        if self.tally.rejected > self.tally.max_rejects {
            return Err(Error::TooManyRejects {
                most: self.tally.max_rejects,
                reasons: self.tally.reasons(),
            });
        }
        Ok(())
    }
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
pub enum Way<'a> {
    /// They go to a server.
    Server(Box<Deliverer<'a>>),
    /// They are compressed and counted.
    Dry(Dry),
}

/// What is known of the point that comes next.
enum Now {
    /// Nothing yet.
    Open,
    /// It goes to the current batch.
    Bucket,
    /// It has no bucket, for this reason.
    Nowhere(String),
}

/// A context whose comments may not all have been read yet.
struct Pending {
    context: Context,
    input: String,
}

/// Takes points and context, and posts.
pub struct Poster<'a> {
    way: Way<'a>,
    routing: Routing,
    /// Whether buckets are made, and for how long they keep points.
    create: Option<Periods>,
    batches: Batches,
    fitter: Fitter,
    now: Now,
    pending: Option<Pending>,
    /// The bucket of the first context, where all go into one.
    first: Option<BString>,
    /// What was done so far.
    pub tally: Tally,
}

impl<'a> Poster<'a> {
    /// Ready for the first point; more than `max_rejects` rejects are an error.
    pub fn new(
        way: Way<'a>,
        routing: Routing,
        create: Option<Periods>,
        limits: Limits,
        max_rejects: u64,
    ) -> Self {
        Self {
            way,
            routing,
            create,
            batches: Batches::new(limits),
            fitter: Fitter::default(),
            now: Now::Open,
            pending: None,
            first: None,
            tally: Tally::new(max_rejects),
        }
    }

    /// Where full batches go.
    pub fn way(&self) -> &Way<'a> {
        &self.way
    }

    /// Take one record.
    pub fn point(
        &mut self,
        record: &[u8],
        place: &Place<'_>,
        out: &mut dyn Outlet,
    ) -> Result<(), Error> {
        if let Now::Open = self.now {
            self.arrive(place, out)?;
        }
        self.tally.points += 1;
        let mut fitter = std::mem::take(&mut self.fitter);
        let fit = match &self.now {
            Now::Nowhere(reason) => Err(reason.clone().into()),
            _ => fitter.fit(self.target(), record),
        };
        let done = match fit {
            Ok(fit) => self.gather(fit, place, out),
            Err(reason) => self.turn_away(record, place, &reason, out),
        };
        self.fitter = fitter;
        done
    }

    /// Put a record into the current batch, after those that must be sent to make room for it.
    fn gather(
        &mut self,
        record: &[u8],
        place: &Place<'_>,
        out: &mut dyn Outlet,
    ) -> Result<(), Error> {
        // One more for the line feed that the last record of an input may lack.
        while let Some(batch) = self.batches.overflow(record.len() + 1) {
            self.send(batch, out)?;
        }
        self.batches.push(record, place.line);
        Ok(())
    }

    /// A context comment has been read; `place` has the context with it.
    pub fn context(
        &mut self,
        change: &Change,
        place: &Place<'_>,
        out: &mut dyn Outlet,
    ) -> Result<(), Error> {
        let had_bucket = |pending: &Pending| pending.context.bucket.is_some();
        let is_next = match change {
            Change::Database(_) | Change::Policy(_) => true,
            Change::Bucket(_) => self.pending.as_ref().is_some_and(had_bucket),
            _ => false,
        };
        if is_next {
            self.settle(out)?;
        }
        // Another bucket for the same points leads elsewhere; everything else begins something new.
        if !matches!(change, Change::Bucket(_)) {
            self.flush(out)?;
        }
        self.now = Now::Open;
        self.pending = Some(Pending {
            context: place.context.clone(),
            input: place.input.to_owned(),
        });
        Ok(())
    }

    /// All context ends here: a stream begins or ends, or an input does.
    pub fn boundary(&mut self, out: &mut dyn Outlet) -> Result<(), Error> {
        self.settle(out)?;
        self.flush(out)
    }

    /// Send everything that has come so far.
    pub fn flush(&mut self, out: &mut dyn Outlet) -> Result<(), Error> {
        self.now = Now::Open;
        for batch in self.batches.take_all() {
            self.send(batch, out)?;
        }
        Ok(())
    }

    fn target(&self) -> Option<Target> {
        match &self.way {
            Way::Server(deliverer) => Some(deliverer.target()),
            Way::Dry(dry) => dry.target,
        }
    }

    /// The context read last is whole: see to its bucket, whether points follow or not.
    fn settle(&mut self, out: &mut dyn Outlet) -> Result<(), Error> {
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
            Ok(bucket) => self.ensure(&bucket, &context, out),
            // Its points will say so, if there are any.
            Err(_) => Ok(()),
        }
    }

    /// The first point since something changed: where does it go?
    fn arrive(&mut self, place: &Place<'_>, out: &mut dyn Outlet) -> Result<(), Error> {
        self.settle(out)?;
        match self.routing.bucket(place) {
            Ok(bucket) => {
                self.ensure(&bucket, place.context, out)?;
                let periods = self.create.as_ref();
                let period = periods.and_then(|periods| periods.of(&bucket, place.context));
                let label = Label {
                    period,
                    is_v3: self.target().is_some_and(Target::reads_names_as_v3),
                    ..label(place, bucket)
                };
                self.batches.switch(&Arc::new(label));
                self.now = Now::Bucket;
            }
            Err(reason) if self.tally.points == 0 => {
                return Err(Error::Setting(format!(
                    "{}:{}: the first point has no bucket: {reason} (--context DB/RP, or --bucket NAME for all points)",
                    place.input, place.line
                )));
            }
            Err(reason) => self.now = Now::Nowhere(reason),
        }
        Ok(())
    }

    fn ensure(
        &mut self,
        bucket: &str,
        context: &Context,
        out: &mut dyn Outlet,
    ) -> Result<(), Error> {
        let Some(periods) = &self.create else {
            return Ok(());
        };
        let Some(period) = periods.of(bucket, context) else {
            return Err(Error::Setting(format!(
                "bucket {bucket}: how long it is to keep points is not known (--retention-period [BUCKET=]DURATION, or infinite)"
            )));
        };
        let tally = &mut self.tally;
        match &mut self.way {
            Way::Server(deliverer) => deliverer.ensure(bucket, period, &mut Desk { tally, out }),
            Way::Dry(_) => Ok(()),
        }
    }

    fn turn_away(
        &mut self,
        record: &[u8],
        place: &Place<'_>,
        reason: &str,
        out: &mut dyn Outlet,
    ) -> Result<(), Error> {
        let label = label(place, self.routing.bucket(place).unwrap_or_default());
        let tally = &mut self.tally;
        Desk { tally, out }.turn_away(&reject(&label, place.line, reason, record))
    }

    fn send(&mut self, batch: Batch, out: &mut dyn Outlet) -> Result<(), Error> {
        let tally = &mut self.tally;
        match &mut self.way {
            Way::Server(deliverer) => {
                deliverer.deliver(&batch, &mut Desk { tally, out })?;
                if let Some(bytes) = deliverer.shrink.take() {
                    self.batches.shrink(bytes);
                }
            }
            Way::Dry(dry) => dry.count(&batch)?,
        }
        self.batches.recycle(batch);
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

fn reject<'a>(label: &'a Label, line: u64, reason: &'a str, record: &'a [u8]) -> Reject<'a> {
    Reject {
        label,
        line,
        reason,
        record,
    }
}
