//! Which names have no spelling at all, and which have one that not everybody reads in the same way?

use memchr::{memchr2, memchr3};

use super::escape::{self, Place};

/// Why something stored cannot be written as line protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Misfit {
    /// Nothing can stand for it.
    #[error("the measurement is empty")]
    EmptyMeasurement,
    /// Nothing can stand for it.
    #[error("the field key is empty")]
    EmptyField,
    /// The separator that follows would be read as escaped.
    #[error("the series key ends with a backslash")]
    SeriesBackslash,
    /// The `=` that follows would be read as escaped.
    #[error("the field key ends with a backslash")]
    FieldBackslash,
    /// `\,` reads as a comma, whatever stands before it.
    #[error(
        "the field key holds an odd number of backslashes before a comma, an equals sign or a space"
    )]
    FieldEscape,
    /// The line would end there.
    #[error("the name holds a line feed without a backslash before it")]
    LineFeed,
    /// The whole line would be a comment.
    #[error("the measurement starts with #")]
    Comment,
    /// Readers skip it.
    #[error("the name starts with a blank or a NUL")]
    Blank,
    /// The name would end there.
    #[error("the series key holds a space without a backslash before it")]
    Space,
    /// A reader would see other tags, or none.
    #[error("the tags of the series key are malformed")]
    Tags,
    /// Readers refuse the record.
    #[error("a tag key occurs twice in the series key")]
    DuplicateTag,
    /// The line would not end where it does.
    #[error("the servers would take a quote in the names for the beginning of a string")]
    Quote,
}

/// Why a stored series key cannot stand in a record as it is; `None` where it can.
///
/// Plays the scanners of `models/points.go` (`scanMeasurement`, `scanTagsKey`, `scanTagsValue` @1.8) over the
/// key: at its end, and not before, they must be ready for the fields.
pub fn series(key: &[u8]) -> Option<Misfit> {
    match key.first() {
        None | Some(b',') => return Some(Misfit::EmptyMeasurement),
        Some(b'#') => return Some(Misfit::Comment),
        Some(b' ' | b'\t' | 0) => return Some(Misfit::Blank),
        Some(_) => {}
    }
    if key.last() == Some(&b'\\') {
        return Some(Misfit::SeriesBackslash);
    }
    if bare_line_feed(key) {
        return Some(Misfit::LineFeed);
    }
    let end = name_end(key, 1, |c| matches!(c, b',' | b' '));
    match key.get(end) {
        None => None,
        Some(b' ') => Some(Misfit::Space),
        Some(_) => tags(key, end + 1),
    }
}

fn tags(key: &[u8], start: usize) -> Option<Misfit> {
    let (mut at, mut last, mut is_sorted): (_, &[u8], _) = (start, &[], true);
    loop {
        // The first byte of a tag key or value is taken as it comes, unless it is one of these.
        if matches!(key.get(at), None | Some(b',' | b' ' | b'=')) {
            return Some(Misfit::Tags);
        }
        let equals = tag_key_end(key, at);
        match key.get(equals) {
            Some(b'=') => {}
            Some(b' ') => return Some(Misfit::Space),
            _ => return Some(Misfit::Tags),
        }
        let name = key.get(at..equals).unwrap_or_default();
        is_sorted &= last < name;
        last = name;
        if matches!(key.get(equals + 1), None | Some(b',' | b' ')) {
            return Some(Misfit::Tags);
        }
        let end = tag_value_end(key, equals);
        match key.get(end) {
            // Servers sort them: there are no others but by mistake.
            None if is_sorted => return None,
            None => return has_twins(key, start).then_some(Misfit::DuplicateTag),
            Some(b',') => at = end + 1,
            Some(b' ') => return Some(Misfit::Space),
            Some(_) => return Some(Misfit::Tags),
        }
    }
}

/// Whether two of the tags from `at` on, which are well-formed, have the same key.
fn has_twins(key: &[u8], mut at: usize) -> bool {
    let mut names = Vec::new();
    while at < key.len() {
        let equals = tag_key_end(key, at);
        names.push(key.get(at..equals).unwrap_or_default());
        at = tag_value_end(key, equals) + 1;
    }
    names.sort_unstable();
    !names.is_sorted_by(|a, b| a < b)
}

/// Where the key of the tag at `at` ends.
fn tag_key_end(key: &[u8], at: usize) -> usize {
    name_end(key, at + 1, |c| matches!(c, b',' | b' ' | b'='))
}

/// Where the value ends whose `=` stands at `equals`.
fn tag_value_end(key: &[u8], equals: usize) -> usize {
    name_end(key, equals + 2, |c| matches!(c, b',' | b' ' | b'='))
}

