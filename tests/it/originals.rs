//! Squashed requests of GitLab and Azure DevOps: the pushes to their branches tell when their work began.

use proptest::prop_assert_eq;
use serde_json::{Value, json};

use crate::reviews::{Delivery, at, sha, start, tell};
use crate::support::arrival::in_any_order;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;

/// A branch, where it was and where it is, and what was pushed to it, when.
struct Pushed<'a> {
    branch: &'a str,
    before: Option<&'a str>,
    after: &'a str,
    commits: &'a [(&'a str, &'a str)],
}

/// A request: its number, its branch and that one's head, and when and as what it was merged.
type Asked<'a> = (u64, &'a str, &'a str, Option<(&'a str, &'a str)>);

/// Two commits and a rebase, which lists `m9` of the main line again; squashed. Then a branch that lives on,
/// squashed twice.
fn story(push: impl Fn(&Pushed<'_>) -> Value, request: impl Fn(Asked<'_>) -> Value) -> Vec<Value> {
    let pushed = |branch, before, after, commits| push(&Pushed { branch, before, after, commits });
    vec![
        pushed("main", Some("m0"), "m9", &[("m9", "01T08:00")]),
        pushed("topic", None, "c2", &[("c1", "02T09:00"), ("c2", "02T10:00")]),
        request((1, "topic", "c2", None)),
        pushed("topic", Some("c2"), "c4", &[("m9", "01T08:00"), ("c3", "03T09:00"), ("c4", "03T10:00")]),
        request((1, "topic", "c4", Some(("05T10:00", "s1")))),
        pushed("main", Some("m9"), "s1", &[("s1", "05T10:00")]),
        pushed("develop", None, "d1", &[("d1", "03T12:00")]),
        request((2, "develop", "d1", Some(("05T11:00", "s2")))),
        pushed("main", Some("s1"), "s2", &[("s2", "05T11:00")]),
        pushed("develop", Some("d1"), "d2", &[("d2", "05T12:00")]),
        request((3, "develop", "d2", Some(("05T13:00", "s3")))),
        pushed("main", Some("s2"), "s3", &[("s3", "05T13:00")]),
        // Nobody merged it.
        pushed("idea", None, "e1", &[("e1", "04T09:00")]),
    ]
}

/// GitLab names what a squash became, merges without a merge commit, and says `000…` where there was no branch.
fn gitlab(run: &str) -> Vec<Delivery> {
    let path = format!("{run}/gitlab");
    let project = json!({"path_with_namespace": path, "default_branch": "main"});
    let none = "0".repeat(40);
    let push = |push: &Pushed<'_>| {
        let commit = |(name, day): &(&str, &str)| {
            json!({"id": sha(name), "message": "…", "title": "…", "timestamp": at(day),
                "author": {"name": "A", "email": "a@example.com"}, "added": [], "modified": [], "removed": []})
        };
        let commits: Vec<Value> = push.commits.iter().map(commit).collect();
        json!({"object_kind": "push", "event_name": "push", "ref": format!("refs/heads/{}", push.branch), "project": project,
            "before": push.before.map_or_else(|| none.clone(), sha), "after": sha(push.after),
            "total_commits_count": commits.len(), "commits": commits})
    };
    let request = |(number, branch, head, merged): Asked<'_>| {
        let (action, updated) = merged.map_or(("open", "02T11:00"), |(day, _)| ("merge", day));
        json!({"object_kind": "merge_request", "project": project, "user": {"id": 1, "username": "author"},
            "object_attributes": {"iid": number, "author_id": 1, "action": action, "source_branch": branch,
                "target_branch": "main", "created_at": at("02T11:00"), "updated_at": at(updated),
                "source": project, "target": project, "merge_commit_sha": null,
                "squash_commit_sha": merged.map(|(_, commit)| sha(commit)), "last_commit": {"id": sha(head)}}})
    };
    story(push, request).into_iter().map(|body| ("gitlab", "", body)).collect()
}

