//! Random histories of a server's shards: what its files hold, and the points that are left of it by the plain rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::forge::disk::{
    self as forge, ALWAYS, Block, Choice, Column, SEPARATOR, Segment, T, Tombstone, Tsm,
};

/// A value of any type; floats by their bits.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Float(u64),
    Integer(i64),
    Boolean(bool),
    Text(Vec<u8>),
    Unsigned(u64),
}

/// Times and values of one key.
type Points = BTreeMap<i64, Value>;

/// What a shard holds, by stored key.
pub type Model = BTreeMap<Vec<u8>, Points>;

/// Times that servers reserve, their neighbours, and the middle.
const EDGES: [i64; 8] = [
    i64::MIN,
    i64::MIN + 1,
    i64::MIN + 2,
    -1,
    0,
    1,
    i64::MAX - 1,
    i64::MAX,
];

/// Names of files in the order of their age, however they are sorted as text.
const FILES: [(u32, u32); 6] = [
    (3, 1),
    (3, 2),
    (7, 10),
    (999_999_999, 4),
    (1_000_000_000, 1),
    (u32::MAX, 1),
];

/// Numbers of segments in the order of their age.
const SEGMENTS: [u64; 3] = [2, 99_999, 100_000];

/// Small numbers that depend on a seed only.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
}

/// What the steps of a case are in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub base: i64,
    pub unit: i64,
}

impl Clock {
    pub fn at(self, step: i64) -> i64 {
        self.base.wrapping_add(self.unit.wrapping_mul(step))
    }
}

/// Values of one key in the order in which they are stored.
#[derive(Clone, Debug)]
struct Stretch {
    from: i64,
    len: usize,
    shape: Shape,
    pattern: Pattern,
    seed: u64,
    choice: Choice,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Even(i64),
    /// Steps of one, with others here and there.
    Mixed(u64),
    Back,
    Twice,
    Same,
    Edges,
}

#[derive(Clone, Copy, Debug)]
enum Pattern {
    Same,
    Counted,
    Small,
    Wild,
    Special,
}

impl Stretch {
    fn times(&self, clock: Clock) -> Vec<i64> {
        let mut dice = Dice(self.seed);
        let mut step = self.from;
        let mut next = |gap: i64| {
            step += gap;
            clock.at(step - gap)
        };
        let all = 0..self.len as i64;
        match self.shape {
            Shape::Even(gap) => all.map(|_| next(gap)).collect(),
            Shape::Mixed(often) => {
                let mut gap = || if dice.below(often) == 0 { 2 } else { 1 };
                all.map(|_| next(gap())).collect()
            }
            Shape::Back => all.rev().map(|i| clock.at(self.from + i)).collect(),
            Shape::Twice => all.map(|i| clock.at(self.from + i / 2)).collect(),
            Shape::Same => all.map(|_| clock.at(self.from)).collect(),
            Shape::Edges => {
                let start = dice.below(8) as usize;
                let end = (start + self.len).min(8);
                EDGES[start..end].to_vec()
            }
        }
    }

    fn column(&self, kind: u8, len: usize) -> Column {
        let mut dice = Dice(!self.seed);
        let start = dice.roll();
        let mut next = |i: usize| match self.pattern {
            Pattern::Same => start,
            Pattern::Counted => start.wrapping_add(3 * i as u64),
            Pattern::Small => dice.below(20),
            Pattern::Wild => dice.roll(),
            Pattern::Special => SPECIAL[dice.below(SPECIAL.len() as u64) as usize],
        };
        let all = 0..len;
        match kind {
            0 => Column::Float(all.map(|i| self.float(next(i))).collect()),
            1 => Column::Integer(all.map(|i| next(i) as i64).collect()),
            2 => Column::Boolean(all.map(|i| next(i) & 1 == 1).collect()),
            3 => Column::Strings(all.map(|i| self.text(next(i))).collect()),
            _ => Column::Unsigned(all.map(next).collect()),
        }
    }

