use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::model::{Environment, Tier};
use crate::event::telemetry::bucket_start;
use crate::event::{DeploymentKind, DeploymentOutcome, EntityKey, IncidentStatus, SeriesKey};

const NOW: Timestamp = Timestamp::from_seconds(1_767_609_000); // 2026-01-05T10:30:00Z

fn parse_with(body: &str, lines: bool) -> Result<Parsed, Unreadable> {
    let environments = [Environment {
        name: "production".to_owned(),
        tier: Tier::Production,
        matches: vec!["prod".to_owned(), "prod-*".to_owned()],
    }];
    let context = Context {
        received_at: NOW,
        max_future: Duration::from_mins(10),
        max_items: 1_000,
        environments: EnvironmentNames::new(&environments),
    };
    parse(body, lines, &context)
}

fn parsed(body: &Value) -> Parsed {
    parse_with(&body.to_string(), false).unwrap()
}

fn fates(parsed: &Parsed) -> Vec<Fate> {
    parsed.items.iter().map(|item| item.fate.clone()).collect()
}

fn fault_of(body: &Value) -> (String, String) {
    match &fates(&parsed(body))[..] {
        [Fate::Invalid(fault)] => (fault.pointer().to_owned(), fault.detail().to_owned()),
        other => panic!("expected one invalid item for {body}, got {other:?}"),
    }
}

fn deployment() -> Value {
    json!({"type":"deployment","id":"d-41","source":"ci/acme","time":"2026-01-05T10:04:00Z","service":"checkout",
        "environment":"prod-eu","version":"1.4.2","commit":"8f3c","outcome":"succeeded",
        "started_at":"2026-01-05T11:00:00+01:00","kind":"planned","url":"https://ci.example/41",
        "schema":{"revision":"42","compatible_from":"40"},
        "changes":[{"repository":"acme/checkout","sha":"8f3c","authored_at":"2026-01-05T08:00:00Z"}],
        "attributes":{"team":"payments"}})
}

fn change() -> Value {
    json!({"type":"change","source":"github/acme","time":"2026-01-05T09:00:00Z","repository":"acme/checkout",
        "sha":"8f3c","authored_at":"2026-01-05T08:00:00Z","committed_at":"2026-01-05T08:10:00Z",
        "merged_at":"2026-01-05T09:00:00Z","pull_request":{"number":7,"opened_at":"2026-01-05T08:20:00Z"}})
}

fn incident() -> Value {
    json!({"type":"incident","id":"i-9","source":"pagerduty","service":"checkout","environment":"production",
        "services":["till","cart","checkout"],"detected_at":"2026-01-05T10:05:00Z",
        "status":"opened","severity":"critical","title":"checkout is down",
        "deployments":[{"id":"d-41","source":"ci/acme"},{"version":"1.4.2"},{"id":"d-7"}]})
}

fn request() -> Value {
    json!({"type":"request","time":"2026-01-05T10:04:03Z","service":"checkout","environment":"prod",
        "version":"1.4.2","route":"/pay","status":503,"duration_ms":12.5})
}

fn performance() -> Value {
    json!({"type":"performance","time":"2026-01-05T10:04:03Z","service":"checkout","environment":"production",
        "version":"1.4.2","route":"/pay","requests":1200,"errors":3,
        "duration_ms":{"count":1200,"sum":15300,"buckets":[[5,100],[10,700],[25,390],[50,10]]}})
}

fn error_report() -> Value {
    json!({"type":"error","time":"2026-01-05T10:04:03Z","service":"checkout","environment":"production",
        "version":"1.4.2","level":"error","message":"order 17 failed","count":2})
}

fn all() -> Vec<Value> {
    vec![deployment(), change(), incident(), request(), performance(), error_report()]
}

fn series() -> SeriesKey {
    SeriesKey { service: "checkout".into(), environment: "production".into(), version: "1.4.2".into() }
}

