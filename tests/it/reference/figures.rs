//! A question, and what has to be answered: the table of the definitions, row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::{Value, json};

use super::calendar::Calendar;
use super::facts::Incident;
use super::failures::History;
use super::leads::Lead;
use super::world::{TEAMS, World};

#[derive(Debug, Clone)]
pub enum Whose {
    All,
    Service(String),
    Team(&'static str),
}

#[derive(Debug, Clone)]
pub enum Place {
    Production,
    Tier(&'static str),
    Environment(&'static str),
}

#[derive(Debug, Clone)]
pub struct Question {
    pub whose: Whose,
    pub place: Place,
    pub window: (i64, i64),
    pub zone: Option<&'static str>,
    /// `mean`, or a number; the median without it.
    pub percentile: Option<&'static str>,
    pub lead_time_from: Option<&'static str>,
    pub exclude_rollbacks: bool,
    pub arrival_last: bool,
    /// A series of days, weeks or months.
    pub bucket: Option<&'static str>,
}

/// What is asked about, once the history and the present are known.
pub struct Asked<'a> {
    pub history: &'a History<'a>,
    pub question: &'a Question,
    pub now: i64,
    calendar: Calendar,
}

/// Rows that count, by when; and rows that do not, by why.
#[derive(Default)]
struct Rows {
    values: Vec<i64>,
    at: Vec<i64>,
    yes: usize,
    excluded: BTreeMap<&'static str, u64>,
    open_since: Option<i64>,
    stages: BTreeMap<&'static str, Vec<i64>>,
}

impl Rows {
    fn leave_out(&mut self, reason: &'static str) {
        *self.excluded.entry(reason).or_default() += 1;
    }

    fn lasted(&mut self, micros: i64) {
        if micros < 0 { self.leave_out("negative") } else { self.values.push(micros) }
    }

    /// Something that lasts belongs to the window of its end; without one in sight it is open.
    fn lasting(&mut self, from: i64, to: Option<i64>, window: (i64, i64)) {
        match to {
            Some(to) if within(to, window) => self.lasted(to - from),
            Some(to) if to < window.0 => {}
            _ if from < window.1 => {
                self.leave_out("open");
                self.open_since = self.open_since.into_iter().chain([from]).min();
            }
            _ => {}
        }
    }
}

fn within(at: i64, (from, to): (i64, i64)) -> bool {
    from <= at && at < to
}

impl Question {
    fn calendar(&self, world: &World) -> Calendar {
        let team = match &self.whose {
            Whose::All => None,
            Whose::Team(team) => Some(*team),
            Whose::Service(name) => world.service(name).and_then(|service| service.team),
        };
        let team = TEAMS.iter().find(|(name, ..)| Some(*name) == team);
        let zone = self.zone.or(team.map(|(_, zone, ..)| *zone)).unwrap_or("UTC");
        Calendar { zone: zone.parse().unwrap(), first: team.map_or(0, |(.., first)| *first) }
    }

    /// How the program is asked the same.
    pub fn path(&self) -> String {
        let time = |at: i64| chrono::DateTime::from_timestamp_micros(at).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ");
        let mut path = String::from(if self.bucket.is_some() { "/api/v1/dora/series" } else { "/api/v1/dora" });
        write!(path, "?from={}&to={}", time(self.window.0), time(self.window.1)).unwrap();
        let place = match self.place {
            Place::Production => (None, None),
            Place::Tier(tier) => (Some(tier), None),
            Place::Environment(name) => (None, Some(name)),
        };
        let (service, team) = match &self.whose {
            Whose::All => (None, None),
            Whose::Service(name) => (Some(name.as_str()), None),
            Whose::Team(name) => (None, Some(*name)),
        };
        for (name, value) in [
            ("service", service),
            ("team", team),
            ("tier", place.0),
            ("environment", place.1),
            ("time_zone", self.zone),
            ("percentile", self.percentile),
            ("lead_time_from", self.lead_time_from),
            ("exclude_rollbacks", self.exclude_rollbacks.then_some("true")),
            ("arrival", self.arrival_last.then_some("last")),
            ("bucket", self.bucket),
        ] {
            path += &value.map(|value| format!("&{name}={value}")).unwrap_or_default();
        }
        path
    }
}

impl<'a> Asked<'a> {
    pub fn new(history: &'a History<'a>, question: &'a Question, now: i64) -> Self {
        Self { history, question, now, calendar: question.calendar(history.world) }
    }

