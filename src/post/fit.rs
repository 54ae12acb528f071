//! Records as the server must be sent them, and those that it must not be sent: it would store something else, or
//! nothing of their neighbours.

use std::borrow::Cow;

use memchr::memchr;

use crate::http::{Found, Target};
use crate::lp::dialect::{self, Respelled};
use crate::lp::record::{self, Time};
use crate::lp::speller::Speller;
use crate::lp::validate::{self, Known, Validator};

/// Why a record is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The target does not take it.
    Reject(Cow<'static, str>),
    /// It depends on what the target is, which is not known.
    Open(String),
}

impl From<&'static str> for Misfit {
    fn from(reason: &'static str) -> Self {
        Self::Reject(reason.into())
    }
}

impl From<validate::Fault> for Misfit {
    fn from(fault: validate::Fault) -> Self {
        Self::Reject(fault.to_string().into())
    }
}

/// What a first look at a record shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its time.
    pub time: Time,
    /// What is known of it, if that is all there is to know.
    known: Option<Known>,
}

/// Spells records for a server, and refuses what it cannot hold.
#[derive(Debug)]
pub struct Fitter {
    found: Option<Found>,
    rules: Option<Validator>,
    speller: Speller,
    respelled: Vec<u8>,
}

impl Default for Fitter {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Fitter {
    /// For this server; one that is not known refuses what none takes.
    pub fn new(found: Option<Found>) -> Self {
        let rules = match found {
            Some(Found::Target(target)) => rules(target),
            // What either engine takes.
            Some(Found::SomeCloud) => Some(validate::Target::V2),
            None => None,
        };
        Self {
            found,
            rules: rules.map(|rules| Validator::new(rules).require_time().respelled()),
            speller: Speller::default(),
            respelled: Vec::new(),
        }
    }

    /// What shows at once.
    pub fn look(&mut self, record: &[u8]) -> Look {
        let rules = self.rules.as_mut();
        let known = rules.and_then(|rules| rules.known(record));
        let time = match known {
            Some(known) => Time::At(known.time),
            None => record::time(record),
        };
        Look { time, known }
    }

    /// The record as it is to be sent, or why it is not, after a look at it.
    pub fn fit<'a>(&'a mut self, record: &'a [u8], look: Look) -> Result<&'a [u8], Misfit> {
        if let Some(known) = look.known {
            return match known.odd_series {
                None => Ok(record),
                Some(series) => self.spell(record, series),
            };
        }
        match look.time {
            Time::At(_) => {}
            // Sent twice it would be two points.
            Time::Missing => {
                return Err("no timestamp: the server would put its own clock's".into());
            }
            Time::Invalid => return Err("the timestamp is no 64-bit number".into()),
        }
        if let Some(rules) = &mut self.rules {
            rules.careful(record)?;
        }
        self.spell(record, 0)
    }

    /// A record that keeps the rules as the server reads it; what stands before its fields may be known.
    fn spell<'a>(&'a mut self, record: &'a [u8], series: usize) -> Result<&'a [u8], Misfit> {
        match self.found {
            Some(Found::Target(target)) if target.is_v3() => self.respell(record, series),
            Some(Found::Target(target)) if target.cuts_strings() => uncut(record),
            Some(Found::SomeCloud) => self.same_in_both(record),
            _ => Ok(record),
        }
    }

    fn respell<'a>(&'a mut self, record: &'a [u8], series: usize) -> Result<&'a [u8], Misfit> {
        self.respelled.clear();
        match self.speller.to_v3(record, series, &mut self.respelled)? {
            Respelled::Unchanged => Ok(record),
            Respelled::Written => Ok(&self.respelled),
        }
    }

