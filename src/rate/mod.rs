//! How much may pass in how much time: limits, tariffs, and the pacing that keeps them.

pub mod budget;
mod grammar;
mod ledger;
mod meter;
mod pacer;
pub mod partitions;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use nonzero_ext::nonzero;

pub use grammar::{Error, ErrorKind, count, unquoted};
pub use meter::Meter;
pub use pacer::{Pacer, TooLarge, Turn};
pub use partitions::Partitions;

/// What a plan of InfluxDB Cloud Serverless allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tariff {
    /// What users call it.
    pub name: &'static str,
    /// Bytes of line protocol, for the whole organisation.
    pub bytes: Limit,
    /// Distinct partitions (one measurement on one UTC day) written to, for each bucket.
    pub partitions: Limit,
    /// How many buckets there may be; `None` for as many as one likes.
    pub buckets: Option<usize>,
    /// Measurements that one bucket may hold.
    pub measurements: usize,
    /// The longest time that a bucket can keep points, in seconds; `None` for ever.
    pub longest_period: Option<u64>,
}

impl Tariff {
    /// The tariff that users call so.
    pub fn named(name: &str) -> Option<Self> {
        let all = [SERVERLESS, SERVERLESS_FREE].into_iter();
        all.into_iter().find(|tariff| tariff.name == name)
    }
}

const FIVE_MINUTES: NonZeroU64 = nonzero!(300_000_000_000_u64);

/// 5,000 partitions in 15 minutes, whatever one pays.
const PARTITIONS: Limit = Limit {
    amount: nonzero!(5_000_u64),
    window: nonzero!(900_000_000_000_u64),
};

/// What a usage-based Serverless account may write: 300 MB in 5 minutes.
pub const SERVERLESS: Tariff = Tariff {
    name: "serverless",
    bytes: Limit {
        amount: nonzero!(300_000_000_u64),
        window: FIVE_MINUTES,
    },
    partitions: PARTITIONS,
    buckets: None,
    measurements: 500,
    longest_period: None,
};

/// What a free Serverless account may write: 5 MB in 5 minutes.
pub const SERVERLESS_FREE: Tariff = Tariff {
    name: "serverless-free",
    bytes: Limit {
        amount: nonzero!(5_000_000_u64),
        window: FIVE_MINUTES,
    },
    partitions: PARTITIONS,
    buckets: Some(2),
    measurements: 500,
    longest_period: Some(30 * 86_400),
};

/// So many bytes, or other things, in any stretch of time of one length.
///
/// Both numbers are kept: `300MB/5min` and `1MB/s` have the same mean, and
/// allow different bursts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    amount: NonZeroU64,
    /// In nanoseconds.
    window: NonZeroU64,
}

impl Limit {
    /// `amount` in any `window`, which is taken as one nanosecond if it is zero.
    pub fn new(amount: NonZeroU64, window: Duration) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            amount,
            window: NonZeroU64::new(window).unwrap_or(NonZeroU64::MIN),
        }
    }

    /// What may pass in any window.
    pub fn amount(&self) -> u64 {
        self.amount.get()
    }

    /// The length of the window.
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.window.get())
    }

    /// How long `bytes` take at the mean rate, rounded up.
    pub fn time_for(&self, bytes: u64) -> Duration {
        let product = u128::from(bytes) * u128::from(self.window.get());
        let nanos = product.div_ceil(u128::from(self.amount.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Prints a limit of bytes as it would be typed: `300MB/5min`, `1MB/s`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount.get();
        let decimal = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
        let size = decimal
            .iter()
            .find(|(_, unit)| amount.is_multiple_of(*unit));
        let (size, unit) = size.copied().unwrap_or(("B", 1));
        write!(f, "{}{size}/", amount / unit)?;
        grammar::print_window(self.window.get(), f)
    }
}

/// Prints a limit of things that are counted: `5000/15min`.
#[derive(Clone, Copy, Debug)]
pub struct Counted(pub Limit);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.0.amount)?;
        grammar::print_window(self.0.window.get(), f)
    }
}

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Everything passes at once.
    Unlimited,
    /// Only so much passes.
    Limited(Limit),
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        grammar::rate(text).map_err(|kind| Error {
            text: text.to_owned(),
            kind,
        })
    }
}

/// Prints a rate as it would be typed.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Limited(limit) => limit.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn limits_print_as_they_are_typed() {
        for text in [
            "300MB/5min",
            "1MB/s",
            "17kB/s",
            "1B/ms",
            "5GB/2d",
            "1048576B/s",
        ] {
            assert_eq!(text, text.parse::<Rate>().unwrap().to_string());
        }
        assert_eq!("300MB/5min", Rate::Limited(SERVERLESS.bytes).to_string());
        assert_eq!("5000/15min", Counted(SERVERLESS.partitions).to_string());
        assert_eq!("unlimited", Rate::Unlimited.to_string());
    }

    #[test]
    fn the_mean_rate_says_how_long_bytes_take() {
        assert_eq!(5 * MINUTE, SERVERLESS.bytes.time_for(300_000_000));
        assert_eq!(Duration::from_nanos(1_000), SERVERLESS.bytes.time_for(1));
    }
}
