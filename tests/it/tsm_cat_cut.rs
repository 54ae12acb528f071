//! Selections that end within a block.

use std::fs;
use std::path::Path;

use crate::forge::disk::{Block, Choice, Column, T, Tombstone, Tsm, shard, tsm_path};
use crate::harness::{Ran, points, run, scratch};

const SECOND: i64 = 1_000_000_000;
/// Values of a block: more than any server packs into one.
const MANY: i64 = 30_000;

/// One column of each type; two of them are runs.
fn columns() -> [(&'static [u8], Column); 5] {
    let numbers = || 0..MANY;
    let word = |i: i64| vec![b'x'; (i % 7) as usize];
    [
        (
            b"a",
            Column::Integer(numbers().map(|i| 7 - 3 * i).collect()),
        ),
        (b"b", Column::Unsigned(vec![u64::MAX; MANY as usize])),
        (
            b"c",
            Column::Float(numbers().map(|i| i as f64 / 8.0).collect()),
        ),
        (
            b"d",
            Column::Boolean(numbers().map(|i| i % 3 == 0).collect()),
        ),
        (b"e", Column::Strings(numbers().map(word).collect())),
    ]
}

/// A block of each column a second apart, from some seconds on.
fn write(path: &Path, start: i64) {
    let times: Vec<i64> = (0..MANY).map(|i| T + (start + i) * SECOND).collect();
    let mut file = Tsm::create(path);
    for (field, column) in columns() {
        let key = [b"m,host=x#!~#", field].concat();
        file.key(&key, column.block_type());
        file.block(&Block::new(&times, &column, Choice::default()));
    }
    file.finish();
}

fn cat(args: &[&str], root: &Path) -> Ran {
    run(
        b"",
        &[&["tsm-cat", "--no-wal"], args, &[root.to_str().unwrap()]].concat(),
    )
}

fn time(line: &[u8]) -> i64 {
    let text = line.rsplit(|c| *c == b' ').next().unwrap();
    std::str::from_utf8(text).unwrap().parse().unwrap()
}

/// Each of these selections, in nanoseconds from `T` on, takes the lines that are within it of those of the whole.
#[track_caller]
fn assert_cut(root: &Path, selections: &[(i64, i64)]) {
    let all = cat(&[], root).ok().stdout;
    let all = points(&all);
    assert!(all.len() >= MANY as usize);
    for (start, end) in selections.iter().map(|(start, end)| (T + start, T + end)) {
        let (from, to) = (start.to_string(), end.to_string());
        let ran = cat(&["--start", &from, "--end", &to], root).ok();
        let is_within = |line: &&[u8]| (start..=end).contains(&time(line));
        let within: Vec<_> = all.iter().copied().filter(is_within).collect();
        assert!(within == points(&ran.stdout), "{start} to {end}");
    }
}

#[test]
fn blocks_of_every_type_are_cut_where_the_selection_ends() {
    let dir = scratch();
    let (data, _) = shard(dir.path(), "db", "rp", 1);
    write(&tsm_path(&data, 1, 1), 0);
    let last = (MANY - 1) * SECOND;
    assert_cut(
        dir.path(),
        &[
            (0, last),
            (-SECOND, 0),
            (1, last - 1),
            (60 * SECOND, 120 * SECOND - 1),
            (60 * SECOND + 1, 61 * SECOND - 1),
            (last, last + SECOND),
            (last + 1, last + 2),
        ],
    );
}

#[test]
fn overlapping_blocks_with_deleted_values_are_cut_where_the_selection_ends() {
    let dir = scratch();
    let (data, _) = shard(dir.path(), "db", "rp", 1);
    write(&tsm_path(&data, 1, 1), 0);
    write(&tsm_path(&data, 2, 1), MANY / 2);
    let mut tombstone = Tombstone::create(&tsm_path(&data, 2, 1), 4);
    let middle = MANY / 2 * SECOND;
    let deleted = (T + middle + 90 * SECOND, T + middle + 100 * SECOND);
    tombstone.record(b"m,host=x#!~#a", deleted);
    tombstone.finish();
    assert_cut(
        dir.path(),
        &[
            (middle - 50 * SECOND, middle + 95 * SECOND),
            (middle + 80 * SECOND, middle + 120 * SECOND),
            (middle + 92 * SECOND, middle + 97 * SECOND),
            (middle / 2, 3 * middle / 2),
        ],
    );
}

/// Parts of a block of a hundred values a second apart: at its beginning, in its middle, at its end.
const PARTS: [(i64, i64); 3] = [(0, 9), (40, 50), (90, 200)];

/// A shard with one key, which has this block.
fn write_one(root: &Path, code: u8, block: &Block) {
    let (data, _) = shard(root, "db", "rp", 1);
    let path = tsm_path(&data, 1, 1);
    let _ = fs::remove_file(&path);
    let mut file = Tsm::create(&path);
    file.key(b"m#!~#v", code).block(block);
    file.finish();
}

fn cat_part(args: &[&str], (from, to): (i64, i64), root: &Path) -> Ran {
    let ends = [from, to].map(|at| (T + at * SECOND).to_string());
    cat(
        &[args, &["--start", &ends[0], "--end", &ends[1]]].concat(),
        root,
    )
}

/// The block is damaged, whichever part of it is wanted.
#[track_caller]
fn assert_damage(root: &Path, said: &str) {
    for part in PARTS {
        let ran = cat_part(&[], part, root);
        assert_eq!(Some(65), ran.last(), "{part:?} {}", ran.stderr);
        assert!(points(&ran.stdout).is_empty());
        assert!(ran.stderr.contains(said), "{part:?} {}", ran.stderr);
        let ran = cat_part(&["--keep-going"], part, root);
        assert_eq!(Some(1), ran.last(), "{part:?} {}", ran.stderr);
        assert!(points(&ran.stdout).is_empty());
    }
}

/// A block of a hundred times, with these values.
fn hundred(column: &Column) -> Block {
    let times: Vec<i64> = (0..100).map(|i| T + i * SECOND).collect();
    Block::new(&times, column, Choice::default())
}

#[test]
fn more_or_fewer_values_than_times_are_damage_wherever_the_block_is_cut() {
    let dir = scratch();
    for n in [99, 101] {
        let numbers = || 0..n as i64;
        for column in [
            Column::Integer(vec![7; n]),
            Column::Integer(numbers().map(|i| i * i).collect()),
            Column::Unsigned(vec![7; n]),
            Column::Float(numbers().map(|i| i as f64).collect()),
            Column::Boolean(vec![true; n]),
        ] {
            write_one(dir.path(), column.block_type(), &hundred(&column));
            // Nobody counts the floats behind those that are looked for.
            let said = match (&column, n) {
                (Column::Float(_), 101) => "more values than 100 timestamps".to_owned(),
                _ => format!("{n} values for 100 timestamps"),
            };
            assert_damage(dir.path(), &said);
        }
    }
}

#[test]
fn times_outside_of_what_the_index_says_are_damage_wherever_the_block_is_cut() {
    let dir = scratch();
    let good = hundred(&Column::Integer(vec![7; 100]));
    for (later, earlier) in [(5, 0), (0, 5), (5, 5)] {
        let mut block = good.clone();
        block.min += later * SECOND;
        block.max -= earlier * SECOND;
        write_one(dir.path(), 1, &block);
        assert_damage(dir.path(), "block has a point at time ");
    }
}

#[test]
fn what_index_and_block_do_not_agree_on_is_told_wherever_the_block_is_cut() {
    let dir = scratch();
    let good = hundred(&Column::Integer(vec![7; 100]));
    let mut wide = good.clone();
    wide.max += SECOND;
    for (code, block, said) in [
        (1, &wide, "block holds times "),
        (4, &good, "block of type integer where the index says 4"),
    ] {
        write_one(dir.path(), code, block);
        for part in PARTS {
            let ran = cat_part(&[], part, dir.path()).ok();
            assert!(!points(&ran.stdout).is_empty());
            assert_eq!(
                1,
                ran.stderr.matches(said).count(),
                "{part:?} {}",
                ran.stderr
            );
        }
    }
}
