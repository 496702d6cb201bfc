//! GitLab's webhooks, on the example payloads of its documentation
//! (<https://docs.gitlab.com/user/project/integrations/webhook_events/>), less what nobody reads.

mod incidents;
mod reviews;

use devpulse::config::EnvironmentNames;
use devpulse::config::model::{Environment, GitLab, Service, Tier};
use devpulse::event::{ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentOutcome};
use devpulse::ingest::committer::Fact;
use devpulse::ingest::fault::Fault;
use devpulse::ingest::gitlab::{Context, parse};
use devpulse::ingest::source::{Reading, Skip};
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::http::Answer;
use crate::support::mutilate::everywhere;
use incidents::incident;
use reviews::{acted, note};

const NOW: Timestamp = Timestamp::from_seconds(1_767_609_000);
const SECRET: &str = "gitlab's secret";

fn deployment() -> Value {
    json!({"object_kind": "deployment", "status": "success", "status_changed_at": "2021-04-28 21:50:00 +0200",
        "deployment_id": 15, "deployable_id": 796,
        "deployable_url": "http://10.126.0.2:3000/mike/test-deployment-webhooks/-/jobs/796",
        "environment": "staging", "environment_tier": "staging", "environment_slug": "staging",
        "environment_external_url": "https://staging.example.com",
        "project": {"id": 30, "name": "test-deployment-webhooks", "namespace": "Administrator",
            "path_with_namespace": "mike/test-deployment-webhooks", "default_branch": "master"},
        "short_sha": "279484c0", "user": {"id": 1, "username": "mike"}, "user_url": "http://10.126.0.2:3000/mike",
        "commit_url": "http://10.126.0.2:3000/mike/test-deployment-webhooks/-/commit/279484c09fbe69ededfced8c1bb6e6d24616b468",
        "commit_title": "Add new file"})
}

fn push() -> Value {
    json!({"object_kind": "push", "event_name": "push", "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "ref": "refs/heads/master",
        "checkout_sha": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "project_id": 15,
        "project": {"id": 15, "name": "Diaspora", "path_with_namespace": "mike/diaspora", "default_branch": "master"},
        "commits": [
            {"id": "b6568db1bc1dcd7f8b4d5a946b0b91f9dacd7327", "title": "Update Catalan translation to e38cb41.",
             "message": "Update Catalan translation to e38cb41.\n\nSee https://gitlab.com/gitlab-org/gitlab for more information",
             "timestamp": "2011-12-12T14:27:31+02:00", "author": {"name": "Jordi Mallach", "email": "jordi@softcatala.org"},
             "added": ["CHANGELOG"], "modified": ["app/controller/application.rb"], "removed": []},
            {"id": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "message": "fixed readme", "title": "fixed readme",
             "timestamp": "2012-01-03T23:36:29+02:00", "author": {"name": "GitLab dev user", "email": "gitlabdev@dv6700.(none)"},
             "added": ["CHANGELOG"], "modified": ["app/controller/application.rb"], "removed": []}],
        "total_commits_count": 2})
}

/// The documented example is of an opened one; a merged one differs in `action` and `merge_commit_sha`.
fn merge_request() -> Value {
    json!({"object_kind": "merge_request", "event_type": "merge_request",
        "user": {"id": 1, "name": "Administrator", "username": "root"},
        "project": {"id": 1, "path_with_namespace": "gitlabhq/gitlab-test", "default_branch": "master"},
        "object_attributes": {"id": 99, "iid": 1, "author_id": 51, "target_branch": "master", "source_branch": "ms-viewport",
            "title": "MS-Viewport", "created_at": "2013-12-03T17:23:34Z", "updated_at": "2013-12-03 19:23:34 UTC",
            "state": "merged", "action": "merge", "merge_commit_sha": "8c1d2a0b7e6f5d4c3b2a19081726354433221100",
            "last_commit": {"id": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "timestamp": "2012-01-03T23:36:29+02:00"}}})
}