/// Azure DevOps lists the newest commit first.
fn azure_devops(run: &str) -> Vec<Delivery> {
    let repository = json!({"name": "azure", "project": {"name": run}, "defaultBranch": "refs/heads/main"});
    let none = "0".repeat(40);
    let push = |push: &Pushed<'_>| {
        let commit = |(name, day): &(&str, &str)| {
            let person = json!({"name": "A", "email": "a@example.com", "date": at(day)});
            json!({"commitId": sha(name), "author": person, "committer": person, "comment": "…"})
        };
        let commits: Vec<Value> = push.commits.iter().rev().map(commit).collect();
        let day = push.commits.last().unwrap().1;
        json!({"eventType": "git.push", "createdDate": at(day), "resource": {"repository": repository, "date": at(day),
            "refUpdates": [{"name": format!("refs/heads/{}", push.branch), "newObjectId": sha(push.after),
                "oldObjectId": push.before.map_or_else(|| none.clone(), sha)}], "commits": commits}})
    };
    let request = |(number, branch, head, merged): Asked<'_>| {
        let day = merged.map_or("02T11:00", |(day, _)| day);
        json!({"eventType": if merged.is_some() { "git.pullrequest.merged" } else { "git.pullrequest.created" },
            "createdDate": at(day), "resource": {"repository": repository, "pullRequestId": number,
                "status": if merged.is_some() { "completed" } else { "active" }, "createdBy": {"id": "author"},
                "reviewers": [], "creationDate": at("02T11:00"), "closedDate": merged.map(|(day, _)| at(day)),
                "sourceRefName": format!("refs/heads/{branch}"), "targetRefName": "refs/heads/main",
                "lastMergeSourceCommit": {"commitId": sha(head)},
                "lastMergeCommit": {"commitId": merged.map(|(_, commit)| sha(commit))}}})
    };
    story(push, request).into_iter().map(|body| ("azure_devops", "", body)).collect()
}

/// Each change, and the request that it was, with the time of its first commit.
async fn changes(devpulse: &DevPulse, repository: &str) -> Vec<(String, Value, Value)> {
    let items = devpulse.all(&format!("/api/v1/changes?repository={repository}&limit=500")).await;
    let told = |change: &Value| {
        let name = change["sha"].as_str().unwrap().trim_end_matches('0').to_owned();
        (name, change["pull_request"]["number"].clone(), change["pull_request"]["first_commit_at"].clone())
    };
    let mut changes: Vec<_> = items.iter().map(told).collect();
    changes.sort_by_key(|change| change.0.clone());
    changes
}

fn expected() -> Vec<(String, Value, Value)> {
    let request = |name: &str, number: u64, day: &str| (name.to_owned(), json!(number), json!(at(day)));
    vec![
        ("m9".to_owned(), Value::Null, Value::Null),
        request("s1", 1, "02T09:00"),
        request("s2", 2, "03T12:00"),
        request("s3", 3, "05T12:00"),
    ]
}

on_both! {
    /// A deployment that names the squashed commit, and whose commits are not told otherwise.
    async fn lead_time_begins_with_the_first_original_commit(db: Database) {
        let devpulse = start(&db.url).await;
        for (deliveries, repository) in [(gitlab("acme"), "acme/gitlab"), (azure_devops("acme"), "acme/azure")] {
            for delivery in &deliveries {
                tell(&devpulse, delivery).await;
            }
            assert_eq!(changes(&devpulse, repository).await, expected(), "{repository}");
            let service = repository.rsplit('/').next().unwrap();
            devpulse.post_events(&json!([{"type": "deployment", "id": repository, "source": "ci", "service": service,
                "environment": "production", "outcome": "succeeded", "time": at("06T10:00"), "repository": repository,
                "changes": [{"sha": sha("s1")}, {"sha": sha("s3")}]}])).await;
            let window = format!("service={service}&from=2026-01-01T00:00:00Z&to=2026-01-10T00:00:00Z");
            let explained = devpulse.get(&format!("/api/v1/dora/change_lead_time/explain?{window}")).await;
            let mut began: Vec<&str> =
                explained["included"].as_array().unwrap().iter().map(|row| row["started_at"].as_str().unwrap()).collect();
            began.sort_unstable();
            assert_eq!(began, [at("02T09:00"), at("05T12:00")], "{explained:#}");
        }
    }

    async fn any_order_and_any_repetition_give_the_same_originals(db: Database) {
        let devpulse = start(&db.url).await;
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            in_any_order(gitlab("x").len(), 8, |case, arrival| {
                let run = format!("acme-{case}-x");
                let hosts = [(gitlab(&run), "gitlab"), (azure_devops(&run), "azure")];
                for (deliveries, host) in hosts {
                    let found = runtime.block_on(async {
                        for index in arrival {
                            tell(&devpulse, &deliveries[*index]).await;
                        }
                        changes(&devpulse, &format!("{run}/{host}")).await
                    });
                    prop_assert_eq!(found, expected());
                }
                Ok(())
            });
        });
    }

    /// A squash that goes by without being named claims no commit of its branch, though that was pushed.
    async fn what_only_its_branch_had_is_no_change(db: Database) {
        let devpulse = start(&db.url).await;
        for mut delivery in gitlab("acme") {
            if delivery.2["object_kind"] == "merge_request" {
                delivery.2["object_attributes"]["squash_commit_sha"] = Value::Null;
            }
            tell(&devpulse, &delivery).await;
        }
        let told = changes(&devpulse, "acme/gitlab").await;
        let names: Vec<&str> = told.iter().map(|change| change.0.as_str()).collect();
        assert_eq!(names, ["m9", "s1", "s2", "s3"], "and nothing of topic or develop");
        assert!(told.iter().all(|change| change.1.is_null()), "{told:?}");
    }
}
