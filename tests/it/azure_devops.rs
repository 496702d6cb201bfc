//! Azure DevOps' service hooks, on the sample payloads of its documentation
//! (<https://learn.microsoft.com/azure/devops/service-hooks/events>), less what nobody reads.

use devpulse::config::EnvironmentNames;
use devpulse::config::model::Pipelines;
use devpulse::event::pull_request::{Status, fold_pull_request};
use devpulse::event::sighting::occurrences;
use devpulse::event::{ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentOutcome, PullRequestEvent};
use devpulse::ingest::azure_devops::{Context, parse};
use devpulse::ingest::fault::Fault;
use devpulse::ingest::source::{Reading, Skip};
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::mutilate::everywhere;

fn stage() -> Value {
    json!({"id": "ac1dd6da-af30-43cb-8434-e1005864b0a3", "eventType": "ms.vss-pipelines.stage-state-changed-event",
        "publisherId": "pipelines", "message": {"text": "Run 2 stage __default succeeded."},
        "resource": {
            "stage": {"_links": {"web": {"href": "https://codedev.ms/org/863d0a5b/_build/results?buildId=2"}},
                "id": "00000000-0000-0000-0000-000000000000", "name": "__default", "displayName": null,
                "state": "completed", "result": "succeeded"},
            "run": {"pipeline": {"id": 2, "revision": 2, "name": "TEST-CI", "folder": "\\"}, "state": "completed",
                "result": "succeeded", "createdDate": "2019-12-13T06:10:10.164Z",
                "finishedDate": "2019-12-13T06:10:10.164Z", "id": 2, "name": "2"},
            "pipeline": {"id": 2, "revision": 2, "name": "TEST-CI", "folder": "\\"}},
        "resourceVersion": "5.1-preview.1", "createdDate": "2019-12-13T06:10:10.186Z"})
}

fn release() -> Value {
    json!({"id": "7b2d3e5f", "eventType": "ms.vss-release.deployment-completed-event", "publisherId": "rm",
        "resource": {
            "environment": {"id": 5, "releaseId": 0, "name": "Dev", "status": "succeeded", "rank": 1,
                "modifiedOn": "2016-01-21T08:19:17.26Z", "release": {"id": 1, "name": "Release-1"}},
            "project": {"id": "00000000-0000-0000-0000-000000000000", "name": "Fabrikam"}},
        "resourceVersion": "3.0-preview.1", "createdDate": "2016-09-19T13:03:28.5345098Z"})
}

fn build() -> Value {
    json!({"id": "4a5d99d6-1c75-4e53-91b9-ee80057d4ce3", "eventType": "build.complete", "publisherId": "tfs",
        "resource": {"uri": "vstfs:///Build/Build/2", "id": 2, "buildNumber": "ConsumerAddressModule_20150407.1",
            "startTime": "2015-04-07T18:04:06.83Z", "finishTime": "2015-04-07T18:06:10.69Z", "reason": "manual",
            "status": "succeeded", "sourceGetVersion": "LG:refs/heads/master:600c52d2d5b655caa111abfd863e5a9bd304bb0e",
            "definition": {"definitionType": "xaml", "id": 2, "name": "ConsumerAddressModule"}},
        "resourceVersion": "1.0", "createdDate": "2016-09-19T13:03:26.4285528Z"})
}

fn push() -> Value {
    let person =
        json!({"name": "Jamal Hartnett", "email": "fabrikamfiber4@hotmail.com", "date": "2015-02-25T19:01:00Z"});
    json!({"id": "03c164c2-8912-4d5e-8009-3707d5f83734", "eventType": "git.push", "publisherId": "tfs",
        "resource": {
            "commits": [{"commitId": "33b55f7cb7e7e245323987634f960cf4a6e6bc74", "author": person, "committer": person,
                "comment": "Fixed bug in web.config file"}],
            "refUpdates": [{"name": "refs/heads/master", "oldObjectId": "aad331d8d3b131fa9ae03cf5e53965b51942618a",
                "newObjectId": "33b55f7cb7e7e245323987634f960cf4a6e6bc74"}],
            "repository": {"name": "Fabrikam-Fiber-Git", "defaultBranch": "refs/heads/master",
                "project": {"name": "Fabrikam-Fiber-Git", "state": "wellFormed"}},
            "pushId": 14, "date": "2014-05-02T19:17:13.3309587Z"},
        "resourceVersion": "1.0", "createdDate": "2016-09-19T13:03:27.0379153Z"})
}

