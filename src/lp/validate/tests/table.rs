//! The table of inputs and verdicts, for each target.

use super::*;
use rows::Row;

fn hold(rows: &[Row]) {
    for (body, expected) in rows {
        verdict_is(body, *expected);
    }
}

fn verdict_is(body: &[u8], expected: [&str; 4]) {
    for (target, expected) in Target::ALL.into_iter().zip(expected) {
        let text = bstr::BStr::new(body);
        assert_eq!(expected, verdicts(target, body), "{text} for {target:?}");
    }
}

#[test]
fn blanks_and_ends_of_records() {
    hold(rows::BLANKS);
}

#[test]
fn comments_pass_unless_they_swallow_records() {
    hold(rows::COMMENTS);
}

#[test]
fn strings_hold_what_they_hold() {
    hold(rows::STRINGS);
}

#[test]
fn quotes_outside_strings_are_ordinary_bytes() {
    hold(rows::QUOTES);
}

#[test]
fn line_feeds_and_backslashes_in_names() {
    hold(rows::NAMES);
}

#[test]
fn separators_that_are_not_escaped() {
    hold(rows::SEPARATORS);
}

#[test]
fn tags_and_their_keys() {
    hold(rows::TAGS);
}

#[test]
fn values() {
    hold(rows::VALUES);
}

#[test]
fn times() {
    hold(rows::TIMES);
}

#[test]
fn traps_of_line_tools() {
    hold(rows::TRAPS);
}

#[test]
fn a_hundred_tags_crash_old_servers() {
    for (n, expected) in [
        (99, ["+", "+", "+", "+"]),
        (100, ["W15", "+", "+", "+"]),
        (101, ["+", "+", "+", "+"]),
        (200, ["W15", "+", "W16", "+"]),
        (300, ["+", "+", "W16", "+"]),
        (400, ["W15", "+", "W16", "+"]),
    ] {
        let tags: String = (0..n).map(|i| format!(",t{i:03}=a")).collect();
        verdict_is(format!("m{tags} f=1 1").as_bytes(), expected);
    }
}
