//! Where an objective stands: budget, burn per window, time to exhaustion.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::burn::{self, Judgement};
use super::{Counts, Ring};
use crate::config::model::{BurnPair, Indicator, Slo};
use crate::event::histogram::effective_threshold;
use crate::num::float;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SloStatus {
    pub name: String,
    pub service: String,
    pub environment: String,
    pub objective: f64,
    pub window_seconds: u64,
    pub indicator: IndicatorStatus,
    /// Over the whole window.
    pub bad: u64,
    pub total: u64,
    /// Ratios are `null` while nothing was measured.
    pub error_ratio: Option<f64>,
    /// 1 is untouched, 0 is used up, below 0 is overdrawn.
    pub error_budget_remaining: Option<f64>,
    /// At the rate of the last hour, with what leaves the window projected; `null`: not at this rate.
    pub time_to_exhaustion_seconds: Option<f64>,
    pub burn_rates: Vec<BurnRate>,
    pub alerts: Vec<Judgement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Unmeasured>,
    pub last_event_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum IndicatorStatus {
    Availability,
    Latency {
        threshold_ms: f64,
        /// What is really applied: the end of the histogram bucket that holds the threshold.
        effective_threshold_ms: f64,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BurnRate {
    pub window_seconds: u64,
    pub burn_rate: Option<f64>,
    /// The share of the window that the service was measured for: times the burn rate it is what
    /// alerts compare with their threshold in a long window.
    pub measured_share: f64,
    pub bad: u64,
    pub total: u64,
}

/// Why there is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmeasured {
    NoEventsInTheWindow,
}

impl From<Indicator> for IndicatorStatus {
    fn from(indicator: Indicator) -> Self {
        match indicator {
            Indicator::Availability => Self::Availability,
            Indicator::Latency { threshold } => {
                let micros = u64::try_from(threshold.as_micros()).unwrap_or(u64::MAX);
                Self::Latency {
                    threshold_ms: float(micros) / 1e3,
                    effective_threshold_ms: float(effective_threshold(micros)) / 1e3,
                }
            }
        }
    }
}

/// Computes the status of one objective now.
pub fn status(slo: &Slo, pairs: &[BurnPair], ring: &Ring, now: Timestamp) -> SloStatus {
    let whole = ring.sum(slo.window, now);
    let mut windows: Vec<Duration> = pairs.iter().flat_map(|pair| [pair.short, pair.long]).collect();
    windows.sort_unstable();
    windows.dedup();
    SloStatus {
        name: slo.name.clone(),
        service: slo.service.clone(),
        environment: slo.environment.clone(),
        objective: slo.objective,
        window_seconds: slo.window.as_secs(),
        indicator: slo.indicator.into(),
        bad: whole.bad,
        total: whole.total,
        error_ratio: whole.ratio(),
        error_budget_remaining: remaining(whole, slo.objective),
        time_to_exhaustion_seconds: time_to_exhaustion(slo, ring, now).map(|left| left.as_secs_f64()),
        burn_rates: windows.into_iter().map(|window| burn_rate(ring, window, slo.objective, now)).collect(),
        alerts: pairs.iter().map(|pair| burn::judge(ring, pair, slo.objective, slo.window, now)).collect(),
        reason: (whole.total == 0).then_some(Unmeasured::NoEventsInTheWindow),
        last_event_at: ring.last_event().map(Timestamp::from_seconds),
    }
}

/// 1 − e(T)/b, never clamped; `None` without events.
pub fn remaining(whole: Counts, objective: f64) -> Option<f64> {
    burn::burn(whole, objective).map(|burned| 1.0 - burned)
}

fn burn_rate(ring: &Ring, window: Duration, objective: f64, now: Timestamp) -> BurnRate {
    let counts = ring.sum(window, now);
    BurnRate {
        window_seconds: window.as_secs(),
        burn_rate: burn::burn(counts, objective),
        measured_share: ring.measured_share(window, now),
        bad: counts.bad,
        total: counts.total,
    }
}

/// How long until e(T) reaches b when the last hour goes on, cell by cell, while the oldest cells
/// leave the window. `None`: never within another window, or nothing is known.
fn time_to_exhaustion(slo: &Slo, ring: &Ring, now: Timestamp) -> Option<Duration> {
    const HOUR: Duration = Duration::from_hours(1);
    let budget = 1.0 - slo.objective;
    let rate = ring.sum(HOUR, now);
    let mut window: std::collections::VecDeque<Counts> = ring.cells(slo.window, now).collect();
    let step = ring.cell_width(slo.window);
    let share = step.as_secs_f64() / HOUR.as_secs_f64();
    let (bad, total) = (float(rate.bad) * share, float(rate.total) * share);
    let whole: Counts = window.iter().copied().sum();
    let (mut sum_bad, mut sum_total) = (float(whole.bad), float(whole.total));
    if sum_bad >= budget * sum_total && whole.total > 0 {
        return Some(Duration::ZERO);
    }
    if rate.bad == 0 || float(rate.bad) <= budget * float(rate.total) {
        return None; // sustainable
    }
    let full = slo.window.as_secs() / step.as_secs().max(1);
    for steps in 1..=u32::try_from(full).unwrap_or(u32::MAX) {
        if u64::try_from(window.len()).unwrap_or(u64::MAX) >= full
            && let Some(gone) = window.pop_front()
        {
            sum_bad -= float(gone.bad);
            sum_total -= float(gone.total);
        }
        window.push_back(Counts::default());
        let before = sum_bad - budget * sum_total;
        sum_bad += bad;
        sum_total += total;
        let after = sum_bad - budget * sum_total;
        if after >= 0.0 {
            let part = (-before / (after - before)).clamp(0.0, 1.0);
            return Some(step * (steps - 1) + step.mul_f64(part));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Severity;

    const T0: i64 = 1_790_000_000 - 1_790_000_000 % 3_600;
    const HOUR: u64 = 3_600;

    fn slo() -> Slo {
        Slo {
            name: "checkout-availability".into(),
            service: "checkout".into(),
            environment: "production".into(),
            objective: 0.99,
            window: Duration::from_secs(30 * 24 * HOUR),
            indicator: Indicator::Availability,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(T0 + 3_599)
    }

    #[test]
    fn nothing_measured_is_null_with_a_reason() {
        let status = status(&slo(), &[], &Ring::default(), now());
        assert_eq!((status.error_ratio, status.error_budget_remaining), (None, None));
        assert_eq!(status.reason, Some(Unmeasured::NoEventsInTheWindow));
    }

    #[test]
    fn the_budget_can_be_overdrawn() {
        let mut ring = Ring::default();
        ring.add(T0, Counts::new(20, 1_000));
        let status = status(&slo(), &[], &ring, now());
        assert!((status.error_budget_remaining.unwrap() + 1.0).abs() < 1e-9);
        assert_eq!(status.time_to_exhaustion_seconds, Some(0.0));
    }

    /// 100 hours of 1,000 clean requests; then 30 % of 1,000 an hour fail. Each bad hour adds
    /// 300 − 10 = 290 over budget; 1,000 of budget are there after the clean hours and 290 are used
    /// by the running hour: (1,000 − 290) / 290 more hours.
    #[test]
    fn time_to_exhaustion_at_the_present_rate() {
        let mut ring = Ring::default();
        for hour in 1..=100 {
            ring.add(T0 - hour * 3_600, Counts::new(0, 1_000));
        }
        for cell in 0..360 {
            ring.add(
                T0 + cell * 10,
                Counts::new(if cell % 6 == 0 { 5 } else { 0 }, if cell % 9 == 0 { 25 } else { 0 }),
            );
        }
        let left = status(&slo(), &[], &ring, now()).time_to_exhaustion_seconds.unwrap();
        let expected = (1_000.0 - 290.0) / 290.0 * 3_600.0;
        assert!((left - expected).abs() < 1.0, "{left} {expected}");
    }

    /// Clean for a window, then a tenth of the last hour's requests fail: the budget of a window of W
    /// hours, one hour of which is bad already, lasts so much longer that what slides out is clean.
    #[test]
    fn time_to_exhaustion_in_windows_of_each_resolution() {
        for hours in [6, 7, 75, 76] {
            let mut ring = Ring::default();
            for cell in 0..hours * 360 {
                let bad = if cell < 360 { 2 } else { 0 };
                ring.add(T0 + 3_590 - cell * 10, Counts::new(bad, 100));
            }
            // Over budget when a share of 0.5 of the window's time is bad at 0.02.
            let window = Duration::from_secs(HOUR * u64::try_from(hours).unwrap());
            let left = status(&Slo { window, ..slo() }, &[], &ring, now()).time_to_exhaustion_seconds.unwrap();
            let expected = (window.as_secs_f64() / 2.0) - 3_600.0;
            let cell = if hours < 7 {
                10.0
            } else if hours < 76 {
                60.0
            } else {
                3_600.0
            };
            assert!((left - expected).abs() <= cell, "{hours} h: {left} {expected}");
        }
    }

    #[test]
    fn a_sustainable_rate_never_exhausts() {
        let mut ring = Ring::default();
        ring.add(T0, Counts::new(5, 1_000));
        assert_eq!(status(&slo(), &[], &ring, now()).time_to_exhaustion_seconds, None);
    }

    #[test]
    fn every_window_of_the_pairs_has_a_burn_rate_once() {
        let pair = |long: u64| BurnPair {
            long: Duration::from_secs(long),
            short: Duration::from_secs(long / 12),
            budget_share: 0.02,
            severity: Severity::Page,
        };
        let status = status(&slo(), &[pair(HOUR), pair(12 * HOUR)], &Ring::default(), now());
        let windows: Vec<u64> = status.burn_rates.iter().map(|rate| rate.window_seconds).collect();
        assert_eq!(windows, [300, 3_600, 43_200]);
    }
}
