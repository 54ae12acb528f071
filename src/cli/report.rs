//! The figures of a run: progress meanwhile, a line for people, a file for programs.

mod progress;

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value};

use super::{Outcome, exit, tty};

pub use progress::{Args as ProgressArgs, Progress, span};

/// What to tell of the run.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Args {
    /// Print a line of figures at the end even if nobody looks and nothing was left out
    #[arg(long)]
    pub verbose: bool,

    /// Write the figures of the run to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
}

/// What has been counted, by name.
pub type Figures = Vec<(&'static str, u64)>;

/// Tell how the run ended; hands the result on.
///
/// The line is printed where standard error is a terminal, with `--verbose`, and when the status is not 0.
pub fn finish(
    program: &str,
    args: &Args,
    figures: &Figures,
    result: anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    finish_with(program, args, figures, &[], result)
}

/// The same with words that only the summary holds, each with its name.
pub fn finish_with(
    program: &str,
    args: &Args,
    figures: &Figures,
    words: &[(&str, String)],
    result: anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let status = match &result {
        Ok(Outcome::Complete) => 0,
        Ok(Outcome::Partial) => exit::PARTIAL,
        Err(err) => exit::status(err),
    };
    let wanted = status != 0 && status != exit::CLOSED;
    if wanted || args.verbose || tty::is_terminal(tty::Stream::Stderr) {
        let _ = writeln!(io::stderr(), "{program}: {}", line(figures));
    }
    let written = write_summary(program, args, figures, words, status);
    result.and_then(|outcome| written.map(|()| outcome))
}

fn line(figures: &Figures) -> String {
    let words: Vec<_> = figures
        .iter()
        .map(|(name, n)| format!("{n} {name}"))
        .collect();
    words.join(", ")
}

fn write_summary(
    program: &str,
    args: &Args,
    figures: &Figures,
    words: &[(&str, String)],
    status: u8,
) -> anyhow::Result<()> {
    let Some(path) = &args.summary else {
        return Ok(());
    };
    let mut json = Map::new();
    json.insert("program".into(), Value::from(program));
    json.insert("status".into(), Value::from(status));
    let words = words.iter();
    json.extend(words.map(|(name, word)| ((*name).to_owned(), Value::from(word.as_str()))));
    json.extend(
        figures
            .iter()
            .map(|(name, n)| (name.replace(' ', "_"), Value::from(*n))),
    );
    std::fs::write(path, format!("{}\n", Value::from(json)))
        .with_context(|| path.display().to_string())
}
