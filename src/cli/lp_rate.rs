//! The arguments of lp-rate, and what its manual says beyond them.

use std::num::NonZeroU64;
use std::path::PathBuf;

use super::exit::Failure;
use super::pace::Limits;
use super::{input, rejects, report};
use crate::rate::{self, Limit, Rate, Tariff};

/// The name of the program.
pub const NAME: &str = "lp-rate";

/// What a terminal gets to read instead of nothing.
pub const EXAMPLE: &str = "lp-rate '300MB/5min' <export.lp | lp-post";

/// Pass a line protocol stream on, no faster than a rate
///
/// In any stretch of time as long as the rate's window no more bytes pass than the rate says, whenever the server's
/// own window begins. Records pass whole and in order. Every byte counts, those of comments too.
#[derive(clap::Parser, Debug)]
#[command(name = NAME, version)]
pub struct Args {
    /// How much may pass: 300MB/5min, "17 kB per s", serverless, serverless-free or unlimited
    ///
    /// An amount (B, kB, MB, GB are powers of 1000; KiB, MiB, GiB of 1024) and a time (ms, s, min, h, d, with a number
    /// or without). serverless is what a usage-based InfluxDB Cloud Serverless account may write, 300MB/5min and 5,000
    /// partitions in 15 minutes; serverless-free is 5MB/5min and as many partitions.
    #[arg(value_name = "RATE")]
    pub rate: String,

    /// Let no more points pass than this, whatever their size, such as 10000/s or 2e6/h
    #[arg(long, value_name = "N/TIME", value_parser = count)]
    pub points: Option<Limit>,

    /// Let points into no more partitions than this, for each bucket, such as 5000/15min
    ///
    /// A partition is one measurement on one UTC day. The bucket is the one that the stream names, else its
    /// database/policy. Comes with the rates serverless and serverless-free, where this gives another number.
    #[arg(long, value_name = "N/TIME", value_parser = count)]
    pub partitions: Option<Limit>,

    /// Share RATE with all processes on this host that name the same file
    ///
    /// The file is made if it does not exist; it belongs on a local disk, /run or /dev/shm. All have to give the same
    /// RATE. One that ends or is killed leaves its share to the others. The limits of --points and --partitions hold
    /// for each process by itself.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub budget: Option<PathBuf>,

    /// Write a line of progress to standard error every so many seconds, for a log
    #[arg(long, value_name = "SECONDS")]
    pub report: Option<NonZeroU64>,

    /// Write nothing and wait for nothing; say how long it would take
    #[arg(long)]
    pub dry_run: bool,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What is too large to ever pass.
    #[command(flatten)]
    pub rejects: rejects::Args,

    /// Who looks on.
    #[command(flatten)]
    pub progress: report::ProgressArgs,

    /// What is told of the run.
    #[command(flatten)]
    pub figures: report::Args,
}