    /// The record, if both engines of the cloud read the same in it.
    fn same_in_both<'a>(&'a mut self, record: &'a [u8]) -> Result<&'a [u8], Misfit> {
        self.respelled.clear();
        let why = match dialect::to_v3(record, &mut self.respelled) {
            Ok(Respelled::Unchanged) => return Ok(record),
            Ok(Respelled::Written) if self.respelled == record => return Ok(record),
            // Without a backslash only numbers and blanks are written anew, as both read them.
            Ok(Respelled::Written) if memchr(b'\\', record).is_none() => return Ok(&self.respelled),
            Ok(Respelled::Written) => "is spelled in two ways".to_owned(),
            Err(fault) => format!("cannot be written to InfluxDB 3 ({fault})"),
        };
        Err(Misfit::Open(why))
    }
}

/// The rules of a target, where there are any: servers that read alike have the same.
pub fn rules(target: Target) -> Option<validate::Target> {
    Some(match target {
        Target::Serverless | Target::Clustered | Target::Dedicated => validate::Target::Serverless,
        Target::Core | Target::Enterprise => validate::Target::Core,
        Target::Cloud | Target::Oss2 => validate::Target::V2,
        Target::V1 => validate::Target::V1,
        // It takes nearly everything, and makes something else of most of it.
        Target::VictoriaMetrics => return None,
    })
}

fn uncut(record: &[u8]) -> Result<&[u8], Misfit> {
    match memchr(b'\n', record::body(record)) {
        Some(_) => Err("a line feed inside, at which the server cuts the record".into()),
        None => Ok(record),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn fit(target: Target, record: &[u8]) -> Result<Vec<u8>, Misfit> {
        let mut fitter = Fitter::new(Some(Found::Target(target)));
        let look = fitter.look(record);
        fitter.fit(record, look).map(<[u8]>::to_vec)
    }

    fn fits(target: Target, record: &str) -> bool {
        fit(target, record.as_bytes()).is_ok()
    }

    #[test]
    fn every_record_needs_a_time() {
        for target in Target::ALL {
            assert!(fits(target, "m v=1 1\n"));
            assert!(!fits(target, "m v=1\n"));
            assert!(!fits(target, "m v=1 99999999999999999999\n"));
        }
        let unknown = |record: &[u8]| {
            let mut fitter = Fitter::new(None);
            let look = fitter.look(record);
            fitter.fit(record, look).is_ok()
        };
        assert!(!unknown(b"m v=1\n"));
        assert!(unknown(b"m v=1 1\n"));
    }

    #[test]
    fn what_a_target_cannot_hold_stays_away_from_it() {
        use Target::{Cloud, Clustered, Core, Dedicated, Enterprise, Oss2, Serverless, V1};
        let v3 = [Serverless, Core, Enterprise, Clustered, Dedicated];
        let go = [V1, Oss2, Cloud];
        for target in v3.into_iter().chain(go) {
            assert!(!fits(target, "m v=nan 1\n"), "{target}");
            assert!(!fits(target, "m,t= v=1 1\n"), "{target}");
            assert!(fits(target, "m,t=a s=\"x\ny\" 1\n"), "{target}");
        }
        for target in v3 {
            assert!(fit(target, b"m,t=\xff v=1 1\n").is_err(), "{target}");
            assert!(!fits(target, "m,a=1 a=1 1\n"), "{target}");
        }
        for target in go {
            assert!(fit(target, b"m,t=\xff v=1 1\n").is_ok(), "{target}");
            assert!(fits(target, "m,a=1 a=1 1\n"), "{target}");
        }
        assert!(!fits(V1, "m v=1u 1\n"));
        assert!(fits(Oss2, "m v=1u 1\n"));
        assert!(!fits(Oss2, "m,_field=a v=1 1\n"));
        let columns = |n: usize| {
            let fields: Vec<_> = (0..n).map(|n| format!("f{n}=1")).collect();
            format!("m {} 1\n", fields.join(","))
        };
        assert!(!fits(Serverless, &columns(200)));
        assert!(fits(Core, &columns(200)));
        assert!(!fits(Enterprise, &columns(501)));
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
            for target in [Target::Serverless, Target::Core, Target::Dedicated] {
                let got = fit(target, record.as_bytes()).ok();
                assert_eq!(expected.map(str::as_bytes), got.as_deref(), "{record}");
            }
            for target in [Target::Oss2, Target::V1, Target::VictoriaMetrics] {
                let got = fit(target, record.as_bytes());
                assert_eq!(Ok(record.as_bytes().to_vec()), got, "{record}");
            }
        }
    }

    #[test]
    fn what_the_engines_of_the_cloud_read_in_different_ways_is_left_open() {
        let mut fitter = Fitter::new(Some(Found::SomeCloud));
        let mut fit = |record: &str| {
            let look = fitter.look(record.as_bytes());
            fitter.fit(record.as_bytes(), look).map(<[u8]>::to_vec)
        };
        assert_eq!(Ok(b"m,t=a\\ b f=1 1\n".to_vec()), fit("m,t=a\\ b f=1 1\n"));
        assert_eq!(Ok(b"m f=0.5 1\n".to_vec()), fit("m f=.5 1\n"));
        assert!(matches!(fit("m,t=a\\\\b f=1 1\n"), Err(Misfit::Open(_))));
        assert!(matches!(fit("m,t=a\tb f=1 1\n"), Err(Misfit::Open(_))));
        assert!(matches!(fit("m f=nan 1\n"), Err(Misfit::Reject(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn what_came_before_makes_no_difference(
            records in collection::vec(
                (
                    select(&["m", "m,a=b", r"m,a=C:\d", r"m,a=x\\y", r"m,a=x\\\ y", r"m,a=x\\", r"m\=x,a=1", "m,a=\"q", "m,a=\tx"][..]),
                    select(&[" ", " ", " ", "  "][..]),
                    collection::vec((select(&["a", "f", "g", r"g\\h"][..]), select(&["1", "2i", ".5", "\"x\\\" =y\\\\\"", "\"x\nm f=1 1\"", "nan"][..])), 1..4),
                    select(&[" 1\n", " 1", " -7\n", "\n"][..]),
                ),
                1..9,
            ),
        ) {
            let targets = Target::ALL.map(Found::Target);
            for found in targets.into_iter().map(Some).chain([Some(Found::SomeCloud), None]) {
                let mut fitter = Fitter::new(found);
                for (series, gap, fields, time) in &records {
                    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    let record = format!("{series}{gap}{}{time}", fields.join(","));
                    let look = fitter.look(record.as_bytes());
                    let got = fitter.fit(record.as_bytes(), look);
                    prop_assert_eq!(alone(found, record.as_bytes()), got.map(<[u8]>::to_vec), "{}", record);
                }
            }
        }
    }

    /// By all rules, with nothing remembered.
    fn alone(found: Option<Found>, record: &[u8]) -> Result<Vec<u8>, Misfit> {
        let look = Look {
            time: record::time(record),
            known: None,
        };
        Fitter::new(found).fit(record, look).map(<[u8]>::to_vec)
    }
}
