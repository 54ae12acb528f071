//! Each way in which a storage file can be damaged: one line that says where and what, and what is left besides.

use std::fs;
use std::path::Path;

use crate::forge::{Block, Value, hex, segment, tsm};
use crate::harness::{Ran, points, run, scratch};

/// 2020-09-13T12:26:40Z, where the vectors begin.
const T: i64 = 1_600_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn block(max: i64, payload: &str) -> Block {
    Block {
        min: T,
        max,
        payload: hex(payload),
    }
}

/// 1.5, 1.5, 2 at T, ten and twenty seconds later.
const FLOATS: &str = "000b2a16345785d8a000000103103ff80000000000006133fff17dffc0000000000008";
/// 7 at T.
const INTEGER: &str = "01091c16345785d8a0000010000000000000000e";

/// The file with a good key before and behind a bad one.
fn file(code: u8, bad: Vec<Block>) -> Vec<u8> {
    tsm(&[
        (b"a#!~#v", 1, vec![block(T, INTEGER)]),
        (b"m#!~#bad", code, bad),
        (b"z#!~#v", 1, vec![block(T, INTEGER)]),
    ])
}

fn cat(args: &[&str], path: &Path) -> Ran {
    run(
        b"",
        &[&["tsm-cat"], args, &[path.to_str().unwrap()]].concat(),
    )
}

fn text(ran: &Ran) -> Vec<String> {
    let all = points(&ran.stdout).into_iter();
    all.map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

const BOTH: [&str; 2] = ["a v=7i 1600000000000000000", "z v=7i 1600000000000000000"];

/// One line names the file, and what else is asked for; what is left is left with 1.
#[track_caller]
fn assert_damage(path: &Path, what: &[&str], left: &[&str]) {
    let ran = cat(&[], path);
    assert_eq!(Some(65), ran.last(), "{what:?}: {}", ran.stderr);
    assert!(
        ran.stdout.ends_with(b"# STREAM-FAILED status:65\n"),
        "{what:?}"
    );
    let said: Vec<_> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("offset "))
        .collect();
    assert_eq!(1, said.len(), "{}", ran.stderr);
    let name = path.file_name().unwrap().to_str().unwrap();
    for part in what.iter().chain(&[name]) {
        assert!(said[0].contains(part), "{part}: {}", said[0]);
    }
    let ran = cat(&["--keep-going"], path);
    assert_eq!(Some(1), ran.last(), "{what:?}: {}", ran.stderr);
    assert_eq!(left, text(&ran), "{what:?}");
    assert!(ran.stdout.ends_with(b" left-out:1\n"), "{what:?}");
    assert!(
        ran.stderr.contains("1 damaged parts left out"),
        "{what:?}: {}",
        ran.stderr
    );
}

/// Blocks that cannot be read: type by the index, payload, and what is said.
const BLOCKS: &[(u8, &str, &str)] = &[
    (0, "090b2a16345785d8a0000001031000", "unknown block type 9"),
    (0, "00ffffffffffffffffff7f", "larger than 64 bits"),
    (0, "0000", "missing"),
    (0, "00ff01001000", "missing"),
    // Times: raw with a byte too many, packed words cut, unknown encoding, RLE cut.
    (1, "01020000100000000000000000", "byte"),
    (1, "010a10000000000000000000000010", "1 bytes too many"),
    (
        1,
        "0109f016345785d8a0000010000000000000000e",
        "unknown encoding 15",
    ),
    (1, "01032a163410000000000000000e", "missing"),
    // A run of 2^40, of 2^62 and of 2^64-1 times, with integers that are a run of as many.
    (
        1,
        "01102016345785d8a00000018080808080802020000000000000000000808080808020",
        "points",
    ),
    (
        1,
        "01132016345785d8a00000018080808080808080402000000000000000000080808080808080804000",
        "points",
    ),
    (
        1,
        "01142016345785d8a0000001ffffffffffffffffff01200000000000000000ffffffffffffffffff01",
        "points",
    ),
    // Integers: unknown encoding, words cut, none at all, one too many.
    (
        1,
        "01091c16345785d8a00000f0000000000000000e",
        "unknown encoding 15",
    ),
    (1, "01091c16345785d8a00000100000000000000e", "missing"),
    (1, "01091c16345785d8a00000", "missing"),
    (
        1,
        "01091c16345785d8a0000000000000000000000e000000000000000e",
        "1 timestamps",
    ),
    // Floats: shorter than the first one, no end, unknown encoding.
    (0, "000b2a16345785d8a000000103103ff8000000", "missing"),
    (0, "000b2a16345785d8a000000103103ff8000000000000", "missing"),
    (
        0,
        "000b2a16345785d8a000000103f03ff80000000000006133fff17dffc0000000000008",
        "unknown encoding 15",
    ),
    // Booleans: more than there are bits, and less than there are times.
    (
        2,
        "020b2916345785d8a000000102108002",
        "256 values for 2 timestamps",
    ),
    (
        2,
        "020b2916345785d8a000000102100180",
        "1 values for 2 timestamps",
    ),
    // Strings: a claim of 4 GiB, a copy from before the start, a length behind the end.
    (
        3,
        "03091c16345785d8a0000010ffffffff0f00",
        "compressed bytes claim to hold 4294967295",
    ),
    (
        3,
        "03091c16345785d8a00000100601ff05",
        "refers 255 bytes back",
    ),
    (3, "03091c16345785d8a000001006140968656c6c6f", "missing"),
];

