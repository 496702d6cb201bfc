//! What is measured: teams, services, their repositories, environments, objectives and their burn rate alerts.

use std::path::PathBuf;
use std::time::Duration;

use chrono::Weekday;
use globset::Glob;

use super::duration::format;
use super::error::did_you_mean;
use super::model::{BurnPair, Environment, Indicator, Repository, Retention, Service, Severity, Slo, Team, Tier};
use super::policies::Known;
use super::reader::{Found, Scalar, Section};
use super::scalar::{duration, one_of, share, text};

const WEEKDAYS: &[(&str, Weekday)] = &[
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
    ("sunday", Weekday::Sun),
];
const TIERS: &[(&str, Tier)] = &[
    ("production", Tier::Production),
    ("staging", Tier::Staging),
    ("testing", Tier::Testing),
    ("development", Tier::Development),
    ("other", Tier::Other),
];
const SEVERITIES: &[(&str, Severity)] = &[("page", Severity::Page), ("ticket", Severity::Ticket)];
const MONTH: Duration = Duration::from_hours(30 * 24);

/// Notes a name that an earlier item of the list has already.
pub(super) fn refuse_twice(at: &Section<'_>, seen: &mut Vec<String>, name: Option<&Found<String>>) {
    let Some(name) = name else { return };
    if seen.contains(&name.value) {
        at.report("name", name.place.clone(), format!("`{}` is used twice; names are unique", name.value));
    }
    seen.push(name.value.clone());
}

/// Reads the name of something listed elsewhere and notes when it is not there.
pub(super) fn reference(at: &Section<'_>, key: &'static str, list: &str, names: &[String]) -> Option<String> {
    let found = at.found(key, text)?;
    check_reference(at, key, list, names, &found);
    Some(found.value)
}

fn check_reference(at: &Section<'_>, key: &str, list: &str, names: &[String], found: &Found<String>) {
    if !names.contains(&found.value) {
        let hint = did_you_mean(&found.value, names.iter().map(String::as_str));
        let message = format!("`{}` is not listed in `{list}`{hint}", found.value);
        at.report(key, found.place.clone(), message);
    }
}

fn glob(scalar: &Scalar<'_>) -> Result<String, String> {
    let text = text(scalar)?;
    Glob::new(&text).map_err(|error| format!("is not a glob pattern: {}", error.kind()))?;
    Ok(text)
}

