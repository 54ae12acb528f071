//! Every rule has a record that breaks it, at the byte it names, and one that just does not.

use super::*;

fn fault(target: Target, record: &[u8]) -> Fault {
    Validator::new(target).check(record).unwrap_err()
}

fn passes(target: Target, record: &[u8]) -> bool {
    Validator::new(target).check(record).is_ok()
}

#[test]
fn the_message_starts_with_the_rule_and_says_what_to_do() {
    let fault = fault(Target::Serverless, b"m,time=a f=1 1");
    assert_eq!(
        "W02: a tag cannot be called time (rename it)",
        fault.to_string()
    );
}

#[test]
fn faults_point_at_the_byte() {
    for (rule, at, record) in [
        (Rule::E01, 0, &b",t=a f=1 1"[..]),
        (Rule::E01, 2, b"  ,t=a f=1 1"),
        (Rule::E02, 1, b"m"),
        (Rule::E02, 2, b"m "),
        (Rule::E02, 2, b"m =1 1"),
        (Rule::E02, 4, b"m f= 1"),
        (Rule::E02, 4, b"m f=,g=1 1"),
        (Rule::E02, 3, b"m f"),
        (Rule::E05, 6, b"m f=1,"),
        (Rule::E02, 3, b"m \t=1 1"),
        (Rule::E03, 2, b"m, f=1 1"),
        (Rule::E03, 2, b"m,=a f=1 1"),
        (Rule::E03, 4, b"m,t=,u=b f=1 1"),
        (Rule::E03, 3, b"m,t"),
        (Rule::E04, 3, b"m,a,b=c f=1 1"),
        (Rule::E04, 3, b"m,a b=c f=1 1"),
        (Rule::E04, 5, b"m,t=a=b f=1 1"),
        (Rule::E04, 5, b"m,t==="),
        (Rule::E05, 3, b"m a b=1 1"),
        (Rule::E05, 6, b"m f=1,,g=2 1"),
        (Rule::E05, 6, b"m f=1, g=2 1"),
        (Rule::E06, 4, br"m a\\=1 1"),
        (Rule::E06, 7, br"m f=1 1\"),
        (Rule::E07, 4, br#"m f="a"#),
        (Rule::E08, 7, br#"m f="a"b 1"#),
        (Rule::E09, 4, b"m f=0x10 1"),
        (Rule::E10, 4, b"m f=1e309 1"),
        (Rule::E11, 4, b"m f=18446744073709551616u 1"),
        (Rule::E12, 4, b"m f=yes 1"),
        (Rule::E13, 7, b"m f=1 1x"),
        (Rule::E14, 6, b"m f=1 9223372036854775807"),
        (Rule::E15, 10, b"m,t=a,u=b,t=c f=1 1"),
        (Rule::E15, 8, br"m,a\ =1,a\ =2 f=1 1"),
        (Rule::E16, 7, b"m f=1 1\r\n"),
        (Rule::W02, 2, b"m,time=a f=1 1"),
        (Rule::W04, 6, b"m f=1,time=2 1"),
        (Rule::W05, 6, b"m f=1,f=2i 1"),
        (Rule::W05, 8, br#"m a"b=1,a\"b=t 1"#),
        (Rule::W09, 0, br#"m,a\\ b=a a"b=1 1"#),
        (Rule::W09, 7, b" m,t=\"x\ny\" f=1 1"),
    ] {
        for target in Target::ALL {
            let found = fault(target, record);
            let text = bstr::BStr::new(record);
            assert_eq!((rule, at), (found.rule, found.at), "{text} for {target:?}");
        }
    }
}

#[test]
fn names_that_are_too_long_are_refused_where_each_target_ends() {
    let record = |series: usize, field: usize| {
        format!("{} {}=1 1", "m".repeat(series), "f".repeat(field)).into_bytes()
    };
    for target in [Target::V1, Target::V2] {
        assert!(passes(target, &record(65_530, 1)));
        assert_eq!(Rule::E17, fault(target, &record(65_530, 2)).rule);
        assert_eq!(Rule::E17, fault(target, &record(1, 65_531)).rule);
    }
    assert!(passes(Target::Serverless, &record(65_536, 65_536)));
    assert_eq!(
        Rule::E17,
        fault(Target::Serverless, &record(65_537, 1)).rule
    );
    assert!(passes(Target::Core, &record(65_537, 1_048_576)));
    assert_eq!(Rule::E17, fault(Target::Core, &record(1, 1_048_577)).rule);
    let escaped = [&b"m,t="[..], &br"\ ".repeat(65_536), b" f=1 1"].concat();
    assert!(passes(Target::Serverless, &escaped));
}

#[test]
fn strings_are_measured_without_their_escapes() {
    let record = |piece: &str, n: usize| format!("m f=\"{}\" 1", piece.repeat(n)).into_bytes();
    for (target, max) in [
        (Target::V1, 1_048_576),
        (Target::V2, 1_048_576),
        (Target::Serverless, 65_536),
        (Target::Core, 1_048_576),
    ] {
        for piece in ["x", "\\\"", "\\\\"] {
            assert!(passes(target, &record(piece, max)), "{target:?} {piece}");
            assert_eq!(Rule::W10, fault(target, &record(piece, max + 1)).rule);
        }
        assert_eq!(Rule::W10, fault(target, &record("\\n", max / 2 + 1)).rule);
    }
}

#[test]
fn reserved_keys_differ_by_target() {
    for (record, expected) in [
        (&b"m,_field=a f=1 1"[..], ["+", "W03", "+", "+"]),
        (b"m,\0=a f=1 1", ["+", "W03", "+", "+"]),
        (b"m,\xff=a f=1 1", ["+", "W03", "W06", "W06"]),
        (b"m,__chunk_order=a f=1 1", ["+", "+", "+", "W02"]),
        (b"m __chunk_order=1 1", ["+", "+", "+", "W04"]),
        (b"m,_x=a _field=1,_measurement=2 1", ["+", "+", "+", "+"]),
        (b"m time=1 1", ["W04", "W04", "W04", "W04"]),
        (b"m,Time=a times=1 1", ["+", "+", "+", "+"]),
        (b"m,t=a t=1 1", ["+", "+", "W13", "W13"]),
        (br#"m,a"b=a a\"b=1 1"#, ["+", "+", "W13", "W13"]),
        (br#"m a"b=1,a\"b=2 1"#, ["+", "+", "+", "W05"]),
        (b"m f=1.,f=2.5 1", ["+", "+", "E09", "E09"]),
    ] {
        for (target, expected) in Target::ALL.into_iter().zip(expected) {
            assert_eq!(expected, verdicts(target, record), "{target:?}");
        }
    }
}

#[test]
fn many_keys_are_compared_too() {
    let fields = |n: usize| -> String { (0..n).rev().map(|i| format!("f{i}=1,")).collect() };
    let record = |n: usize, end: &str| format!("m,a=b {}{end} 1", fields(n)).into_bytes();
    assert!(passes(Target::Serverless, &record(100, "x=1")));
    assert_eq!(Rule::W05, fault(Target::V1, &record(100, "f50=1i")).rule);
    assert_eq!(Rule::W05, fault(Target::Core, &record(100, "f50=1")).rule);
    assert!(passes(Target::V1, &record(100, "f50=1")));
    assert_eq!(Rule::W13, fault(Target::Core, &record(100, "a=1")).rule);
    // One tag and the time are columns too; a field that stands there twice is one.
    assert!(passes(Target::Serverless, &record(198, "f7=1")));
    assert_eq!(
        Rule::W16,
        fault(Target::Serverless, &record(198, "x=1")).rule
    );
    assert!(passes(Target::Core, &record(497, "x=1")));
    assert_eq!(Rule::W16, fault(Target::Core, &record(498, "x=1")).rule);
    assert!(passes(Target::V1, &record(3000, "x=1")));
}

#[test]
fn a_time_is_missed_only_where_it_is_required() {
    let mut validator = Validator::new(Target::V1).require_time();
    assert_eq!(Rule::W11, validator.check(b"m f=1\n").unwrap_err().rule);
    assert_eq!(
        Rule::W11,
        validator.check(b"m f=\"x 1\"\n").unwrap_err().rule
    );
    assert_eq!(Ok(()), validator.check(b"m f=1 1\n"));
    assert_eq!(Ok(()), validator.check(b"# comment\n"));
}

#[test]
fn what_respelling_mends_passes_if_it_will_be_respelled() {
    for record in [
        &b"m f=1.,g=-.5 1"[..],
        b"m f=1 ",
        b"\0m \tf=1 \t1",
        b"m f=1.e5 \0",
    ] {
        assert!(!passes(Target::Core, record));
        assert_eq!(
            Ok(()),
            Validator::new(Target::Core).respelled().check(record)
        );
    }
}

#[test]
fn measurements_and_field_keys_for_1x_are_utf8() {
    assert_eq!(Rule::W06, fault(Target::V1, b"m\xff f=1 1").rule);
    assert_eq!(Rule::W06, fault(Target::V1, b"m f\xff=1 1").rule);
    assert!(passes(Target::V1, b"m,\xff=\xff f=\"\xff\" 1"));
    assert!(passes(Target::V2, b"m\xff f\xff=\"\xff\" 1"));
}
