//! The arguments of lp-filter, and what its manual says beyond them.

use super::{input, rejects, report, value};

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "lp-filter --start 2020-01-01 --stop 2021-01-01 <export.lp >2020.lp";

/// Keep the records of a line protocol stream that match
///
/// Reads line protocol, plain or gzip, and writes the points that match, byte for byte and in order. Everything that
/// is asked for must hold. Comments, and with them the context of the points, stay in their places.
#[derive(clap::Parser, Debug)]
#[command(name = "lp-filter", version)]
#[command(group = clap::ArgGroup::new("selection").args(["start", "stop", "measurement"]).multiple(true))]
pub struct Args {
    /// Keep points of this time and later
    ///
    /// RFC 3339, a date (midnight UTC), an epoch with unit (1577836800s; plain integers are nanoseconds), "now", or a
    /// span back from now (-30d).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::time, help_heading = "Selection")]
    pub start: Option<i64>,

    /// Keep points before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::time, help_heading = "Selection")]
    pub stop: Option<i64>,

    /// Keep points of this measurement, a pattern as the shell knows them; may be repeated
    #[arg(short, long, value_name = "GLOB", help_heading = "Selection")]
    pub measurement: Vec<String>,

    /// Keep what does not match instead
    #[arg(short = 'v', long, help_heading = "Selection", requires = "selection")]
    pub invert_match: bool,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What cannot be judged.
    #[command(flatten)]
    pub rejects: rejects::Args,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "REJECTS",
        "Only what a selection has to read and cannot is a reject: a record without timestamp where a time is asked \
         for, or one whose timestamp is no 64-bit number. All other records are passed on or left out as they are, \
         well-formed or not.",
    ),
    (
        "EXAMPLES",
        "One year of an export:\n\n    lp-filter --start 2020-01-01 --stop 2021-01-01 export.lp >2020.lp\n\nTwo \
         measurements, straight from the storage files:\n\n    tsm-cat /var/lib/influxdb | lp-filter -m cpu -m 'disk*' \
         >some.lp\n\nEverything but the last 30 days:\n\n    lp-filter --stop -30d export.lp.gz | gzip >old.lp.gz",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were rejected here or left out by an \
         earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is damaged or was \
         cut: write it again.\n\n66  an input is missing: mend the command.\n\n74  an I/O error: look at disk and \
         network.\n\n77  permission: run as somebody who may read the input.\n\n141  the reader of standard output went \
         away, as with head.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-split-by-bucket(1), lp-rate(1), lp-post(1), lineflow(7)",
    ),
];
