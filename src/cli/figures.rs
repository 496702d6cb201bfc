//! The figures of the API's answers, and their words for people.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::dora::Metric;
use crate::time::spoken;

pub type Figures = BTreeMap<Metric, Figure>;

/// One metric over one window, as `GET /api/v1/dora` answers it.
#[derive(Debug, Clone, Deserialize)]
pub struct Figure {
    pub value: Option<f64>,
    pub n: u64,
    pub method: String,
    pub reason: Option<String>,
    pub interval: Option<[f64; 2]>,
    pub band: Option<String>,
    pub target: Option<Target>,
    pub previous: Option<f64>,
    #[serde(default)]
    pub excluded: BTreeMap<String, u64>,
    /// Not restored or resolved at the window's end.
    pub open: Option<u64>,
    pub oldest_open_seconds: Option<f64>,
    /// Beside a mean.
    pub median: Option<f64>,
    /// Beside deployments per day.
    pub per_week: Option<f64>,
    pub median_deployment_days_per_week: Option<f64>,
    /// Of the deployments.
    pub failed: Option<u64>,
    pub unplanned: Option<u64>,
    /// Deployments whose changes are not all known.
    pub partial: Option<u64>,
    /// Deployments by where their changes come from.
    #[serde(default)]
    pub changes_from: BTreeMap<String, u64>,
    pub stages: Option<Stages>,
}

