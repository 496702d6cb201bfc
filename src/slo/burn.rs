//! Burn rates and the multi-window judgement.
//!
//! b = 1 − objective; burn(W) = e(W)/b; a pair (long L, short L/12, budget share p) fires when both
//! windows burn faster than B* = p·T/L (The Site Reliability Workbook, chapter 5, computed from the
//! real T, so that the thresholds fit objectives over 7 days as well as over 30).

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Counts, Ring};
use crate::config::model::{BurnPair, Severity};
use crate::num::float;
use crate::time::Timestamp;

/// One-sided 95 %: a page wants evidence that the rate is really above the threshold.
const Z: f64 = 1.644_854;

/// How many times faster than sustainable the budget burns; `None` without events.
pub fn burn(counts: Counts, objective: f64) -> Option<f64> {
    counts.ratio().map(|ratio| ratio / (1.0 - objective))
}

/// B* = p·T/L: burning this fast for L uses the share p of the budget.
pub fn threshold(pair: &BurnPair, window: Duration) -> f64 {
    pair.budget_share * window.as_secs_f64() / pair.long.as_secs_f64()
}

/// The lower end of the one-sided 95 % Wilson interval of the error ratio; 0 without events.
pub fn lower_bound(counts: Counts) -> f64 {
    let Some(ratio) = counts.ratio() else { return 0.0 };
    let n = float(counts.total);
    let centre = ratio + Z * Z / (2.0 * n);
    let spread = Z * (ratio * (1.0 - ratio) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((centre - spread) / (1.0 + Z * Z / n)).max(0.0)
}

/// What one pair of windows says.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Judgement {
    /// Seconds.
    pub long_window: u64,
    pub short_window: u64,
    pub threshold: f64,
    /// `None` without events in the window.
    pub long_burn: Option<f64>,
    pub short_burn: Option<f64>,
    /// The share of the long window that the service was measured for.
    pub measured_share: f64,
    pub severity: Severity,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both windows burn above the threshold.
    Burning,
    /// Both do, but so few events cannot prove it: worth a ticket, not a page.
    BurningOnLowTraffic,
    /// Both do, but the service was measured for so short a time that the share of the budget which
    /// the pair watches over cannot be used yet.
    BurningTooBriefly,
    Calm,
    /// No events in the short window: nothing can be said.
    NoData,
}

