//! Pushes, pull requests and reviews.

use devpulse::event::pull_request::Status;
use devpulse::ingest::source::Reading;
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use super::{Setup, examples_of, time};

#[test]
fn a_push_to_the_default_branch_brings_merged_changes() {
    let setup = Setup::new().with_services(&[("docs", &["README.md"]), ("app", &["src/**"])]);
    let mut body = examples_of("push")[4].clone();
    let change = setup.change("push", &body);
    assert_eq!(change.sha, "6113728f27ae82c7b1a177c8d03f9e96e0adf246");
    assert_eq!(change.authored_at, Some(time("2019-05-15T15:19:25Z")));
    assert_eq!(change.merged_at, body["repository"]["pushed_at"].as_i64().map(Timestamp::from_seconds));
    assert_eq!((change.service.as_deref(), change.paths), (Some("docs"), vec!["README.md".to_owned()]));
    assert!(!change.merge);
    body["commits"][0]["timestamp"] = json!("2019-05-15T17:19:25+02:00");
    body["commits"][0]["message"] = json!("Merge pull request #7 from acme/branch");
    body["commits"][0]["added"] = json!(["src/main.rs", "README.md"]);
    let change = setup.change("push", &body);
    assert_eq!(change.authored_at, Some(time("2019-05-15T15:19:25Z")), "offsets are honoured");
    assert!(change.merge);
    assert_eq!(change.service, None, "two services share it; the paths tell");
    assert_eq!(change.push.map(|push| (push.branch, push.head)), Some(("master".to_owned(), change.sha)));
    body["ref"] = json!("refs/heads/feature");
    let push = setup.push(&body);
    assert_eq!(setup.events("push", &body).len(), 1, "nothing of it is merged");
    assert_eq!((push.push.branch.as_str(), push.before, push.commits.len()), ("feature", None, 1));
}

#[test]
fn deletions_and_tags_bring_none() {
    let setup = Setup::new();
    let deleted = &examples_of("push")[1];
    assert_eq!(deleted["head_commit"], Value::Null);
    assert!(setup.skipped("push", deleted).contains("deleted"));
    assert!(setup.skipped("push", &examples_of("push")[0]).contains("not a branch"));
}

#[test]
fn a_merged_pull_request_tells_its_times() {
    let setup = Setup::new();
    let closed = examples_of("pull_request").into_iter().find(|body| body["action"] == "closed").unwrap();
    let abandoned = setup.request("pull_request", &closed);
    assert_eq!(abandoned.status, Some(Status::Closed { at: time("2019-05-15T15:21:18Z") }), "without being merged");
    let mut merged = closed.clone();
    merged["pull_request"]["merged"] = json!(true);
    assert_eq!(setup.pointer("pull_request", &merged), "/pull_request/merged_at");
    merged["pull_request"]["merged_at"] = json!("2019-05-16T10:00:00Z");
    let change = setup.change("pull_request", &merged);
    assert_eq!(change.sha, "c4295bd74fb0f4fda03689c3df3f2803b658fd85");
    assert_eq!(change.time, time("2019-05-16T10:00:00Z"));
    let pull = setup.request("pull_request", &merged);
    assert_eq!((pull.number, pull.opened_at), (2, Some(time("2019-05-15T15:20:33Z"))));
    assert_eq!((pull.author.as_deref(), pull.commit_count), (Some("Codertocat"), Some(1)));
    assert_eq!(pull.head.as_ref().map(|head| head.branch.as_str()), Some("changes"));
    assert_eq!(pull.status, Some(Status::Merged { at: change.time, commit: change.sha }));
    merged["pull_request"]["base"]["ref"] = json!("release");
    assert_eq!(setup.events("pull_request", &merged).len(), 1, "what is merged elsewhere is not on the main line");
}

#[test]
fn how_far_a_pull_request_is() {
    let setup = Setup::new();
    let of = |action: &str| examples_of("pull_request").into_iter().find(|body| body["action"] == action).unwrap();
    let opened = setup.request("pull_request", &of("opened"));
    assert_eq!((opened.status, opened.ready_at), (Some(Status::Open), None));
    let ready = of("ready_for_review");
    let updated = ready["pull_request"]["updated_at"].as_str().map(time);
    assert_eq!(setup.request("pull_request", &ready).ready_at, updated);
    assert!(setup.skipped("pull_request", &of("labeled")).contains("how far"));
    let mut gone = of("opened");
    gone["pull_request"]["head"]["repo"] = Value::Null;
    assert_eq!(setup.request("pull_request", &gone).head, None, "the fork was deleted");
    let mut imported = of("opened");
    imported["pull_request"].as_object_mut().unwrap().remove("merged");
    assert_eq!(setup.request("pull_request", &imported).status, Some(Status::Open), "lists leave it out");
}

#[test]
fn reviews_say_by_whom_and_what() {
    let setup = Setup::new();
    let mut body = examples_of("pull_request_review")[0].clone();
    let submitted = setup.request("pull_request_review", &body);
    assert_eq!((submitted.number, submitted.author.as_deref()), (2, Some("Codertocat")));
    let review = submitted.reviews[0].clone();
    assert_eq!((review.id, review.reviewer.as_str(), review.at), (237_895_671, "Codertocat", submitted.time));
    assert_eq!((review.bot, review.approved, review.dismissed), (false, false, false));
    body["review"]["state"] = json!("APPROVED");
    body["review"]["user"] = json!({"login": "reviewer[bot]", "type": "Bot"});
    let review = setup.request("pull_request_review", &body).reviews[0].clone();
    assert_eq!((review.bot, review.approved), (true, true), "as REST writes it");
    let dismissed = setup.request("pull_request_review", &examples_of("pull_request_review")[1]).reviews[0].clone();
    assert_eq!((dismissed.id, dismissed.dismissed), (237_895_671, true));
    body["review"]["state"] = json!("pending");
    assert!(setup.skipped("pull_request_review", &body).contains("not submitted"));
    body["action"] = json!("edited");
    assert!(setup.skipped("pull_request_review", &body).contains("edited"));
}

#[test]
fn of_a_push_that_is_not_listed_in_full_the_head_is_known() {
    let setup = Setup::new();
    let mut body = examples_of("push")[4].clone();
    assert!(!setup.push(&body).partial);
    body["size"] = json!(3);
    assert!(setup.push(&body).partial, "GitHub Enterprise counts them");
    body.as_object_mut().unwrap().remove("size");
    body["head_commit"]["id"] = json!("00000000000000000000000000000000000000aa");
    let push = setup.push(&body);
    assert_eq!((push.partial, push.commits.len()), (true, 2));
    assert_eq!(setup.events("push", &body).len(), 3, "two changes and the push");
    let Reading::Partial(_, missing) = setup.parse("push", &body).unwrap() else { panic!("taken for complete") };
    assert!(missing.contains("devpulse import github"), "{missing}");
    let one = body["commits"][0].clone();
    body["head_commit"] = one.clone();
    body["commits"] = json!(vec![one; 2_048]);
    assert!(setup.push(&body).partial, "GitHub lists no more");
}
