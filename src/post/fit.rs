//! Records that must not be sent because the server would store something else, or nothing of their neighbours.

use memchr::memchr;

use crate::http::Target;
use crate::lp::escape::{Place, decode, encode};
use crate::lp::record::{self, Time};

/// Why `record` must not go to `target`; `None` where it may. A target that is not known refuses what none takes.
pub fn misfit(target: Option<Target>, record: &[u8]) -> Option<&'static str> {
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
    if target.reads_names_as_v3() && memchr(b'\\', record).is_some() && !is_portable(record) {
        return Some("a name with a backslash, which the server reads as another name");
    }
    None
}

/// Whether InfluxDB 3 reads the names of the record as the Go servers do. What is malformed is left to the server.
fn is_portable(record: &[u8]) -> bool {
    let parts = record::parts(record);
    let tags = record::tags(parts.series).filter_map(Result::ok);
    let fields = record::fields(parts.fields).filter_map(Result::ok);
    is_portable_name(Place::Measurement, record::measurement(parts.series))
        && tags
            .flat_map(|(key, value)| [key, value])
            .all(|name| is_portable_name(Place::Tag, name))
        && fields
            .map(|(key, _)| key)
            .all(|name| is_portable_name(Place::Field, name))
}

/// Whether the name is one that both dialects can spell, in the spelling that both read.
fn is_portable_name(place: Place, spelled: &[u8]) -> bool {
    if memchr(b'\\', spelled).is_none() {
        return true;
    }
    let (mut name, mut again) = (Vec::new(), Vec::new());
    decode(place, spelled, &mut name);
    encode(place, &name, &mut again);
    let special =
        |c: u8| matches!(c, b'\\' | b',' | b' ') || (c == b'=' && place != Place::Measurement);
    let is_open = |pair: &[u8]| matches!(pair, [b'\\', next] if special(*next));
    again == spelled && !name.ends_with(b"\\") && !name.windows(2).any(is_open)
}

#[cfg(test)]
mod tests {
    use influxdb_line_protocol::parse_lines;
    use proptest::prelude::*;

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
    fn names_that_version_3_reads_otherwise_stay_away_from_it() {
        for (expected, record) in [
            (true, "m,t=a\\ b\\,c\\=d f=1 1\n"),
            (true, "m,t=a\\b f\\g=1 1\n"),
            (true, "m f=\"a\\\\b\" 1\n"),
            (false, "m,t=a\\\\b f=1 1\n"),
            (false, "m\\=e f=1 1\n"),
            (false, "m\\\"e f=1 1\n"),
            (false, "m f\\\"e=1 1\n"),
            (false, "m\\\\,t=a f=1 1\n"),
        ] {
            assert_eq!(expected, fits(Target::Serverless, record), "{record}");
            assert!(fits(Target::Oss2, record), "{record}");
        }
    }

    /// The tags as the Go servers read them.
    fn go_tags(record: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let name = |spelled: &[u8]| {
            let mut name = Vec::new();
            decode(Place::Tag, spelled, &mut name);
            name
        };
        record::tags(record::parts(record).series)
            .map(|pair| pair.unwrap())
            .map(|(key, value)| (name(key), name(value)))
            .collect()
    }

    proptest! {
        #[test]
        fn what_goes_to_version_3_is_read_there_as_here(text in "m,t=[ab\\\\ ,=\"]{1,6},u=x f=1 1") {
            let whole = record::tags(record::parts(text.as_bytes()).series).all(|tag| tag.is_ok());
            if let Ok(line) = parse_lines(&text).next().unwrap()
                && whole
                && fits(Target::Serverless, &text)
            {
                let tags = line.series.tag_set.unwrap();
                let read: Vec<_> = tags
                    .iter()
                    .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
                    .collect();
                prop_assert_eq!(go_tags(text.as_bytes()), read, "{}", text);
            }
        }
    }
}