impl Args {
    /// What may pass; where the shell has cut the rate into several arguments, the error says how to quote it.
    pub fn limits(&self) -> anyhow::Result<Limits> {
        let files = self.input.files.iter().map_while(|path| path.to_str());
        let words: Vec<_> = std::iter::once(self.rate.as_str()).chain(files).collect();
        if let Some(whole) = rate::unquoted(&words) {
            let text = format!("the rate needs quotes: lp-rate '{whole}'");
            return Err(Failure::Usage(text).into());
        }
        let rate = self.rate.parse::<Rate>();
        let rate = rate.map_err(|err| Failure::Usage(err.to_string()))?;
        if self.budget.is_some() && rate == Rate::Unlimited {
            let text = "--budget: unlimited is nothing that could be shared";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        let tariff = Tariff::named(self.rate.trim());
        Ok(Limits {
            rate,
            points: self.points,
            partitions: self.partitions.or(tariff.map(|tariff| tariff.partitions)),
        })
    }
}

fn count(text: &str) -> Result<Limit, String> {
    rate::count(text).map_err(|err| err.kind.to_string())
}

/// Sections of the manual page that no option has a place for.
pub const MANUAL: &[(&str, &str)] = &[
    (
        "RATES",
        "An amount and a time, with or without a slash, the word per, and blanks between them: 300MB/5min, '300 MB / 5 \
         min', 17kBs, '1.5 MiB per 10 s'. Numbers may have decimals and an exponent. The rates of influx write \
         --rate-limit are understood, with one difference: MB is 10^6 bytes here, as in the quotas of the servers, and \
         2^20 there. kb and mb, which may mean bits, are refused; so is zero.\n\nThe window matters: 300MB/5min and \
         1MB/s have the same mean, but the first passes up to 3 MB at once, the second 10 kB.",
    ),
    (
        "GUARANTEE",
        "In any window no more than the amount passes, wherever it begins. A run that never waits for input passes at \
         least 1 - max(1 %, largest record / amount) of what it may. After a pause of the source one burst is made up \
         for, no more: 1 % of the amount, or the largest record so far if that is larger. A record larger than the \
         amount can never pass and is a reject.\n\nThis holds at the output of lp-rate. Behind it stand pipes, batches \
         and retries: a server's quota is kept by lp-post --rate, which charges every attempt.",
    ),
    (
        "PARTITIONS",
        "InfluxDB Cloud Serverless takes points for 5,000 different partitions in 15 minutes, for each bucket; a \
         partition is one measurement on one UTC day. An export that goes series by series through years exceeds that \
         in minutes. lp-rate waits before a point that would; points for partitions that were written to within the \
         time pass meanwhile only if they come before it, as the order is never changed. The fewest waits has a stream \
         that is ordered by time, such as that of tsm-cat with its shards. At most a million partitions are remembered, \
         in 100 bytes each.",
    ),
    (
        "SHARING",
        "--budget FILE makes one allowance of the rates of all processes that name the file: together they pass in any \
         window what one alone would. Each gets its turn, large records too. The file holds a page of text; nobody \
         keeps it locked. What a process had booked when it was killed counts as passed, everything else is left to \
         the others. After a reboot, or when nothing has passed for a window, all begin anew. While others use a file \
         another RATE for it is refused, status 78.",
    ),
    (
        "PROGRESS",
        "One line on standard error shows bytes, points and speed, and where the stream says how much of the whole it \
         is (# STREAM-AT, which tsm-cat writes), that and the time left. It is drawn where standard error is a terminal \
         and standard output is no pipe, so by one program of a pipe. --report writes the same as plain lines.",
    ),
    (
        "EXAMPLES",
        "Upload at the pace of a quota:\n\n    tsm-cat /var/lib/influxdb | lp-rate serverless | lp-post\n\nSpare a \
         shared link by day:\n\n    lp-rate '2 MB / s' export.lp.gz | ssh host 'cat >export.lp'\n\nTwo uploads at once \
         within one quota:\n\n    lp-rate serverless --budget /dev/shm/quota a.lp | lp-post &\n    lp-rate serverless \
         --budget /dev/shm/quota b.lp | lp-post\n\nA server that counts points, and a log that shows every minute how \
         far it is:\n\n    lp-rate --points 10000/s --report 60 unlimited export.lp 2>>log | lp-post\n\nA quota of \
         bytes that leaves partitions a tenth for others:\n\n    lp-rate --partitions '4500 / 15 min' serverless \
         export.lp | lp-post\n\nHow long will it take?\n\n    tsm-cat /var/lib/influxdb | lp-rate --dry-run \
         serverless",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were larger than the amount or were left \
         out by an earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is \
         damaged or was cut: write it again.\n\n66  an input is missing: mend the command.\n\n74  an I/O error: look at \
         disk and network.\n\n77  permission: run as somebody who may read the input and write the budget.\n\n78  the \
         budget file is something else or is used at another rate: name another one.\n\n130  stopped by SIGINT, 143 by SIGTERM, 129 by SIGHUP: run it again.\n\n141  the reader of standard \
         output went away, as with head.",
    ),
    (
        "SEE ALSO",
        "tsm-cat(1), lp-filter(1), lp-split-by-bucket(1), lp-post(1), lineflow(7)",
    ),
];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn rate(words: &[&str]) -> Result<String, String> {
        let args = Args::try_parse_from(words).map_err(|err| err.to_string())?;
        args.limits()
            .map(|limits| limits.to_string())
            .map_err(|err| err.to_string())
    }

    #[test]
    fn the_rate_is_the_first_argument() {
        assert_eq!(
            Ok("300MB/5min".into()),
            rate(&["lp-rate", "300 MB / 5 min", "a.lp"])
        );
    }

    #[test]
    fn a_tariff_brings_its_partitions_which_an_option_replaces() {
        let serverless = "300MB/5min, 5000/15min partitions";
        assert_eq!(Ok(serverless.into()), rate(&["lp-rate", " serverless"]));
        let other = ["lp-rate", "serverless-free", "--partitions", "7/h"];
        assert_eq!(Ok("5MB/5min, 7/h partitions".into()), rate(&other));
        let points = ["lp-rate", "unlimited", "--points", "2e3 per s"];
        assert_eq!(Ok("unlimited, 2000/s points".into()), rate(&points));
        assert!(rate(&["lp-rate", "unlimited", "--points", "7"]).is_err());
        assert!(rate(&["lp-rate", "unlimited", "--budget", "x"]).is_err());
    }

    #[test]
    fn a_rate_without_quotes_is_refused_with_the_quoted_one() {
        let expected = Err("the rate needs quotes: lp-rate '300 MB / 5 min'".to_owned());
        assert_eq!(expected, rate(&["lp-rate", "300", "MB", "/", "5", "min"]));
        assert_eq!(
            Err("the rate needs quotes: lp-rate '300MB / 5min'".to_owned()),
            rate(&["lp-rate", "300MB", "/", "5min", "export.lp"])
        );
    }
}
