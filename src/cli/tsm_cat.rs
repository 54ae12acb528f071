//! The arguments of tsm-cat, and what its manual says beyond them.

mod buckets;
mod findings;
mod intake;
pub mod known;
mod list;
mod looks;
pub mod run;
mod schema;
mod since;
mod sink;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::BString;

use super::exit::Failure;
use super::out::Out;
use super::outfile::OutFile;
use super::{report, value};
use crate::export::Options;
use crate::lp::glob::Glob;
use crate::lp::validate::Target;
use crate::tsm::ReadError;
use crate::tsm::place::Error;
use crate::tsm::shard::Trouble;
use crate::tsm::tree::{Logs, Refused, Wanted};
use since::Since;

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
#[command(group = clap::ArgGroup::new("looking").args(["list", "context_only", "schema"]).conflicts_with("rejects"))]
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
    #[arg(
        short,
        long,
        value_name = "GLOB",
        conflicts_with_all = ["list", "context_only"],
        help_heading = "Selection"
    )]
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

    /// Export the shards that have changed at this time or later; @FILE is the summary of a former run
    ///
    /// A shard has changed if a file of it was written, has come or has gone. With @FILE the time is that before the
    /// former run looked for shards, as its --summary holds it; a file with nothing but a time will do as well. The
    /// points of a shard that has changed are exported all. See INCREMENTS.
    #[arg(long, value_name = "TIME|@FILE", allow_hyphen_values = true, value_parser = Since::parse, help_heading = "Selection")]
    pub changed_since: Option<Since>,

    /// Export the shards of groups that meta.db marks as deleted as well
    #[arg(long, help_heading = "Selection")]
    pub deleted: bool,

    /// Export the server's own database _internal as well
    #[arg(long, help_heading = "Selection")]
    pub internal: bool,

    /// Print one row a shard and no points
    ///
    /// With tabs: database, policy, number of the shard, first time of its group and first time behind it, bytes of
    /// .tsm files and of the log, last change, folder. Times are RFC 3339, as --start and --stop take them; what is
    /// not known is empty; a name is percent-encoded as in context comments. With --start and --stop the shards whose
    /// groups lie outside are left out.
    #[arg(long, help_heading = "Looking first")]
    pub list: bool,

    /// Print one row for each tag and each type of a field, from indexes alone, and no points
    ///
    /// With tabs: database, policy, measurement, column, "tag" or "field", type, "yes" or "perhaps", number of shards
    /// that have it, first and last of them. No block is read: what is deleted wholly is gone, but where a part is
    /// deleted, or older values of another type may be overwritten, there is only perhaps something left. Up to
    /// 400,000 columns of one policy are counted. Names are percent-encoded as in context comments.
    #[arg(long, help_heading = "Looking first")]
    pub schema: bool,

    /// With --schema: print what this target refuses instead, and what mends it: serverless or core
    ///
    /// With tabs: database, policy, measurement, column, problem, options of lp-filter that mend it. The status is 1
    /// if there is any. See SCHEMAS OF INFLUXDB 3.
    #[arg(long, value_name = "TARGET", requires = "schema", value_parser = target, help_heading = "Looking first")]
    pub validate: Option<Target>,

    /// Print no header above the rows
    #[arg(
        long,
        requires = "looking",
        conflicts_with = "context_only",
        help_heading = "Looking first"
    )]
    pub no_header: bool,

    /// Print the contexts of all that is selected, and no points
    ///
    /// Enough to create buckets. Policies without shards, which only meta.db knows, have their context too, unless
    /// shards are selected by number, time or change.
    #[arg(long, conflicts_with = "lp_only", help_heading = "Looking first")]
    pub context_only: bool,

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

    /// Merge copies of one shard that lie below several PATHs, where the later PATH is newer
    ///
    /// As on the data nodes of a cluster. Of two values for one point that of the later PATH is printed; what was
    /// deleted from one copy only is still in the other. Without this the same shard twice is an error.
    #[arg(long, help_heading = "Sources")]
    pub replicas: bool,

    /// Put what does not fit into memory into files without a name in this folder
    ///
    /// That is what is unpacked from standard input and backups, and tombstones of more than 16 MB in one shard. From
    /// a tar archive that holds wal before data one shard is there at a time, else all of them.
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
    #[arg(long, conflicts_with_all = ["list", "context_only"], help_heading = "Sources")]
    pub keep_going: bool,

    /// Print one line for each value instead of one for each point
    #[arg(long, conflicts_with = "looking", help_heading = "Output")]
    pub per_field: bool,

    /// Print points only, no comments
    ///
    /// The programs behind then know neither database nor policy, and cannot notice that a stream was cut.
    #[arg(long, conflicts_with_all = ["list", "schema"], help_heading = "Output")]
    pub lp_only: bool,

    /// Write to this file instead of standard output; it gets its name when it is complete
    ///
    /// Until then it has another name beside it. A run that fails or is stopped leaves nothing behind. A file that
    /// exists is an error, but a device or a named pipe is written to. "-" is standard output.
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Replace the file that --out names if it exists
    #[arg(long, requires = "out", help_heading = "Output")]
    pub force: bool,

    /// Compress with gzip, on all jobs
    ///
    /// Many members one behind the other, which every reader of gzip takes for one file.
    #[arg(long, conflicts_with_all = ["list", "schema"], help_heading = "Output")]
    pub compress: bool,

    /// Threads that read, merge and print; by default as many as there are processors
    ///
    /// The output is the same whatever their number.
    #[arg(short, long, value_name = "N", conflicts_with = "looking", value_parser = clap::value_parser!(u16).range(1..=256))]
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

    /// The command line is one of influx_inspect, which knows where to read without being told.
    #[arg(skip)]
    pub is_known: bool,
}

