//! What the story amounts to, as data and as the table at its end.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::DemoError;

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
    pub alerts: usize,
    pub rollback: Value,
    /// `metrics` of `GET /api/v1/dora`.
    pub before: Value,
    pub after: Value,
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
pub fn table(before: &Value, after: &Value) -> Result<String, DemoError> {
    let mut text = format!("  {:<39}{:>14}{:>14}\n", "", "before", "after");
    for (metric, name) in ROWS {
        let (was, is) = (shown(&before[metric])?, shown(&after[metric])?);
        writeln!(text, "  {name:<39}{was:>14}{is:>14}").map_err(|_| DemoError::Shape("room for a table"))?;
    }
    Ok(text)
}

/// A value with its unit, as people read it.
fn shown(metric: &Value) -> Result<String, DemoError> {
    let unit = metric["unit"].as_str().ok_or(DemoError::Shape("a metric's unit"))?;
    let Some(value) = metric["value"].as_f64() else { return Ok("–".to_owned()) };
    Ok(match unit {
        "ratio" => format!("{:.1} %", value * 100.0),
        "seconds" if value < 120.0 => format!("{value:.1} s"),
        "seconds" if value < 7_200.0 => format!("{:.0} min", value / 60.0),
        "seconds" => format!("{:.1} h", value / 3_600.0),
        "deployments/day" => format!("{value:.2} a day"),
        other => format!("{value} {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_shown_with_the_unit_that_fits() {
        let shown = |value: Value, unit: &str| shown(&json!({"value": value, "unit": unit})).unwrap();
        assert_eq!(shown(json!(0.0556), "ratio"), "5.6 %");
        assert_eq!(shown(json!(3.21), "seconds"), "3.2 s");
        assert_eq!(shown(json!(5_700), "seconds"), "95 min");
        assert_eq!(shown(json!(9_000), "seconds"), "2.5 h");
        assert_eq!(shown(json!(1.4), "deployments/day"), "1.40 a day");
        assert_eq!(shown(Value::Null, "seconds"), "–");
    }
}
