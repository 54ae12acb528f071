//! How are names and strings spelled, and which of them has no spelling at all? The Go dialect, which is what
//! storage files and the stream hold.
//!
//! In a name a backslash counts only before a byte that is special at that place; anywhere else both bytes
//! belong to the name. A backslash is never itself escaped, so some names cannot be written.

use memchr::{memchr, memchr2, memchr3};

/// A place in a record where a name can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The measurement.
    Measurement,
    /// A tag key or a tag value.
    Tag,
    /// A field key.
    Field,
}

impl Place {
    /// Whether a reader takes a backslash away before this byte.
    fn decodes(self, c: u8) -> bool {
        match self {
            // `"` and `=`: pkg/escape Unescape@1.8, which gives the name that queries see.
            Self::Measurement | Self::Field => matches!(c, b',' | b' ' | b'=' | b'"'),
            Self::Tag => matches!(c, b',' | b' ' | b'='),
        }
    }
}

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
}

/// Append the name that the bytes of a record spell.
pub fn decode(place: Place, raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        let (head, tail) = rest.split_at(at);
        out.extend_from_slice(head);
        match tail.get(1) {
            Some(&c) if place.decodes(c) => {
                out.push(c);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(b'\\');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Append the spelling of a name that has one.
pub fn encode(place: Place, name: &[u8], out: &mut Vec<u8>) {
    for (i, &c) in name.iter().enumerate() {
        let doubled = match name.get(i + 1) {
            Some(b'"') => place != Place::Tag,
            Some(b'=') => place == Place::Measurement,
            _ => false,
        };
        let special = matches!(c, b',' | b' ') || (c == b'=' && place != Place::Measurement);
        if special || (c == b'\\' && doubled) {
            out.push(b'\\');
        }
        out.push(c);
    }
}

/// Append a string value with its quotes.
pub fn encode_string(value: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + string_room(value.len()), b'"');
    let n = put_string(value, out.get_mut(start..).unwrap_or_default());
    out.truncate(start + n);
}

/// The room that a string of so many bytes needs with its quotes: as long as it can become, and a word more.
pub const fn string_room(len: usize) -> usize {
    2 * len + 10
}

/// Put a string value with its quotes at the beginning of a place that has room for it; how long it is.
pub fn put_string(value: &[u8], place: &mut [u8]) -> usize {
    debug_assert!(place.len() >= string_room(value.len()), "no room");
    put(place, 0, [b'"']);
    let mut at = 1;
    let (chunks, tail) = value.as_chunks::<16>();
    for chunk in chunks {
        if is_plain(chunk) {
            put(place, at, *chunk);
            at += chunk.len();
        } else {
            at = put_words(chunk, place, at);
        }
    }
    at = put_words(tail, place, at);
    let n = tail.len() % 8;
    let rest = match value.last_chunk() {
        // Shifted by one byte first: a shift by all eight is none.
        Some(last) => u64::from_le_bytes(*last) >> 8 >> (56 - 8 * n),
        None => tail.iter().rfold(0, |word, c| word << 8 | u64::from(*c)),
    };
    at = put_word(rest, n, place, at);
    put(place, at, [b'"']);
    at + 1
}

/// Whether no byte needs a backslash; all are looked at, without a branch.
#[inline]
fn is_plain(chunk: &[u8; 16]) -> bool {
    let is_special = |c: &u8| (*c == b'"') | (*c == b'\\');
    !chunk.iter().fold(false, |any, c| any | is_special(c))
}

/// Put all whole words of some bytes at `at`; where they end.
#[inline]
fn put_words(bytes: &[u8], place: &mut [u8], at: usize) -> usize {
    let words = bytes.as_chunks().0.iter();
    words.fold(at, |at, word| {
        put_word(u64::from_le_bytes(*word), 8, place, at)
    })
}

/// A copy of fixed size.
#[inline(always)]
fn put<const N: usize>(place: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = place.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = bytes;
    }
}

/// Put the lowest `n` bytes of a word at `at`, with a backslash before those that need one; where they end.
#[inline]
fn put_word(mut word: u64, n: usize, place: &mut [u8], mut at: usize) -> usize {
    let mut put = |at: usize, word: u64| put(place, at, word.to_le_bytes());
    let mut special = equal(word, b'"') | equal(word, b'\\');
    put(at, word);
    let mut left = n;
    while special != 0 {
        let before = special.trailing_zeros() / 8;
        let rest = word >> (8 * before);
        at += before as usize;
        put(at, u64::from(b'\\') | rest << 8);
        // The last byte of eight has no place beside the backslash.
        put(at + 1, rest);
        (word, special) = (rest >> 8, special >> (8 * before) >> 8);
        (at, left) = (at + 2, left - before as usize - 1);
        put(at, word);
    }
    at + left
}

/// The highest bit of each byte of a word that is `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zeros = word ^ u64::from_ne_bytes([byte; 8]);
    // Nothing is carried from one byte to the next.
    !(((zeros & LOW) + LOW) | zeros | LOW)
}