/// The first byte from `at` on that ends a name and has no backslash before it; the length of the key if none.
fn name_end(key: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    let mut before = at.checked_sub(1).and_then(|i| key.get(i).copied());
    let is_end = |c: &u8| {
        let is_escaped = before.replace(*c) == Some(b'\\');
        ends(*c) && !is_escaped
    };
    let rest = key.get(at..).unwrap_or_default();
    rest.iter().position(is_end).map_or(key.len(), |n| at + n)
}

/// Whether a series key is sure to have a spelling, as nearly all have, and its records to end where they are meant to:
/// `false` says nothing.
pub fn is_tame(key: &[u8]) -> bool {
    if matches!(key.first(), None | Some(b',' | b'#' | b'\t' | 0)) {
        return false;
    }
    let bytes = key.iter().copied().enumerate();
    let mut marks = bytes.filter(|(_, c)| MARKS[usize::from(*c)]);
    let mut at = loop {
        match marks.next() {
            None => return true,
            Some((comma, b',')) => break comma + 1,
            // In a measurement it means nothing.
            Some((_, b'=')) => {}
            Some(_) => return false,
        }
    };
    let mut last: &[u8] = &[];
    while let Some((equals, b'=')) = marks.next() {
        let name = key.get(at..equals).unwrap_or_default();
        if name <= last {
            return false;
        }
        match marks.next() {
            None => return equals + 1 < key.len(),
            Some((end, b',')) if equals + 1 < end => (at, last) = (end + 1, name),
            Some(_) => return false,
        }
    }
    false
}

/// Bytes that may mean something in a series key.
static MARKS: [bool; 256] = {
    let mut marks = [false; 256];
    let mut bytes: &[u8] = b",=\\ \n";
    while let [first, rest @ ..] = bytes {
        marks[*first as usize] = true;
        bytes = rest;
    }
    marks
};

/// Why a field key has no spelling; `None` where [`escape::encode`] gives one that reads back.
pub fn field(name: &[u8]) -> Option<Misfit> {
    match (name.first(), name.last()) {
        (None, _) => return Some(Misfit::EmptyField),
        (_, Some(b'\\')) => return Some(Misfit::FieldBackslash),
        (Some(b'\t' | 0), _) => return Some(Misfit::Blank),
        _ => {}
    }
    memchr2(b'\\', b'\n', name)?;
    // The splitter takes backslashes in pairs: one left over would meet the backslash that escapes what follows.
    let mut is_odd = false;
    for &c in name {
        if is_odd && matches!(c, b',' | b' ' | b'=') {
            return Some(Misfit::FieldEscape);
        }
        is_odd = c == b'\\' && !is_odd;
    }
    let mut spelled = Vec::with_capacity(name.len() + 8);
    escape::encode(Place::Field, name, &mut spelled);
    bare_line_feed(&spelled).then_some(Misfit::LineFeed)
}

