//! What all who write to a server know of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::http::bucket::Buckets;
use crate::http::{Found, Org, Target};
use crate::post::column::Columns;

/// Requests are not made smaller than this because larger ones were refused, unless these are refused too.
const SMALLEST: usize = 64 << 10;

/// Where records go and how; clones speak of the same server.
#[derive(Clone)]
pub struct Server {
    /// Its URL.
    pub url: String,
    /// What it is, or is taken for.
    pub target: Target,
    /// Whether it may have the other engine of InfluxDB Cloud as well.
    pub is_open: bool,
    /// The organisation to write for.
    pub org: Option<Org>,
    /// The buckets to make, where that is wanted.
    pub buckets: Option<Arc<Mutex<Buckets>>>,
    /// The most that it is willing to take at once, as far as it has said so, in bytes.
    most: Arc<AtomicUsize>,
    /// Columns that refuse values.
    pub columns: Arc<Columns>,
}

impl Server {
    /// A server of which nothing is known yet but this.
    pub fn new(url: String, target: Target, org: Option<Org>) -> Self {
        Self {
            url,
            target,
            is_open: false,
            org,
            buckets: None,
            most: Arc::new(AtomicUsize::new(usize::MAX)),
            columns: Arc::default(),
        }
    }

    /// What is known of it.
    pub fn found(&self) -> Found {
        match self.is_open {
            true => Found::SomeCloud,
            false => Found::Target(self.target),
        }
    }

    /// Path and query of the request that writes into a bucket.
    pub(super) fn path(&self, bucket: &str) -> String {
        self.target.write_path(self.org.as_ref(), bucket)
    }

    /// What a record goes to: two servers, organisations or buckets never have the same.
    pub fn destination(&self, bucket: &str) -> String {
        format!("{}{}", self.url, self.path(bucket))
    }

    /// The most to send at once, in bytes.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Larger requests have been refused: send at most so many bytes at once from now on.
    pub(super) fn shrink(&self, bytes: usize) {
        self.most.fetch_min(bytes.max(SMALLEST), Ordering::Relaxed);
    }
}
