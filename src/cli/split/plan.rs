//! What would go where: a table for people, for programs, or as commands.

use std::time::Duration;

use bstr::ByteSlice;
use serde_json::{Value, json};

use super::Split;
use super::routed::{Destination, Routed};
use crate::cli::exit::Failure;
use crate::cli::feed::Fed;
use crate::cli::out::Out;
use crate::cli::report::span;
use crate::cli::{input, tty};
use crate::lp::context;
use crate::route::Router;
use crate::route::plan::{self, Measure, Plan, Row, TooMany};

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people on a terminal, else with tabs.
    Table,
    /// One JSON object.
    Json,
    /// Command lines of the influx client.
    Commands,
}

impl Destination for Plan {
    fn failure(err: TooMany) -> anyhow::Error {
        Failure::Config(err.to_string()).into()
    }
}

/// Read all inputs and print which buckets they need.
pub fn print(
    args: &input::Args,
    form: Form,
    measure: Measure,
    router: Router,
    split: &mut Split,
    fed: &mut Fed,
) -> anyhow::Result<()> {
    let mut routed = Routed::new(router, Plan::default(), split);
    routed.run(args, fed)?;
    fed.progress.finish();
    routed.split.tell_unused(&routed.router);
    routed.split.rejects.finish()?;
    let plan = &routed.outlets;
    let warnings = plan.warnings(&measure);
    let time = measure.rate.map(|rate| plan.time(rate));
    let text = match form {
        Form::Commands => plan.rows().iter().flat_map(plan::command).collect(),
        Form::Json => json(plan, &warnings, time),
        Form::Table if tty::is_terminal(tty::Stream::Stdout) => table(plan.rows()),
        Form::Table => tabs(plan.rows()),
    };
    let mut out = Out::stdout()?;
    out.write(&text)?;
    out.finish()?;
    if form != Form::Json {
        warnings
            .iter()
            .for_each(|warning| routed.split.note(warning));
        let (bytes, points) = (plan.bytes(), plan.points());
        if let (Some(time), Some(rate)) = (time, measure.rate) {
            let time = span(time);
            routed
                .split
                .note(&format!("{points} points, {bytes} bytes: {time} at {rate}"));
        }
    }
    Ok(())
}

/// Columns, for programs: periods in seconds, times as RFC 3339; what is not known is empty.
fn tabs(rows: &[Row]) -> Vec<u8> {
    let mut text = b"bucket\tperiod\tpoints\tbytes\tfirst\tlast\tdays\tpartitions\n".to_vec();
    for row in rows {
        context::encode(&row.bucket, &mut text);
        let period = row
            .period
            .map_or_else(String::new, |period| format!("{period}s"));
        let time = |time: Option<i64>| time.map_or_else(String::new, plan::time);
        let (points, bytes, days) = (row.points, row.bytes, row.days());
        let (first, last, partitions) = (time(row.first), time(row.last), row.partitions());
        let rest =
            format!("\t{period}\t{points}\t{bytes}\t{first}\t{last}\t{days}\t{partitions}\n");
        text.extend_from_slice(rest.as_bytes());
    }
    text
}

/// Columns, for people.
fn table(rows: &[Row]) -> Vec<u8> {
    let head = ["BUCKET", "KEPT", "POINTS", "BYTES", "FIRST", "LAST", "DAYS"];
    let mut cells = vec![head.map(str::to_owned)];
    for row in rows {
        let time = |time: Option<i64>| time.map_or_else(|| "-".to_owned(), plan::time);
        let mut bucket = Vec::new();
        context::encode(&row.bucket, &mut bucket);
        cells.push([
            bucket.to_str_lossy().into_owned(),
            row.period.map_or_else(|| "?".to_owned(), plan::span),
            row.points.to_string(),
            row.bytes.to_string(),
            time(row.first),
            time(row.last),
            row.days().to_string(),
        ]);
    }
    let width = |i: usize| cells.iter().map(|row| row[i].chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|i| width(i).unwrap_or_default());
    let mut text = String::new();
    for row in &cells {
        for (i, cell) in row.iter().enumerate() {
            let width = widths[i];
            // Numbers to the right, the rest to the left.
            text += &match i {
                2 | 3 | 6 => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text.into_bytes()
}

fn json(plan: &Plan, warnings: &[String], time: Option<Duration>) -> Vec<u8> {
    let bucket = |row: &Row| {
        json!({
            "bucket": row.bucket.to_str_lossy(),
            "period_seconds": row.period,
            "points": row.points,
            "bytes": row.bytes,
            "first": row.first.map(plan::time),
            "last": row.last.map(plan::time),
            "days": row.days(),
            "partitions": row.partitions(),
        })
    };
    let buckets: Vec<Value> = plan.rows().iter().map(bucket).collect();
    let seconds = time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0));
    let whole = json!({
        "buckets": buckets,
        "points": plan.points(),
        "bytes": plan.bytes(),
        "upload_seconds": seconds,
        "warnings": warnings,
    });
    format!("{whole}\n").into_bytes()
}