#[test]
fn a_block_that_cannot_be_read_is_one_line_and_costs_itself_only() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let mut wrong = String::new();
    for (code, payload, what) in BLOCKS {
        fs::write(&path, file(*code, vec![block(T + 20 * SECOND, payload)])).unwrap();
        let ran = cat(&[], &path);
        match ran.last() == Some(65) && ran.stderr.contains(what) {
            true => assert_damage(&path, &["key \"m#!~#bad\": offset "], &BOTH),
            false => wrong += &format!("{payload} ({what}): {}{}\n", ran.stderr, ran.stdout),
        }
    }
    assert_eq!("", wrong);
}

#[test]
fn a_block_that_does_not_match_its_checksum_or_its_times_is_damage() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let good = file(0, vec![block(T + 20 * SECOND, FLOATS)]);
    let mut flipped = good.clone();
    // Behind the block of 24 bytes, type and length of the times.
    flipped[5 + 24 + 20] ^= 1;
    fs::write(&path, &flipped).unwrap();
    assert_damage(&path, &["offset 29: checksum does not match"], &BOTH);
    fs::write(&path, file(0, vec![block(T + 19 * SECOND, FLOATS)])).unwrap();
    assert_damage(
        &path,
        &["block has a point at time 1600000020000000000"],
        &BOTH,
    );
    // Less than the index says is what 1.7.0 wrote: told, and believed. So is another type.
    for (code, max, said) in [(0, 21, "block holds times"), (1, 20, "block of type float")] {
        fs::write(&path, file(code, vec![block(T + max * SECOND, FLOATS)])).unwrap();
        let ran = cat(&[], &path).ok();
        assert_eq!(5, text(&ran).len());
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[test]
fn an_entry_of_the_index_that_cannot_be_right_costs_its_block() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let good = file(0, vec![block(T + 20 * SECOND, FLOATS)]);
    let key = good
        .windows(8)
        .rposition(|bytes| bytes == b"m#!~#bad")
        .unwrap();
    let entry = key + 8 + 3;
    let cases: [(usize, Vec<u8>, &str); 8] = [
        (0, i64::MAX.to_be_bytes().into(), "reaches from time"),
        (8, i64::MIN.to_be_bytes().into(), "reaches from time"),
        (16, vec![0xff; 8], "is at 18446744073709551615"),
        (16, 4u64.to_be_bytes().into(), "is at 4"),
        (16, 1_000_000u64.to_be_bytes().into(), "is at 1000000"),
        (16, 30u64.to_be_bytes().into(), "is at 30 where 29 is next"),
        (24, 5u32.to_be_bytes().into(), "a block of 5 bytes"),
        (24, vec![0xff; 4], "a block of 4294967295 bytes"),
    ];
    for (at, bytes, what) in cases {
        let mut bad = good.clone();
        bad[entry + at..entry + at + bytes.len()].copy_from_slice(&bytes);
        fs::write(&path, &bad).unwrap();
        let ran = cat(&[], &path);
        assert_eq!(Some(65), ran.last(), "{what}: {}", ran.stderr);
        let place = format!("key \"m#!~#bad\": offset {entry}: ");
        assert!(
            ran.stderr.contains(what) && ran.stderr.contains(&place),
            "{what}: {}",
            ran.stderr
        );
        let ran = cat(&["--keep-going"], &path);
        assert_eq!(Some(1), ran.last());
        // A block that does not follow the one before may have taken the place of the next.
        assert!(
            text(&ran).contains(&BOTH[0].to_owned()),
            "{what}: {:?}",
            text(&ran)
        );
    }
}

