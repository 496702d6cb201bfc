//! Whatever the order in which events arrive, and however often, the numbers are the same.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;

/// One event of a stream, before it is given names that no other stream has.
#[derive(Debug, Clone)]
enum Happening {
    Deployment { id: u8, minute: u16, version: u8, outcome: &'static str, kind: Option<&'static str> },
    Change { id: u8, minute: u16 },
    Incident { id: u8, minute: u16, status: &'static str, deployment: Option<u8> },
}

/// A stream, and two ways in which it arrives: permuted, parts of it twice, cut into requests.
#[derive(Debug, Clone)]
struct Case {
    stream: Vec<Happening>,
    arrivals: [Vec<usize>; 2],
    request_size: usize,
}

fn happening() -> impl Strategy<Value = Happening> {
    let minute = 0..10_000_u16;
    let outcome = prop_oneof![
        1 => Just("in_progress"), 6 => Just("succeeded"), 1 => Just("failed"), 1 => Just("cancelled"), 1 => Just("withdrawn")
    ];
    let kind = prop_oneof![6 => Just(None), 1 => Just(Some("planned")), 1 => Just(Some("rollback")), 1 => Just(Some("hotfix"))];
    let status = prop_oneof![3 => Just("opened"), 1 => Just("acknowledged"), 3 => Just("resolved"), 1 => Just("reopened"), 1 => Just("withdrawn")];
    prop_oneof![
        3 => (0..8_u8, minute.clone(), 0..5_u8, outcome, kind)
            .prop_map(|(id, minute, version, outcome, kind)| Happening::Deployment { id, minute, version, outcome, kind }),
        2 => (0..8_u8, minute.clone()).prop_map(|(id, minute)| Happening::Change { id, minute }),
        2 => (0..4_u8, minute, status, prop::option::of(0..8_u8))
            .prop_map(|(id, minute, status, deployment)| Happening::Incident { id, minute, status, deployment }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    prop::collection::vec(happening(), 1..25).prop_flat_map(|stream| {
        let once: Vec<usize> = (0..stream.len()).collect();
        let again = prop::collection::vec(0..stream.len(), 0..stream.len());
        let arrival = again.prop_flat_map(move |again| {
            let all: Vec<usize> = once.iter().copied().chain(again).collect();
            Just(all).prop_shuffle()
        });
        (Just(stream), arrival.clone(), arrival, 1..8_usize).prop_map(|(stream, first, second, request_size)| Case {
            stream,
            arrivals: [first, second],
            request_size,
        })
    })
}

on_both! {
    async fn any_order_and_any_repetition_give_the_same_numbers(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        let services = AtomicU64::new(0);
        let runtime = tokio::runtime::Handle::current();
        let verdict = tokio::task::block_in_place(|| {
            let mut runner = TestRunner::new(Config { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..Config::default() });
            runner.run(&case(), |case| {
                let answers = runtime.block_on(compare(&devpulse, &services, &case));
                let (sorted, [first, second]) = answers;
                prop_assert_eq!(&sorted, &first);
                prop_assert_eq!(&sorted, &second);
                Ok(())
            })
        });
        match verdict {
            Ok(()) => {}
            Err(TestError::Fail(reason, case)) => panic!("{reason}\n{case:#?}"),
            Err(TestError::Abort(reason)) => panic!("{reason}"),
        }
    }
}

/// The numbers of the stream in its order and in each of the two arrivals.
async fn compare(devpulse: &DevPulse, services: &AtomicU64, case: &Case) -> (Value, [Value; 2]) {
    let order: Vec<usize> = (0..case.stream.len()).collect();
    let sorted = numbers(devpulse, services, case, &order).await;
    let first = numbers(devpulse, services, case, &case.arrivals[0]).await;
    let second = numbers(devpulse, services, case, &case.arrivals[1]).await;
    (sorted, [first, second])
}

/// Sends the stream in this order, under a name of its own, and asks for its numbers.
async fn numbers(devpulse: &DevPulse, services: &AtomicU64, case: &Case, order: &[usize]) -> Value {
    let service = format!("service-{}", services.fetch_add(1, Ordering::SeqCst));
    // A service without any deployment would be unknown: this one is there, out of the window.
    let known = Happening::Deployment { id: 99, minute: 0, version: 0, outcome: "in_progress", kind: None };
    devpulse.post_events(&event(&known, &service)).await;
    for part in order.chunks(case.request_size) {
        let events: Vec<Value> = part.iter().map(|index| event(&case.stream[*index], &service)).collect();
        devpulse.post_events(&events.into()).await;
    }
    let window = "from=2026-03-01T00:00:00Z&to=2026-03-10T00:00:00Z";
    let mut answers: Vec<Value> = Vec::new();
    for question in [
        "",
        "/series",
        "/change_lead_time/explain",
        "/change_fail_rate/explain",
        "/failed_deployment_recovery_time/explain",
    ] {
        let bucket = if question == "/series" { "&bucket=day" } else { "" };
        let answer = devpulse.text(&format!("/api/v1/dora{question}?service={service}&{window}{bucket}")).await;
        answers.push(serde_json::from_str(&answer.replace(&service, "it")).unwrap());
    }
    answers.into()
}

fn event(happening: &Happening, service: &str) -> Value {
    let time = |minute: &u16| {
        let start: chrono::DateTime<chrono::Utc> = "2026-03-02T00:00:00Z".parse().unwrap();
        (start + chrono::Duration::minutes((*minute).into())).to_rfc3339()
    };
    let mut event = match happening {
        Happening::Deployment { id, minute, version, outcome, kind } => json!({
            "type": "deployment", "id": format!("d-{id}"), "time": time(minute), "version": version.to_string(),
            "outcome": outcome, "kind": kind, "commit": format!("sha-{id}"),
            "changes": [{"repository": service, "sha": format!("sha-{id}"), "authored_at": "2026-03-01T10:00:00Z"}],
        }),
        Happening::Change { id, minute } => json!({
            "type": "change", "id": format!("sha-{id}"), "time": time(minute), "repository": service,
            "sha": format!("sha-{id}"), "committed_at": time(minute),
        }),
        Happening::Incident { id, minute, status, deployment } => json!({
            "type": "incident", "id": format!("i-{id}"), "time": time(minute), "status": status,
            "deployments": deployment.iter().map(|id| json!({"id": format!("d-{id}"), "source": service})).collect::<Vec<_>>(),
        }),
    };
    let fields = event.as_object_mut().unwrap();
    fields.retain(|_, value| !value.is_null());
    fields.insert("source".to_owned(), service.into());
    fields.insert("service".to_owned(), service.into());
    if !matches!(happening, Happening::Change { .. }) {
        fields.insert("environment".to_owned(), "production".into());
    }
    event
}