    fn float(&self, number: u64) -> f64 {
        match self.pattern {
            Pattern::Counted | Pattern::Same => (number >> 40) as f64 / 100.0,
            Pattern::Small => number as f64,
            Pattern::Wild => Some(f64::from_bits(number))
                .filter(|v| v.is_finite())
                .unwrap_or(0.5),
            Pattern::Special => FLOATS[number as usize % FLOATS.len()],
        }
    }

    fn text(&self, number: u64) -> Vec<u8> {
        let mut dice = Dice(number);
        let pieces = match self.pattern {
            // A line that is too long for two of them.
            Pattern::Special if self.len < 3 => return b"\"x\\".repeat(150_000),
            Pattern::Special => dice.below(4),
            _ => dice.below(9),
        };
        let mut piece = || TEXTS[dice.below(TEXTS.len() as u64) as usize];
        (0..pieces).flat_map(|_| piece().iter().copied()).collect()
    }
}

const SPECIAL: [u64; 9] = [
    0,
    1,
    2,
    3,
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    (1 << 63) - 1,
    1 << 60,
];

const FLOATS: [f64; 8] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    5e-324,
    f64::MAX,
    1e21,
    -1.5e-7,
];

const TEXTS: [&[u8]; 17] = [
    b"",
    b"a",
    b"long words ",
    b"\"",
    b"\\",
    b"\n",
    b",",
    b"=",
    b" ",
    b"\xc3\xbc",
    b"\xff",
    b"\0",
    b"\r\n",
    b"#",
    b"\\n",
    b"\" 1\nm f=1i 2\n",
    b"\n# CONTEXT-DATABASE:evil\n",
];

fn stretch() -> impl Strategy<Value = Stretch> {
    let shape = prop_oneof![
        6 => (1..4i64).prop_map(Shape::Even),
        4 => prop_oneof![Just(2), Just(40), Just(150)].prop_map(Shape::Mixed),
        1 => Just(Shape::Back),
        1 => Just(Shape::Twice),
        1 => Just(Shape::Same),
        1 => Just(Shape::Edges),
    ];
    let len = prop_oneof![
        Just(1usize),
        2..4usize,
        2..30usize,
        100..400usize,
        Just(1000)
    ];
    let pattern = select(vec![
        Pattern::Same,
        Pattern::Counted,
        Pattern::Small,
        Pattern::Wild,
        Pattern::Special,
    ]);
    let choice = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        any::<bool>(),
    )
        .prop_map(|(raw_times, raw_values, early_runs)| Choice {
            raw_times,
            raw_values,
            early_runs,
        });
    (0..1500i64, len, shape, pattern, any::<u64>(), choice).prop_map(
        |(from, len, shape, pattern, seed, choice)| Stretch {
            from,
            len,
            shape,
            pattern,
            seed,
            choice,
        },
    )
}

/// One key in one file: its type and its blocks, all of them again and again, each time later.
#[derive(Clone, Debug)]
struct Held {
    kind: u8,
    stretches: Vec<Stretch>,
    again: i64,
}

impl Held {
    fn blocks(&self, clock: Clock) -> impl Iterator<Item = (Vec<i64>, Column, Choice)> + '_ {
        (0..self.again).flat_map(move |i| {
            self.stretches.iter().map(move |stretch| {
                let mut stretch = stretch.clone();
                stretch.from += i * 700;
                stretch.seed ^= i as u64;
                let times = stretch.times(clock);
                let column = stretch.column(self.kind, times.len());
                (times, column, stretch.choice)
            })
        })
    }
}

fn held() -> impl Strategy<Value = Held> {
    let again = prop_oneof![12 => Just(1i64), 1 => 2..40i64];
    // Mostly one type, so that keys of mixed types stay rare.
    let kind = prop_oneof![3 => Just(0u8), 3 => Just(1), 1 => Just(2), 3 => Just(3), 1 => Just(4)];
    (kind, vec(stretch(), 1..4), again).prop_map(|(kind, stretches, again)| Held {
        kind,
        stretches,
        again,
    })
}

/// A range of time to delete.
#[derive(Clone, Copy, Debug)]
enum Range {
    Always,
    Steps(i64, i64),
    Edges(usize, usize),
}

