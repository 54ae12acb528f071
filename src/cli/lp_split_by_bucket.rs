//! The arguments of lp-split-by-bucket, and what its manual says beyond them.

use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use anyhow::Context as _;
use bstr::BString;

use super::exit::Failure;
use super::split::{map, plan::Form};
use super::{input, rejects, report, value};
use crate::http::name::Rules;
use crate::lp::Context;
use crate::rate::{Rate, Tariff};
use crate::route::plan::Measure;
use crate::route::sink::Options;
use crate::route::template::Template;
use crate::route::{Rename, Router};

const NAMES: &str = "Which bucket";
const FILES: &str = "Files";
const COMMANDS: &str = "Commands";
const PLAN: &str = "Plan";

/// The name of the program.
pub const NAME: &str = "lp-split-by-bucket";

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "lp-split-by-bucket --dir out <export.lp";

/// Route the points of a line protocol stream to buckets
///
/// A bucket is called after the database and the retention policy that its points come from, as in
/// example-db/autogen, unless the stream names one itself or --bucket says otherwise. The stream goes to standard output
/// with the bucket of the points said in comments, or, with --dir, into one file per bucket, or, with --exec, to one
/// command per bucket; --plan only counts. Points pass byte for byte and in order.
#[derive(clap::Parser, Debug)]
#[command(name = NAME, version)]
#[command(group = clap::ArgGroup::new("output").args(["dir", "exec", "plan"]))]
pub struct Args {
    /// Name buckets like this, with {database}, {policy}, {measurement}, {tag:KEY} or {time:FORMAT} in it
    ///
    /// Whatever the stream says. {retention} is {policy}. Names of measurements and tags are meant as queries show them;
    /// the time is printed in UTC as strftime prints it, {time:%Y-%m} for one bucket a month. Without braces it is the
    /// one bucket for all points, which then need no context.
    #[arg(long, value_name = "TEMPLATE", value_parser = template, help_heading = NAMES)]
    pub bucket: Option<Template>,

    /// Call the bucket TO that would be called FROM; may be repeated
    ///
    /// FROM is the whole name, such as example-db/autogen. Two buckets may become one.
    #[arg(long, value_name = "FROM=TO", value_parser = rename, help_heading = NAMES)]
    pub map: Vec<(BString, BString)>,

    /// Read new names from this file: lines of FROM, TO and PERIOD with tabs between them
    ///
    /// An empty TO keeps the name, an empty PERIOD the one that the stream says; else it is a duration such as 30d, or
    /// infinite. Empty lines and lines that begin with # are skipped.
    #[arg(long, value_name = "FILE", help_heading = NAMES)]
    pub map_file: Option<PathBuf>,

    /// Take this bucket for points that have no other, instead of rejecting them
    #[arg(long, value_name = "BUCKET", help_heading = NAMES)]
    pub default: Option<String>,

    /// Where the stream names no database, take this one
    ///
    /// For files without context, such as those that influx_inspect export -lponly writes.
    #[arg(long, value_name = "DB/RP", value_parser = context, help_heading = NAMES)]
    pub context: Option<Context>,

    /// Who has to accept the names of buckets
    ///
    /// A name that the target refuses ends the run with status 78 before a point of it is written; one that comes from
    /// the point itself makes the point a reject. "auto" is what every InfluxDB from version 2 on refuses: an
    /// underscore at the beginning, a double quote, nothing at all.
    #[arg(long, value_name = "TARGET", default_value = "auto", value_parser = clap::builder::PossibleValuesParser::new(Rules::names()), help_heading = NAMES)]
    pub target: String,

    /// Write one file per bucket into this folder instead of standard output
    ///
    /// Files are named after their buckets (example-db/autogen.lp) and listed in INDEX.tsv. They get their names when
    /// all are complete. A folder that holds such files already is left alone, with status 73.
    #[arg(long, value_name = "DIR", help_heading = FILES)]
    pub dir: Option<PathBuf>,

    /// Compress the files with gzip (example-db/autogen.lp.gz)
    #[arg(long, requires = "dir", help_heading = FILES)]
    pub compress: bool,

