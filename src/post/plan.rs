//! What is to be done with points, and by which clock.

use std::time::Duration;

use crate::post::batch::Limits;
use crate::post::intake::Intake;
use crate::post::routing::{Expired, Periods, Routing};

/// What is to be done with points.
pub struct Plan {
    /// Where they go.
    pub routing: Routing,
    /// Whether buckets are made.
    pub create: bool,
    /// Whether InfluxQL is told by which database and policy to find them.
    pub map: bool,
    /// How long buckets keep points.
    pub periods: Periods,
    /// What becomes of points that are older; `None` for rejects, unless their source would drop them as well.
    pub expired: Option<Expired>,
    /// How they are written.
    pub intake: Intake,
    /// Whether it is certain in which unit their times are.
    pub is_certain: bool,
    /// How large batches grow.
    pub limits: Limits,
    /// How long a point waits for its batch to be full.
    pub age: Option<Duration>,
}

/// A moment, by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time of day, in nanoseconds since 1970.
    pub wall: i64,
    /// By a clock that never goes back.
    pub run: Duration,
}

/// Tells the time.
pub type Watch = Box<dyn Fn() -> Moment + Send>;
