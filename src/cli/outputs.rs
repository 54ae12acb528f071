//! What a run writes must replace nothing that it reads, nothing that a server stores, and nothing else that it writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::exit::Failure;
use super::{rejects, report};

/// How files of a server's storage are called, whose loss cannot be made good.
const STORED: [&str; 3] = ["tsm", "tombstone", "wal"];
const METADATA: &str = "meta.db";

/// An option, and the file that it names.
pub type Named<'a> = (&'static str, Option<&'a Path>);

/// The files that all filters can write.
pub fn usual<'a>(rejects: &'a rejects::Args, report: &'a report::Args) -> [Named<'a>; 2] {
    [
        ("--rejects", rejects.rejects.as_deref()),
        ("--summary", report.summary.as_deref()),
    ]
}

/// Check the files that options name before anything is read: later it may be too late, or a pity.
pub fn check(outputs: &[Named<'_>], inputs: &[PathBuf]) -> anyhow::Result<()> {
    let named = outputs
        .iter()
        .filter_map(|(option, path)| Some((option, (*path)?)));
    let mut before: Vec<(&str, PathBuf)> = Vec::new();
    for (option, path) in named {
        let name = path.display();
        let there = fs::metadata(path);
        if there.as_ref().is_ok_and(|there| !there.is_file()) {
            // A device, a pipe, or a folder, which who opens it says.
            continue;
        }
        let place = resolved(path).map_err(|err| match err.kind() {
            // Not a missing input.
            io::ErrorKind::NotFound => anyhow!("{option} {name}: there is no such folder"),
            _ => anyhow::Error::new(err).context(format!("{option} {name}")),
        })?;
        let is_input = |input: &PathBuf| fs::canonicalize(input).is_ok_and(|input| input == place);
        let clash = if inputs.iter().any(is_input) {
            "is also an input".to_owned()
        } else if there.is_ok() && is_stored(&place) {
            "is a file of a server's storage (name another one)".to_owned()
        } else if let Some((other, _)) = before.iter().find(|(_, other)| *other == place) {
            format!("is also the file of {other}")
        } else {
            before.push((option, place));
            continue;
        };
        return Err(Failure::Usage(format!("{option} {name}: {clash}")).into());
    }
    Ok(())
}

/// Where a file is, or will be: its folder must be there.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    if let Ok(there) = fs::canonicalize(path) {
        return Ok(there);
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))?;
    Ok(path
        .file_name()
        .map_or(folder.clone(), |name| folder.join(name)))
}

fn is_stored(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_one = extension.is_some_and(|extension| STORED.contains(&extension));
    is_one || path.file_name().is_some_and(|name| name == METADATA)
}