    /// Begin another file before one gets larger than this (example-db/autogen.00001.lp), uncompressed
    ///
    /// Each part is a complete stream, ready for lp-post; a record that is larger has a part to itself.
    #[arg(long, value_name = "SIZE", requires = "dir", value_parser = value::size, help_heading = FILES)]
    pub max_bytes: Option<u64>,

    /// Begin another file when one holds so many records
    #[arg(long, value_name = "N", requires = "dir", help_heading = FILES)]
    pub max_lines: Option<NonZeroU64>,

    /// Replace the files of an earlier run
    ///
    /// When all new files are complete; those that the old INDEX.tsv lists and that no new one replaces are removed.
    #[arg(long, requires = "dir", help_heading = FILES)]
    pub force: bool,

    /// Run this command for each bucket, with its points as standard input
    ///
    /// By the shell, with LP_BUCKET, LP_DATABASE, LP_RETENTION_POLICY and LP_RETENTION_PERIOD in its environment, as far
    /// as they are known.
    #[arg(long, value_name = "COMMAND", help_heading = COMMANDS)]
    pub exec: Option<OsString>,

    /// Run no more commands than this; one bucket more ends the run with status 78
    #[arg(long, value_name = "N", default_value = "64", requires = "exec", help_heading = COMMANDS)]
    pub max_open: NonZeroUsize,

    /// Write no points but a table of the buckets, or the commands that make them
    ///
    /// Bucket, period, points, bytes, first and last time and days with points; with tabs between them and a column of
    /// partitions unless somebody looks. "commands" prints lines for the influx client.
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "table", value_enum, help_heading = PLAN)]
    pub plan: Option<Kind>,

    /// Print the plan as one JSON object
    #[arg(long, requires = "plan", help_heading = PLAN)]
    pub json: bool,

    /// Say how long an upload takes at this rate, and what the tariff does not allow: serverless, serverless-free, or a
    /// rate as for lp-rate
    #[arg(long, value_name = "RATE", requires = "plan", value_parser = rate, help_heading = PLAN)]
    pub rate: Option<(Rate, Option<Tariff>)>,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What has no bucket.
    #[command(flatten)]
    pub rejects: rejects::Args,

    /// Who looks on.
    #[command(flatten)]
    pub progress: report::ProgressArgs,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,
}

/// How a plan is to be printed.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As a table.
    Table,
    /// As commands that make the buckets.
    Commands,
}

impl Args {
    /// What names the buckets.
    pub fn router(&self) -> anyhow::Result<Router> {
        let mut router =
            Router::default().with_rules(Rules::named(&self.target).unwrap_or_default());
        if let Some(template) = &self.bucket {
            router = router.with_template(template.clone());
        }
        if let Some(context) = &self.context {
            router = router.with_context(context.clone());
        }
        if let Some(default) = &self.default {
            router = router.with_default(default.as_str().into());
        }
        for (from, to) in &self.map {
            let (to, period) = (Some(to.clone()), None);
            let renamed = router.rename(from.clone(), Rename { to, period });
            renamed.map_err(|err| Failure::Usage(format!("--map: {err}")))?;
        }
        for (from, rename) in self.map_file()? {
            let renamed = router.rename(from, rename);
            renamed.map_err(|err| Failure::Usage(format!("--map-file: {err}")))?;
        }
        router
            .check()
            .map_err(|err| Failure::Config(err.to_string()))?;
        Ok(router)
    }

