//! One number per metric, with everything that is needed to trust it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::Metric;
use super::benchmark::{Band, Benchmark};
use super::calendar::{Unit, Window};
use super::count::{Question, Reason};
use super::range::Origins;
use super::sample::Sample;
use super::select::Selected;
use super::stages::Stages;
use super::stats::{self, Center};
use super::tally::{Tallies, Tally};
use super::target::{Target, target};
use crate::config::model::Targets;
use crate::num::{float, signed_float};
use crate::time::Timestamp;

/// Weeks of a window that are looked at: a century and a half.
const MAX_WEEKS: usize = 8_000;

/// One metric over one window. Times are seconds, ratios lie between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Figure {
    /// `null` where there is nothing to compute it from; `reason` then says what is missing.
    pub value: Option<f64>,
    pub unit: &'static str,
    /// How many deployments, changes or incidents it was computed from.
    pub n: u64,
    pub method: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<NoValue>,
    /// 95 %: Wilson's for ratios, order statistics for percentiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The value of the period of the same length just before.
    pub previous: Option<f64>,
    /// Why that is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_reason: Option<NoValue>,
    /// How many were left out, by reason; `explain` lists them.
    #[schema(value_type = BTreeMap<String, u64>)]
    pub excluded: BTreeMap<Reason, u64>,
    #[serde(flatten)]
    pub more: More,
}

/// What single metrics say besides.
#[derive(Debug, Clone, PartialEq, Default, Serialize, ToSchema)]
pub struct More {
    /// Over the whole weeks in the window, weeks without deployments included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_deployment_days_per_week: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unplanned: Option<u64>,
    /// Not restored or resolved at the window's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<u64>,
    /// The age of the oldest open one at the window's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_open_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_interval: Option<[f64; 2]>,
    /// Deployments per week of seven days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_week: Option<f64>,
    /// Where pull requests are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Stages>,
    /// Deployments whose changes are not all known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial: Option<u64>,
    /// Deployments by where their changes come from: named by the deployment, by the range of commits
    /// since the deployment before, or by what was merged since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_from: Option<Origins>,
}

/// What figures are measured against; without any they are only numbers.
#[derive(Clone, Copy, Default)]
pub struct Standards<'a> {
    pub benchmark: Option<&'a Benchmark>,
    pub targets: Option<&'a Targets>,
}

/// Why a figure has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
pub enum NoValue {
    NotBegun,
    NoDeployment,
    NoDeploymentYet,
    NoChange,
    AllChangesLeftOut,
    NothingRestored,
    NothingResolved,
}

impl NoValue {
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotBegun => "the window has not begun",
            Self::NoDeployment => "no deployment reached the environment in this window",
            Self::NoDeploymentYet => "no deployment is known yet",
            Self::NoChange => "no change was deployed in this window",
            Self::AllChangesLeftOut => "no change of this window gives a lead time: see excluded",
            Self::NothingRestored => "no failed deployment was restored in this window",
            Self::NothingResolved => "no incident was resolved in this window",
        }
    }
}

impl Serialize for NoValue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// The figures of `GET /api/v1/dora`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Figures {
    pub deployment_frequency: Figure,
    pub change_lead_time: Figure,
    pub change_fail_rate: Figure,
    pub failed_deployment_recovery_time: Figure,
    pub rework_rate: Figure,
    pub mean_time_to_recovery: Figure,
}

impl Figures {
    pub const fn get(&self, metric: Metric) -> &Figure {
        match metric {
            Metric::DeploymentFrequency => &self.deployment_frequency,
            Metric::ChangeLeadTime => &self.change_lead_time,
            Metric::ChangeFailRate => &self.change_fail_rate,
            Metric::FailedDeploymentRecoveryTime => &self.failed_deployment_recovery_time,
            Metric::ReworkRate => &self.rework_rate,
            Metric::MeanTimeToRecovery => &self.mean_time_to_recovery,
        }
    }

    const fn get_mut(&mut self, metric: Metric) -> &mut Figure {
        match metric {
            Metric::DeploymentFrequency => &mut self.deployment_frequency,
            Metric::ChangeLeadTime => &mut self.change_lead_time,
            Metric::ChangeFailRate => &mut self.change_fail_rate,
            Metric::FailedDeploymentRecoveryTime => &mut self.failed_deployment_recovery_time,
            Metric::ReworkRate => &mut self.rework_rate,
            Metric::MeanTimeToRecovery => &mut self.mean_time_to_recovery,
        }
    }