impl Args {
    /// The paths, at least one.
    pub fn inputs(&self) -> Result<Vec<PathBuf>, Failure> {
        match self.paths.is_empty() {
            false => Ok(self.paths.clone()),
            true if self.is_known => Ok(vec![home()?]),
            true => Ok(vec![PathBuf::from("-")]),
        }
    }

    /// The file that the output goes to, if it goes to one.
    pub fn file(&self) -> Option<&Path> {
        let is_file = |path: &&Path| *path != Path::new("-");
        self.out.as_deref().filter(is_file)
    }

    /// Where the output goes, and the file to keep when it is complete.
    pub fn output(&self) -> anyhow::Result<(Option<OutFile>, Out)> {
        match self.file() {
            None => Ok((None, Out::stdout()?)),
            Some(path) => {
                let (file, out) = OutFile::create(path, self.force)?;
                Ok((Some(file), out))
            }
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
            deleted: self.deleted,
            empty: self.context_only && !self.selects_shards(),
        }
    }

    /// Whether some shards of a policy are wanted and others not.
    fn selects_shards(&self) -> bool {
        let by_time = self.start.is_some() || self.stop.is_some() || self.end.is_some();
        by_time || !self.shard.is_empty() || self.changed_since.is_some()
    }

    /// What to print.
    pub fn form(&self) -> Form {
        match self {
            Self { list: true, .. } => Form::List {
                has_header: !self.no_header,
            },
            Self {
                context_only: true, ..
            } => Form::Contexts,
            Self { schema: true, .. } => Form::Schema {
                has_header: !self.no_header,
                target: self.validate,
            },
            _ => Form::Points,
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

/// Where influx_inspect reads if nobody says where.
fn home() -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let path = Path::new(&home).join(".influxdb");
    if path.is_dir() {
        return Ok(path);
    }
    let path = path.display();
    Err(Failure::NoInput(format!(
        "{path}: does not exist, where influx_inspect would read (say where the data is: -datadir DIR -waldir DIR, or as in {EXAMPLE})"
    )))
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

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The points in their contexts.
    Points,
    /// The contexts.
    Contexts,
    /// A row for each shard.
    List {
        /// With the names of the columns above.
        has_header: bool,
    },
    /// A row for each column.
    Schema {
        /// With the names of the columns above.
        has_header: bool,
        /// Rows for what this target refuses instead.
        target: Option<Target>,
    },
}

/// A target whose rules concern many records together.
fn target(name: &str) -> Result<Target, String> {
    match value::rules(name) {
        // Others with the same rules allow other numbers of tables and columns.
        Ok(target) if target.is_v3() && target.name() == name => Ok(target),
        _ => Err("is none of serverless, core".into()),
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
         milliseconds, before it is in the log, is not seen. \
         A shard that it drops meanwhile is told. Servers up to 1.7 keep a log whose points are in .tsm files already \
         if they were started between the two: what is deleted of these points then comes back, here as at the next \
         start of the server, and nothing in the files tells.\n\nThere can be more points than queries find: a DELETE that \
         meets a snapshot makes servers of 1.6 forget a series in a shard whose files have its points. They are \
         printed, and queries find them again once a point of that series and shard is written.\n\nShards that \
         meta.db marks as deleted are left out and counted, unless --deleted is given; shards that it does not know \
         are exported with a warning.",
    ),
    (
        "INCREMENTS",
        "A run with --summary notes when it looked for shards. A later one with --changed-since @FILE exports the \
         shards that have changed since then, whole: servers store a point that is sent again once. The time is taken \
         before anything is listed, and two seconds more are allowed for the clocks of file systems, so what is \
         written meanwhile is exported by one of the two runs or by both. Keep the old summary until all programs \
         behind have ended well:\n\n    tsm-cat --changed-since @last.json --summary next.json /var/lib/influxdb |\n\
        \x20       lp-post >refused.lp && mv next.json last.json\n\nThe first run goes without --changed-since. A summary \
         of a run that failed is not taken. Compactions and backups change a shard as well. The times are those of \
         the files: copies must keep them (cp -a, rsync -a), and the clock of a file server must be right.",
    ),
    (
        "SCHEMAS OF INFLUXDB 3",
        "There a measurement is a table, and a column has one type and is either tag or field. --schema --validate \
         prints what a table or a bucket would refuse that no single record shows: a field whose type changes, a name \
         that is tag and field, a reserved name, more than 200 columns with time (core: 500), more than 500 tables in \
         a bucket (core: 2000 in all). lp-filter --validate checks the records besides.\n\nThe last column holds \
         options of lp-filter, quoted for the shell, for a stream of that database and policy. Casts and renames can \
         be given together. A cast makes a value that its new type cannot hold exactly a reject (--allow-loss rounds \
         it). Where columns or tables are too many each row is one of several runs of lp-filter, whose outputs are \
         together the whole: fields in tables of their own, or tables for buckets of their own; one more run with -v \
         -m takes the other tables. The mend is empty where no option can spell the name.",
    ),
    (
        "COMMAND LINES OF INFLUX_INSPECT",
        "Those of influx_inspect export work as they are, with one dash or two and with the word export or without: \
         -database, -retention, -datadir, -waldir, -out, -start, -end, -lponly, -compress, -tsmfile. Without -datadir \
         and PATH they read ~/.influxdb. What differs: each point is there once and on one line (--per-field gives a \
         line for each value); deleted values are gone; _internal is left out; without -out the text goes to standard \
         output; a file that exists is not overwritten without --force; without -waldir the log is looked for where \
         the layout puts it; damage is an error. A file or folder called export is spelled ./export.",
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
        "Everything, compressed:\n\n    tsm-cat --compress -o export.lp.gz /var/lib/influxdb\n\nOne year of two \
         measurements:\n\n    tsm-cat --start 2020-01-01 --stop 2021-01-01 -m cpu -m 'disk*' /var/lib/influxdb\n\nOne \
         file that was copied here:\n\n    tsm-cat -d telegraf -r autogen 000000012-000000003.tsm\n\nOne file for each \
         shard, four at a time:\n\n    tsm-cat --list --no-header /var/lib/influxdb | cut -f3 |\n\
        \x20       parallel -j4 'tsm-cat --shard {} -o shard-{}.lp /var/lib/influxdb'\n\nWhat InfluxDB \
         Cloud Serverless would refuse, and the same data with that mended:\n\n    tsm-cat --schema --validate \
         serverless -d telegraf /var/lib/influxdb\n\n    tsm-cat -d telegraf /var/lib/influxdb | lp-filter --cast \
         cpu.count=float\n\nThe buckets for all of it:\n\n    tsm-cat --context-only /var/lib/influxdb | lp-split-by-bucket | lp-post --create-buckets",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all was read, some of it was left out, each with its reason, or --validate \
         found what a target refuses: look at the messages.\n\n2  wrong usage: mend the command.\n\n65  the data is damaged: look at the message, and use \
         --keep-going for the rest.\n\n66  the input is missing: mend the command, it says what is there.\n\n73  the \
         file that --out names exists: move it away, or --force.\n\n74  an I/O error: look at the disk.\n\n77  permission: run as the owner of the files.\n\n130  stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP: run it again.\n\n141  the reader of \
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