    /// The answer to the question: figures, or a list of buckets with figures.
    pub fn answer(&self) -> Value {
        let Some(unit) = self.question.bucket else {
            let mut figures = self.figures(self.question.window);
            let before = self.figures(self.calendar.before(self.question.window));
            for (metric, figure) in figures.as_object_mut().unwrap() {
                figure["previous"] = before[metric]["value"].clone();
                figure["previous_reason"] = before[metric]["reason"].clone();
            }
            return json!({"metrics": figures});
        };
        let buckets = self
            .calendar
            .periods(unit, self.question.window)
            .into_iter()
            .map(|(from, to, cut)| json!({"partial": cut || to > self.now, "metrics": self.figures((from, to))}));
        json!({"buckets": buckets.collect::<Vec<_>>()})
    }

    fn wants(&self, service: Option<&str>, environment: &str, tier: &str) -> bool {
        let place = match self.question.place {
            Place::Production => tier == "production",
            Place::Tier(asked) => tier == asked,
            Place::Environment(name) => environment == World::environment(name).0,
        };
        place
            && match &self.question.whose {
                Whose::All => true,
                Whose::Service(name) => service == Some(name),
                Whose::Team(team) => service.is_some_and(|service| self.history.world.of_team(team).contains(service)),
            }
    }

    fn wanted(&self) -> Vec<usize> {
        let all = self.history.deployments.iter().enumerate();
        all.filter(|(_, d)| self.wants(Some(&d.service), &d.environment, d.tier)).map(|(number, _)| number).collect()
    }

    /// It succeeded, or somebody had to repair what it did.
    fn reached(&self, d: usize) -> bool {
        match self.history.deployments[d].outcome.as_str() {
            "succeeded" => true,
            "in_progress" | "withdrawn" => false,
            _ => self.history.failures[d].is_some(),
        }
    }

    fn figures(&self, window: (i64, i64)) -> Value {
        let frequency = self.deployments(window, |_| false, false);
        let fails = |d: usize| self.history.failures[d].is_some();
        let fail_rate = self.deployments(window, fails, self.question.exclude_rollbacks);
        let rework = self.deployments(window, |d| self.history.kind(d) != "planned", false);
        json!({
            "deployment_frequency": self.frequency(&frequency, window),
            "change_lead_time": self.lead_time(window),
            "change_fail_rate": ratio(&fail_rate, "failed"),
            "failed_deployment_recovery_time": self.recovery(window),
            "rework_rate": ratio(&rework, "unplanned"),
            "mean_time_to_recovery": self.mean_time(window),
        })
    }

    fn deployments(&self, window: (i64, i64), yes: impl Fn(usize) -> bool, no_rollbacks: bool) -> Rows {
        let mut rows = Rows::default();
        for d in self.wanted() {
            let deployment = &self.history.deployments[d];
            let Some(at) = deployment.finished.or(deployment.started).filter(|at| within(*at, window)) else {
                continue;
            };
            match deployment.outcome.as_str() {
                _ if self.reached(d) && no_rollbacks && self.history.kind(d) == "rollback" => {
                    rows.leave_out("rollback");
                }
                _ if self.reached(d) => {
                    rows.at.push(at);
                    rows.yes += usize::from(yes(d));
                }
                "in_progress" => rows.leave_out("in_progress"),
                "cancelled" => rows.leave_out("cancelled"),
                "withdrawn" => rows.leave_out("withdrawn"),
                _ => rows.leave_out("failed_attempt"),
            }
        }
        rows
    }

    fn frequency(&self, rows: &Rows, window: (i64, i64)) -> Value {
        let window = (window.0, window.1.min(self.now));
        let first = self.wanted().into_iter().filter_map(|d| {
            let deployment = &self.history.deployments[d];
            deployment.finished.or(deployment.started).filter(|_| deployment.outcome != "withdrawn")
        });
        let (mut value, mut median, mut reason) = (None, None, None);
        if window.1 <= window.0 {
            reason = Some("the window has not begun");
        } else if first.min().is_none_or(|first| first >= window.1) {
            reason = Some("no deployment is known yet");
        } else {
            value = Some(rows.at.len() as f64 / self.calendar.length(window));
            let whole = self.calendar.periods("week", window).into_iter().filter(|(.., cut)| !cut);
            let days = whole.map(|(from, to, _)| {
                let dates = rows.at.iter().filter(|at| within(**at, (from, to))).map(|at| self.calendar.date(*at));
                i64::try_from(dates.collect::<BTreeSet<_>>().len()).unwrap()
            });
            median = percentile(&days.collect::<Vec<_>>(), 50.0);
        }
        json!({"value": value, "n": rows.at.len(), "reason": reason, "excluded": rows.excluded,
            "per_week": value.map(|value| value * 7.0), "median_deployment_days_per_week": median})
    }

