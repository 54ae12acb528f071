//! How users write times, durations and sizes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;

use crate::http;
use crate::lp::validate;
use crate::post::fit;

/// A time: RFC 3339, a date (midnight UTC), epoch with unit, `now`, or a span back from now. In nanoseconds.
pub fn time(text: &str) -> Result<i64, String> {
    time_at(text, now())
}

/// The same where the option is inclusive: a bare date is refused, because its last nanosecond was meant.
pub fn inclusive_time(text: &str) -> Result<i64, String> {
    match text.parse::<Date>() {
        Ok(date) if is_date(text) => {
            let next = date.tomorrow().map_err(|err| err.to_string())?;
            Err(format!(
                "is inclusive, so a bare date is its first nanosecond (did you mean --stop {next}?)"
            ))
        }
        _ => time(text),
    }
}

/// A target, by the name that it has in every program.
pub fn target(name: &str) -> Result<http::Target, String> {
    http::Target::named(name).ok_or_else(|| {
        let names = http::Target::ALL.map(http::Target::name);
        format!("is none of {}", names.join(", "))
    })
}

/// The rules that a target has for records.
pub fn rules(name: &str) -> Result<validate::Target, String> {
    fit::rules(target(name)?).ok_or_else(|| {
        format!("{name} has no rules: it takes nearly every record (lp-post --dry-run --target {name} looks for the rest)")
    })
}

/// The time now, in nanoseconds.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn time_at(text: &str, now: i64) -> Result<i64, String> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(time) = epoch(text) {
        return time;
    }
    if let Some(span) = text.strip_prefix('-') {
        let span =
            i64::try_from(duration(span)?.as_nanos()).map_err(|_| "is too long ago".to_owned())?;
        return now
            .checked_sub(span)
            .ok_or_else(|| "is too long ago".to_owned());
    }
    let nanoseconds = match text.parse::<Timestamp>() {
        Ok(time) => time.as_nanosecond(),
        Err(_) if is_date(text) => midnight(text)?,
        Err(_) => return Err(WHAT_TIMES_LOOK_LIKE.into()),
    };
    i64::try_from(nanoseconds).map_err(|_| "is outside 1677-09-21 to 2262-04-11".into())
}

const WHAT_TIMES_LOOK_LIKE: &str = "is no time (2020-01-31, 2020-01-31T12:00:00Z, 1577836800s, \
     nanoseconds, now, or a span back from now such as -30d)";

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().filter(|c| *c == b'-').count() == 2
}

fn midnight(text: &str) -> Result<i128, String> {
    let date: Date = text.parse().map_err(|err| format!("is no date: {err}"))?;
    let time = date
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_err(|err| err.to_string())?;
    Ok(time.timestamp().as_nanosecond())
}

/// A whole number with an optional unit, which may be negative; `None` if it is something else.
fn epoch(text: &str) -> Option<Result<i64, String>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let n = digits.bytes().take_while(u8::is_ascii_digit).count();
    let factor = match digits.get(n..)? {
        _ if n == 0 => return None,
        "" | "ns" => 1,
        // `-30s` is a span back from now; an epoch before 1970 is spelled in nanoseconds.
        _ if text.starts_with('-') => return None,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    let number: Option<i64> = text
        .trim_end_matches(|c: char| c.is_ascii_alphabetic())
        .parse()
        .ok();
    let time = number.and_then(|number| number.checked_mul(factor));
    Some(time.ok_or_else(|| "is outside 1677-09-21 to 2262-04-11".to_owned()))
}

/// A duration such as `1h30m`, `30d`, `90s`: whole numbers with the units ns us ms s m min h d w.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || "is no duration (30d, 1h30m, 90s; units ns us ms s m h d w)".to_owned();
    let (mut rest, mut sum) = (text, 0u128);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(unit);
        let number: u64 = number.parse().map_err(|_| bad())?;
        sum += u128::from(number) * unit_nanoseconds(unit).ok_or_else(bad)?;
        rest = tail;
    }
    match u64::try_from(sum) {
        Ok(nanoseconds) if !text.is_empty() => Ok(Duration::from_nanos(nanoseconds)),
        Ok(_) => Err(bad()),
        Err(_) => Err("is longer than 584 years".into()),
    }
}

fn unit_nanoseconds(unit: &str) -> Option<u128> {
    const SECOND: u128 = 1_000_000_000;
    Some(match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" => SECOND,
        "m" | "min" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 604_800 * SECOND,
        _ => return None,
    })
}

/// A size in bytes: `16MiB` is 2^24, `10MB` is 10^7, a plain number is bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("is no size (10MB, 16MiB, bytes)".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "is no size (10MB, 16MiB, bytes)".to_owned())?;
    match number.checked_mul(factor) {
        Some(0) => Err("is nothing".into()),
        Some(bytes) => Ok(bytes),
        None => Err("is more than 2^64 bytes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn every_target_has_one_name_and_all_but_one_have_rules() {
        for known in http::Target::ALL {
            assert_eq!(Ok(known), target(known.name()));
            let has_rules = known != http::Target::VictoriaMetrics;
            assert_eq!(has_rules, rules(known.name()).is_ok(), "{known}");
        }
        assert_eq!(Ok(validate::Target::V2), rules("cloud"));
        assert_eq!(Ok(validate::Target::Core), rules("enterprise"));
        assert_eq!(Ok(validate::Target::Serverless), rules("clustered"));
        let refused = rules("v2").unwrap_err();
        assert!(
            refused.starts_with("is none of serverless, cloud, oss2,"),
            "{refused}"
        );
        assert!(rules("auto").is_err());
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [
            ("2020-01-01", 1_577_836_800_000_000_000),
            ("2020-01-01T00:00:00Z", 1_577_836_800_000_000_000),
            ("2020-01-01T01:00:00.5+01:00", 1_577_836_800_500_000_000),
            ("1577836800s", 1_577_836_800_000_000_000),
            ("1577836800000ms", 1_577_836_800_000_000_000),
            ("1577836800000000000", 1_577_836_800_000_000_000),
            ("-5", -5),
            ("0", 0),
            ("now", NOW),
            ("-1d", NOW - 86_400_000_000_000),
            ("-1h30m", NOW - 5_400_000_000_000),
            ("-30s", NOW - 30_000_000_000),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(Ok(expected), time_at(text, NOW), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2020-13-01",
            "2020-01-01 ",
            "1e9",
            "9223372036854775808",
            "-",
            "3000-01-01",
        ] {
            assert!(time_at(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn an_inclusive_end_refuses_a_bare_date_and_says_what_was_meant() {
        assert!(
            inclusive_time("2022-12-31")
                .unwrap_err()
                .contains("--stop 2023-01-01")
        );
        assert_eq!(
            Ok(1_577_836_800_000_000_000),
            inclusive_time("2020-01-01T00:00:00Z")
        );
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(Ok(Duration::from_secs(5_400)), duration("1h30m"));
        assert_eq!(Ok(Duration::from_secs(604_800)), duration("1w"));
        assert_eq!(Ok(Duration::ZERO), duration("0s"));
        for text in ["", "5", "d", "1.5h", "1y", "99999999999w"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(Ok(16 << 20), size("16MiB"));
        assert_eq!(Ok(10_000_000), size("10MB"));
        assert_eq!(Ok(7), size("7"));
        for text in ["", "MB", "1mb", "1.5MB", "0", "99999999999999999999"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