fn read(body: &Value) -> Result<Reading, Fault> {
    parse_text(&body.to_string())
}

fn parse_text(body: &str) -> Result<Reading, Fault> {
    parse_at(body, NOW)
}

fn parse_at(body: &str, received_at: Timestamp) -> Result<Reading, Fault> {
    let settings = GitLab {
        secret: SECRET.into(),
        incident_labels: vec!["outage".to_owned()],
        default_environment: Some("testing".to_owned()),
    };
    let environment = |name: &str, tier, pattern: &str| Environment {
        name: name.to_owned(),
        tier,
        matches: vec![pattern.to_owned()],
    };
    let environments =
        [environment("production", Tier::Production, "prod-*"), environment("staging", Tier::Staging, "stag*")];
    let services = [Service {
        name: "pods".to_owned(),
        team: None,
        repository: Some("Mike/Diaspora".to_owned()),
        paths: vec!["app/**".to_owned()],
    }];
    let environments = EnvironmentNames::new(&environments);
    let context = Context { received_at, settings: &settings, services: &services, environments, max_items: 100 };
    parse(body, None, &context)
}

fn facts(body: &Value) -> Vec<Fact> {
    match read(body).unwrap() {
        Reading::Facts(facts) | Reading::Partial(facts, _) => facts,
        other => panic!("{other:?}"),
    }
}

fn skipped(body: &Value) -> (Skip, String) {
    match read(body).unwrap() {
        Reading::Skipped(why, words) => (why, words),
        other => panic!("taken: {other:?}"),
    }
}

fn deployed(body: &Value) -> DeploymentEvent {
    let DeliveryEvent::Deployment(event) = facts(body)[0].event.clone() else { panic!() };
    event
}

