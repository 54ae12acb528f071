//! Keeps the records that match.

use std::process::ExitCode;

use lineflow::cli::exit::Failure;
use lineflow::cli::feed::{self, Fed, Filter as _, Scene, Tally};
use lineflow::cli::lp_filter::{Args, EXAMPLE};
use lineflow::cli::out::Out;
use lineflow::cli::rejects::Rejects;
use lineflow::cli::{self, Outcome, outputs, report};
use lineflow::filter::{Filter, Reason, Verdict};

const NAME: &str = "lp-filter";

struct Filtering {
    filter: Filter,
    rejects: Rejects,
    strict: bool,
    keeps_once: bool,
    written: u64,
}

fn main() -> ExitCode {
    cli::main(run)
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let rewrite = args.rewrite().map_err(Failure::Usage)?;
    let keeps_once = rewrite.keeps_once();
    let mut filter = Filter::new(args.selection(), rewrite);
    if let Some(target) = args.validate {
        filter = filter.validate(target);
    }
    outputs::check(
        &outputs::usual(&args.rejects, &args.report),
        &args.input.paths(),
    )?;
    let mut filter = Filtering {
        keeps_once,
        filter,
        rejects: Rejects::open(NAME, &args.rejects)?,
        strict: args.strict,
        written: 0,
    };
    let mut fed = Fed::default();
    let result = feed::relay(&args.input, EXAMPLE, &mut filter, &mut fed);
    let result = result.and(filter.rejects.finish());
    let Tally { written, left_out } = filter.tally();
    let figures = vec![
        ("points read", fed.points),
        ("points written", written),
        ("rejected", left_out),
        ("left out before", fed.left_out),
    ];
    let outcome = result.map(|()| Outcome::after(left_out + fed.left_out));
    report::finish(NAME, &args.report, &figures, outcome)
}

impl Filtering {
    fn reject(&mut self, record: &[u8], scene: &Scene<'_>, reason: Reason) -> anyhow::Result<()> {
        self.rejects.add(record, scene, &reason.to_string())?;
        match self.strict {
            true => Err(Failure::Data("stopped at the first reject (--strict)".into()).into()),
            false => Ok(()),
        }
    }
}

impl feed::Filter for Filtering {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        let reason = match self.filter.judge(record) {
            Verdict::Keep => {
                self.written += 1;
                return out.write(record);
            }
            Verdict::Changed => {
                self.written += 1;
                return out.write(self.filter.changed());
            }
            Verdict::Drop => return Ok(()),
            Verdict::Reject(reason) => reason,
        };
        self.reject(record, scene, reason)
    }

    fn comment(&mut self, text: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        match self.filter.judge_comment(text) {
            Ok(()) => out.write(text),
            Err(reason) => self.reject(text, scene, reason),
        }
    }

    fn entered(&mut self, scene: &Scene<'_>) {
        self.filter.enter(scene.context);
    }

    fn tally(&self) -> Tally {
        Tally {
            written: self.written,
            left_out: self.rejects.count(),
        }
    }

    fn keeps_once(&self) -> bool {
        self.keeps_once
    }
}
