//! What `/metrics` says of the objectives.

use std::time::Duration;

use metrics::{Unit, describe_gauge, gauge};

use super::SloStatus;
use crate::time::short;

pub fn describe() {
    describe_gauge!("devpulse_slo_objective_ratio", "The share of good events wanted.");
    describe_gauge!("devpulse_slo_window_seconds", Unit::Seconds, "The window of the error budget.");
    describe_gauge!("devpulse_slo_burn_rate", "How many times faster than sustainable the budget burns, per window.");
    describe_gauge!("devpulse_slo_measured_ratio", "The share of the window that the service was measured for.");
    describe_gauge!("devpulse_slo_error_ratio", "The share of bad events, per window.");
    describe_gauge!("devpulse_slo_error_budget_remaining_ratio", "1 untouched, 0 used up, below 0 overdrawn.");
    describe_gauge!(
        "devpulse_slo_time_to_exhaustion_seconds",
        Unit::Seconds,
        "Until the budget is used up at the rate of the last hour; +Inf: not at this rate."
    );
    describe_gauge!(
        "devpulse_slo_last_event_timestamp_seconds",
        Unit::Seconds,
        "Start of the newest 10 seconds with events."
    );
}

/// Sets the gauges of one objective. What was not measured is NaN, never 0.
pub fn set(status: &SloStatus) {
    let labels = [
        ("service", status.service.clone()),
        ("environment", status.environment.clone()),
        ("slo", status.name.clone()),
    ];
    gauge!("devpulse_slo_objective_ratio", &labels).set(status.objective);
    gauge!("devpulse_slo_window_seconds", &labels).set(crate::num::float(status.window_seconds));
    let remaining = status.error_budget_remaining;
    gauge!("devpulse_slo_error_budget_remaining_ratio", &labels).set(remaining.unwrap_or(f64::NAN));
    let never = if remaining.is_some() { f64::INFINITY } else { f64::NAN };
    gauge!("devpulse_slo_time_to_exhaustion_seconds", &labels).set(status.time_to_exhaustion_seconds.unwrap_or(never));
    if let Some(last) = status.last_event_at {
        gauge!("devpulse_slo_last_event_timestamp_seconds", &labels).set(last.seconds_f64());
    }
    for rate in &status.burn_rates {
        let [service, environment, slo] = labels.clone();
        let labels = [service, environment, slo, ("window", short(Duration::from_secs(rate.window_seconds)))];
        gauge!("devpulse_slo_burn_rate", &labels).set(rate.burn_rate.unwrap_or(f64::NAN));
        gauge!("devpulse_slo_measured_ratio", &labels).set(rate.measured_share);
        let ratio = super::Counts::new(rate.bad, rate.total).ratio();
        gauge!("devpulse_slo_error_ratio", &labels).set(ratio.unwrap_or(f64::NAN));
    }
}
