//! What would be sent where, without sending it.

use std::collections::BTreeMap;
use std::fmt;

use crate::gzip::Packer;
use crate::http::{Found, Target};
use crate::post::batch::Batch;
use crate::post::bisect::Part;
use crate::post::deliver::LEVEL;

/// What would be sent, by bucket.
#[derive(Debug)]
pub struct Dry {
    pub(super) found: Option<Found>,
    /// What would go into each bucket.
    pub buckets: BTreeMap<String, Sent>,
    packer: Packer,
    packed: Vec<u8>,
}

/// What goes into one bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Points.
    pub points: u64,
    /// Requests.
    pub requests: u64,
    /// Bytes of line protocol.
    pub bytes: u64,
    /// The same after compression.
    pub packed: u64,
}

impl fmt::Display for Sent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        let Self {
            points,
            requests,
            bytes,
            packed,
        } = *self;
        write!(
            out,
            "{points} point{} in {requests} request{}, ",
            plural(points),
            plural(requests)
        )?;
        write!(out, "{bytes} bytes, {packed} compressed")
    }
}

impl Dry {
    /// Nothing yet; `target` where one is named.
    pub fn new(target: Option<Target>) -> Self {
        Self {
            found: target.map(Found::Target),
            buckets: BTreeMap::new(),
            packer: Packer::new(LEVEL),
            packed: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, batch: &Batch) {
        let part = Part::good(batch);
        if part.is_empty() {
            return;
        }
        self.packed.clear();
        let slices = part.slices(batch);
        self.packer.member_of(slices, &mut self.packed);
        let bucket = self
            .buckets
            .entry(batch.label().bucket.clone())
            .or_default();
        bucket.points += part.len() as u64;
        bucket.requests += 1;
        bucket.bytes += part.bytes(batch) as u64;
        bucket.packed += self.packed.len() as u64;
    }

    /// All buckets together.
    pub fn total(&self) -> Sent {
        self.buckets
            .values()
            .fold(Sent::default(), |sum, one| Sent {
                points: sum.points + one.points,
                requests: sum.requests + one.requests,
                bytes: sum.bytes + one.bytes,
                packed: sum.packed + one.packed,
            })
    }
}
