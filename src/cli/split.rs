//! Brings points to their buckets: on one stream with comments, in files, to processes, or on paper.

use std::io::{self, Write};

use super::exit::Failure;
use super::feed::{self, Fed, Filter, Scene, Tally};
use super::lp_split_by_bucket::{EXAMPLE, NAME};
use super::out::Out;
use super::rejects::Rejects;
use super::{input, report};
use crate::lp::{Change, Context, Event};
use crate::route::Router;
use crate::route::annotate::Annotator;
use crate::route::template::Unnamed;

pub mod commands;
pub mod files;
pub mod map;
pub mod plan;
mod routed;

/// Names that were renamed and never came: so many are told one by one.
const TOLD: usize = 10;

/// What all kinds of output count.
#[derive(Debug)]
pub struct Split {
    rejects: Rejects,
    progress: report::Progress,
    written: u64,
    unknown: u64,
}

impl Split {
    /// Nothing counted yet; `rejects` takes the points without bucket.
    pub fn new(rejects: Rejects, progress: report::Progress) -> Self {
        Self {
            rejects: rejects.beside(&progress),
            progress,
            written: 0,
            unknown: 0,
        }
    }

    /// Points that have been routed.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Points without bucket, and those that no command took.
    pub fn rejected(&self) -> u64 {
        self.rejects.count()
    }

    /// Points that lay in the pipe of a command when it ended.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Say something to whoever looks.
    fn note(&self, text: &str) {
        // If standard error is gone there is nobody left to tell.
        let tell = || _ = writeln!(io::stderr(), "{NAME}: {text}");
        self.progress.suspend(tell);
    }

    /// A point without bucket: a reject, unless it is the first point of all or nothing but the settings is at fault.
    fn reject(&mut self, record: &[u8], scene: &Scene<'_>, why: &Unnamed) -> anyhow::Result<()> {
        if matches!(why, Unnamed::Given(_) | Unnamed::Period(_)) {
            return Err(refused(scene, why));
        }
        if self.written == 0 && self.rejects.count() == 0 {
            let hint = "say --context DB/RP, or name a bucket with --bucket or --default";
            return Err(Failure::Config(format!("{scene}: {why} ({hint})")).into());
        }
        self.rejects.add(record, scene, &why.to_string())
    }

    /// A point whose command has ended.
    fn give_back(&mut self, record: &[u8], context: &Context) -> anyhow::Result<()> {
        self.rejects
            .add_late(record, context, "its command has ended")
    }

    /// Entries of --map and --map-file that never applied are probably misspelled.
    fn tell_unused(&self, router: &Router) {
        let unused = router.unused();
        for from in unused.iter().take(TOLD) {
            self.note(&format!("--map {from}=...: no bucket was called that"));
        }
        if let Some(more) = unused.len().checked_sub(TOLD).filter(|more| *more > 0) {
            self.note(&format!(
                "{more} more names of --map or --map-file: no bucket was called that"
            ));
        }
    }
}

/// A name that ends the run.
fn refused(scene: &Scene<'_>, why: &Unnamed) -> anyhow::Error {
    let hint = match why {
        Unnamed::Given(_) => " (--map gives it another one; --target says who is to take it)",
        _ => "",
    };
    Failure::Config(format!("{scene}: {why}{hint}")).into()
}

/// All inputs as one stream on standard output, in which comments name the buckets.
pub fn to_stdout(
    args: &input::Args,
    router: Router,
    split: &mut Split,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let annotator = Annotator::new(router);
    let mut annotated = Annotated { annotator, split };
    let result = feed::relay(args, EXAMPLE, &mut annotated, fed);
    fed.progress.finish();
    let router = annotated.annotator.router();
    annotated.split.tell_unused(router);
    result.and(split.rejects.finish())
}

/// One stream, in which comments name the buckets.
struct Annotated<'a> {
    annotator: Annotator,
    split: &'a mut Split,
}

impl Filter for Annotated<'_> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        let mut routed = Ok(());
        out.print(|buf| routed = self.annotator.point(record, scene.context, buf))?;
        match routed {
            Ok(()) => {
                self.split.written += 1;
                out.write(record)
            }
            Err(why) => self.split.reject(record, scene, &why),
        }
    }

    fn context(
        &mut self,
        change: &Change,
        entry: &[u8],
        scene: &Scene<'_>,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        let mut said = Ok(());
        let annotator = &mut self.annotator;
        out.print(|buf| said = annotator.context(change, entry, scene.context, buf))?;
        said.map_err(|why| refused(scene, &why))
    }

    fn other(&mut self, event: &Event, text: &[u8], out: &mut Out) -> anyhow::Result<()> {
        let ends = matches!(event, Event::Begin { .. } | Event::End { .. });
        let mut said = Ok(());
        out.print(|buf| said = self.annotator.other(text, ends, buf))?;
        said.map_err(|why| Failure::Config(why.to_string()).into())
    }

    fn tally(&self) -> Tally {
        Tally {
            written: self.split.written,
            left_out: self.split.rejects.count(),
        }
    }

    fn keeps_once(&self) -> bool {
        self.annotator.router().keeps_apart()
    }
}
