//! Which services, environments and time a question about delivery is about.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::Weekday;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::params::{flag, invalid, not_one_of, one_of, suggestion, time, window};
use crate::app::App;
use crate::config::Config;
use crate::config::model::{Team, Tier};
use crate::dora::benchmark;
use crate::dora::calendar::{Calendar, Window};
use crate::dora::count::{LeadFrom, Question};
use crate::dora::figure::{Figures, Standards, figures_of};
use crate::dora::select::{Arrival, Selected};
use crate::dora::stats::Center;
use crate::store::dora::{Arranged, DoraCache, Reading, Scope, Wanted};
use crate::store::history;
use crate::time::Timestamp;

const DEFAULT_WINDOW: Duration = Duration::from_hours(30 * 24);
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DoraParams {
    /// One service; all without it.
    pub service: Option<String>,
    /// The services of one team, in its time zone.
    pub team: Option<String>,
    /// One environment; those of tier production without it.
    pub environment: Option<String>,
    /// All environments of a tier instead.
    #[param(value_type = Option<Tier>)]
    pub tier: Option<String>,
    /// The year of the DORA report behind the bands; `dora.benchmark_edition` without it.
    #[param(example = "2024")]
    pub benchmark_edition: Option<String>,
    /// RFC 3339; the window is half open.
    #[param(value_type = Option<Timestamp>)]
    pub from: Option<String>,
    #[param(value_type = Option<Timestamp>)]
    pub to: Option<String>,
    /// The length of the window up to `to`, else up to now: `30d` without it.
    #[param(example = "30d")]
    pub window: Option<String>,
    /// IANA name; the team's without it, else UTC.
    pub time_zone: Option<String>,
    /// The first day of a week, `monday` to `sunday`; the team's without it, else Monday.
    #[param(example = "monday")]
    pub week_starts_on: Option<String>,
    /// A number from 0 to 100, or `mean`; 50 without it.
    pub percentile: Option<String>,
    #[param(value_type = Option<LeadFrom>)]
    pub lead_time_from: Option<String>,
    /// `true` leaves rollbacks out of the change fail rate.
    #[param(value_type = Option<bool>)]
    pub exclude_rollbacks: Option<String>,
    /// Where a change counts that reached several of the environments: at its `first` or `last`.
    #[param(value_type = Option<Arrival>)]
    pub arrival: Option<String>,
}

/// What was asked about, as it was understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Selection {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    pub environments: BTreeSet<String>,
}

/// A checked question.
pub struct Asked {
    pub config: Arc<Config>,
    pub question: Question,
    pub selection: Selection,
    /// The year of the benchmark.
    pub edition: String,
    scope: Scope,
}

impl Asked {
    /// # Errors
    /// 400 for what cannot be understood, 404 for services, teams and environments nobody knows.
    pub async fn of(app: &App, cache: &DoraCache, params: &DoraParams) -> Result<Self, Problem> {
        let config = app.config.load_full();
        let team = team_of(&config, params)?;
        let question = question(params, team, app.clock.now())?;
        let arrival = one_of("arrival", params.arrival.as_deref(), "first, last")?.unwrap_or_default();
        let wanted = match (&params.service, &params.team) {
            (Some(service), _) => Wanted::These(BTreeSet::from([service.clone()])),
            (None, Some(team)) => Wanted::These(services_of(&config, team)),
            (None, None) => Wanted::All,
        };
        let known = cache.read(&app.store, &config, &wanted, None).await?;
        if let Some(service) = &params.service {
            known_service(app, &config, &known, service).await?;
        }
        let environments = environments(&known, params)?;
        let edition = edition(&config, params)?;
        let scope = Scope { wanted, environments: environments.clone(), arrival };
        let selection = Selection {
            service: params.service.clone(),
            team: params.team.clone(),
            environment: environments.first().filter(|_| environments.len() == 1).cloned(),
            environments,
        };
        Ok(Self { config, question, selection, edition, scope })
    }