/// Judges one pair now.
///
/// A long window longer than the service was measured for is scaled to what has really been consumed of
/// the budget: a service of three minutes cannot have burned for three days.
pub fn judge(ring: &Ring, pair: &BurnPair, objective: f64, window: Duration, now: Timestamp) -> Judgement {
    let (long, short) = (ring.sum(pair.long, now), ring.sum(pair.short, now));
    let measured_share = ring.measured_share(pair.long, now);
    let threshold = threshold(pair, window);
    let exceeds = |ratio: f64, share: f64| ratio * share / (1.0 - objective) > threshold;
    let verdict = match (long.ratio(), short.ratio()) {
        (Some(l), Some(s)) if exceeds(l, measured_share) && exceeds(s, 1.0) => {
            if exceeds(lower_bound(long), measured_share) { Verdict::Burning } else { Verdict::BurningOnLowTraffic }
        }
        (Some(l), Some(s)) if exceeds(l, 1.0) && exceeds(s, 1.0) => Verdict::BurningTooBriefly,
        (_, None) => Verdict::NoData,
        _ => Verdict::Calm,
    };
    Judgement {
        long_window: pair.long.as_secs(),
        short_window: pair.short.as_secs(),
        threshold,
        long_burn: burn(long, objective),
        short_burn: burn(short, objective),
        measured_share,
        severity: if verdict == Verdict::BurningOnLowTraffic { Severity::Ticket } else { pair.severity },
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const T0: i64 = 1_790_000_000;

    fn pair(long: u64, share: f64, severity: Severity) -> BurnPair {
        let short = Duration::from_secs(long / 12);
        BurnPair { long: Duration::from_secs(long), short, budget_share: share, severity }
    }

    /// The Site Reliability Workbook, chapter 5, table 5-6: 14.4, 6 and 1 for a 30 day window.
    #[test]
    fn the_workbooks_thresholds_for_thirty_days() {
        let month = Duration::from_secs(30 * DAY);
        for (long, share, expected) in [(3_600, 0.02, 14.4), (6 * 3_600, 0.05, 6.0), (3 * DAY, 0.10, 1.0)] {
            assert!((threshold(&pair(long, share, Severity::Page), month) - expected).abs() < 1e-9);
        }
    }

    #[test]
    fn a_seven_day_objective_has_its_own_factor() {
        let week = Duration::from_secs(7 * DAY);
        assert!((threshold(&pair(3_600, 0.02, Severity::Page), week) - 3.36).abs() < 1e-9);
    }

    fn judged(ring: &Ring, pair: &BurnPair) -> Verdict {
        judge(ring, pair, 0.999, Duration::from_secs(30 * DAY), Timestamp::from_seconds(T0)).verdict
    }

    fn steady(hours: i64, bad: u64, total: u64) -> Ring {
        let mut ring = Ring::default();
        for cell in 0..hours * 360 {
            ring.add(T0 - cell * 10, Counts::new(bad, total));
        }
        ring
    }

    #[test]
    fn fires_only_when_both_windows_burn() {
        let page = pair(3_600, 0.02, Severity::Page);
        assert_eq!(judged(&steady(2, 2, 100), &page), Verdict::Burning);
        assert_eq!(judged(&steady(2, 1, 100), &page), Verdict::Calm);
        let mut over = Ring::default();
        for cell in 0..720 {
            let bad = if cell < 60 { 0 } else { 5 };
            over.add(T0 - cell * 10, Counts::new(bad, 100));
        }
        assert_eq!(judged(&over, &page), Verdict::Calm, "the trouble is over: the short window is clean");
    }

    #[test]
    fn few_events_make_a_ticket_and_none_make_nothing() {
        let page = pair(3_600, 0.02, Severity::Page);
        let mut few = steady(2, 0, 0);
        few.add(T0 - 7_000, Counts::new(0, 1));
        few.add(T0 - 20, Counts::new(1, 40));
        assert_eq!(judged(&few, &page), Verdict::BurningOnLowTraffic);
        assert_eq!(judged(&Ring::default(), &page), Verdict::NoData);
    }

    #[test]
    fn a_young_service_cannot_raise_a_three_day_ticket() {
        let mut young = Ring::default();
        for cell in 0..18 {
            young.add(T0 - cell * 10, Counts::new(5, 10));
        }
        assert_eq!(judged(&young, &pair(3 * DAY, 0.10, Severity::Ticket)), Verdict::BurningTooBriefly);
        assert_eq!(judged(&young, &pair(3_600, 0.02, Severity::Page)), Verdict::Burning);
    }

    #[test]
    fn a_stray_event_of_the_past_makes_no_service_older() {
        let mut young = Ring::default();
        for cell in 0..4 {
            young.add(T0 - cell * 10, Counts::new(1, 25));
        }
        young.add(T0 - 2 * 86_400, Counts::new(0, 1));
        for (long, share) in [(3_600, 0.02), (6 * 3_600, 0.05)] {
            assert_eq!(judged(&young, &pair(long, share, Severity::Page)), Verdict::BurningTooBriefly);
        }
    }

    #[test]
    fn wilson_lower_bound_by_hand() {
        // 10 of 100, z = 1.644854: (0.1 + 0.013528 − 0.051134) / 1.027055 …
        assert!((lower_bound(Counts::new(10, 100)) - 0.060_78).abs() < 5e-4);
        assert!(lower_bound(Counts::default()).abs() < f64::EPSILON);
    }
}