fn pull_request() -> Value {
    json!({"id": "6872ee8c", "eventType": "git.pullrequest.merged", "publisherId": "tfs",
        "resource": {
            "repository": {"name": "Fabrikam", "project": {"name": "Fabrikam"}, "defaultBranch": "refs/heads/master"},
            "pullRequestId": 1, "status": "completed", "creationDate": "2014-06-17T16:55:46.589889Z",
            "closedDate": "2014-06-30T18:59:12.3660573Z", "title": "my first pull request",
            "createdBy": {"displayName": "Jamal Hartnett", "id": "54d125f7-69f7-4191-904f-c5b96b6261c8"},
            "reviewers": [{"reviewerUrl": null, "vote": 0, "displayName": "[Mobile]\\Mobile Team",
                "id": "2ea2d095-48f9-4cd6-9966-62f6f574096c", "isContainer": true}],
            "sourceRefName": "refs/heads/mytopic", "targetRefName": "refs/heads/master", "mergeStatus": "succeeded",
            "lastMergeCommit": {"commitId": "eef717f69257a6333f221566c1c987dc94cc0d72"}},
        "resourceVersion": "1.0", "createdDate": "2016-09-19T13:03:27.3156388Z"})
}

/// The documented `git.pullrequest.updated`: the same pull request, active, told of at `day`.
fn updated(day: &str, votes: &Value) -> Value {
    let mut body = pull_request();
    body["eventType"] = json!("git.pullrequest.updated");
    body["resource"]["status"] = json!("active");
    body["resource"]["closedDate"] = Value::Null;
    body["resource"]["reviewers"].as_array_mut().unwrap().extend(votes.as_array().unwrap().clone());
    body["createdDate"] = json!(format!("2014-06-{day}T12:00:00Z"));
    body
}

/// The documented comment on a pull request.
fn comment(author: &str, day: &str) -> Value {
    let mut body = pull_request();
    body["eventType"] = json!("ms.vss-code.git-pullrequest-comment-event");
    body["resource"] = json!({"comment": {"id": 2, "parentCommentId": 1, "author": {"displayName": "Jamal Hartnett", "id": author},
            "content": "This is my comment.", "publishedDate": format!("2014-06-{day}T12:00:00Z"), "commentType": "text"},
        "pullRequest": body["resource"].clone()});
    body
}

fn read(body: &Value, deployments: &[(&str, &str)]) -> Result<Reading, Fault> {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let services = map(&[("ConsumerAddressModule", "addresses")]);
    let settings = Pipelines { secret: "s".into(), deployments: map(deployments), services };
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    parse(&body.to_string(), &Context { received_at, settings: &settings, services: &[], environments, max_items: 100 })
}

fn events(body: &Value, deployments: &[(&str, &str)]) -> Vec<DeliveryEvent> {
    match read(body, deployments) {
        Ok(Reading::Facts(facts)) => facts.into_iter().map(|fact| fact.event).collect(),
        other => panic!("{other:?}"),
    }
}

fn deployed(body: &Value, name: &str) -> DeploymentEvent {
    match events(body, &[(name, "production")]).remove(0) {
        DeliveryEvent::Deployment(event) => event,
        other => panic!("{other:?}"),
    }
}

fn changed(body: &Value) -> ChangeEvent {
    match events(body, &[]).remove(0) {
        DeliveryEvent::Change(event) => event,
        other => panic!("{other:?}"),
    }
}

fn why(body: &Value, name: &str) -> Skip {
    match read(body, &[(name, "production")]) {
        Ok(Reading::Skipped(why, _)) => why,
        other => panic!("{other:?}"),
    }
}

