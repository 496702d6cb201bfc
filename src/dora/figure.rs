//! One number per metric, with everything that is needed to trust it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use super::Metric;
use super::benchmark::{Band, Benchmark};
use super::calendar::{Unit, Window};
use super::count::{Counted, Question, Reason, Subject, Value, counted};
use super::select::Selected;
use super::stages::{Stages, stages};
use super::stats::{self, Center};
use super::target::{Target, target};
use crate::config::model::Targets;
use crate::num::{float, signed_float};

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

    /// Tells each figure what it was in the period before.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        for metric in Metric::ALL {
            self.get_mut(metric).previous = before.get(metric).value;
        }
        self
    }
}

/// The figures of the question's window; those before it only where [`Figures::after`] says so.
pub fn figures(selected: &Selected<'_>, question: &Question, standards: Standards<'_>) -> Figures {
    let of = |metric| figure(metric, selected, question, standards);
    Figures {
        deployment_frequency: of(Metric::DeploymentFrequency),
        change_lead_time: of(Metric::ChangeLeadTime),
        change_fail_rate: of(Metric::ChangeFailRate),
        failed_deployment_recovery_time: of(Metric::FailedDeploymentRecoveryTime),
        rework_rate: of(Metric::ReworkRate),
        mean_time_to_recovery: of(Metric::MeanTimeToRecovery),
    }
}

/// The figures of the window, each with its value in the window of the same length before it.
pub fn figures_with_previous(selected: &Selected<'_>, question: &Question, standards: Standards<'_>) -> Figures {
    let before = Question { window: question.calendar.before(question.window), ..*question };
    figures(selected, question, standards).after(&figures(selected, &before, Standards::default()))
}

/// One figure of the question's window.
pub fn figure(metric: Metric, selected: &Selected<'_>, question: &Question, standards: Standards<'_>) -> Figure {
    let counted = counted(metric, selected, question);
    let mut excluded = BTreeMap::new();
    for row in &counted.excluded {
        *excluded.entry(row.reason).or_default() += 1;
    }
    let mut figure = Figure {
        value: None,
        unit: metric.unit(),
        n: length(counted.included.len()),
        method: String::new(),
        reason: None,
        interval: None,
        band: None,
        target: None,
        previous: None,
        excluded,
        more: More::default(),
    };
    match metric {
        Metric::DeploymentFrequency => frequency(&mut figure, &counted, selected, question),
        Metric::ChangeLeadTime => lead_time(&mut figure, &counted, question),
        Metric::ChangeFailRate => {
            figure.more.failed = Some(share(&mut figure, &counted));
            let without = if question.exclude_rollbacks { ", rollbacks left out" } else { "" };
            figure.method = format!("failed deployments / deployments{without}; interval: Wilson, 95 %");
        }
        Metric::ReworkRate => {
            figure.more.unplanned = Some(share(&mut figure, &counted));
            "rollbacks and hotfixes / deployments; interval: Wilson, 95 %".clone_into(&mut figure.method);
        }
        Metric::FailedDeploymentRecoveryTime => {
            duration(&mut figure, &counted, question.center, NoValue::NothingRestored);
            open(&mut figure, &counted, question);
        }
        Metric::MeanTimeToRecovery => mean_time_to_recovery(&mut figure, &counted, question),
    }
    figure.band = figure.value.and_then(|value| standards.benchmark?.band(metric, value));
    figure.target = standards.targets.and_then(|targets| target(targets, metric, figure.value));
    figure
}