    pub fn standards(&self) -> Standards<'_> {
        Standards { benchmark: benchmark::edition(&self.edition), targets: Some(&self.config.dora.targets) }
    }

    /// The figures of the window, each with its value in the period before; and where nothing was ever
    /// deployed, the environments that something was deployed to.
    ///
    /// # Errors
    /// 503 while the database does not answer, or cannot be followed.
    pub async fn figures(&self, app: &App) -> Result<(Figures, BTreeSet<String>), Problem> {
        let (question, before) = (&self.question, self.question.before());
        let span = Window { from: before.window.from, to: question.window.to };
        let arranged = self.arranged(app, span).await?;
        let view = arranged.view();
        let figures = figures_of(view.tallies(question, true), arranged.first, question, self.standards());
        let figures = figures.with_previous(view.tallies(&before, false), arranged.first, &before);
        Ok((figures, arranged.elsewhere()))
    }

    /// The rows for any window of a span.
    ///
    /// # Errors
    /// 503 while the database does not answer, or cannot be followed.
    pub async fn arranged(&self, app: &App, span: Window) -> Result<Arranged, Problem> {
        let (cache, store, config) = (Arc::clone(&app.dora), app.store.clone(), Arc::clone(&self.config));
        let (scope, question) = (self.scope.clone(), self.question);
        let arranging = async move { cache.arrange(&store, &config, &scope, &question, span).await };
        Ok(app.store.run(arranging).await?)
    }

    /// The rows of the window.
    ///
    /// # Errors
    /// 503 while the database does not answer, or cannot be followed.
    pub async fn read(&self, app: &App) -> Result<Reading, Problem> {
        let (cache, store, config) = (Arc::clone(&app.dora), app.store.clone(), Arc::clone(&self.config));
        let (wanted, window) = (self.scope.wanted.clone(), Some(self.question.window));
        let reading = async move { cache.read(&store, &config, &wanted, window).await };
        Ok(app.store.run(reading).await?)
    }

    pub fn rows<'a>(&self, reading: &'a Reading) -> Selected<'a> {
        reading.select(|service, environment| self.scope.wants(service, environment), self.scope.arrival)
    }
}

/// The team whose time zone and week count: the one asked for, else that of the service.
fn team_of<'a>(config: &'a Config, params: &DoraParams) -> Result<Option<&'a Team>, Problem> {
    let owner = params.service.as_deref().and_then(|name| config.services.iter().find(|s| s.name == name));
    let owner = owner.and_then(|service| service.team.as_deref());
    let Some(name) = &params.team else {
        return Ok(owner.and_then(|owner| config.teams.iter().find(|team| team.name == owner)));
    };
    let team = config.teams.iter().find(|team| team.name == *name);
    let team = team.ok_or_else(|| not_known("team", name, config.teams.iter().map(|team| team.name.as_str())))?;
    if let Some(service) = params.service.as_ref().filter(|_| owner != Some(name)) {
        return Err(Problem::not_found(format!("the service `{service}` does not belong to the team `{name}`")));
    }
    Ok(Some(team))
}

pub fn services_of(config: &Config, team: &str) -> BTreeSet<String> {
    let services = config.services.iter().filter(|service| service.team.as_deref() == Some(team));
    services.map(|service| service.name.clone()).collect()
}

pub fn not_known<'a>(what: &'static str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Problem {
    let hint = suggestion(name, known).unwrap_or_default();
    Problem::not_found(format!("unknown {what} `{name}`{hint}")).at(what)
}

/// # Errors
/// 404 when neither the configuration nor any event names the service.
pub async fn known_service(app: &App, config: &Config, reading: &Reading, name: &str) -> Result<(), Problem> {
    let configured = config.services.iter().map(|service| service.name.as_str());
    let deployed = reading.services();
    if configured.clone().chain(deployed.clone()).any(|known| known == name) {
        return Ok(());
    }
    let others = history::other_places(&mut app.store.read().await?).await?;
    if others.iter().any(|(service, _)| service == name) {
        return Ok(());
    }
    Err(not_known("service", name, configured.chain(deployed)))
}