fn with(body: &Value, pointer: &str, value: &str) -> Value {
    let mut body = body.clone();
    *body.pointer_mut(pointer).unwrap() = json!(value);
    body
}

#[test]
fn stages_that_the_configuration_names_are_deployments() {
    for name in ["__default", "TEST-CI/__default"] {
        let event = deployed(&stage(), name);
        assert_eq!((event.key.source.as_str(), event.key.id.as_str()), ("azure_devops/TEST-CI", "run/2/__default"));
        assert_eq!(event.time.to_string(), "2019-12-13T06:10:10.186Z");
        assert_eq!((event.service.as_str(), event.environment.as_str()), ("TEST-CI", "production"));
        assert_eq!(event.url.as_deref(), Some("https://codedev.ms/org/863d0a5b/_build/results?buildId=2"));
    }
    assert_eq!(why(&stage(), "TEST-CI"), Skip::NotConfigured);
    for (result, outcome) in [
        ("partiallySucceeded", DeploymentOutcome::Succeeded),
        ("failed", DeploymentOutcome::Failed),
        ("canceled", DeploymentOutcome::Cancelled),
    ] {
        assert_eq!(deployed(&with(&stage(), "/resource/stage/result", result), "__default").outcome, outcome);
    }
    assert_eq!(why(&with(&stage(), "/resource/stage/result", "skipped"), "__default"), Skip::NoChange);
    let running = with(&stage(), "/resource/stage/state", "running");
    assert_eq!(deployed(&running, "__default").outcome, DeploymentOutcome::InProgress);
    assert_eq!(deployed(&running, "__default").key, deployed(&stage(), "__default").key);
    assert_eq!(why(&with(&stage(), "/resource/stage/state", "waiting"), "__default"), Skip::NoChange);
    // What newer organisations send besides.
    let mut newer = stage();
    newer["resource"]["repositories"] = json!([{"type": "Git", "url": "https://a@dev.azure.com/a/viva/_git/shop"}]);
    newer["resource"]["run"]["resources"] = json!({"repositories": {"self": {"refName": "refs/tags/v1.4.2", "version": "600c52d2d5b655caa111abfd863e5a9bd304bb0e"}}});
    let event = deployed(&newer, "__default");
    assert_eq!((event.repository.as_deref(), event.service.as_str()), (Some("viva/shop"), "shop"));
    assert_eq!(event.commit.as_deref(), Some("600c52d2d5b655caa111abfd863e5a9bd304bb0e"));
    assert_eq!(event.version.as_deref(), Some("v1.4.2"));
}

/// A run keeps its id when a stage of it is run again.
#[test]
fn going_back_to_an_earlier_run_is_a_deployment() {
    let told = |run: u64, result: &str, time: &str| {
        let mut body = with(&stage(), "/createdDate", time);
        body["resource"]["run"]["id"] = json!(run);
        deployed(&with(&body, "/resource/stage/result", result), "__default")
    };
    let mut facts = vec![
        told(7, "succeeded", "2026-01-05T08:00:00Z"),
        told(8, "failed", "2026-01-05T09:00:00Z"),
        told(8, "succeeded", "2026-01-05T09:30:00Z"),
        told(8, "succeeded", "2026-01-05T10:00:00Z"),
        told(7, "succeeded", "2026-01-05T11:00:00Z"),
    ];
    for _ in 0..2 {
        let found = occurrences(facts.clone());
        let found: Vec<(&str, usize)> = found.iter().map(|(id, facts)| (id.as_str(), facts.len())).collect();
        assert_eq!(found, [("run/7/__default", 1), ("run/7/__default#2", 1), ("run/8/__default", 3)]);
        facts.reverse();
    }
    assert_eq!(deployed(&release(), "Dev").sighting, None, "attempts of releases have numbers");
}

