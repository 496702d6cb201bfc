//! Pull requests by GitLab, Bitbucket and Azure DevOps: the times of their reviews reach the commits
//! that they became, in whatever order the deliveries come.

use proptest::prop_assert_eq;
use serde_json::{Value, json};

use crate::support::arrival::in_any_order;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github::hex_signature;

const SECRET: &str = "It's a Secret to Everybody";

pub async fn start(url: &str) -> DevPulse {
    let secret = format!("{{secret: \"{SECRET}\"}}");
    DevPulse::start(url, &format!("sources: {{gitlab: {secret}, bitbucket: {secret}, azure_devops: {secret}}}\n")).await
}

/// A delivery: whose it is, what its header calls it, and its body.
pub type Delivery = (&'static str, &'static str, Value);

pub fn sha(name: &str) -> String {
    format!("{name:0<40}")
}

pub fn at(day: &str) -> String {
    format!("2026-01-{day}:00Z")
}

/// A merge request of two commits with a merge commit.
fn gitlab(run: &str) -> Vec<Delivery> {
    let project = json!({"path_with_namespace": format!("{run}/gitlab"), "default_branch": "main"});
    let commit =
        |name: &str, day: &str, message: &str| json!({"id": sha(name), "message": message, "timestamp": at(day)});
    let push = json!({"object_kind": "push", "ref": "refs/heads/main", "before": sha("a0"), "after": sha("a3"), "project": project,
        "commits": [commit("a1", "02T09:00", "one"), commit("a2", "02T10:00", "two"), commit("a3", "05T10:00", "Merge branch 'x'")],
        "total_commits_count": 3});
    let request = |action: &str, day: &str, merge: Value| {
        json!({"object_kind": "merge_request", "project": project, "user": {"id": 1, "username": "author"},
            "object_attributes": {"iid": 7, "author_id": 1, "action": action, "target_branch": "main", "created_at": at("02T11:00"),
                "updated_at": at(day), "merge_commit_sha": merge, "last_commit": {"id": sha("a2")}}})
    };
    let note = |id: u64, user: u64, day: &str| {
        json!({"object_kind": "note", "project": project, "user": {"id": user, "username": "u"},
            "object_attributes": {"id": id, "noteable_type": "MergeRequest", "system": false, "created_at": at(day)},
            "merge_request": {"iid": 7, "author_id": 1, "created_at": at("02T11:00")}})
    };
    let bodies = [
        request("open", "02T11:00", Value::Null),
        note(1, 1, "02T12:00"),
        note(2, 6, "03T12:00"),
        request("merge", "05T10:00", json!(sha("a3"))),
        push,
    ];
    bodies.into_iter().map(|body| ("gitlab", "", body)).collect()
}