/// The environments asked about, by their configured names.
fn environments(reading: &Reading, params: &DoraParams) -> Result<BTreeSet<String>, Problem> {
    let tiers = "production, staging, testing, development, other";
    let tier: Option<Tier> = one_of("tier", params.tier.as_deref(), tiers)?;
    if tier.is_some() && params.environment.is_some() {
        return Err(invalid("tier", "and `environment` exclude each other"));
    }
    let rules = &reading.rules;
    let known = reading.environments();
    let Some(named) = params.environment.as_deref() else {
        let tier = tier.unwrap_or(Tier::Production);
        return Ok(known.into_iter().filter(|name| rules.environment(name).1 == tier).map(str::to_owned).collect());
    };
    let name = rules.environment(named).0;
    if known.contains(name) {
        return Ok(BTreeSet::from([name.to_owned()]));
    }
    Err(not_known("environment", named, known))
}

fn edition(config: &Config, params: &DoraParams) -> Result<String, Problem> {
    let Some(year) = &params.benchmark_edition else { return Ok(config.dora.benchmark_edition.clone()) };
    match benchmark::edition(year) {
        Some(_) => Ok(year.clone()),
        None => Err(invalid("benchmark_edition", &format!("must be one of {}", benchmark::years().join(", ")))),
    }
}

fn question(params: &DoraParams, team: Option<&Team>, now: Timestamp) -> Result<Question, Problem> {
    let time_zone = match params.time_zone.as_deref() {
        Some(name) => {
            let what = "must be the IANA name of a time zone, such as Europe/Berlin";
            name.parse::<Tz>().map_err(|_| invalid("time_zone", what))?
        }
        None => team.map_or(Tz::UTC, |team| team.time_zone),
    };
    let week_starts_on = match params.week_starts_on.as_deref() {
        Some(name) => weekday(name).ok_or_else(|| not_one_of("week_starts_on", name, &DAYS.join(", ")))?,
        None => team.map_or(Weekday::Mon, |team| team.week_starts_on),
    };
    let names = "authored, committed, merged, first_commit_of_pull_request";
    let exclude_rollbacks = flag("exclude_rollbacks", params.exclude_rollbacks.as_deref())?;
    Ok(Question {
        window: asked_window(params, now)?,
        now,
        calendar: Calendar { time_zone, week_starts_on },
        center: center(params.percentile.as_deref())?,
        lead_from: one_of("lead_time_from", params.lead_time_from.as_deref(), names)?.unwrap_or_default(),
        exclude_rollbacks,
    })
}

fn weekday(name: &str) -> Option<Weekday> {
    DAYS.contains(&name).then(|| name.parse().ok())?
}

fn asked_window(params: &DoraParams, now: Timestamp) -> Result<Window, Problem> {
    let (from, to) = (time("from", params.from.as_deref())?, time("to", params.to.as_deref())?);
    let end = to.unwrap_or(now);
    let from = match (from, params.window.as_deref()) {
        (Some(_), Some(_)) => return Err(invalid("window", "and `from` exclude each other")),
        (Some(from), None) => from,
        (None, Some(length)) => end.minus(window("window", length)?),
        (None, None) => end.minus(DEFAULT_WINDOW),
    };
    if from >= end {
        let what = if to.is_some() { "must lie before `to`" } else { "must lie in the past" };
        return Err(invalid("from", what));
    }
    Ok(Window { from, to: end })
}

fn center(text: Option<&str>) -> Result<Center, Problem> {
    match text {
        None => Ok(Center::Percentile(50.0)),
        Some("mean") => Ok(Center::Mean),
        Some(text) => {
            let number = text.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p));
            number
                .map(Center::Percentile)
                .ok_or_else(|| invalid("percentile", "must be a number from 0 to 100, or mean"))
        }
    }
}
