//! The schema from indexes alone, and what InfluxDB 3 would refuse of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lineflow::lp::escape::{Place, decode};
use lineflow::lp::{Context, Entry, Event, Reader, Stream, record};

use crate::forge::{Value, tsm, wal};
use crate::harness::{Ran, fixture_arg, points, program, run, scratch};

fn cat(args: &[&str]) -> Ran {
    run(b"", &[&["tsm-cat"], args].concat())
}

fn root() -> String {
    fixture_arg("influxdb-1.6")
}

fn cells(ran: &Ran) -> Vec<Vec<String>> {
    // Names need not be UTF-8.
    let text = String::from_utf8_lossy(&ran.stdout);
    let row = |line: &str| line.split('\t').map(str::to_owned).collect();
    text.lines().map(row).collect()
}

/// The rows of a schema without what stands before the measurement.
fn schema(args: &[&str]) -> Vec<String> {
    let ran = cat(&[&["--schema", "--no-header"], args].concat()).ok();
    let rows = cells(&ran).into_iter();
    rows.map(|row| row[2..].join(" ")).collect()
}

/// Database, policy, measurement, column, "tag" or "field", type.
type Key = [String; 6];

fn text(name: &[u8]) -> String {
    let mut text = Vec::new();
    lineflow::lp::context::encode(name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn decoded(place: Place, raw: &[u8]) -> String {
    let mut name = Vec::new();
    decode(place, raw, &mut name);
    text(&name)
}

fn kind(value: &[u8]) -> &'static str {
    match (value[0], value[value.len() - 1]) {
        (b'"', _) => "string",
        (_, b'i') => "integer",
        (_, b'u') => "unsigned",
        (b't' | b'f', _) => "boolean",
        _ => "float",
    }
}

/// What a stream holds: each column with the shards it is in.
fn columns(stream_text: &[u8]) -> BTreeMap<Key, BTreeSet<u64>> {
    let mut all: BTreeMap<Key, BTreeSet<u64>> = BTreeMap::new();
    let (mut reader, mut stream) = (Reader::new(stream_text, 1 << 24), Stream::default());
    loop {
        while let Some(Entry { bytes, .. }) = reader.next_entry() {
            if stream.read(bytes).unwrap() == Event::Point {
                point(bytes, stream.context(), &mut all);
            }
        }
        if !reader.fill().unwrap() {
            return all;
        }
    }
}

fn point(bytes: &[u8], context: &Context, all: &mut BTreeMap<Key, BTreeSet<u64>>) {
    let name =
        |name: &Option<bstr::BString>| name.as_ref().map_or(String::new(), |name| text(name));
    let parts = record::parts(bytes);
    let measurement = decoded(Place::Measurement, record::measurement(bytes));
    let tags = record::tags(parts.series).map(|tag| {
        let key = decoded(Place::Tag, tag.unwrap().0);
        [key, "tag".into(), "string".into()]
    });
    let fields = record::fields(parts.fields).map(|field| {
        let (key, value) = field.unwrap();
        let key = decoded(Place::Field, key);
        [key, "field".into(), kind(value).into()]
    });
    for [column, role, kind] in tags.chain(fields) {
        let key = [
            name(&context.database),
            name(&context.policy),
            measurement.clone(),
            column,
            role,
            kind,
        ];
        all.entry(key).or_default().insert(context.shard.unwrap());
    }
}

#[test]
fn a_schema_is_that_of_the_points_of_the_export() {
    for root in [root(), fixture_arg("influxdb-1.6-uint64")] {
        let selection = ["--keep-going", "--internal", &*root];
        let export = cat(&selection);
        let expected = columns(&export.stdout);
        let ran = cat(&[&selection[..], &["--schema", "--no-header"]].concat());
        let mut found = BTreeMap::new();
        for row in cells(&ran) {
            let key: Key = row[..6].to_vec().try_into().unwrap();
            let told = (
                row[6].clone(),
                row[7].clone(),
                row[8].clone(),
                row[9].clone(),
            );
            assert!(found.insert(key, told).is_none(), "{row:?}");
        }
        for (key, shards) in &expected {
            let (_, n, first, last) = &found[key];
            assert_eq!(shards.len().to_string(), *n, "{key:?}");
            let ends = [first, last].map(|id| id.parse().unwrap());
            assert!(ends.iter().all(|id| shards.contains(id)), "{key:?}");
        }
        for (key, (there, ..)) in &found {
            assert!(expected.contains_key(key) || there == "perhaps", "{key:?}");
        }
        let sure = found.values().filter(|told| told.0 == "yes").count();
        assert!(
            sure * 100 >= expected.len() * 95,
            "{sure} of {}",
            expected.len()
        );
    }
}

#[test]
fn no_block_is_read_and_damage_in_one_does_not_matter() {
    let dir = scratch();
    let summary = dir.path().join("s.json");
    let flip = fixture_arg("influxdb-1.6-broken/data/flip");
    assert_eq!(Some(65), cat(&["--no-wal", &flip]).last());
    let args = ["--no-wal", "--summary", summary.to_str().unwrap(), &flip];
    assert_eq!(
        [
            "cpu host tag string yes 1 {} {}",
            "cpu n field integer yes 1 {} {}",
            "cpu v field float yes 1 {} {}"
        ]
        .map(|row| row.replace("{}", &shard_of(&flip))),
        schema(&args)[..]
    );
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&summary).unwrap()).unwrap();
    for figure in ["blocks_read", "bytes_of_blocks_read", "points"] {
        assert_eq!(Some(0), json[figure].as_u64(), "{figure}");
    }
    // An index that is damaged does.
    let index = fixture_arg("influxdb-1.6-broken/data/index");
    assert_eq!(Some(65), cat(&["--schema", "--no-wal", &index]).last());
    assert_eq!(
        Some(1),
        cat(&["--schema", "--no-wal", "--keep-going", &index]).last()
    );
}

