//! How lp-post gets to its server: who it is, what it may be sent, and how many write to it at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::{batch_limits, failure};
use super::settings::{self, Access};
use super::sink::Sink;
use super::{Args, Quota};
use crate::cli::exit::Failure;
use crate::cli::signal;
use crate::http::bucket::Buckets;
use crate::http::client::Client;
use crate::http::limits::Limits;
use crate::http::retry::{Clock, Patience, SystemClock};
use crate::http::{Carrier, Catalog, Found, Target};
use crate::post::batch::Batch;
use crate::post::courier::{Common, Courier};
use crate::post::deliver::Deliverer;
use crate::post::desk::Desk;
use crate::post::gate::Gate;
use crate::post::jobs::{Pool, Work};
use crate::post::journal::History;
use crate::post::server::Server;
use crate::post::{Error, Service};
use crate::rate::budget::{Budget, boot_clock};
use crate::rate::{Limit, Meter, Pacer, Partitions, Rate, SERVERLESS};

/// What a cloud counts its rate over.
const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// A way to a server.
pub(super) struct Line {
    client: Client,
    server: Server,
    clock: SystemClock,
    desk: Arc<Desk>,
    patience: Patience,
}

/// What may be sent at once and in a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Bytes.
    pub bytes: Option<Limit>,
    /// Partitions of a bucket.
    pub partitions: Option<Limit>,
    /// Requests on their way at once.
    pub jobs: usize,
}

impl Pace {
    /// What the arguments say, of themselves.
    pub fn told(args: &Args) -> Self {
        let (bytes, partitions) = match args.rate {
            Some(Quota::Told { bytes, partitions }) => (bytes, partitions),
            Some(Quota::Auto) | None => (Rate::Unlimited, None),
        };
        Self {
            bytes: match bytes {
                Rate::Unlimited => None,
                Rate::Limited(limit) => Some(limit),
            },
            partitions,
            jobs: usize::from(args.jobs),
        }
    }
}

impl Line {
    /// Find out where the server is and what it is.
    pub fn open(
        args: &Args,
        sink: &Sink,
        desk: &Arc<Desk>,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let Access { base, token, org } = settings::access(args, sink)?;
        let Some(base) = base else {
            let text = "there is no server to write to (--host URL, INFLUX_HOST, or a profile of the influx command)";
            return Err(Failure::Config(text.to_owned()).into());
        };
        if args.insecure {
            sink.note("--insecure: nobody checks who the server is");
        }
        let url = base.as_str().to_owned();
        let target = args.target.target();
        let mut line = Self {
            client: settings::client(args, base, token)?,
            server: Server::new(url, target.unwrap_or(Target::V1), org),
            clock: clock(stop),
            desk: Arc::clone(desk),
            patience: patience(args),
        };
        match target {
            Some(target) => line.client.set_target(target),
            None => line.detect(sink)?,
        }
        line.check(args)?;
        if args.create_buckets {
            let (catalog, org) = (line.server.target.catalog(), line.server.org.clone());
            line.server.buckets = Some(Arc::new(Mutex::new(Buckets::new(catalog, org))));
        }
        Ok(line)
    }

    fn detect(&mut self, sink: &Sink) -> anyhow::Result<()> {
        let (found, called) = self.front().detect().map_err(failure)?;
        let url = &self.server.url;
        let target = match found {
            Found::Target(target) => {
                sink.note(&format!("{url} calls itself {called}: --target {target}"));
                target
            }
            Found::SomeCloud => {
                sink.note(&format!(
                    "{url} calls itself {called}: --target serverless or --target cloud, which makes a difference only for names with backslashes"
                ));
                Target::Cloud
            }
        };
        self.server.is_open = found == Found::SomeCloud;
        self.server.target = target;
        self.client.set_target(target);
        Ok(())
    }

    /// What only shows once the target is known.
    fn check(&self, args: &Args) -> anyhow::Result<()> {
        let target = self.server.target;
        let usage = |text: String| Err(Failure::Usage(text).into());
        match target.catalog() {
            Catalog::Elsewhere(why) if args.create_buckets => {
                return usage(format!("--create-buckets: not for {target}: {why}"));
            }
            Catalog::Buckets => {}
            _ if args.bucket_id.is_some() => {
                return usage(format!("--bucket-id: {target} knows buckets by name only"));
            }
            _ if args.dbrp => {
                return usage(format!("--dbrp: {target} has no such mappings"));
            }
            _ => {}
        }
        if args.batch_bytes.get() as u64 > target.ceiling() {
            let ceiling = target.ceiling();
            return usage(format!(
                "--batch-bytes: {target} takes at most {ceiling} bytes at once"
            ));
        }
        if target.needs_org() && self.server.org.is_none() {
            let text = format!("{target} has to be told the organisation (--org NAME)");
            return Err(Failure::Config(text).into());
        }
        Ok(())
    }

    /// Somebody who asks the server, and waits for no rate.
    fn front(&self) -> Deliverer {
        self.deliverer(&self.common(Gate::default()))
    }

    fn common(&self, gate: Gate) -> Common {
        Common {
            desk: Arc::clone(&self.desk),
            gate: Arc::new(gate),
            patience: self.patience,
        }
    }

