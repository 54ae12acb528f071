//! What is asked of a server that is no write of records.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::{Deliverer, no_bucket};
use crate::http::answer::{Verdict, judge_nothing};
use crate::http::bucket::{self, Buckets, Done, Wish, org};
use crate::http::limits::{self, Limits};
use crate::http::{Catalog, Found, Payload, Target, detect};
use crate::post::Error;

/// How long buckets keep points, in seconds, as far as the server said it when it was asked.
#[derive(Debug, Default)]
pub struct Asked(HashMap<String, Option<u64>>);

impl Asked {
    /// The period of a bucket, asked for once; 0 is for ever. That nobody says it is told.
    pub fn period(&mut self, name: &str, front: &mut Deliverer) -> Result<Option<u64>, Error> {
        if let Some(known) = self.0.get(name) {
            return Ok(*known);
        }
        let period = front.ask_period(name)?;
        if period.is_none() {
            front.desk.note(&format!(
                "bucket {name}: nobody says for how long it keeps points, so that none count as expired (--retention-period {name}=DURATION says it)"
            ));
        }
        self.0.insert(name.to_owned(), period);
        Ok(period)
    }
}

impl Deliverer {
    /// Ask the server what it is.
    pub fn detect(&mut self) -> Result<(Found, String), Error> {
        let mut answer = self.courier.persist("/ping", Payload::Nothing)?;
        if answer.status == 204 && answer.version.is_none() && answer.build.is_none() {
            // VictoriaMetrics 1.79 says nothing there; here it says whom it takes after.
            answer = self.courier.persist("/query", Payload::Nothing)?;
        }
        let open = |text: String| Error::Setting(format!("{text} (--target says what it is)"));
        let (found, called) = detect(&answer).map_err(open)?;
        if found != Found::SomeCloud {
            return Ok((found, called));
        }
        // Which engine a cloud has is said by its organisations, to whom may look at them.
        let (courier, org) = (&mut self.courier, self.server.org.as_ref());
        let seen = org::see::<Error>(org, &mut |path, payload| courier.persist(path, payload));
        let found = match seen.ok().and_then(|seen| seen.engine).as_deref() {
            Some("iox") => Found::Target(Target::Serverless),
            Some("tsm") => Found::Target(Target::Cloud),
            _ => Found::SomeCloud,
        };
        Ok((found, called))
    }

    /// See to it that a bucket is there before the first record goes into it.
    pub fn ensure(&mut self, wish: &Wish<'_>) -> Result<(), Error> {
        let Some(buckets) = &self.server.buckets else {
            return Ok(());
        };
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let courier = &mut self.courier;
        let done =
            buckets.ensure::<Error>(wish, &mut |path, payload| courier.persist(path, payload));
        let name = wish.name;
        match done? {
            Done::Made => self.desk.count(|tally| tally.made += 1),
            Done::Raised => {
                let period = bucket::period(wish.period);
                self.desk
                    .note(&format!("bucket {name} keeps points for {period} now"));
            }
            Done::FoundBlindly => self.desk.note(&format!(
                "bucket {name} is there, and the server does not say for how long it keeps points"
            )),
            Done::Known | Done::Found => {}
        }
        Ok(())
    }

    /// How long a bucket keeps points, in seconds, as far as this run has found out; 0 is for ever.
    pub fn keeps(&self, name: &str) -> Option<u64> {
        let buckets = self.server.buckets.as_ref()?;
        let buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.keeps(name)
    }

    /// Ask the server how long a bucket keeps points, in seconds; 0 is for ever.
    fn ask_period(&mut self, name: &str) -> Result<Option<u64>, Error> {
        let catalog = self.server.target.catalog();
        let mut buckets = Buckets::new(catalog, self.server.org.clone());
        let courier = &mut self.courier;
        buckets.ask::<Error>(name, &mut |path, payload| courier.persist(path, payload))
    }

    /// What the organisation may write, where the server says it.
    pub fn limits(&mut self) -> Result<Option<Limits>, Error> {
        let catalog = self.server.target.catalog();
        if catalog != Catalog::Buckets {
            return Ok(None);
        }
        let mut buckets = Buckets::new(catalog, self.server.org.clone());
        let courier = &mut self.courier;
        let org = buckets.org_id::<Error>(&mut |path, payload| courier.persist(path, payload))?;
        let answer = self
            .courier
            .persist(&limits::path(&org), Payload::Nothing)?;
        Ok(limits::read(&answer))
    }

    /// Ask whether records may be written into a bucket, by a write without any.
    pub fn ping(&mut self, bucket: &str) -> Result<(), Error> {
        let path = self.server.path(bucket);
        let answer = self.courier.persist(&path, Payload::Lines(b""))?;
        match judge_nothing(&answer) {
            Verdict::Stored => Ok(()),
            Verdict::Hopeless(hopeless) => Err(hopeless.into()),
            Verdict::NoBucket(text) => Err(no_bucket(bucket, &text)),
            other => Err(Error::Service(format!(
                "an odd answer to a write of nothing: {other:?}"
            ))),
        }
    }
}
