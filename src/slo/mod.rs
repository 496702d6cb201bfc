//! Objectives, error budgets and burn rates: pure arithmetic over (bad, total) counts in time buckets.
//!
//! Every indicator is reduced to [`Counts`] first; from there on there is one path of arithmetic.
//!
//! **Invariant:** no average of ratios anywhere: a ratio is taken once, of two sums.

pub mod burn;
pub mod gauges;
pub mod live;
pub mod ring;
pub mod status;

pub use burn::{Judgement, Verdict};
pub use live::Live;
pub use ring::Ring;
pub use status::SloStatus;

use crate::config::model::Indicator;
use crate::event::TelemetryDelta;
use crate::num::float;

/// Bad events out of all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Counts {
    pub bad: u64,
    pub total: u64,
}

impl Counts {
    pub const fn new(bad: u64, total: u64) -> Self {
        Self { bad, total }
    }

    /// What a delta means to an indicator.
    ///
    /// Latency counts only requests that came with a duration; "slower than" is decided by the
    /// histogram's bucket (see [`crate::event::histogram::effective_threshold`]).
    pub fn of(delta: &TelemetryDelta, indicator: Indicator) -> Self {
        match indicator {
            Indicator::Availability => Self::new(delta.errors, delta.requests),
            Indicator::Latency { threshold } => {
                let threshold = u64::try_from(threshold.as_micros()).unwrap_or(u64::MAX);
                Self::new(delta.durations.count_above(threshold), delta.durations.count())
            }
        }
    }

    /// The error ratio; `None` without events.
    pub fn ratio(self) -> Option<f64> {
        (self.total > 0).then(|| float(self.bad.min(self.total)) / float(self.total))
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.bad = self.bad.saturating_add(other.bad);
        self.total = self.total.saturating_add(other.total);
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        let mut sum = Self::default();
        for one in counts {
            sum += one;
        }
        sum
    }
}