fn shard_of(database: &str) -> String {
    let folder = fs::read_dir(Path::new(database).join("autogen")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names.remove(0)
}

/// A root with one database and policy; shards 1, 2 and so on have these files: name and bytes, logs by their ending.
fn forged(shards: &[&[(&str, Vec<u8>)]]) -> tempfile::TempDir {
    let dir = scratch();
    for (i, files) in shards.iter().enumerate() {
        for side in ["data", "wal"] {
            fs::create_dir_all(dir.path().join(format!("{side}/db/rp/{}", i + 1))).unwrap();
        }
        for (name, bytes) in *files {
            let side = if name.ends_with(".wal") {
                "wal"
            } else {
                "data"
            };
            let path = format!("{side}/db/rp/{}/{name}", i + 1);
            fs::write(dir.path().join(path), bytes).unwrap();
        }
    }
    dir
}

const TSM: &str = "000000001-000000001.tsm";
const NEWER: &str = "000000002-000000001.tsm";
const TOMBSTONE: &str = "000000001-000000001.tombstone";
const LOG: &str = "_00001.wal";

fn series<'a>(key: &'a str, kind: u8, blocks: &'a [&'a [(i64, i64)]]) -> tsm::Series<'a> {
    tsm::Series { key, kind, blocks }
}

