use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::*;
use crate::rows::Values;
use crate::tsm::encoding::testing;
use crate::tsm::file::File;
use crate::tsm::index::Survey;
use crate::tsm::key::Key;
use crate::tsm::merge::Column;
use crate::tsm::shard::{Logged, Member};
use crate::tsm::source::Source;
use crate::tsm::tombstone;
use proptest::prelude::*;

/// In the order of an index. The third series sorts between the fields of none of the others.
const KEYS: [&str; 5] = ["m#!~#a", "m#!~#b", "m#!~#c", "m,t=x#!~#a", "n#!~#z"];

/// Small numbers that depend on a seed only.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A block of integers, or of booleans: in the plainest encoding, or in the one that a server chooses.
fn frame(points: &[(i64, i64)], is_boolean: bool, is_plain: bool) -> Vec<u8> {
    let times: Vec<i64> = points.iter().map(|p| p.0).collect();
    let values: Vec<u64> = points.iter().map(|p| p.1 as u64).collect();
    let times = match is_plain {
        true => testing::times_raw(&times),
        false => testing::times(&times, true),
    };
    match (is_boolean, is_plain) {
        (true, _) => testing::block(2, &times, &testing::booleans(&vec![true; points.len()])),
        (false, true) => testing::block(1, &times, &testing::integers_raw(&values)),
        (false, false) => testing::block(1, &times, &testing::integers(&values, true)),
    }
}

type Model = BTreeMap<(usize, i64), String>;

/// A history of one shard: what its files are, and what must come out.
#[derive(Default)]
struct History {
    shard: Shard,
    model: Model,
    /// Damaged blocks that are not wholly deleted: first and last time.
    damaged: Vec<(i64, i64)>,
    serial: i64,
}

impl History {
    fn roll(seed: u64) -> Self {
        let mut dice = Dice(seed | 1);
        let mut history = Self::default();
        for _ in 0..dice.below(4) {
            history.file(&mut dice);
        }
        if dice.below(2) == 0 || history.shard.members.is_empty() {
            history.log(&mut dice);
        }
        history
    }

    fn file(&mut self, dice: &mut Dice) {
        let (mut blocks, mut index) = (vec![0x16, 0xd1, 0x16, 0xd1, 1], Vec::new());
        let (mut deleted, mut own) = (vec![0, 0, 0x15, 2], Model::new());
        // Ranges as they are, and as many blocks that cannot be read.
        let keys: Vec<_> = (0..KEYS.len()).filter(|_| dice.below(4) > 0).collect();
        for &key in if keys.is_empty() { &[0] } else { &keys[..] } {
            let range = (dice.below(2000) as i64, dice.below(300) as i64);
            let range = (dice.below(3) == 0).then_some((range.0, range.0 + range.1));
            let most = if dice.below(3) == 0 { 200 } else { 8 };
            let count = 1 + dice.below(most);
            let is_boolean = dice.below(12) == 0;
            index.extend((KEYS[key].len() as u16).to_be_bytes());
            index.extend(KEYS[key].bytes());
            index.push(if is_boolean { 2 } else { 1 });
            index.extend((count as u16).to_be_bytes());
            let mut time = dice.below(300) as i64;
            for _ in 0..count {
                let points = self.points(&mut time, dice);
                let mut frame = frame(&points, is_boolean, dice.below(2) == 0);
                let times = points.iter().map(|p| p.0);
                let (min, max) = (times.clone().min().unwrap(), times.max().unwrap());
                index.extend(min.to_be_bytes().into_iter().chain(max.to_be_bytes()));
                index.extend((blocks.len() as u64).to_be_bytes());
                index.extend((frame.len() as u32).to_be_bytes());
                let is_hidden = range.is_some_and(|(from, to)| from <= min && max <= to);
                if dice.below(60) == 0 {
                    frame[0] ^= 1;
                    self.damaged.extend((!is_hidden).then_some((min, max)));
                } else {
                    let text = |v: i64| {
                        if is_boolean {
                            "true".to_owned()
                        } else {
                            format!("{v}i")
                        }
                    };
                    own.extend(points.iter().map(|p| ((key, p.0), text(p.1))));
                }
                blocks.extend(frame);
            }
            if let Some((from, to)) = range {
                deleted.extend((KEYS[key].len() as u32).to_be_bytes());
                deleted.extend(KEYS[key].bytes());
                deleted.extend(from.to_be_bytes().into_iter().chain(to.to_be_bytes()));
                own.retain(|(k, t), _| *k != key || !(from..=to).contains(t));
            }
        }
        self.model.extend(own);
        let offset = (blocks.len() as u64).to_be_bytes();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[blocks, index, offset.to_vec()].concat())
            .unwrap();
        let file = File::open(Source::whole(file).unwrap()).unwrap();
        self.shard.members.push(Member {
            path: PathBuf::from("a.tsm"),
            survey: Survey::of(&file).unwrap(),
            file,
            deleted: {
                let scratch = tempfile::tempfile;
                let mut space = tombstone::Space::new(&scratch);
                tombstone::read(&deleted[..], &mut space).unwrap().0
            },
        });
    }

    /// Mostly in order and behind what came before; sometimes neither, and sometimes a time comes twice. Often a step apart.
    fn points(&mut self, time: &mut i64, dice: &mut Dice) -> Vec<(i64, i64)> {
        if dice.below(50) == 0 {
            *time -= dice.below(40) as i64;
        }
        let mut points = Vec::new();
        let step = (dice.below(3) == 0).then(|| dice.below(40) as i64);
        for _ in 0..=dice.below(6) {
            *time += match step {
                Some(step) => step,
                None if dice.below(40) == 0 => 0,
                None => 1 + dice.below(9) as i64,
            };
            self.serial += 1;
            points.push((*time, self.serial));
        }
        if dice.below(40) == 0 {
            points.reverse();
        }
        *time += 1;
        points
    }

    fn log(&mut self, dice: &mut Dice) {
        for (i, key) in KEYS
            .iter()
            .enumerate()
            .filter(|_| dice.below(2) == 0)
            .collect::<Vec<_>>()
        {
            let count = 1 + dice.below(2500) as i64;
            let step = 1 + dice.below(3) as i64;
            let times: Vec<_> = (0..count).map(|n| n * step).collect();
            let values: Vec<_> = times.iter().map(|t| t - 5000).collect();
            self.model.extend(
                times
                    .iter()
                    .zip(&values)
                    .map(|(t, v)| ((i, *t), format!("{v}i"))),
            );
            let chunks = self.shard.held.pack(&Column {
                times,
                values: Values::Integer(values),
            });
            self.shard.log.push(Logged {
                key: key.as_bytes().to_vec(),
                chunks,
                above: self.shard.members.len(),
            });
        }
    }

    fn expected(&self, options: &Options) -> String {
        let wanted = |(_, t): &(usize, i64)| (options.first..=options.last).contains(t);
        let wanted = self.model.iter().filter(|(place, _)| wanted(place));
        let mut text = String::new();
        if options.per_field {
            for ((key, time), value) in wanted {
                let (series, field) = KEYS[*key].split_once("#!~#").unwrap();
                text += &format!("{series} {field}={value} {time}\n");
            }
            return text;
        }
        let mut rows = BTreeMap::<_, Vec<_>>::new();
        for ((key, time), value) in wanted {
            let (series, field) = KEYS[*key].split_once("#!~#").unwrap();
            // By the first key of the series, not by its name.
            let first = KEYS
                .iter()
                .position(|key| Key::split(key.as_bytes()).series == series.as_bytes());
            rows.entry((first, *time, series))
                .or_default()
                .push(format!("{field}={value}"));
        }
        for ((_, time, series), fields) in rows {
            text += &format!("{series} {} {time}\n", fields.join(","));
        }
        text
    }
}

