//! Routes points to buckets.

use std::process::ExitCode;

use lineflow::cli::feed::Fed;
use lineflow::cli::lp_split_by_bucket::{Args, NAME};
use lineflow::cli::rejects::Rejects;
use lineflow::cli::split::{self, Split};
use lineflow::cli::{self, Outcome, report};

fn main() -> ExitCode {
    cli::main(run)
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let router = args.router()?;
    let mut split = Split::new(Rejects::open(NAME, &args.rejects, &args.input.paths())?);
    let mut fed = Fed::default();
    let result = match &args.dir {
        None => split::to_stdout(&args.input, router, &mut split, &mut fed),
        Some(dir) => split::to_folder(&args.input, dir, router, &mut split, &mut fed),
    };
    let figures = vec![
        ("points read", fed.points),
        ("points written", split.written()),
        ("rejected", split.rejected()),
        ("left out before", fed.left_out),
    ];
    let outcome = result.map(|()| Outcome::after(split.rejected() + fed.left_out));
    report::finish(NAME, &args.report, &figures, outcome)
}
