//! What the gauges would have shown at moments of the past.
//!
//! A gauge's window ends when it is read, so the window of each step ends there. What is known today
//! counts: an incident that was linked later makes its deployment failed from the start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::super::Failure;
use super::super::compare::{self, By, Row};
use super::super::figures::{Figure, Figures};
use super::super::import::progress;
use super::super::remote::{Server, decoded};
use crate::config::duration::format;
use crate::dora::Metric;
use crate::time::{Timestamp, short};

const MAX_STEPS: u64 = 10_000;
/// Before anything that DevPulse knows.
const BEGINNING: &str = "1970-01-01T00:00:00Z";

/// The moments that there are samples of.
pub struct Steps(Vec<Timestamp>);

impl Steps {
    /// # Errors
    /// There are none, or too many of them.
    pub fn new(from: Timestamp, to: Timestamp, step: Duration) -> Result<Self, Failure> {
        if from > to {
            return Err(Failure::Refused("--from must lie before --to, and in the past".to_owned()));
        }
        let count = to.duration_since(from).as_micros() / step.as_micros().max(1);
        if count >= u128::from(MAX_STEPS) {
            return Err(Failure::Refused(format!(
                "{} steps are more than {MAX_STEPS}: give a longer --step, or export in parts",
                count.saturating_add(1)
            )));
        }
        let all = std::iter::successors(Some(from), |at| Some(at.plus(step)));
        Ok(Self(all.take_while(|at| *at <= to).collect()))
    }
}

/// The environments that have gauges, each with its services.
pub type Places = BTreeMap<String, BTreeSet<String>>;

/// A service of `GET /api/v1/services`.
#[derive(Debug, Deserialize)]
struct Service {
    name: String,
    environments: Vec<Environment>,
}

#[derive(Debug, Deserialize)]
struct Environment {
    name: String,
    tier: String,
}

/// Every service and environment of tier production, or those asked for.
///
/// # Errors
/// The server cannot be reached or refuses, or there is nothing of what was asked for.
pub async fn places(server: &Server, service: Option<&str>, environment: Option<&str>) -> Result<Places, Failure> {
    let answer = server.get_all(&["services"], &[("limit", Some("500"))], &["items"]).await?;
    let services: Vec<Service> = decoded(answer.get("items"))?;
    let mut places = Places::new();
    for known in services.into_iter().filter(|known| service.is_none_or(|asked| asked == known.name)) {
        for Environment { name, tier } in known.environments {
            if environment.map_or(tier == "production", |asked| asked == name) {
                places.entry(name).or_default().insert(known.name.clone());
            }
        }
    }
    if places.is_empty() && (service.is_some() || environment.is_some()) {
        let what = "the service and the environment asked for have nothing: `devpulse compare` lists services";
        return Err(Failure::Refused(what.to_owned()));
    }
    Ok(places)
}

/// The gauges of one service, environment and window, through time.
pub struct Track {
    pub service: String,
    pub environment: String,
    pub window: String,
    pub points: Vec<Point>,
}

/// Value and number of samples of each metric, in their order.
pub struct Point {
    pub at: Timestamp,
    pub shown: [(Option<f64>, u64); 6],
}

/// Every gauge that would have been there, at every step.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn tracks(
    server: &Server,
    places: &Places,
    windows: &[Duration],
    steps: &Steps,
) -> Result<Vec<Track>, Failure> {
    let bar = progress(places.len().saturating_mul(steps.0.len()), "asking");
    let mut tracks = Vec::new();
    for (environment, services) in places {
        let mut of_place: BTreeMap<(String, Duration), Vec<Point>> = BTreeMap::new();
        let mut begun: BTreeSet<String> = BTreeSet::new();
        for at in &steps.0 {
            let asked = Asked { server, environment, services, at: *at };
            if begun.len() < services.len() {
                let known = asked.rows(("from", BEGINNING)).await?;
                begun.extend(known.into_iter().filter(|row| has_anything(&row.metrics)).map(|row| row.name));
            }
            for window in windows {
                let rows = asked.rows(("window", &format(*window))).await?;
                for row in rows.into_iter().filter(|row| begun.contains(&row.name)) {
                    let point = Point { at: *at, shown: shown(&row.metrics) };
                    of_place.entry((row.name, *window)).or_default().push(point);
                }
            }
            bar.inc(1);
        }
        tracks.extend(of_place.into_iter().map(|((service, window), points)| Track {
            service,
            environment: environment.clone(),
            window: short(window),
            points,
        }));
    }
    bar.finish_and_clear();
    Ok(tracks)
}

/// The figures of all services in one environment, as of a moment.
struct Asked<'a> {
    server: &'a Server,
    environment: &'a str,
    services: &'a BTreeSet<String>,
    at: Timestamp,
}

impl Asked<'_> {
    async fn rows(&self, since: (&'static str, &str)) -> Result<Vec<Row>, Failure> {
        let to = self.at.to_string();
        // One service is asked for by its name: the others would be computed for nothing.
        let one = self.services.first().filter(|_| self.services.len() == 1);
        let (name, since) = since;
        let query = [
            ("environment", Some(self.environment)),
            ("service", one.map(String::as_str)),
            ("to", Some(to.as_str())),
            (name, Some(since)),
        ];
        let answer = compare::fetch(self.server, By::Service, &query).await?;
        let mut rows: Vec<Row> = decoded(answer.get("rows"))?;
        rows.retain(|row| self.services.contains(&row.name));
        Ok(rows)
    }
}

/// A deployment or an incident: from then on there are gauges.
fn has_anything(metrics: &Figures) -> bool {
    let something = |figure: &Figure| figure.n > 0 || !figure.excluded.is_empty() || figure.open.unwrap_or(0) > 0;
    metrics.values().any(something) || metrics.get(&Metric::DeploymentFrequency).is_some_and(|all| all.value.is_some())
}

fn shown(metrics: &Figures) -> [(Option<f64>, u64); 6] {
    Metric::ALL.map(|metric| metrics.get(&metric).map_or((None, 0), |figure| (figure.value, figure.n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(from: &str, to: &str, step: u64) -> Result<Vec<String>, Failure> {
        let at = |text| Timestamp::parse(text).unwrap();
        let steps = Steps::new(at(from), at(to), Duration::from_secs(step))?;
        Ok(steps.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn steps_begin_at_the_beginning_and_do_not_pass_the_end() {
        let hours = steps("2026-01-05T10:00:00Z", "2026-01-05T12:30:00Z", 3_600).unwrap();
        assert_eq!(hours, ["2026-01-05T10:00:00Z", "2026-01-05T11:00:00Z", "2026-01-05T12:00:00Z"]);
        assert_eq!(steps("2026-01-05T10:00:00Z", "2026-01-05T10:00:00Z", 3_600).unwrap().len(), 1);
        assert!(steps("2026-01-05T10:00:00Z", "2026-01-05T09:59:59Z", 3_600).is_err());
        let many = steps("2026-01-05T10:00:00Z", "2027-01-05T10:00:00Z", 60).unwrap_err().to_string();
        assert!(many.contains("525601 steps are more than 10000"), "{many}");
    }
}
