//! The delivery metrics as gauges, computed by the code that answers `GET /api/v1/dora`.
//!
//! A metric without data has no gauge; one whose data left the window becomes NaN. Neither is
//! ever 0, which would say that all is well.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::num::float;
use crate::store::dora::{DoraCache, NO_SERVICE, Reading, Rows, Wanted};
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

/// Which gauges were set, and for whom they must be computed anew.
#[derive(Default)]
pub struct DoraGauges {
    owners: BTreeMap<Owner, Seen>,
    config: Option<Arc<Config>>,
}

/// A service in an environment, by its configured name.
type Owner = (String, String);

struct Seen {
    /// The newest projection that was read.
    changed: i64,
    at: Timestamp,
    /// Name and window; those whose data went away must say so.
    set: BTreeSet<(&'static str, String)>,
}

/// Time alone moves deployments out of a window: each refresh computes so large a part of the
/// gauges anew that no fact changed.
const PART: usize = 10;

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
        let reconfigured = self.config.as_ref().is_none_or(|known| !Arc::ptr_eq(known, config));
        self.config = Some(Arc::clone(config));
        let longest = config.dora.windows.iter().max().copied().unwrap_or_default();
        let window = Window { from: now.minus(longest), to: now };
        let reading = cache.read(store, config, &Wanted::All, Some(window)).await?;
        let owners = owners(&reading);
        let rows = reading.by_service();
        let of = |owner: &Owner| rows.get(owner.0.as_str()).map(Vec::as_slice).unwrap_or_default();
        let newest = |owner: &Owner| of(owner).iter().map(|rows| rows.changed).max().unwrap_or_default();
        let (mut due, mut rest): (Vec<&Owner>, Vec<&Owner>) = owners.iter().partition(|owner| {
            reconfigured || self.owners.get(*owner).is_none_or(|seen| seen.changed != newest(owner))
        });
        rest.sort_by_key(|owner| self.owners.get(*owner).map(|seen| seen.at));
        due.extend(rest.iter().take(rest.len().div_ceil(PART)));
        for owner in due {
            let gauges = gauges(&reading, of(owner), owner, config, now);
            self.set(owner, gauges, newest(owner), now);
            // Others share the thread.
            tokio::task::yield_now().await;
        }
        let gone: Vec<Owner> = self.owners.keys().filter(|owner| !owners.contains(*owner)).cloned().collect();
        for owner in gone {
            self.set(&owner, Vec::new(), 0, now);
        }
        Ok(())
    }

    /// Name, window (empty for none) and value of every gauge that the owner has now.
    fn set(&mut self, owner: &Owner, gauges: Vec<(&'static str, String, f64)>, changed: i64, at: Timestamp) {
        let mut still = BTreeSet::new();
        for (name, window, value) in gauges {
            set(name, owner, &window, value);
            still.insert((name, window));
        }
        let seen = self.owners.entry(owner.clone()).or_insert_with(|| Seen { changed, at, set: BTreeSet::new() });
        for (name, window) in seen.set.difference(&still) {
            set(name, owner, window, f64::NAN);
        }
        (seen.changed, seen.at) = (changed, at);
        seen.set.extend(still);
    }
}

fn set(name: &'static str, (service, environment): &Owner, window: &str, value: f64) {
    let mut labels = vec![("service", service.clone()), ("environment", environment.clone())];
    if !window.is_empty() {
        labels.push(("window", window.to_owned()));
    }
    gauge!(name, &labels).set(value);
}

fn owners(reading: &Reading) -> BTreeSet<Owner> {
    let named = reading.places.keys().filter(|(service, _)| service != NO_SERVICE);
    let named = named.map(|(service, raw)| (service, reading.rules.environment(raw).0));
    let production = named.filter(|(_, environment)| reading.rules.is_production(environment));
    production.map(|(service, environment)| (service.clone(), environment.to_owned())).collect()
}

/// Name, window (empty for none) and value of each gauge that has one.
fn gauges(
    reading: &Reading,
    rows: &[&Rows],
    (service, environment): &Owner,
    config: &Config,
    now: Timestamp,
) -> Vec<(&'static str, String, f64)> {
    let wanted = |of: &str, name: &str| of == service && name == environment;
    let selected = reading.select_from(rows.iter().copied(), wanted, Arrival::First);
    let calendar = calendar_of(service, config);
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
    let last = reading.places_of(service).filter(|(raw, _)| reading.rules.environment(raw).0 == environment);
    if let Some(last) = last.filter_map(|(_, place)| place.last_success_at).max() {
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
