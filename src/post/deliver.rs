//! Brings one batch to the server: as often as it takes, in pieces where it must be, the bad records left out.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use crate::gzip::Packer;
use crate::http::answer::{Hopeless, Refusal};
use crate::http::bucket::{self, Wish};
use crate::post::Error;
use crate::post::batch::Batch;
use crate::post::bisect::{Part, named};
use crate::post::courier::{Courier, Reply};
use crate::post::desk::{self, Desk};
use crate::post::gate::Load;
use crate::post::journal::Mark;
use crate::post::server::Server;

mod front;

pub use front::Asked;

/// 744 MB/s at 10.7:1 on sample text; higher levels cost more time than the network gives back.
pub(super) const LEVEL: u32 = 2;

/// Reasons are cut to so many characters: servers repeat whole requests in them.
const REASON: usize = 1000;

/// Brings batches to one server.
pub struct Deliverer {
    server: Server,
    courier: Courier,
    desk: Arc<Desk>,
    packer: Packer,
    packed: Vec<u8>,
    /// The partitions of what is sent, where these are counted.
    partitions: Vec<u64>,
}

/// One batch on its way.
struct Trip<'b> {
    batch: &'b Batch,
    path: String,
    /// Parts still to be sent; the last one comes next.
    todo: Vec<Part>,
    /// Records that are not stored.
    found: desk::Found,
    /// Records that failed alone and may be to blame.
    suspects: Vec<usize>,
    /// Records stored.
    stored: u64,
    /// The largest body that was stored.
    largest: usize,
    /// Whether connections were cut, so that a part was sent in halves.
    cut: bool,
    /// Whether the bucket was made again.
    made: bool,
}

impl Deliverer {
    /// Ready to send.
    pub fn new(server: Server, courier: Courier) -> Self {
        let desk = Arc::clone(&courier.common().desk);
        Self {
            server,
            courier,
            desk,
            packer: Packer::new(LEVEL),
            packed: Vec::new(),
            partitions: Vec::new(),
        }
    }

    /// What is known of the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Store all records of a batch but the bad ones, which are rejected; then put it down as done under its mark.
    pub fn deliver(&mut self, batch: &Batch, mark: Option<Mark>) -> Result<(), Error> {
        let mut trip = Trip {
            batch,
            path: self.server.path(&batch.label().bucket),
            todo: Vec::new(),
            found: batch.bad().to_vec(),
            suspects: Vec::new(),
            stored: 0,
            largest: 0,
            cut: false,
            made: false,
        };
        let result = self.go(&mut trip);
        trip.found.sort_by_key(|(record, _)| *record);
        let committed = self
            .desk
            .commit(batch, &trip.found, mark, result.as_ref().err());
        match (result, committed) {
            // Only now all reasons are counted.
            (Err(Error::TooManyRejects { .. }), Err(err)) => Err(err),
            (result, committed) => result.and(committed),
        }
    }

    fn go(&mut self, trip: &mut Trip<'_>) -> Result<(), Error> {
        let part = self.without_known(trip);
        if part.is_empty() {
            return Ok(());
        }
        // What comes first in the batch lies on top: the points of a series keep their order.
        let most = self.server.most();
        trip.todo = part.pieces(trip.batch, most);
        if let Some(most) = self.courier.common().gate.spread() {
            let parts = trip.todo.drain(..);
            trip.todo = parts
                .flat_map(|part| part.spread(trip.batch, most))
                .collect();
        }
        trip.todo.reverse();
        while let Some(part) = trip.todo.pop() {
            self.step(trip, part)?;
        }
        for record in std::mem::take(&mut trip.suspects) {
            trip.cut = false;
            self.deliver_suspect(trip, record)?;
        }
        if trip.cut {
            // No record was to blame: the server cuts off what is too large for it.
            self.server.shrink(trip.largest);
        }
        Ok(())
    }

    /// Send one part; what is left of it is put on top.
    fn step(&mut self, trip: &mut Trip<'_>, part: Part) -> Result<(), Error> {
        match self.attempt(trip, &part, true)? {
            Reply::Stored => {
                trip.largest = trip.largest.max(part.bytes(trip.batch));
                self.stored(trip, part.len());
            }
            Reply::Refused(refusal) => self.refused(trip, &part, &refusal)?,
            Reply::TooLarge(reason) => match single(&part) {
                Some(record) => self.reject(trip, record, &reason)?,
                None => {
                    self.server.shrink(part.bytes(trip.batch) / 2);
                    trip.halve(&part);
                }
            },
            reply @ (Reply::Suspect(_) | Reply::Cut(_)) => match single(&part) {
                Some(record) => trip.suspects.push(record),
                None => {
                    trip.cut |= matches!(reply, Reply::Cut(_));
                    trip.halve(&part);
                }
            },
            Reply::NoBucket(reason) if trip.made || self.server.buckets.is_none() => {
                return Err(no_bucket(&trip.batch.label().bucket, &reason));
            }
            Reply::NoBucket(_) => {
                trip.made = true;
                self.make_again(trip.batch)?;
                trip.todo.push(part);
            }
        }
        Ok(())
    }