#[test]
fn a_file_whose_frame_or_index_is_damaged_is_left_out_as_a_whole() {
    let dir = scratch();
    let other = dir.path().join("000000001-000000001.tsm");
    let path = dir.path().join("000000002-000000001.tsm");
    fs::write(&other, file(0, vec![block(T + 20 * SECOND, FLOATS)])).unwrap();
    let good = file(1, vec![block(T, INTEGER)]);
    let index = u64::from_be_bytes(good[good.len() - 8..].try_into().unwrap()) as usize;
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    let footer = |offset: u64| with(good.len() - 8, &offset.to_be_bytes());
    let mut longer = good.clone();
    longer.splice(good.len() - 8..good.len() - 8, [0; 9]);
    for (bytes, what) in [
        (vec![], "offset 0: 5 bytes are missing"),
        (good[..12].to_vec(), "missing"),
        (with(0, b"x"), "not a TSM file"),
        (with(4, &[2]), "unknown TSM version 2"),
        (footer(4), "index is at 4"),
        (footer(good.len() as u64 - 8), "index is at"),
        (footer(u64::MAX), "index is at 18446744073709551615"),
        (good[..good.len() - 8].to_vec(), "index is at"),
        (good[..index].to_vec(), "offset "),
        (with(index, &[0xff, 0xff]), "missing"),
        (with(index, &[0, 0]), "key of 0 bytes"),
        (with(index + 2 + 6 + 1, &[0, 0]), "key without blocks"),
        (with(index + 2 + 6 + 1, &[0xff, 0xff]), "missing"),
        (with(index + 2, b"n"), "not greater than the one before"),
        (longer, "key of 0 bytes"),
    ] {
        fs::write(&path, &bytes).unwrap();
        let ran = cat(&["--no-wal"], dir.path());
        assert_eq!(Some(65), ran.last(), "{what}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("000000002-000000001.tsm: offset ") && ran.stderr.contains(what),
            "{what}: {}",
            ran.stderr
        );
        assert_eq!(0, points(&ran.stdout).len(), "{what}");
        let ran = cat(&["--no-wal", "--keep-going"], dir.path());
        assert_eq!(Some(1), ran.last(), "{what}: {}", ran.stderr);
        assert_eq!(5, text(&ran).len(), "{what}");
        assert!(ran.stdout.ends_with(b" left-out:1\n"), "{what}");
    }
}

