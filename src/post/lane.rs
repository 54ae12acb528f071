//! Which lane does a point go in, where the order of the points of a series matters?

use memchr::memchr;
use xxhash_rust::xxh3::xxh3_64;

use crate::lp::record;

/// Says in which of some lanes a record goes. The order of the tags makes no difference.
#[derive(Debug, Default)]
pub struct Lanes {
    /// The series of the last record, as it was spelled, and the space behind it.
    last: Vec<u8>,
    lane: usize,
    lanes: usize,
}

impl Lanes {
    /// The lane of a record's series, one of `lanes`.
    pub fn of(&mut self, record: &[u8], lanes: usize) -> usize {
        // Exports come series by series.
        if self.lanes == lanes && !self.last.is_empty() && record.starts_with(&self.last) {
            return self.lane;
        }
        let series = record::series_key(record);
        self.lane = of(series, lanes);
        self.lanes = lanes;
        self.last.clear();
        // Blanks before it would make it another piece of the record.
        if record.starts_with(series) && record.get(series.len()) == Some(&b' ') {
            self.last.extend_from_slice(series);
            self.last.push(b' ');
        }
        self.lane
    }
}

fn of(series: &[u8], lanes: usize) -> usize {
    let name = record::measurement(series);
    let mut hash = xxh3_64(name);
    let mut rest = series.get(name.len() + 1..).unwrap_or_default();
    while !rest.is_empty() {
        let end = tag_end(rest);
        let (tag, behind) = rest.split_at(end);
        hash = hash.wrapping_add(xxh3_64(tag));
        rest = behind.get(1..).unwrap_or_default();
    }
    // The upper half of a product, which is even for any number of lanes.
    ((u128::from(hash) * lanes as u128) >> 64) as usize
}

/// Where a tag ends: at the first comma without a backslash before it.
fn tag_end(text: &[u8]) -> usize {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| memchr(b',', rest)) {
        let at = from + at;
        if at == 0 || text.get(at - 1) != Some(&b'\\') {
            return at;
        }
        from = at + 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_points_of_a_series_go_in_one_lane_however_it_is_written() {
        for lanes in 1..20 {
            let lane = |record: &str| Lanes::default().of(record.as_bytes(), lanes);
            let first = lane("m,a=1,b=x\\,y,c=3 v=1 1\n");
            assert!(first < lanes);
            assert_eq!(first, lane("m,c=3,a=1,b=x\\,y w=\"m,a=2\" 7\n"));
        }
    }

    #[test]
    fn series_are_spread_over_all_lanes() {
        let mut counts = [0; 4];
        for n in 0..4000 {
            counts[of(format!("m,host=h{n},dc=eu").as_bytes(), 4)] += 1;
        }
        assert!(counts.iter().all(|n| (900..1100).contains(n)), "{counts:?}");
        let lane = |series: &str| of(series.as_bytes(), 1 << 20);
        assert_ne!(lane("m,a=1"), lane("m,a=2"));
        assert_ne!(lane("m"), lane("n"));
    }

    #[test]
    fn what_came_before_makes_no_difference() {
        let records = [
            "m,a=1 v=1 1\n",
            "m,a=1 v=2 2\n",
            "m,a=1\\ v=2 v=2 2\n",
            "m,a=12 v=2 2\n",
            " m,a=1 v=2 2\n",
            "m v=2 2\n",
            "m",
        ];
        for lanes in [2, 1 << 30] {
            let mut with_memory = Lanes::default();
            for first in records {
                for second in records {
                    with_memory.of(first.as_bytes(), lanes);
                    let expected = Lanes::default().of(second.as_bytes(), lanes);
                    let lane = with_memory.of(second.as_bytes(), lanes);
                    assert_eq!(expected, lane, "{first}{second}");
                }
            }
        }
    }
}
