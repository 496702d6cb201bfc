//! Four weeks of a healthy service, back-dated: deployments with their changes, one failure with
//! its incident and hotfix, and the traffic of all that time. The same for the same `now`.

use std::time::Duration;

use serde_json::{Value, json};

use super::shop::{ENVIRONMENT, LOAD, ONE_IN, SERVICE};
use crate::time::Timestamp;

const DAYS: u64 = 28;
/// The day, counted back from now, on which a deployment failed.
const FAILED_DAY: u64 = 9;
/// From the failing deployment to its hotfix.
const FAILING_FOR: Duration = Duration::from_mins(95);
const SOURCE: &str = "ci/acme";
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
/// So long before now the traffic was counted by the hour, since then by the minute.
const RECENT_HOURS: u64 = 2;

pub struct History {
    pub events: Vec<Value>,
    /// What is live at the end of it.
    pub live: String,
    /// What would come next.
    pub next: String,
}

/// One deployment as the history has it.
struct Deployed {
    number: usize,
    at: Timestamp,
    kind: &'static str,
}

impl Deployed {
    fn version(&self) -> String {
        version(self.number)
    }
}

pub fn version(number: usize) -> String {
    format!("1.{number}.0")
}

pub fn history(now: Timestamp) -> History {
    let deployed = deployments(now);
    let last = deployed.last().map_or(0, |last| last.number);
    let mut events: Vec<Value> = deployed.iter().map(event).collect();
    events.extend(incident(&deployed));
    events.extend(traffic(now, &deployed));
    History { events, live: version(last), next: version(last + 1) }
}

/// Twice a day, five days of seven; on one day the second is the hotfix of the first.
fn deployments(now: Timestamp) -> Vec<Deployed> {
    let mut deployed = Vec::new();
    for day in (1..=DAYS).rev().filter(|day| day % 7 > 1 || *day == 1) {
        let morning = now.minus(24 * HOUR * u32::try_from(day).unwrap_or(0)).plus(MINUTE * 17);
        let failed = day == FAILED_DAY;
        let second = if failed { morning.plus(FAILING_FOR) } else { morning.plus(HOUR * 5) };
        deployed.push(Deployed { number: deployed.len() + 1, at: morning, kind: "planned" });
        let kind = if failed { "hotfix" } else { "planned" };
        deployed.push(Deployed { number: deployed.len() + 1, at: second, kind });
    }
    deployed
}

fn event(deployed: &Deployed) -> Value {
    let minutes_in_work = u64::try_from(40 + deployed.number * 7 % 60).unwrap_or(40);
    let changes: Vec<Value> = (0..=deployed.number % 3).map(|n| change(deployed, n, minutes_in_work)).collect();
    let sha = sha(deployed, deployed.number % 3);
    json!({"type": "deployment", "id": format!("d-{}", deployed.number), "source": SOURCE, "time": deployed.at,
        "service": SERVICE, "environment": ENVIRONMENT, "version": deployed.version(), "commit": sha,
        "outcome": "succeeded", "started_at": deployed.at.minus(MINUTE * 4), "kind": deployed.kind,
        "changes": changes})
}

fn change(deployed: &Deployed, n: usize, minutes_in_work: u64) -> Value {
    let authored = deployed.at.minus(Duration::from_mins(minutes_in_work * (u64::try_from(n).unwrap_or(0) + 1)));
    json!({"repository": "acme/checkout", "sha": sha(deployed, n),
        "authored_at": authored, "committed_at": authored.plus(MINUTE)})
}

fn sha(deployed: &Deployed, n: usize) -> String {
    format!("{:040x}", deployed.number * 10 + n)
}

/// Opened twelve minutes after the failing deployment, resolved five after its hotfix.
fn incident(deployed: &[Deployed]) -> Vec<Value> {
    let pairs = deployed.iter().zip(deployed.iter().skip(1));
    let failed = pairs.filter(|(_, fix)| fix.kind == "hotfix");
    failed
        .flat_map(|(bad, fix)| {
            let status = |status: &str, time: Timestamp| {
                json!({"type": "incident", "id": "i-1", "source": "pager", "time": time, "service": SERVICE,
                    "environment": ENVIRONMENT, "status": status, "severity": "critical",
                    "title": "Payments are declined",
                    "deployments": [{"id": format!("d-{}", bad.number), "source": SOURCE}]})
            };
            [status("opened", bad.at.plus(MINUTE * 12)), status("resolved", fix.at.plus(MINUTE * 5))]
        })
        .collect()
}

/// Hour by hour, then minute by minute, up to now.
fn traffic(now: Timestamp, deployed: &[Deployed]) -> Vec<Value> {
    let hours = (RECENT_HOURS..DAYS * 24).rev().map(|hour| (HOUR * u32::try_from(hour).unwrap_or(0), HOUR));
    let minutes = (1..RECENT_HOURS * 60).rev().map(|minute| (Duration::from_mins(minute), MINUTE));
    hours.chain(minutes).filter_map(|(ago, span)| performance(now.minus(ago), span, deployed)).collect()
}

/// The requests of one span, if anything was live then.
fn performance(time: Timestamp, span: Duration, deployed: &[Deployed]) -> Option<Value> {
    let live = deployed.iter().rev().find(|deployed| deployed.at <= time)?;
    let failing = deployed.iter().any(|fix| fix.kind == "hotfix" && fix.number == live.number + 1);
    let requests = LOAD * span.as_secs();
    // Errors of healthy minutes alternate between rounding down and up.
    let share = requests + u64::from(time.seconds() % 120 < 60) * (ONE_IN - 1);
    let errors = if failing { requests / 20 } else { share / ONE_IN };
    let (quick, usual, slow) = (requests * 2 / 5, requests * 59 / 100, requests / 200);
    let rest = requests - quick - usual - slow;
    Some(json!({"type": "performance", "time": time, "service": SERVICE, "environment": ENVIRONMENT,
        "version": live.version(), "route": "/pay", "requests": requests, "errors": errors,
        "duration_ms": {"count": requests, "sum": requests * 24,
            "buckets": [[20, quick], [50, usual], [250, rest], [1_000, slow]]}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_790_000_000)
    }

    #[test]
    fn four_weeks_with_one_failure_and_its_hotfix() {
        let history = history(now());
        let of = |kind: &str| history.events.iter().filter(|event| event["type"] == kind).count();
        assert_eq!((of("deployment"), of("incident")), (42, 2));
        let hotfixes = history.events.iter().filter(|event| event["kind"] == "hotfix").count();
        assert_eq!((hotfixes, history.live.as_str(), history.next.as_str()), (1, "1.42.0", "1.43.0"));
    }

    #[test]
    fn nothing_lies_in_the_future_and_most_of_the_budget_is_left() {
        let history = history(now());
        let times = history.events.iter().map(|event| Timestamp::parse(event["time"].as_str().unwrap()).unwrap());
        assert!(times.max().unwrap() < now());
        let sum = |field: &str| history.events.iter().filter_map(|event| event[field].as_u64()).sum::<u64>();
        let burned = crate::num::float(sum("errors")) / crate::num::float(sum("requests")) / 0.001;
        assert!((0.2..0.5).contains(&burned), "{burned}");
    }
}