#[test]
fn releases_and_builds_that_the_configuration_names_are_deployments() {
    let event = deployed(&release(), "Dev");
    assert_eq!((event.key.source.as_str(), event.key.id.as_str()), ("azure_devops/Fabrikam", "release/1/5/1"));
    assert_eq!(event.time.to_string(), "2016-09-19T13:03:28.534509Z");
    assert_eq!(
        deployed(&with(&release(), "/resource/environment/status", "rejected"), "Dev").outcome,
        DeploymentOutcome::Failed
    );
    let mut again = release();
    again["resource"]["deployment"] = json!({"attempt": 2});
    again["resource"]["environment"]["releaseDefinition"] = json!({"name": "Fabrikam.CD"});
    assert_eq!(deployed(&again, "Fabrikam.CD/Dev").key.id, "release/1/5/2", "deployed once more");

    let event = deployed(&build(), "ConsumerAddressModule");
    assert_eq!((event.key.id.as_str(), event.service.as_str()), ("build/2", "addresses"));
    assert_eq!(event.commit.as_deref(), Some("600c52d2d5b655caa111abfd863e5a9bd304bb0e"));
    assert_eq!(event.time.to_string(), "2015-04-07T18:06:10.690Z");
    let mut newer = build();
    newer["resource"]["status"] = json!("completed");
    newer["resource"]["result"] = json!("failed");
    newer["resource"]["sourceVersion"] = json!("8f3c2d1a9b");
    let event = deployed(&newer, "ConsumerAddressModule");
    assert_eq!((event.outcome, event.commit.as_deref()), (DeploymentOutcome::Failed, Some("8f3c2d1a9b")));
}

#[test]
fn pushes_and_completed_pull_requests_are_changes() {
    let change = changed(&push());
    assert_eq!(change.repository, "Fabrikam-Fiber-Git/Fabrikam-Fiber-Git");
    assert_eq!(change.authored_at.unwrap().to_string(), "2015-02-25T19:01:00Z");
    assert_eq!(change.merged_at.unwrap().to_string(), "2014-05-02T19:17:13.330958Z");
    assert!(!change.merge && changed(&with(&push(), "/resource/commits/0/comment", "Merged PR 7: x")).merge);
    let topic = with(&push(), "/resource/refUpdates/0/name", "refs/heads/topic");
    let said = events(&topic, &[]);
    let [DeliveryEvent::Push(pushed)] = said.as_slice() else { panic!("no changes: {said:?}") };
    assert_eq!((pushed.push.branch.as_str(), pushed.commits.len()), ("topic", 1));
    assert_eq!(why(&with(&push(), "/resource/refUpdates/0/name", "refs/tags/v1"), ""), Skip::NotMerged);
    let mut lost = topic;
    lost["resource"]["refUpdates"][0]["newObjectId"] = Value::Null;
    assert_eq!(why(&lost, ""), Skip::NotMerged, "nobody could find it");
    let mut several = push();
    several["resource"]["refUpdates"] = json!([{"name": "refs/heads/master"}, {"name": "refs/heads/topic"}]);
    assert_eq!(why(&several, ""), Skip::NotMerged);

    assert_eq!(changed(&pull_request()).sha, "eef717f69257a6333f221566c1c987dc94cc0d72");
    let pull = fold_pull_request(&[told(&pull_request())]).unwrap().times();
    assert_eq!((pull.number, pull.merged_at.unwrap().to_string().as_str()), (1, "2014-06-30T18:59:12.366057Z"));
    // The event comes for every attempt to merge.
    let attempt = with(&pull_request(), "/resource/status", "active");
    assert_eq!((events(&attempt, &[]).len(), told(&attempt).status), (1, Some(Status::Open)));
    let elsewhere = with(&pull_request(), "/resource/targetRefName", "refs/heads/release");
    assert_eq!(events(&elsewhere, &[]).len(), 1, "no change: it is not on the default branch");
    assert!(matches!(
        told(&with(&pull_request(), "/resource/status", "abandoned")).status,
        Some(Status::Closed { .. })
    ));
}

