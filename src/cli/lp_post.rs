//! The arguments of lp-post, and what its manual says beyond them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::{input, report, value};
use crate::http::Target;
use crate::rate::{Limit, Rate, Tariff};

pub mod run;
pub mod settings;
pub mod sink;

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "tsm-cat /var/lib/influxdb | lp-post --host https://example.com";

/// Write line protocol to a server with the InfluxDB write API
///
/// Reads line protocol, plain or gzip, and writes its points to the server: batch by batch, compressed, again where
/// the server is busy or the network fails. Each point goes to the bucket that the stream names. Records that the
/// server refuses come out on standard output, with the reason; the rest is stored.
#[derive(clap::Parser, Debug)]
#[command(name = "lp-post", version)]
pub struct Args {
    /// URL of the server, http or https; may have a path
    ///
    /// Without it, and without a profile of the influx command, nothing is sent: there is no default.
    #[arg(
        long,
        value_name = "URL",
        env = "INFLUX_HOST",
        help_heading = "Where to"
    )]
    pub host: Option<String>,

    /// What the server is
    ///
    /// "auto" asks the server and says what it found.
    #[arg(long, value_name = "TARGET", default_value = "auto", value_parser = target, help_heading = "Where to")]
    pub target: Wanted,

    /// Organisation to write for, by name or ID
    #[arg(
        short,
        long,
        value_name = "NAME",
        env = "INFLUX_ORG",
        help_heading = "Where to"
    )]
    pub org: Option<String>,

    /// Write all points into this bucket, whatever the stream says
    ///
    /// For InfluxDB 1.x a bucket is DATABASE/POLICY, or DATABASE for its default policy. Without this option the
    /// bucket of a point is what the stream says: its bucket, else its database/policy. The variable
    /// INFLUX_BUCKET_NAME serves for streams that never say anything.
    #[arg(short, long, value_name = "NAME", value_parser = name, help_heading = "Where to")]
    pub bucket: Option<String>,

    /// Let --bucket put points together that the stream keeps apart
    #[arg(long, requires = "bucket", help_heading = "Where to")]
    pub merge_buckets: bool,

    /// Database and retention policy of points without context, as in the output of influx_inspect export -lponly
    #[arg(long, value_name = "DB/RP", value_parser = context, conflicts_with = "bucket", help_heading = "Where to")]
    pub context: Option<String>,

    /// Read the token from this file
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub token_file: Option<PathBuf>,

    /// Token; user:password for InfluxDB 1.x
    ///
    /// Others on this machine can see command lines: better use --token-file, which wins, or the variable.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "INFLUX_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true,
        help_heading = "Access"
    )]
    pub token: Option<String>,

    /// Take host, token and organisation from this profile of the influx command, where nothing else gives them
    #[arg(
        long,
        value_name = "NAME",
        env = "INFLUX_ACTIVE_CONFIG",
        help_heading = "Access"
    )]
    pub profile: Option<String>,

    /// File with the profiles of the influx command, which is only read [default: ~/.influxdbv2/configs]
    #[arg(
        long,
        value_name = "FILE",
        env = "INFLUX_CONFIGS_PATH",
        help_heading = "Access"
    )]
    pub configs_path: Option<PathBuf>,

    /// Send the token even over plain HTTP to another machine
    #[arg(long, help_heading = "Access")]
    pub allow_http: bool,

    /// Trust the certificates in this PEM file instead of those the system trusts
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "insecure",
        help_heading = "Access"
    )]
    pub ca_cert: Option<PathBuf>,

    /// Do not check who the server is: anybody on the way can read the token and the data
    #[arg(long, help_heading = "Access")]
    pub insecure: bool,

    /// Most records in one request
    #[arg(
        long,
        value_name = "N",
        default_value = "10000",
        help_heading = "Requests"
    )]
    pub batch_lines: NonZeroUsize,

    /// Most bytes in one request, before compression; a longer record goes alone
    #[arg(long, value_name = "SIZE", default_value = "10MB", value_parser = batch_bytes, help_heading = "Requests")]
    pub batch_bytes: NonZeroUsize,

    /// How long to wait for an answer; a large request gets more
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive, help_heading = "Requests")]
    pub timeout: Duration,

    /// Requests on their way at once
    ///
    /// Where the stream says that each point is in it once, batches go in any order. Elsewhere each series has its
    /// lane, so that its points are stored in the order of the input.
    #[arg(short, long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Requests")]
    pub jobs: u16,

    /// Send no more than this: 300MB/5min, serverless, serverless-free or unlimited
    ///
    /// Bytes of line protocol before compression, every attempt counted when it is sent; batches are at most a
    /// hundredth of it. What the journal knows is skipped without waiting. A tariff limits the partitions of a bucket
    /// as well, as lp-rate does: 5,000 in 15 minutes.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Requests")]
    pub rate: Option<Quota>,

    /// Share the rate with all processes on this machine that name this file
    ///
    /// When the server asks one of them to wait, all do. Partitions are counted by each process for itself.
    #[arg(
        long,
        value_name = "FILE",
        requires = "rate",
        help_heading = "Requests"
    )]
    pub budget: Option<PathBuf>,

    /// Keep a list of what is stored in this file, and do not send it again
    ///
    /// The same command, run again, goes on where the last one stopped: after a signal, a power cut or a status of 75.
    /// The input may have grown or changed meanwhile.
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub journal: Option<PathBuf>,

    /// Give up, with status 75, when nothing has been stored for so long; 0s is never
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = value::duration, help_heading = "Requests")]
    pub retry_max_time: Duration,

    /// First wait before a request is sent again; doubles up to a minute
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = "Requests")]
    pub retry_delay: Duration,

    /// Make buckets that are missing, as soon as the stream names them
    ///
    /// They keep points for as long as the stream says. A bucket that exists and keeps less ends the run before its
    /// first point.
    #[arg(long, help_heading = "Buckets")]
    pub create_buckets: bool,

    /// How long made buckets keep points: a duration or "infinite", for one bucket or for all that the stream says
    /// nothing of; may be repeated
    #[arg(long, value_name = "[BUCKET=]DURATION", value_parser = period, requires = "create_buckets", help_heading = "Buckets")]
    pub retention_period: Vec<(Option<String>, u64)>,

    /// Append refused records to this file, each under a comment with its place and reason
    ///
    /// Without it they are the standard output: a stream that can be mended and posted again.
    #[arg(long, value_name = "FILE", help_heading = "Rejects")]
    pub rejects: Option<PathBuf>,

    /// End the run, with status 69, after more than this many rejects [default: 10000, or 10 onto a terminal]
    #[arg(long, value_name = "N", help_heading = "Rejects")]
    pub max_rejects: Option<u64>,

    /// Send nothing: read, batch and compress, and say what would go where
    #[arg(long)]
    pub dry_run: bool,

    /// Take standard input without a single byte for success
    #[arg(long)]
    pub allow_empty: bool,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,

    /// Whether progress is drawn.
    #[command(flatten)]
    pub progress: report::ProgressArgs,
}