#[test]
fn a_deployment_becomes_a_fact() {
    let parsed = parsed(&deployment());
    assert_eq!(fates(&parsed), [Fate::Fact(0)]);
    let DeliveryEvent::Deployment(event) = &parsed.facts[0].event else { panic!() };
    assert_eq!(event.key, EntityKey { source: "ci/acme".to_owned(), id: "d-41".to_owned() });
    assert_eq!(event.environment, "production", "prod-eu is production by its pattern");
    assert_eq!(event.outcome, DeploymentOutcome::Succeeded);
    assert_eq!(event.kind, Some(DeploymentKind::Planned));
    assert_eq!(event.started_at.unwrap().to_string(), "2026-01-05T10:00:00Z", "offsets are honoured");
    assert_eq!(event.changes[0].sha, "8f3c");
    assert_eq!(event.attributes["team"], "payments");
    assert_eq!(parsed.facts[0].raw, deployment().to_string().as_bytes());
}

#[test]
fn a_change_is_named_by_its_sha_and_an_incident_may_leave_a_source_out() {
    let parsed = parsed(&json!([change(), incident()]));
    let DeliveryEvent::Change(change) = &parsed.facts[0].event else { panic!() };
    assert_eq!(change.key.id, "8f3c");
    assert_eq!(change.pull_request.as_ref().unwrap().number, 7);
    let DeliveryEvent::Incident(incident) = &parsed.facts[1].event else { panic!() };
    assert_eq!(incident.status, IncidentStatus::Opened);
    assert_eq!(incident.time, NOW, "no time: the time of receipt");
    assert_eq!(incident.deployments[2].source, None);
    assert_eq!(incident.service.as_deref(), Some("checkout"));
    assert_eq!(incident.other_services, ["cart", "till"], "each once, in order of their names");
    assert_eq!(incident.detected_at, Some(Timestamp::parse("2026-01-05T10:05:00Z").unwrap()));
}

#[test]
fn requests_add_up_by_series_and_bucket() {
    let mut later = request();
    later["time"] = json!("2026-01-05T10:04:09.999+00:00");
    later["status"] = json!(200);
    later["environment"] = json!("production");
    let mut next = request();
    next["time"] = json!("2026-01-05T10:04:10Z");
    let parsed = parsed(&json!([request(), later, next]));
    let start = bucket_start(Timestamp::parse("2026-01-05T10:04:00Z").unwrap());
    let delta = &parsed.telemetry.deltas[&(series(), start)];
    assert_eq!((delta.requests, delta.errors, delta.duration_sum_us), (2, 1, 25_000));
    assert_eq!(delta.durations.count(), 2);
    assert_eq!(parsed.telemetry.deltas[&(series(), start + 10)].requests, 1);
    assert_eq!(fates(&parsed), [Fate::Added, Fate::Added, Fate::Added]);
}

#[test]
fn performance_brings_counts_and_buckets() {
    let parsed = parsed(&performance());
    let delta = parsed.telemetry.deltas.values().next().unwrap();
    assert_eq!((delta.requests, delta.errors, delta.duration_sum_us), (1200, 3, 15_300_000));
    assert_eq!(delta.durations.count(), 1200);
    assert_eq!(delta.durations.count_above(10_000), 400, "a bound belongs to its bucket");
}

#[test]
fn errors_are_grouped_by_fingerprint() {
    let mut other = error_report();
    other["message"] = json!("order 4711 failed");
    other["time"] = json!("2026-01-05T10:05:03Z");
    let mut named = error_report();
    named["fingerprint"] = json!("mine");
    let parsed = parsed(&json!([error_report(), other, named]));
    assert_eq!(parsed.telemetry.errors.len(), 2);
    let grouped = parsed.telemetry.errors.iter().find(|entry| entry.0.1 != "mine").unwrap().1;
    assert_eq!((grouped.count, grouped.message.as_str()), (4, "order 4711 failed"));
}