#[test]
fn a_segment_that_is_damaged_costs_what_follows_in_it() {
    let dir = scratch();
    let path = dir.path().join("_00001.wal");
    let one = |key: &'static [u8]| segment(&[(key, Value::Integer(7), T)]);
    let raw = |code: u8, body: &[u8]| {
        let packed = snap::raw::Encoder::new().compress_vec(body).unwrap();
        [&[code], &(packed.len() as u32).to_be_bytes()[..], &packed].concat()
    };
    let group = |code: u8, count: u32| {
        [&[code, 0, 6][..], b"k#!~#v", &count.to_be_bytes(), &[0; 40]].concat()
    };
    for (entry, what) in [
        (vec![9, 0, 0, 0, 1, 0], "unknown entry type 9"),
        (
            vec![1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff],
            "compressed data does not begin with a length",
        ),
        (
            vec![1, 0, 0, 0, 4, 4, 0, b'a', 1],
            "compressed data ends early",
        ),
        (
            vec![1, 0xff, 0xff, 0xff, 0xff, 1, 0],
            "compressed bytes claim",
        ),
        (raw(1, &group(9, 1)), "unknown value type 9"),
        (raw(1, &group(1, u32::MAX)), "4294967295 values in 40 bytes"),
        (raw(1, &group(4, 1 << 28)), "268435456 values in 40 bytes"),
        (raw(1, &[2, 0xff, 0xff, b'x']), "missing"),
        (raw(3, &[0; 15]), "missing"),
        (raw(3, &[&[0; 16][..], &[0xff; 4]].concat()), "missing"),
    ] {
        fs::write(&path, [one(b"a#!~#v"), entry, one(b"z#!~#v")].concat()).unwrap();
        let ran = cat(&[], &path);
        assert!(ran.stderr.contains(what), "{what}: {}", ran.stderr);
        let at = format!("offset {}: ", one(b"a#!~#v").len());
        assert_damage(&path, &[&at], &BOTH[..1]);
    }
    // What a crash leaves is told and is no damage: a torn entry at the end, zeros between entries and behind them.
    let torn = &one(b"z#!~#v")[..20];
    for (bytes, said, left) in [
        ([&one(b"a#!~#v"), torn].concat(), "last entry is torn", 1),
        (
            [&one(b"a#!~#v"), &[0; 20][..], &one(b"z#!~#v")].concat(),
            "20 zero bytes between entries",
            2,
        ),
        (
            [&one(b"a#!~#v"), &[0; 4096][..]].concat(),
            "4096 zero bytes at the end",
            1,
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        let ran = cat(&[], &path).ok();
        assert_eq!(BOTH[..left], text(&ran)[..]);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
}

#[test]
fn tombstones_that_are_damaged_cost_their_file_and_never_bring_points_back() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let tombstone = dir.path().join("000000001-000000001.tombstone");
    fs::write(&path, file(0, vec![block(T + 20 * SECOND, FLOATS)])).unwrap();
    let record = |len: u32, key: &[u8]| {
        [
            &len.to_be_bytes()[..],
            key,
            &i64::MIN.to_be_bytes(),
            &i64::MAX.to_be_bytes(),
        ]
        .concat()
    };
    let with = |version: u8, body: &[u8]| [&[0, 0, 0x15, version][..], body].concat();
    let good = record(6, b"z#!~#v");
    let packed = crate::harness::gzip(&good);
    for (bytes, what) in [
        (with(2, &good[..good.len() - 1]), "ends inside a record"),
        (with(2, &record(u32::MAX, b"")), "key of 4294967295 bytes"),
        (
            with(4, &crate::harness::gzip(&record(u32::MAX, b""))),
            "key of 4294967295 bytes",
        ),
        (with(4, &packed[..packed.len() / 2]), "ends inside a record"),
        (with(4, b"garbage"), "no gzip data"),
        (with(9, &good), "unknown tombstone version 9"),
        (b"\0\0\0\0".to_vec(), "neither a tombstone header nor a key"),
        (b"z#!~#v".to_vec(), "ends inside a record"),
    ] {
        fs::write(&tombstone, &bytes).unwrap();
        let ran = cat(&["--no-wal"], dir.path());
        assert_eq!(Some(65), ran.last(), "{what}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(".tombstone: offset ") && ran.stderr.contains(what),
            "{what}: {}",
            ran.stderr
        );
        let ran = cat(&["--no-wal", "--keep-going"], dir.path());
        assert_eq!(
            (Some(1), 0),
            (ran.last(), points(&ran.stdout).len()),
            "{what}"
        );
    }
    for (bytes, left) in [
        (with(2, &good), 4),
        (with(3, &packed), 4),
        (with(4, &[&packed[..], &[0; 100]].concat()), 4),
        (packed.clone(), 4),
        (b"z#!~#v\n".to_vec(), 4),
        (with(4, b""), 5),
        (vec![], 5),
    ] {
        fs::write(&tombstone, &bytes).unwrap();
        assert_eq!(
            left,
            text(&cat(&["--no-wal"], dir.path()).ok()).len(),
            "{bytes:x?}"
        );
    }
}

#[test]
fn a_directory_of_2_0_before_its_release_is_refused() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let key = b"0123456789abcdef,\0=cpu,host=a,\xff=usage#!~#usage";
    fs::write(&path, tsm(&[(key, 1, vec![block(T, INTEGER)])])).unwrap();
    let ran = cat(&[], &path);
    assert_eq!(Some(65), ran.last(), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("before the release of 2.0"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_tag_called_nul_does_not_make_a_file_one_of_2_0_before_its_release() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    let key = b"weather_stations,\0=m#!~#f";
    fs::write(&path, tsm(&[(key, 1, vec![block(T, INTEGER)])])).unwrap();
    let out = cat(&["--lp-only"], &path).ok();
    assert!(
        text(&out)[0].starts_with("weather_stations,\0=m f="),
        "{out:?}"
    );
}

#[test]
fn output_that_cannot_be_written_is_74() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    fs::write(&path, file(0, vec![block(T + 20 * SECOND, FLOATS)])).unwrap();
    for args in ["", "--compress"] {
        let script = format!("exec \"$@\" {args} >/dev/full");
        let ran = run(
            b"",
            &[
                "sh",
                "-c",
                &script,
                "sh",
                crate::harness::program("tsm-cat"),
                path.to_str().unwrap(),
            ],
        );
        assert_eq!(Some(74), ran.last(), "{}", ran.stderr);
    }
}

#[test]
fn a_file_whose_name_does_not_say_how_new_it_is_is_left_out_like_a_damaged_one() {
    let dir = scratch();
    for name in ["000000001-000000001.tsm", "copy.tsm"] {
        fs::write(dir.path().join(name), file(1, vec![block(T, INTEGER)])).unwrap();
    }
    let ran = cat(&["--no-wal"], dir.path());
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr.contains("copy.tsm: offset 0: file name is not"),
        "{}",
        ran.stderr
    );
    let ran = cat(&["--no-wal", "--keep-going"], dir.path());
    assert_eq!(
        (Some(1), 3),
        (ran.last(), text(&ran).len()),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_tombstone_file_that_cannot_be_opened_is_the_one_to_blame() {
    let dir = scratch();
    let path = dir.path().join("000000001-000000001.tsm");
    fs::write(&path, tsm(&[(b"m#!~#f", 1, vec![block(T, INTEGER)])])).unwrap();
    let tombstone = path.with_extension("tombstone");
    std::os::unix::fs::symlink(&tombstone, &tombstone).unwrap();
    let ran = cat(&[], dir.path());
    assert_eq!(Some(74), ran.last(), "{}", ran.stderr);
    assert!(ran.stderr.contains(".tombstone: "), "{}", ran.stderr);
}
