//! Which batches have to be there before the next one may be sent?

/// What has to be there before the next batch is sent, where several are on their way at once.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Batches that go in any order are on their way.
    free: bool,
    /// Batches of lanes are on their way.
    lanes: bool,
    /// All of that comes before what is sent next.
    due: bool,
}

impl Order {
    /// A stream ends here. Each point is in it at most once, but the next one may hold the same.
    pub fn boundary(&mut self) {
        self.due |= self.free;
    }

    /// Whether a batch has to wait for all before it.
    pub fn holds_up(&mut self, lane: Option<usize>) -> bool {
        let waits = self.due || (lane.is_none() && self.lanes);
        if waits {
            *self = Self::default();
        }
        match lane {
            Some(_) => self.lanes = true,
            None => self.free = true,
        }
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_that_may_hold_the_same_points_are_sent_one_after_the_other() {
        let mut order = Order::default();
        assert!(!order.holds_up(None));
        assert!(!order.holds_up(None));
        order.boundary();
        assert!(order.holds_up(None));
        order.boundary();
        assert!(order.holds_up(Some(1)));
        assert!(!order.holds_up(Some(2)));
        // Lanes keep their order from stream to stream.
        order.boundary();
        assert!(!order.holds_up(Some(1)));
        assert!(order.holds_up(None));
        assert!(!order.holds_up(None));
    }
}
