//! GitLab's merge requests: what they became, and when they were opened, reviewed and approved.

use devpulse::event::pull_request::{Status, fold_pull_request};
use devpulse::event::{DeliveryEvent, PullRequest, PullRequestEvent};
use devpulse::ingest::source::{Reading, Skip};
use devpulse::time::Timestamp;
use proptest::prop_assert_eq;
use serde_json::{Value, json};

use super::{NOW, changed, merge_request, parse_at, skipped, time};
use crate::support::arrival::in_any_order;

/// The documented comment on a merge request.
pub fn note() -> Value {
    json!({"object_kind": "note", "event_type": "note",
        "user": {"id": 1, "name": "Administrator", "username": "root"},
        "project": {"id": 5, "path_with_namespace": "gitlab-org/gitlab-test", "default_branch": "master"},
        "object_attributes": {"id": 1244, "note": "This MR needs work.", "noteable_type": "MergeRequest", "author_id": 1,
            "created_at": "2015-05-17 18:21:36 UTC", "updated_at": "2015-05-17 18:21:36 UTC", "system": false,
            "action": "create", "url": "http://example.com/gitlab-org/gitlab-test/merge_requests/1#note_1244"},
        "merge_request": {"id": 7, "target_branch": "markdown", "source_branch": "master", "author_id": 8,
            "created_at": "2015-03-01 20:12:53 UTC", "updated_at": "2015-03-21 18:27:27 UTC", "state": "opened", "iid": 1}})
}

/// A merge request of the same user's hook with another action.
pub fn acted(action: &str, user: u64) -> Value {
    let mut body = merge_request();
    body["object_attributes"]["action"] = json!(action);
    body["user"] = json!({"id": user, "username": format!("user{user}")});
    body
}

/// What is told of the merge request where the message comes at `at`.
fn told(body: &Value, at: Timestamp) -> PullRequestEvent {
    let Ok(Reading::Facts(facts)) = parse_at(&body.to_string(), at) else { panic!("{body:#}") };
    match facts.into_iter().next_back().map(|fact| fact.event) {
        Some(DeliveryEvent::PullRequest(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn times(told: &[PullRequestEvent]) -> PullRequest {
    fold_pull_request(told).unwrap().times()
}

#[test]
fn a_merged_request_tells_its_times() {
    assert_eq!(changed(&merge_request())[0].sha, "8c1d2a0b7e6f5d4c3b2a19081726354433221100");
    let pull = times(&[told(&merge_request(), NOW)]);
    assert_eq!((pull.number, pull.opened_at), (1, Some(time("2013-12-03T17:23:34Z"))));
    assert_eq!(pull.merged_at, Some(time("2013-12-03T19:23:34Z")));
    let mut elsewhere = merge_request();
    elsewhere["object_attributes"]["target_branch"] = json!("release");
    assert!(changed(&elsewhere).is_empty(), "not on the default branch");
    assert_eq!(skipped(&acted("update", 6)).0, Skip::NoChange);
    let mut ready = acted("update", 51);
    ready["changes"] = json!({"draft": {"previous": true, "current": false}});
    assert_eq!(
        times(&[told(&acted("open", 51), NOW), told(&ready, NOW)]).opened_at,
        Some(time("2013-12-03T19:23:34Z"))
    );
}

#[test]
fn a_merge_request_names_the_head_of_its_branch() {
    let mut body = acted("open", 51);
    assert_eq!(told(&body, NOW).head, None, "the project that had it is gone");
    // As documented; a fork's has the path of the fork.
    body["object_attributes"]["source"] = json!({"name": "Awesome Project", "path_with_namespace": "awesome_space/awesome_project", "default_branch": "master"});
    let head = told(&body, NOW).head.unwrap();
    assert_eq!((head.repository.as_str(), head.branch.as_str()), ("awesome_space/awesome_project", "ms-viewport"));
    assert_eq!(head.sha, "da1560886d4f094c3e6c9ef40349f7d38b5d27d7");
}

/// What a squash or a fast-forward became, and that nothing else is claimed to be a change.
#[test]
fn only_what_the_merge_made_is_a_change() {
    let of = |merge: Option<&str>, squash: Option<&str>| {
        let mut body = merge_request();
        body["object_attributes"]["merge_commit_sha"] = json!(merge);
        body["object_attributes"]["squash_commit_sha"] = json!(squash);
        let changes: Vec<String> = changed(&body).into_iter().map(|change| change.sha).collect();
        let Some(Status::Merged { commit, .. }) = told(&body, NOW).status else { panic!("it is merged") };
        (changes, commit)
    };
    let (merge, squash) = ("1".repeat(40), "2".repeat(40));
    let owned = |sha: &str| (vec![sha.to_owned()], sha.to_owned());
    assert_eq!(of(Some(&merge), Some(&squash)), owned(&merge), "a merge commit of a squashed one");
    assert_eq!(of(None, Some(&squash)), owned(&squash));
    let last = "da1560886d4f094c3e6c9ef40349f7d38b5d27d7";
    assert_eq!(of(None, None), (Vec::new(), last.to_owned()), "a fast-forward comes with its push");
}

#[test]
fn others_review_and_approve_until_they_take_it_back() {
    let minute = |minute: i64| Timestamp::from_seconds(minute * 60);
    let mut comment = note();
    comment["project"]["path_with_namespace"] = json!("gitlabhq/gitlab-test");
    comment["merge_request"]["author_id"] = json!(51);
    comment["object_attributes"]["created_at"] = json!("1970-01-01 00:03:00 UTC");
    let mut own = comment.clone();
    own["user"]["id"] = json!(51);
    own["object_attributes"]["created_at"] = json!("1970-01-01 00:02:00 UTC");
    let mut bot = acted("approved", 9);
    bot["user"]["username"] = json!("project_15_bot_4ffca233d8298ea1");
    let facts = [
        told(&acted("open", 51), minute(1)),
        told(&own, minute(2)),
        told(&comment, minute(3)),
        told(&bot, minute(4)),
        told(&acted("approval", 6), minute(5)),
        told(&acted("unapproval", 6), minute(7)),
        told(&acted("approved", 7), minute(9)),
        told(&merge_request(), minute(10)),
    ];
    let known = times(&facts);
    assert_eq!((known.first_review_at, known.approved_at), (Some(minute(3)), Some(minute(9))));
    assert_eq!(times(&facts[..6]).approved_at, None, "taken back");
    in_any_order(facts.len(), 64, |_, arrival| {
        let facts: Vec<PullRequestEvent> = arrival.iter().map(|index| facts[*index].clone()).collect();
        prop_assert_eq!(&times(&facts), &known);
        Ok(())
    });
    let mut system = note();
    system["object_attributes"]["system"] = json!(true);
    assert_eq!(skipped(&system).0, Skip::NoChange);
    let mut issue = note();
    issue["object_attributes"]["noteable_type"] = json!("Issue");
    assert_eq!(skipped(&issue).0, Skip::UnusedEvent);
    let mut nobody = note();
    nobody["user"] = Value::Null;
    assert_eq!(skipped(&nobody).0, Skip::NoChange);
}
