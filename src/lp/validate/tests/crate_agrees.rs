//! The verdicts for InfluxDB 3 against its own parser, record by record.

use influxdb_line_protocol::{FieldValue, ParsedLine, parse_lines, split_lines};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;
use crate::lp::dialect::{self, Respelled, Spelling};
use crate::lp::escape;

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    measurement: Vec<u8>,
    tags: Vec<(Vec<u8>, Vec<u8>)>,
    fields: Vec<(Vec<u8>, Value)>,
    time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Float(u64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Vec<u8>),
}

/// The record as the parser reads it; an error too if it sees more than one.
pub(crate) fn theirs(record: &[u8]) -> Result<Reading, String> {
    let text = std::str::from_utf8(record).map_err(|err| err.to_string())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    if split_lines(text).count() != 1 {
        return Err("more than one line".to_owned());
    }
    match parse_lines(text).collect::<Vec<_>>().as_slice() {
        [Ok(line)] => Ok(reading(line)),
        [Err(err)] => Err(err.to_string()),
        other => Err(format!("{} records", other.len())),
    }
}

fn reading(line: &ParsedLine<'_>) -> Reading {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let tags = line.series.tag_set.iter().flatten();
    let value = |value: &FieldValue<'_>| match value {
        FieldValue::F64(value) => Value::Float(value.to_bits()),
        FieldValue::I64(value) => Value::Integer(*value),
        FieldValue::U64(value) => Value::Unsigned(*value),
        FieldValue::Boolean(value) => Value::Boolean(*value),
        FieldValue::String(value) => Value::String(bytes(value)),
    };
    let fields = line.field_set.iter();
    Reading {
        measurement: bytes(&line.series.measurement),
        tags: tags
            .map(|(key, value)| (bytes(key), bytes(value)))
            .collect(),
        fields: fields.map(|(key, v)| (bytes(key), value(v))).collect(),
        time: line.timestamp,
    }
}

/// The record as the stream's rules read it; it has passed the validator.
pub(crate) fn ours(record: &[u8]) -> Reading {
    let text = record::body(record);
    let name = |place, range: std::ops::Range<usize>| {
        let mut out = Vec::new();
        escape::decode(place, &text[range], &mut out);
        out
    };
    let mut lexer = Lexer::new(text, Spelling::Go);
    let measurement = name(Place::Measurement, lexer.measurement().unwrap());
    let (mut tags, mut fields) = (Vec::new(), Vec::new());
    while let Some((key, value)) = lexer.tag().unwrap() {
        tags.push((name(Place::Tag, key), name(Place::Tag, value)));
    }
    lexer.gap();
    loop {
        let (field, last) = lexer.field().unwrap();
        let value = value(&text[field.value], field.kind);
        fields.push((name(Place::Field, field.key), value));
        if last {
            break;
        }
    }
    let time = lexer.time().unwrap();
    if lexer.odd_blank.is_none() {
        same_parts(record);
    }
    let time = time.map(|time| std::str::from_utf8(&text[time]).unwrap().parse().unwrap());
    Reading {
        measurement,
        tags,
        fields,
        time,
    }
}

/// The lazy view of a record, which trusts it and knows no tab before a time, finds the same parts.
fn same_parts(record: &[u8]) {
    let (text, lazy) = (record::body(record), record::parts(record));
    let mut lexer = Lexer::new(text, Spelling::Go);
    assert_eq!(
        record::measurement(lazy.series),
        &text[lexer.measurement().unwrap()]
    );
    for pair in record::tags(lazy.series) {
        let (key, value) = lexer.tag().unwrap().unwrap();
        assert_eq!(Ok((&text[key], &text[value])), pair);
    }
    assert!(lexer.tag().unwrap().is_none());
    lexer.gap();
    let mut fields = record::fields(lazy.fields);
    loop {
        let (field, last) = lexer.field().unwrap();
        assert_eq!(
            Some(Ok((&text[field.key], &text[field.value]))),
            fields.next()
        );
        if last {
            break;
        }
    }
    assert_eq!(None, fields.next());
    assert_eq!(lazy.time, lexer.time().unwrap().map(|time| &text[time]));
}

fn value(text: &[u8], kind: Kind) -> Value {
    let number = || std::str::from_utf8(&text[..text.len() - 1]).unwrap();
    match kind {
        Kind::Float | Kind::BareFloat => {
            let value: f64 = std::str::from_utf8(text).unwrap().parse().unwrap();
            Value::Float(value.to_bits())
        }
        Kind::Integer => Value::Integer(number().parse().unwrap()),
        Kind::Unsigned => Value::Unsigned(number().parse().unwrap()),
        Kind::Boolean => Value::Boolean(matches!(text[0], b't' | b'T')),
        Kind::String => {
            let mut out = Vec::new();
            escape::decode_string(&text[1..text.len() - 1], &mut out);
            Value::String(out)
        }
    }
}