#[test]
fn telemetry_with_an_id_is_keyed() {
    let mut one = request();
    one["id"] = json!("r-1");
    let mut other = one.clone();
    other["source"] = json!("lb");
    let parsed = parsed(&json!([one, one, other]));
    assert!(parsed.telemetry.is_empty());
    assert_eq!(parsed.keyed.len(), 2);
    assert_ne!(parsed.keyed[0].0, parsed.keyed[1].0);
    let repeated = Fate::Repeated { id: "r-1".into() };
    assert_eq!(parsed.items[1].fate, repeated);
    assert_eq!(parsed.keyed[0].1.deltas[&(series(), 1_767_607_440)].requests, 1);
}

#[test]
fn a_retry_has_the_same_digest_whenever_it_comes() {
    let environments = EnvironmentNames::new(&[]);
    let digest = |body: &Value, received_at| {
        let context = Context { received_at, max_future: Duration::ZERO, max_items: 9, environments };
        parse(&body.to_string(), false, &context).unwrap().facts[0].digest
    };
    let later = NOW.plus(Duration::from_secs(5));
    assert_eq!(digest(&incident(), NOW), digest(&incident(), later));
    let mut timed = incident();
    timed["time"] = json!("2026-01-05T10:04:00Z");
    assert_ne!(digest(&incident(), NOW), digest(&timed, NOW));
    let mut moved = timed.clone();
    moved["time"] = json!("2026-01-05T11:04:00+01:00");
    assert_eq!(digest(&timed, NOW), digest(&moved, NOW), "the same instant");
}

/// Each case: what is changed in a good event, the pointer and a part of the detail.
#[test]
fn every_fault_names_its_place_and_its_fix() {
    let far = "2026-01-05T10:41:00Z";
    let cases: &[(Value, &str, Value, &str, &str)] = &[
        (deployment(), "/service", Value::Null, "/service", "is missing: name the service"),
        (deployment(), "/id", Value::Null, "/id", "put together by source and id"),
        (deployment(), "/environment", Value::Null, "/environment", "is missing"),
        (deployment(), "/outcome", json!("success"), "/outcome", "did you mean `succeeded`?"),
        (deployment(), "/kind", json!("rolback"), "/kind", "did you mean `rollback`?"),
        (deployment(), "/version", json!(14), "/version", "must be a string, not a number"),
        (deployment(), "/version", json!(""), "/version", "is empty"),
        (deployment(), "/service", json!("x".repeat(201)), "/service", "at most 200"),
        (deployment(), "/service", json!("a\u{0}b"), "/service", "control characters"),
        (deployment(), "/time", json!("2026-01-05 10:04"), "/time", "RFC 3339"),
        (deployment(), "/time", json!("2026-01-05T10:04:00"), "/time", "offset"),
        (deployment(), "/time", json!(1_767_609_000), "/time", "RFC 3339 time as a string, not a number"),
        (deployment(), "/time", json!(far), "/time", "660 s in the future"),
        (deployment(), "/time", json!("1999-12-31T23:59:59Z"), "/time", "before 2000"),
        (deployment(), "/started_at", json!(far), "/started_at", "in the future"),
        (deployment(), "/changes/0/sha", Value::Null, "/changes/0/sha", "is missing"),
        (deployment(), "/changes/0/authored_at", json!("x"), "/changes/0/authored_at", "RFC 3339"),
        (deployment(), "/changes/0", json!(7), "/changes/0", "must be an object, not a number"),
        (deployment(), "/changes", json!({}), "/changes", "must be a list, not an object"),
        (deployment(), "/schema/revision", json!(42), "/schema/revision", "must be a string"),
        (deployment(), "/attributes/team", json!(["a"]), "/attributes/team", "must be a string, not a list"),
        (deployment(), "/attributes/team", json!("x".repeat(1025)), "/attributes/team", "1024 are allowed"),
        (change(), "/sha", Value::Null, "/sha", "is missing"),
        (change(), "/repository", Value::Null, "/repository", "OWNER/NAME"),
        (change(), "/pull_request/number", json!(-7), "/pull_request/number", "not a negative number"),
        (change(), "/authored_at", json!("1969-12-31T00:00:00Z"), "/authored_at", "before 1970"),
        (incident(), "/services", json!(["till", ""]), "/services/1", "is empty"),
        (incident(), "/services", json!("till"), "/services", ""),
        (incident(), "/detected_at", json!("yesterday"), "/detected_at", "RFC 3339"),
        (incident(), "/status", json!("closed"), "/status", "must be one of opened"),
        (incident(), "/deployments/1", json!({}), "/deployments/1", "id and source, or version"),
        (incident(), "/deployments/1", json!({"source":"a","version":"1"}), "/deployments/1/source", "id"),
        (request(), "/status", json!(99), "/status", "100 to 599"),
        (request(), "/status", json!(600), "/status", "100 to 599"),
        (request(), "/status", json!("200"), "/status", "must be a whole number, 0 or more, not a text"),
        (request(), "/status", Value::Null, "/status", "is missing"),
        (request(), "/duration_ms", json!(-0.5), "/duration_ms", "0 or more"),
        (request(), "/duration_ms", json!(1e15), "/duration_ms", "milliseconds?"),
        (request(), "/environment", Value::Null, "/environment", "is missing"),
        (performance(), "/errors", json!(1201), "/errors", "more than the 1200 requests"),
        (performance(), "/duration_ms/count", json!(1201), "/duration_ms/count", "more than the 1200"),
        (performance(), "/duration_ms/count", json!(1199), "/duration_ms/buckets", "not cumulative"),
        (performance(), "/duration_ms/sum", json!(-1), "/duration_ms/sum", "0 or more"),
        (performance(), "/duration_ms/buckets/2", json!([10, 390]), "/duration_ms/buckets/2", "not above 10"),
        (performance(), "/duration_ms/buckets/2", json!([25]), "/duration_ms/buckets/2", "[upper bound"),
        (performance(), "/duration_ms/buckets/2/1", json!(1.5), "/duration_ms/buckets/2/1", "whole number"),
        (performance(), "/duration_ms/buckets/0/0", json!("5"), "/duration_ms/buckets/0/0", "must be a number"),
        (performance(), "/requests", json!(1e13), "/requests", "whole number"),
        (error_report(), "/count", json!(0), "/count", "at least one"),
        (error_report(), "/message", Value::Null, "/message", "is missing"),
        (error_report(), "/level", json!("x".repeat(33)), "/level", "at most 32"),
    ];
    for (event, place, value, pointer, part) in cases {
        let mut event = event.clone();
        *event.pointer_mut(place).unwrap() = value.clone();
        let (at, detail) = fault_of(&event);
        assert_eq!(&at, pointer, "{detail}");
        assert!(detail.contains(part), "{at} {detail} lacks {part}");
    }
}

