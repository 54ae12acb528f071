//! One process per bucket.

use std::ffi::OsString;
use std::time::Duration;

use super::Split;
use super::routed::{Destination, Routed};
use crate::cli::exit::{self, Failure};
use crate::cli::feed::Fed;
use crate::cli::{input, signal};
use crate::route::Router;
use crate::route::exec::{Crew, Error};

/// How long to wait without a look at the stop flag.
const SLICE: Duration = Duration::from_millis(100);

/// After a signal the commands have so many slices to come to an end.
const PATIENCE: u32 = 20;

impl Destination for Crew {
    fn failure(err: Error) -> anyhow::Error {
        match err {
            Error::Start { .. } => err.into(),
            Error::TooMany { .. } | Error::Nul(_) => Failure::Config(err.to_string()).into(),
        }
    }

    fn settle(&mut self, split: &mut Split) -> anyhow::Result<()> {
        if !self.is_full() {
            return Ok(());
        }
        self.flush();
        while self.is_full() {
            signal::check()?;
            self.wait(SLICE);
            give_back(self, split)?;
        }
        Ok(())
    }

    fn idle(&mut self, split: &mut Split) -> anyhow::Result<()> {
        self.flush();
        give_back(self, split)?;
        Ok(signal::check()?)
    }
}

/// All inputs into one process per bucket.
pub fn to_commands(
    args: &input::Args,
    command: OsString,
    max_open: usize,
    router: Router,
    split: &mut Split,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let crew = Crew::new(command, max_open);
    let mut routed = Routed::new(router, crew, split);
    let mut result = routed.run(args, fed);
    let left_out = routed.left_out();
    match &result {
        Ok(()) => routed.outlets.close(left_out),
        Err(err) => routed.outlets.fail(exit::status(err)),
    }
    let waited = see_out(&mut routed.outlets, routed.split);
    fed.progress.finish();
    routed.split.tell_unused(&routed.router);
    result = result.and(waited).and(signal::check().map_err(Into::into));
    let ended = tell(&routed.outlets, routed.split);
    result.and(routed.split.rejects.finish()).and(ended)
}

/// Wait for all processes, and take back what they leave.
fn see_out(crew: &mut Crew, split: &mut Split) -> anyhow::Result<()> {
    let mut patience = PATIENCE;
    while !crew.ended(SLICE) {
        give_back(crew, split)?;
        if signal::check().is_err() {
            patience -= 1;
        }
        if patience == 0 {
            break;
        }
    }
    give_back(crew, split)
}

fn give_back(crew: &mut Crew, split: &mut Split) -> anyhow::Result<()> {
    for lost in crew.lost() {
        for point in lost.points() {
            split.written -= 1;
            split.give_back(point, lost.context())?;
        }
    }
    Ok(())
}

/// Say which commands failed or left something; the first failure is ours.
fn tell(crew: &Crew, split: &mut Split) -> anyhow::Result<()> {
    let mut result = Ok(());
    for ended in crew.failures() {
        let (bucket, status, unknown) = (&ended.bucket, ended.status, ended.unknown);
        if unknown > 0 {
            split.written = split.written.saturating_sub(unknown);
            split.unknown += unknown;
            split.note(&format!(
                "bucket {bucket}: its command ended early: {unknown} points, fate unknown"
            ));
        }
        if status == 0 {
            continue;
        }
        let text = format!("bucket {bucket}: its command ended with status {status}");
        if result.is_ok() {
            result = Err(Failure::Command(status, text).into());
        } else {
            split.note(&text);
        }
    }
    result
}