impl Range {
    fn times(self, clock: Clock) -> (i64, i64) {
        let sorted = |a: i64, b: i64| (a.min(b), a.max(b));
        match self {
            Self::Always => ALWAYS,
            Self::Steps(from, len) => sorted(clock.at(from), clock.at(from + len)),
            Self::Edges(a, b) => sorted(EDGES[a], EDGES[b]),
        }
    }
}

fn range() -> impl Strategy<Value = Range> {
    prop_oneof![
        1 => Just(Range::Always),
        6 => (0..1800i64, 0..900i64).prop_map(|(a, b)| Range::Steps(a, b)),
        1 => (0..8usize, 0..8usize).prop_map(|(a, b)| Range::Edges(a, b)),
    ]
}

/// A key, a range, and whether a gzip member begins with it.
type Deleted = (Index, Range, bool);

/// A TSM file, and what was deleted of it, in which version.
#[derive(Clone, Debug)]
struct FilePlan {
    keys: BTreeMap<usize, Held>,
    tombstone: Option<(u8, Vec<Deleted>)>,
}

fn file() -> impl Strategy<Value = FilePlan> {
    let deleted = vec((any::<Index>(), range(), any::<bool>()), 0..6);
    let tombstone = option::weighted(0.6, (1..5u8, deleted));
    (btree_map(0..KEYS, held(), 1..7), tombstone)
        .prop_map(|(keys, tombstone)| FilePlan { keys, tombstone })
}

/// An entry of the log.
#[derive(Clone, Debug)]
enum Entry {
    Write(Vec<(Index, u8, Stretch)>),
    Delete(Vec<Index>),
    DeleteRange(Vec<Index>, Range),
}

fn entry() -> impl Strategy<Value = Entry> {
    let keys = || vec(any::<Index>(), 1..4);
    prop_oneof![
        5 => vec((any::<Index>(), 0..5u8, stretch()), 1..4).prop_map(Entry::Write),
        1 => keys().prop_map(Entry::Delete),
        2 => (keys(), range()).prop_map(|(keys, range)| Entry::DeleteRange(keys, range)),
    ]
}

/// One shard: its files, oldest first, and the segments of its log.
#[derive(Clone, Debug)]
pub struct ShardPlan {
    pub database: &'static str,
    pub policy: &'static str,
    files: Vec<FilePlan>,
    log: Vec<Vec<Entry>>,
}

/// Keys that a case has at most.
pub const KEYS: usize = 12;

pub fn shard() -> impl Strategy<Value = ShardPlan> {
    let database = select(vec!["db", "a=b", "my db, 100% \"\u{fc}\""]);
    let policy = select(vec!["autogen", "rp 2"]);
    let log = vec(vec(entry(), 0..5), 0..4);
    (database, policy, vec(file(), 0..6), log).prop_map(|(database, policy, files, log)| {
        ShardPlan {
            database,
            policy,
            files,
            log,
        }
    })
}

impl ShardPlan {
    /// Write the files, and tell what they hold.
    pub fn write(&self, root: &Path, id: u64, keys: &[Vec<u8>], clock: Clock) -> Model {
        let (data, log) = forge::shard(root, self.database, self.policy, id);
        fs::create_dir_all(&data).unwrap();
        fs::create_dir_all(&log).unwrap();
        let mut model = Model::new();
        for (file, (generation, sequence)) in self.files.iter().zip(FILES) {
            let path = forge::tsm_path(&data, generation, sequence);
            for (key, points) in file.write(&path, keys, clock) {
                model.entry(key).or_default().extend(points);
            }
        }
        let mut logged = Model::new();
        for (entries, id) in self.log.iter().zip(SEGMENTS) {
            let mut segment = Segment::create(&forge::segment_path(&log, id));
            for entry in entries {
                entry.write(&mut segment, keys, clock, &mut logged);
            }
            segment.finish();
        }
        for (key, points) in logged {
            model.entry(key).or_default().extend(points);
        }
        model
    }
}

