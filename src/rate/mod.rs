//! How much may pass in how much time: limits, how people write them, and the pacing that keeps them.
//!
//! The grammar is that of `influx write --rate-limit`, widened:
//!
//! ```text
//! rate   = tariff | amount size [ "/" | "per" ] [ count ] time      blanks anywhere between these
//! tariff = "serverless" | "serverless-free" | "unlimited"
//! amount = digits, optional decimals, optional exponent, "_" between digits; above zero
//! size   = "B" | "kB" | "KB" | "MB" | "GB" | "KiB" | "MiB" | "GiB"
//! count  = written like amount
//! time   = "ms" | "s" | "sec" | "second(s)" | "m" | "min" | "minute(s)" | "h" | "hr" | "hour(s)" | "d" | "day(s)"
//! ```
//!
//! `MB` is 10^6 bytes, as in the quotas of the servers, and `MiB` is 2^20; `influx write` takes `MB` for 2^20
//! and so passes 4.9 % more than it is told.

mod pacer;

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::Duration;

use nonzero_ext::nonzero;

pub use pacer::{Pacer, TooLarge, Turn};

/// Units of size; where one begins another, the longer stands first.
const SIZES: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Units of time in nanoseconds; the first spelling of a length is the one that is printed.
const TIMES: [(&str, u64); 15] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("sec", 1_000_000_000),
    ("second", 1_000_000_000),
    ("seconds", 1_000_000_000),
    ("m", 60_000_000_000),
    ("minute", 60_000_000_000),
    ("minutes", 60_000_000_000),
    ("hr", 3_600_000_000_000),
    ("hour", 3_600_000_000_000),
    ("hours", 3_600_000_000_000),
    ("day", 86_400_000_000_000),
];

/// The plural that the table of units has no room for.
const DAYS: (&str, u64) = ("days", 86_400_000_000_000);

/// What a usage-based Serverless account may write: 300 MB in 5 minutes.
pub const SERVERLESS: Limit = Limit {
    amount: nonzero!(300_000_000_u64),
    window: nonzero!(300_000_000_000_u64),
};

/// What a free Serverless account may write: 5 MB in 5 minutes.
pub const SERVERLESS_FREE: Limit = Limit {
    amount: nonzero!(5_000_000_u64),
    window: nonzero!(300_000_000_000_u64),
};

/// So many bytes in any stretch of time of one length.
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
    /// `amount` bytes in any `window`, which is taken as one nanosecond if it is zero.
    pub fn new(amount: NonZeroU64, window: Duration) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            amount,
            window: NonZeroU64::new(window).unwrap_or(NonZeroU64::MIN),
        }
    }

    /// The bytes that may pass in any window.
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

/// Prints a limit as it would be typed: `300MB/5min`, `1MB/s`.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, window) = (self.amount.get(), self.window.get());
        let decimal = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
        let size = decimal
            .iter()
            .find(|(_, unit)| amount.is_multiple_of(*unit));
        let (size, unit) = size.copied().unwrap_or(("B", 1));
        write!(f, "{}{size}/", amount / unit)?;
        match TIMES.iter().find(|(_, unit)| window.is_multiple_of(*unit)) {
            Some((time, unit)) if window == *unit => f.write_str(time),
            Some((time, unit)) => write!(f, "{}{time}", window / unit),
            None => write!(f, "{}.{:06}ms", window / 1_000_000, window % 1_000_000),
        }
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
        parse(text).map_err(|kind| Error {
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

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate '{text}' {kind}")]
pub struct Error {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub kind: ErrorKind,
}

/// What can be wrong with a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// There is nothing to read.
    #[error("is empty (for no limit say unlimited)")]
    Empty,
    /// It begins with something else than a number.
    #[error(
        "does not begin with a number (write it like 300MB/5min, or serverless, serverless-free, unlimited)"
    )]
    NoNumber,
    /// The number is followed by no unit of size.
    #[error("has no unit of size after its number (B, kB, MB, GB, KiB, MiB or GiB)")]
    NoSize,
    /// The unit of size is spelled so that it could mean something else.
    #[error("has the unit '{0}', which may mean bits (write MB for 10^6 bytes, MiB for 2^20)")]
    Doubtful(String),
    /// No time follows the amount.
    #[error("says in no time how long that is for (write it like 300MB/5min or 1MB/s)")]
    NoTime,
    /// What should be a unit of time is none.
    #[error("has '{0}' where a unit of time should be (ms, s, min, h or d)")]
    NotATime(String),
    /// Nothing may ever pass.
    #[error("lets nothing pass (for no limit say unlimited)")]
    Zero,
    /// The time is nothing.
    #[error("has a time of zero")]
    ZeroTime,
    /// A number does not fit.
    #[error("has a number that is too large or too long")]
    TooLarge,
}

