//! Passes a stream on, no faster than a rate.

use std::process::ExitCode;

use lineflow::cli::feed::Fed;
use lineflow::cli::lp_rate::{Args, NAME};
use lineflow::cli::pace::{self, Clock, Pace};
use lineflow::cli::rejects::Rejects;
use lineflow::cli::{self, Outcome, report};

fn main() -> ExitCode {
    cli::main(run)
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let rate = args.rate()?;
    let rejects = Rejects::open(NAME, &args.rejects, &args.input.paths())?;
    let mut fed = Fed::default();
    let (mut pace, result);
    if args.dry_run {
        pace = Pace::new(rate, Clock::simulated(), rejects);
        result = pace::dry_run(&args.input, rate, &mut pace, &mut fed);
    } else {
        pace = Pace::new(rate, Clock::real(), rejects);
        result = pace::to_stdout(&args.input, &mut pace, &mut fed);
    }
    let figures = vec![
        ("points read", fed.points),
        ("points passed", pace.passed()),
        ("rejected", pace.rejected()),
        ("left out before", fed.left_out),
        ("seconds waited", pace.waited().as_secs()),
    ];
    let outcome = result.map(|()| Outcome::after(pace.rejected() + fed.left_out));
    report::finish(NAME, &args.report, &figures, outcome)
}