#[test]
fn a_pull_request_names_the_head_of_its_branch_unless_a_fork_has_it() {
    let mut body = pull_request();
    body["resource"]["lastMergeSourceCommit"] = json!({"commitId": "53d54ac915144006c2c9e90d2c7d3880920db49c"});
    let head = told(&body).head.unwrap();
    assert_eq!((head.repository.as_str(), head.branch.as_str()), ("Fabrikam/Fabrikam", "mytopic"));
    assert_eq!(head.sha, "53d54ac915144006c2c9e90d2c7d3880920db49c");
    body["resource"]["forkSource"] = json!({"name": "refs/heads/mytopic", "repository": {"name": "Fork"}});
    assert_eq!(told(&body).head, None);
}

fn told(body: &Value) -> PullRequestEvent {
    match events(body, &[]).pop() {
        Some(DeliveryEvent::PullRequest(event)) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn others_review_and_vote_until_they_change_their_minds() {
    let votes = |a: i64, b: i64| json!([{"id": "a", "vote": a}, {"id": "b", "vote": b}]);
    let mut facts = vec![
        told(&comment("54d125f7-69f7-4191-904f-c5b96b6261c8", "18")),
        told(&comment("a", "19")),
        told(&updated("20", &votes(5, 0))),
        told(&updated("21", &votes(-10, 0))),
        told(&updated("22", &votes(-10, 10))),
        told(&pull_request()),
    ];
    let times = fold_pull_request(&facts).unwrap().times();
    let time = |day: &str| Some(Timestamp::parse(&format!("2014-06-{day}T12:00:00Z")).unwrap());
    assert_eq!((times.first_review_at, times.approved_at), (time("19"), time("22")));
    assert_eq!(fold_pull_request(&facts[..4]).unwrap().times().approved_at, None, "the vote was changed");
    facts.rotate_left(3);
    facts.extend(facts.clone());
    assert_eq!(fold_pull_request(&facts).unwrap().times(), times, "in any order");
    let team = json!([{"id": "t", "vote": 10, "isContainer": true}]);
    assert!(told(&updated("20", &team)).reviews.is_empty(), "its member is listed, too");
    assert_eq!(why(&with(&comment("a", "19"), "/resource/comment/commentType", "system"), ""), Skip::NoChange);
}

#[test]
fn builds_of_pull_requests_deploy_nothing() {
    let mut body = build();
    body["resource"]["sourceBranch"] = json!("refs/pull/18/merge");
    assert_eq!(why(&body, "ConsumerAddressModule"), Skip::NotMerged);
    body["resource"]["sourceBranch"] = json!("refs/heads/main");
    assert!(matches!(read(&body, &[("ConsumerAddressModule", "production")]), Ok(Reading::Facts(_))));
}

#[test]
fn mutilated_bodies_get_an_outcome_too() {
    for body in [stage(), release(), build(), push(), pull_request(), comment("a", "19")] {
        let places = everywhere(&body, 6, |body| read(body, &[("__default", "production"), ("Dev", "production")]));
        assert!(places > 10);
    }
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_skipped() {
    for (mut body, field) in [
        (stage(), "/eventType"),
        (stage(), "/resource"),
        (stage(), "/resource/stage/name"),
        (stage(), "/resource/run/id"),
        (stage(), "/resource/pipeline/name"),
        (release(), "/resource/environment/name"),
        (release(), "/resource/environment/release/id"),
        (release(), "/resource/project/name"),
        (build(), "/resource/status"),
        (build(), "/resource/definition"),
        (push(), "/resource/repository/defaultBranch"),
        (push(), "/resource/commits/0/commitId"),
        (pull_request(), "/resource/closedDate"),
        (comment("a", "19"), "/resource/comment/publishedDate"),
        (comment("a", "19"), "/resource/pullRequest/pullRequestId"),
    ] {
        *body.pointer_mut(field).unwrap() = Value::Null;
        assert_eq!(read(&body, &[]).unwrap_err().pointer(), field);
    }
    for (kind, expected) in [
        ("ms.vss-pipelines.run-state-changed-event", Skip::CountedElsewhere),
        ("ms.vss-release.deployment-started-event", Skip::NoChange),
        ("workitem.created", Skip::UnusedEvent),
    ] {
        assert_eq!(why(&with(&stage(), "/eventType", kind), "__default"), expected);
    }
}