/// The rate that a shell has cut into the arguments `words`, if they make one together
/// and the first alone does not.
///
/// The quotes in `lp-rate '300 MB / 5 min'` are easily forgotten; then the
/// rate is `300` and there are files called `MB`, `/`, `5` and `min`.
pub fn unquoted(words: &[&str]) -> Option<String> {
    if words.first()?.parse::<Rate>().is_ok() {
        return None;
    }
    (2..=words.len())
        .filter_map(|n| words.get(..n))
        .map(|some| some.join(" "))
        .find(|text| text.parse::<Rate>().is_ok())
}

fn parse(text: &str) -> Result<Rate, ErrorKind> {
    let text = text.trim();
    match text {
        "" => return Err(ErrorKind::Empty),
        "0" => return Err(ErrorKind::Zero),
        "unlimited" => return Ok(Rate::Unlimited),
        "serverless" => return Ok(Rate::Limited(SERVERLESS)),
        "serverless-free" => return Ok(Rate::Limited(SERVERLESS_FREE)),
        _ => {}
    }
    let (number, rest) = Number::read(text)?.ok_or(ErrorKind::NoNumber)?;
    let (unit, rest) = size(rest.trim_start())?;
    let amount = number.floor(unit).ok_or(ErrorKind::TooLarge)?;
    let amount = NonZeroU64::new(amount).ok_or(ErrorKind::Zero)?;
    let window = window(rest.trim_start())?;
    Ok(Rate::Limited(Limit { amount, window }))
}

fn size(text: &str) -> Result<(u64, &str), ErrorKind> {
    let found = SIZES
        .iter()
        .find_map(|(name, unit)| Some((*unit, text.strip_prefix(name)?)));
    if let Some(found) = found {
        return Ok(found);
    }
    let same = |name: &&(&str, u64)| {
        let head = text.as_bytes().get(..name.0.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(name.0.as_bytes()))
    };
    match SIZES
        .iter()
        .find(same)
        .and_then(|name| text.get(..name.0.len()))
    {
        Some(typed) => Err(ErrorKind::Doubtful(typed.to_owned())),
        None => Err(ErrorKind::NoSize),
    }
}

fn window(text: &str) -> Result<NonZeroU64, ErrorKind> {
    let rest = text.strip_prefix('/').or_else(|| text.strip_prefix("per"));
    let rest = rest.unwrap_or(text).trim_start();
    let (count, rest) = Number::read(rest)?.unwrap_or((Number::ONE, rest));
    let name = rest.trim_start();
    if name.is_empty() {
        return Err(ErrorKind::NoTime);
    }
    let unit = TIMES.iter().chain([&DAYS]).find(|unit| unit.0 == name);
    let (_, unit) = unit.ok_or_else(|| ErrorKind::NotATime(name.to_owned()))?;
    let nanos = count.ceil(*unit).ok_or(ErrorKind::TooLarge)?;
    NonZeroU64::new(nanos).ok_or(ErrorKind::ZeroTime)
}

/// A decimal number as it was typed: `digits x 10^power`.
#[derive(Clone, Copy, Debug)]
struct Number {
    digits: u128,
    power: i32,
}

impl Number {
    const ONE: Self = Self {
        digits: 1,
        power: 0,
    };

    /// The number that `text` begins with, if it does, and what follows.
    fn read(text: &str) -> Result<Option<(Self, &str)>, ErrorKind> {
        let mut number = Self {
            digits: 0,
            power: 0,
        };
        let mut seen = number.push(text)?;
        let mut at = seen;
        if let Some(decimals) = text.get(at..).and_then(|rest| rest.strip_prefix('.')) {
            let n = number.push(decimals)?;
            let written = decimals.bytes().take(n).filter(u8::is_ascii_digit).count();
            number.power = -i32::try_from(written).map_err(|_| ErrorKind::TooLarge)?;
            seen += n;
            at += 1 + n;
        }
        if seen == 0 {
            return Ok(None);
        }
        let rest = text.get(at..).unwrap_or_default();
        let (power, rest) = exponent(rest)?;
        number.power += power;
        Ok(Some((number, rest)))
    }

