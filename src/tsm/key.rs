//! What does a key of a storage file name? A series and one of its fields.
//!
//! ```text
//! cpu,host=a#!~#usage_user
//! series key 4  field key
//! ```

use bstr::ByteSlice;
use memchr::memchr_iter;

/// What stands between series key and field key.
pub const SEPARATOR: &[u8] = b"#!~#";

/// A composite key, cut as the server cuts it: at the first separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Measurement and tags, escaped as in line protocol.
    pub series: &'a [u8],
    /// The field key, not escaped. Empty where the key has no separator, as for the server.
    pub field: &'a [u8],
}

impl<'a> Key<'a> {
    /// The two parts of a composite key.
    pub fn split(key: &'a [u8]) -> Self {
        Self::cut(key, separator(key).unwrap_or(key.len()))
    }

    /// The two parts of a composite key whose series key is so long.
    pub fn cut(key: &'a [u8], series: usize) -> Self {
        Self {
            series: key.get(..series).unwrap_or_default(),
            field: key.get(series + SEPARATOR.len()..).unwrap_or_default(),
        }
    }

    /// Whether there is a second separator: the first one may not have been meant as one.
    pub fn is_ambiguous(&self) -> bool {
        separator(self.field).is_some()
    }
}

/// Where the first separator is. In so few bytes one of its bytes is found sooner than a searcher for all is made.
fn separator(key: &[u8]) -> Option<usize> {
    let is_there = |at: &usize| key.get(*at..).unwrap_or_default().starts_with(SEPARATOR);
    memchr_iter(SEPARATOR[0], key).find(is_there)
}

/// The measurement of a series key, as it is spelled there (`scanMeasurement`, `models/points.go`@1.8).
pub fn measurement(series: &[u8]) -> &[u8] {
    let ends =
        |i: usize| matches!(series.get(i), Some(b',' | b' ')) && series.get(i - 1) != Some(&b'\\');
    let end = (1..series.len()).find(|&i| ends(i)).unwrap_or(series.len());
    series.get(..end).unwrap_or_default()
}

/// Whether a key is one of 2.0 before its release: two ids of eight bytes, escaped as a measurement is, the measurement as
/// a tag called NUL, other tags, and the field as a tag called 255 (`tsdb/explode.go` before commit 2b175291be).
pub fn is_pre_release(key: &[u8]) -> bool {
    let Some((ids, rest)) = key.split_once_str(b",\0=") else {
        return false;
    };
    let is_special = |byte: u8| matches!(byte, b',' | b' ');
    let (mut bytes, mut rest_of_ids) = (0, ids);
    while let [first, others @ ..] = rest_of_ids {
        rest_of_ids = match others {
            [second, others @ ..] if *first == b'\\' && is_special(*second) => others,
            _ if is_special(*first) => return false,
            _ => others,
        };
        bytes += 1;
    }
    bytes == 16 && rest.contains_str(b",\xff=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_cut_at_the_first_separator() {
        let key = Key::split(b"sep,t=a#!~#b#!~#f");
        assert_eq!((&b"sep,t=a"[..], &b"b#!~#f"[..]), (key.series, key.field));
        assert!(key.is_ambiguous());
        assert!(!Key::split(b"cpu#!~#v").is_ambiguous());
    }

    #[test]
    fn a_key_without_separator_has_an_empty_field() {
        assert_eq!(b"", Key::split(b"cpu,host=a").field);
        assert_eq!(b"", Key::split(b"cpu#!~#").field);
    }

    #[test]
    fn a_measurement_ends_at_a_comma_without_backslash() {
        assert_eq!(b"cpu", measurement(b"cpu,host=a"));
        assert_eq!(b"cpu", measurement(b"cpu"));
        assert_eq!(br"esc\ m\,x", measurement(br"esc\ m\,x,t=a"));
        assert_eq!(br"m\\,x", measurement(br"m\\,x,t=a"));
        assert_eq!(b",", measurement(b",,t=a"));
        assert_eq!(b"", measurement(b""));
    }

    #[test]
    fn a_key_from_before_the_release_of_2_0_is_known_and_no_other_is_taken_for_one() {
        let tail = b",\0=cpu,host=a,\xff=usage#!~#usage";
        for ids in [
            &b"0123456789abcdef"[..],
            b"012345678\\,abcdef",
            b"0123456789abcde\\",
            b"\\ \\ \\,\\,\\\\=789abcdef",
        ] {
            assert!(is_pre_release(&[ids, tail].concat()), "{ids:?}");
            // As servers of 1.x store a tag that is called NUL.
            let tag = [ids, b",\0=cpu,host=a#!~#usage"].concat();
            assert!(!is_pre_release(&tag), "{ids:?}");
        }
        for ids in [
            &b"cpu"[..],
            b"0123456789abcde",
            b"0123456789abcdefg",
            b"0123456789,b=cd",
            b"0123456,8=abc,\xc3\xbca\\",
        ] {
            assert!(!is_pre_release(&[ids, tail].concat()), "{ids:?}");
        }
        assert!(!is_pre_release(b"0123456789abcdef,a=b,\xff=usage#!~#usage"));
    }
}
