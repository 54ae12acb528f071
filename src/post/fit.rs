//! Records as the server must be sent them, and those that it must not be sent: it would store something else, or
//! nothing of their neighbours.

use std::borrow::Cow;

use memchr::memchr;

use crate::http::Target;
use crate::lp::dialect::{self, Respelled};
use crate::lp::record::{self, Time};

/// Spells records for a target.
#[derive(Debug, Default)]
pub struct Fitter {
    respelled: Vec<u8>,
}

impl Fitter {
    /// The record as it is to be sent, or why it must not go to `target`.
    ///
    /// A target that is not known refuses what none takes.
    pub fn fit<'a>(
        &'a mut self,
        target: Option<Target>,
        record: &'a [u8],
    ) -> Result<&'a [u8], Cow<'static, str>> {
        if let Some(reason) = misfit(target, record) {
            return Err(reason.into());
        }
        if !target.is_some_and(Target::reads_names_as_v3) {
            return Ok(record);
        }
        self.respelled.clear();
        match dialect::to_v3(record, &mut self.respelled) {
            Ok(Respelled::Unchanged) => Ok(record),
            Ok(Respelled::Written) => Ok(&self.respelled),
            Err(fault) => Err(fault.to_string().into()),
        }
    }
}

fn misfit(target: Option<Target>, record: &[u8]) -> Option<&'static str> {
    match record::time(record) {
        Time::At(_) => {}
        // Sent twice it would be two points.
        Time::Missing => return Some("no timestamp: the server would put its own clock's"),
        Time::Invalid => return Some("the timestamp is no 64-bit number"),
    }
    let target = target?;
    if target.needs_utf8() && std::str::from_utf8(record).is_err() {
        return Some("not UTF-8, for which the server refuses all that comes with it");
    }
    if target.cuts_strings() && memchr(b'\n', record::body(record)).is_some() {
        return Some("a line feed inside, at which the server cuts the record");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(target: Target, record: &str) -> bool {
        misfit(Some(target), record.as_bytes()).is_none()
    }

    #[test]
    fn every_record_needs_a_time() {
        for target in Target::ALL {
            assert!(fits(target, "m v=1 1\n"));
            assert!(!fits(target, "m v=1\n"));
            assert!(!fits(target, "m v=1 99999999999999999999\n"));
        }
        assert!(misfit(None, b"m v=1\n").is_some());
        assert!(misfit(None, b"m v=1 1\n").is_none());
    }

    #[test]
    fn what_is_not_utf8_stays_away_from_version_3() {
        let record = b"m,t=\xff v=1 1\n";
        assert!(misfit(Some(Target::Serverless), record).is_some());
        assert!(misfit(Some(Target::V1), record).is_none());
    }

    #[test]
    fn a_line_feed_inside_stays_away_from_a_server_that_cuts_there() {
        let record = "m s=\"a\nb\" 1\n";
        assert!(!fits(Target::VictoriaMetrics, record));
        assert!(fits(Target::V1, record));
        assert!(fits(Target::Serverless, record));
    }

    #[test]
    fn names_are_respelled_for_version_3_and_for_nobody_else() {
        for (record, expected) in [
            (
                "m,t=a\\ b\\,c\\=d f=1 1\n",
                Some("m,t=a\\ b\\,c\\=d f=1 1\n"),
            ),
            ("m,t=a\\\\b f=1 1\n", Some("m,t=a\\\\\\b f=1 1\n")),
            ("m\\=e f\\\"g=.5 1\n", Some("m=e f\"g=0.5 1\n")),
            ("m,t=a\tb f=1 1\n", None),
        ] {
            let mut fitter = Fitter::default();
            let got = fitter.fit(Some(Target::Serverless), record.as_bytes());
            assert_eq!(expected.map(str::as_bytes), got.ok(), "{record}");
            let got = fitter.fit(Some(Target::Oss2), record.as_bytes());
            assert_eq!(Ok(record.as_bytes()), got, "{record}");
        }
    }
}
