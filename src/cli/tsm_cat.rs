//! The arguments of tsm-cat, and what its manual says beyond them.

mod buckets;
mod findings;
mod intake;
pub mod run;
mod sink;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bstr::BString;

use super::exit::Failure;
use super::{report, value};
use crate::export::Options;
use crate::lp::glob::Glob;
use crate::tsm::ReadError;
use crate::tsm::place::Error;
use crate::tsm::shard::Trouble;
use crate::tsm::tree::{Logs, Refused, Wanted};

/// The name of the program.
pub const NAME: &str = "tsm-cat";

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "tsm-cat /var/lib/influxdb | gzip >export.lp.gz";

/// Print the points of InfluxDB 1.x storage files as line protocol
///
/// Reads data, log and metadata of an InfluxDB 1.x server, running or not, and writes every point once: overwritten
/// and deleted values are gone, and the fields of one series and time are on one line. Comments in between say which
/// database, retention policy and shard the points are from.
#[derive(clap::Parser, Debug)]
#[command(name = "tsm-cat", version)]
pub struct Args {
    /// Root, data directory, database, policy or shard directory, or single .tsm and .wal files
    ///
    /// A root holds "data", "wal" and "meta", as /var/lib/influxdb does; that of a 2.x server is its engine directory.
    /// A folder with portable backups is a PATH as well. Files of one folder are taken for files of one shard. "-", or
    /// nothing, is standard input: a .tsm or .wal file, or a tar archive of any of these.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Export this database; may be repeated
    ///
    /// For a PATH that stands outside of a data directory this is the name of its database.
    #[arg(short, long, value_name = "NAME", help_heading = "Selection")]
    pub database: Vec<OsString>,

    /// Export this retention policy; may be repeated
    ///
    /// For a PATH that stands outside of a data directory this is the name of its policy.
    #[arg(short, long, value_name = "NAME", help_heading = "Selection")]
    pub retention_policy: Vec<OsString>,

    /// Export the shard with this number; may be repeated
    #[arg(long, value_name = "ID", help_heading = "Selection")]
    pub shard: Vec<u64>,

    /// Export this measurement, a pattern as the shell knows them; may be repeated
    ///
    /// It is compared with the name as queries see it, without the backslashes of line protocol.
    #[arg(short, long, value_name = "GLOB", help_heading = "Selection")]
    pub measurement: Vec<OsString>,

    /// Export points of this time and later
    ///
    /// RFC 3339, a date (midnight UTC), an epoch with unit (1577836800s; plain integers are nanoseconds), "now", or a
    /// span back from now (-30d).
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::time, help_heading = "Selection")]
    pub start: Option<i64>,

    /// Export points before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::time, help_heading = "Selection")]
    pub stop: Option<i64>,

    /// Export points up to and including this time, as influx_inspect does; prefer --stop
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = value::inclusive_time, conflicts_with = "stop", help_heading = "Selection")]
    pub end: Option<i64>,

    /// Export the server's own database _internal as well
    #[arg(long, help_heading = "Selection")]
    pub internal: bool,

    /// Read the log from this directory, which holds databases as "wal" does
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "no_wal",
        help_heading = "Sources"
    )]
    pub wal_dir: Option<PathBuf>,

    /// Leave out the log, and with it what the server has not moved into .tsm files
    #[arg(long, help_heading = "Sources")]
    pub no_wal: bool,

    /// Put what is unpacked into files without a name in this folder
    ///
    /// For standard input and backups. From a tar archive that holds wal before data one shard is there at a time,
    /// else all of them.
    #[arg(long, value_name = "DIR", help_heading = "Sources")]
    pub tmp_dir: Option<PathBuf>,

    /// Read the names of 2.x buckets from this file, an id and a name on a line, as influx bucket list prints them
    ///
    /// The folders of a 2.x server are called by the ids of its buckets. With names, --database takes them, and the
    /// points go to the buckets of these names; without, to buckets called by the ids.
    #[arg(long, value_name = "FILE", help_heading = "Sources")]
    pub bucket_names: Option<PathBuf>,

    /// Leave out what is damaged instead of ending there
    ///
    /// That is a block, a file whose header, index or tombstones are damaged, or the rest of a log segment. Each is
    /// told and counted, and the status is 1.
    #[arg(long, help_heading = "Sources")]
    pub keep_going: bool,

    /// Print one line for each value instead of one for each point
    #[arg(long, help_heading = "Output")]
    pub per_field: bool,

    /// Print points only, no comments
    ///
    /// The programs behind then know neither database nor policy, and cannot notice that a stream was cut.
    #[arg(long, help_heading = "Output")]
    pub lp_only: bool,

    /// Compress with gzip, on all jobs
    ///
    /// Many members one behind the other, which every reader of gzip takes for one file.
    #[arg(long, help_heading = "Output")]
    pub compress: bool,

    /// Threads that read, merge and print; by default as many as there are processors
    ///
    /// The output is the same whatever their number.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,

    /// Where to put values that line protocol cannot carry.
    #[command(flatten)]
    pub rejects: super::rejects::Args,

    /// Whether to draw progress.
    #[command(flatten)]
    pub progress: report::ProgressArgs,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,
}