/// What may be sent in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes.
    pub bytes: Rate,
    /// Partitions that a bucket may get points for, where a tariff says so.
    pub partitions: Option<Limit>,
}

/// Which server is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It will say.
    Auto,
    /// This one.
    Target(Target),
}

impl Wanted {
    /// The target, where one is named.
    pub fn target(self) -> Option<Target> {
        match self {
            Self::Auto => None,
            Self::Target(target) => Some(target),
        }
    }
}

fn target(text: &str) -> Result<Wanted, String> {
    if text == "auto" {
        return Ok(Wanted::Auto);
    }
    let names: Vec<_> = Target::ALL.iter().map(|target| target.name()).collect();
    match Target::named(text) {
        Some(target) => Ok(Wanted::Target(target)),
        None => Err(format!("is none of auto, {}", names.join(", "))),
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    Ok(text.to_owned())
}

fn context(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((database, policy)) if !database.is_empty() && !policy.is_empty() => {
            Ok(text.to_owned())
        }
        _ => Err("is no DATABASE/POLICY, such as telegraf/autogen".to_owned()),
    }
}

fn rate(text: &str) -> Result<Quota, String> {
    let bytes = text.parse();
    let bytes = bytes.map_err(|err: crate::rate::Error| err.kind.to_string())?;
    let tariff = Tariff::named(text.trim());
    Ok(Quota {
        bytes,
        partitions: tariff.map(|tariff| tariff.partitions),
    })
}

fn batch_bytes(text: &str) -> Result<NonZeroUsize, String> {
    let bytes = usize::try_from(value::size(text)?).map_err(|_| "is too much".to_owned())?;
    NonZeroUsize::new(bytes).ok_or_else(|| "is nothing".to_owned())
}

fn positive(text: &str) -> Result<Duration, String> {
    match value::duration(text)? {
        Duration::ZERO => Err("is no time at all".to_owned()),
        time => Ok(time),
    }
}