#[test]
fn what_is_deleted_wholly_is_gone_and_what_is_deleted_in_part_is_perhaps() {
    const BLOCKS: &[&[(i64, i64)]] = &[&[(1, 1), (2, 1), (3, 1)], &[(4, 1), (5, 1), (6, 1)]];
    let keys = [
        "gone,t=a#!~#v",
        "head,u=a#!~#v",
        "inner,w=a#!~#v",
        "outer,x=a#!~#v",
        "twice,y=a#!~#v",
    ];
    let file = tsm::file(&keys.map(|key| series(key, 1, BLOCKS)));
    let deleted = tsm::tombstone(&[
        (keys[0], i64::MIN, i64::MAX),
        (keys[1], 1, 2),
        (keys[2], 2, 2),
        // The first and the last point of each block that is left of these.
        (keys[3], 1, 4),
        (keys[3], 6, 6),
        (keys[4], 1, 3),
        (keys[4], 4, 6),
    ]);
    let mut log = wal::segment(&[
        ("logged,z=a", "v", 5, Value::Integer(1)),
        ("dropped,z=a", "v", 5, Value::Integer(1)),
        ("partly,z=a", "v", 5, Value::Integer(1)),
        ("partly,z=a", "v", 6, Value::Integer(1)),
    ]);
    log.extend(wal::delete(&["dropped,z=a#!~#v", "partly,z=a#!~#v"], 5, 5));
    let dir = forged(&[&[(TSM, file), (TOMBSTONE, deleted), (LOG, log)]]);
    let root = dir.path().to_str().unwrap();
    let expected = [
        "head u tag string yes 1 1 1",
        "head v field integer yes 1 1 1",
        "inner w tag string yes 1 1 1",
        "inner v field integer yes 1 1 1",
        "logged z tag string yes 1 1 1",
        "logged v field integer yes 1 1 1",
        "outer x tag string perhaps 1 1 1",
        "outer v field integer perhaps 1 1 1",
        "partly z tag string yes 1 1 1",
        "partly v field integer yes 1 1 1",
    ];
    assert_eq!(expected[..], schema(&[root]));
    // The point at time 5 is still there.
    let export = cat(&["-m", "outer", root]).ok();
    assert_eq!(vec![b"outer,x=a v=1i 5"], points(&export.stdout));
}

#[test]
fn an_older_type_that_may_be_overwritten_is_perhaps() {
    let key = "m#!~#v";
    let old = |kind| tsm::file(&[series(key, kind, &[&[(1, 1), (9, 1)]])]);
    let new = |time| tsm::file(&[series(key, 1, &[&[(time, 1)]])]);
    for (time, there) in [(5, "perhaps"), (10, "yes")] {
        let dir = forged(&[&[(TSM, old(0)), (NEWER, new(time))]]);
        let expected = [
            format!("m v field float {there} 1 1 1"),
            "m v field integer yes 1 1 1".to_owned(),
        ];
        assert_eq!(expected[..], schema(&[dir.path().to_str().unwrap()]));
    }
}

#[test]
fn a_schema_is_that_of_the_selection() {
    let point = |series, field, time, value| wal::segment(&[(series, field, time, value)]);
    let dir = forged(&[
        &[(LOG, point("a,t=x", "v", 10, Value::Integer(1)))],
        &[(
            LOG,
            [
                point("a,u=x", "v", 20, Value::Float(1.0)),
                point("b", "w", 20, Value::Boolean(true)),
            ]
            .concat(),
        )],
        &[(
            LOG,
            [
                point("a", "v", 30, Value::String("s")),
                point("a", "n", 30, Value::Unsigned(1)),
            ]
            .concat(),
        )],
    ]);
    let root = dir.path().to_str().unwrap();
    let all = [
        "a t tag string yes 1 1 1",
        "a u tag string yes 1 2 2",
        "a n field unsigned yes 1 3 3",
        "a v field float yes 1 2 2",
        "a v field integer yes 1 1 1",
        "a v field string yes 1 3 3",
        "b w field boolean yes 1 2 2",
    ];
    assert_eq!(all[..], schema(&[root]));
    assert_eq!(all[..6], schema(&["-m", "a", root]));
    assert_eq!([all[0], all[4]][..], schema(&["--stop", "20", root]));
    assert_eq!(
        [all[1], all[3], all[6]][..],
        schema(&["--start", "11", "--end", "20", root])
    );
    assert_eq!([all[2], all[5]][..], schema(&["--shard", "3", root]));
    let ran = cat(&["--schema", root]).ok();
    let header = "database\tpolicy\tmeasurement\tcolumn\trole\ttype\tthere\tshards\tfirst\tlast\n";
    assert!(ran.stdout.starts_with(header.as_bytes()));
    assert!(
        ran.stdout
            .ends_with(b"db\trp\tb\tw\tfield\tboolean\tyes\t1\t2\t2\n")
    );
}

