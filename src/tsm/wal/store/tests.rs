use proptest::prelude::*;

use super::*;

/// Points of a group as the log has them.
fn points(kind: Kind, times: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    for time in times {
        out.extend(time.to_be_bytes());
        match kind {
            Kind::Boolean => out.push((time % 2) as u8 & 1),
            Kind::String => {
                let text = format!("{time}").repeat((time % 50) as usize);
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.bytes());
            }
            Kind::Integer => out.extend(integer(*time).to_be_bytes()),
            Kind::Float => out.extend(float(*time).to_be_bytes()),
            _ => out.extend((time * 7).to_be_bytes()),
        }
    }
    out
}

/// Of every size, the same one for some time.
fn integer(time: i64) -> i64 {
    match time / 2000 % 5 {
        0 => time % 100,
        1 => -time,
        2 => time * 7 - 100_000,
        3 => i64::MIN + time,
        _ => time << 17,
    }
}

/// Short and long, the same for some time.
fn float(time: i64) -> f64 {
    match time / 2000 % 5 {
        0 => time as f64,
        1 => (time % 1000) as f64 / 10.0,
        2 => time as f64 / 1e4,
        3 => -(time as f64) * 1e3,
        _ => (time as f64).sqrt(),
    }
}

fn group(kind: Kind, points: &[u8]) -> Group<'_> {
    let key = b"k";
    Group { key, kind, points }
}

fn all(store: &Store, chunks: &[Chunk], kind: Kind) -> Column {
    let mut all = Column::new(kind);
    for chunk in chunks {
        let before = all.len();
        store.unpack(chunk, &mut all);
        assert_eq!(chunk.len as usize, all.len() - before);
        assert_eq!(
            (chunk.first, Some(&chunk.last)),
            (all.times[before], all.times.last())
        );
        assert!(chunk.len as usize <= MOST && (chunk.used as usize <= WIDE || chunk.len == 1));
    }
    all
}

/// Some times that ascend: so many, with this step as a rule, and one that is too late in every so many.
fn ascending(start: i64, n: usize, step: i64, odd: usize) -> Vec<i64> {
    let time = |i: usize| start + i as i64 * step + i64::from(i % odd == odd - 1 && step > 1);
    (0..n).map(time).collect()
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Float),
        Just(Kind::Integer),
        Just(Kind::Unsigned),
        Just(Kind::Boolean),
        Just(Kind::String),
    ]
}

proptest! {
    #[test]
    fn what_was_appended_is_unpacked(
        kind in kinds(),
        groups in prop::collection::vec((1..1500usize, 1..4i64, 2..2000usize, 0..3i64), 1..12),
    ) {
        let (mut store, mut chunks, mut other) = (Store::default(), Vec::new(), Vec::new());
        let mut plain = Column::new(kind);
        for (n, step, odd, gap) in groups {
            let start = plain.times.last().map_or(5, |last| last + step + gap);
            // Many are short.
            let n = if n % 3 == 0 { n } else { 1 + n % 11 };
            let points = points(kind, &ascending(start, n, step, odd));
            unpack(&points, &mut plain);
            prop_assert!(store.append(&mut chunks, &group(kind, &points)));
            // Another key in between.
            prop_assert!(store.append(&mut other, &group(kind, &points)));
        }
        prop_assert_eq!(&plain, &all(&store, &chunks, kind));
        prop_assert_eq!(&plain, &all(&store, &other, kind));
        let packed = store.pack(&plain);
        prop_assert_eq!(&plain, &all(&store, &packed, kind));
    }

    #[test]
    fn what_does_not_follow_is_not_appended(
        kind in kinds(),
        mut times in prop::collection::vec(0..5000i64, 0..20),
        before in 0..500i64,
        is_sorted: bool,
    ) {
        if is_sorted {
            times.sort_unstable();
        }
        let (mut store, mut chunks) = (Store::default(), Vec::new());
        store.append(&mut chunks, &group(kind, &points(kind, &[before])));
        let is_ascending = [&[before], &times[..]].concat().is_sorted_by(|a, b| a < b);
        let points = points(kind, &times);
        prop_assert_eq!(is_ascending, store.append(&mut chunks, &group(kind, &points)));
        let n = if is_ascending { 1 + times.len() } else { 1 };
        prop_assert_eq!(n, all(&store, &chunks, kind).len());
    }
}

#[test]
fn the_ends_of_time_are_not_even() {
    let times = [i64::MIN, 0, i64::MAX];
    let mut points = Vec::new();
    times.iter().for_each(|time| {
        points.extend(time.to_be_bytes());
        points.extend([0; 8]);
    });
    let (mut store, mut chunks) = (Store::default(), Vec::new());
    assert!(store.append(&mut chunks, &group(Kind::Integer, &points)));
    assert_eq!(times, *all(&store, &chunks, Kind::Integer).times);
    assert!(!store.append(&mut chunks, &group(Kind::Integer, &points[..16])));
    assert!(!store.append(&mut chunks, &group(Kind::Float, &points[32..])));
}