/// Append the string that the bytes between two quotes spell.
pub fn decode_string(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        let (head, tail) = rest.split_at(at);
        out.extend_from_slice(head);
        match tail.get(1) {
            Some(&c @ (b'"' | b'\\')) => {
                out.push(c);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(b'\\');
                rest = tail.get(1..).unwrap_or_default();
            }
        }
    }
    out.extend_from_slice(rest);
}

/// Why a stored series key cannot stand in a record as it is; `None` where it can.
///
/// Plays the scanners of `models/points.go` (`scanMeasurement`, `scanTagsKey`, `scanTagsValue` @1.8) over the
/// key: at its end, and not before, they must be ready for the fields.
pub fn series_misfit(key: &[u8]) -> Option<Misfit> {
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
        Some(_) => tags_misfit(key, end + 1),
    }
}

fn tags_misfit(key: &[u8], mut at: usize) -> Option<Misfit> {
    let mut seen: Vec<&[u8]> = Vec::new();
    loop {
        // The first byte of a tag key or value is taken as it comes, unless it is one of these.
        if matches!(key.get(at), None | Some(b',' | b' ' | b'=')) {
            return Some(Misfit::Tags);
        }
        let equals = name_end(key, at + 1, |c| matches!(c, b',' | b' ' | b'='));
        match key.get(equals) {
            Some(b'=') => {}
            Some(b' ') => return Some(Misfit::Space),
            _ => return Some(Misfit::Tags),
        }
        let name = key.get(at..equals).unwrap_or_default();
        // Keys come sorted, so a duplicate is nearly always next to its twin.
        if seen.last().is_some_and(|last| *last >= name) && seen.contains(&name) {
            return Some(Misfit::DuplicateTag);
        }
        seen.push(name);
        if matches!(key.get(equals + 1), None | Some(b',' | b' ')) {
            return Some(Misfit::Tags);
        }
        let end = name_end(key, equals + 2, |c| matches!(c, b',' | b' ' | b'='));
        match key.get(end) {
            None => return None,
            Some(b',') => at = end + 1,
            Some(b' ') => return Some(Misfit::Space),
            Some(_) => return Some(Misfit::Tags),
        }
    }
}

/// The first byte from `at` on that ends a name and has no backslash before it; the length of the key if none.
fn name_end(key: &[u8], at: usize, ends: impl Fn(u8) -> bool) -> usize {
    let mut i = at;
    while let Some(&c) = key.get(i) {
        let escaped = i.checked_sub(1).and_then(|i| key.get(i)) == Some(&b'\\');
        if ends(c) && !escaped {
            return i;
        }
        i += 1;
    }
    key.len()
}

