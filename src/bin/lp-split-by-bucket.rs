//! Routes points to buckets.

use std::process::ExitCode;

use lineflow::cli::feed::Fed;
use lineflow::cli::lp_split_by_bucket::{Args, NAME};
use lineflow::cli::rejects::Rejects;
use lineflow::cli::report::{self, Progress};
use lineflow::cli::split::{self, Split};
use lineflow::cli::{self, Outcome, outputs};

fn main() -> ExitCode {
    cli::main(run)
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let router = args.router()?;
    let form = args.form()?;
    outputs::check(
        &outputs::usual(&args.rejects, &args.report),
        &args.input.paths(),
    )?;
    let rejects = Rejects::open(NAME, &args.rejects)?;
    let progress = Progress::start(NAME, args.progress, None);
    let mut split = Split::new(rejects, progress.clone());
    let mut fed = Fed {
        progress,
        ..Fed::default()
    };
    let (input, to, from) = (&args.input, &mut split, &mut fed);
    let result = match (&args.dir, &args.exec, form) {
        (Some(dir), _, _) => split::files::to_folder(input, dir, args.files(), router, to, from),
        (_, Some(command), _) => {
            let (command, most) = (command.clone(), args.max_open.get());
            split::commands::to_commands(input, command, most, router, to, from)
        }
        (_, _, Some(form)) => split::plan::print(input, form, args.measure(), router, to, from),
        _ => split::to_stdout(input, router, to, from),
    };
    fed.progress.finish();
    let lost = split.rejected() + split.unknown();
    let mut figures = vec![
        ("points read", fed.points),
        ("points written", split.written()),
        ("rejected", split.rejected()),
        ("left out before", fed.left_out),
    ];
    if args.exec.is_some() {
        figures.push(("fate unknown", split.unknown()));
    }
    let outcome = result.map(|()| Outcome::after(lost + fed.left_out));
    report::finish(NAME, &args.report, &figures, outcome)
}