/// The same, where the merge commit is told by its first twelve digits.
fn bitbucket(run: &str) -> Vec<Delivery> {
    let repository = json!({"full_name": format!("{run}/bitbucket")});
    let request = json!({"id": 7, "author": {"uuid": "{author}"}, "created_on": at("02T11:00"), "updated_on": at("05T10:00"),
        "merge_commit": {"hash": &sha("b3")[..12]}, "destination": {"branch": {"name": "main"}}});
    let of = |who: &str, more: Value| {
        let mut body =
            json!({"repository": repository, "pullrequest": request, "actor": {"type": "user", "uuid": who}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let commit = |name: &str, day: &str, parents: u8| {
        let parents: Vec<Value> = (0..parents).map(|parent| json!({"hash": sha(&parent.to_string())})).collect();
        json!({"hash": sha(name), "date": at(day), "parents": parents})
    };
    let branch = |name: &str| json!({"type": "branch", "name": "main", "target": {"hash": sha(name)}});
    let push = json!({"repository": repository, "push": {"changes": [{"old": branch("b0"), "new": branch("b3"), "truncated": false,
        "commits": [commit("b3", "05T10:00", 2), commit("b2", "02T10:00", 1), commit("b1", "02T09:00", 1)]}]}});
    let said = |what: &str, day: &str| json!({ what: {"date": at(day)} });
    vec![
        ("bitbucket", "pullrequest:created", of("{author}", json!({}))),
        (
            "bitbucket",
            "pullrequest:comment_created",
            of("{author}", json!({"comment": {"created_on": at("02T12:00")}})),
        ),
        ("bitbucket", "pullrequest:changes_request_created", of("{a}", said("changes_request", "03T12:00"))),
        ("bitbucket", "pullrequest:approved", of("{a}", said("approval", "03T13:00"))),
        ("bitbucket", "pullrequest:unapproved", of("{a}", said("approval", "03T14:00"))),
        ("bitbucket", "pullrequest:approved", of("{b}", said("approval", "04T12:00"))),
        ("bitbucket", "pullrequest:fulfilled", of("{b}", json!({}))),
        ("bitbucket", "repo:push", push),
    ]
}

/// Squashed into one commit.
fn azure_devops(run: &str) -> Vec<Delivery> {
    let repository = json!({"name": "azure", "project": {"name": run}, "defaultBranch": "refs/heads/main"});
    let event = |kind: &str, day: &str, resource: Value| {
        ("azure_devops", "", json!({"eventType": kind, "createdDate": at(day), "resource": resource}))
    };
    let request = |status: &str, votes: &[(&str, i64)]| {
        let reviewers: Vec<Value> = votes.iter().map(|(id, vote)| json!({"id": id, "vote": vote})).collect();
        json!({"repository": repository, "pullRequestId": 7, "status": status, "createdBy": {"id": "author"}, "reviewers": reviewers,
            "creationDate": at("02T11:00"), "closedDate": at("05T10:00"), "targetRefName": "refs/heads/main",
            "lastMergeCommit": {"commitId": sha("c3")}})
    };
    let comment = |who: &str, day: &str| {
        let comment = json!({"author": {"id": who}, "publishedDate": at(day), "commentType": "text"});
        event(
            "ms.vss-code.git-pullrequest-comment-event",
            day,
            json!({"comment": comment, "pullRequest": request("active", &[])}),
        )
    };
    let dated = json!({"date": at("05T10:00")});
    let push = json!({"repository": repository, "date": at("05T10:00"),
        "refUpdates": [{"name": "refs/heads/main", "oldObjectId": sha("c0"), "newObjectId": sha("c3")}],
        "commits": [{"commitId": sha("c3"), "author": dated, "committer": dated, "comment": "squashed"}]});
    vec![
        event("git.pullrequest.created", "02T11:00", request("active", &[("a", 0)])),
        comment("author", "02T12:00"),
        comment("a", "03T12:00"),
        event("git.pullrequest.updated", "03T13:00", request("active", &[("a", 10)])),
        event("git.pullrequest.updated", "03T14:00", request("active", &[("a", -5)])),
        event("git.pullrequest.updated", "04T12:00", request("active", &[("a", 5)])),
        event("git.pullrequest.merged", "05T10:00", request("completed", &[("a", 5)])),
        event("git.push", "05T10:00", push),
    ]
}

fn week(run: &str) -> Vec<Delivery> {
    [gitlab(run), bitbucket(run), azure_devops(run)].concat()
}

pub async fn tell(devpulse: &DevPulse, (source, event, body): &Delivery) {
    let text = body.to_string();
    let request =
        devpulse.request("POST", &format!("/api/v1/webhooks/{source}")).header("content-type", "application/json");
    let request = match *source {
        "gitlab" => request.header("x-gitlab-token", SECRET),
        "bitbucket" => {
            let signature = format!("sha256={}", hex_signature(SECRET, text.as_bytes()));
            request.header("x-event-key", *event).header("x-hub-signature", signature)
        }
        _ => request.basic_auth("hook", Some(SECRET)),
    };
    let answer = devpulse.send(request.body(text)).await.ok();
    assert_ne!(answer["outcome"], "skipped", "{source} {event}: {answer}");
}

/// The changes of the three repositories, by name; when a push was heard of is left out.
async fn changes(devpulse: &DevPulse, run: &str) -> Vec<Value> {
    let mut changes = Vec::new();
    for host in ["gitlab", "bitbucket", "azure"] {
        let text = devpulse.text(&format!("/api/v1/changes?repository={run}/{host}&limit=500")).await;
        let mut page: Value = serde_json::from_str(&text.replace(run, "it")).unwrap();
        changes.append(page["items"].as_array_mut().unwrap());
    }
    for change in &mut changes {
        change.as_object_mut().unwrap().remove("merged_at");
    }
    changes.sort_by_key(|change| change["sha"].to_string());
    changes
}

on_both! {
    async fn the_times_of_reviews_reach_every_commit_of_a_merged_pull_request(db: Database) {
        let devpulse = start(&db.url).await;
        for delivery in week("acme") {
            tell(&devpulse, &delivery).await;
        }
        let changes = changes(&devpulse, "acme").await;
        let names: Vec<&str> = changes.iter().map(|change| change["sha"].as_str().unwrap().trim_end_matches('0')).collect();
        assert_eq!(names, ["a1", "a2", "a3", "b1", "b2", "b3", "c3"]);
        for change in &changes {
            let request = &change["pull_request"];
            let gitlab = change["repository"] == "it/gitlab";
            assert_eq!((&request["number"], &request["opened_at"], &request["merged_at"]), (&json!(7), &json!(at("02T11:00")), &json!(at("05T10:00"))), "{change:#}");
            assert_eq!(request["first_review_at"], json!(at("03T12:00")), "{change:#}");
            // What GitLab's approvals say is when they are heard of: long after this merge.
            let approved = if gitlab { Value::Null } else { json!(at("04T12:00")) };
            assert_eq!(request["approved_at"], approved, "{change:#}");
        }
        let merges: Vec<bool> = changes.iter().map(|change| change["merge"] == true).collect();
        assert_eq!(merges, [false, false, true, false, false, true, false]);
    }

    async fn any_order_and_any_repetition_give_the_same_changes(db: Database) {
        let devpulse = start(&db.url).await;
        for delivery in week("acme") {
            tell(&devpulse, &delivery).await;
        }
        let sorted = changes(&devpulse, "acme").await;
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            in_any_order(week("x").len(), 12, |case, arrival| {
                let run = format!("acme-{case}-x");
                let week = week(&run);
                let found = runtime.block_on(async {
                    for index in arrival {
                        tell(&devpulse, &week[*index]).await;
                    }
                    changes(&devpulse, &run).await
                });
                prop_assert_eq!(&found, &sorted);
                Ok(())
            });
        });
    }
}