impl FilePlan {
    fn write(&self, path: &Path, keys: &[Vec<u8>], clock: Clock) -> Model {
        let mut tsm = Tsm::create(path);
        let mut model = Model::new();
        // Each key once, in the order of the index.
        let held: BTreeMap<_, _> = self
            .keys
            .iter()
            .map(|(i, held)| (&keys[i % keys.len()], held))
            .collect();
        for (key, held) in held {
            tsm.key(key, held.kind);
            let points = model.entry(key.clone()).or_default();
            for (times, column, choice) in held.blocks(clock) {
                tsm.block(&Block::new(&times, &column, choice));
                points.extend(pairs(&times, &column));
            }
        }
        tsm.finish();
        if let Some((version, records)) = &self.tombstone {
            let mut tombstone = Tombstone::create(path, *version);
            for (key, range, is_new) in records {
                let key = &keys[key.index(keys.len())];
                let range = match version {
                    1 => ALWAYS,
                    _ => range.times(clock),
                };
                // Lines cannot name these.
                if *version == 1 && (key.contains(&b'\n') || !has_separator(key)) {
                    continue;
                }
                if *is_new {
                    tombstone.member();
                }
                tombstone.record(key, range);
                delete(&mut model, key, range);
            }
            tombstone.finish();
        }
        model
    }
}

fn has_separator(key: &[u8]) -> bool {
    key.windows(SEPARATOR.len()).any(|w| w == SEPARATOR)
}

fn delete(model: &mut Model, key: &[u8], (min, max): (i64, i64)) {
    if let Some(points) = model.get_mut(key) {
        points.retain(|time, _| !(min..=max).contains(time));
    }
}

impl Entry {
    fn write(&self, segment: &mut Segment, keys: &[Vec<u8>], clock: Clock, model: &mut Model) {
        fn named<'a>(indexes: &[Index], keys: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
            indexes
                .iter()
                .map(|i| &keys[i.index(keys.len())][..])
                .collect()
        }
        match self {
            Self::Write(groups) => {
                let made = |(key, kind, stretch): &(Index, u8, Stretch)| {
                    let times = stretch.times(clock);
                    let column = stretch.column(*kind, times.len());
                    (&keys[key.index(keys.len())][..], times, column)
                };
                let groups: Vec<_> = groups.iter().map(made).collect();
                let lent = groups.iter().map(|(k, t, c)| (*k, &t[..], c));
                segment.write(&lent.collect::<Vec<_>>());
                for (key, times, column) in &groups {
                    let points = model.entry(key.to_vec()).or_default();
                    points.extend(pairs(times, column));
                }
            }
            Self::Delete(indexes) => {
                let mut named = named(indexes, keys);
                named.retain(|key| !key.contains(&b'\n'));
                if !named.is_empty() {
                    segment.delete(&named);
                }
                named.iter().for_each(|key| delete(model, key, ALWAYS));
            }
            Self::DeleteRange(indexes, range) => {
                let (named, range) = (named(indexes, keys), range.times(clock));
                segment.delete_range(&named, range);
                named.iter().for_each(|key| delete(model, key, range));
            }
        }
    }
}

/// Times with their values: of equal times the last one counts.
fn pairs(times: &[i64], column: &Column) -> impl Iterator<Item = (i64, Value)> {
    let value = |i: usize| match column {
        Column::Float(v) => Value::Float(v[i].to_bits()),
        Column::Integer(v) => Value::Integer(v[i]),
        Column::Boolean(v) => Value::Boolean(v[i]),
        Column::Strings(v) => Value::Text(v[i].clone()),
        Column::Unsigned(v) => Value::Unsigned(v[i]),
    };
    times.iter().enumerate().map(move |(i, t)| (*t, value(i)))
}

pub fn clock() -> impl Strategy<Value = Clock> {
    let base = select(vec![T, 0, -1_000_000, i64::MIN + 2, i64::MAX - 10_000_000]);
    let unit = select(vec![1, 7, 1000, 1_000_000_000, 60_000_000_000, 1 << 50]);
    // What overflows is a time as any other, but not one that ascends.
    (base, unit).prop_map(|(base, unit)| match base {
        T => Clock { base, unit },
        _ => Clock {
            base,
            unit: unit.min(7),
        },
    })
}