fn changed(body: &Value) -> Vec<ChangeEvent> {
    let change = |fact: Fact| match fact.event {
        DeliveryEvent::Change(event) => Some(event),
        _ => None,
    };
    facts(body).into_iter().filter_map(change).collect()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn the_documented_deployment_has_its_whole_commit_and_its_offset() {
    let event = deployed(&deployment());
    assert_eq!((event.key.source.as_str(), event.key.id.as_str()), ("gitlab/mike/test-deployment-webhooks", "15"));
    assert_eq!(event.commit.as_deref(), Some("279484c09fbe69ededfced8c1bb6e6d24616b468"));
    assert_eq!(event.time, time("2021-04-28T19:50:00Z"));
    assert_eq!((event.service.as_str(), event.environment.as_str()), ("test-deployment-webhooks", "staging"));
    assert_eq!(event.url.as_deref(), Some("http://10.126.0.2:3000/mike/test-deployment-webhooks/-/jobs/796"));
    for (status, outcome) in [
        ("running", DeploymentOutcome::InProgress),
        ("failed", DeploymentOutcome::Failed),
        ("canceled", DeploymentOutcome::Cancelled),
    ] {
        let mut body = deployment();
        body["status"] = json!(status);
        assert_eq!(deployed(&body).outcome, outcome);
        body["status"] = json!("blocked");
        assert_eq!(skipped(&body).0, Skip::NoChange);
    }
}

#[test]
fn environments_are_known_by_name_then_by_tier() {
    let environment = |name: &str, tier: &str| {
        let mut body = deployment();
        body["environment"] = json!(name);
        body["environment_tier"] = json!(tier);
        body["ref"] = json!("v1.4.2");
        let event = deployed(&body);
        assert_eq!(event.version.as_deref(), Some("v1.4.2"));
        (event.environment, event.place)
    };
    let owned = |place: &str| Some(place.to_owned());
    assert_eq!(environment("prod-eu", "other"), ("production".to_owned(), owned("prod-eu")));
    assert_eq!(environment("live", "production"), ("production".to_owned(), owned("live")));
    assert_eq!(environment("review/x", "development"), ("testing".to_owned(), owned("review/x")));
}

#[test]
fn a_push_to_the_default_branch_is_merged_and_says_when_it_lists_too_little() {
    let changes = changed(&push());
    assert_eq!(changes.len(), 2);
    assert_eq!(changes[0].authored_at, Some(time("2011-12-12T12:27:31Z")), "offsets are honoured");
    assert_eq!((changes[0].service.as_deref(), changes[0].merged_at), (Some("pods"), Some(NOW)));
    assert!(matches!(read(&push()), Ok(Reading::Facts(facts)) if facts.len() == 3), "and the push");
    let mut body = push();
    body["total_commits_count"] = json!(37);
    let Ok(Reading::Partial(facts, words)) = read(&body) else { panic!("37 commits and 2 of them are not everything") };
    assert!(facts.len() == 3 && words.contains("2 of the push's 37 commits"), "{words}");
    assert!(words.contains("a clone stands under `repositories`"), "{words}");
    let DeliveryEvent::Push(told) = &facts[2].event else { panic!("the push itself is told of") };
    assert!(told.partial && told.commits.len() == 2, "{told:?}");
    let of_push =
        |fact: &Fact| matches!(&fact.event, DeliveryEvent::Change(change) if change.push == Some(told.push.clone()));
    assert!(facts[..2].iter().all(of_push), "its changes say that there are others");
    body["ref"] = json!("refs/heads/topic");
    let Ok(Reading::Partial(facts, words)) = read(&body) else { panic!("nor does it of other branches") };
    assert!(words.contains("when the others were written is not known"), "{words}");
    let [Fact { event: DeliveryEvent::Push(told), .. }] = facts.as_slice() else { panic!("no changes: {facts:?}") };
    assert_eq!((told.push.branch.as_str(), told.commits.len()), ("topic", 2));
    body["after"] = Value::Null;
    assert_eq!(skipped(&body).0, Skip::NotMerged, "nobody could find it");
    body["after"] = json!("0000000000000000000000000000000000000000");
    assert!(skipped(&body).1.contains("deleted"));
    let mut none = push();
    none["commits"] = json!([]);
    assert_eq!(skipped(&none).0, Skip::NoChange);
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_skipped() {
    for (mut body, field) in [
        (deployment(), "/status_changed_at"),
        (deployment(), "/deployment_id"),
        (deployment(), "/short_sha"),
        (deployment(), "/environment"),
        (deployment(), "/project/path_with_namespace"),
        (push(), "/project/default_branch"),
        (push(), "/commits/1/id"),
        (merge_request(), "/object_attributes/updated_at"),
        (merge_request(), "/object_attributes/iid"),
        (note(), "/object_attributes/created_at"),
        (note(), "/merge_request/iid"),
        (incident(), "/object_attributes/iid"),
        (incident(), "/object_kind"),
    ] {
        *body.pointer_mut(field).unwrap() = Value::Null;
        assert_eq!(read(&body).unwrap_err().pointer(), field);
    }
    for (kind, why) in
        [("pipeline", Skip::CountedElsewhere), ("build", Skip::CountedElsewhere), ("emoji", Skip::UnusedEvent)]
    {
        assert_eq!(skipped(&json!({"object_kind": kind})).0, why);
    }
}

#[test]
fn mutilated_bodies_get_an_outcome_too() {
    for body in [deployment(), push(), merge_request(), note(), incident()] {
        assert!(everywhere(&body, 6, read) > 10);
    }
    let whole = push().to_string();
    for cut in (0..whole.len()).step_by(13).filter(|cut| whole.is_char_boundary(*cut)) {
        assert!(parse_text(&whole[..cut]).unwrap_err().is_malformed());
    }
}

async fn post(devpulse: &DevPulse, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let mut request = devpulse.request("POST", "/api/v1/webhooks/gitlab").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    devpulse.send(request.body(body.to_string())).await
}

fn configuration(secret: &str) -> String {
    format!(
        "environments: [{{name: production, tier: production, match: [prod-*]}}]\nsources: {{gitlab: {{secret: \"{secret}\"}}}}\n"
    )
}

fn in_production() -> Value {
    let mut body = deployment();
    body["environment"] = json!("prod-eu");
    body["status_changed_at"] = json!("2026-01-05 11:04:00 +0100");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_with_the_token_count_once() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, &configuration(SECRET)).await;
    let body = in_production();
    for wrong in [&[][..], &[("x-gitlab-token", "guess")], &[("webhook-signature", "v1,eA==")]] {
        let answer = post(&devpulse, &body, wrong).await;
        assert_eq!((answer.status, &answer.json["type"]), (401, &json!("bad_signature")), "{}", answer.text);
    }
    let token = ("x-gitlab-token", SECRET);
    let send = async |body: &Value, name: &str, id: &str| post(&devpulse, body, &[token, (name, id)]).await;
    assert_eq!(send(&body, "idempotency-key", "a").await.json, json!({"outcome": "accepted", "events": 1}));
    assert_eq!(send(&body, "idempotency-key", "a").await.json["outcome"], "duplicate");
    assert_eq!(send(&body, "idempotency-key", "b").await.json["outcome"], "duplicate", "sent again by hand");
    let reused = send(&push(), "idempotency-key", "a").await.json;
    assert_eq!(reused["outcome"], "invalid", "{reused}");
    assert!(reused["errors"][0]["detail"].as_str().unwrap().contains("with another body"), "{reused}");
    // Hooks that one event sets off share its id.
    assert_eq!(send(&body, "x-gitlab-event-uuid", "e").await.json["outcome"], "duplicate");
    let mut large = push();
    large["total_commits_count"] = json!(37);
    let answer = send(&large, "x-gitlab-event-uuid", "e").await.json;
    assert_eq!((&answer["outcome"], &answer["events"]), (&json!("accepted"), &json!(3)));
    assert!(answer["reason"].as_str().unwrap().contains("2 of the push's 37 commits"), "{answer}");
    // Approving, taking it back and approving again leave `updated_at` as it is.
    for (name, action, id, outcome) in [
        ("idempotency-key", "approved", "f", "accepted"),
        ("idempotency-key", "unapproved", "g", "accepted"),
        ("idempotency-key", "approved", "h", "accepted"),
        ("idempotency-key", "approved", "h", "duplicate"),
        ("x-gitlab-event-uuid", "unapproved", "i", "accepted"),
        ("x-gitlab-event-uuid", "approved", "j", "accepted"),
        ("x-gitlab-event-uuid", "approved", "j", "duplicate"),
    ] {
        assert_eq!(send(&acted(action, 6), name, id).await.json["outcome"], outcome, "{action} {id}");
    }
    let dora = devpulse.get("/api/v1/dora?from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z").await;
    assert_eq!(dora["metrics"]["deployment_frequency"]["n"], 1, "{dora:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_token_signs_the_body() {
    let database = Database::sqlite().await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let devpulse = DevPulse::start(&database.url, &configuration(secret)).await;
    let body = in_production();
    let key = standardwebhooks::Webhook::new(secret).unwrap();
    let send = async |body: &Value, signed: &Value, at: i64| {
        let signature = key.sign("id-1", at, signed.to_string().as_bytes()).unwrap();
        let at = at.to_string();
        let headers = [("webhook-id", "id-1"), ("webhook-timestamp", at.as_str()), ("webhook-signature", &*signature)];
        post(&devpulse, body, &headers).await.status
    };
    let now = chrono::Utc::now().timestamp();
    assert_eq!(send(&body, &deployment(), now).await, 401, "the signature of another body");
    assert_eq!(send(&body, &body, now - 3_600).await, 401, "an old one");
    assert_eq!(post(&devpulse, &body, &[("x-gitlab-token", secret)]).await.status, 401);
    assert_eq!(devpulse.get("/api/v1/deployments").await["items"], json!([]));
    assert_eq!(send(&body, &body, now).await, 200);
    assert_eq!(devpulse.all("/api/v1/deployments").await.len(), 1);
}
