//! Delivery metrics over a long history: how long questions take, how soon a late event corrects
//! the numbers, and whether a question costs more when the history is longer. `make bench`, or
//! `cargo bench --bench history`.
//!
//! `DEVPULSE_BENCH_HISTORY` is the part of the full size that is made up: 1 is 1,000 services, one
//! million deployments and ten million changes over five years, and takes tens of minutes and
//! gigabytes; 0.02 where it is not set.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    dead_code,
    reason = "a bench may stop at the first surprise, and uses a part of the tests' support"
)]

mod support;

use std::time::Duration;

use devpulse::time::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use support::devpulse::DevPulse;
use support::history::{self, Size};

const FULL: Size = Size { services: 1_000, deployments_each: 1_000, changes_per_deployment: 10, days: 5 * 365 };
type Event<'a> = &'a dyn Fn(usize, &str) -> Value;

const GOAL: Duration = Duration::from_millis(50);
const LATE_GOAL: Duration = Duration::from_millis(100);
const ROUNDS: usize = 40;
const LATE: usize = 50;
const LONGER: usize = 10;

fn main() {
    support::run(async {
        let part: f64 = std::env::var("DEVPULSE_BENCH_HISTORY").map_or(0.02, |part| part.parse().unwrap());
        // Fewer services, each as long as ever: what one service costs stays comparable.
        let size = Size { services: ((FULL.services as f64 * part) as usize).max(2), ..FULL };
        for (name, database) in support::back_ends().await {
            println!(
                "{name}: {} services, {} deployments, {} changes",
                size.services,
                size.deployments(),
                size.changes()
            );
            measure(&database.url, size).await;
        }
        for (name, database) in support::back_ends().await {
            // The same density, the last two months alone.
            let days = 60;
            let each = i64::try_from(FULL.deployments_each).unwrap() * days / FULL.days;
            let short = Size { deployments_each: usize::try_from(each).unwrap(), days, ..size };
            println!("{name}, the last {days} days alone: {} deployments", short.deployments());
            measure(&database.url, short).await;
        }
    });
}

async fn measure(url: &str, size: Size) {
    let end = Timestamp::from(chrono::Utc::now());
    let began = Instant::now();
    let store = devpulse::store::open::open(url, 2).await.unwrap();
    history::write(&store, size, end).await;
    history::settle(&store).await;
    println!("  written in {:.0} s", began.elapsed().as_secs_f64());
    let mut devpulse = DevPulse::start(url, &history::configuration(size)).await;
    let began = Instant::now();
    // Whoever asks meanwhile waits, and is told to come again.
    while !devpulse.request("GET", "/api/v1/dora").send().await.is_ok_and(|answer| answer.status() == 200) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("  packed and projected in {:.0} s", began.elapsed().as_secs_f64());
    history::settle(&store).await;
    questions(&devpulse, size, end).await;
    late_events(&devpulse, size, end).await;
    println!("  resident memory: {}", resident(devpulse.process().pid()));
}

fn resident(process: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}

async fn questions(devpulse: &DevPulse, size: Size, end: Timestamp) {
    println!("  {:<42}{:>10}{:>10}{:>10}{:>10}", "question", "first", "p50", "p99", "worst");
    let services: Vec<String> = (0..size.services).map(|n| format!("service={}", history::service(n))).collect();
    let teams: Vec<String> = (0..size.services.div_ceil(20)).map(|team| format!("team=team-{team}")).collect();
    let everything = vec!["environment=production".to_owned()];
    let mut all = Vec::new();
    for (who, selection) in [("one service", &services), ("a team", &teams), ("everything", &everything)] {
        for window in ["7d", "30d", "90d", "365d", "1825d"] {
            let path =
                |round: usize| format!("/api/v1/dora?window={window}&{}", selection[round * 7 % selection.len()]);
            all.extend(ask(devpulse, &format!("{who}, {window}"), path).await);
        }
        let path = |round: usize| {
            format!("/api/v1/dora?{}&{}", any_window(round, size, end), selection[round * 7 % selection.len()])
        };
        all.extend(ask(devpulse, &format!("{who}, any window"), path).await);
    }
    for other in [
        "tier=production",
        "percentile=90",
        "percentile=mean",
        "lead_time_from=merged",
        "exclude_rollbacks=true",
        "arrival=last",
        "time_zone=Asia/Kolkata",
    ] {
        let path = |_: usize| format!("/api/v1/dora?window=90d&{other}");
        all.extend(ask(devpulse, &format!("everything, 90d, {other}"), path).await);
    }
    let verdict = if show("all of them", None, &mut all) < GOAL { "is met" } else { "is MISSED" };
    println!("  the goal of p99 < 50 ms {verdict}");
    // Longer answers, for which no goal is set.
    for (what, path) in [
        ("series of everything, 90 days", "/api/v1/dora/series?window=90d&bucket=day"),
        ("series of everything, 52 weeks", "/api/v1/dora/series?window=364d&bucket=week"),
        ("teams compared, 30d", "/api/v1/dora/compare?window=30d&by=team"),
        ("services compared, 30d", "/api/v1/dora/compare?window=30d&by=service"),
        ("lead time of everything explained, 30d", "/api/v1/dora/change_lead_time/explain?window=30d"),
        ("fail rate of everything explained, 365d", "/api/v1/dora/change_fail_rate/explain?window=365d"),
    ] {
        let mut times = Vec::new();
        for _ in 0..LONGER {
            let began = Instant::now();
            assert!(devpulse.get(path).await.is_object(), "{path}");
            times.push(began.elapsed());
        }
        show(what, Some(times[0]), &mut times);
    }
}

