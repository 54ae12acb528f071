//! The look at plain records against the rules.

use proptest::prelude::*;

use super::shape::Shape;
use super::*;
use crate::lp::dialect::{self, Respelled};

fn plain_time(record: &[u8]) -> Option<i64> {
    let known = Plain::default().look(record::body(record))?;
    assert_eq!(None, known.odd_series);
    Some(known.time)
}

/// Whether a record is plain. If it is, all rules let it pass, it has that time, and nothing is to be respelled.
fn holds(record: &[u8]) -> bool {
    let time = plain_time(record);
    if let Some(time) = time {
        assert_eq!(record::Time::At(time), record::time(record));
        let mut out = Vec::new();
        match dialect::to_v3(record, &mut out) {
            Ok(Respelled::Unchanged) => assert!(out.is_empty()),
            Ok(Respelled::Written) => assert_eq!(record, out),
            Err(fault) => panic!("{fault}"),
        }
        for target in Target::ALL {
            let verdict = Validator::new(target).require_time().careful(record);
            assert_eq!(
                Ok(()),
                verdict,
                "{} for {target:?}",
                bstr::BStr::new(record)
            );
        }
    }
    time.is_some()
}

#[test]
fn what_exporters_print_is_plain() {
    for record in [
        "cpu,host=a usage_user=1.5,usage_idle=97i 1577836800000000000\n",
        "cpu,dc=eu,host=a.b-c_d/1 b=t,a=-0.25,c=1e+06,d=1.5E-7,e=\"x y, z=\n\" 1\n",
        "disk usage=0 -9223372036854775806",
        "my\\ m,a\\=b\\ c=\\,d f\\ =\"say \\\"hi\\\"\\n\\\\\" 1",
        "m,b=1,a=2 d=1,c=1 1",
        "m,stadt=Köln f=\"é\" 1",
        "m f=0.00012345678901234567,g=123456789012345680000 1",
    ] {
        assert!(holds(record.as_bytes()), "{record}");
    }
}

#[test]
fn what_is_not_plain_is_left_to_the_rules() {
    for record in [
        "",
        "#m f=1 1",
        "m f=1",
        "m f=1 ",
        "m f=1 1 ",
        " m f=1 1",
        "m f=1. 1",
        "m f=1u 1",
        "m f=1,f=2 1",
        "m f=1,g=2,f=3 1",
        "m g=1,f=2,g=3 1",
        "m,f=1 f=1 1",
        "m,f=1 z=1,f=1 1",
        "m,a=1,a=2 f=1 1",
        "m time=1 1",
        "m,_field=1 f=1 1",
        "m f=1e400 1",
        "m f=1e308 1",
        "m f=1 9223372036854775807",
        "m f=1 -9223372036854775807",
        "m f=9223372036854775808i 1",
        "m f=1234567890123456789i 1",
        "m\\=x f=1 1",
        "m,t=a\\b f=1 1",
        "m,t=a\\\\ f=1 1",
        "m f\\\\=1 1",
        "m a\\\"b=1 1",
        "m,t=a\\",
        "m f=\"x\\\" 1",
        "m f=\"x\"y 1",
        "m f=1 1\r",
    ] {
        assert!(!holds(record.as_bytes()), "{record}");
    }
    assert!(!holds(b"m\xff f=1 1"));
}

#[test]
fn the_table_keeps_all_rules() {
    for (body, _) in rows::ALL.concat() {
        entries(body).into_iter().for_each(|record| {
            holds(record);
        });
    }
}

/// A record that has much in common with others.
fn similar() -> impl Strategy<Value = String> {
    let series = prop::sample::select(
        &[
            "m",
            "m,a=1",
            "m,a=1,b=2",
            "m,a=é",
            "m,b=1,a=2",
            "m,a=1\\ ",
            "m,a=3,b=4\\=",
            "n,a=1",
            "m,a=1,a=2",
            "m,a=",
            "m,a=1,b=x,c=2",
        ][..],
    );
    let key = prop::sample::select(&["b", "c", "d", "dd", "d\\=", "é", "f", "time"][..]);
    let value =
        prop::sample::select(&["1", "-2.5", "3i", "t", "\"x y\"", "\"é\"", "1.", "", "\"x"][..]);
    let time = prop::sample::select(
        &[
            " 1",
            " 1577836800000000000",
            " 9223372036854775807",
            "",
            " 1 ",
        ][..],
    );
    let fields = proptest::collection::vec((key, value), 1..5);
    (series, fields, time).prop_map(|(series, fields, time)| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!("{series} {}{time}", fields.join(","))
    })
}