/// A bucket, where one is named, and seconds; 0 is for ever.
fn period(text: &str) -> Result<(Option<String>, u64), String> {
    let (bucket, text) = match text.rsplit_once('=') {
        Some((bucket, text)) => (Some(name(bucket)?), text),
        None => (None, text),
    };
    if text == "infinite" {
        return Ok((bucket, 0));
    }
    let period = value::duration(text)?;
    if period.as_secs() == 0 || period.subsec_nanos() != 0 {
        return Err("is not a whole number of seconds above 0, nor infinite".to_owned());
    }
    Ok((bucket, period.as_secs()))
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "WHERE POINTS GO",
        "To the bucket of --bucket; else to the one the stream names by CONTEXT-BUCKET, or database/policy; else, for \
         points of a stream that never had a context, to --context or INFLUX_BUCKET_NAME. If the first point has no \
         bucket nothing is sent, status 78; later ones are rejects. --bucket over a stream of several buckets needs \
         --merge-buckets.\n\nHost, token and organisation come from options, else from INFLUX_HOST, INFLUX_TOKEN and \
         INFLUX_ORG, else from the profile file of the influx command. The token of a profile goes to the profile's \
         own host only, unless --profile names it. No token ever goes over plain HTTP to another machine without \
         --allow-http, and no redirect is followed.",
    ),
    (
        "TARGETS",
        "serverless  InfluxDB Cloud Serverless. Records that are not UTF-8, or whose names hold backslashes that \
         InfluxDB 3 reads otherwise, are rejects.\n\ncloud  InfluxDB Cloud with the TSM engine.\n\noss2  InfluxDB OSS \
         2.x; needs --org.\n\nv1  InfluxDB 1.x by /write; databases and policies have to exist.\n\nvictoriametrics  \
         VictoriaMetrics, single node: strings become 0, times are cut to milliseconds, the bucket becomes the label \
         db; records with a line feed inside are rejects.",
    ),
    (
        "FAILURES",
        "A request that gets no answer, or a status that passes (408, 425, 429, 5xx), is sent again: after a second, \
         then after twice as long up to a minute, with chance in it, and never before what Retry-After says. A \
         request that is too large is halved. Records that the server names as bad become rejects and the rest goes \
         again; where it names none, halves find them. Sending a point twice changes nothing in InfluxDB.\n\nRecords \
         without timestamp are rejects: the server would put its own clock's, another one each time.",
    ),
    (
        "GOING ON",
        "With --journal the same command can be run again until it is done. The journal holds a fingerprint of each \
         batch that was stored, made of its bytes and the place they went to. A batch is skipped as often as it was \
         stored before. Batches begin anew at every context comment, so a shard that has changed moves no batch of \
         another. Options that cut the input into other batches (--batch-lines, --batch-bytes, --rate, and --jobs \
         where points may come twice) make batches that the journal does not know. On start the file of --rejects is \
         cut back to where the journal says that it stood, if the last run broke off. One process at a time: another \
         one ends with status 75. It takes 48 bytes on disk and 24 in memory a batch.",
    ),
    (
        "REJECTS",
        "Standard output, or the file of --rejects, holds them as a stream of its own: context, bucket, a comment \
         with place and reason, the record. Mended, lp-post takes it without further options.\n\nWhere a server with \
         one schema a table refuses a value because of its type, all later values of this type for this column are \
         rejects unsent, and the last line says which option of lp-filter mends them.",
    ),
    (
        "ENVIRONMENT",
        "INFLUX_HOST, INFLUX_TOKEN, INFLUX_ORG, INFLUX_ACTIVE_CONFIG, INFLUX_CONFIGS_PATH: as the options. \
         INFLUX_BUCKET_NAME: see above.\n\nHTTPS_PROXY, HTTP_PROXY (by the URL's scheme), ALL_PROXY, NO_PROXY, or in \
         lower case: the proxy.\n\nSSL_CERT_FILE, SSL_CERT_DIR: the certificates the system trusts.",
    ),
    (
        "EXAMPLES",
        "Everything of a stopped server, buckets made as needed:\n\n    tsm-cat /var/lib/influxdb | lp-post \
         --create-buckets\n\nAn export of influx_inspect without context:\n\n    lp-post --context telegraf/autogen \
         export.lp.gz\n\nWhat would be sent:\n\n    tsm-cat /var/lib/influxdb | lp-post --dry-run",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were rejected here or left out by an \
         earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is damaged or was \
         cut; what came whole is stored: write it again.\n\n66  an input is missing or standard input is empty: look \
         at the program before.\n\n69  the server refused for good, or too many rejects: look at the reasons.\n\n74  \
         an I/O error: look at disk and network.\n\n75  gave up for now: run the same command again.\n\n77  \
         permission: look at the token.\n\n78  configuration: mend host, bucket or organisation.\n\n141  the reader of \
         standard output went away.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-filter(1), lp-split-by-bucket(1), lp-rate(1), lineflow(7)",
    ),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn periods_are_for_one_bucket_or_for_all() {
        assert_eq!(Ok((None, 0)), period("infinite"));
        assert_eq!(Ok((None, 2_592_000)), period("30d"));
        assert_eq!(Ok((Some("a=b/c".to_owned()), 3600)), period("a=b/c=1h"));
        for text in ["", "0s", "1ms", "=1h", "b=", "b=never"] {
            assert!(period(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets_and_contexts_are_checked_at_once() {
        assert_eq!(Ok(Wanted::Target(Target::V1)), target("v1"));
        assert_eq!(Ok(Wanted::Auto), target("auto"));
        assert!(target("influx").is_err());
        assert_eq!(Ok("d/r".to_owned()), context("d/r"));
        for text in ["", "d", "d/", "/r"] {
            assert!(context(text).is_err(), "{text}");
        }
    }
}
