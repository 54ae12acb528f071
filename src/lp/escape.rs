//! How are names and strings spelled? The Go dialect, which is what storage files and the stream hold.
//!
//! In a name a backslash counts only before a byte that is special at that place; anywhere else both bytes
//! belong to the name. A backslash is never itself escaped, so some names cannot be written.

use memchr::memchr;

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

/// Append the spelling of a name that has one, as [`super::misfit`] says.
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
    out.resize(start + string_room(value.len()), 0);
    let place = out.get_mut(start..).unwrap_or_default();
    let n = put_string(value, value.len(), place);
    out.truncate(start + n);
}

/// Bytes of a string that are looked at together.
const PIECE: usize = 64;
/// The same for strings that are no longer than that.
const SHORT: usize = 32;

/// The room that a string of so many bytes needs with its quotes: as long as it can become, and what the last step
/// reaches behind that.
pub const fn string_room(len: usize) -> usize {
    2 * len + 2 + STRING_SLACK
}

/// What the room for several strings, one behind the other, has beyond their longest spellings.
pub const STRING_SLACK: usize = 3 * PIECE;

/// Put a string value with its quotes at the beginning of a place that has room for it; how long it is.
///
/// The value are the first `n` bytes of `text`. It is fast where `text` goes on behind them, for two pieces.
///
/// A place without that room is a mistake in this program, and a panic.
#[inline]
pub fn put_string(text: &[u8], n: usize, place: &mut [u8]) -> usize {
    put_byte(place, 0, b'"');
    let mut at = 1;
    if n <= SHORT {
        at += put_piece::<SHORT, { 2 * SHORT }, { 3 * SHORT }>(text, n, place, at);
    } else {
        for from in (0..n).step_by(PIECE) {
            let rest = text.get(from..).unwrap_or_default();
            let n = PIECE.min(n - from);
            at += put_piece::<PIECE, { 2 * PIECE }, { 3 * PIECE }>(rest, n, place, at);
        }
    }
    put_byte(place, at, b'"');
    at + 1
}

#[inline(always)]
fn put_byte(place: &mut [u8], at: usize, byte: u8) {
    match place.get_mut(at) {
        Some(place) => *place = byte,
        None => no_room(),
    }
}

#[cold]
fn no_room() -> ! {
    panic!("no room for a string");
}

/// Put the first `n` bytes of a text, at most a piece, at `at`, with a backslash before those that need one; how long
/// that is.
#[inline(always)]
fn put_piece<const PIECE: usize, const TWO: usize, const THREE: usize>(
    text: &[u8],
    n: usize,
    place: &mut [u8],
    at: usize,
) -> usize {
    let place = place.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    let Some(place) = place else {
        no_room();
    };
    match text.first_chunk() {
        Some(text) => put_parts::<PIECE, TWO, THREE>(text, n, place),
        None => {
            let mut padded = [0; TWO];
            let bytes = text.iter().take(n);
            padded.iter_mut().zip(bytes).for_each(|(to, c)| *to = *c);
            put_parts::<PIECE, TWO, THREE>(&padded, n, place)
        }
    }
}

/// Copy from one special byte to the next, always a piece: what is too much is written over.
#[inline(always)]
fn put_parts<const PIECE: usize, const TWO: usize, const THREE: usize>(
    text: &[u8; TWO],
    n: usize,
    place: &mut [u8; THREE],
) -> usize {
    let piece = text.first_chunk::<PIECE>().unwrap_or(&[0; PIECE]);
    let others = u64::MAX.checked_shl(n as u32).unwrap_or(0);
    let mut left = specials(piece) & !others;
    let (mut from, mut at) = (0, 0);
    copy_piece::<PIECE, TWO, THREE>(text, from, place, at);
    let mut step = |left: u64| {
        let next = n.min(left.trailing_zeros() as usize);
        at += next - from;
        place[at % TWO] = b'\\';
        at += usize::from(left != 0);
        from = next;
        copy_piece::<PIECE, TWO, THREE>(text, from, place, at);
        left & left.wrapping_sub(1)
    };
    // How many special bytes there are nobody can guess: a step in vain takes less than a wrong guess.
    let sure = if PIECE > SHORT { 2 } else { 0 };
    for _ in 0..sure {
        left = step(left);
    }
    while left != 0 {
        left = step(left);
    }
    at + n - from
}

#[inline(always)]
fn copy_piece<const PIECE: usize, const TWO: usize, const THREE: usize>(
    text: &[u8; TWO],
    from: usize,
    place: &mut [u8; THREE],
    at: usize,
) {
    let text = text
        .get(from % PIECE..)
        .and_then(<[u8]>::first_chunk::<PIECE>);
    let place = place
        .get_mut(at % TWO..)
        .and_then(<[u8]>::first_chunk_mut::<PIECE>);
    if let (Some(text), Some(place)) = (text, place) {
        *place = *text;
    }
}

/// A bit for each byte, of at most 64, that needs a backslash; the lowest is that of the first byte.
#[inline(always)]
fn specials<const N: usize>(bytes: &[u8; N]) -> u64 {
    let mut bits = [0; N];
    for (i, (bit, c)) in bits.iter_mut().zip(bytes).enumerate() {
        *bit = u8::from((*c == b'"') | (*c == b'\\')) << (i % 8);
    }
    // Eight bytes no two of which have a bit in common: the highest byte of the product is their sum.
    let sum = |word: &[u8; 8]| u64::from_le_bytes(*word).wrapping_mul(u64::from_ne_bytes([1; 8]));
    let words = bits.as_chunks().0.iter().enumerate();
    words.fold(0, |mask, (i, word)| mask | sum(word) >> 56 << (8 * i))
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
    fn strings_that_need_a_backslash_for_every_byte_have_room() {
        for n in [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000] {
            let mut spelled = Vec::new();
            encode_string(&vec![b'"'; n], &mut spelled);
            assert_eq!([b"\"", &b"\\\"".repeat(n)[..], b"\""].concat(), spelled);
        }
    }

    #[test]
    #[should_panic(expected = "no room for a string")]
    fn a_string_is_not_cut_where_there_is_no_room() {
        put_string(b"a string", 8, &mut [0; 10]);
    }

    /// Texts some of which have a special byte here and there, some many.
    fn texts(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let some = |of: &[u8]| proptest::sample::select(of.to_vec());
        let byte = prop_oneof![some(br#"abcdefghijklmnop"\"#), some(br#"a"\"#), any::<u8>()];
        proptest::collection::vec(byte, sizes)
    }

    proptest! {
        #[test]
        fn quotes_and_backslashes_get_a_backslash_wherever_they_stand(
            value in texts(0..300),
            others in texts(0..150),
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
            let text = [&value[..], &others].concat();
            let mut place = vec![b'x'; string_room(value.len())];
            let n = put_string(&text, value.len(), &mut place);
            prop_assert_eq!(&plain, &place[..n]);
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
