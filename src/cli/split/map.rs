//! The file of --map-file: what becomes of each bucket.
//!
//! ```text
//! # from                to          period
//! telegraf/autogen      metrics     30d
//! telegraf/old          metrics
//! internal/all                      infinite
//! ```
//!
//! Columns are parted by tabs. Without a new name a bucket keeps its own, without a period the one of the stream.

use bstr::BString;

use crate::cli::value;
use crate::route::Rename;

/// The lines of a file; the error says which one cannot be read.
pub fn read(text: &str) -> Result<Vec<(BString, Rename)>, String> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(i, line)| (i + 1, line.strip_suffix('\r').unwrap_or(line)));
    lines
        .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|(number, line)| entry(line).map_err(|why| format!("line {number}: {why}")))
        .collect()
}

fn entry(line: &str) -> Result<(BString, Rename), String> {
    let mut columns = line.split('\t');
    let from = columns.next().unwrap_or_default();
    let to = columns.next().filter(|to| !to.is_empty());
    let period = columns.next().filter(|period| !period.is_empty());
    if from.is_empty() || columns.next().is_some() {
        return Err("is not FROM, TO and PERIOD with tabs between them".to_owned());
    }
    if to.is_none() && period.is_none() {
        return Err(
            "says neither a new name nor a period (are the columns parted by tabs?)".to_owned(),
        );
    }
    let period = period.map(seconds).transpose()?;
    let to = to.map(BString::from);
    Ok((from.into(), Rename { to, period }))
}

/// A period in whole seconds; 0 is for ever.
fn seconds(text: &str) -> Result<u64, String> {
    if matches!(text, "infinite" | "0s" | "0") {
        return Ok(0);
    }
    let period = value::duration(text).map_err(|why| format!("period {text} {why}"))?;
    match (period.as_secs(), period.subsec_nanos()) {
        (1.., 0) => Ok(period.as_secs()),
        _ => Err(format!(
            "period {text} is no whole number of seconds above 0, nor infinite"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(to: Option<&str>, period: Option<u64>) -> Rename {
        let to = to.map(BString::from);
        Rename { to, period }
    }

    #[test]
    fn lines_say_from_to_and_period() {
        let text =
            "# from\tto\tperiod\na/b\tc d\t30d\r\n\nx\ty\nz\t\tinfinite\nw\tw=\t\nv\t\t1h30m";
        let expected = vec![
            ("a/b".into(), rename(Some("c d"), Some(2_592_000))),
            ("x".into(), rename(Some("y"), None)),
            ("z".into(), rename(None, Some(0))),
            ("w".into(), rename(Some("w="), None)),
            ("v".into(), rename(None, Some(5_400))),
        ];
        assert_eq!(Ok(expected), read(text));
        assert_eq!(Ok(Vec::new()), read("\n# nothing\n"));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (text, said) in [
            ("a\tb\nc d", "line 2: says neither"),
            ("a\tb\t1d\tx", "line 1: is not FROM"),
            ("\tb", "line 1: is not FROM"),
            ("a\tb\tsoon", "line 1: period soon is no duration"),
            ("a\tb\t1ms", "line 1: period 1ms is no whole number"),
        ] {
            assert!(read(text).unwrap_err().starts_with(said), "{text:?}");
        }
    }
}
