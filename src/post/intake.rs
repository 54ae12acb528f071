//! Records as they come become records of the stream: times in nanoseconds, names in the Go spelling.

use std::borrow::Cow;

use crate::lp::dialect::{self, Respelled, Spelling};
use crate::lp::record;

/// How the records of the input are written.
#[derive(Debug)]
pub struct Intake {
    /// Nanoseconds in a unit of their times.
    unit: i64,
    spelling: Spelling,
    scaled: Vec<u8>,
    respelled: Vec<u8>,
}

impl Default for Intake {
    fn default() -> Self {
        Self::new(1, Spelling::Go)
    }
}

impl Intake {
    /// Times are in units of so many nanoseconds, names in this spelling.
    pub fn new(unit: i64, spelling: Spelling) -> Self {
        Self {
            unit,
            spelling,
            scaled: Vec::new(),
            respelled: Vec::new(),
        }
    }

    /// The record as the stream has it; or as far as it came, and why no further.
    pub fn take<'a>(
        &'a mut self,
        record: &'a [u8],
    ) -> Result<&'a [u8], (&'a [u8], Cow<'static, str>)> {
        let record = match self.unit {
            1 => record,
            unit => match scale(record, unit, &mut self.scaled) {
                Some(true) => &self.scaled,
                Some(false) => record,
                None => {
                    return Err((
                        record,
                        "the timestamp in nanoseconds is beyond 64 bits".into(),
                    ));
                }
            },
        };
        if self.spelling == Spelling::Go {
            return Ok(record);
        }
        self.respelled.clear();
        match dialect::from_v3(record, &mut self.respelled) {
            Ok(Respelled::Unchanged) => Ok(record),
            Ok(Respelled::Written) => Ok(&self.respelled),
            Err(fault) => Err((record, fault.to_string().into())),
        }
    }
}

/// Write the record with its time in nanoseconds; false if it has none, `None` if it is too large.
fn scale(record: &[u8], unit: i64, out: &mut Vec<u8>) -> Option<bool> {
    let Some(text) = record::time_text(record) else {
        return Some(false);
    };
    let time: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let time = time.checked_mul(unit)?;
    let body = record::body(record);
    // Behind the time stand spaces at most.
    let spaces = body.iter().rev().take_while(|byte| **byte == b' ').count();
    let head = body.get(..(body.len() - spaces).checked_sub(text.len())?)?;
    out.clear();
    out.extend_from_slice(head);
    out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    out.push(b'\n');
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(unit: i64, spelling: Spelling, record: &str) -> Result<String, String> {
        let mut intake = Intake::new(unit, spelling);
        match intake.take(record.as_bytes()) {
            Ok(record) => Ok(String::from_utf8_lossy(record).into_owned()),
            Err((record, reason)) => Err(format!("{} {reason}", String::from_utf8_lossy(record))),
        }
    }

    #[test]
    fn times_are_counted_in_nanoseconds() {
        for (unit, record, expected) in [
            (1, "m v=1 7\n", "m v=1 7\n"),
            (1_000, "m v=1 7\n", "m v=1 7000\n"),
            (1_000_000, "m v=1 -7", "m v=1 -7000000\n"),
            (1_000_000_000, " m v=1 7  \n", " m v=1 7000000000\n"),
            (
                1_000_000_000,
                "m s=\"a 5\" 007\n",
                "m s=\"a 5\" 7000000000\n",
            ),
            // One without time is a reject later on.
            (1_000, "m v=1\n", "m v=1\n"),
        ] {
            let got = taken(unit, Spelling::Go, record);
            assert_eq!(Ok(expected.to_owned()), got, "{record}");
        }
        assert!(taken(1_000_000_000, Spelling::Go, "m v=1 9999999999999\n").is_err());
        assert!(taken(1_000, Spelling::Go, "m v=1 99999999999999999999\n").is_err());
    }

    #[test]
    fn names_in_the_spelling_of_version_3_are_respelled() {
        let got = taken(1_000, Spelling::V3, "m,t=a\\\\b f=1 1\n");
        assert_eq!(Ok("m,t=a\\b f=1 1000\n".to_owned()), got);
        let got = taken(1, Spelling::V3, "m,t=a f=1 1\n");
        assert_eq!(Ok("m,t=a f=1 1\n".to_owned()), got);
        // What cannot be respelled has its time in nanoseconds all the same.
        let got = taken(1_000, Spelling::V3, "m f=.5 1\n").unwrap_err();
        assert!(got.starts_with("m f=.5 1000\n "), "{got}");
    }
}
