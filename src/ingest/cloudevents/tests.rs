use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::EnvironmentNames;
use crate::config::model::{Environment, Tier};
use crate::event::{ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentRef, IncidentEvent};
use crate::ingest::committer::Fact;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(1_767_609_000); // 2026-01-05T10:30:00Z
const SHA: &str = "1a429d2f06fa49d8ece5045ac6471dc8a2276895";
const DIGEST: &str = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
const PURL: &str = "pkg:oci/myapp@sha256%3A0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";

fn parse_as(content: Content<'_>) -> Result<Parsed, Unreadable> {
    let environments =
        [Environment { name: "production".to_owned(), tier: Tier::Production, matches: vec!["prod*".to_owned()] }];
    let service = |name: &str| Service { name: name.to_owned(), team: None, repository: None, paths: Vec::new() };
    let services = [service("my-app"), service("checkout")];
    let mapped = BTreeMap::from([("mySubject123".to_owned(), "checkout".to_owned())]);
    let settings = CloudEvents { services: mapped, environment: None };
    let native = native::Context {
        received_at: NOW,
        max_future: Duration::from_mins(10),
        max_items: 3,
        environments: EnvironmentNames::new(&environments),
    };
    parse(content, &Context { native, settings: &settings, services: &services })
}

fn structured(event: &Value) -> Parsed {
    parse_as(Content::Structured(&event.to_string())).unwrap()
}

fn binary(headers: &[(&str, &str)], content_type: Option<&str>, body: &str) -> Fate {
    let attributes = Attributes::of_headers(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let content = Content::Binary { attributes, content_type, body: body.as_bytes() };
    parse_as(content).unwrap().items.remove(0).fate
}

/// The payload that CDEvents 0.3, 0.4 and 0.5 have in common (`examples/` and `conformance/` of
/// `cdevents/spec`, tags v0.3.0, v0.4.1, v0.5.1), in a CloudEvent as its binding demands.
fn cdevent(kind: &str, spec: &Value, subject: &Value) -> Value {
    let kind = format!("dev.cdevents.{kind}");
    let mut context = json!({
        "id": "271069a8-fc18-44f1-b38f-9d70a1695819", "chainId": "4c8cb7dd-3448-41de-8768-eec704e2829b",
        "source": "/event/source/123", "type": kind, "timestamp": "2023-03-20T14:27:05.315384Z",
        "schemaUri": "https://myorg.com/schema/custom",
        "links": [{"linkType": "RELATION", "linkKind": "TRIGGER",
            "target": {"contextId": "5328c37f-bb7e-4bb7-84ea-9f5f85e4a7ce"}, "tags": {"foo1": "bar", "foo2": "bar"}}]});
    context.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"specversion": "1.0", "id": "271069a8-fc18-44f1-b38f-9d70a1695819", "source": "/event/source/123",
        "type": kind, "time": "2023-03-20T14:27:05.315384Z", "datacontenttype": "application/json",
        "data": {"context": context, "subject": subject}})
}

fn service(predicate: &str) -> Value {
    let content = json!({"environment": {"id": "prod1"}, "artifactId": PURL});
    let subject = json!({"id": "mySubject123", "source": "/event/source/123", "content": content});
    cdevent(&format!("service.{predicate}"), &json!({"specversion": "0.6.0-draft"}), &subject)
}

fn incident(predicate: &str) -> Value {
    let content = json!({"description": "Response time above threshold of 100ms",
        "environment": {"id": "prod1", "source": "/iaas/geo1"},
        "service": {"id": "myApp", "source": "/clusterA/namespaceB"}, "artifactId": PURL,
        "ticketURI": "https://my-issues.example/incidents/ticket-345"});
    let subject = json!({"id": "incident-123", "source": "/monitoring/prod1", "content": content});
    cdevent(&format!("incident.{predicate}"), &json!({"specversion": "0.5.1"}), &subject)
}

fn event(sent: &Value) -> DeliveryEvent {
    let parsed = structured(sent);
    let [Item { fate: Fate::Fact(0), kind }] = parsed.items.as_slice() else { panic!("{:?}", parsed.items) };
    assert_eq!(*kind, parsed.facts[0].event.kind());
    parsed.facts[0].event.clone()
}

fn deployment(sent: &Value) -> DeploymentEvent {
    let DeliveryEvent::Deployment(event) = event(sent) else { panic!("{sent}") };
    event
}