/// Why a field key has no spelling; `None` where [`encode`] gives one that reads back.
pub fn field_misfit(name: &[u8]) -> Option<Misfit> {
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
    encode(Place::Field, name, &mut spelled);
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

    fn decoded(place: Place, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        decode(place, raw, &mut out);
        out
    }

    fn encoded(place: Place, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(place, name, &mut out);
        out
    }

    #[test]
    fn only_what_is_special_at_a_place_loses_its_backslash() {
        assert_eq!(
            b"a,b c=d\"e".to_vec(),
            decoded(Place::Measurement, br#"a\,b\ c\=d\"e"#)
        );
        assert_eq!(
            br#"a,b c=d\"e"#.to_vec(),
            decoded(Place::Tag, br#"a\,b\ c\=d\"e"#)
        );
        assert_eq!(
            b"a,b c=d\"e".to_vec(),
            decoded(Place::Field, br#"a\,b\ c\=d\"e"#)
        );
        assert_eq!(br"C:\dir\\x\".to_vec(), decoded(Place::Tag, br"C:\dir\\x\"));
        assert_eq!(br"a\,b".to_vec(), decoded(Place::Tag, br"a\\,b"));
    }

    #[test]
    fn names_are_spelled_for_their_place() {
        assert_eq!(
            br"a\,b\ c=d".to_vec(),
            encoded(Place::Measurement, b"a,b c=d")
        );
        assert_eq!(br"a\,b\ c\=d".to_vec(), encoded(Place::Tag, b"a,b c=d"));
        assert_eq!(br#"q"uote"#.to_vec(), encoded(Place::Field, br#"q"uote"#));
        assert_eq!(
            br#"q\\"uote"#.to_vec(),
            encoded(Place::Field, br#"q\"uote"#)
        );
        assert_eq!(br"a\\=b".to_vec(), encoded(Place::Measurement, br"a\=b"));
    }

    #[test]
    fn strings_double_each_backslash_and_keep_line_feeds() {
        let mut out = Vec::new();
        encode_string(b"a\"b\\c\nd", &mut out);
        assert_eq!(b"\"a\\\"b\\\\c\nd\"".to_vec(), out);
    }

    #[test]
    fn unknown_escapes_in_strings_stay() {
        let mut out = Vec::new();
        decode_string(br#"a\nb\"c\\d\"#, &mut out);
        assert_eq!(br#"a\nb"c\d\"#.to_vec(), out);
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
            assert_eq!(None, series_misfit(key), "{}", bstr::BStr::new(key));
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
            assert_eq!(Some(misfit), series_misfit(key), "{}", bstr::BStr::new(key));
        }
    }

    #[test]
    fn field_keys_without_a_spelling_are_named() {
        assert_eq!(None, field_misfit(b"plain"));
        assert_eq!(None, field_misfit(b"a,b c=d"));
        assert_eq!(None, field_misfit(b"f\\\ng"));
        assert_eq!(None, field_misfit(br#"a\"b"#));
        assert_eq!(Some(Misfit::EmptyField), field_misfit(b""));
        assert_eq!(Some(Misfit::FieldBackslash), field_misfit(b"a\\"));
        assert_eq!(Some(Misfit::FieldEscape), field_misfit(b"a\\,b"));
        assert_eq!(None, field_misfit(br"a\\,b"));
        assert_eq!(Some(Misfit::FieldEscape), field_misfit(br"a\\\=b"));
        assert_eq!(Some(Misfit::Blank), field_misfit(b"\tf"));
        assert_eq!(Some(Misfit::LineFeed), field_misfit(b"a\nb"));
        assert_eq!(Some(Misfit::LineFeed), field_misfit(b"a\\\\\nb"));
    }

    #[test]
    fn a_pair_of_backslashes_before_a_space_is_seen_differently_by_splitter_and_parser() {
        assert!(!splits_early(br"m\ x,t=a\ b"));
        assert!(splits_early(br"m\\ x,t=a"));
    }

    proptest! {
        #[test]
        fn every_field_key_with_a_spelling_reads_back(name in proptest::collection::vec(
            proptest::sample::select(b"ab\\,= \"\n\t".to_vec()), 0..8)) {
            if field_misfit(&name).is_none() {
                prop_assert_eq!(&name, &decoded(Place::Field, &encoded(Place::Field, &name)));
            }
        }

        #[test]
        fn quotes_and_backslashes_get_a_backslash_wherever_they_stand(
            value in proptest::collection::vec(proptest::sample::select(b"abcdefghijklmnop\"\\".to_vec()), 0..80),
        ) {
            let mut plain = vec![b'"'];
            for c in &value {
                plain.extend(matches!(c, b'"' | b'\\').then_some(b'\\'));
                plain.push(*c);
            }
            plain.push(b'"');
            let mut spelled = b"before".to_vec();
            encode_string(&value, &mut spelled);
            prop_assert_eq!(&plain, &spelled[6..]);
        }

        #[test]
        fn every_string_reads_back(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut spelled = Vec::new();
            encode_string(&value, &mut spelled);
            let mut read = Vec::new();
            decode_string(&spelled[1..spelled.len() - 1], &mut read);
            prop_assert_eq!(value, read);
        }
    }
}