    fn deliverer(&self, common: &Common) -> Deliverer {
        let carrier = Box::new(self.client.clone());
        let clock = Box::new(self.clock.another());
        let courier = Courier::new(carrier, clock, common.clone());
        Deliverer::new(self.server.clone(), courier)
    }

    /// Whether the server would take writes into a bucket.
    pub fn ping(&self, bucket: &str, sink: &Sink) -> anyhow::Result<()> {
        let server = &self.server;
        if let Err(refused) = server.target.names().check(bucket.as_bytes()) {
            return Err(Failure::Config(refused.to_string()).into());
        }
        self.front().ping(bucket).map_err(failure)?;
        sink.note(&format!("{} takes writes into {bucket}", server.url));
        Ok(())
    }

    /// What may be sent; the server is asked where that is wanted.
    pub fn pace(&self, args: &Args, sink: &Sink) -> anyhow::Result<Pace> {
        let told = Pace::told(args);
        if args.rate != Some(Quota::Auto) {
            return Ok(told);
        }
        let limits = self.front().limits().map_err(failure)?;
        let Some((limits, bytes)) = limits.and_then(|limits| Some((limits, bytes(limits)?))) else {
            let text =
                "--rate auto: the server does not say what may be written (--rate 300MB/5min)";
            return Err(Failure::Config(text.to_owned()).into());
        };
        let most = limits.requests.and_then(|most| usize::try_from(most).ok());
        let pace = Pace {
            bytes: Some(bytes),
            // The cloud with the other engine has none of these.
            partitions: self.server.target.is_v3().then_some(SERVERLESS.partitions),
            jobs: told.jobs.min(most.unwrap_or(usize::MAX)),
        };
        sink.note(&format!(
            "--rate auto: {bytes}, {} requests at once",
            pace.jobs
        ));
        Ok(pace)
    }

    /// Let as many write as may.
    pub fn service(
        self,
        args: &Args,
        pace: &Pace,
        history: Option<History>,
    ) -> anyhow::Result<Service> {
        let partitions = pace.partitions.map(Partitions::new);
        let common = self.common(Gate::new(meter(args, pace.bytes)?, partitions));
        let workers = (0..pace.jobs).map(|_| {
            let mut deliverer = self.deliverer(&common);
            Box::new(move |batch: &Batch, mark| deliverer.deliver(batch, mark)) as Work
        });
        let mut watch = self.clock.another();
        let stopped = Box::new(move || !watch.sleep(Duration::ZERO));
        let room = batch_limits(args, pace)
            .bytes
            .get()
            .saturating_mul(pace.jobs);
        Ok(Service {
            pool: Pool::start(workers.collect(), room, stopped),
            front: self.deliverer(&common),
            history,
        })
    }
}

/// What an organisation may write. Its figure is rounded, so it may be half a thousand bytes a second less.
fn bytes(limits: Limits) -> Option<Limit> {
    let kilobytes = limits.write_kilobytes?;
    let bytes = kilobytes.checked_mul(1000)?.checked_sub(500)?;
    let amount = bytes.checked_mul(FIVE_MINUTES.as_secs())?;
    Some(Limit::new(amount.try_into().ok()?, FIVE_MINUTES))
}

/// The clock of all workers; whoever waits by it looks for a signal and for the end of the run.
fn clock(stop: Arc<AtomicBool>) -> SystemClock {
    const SLICE: Duration = Duration::from_millis(100);
    let sleep = move |mut time: Duration| loop {
        let slice = time.min(SLICE);
        if stop.load(Ordering::Relaxed) || signal::sleep(slice).is_err() {
            return false;
        }
        time -= slice;
        if time.is_zero() {
            return true;
        }
    };
    SystemClock::new(boot_clock, Arc::new(sleep))
}

fn meter(args: &Args, limit: Option<Limit>) -> anyhow::Result<Option<Meter>> {
    let now = boot_clock();
    Ok(match (limit, &args.budget) {
        (None, None) => None,
        (None, Some(_)) => {
            let text = "--budget: there is no rate to share (--rate 300MB/5min)";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        (Some(limit), None) => Some(Meter::Own(Pacer::new(limit, now))),
        (Some(limit), Some(path)) => {
            let opened = Budget::open(path, limit, now);
            let opened = opened.map_err(|err| failure(Error::Budget(Box::new(err))))?;
            Some(Meter::Shared(opened))
        }
    })
}

fn patience(args: &Args) -> Patience {
    Patience {
        base: args.retry_delay,
        total: Some(args.retry_max_time).filter(|time| !time.is_zero()),
        ..Patience::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cloud_says_is_rounded_and_never_exceeded() {
        let bytes = |kilobytes| {
            let limits = Limits {
                write_kilobytes: Some(kilobytes),
                ..Limits::default()
            };
            bytes(limits).map(|limit| limit.to_string())
        };
        assert_eq!(Some("299850kB/5min".to_owned()), bytes(1000));
        assert_eq!(Some("4950kB/5min".to_owned()), bytes(17));
        assert_eq!(None, bytes(u64::MAX));
    }
}
