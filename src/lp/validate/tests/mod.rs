//! Verdicts written down: what real servers were seen to do, rule by rule and target by target.

use super::*;
use crate::lp::frame::Framer;

mod crate_agrees;
mod fast_agrees;
mod generate;
mod rows;
mod rules;
mod table;

/// The entries of a body as the servers cut them; what is left at the end is one too.
fn entries(body: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut all) = (body, Vec::new());
    while let Some(end) = Framer::default().end(rest) {
        let (entry, behind) = rest.split_at(end.len);
        all.push(entry);
        rest = behind;
    }
    if !rest.is_empty() {
        all.push(rest);
    }
    all
}

/// `+` for an entry that passes, the rule for one that does not.
fn verdicts(target: Target, body: &[u8]) -> String {
    let mut validator = Validator::new(target);
    let verdict = |entry: &[u8]| match validator.check(entry) {
        Ok(()) => "+".to_owned(),
        Err(fault) => fault.rule.to_string(),
    };
    let all: Vec<_> = entries(body).into_iter().map(verdict).collect();
    all.join(" ")
}