/// A change's way to its deployment, where pull requests are known.
#[derive(Debug, Clone, Deserialize)]
pub struct Stages {
    coding: Stage,
    pick_up: Stage,
    review: Stage,
    merge_to_deploy: Stage,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Stage {
    pub value: Option<f64>,
    pub n: u64,
}

impl Stages {
    /// In the order of the way.
    pub const fn all(&self) -> [(&'static str, &Stage); 4] {
        [
            ("coding", &self.coding),
            ("pick-up", &self.pick_up),
            ("review", &self.review),
            ("merge to deploy", &self.merge_to_deploy),
        ]
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    pub limit: f64,
    pub wanted: String,
    pub met: Option<bool>,
}

/// What stands where there is no value.
pub const NONE: &str = "–";

/// `Change lead time`
pub fn title(metric: Metric) -> String {
    let name = metric.name().replace('_', " ");
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A value of this metric: `3 h 20 min`, `5.6 %`, `1.2 per day`.
pub fn words(metric: Metric, value: f64) -> String {
    match metric {
        Metric::DeploymentFrequency => format!("{} per day", decimal(value)),
        Metric::ChangeFailRate | Metric::ReworkRate => format!("{} %", decimal(value * 100.0)),
        Metric::ChangeLeadTime | Metric::FailedDeploymentRecoveryTime | Metric::MeanTimeToRecovery => {
            let sign = if value < 0.0 { "−" } else { "" };
            let spoken = Duration::try_from_secs_f64(value.abs()).map_or_else(|_| format!("{} s", value.abs()), spoken);
            format!("{sign}{spoken}")
        }
    }
}

/// As many digits as say something: `12.3`, `1.25`, `0.033`.
fn decimal(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// How a figure moved since the period before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The share of the value before; for ratios the difference itself.
    pub by: f64,
    pub is_ratio: bool,
    /// `None` where it stayed the same.
    pub better: Option<bool>,
}

impl Change {
    /// `None` where one of the two is missing, or a share of zero would be asked for.
    pub fn of(metric: Metric, figure: &Figure) -> Option<Self> {
        let (value, previous) = (figure.value?, figure.previous?);
        let is_ratio = metric.unit() == "ratio";
        let by = match is_ratio {
            true => value - previous,
            false if previous > 0.0 => (value - previous) / previous,
            false if value > 0.0 => return None,
            false => 0.0,
        };
        let more_is_better = metric == Metric::DeploymentFrequency;
        let better = match value.total_cmp(&previous) {
            Ordering::Equal => None,
            more_or_less => Some((more_or_less == Ordering::Greater) == more_is_better),
        };
        Some(Self { by, is_ratio, better })
    }

    /// `+25 %, better`, `−2.1 points, better`, `unchanged`
    pub fn words(self) -> String {
        let Some(better) = self.better else { return "unchanged".to_owned() };
        let sign = if self.by < 0.0 { '−' } else { '+' };
        let unit = if self.is_ratio { "points" } else { "%" };
        let judged = if better { "better" } else { "worse" };
        format!("{sign}{} {unit}, {judged}", decimal(self.by.abs() * 100.0))
    }
}

impl Figure {
    pub fn words(&self, metric: Metric) -> String {
        self.value.map_or_else(|| NONE.to_owned(), |value| words(metric, value))
    }

    /// `2 h to 3 h 20 min`
    pub fn interval_words(&self, metric: Metric) -> String {
        let between = |[low, high]: [f64; 2]| format!("{} to {}", words(metric, low), words(metric, high));
        self.interval.map_or_else(|| NONE.to_owned(), between)
    }

    /// `met: below 2 h`, `missed: at least 1 per day`; without a value what is wanted alone.
    pub fn target_words(&self, metric: Metric) -> String {
        let Some(target) = &self.target else { return NONE.to_owned() };
        let wanted = format!("{} {}", target.wanted.replace('_', " "), words(metric, target.limit));
        match target.met {
            Some(true) => format!("met: {wanted}"),
            Some(false) => format!("missed: {wanted}"),
            None => wanted,
        }
    }

    /// `2 first deployment, 1 negative`; empty where nothing was left out.
    pub fn excluded_words(&self) -> String {
        let one = |(reason, n): (&String, &u64)| format!("{n} {}", reason.replace('_', " "));
        self.excluded.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// What single metrics say besides, each with its label.
    pub fn details(&self, metric: Metric) -> Vec<(&'static str, String)> {
        let some = |n: Option<u64>| n.filter(|n| *n > 0);
        let stage = |(name, stage): (&str, &Stage)| {
            stage.value.map_or_else(
                || format!("{name} {NONE}"),
                |value| format!("{name} {} ({})", words(metric, value), stage.n),
            )
        };
        let stages = self.stages.as_ref().map(|stages| stages.all().map(stage).join(", "));
        let partial = some(self.partial).map(|n| {
            let deployments = if n == 1 { "deployment" } else { "deployments" };
            format!("{n} {deployments} with incomplete changes")
        });
        let age = self.oldest_open_seconds.map(|age| format!(", the oldest for {}", words(metric, age)));
        let open = some(self.open).map(|n| format!("{n} at the end of the period{}", age.unwrap_or_default()));
        let median = self.median.map(|median| words(metric, median));
        let days = self.median_deployment_days_per_week;
        let days = days.map(|days| format!(", on {} days of a median week", decimal(days))).unwrap_or_default();
        let per_week = self.per_week.map(|per_week| format!("{} per week{days}", decimal(per_week)));
        let of_all = |n: Option<u64>| n.filter(|_| self.n > 0).map(|n| format!("{n} of {} deployments", self.n));
        let from = self.changes_from.iter().filter(|(_, n)| **n > 0);
        let from: Vec<String> = from.map(|(from, n)| format!("{} {n}", from.replace('_', " "))).collect();
        let from = (!from.is_empty()).then(|| from.join(", "));
        let all = [
            ("Rate", per_week),
            ("Failed", of_all(self.failed)),
            ("Unplanned", of_all(self.unplanned)),
            ("Median", median),
            ("Stages", stages),
            ("Deployments by origin of changes", from),
            ("Incomplete", partial),
            ("Open", open),
        ];
        all.into_iter().filter_map(|(label, words)| Some((label, words?))).collect()
    }

    /// The value with its n; an exclamation mark says that the target is missed.
    pub fn cell(&self, metric: Metric) -> String {
        let missed = self.target.as_ref().is_some_and(|target| target.met == Some(false));
        match self.value {
            None => NONE.to_owned(),
            Some(value) => format!("{} ({}){}", words(metric, value), self.n, if missed { " !" } else { "" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figure(value: Option<f64>, previous: Option<f64>) -> Figure {
        serde_json::from_value(json!({"value": value, "previous": previous, "n": 3, "method": "m",
            "excluded": {"first_deployment": 2, "negative": 1},
            "target": {"limit": 7_200.0, "wanted": "below", "met": value.map(|value| value < 7_200.0)}}))
        .unwrap()
    }

    #[test]
    fn values_have_the_words_of_their_unit() {
        assert_eq!(words(Metric::ChangeLeadTime, 12_000.0), "3 h 20 min");
        assert_eq!(words(Metric::ChangeLeadTime, 0.25), "250 ms");
        assert_eq!(words(Metric::ChangeLeadTime, -300.0), "−5 min");
        assert_eq!(words(Metric::ChangeFailRate, 0.0556), "5.56 %");
        assert_eq!(words(Metric::ReworkRate, 0.0), "0 %");
        assert_eq!(words(Metric::ReworkRate, 1.0), "100 %");
        assert_eq!(words(Metric::DeploymentFrequency, 1.0 / 30.0), "0.033 per day");
        assert_eq!(words(Metric::DeploymentFrequency, 20.0), "20 per day");
        assert_eq!(title(Metric::MeanTimeToRecovery), "Mean time to recovery");
    }

    #[test]
    fn a_change_says_whether_it_is_for_the_better() {
        let change = |metric, value, previous| Change::of(metric, &figure(value, previous)).map(Change::words);
        let lead = |value, previous| change(Metric::ChangeLeadTime, value, previous);
        assert_eq!(lead(Some(80.0), Some(100.0)).unwrap(), "−20 %, better");
        assert_eq!(lead(Some(125.0), Some(100.0)).unwrap(), "+25 %, worse");
        assert_eq!(lead(Some(100.0), Some(100.0)).unwrap(), "unchanged");
        assert_eq!(lead(Some(0.0), Some(0.0)).unwrap(), "unchanged");
        assert_eq!((lead(Some(1.0), Some(0.0)), lead(None, Some(1.0)), lead(Some(1.0), None)), (None, None, None));
        assert_eq!(change(Metric::DeploymentFrequency, Some(1.5), Some(1.0)).unwrap(), "+50 %, better");
        assert_eq!(change(Metric::ChangeFailRate, Some(0.071), Some(0.05)).unwrap(), "+2.1 points, worse");
        assert_eq!(change(Metric::ChangeFailRate, Some(0.1), Some(0.0)).unwrap(), "+10 points, worse");
    }

    #[test]
    fn details_are_said_where_there_are_any() {
        let said = |metric, json| serde_json::from_value::<Figure>(json).unwrap().details(metric);
        let stage = |value: Option<f64>, n: u64| json!({"value": value, "n": n});
        let lead = json!({"n": 3, "method": "m", "partial": 1, "stages": {"coding": stage(Some(7_200.0), 3),
            "pick_up": stage(Some(60.0), 2), "review": stage(None, 0), "merge_to_deploy": stage(Some(0.0), 1)}});
        let stages = "coding 2 h (3), pick-up 1 min (2), review –, merge to deploy 0 s (1)";
        assert_eq!(
            said(Metric::ChangeLeadTime, lead),
            [("Stages", stages.to_owned()), ("Incomplete", "1 deployment with incomplete changes".to_owned())]
        );
        let mean = json!({"n": 2, "method": "m", "median": 1_200.0, "open": 2, "oldest_open_seconds": 3_600.0});
        assert_eq!(
            said(Metric::MeanTimeToRecovery, mean),
            [("Median", "20 min".to_owned()), ("Open", "2 at the end of the period, the oldest for 1 h".to_owned())]
        );
        let frequency = json!({"n": 9, "method": "m", "per_week": 2.1, "median_deployment_days_per_week": 1.5});
        let rate = [("Rate", "2.1 per week, on 1.5 days of a median week".to_owned())];
        assert_eq!(said(Metric::DeploymentFrequency, frequency), rate);
        let (failed, unplanned) =
            (json!({"n": 9, "method": "m", "failed": 2}), json!({"n": 9, "method": "m", "unplanned": 0}));
        assert_eq!(said(Metric::ChangeFailRate, failed), [("Failed", "2 of 9 deployments".to_owned())]);
        assert_eq!(said(Metric::ReworkRate, unplanned), [("Unplanned", "0 of 9 deployments".to_owned())]);
        let origins = json!({"n": 9, "method": "m", "changes_from": {"named": 2, "range": 0, "merge_times": 7}});
        let origins = said(Metric::ChangeLeadTime, origins);
        assert_eq!(origins, [("Deployments by origin of changes", "merge times 7, named 2".to_owned())]);
        let nothing = json!({"n": 2, "method": "m", "open": 0, "partial": 0});
        assert_eq!(said(Metric::FailedDeploymentRecoveryTime, nothing), []);
    }

    #[test]
    fn what_is_missing_is_said() {
        let (good, bad, none) = (figure(Some(60.0), None), figure(Some(9_000.0), None), figure(None, None));
        let metric = Metric::ChangeLeadTime;
        assert_eq!([&good, &bad, &none].map(|figure| figure.cell(metric)), ["1 min (3)", "2 h 30 min (3) !", NONE]);
        let targets = [&good, &bad, &none].map(|figure| figure.target_words(metric));
        assert_eq!(targets, ["met: below 2 h", "missed: below 2 h", "below 2 h"]);
        assert_eq!(
            (good.interval_words(metric), good.excluded_words()),
            (NONE.to_owned(), "2 first deployment, 1 negative".to_owned())
        );
    }
}