fn exported(shard: &Shard, options: &Options) -> Result<(String, Report), Trouble> {
    let mut export = Export::new(shard, options)?;
    let (mut text, mut report) = (Buffer::default(), Report::default());
    while export.next(&mut text, &mut report)? {}
    Ok((String::from_utf8(text.bytes().to_vec()).unwrap(), report))
}

pub(super) fn options(first: i64, last: i64, per_field: bool) -> Options {
    Options {
        first,
        last,
        per_field,
        keep_going: true,
        keep_rejects: true,
        ..Options::default()
    }
}

fn damage(report: &Report) -> usize {
    let is_damage = |finding: &&Finding| matches!(finding, Finding::Damage(_));
    report.findings.iter().filter(is_damage).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_history_comes_out_as_from_a_map(
        seed in any::<u64>(), first in 0i64..900, len in 0i64..3000, is_cut: bool, per_field: bool,
    ) {
        let history = History::roll(seed);
        let range = if is_cut { (first, first + len) } else { (i64::MIN, i64::MAX) };
        let options = options(range.0, range.1, per_field);
        let (text, report) = exported(&history.shard, &options).unwrap();
        prop_assert_eq!(history.expected(&options), &*text);
        prop_assert_eq!(text.lines().count() as u64, report.points);
        let met = history.damaged.iter().filter(|(min, max)| *max >= range.0 && *min <= range.1);
        prop_assert_eq!(met.count(), damage(&report));
    }
}

#[test]
fn the_first_damaged_block_ends_it_unless_it_is_to_go_on() {
    let mut seeds = 1u64..;
    let history = seeds
        .by_ref()
        .map(|seed| History::roll(seed << 20))
        .find(|h| !h.damaged.is_empty())
        .unwrap();
    let mut options = options(i64::MIN, i64::MAX, false);
    options.keep_going = false;
    let trouble = exported(&history.shard, &options).unwrap_err();
    assert!(trouble.key.is_some());
    assert!(
        trouble
            .cause
            .to_string()
            .ends_with("checksum does not match")
    );
}

/// Three fields with blocks of equal times: so many of them, with so many values each. They are runs, if not plain.
pub(super) fn long_series(count: u16, len: i64, is_plain: bool) -> Shard {
    laid(
        KEYS[..3].iter().map(|key| (*key, false)),
        count,
        len,
        is_plain,
    )
}

