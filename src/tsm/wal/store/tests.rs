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
        assert!(chunk.len as usize <= MOST && (chunk.size as usize <= WIDE || chunk.len == 1));
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

/// What is held of such points.
fn held(kind: Kind, points: &[u8]) -> Option<(Store, Vec<Chunk>)> {
    let (mut store, mut chunks) = (Store::default(), Vec::new());
    let is_held = store.hold(kind, points, &mut chunks);
    assert!(is_held || (chunks.is_empty() && store.slabs.is_empty()));
    is_held.then_some((store, chunks))
}

/// Bytes that such times take with their values.
fn memory(times: &[i64]) -> usize {
    let (store, chunks) = held(Kind::Unsigned, &points(Kind::Unsigned, times)).unwrap();
    let slabs = store.slabs.iter().map(|slab| slab.used).sum::<usize>();
    slabs + chunks.len() * size_of::<Chunk>()
}

proptest! {
    #[test]
    fn what_is_held_is_unpacked(
        kind in kinds(),
        groups in prop::collection::vec((1..1500usize, 1..4i64, 2..2000usize, 0..3i64), 1..12),
    ) {
        let (mut times, mut plain) = (Vec::new(), Column::new(kind));
        for (n, step, odd, gap) in groups {
            let start = times.last().map_or(5, |last| last + step + gap);
            // Many are short.
            let n = if n % 3 == 0 { n } else { 1 + n % 31 };
            times.extend(ascending(start, n, step, odd));
        }
        let points = points(kind, &times);
        unpack(&points, &mut plain);
        let (mut store, mut chunks) = held(kind, &points).unwrap();
        prop_assert_eq!(&plain, &all(&store, &chunks, kind));
        // Another key behind it, and more of the same one.
        let packed = store.pack(&plain);
        prop_assert_eq!(&plain, &all(&store, &packed, kind));
        let before = chunks.len();
        prop_assert!(store.hold(kind, &points, &mut chunks));
        prop_assert_eq!(&plain, &all(&store, &chunks[before..], kind));
    }

    #[test]
    fn what_does_not_ascend_is_not_held(
        kind in kinds(),
        mut times in prop::collection::vec(0..5000i64, 1..40),
        is_sorted: bool,
    ) {
        if is_sorted {
            times.sort_unstable();
        }
        let is_ascending = times.is_sorted_by(|a, b| a < b);
        prop_assert_eq!(is_ascending, held(kind, &points(kind, &times)).is_some());
    }
}

#[test]
fn the_ends_of_time_are_not_even() {
    let with_zeros = |times: &[i64]| {
        let points = times.iter().flat_map(|time| [time.to_be_bytes(), [0; 8]]);
        points.flatten().collect::<Vec<_>>()
    };
    // From the first time on; together longer than a time can be.
    let wide = |n, step: i64| {
        let times = (0..n).map(|i| (i128::from(i64::MIN) + i * i128::from(step)) as i64);
        times.collect::<Vec<_>>()
    };
    let middle: Vec<i64> = (0..20).collect();
    let times = [&[i64::MIN][..], &middle, &[i64::MAX]].concat();
    for times in [
        &times[..],
        &times[1..],
        &times[..21],
        &[i64::MIN, 0, i64::MAX],
        &wide(16, 1 << 60),
        &wide(20, 1 << 59),
        &wide(40, (u64::MAX / 40) as i64),
        &wide(3000, (u64::MAX / 3000) as i64),
    ] {
        let (store, chunks) = held(Kind::Integer, &with_zeros(times)).unwrap();
        assert_eq!(times, &*all(&store, &chunks, Kind::Integer).times);
    }
    for times in [[i64::MAX, i64::MIN], [0, 0], [i64::MIN, i64::MIN]] {
        assert!(held(Kind::Integer, &with_zeros(&times)).is_none());
    }
}

#[test]
fn times_that_are_even_take_no_memory() {
    let held = |odd: usize| memory(&ascending(0, 100_000, 10, odd));
    assert!((800_000..810_000).contains(&held(usize::MAX)));
    assert!((1_400_000..1_410_000).contains(&held(2)));
    // Wherever they are even for some time.
    assert!((800_000..850_000).contains(&held(400)));
    assert!(held(40) < 1_000_000);
    for odd in 2..100 {
        assert!(held(odd) < 1_410_000, "{odd}");
    }
}

#[test]
fn integers_of_every_width_are_unpacked() {
    let ends = [(15, 2), (31, 4), (63, 8)];
    let ends = ends.map(|(bits, width)| (((1i128 << bits) - 1) as i64, width));
    for (value, expected) in [(0, 2), (-1, 2)].into_iter().chain(ends) {
        for value in [value, -value, !value] {
            let values: Vec<_> = [0, value, -1].repeat(10);
            let points = values.iter().zip(0i64..);
            let points = points.flat_map(|(value, time)| [time.to_be_bytes(), value.to_be_bytes()]);
            let points: Vec<_> = points.flatten().collect();
            let (store, chunks) = held(Kind::Integer, &points).unwrap();
            assert_eq!(expected, chunks[0].form.width(), "{value}");
            let found = all(&store, &chunks, Kind::Integer).values;
            assert_eq!(Values::Integer(values), found);
        }
    }
}