/// From any day, for any number of days.
fn any_window(round: usize, size: Size, end: Timestamp) -> String {
    let days = i64::try_from(round * 137 + 11).unwrap() % (size.days - 7) + 7;
    let back = i64::try_from(round * 251 + 3).unwrap() % (size.days - days + 1);
    let day = |days: i64| end.minus(Duration::from_hours(24 * u64::try_from(days).unwrap()));
    format!("from={}&to={}", day(back + days), day(back))
}

/// How long each answer takes. All have numbers in them.
async fn ask(devpulse: &DevPulse, what: &str, path: impl Fn(usize) -> String) -> Vec<Duration> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let path = path(round);
        let began = Instant::now();
        let answer = devpulse.get(&path).await;
        times.push(began.elapsed());
        assert!(answer["metrics"]["deployment_frequency"]["n"].as_u64().unwrap() > 0, "{path}: {answer}");
    }
    show(what, Some(times[0]), &mut times);
    times
}

/// Each comes weeks late, and is asked after at once.
async fn late_events(devpulse: &DevPulse, size: Size, end: Timestamp) {
    let time = |days: u64| end.minus(Duration::from_hours(days * 24));
    let (mut all, mut wide) = (Vec::new(), Vec::new());
    let deployment = |n: usize, service: &str| {
        json!({"type": "deployment", "id": format!("late-{n}"), "source": "ci", "time": time(20), "service": service,
            "environment": "production", "version": format!("late-{n}"), "outcome": "succeeded"})
    };
    // Of a deployment of the history, which ended long ago.
    let incident = |n: usize, service: &str| {
        json!({"type": "incident", "id": format!("late-{n}"), "source": "pager", "time": time(19), "service": service,
            "environment": "production", "status": "resolved", "started_at": time(20)})
    };
    let change = |n: usize, service: &str| {
        json!({"type": "change", "id": format!("late-{n}"), "source": "git", "time": time(25),
            "repository": format!("acme/{service}"), "sha": format!("late-{n}"), "authored_at": time(30),
            "merged_at": time(25)})
    };

    let kinds: [(&str, &str, Event<'_>); 3] = [
        ("deployment", "deployment_frequency", &deployment),
        ("incident", "mean_time_to_recovery", &incident),
        ("change", "change_lead_time", &change),
    ];
    for (kind, metric, event) in kinds {
        let mut times = Vec::new();
        for n in 0..LATE {
            let service = history::service(n * 13 % size.services);
            let path = format!("/api/v1/dora?window=60d&service={service}");
            let count = |answer: &Value| answer["metrics"][metric]["n"].as_u64().unwrap();
            let before = count(&devpulse.get(&path).await);
            let event = event(n, &service);
            let began = Instant::now();
            devpulse.post_events(&event).await;
            let after = count(&devpulse.get(&path).await);
            // What all services come to follows, too.
            let asked = Instant::now();
            devpulse.get("/api/v1/dora?window=90d").await;
            wide.push(asked.elapsed());
            times.push(began.elapsed());
            assert_eq!(after, before + 1, "{event}");
        }
        show(&format!("a late {kind}, till every number has it"), Some(times[0]), &mut times);
        all.extend(times);
    }
    let verdict = if show("all late events", None, &mut all) < LATE_GOAL { "is met" } else { "is MISSED" };
    println!("  the goal of p99 < 100 ms {verdict}");
    show("of that, the answer for everything, 90d", Some(wide[0]), &mut wide);
}

/// Answers the p99.
fn show(what: &str, first: Option<Duration>, times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
    let ms = |time: Duration| format!("{:>7.1} ms", time.as_secs_f64() * 1e3);
    let first = first.map_or_else(|| " ".repeat(10), ms);
    println!("  {what:<42}{first}{}{}{}", ms(at(50)), ms(at(99)), ms(at(100)));
    at(99)
}
