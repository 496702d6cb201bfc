//! Bitbucket Cloud's webhooks, on payloads that it sent
//! (<https://github.com/B-AROL-O/ble-testsuite/tree/main/docs/sample_webhooks>), less what nobody reads.

use devpulse::config::EnvironmentNames;
use devpulse::config::model::{Bitbucket, Pipelines};
use devpulse::event::pull_request::{Status, fold_pull_request};
use devpulse::event::sighting::occurrences;
use devpulse::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome, PullRequestEvent};
use devpulse::ingest::bitbucket::{Context, parse};
use devpulse::ingest::committer::Fact;
use devpulse::ingest::fault::Fault;
use devpulse::ingest::source::{Reading, Skip};
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::mutilate::everywhere;

fn repository() -> Value {
    json!({"type": "repository", "full_name": "arolgroup/j0664-ns2-firmware", "name": "j0664-ns2-firmware", "scm": "git"})
}

fn push() -> Value {
    let commit = |hash: &str, date: &str, parents: &[&str]| {
        let parents: Vec<Value> = parents.iter().map(|hash| json!({"type": "commit", "hash": hash})).collect();
        json!({"type": "commit", "hash": hash, "date": date, "parents": parents, "message": "…"})
    };
    json!({"repository": repository(), "push": {"changes": [{
        "old": {"name": "main", "type": "branch", "target": {"hash": "49cb0fd6590af14dbfb717d0e801f325362af5d9"}},
        "new": {"name": "main", "type": "branch", "target": {"hash": "6ca0691239785a619fa1dce7bf1073f50499cd60"}},
        "truncated": true, "created": false, "forced": false, "closed": false,
        "commits": [
            commit("6ca0691239785a619fa1dce7bf1073f50499cd60", "2023-05-12T11:45:45+00:00",
                &["49cb0fd6590af14dbfb717d0e801f325362af5d9", "ed0e0bfd9a94bcfab2b7bafb49a801be4eb9fbab"]),
            commit("ed0e0bfd9a94bcfab2b7bafb49a801be4eb9fbab", "2023-05-11T14:54:02+00:00",
                &["a13a36d2655a635df8a672f61b07fc3f1df25730"])]}]}})
}

fn fulfilled() -> Value {
    json!({"repository": repository(), "pullrequest": {"type": "pullrequest", "id": 6, "state": "MERGED",
        "author": {"type": "user", "uuid": "{author}"},
        "merge_commit": {"type": "commit", "hash": "6ca069123978"},
        "created_on": "2023-05-11T10:03:43.464028+00:00", "updated_on": "2023-05-12T11:45:48.675990+00:00",
        "destination": {"branch": {"name": "main"}, "commit": {"type": "commit", "hash": "49cb0fd6590a"}},
        "source": {"branch": {"name": "gmacario/dev03"}, "commit": {"type": "commit", "hash": "ed0e0bfd9a94"}}}})
}

/// Of the pull request above, as Atlassian's documentation has such events: with the time in `approval`,
/// `changes_request` or `comment` (<https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/>).
fn reviewed(event: &str, who: &str, at: &str) -> Value {
    let mut body = fulfilled();
    let user = json!({"type": "user", "nickname": who, "uuid": format!("{{{who}}}")});
    let time = format!("2023-05-11T{at}:00.000000+00:00");
    body["actor"] = user.clone();
    match event {
        "comment_created" => body["comment"] = json!({"id": 17, "content": {"raw": "Why?"}, "created_on": time}),
        "changes_request_created" => body["changes_request"] = json!({"date": time, "user": user}),
        _ => body["approval"] = json!({"date": time, "user": user}),
    }
    body
}

/// The example of Atlassian's documentation.
fn status() -> Value {
    json!({"repository": {"full_name": "team_name/repo_name"}, "commit_status": {"name": "Unit Tests (Python)",
        "description": "All tests passed", "state": "SUCCESSFUL", "key": "mybuildtool",
        "url": "https://my-build-tool.com/builds/MY-PROJECT/BUILD-792", "type": "build",
        "created_on": "2015-11-19T20:37:35.547563+00:00", "updated_on": "2015-11-20T08:01:16.433108+00:00",
        "links": {"commit": {"href": "http://api.bitbucket.org/2.0/repositories/tk/test/commit/9fec847784abb10b2fa567ee63b85bd238955d0e"},
            "self": {"href": "http://api.bitbucket.org/2.0/repositories/tk/test/commit/9fec847784abb10b2fa567ee63b85bd238955d0e/statuses/build/mybuildtool"}}}})
}

fn read(event: &str, body: &Value, deployments: &[(&str, &str)]) -> Result<Reading, Fault> {
    let deployments = deployments.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let pipelines = Pipelines { secret: "s".into(), deployments, services: std::collections::BTreeMap::new() };
    let settings = Bitbucket { pipelines, main_branches: vec!["main".to_owned(), "master".to_owned()] };
    let (received_at, environments) = (Timestamp::from_seconds(1_700_000_000), EnvironmentNames::new(&[]));
    parse(
        event,
        &body.to_string(),
        &Context { received_at, settings: &settings, services: &[], environments, max_items: 100 },
    )
}

