//! Records that are nearly right: every byte that means something somewhere, in every place.

use proptest::prelude::*;
use proptest::sample::select;

const HOSTILE: &[u8] = b"aaab==,,\"\"\\\\  ##\t\0\r\n0112..--++eEiuntTfFNI_\xc3\xa9";

const NAMES: &[&str] = &[
    "a",
    "b",
    "m",
    "t",
    "f",
    "g",
    "cpu",
    "host",
    "time",
    "_field",
    "_measurement",
    "__chunk_order",
    r"a\ b",
    r"a\,b",
    r"a\=b",
    r"a\b",
    r"a\\b",
    r"a\\\\b",
    "a\"b",
    "a\\\"b",
    "a\\\\\"b",
    "=a",
    r"\=a",
    r"a\\,b",
    r"a\\ b",
    r"a\\=b",
    r"a\",
    r"a\\",
    "a\\\nb",
    "a\nb",
    "a\tb",
    "a\\\tb",
    "\ta",
    "\0",
    "a\0b",
    "a\\\0",
    "#a",
    "\\#a",
    "a#",
    "é",
    "\u{feff}m",
    "\"a",
    "a b",
    "a,b",
    "a=b",
    "",
    r"\ ",
    r"\,",
    r"a.b",
    r"a\\\=b",
    r"a\\\,b",
];

const VALUES: &[&str] = &[
    "1",
    "-1",
    "0.5",
    "1.",
    ".5",
    "-.5",
    "1.e5",
    "1e5",
    "1E+10",
    "1e400",
    "1e",
    "1e+",
    "e5",
    "+1",
    "--1",
    "-",
    ".",
    "1.1.1",
    "01",
    "-0",
    "1i",
    "-1i",
    "01i",
    "i",
    "-i",
    "1ii",
    "1.5i",
    "1e2i",
    "9223372036854775807i",
    "9223372036854775808i",
    "-9223372036854775808i",
    "1u",
    "0u",
    "-0u",
    "18446744073709551615u",
    "18446744073709551616u",
    "9223372036854775808",
    "t",
    "T",
    "true",
    "True",
    "TRUE",
    "f",
    "F",
    "false",
    "False",
    "FALSE",
    "tRUE",
    "tr",
    "yes",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "Inf",
    "+Inf",
    "0x10",
    "1_0",
    "1f",
    "\"\"",
    "\"a\"",
    "\"a b\"",
    "\"a,b=c\"",
    "\"a\\\"b\"",
    "\"a\\\\\"",
    "\"a\\\"",
    "\"a\nb\"",
    "\"a\\nb\"",
    "\"a\\\nb\"",
    "\"a",
    "a\"",
    "\"a\"b",
    "\"a\"\"b\"",
    "\"a\"\\",
    "\"é\"",
    "\"a\0b\tc\rd\"",
    "'a'",
    "\\\"a\\\"",
    "\"m f=1 1\"",
    "",
];

const TIMES: &[&str] = &[
    " 1",
    " -1",
    " 007",
    " 1700000000000000000",
    " 9223372036854775806",
    " 9223372036854775807",
    " -9223372036854775806",
    " -9223372036854775807",
    " 99999999999999999999",
    "",
    " ",
    "  1  ",
    " 1.5",
    " +1",
    " -",
    " 1\t",
    " \t1",
    " 1\r",
    " \0",
    " 1 2",
    " 1 # c",
    " 1\\",
    "\t1",
    " 1i",
    " \"1\"",
];

const GAPS: &[&str] = &[
    " ", " ", " ", " ", " ", " ", "  ", " \t", " \0", "\t", "", " ,",
];

/// Mostly the first, now and then one of the rest.
fn odd(
    usual: &'static [&'static str],
    rest: &'static [&'static str],
) -> impl Strategy<Value = String> {
    prop_oneof![7 => select(usual), 3 => select(rest)].prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    odd(&["a", "b", "c", "d", "e", "host", r"a\ b", r"x\\y"], NAMES)
}

fn separator() -> impl Strategy<Value = String> {
    odd(
        &[","],
        &[",", ",", ",", ",", ",", "", ",,", ", ", "=", "\\,"],
    )
}

fn pairs(value: impl Strategy<Value = String>, max: usize) -> impl Strategy<Value = Vec<String>> {
    let equals = odd(
        &["="],
        &["=", "=", "=", "=", "=", "=", "", "==", "\\=", " = "],
    );
    let pair = (name(), equals, value).prop_map(|(key, equals, value)| key + &equals + &value);
    proptest::collection::vec(pair, 0..=max)
}

/// A record of usual shape, with odd parts.
fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let series = (
        odd(&[""], &["", " ", "\t", "\0", "\n", "#"]),
        name(),
        pairs(name(), 3),
    );
    let fields = (
        pairs(odd(&["1", "2i", "t", "\"x\"", "0.5"], VALUES), 3),
        separator(),
    );
    let end = odd(&[" 1", " 1700000000000000000"], TIMES);
    (series, odd(&[" "], GAPS), fields, end).prop_map(|(series, gap, (fields, separator), end)| {
        let (start, measurement, tags) = series;
        let mut text = start + &measurement;
        tags.iter().for_each(|tag| text = format!("{text},{tag}"));
        let mut fields = fields;
        if fields.is_empty() {
            fields.push("f=1".to_owned());
        }
        (text + &gap + &fields.join(&separator) + &end).into_bytes()
    })
}

/// A good record in which a few bytes were changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let good = select(
        &[
            "m,t=a f=1 1",
            r#"my\ m,a\=b=c\,d f\ g="say \"hi\"\n",h=2i 1700000000000000000"#,
            r#"m,a=1,b=2,c=3 f="x y",g=1.5e10,h=t,i=-3i -1"#,
            r#"C:\dir,path=C:\\x q"k="\\",r=F 1"#,
            "cpu,host=a,dc=eu idle=0.5,user=12u,up=true",
        ][..],
    );
    let edit = (any::<prop::sample::Index>(), select(HOSTILE), 0..3u8);
    (good, proptest::collection::vec(edit, 0..4)).prop_map(|(good, edits)| {
        let mut text = good.as_bytes().to_vec();
        for (index, c, what) in edits {
            let at = index.index(text.len());
            match what {
                0 => text[at] = c,
                1 => text.insert(at, c),
                _ if text.len() > 1 => drop(text.remove(at)),
                _ => {}
            }
        }
        text
    })
}

/// Any bytes that mean something.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let start = select(&["", "m ", "m f=", "m,t=", "m,t=a f=", "m f=\""][..]);
    let bytes = proptest::collection::vec(select(HOSTILE), 0..24);
    (start, bytes).prop_map(|(start, bytes)| [start.as_bytes(), &bytes].concat())
}

/// A body that a test may cut into records.
pub fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![5 => shaped(), 4 => mutated(), 2 => hostile()]
}
