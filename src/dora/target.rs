//! What a team wants of a metric, and whether it has it.

use serde::Serialize;
use utoipa::ToSchema;

use super::Metric;
use crate::config::model::Targets;

/// A target beside the value it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Target {
    /// In the metric's unit.
    pub limit: f64,
    /// A frequency is wanted to be at least its limit, everything else to be below it.
    pub wanted: Wanted,
    /// `null` while there is no value.
    pub met: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    AtLeast,
    Below,
}

/// `None` for the rework rate, which nobody sets a target for.
pub fn target(targets: &Targets, metric: Metric, value: Option<f64>) -> Option<Target> {
    let (limit, wanted) = match metric {
        Metric::DeploymentFrequency => (targets.deployments_per_day, Wanted::AtLeast),
        Metric::ChangeLeadTime => (targets.change_lead_time.as_secs_f64(), Wanted::Below),
        Metric::ChangeFailRate => (targets.change_fail_rate, Wanted::Below),
        Metric::FailedDeploymentRecoveryTime | Metric::MeanTimeToRecovery => {
            (targets.time_to_recovery.as_secs_f64(), Wanted::Below)
        }
        Metric::ReworkRate => return None,
    };
    let met = value.map(|value| match wanted {
        Wanted::AtLeast => value >= limit,
        Wanted::Below => value < limit,
    });
    Some(Target { limit, wanted, met })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn met(metric: Metric, value: Option<f64>) -> Option<bool> {
        let targets = Targets {
            deployments_per_day: 1.0,
            change_lead_time: Duration::from_hours(2),
            change_fail_rate: 0.05,
            time_to_recovery: Duration::from_mins(15),
        };
        target(&targets, metric, value).and_then(|target| target.met)
    }

    #[test]
    fn daily_below_two_hours_below_a_quarter_of_an_hour_below_five_per_cent() {
        assert_eq!(met(Metric::DeploymentFrequency, Some(1.0)), Some(true));
        assert_eq!(met(Metric::DeploymentFrequency, Some(0.99)), Some(false));
        assert_eq!(met(Metric::ChangeLeadTime, Some(7_199.0)), Some(true));
        assert_eq!(met(Metric::ChangeLeadTime, Some(7_200.0)), Some(false));
        assert_eq!(met(Metric::ChangeFailRate, Some(0.05)), Some(false));
        assert_eq!(met(Metric::FailedDeploymentRecoveryTime, Some(899.0)), Some(true));
        assert_eq!(met(Metric::MeanTimeToRecovery, Some(900.0)), Some(false));
        assert_eq!(met(Metric::ChangeLeadTime, None), None, "no value: neither met nor missed");
        assert_eq!(met(Metric::ReworkRate, Some(0.5)), None);
    }
}
