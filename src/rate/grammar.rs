//! How people write rates.
//!
//! The grammar is that of `influx write --rate-limit`, widened:
//!
//! ```text
//! rate   = tariff | amount size [ "/" | "per" ] [ count ] time      blanks anywhere between these
//! tariff = "serverless" | "serverless-free" | "unlimited" | "0"
//! amount = digits, optional decimals, optional exponent, "_" between digits; above zero
//! size   = "B" | "kB" | "KB" | "MB" | "GB" | "KiB" | "MiB" | "GiB"
//! count  = written like amount
//! time   = "ms" | "s" | "sec" | "second(s)" | "m" | "min" | "minute(s)" | "h" | "hr" | "hour(s)" | "d" | "day(s)"
//! ```
//!
//! `MB` is 10^6 bytes, as in the quotas of the servers, and `MiB` is 2^20; `influx write` takes `MB` for 2^20
//! and so passes 4.9 % more than it is told. Things that are counted are written `amount ( "/" | "per" ) [ count ] time`.

use std::fmt;
use std::num::NonZeroU64;

use super::{Limit, Rate, Tariff};

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
    /// A count is not followed by the sign that a time follows.
    #[error("is no count in a time (write it like 10000/s or 5000/15min)")]
    NoCount,
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

/// Read a rate.
pub(super) fn rate(text: &str) -> Result<Rate, ErrorKind> {
    let text = text.trim();
    match text {
        "" => return Err(ErrorKind::Empty),
        "unlimited" | "0" => return Ok(Rate::Unlimited),
        _ => {}
    }
    if let Some(tariff) = Tariff::named(text) {
        return Ok(Rate::Limited(tariff.bytes));
    }
    let (number, rest) = Number::read(text)?.ok_or(ErrorKind::NoNumber)?;
    let (unit, rest) = size(rest.trim_start())?;
    let amount = number.floor(unit).ok_or(ErrorKind::TooLarge)?;
    let amount = NonZeroU64::new(amount).ok_or(ErrorKind::Zero)?;
    let window = window(rest.trim_start())?;
    Ok(Rate::Limited(Limit { amount, window }))
}

/// Read a number of things in a time: `10000/s`, `5000 per 15 min`.
pub fn count(text: &str) -> Result<Limit, Error> {
    let read = || {
        let (number, rest) = Number::read(text.trim())?.ok_or(ErrorKind::NoCount)?;
        let rest = rest.trim_start();
        if !rest.starts_with('/') && !rest.starts_with("per") {
            return Err(ErrorKind::NoCount);
        }
        let amount = number.floor(1).ok_or(ErrorKind::TooLarge)?;
        let amount = NonZeroU64::new(amount).ok_or(ErrorKind::Zero)?;
        let window = window(rest)?;
        Ok(Limit { amount, window })
    };
    read().map_err(|kind| Error {
        text: text.to_owned(),
        kind,
    })
}

/// Print the length of a window, in nanoseconds, as it would be typed.
pub(super) fn print_window(window: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match TIMES.iter().find(|(_, unit)| window.is_multiple_of(*unit)) {
        Some((time, unit)) if window == *unit => f.write_str(time),
        Some((time, unit)) => write!(f, "{}{time}", window / unit),
        None => write!(f, "{}.{:06}ms", window / 1_000_000, window % 1_000_000),
    }
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
    use std::time::Duration;

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

    /// What `influx write --rate-limit` makes of a text, in bytes a second, and what we do.
    type Row = (&'static str, Option<f64>, Result<Rate, ErrorKind>);

    fn table() -> Vec<Row> {
        let mega = 1_048_576.0;
        vec![
            ("300 MB / 5 min", Some(mega), limit(300_000_000, 5 * MINUTE)),
            (
                "5 MB / 5 min",
                Some(17_476.27),
                limit(5_000_000, 5 * MINUTE),
            ),
            ("5MB/5min", Some(17_476.27), limit(5_000_000, 5 * MINUTE)),
            ("17kBs", Some(17_408.0), limit(17_000, SECOND)),
            ("5.1MB5m", Some(17_825.79), limit(5_100_000, 5 * MINUTE)),
            (".5MB/s", Some(mega / 2.0), limit(500_000, SECOND)),
            ("5.MB/s", Some(mega * 5.0), limit(5_000_000, SECOND)),
            ("1MBmin", Some(mega / 60.0), limit(1_000_000, MINUTE)),
            ("1MB/sec", Some(mega), limit(1_000_000, SECOND)),
            ("1MB/s", Some(mega), limit(1_000_000, SECOND)),
            // Throttling is off there; here it has a word of its own.
            ("0MB/s", Some(0.0), Err(ErrorKind::Zero)),
            ("", Some(0.0), Err(ErrorKind::Empty)),
            // Refused there, understood here.
            ("1MiB/s", None, limit(1 << 20, SECOND)),
            ("1GB/h", None, limit(1_000_000_000, 60 * MINUTE)),
            ("1MB/h", None, limit(1_000_000, 60 * MINUTE)),
            ("1KB/s", None, limit(1_000, SECOND)),
            ("1MB/1.5min", None, limit(1_000_000, 3 * MINUTE / 2)),
            ("1e3B/s", None, limit(1_000, SECOND)),
            ("1\tMB/s", None, limit(1_000_000, SECOND)),
            // Refused by both.
            ("1mb/s", None, Err(ErrorKind::Doubtful("mb".into()))),
            ("1MB", None, Err(ErrorKind::NoTime)),
            ("-1MB/s", None, Err(ErrorKind::NoNumber)),
            ("1MB/0s", None, Err(ErrorKind::ZeroTime)),
        ]
    }

    #[test]
    fn every_text_for_influx_write_means_the_same_or_is_refused_with_a_decimal_megabyte() {
        for (text, theirs, ours) in table() {
            assert_eq!(ours, read(text), "{text}");
            let (Some(theirs), Ok(Rate::Limited(limit))) = (theirs, ours) else {
                continue;
            };
            let rate = limit.amount() as f64 / limit.window().as_secs_f64();
            let more = if text.contains('k') { 1.024 } else { 1.048_576 };
            assert!((rate * more / theirs - 1.0).abs() < 1e-6, "{text}");
        }
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
        assert_eq!(Ok(Rate::Unlimited), read("0"));
    }

    #[test]
    fn zero_is_refused_and_the_word_for_no_limit_is_named() {
        for text in ["0MB/s", "0.0MB/5min", ".5B/s", "1e-9kB/s"] {
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
    fn counts_are_a_number_and_a_time() {
        let read = |text: &str| count(text).map_err(|err| err.kind);
        let of = |amount: u64, window| Ok(Limit::new(NonZeroU64::new(amount).unwrap(), window));
        assert_eq!(of(10_000, SECOND), read("10000/s"));
        assert_eq!(of(5_000, 15 * MINUTE), read(" 5_000 / 15 min"));
        assert_eq!(of(2_000, 60 * MINUTE), read("2e3 per hour"));
        for text in ["", "5000", "5000s", "many/s", "5000 B/s"] {
            assert_eq!(Err(ErrorKind::NoCount), read(text), "{text}");
        }
        assert_eq!(Err(ErrorKind::Zero), read("0/s"));
        assert_eq!(Err(ErrorKind::NoTime), read("7/"));
        assert_eq!(Err(ErrorKind::NotATime("x".into())), read("7/x"));
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
