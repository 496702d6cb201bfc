//! What the story amounts to, as data and as the table at its end.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answers::{Metric, Rollback};

pub type Metrics = BTreeMap<String, Metric>;

/// The answer of `--output json`.
#[derive(Debug, Serialize)]
pub struct Facts {
    pub url: String,
    pub bad_version: String,
    pub live_version: String,
    pub requests_failed: u64,
    pub requests: u64,
    /// From the bad version's first request to the switch back.
    pub seconds_to_rollback: f64,
    pub seconds: f64,
    /// Messages to people.
    pub alerts: u64,
    /// Calls to the target.
    pub calls: u64,
    pub rollback: Rollback,
    /// By the names of `GET /api/v1/dora`.
    pub before: Metrics,
    pub after: Metrics,
}

const ROWS: [(&str, &str); 6] = [
    ("deployment_frequency", "Deployment frequency"),
    ("change_lead_time", "Change lead time (p50)"),
    ("change_fail_rate", "Change fail rate"),
    ("failed_deployment_recovery_time", "Failed deployment recovery time (p50)"),
    ("rework_rate", "Rework rate"),
    ("mean_time_to_recovery", "Mean time to recovery"),
];

/// The six numbers side by side.
pub fn table(before: &Metrics, after: &Metrics) -> String {
    let line = |name: &str, was: &str, is: &str| format!("  {name:<39}{was:>14}{is:>14}\n");
    let cell = |metrics: &Metrics, metric: &str| metrics.get(metric).map_or_else(|| "–".to_owned(), shown);
    let rows = ROWS.map(|(metric, name)| line(name, &cell(before, metric), &cell(after, metric)));
    line("", "before", "after") + &rows.concat()
}

/// A value with its unit, as people read it.
fn shown(metric: &Metric) -> String {
    let Some(value) = metric.value else { return "–".to_owned() };
    match metric.unit.as_str() {
        "ratio" => format!("{:.1} %", value * 100.0),
        "seconds" if value < 120.0 => format!("{value:.1} s"),
        "seconds" if value < 7_200.0 => format!("{:.0} min", value / 60.0),
        "seconds" => format!("{:.1} h", value / 3_600.0),
        "deployments/day" => format!("{value:.2} a day"),
        other => format!("{value} {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_the_unit_that_fits() {
        let shown = |value, unit: &str| shown(&Metric { value, unit: unit.to_owned(), n: 1 });
        assert_eq!(shown(Some(0.0556), "ratio"), "5.6 %");
        assert_eq!(shown(Some(3.21), "seconds"), "3.2 s");
        assert_eq!(shown(Some(5_700.0), "seconds"), "95 min");
        assert_eq!(shown(Some(9_000.0), "seconds"), "2.5 h");
        assert_eq!(shown(Some(1.4), "deployments/day"), "1.40 a day");
        assert_eq!(shown(None, "seconds"), "–");
    }
}