fn length(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn seconds(micros: f64) -> f64 {
    micros / 1e6
}

fn frequency(figure: &mut Figure, counted: &Counted<'_>, selected: &Selected<'_>, question: &Question) {
    "deployments / days of the window".clone_into(&mut figure.method);
    // Days that have not been yet are no days without deployments.
    let window = Window { from: question.window.from, to: question.window.to.min(question.now) };
    // A window without deployments is 0 a day only where somebody sends deployments.
    let begun = selected.deployments.first().is_some_and(|(at, _)| *at < window.to);
    match question.calendar.days(window).filter(|days| *days > 0.0) {
        Some(_) if !begun => {
            figure.reason = Some(NoValue::NoDeploymentYet);
            return;
        }
        Some(days) => {
            figure.value = Some(float(figure.n) / days);
            figure.more.per_week = figure.value.map(|per_day| per_day * 7.0);
        }
        None => figure.reason = Some(NoValue::NotBegun),
    }
    figure.more.median_deployment_days_per_week = deployment_days_per_week(counted, question, window);
}

/// `None` while the window holds no whole week.
fn deployment_days_per_week(counted: &Counted<'_>, question: &Question, window: Window) -> Option<f64> {
    let calendar = question.calendar;
    let days: BTreeSet<_> = counted.included.iter().filter_map(|row| calendar.date(row.at)).collect();
    let weeks = calendar.periods(Unit::Week, window, MAX_WEEKS)?;
    let whole = weeks.into_iter().filter(|week| !week.partial);
    let mut per_week = whole
        .map(|week| {
            let days = days.range(calendar.date(week.window.from)?..calendar.date(week.window.to)?);
            i64::try_from(days.count()).ok()
        })
        .collect::<Option<Vec<i64>>>()?;
    per_week.sort_unstable();
    stats::percentile(&per_week, 50.0)
}

fn lead_time(figure: &mut Figure, counted: &Counted<'_>, question: &Question) {
    let missing = if counted.excluded.is_empty() { NoValue::NoChange } else { NoValue::AllChangesLeftOut };
    duration(figure, counted, question.center, missing);
    figure.more.stages = stages(counted, question.center);
    let included = counted.included.iter().map(|row| row.subject);
    let partial = included.chain(counted.excluded.iter().map(|row| row.subject)).filter_map(|subject| match subject {
        Subject::Change { deployment, .. } | Subject::Deployment(deployment) => Some(deployment),
        Subject::Incident(_) => None,
    });
    let partial: BTreeSet<_> = partial.filter(|row| row.partial).map(|row| &row.key).collect();
    figure.more.partial = (!partial.is_empty()).then(|| length(partial.len()));
}

fn duration(figure: &mut Figure, counted: &Counted<'_>, center: Center, missing: NoValue) {
    let micros = counted.sorted_micros();
    figure.method = center.method();
    figure.value = center.of(&micros).map(seconds);
    figure.interval = center.interval_of(&micros).map(|interval| interval.map(seconds));
    figure.reason = figure.value.is_none().then_some(missing);
}

/// Answers how many there are of what the ratio is of.
fn share(figure: &mut Figure, counted: &Counted<'_>) -> u64 {
    let k = length(counted.how_many(Value::Is(true)));
    figure.value = (figure.n > 0).then(|| float(k) / float(figure.n));
    figure.interval = stats::wilson(k, figure.n);
    figure.reason = figure.value.is_none().then_some(NoValue::NoDeployment);
    k
}

fn open(figure: &mut Figure, counted: &Counted<'_>, question: &Question) {
    let open = counted.excluded.iter().filter(|row| row.reason == Reason::Open);
    let since: Vec<_> = open.map(|row| row.at).collect();
    let end = question.window.to.min(question.now);
    figure.more.open = Some(length(since.len()));
    figure.more.oldest_open_seconds =
        since.into_iter().min().map(|since| seconds(signed_float(end.micros_since(since).max(0))));
}

fn mean_time_to_recovery(figure: &mut Figure, counted: &Counted<'_>, question: &Question) {
    duration(figure, counted, Center::Mean, NoValue::NothingResolved);
    let (micros, median) = (counted.sorted_micros(), Center::Percentile(50.0));
    figure.more.median = median.of(&micros).map(seconds);
    figure.more.median_interval = median.interval_of(&micros).map(|interval| interval.map(seconds));
    open(figure, counted, question);
}
