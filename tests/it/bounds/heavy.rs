//! Series of which a single stretch of time takes up to 32 MB once it is unpacked.

use super::{MEMORY, SECOND, is_bounded, is_bounded_by, long_log, only_shard};
use crate::forge::disk::{Block, Column, Segment, T, Tsm, section, segment_path, shard, tsm_path};
use crate::harness::scratch;

/// How well strings pack.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pack {
    Well,
    Hardly,
}

/// A thousand strings of so many bytes.
fn strings(len: usize, pack: Pack) -> Vec<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'0' + (state % 75) as u8
    };
    let text = |i: usize| match pack {
        Pack::Well => format!("{i:04}").repeat(len / 4).into_bytes(),
        Pack::Hardly => (0..len).map(|_| letter()).collect(),
    };
    (0..1000).map(text).collect()
}

/// A thousand seconds from the n-th thousand on.
fn times(n: i64) -> Vec<i64> {
    (1000 * n..1000 * n + 1000)
        .map(|i| T + i * SECOND)
        .collect()
}

/// A series with so many fields, and so many blocks of the same values in each.
fn series(tsm: &mut Tsm, name: &str, (fields, blocks): (usize, i64), values: &Column, kind: u8) {
    let values = section(values);
    for field in 0..fields {
        tsm.key(format!("{name}#!~#field{field:04}").as_bytes(), kind);
        for n in 0..blocks {
            tsm.block(&Block::of_section(&times(n), kind, &values));
        }
    }
}

fn wide_strings(fields: usize, len: usize, pack: Pack) {
    let dir = scratch();
    let mut tsm = Tsm::create(&tsm_path(&only_shard(dir.path()), 1, 1));
    let values = Column::Strings(strings(len, pack));
    series(&mut tsm, "m,t=a", (fields, 3), &values, 3);
    tsm.finish();
    let what = format!("{fields} fields of {len} bytes that pack {pack:?}");
    assert_eq!(3000, is_bounded(&what, dir.path()));
}

#[test]
fn a_field_of_30_mb_is_exported_within_bounds() {
    wide_strings(1, 30_000, Pack::Well);
}

#[test]
fn a_field_of_20_mb_that_hardly_packs_is_exported_within_bounds() {
    wide_strings(1, 20_000, Pack::Hardly);
}

#[test]
fn hundreds_of_fields_of_strings_are_exported_within_bounds() {
    wide_strings(300, 100, Pack::Well);
}

#[test]
#[ignore = "takes longer"]
fn some_fields_of_long_strings_are_exported_within_bounds() {
    for pack in [Pack::Well, Pack::Hardly] {
        wide_strings(300, 100, pack);
        wide_strings(30, 1000, pack);
        wide_strings(3, 10_000, pack);
    }
}

fn floats() -> Column {
    Column::Float((0..1000).map(|i| f64::from(i) * 0.37 + 0.001).collect())
}

#[test]
fn two_thousand_fields_of_floats_are_exported_within_bounds() {
    let dir = scratch();
    let mut tsm = Tsm::create(&tsm_path(&only_shard(dir.path()), 1, 1));
    series(&mut tsm, "m,t=a", (2000, 2), &floats(), 0);
    tsm.finish();
    assert_eq!(2000, is_bounded("2,000 fields", dir.path()));
}

#[test]
fn a_late_string_among_20_mb_is_exported_within_bounds() {
    let dir = scratch();
    let shard = only_shard(dir.path());
    let mut tsm = Tsm::create(&tsm_path(&shard, 1, 1));
    let values = Column::Strings(strings(20_000, Pack::Hardly));
    series(&mut tsm, "m,t=a", (1, 3), &values, 3);
    tsm.finish();
    let mut tsm = Tsm::create(&tsm_path(&shard, 2, 1));
    tsm.key(b"m,t=a#!~#field0000", 3);
    let late = section(&Column::Strings(vec![b"late".to_vec()]));
    tsm.block(&Block::of_section(&[T + 1500 * SECOND], 3, &late));
    tsm.finish();
    assert_eq!(3000, is_bounded("a late string", dir.path()));
}

/// What many threads have used for smaller series is not there any more when the heavy one comes.
#[test]
#[ignore = "takes longer"]
fn many_smaller_series_and_a_heavy_one_are_exported_within_bounds() {
    for (hosts, fields) in [(200, 100), (2000, 10)] {
        let dir = scratch();
        let mut tsm = Tsm::create(&tsm_path(&only_shard(dir.path()), 1, 1));
        let values = section(&floats());
        for host in 0..hosts {
            for field in 0..fields {
                tsm.key(format!("a,t={host:04}#!~#field{field:04}").as_bytes(), 0);
                let times = times(0).into_iter().map(|time| time + field * SECOND);
                tsm.block(&Block::of_section(&times.collect::<Vec<_>>(), 0, &values));
            }
        }
        let values = Column::Strings(strings(100, Pack::Well));
        series(&mut tsm, "m,t=a", (300, 1), &values, 3);
        tsm.finish();
        let lines = hosts * (999 + fields as u64) + 1000;
        let what = format!("a heavy series behind {hosts} of {fields} fields");
        assert_eq!(lines, is_bounded(&what, dir.path()));
    }
}

/// What the log is read into is not added to what texts of another shard were in.
#[test]
fn a_log_behind_a_shard_without_one_is_exported_within_bounds() {
    let dir = scratch();
    let values = long_log(dir.path(), 200, 100, 10);
    let (data, _) = shard(dir.path(), "db", "rp", 1);
    let mut tsm = Tsm::create(&tsm_path(&data, 1, 1));
    for host in 0..500 {
        series(&mut tsm, &format!("a,t={host:04}"), (1, 4), &floats(), 0);
    }
    tsm.finish();
    let bound = MEMORY + 20 * values;
    let points = is_bounded_by(bound, "a log behind 2 million values", dir.path());
    assert_eq!(2_000_000 + values, points);
}

/// A log with so many strings of a field, each in a write of its own, at times in no order.
fn logged_strings(count: i64, len: usize) {
    let dir = scratch();
    let (data, log) = shard(dir.path(), "db", "rp", 7);
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir_all(&log).unwrap();
    let mut segment = Segment::create(&segment_path(&log, 1));
    for i in 0..count {
        let time = T + i * 7919 % count * SECOND;
        let values = Column::Strings(vec![format!("{i:04}").repeat(len / 4).into_bytes()]);
        segment.write(&[(&b"m,t=a#!~#f"[..], &[time], &values)]);
    }
    segment.finish();
    let bound = MEMORY + count as u64 * (len as u64 + 64);
    let what = format!("a log of {count} strings of {len} bytes");
    assert_eq!(count as u64, is_bounded_by(bound, &what, dir.path()));
}

#[test]
fn long_strings_of_a_log_are_exported_within_bounds() {
    logged_strings(600, 100_000);
    logged_strings(60, 1_000_000);
}