    fn map_file(&self) -> anyhow::Result<Vec<(BString, Rename)>> {
        let Some(path) = &self.map_file else {
            return Ok(Vec::new());
        };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| name.clone())?;
        let lines = map::read(&text);
        Ok(lines.map_err(|why| Failure::Usage(format!("--map-file {name}: {why}")))?)
    }

    /// How files are written.
    pub fn files(&self) -> Options {
        Options {
            compress: self.compress,
            max_bytes: self.max_bytes,
            max_points: self.max_lines.map(NonZeroU64::get),
            force: self.force,
        }
    }

    /// How the plan is printed, if one is asked for.
    pub fn form(&self) -> anyhow::Result<Option<Form>> {
        Ok(match (self.plan, self.json) {
            (None, _) => None,
            (Some(Kind::Commands), true) => {
                let text = "--json prints a table, not commands (--plan --json)";
                return Err(Failure::Usage(text.to_owned()).into());
            }
            (Some(Kind::Commands), false) => Some(Form::Commands),
            (Some(Kind::Table), true) => Some(Form::Json),
            (Some(Kind::Table), false) => Some(Form::Table),
        })
    }

    /// What the plan is measured by.
    pub fn measure(&self) -> Measure {
        let rate = match self.rate {
            Some((Rate::Limited(limit), _)) => Some(limit),
            _ => None,
        };
        Measure {
            now: value::time("now").unwrap_or(i64::MAX),
            rate,
            tariff: self.rate.and_then(|(_, tariff)| tariff),
        }
    }
}

fn rate(text: &str) -> Result<(Rate, Option<Tariff>), String> {
    let rate = text.parse::<Rate>().map_err(|err| err.kind.to_string())?;
    Ok((rate, Tariff::named(text.trim())))
}

fn template(text: &str) -> Result<Template, String> {
    text.parse::<Template>().map_err(|err| err.to_string())
}

fn rename(text: &str) -> Result<(BString, BString), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.into(), to.into())),
        _ => Err("is not FROM=TO, as in example-db/autogen=telegraf".to_owned()),
    }
}

