//! Random names and stored keys, most of them such as a server would store, in every odd spelling.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use super::history::KEYS;
use crate::forge::disk::SEPARATOR;

/// A part of a name, escaped as a server stores it in a series key: in tags, or in a measurement.
fn part(is_tag: bool) -> impl Strategy<Value = Vec<u8>> {
    let plain = select(vec!["m", "m2", "cpu", "a", "host"]).prop_map(|s| s.as_bytes().to_vec());
    let odd = vec(select(TOKENS.to_vec()), 1..5).prop_map(|tokens| tokens.concat());
    let long = Just(b"long ".repeat(2000));
    prop_oneof![12 => plain, 6 => odd, 1 => long].prop_map(move |name| {
        let mut out = Vec::new();
        for c in name {
            if matches!(c, b',' | b' ') || c == b'=' && is_tag {
                out.push(b'\\');
            }
            out.push(c);
        }
        out
    })
}

const TOKENS: [&[u8]; 24] = [
    b"a",
    b"b",
    b"M",
    b"\xc3\xbc",
    b" ",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"\\\\",
    b"#",
    b"!",
    b"~",
    b"#!~",
    b"!~#",
    b"$",
    b"*",
    b"'",
    b"%",
    b"\\\n",
    b"\t",
    b"\0",
    b"\n",
    b"\xff",
];

fn series() -> impl Strategy<Value = Vec<u8>> {
    let tags = btree_map(part(true), part(true), 0..3);
    let stored = (part(false), tags).prop_map(|(mut series, tags)| {
        for (key, value) in tags {
            series.extend([b",", &key[..], b"=", &value].concat());
        }
        series
    });
    // What no server would store.
    let raw = vec(select(TOKENS.to_vec()), 0..7).prop_map(|tokens| tokens.concat());
    prop_oneof![9 => stored, 1 => raw]
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    let plain = select(vec!["f", "g", "value", "time", "usage_user"]);
    let plain = plain.prop_map(|s| s.as_bytes().to_vec());
    let odd = vec(select(TOKENS.to_vec()), 0..5).prop_map(|tokens| tokens.concat());
    let separated = Just(b"a#!~#b".to_vec());
    prop_oneof![10 => plain, 4 => odd, 1 => separated]
}

/// Stored keys: some series, each with some fields.
pub fn keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = (series(), btree_set(field(), 1..5));
    let key = |series: &[u8], field: &[u8]| [series, SEPARATOR, field].concat();
    vec(one, 1..5).prop_map(move |all| {
        let all = all
            .iter()
            .flat_map(|(s, fields)| fields.iter().map(move |f| key(s, f)));
        let keys: BTreeSet<_> = all.collect();
        keys.into_iter().take(KEYS).collect()
    })
}