    fn lead_time(&self, window: (i64, i64)) -> Value {
        let mut rows = Rows::default();
        let wanted: BTreeSet<usize> = self.wanted().into_iter().collect();
        let counts = |d: usize| {
            let finished = self.history.deployments[d].finished;
            wanted.contains(&d) && finished.is_some_and(|at| within(at, window))
        };
        let from = self.question.lead_time_from.unwrap_or("authored");
        for lead in self.history.leads.iter().filter(|lead| counts(lead.deployment)) {
            // Of all that is asked about, a change counts where it arrived first, or last.
            let same = |other: &&Lead| (&other.repository, &other.sha) == (&lead.repository, &lead.sha);
            let arrivals =
                || self.history.leads.iter().filter(same).map(|other| other.deployment).filter(|d| wanted.contains(d));
            let rank = |d: &usize| {
                let d = &self.history.deployments[*d];
                (d.finished, &d.key, &d.service, &d.place)
            };
            let last = self.question.arrival_last;
            let chosen = if last { arrivals().max_by_key(rank) } else { arrivals().min_by_key(rank) };
            match lead.since[from] {
                _ if chosen != Some(lead.deployment) => {
                    rows.leave_out(if last { "deployed_later" } else { "deployed_before" });
                }
                None => rows.leave_out("unknown_time"),
                Some(since) => {
                    let finished = self.history.deployments[lead.deployment].finished.unwrap();
                    rows.lasted(finished - since);
                    let counts = finished >= since;
                    for (stage, micros) in lead.stages(finished).into_iter().filter(|_| counts) {
                        rows.stages.entry(stage).or_default().extend(micros);
                    }
                }
            }
        }
        for out in self.history.outs.iter().filter(|out| counts(out.deployment)) {
            rows.leave_out(out.reason);
        }
        let empty = if rows.excluded.is_empty() {
            "no change was deployed in this window"
        } else {
            "no change of this window gives a lead time: see excluded"
        };
        let center = self.question.percentile.unwrap_or("50");
        let mut figure = Self::duration(&rows, center, empty);
        if rows.stages.values().any(|micros| !micros.is_empty()) {
            let stage = |micros: &Vec<i64>| {
                let value = middle(micros, center).map(|micros| micros / 1e6);
                json!({"value": value, "n": micros.len()})
            };
            figure["stages"] = rows.stages.iter().map(|(name, micros)| ((*name).to_owned(), stage(micros))).collect();
        }
        figure
    }

    fn recovery(&self, window: (i64, i64)) -> Value {
        let mut rows = Rows::default();
        for d in self.wanted().into_iter().filter(|d| self.reached(*d)) {
            let Some(failure) = &self.history.failures[d] else { continue };
            rows.lasting(self.history.deployments[d].finished.unwrap(), failure.restored, window);
        }
        let empty = "no failed deployment was restored in this window";
        let figure = Self::duration(&rows, self.question.percentile.unwrap_or("50"), empty);
        self.with_open(figure, &rows, window)
    }

    fn mean_time(&self, window: (i64, i64)) -> Value {
        let mut rows = Rows::default();
        let incidents = self.history.incidents.iter().enumerate();
        for (_, incident) in incidents.filter(|(number, incident)| self.concerns(*number, incident)) {
            match incident.resolved {
                _ if incident.withdrawn => {
                    if within(incident.started, window) {
                        rows.leave_out("withdrawn");
                    }
                }
                Some(at) if incident.start_unknown && within(at, window) => rows.leave_out("unknown_time"),
                resolved => rows.lasting(incident.started, resolved, window),
            }
        }
        let mut figure = Self::duration(&rows, "mean", "no incident was resolved in this window");
        figure["median"] = json!(percentile(&rows.values, 50.0).map(|micros| micros / 1e6));
        figure["median_interval"] = order_statistics(&rows.values, "50");
        self.with_open(figure, &rows, window)
    }

