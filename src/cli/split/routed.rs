//! Feeds a stream to outlets, each point to that of its bucket.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::feed::{self, Fed, Program, Scene};
use crate::cli::lp_split_by_bucket::EXAMPLE;
use crate::cli::split::Split;
use crate::cli::{input, signal};
use crate::lp::Event;
use crate::route::template::Unnamed;
use crate::route::{Outlets, Router};

/// Outlets as a program uses them.
pub trait Destination: Outlets {
    /// The error with the exit status that belongs to it.
    fn failure(err: Self::Error) -> anyhow::Error;

    /// A point has been taken: the moment to wait, if there is no room.
    fn settle(&mut self, split: &mut Split) -> anyhow::Result<()> {
        let _ = split;
        Ok(())
    }

    /// All that was read has been taken; the next point may take its time.
    fn idle(&mut self, split: &mut Split) -> anyhow::Result<()> {
        let _ = split;
        Ok(signal::check()?)
    }
}

/// Outlets, and what says which one a point belongs to.
pub struct Routed<'a, O> {
    pub router: Router,
    pub outlets: O,
    pub split: &'a mut Split,
    /// Rejects before the open stream.
    rejected_before: u64,
}

impl<'a, O: Destination> Routed<'a, O> {
    pub fn new(router: Router, outlets: O, split: &'a mut Split) -> Self {
        Self {
            router,
            outlets,
            split,
            rejected_before: 0,
        }
    }

    /// Run all inputs.
    pub fn run(&mut self, args: &input::Args, fed: &mut Fed) -> anyhow::Result<()> {
        feed::run(args, EXAMPLE, self, fed)?;
        if fed.bytes == 0 && args.paths() == [Path::new("-")] {
            let text = "standard input is empty: the program before wrote nothing";
            return Err(Failure::NoInput(text.to_owned()).into());
        }
        Ok(())
    }

    /// Rejects in the open stream.
    pub fn left_out(&self) -> u64 {
        self.split.rejects.count() - self.rejected_before
    }

    /// Tell the outlets where the point goes, if that is elsewhere than the one before.
    fn select(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<Result<(), Unnamed>> {
        match self.router.next(scene.context, record) {
            Ok(None) => Ok(Ok(())),
            Err(why) => Ok(Err(why)),
            Ok(Some(context)) => {
                let once = scene.is_once && self.router.keeps_apart();
                let left_out = self.left_out();
                let selected = self.outlets.select(&context, once, left_out);
                selected.map_err(O::failure)?;
                Ok(Ok(()))
            }
        }
    }

    fn end(&mut self, left_out: u64) {
        self.outlets.end_streams(left_out);
        self.rejected_before = self.split.rejects.count();
        self.router.enter();
    }
}

impl<O: Destination> Program for Routed<'_, O> {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>) -> anyhow::Result<()> {
        if let Err(why) = self.select(record, scene)? {
            return self.split.reject(record, scene, &why);
        }
        if self.outlets.point(record).map_err(O::failure)? {
            self.split.written += 1;
        } else {
            self.split
                .rejects
                .add(record, scene, "its command has ended")?;
        }
        self.outlets.settle(self.split)
    }

    fn other(&mut self, event: &Event, _: &[u8], _: &Scene<'_>) -> anyhow::Result<()> {
        match event {
            Event::Context(_) => self.router.enter(),
            Event::Begin { .. } => self.end(self.left_out()),
            Event::End { left_out } => self.end(left_out + self.left_out()),
            _ => {}
        }
        Ok(())
    }

    fn idle(&mut self) -> anyhow::Result<()> {
        self.outlets.idle(self.split)
    }

    fn input_end(&mut self, _: &Scene<'_>, _: bool) -> anyhow::Result<()> {
        self.router.enter();
        Ok(())
    }
}