/// Whether a reader that skips the byte after each backslash meets a line feed.
fn bare_line_feed(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr2(b'\\', b'\n', rest) {
        if rest.get(at) == Some(&b'\n') {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

/// Whether the splitter of the servers may see the end of the names sooner than the parser does.
///
/// The splitter takes backslashes in pairs, the parser looks at one byte before: in `\\` and a space they differ.
/// Strings of such a record must be checked one by one, as their line feeds may cut it.
pub fn splits_early(series: &[u8]) -> bool {
    let mut rest = series;
    while let Some(at) = memchr3(b'\\', b' ', b'\n', rest) {
        match rest.get(at) {
            Some(b'\\') => rest = rest.get(at + 2..).unwrap_or_default(),
            Some(b' ') => return true,
            _ => rest = rest.get(at + 1..).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_back(name: &[u8]) -> Vec<u8> {
        let (mut spelled, mut read) = (Vec::new(), Vec::new());
        escape::encode(Place::Field, name, &mut spelled);
        escape::decode(Place::Field, &spelled, &mut read);
        read
    }

    #[test]
    fn ordinary_and_odd_series_keys_fit() {
        for key in [
            &b"cpu"[..],
            b"cpu,host=a",
            br"esc\ m,t\,k=a\=b\ c",
            br"m,t=C:\\dir",
            br"m\\,x,t=a",
            b"m,t==a",
            b"\\#hash",
            b"nl2\\\nx",
            b"tabs,t=a\tb",
            b"quote\"s,t\"k=\"v\"",
        ] {
            assert_eq!(None, series(key), "{}", bstr::BStr::new(key));
        }
    }

    #[test]
    fn series_keys_that_would_read_differently_are_named() {
        for (misfit, key) in [
            (Misfit::EmptyMeasurement, &b""[..]),
            (Misfit::EmptyMeasurement, b",t=a"),
            (Misfit::Comment, b"#m,t=a"),
            (Misfit::Blank, b"\tm"),
            (Misfit::Blank, b"\0m"),
            (Misfit::SeriesBackslash, b"m,t=a\\"),
            (Misfit::SeriesBackslash, b"m,t=a\\\\"),
            (Misfit::LineFeed, b"m\nx"),
            (Misfit::LineFeed, b"m\\\\\nx"),
            (Misfit::Space, b"m x"),
            (Misfit::Space, b"m,t=a b"),
            (Misfit::Space, b"m,t k=a"),
            (Misfit::Tags, b"m,t=a=b"),
            (Misfit::Tags, b"m,t="),
            (Misfit::Tags, b"m,=v"),
            (Misfit::Tags, b"m,t"),
            (Misfit::Tags, b"m,"),
            (Misfit::Tags, b"m,t=a\\,u=b"),
            (Misfit::DuplicateTag, b"m,t=a,t=b"),
            (Misfit::DuplicateTag, b"m,t=a,u=b,t=c"),
        ] {
            assert_eq!(Some(misfit), series(key), "{}", bstr::BStr::new(key));
        }
    }

    #[test]
    fn field_keys_without_a_spelling_are_named() {
        assert_eq!(None, field(b"plain"));
        assert_eq!(None, field(b"a,b c=d"));
        assert_eq!(None, field(b"f\\\ng"));
        assert_eq!(None, field(br#"a\"b"#));
        assert_eq!(Some(Misfit::EmptyField), field(b""));
        assert_eq!(Some(Misfit::FieldBackslash), field(b"a\\"));
        assert_eq!(Some(Misfit::FieldEscape), field(b"a\\,b"));
        assert_eq!(None, field(br"a\\,b"));
        assert_eq!(Some(Misfit::FieldEscape), field(br"a\\\=b"));
        assert_eq!(Some(Misfit::Blank), field(b"\tf"));
        assert_eq!(Some(Misfit::LineFeed), field(b"a\nb"));
        assert_eq!(Some(Misfit::LineFeed), field(b"a\\\\\nb"));
    }

    #[test]
    fn a_pair_of_backslashes_before_a_space_is_seen_differently_by_splitter_and_parser() {
        assert!(!splits_early(br"m\ x,t=a\ b"));
        assert!(splits_early(br"m\\ x,t=a"));
    }

    #[test]
    fn names_of_tags_out_of_order_are_compared_with_all_before_them() {
        for (misfit, key) in [
            (None, &b"m,c=1,a=2,b=3"[..]),
            (Some(Misfit::DuplicateTag), b"m,c=1,a=2,b=3,a=4"),
            (Some(Misfit::DuplicateTag), b"m,c=1,a=2,b=3,c=4"),
            (Some(Misfit::DuplicateTag), b"m,a=1,c=2,b=3,b=4"),
            (Some(Misfit::Tags), b"m,c=1,a=2,b="),
        ] {
            assert_eq!(misfit, series(key), "{}", bstr::BStr::new(key));
        }
    }

    #[test]
    fn usual_series_keys_are_tame() {
        for key in [
            "cpu",
            "cpu,host=a",
            "cpu,host=a-1,region=eu",
            "a=b,c=d",
            "\"m\",t=\"",
        ] {
            assert!(is_tame(key.as_bytes()), "{key}");
        }
        for key in [
            "", ",t=a", "#m", "m,", "m,t", "m,t=", "m,t=,u=a", "m,=a", "m,t=a,", "m,t=a,u",
        ] {
            assert!(!is_tame(key.as_bytes()), "{key}");
        }
    }

    proptest! {
        #[test]
        fn every_field_key_with_a_spelling_reads_back(name in proptest::collection::vec(
            proptest::sample::select(b"ab\\,= \"\n\t".to_vec()), 0..8)) {
            if field(&name).is_none() {
                prop_assert_eq!(&name, &read_back(&name));
            }
        }

        #[test]
        fn a_tame_series_key_has_a_spelling_and_is_not_split(key in "[#\t\u{0}]?[a-c=]{0,3}([ ,=\\\\a-c\n]{0,2}[,=]?[a-c]{0,2}=?){0,5}") {
            if is_tame(key.as_bytes()) {
                prop_assert_eq!(None, series(key.as_bytes()));
                prop_assert!(!splits_early(key.as_bytes()));
            }
        }

        /// By the plain rule: each one is compared with all before it.
        #[test]
        fn a_tag_key_that_comes_twice_is_found_wherever_it_stands(names in proptest::collection::vec("[a-e]{1,2}", 1..8)) {
            let tags = names.iter().map(|name| format!(",{name}=v"));
            let key = format!("m{}", tags.collect::<String>());
            let is_twice = (1..names.len()).any(|i| names[..i].contains(&names[i]));
            prop_assert_eq!(is_twice.then_some(Misfit::DuplicateTag), series(key.as_bytes()));
            let is_sorted = names.is_sorted_by(|a, b| a < b);
            prop_assert_eq!(is_sorted, is_tame(key.as_bytes()));
        }
    }
}