#[test]
fn what_no_export_can_hold_is_in_no_schema_and_is_told() {
    let writes = [
        ("#m,t=a", "v", 1, Value::Integer(1)),
        ("m,t=a", "v\\", 1, Value::Integer(1)),
        ("m,t=a", "v", 1, Value::Integer(1)),
    ];
    let dir = forged(&[&[(LOG, wal::segment(&writes))]]);
    let ran = cat(&["--schema", "--no-header", dir.path().to_str().unwrap()]).ok();
    let rows: Vec<_> = cells(&ran).iter().map(|row| row[2..6].join(" ")).collect();
    assert_eq!(vec!["m t tag string", "m v field integer"], rows);
    for key in ["\"#m,t=a\"", "\"m,t=a#!~#v"] {
        assert!(ran.stderr.contains(key), "{}", ran.stderr);
    }
    assert!(ran.stderr.contains("not in the schema"), "{}", ran.stderr);
}

#[test]
fn wrong_usage_of_a_schema_is_2() {
    for args in [
        &["--validate", "core"][..],
        &["--schema", "--validate", "v1"],
        &["--schema", "--list"],
        &["--schema", "--compress"],
        &["--schema", "--lp-only"],
        &["--schema", "-j", "2"],
    ] {
        assert_eq!(
            Some(2),
            cat(&[args, &[&root()]].concat()).last(),
            "{args:?}"
        );
    }
}

/// Problems by measurement, column and words, each with its mend.
fn problems(target: &str, root: &str) -> Vec<(String, String)> {
    let ran = cat(&["--schema", "--no-header", "--validate", target, root]);
    let rows = cells(&ran);
    let status = if rows.is_empty() { 0 } else { 1 };
    assert_eq!(Some(status), ran.last(), "{}", ran.stderr);
    let rows = rows.into_iter();
    rows.map(|row| (row[2..5].join(" "), row[5].clone()))
        .collect()
}

/// Run a stream through lp-filter with options as a shell reads them.
fn mended(stream: &[u8], mend: &str) -> Vec<u8> {
    let command = format!("exec {} {mend}", program("lp-filter"));
    run(stream, &["sh", "-c", &command]).ok().stdout.into()
}

/// What a bucket would refuse of these streams together, by rules of the test's own.
fn conflicts(streams: &[Vec<u8>]) -> Vec<String> {
    let mut types: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for key in streams
        .iter()
        .flat_map(|stream| columns(stream).into_keys())
    {
        let [_, _, measurement, column, role, kind] = key;
        types
            .entry((measurement, column))
            .or_default()
            .insert(role + " " + &kind);
    }
    let mut widths: BTreeMap<&String, usize> = BTreeMap::new();
    types
        .keys()
        .for_each(|(table, _)| *widths.entry(table).or_insert(1) += 1);
    let wide = widths
        .iter()
        .filter(|(_, width)| **width > 200)
        .map(|(table, _)| format!("{table} is wide"));
    let many = (widths.len() > 500).then(|| "too many tables".to_owned());
    let clash = types
        .iter()
        .filter(|(_, types)| types.len() > 1)
        .map(|(key, types)| format!("{key:?} {types:?}"));
    let time = types
        .keys()
        .filter(|(_, column)| column == "time")
        .map(|(table, _)| format!("{table} time"));
    clash.chain(time).chain(wide).chain(many).collect()
}

