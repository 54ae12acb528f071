//! Passes a stream on, no faster than a rate.

use std::process::ExitCode;
use std::time::Duration;

use lineflow::cli::feed::Fed;
use lineflow::cli::lp_rate::{Args, NAME};
use lineflow::cli::pace::{self, Clock, Pace};
use lineflow::cli::rejects::Rejects;
use lineflow::cli::report::{self, Progress};
use lineflow::cli::{self, Outcome, outputs};

fn main() -> ExitCode {
    cli::main(run)
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let limits = args.limits()?;
    outputs::check(
        &outputs::usual(&args.rejects, &args.figures),
        &args.input.paths(),
    )?;
    let rejects = Rejects::open(NAME, &args.rejects)?;
    let clock = match (args.dry_run, &args.budget) {
        (true, _) => Clock::simulated(),
        (false, Some(_)) => Clock::host(),
        (false, None) => Clock::real(),
    };
    let every = args.report.map(|n| Duration::from_secs(n.get()));
    let progress = Progress::start(NAME, args.progress, every);
    let mut fed = Fed {
        progress: progress.clone(),
        ..Fed::default()
    };
    let mut pace = Pace::new(limits, args.budget.as_deref(), clock, rejects, progress)?;
    let result = match args.dry_run {
        true => pace::dry_run(&args.input, limits, &mut pace, &mut fed),
        false => pace::to_stdout(&args.input, &mut pace, &mut fed),
    };
    fed.progress.finish();
    let figures = vec![
        ("points read", fed.points),
        ("points passed", pace.passed()),
        ("rejected", pace.rejected()),
        ("left out before", fed.left_out),
        ("seconds waited", pace.waited().as_secs()),
    ];
    let outcome = result.map(|()| Outcome::after(pace.rejected() + fed.left_out));
    report::finish(NAME, &args.figures, &figures, outcome)
}
