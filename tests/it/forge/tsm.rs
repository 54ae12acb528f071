//! TSM files and tombstones.

/// All the values of one key: blocks of integers, each with the times of its points.
pub struct Series<'a> {
    pub key: &'a str,
    /// What the index says; the blocks hold integers.
    pub kind: u8,
    pub blocks: &'a [&'a [(i64, i64)]],
}

/// A file with these keys, which must ascend.
pub fn file(all: &[Series<'_>]) -> Vec<u8> {
    let (mut bytes, mut index) = (vec![0x16, 0xd1, 0x16, 0xd1, 1], Vec::new());
    for series in all {
        index.extend((series.key.len() as u16).to_be_bytes());
        index.extend(series.key.bytes());
        index.push(series.kind);
        index.extend((series.blocks.len() as u16).to_be_bytes());
        for points in series.blocks {
            let frame = frame(points);
            let (first, last) = (points[0].0, points[points.len() - 1].0);
            index.extend(first.to_be_bytes().into_iter().chain(last.to_be_bytes()));
            index.extend((bytes.len() as u64).to_be_bytes());
            index.extend((frame.len() as u32).to_be_bytes());
            bytes.extend(frame);
        }
    }
    let offset = (bytes.len() as u64).to_be_bytes();
    bytes.extend(index);
    bytes.extend(offset);
    bytes
}

/// A block of integers in the plainest encoding.
fn frame(points: &[(i64, i64)]) -> Vec<u8> {
    let section = |numbers: Vec<i64>| {
        let deltas = numbers.iter().scan(0_i64, |before, n| {
            let delta = n.wrapping_sub(*before);
            *before = *n;
            Some(delta)
        });
        deltas.collect::<Vec<_>>()
    };
    let words = |words: Vec<u64>| {
        let mut bytes = vec![0];
        bytes.extend(words.into_iter().flat_map(u64::to_be_bytes));
        bytes
    };
    let times = section(points.iter().map(|point| point.0).collect());
    let times = words(times.into_iter().map(|t| t as u64).collect());
    let values = section(points.iter().map(|point| point.1).collect());
    let values = words(
        values
            .into_iter()
            .map(|v| ((v << 1) ^ (v >> 63)) as u64)
            .collect(),
    );
    let mut payload = vec![1];
    let mut n = times.len();
    while n >= 0x80 {
        payload.push(n as u8 | 0x80);
        n >>= 7;
    }
    payload.push(n as u8);
    payload.extend(times);
    payload.extend(values);
    let mut crc = flate2::Crc::new();
    crc.update(&payload);
    [crc.sum().to_be_bytes().to_vec(), payload].concat()
}

/// A tombstone file of version 2: keys with the first and last time that is deleted.
pub fn tombstone(deleted: &[(&str, i64, i64)]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x15, 2];
    for (key, min, max) in deleted {
        bytes.extend((key.len() as u32).to_be_bytes());
        bytes.extend(key.bytes());
        bytes.extend(min.to_be_bytes().into_iter().chain(max.to_be_bytes()));
    }
    bytes
}