#[test]
fn what_one_record_shows_of_the_next_one_is_used() {
    let shape = |record: &str| {
        let mut shape = Shape::default();
        assert!(shape.learn(record.as_bytes()).is_some());
        shape
    };
    let first = shape("m,s=b,t=a f=1,g=2,h=3 1");
    for record in [
        "m,s=b,t=a f=2.5,g=-1i,h=\"x\" 2",
        "m,s=b,t=a g=2 -3",
        "m,s=b,t=a f=t,h=4 5",
    ] {
        assert!(first.of_series(record.as_bytes()).is_some(), "{record}");
        assert!(
            first.of_measurement(record.as_bytes()).is_some(),
            "{record}"
        );
    }
    for record in ["m,s=c,t=d\\ e f=1,h=1 2", "m,t=a h=3 4"] {
        assert_eq!(None, first.of_series(record.as_bytes()), "{record}");
        assert!(
            first.of_measurement(record.as_bytes()).is_some(),
            "{record}"
        );
    }
    for record in [
        "m,s=b,t=a f=1,f=2 1",
        "m,s=b,t=a g=1,f=2 1",
        "m,s=b,t=a h=1,h=1 1",
        "m,s=b,t=a f=1,i=1 1",
        "m,s=b,s=b f=1 1",
        "m,u=b f=1 1",
        "n,s=b,t=a f=1 1",
        "m f=1 1",
    ] {
        assert_eq!(None, first.of_series(record.as_bytes()), "{record}");
        assert_eq!(None, first.of_measurement(record.as_bytes()), "{record}");
    }
}

/// A record of a series that is not plain, or nearly not.
fn odd() -> impl Strategy<Value = Vec<u8>> {
    let series = prop::sample::select(
        &[
            r"m,a=C:\dir",
            r"m,a=C:\dir,b=1",
            r"m,a=x\\y",
            r"m,a=x\\",
            r"m,a=x\\ y",
            r"m,a=x\\\ y",
            r"m\=x,a=1",
            "m,a=\"q",
            r#"m,a=\"q,c==1"#,
            " m,a=C:\\dir",
            "m,_field=1",
            "m,time=\\x",
            "m,d=\\x",
            "m,a=\tx",
            "m,a=1\\\nx",
            "m\\",
        ][..],
    );
    let gap = prop::sample::select(&[" ", " ", " ", "  ", " \t"][..]);
    let key = prop::sample::select(&["c", "c", "d", "d", "e", r"e\ f", "g\"", "\tg", "time"][..]);
    let value = prop::sample::select(
        &[
            "1",
            "-2.5",
            "3i",
            "4u",
            "t",
            "\"x y\"",
            "\"\\\"a=\n\\\\\"",
            "1.",
            "\"x",
            "\"x\\ y\"",
        ][..],
    );
    let time = prop::sample::select(&[" 1", " 1", " 1577836800000000000", "", " 1 ", " -1\r"][..]);
    let fields = proptest::collection::vec((key, value), 1..4);
    (series, gap, fields, time).prop_map(|(series, gap, fields, time)| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!("{series}{gap}{}{time}", fields.join(",")).into_bytes()
    })
}

#[test]
fn a_series_is_judged_once() {
    for (first, second) in [
        (r"m,a=C:\dir f=1,g=2 1", r"m,a=C:\dir f=2,g=3 4"),
        (r"m,a=C:\dir f=1.,g=2 1", r#"m,a=C:\dir g="x y" 4"#),
        (r"m\=x,a=x\\y f=1 1", r"m\=x,a=x\\y f=t 4"),
    ] {
        let mut validator = Validator::new(Target::V1);
        assert_eq!(None, validator.known(second.as_bytes()));
        validator.check(first.as_bytes()).unwrap();
        let known = validator.known(second.as_bytes());
        assert_eq!(
            Some((4, first.find(' ').map(|at| at + 1))),
            known.map(|known| (known.time, known.odd_series))
        );
    }
    // The servers would look for quotes behind the first space here, which Go takes for a part of the tag.
    let mut validator = Validator::new(Target::V1);
    validator.check(br"m,a=x\\ y f=1 1").unwrap();
    assert_eq!(None, validator.known(br"m,a=x\\ y f=1 1"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn what_is_remembered_makes_no_difference(
        records in proptest::collection::vec(prop_oneof![4 => similar().prop_map(String::into_bytes), 1 => generate::body()], 1..12)
    ) {
        let mut plain = Plain::default();
        for record in records {
            prop_assert_eq!(plain_time(&record), plain.look(record::body(&record)).map(|known| known.time));
        }
    }

    #[test]
    fn plain_records_keep_all_rules(body in generate::body()) {
        entries(&body).into_iter().for_each(|record| {
            holds(record);
        });
    }

    #[test]
    fn what_was_judged_makes_no_difference(
        records in proptest::collection::vec(prop_oneof![8 => odd(), 1 => generate::body()], 1..12),
        respelled in any::<bool>(),
    ) {
        for target in Target::ALL {
            let new = || {
                let validator = Validator::new(target).require_time();
                if respelled { validator.respelled() } else { validator }
            };
            let mut validator = new();
            for record in &records {
                prop_assert_eq!(new().careful(record), validator.check(record), "{:?}", bstr::BStr::new(record));
            }
        }
    }

    #[test]
    fn nearly_plain_records_keep_all_rules(
        tags in proptest::collection::vec("[abf]{1,2}", 0..4),
        fields in proptest::collection::vec(("[abfT]{1,2}|time|_field", "-?[0-9]{1,20}([0-9]{20,25})?(\\.([0-9]{0,3}|[0-9]{18,45}))?(e[+-]?[0-9]{1,3})?[iu]?|t|FALSE|\"[^\"]{0,3}\""), 1..5),
        time in "-?[0-9]{0,20}",
    ) {
        let tags: String = tags.iter().map(|tag| format!(",{tag}=x")).collect();
        let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}={value}")).collect();
        holds(format!("m{tags} {} {time}", fields.join(",")).as_bytes());
    }
}