fn change(sent: &Value) -> ChangeEvent {
    let DeliveryEvent::Change(event) = event(sent) else { panic!("{sent}") };
    event
}

fn trouble(sent: &Value) -> IncidentEvent {
    let DeliveryEvent::Incident(event) = event(sent) else { panic!("{sent}") };
    event
}

fn fate(sent: &Value) -> Fate {
    structured(sent).items.remove(0).fate
}

fn pointer(sent: &Value) -> String {
    match fate(sent) {
        Fate::Invalid(fault) => fault.pointer().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_deployed_is_a_deployment_of_the_version_its_artifact_names() {
    for (version, spec) in
        [("0.1.1", json!({"version": "0.3.0"})), ("0.2.0", json!({"version": "0.4.1"})), ("0.3.0", json!({}))]
    {
        let mut sent = service(&format!("deployed.{version}"));
        sent["data"]["context"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let found = deployment(&sent);
        assert_eq!(
            (found.service.as_str(), found.environment.as_str(), found.place()),
            ("checkout", "production", "prod1")
        );
        assert_eq!((found.version.as_deref(), found.commit, found.kind), (Some(DIGEST), None, None));
        assert_eq!(found.time, Timestamp::parse("2023-03-20T14:27:05.315384Z").unwrap());
        assert_eq!((found.key.source.as_str(), found.attributes["artifact"].as_str()), ("/event/source/123", PURL));
        assert_eq!(found.attributes["chain_id"], "4c8cb7dd-3448-41de-8768-eec704e2829b");
    }
    assert_eq!(deployment(&service("upgraded.0.3.0")).kind, None);
    assert_eq!(deployment(&service("rolledback.0.3.0")).kind, Some(DeploymentKind::Rollback));

    let mut sent = service("deployed.0.3.0");
    sent["data"]["subject"]["id"] = "daemonset/my-app".into();
    sent["data"]["subject"]["content"]["artifactId"] =
        format!("pkg:npm/shop@1.4.2?vcs_url=git%2Bhttps://github.com/acme/shop.git%40{SHA}").into();
    let found = deployment(&sent);
    assert_eq!((found.service.as_str(), found.version.as_deref()), ("my-app", Some("1.4.2")));
    assert_eq!((found.commit.as_deref(), found.repository.as_deref()), (Some(SHA), Some("acme/shop")));
    sent["data"]["subject"]["id"] = "daemonset/other".into();
    assert_eq!(deployment(&sent).service, "daemonset/other");
}

#[test]
fn a_merged_change_counts_where_it_names_a_commit() {
    let subject = |id: &str| {
        json!({"id": id, "source": "/event/source/123", "type": "change",
        "content": {"repository": {"id": "TestRepo/TestOrg", "source": "https://example.org"}}})
    };
    let sent = |id: &str| cdevent("change.merged.0.1.2", &json!({"version": "0.3.0"}), &subject(id));
    let found = change(&sent(SHA));
    assert_eq!((found.repository.as_str(), found.sha.as_str()), ("TestRepo/TestOrg", SHA));
    assert_eq!(found.merged_at, Some(found.time));
    let parsed = structured(&sent(SHA));
    let [_, Fact { event: DeliveryEvent::Origin(begun), .. }] = parsed.facts.as_slice() else { panic!("{parsed:?}") };
    assert_eq!((begun.of.as_str(), begun.commit.as_deref()), ("chain:4c8cb7dd-3448-41de-8768-eec704e2829b", Some(SHA)));
    assert!(matches!(fate(&sent("mySubject123")), Fate::Skipped(_, reason) if reason.contains("names no commit")));
    let mut homeless = sent(SHA);
    homeless["data"]["subject"]["content"] = json!({});
    assert_eq!(pointer(&homeless), "/data/subject/content/repository");
}

#[test]
fn an_incident_is_opened_with_what_it_was_seen_in_and_resolved_without() {
    let open = trouble(&incident("detected.0.3.0"));
    assert_eq!((open.key.source.as_str(), open.key.id.as_str()), ("/monitoring/prod1", "incident-123"));
    assert_eq!((open.service.as_deref(), open.environment.as_deref()), (Some("my-app"), Some("production")));
    assert_eq!(open.title.as_deref(), Some("Response time above threshold of 100ms"));
    assert_eq!(open.deployments, [DeploymentRef { version: Some(DIGEST.to_owned()), ..DeploymentRef::default() }]);
    let reported = trouble(&incident("reported.0.2.0"));
    assert_eq!(reported.url.as_deref(), Some("https://my-issues.example/incidents/ticket-345"));
    let over = trouble(&incident("resolved.0.3.0"));
    assert_eq!((over.key, over.status), (open.key, crate::event::IncidentStatus::Resolved));
    assert!(over.deployments.is_empty() && over.title.is_none(), "the artifact is what runs since");
}

#[test]
fn what_says_nothing_of_delivery_is_skipped_with_a_reason() {
    for (kind, reason) in [
        ("dev.cdevents.service.removed.0.3.0", "no deployment"),
        ("dev.cdevents.change.reviewed.0.3.0", "once it is merged"),
        ("dev.cdevents.environment.created.0.3.0", "does not use such events"),
        ("dev.cdevents.", "does not use such events"),
        ("com.example.someevent", "com.example.someevent"),
        ("io.devpulse.links", "io.devpulse.links"),
    ] {
        let sent = json!({"specversion": "1.0", "id": "1", "source": "/x", "type": kind});
        assert!(matches!(fate(&sent), Fate::Skipped(Skip::UnusedEvent, said) if said.contains(reason)), "{kind}");
    }
}

#[test]
fn versions_that_are_not_known_are_kept_as_they_came() {
    let of_type = |kind: &str| service(kind);
    let mut of_spec = service("deployed.0.3.0");
    of_spec["data"]["context"]["specversion"] = "0.7.0".into();
    let mut older = of_spec.clone();
    let context = older["data"]["context"].as_object_mut().unwrap();
    let version = context.remove("specversion").unwrap();
    context.insert("version".to_owned(), version);
    let mut unused = cdevent("pipelinerun.finished.0.3.0", &json!({"specversion": "1.0.0"}), &json!({"id": "p"}));
    unused["id"] = "p".into();
    for sent in
        [of_type("deployed.1.0.0"), of_type("deployed.0.4.0"), of_type("deployed"), of_spec.clone(), older, unused]
    {
        let parsed = structured(&sent);
        let [Fate::Kept(0, Skip::UnsupportedVersion, reason)] =
            parsed.items.iter().map(|item| &item.fate).collect::<Vec<_>>()[..]
        else {
            panic!("{:?}", parsed.items)
        };
        assert!(reason.contains("kept as it came"), "{reason}");
        let kept: Value = serde_json::from_slice(&parsed.facts[0].raw).unwrap();
        assert_eq!((&kept["data"], &kept["id"], &kept["type"]), (&sent["data"], &sent["id"], &sent["type"]));
        assert!(matches!(&parsed.facts[0].event, DeliveryEvent::Unread(event) if sent["type"] == event.name.as_str()));
    }
    let read_once_known = structured(&service("deployed.0.3.0"));
    assert_ne!(structured(&of_spec).facts[0].digest, read_once_known.facts[0].digest, "sent again, it counts");
    let headers =
        [("specversion", "1.0"), ("id", "1"), ("source", "/x"), ("type", "dev.cdevents.service.deployed.0.9.0")];
    let json = Some("application/json");
    assert!(matches!(binary(&headers, json, r#"{"context":{}}"#), Fate::Kept(..)));
    for body in ["", "{"] {
        assert!(matches!(binary(&headers, json, body), Fate::Invalid(fault) if fault.pointer() == "/data"), "{body}");
    }
}

#[test]
fn an_artifact_tells_what_it_was_built_from() {
    let packaged = |version: &str, id: &str, content: &Value| {
        let subject = json!({"id": id, "source": "/event/source/123", "content": content});
        cdevent(&format!("artifact.{version}"), &json!({"specversion": "0.5.1"}), &subject)
    };
    let origin = |sent: &Value| match event(sent) {
        DeliveryEvent::Origin(event) => event,
        other => panic!("{other:?}"),
    };
    // The examples of the table of `artifact packaged` in CDEvents' continuous-integration.md.
    let change = json!({"change": {"id": SHA, "source": "my-git.example/an-org/a-repo"}});
    for version in ["packaged.0.1.1", "packaged.0.2.0", "packaged.0.3.0", "published.0.3.0"] {
        let found = origin(&packaged(version, &format!("{PURL}?repository_url=mycr.io/myapp"), &change));
        assert_eq!((found.of.as_str(), found.commit.as_deref()), (DIGEST, Some(SHA)));
        assert_eq!(found.repository.as_deref(), Some("an-org/a-repo"));
        assert_eq!(found.chain.as_deref(), Some("chain:4c8cb7dd-3448-41de-8768-eec704e2829b"));
    }
    assert_eq!(deployment(&service("deployed.0.3.0")).artifact.as_deref(), Some(DIGEST), "the same name");
    let by_name = packaged(
        "published.0.3.0",
        &format!("{PURL}?vcs_url=git%2Bhttps://github.com/acme/shop.git%40{SHA}"),
        &json!({}),
    );
    assert_eq!(
        (origin(&by_name).commit.as_deref(), origin(&by_name).repository.as_deref()),
        (Some(SHA), Some("acme/shop"))
    );

    let unnamed = json!({"change": {"id": "feature1234", "source": "my-git.example/an-org/a-repo"}});
    let mut by_chain = packaged("packaged.0.3.0", PURL, &unnamed);
    assert_eq!((origin(&by_chain).commit, origin(&by_chain).chain.is_some()), (None, true));
    let context = by_chain["data"]["context"].as_object_mut().unwrap();
    context.remove("chainId");
    assert!(matches!(fate(&by_chain), Fate::Skipped(Skip::UnusedEvent, reason) if reason.contains("no chain")));
    by_chain["data"]["context"]["links"] = json!([{"linkType": "RELATION", "linkKind": "triggeredBy",
        "target": {"domainId": format!("cdevents:v0:github::acme:shop:commit:{SHA}")}}]);
    assert_eq!(origin(&by_chain).repository.as_deref(), Some("acme/shop"), "a link names its commit");
    let nameless = packaged("packaged.0.3.0", "myapp", &change);
    assert!(matches!(fate(&nameless), Fate::Skipped(Skip::UnusedEvent, reason) if reason.contains("package URL")));
    assert_eq!(pointer(&packaged("packaged.0.3.0", "", &change)), "/data/subject/id");
    let wrong = packaged("packaged.0.3.0", PURL, &json!({"change": {"id": 7}}));
    assert_eq!(pointer(&wrong), "/data/subject/content/change/id");
}

#[test]
fn attributes_are_checked_by_name() {
    let with = |name: &str, value: Value| {
        let mut sent = service("deployed.0.3.0");
        sent[name] = value;
        sent
    };
    for (name, value, wanted) in [
        ("specversion", Value::Null, "/specversion"),
        ("specversion", "0.3".into(), "/specversion"),
        ("id", "".into(), "/id"),
        ("id", 7.into(), "/id"),
        ("source", Value::Null, "/source"),
        ("source", "a b".into(), "/source"),
        ("type", json!({}), "/type"),
        ("time", "yesterday".into(), "/time"),
        ("time", "2030-01-01T00:00:00Z".into(), "/time"),
        ("subject", "".into(), "/subject"),
        ("dataschema", "schema.json".into(), "/dataschema"),
        ("datacontenttype", "json".into(), "/datacontenttype"),
        ("datacontenttype", "application/xml".into(), "/datacontenttype"),
        ("traceParent", "x".into(), "/traceParent"),
        ("partitionkey", json!([1]), "/partitionkey"),
        ("sequence", 1.5.into(), "/sequence"),
        ("sampledrate", 30.into(), ""),
        ("partitionkey", "a\u{85}".into(), "/partitionkey"),
        ("data_base64", "e30=".into(), "/data_base64"),
        ("data", "text".into(), "/data"),
        ("data", Value::Null, "/data"),
        ("data", json!({"context": {"type": "dev.cdevents.service.upgraded.0.3.0"}}), "/data/context/type"),
    ] {
        let sent = with(name, value);
        match fate(&sent) {
            Fate::Invalid(fault) => assert_eq!(fault.pointer(), wanted, "{name}: {fault}"),
            other => assert_eq!(wanted, "", "{name}: {other:?}"),
        }
    }
    let twice = service("deployed.0.3.0").to_string().replacen('{', r#"{"id":"1","#, 1);
    let parsed = parse_as(Content::Structured(&twice)).unwrap();
    assert!(matches!(&parsed.items[0].fate, Fate::Invalid(fault) if fault.pointer() == "/id"));
}

#[test]
fn headers_are_attributes() {
    let sent = service("deployed.0.3.0");
    let data = sent["data"].to_string();
    let headers = [
        ("specversion", "1.0"),
        ("id", "271069a8"),
        ("source", "\"/event/source/123\""),
        ("type", "dev.cdevents.service.deployed.0.3.0"),
        ("subject", "Euro%20%E2%82%AC"),
    ];
    let json = Some("application/json; charset=utf-8");
    assert_eq!(binary(&headers, json, &data), Fate::Fact(0));
    assert_eq!(binary(&headers, None, &data), Fate::Fact(0));
    for (changed, content_type, body, wanted) in [
        (("subject", "%C0%A0"), json, data.as_str(), "/subject"),
        (("subject", "\u{20ac}"), json, &data, "/subject"),
        (("datacontenttype", "application/json"), json, &data, "/datacontenttype"),
        (("type", "dev.cdevents.service.deployed.0.3.0"), Some("text/plain"), &data, "/datacontenttype"),
        (("type", "dev.cdevents.service.deployed.0.3.0"), json, "", "/data"),
        (("type", "dev.cdevents.service.deployed.0.3.0"), json, "{", "/data"),
        (("id", ""), json, &data, "/id"),
    ] {
        let mut headers: Vec<(&str, &str)> = headers.iter().filter(|header| header.0 != changed.0).copied().collect();
        headers.push(changed);
        let Fate::Invalid(fault) = binary(&headers, content_type, body) else { panic!("{changed:?}") };
        assert_eq!(fault.pointer(), wanted, "{changed:?}");
    }
}

#[test]
fn base64_is_data_too() {
    use base64::Engine as _;
    let mut sent = service("deployed.0.3.0");
    let data = sent["data"].take().to_string();
    sent.as_object_mut().unwrap().remove("data");
    sent["data_base64"] = base64::engine::general_purpose::STANDARD.encode(data).into();
    assert_eq!(fate(&sent), Fate::Fact(0));
    sent["data_base64"] = "?".into();
    assert_eq!(pointer(&sent), "/data_base64");
    sent["data_base64"] = "//8=".into();
    assert_eq!(pointer(&sent), "/data");
}

#[test]
fn an_event_is_known_by_source_and_id_and_spoils_nothing_but_itself() {
    let first = service("deployed.0.3.0");
    let mut again = service("upgraded.0.3.0");
    let batch = json!([first, {"id": "x"}, again]).to_string();
    let parsed = parse_as(Content::Batched(&batch)).unwrap();
    let [Fate::Fact(0), Fate::Invalid(fault), Fate::Repeated { .. }] =
        [&parsed.items[0].fate, &parsed.items[1].fate, &parsed.items[2].fate]
    else {
        panic!("{:?}", parsed.items)
    };
    assert_eq!(fault.pointer(), "/specversion");
    again["id"] = "another".into();
    assert_ne!(structured(&again).facts[0].digest, parsed.facts[0].digest);
    assert!(matches!(parse_as(Content::Batched("[1,2,3,4]")), Err(Unreadable::TooMany { limit: 3 })));
    assert!(matches!(parse_as(Content::Batched(&first.to_string())), Err(Unreadable::NoArray)));
}

#[test]
fn events_of_the_native_api_are_taken_from_their_envelope() {
    let wrap = |kind: &str, data: Value| {
        json!({"specversion": "1.0", "id": "e-1", "source": "/ci", "type": format!("io.devpulse.{kind}"),
            "time": "2026-01-05T10:00:00Z", "data": data})
    };
    let sent = json!({"type": "deployment", "id": "d-41", "source": "ci/acme", "service": "checkout",
        "environment": "prod", "outcome": "succeeded"});
    let found = deployment(&wrap("deployment", sent.clone()));
    assert_eq!((found.key.id.as_str(), found.environment.as_str()), ("d-41", "production"));
    assert_eq!(found.time, Timestamp::parse("2026-01-05T10:00:00Z").unwrap(), "that of the envelope");
    assert_eq!(pointer(&wrap("incident", sent.clone())), "/data/type");
    let mut wrong = sent;
    wrong["outcome"] = "done".into();
    assert_eq!(pointer(&wrap("deployment", wrong)), "/data/outcome");
    let request = json!({"type": "request", "service": "checkout", "environment": "production", "status": 200});
    let parsed = structured(&wrap("request", request));
    assert_eq!(parsed.items[0].fate, Fate::Keyed { index: 0, id: "e-1".into() });
    let buckets: Vec<i64> = parsed.keyed[0].1.deltas.keys().map(|key| key.1).collect();
    assert_eq!(buckets, [Timestamp::parse("2026-01-05T10:00:00Z").unwrap().seconds()]);
}