    /// Take in the digits that `text` begins with; gives how many bytes they are.
    fn push(&mut self, text: &str) -> Result<usize, ErrorKind> {
        let mut len = 0;
        for c in text.bytes() {
            match c {
                b'0'..=b'9' => {
                    let digits = self.digits.checked_mul(10);
                    let digits = digits.and_then(|d| d.checked_add(u128::from(c - b'0')));
                    self.digits = digits.ok_or(ErrorKind::TooLarge)?;
                }
                b'_' if len > 0 => {}
                _ => break,
            }
            len += 1;
        }
        Ok(len)
    }

    /// The number of whole units, rounded down.
    fn floor(self, unit: u64) -> Option<u64> {
        let (product, divisor) = self.fraction(unit)?;
        u64::try_from(product / divisor).ok()
    }

    /// The number of whole units, rounded up.
    fn ceil(self, unit: u64) -> Option<u64> {
        let (product, divisor) = self.fraction(unit)?;
        u64::try_from(product.div_ceil(divisor)).ok()
    }

    fn fraction(self, unit: u64) -> Option<(u128, u128)> {
        let product = self.digits.checked_mul(u128::from(unit))?;
        let power = 10_u128.checked_pow(self.power.unsigned_abs())?;
        if self.power < 0 {
            return Some((product, power));
        }
        Some((product.checked_mul(power)?, 1))
    }
}

