//! GitLab's incidents: by their type, and by the labels that the configuration names.

use devpulse::event::state::fold_incident;
use devpulse::event::{DeliveryEvent, Incident, IncidentEvent, IncidentStatus};
use devpulse::ingest::source::Skip;
use serde_json::{Value, json};

use super::{facts, read, skipped, time};

pub fn incident() -> Value {
    json!({"object_kind": "work_item", "event_type": "work_item",
        "project": {"id": 1, "path_with_namespace": "gitlabhq/gitlab-test", "default_branch": "master"},
        "object_attributes": {"id": 301, "iid": 23, "type": "Incident", "action": "open", "state": "opened",
            "title": "New API: create/update/delete file", "url": "http://example.com/diaspora/issues/23",
            "created_at": "2013-12-03T17:15:43Z", "updated_at": "2013-12-03T17:15:43Z", "closed_at": null,
            "severity": "high", "escalation_status": "triggered",
            "labels": [{"id": 206, "title": "API", "type": "ProjectLabel"}]},
        "labels": [{"id": 206, "title": "API"}], "changes": {}})
}

/// The documented event of an issue, with the labels before and after it; created at 17:15, closed at 17:40,
/// and updated at `updated`.
fn issue(action: &str, state: &str, [before, after]: [&[&str]; 2], updated: &str) -> Value {
    let labels = |titles: &[&str]| {
        let label = |title: &&str| json!({"id": 206, "title": title, "color": "#ffffff", "type": "ProjectLabel"});
        json!(titles.iter().map(label).collect::<Vec<_>>())
    };
    let closed_at = if state == "closed" { json!("2013-12-03T17:40:00Z") } else { Value::Null };
    let mut body = json!({"object_kind": "issue", "event_type": "issue",
        "user": {"id": 1, "name": "Administrator", "username": "root"},
        "project": {"id": 1, "path_with_namespace": "gitlabhq/gitlab-test", "default_branch": "master"},
        "object_attributes": {"id": 301, "iid": 23, "type": "Issue", "action": action, "state": state, "state_id": 1,
            "title": "New API: create/update/delete file", "url": "http://example.com/diaspora/issues/23",
            "created_at": "2013-12-03T17:15:43Z", "updated_at": format!("2013-12-03T{updated}:00Z"),
            "closed_at": closed_at, "severity": "high", "escalation_status": "triggered", "labels": labels(after)},
        "labels": labels(after),
        "changes": {"updated_by_id": {"previous": null, "current": 1}}});
    if before != after {
        body["changes"]["labels"] = json!({"previous": labels(before), "current": labels(after)});
    }
    body
}

fn told(body: &Value) -> Vec<IncidentEvent> {
    let incident = |event| match event {
        DeliveryEvent::Incident(event) => event,
        other => panic!("{other:?}"),
    };
    facts(body).into_iter().map(|fact| incident(fact.event)).collect()
}

fn happened(body: &Value) -> IncidentEvent {
    let [event] = <[IncidentEvent; 1]>::try_from(told(body)).unwrap();
    event
}

/// The incident as it stands after these messages, in whatever order they come.
fn story(bodies: &[Value]) -> Incident {
    let mut events: Vec<IncidentEvent> = bodies.iter().flat_map(told).collect();
    let folded = fold_incident(&events, &[]).unwrap();
    events.reverse();
    events.extend(events.clone());
    assert_eq!(fold_incident(&events, &[]).unwrap(), folded, "in any order");
    folded
}

