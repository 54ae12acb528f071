//! The arguments of lp-rate, and what its manual says beyond them.

use super::exit::Failure;
use super::{input, rejects, report};
use crate::rate::{self, Rate};

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
    /// or without). serverless is 300MB/5min, what a usage-based InfluxDB Cloud Serverless account may write;
    /// serverless-free is 5MB/5min.
    #[arg(value_name = "RATE")]
    pub rate: String,

    /// Write nothing and wait for nothing; say how long it would take
    #[arg(long)]
    pub dry_run: bool,

    /// What comes in.
    #[command(flatten)]
    pub input: input::Args,

    /// What is too large to ever pass.
    #[command(flatten)]
    pub rejects: rejects::Args,

    /// What is told of the run.
    #[command(flatten)]
    pub report: report::Args,
}

impl Args {
    /// The rate; where the shell has cut it into several arguments, the error says how to quote it.
    pub fn rate(&self) -> anyhow::Result<Rate> {
        let files = self.input.files.iter().map_while(|path| path.to_str());
        let words: Vec<_> = std::iter::once(self.rate.as_str()).chain(files).collect();
        if let Some(whole) = rate::unquoted(&words) {
            let text = format!("the rate needs quotes: lp-rate '{whole}'");
            return Err(Failure::Usage(text).into());
        }
        let rate = self.rate.parse::<Rate>();
        Ok(rate.map_err(|err| Failure::Usage(err.to_string()))?)
    }
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
        "EXAMPLES",
        "Upload at the pace of a quota:\n\n    tsm-cat /var/lib/influxdb | lp-rate serverless | lp-post\n\nSpare a \
         shared link by day:\n\n    lp-rate '2 MB / s' export.lp.gz | ssh host 'cat >export.lp'\n\nHow long will it \
         take?\n\n    tsm-cat /var/lib/influxdb | lp-rate --dry-run serverless",
    ),
    (
        "EXIT STATUS",
        "0  done, nothing lost: go on.\n\n1  all input was read, some records were larger than the amount or were left \
         out by an earlier program: look at the rejects.\n\n2  wrong usage: mend the command.\n\n65  the input is \
         damaged or was cut: write it again.\n\n66  an input is missing: mend the command.\n\n74  an I/O error: look at \
         disk and network.\n\n77  permission: run as somebody who may read the input.\n\n141  the reader of standard \
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
        args.rate()
            .map(|rate| rate.to_string())
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
    fn a_rate_without_quotes_is_refused_with_the_quoted_one() {
        let expected = Err("the rate needs quotes: lp-rate '300 MB / 5 min'".to_owned());
        assert_eq!(expected, rate(&["lp-rate", "300", "MB", "/", "5", "min"]));
        assert_eq!(
            Err("the rate needs quotes: lp-rate '300MB / 5min'".to_owned()),
            rate(&["lp-rate", "300MB", "/", "5min", "export.lp"])
        );
    }
}