/// The exponent that `text` begins with, 0 if it has none, and what follows.
fn exponent(text: &str) -> Result<(i32, &str), ErrorKind> {
    let Some(rest) = text.strip_prefix(['e', 'E']) else {
        return Ok((0, text));
    };
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 {
        return Ok((0, text));
    }
    let (digits, after) = digits.split_at(len);
    let power = digits.parse::<i32>().ok().filter(|power| *power < 1_000);
    let power = power.ok_or(ErrorKind::TooLarge)?;
    Ok((if rest.starts_with('-') { -power } else { power }, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(amount: u64, window: Duration) -> Result<Rate, ErrorKind> {
        let amount = NonZeroU64::new(amount).unwrap();
        Ok(Rate::Limited(Limit::new(amount, window)))
    }

    fn read(text: &str) -> Result<Rate, ErrorKind> {
        text.parse::<Rate>().map_err(|err| err.kind)
    }

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_influx_write_accepts_is_accepted_with_a_decimal_megabyte() {
        assert_eq!(limit(300_000_000, 5 * MINUTE), read("300 MB / 5 min"));
        assert_eq!(limit(5_000_000, 5 * MINUTE), read("5 MB / 5 min"));
        assert_eq!(limit(5_000_000, 5 * MINUTE), read("5MB/5min"));
        assert_eq!(limit(17_000, SECOND), read("17kBs"));
        assert_eq!(limit(5_100_000, 5 * MINUTE), read("5.1MB5m"));
        assert_eq!(limit(500_000, SECOND), read(".5MB/s"));
        assert_eq!(limit(5_000_000, SECOND), read("5.MB/s"));
        assert_eq!(limit(1_000_000, MINUTE), read("1MBmin"));
        assert_eq!(limit(1_000_000, SECOND), read("1MB/sec"));
    }

    #[test]
    fn more_is_accepted_than_influx_write_does() {
        assert_eq!(limit(1 << 20, SECOND), read("1MiB/s"));
        assert_eq!(limit(1_000_000_000, 60 * MINUTE), read("1GB/h"));
        assert_eq!(limit(1_000_000, 60 * MINUTE), read("1MB/h"));
        assert_eq!(limit(1_000, SECOND), read("1KB/s"));
        assert_eq!(limit(1_000_000, 3 * MINUTE / 2), read("1MB/1.5min"));
        assert_eq!(limit(1_000, SECOND), read("1e3B/s"));
        assert_eq!(limit(1_000, SECOND), read("\t1\tkB\t/ s "));
        assert_eq!(limit(10_000, MINUTE), read("10_000 B per minute"));
        assert_eq!(limit(2_500, 2 * SECOND), read("2.5e+3B per 2 seconds"));
        assert_eq!(limit(3, Duration::from_millis(10)), read("3B/10ms"));
        assert_eq!(limit(7 << 30, 48 * 60 * MINUTE), read("7 GiB 2 days"));
        assert_eq!(limit(5 << 10, 24 * 60 * MINUTE), read("5KiB/d"));
    }

    #[test]
    fn tariffs_have_names() {
        assert_eq!(limit(300_000_000, 5 * MINUTE), read("serverless"));
        assert_eq!(limit(5_000_000, 5 * MINUTE), read("serverless-free"));
        assert_eq!(Ok(Rate::Unlimited), read("unlimited"));
    }

    #[test]
    fn zero_is_refused_and_the_word_for_no_limit_is_named() {
        for text in ["0", "0MB/s", "0.0MB/5min", ".5B/s", "1e-9kB/s"] {
            assert_eq!(Err(ErrorKind::Zero), read(text), "{text}");
        }
        let said = "0MB/s".parse::<Rate>().unwrap_err().to_string();
        assert_eq!(
            "rate '0MB/s' lets nothing pass (for no limit say unlimited)",
            said
        );
        assert_eq!(Err(ErrorKind::ZeroTime), read("1MB/0s"));
    }

    #[test]
    fn units_that_may_mean_bits_are_refused() {
        for unit in ["mb", "kb", "Mb", "b", "gB", "mib", "kiB"] {
            let expected = Err(ErrorKind::Doubtful(unit.to_owned()));
            assert_eq!(expected, read(&format!("1{unit}/s")));
        }
        assert_eq!(Err(ErrorKind::Doubtful("Mb".to_owned())), read("1Mbit/s"));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_reason() {
        assert_eq!(Err(ErrorKind::Empty), read(" "));
        assert_eq!(Err(ErrorKind::NoNumber), read("-1MB/s"));
        assert_eq!(Err(ErrorKind::NoNumber), read("fast"));
        assert_eq!(Err(ErrorKind::NoNumber), read("."));
        assert_eq!(Err(ErrorKind::NoNumber), read("_1B/s"));
        assert_eq!(Err(ErrorKind::NoSize), read("300"));
        assert_eq!(Err(ErrorKind::NoSize), read("1e3/s"));
        assert_eq!(Err(ErrorKind::NoSize), read("1é/s"));
        assert_eq!(Err(ErrorKind::NoTime), read("1MB"));
        assert_eq!(Err(ErrorKind::NoTime), read("1MB/5"));
        assert_eq!(Err(ErrorKind::NotATime("S".into())), read("1MB/S"));
        assert_eq!(Err(ErrorKind::NotATime("ps".into())), read("1MBps"));
        assert_eq!(Err(ErrorKind::NotATime("s more".into())), read("1B/s more"));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(Err(ErrorKind::TooLarge), read("18446744073709551616B/s"));
        assert_eq!(limit(u64::MAX, SECOND), read("18446744073709551615B/s"));
        assert_eq!(Err(ErrorKind::TooLarge), read("1e99999999999B/s"));
        assert_eq!(Err(ErrorKind::TooLarge), read("1B/1e20d"));
        let long = format!("{}B/s", "9".repeat(60));
        assert_eq!(Err(ErrorKind::TooLarge), read(&long));
    }

    #[test]
    fn the_window_is_rounded_to_the_slow_side() {
        assert_eq!(
            limit(1, Duration::from_nanos(333_334)),
            read("1.9B/0.3333331ms")
        );
    }

    #[test]
    fn a_rate_cut_by_the_shell_is_put_together() {
        let words = ["300", "MB", "/", "5", "min"];
        assert_eq!(Some("300 MB / 5 min".to_owned()), unquoted(&words));
        assert_eq!(
            Some("1MB/5 min".to_owned()),
            unquoted(&["1MB/5", "min", "x.lp"])
        );
        assert_eq!(None, unquoted(&["1MB/s", "min"]));
        assert_eq!(None, unquoted(&["nonsense", "x.lp"]));
        assert_eq!(None, unquoted(&[]));
    }

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
        assert_eq!("300MB/5min", Rate::Limited(SERVERLESS).to_string());
        assert_eq!("unlimited", Rate::Unlimited.to_string());
    }

    #[test]
    fn the_mean_rate_says_how_long_bytes_take() {
        assert_eq!(5 * MINUTE, SERVERLESS.time_for(300_000_000));
        assert_eq!(Duration::from_nanos(1_000), SERVERLESS.time_for(1));
    }

    proptest! {
        #[test]
        fn every_limit_reads_back_as_it_prints(amount in 1_u64.., window in 1_u64..) {
            let amount = NonZeroU64::new(amount).unwrap();
            let rate = Rate::Limited(Limit::new(amount, Duration::from_nanos(window)));
            prop_assert_eq!(Ok(rate), rate.to_string().parse::<Rate>());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9._eE+-]{0,6} ?[kKMGiBb]{0,3} ?(/|per)?[0-9.e]{0,4}[a-z]{0,4}") {
            let _ = text.parse::<Rate>();
        }
    }
}