    /// Tells each figure what it was in the period before, of what was added up for that.
    #[must_use]
    pub fn with_previous(mut self, before: Tallies, first: Option<Timestamp>, question: &Question) -> Self {
        for (metric, mut tally) in Metric::ALL.into_iter().zip(before.of) {
            let found = value(metric, &mut tally, first, question);
            let figure = self.get_mut(metric);
            (figure.previous, figure.previous_reason) = (found.ok(), found.err());
        }
        self
    }

    /// Tells each figure what it was in the period before.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        for metric in Metric::ALL {
            let (figure, before) = (self.get_mut(metric), before.get(metric));
            (figure.previous, figure.previous_reason) = (before.value, before.reason);
        }
        self
    }
}

/// The figures of the question's window; those before it only where [`Figures::after`] says so.
pub fn figures(selected: &Selected<'_>, question: &Question, standards: Standards<'_>) -> Figures {
    figures_of(Tallies::of(selected, question, true), selected.first_deployment, question, standards)
}

/// The figures of what was added up for a question; `first` is the first deployment of the
/// selection in all its history.
pub fn figures_of(
    tallies: Tallies,
    first: Option<Timestamp>,
    question: &Question,
    standards: Standards<'_>,
) -> Figures {
    let [frequency, lead_time, fail_rate, recovery, rework, mean_time] = tallies.of;
    let of = |metric, tally| figure_of(metric, tally, first, question, standards);
    Figures {
        deployment_frequency: of(Metric::DeploymentFrequency, frequency),
        change_lead_time: of(Metric::ChangeLeadTime, lead_time),
        change_fail_rate: of(Metric::ChangeFailRate, fail_rate),
        failed_deployment_recovery_time: of(Metric::FailedDeploymentRecoveryTime, recovery),
        rework_rate: of(Metric::ReworkRate, rework),
        mean_time_to_recovery: of(Metric::MeanTimeToRecovery, mean_time),
    }
}

/// The figures of the window, each with its value in the window of the same length before it.
pub fn figures_with_previous(selected: &Selected<'_>, question: &Question, standards: Standards<'_>) -> Figures {
    let before = question.before();
    let tallies = Tallies::of(selected, &before, false);
    figures(selected, question, standards).with_previous(tallies, selected.first_deployment, &before)
}

/// One figure of the question's window.
pub fn figure(metric: Metric, selected: &Selected<'_>, question: &Question, standards: Standards<'_>) -> Figure {
    let tally = Tally::of(metric, selected, question, true);
    figure_of(metric, tally, selected.first_deployment, question, standards)
}

fn figure_of(
    metric: Metric,
    mut tally: Tally,
    first: Option<Timestamp>,
    question: &Question,
    standards: Standards<'_>,
) -> Figure {
    let found = value(metric, &mut tally, first, question);
    let (value, reason) = (found.ok(), found.err());
    let interval = match metric {
        Metric::DeploymentFrequency | Metric::MeanTimeToRecovery => None,
        Metric::ChangeFailRate | Metric::ReworkRate => stats::wilson(tally.yes, tally.n),
        Metric::ChangeLeadTime | Metric::FailedDeploymentRecoveryTime => {
            question.center.interval_of(&mut tally.micros).map(|interval| interval.map(seconds))
        }
    };
    Figure {
        value,
        unit: metric.unit(),
        n: tally.n,
        method: method(metric, question),
        reason,
        interval,
        band: value.and_then(|value| standards.benchmark?.band(metric, value)),
        target: standards.targets.and_then(|targets| target(targets, metric, value)),
        previous: None,
        previous_reason: None,
        more: more(metric, &mut tally, value, question),
        excluded: tally.excluded,
    }
}

fn method(metric: Metric, question: &Question) -> String {
    match metric {
        Metric::DeploymentFrequency => "deployments / days of the window".to_owned(),
        Metric::ChangeFailRate => {
            let rollbacks = if question.exclude_rollbacks { "left out" } else { "included" };
            format!("failed deployments / deployments, rollbacks {rollbacks}; interval: Wilson, 95 %")
        }
        Metric::ReworkRate => "rollbacks and hotfixes / deployments; interval: Wilson, 95 %".to_owned(),
        Metric::ChangeLeadTime | Metric::FailedDeploymentRecoveryTime => question.center.method(),
        Metric::MeanTimeToRecovery => Center::Mean.method(),
    }
}