    /// A record that failed alone. It is to blame only if others were stored; else it is the server.
    fn deliver_suspect(&mut self, trip: &mut Trip<'_>, record: usize) -> Result<(), Error> {
        let others = trip.stored > 0;
        let reason = match self.attempt(trip, &Part::one(record), others)? {
            Reply::Stored => {
                self.stored(trip, 1);
                return Ok(());
            }
            Reply::Refused(refusal) => refusal.message,
            Reply::TooLarge(reason) => reason,
            Reply::NoBucket(reason) => {
                return Err(no_bucket(&trip.batch.label().bucket, &reason));
            }
            Reply::Suspect(reason) | Reply::Cut(reason) => {
                format!("{reason}, again and again for this record alone while others are stored")
            }
        };
        self.reject(trip, record, &reason)
    }

    /// The records that may be sent, without those of which the server has already said that it refuses them.
    fn without_known(&self, trip: &mut Trip<'_>) -> Part {
        let part = Part::good(trip.batch);
        let columns = &self.server.columns;
        // Where each shard has its own types, a refusal says nothing of another time.
        if !columns.any() || !self.server.target.is_v3() {
            return part;
        }
        let bucket = &trip.batch.label().bucket;
        let refused = part.records().filter_map(|record| {
            let reason = columns.refuse(bucket, trip.batch.record(record))?;
            Some((record, Cow::Owned(reason)))
        });
        let refused: desk::Found = refused.collect();
        let rest = part.without(refused.iter().map(|(record, _)| *record));
        trip.found.extend(refused);
        rest
    }

    /// Some records are bad: those named are rejected and the rest goes again; without names, halves find them.
    fn refused(
        &mut self,
        trip: &mut Trip<'_>,
        part: &Part,
        refusal: &Refusal,
    ) -> Result<(), Error> {
        let named = named(trip.batch, part, refusal);
        if let Some(record) = single(part) {
            let reason = named
                .records
                .first()
                .map_or(&refusal.message, |(_, reason)| reason);
            return self.reject(trip, record, reason);
        }
        if named.records.is_empty() {
            trip.halve(part);
            return Ok(());
        }
        for (record, reason) in &named.records {
            self.reject(trip, *record, reason)?;
        }
        let rest = part.without(named.records.iter().map(|(record, _)| *record));
        if named.others_stored {
            self.stored(trip, rest.len());
        } else if !rest.is_empty() {
            trip.todo.push(rest);
        }
        Ok(())
    }

    fn reject(&self, trip: &mut Trip<'_>, record: usize, reason: &str) -> Result<(), Error> {
        let (bucket, text) = (&trip.batch.label().bucket, trip.batch.record(record));
        self.server.columns.learn(bucket, text, reason);
        let reason: String = reason.chars().take(REASON).collect();
        trip.found.push((record, Cow::Owned(reason)));
        // One more than allowed is written, with the reasons of all.
        if self.desk.is_too_much(trip.found.len()) {
            return Err(self.desk.too_many());
        }
        Ok(())
    }

    fn stored(&self, trip: &mut Trip<'_>, records: usize) {
        trip.stored += records as u64;
        self.desk.count(|tally| tally.accepted += records as u64);
    }

    fn attempt(&mut self, trip: &Trip<'_>, part: &Part, may_suspect: bool) -> Result<Reply, Error> {
        self.packed.clear();
        let slices = part.slices(trip.batch);
        self.packer.member_of(slices, &mut self.packed);
        self.partitions.clear();
        if self.courier.common().gate.spread().is_some() {
            part.partitions(trip.batch, &mut self.partitions);
        }
        let load = Load {
            bytes: part.bytes(trip.batch) as u64,
            bucket: &trip.batch.label().bucket,
            partitions: &self.partitions,
        };
        self.courier
            .write(&trip.path, &self.packed, load, may_suspect)
    }

    /// The bucket was there and is gone, or was made a moment ago and is not known everywhere yet.
    fn make_again(&mut self, batch: &Batch) -> Result<(), Error> {
        let label = batch.label();
        if let Some(buckets) = &self.server.buckets {
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            buckets.forget(&label.bucket);
        }
        match label.period {
            Some(period) => self.ensure(&Wish {
                name: &label.bucket,
                period,
                mapping: None,
            }),
            None => Ok(()),
        }
    }
}

impl Trip<'_> {
    fn halve(&mut self, part: &Part) {
        let (first, second) = part.halves();
        self.todo.push(second);
        self.todo.push(first);
    }
}

/// The record of a part that has only one.
fn single(part: &Part) -> Option<usize> {
    part.records().next().filter(|_| part.len() == 1)
}

fn no_bucket(bucket: &str, reason: &str) -> Error {
    Error::Setting(format!(
        "{reason} (make {bucket} by hand, or --create-buckets where the server can; --org and --host may be wrong as well)"
    ))
}

impl From<Hopeless> for Error {
    fn from(hopeless: Hopeless) -> Self {
        match hopeless {
            Hopeless::Setting(text) => Self::Setting(text),
            Hopeless::Permission(text) => Self::Permission(text),
            Hopeless::Service(text) => Self::Service(text),
        }
    }
}

impl From<bucket::Error> for Error {
    fn from(err: bucket::Error) -> Self {
        let text = err.to_string();
        match err {
            bucket::Error::Setting(_) | bucket::Error::KeepsLess { .. } => Self::Setting(text),
            bucket::Error::Permission(_) => Self::Permission(text),
            bucket::Error::Refused(_) => Self::Service(text),
        }
    }
}

#[cfg(test)]
mod tests;
