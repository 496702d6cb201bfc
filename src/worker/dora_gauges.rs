//! The delivery metrics as gauges, computed by the code that answers `GET /api/v1/dora`.
//!
//! A metric without data has no gauge; one whose data left the window becomes NaN. Neither is
//! ever 0, which would say that all is well.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Weekday;
use chrono_tz::Tz;
use metrics::{Unit, describe_gauge, gauge};

use crate::config::Config;
use crate::dora::Metric;
use crate::dora::calendar::{Calendar, Window};
use crate::dora::count::{LeadFrom, Question};
use crate::dora::figure::{Figures, Standards, figures};
use crate::dora::select::{Arrival, Selected};
use crate::dora::stats::Center;
use crate::dora::{Derived, Rules};
use crate::event::DeploymentOutcome;
use crate::num::float;
use crate::store::derived::{DoraCache, Wanted};
use crate::store::{Store, StoreError};
use crate::time::{Timestamp, short};

const LAST_DEPLOYMENT: &str = "devpulse_last_deployment_timestamp_seconds";

/// The gauge of a metric, and the gauge of how many samples it was computed from.
pub const fn names(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::DeploymentFrequency => {
            ("devpulse_dora_deployment_frequency_per_day", "devpulse_dora_deployment_frequency_samples")
        }
        Metric::ChangeLeadTime => ("devpulse_dora_change_lead_time_seconds", "devpulse_dora_change_lead_time_samples"),
        Metric::ChangeFailRate => ("devpulse_dora_change_fail_ratio", "devpulse_dora_change_fail_samples"),
        Metric::FailedDeploymentRecoveryTime => {
            ("devpulse_dora_failed_deployment_recovery_seconds", "devpulse_dora_failed_deployment_recovery_samples")
        }
        Metric::ReworkRate => ("devpulse_dora_rework_ratio", "devpulse_dora_rework_samples"),
        Metric::MeanTimeToRecovery => {
            ("devpulse_dora_mean_time_to_recovery_seconds", "devpulse_dora_mean_time_to_recovery_samples")
        }
    }
}

/// Tells the recorder what the gauges mean; once per process.
pub fn describe() {
    for metric in Metric::ALL {
        let (value, samples) = names(metric);
        let help = match metric {
            Metric::DeploymentFrequency => "Deployments per day of the window.",
            Metric::ChangeLeadTime => "Median time from a change's authoring to its first deployment.",
            Metric::ChangeFailRate => "Share of deployments that failed.",
            Metric::FailedDeploymentRecoveryTime => "Median time from a failed deployment to its restoration.",
            Metric::ReworkRate => "Share of deployments that were rollbacks or hotfixes.",
            Metric::MeanTimeToRecovery => "Mean time from an incident's start to its resolution.",
        };
        let unit = if metric.unit() == "seconds" { Unit::Seconds } else { Unit::Count };
        describe_gauge!(value, unit, help);
        describe_gauge!(
            samples,
            Unit::Count,
            "How many samples (deployments, changes or incidents) the value of the same name was computed from."
        );
    }
    describe_gauge!(LAST_DEPLOYMENT, Unit::Seconds, "When the newest deployment succeeded.");
}

/// Which gauges were set: those whose data went away must say so.
#[derive(Default)]
pub struct DoraGauges(HashSet<(&'static str, Labels)>);

type Labels = (String, String, String);

impl DoraGauges {
    /// Sets the gauges of every service, environment of tier production and configured window.
    ///
    /// # Errors
    /// The database does not answer; the gauges stay as they were.
    pub async fn refresh(
        &mut self,
        store: &Store,
        cache: &DoraCache,
        config: &Arc<Config>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let reading = cache.read(store, config, &Wanted::All).await?;
        let mut still = HashSet::new();
        for service in &reading.services {
            for environment in environments(service, &reading.rules) {
                for (name, window, value) in gauges(service, environment, config, now) {
                    let labels = (service.service.clone(), environment.to_owned(), window);
                    set(name, &labels, value);
                    still.insert((name, labels));
                }
            }
        }
        for (name, labels) in self.0.difference(&still) {
            set(name, labels, f64::NAN);
        }
        self.0.extend(still);
        Ok(())
    }
}

fn set(name: &'static str, (service, environment, window): &Labels, value: f64) {
    let mut labels = vec![("service", service.clone()), ("environment", environment.clone())];
    if !window.is_empty() {
        labels.push(("window", window.clone()));
    }
    gauge!(name, &labels).set(value);
}

fn environments<'a>(service: &'a Derived, rules: &Rules) -> BTreeSet<&'a str> {
    let deployed = service.deployments.iter().map(|row| row.environment.as_str());
    let broken = service.incidents.iter().map(|incident| incident.environment.as_str());
    deployed.chain(broken).filter(|name| rules.is_production(name)).collect()
}

/// Name, window (empty for none) and value of each gauge that has one.
fn gauges(service: &Derived, environment: &str, config: &Config, now: Timestamp) -> Vec<(&'static str, String, f64)> {
    let selected = Selected::new([service], [], |name| name == environment, Arrival::First);
    let calendar = calendar_of(&service.service, config);
    let mut gauges = Vec::new();
    for length in &config.dora.windows {
        let figures = figures_of(&selected, calendar, *length, now);
        for metric in Metric::ALL {
            let (figure, (value_name, samples_name)) = (figures.get(metric), names(metric));
            gauges.push((samples_name, short(*length), float(figure.n)));
            if let Some(value) = figure.value {
                gauges.push((value_name, short(*length), value));
            }
        }
    }
    let succeeded = selected.deployments.iter().filter(|(_, row)| row.outcome == DeploymentOutcome::Succeeded);
    if let Some(last) = succeeded.filter_map(|(_, row)| row.finished_at).max() {
        gauges.push((LAST_DEPLOYMENT, String::new(), last.seconds_f64()));
    }
    gauges
}

fn figures_of(selected: &Selected<'_>, calendar: Calendar, length: Duration, now: Timestamp) -> Figures {
    let question = Question {
        window: Window { from: now.minus(length), to: now },
        now,
        calendar,
        center: Center::Percentile(50.0),
        lead_from: LeadFrom::Authored,
        exclude_rollbacks: false,
    };
    figures(selected, &question, Standards::default())
}

fn calendar_of(service: &str, config: &Config) -> Calendar {
    let team = config.services.iter().find(|s| s.name == service).and_then(|s| s.team.as_deref());
    let team = config.teams.iter().find(|t| Some(t.name.as_str()) == team);
    Calendar {
        time_zone: team.map_or(Tz::UTC, |team| team.time_zone),
        week_starts_on: team.map_or(Weekday::Mon, |team| team.week_starts_on),
    }
}