fn value(metric: Metric, tally: &mut Tally, first: Option<Timestamp>, question: &Question) -> Result<f64, NoValue> {
    match metric {
        Metric::DeploymentFrequency => frequency(tally, first, question),
        Metric::ChangeFailRate | Metric::ReworkRate if tally.n == 0 => Err(NoValue::NoDeployment),
        Metric::ChangeFailRate | Metric::ReworkRate => Ok(float(tally.yes) / float(tally.n)),
        Metric::ChangeLeadTime => {
            let missing = if tally.excluded.is_empty() { NoValue::NoChange } else { NoValue::AllChangesLeftOut };
            question.center.of(&mut tally.micros).map(seconds).ok_or(missing)
        }
        Metric::FailedDeploymentRecoveryTime => {
            question.center.of(&mut tally.micros).map(seconds).ok_or(NoValue::NothingRestored)
        }
        Metric::MeanTimeToRecovery => Center::Mean.of(&mut tally.micros).map(seconds).ok_or(NoValue::NothingResolved),
    }
}

fn more(metric: Metric, tally: &mut Tally, value: Option<f64>, question: &Question) -> More {
    let mut more = More::default();
    match metric {
        Metric::DeploymentFrequency => {
            more.per_week = value.map(|per_day| per_day * 7.0);
            more.median_deployment_days_per_week = value.and_then(|_| deployment_days_per_week(tally, question));
        }
        Metric::ChangeLeadTime => {
            more.stages = tally.stages.stages(question.center);
            more.partial = Some(tally.partial).filter(|partial| *partial > 0);
            more.changes_from = Some(tally.changes_from).filter(|origins| *origins != Origins::default());
        }
        Metric::ChangeFailRate => more.failed = Some(tally.yes),
        Metric::ReworkRate => more.unplanned = Some(tally.yes),
        Metric::FailedDeploymentRecoveryTime => open(&mut more, tally, question),
        Metric::MeanTimeToRecovery => {
            let median = Center::Percentile(50.0);
            more.median = median.of(&mut tally.micros).map(seconds);
            more.median_interval = median.interval_of(&mut tally.micros).map(|interval| interval.map(seconds));
            open(&mut more, tally, question);
        }
    }
    more
}

fn seconds(micros: f64) -> f64 {
    micros / 1e6
}

/// Days that have not been yet are no days without deployments.
fn elapsed(question: &Question) -> Window {
    Window { from: question.window.from, to: question.window.to.min(question.now) }
}

fn frequency(tally: &Tally, first: Option<Timestamp>, question: &Question) -> Result<f64, NoValue> {
    let window = elapsed(question);
    let days = question.calendar.days(window).filter(|days| *days > 0.0).ok_or(NoValue::NotBegun)?;
    // A window without deployments is 0 a day only where somebody sends deployments.
    if first.is_none_or(|first| first >= window.to) {
        return Err(NoValue::NoDeploymentYet);
    }
    Ok(float(tally.n) / days)
}

/// `None` while the window holds no whole week.
fn deployment_days_per_week(tally: &mut Tally, question: &Question) -> Option<f64> {
    let calendar = question.calendar;
    let days: BTreeSet<_> = tally.at.runs().flat_map(|run| calendar.dates(run)).collect();
    let weeks = calendar.periods(Unit::Week, elapsed(question), MAX_WEEKS)?;
    let whole = weeks.into_iter().filter(|week| !week.partial);
    let mut per_week = whole
        .map(|week| {
            let days = days.range(calendar.date(week.window.from)?..calendar.date(week.window.to)?);
            i64::try_from(days.count()).ok()
        })
        .collect::<Option<Sample>>()?;
    stats::percentile(&mut per_week, 50.0)
}

fn open(more: &mut More, tally: &Tally, question: &Question) {
    let end = elapsed(question).to;
    more.open = Some(tally.excluded.get(&Reason::Open).copied().unwrap_or_default());
    more.oldest_open_seconds = tally.open_since.map(|since| seconds(signed_float(end.micros_since(since).max(0))));
}