#[test]
fn incidents_are_known_by_type_or_label() {
    let opened = happened(&incident());
    assert_eq!((opened.key.id.as_str(), opened.status), ("23", IncidentStatus::Opened));
    assert_eq!((opened.severity.as_deref(), opened.started_at), (Some("high"), Some(time("2013-12-03T17:15:43Z"))));
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = incident();
        change(&mut body);
        body
    };
    let closed_at_six = || {
        with(&|body| {
            body["object_attributes"]["action"] = json!("close");
            body["object_attributes"]["closed_at"] = json!("2013-12-03 18:00:00 UTC");
        })
    };
    let closed = happened(&closed_at_six());
    assert_eq!((closed.status, closed.time), (IncidentStatus::Resolved, time("2013-12-03T18:00:00Z")));
    let action = |action: &str| with(&|body| body["object_attributes"]["action"] = json!(action));
    assert_eq!(happened(&action("reopen")).status, IncidentStatus::Reopened);
    let promoted = happened(&action("update"));
    assert_eq!((promoted.status, promoted.time), (IncidentStatus::Opened, time("2013-12-03T17:15:43Z")));
    let resolved = story(&[incident(), action("update"), closed_at_six()]);
    assert_eq!((resolved.status, resolved.resolved_at), (IncidentStatus::Resolved, Some(time("2013-12-03T18:00:00Z"))));
    let acknowledged = with(&|body| {
        body["object_attributes"]["action"] = json!("update");
        body["object_attributes"]["escalation_status"] = json!("acknowledged");
    });
    assert_eq!(happened(&acknowledged).status, IncidentStatus::Acknowledged);
}

const NONE: &[&str] = &["API"];
const OUTAGE: &[&str] = &["API", "outage"];

#[test]
fn an_issue_is_an_incident_while_it_has_the_label() {
    assert_eq!(skipped(&issue("open", "opened", [NONE, NONE], "17:15")).0, Skip::NotAnIncident);
    assert_eq!(skipped(&issue("update", "opened", [OUTAGE, OUTAGE], "17:20")).0, Skip::NoChange);
    assert_eq!(happened(&issue("open", "opened", [OUTAGE, OUTAGE], "17:15")).status, IncidentStatus::Opened);
    let labelled = issue("update", "opened", [NONE, OUTAGE], "17:20");
    let event = happened(&labelled);
    assert_eq!((event.status, event.time), (IncidentStatus::Opened, time("2013-12-03T17:20:00Z")));
    assert_eq!(event.started_at, Some(time("2013-12-03T17:15:43Z")), "it began when it was written down");
    let unlabelled = issue("update", "opened", [OUTAGE, NONE], "17:30");
    let event = happened(&unlabelled);
    assert_eq!((event.status, event.time), (IncidentStatus::Withdrawn, time("2013-12-03T17:30:00Z")));
    assert_eq!(event.attributes["resolution"], "unlabeled");
    // What happens to it from then on is no incident's.
    assert_eq!(skipped(&issue("close", "closed", [NONE, NONE], "17:40")).0, Skip::NotAnIncident);
    let withdrawn = story(&[labelled.clone(), unlabelled.clone()]);
    assert_eq!((withdrawn.status, withdrawn.resolved_at), (IncidentStatus::Withdrawn, None), "nothing recovered");
    let again = issue("update", "opened", [NONE, OUTAGE], "17:35");
    assert_eq!(story(&[labelled, unlabelled, again]).status, IncidentStatus::Opened);
}

#[test]
fn a_closed_issue_that_gets_the_label_tells_its_whole_story() {
    let labelled = issue("update", "closed", [NONE, OUTAGE], "18:10");
    let ended = |incident: &Incident| (incident.status, incident.started_at, incident.resolved_at);
    let whole = (IncidentStatus::Resolved, time("2013-12-03T17:15:43Z"), Some(time("2013-12-03T17:40:00Z")));
    assert_eq!(ended(&story(std::slice::from_ref(&labelled))), whole);
    let unlabelled = issue("update", "closed", [OUTAGE, NONE], "18:20");
    assert_eq!(story(&[labelled.clone(), unlabelled.clone()]).status, IncidentStatus::Withdrawn);
    let again = issue("update", "closed", [NONE, OUTAGE], "18:30");
    assert_eq!(ended(&story(&[labelled, unlabelled, again])), whole, "it is none other for it");
    // Another type makes it an incident whatever its labels are.
    let mut typed = issue("update", "closed", [OUTAGE, NONE], "18:20");
    typed["object_attributes"]["type"] = json!("Incident");
    assert_eq!(skipped(&typed).0, Skip::NoChange);
    let mut undated = issue("update", "closed", [NONE, OUTAGE], "18:10");
    undated["object_attributes"]["updated_at"] = Value::Null;
    assert_eq!(read(&undated).unwrap_err().pointer(), "/object_attributes/updated_at");
}