    /// An incident is of its services; of those whose deployments it names where it names no service;
    /// else of nobody. It is in the environment it names, else where the first of them is.
    fn concerns(&self, number: usize, incident: &Incident) -> bool {
        let deployments = &self.history.deployments;
        let linked = |service: &str| self.history.links[number].iter().find(|d| deployments[**d].service == service);
        let services: BTreeSet<&str> = if incident.services.is_empty() {
            self.history.links[number].iter().map(|d| deployments[*d].service.as_str()).collect()
        } else {
            incident.services.iter().map(String::as_str).collect()
        };
        let wants = |service: Option<&str>| {
            let named = incident.environment.as_deref().map(|raw| World::environment(raw));
            let linked = service.and_then(linked).map(|d| (deployments[*d].environment.as_str(), deployments[*d].tier));
            let (environment, tier) = named.or(linked).unwrap_or(("production", "production"));
            self.wants(service, environment, tier)
        };
        if services.is_empty() { wants(None) } else { services.into_iter().any(|service| wants(Some(service))) }
    }

    fn duration(rows: &Rows, center: &str, empty: &str) -> Value {
        let micros = middle(&rows.values, center);
        let reason = micros.is_none().then_some(empty);
        json!({"value": micros.map(|micros| micros / 1e6), "n": rows.values.len(), "reason": reason,
            "interval": order_statistics(&rows.values, center), "excluded": rows.excluded})
    }

    fn with_open(&self, mut figure: Value, rows: &Rows, window: (i64, i64)) -> Value {
        let end = window.1.min(self.now);
        figure["open"] = json!(rows.excluded.get("open").unwrap_or(&0));
        figure["oldest_open_seconds"] = json!(rows.open_since.map(|since| (end - since).max(0) as f64 / 1e6));
        figure
    }
}

fn ratio(rows: &Rows, what: &str) -> Value {
    let n = rows.at.len();
    let reason = (n == 0).then_some("no deployment reached the environment in this window");
    let value = (n > 0).then(|| rows.yes as f64 / n as f64);
    let interval = value.map(|share| wilson(share, n as f64));
    json!({"value": value, "n": n, "reason": reason, "interval": interval, "excluded": rows.excluded, what: rows.yes})
}

/// Where a score test of 5 % does not reject: the roots of (share - p)^2 = z^2 p (1 - p) / n.
fn wilson(share: f64, n: f64) -> [f64; 2] {
    let z2 = 3.841_458_820_694_124;
    let (a, b, c) = (1.0 + z2 / n, 2.0 * share + z2 / n, share * share);
    let root = (b * b - 4.0 * a * c).max(0.0).sqrt();
    [(b - root) / (2.0 * a), (b + root) / (2.0 * a)]
}

fn middle(values: &[i64], center: &str) -> Option<f64> {
    match center {
        "mean" => mean(values),
        p => percentile(values, p.parse().unwrap()),
    }
}

/// The narrowest pair of ranks, from either end, beyond which a percentile lies with at most 2.5 % each.
fn order_statistics(values: &[i64], center: &str) -> Value {
    let Ok(percent) = center.parse::<f64>() else { return Value::Null };
    let (n, p) = (values.len(), percent / 100.0);
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    // Of n values, how likely exactly k lie below the percentile.
    let likely = |k: usize| {
        let ways: f64 = (0..k).map(|i| (n - i) as f64 / (k - i) as f64).product();
        ways * p.powi(i32::try_from(k).unwrap()) * (1.0 - p).powi(i32::try_from(n - k).unwrap())
    };
    let fewer = |k: usize| (0..k).map(likely).sum::<f64>();
    let more = |k: usize| (k..=n).map(likely).sum::<f64>();
    let low = (1..=n).rev().find(|k| fewer(*k) <= 0.025);
    let high = (1..=n).find(|k| more(*k) <= 0.025);
    match (low, high) {
        (Some(low), Some(high)) => json!([sorted[low - 1] as f64 / 1e6, sorted[high - 1] as f64 / 1e6]),
        _ => Value::Null,
    }
}

fn mean(values: &[i64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| *value as f64).sum();
    (!values.is_empty()).then(|| sum / values.len() as f64)
}

/// Linear interpolation between the two nearest ranks (type 7).
fn percentile(values: &[i64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let position = sorted.len().checked_sub(1)? as f64 * p / 100.0;
    let (low, high) = (sorted[position.floor() as usize] as f64, sorted[position.ceil() as usize] as f64);
    Some(low + (position - position.floor()) * (high - low))
}