#[test]
fn types_roles_and_reserved_names_are_told_and_mended() {
    let segment = |writes: &[(&str, &str, i64, Value<'_>)]| wal::segment(writes);
    let dir = forged(&[
        &[(
            LOG,
            segment(&[
                ("cpu,host=a", "n", 1, Value::Integer(5)),
                ("cpu,host=a", "state", 1, Value::Integer(5)),
                ("cpu,host=a", "fine", 1, Value::Float(0.5)),
                ("disk.io*,path=a", "path", 1, Value::String("x")),
                ("disk.io*,path=a", "a.b=c", 1, Value::Boolean(true)),
                ("odd\\ one,time=x", "time", 1, Value::Float(1.0)),
            ]),
        )],
        &[(
            LOG,
            segment(&[
                ("cpu,host=a", "n", 2, Value::Float(1.5)),
                ("cpu,host=a", "state", 2, Value::String("up")),
                ("disk.io*,path=a", "a.b=c", 2, Value::Integer(7)),
                ("disk.io2,path=a", "a.b=c", 2, Value::Boolean(false)),
            ]),
        )],
    ]);
    let root = dir.path().to_str().unwrap();
    let expected = [
        (
            "cpu n float in 1 shard, integer in 1 shard",
            "--cast 'cpu.n=float'",
        ),
        (
            "cpu state integer in 1 shard, string in 1 shard",
            "--cast 'cpu.state=string'",
        ),
        (
            "disk.io* a.b%3Dc integer in 1 shard, boolean in 1 shard",
            r"--cast 'disk\.io\*.a\.b\=c=integer'",
        ),
        (
            "disk.io* path is tag and field",
            r"--rename-field 'disk\.io\*.path=path_field'",
        ),
        (
            "odd one time a tag cannot be called time (rename it)",
            "--rename-tag 'odd one.time=time_tag'",
        ),
        (
            "odd one time a field called time is dropped or refused (rename it)",
            "--rename-field 'odd one.time=time_field'",
        ),
    ];
    let expected = expected.map(|(what, mend)| (what.to_owned(), mend.to_owned()));
    for target in ["serverless", "core"] {
        assert_eq!(expected[..], problems(target, root));
    }
    let export: Vec<u8> = cat(&[root]).ok().stdout.into();
    let mends: Vec<_> = expected.iter().map(|(_, mend)| mend.as_str()).collect();
    // A tag and a field called time are a clash besides.
    assert_eq!(6, conflicts(std::slice::from_ref(&export)).len());
    // Each takes its own problem away, and all together leave none.
    for mend in &mends {
        let after = conflicts(&[mended(&export, mend)]);
        assert_eq!(5, after.len(), "{mend}: {after:?}");
    }
    let all = mended(&export, &mends.join(" "));
    assert_eq!(Vec::<String>::new(), conflicts(std::slice::from_ref(&all)));
    assert_eq!(points(&export).len(), points(&all).len());
    for target in ["serverless", "core"] {
        run(&all, &["lp-filter", "--validate", target]).ok();
    }
}

#[test]
fn a_field_can_be_renamed_and_cast_at_once() {
    let write = |value| wal::segment(&[("m,x=a", "x", 1, value)]);
    let dir = forged(&[
        &[(LOG, write(Value::Boolean(true)))],
        &[(LOG, write(Value::Float(0.5)))],
    ]);
    let root = dir.path().to_str().unwrap();
    let found = problems("serverless", root);
    let mends: Vec<_> = found.iter().map(|(_, mend)| mend.as_str()).collect();
    assert_eq!(
        vec!["--rename-field 'm.x=x_field'", "--cast 'm.x=float'"],
        mends
    );
    let export: Vec<u8> = cat(&[root]).ok().stdout.into();
    let all = mended(&export, &mends.join(" "));
    assert_eq!(Vec::<String>::new(), conflicts(std::slice::from_ref(&all)));
}

#[test]
fn a_name_that_core_keeps_for_itself_is_told() {
    let dir = forged(&[&[(
        LOG,
        wal::segment(&[("m", "__chunk_order", 1, Value::Integer(5))]),
    )]]);
    let root = dir.path().to_str().unwrap();
    assert!(problems("serverless", root).is_empty());
    let [(what, mend)] = &problems("core", root)[..] else {
        panic!()
    };
    assert!(
        what.starts_with("m __chunk_order InfluxDB 3 keeps"),
        "{what}"
    );
    let export: Vec<u8> = cat(&[root]).ok().stdout.into();
    run(&mended(&export, mend), &["lp-filter", "--validate", "core"]).ok();
}

#[test]
fn a_table_that_is_too_wide_is_parted_into_several_that_hold_it_all() {
    let fields: Vec<_> = (0..450).map(|i| format!("f{i:03}")).collect();
    let mut writes: Vec<_> = fields
        .iter()
        .map(|field| ("wide,a=1,b=2", &**field, 7, Value::Integer(1)))
        .collect();
    writes.push(("narrow", "v", 7, Value::Integer(1)));
    writes.push(("wide_2", "v", 7, Value::Integer(1)));
    let dir = forged(&[&[(LOG, wal::segment(&writes))]]);
    let root = dir.path().to_str().unwrap();
    assert!(problems("core", root).is_empty());
    let found = problems("serverless", root);
    let words = "wide  453 columns with time, and serverless allows 200: part 1 of 3";
    assert_eq!((3, words), (found.len(), &*found[0].0));
    let export: Vec<u8> = cat(&[root]).ok().stdout.into();
    assert_eq!(
        vec!["wide is wide"],
        conflicts(std::slice::from_ref(&export))
    );
    let mut parts: Vec<_> = found
        .iter()
        .map(|(_, mend)| mended(&export, mend))
        .collect();
    parts.push(mended(&export, "-v -m wide"));
    assert_eq!(Vec::<String>::new(), conflicts(&parts));
    let fields = |streams: &[Vec<u8>]| {
        let keys = streams
            .iter()
            .flat_map(|stream| columns(stream).into_keys());
        let fields = keys
            .filter(|key| key[4] == "field")
            .map(|key| key[3].clone());
        let mut fields: Vec<_> = fields.collect();
        fields.sort();
        fields
    };
    assert_eq!(fields(&[export]), fields(&parts));
}

#[test]
fn too_many_tables_are_parted_into_several_buckets() {
    let tables: Vec<_> = (0..501).map(|i| format!("m{i}")).collect();
    let writes: Vec<_> = tables
        .iter()
        .map(|table| (&**table, "v", 7, Value::Integer(1)))
        .collect();
    let dir = forged(&[&[(LOG, wal::segment(&writes))]]);
    let root = dir.path().to_str().unwrap();
    assert!(problems("core", root).is_empty());
    let found = problems("serverless", root);
    let words = "  501 tables, and serverless allows 500 a bucket: part 1 of 2";
    assert_eq!((2, words), (found.len(), &*found[0].0));
    let export: Vec<u8> = cat(&[root]).ok().stdout.into();
    let parts: Vec<_> = found
        .iter()
        .map(|(_, mend)| mended(&export, mend))
        .collect();
    let sizes: Vec<_> = parts.iter().map(|part| points(part).len()).collect();
    assert_eq!(vec![500, 1], sizes);
    for part in &parts {
        assert!(conflicts(std::slice::from_ref(part)).is_empty());
    }
}

#[test]
fn what_a_real_server_took_is_told_for_influxdb_3() {
    let typeconf = problems("serverless", &fixture_arg("influxdb-1.6/data/typeconf"));
    assert_eq!(1, typeconf.len(), "{typeconf:?}");
    assert!(
        typeconf[0].1.starts_with("--cast ") && typeconf[0].1.ends_with("=string'"),
        "{typeconf:?}"
    );
    let weird = problems("serverless", &fixture_arg("influxdb-1.6/data/weird"));
    assert!(
        weird
            .iter()
            .any(|(what, _)| what.contains("columns with time")),
        "{weird:?}"
    );
    assert!(problems("serverless", &fixture_arg("influxdb-1.6/data/overlap")).is_empty());
}
