//! Since when must a shard have changed to be exported? A time, or that of a former run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use super::NAME;
use crate::cli::exit::{self, Failure};
use crate::cli::value;

/// What the summary calls the time before anything was listed.
pub const LISTED: &str = "listed";

/// File systems tell times by a clock that ticks, and some count in steps of two seconds.
const SLACK: i64 = 2_000_000_000;

/// A time as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// In nanoseconds.
    Time(i64),
    /// In the summary of a run, or in a file that holds nothing else.
    File(PathBuf),
}

impl Since {
    /// Read `TIME` or `@FILE`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix('@') {
            Some("") => Err("names no file".into()),
            Some(path) => Ok(Self::File(path.into())),
            None => value::time(text).map(Self::Time),
        }
    }

    /// Changes from this time on count.
    pub fn time(&self) -> anyhow::Result<i64> {
        let time = match self {
            Self::Time(time) => *time,
            Self::File(path) => stored(path)?,
        };
        Ok(time.saturating_sub(SLACK))
    }
}

fn stored(path: &Path) -> anyhow::Result<i64> {
    let name = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("{name}: the time of a former run (--changed-since)"))?;
    let time = match serde_json::from_str(&text) {
        Ok(Value::Object(summary)) => listed(&Value::Object(summary)),
        // A plain number is a time as well as it is JSON.
        _ => absolute(text.trim()),
    };
    time.map_err(|what| Failure::Data(format!("{name}: {what}")).into())
}

/// When the run of a summary began to look for shards, if it came to its end.
fn listed(summary: &Value) -> Result<i64, String> {
    if summary.get("program").and_then(Value::as_str) != Some(NAME) {
        return Err("is no summary of tsm-cat".into());
    }
    match summary.get("status").and_then(Value::as_u64) {
        Some(0) => {}
        Some(status) if status == u64::from(exit::PARTIAL) => {}
        Some(status) => {
            return Err(format!(
                "the run that wrote it failed with status {status}, and has not exported all (name the summary of one that ended well)"
            ));
        }
        None => return Err("does not say how its run ended".into()),
    }
    let time = summary.get(LISTED).and_then(Value::as_str);
    absolute(time.ok_or("does not say when its run began")?)
}

/// A time that is the same whenever it is read.
fn absolute(text: &str) -> Result<i64, String> {
    if text == "now" || (text.starts_with('-') && text.parse::<i64>().is_err()) {
        return Err("holds a time that changes with the clock".into());
    }
    value::time(text).map_err(|what| format!("holds no time of a former run: {text:?} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored_in(text: &str) -> Result<i64, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, text).unwrap();
        stored(file.path()).map_err(|err| err.to_string())
    }

    #[test]
    fn a_summary_tells_when_its_run_began_if_it_ended_well() {
        let summary = |status: u64| {
            format!(
                "{{\"program\":\"tsm-cat\",\"status\":{status},\"listed\":\"1970-01-01T00:00:05.5Z\"}}\n"
            )
        };
        assert_eq!(Ok(5_500_000_000), stored_in(&summary(0)));
        assert_eq!(Ok(5_500_000_000), stored_in(&summary(1)));
        let failed = stored_in(&summary(65)).unwrap_err();
        assert!(failed.contains("failed with status 65"), "{failed}");
        for bad in [
            "{}",
            "{\"program\":\"lp-post\",\"status\":0,\"listed\":\"1970-01-01T00:00:05Z\"}",
            "{\"program\":\"tsm-cat\",\"listed\":\"1970-01-01T00:00:05Z\"}",
            "{\"program\":\"tsm-cat\",\"status\":0}",
        ] {
            assert!(stored_in(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_may_hold_a_time_and_nothing_else() {
        assert_eq!(Ok(0), stored_in("1970-01-01T00:00:00Z\n"));
        assert_eq!(Ok(7_000_000_000), stored_in("7s"));
        assert_eq!(Ok(7), stored_in("7\n"));
        assert_eq!(Ok(-7), stored_in("-7"));
        for bad in ["", "now", "-30d", "points: 5"] {
            assert!(stored_in(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_counts_from_a_little_before() {
        assert_eq!(3_000_000_000, Since::parse("5s").unwrap().time().unwrap());
        assert_eq!(Since::File("a b".into()), Since::parse("@a b").unwrap());
        assert!(Since::parse("@").is_err() && Since::parse("yesterday").is_err());
    }
}