fn context(text: &str) -> Result<Context, String> {
    match text.split_once('/') {
        Some((database, policy))
            if !database.is_empty() && !policy.is_empty() && !policy.contains('/') =>
        {
            Ok(Context {
                database: Some(database.into()),
                policy: Some(policy.into()),
                ..Context::default()
            })
        }
        _ => Err("is not DB/RP, as in example-db/autogen".to_owned()),
    }
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "BUCKETS",
        "The bucket of a point is the one that the stream names (# CONTEXT-BUCKET:), else its database and retention \
         policy with a slash between them; --bucket makes it from a template instead. The result may be renamed by \
         --map or --map-file, once.\n\nA point of which the stream says too little, or that has no such tag or no time, \
         is a reject, unless --default takes it. If that is the very first one, nothing is routed and the status is 78: \
         say --context, --bucket or --default.\n\nThe stream is no longer marked as holding each point once where \
         renaming or --bucket may put the points of two databases or policies into one bucket.",
    ),
    (
        "FILES OF --dir",
        "DB/RP.lp for the bucket DB/RP, else NAME.lp; parts are numbered so that they sort (DB/RP.00001.lp). All but \
         letters, digits and . _ - ~ is percent-encoded, so that no name leaves the folder; very long names are cut and \
         end in a hash. Each file and each part is a complete stream with its context, ready for lp-post; other \
         comments are not copied. INDEX.tsv has one line per file: bucket (percent-encoded where need be), file, \
         points.\n\nAt most 32 files are open, however many buckets there are. A run that fails or is stopped leaves no \
         file behind.",
    ),
    (
        "COMMANDS OF --exec",
        "Each bucket has one process, which gets a complete stream and is never started twice. One that is slow does \
         not hold up the others until 8 MB are queued for all of them together. What is queued for a process when it \
         ends, and all points that come later, are rejects; what lay unread in its pipe is told as points whose fate is \
         unknown. When all is written the processes are waited for; the status is that of the first that failed.",
    ),
    (
        "ENVIRONMENT",
        "LP_BUCKET, LP_DATABASE, LP_RETENTION_POLICY, LP_RETENTION_PERIOD: set for the command of --exec, the period as \
         in 2592000s, or 0s for ever; those that are not known are not set.",
    ),
    (
        "EXAMPLES",
        "Say which bucket each point goes to, under a new name for one of them:\n\n    tsm-cat /var/lib/influxdb | \
         lp-split-by-bucket --map telegraf/autogen=metrics | lp-post\n\nOne file per database and policy, and all of \
         them posted later:\n\n    tsm-cat /var/lib/influxdb | lp-split-by-bucket --dir out --compress\n    lp-post \
         out/*/*.lp.gz\n\nParts of at most 100 MB, for several uploads side by side:\n\n    lp-split-by-bucket --dir \
         parts --max-bytes 100MB export.lp.gz\n\nOne bucket a team and month; points without team go to the rest:\n\n    \
         lp-split-by-bucket --bucket '{tag:team}-{time:%Y-%m}' --default rest export.lp\n\nA file without \
         context:\n\n    lp-split-by-bucket --context telegraf/autogen export.lp.gz | lp-post\n\nOne compressed copy \
         per bucket by a program of your choice:\n\n    lp-split-by-bucket --exec 'zstd -o \
         \"$(echo \"$LP_BUCKET\" | tr / _).zst\"' export.lp\n\nWhat is there, how long does it take, and what makes the \
         buckets:\n\n    tsm-cat /var/lib/influxdb | lp-split-by-bucket --plan --rate serverless\n    tsm-cat \
         /var/lib/influxdb | lp-split-by-bucket --plan=commands --target serverless >make-buckets.sh\n\nNew names and \
         periods from a file, whose columns are parted by tabs:\n\n    printf 'telegraf/autogen\\tmetrics\\t90d\\n' \
         >names.tsv\n    lp-split-by-bucket --map-file names.tsv export.lp | lp-post",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some points had no bucket here, were not taken by a \
         command or were left out by an earlier program: look at the rejects.\n\n2  wrong usage: mend the \
         command.\n\n65  the input is damaged or was cut: write it again.\n\n66  an input is missing: mend the \
         command.\n\n73  the folder holds files of an earlier run: name another one, or say --force.\n\n74  an I/O \
         error: look at disk and network.\n\n77  permission: run as somebody who may read the input and write the \
         folder.\n\n78  the first point has no bucket, the target refuses a name, or there are more buckets than \
         --max-open: say --context, --bucket or --map.\n\n130  stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP: run it again.\n\n141  the reader of standard output went away, as with \
         head.\n\nWith --exec any other status is that of the first command that failed.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-filter(1), lp-rate(1), lp-post(1), lineflow(7)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Result<Args, clap::Error> {
        clap::Parser::try_parse_from([&[NAME], words].concat())
    }

    #[test]
    fn the_arguments_are_consistent() {
        <Args as clap::CommandFactory>::command().debug_assert();
        for bad in [
            &["--compress"][..],
            &["--max-bytes", "1MB"],
            &["--max-lines", "1"],
            &["--force"],
            &["--max-open", "2"],
            &["--json"],
            &["--rate", "serverless"],
            &["--plan", "--dir", "x"],
            &["--exec", "true", "--dir", "x"],
            &["--max-lines", "0", "--dir", "x"],
            &["--target", "influx"],
            &["--plan=csv"],
        ] {
            assert!(args(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_plan_has_one_form() {
        let form = |words: &[&str]| args(words).unwrap().form().ok();
        assert_eq!(Some(None), form(&[]));
        assert_eq!(Some(Some(Form::Table)), form(&["--plan", "x.lp"]));
        assert_eq!(Some(Some(Form::Json)), form(&["--plan", "--json"]));
        assert_eq!(Some(Some(Form::Commands)), form(&["--plan=commands"]));
        assert_eq!(None, form(&["--plan=commands", "--json"]));
        let measure = args(&["--plan", "--rate", "serverless-free"])
            .unwrap()
            .measure();
        assert_eq!(
            Some("serverless-free"),
            measure.tariff.map(|tariff| tariff.name)
        );
        assert!(measure.rate.is_some() && measure.now > 0);
    }

    #[test]
    fn renames_are_cut_at_the_first_equals_sign() {
        assert_eq!(Ok(("a/b".into(), "c=d".into())), rename("a/b=c=d"));
        for text in ["a/b", "=c", "a/b=", ""] {
            assert!(rename(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_context_is_database_and_policy() {
        let found = context("db/rp").unwrap();
        assert_eq!(Some("db/rp".into()), found.path());
        for text in ["db", "/rp", "db/", "a/b/c", ""] {
            assert!(context(text).is_err(), "{text}");
        }
    }
}