impl Args {
    /// The paths, at least one.
    pub fn inputs(&self) -> Vec<PathBuf> {
        match self.paths.is_empty() {
            true => vec![PathBuf::from("-")],
            false => self.paths.clone(),
        }
    }

    /// How many threads print.
    pub fn jobs(&self) -> NonZeroUsize {
        let asked = self.jobs.and_then(|jobs| NonZeroUsize::new(jobs.into()));
        let there = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        asked.unwrap_or_else(there)
    }

    /// What of the tree is wanted.
    pub fn wanted(&self) -> Wanted {
        let names = |names: &[OsString]| {
            names
                .iter()
                .map(|name| name.as_bytes().into())
                .collect::<Vec<BString>>()
        };
        Wanted {
            databases: names(&self.database),
            policies: names(&self.retention_policy),
            shards: self.shard.clone(),
            internal: self.internal,
        }
    }

    /// Where the logs are.
    pub fn logs(&self) -> Logs {
        match &self.wal_dir {
            Some(dir) => Logs::At(dir.clone()),
            None if self.no_wal => Logs::Without,
            None => Logs::Layout,
        }
    }

    /// What of the shards is wanted.
    pub fn options(&self) -> Result<Options, Failure> {
        let empty =
            || Failure::Usage("the time range is empty: --start is not before its end".into());
        let first = self.start.unwrap_or(i64::MIN);
        let last = match (self.stop, self.end) {
            (Some(stop), _) => stop.checked_sub(1).ok_or_else(empty)?,
            (None, end) => end.unwrap_or(i64::MAX),
        };
        if first > last {
            return Err(empty());
        }
        let globs = self
            .measurement
            .iter()
            .map(|text| Glob::new(text.as_bytes()));
        Ok(Options {
            measurements: globs.collect(),
            first,
            last,
            per_field: self.per_field,
            keep_going: self.keep_going,
            keep_rejects: false,
        })
    }
}

/// The error that tells what the trouble was, with the status it stands for.
pub fn refused(trouble: impl Into<Refusal>) -> anyhow::Error {
    let place = match trouble.into() {
        Refusal::Place(err) => err,
        Refusal::Archive(trouble) => return trouble.into(),
        Refusal::Damage(trouble) => {
            return match &trouble.cause {
                ReadError::Damage(cause) => Failure::Data(format!(
                    "{trouble}: {cause} (--keep-going leaves out what is damaged)"
                ))
                .into(),
                ReadError::Io(_) => trouble.into(),
            };
        }
    };
    let text = place.to_string();
    match place {
        Error::Missing(_) => Failure::NoInput(text).into(),
        Error::Denied { .. } => Failure::NoPermission(text).into(),
        Error::Usage(_) => Failure::Usage(text).into(),
        Error::Twice(_) | Error::Damaged(_) => Failure::Data(text).into(),
        Error::Io { .. } => place.into(),
    }
}

/// What can keep an export from being made.
#[derive(Debug)]
pub enum Refusal {
    /// The shards cannot be found.
    Place(Error),
    /// A file is damaged, or cannot be read.
    Damage(Trouble),
    /// The archive that all files are in is damaged: there is no way around that.
    Archive(Trouble),
}

impl From<Error> for Refusal {
    fn from(err: Error) -> Self {
        Self::Place(err)
    }
}

