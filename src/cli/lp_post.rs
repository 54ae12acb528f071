//! The arguments of lp-post, and what its manual says beyond them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::lp_filter::Precision;
use super::{input, report, value};
use crate::http::Target;
use crate::rate::{Limit, Rate, Tariff};

mod connect;
mod figures;
mod manual;
pub mod run;
pub mod settings;
pub mod sink;

pub use manual::MANUAL;

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "tsm-cat /var/lib/influxdb | lp-post --host https://example.com";

/// Write line protocol to a server with the InfluxDB write API
///
/// Reads line protocol, plain or gzip, and writes its points to the server: batch by batch, compressed, again where
/// the server is busy or the network fails. Each point goes to the bucket that the stream names. Records that the
/// server refuses come out on standard output, with the reason; the rest is stored.
#[derive(clap::Parser, Debug)]
#[command(name = "lp-post", version, group = clap::ArgGroup::new("one_bucket").multiple(true))]
pub struct Args {
    /// URL of the server, http or https; may have a path; or unix:PATH, a socket of this machine
    ///
    /// Without it, and without a profile of the influx command, nothing is sent: there is no default.
    #[arg(
        long,
        value_name = "URL",
        env = "INFLUX_HOST",
        help_heading = "Where to"
    )]
    pub host: Option<String>,

    /// What the server is: serverless, cloud, oss2, v1, core, enterprise, clustered, dedicated, victoriametrics
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

    /// Organisation to write for, by ID alone
    #[arg(
        long,
        value_name = "ID",
        env = "INFLUX_ORG_ID",
        help_heading = "Where to"
    )]
    pub org_id: Option<String>,

    /// Write all points into this bucket, whatever the stream says
    ///
    /// For InfluxDB 1.x a bucket is DATABASE/POLICY, or DATABASE for its default policy. Without this option the
    /// bucket of a point is what the stream says: its bucket, else its database/policy. The variable
    /// INFLUX_BUCKET_NAME serves for streams that never say anything.
    #[arg(short, long, value_name = "NAME", value_parser = name, group = "one_bucket", help_heading = "Where to")]
    pub bucket: Option<String>,

    /// The same by the ID of the bucket, for servers where buckets have one
    #[arg(long, value_name = "ID", value_parser = name, group = "one_bucket", conflicts_with = "create_buckets", help_heading = "Where to")]
    pub bucket_id: Option<String>,

    /// Let --bucket put points together that the stream keeps apart
    #[arg(long, requires = "one_bucket", help_heading = "Where to")]
    pub merge_buckets: bool,

    /// Database and retention policy of points without context, as in the output of influx_inspect export -lponly
    #[arg(long, value_name = "DB/RP", value_parser = context, conflicts_with = "one_bucket", help_heading = "Where to")]
    pub context: Option<String>,

    /// Read the token from this file; again when the server does not know it any more
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub token_file: Option<PathBuf>,

    /// Token; user:password for InfluxDB 1.x
    ///
    /// Others on this machine can see command lines, which is said each time: better use --token-file, which wins, or
    /// the variable.
    #[arg(
        short,
        long,
        value_name = "TOKEN",
        env = "INFLUX_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true,
        help_heading = "Access"
    )]
    pub token: Option<String>,

    /// Take host, token and organisation from this profile of the influx command, where nothing else gives them
    ///
    /// --active-config is the same. The file is not changed, nor is another profile made the active one.
    #[arg(
        short = 'c',
        long,
        visible_alias = "active-config",
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
    ///
    /// --skip-verify is the same.
    #[arg(
        long,
        visible_alias = "skip-verify",
        env = "INFLUX_SKIP_VERIFY",
        value_parser = clap::builder::FalseyValueParser::new(),
        help_heading = "Access"
    )]
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

    /// Longest time that a point waits for its batch to be full; 0s is for ever [default: 10s, or for ever with --journal]
    ///
    /// For input that comes slowly, as from tail -F. With a journal batches have to be the same another time, so they
    /// are not cut by the clock there unless this option says so.
    #[arg(long, value_name = "DURATION", value_parser = value::duration, help_heading = "Requests")]
    pub batch_age: Option<Duration>,

    /// How long to wait for an answer; a large request gets more
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = positive, help_heading = "Requests")]
    pub timeout: Duration,

    /// Requests on their way at once
    ///
    /// Where the stream says that each point is in it once, batches go in any order. Elsewhere each series has its
    /// lane, so that its points are stored in the order of the input.
    #[arg(short, long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Requests")]
    pub jobs: u16,

    /// Send no more than this: 300MB/5min, serverless, serverless-free, auto or unlimited
    ///
    /// --rate-limit is the same. "auto" asks an InfluxDB Cloud what the organisation may write.
    /// Bytes of line protocol before compression, every attempt counted when it is sent; batches are at most a
    /// hundredth of it. What the journal knows is skipped without waiting. A tariff limits the partitions of a bucket
    /// as well, as lp-rate does: 5,000 in 15 minutes.
    #[arg(long, visible_alias = "rate-limit", value_name = "RATE", value_parser = rate, help_heading = "Requests")]
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
    /// They keep points for as long as the stream says, or --retention-period. A bucket that exists and keeps less ends
    /// the run before its first point. A stream of contexts without points (tsm-cat --context-only) does only this.
    #[arg(long, help_heading = "Buckets")]
    pub create_buckets: bool,

    /// How long buckets keep points: a duration or "infinite", for one bucket or for all that the stream says nothing
    /// of; may be repeated
    ///
    /// This is how buckets are made, and by what points are known to be too old for them.
    #[arg(long, value_name = "[BUCKET=]DURATION", value_parser = period, help_heading = "Buckets")]
    pub retention_period: Vec<(Option<String>, u64)>,

    /// Let InfluxQL find made buckets by database and policy; autogen, or else the first, is a database's default policy
    #[arg(long, requires = "create_buckets", help_heading = "Buckets")]
    pub dbrp: bool,

    /// What becomes of points that are older than their bucket keeps: skip, reject or send
    ///
    /// Without it they are rejects, unless the policy they come from would drop them as well: then they are counted as
    /// expired, which is no loss. How long a bucket keeps points is known where --create-buckets makes it or
    /// --retention-period says it; with this option the server is asked otherwise.
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        hide_possible_values = true,
        help_heading = "Buckets"
    )]
    pub expired: Option<Old>,

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

    /// Check URL, token and bucket by a write without any point, and read nothing
    ///
    /// Needs --bucket, --bucket-id, --context or INFLUX_BUCKET_NAME.
    #[arg(long, conflicts_with = "dry_run")]
    pub ping: bool,

    /// Unit of the timestamps that come in: ns, us, ms or s
    ///
    /// Without it they are nanoseconds; but if the first 1,000 of them (or all) would lie in 1970 nothing is sent, status
    /// 65. Streams that begin with STREAM-BEGIN always count in nanoseconds.
    #[arg(
        short,
        long,
        value_name = "UNIT",
        value_enum,
        hide_possible_values = true,
        env = "INFLUX_PRECISION",
        help_heading = "Input"
    )]
    pub precision: Option<Precision>,

    /// How names with backslashes are spelled: go as InfluxDB 1.x and 2.x do, or v3 as InfluxDB 3 does
    #[arg(
        long,
        value_name = "DIALECT",
        value_enum,
        hide_possible_values = true,
        default_value = "go",
        help_heading = "Input"
    )]
    pub input_dialect: Dialect,

    /// Files to read, as operands are; may be repeated
    #[arg(short, long, value_name = "FILE", help_heading = "Input")]
    pub file: Vec<PathBuf>,

    /// What the input must be: gzip or none; without it either is told by its content
    #[arg(
        long,
        value_name = "KIND",
        value_enum,
        hide_possible_values = true,
        help_heading = "Input"
    )]
    pub compression: Option<input::Compression>,

    /// Take standard input without a single byte for success
    #[arg(long, help_heading = "Input")]
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
pub enum Quota {
    /// The server will say.
    Auto,
    /// So much.
    Told {
        /// Bytes.
        bytes: Rate,
        /// Partitions that a bucket may get points for, where a tariff says so.
        partitions: Option<Limit>,
    },
}

/// What becomes of points that are older than their bucket keeps.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum Old {
    /// They are counted and left out.
    Skip,
    /// They are rejects.
    Reject,
    /// They are sent.
    Send,
}

/// How names are spelled.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub enum Dialect {
    /// As InfluxDB 1.x and 2.x spell them.
    Go,
    /// As InfluxDB 3 spells them.
    V3,
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
    let named = value::target(text).map(Wanted::Target);
    named.map_err(|refused| format!("{refused}, auto"))
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
    if text == "auto" {
        return Ok(Quota::Auto);
    }
    let bytes = text.parse();
    let bytes = bytes.map_err(|err: crate::rate::Error| err.kind.to_string())?;
    let tariff = Tariff::named(text.trim());
    Ok(Quota::Told {
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