/// So many series of one field and one block, which is a run of so many values.
fn short_series(count: usize, len: i64) -> Shard {
    let keys: Vec<_> = (0..count).map(|n| format!("m,t={n:05}#!~#a")).collect();
    laid(keys.iter().map(|key| (&key[..], false)), 1, len, false)
}

/// So many series of one field, by turns a run of ten integers and one of ten truth values, which begins at 100.
pub(super) fn mixed_series(count: usize) -> Shard {
    let keys: Vec<_> = (0..count).map(|n| format!("m,t={n:05}#!~#a")).collect();
    let keys = keys.iter().enumerate();
    laid(keys.map(|(n, key)| (&key[..], n % 2 == 1)), 1, 10, false)
}

/// A file of these keys of integers or truth values, each with so many blocks of so many values.
fn laid<'a>(
    keys: impl Iterator<Item = (&'a str, bool)>,
    count: u16,
    len: i64,
    is_plain: bool,
) -> Shard {
    let (mut blocks, mut index) = (vec![0x16, 0xd1, 0x16, 0xd1, 1], Vec::new());
    for (key, is_boolean) in keys {
        index.extend((key.len() as u16).to_be_bytes());
        index.extend(key.bytes());
        index.push(if is_boolean { 2 } else { 1 });
        index.extend(count.to_be_bytes());
        let first = if is_boolean { 100 } else { 0 };
        for start in (0..i64::from(count)).map(|n| first + n * len) {
            let points: Vec<_> = (start..start + len).map(|t| (t, t)).collect();
            let frame = frame(&points, is_boolean, is_plain);
            index.extend(start.to_be_bytes());
            index.extend((start + len - 1).to_be_bytes());
            index.extend((blocks.len() as u64).to_be_bytes());
            index.extend((frame.len() as u32).to_be_bytes());
            blocks.extend(frame);
        }
    }
    let offset = (blocks.len() as u64).to_be_bytes();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[blocks, index, offset.to_vec()].concat())
        .unwrap();
    let file = File::open(Source::whole(file).unwrap()).unwrap();
    let mut shard = Shard::default();
    shard.members.push(Member {
        path: "a.tsm".into(),
        survey: Survey::of(&file).unwrap(),
        file,
        deleted: Default::default(),
    });
    shard
}

/// How many lines the pieces of a shard have, and what all of them come to.
fn pieces(shard: &Shard) -> (BTreeSet<usize>, Report) {
    let options = options(i64::MIN, i64::MAX, false);
    let mut export = Export::new(shard, &options).unwrap();
    let (mut sizes, mut report) = (BTreeSet::new(), Report::default());
    let mut text = Buffer::default();
    while export.next(&mut text, &mut report).unwrap() {
        sizes.insert(text.bytes().iter().filter(|c| **c == b'\n').count());
        text.clear();
    }
    (sizes, report)
}

#[test]
fn a_long_series_is_cut_into_slices_that_read_each_block_once_where_fields_share_times() {
    let (sizes, report) = pieces(&long_series(1000, 50, true));
    assert_eq!(
        (50_000, 150_000, 3000),
        (report.points, report.values, report.blocks)
    );
    // Slices of so many blocks of each of three fields, and what is left over.
    assert_eq!(BTreeSet::from([1100, 50_000 % 1100]), sizes);
}

#[test]
fn blocks_of_many_values_make_slices_of_few_blocks() {
    let (sizes, report) = pieces(&long_series(13, 2000, true));
    assert_eq!((26_000, 39), (report.points, report.blocks));
    // Each weighs as much as two of a thousand values.
    assert_eq!(BTreeSet::from([4 * 2000, 2000]), sizes);
}

#[test]
fn many_short_series_are_one_piece() {
    let (sizes, report) = pieces(&short_series(10_000, 2));
    assert_eq!((20_000, 10_000), (report.points, report.blocks));
    assert_eq!(BTreeSet::from([2 * 4096, 20_000 % (2 * 4096)]), sizes);
}

#[test]
fn series_of_many_values_in_as_few_bytes_are_pieces_of_few() {
    // Two values are packed into as many bytes as a thousand, but for three.
    let (sizes, report) = pieces(&short_series(100, 1000));
    assert_eq!((100_000, 100), (report.points, report.blocks));
    assert_eq!(BTreeSet::from([11_000, 1000]), sizes);
}

#[test]
fn what_is_not_asked_for_is_not_read() {
    let history = History::roll(0x5eed_0000_0001);
    let mut some = options(i64::MIN, i64::MAX, false);
    some.measurements = vec![Glob::new(b"n")];
    let (text, report) = exported(&history.shard, &some).unwrap();
    assert!(text.lines().all(|line| line.starts_with("n ")));
    let (_, all) = exported(&history.shard, &options(i64::MIN, i64::MAX, false)).unwrap();
    assert!(report.blocks < all.blocks);
    let (text, none) = exported(&history.shard, &options(1 << 40, i64::MAX, false)).unwrap();
    assert_eq!(("", 0), (&*text, none.blocks));
}
