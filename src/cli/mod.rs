//! What all programs share on the outside: arguments, exit statuses, input, output, signals, rejects, figures.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

pub mod exit;
pub mod feed;
pub mod input;
pub mod lp_filter;
pub mod lp_post;
pub mod lp_rate;
pub mod lp_split_by_bucket;
pub mod out;
pub mod outfile;
pub mod outputs;
pub mod pace;
pub mod rejects;
pub mod report;
pub mod signal;
pub mod split;
pub mod tsm_cat;
pub mod tty;
pub mod value;

/// How a run that came to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything was done.
    Complete,
    /// Some records were left out, here or upstream; they have been counted and explained.
    Partial,
}

impl Outcome {
    /// `Partial` where something was left out.
    pub fn after(left_out: u64) -> Self {
        if left_out == 0 {
            Self::Complete
        } else {
            Self::Partial
        }
    }
}

/// Parse the arguments, run the tool, turn the result into an exit status.
pub fn main<A: Parser>(run: impl FnOnce(A) -> anyhow::Result<Outcome>) -> ExitCode {
    main_with(A::parse, run)
}

/// The same for arguments that need a look before they are parsed.
pub fn main_with<A: Parser>(
    parse: impl FnOnce() -> A,
    run: impl FnOnce(A) -> anyhow::Result<Outcome>,
) -> ExitCode {
    let args = parse();
    let err = match signal::install()
        .map_err(Into::into)
        .and_then(|()| run(args))
    {
        Ok(Outcome::Complete) => return ExitCode::SUCCESS,
        Ok(Outcome::Partial) => return ExitCode::from(exit::PARTIAL),
        Err(err) => err,
    };
    let status = exit::status(&err);
    if status != exit::CLOSED {
        // If stderr is gone as well there is nobody left to tell.
        let _ = writeln!(io::stderr(), "{}: {err:#}", A::command().get_name());
    }
    if let Some(stopped) = err.downcast_ref::<signal::Stopped>() {
        stopped.die();
    }
    ExitCode::from(status)
}
