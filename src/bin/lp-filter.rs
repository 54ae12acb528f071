//! Keeps the records that match.

use std::process::ExitCode;

use lineflow::cli::feed::{self, Fed, Filter, Scene, Tally};
use lineflow::cli::lp_filter::{Args, EXAMPLE};
use lineflow::cli::out::Out;
use lineflow::cli::rejects::Rejects;
use lineflow::cli::{self, Outcome, report};
use lineflow::filter::{Selection, Selector, Verdict};
use lineflow::lp::glob::Glob;

const NAME: &str = "lp-filter";

struct Selected {
    selector: Selector,
    rejects: Rejects,
    written: u64,
}

fn main() -> ExitCode {
    cli::main(run)
}

fn run(args: Args) -> anyhow::Result<Outcome> {
    let rejects = Rejects::open(NAME, &args.rejects, &args.input.paths())?;
    let mut filter = Selected {
        selector: Selector::new(selection(&args)),
        rejects,
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

fn selection(args: &Args) -> Selection {
    let measurements = args
        .measurement
        .iter()
        .map(|text| Glob::new(text.as_bytes()))
        .collect();
    Selection {
        measurements,
        start: args.start,
        stop: args.stop,
        invert: args.invert_match,
    }
}

impl Filter for Selected {
    fn point(&mut self, record: &[u8], scene: &Scene<'_>, out: &mut Out) -> anyhow::Result<()> {
        match self.selector.verdict(record) {
            Verdict::Keep => {
                self.written += 1;
                out.write(record)
            }
            Verdict::Drop => Ok(()),
            Verdict::Reject(reason) => self.rejects.add(record, scene, reason),
        }
    }

    fn tally(&self) -> Tally {
        Tally {
            written: self.written,
            left_out: self.rejects.count(),
        }
    }
}