fn time_zone(scalar: &Scalar<'_>) -> Result<chrono_tz::Tz, String> {
    let name = text(scalar)?;
    name.parse().map_err(|_| {
        let hint = did_you_mean(&name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        format!("must be a time zone of the IANA database, such as Europe/Berlin{hint}")
    })
}

pub(super) fn teams(root: &Section<'_>) -> Vec<Team> {
    let mut seen = Vec::new();
    root.items("teams", |at| {
        let name = at.found("name", text);
        refuse_twice(at, &mut seen, name.as_ref());
        let time_zone = at.or("time_zone", chrono_tz::UTC, time_zone);
        let week_starts_on = at.or("week_starts_on", Weekday::Mon, one_of(WEEKDAYS));
        Some(Team { name: name?.value, time_zone, week_starts_on })
    })
}

pub(super) fn services(root: &Section<'_>, teams: &[Team]) -> Vec<Service> {
    let teams: Vec<String> = teams.iter().map(|team| team.name.clone()).collect();
    let mut seen = Vec::new();
    root.items("services", |at| {
        let name = at.found("name", text);
        refuse_twice(at, &mut seen, name.as_ref());
        let team = at.optional("team", text);
        if let Some(team) = &team {
            check_reference(at, "team", "teams", &teams, team);
        }
        let repository = at.optional("repository", text).map(|found| found.value);
        let paths = at.values("paths", glob);
        Some(Service { name: name?.value, team: team.map(|team| team.value), repository, paths })
    })
}

pub(super) fn repositories(root: &Section<'_>) -> Vec<Repository> {
    let mut seen = Vec::new();
    root.items("repositories", |at| {
        let name = at.found("name", text);
        refuse_twice(at, &mut seen, name.as_ref());
        let path = at.required("path", |scalar: &_| {
            let path = PathBuf::from(text(scalar)?);
            if path.is_absolute() {
                Ok(path)
            } else {
                Err("must be an absolute path, such as /srv/git/shop.git".to_owned())
            }
        });
        let fetch_every = at.optional("fetch_every", duration).map(|found| found.value);
        Some(Repository { name: name?.value, path: path?, fetch_every })
    })
}

pub(super) fn environments(root: &Section<'_>) -> Vec<Environment> {
    let mut seen = Vec::new();
    root.items("environments", |at| {
        let name = at.found("name", text);
        refuse_twice(at, &mut seen, name.as_ref());
        let tier = at.required("tier", one_of(TIERS));
        let matches = at.values("match", glob);
        Some(Environment { name: name?.value, tier: tier?, matches })
    })
}

pub(super) fn burn_alerts(root: &Section<'_>) -> Vec<BurnPair> {
    root.items("burn_alerts", |at| {
        let long = at.required("long", duration);
        let short = at.found("short", duration);
        if let (Some(long), Some(short)) = (long, &short)
            && short.value >= long
        {
            at.report("short", short.place.clone(), format!("must be shorter than `long` ({})", format(long)));
        }
        let budget_share = at.required("budget_share", share());
        let severity = at.required("severity", one_of(SEVERITIES));
        Some(BurnPair { long: long?, short: short?.value, budget_share: budget_share?, severity: severity? })
    })
}

pub(super) fn slos(
    root: &Section<'_>,
    known: &Known<'_>,
    pairs: &[BurnPair],
    retention: Option<&Retention>,
) -> Vec<Slo> {
    let services: Vec<String> = known.services.iter().map(|service| service.name.clone()).collect();
    let environments: Vec<String> = known.environments.iter().map(|environment| environment.name.clone()).collect();
    let mut seen = Vec::new();
    root.items("slos", |at| {
        let name = at.found("name", text);
        refuse_twice(at, &mut seen, name.as_ref());
        let service = reference(at, "service", "services", &services);
        let environment = reference(at, "environment", "environments", &environments);
        let objective = at.found("objective", share());
        let window = at.optional("window", duration);
        let place = window.as_ref().map_or_else(|| at.place().clone(), |found| found.place.clone());
        let window = window.map_or(MONTH, |found| found.value);
        if let Some(kept) = retention.map(|retention| retention.hours).filter(|kept| *kept < window) {
            let message =
                format!("must be at most `retention.hours` ({}): the window is read back from it", format(kept));
            at.report("window", place, message);
        }
        if let Some(objective) = &objective {
            refuse_silent_pairs(at, objective, window, pairs);
        }
        let indicator = at.inner("indicator", indicator);
        if !at.has("indicator") {
            at.report("indicator", at.place().clone(), "is missing: availability or latency");
        }
        Some(Slo {
            name: name?.value,
            service: service?,
            environment: environment?,
            objective: objective?.value,
            window,
            indicator: indicator?,
        })
    })
}

fn indicator(at: &Section<'_>) -> Option<Indicator> {
    let availability = at.inner("availability", |_| Some(Indicator::Availability));
    let latency =
        at.inner("latency", |at| at.required("threshold", duration).map(|threshold| Indicator::Latency { threshold }));
    if at.has("availability") == at.has("latency") {
        at.report("", at.place().clone(), "must have exactly one of availability and latency");
    }
    availability.or(latency)
}

/// With every request bad the burn rate is 1/b, b = 1 − objective; a threshold there or above
/// cannot be exceeded, and its alert would look like protection.
fn refuse_silent_pairs(at: &Section<'_>, objective: &Found<f64>, window: Duration, pairs: &[BurnPair]) {
    let most = 1.0 / (1.0 - objective.value);
    for pair in pairs {
        let threshold = pair.budget_share * window.as_secs_f64() / pair.long.as_secs_f64();
        if threshold >= most {
            let message = format!(
                "the pair {}/{} of `burn_alerts` can never fire: it needs a burn rate above {threshold:.1}, but with \
                 every request bad this objective burns at {most:.1}; raise the objective or set other burn_alerts",
                format(pair.long),
                format(pair.short),
            );
            at.report("objective", objective.place.clone(), message);
        }
    }
}
