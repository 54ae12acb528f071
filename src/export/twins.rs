//! Which series are stored under two keys that spell the same names?
//!
//! A backslash before `=` or `"` in a measurement is stored as it was sent, and dropped where a server looks the name
//! up. Such keys are series of their own in the files and in the output; queries see them as one, and so may a target.

use std::collections::BTreeSet;

use crate::lp::escape::{self, Place};
use crate::tsm::index::Cursor;
use crate::tsm::key::{self, Key};
use crate::tsm::shard::Shard;

use super::{Finding, Oddity, Report};

/// How many such series are remembered.
const MOST: usize = 10_000;

/// Series that are spelled in an unusual way, by their usual spelling.
#[derive(Debug, Default)]
pub struct Twins {
    usual: BTreeSet<Vec<u8>>,
    /// The measurement last asked about, and its usual spelling if that is another one.
    measurement: (Vec<u8>, Option<Vec<u8>>),
}

impl Twins {
    /// Note a series of which something is wanted.
    pub fn see(&mut self, series: &[u8]) {
        if !begins(series, &self.measurement.0) {
            let spelled = key::measurement(series);
            self.measurement = (spelled.to_vec(), usual(spelled));
        }
        let (spelled, usual) = &self.measurement;
        if let Some(usual) = usual
            && self.usual.len() < MOST
        {
            let rest = series.get(spelled.len()..).unwrap_or_default();
            self.usual.insert([usual, rest].concat());
        }
    }

    /// Tell of those that are there in their usual spelling as well, and forget all. The indexes are read once more.
    pub fn tell(&mut self, shard: &Shard, report: &mut Report) {
        let mut usual = std::mem::take(&mut self.usual);
        for member in &shard.members {
            let mut cursor = Cursor::new(&member.file);
            // What is damaged has been told by the walk before.
            while !usual.is_empty() && matches!(cursor.advance(), Ok(true)) {
                tell(&mut usual, cursor.key(), report);
            }
        }
        for logged in &shard.log {
            tell(&mut usual, &logged.key, report);
        }
    }
}

/// Whether the measurement of a series is sure to be `spelled`, which is one.
fn begins(series: &[u8], spelled: &[u8]) -> bool {
    let rest = series.strip_prefix(spelled).and_then(|rest| rest.first());
    rest == Some(&b',') && spelled.last().is_some_and(|last| *last != b'\\')
}

fn tell(usual: &mut BTreeSet<Vec<u8>>, key: &[u8], report: &mut Report) {
    if usual.remove(Key::split(key).series) {
        report.findings.push(Finding::Odd {
            path: None,
            key: key.to_vec(),
            what: Oddity::Twin,
        });
    }
}

/// The usual spelling of a measurement, if this is another one.
fn usual(spelled: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'\\', spelled)?;
    let (mut name, mut usual) = (Vec::new(), Vec::new());
    escape::decode(Place::Measurement, spelled, &mut name);
    escape::encode(Place::Measurement, &name, &mut usual);
    (usual != spelled).then_some(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tsm::shard::Logged;

    fn told(keys: &[&str]) -> Vec<String> {
        let logged = |key: &&str| Logged {
            key: key.as_bytes().to_vec(),
            chunks: 0..0,
            above: 0,
        };
        let shard = Shard {
            log: keys.iter().map(logged).collect(),
            ..Shard::default()
        };
        let (mut twins, mut report) = (Twins::default(), Report::default());
        keys.iter()
            .for_each(|key| twins.see(Key::split(key.as_bytes()).series));
        twins.tell(&shard, &mut report);
        let key = |finding: Finding| match finding {
            Finding::Odd { key, .. } => String::from_utf8(key).unwrap(),
            other => panic!("{other:?}"),
        };
        report.findings.into_iter().map(key).collect()
    }

    #[test]
    fn two_spellings_of_one_series_are_told_once() {
        let keys = [
            r"m=x,t=a#!~#a",
            r"m=x,t=a#!~#b",
            r"m\=x,t=a#!~#a",
            r"m\=x,t=b#!~#a",
        ];
        assert_eq!(vec![r"m=x,t=a#!~#a"], told(&keys));
        assert_eq!(1, told(&["q\"#!~#v", "q\\\"#!~#v"]).len());
    }

    #[test]
    fn spellings_that_stand_alone_or_mean_different_names_are_fine() {
        assert!(
            told(&[
                r"m\=x#!~#a",
                r"m\ x#!~#a",
                r"m\\=x#!~#a",
                r"a\,b#!~#v",
                "m=y#!~#v"
            ])
            .is_empty()
        );
    }
}