fn why(event: &str, body: &Value) -> Skip {
    match read(event, body, &[]) {
        Ok(Reading::Skipped(why, _)) => why,
        other => panic!("{other:?}"),
    }
}

fn deployed(facts: &[Fact]) -> DeploymentEvent {
    let [Fact { event: DeliveryEvent::Deployment(event), .. }] = facts else { panic!("{facts:?}") };
    event.clone()
}

#[test]
fn a_push_to_a_main_branch_is_merged_and_says_when_it_lists_too_little() {
    let Ok(Reading::Partial(facts, words)) = read("repo:push", &push(), &[]) else { panic!("Bitbucket lists five") };
    assert!(words.contains("lists 2 commits") && words.contains("a clone stands under `repositories`"), "{words}");
    let changes: Vec<_> = facts.iter().map(|fact| serde_json::to_value(&fact.event).unwrap()).collect();
    assert_eq!((&changes[2]["type"], &changes[2]["partial"]), (&json!("push"), &json!(true)));
    let listed = changes[2]["commits"].as_array().unwrap();
    assert_eq!(listed[1]["sha"], "6ca0691239785a619fa1dce7bf1073f50499cd60", "the oldest first");
    assert_eq!(changes[0]["sha"], "6ca0691239785a619fa1dce7bf1073f50499cd60");
    assert_eq!((&changes[0]["merge"], &changes[1]["merge"]), (&json!(true), &Value::Null), "two parents");
    assert_eq!(changes[1]["authored_at"], "2023-05-11T14:54:02Z");
    assert_eq!(changes[1]["service"], "j0664-ns2-firmware");
    let change = |field: &str, value: Value| {
        let mut body = push();
        body["push"]["changes"][0][field] = value;
        body
    };
    assert!(
        matches!(read("repo:push", &change("truncated", json!(false)), &[]), Ok(Reading::Facts(facts)) if facts.len() == 3)
    );
    assert_eq!(why("repo:push", &change("new", Value::Null)), Skip::NotMerged, "a deleted branch");
    assert_eq!(why("repo:push", &change("new", json!({"type": "branch", "name": "topic"}))), Skip::NotMerged);
    assert_eq!(why("repo:push", &change("new", json!({"type": "tag", "name": "main"}))), Skip::NotMerged);
}

fn told(event: &str, body: &Value) -> (Vec<String>, PullRequestEvent) {
    let Ok(Reading::Facts(facts)) = read(event, body, &[]) else { panic!("{event}: {body:#}") };
    let (mut changes, mut requests) = (Vec::new(), Vec::new());
    for fact in facts {
        match fact.event {
            DeliveryEvent::Change(event) => changes.push(event.sha),
            DeliveryEvent::PullRequest(event) => requests.push(event),
            other => panic!("{other:?}"),
        }
    }
    let [request] = <[PullRequestEvent; 1]>::try_from(requests).unwrap();
    (changes, request)
}

#[test]
fn a_pull_request_is_a_change_where_its_commit_is_told_in_full() {
    let (changes, request) = told("pullrequest:fulfilled", &fulfilled());
    assert_eq!(changes.len(), 0, "twelve digits name no commit");
    assert!(matches!(&request.status, Some(Status::Merged { commit, .. }) if commit == "6ca069123978"));
    assert_eq!(request.opened_at.unwrap().to_string(), "2023-05-11T10:03:43.464028Z");
    let mut full = fulfilled();
    full["pullrequest"]["merge_commit"]["hash"] = json!("6ca0691239785a619fa1dce7bf1073f50499cd60");
    assert_eq!(told("pullrequest:fulfilled", &full).0, ["6ca0691239785a619fa1dce7bf1073f50499cd60"]);
    full["pullrequest"]["destination"]["branch"]["name"] = json!("release");
    assert_eq!(told("pullrequest:fulfilled", &full).0.len(), 0, "not on a main branch");
    assert_eq!(told("pullrequest:created", &fulfilled()).1.status, Some(Status::Open));
    assert!(matches!(told("pullrequest:rejected", &fulfilled()).1.status, Some(Status::Closed { .. })));
    assert_eq!(why("pullrequest:comment_deleted", &fulfilled()), Skip::NoChange);
}