#[test]
fn a_few_values_at_a_time_do_not_become_many_chunks() {
    for n in 1..20 {
        let (mut store, mut chunks, mut start) = (Store::default(), Vec::new(), 0);
        for i in 0..4000 {
            let times = ascending(start, n, 1 + i % 3, usize::MAX);
            start = times[n - 1] + 10;
            let points = points(Kind::Unsigned, &times);
            assert!(store.append(&mut chunks, &group(Kind::Unsigned, &points)));
        }
        let bytes = store.slabs.iter().map(|slab| slab.used).sum::<usize>();
        let all = bytes + chunks.len() * size_of::<Chunk>();
        assert!(all < 19 * 4000 * n, "{n} at a time: {}", all / 4000 / n);
    }
}

#[test]
fn times_that_are_even_take_no_memory() {
    let held = |odd: usize| {
        let (mut store, mut chunks) = (Store::default(), Vec::new());
        for part in ascending(0, 100_000, 10, odd).chunks(200) {
            let points = points(Kind::Unsigned, part);
            assert!(store.append(&mut chunks, &group(Kind::Unsigned, &points)));
        }
        store.slabs.iter().map(|slab| slab.used).sum::<usize>()
    };
    assert!((800_000..820_000).contains(&held(usize::MAX)));
    assert!((1_600_000..1_640_000).contains(&held(2)));
    // Even in every second group of the log.
    assert!(held(400) < 1_700_000);
}

#[test]
fn integers_of_every_width_are_unpacked() {
    let ends = [(15, 2), (31, 4), (63, 8)];
    let ends = ends.map(|(bits, width)| (((1i128 << bits) - 1) as i64, width));
    for (value, expected) in [(0, 2), (-1, 2)].into_iter().chain(ends) {
        for value in [value, -value, !value] {
            let held: Vec<_> = [0, value, -1].repeat(10);
            let points = held.iter().zip(0i64..);
            let points = points.flat_map(|(value, time)| [time.to_be_bytes(), value.to_be_bytes()]);
            let points: Vec<_> = points.flatten().collect();
            let (mut store, mut chunks) = (Store::default(), Vec::new());
            assert!(store.append(&mut chunks, &group(Kind::Integer, &points)));
            assert_eq!(expected, chunks[0].form.width, "{value}");
            let found = all(&store, &chunks, Kind::Integer).values;
            assert_eq!(Values::Integer(held), found);
        }
    }
}

#[test]
fn integers_that_become_large_now_and_then_do_not_become_many_chunks() {
    let (mut store, mut chunks) = (Store::default(), Vec::new());
    let mut plain = Column::new(Kind::Integer);
    for (time, n) in (0i64..10_000).zip([1i64, 2, 70_000, 3].into_iter().cycle()) {
        let point = [time.to_be_bytes(), (n << (time % 7)).to_be_bytes()].concat();
        unpack(&point, &mut plain);
        assert!(store.append(&mut chunks, &group(Kind::Integer, &point)));
    }
    assert!(chunks.len() < 40, "{}", chunks.len());
    assert_eq!(plain, all(&store, &chunks, Kind::Integer));
}

/// Bytes that the chunks of a key may have after groups of ten values at uneven times, one behind the other; before
/// each it is said what has come and what is still to come.
fn rooms(foreseen: &[(u64, u64)]) -> Vec<u32> {
    let (mut store, mut chunks) = (Store::default(), Vec::new());
    for (i, (come, still)) in (0..).zip(foreseen) {
        let times: Vec<_> = (10 * i..10 * i + 10).map(|n| n * n).collect();
        store.foresee(*come, *still);
        assert!(store.append(
            &mut chunks,
            &group(Kind::Integer, &points(Kind::Integer, &times))
        ));
    }
    chunks.iter().map(|chunk| chunk.room).collect()
}

#[test]
fn a_chunk_has_room_for_twice_as_much_as_the_one_before_and_no_more_than_is_to_come() {
    // Nobody knows.
    assert_eq!(vec![160, 320, 640], rooms(&[(0, 0); 4]));
    // Much is to come.
    assert_eq!(
        vec![160, 320, 640],
        rooms(&[(1, 99), (2, 98), (3, 97), (4, 96)])
    );
    // Four groups, then five.
    assert_eq!(
        vec![160, 320, 160],
        rooms(&[(1, 3), (2, 2), (3, 1), (4, 0)])
    );
    assert_eq!(
        vec![160, 320, 320],
        rooms(&[(1, 4), (2, 3), (3, 2), (4, 1), (5, 0)])
    );
    // Less than was to come, and more.
    assert_eq!(vec![160, 320], rooms(&[(1, 9), (2, 8)]));
    assert_eq!(vec![160, 160, 160], rooms(&[(1, 1), (2, 0), (3, 0)]));
    assert_eq!(vec![160, 320], rooms(&[(u64::MAX, 0), (1, u64::MAX)]));
}
