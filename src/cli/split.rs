//! Brings points to their buckets: on one stream with comments, or in one file per bucket.

use std::io::{self, Write};
use std::path::Path;

use super::exit::Failure;
use super::feed::{self, Fed, Filter, Program, Scene, Tally};
use super::lp_split_by_bucket::{EXAMPLE, NAME};
use super::out::Out;
use super::rejects::Rejects;
use super::{input, signal};
use crate::lp::{Change, Event};
use crate::route::Router;
use crate::route::annotate::Annotator;
use crate::route::sink::{self, Folder};
use crate::route::template::Unnamed;

/// What both kinds of output count.
#[derive(Debug)]
pub struct Split {
    rejects: Rejects,
    written: u64,
}

impl Split {
    /// Nothing counted yet; `rejects` takes the points without bucket.
    pub fn new(rejects: Rejects) -> Self {
        Self {
            rejects,
            written: 0,
        }
    }

    /// Points that have been routed.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Points without bucket.
    pub fn rejected(&self) -> u64 {
        self.rejects.count()
    }

    /// A point without bucket: a reject, unless it is the first point of all.
    fn reject(&mut self, record: &[u8], scene: &Scene<'_>, why: Unnamed) -> anyhow::Result<()> {
        if self.written == 0 && self.rejects.count() == 0 {
            let text =
                format!("{scene}: {why} (say --context DB/RP, or name a bucket with --bucket)");
            return Err(Failure::Config(text).into());
        }
        self.rejects.add(record, scene, &why.to_string())
    }
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
    tell_unused(annotated.annotator.router());
    result.and(split.rejects.finish())
}

/// A rename that never applied is probably misspelled.
fn tell_unused(router: &Router) {
    for from in router.unused() {
        let _ = writeln!(
            io::stderr(),
            "{NAME}: --map {from}=...: no bucket was called that"
        );
    }
}

/// One stream, in which comments name the buckets.
struct Annotated<'a> {
    annotator: Annotator,
    split: &'a mut Split,
}

impl Filter for Annotated<'_> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        let mut routed = Ok(());
        out.print(|buf| routed = self.annotator.point(scene.context, buf))?;
        match routed {
            Ok(()) => {
                self.split.written += 1;
                out.write(record)
            }
            Err(why) => self.split.reject(record, scene, why),
        }
    }

    fn context(
        &mut self,
        change: &Change,
        entry: &[u8],
        scene: &Scene<'_>,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        out.print(|buf| self.annotator.context(change, entry, scene.context, buf))
    }

    fn other(&mut self, event: &Event, text: &[u8], out: &mut Out) -> anyhow::Result<()> {
        let ends = matches!(event, Event::Begin { .. } | Event::End { .. });
        out.print(|buf| self.annotator.other(text, ends, buf))
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

/// One file per bucket.
struct Files<'a> {
    router: Router,
    folder: Folder,
    split: &'a mut Split,
    /// Whether the folder knows where points go; `None` until asked after a change.
    target: Option<Result<(), Unnamed>>,
    /// Rejects before the open stream.
    rejected_before: u64,
}

/// All inputs into one file per bucket in the folder `dir`; none is there unless all is well.
pub fn to_folder(
    args: &input::Args,
    dir: &Path,
    router: Router,
    split: &mut Split,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let mut files = Files {
        router,
        folder: Folder::new(dir).map_err(failure)?,
        split,
        target: None,
        rejected_before: 0,
    };
    feed::run(args, EXAMPLE, &mut files, fed)?;
    if fed.bytes == 0 && args.paths() == [Path::new("-")] {
        let text = "standard input is empty: the program before wrote nothing";
        return Err(Failure::NoInput(text.to_owned()).into());
    }
    tell_unused(&files.router);
    let left_out = files.left_out();
    files.split.rejects.finish()?;
    files.folder.finish(left_out).map_err(failure)
}

impl Files<'_> {
    fn left_out(&self) -> u64 {
        self.split.rejects.count() - self.rejected_before
    }

    fn select(&mut self, scene: &Scene<'_>) -> anyhow::Result<Result<(), Unnamed>> {
        let routed = self.router.route(scene.context);
        if let Ok(context) = &routed {
            let once = scene.is_once && self.router.keeps_apart();
            let left_out = self.left_out();
            self.folder
                .select(context, once, left_out)
                .map_err(failure)?;
        }
        Ok(routed.map(|_| ()))
    }

    fn end(&mut self, left_out: u64) {
        self.folder.end_streams(left_out);
        self.rejected_before = self.split.rejects.count();
        self.target = None;
    }
}

impl Program for Files<'_> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        let target = match self.target {
            Some(target) => target,
            None => self.select(scene)?,
        };
        self.target = Some(target);
        match target {
            Ok(()) => {
                self.split.written += 1;
                self.folder.point(record).map_err(failure)
            }
            Err(why) => self.split.reject(record, scene, why),
        }
    }

    fn other(&mut self, event: &Event, _: &[u8], _: &Scene<'_>) -> anyhow::Result<()> {
        match event {
            Event::Context(_) => self.target = None,
            Event::Begin { .. } => self.end(self.left_out()),
            Event::End { left_out } => self.end(left_out + self.left_out()),
            _ => {}
        }
        Ok(())
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        Ok(signal::check()?)
    }

    fn input_end(&mut self, _: &Scene<'_>, _: bool) -> anyhow::Result<()> {
        self.target = None;
        Ok(())
    }
}

fn failure(err: sink::Error) -> anyhow::Error {
    match err {
        sink::Error::Exists(_) => Failure::Exists(err.to_string()).into(),
        sink::Error::Io { .. } => err.into(),
    }
}