#[test]
fn others_review_and_approve_until_they_take_it_back() {
    let said = |event: &str, who: &str, at: &str| told(&format!("pullrequest:{event}"), &reviewed(event, who, at)).1;
    let mut facts = vec![
        said("comment_created", "author", "11:00"),
        said("changes_request_created", "a", "12:00"),
        said("approved", "a", "13:00"),
        said("unapproved", "a", "14:00"),
        said("approved", "b", "15:00"),
        told("pullrequest:fulfilled", &fulfilled()).1,
    ];
    let times = fold_pull_request(&facts).unwrap().times();
    let time = |at: &str| Some(Timestamp::parse(&format!("2023-05-11T{at}:00Z")).unwrap());
    assert_eq!((times.first_review_at, times.approved_at), (time("12:00"), time("15:00")));
    facts.rotate_left(3);
    facts.extend(facts.clone());
    assert_eq!(fold_pull_request(&facts).unwrap().times(), times, "in any order");
    let mut nobody = reviewed("approved", "a", "13:00");
    nobody["actor"] = Value::Null;
    assert_eq!(why("pullrequest:approved", &nobody), Skip::NoChange);
    let mut app = reviewed("comment_created", "a", "13:00");
    app["actor"]["type"] = json!("app_user");
    assert!(told("pullrequest:comment_created", &app).1.reviews[0].bot);
}

#[test]
fn a_status_that_the_configuration_names_is_a_deployment() {
    let event = "repo:commit_status_updated";
    for name in ["mybuildtool", "Unit Tests (Python)"] {
        let Ok(Reading::Facts(facts)) = read(event, &status(), &[(name, "production")]) else { panic!() };
        let found = deployed(&facts);
        assert_eq!(found.key.source, "bitbucket/team_name/repo_name");
        assert_eq!(found.commit.as_deref(), Some("9fec847784abb10b2fa567ee63b85bd238955d0e"));
        assert_eq!((found.service.as_str(), found.outcome), ("repo_name", DeploymentOutcome::Succeeded));
        assert_eq!(found.time.to_string(), "2015-11-20T08:01:16.433108Z");
    }
    assert_eq!(why(event, &status()), Skip::NotConfigured);
    for (state, outcome) in [
        ("INPROGRESS", DeploymentOutcome::InProgress),
        ("FAILED", DeploymentOutcome::Failed),
        ("STOPPED", DeploymentOutcome::Cancelled),
    ] {
        let mut body = status();
        body["commit_status"]["state"] = json!(state);
        let Ok(Reading::Facts(facts)) = read(event, &body, &[("mybuildtool", "production")]) else { panic!() };
        assert_eq!(deployed(&facts).outcome, outcome);
    }
}

/// A status keeps its key when its pipeline runs again.
#[test]
fn going_back_to_an_earlier_commit_is_a_deployment() {
    let told = |commit: char, time: &str| {
        let mut body = status();
        body["commit_status"]["updated_on"] = json!(time);
        let sha = commit.to_string().repeat(40);
        body["commit_status"]["links"]["commit"]["href"] = json!(format!("https://api.bitbucket.org/commit/{sha}"));
        let read = read("repo:commit_status_updated", &body, &[("mybuildtool", "production")]);
        let Ok(Reading::Facts(facts)) = read else { panic!("a deployment") };
        deployed(&facts)
    };
    let facts =
        vec![told('a', "2026-01-05T08:00:00Z"), told('b', "2026-01-05T09:00:00Z"), told('a', "2026-01-05T10:00:00Z")];
    let found: Vec<String> = occurrences(facts).into_keys().collect();
    let named = |commit: &str, end: &str| format!("{}/mybuildtool{end}", commit.repeat(40));
    assert_eq!(found, [named("a", ""), named("a", "#2"), named("b", "")]);
}

#[test]
fn mutilated_bodies_get_an_outcome_too() {
    let named = [("mybuildtool", "production")];
    for (event, body) in [
        ("repo:push", push()),
        ("pullrequest:fulfilled", fulfilled()),
        ("pullrequest:approved", reviewed("approved", "a", "13:00")),
        ("repo:commit_status_created", status()),
    ] {
        assert!(everywhere(&body, 6, |body| read(event, body, &named)) > 10);
    }
}

#[test]
fn what_is_missing_is_named_and_the_rest_is_skipped() {
    for (event, mut body, field) in [
        ("repo:push", push(), "/repository/full_name"),
        ("repo:push", push(), "/push/changes"),
        ("repo:push", push(), "/push/changes/0/commits/1/hash"),
        ("pullrequest:fulfilled", fulfilled(), "/pullrequest/merge_commit"),
        ("pullrequest:approved", reviewed("approved", "a", "13:00"), "/approval/date"),
        ("pullrequest:comment_created", reviewed("comment_created", "a", "13:00"), "/comment/created_on"),
        ("pullrequest:created", fulfilled(), "/pullrequest/id"),
        ("pullrequest:fulfilled", fulfilled(), "/pullrequest/destination/branch/name"),
        ("repo:commit_status_created", status(), "/commit_status/state"),
        ("repo:commit_status_created", status(), "/commit_status/updated_on"),
        ("repo:commit_status_created", status(), "/commit_status/links/commit/href"),
    ] {
        *body.pointer_mut(field).unwrap() = Value::Null;
        assert_eq!(read(event, &body, &[]).unwrap_err().pointer(), field);
    }
    assert_eq!(why("repo:fork", &json!({})), Skip::UnusedEvent);
}