/// Whether the parser's own reading shows why we refuse what it takes.
fn explains(rule: Rule, reading: &Reading, record: &[u8]) -> bool {
    let Reading { tags, fields, .. } = reading;
    let twice = |keys: Vec<&Vec<u8>>| {
        keys.iter()
            .enumerate()
            .any(|(i, key)| keys[..i].contains(key))
    };
    let tag_keys = || tags.iter().map(|(key, _)| key);
    let field_keys = || fields.iter().map(|(key, _)| key);
    match rule {
        Rule::E03 | Rule::E04 => {
            tag_keys().any(|key| key.contains(&b','))
                || tags.iter().any(|(_, value)| value.contains(&b'='))
        }
        Rule::E05 => {
            let tail = record::body(record).windows(2).any(|pair| pair == b", ");
            tail || record::body(record).ends_with(b",")
                || field_keys().any(|key| key.contains(&b','))
        }
        // In the stream a NUL before the fields is a blank.
        Rule::E02 | Rule::W08 => fields
            .first()
            .is_some_and(|(key, _)| key.first() == Some(&0)),
        Rule::E10 => fields.iter().any(
            |(_, value)| matches!(value, Value::Float(bits) if !f64::from_bits(*bits).is_finite()),
        ),
        Rule::E14 => matches!(reading.time, Some(time) if time < i64::MIN + 2 || time == i64::MAX),
        Rule::E15 => twice(tag_keys().collect()),
        Rule::W02 => tag_keys().any(|key| key == b"time" || key == b"__chunk_order"),
        Rule::W04 => field_keys().any(|key| key == b"time" || key == b"__chunk_order"),
        Rule::W05 => twice(field_keys().collect()),
        Rule::W13 => tag_keys().any(|tag| field_keys().any(|field| field == tag)),
        // Behind a blank in front the servers' splitter takes everything for fields.
        Rule::W09 => matches!(record.first(), Some(b' ' | b'\t' | 0)),
        _ => false,
    }
}

fn is_point(record: &[u8]) -> bool {
    !matches!(
        record::trim(record::body(record)).first(),
        None | Some(b'#')
    )
}

/// Holds the validator to the parser for one record; says whether each of them takes it.
fn compare(target: Target, record: &[u8]) -> (bool, bool) {
    let shown = bstr::BStr::new(record);
    let verdict = Validator::new(target).check(record);
    let theirs_raw = theirs(record);
    if !record.contains(&b'\\') {
        match (&verdict, &theirs_raw) {
            (Ok(()), Ok(reading)) => assert_eq!(&ours(record), reading, "{shown}"),
            (Ok(()), Err(err)) => panic!("we take what the parser refuses: {shown}: {err}"),
            (Err(fault), Ok(reading)) => {
                assert!(
                    explains(fault.rule, reading, record),
                    "{fault} for {shown}: {reading:?}"
                );
            }
            (Err(_), Err(_)) => {}
        }
    }
    let mended = Validator::new(target).respelled().check(record);
    assert!(verdict.is_err() || mended.is_ok(), "{shown}");
    let mut out = Vec::new();
    let respelled = dialect::to_v3(record, &mut out);
    if mended.is_ok() {
        assert!(lex::is_whole(record), "{shown}");
        let sent = match respelled {
            Ok(Respelled::Unchanged) => record,
            Ok(Respelled::Written) => &out[..],
            Err(fault) => panic!("{fault} for {shown}"),
        };
        let reading = theirs(sent)
            .unwrap_or_else(|err| panic!("{err}: {shown} as {}", bstr::BStr::new(sent)));
        assert_eq!(ours(record), reading, "{shown}");
        let mut back = Vec::new();
        match dialect::from_v3(sent, &mut back) {
            Ok(Respelled::Unchanged) => back = sent.to_vec(),
            Ok(Respelled::Written) => {}
            // The stream hid the quote of a field key from the splitter; we do not.
            Err(fault) if (fault.rule, fault.at) == (Rule::W09, 0) => back = record.to_vec(),
            Err(fault) => panic!("{fault}: {shown} as {}", bstr::BStr::new(sent)),
        }
        assert_eq!(reading, ours(&back), "{shown} as {}", bstr::BStr::new(sent));
    }
    (mended.is_ok(), theirs_raw.is_ok())
}

/// Holds respelling for the stream to the parser.
fn compare_from(record: &[u8]) {
    let shown = bstr::BStr::new(record);
    let mut out = Vec::new();
    let respelled = dialect::from_v3(record, &mut out);
    let back = if respelled == Ok(Respelled::Unchanged) {
        record
    } else {
        &out
    };
    match (respelled, theirs(record)) {
        (Ok(_), Ok(reading)) => {
            assert_eq!(reading, ours(back), "{shown} as {}", bstr::BStr::new(back))
        }
        (Ok(_), Err(err)) => panic!("{err}: {shown} as {}", bstr::BStr::new(back)),
        (Err(fault), Ok(reading)) => {
            let known = matches!(fault.rule, Rule::W09) || explains(fault.rule, &reading, record);
            assert!(known, "{fault} for {shown}: {reading:?}");
        }
        (Err(_), Err(_)) => {}
    }
}

#[test]
fn the_generator_makes_good_and_bad_records() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut all, mut taken, mut by_them) = (0, 0, 0);
    for _ in 0..2000 {
        let body = generate::body().new_tree(&mut runner).unwrap().current();
        for record in entries(&body).into_iter().filter(|record| is_point(record)) {
            let (we, they) = compare(Target::Serverless, record);
            all += 1;
            taken += u32::from(we);
            by_them += u32::from(they);
        }
    }
    println!("{all} records, {taken} taken by us, {by_them} by the parser as they are");
    assert!(taken * 4 > all && taken * 4 < all * 3, "{taken} of {all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn verdicts_and_readings_are_those_of_the_parser(body in generate::body()) {
        for record in entries(&body).into_iter().filter(|record| is_point(record)) {
            compare(Target::Serverless, record);
            compare(Target::Core, record);
        }
    }

    #[test]
    fn what_is_spelled_for_v3_is_read_as_the_parser_does(body in generate::body()) {
        for record in entries(&body).into_iter().filter(|record| is_point(record)) {
            compare_from(record);
        }
    }
}