#[test]
fn unknown_fields_and_types_are_named_with_a_suggestion() {
    let mut event = request();
    event["sevice"] = json!("x");
    assert_eq!(fault_of(&event), ("/sevice".to_owned(), "unknown field; did you mean `service`?".to_owned()));
    let mut event = deployment();
    event["finished_at"] = json!("2026-01-05T10:04:00Z");
    assert_eq!(fault_of(&event), ("/finished_at".to_owned(), "unknown field; did you mean `time`?".to_owned()));
    let mut event = deployment();
    event["changes"][0]["authord_at"] = json!("x");
    assert_eq!(fault_of(&event).0, "/changes/0/authord_at");
    let mut event = deployment();
    event["type"] = json!("deploymnet");
    assert!(fault_of(&event).1.ends_with("did you mean `deployment`?"));
    assert_eq!(fault_of(&json!({"id":"1"})).0, "/type");
    assert_eq!(fault_of(&json!({"type":7})).0, "/type");
}

#[test]
fn a_field_given_twice_is_an_error() {
    let parsed = parse_with(r#"{"type":"request","service":"a","service":"b"}"#, false).unwrap();
    assert!(
        matches!(&parsed.items[0].fate, Fate::Invalid(fault) if fault.to_string() == "/service: is given twice: keep one")
    );
}

#[test]
fn the_type_may_stand_anywhere_and_have_escapes() {
    let body = r#"{"service":"a","environment":"e","status":200,"typ\u0065":"requ\u0065st"}"#;
    assert_eq!(fates(&parse_with(body, false).unwrap()), [Fate::Added]);
    let body = r#"{ "type" : "requ\u0065st","service":"a\u0062","environment":"e","status":200}"#;
    let parsed = parse_with(body, false).unwrap();
    assert_eq!(&*parsed.telemetry.deltas.keys().next().unwrap().0.service, "ab");
}

#[test]
fn a_bad_item_spoils_nothing_else() {
    let body = format!("{}\nnonsense\n{}\n[1]\n{{\"type\":\"x\"}}\n{}", request(), deployment(), request());
    let parsed = parse_with(&body, false).unwrap();
    let good: Vec<bool> = parsed.items.iter().map(|item| !matches!(item.fate, Fate::Invalid(_))).collect();
    assert_eq!(good, [true, false, true, false, false, true]);
    assert!(parsed.lines);
    assert_eq!(parsed.telemetry.deltas.values().next().unwrap().requests, 2);
}

#[test]
fn lines_of_nonsense_are_no_batch() {
    assert!(matches!(parse_with("nonsense\nmore", true), Err(Unreadable::NoLine { lines: 2, .. })));
    assert!(parse_with("{}\nmore", true).is_ok());
}

#[test]
fn nesting_is_refused_without_overflow() {
    for (open, close, found) in [("[", "]", "a list"), ("{\"a\":", "}", "an object")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let body = format!(r#"{{"type":"request","service":"a","environment":"e","status":200,"route":{deep}}}"#);
        let detail = format!("/route: must be a string, not {found}");
        let parsed = parse_with(&format!("{}\n{body}\n{deep}", request()), true).unwrap();
        assert!(matches!(&parsed.items[1].fate, Fate::Invalid(fault) if fault.to_string() == detail));
        assert!(matches!(&parsed.items[2].fate, Fate::Invalid(_)));
    }
    let buckets = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"type":"performance","duration_ms":{{"buckets":{buckets}}}}}"#);
    assert!(matches!(&parse_with(&body, false).unwrap().items[0].fate, Fate::Invalid(_)));
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(body in ".{0,200}", lines: bool) {
        let _ = parse_with(&body, lines);
    }

    #[test]
    fn any_truncation_gets_an_answer(which in 0_usize..6, cut in 0_usize..600, lines: bool) {
        let body = all()[which].to_string();
        let cut = cut.min(body.len());
        let outcome = parse_with(&body[..cut], lines);
        prop_assert_eq!(outcome.is_ok(), cut == body.len());
    }

    /// Any value in any place: one outcome, and a pointer that leads to something that was sent or is missing.
    #[test]
    fn any_value_in_any_place(which in 0_usize..6, place in 0_usize..40, value in 0_usize..9) {
        let values = [json!(null), json!(true), json!(-1), json!(1e300), json!(u64::MAX), json!(""), json!("x"),
            json!([[]]), json!({"a":{"b":1}})];
        let mut event = all()[which].clone();
        let fields: Vec<String> = event.as_object().unwrap().keys().cloned().collect();
        let field = &fields[place % fields.len()];
        event[field] = values[value].clone();
        let parsed = parsed(&event);
        prop_assert_eq!(parsed.items.len(), 1);
        if let Fate::Invalid(fault) = &parsed.items[0].fate {
            prop_assert!(fault.pointer().starts_with(&format!("/{field}")), "{} {}", event, fault);
        }
    }

    /// The order of a batch and of an object's fields changes nothing that is added up.
    #[test]
    fn order_does_not_matter(order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle()) {
        let whole = parsed(&json!(all()));
        let shuffled = parsed(&json!(order.iter().map(|i| all()[*i].clone()).collect::<Vec<_>>()));
        prop_assert_eq!(&whole.telemetry, &shuffled.telemetry);
        let digests = |parsed: &Parsed| {
            parsed.facts.iter().map(|fact| fact.digest).collect::<std::collections::BTreeSet<_>>()
        };
        prop_assert_eq!(digests(&whole), digests(&shuffled));
    }
}
