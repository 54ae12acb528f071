//! Which names can a record carry? Told by the description of the servers' splitter and parser, not by the library.

use std::collections::BTreeSet;

use crate::harness::entries;
use crate::oracle::end_of_name;

/// Whether a server reads from a record with this series key and field key the same names again.
pub fn is_spellable(series: &[u8], field: &[u8]) -> bool {
    let begins = !matches!(series.first(), None | Some(b'#' | b',' | b' ' | b'\t' | 0));
    // A blank behind the one that ends the series is skipped.
    let goes_on = !matches!(field.first(), None | Some(b'\t' | 0));
    if !begins || !goes_on {
        return false;
    }
    let spelled = spelled(field);
    let line = [series, b" ", &spelled, b"=1i 5\n"].concat();
    let start = series.len() + 1;
    entries(&line) == [&line[..line.len() - 1]]
        && end_of_name(&line, 1, b" ") == series.len()
        && are_sound(series)
        && end_of_name(&line, start, b"=") == start + spelled.len()
        && is_one_name(&spelled)
        && unescaped(&spelled) == field
}

/// How a field key is written.
fn spelled(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (i, c) in field.iter().enumerate() {
        let doubled = *c == b'\\' && field.get(i + 1) == Some(&b'"');
        if matches!(c, b',' | b'=' | b' ') || doubled {
            out.push(b'\\');
        }
        out.push(*c);
    }
    out
}

/// What a server makes of a field key or a measurement.
pub fn unescaped(name: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), name);
    while let Some((c, tail)) = rest.split_first() {
        let next = tail.first();
        let is_pair = *c == b'\\' && matches!(next, Some(b',' | b'=' | b' ' | b'"'));
        out.push(if is_pair { tail[0] } else { *c });
        rest = if is_pair { &tail[1..] } else { tail };
    }
    out
}

/// Whether the scan of the fields, which takes backslashes in pairs, finds the end of the name at its end.
fn is_one_name(spelled: &[u8]) -> bool {
    let mut at = 0;
    while at < spelled.len() {
        match spelled[at] {
            b'\\' => at += 2,
            b',' | b'=' | b' ' => return false,
            _ => at += 1,
        }
    }
    at == spelled.len()
}

/// Whether the tags are pairs of names, each key once.
fn are_sound(series: &[u8]) -> bool {
    let mut at = end_of_name(series, 1, b", ");
    let mut keys = BTreeSet::new();
    while at < series.len() {
        let equals = end_of_name(series, at + 1, b",= ");
        // Whatever stands first in a value belongs to it, even an equals sign.
        let end = end_of_name(series, (equals + 2).min(series.len()), b",= ");
        let is_pair = series[at] == b',' && series.get(equals) == Some(&b'=');
        let first = series.get(equals + 1);
        let is_full = equals > at + 1 && !matches!(first, None | Some(b',' | b' '));
        if !is_pair || !is_full || !keys.insert(&series[at + 1..equals]) {
            return false;
        }
        at = end;
    }
    true
}

/// The measurement as queries know it.
pub fn measurement(series: &[u8]) -> Vec<u8> {
    let end = end_of_name(series, 1.min(series.len()), b", ");
    unescaped(&series[..end])
}

/// Whether the splitter, which takes backslashes in pairs, thinks that the fields begin within the series key. What a
/// record may hold then depends on its strings.
pub fn ends_early(series: &[u8]) -> bool {
    let mut at = 0;
    while at < series.len() {
        match series[at] {
            b'\\' => at += 2,
            b' ' => return true,
            _ => at += 1,
        }
    }
    false
}

#[test]
fn what_has_a_spelling_is_told_as_the_servers_do() {
    let good: [(&[u8], &[u8]); 8] = [
        (b"m,t==", b"f"),
        (b"m,t==a,u=b", b"f"),
        (b"m", b"f"),
        (br"m\ x,t\,k=a\=b", b"a b,c=d"),
        (br"m\\,x,t=C:\dir", br#"a"b"#),
        (b"m\\\n,t=a", br"a\b"),
        (b"m,t=\xff\t", br"a\\,"),
        (br#"m="x",t=a"#, b"time"),
    ];
    let bad: [(&[u8], &[u8]); 16] = [
        (b"m,t===", b"f"),
        (b"m,t=a=", b"f"),
        (b"", b"f"),
        (b"m", b""),
        (b"#m", b"f"),
        (b" m", b"f"),
        (b",t=a", b"f"),
        (b"m\\", b"f"),
        (b"m", b"f\\"),
        (b"m", br"a\,"),
        (b"m x", b"f"),
        (b"m\n", b"f"),
        (b"m,t=a,t=b", b"f"),
        (b"m,t=", b"f"),
        (b"m,t", b"f"),
        (b"m", b"\tf"),
    ];
    for (series, field) in good {
        assert!(is_spellable(series, field), "{series:?} {field:?}");
    }
    for (series, field) in bad {
        assert!(!is_spellable(series, field), "{series:?} {field:?}");
    }
}