impl From<Refused> for Refusal {
    fn from(err: Refused) -> Self {
        match err {
            Refused::Place(err) => Self::Place(err),
            Refused::Trouble(trouble) => Self::Archive(trouble),
        }
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Damage(trouble)
    }
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "OUTPUT",
        "Databases and policies by name, shards by the time they start at (by number where meta.db does not tell), \
         series in the order of the index, points by time: the same files give the same output. The text is as \
         influx_inspect prints it, in the spelling of InfluxDB 1.x and 2.x.\n\nValues that line protocol cannot carry \
         (infinities, names that end in a backslash, names with a bare line feed) are never printed: the first ten \
         are explained on standard error or all are appended to the file of --rejects, all are counted, and the \
         status is 1. In that file a value whose time no server takes is a record; all others are percent-encoded in \
         comments.\n\nA series is what its key in the files says, byte for byte. Where two keys spell the same names, \
         both are printed, and that is told.",
    ),
    (
        "WHAT IS READ",
        "All .tsm files of a shard with their .tombstone files, and the segments of its log. The newest value of a \
         point wins: later generations over earlier ones, the log over all. A tombstone hides points of its own .tsm \
         file only. Files that a server writes beside them are left alone; .bad files, files that end in .tmp and \
         others that do not belong there are told.\n\nA server may run meanwhile. What it keeps in memory only for \
         milliseconds, before it is in the log, is not seen.\n\nShards that meta.db marks as deleted are left out and \
         counted; shards that it does not know are exported with a warning.",
    ),
    (
        "OTHER SOURCES",
        "A tar archive on standard input, plain or gzip, of a stopped server, of a file-system snapshot or of a backup. \
         With the logs in front one shard at a time is unpacked and the shards come in the order of the archive; \
         otherwise all of it is unpacked first:\n\n    tar -C /snapshot/influxdb -c meta wal data | tsm-cat\n\nWhat is \
         unpacked has no name (--tmp-dir says where it goes), so no name in an archive leads anywhere. An archive \
         without its end mark is damaged. The files of a running server change while tar reads them: run tsm-cat \
         there instead, as in ssh db tsm-cat /var/lib/influxdb.\n\nA folder with portable backups (influxd backup \
         -portable): of each shard the newest archive counts, as in a restore. Backups hold no log.\n\nThe engine \
         directory of a 2.x server: its folders are called by the ids of buckets, so the points go to buckets called \
         by these ids, or by the names that --bucket-names has for them:\n\n\
        \x20   influx bucket list >names && tsm-cat --bucket-names names ~/.influxdbv2/engine | lp-post",
    ),
    (
        "EXAMPLES",
        "Everything, compressed:\n\n    tsm-cat /var/lib/influxdb | gzip >export.lp.gz\n\nOne year of two \
         measurements:\n\n    tsm-cat --start 2020-01-01 --stop 2021-01-01 -m cpu -m 'disk*' /var/lib/influxdb\n\nOne \
         file that was copied here:\n\n    tsm-cat -d telegraf -r autogen 000000012-000000003.tsm",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all was read, some of it was left out, each with its reason: look at the \
         messages.\n\n2  wrong usage: mend the command.\n\n65  the data is damaged: look at the message, and use \
         --keep-going for the rest.\n\n66  the input is missing: mend the command, it says what is there.\n\n74  an \
         I/O error: look at the disk.\n\n77  permission: run as the owner of the files.\n\n141  the reader of \
         standard output went away, as with head.",
    ),
    (
        "SEE ALSO",
        "lp-filter(1), lp-split-by-bucket(1), lp-rate(1), lp-post(1), lineflow(7)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(words: &[&str]) -> Result<(i64, i64), String> {
        let args =
            Args::try_parse_from([&["tsm-cat"], words].concat()).map_err(|err| err.to_string())?;
        let options = args.options().map_err(|err| err.to_string())?;
        Ok((options.first, options.last))
    }

    #[test]
    fn stop_is_exclusive_and_end_is_not() {
        assert_eq!(Ok((i64::MIN, i64::MAX)), options(&[]));
        assert_eq!(Ok((5, 8)), options(&["--start", "5", "--stop", "9"]));
        assert_eq!(Ok((-5, 9)), options(&["--start", "-5", "--end", "9"]));
    }

    #[test]
    fn a_range_that_cannot_hold_a_point_is_wrong_usage() {
        assert!(options(&["--start", "9", "--stop", "9"]).is_err());
        assert!(options(&["--stop=-9223372036854775808"]).is_err());
        assert!(options(&["--stop", "9", "--end", "9"]).is_err());
    }

    #[test]
    fn a_bare_date_as_end_is_refused_with_the_stop_that_was_meant() {
        let text = options(&["--end", "2020-12-31"]).unwrap_err();
        assert!(text.contains("--stop 2021-01-01"), "{text}");
    }
}
