//! What lp-post tells of a run when it is over.

use std::io::{self, Write};

use super::Args;
use super::run::NAME;
use crate::cli::feed::Fed;
use crate::cli::report::{self, Figures};
use crate::post::desk::Tally;
use crate::post::{Poster, Way};
use crate::rate::Limit;

/// The reasons of rejects, and what a dry run has found.
pub(super) fn tell(args: &Args, limit: Option<Limit>, poster: &Poster, tally: &Tally) {
    let mut err = io::stderr().lock();
    // If standard error is gone there is nobody left to tell.
    if tally.rejected > 0 {
        let _ = writeln!(err, "{NAME}: rejected: {}", tally.reasons());
    }
    let Way::Dry(dry) = poster.way() else {
        return;
    };
    for (bucket, sent) in dry.buckets.iter().take(100) {
        let _ = writeln!(err, "{NAME}: dry run: {bucket}: {sent}");
    }
    let more = dry.buckets.len().saturating_sub(100);
    if more > 0 {
        let _ = writeln!(err, "{NAME}: dry run: {more} more buckets");
    }
    let (total, host) = (dry.total(), args.host.as_deref().unwrap_or("a server"));
    let _ = writeln!(err, "{NAME}: dry run: {total}, would be sent to {host}");
    if let Some(limit) = limit {
        let time = report::span(limit.time_for(total.bytes));
        let _ = writeln!(err, "{NAME}: dry run: takes {time} at {limit}");
    }
}

/// What would mend the rejects, where the server has said enough of them: the last lines of the run.
pub(super) fn advise(poster: &Poster) {
    if let Way::Server(service) = poster.way() {
        for advice in service.front.server().columns.advice().iter().take(10) {
            let _ = writeln!(io::stderr(), "{NAME}: {advice}");
        }
    }
}

pub(super) fn figures(poster: &Poster, tally: &Tally, fed: &Fed) -> Figures {
    let mut figures = vec![
        ("points read", fed.points),
        ("accepted", tally.accepted),
        ("rejected", tally.rejected),
        ("expired", tally.expired),
        ("left out before", fed.left_out),
    ];
    if let Way::Server(service) = poster.way() {
        if service.history.is_some() {
            figures.extend([
                ("skipped by the journal", tally.skipped),
                ("rejected in earlier runs", tally.rejected_before),
            ]);
        }
        figures.extend([
            ("requests", tally.requests),
            ("retries", tally.retries),
            ("bytes sent", tally.bytes),
            ("bytes compressed", tally.packed),
            ("milliseconds waited", tally.waited.as_millis() as u64),
            ("milliseconds paced", tally.paced.as_millis() as u64),
            ("buckets made", tally.made),
        ]);
    }
    figures
}
