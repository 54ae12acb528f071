//! Clocks side by side: which fields have a value at the next time?

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;
use std::ops::Range;

use super::lane::Lane;

/// So many times are compared at first.
const FIRST: usize = 8;

/// Goes through the times of some clocks in ascending order. Reused from slice to slice.
#[derive(Debug, Default)]
pub struct Walk {
    /// The next time of each clock, by position.
    heads: Vec<usize>,
    /// The same by time, for the clocks that do not stand at the time at work.
    ahead: BinaryHeap<Reverse<(i64, usize)>>,
    /// The clocks that stand there, and those that stood at the time before.
    here: Vec<usize>,
    before: Vec<usize>,
    /// Each clock with its lanes, ascending.
    lanes: Vec<(usize, usize)>,
    /// The lanes that have a value, ascending.
    active: Vec<usize>,
}

impl Walk {
    /// Stand before the first time.
    pub fn begin(&mut self, lanes: &[Lane], clocks: &[Vec<i64>]) {
        self.heads.clear();
        self.heads.resize(clocks.len(), 0);
        self.ahead.clear();
        let first = clocks.iter().map(|times| times.first()).enumerate();
        let first = first.filter_map(|(clock, time)| Some(Reverse((*time?, clock))));
        self.ahead.extend(first);
        self.here.clear();
        self.before.clear();
        self.lanes.clear();
        let lanes = lanes.iter().enumerate();
        self.lanes.extend(lanes.map(|(i, lane)| (lane.clock, i)));
        self.lanes.sort_unstable();
        self.active.clear();
    }

    /// The next time, and those behind it at which the same lanes have values.
    pub fn next<'a>(&mut self, clocks: &'a [Vec<i64>]) -> Option<&'a [i64]> {
        let Reverse((time, first)) = self.ahead.pop()?;
        mem::swap(&mut self.here, &mut self.before);
        self.here.clear();
        self.here.push(first);
        let is_here = |next: &Reverse<(i64, usize)>| next.0.0 == time;
        while self.ahead.peek().is_some_and(is_here) {
            self.here.extend(self.ahead.pop().map(|next| next.0.1));
        }
        if self.here != self.before {
            self.settle();
        }
        let n = self.run(clocks);
        let from = self.heads.get(first).copied().unwrap_or_default();
        for clock in &self.here {
            if let (Some(head), Some(times)) = (self.heads.get_mut(*clock), clocks.get(*clock)) {
                *head += n;
                let next = times.get(*head).map(|time| Reverse((*time, *clock)));
                self.ahead.extend(next);
            }
        }
        clocks.get(first)?.get(from..from + n)
    }

    /// The lanes that have a value at the times last given, ascending.
    pub fn active(&self) -> &[usize] {
        &self.active
    }

    fn settle(&mut self) {
        self.active.clear();
        for clock in &self.here {
            let at = self.lanes.partition_point(|(of, _)| of < clock);
            let own = self.lanes.iter().skip(at);
            let own = own.take_while(|(of, _)| of == clock);
            self.active.extend(own.map(|(_, lane)| *lane));
        }
        self.active.sort_unstable();
    }

    /// How many times from the next one on all clocks that stand there have, and no other one.
    fn run(&self, clocks: &[Vec<i64>]) -> usize {
        let other = self.ahead.peek().map(|next| next.0.0);
        let rest = |clock: &usize| clocks.get(*clock)?.get(*self.heads.get(*clock)?..);
        let mut here = self.here.iter().filter_map(rest);
        let Some(lead) = here.next() else {
            return 0;
        };
        let most = other.map_or(lead.len(), |other| {
            lead.partition_point(|time| *time < other)
        });
        // In steps that grow: where the run is short no clock is compared further than it is worth.
        let (mut n, mut step) = (0, FIRST);
        loop {
            let end = most.min(n + step);
            let same = here
                .clone()
                .fold(end, |end, times| equal(lead, times, n..end));
            if same < end || end == most {
                return same;
            }
            (n, step) = (end, 2 * step);
        }
    }
}

/// Up to where two clocks have the same times, within a stretch in which they may.
fn equal(a: &[i64], b: &[i64], within: Range<usize>) -> usize {
    let from = within.start;
    let (a, b) = (a.get(within), b.get(from..));
    let pairs = a.into_iter().flatten().zip(b.into_iter().flatten());
    from + pairs.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Kind, Values};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn walked(of: &[usize], clocks: &[Vec<i64>]) -> Vec<(i64, Vec<usize>)> {
        let lane = |clock: &usize| Lane {
            field: Vec::new(),
            name: Vec::new(),
            values: Values::new(Kind::Float),
            clock: *clock,
        };
        let lanes: Vec<_> = of.iter().map(lane).collect();
        let (mut walk, mut all) = (Walk::default(), Vec::new());
        walk.begin(&lanes, clocks);
        while let Some(times) = walk.next(clocks) {
            let times = times.to_vec();
            all.extend(times.into_iter().map(|time| (time, walk.active().to_vec())));
        }
        all
    }

    proptest! {
        #[test]
        fn each_time_comes_once_with_all_lanes_that_have_it(
            clocks in proptest::collection::vec(proptest::collection::btree_set(-20i64..20, 1..20), 1..6),
            of in proptest::collection::vec(0usize..6, 6..9),
        ) {
            // Each clock has a lane.
            let of: Vec<_> = (0..clocks.len()).chain(of).map(|clock| clock % clocks.len()).collect();
            let mut rule: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
            for (lane, clock) in of.iter().enumerate() {
                clocks[*clock].iter().for_each(|time| rule.entry(*time).or_default().push(lane));
            }
            let sorted = |times: &BTreeSet<i64>| times.iter().copied().collect();
            let clocks: Vec<Vec<i64>> = clocks.iter().map(sorted).collect();
            prop_assert_eq!(rule.into_iter().collect::<Vec<_>>(), walked(&of, &clocks));
        }
    }
}
