//! What deployments brought that name nothing, as clones of their repositories say it: the real
//! git, the real binary.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::repository::Repository;
use crate::support::wait::until;

const JANUARY: &str = "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z";
/// A deployment is projected, its clone asked, and it is projected again; on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(url: &str, clone: &Path, more: &str) -> DevPulse {
    let configuration = format!(
        "services:\n  - {{name: shop, repository: acme/shop}}\n  - {{name: cart, repository: acme/shop, paths: [\"cart/**\"]}}\n\
         repositories: [{{name: acme/shop, path: {}{more}}}]\n\
         sources: {{gitlab: {{secret: \"gitlab's secret\"}}}}\n",
        clone.display()
    );
    DevPulse::start(url, &configuration).await
}

fn deployment(service: &str, id: &str, commit: &str, time: &str) -> Value {
    json!({"type": "deployment", "source": "ci", "id": id, "time": time, "service": service, "environment": "production",
        "version": id, "commit": commit, "outcome": "succeeded"})
}

/// A commit as a push tells of it, without the time of its merge.
fn change(sha: &str, time: &str) -> Value {
    json!({"type": "change", "source": "git", "id": sha, "time": time, "repository": "acme/shop", "sha": sha,
        "authored_at": time, "committed_at": time})
}

async fn explained(devpulse: &DevPulse, service: &str) -> Value {
    devpulse.get(&format!("/api/v1/dora/change_lead_time/explain?service={service}&{JANUARY}")).await
}

/// Which change came with which deployment, once every deployment has its changes from `from`.
async fn brought(devpulse: &DevPulse, service: &str, from: &str) -> Vec<(String, String)> {
    let found = until("the clone's answer", PATIENCE, async || {
        let answer = explained(devpulse, service).await;
        let rows = answer["included"].as_array().unwrap().clone();
        let settled = rows.iter().all(|row| row["deployment"]["changes_from"] == from);
        let waits = answer.to_string().contains("\"no_range\":\"waiting\"");
        (settled && !waits && !rows.is_empty()).then_some(rows)
    });
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut rows: Vec<(String, String)> =
        found.await.iter().map(|row| (text(&row["change"]["sha"]), text(&row["deployment"]["id"]))).collect();
    rows.sort();
    rows
}

/// As [`brought`], when it has become what is expected.
async fn becomes(devpulse: &DevPulse, service: &str, expected: &[(&String, &str)]) {
    let mut expected: Vec<(String, String)> =
        expected.iter().map(|(sha, id)| ((*sha).clone(), (*id).to_owned())).collect();
    expected.sort();
    until(&format!("{expected:?}"), PATIENCE, async || {
        (brought(devpulse, service, "range").await == expected).then_some(())
    })
    .await;
}

async fn lead_time(devpulse: &DevPulse, service: &str) -> Value {
    devpulse.get(&format!("/api/v1/dora?service={service}&{JANUARY}")).await["metrics"]["change_lead_time"].clone()
}

on_both! {
    /// A branch that began before the second deployment and was merged after it: dates put its
    /// commits into the second deployment, parents into the third, which is right.
    async fn a_branch_comes_with_the_deployment_that_has_its_merge(db: Database) {
        let repository = Repository::new();
        let first = repository.commit("a/1", "2026-01-05T10:00:00Z");
        repository.git(&["checkout", "-q", "-b", "long"], "2026-01-05T10:00:00Z");
        let long = repository.commit("a/long", "2026-01-05T11:00:00Z");
        repository.git(&["checkout", "-q", "main"], "2026-01-05T11:00:00Z");
        let second = repository.commit("a/2", "2026-01-05T12:00:00Z");
        let merge = repository.merge("long", "2026-01-06T10:00:00Z");
        let events = json!([
            change(&long, "2026-01-05T11:00:00Z"), change(&second, "2026-01-05T12:00:00Z"),
            deployment("shop", "d1", &first, "2026-01-05T10:30:00Z"),
            deployment("shop", "d2", &second, "2026-01-05T13:00:00Z"),
            deployment("shop", "d3", &merge, "2026-01-06T11:00:00Z"),
        ]);
        let nowhere = tempfile::tempdir().unwrap();
        let mut devpulse = start(&db.url, &nowhere.path().join("clone.git"), "").await;
        devpulse.post_events(&events).await;
        let by_dates = until("a reason", PATIENCE, async || {
            let answer = explained(&devpulse, "shop").await;
            let rows = answer["included"].as_array().unwrap().clone();
            rows.iter().all(|row| row["deployment"]["no_range"] == "unreachable").then_some(rows)
        })
        .await;
        assert!(by_dates.iter().all(|row| row["deployment"]["id"] == "d2"), "{by_dates:#?}");
        let told = &by_dates[0]["deployment"];
        assert_eq!((&told["changes_from"], &told["partial"]), (&json!("merge_times"), &json!(true)));
        assert!(told["no_range_detail"].as_str().unwrap().contains("cannot be read"), "{told:#}");
        until("the gauge", PATIENCE, async || {
            let page = devpulse.text("/metrics").await;
            page.contains("devpulse_commit_ranges{state=\"unreachable\"} 2").then_some(())
        })
        .await;
        // The clone comes later; a restart asks again at once.
        repository.clone_to(nowhere.path(), &["--mirror"]);
        devpulse.kill();
        devpulse.restart().await;
        becomes(&devpulse, "shop", &[(&second, "d2"), (&long, "d3")]).await;
        let lead = lead_time(&devpulse, "shop").await;
        assert_eq!(lead["changes_from"], json!({"named": 0, "range": 2, "merge_times": 0}));
        assert_eq!(lead["partial"], Value::Null, "{lead:#}");
    }

    /// Nothing was told but deployments; they come in any order and are corrected.
    async fn a_late_or_corrected_deployment_moves_the_changes(db: Database) {
        let repository = Repository::new();
        let day = |hour: u32| format!("2026-01-05T{hour:02}:00:00Z");
        let shas: Vec<String> = (1..=5).map(|n| repository.commit(&format!("a/{n}"), &day(n))).collect();
        let devpulse = start(&db.url, repository.path(), "").await;
        devpulse.post_events(&json!([
            deployment("shop", "d4", &shas[3], &day(14)), deployment("shop", "d1", &shas[0], &day(11)),
        ])).await;
        becomes(&devpulse, "shop", &[(&shas[1], "d4"), (&shas[2], "d4"), (&shas[3], "d4")]).await;
        let mut second = deployment("shop", "d2", &shas[1], &day(12));
        second["outcome"] = json!("failed");
        devpulse.post_events(&second).await;
        becomes(&devpulse, "shop", &[(&shas[1], "d4"), (&shas[2], "d4"), (&shas[3], "d4")]).await;
        devpulse.post_events(&deployment("shop", "d2", &shas[1], &day(12))).await;
        becomes(&devpulse, "shop", &[(&shas[1], "d2"), (&shas[2], "d4"), (&shas[3], "d4")]).await;
        // Back to the first and on to the newest: only the last commit is new.
        let mut back = deployment("shop", "back", &shas[0], &day(15));
        back["version"] = json!("d1");
        devpulse.post_events(&json!([back, deployment("shop", "d5", &shas[4][..9], &day(16))])).await;
        becomes(&devpulse, "shop", &[(&shas[1], "d2"), (&shas[2], "d4"), (&shas[3], "d4"), (&shas[4], "d5")]).await;
        // The second was another commit, says its source.
        devpulse.post_events(&deployment("shop", "d2", &shas[2], "2026-01-05T12:30:00Z")).await;
        becomes(&devpulse, "shop", &[(&shas[1], "d2"), (&shas[2], "d2"), (&shas[3], "d4"), (&shas[4], "d5")]).await;
        let explained = explained(&devpulse, "shop").await;
        let times: Vec<&str> = explained["included"].as_array().unwrap().iter().map(|row| row["started_at"].as_str().unwrap()).collect();
        assert!(times.contains(&"2026-01-05T02:00:00Z"), "authored, as git says: {times:?}");
    }

    async fn a_service_of_a_monorepo_gets_what_touches_its_paths(db: Database) {
        let repository = Repository::new();
        let first = repository.commit("a/1", "2026-01-05T10:00:00Z");
        let cart = repository.commit("cart/ä b\"c", "2026-01-05T11:00:00Z");
        let other = repository.commit("search/2", "2026-01-05T12:00:00Z");
        repository.git(&["mv", "cart/ä b\"c", "search/moved"], "2026-01-05T12:30:00Z");
        repository.git(&["commit", "-q", "-m", "moved"], "2026-01-05T12:30:00Z");
        let moved = repository.head();
        let devpulse = start(&db.url, repository.path(), "").await;
        for service in ["shop", "cart"] {
            devpulse.post_events(&json!([
                deployment(service, "d1", &first, "2026-01-05T13:00:00Z"),
                deployment(service, "d2", &moved, "2026-01-05T14:00:00Z"),
            ])).await;
        }
        becomes(&devpulse, "cart", &[(&cart, "d2"), (&moved, "d2")]).await;
        becomes(&devpulse, "shop", &[(&cart, "d2"), (&other, "d2"), (&moved, "d2")]).await;
    }

    /// GitLab lists only some of a push's commits; a clone has them all, once it was fetched.
    async fn a_push_that_was_cut_becomes_complete_when_the_commit_is_fetched(db: Database) {
        let repository = Repository::new();
        let first = repository.commit("a/1", "2026-01-05T10:00:00Z");
        let folder = tempfile::tempdir().unwrap();
        let clone = repository.clone_to(folder.path(), &["--mirror"]);
        // A fetch runs this hook of a clone, unless it is told not to.
        let (hook, trap) = (clone.join("hooks/reference-transaction"), folder.path().join("sprung"));
        std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", trap.display())).unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let second = repository.commit("a/2", "2026-01-05T11:00:00Z");
        let third = repository.commit("a/3", "2026-01-05T12:00:00Z");
        let devpulse = start(&db.url, &clone, ", fetch_every: 24h").await;
        let push = json!({"object_kind": "push", "event_name": "push", "before": first, "after": third,
            "ref": "refs/heads/main", "checkout_sha": third, "project_id": 15, "total_commits_count": 2,
            "project": {"id": 15, "name": "shop", "path_with_namespace": "acme/shop", "default_branch": "main"},
            "commits": [{"id": third, "title": "3", "message": "3", "timestamp": "2026-01-05T12:00:00Z",
                "author": {"name": "a", "email": "a@example.com"}, "added": ["a/3"], "modified": [], "removed": []}]});
        let request = devpulse.request("POST", "/api/v1/webhooks/gitlab");
        let request = request.header("x-gitlab-token", "gitlab's secret").header("x-gitlab-event", "Push Hook");
        devpulse.send(request.json(&push)).await.ok();
        devpulse.post_events(&json!([
            deployment("shop", "d1", &first, "2026-01-05T10:30:00Z"),
            deployment("shop", "d2", &third, "2026-01-05T13:00:00Z"),
        ])).await;
        becomes(&devpulse, "shop", &[(&second, "d2"), (&third, "d2")]).await;
        assert_eq!(lead_time(&devpulse, "shop").await["partial"], Value::Null);
        assert!(!trap.exists(), "the clone ran a program");
        // What was replaced by force before anybody fetched it is nowhere; nor is it fetched twice a day.
        let lost = repository.commit("a/4", "2026-01-05T14:00:00Z");
        repository.git(&["reset", "-q", "--hard", "HEAD~1"], "2026-01-05T14:00:00Z");
        devpulse.post_events(&json!([
            change(&lost, "2026-01-05T14:00:00Z"), deployment("shop", "d3", &lost, "2026-01-05T15:00:00Z"),
        ])).await;
        let told = until("a reason", PATIENCE, async || {
            let answer = explained(&devpulse, "shop").await;
            let rows = answer["included"].as_array().unwrap().clone();
            rows.into_iter().find(|row| row["deployment"]["no_range"] == "unknown_commit")
        })
        .await;
        assert_eq!((&told["change"]["sha"], &told["deployment"]["id"]), (&json!(lost), &json!("d3")));
        assert_eq!((&told["deployment"]["changes_from"], &told["deployment"]["partial"]), (&json!("merge_times"), &json!(true)));
        let lead = lead_time(&devpulse, "shop").await;
        assert_eq!((&lead["changes_from"], &lead["partial"]), (&json!({"named": 0, "range": 1, "merge_times": 1}), &json!(1)));
    }

    async fn only_hashes_are_asked_for(db: Database) {
        let repository = Repository::new();
        let first = repository.commit("a/1", "2026-01-05T10:00:00Z");
        let second = repository.commit("a/2", "2026-01-05T11:00:00Z");
        let devpulse = start(&db.url, repository.path(), "").await;
        devpulse.post_events(&json!([
            deployment("shop", "d1", &first, "2026-01-05T10:30:00Z"), deployment("shop", "d2", &second, "2026-01-05T12:00:00Z"),
            deployment("shop", "d3", "--all", "2026-01-05T13:00:00Z"), deployment("shop", "d4", "main", "2026-01-05T14:00:00Z"),
        ])).await;
        becomes(&devpulse, "shop", &[(&second, "d2")]).await;
        let explained = explained(&devpulse, "shop").await;
        let rows = explained["excluded"].as_array().unwrap();
        for id in ["d3", "d4"] {
            let row = rows.iter().find(|row| row["deployment"]["id"] == id).unwrap();
            assert_eq!(row["deployment"]["no_range"], "unknown_commit", "{row:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_is_not_believed_and_a_reload_asks_again() {
    let database = crate::support::database::Database::sqlite().await;
    let repository = Repository::new();
    let first = repository.commit("a/1", "2026-01-05T10:00:00Z");
    let second = repository.commit("a/2", "2026-01-05T11:00:00Z");
    let folder = tempfile::tempdir().unwrap();
    let clone = repository.clone_to(folder.path(), &["--mirror", "--depth=1"]);
    let mut devpulse = start(&database.url, &clone, "").await;
    devpulse
        .post_events(&json!([
            change(&second, "2026-01-05T11:00:00Z"),
            deployment("shop", "d1", &first, "2026-01-05T10:30:00Z"),
            deployment("shop", "d2", &second, "2026-01-05T12:30:00Z"),
        ]))
        .await;
    until("a reason", PATIENCE, async || {
        explained(&devpulse, "shop").await.to_string().contains("\"no_range\":\"shallow\"").then_some(())
    })
    .await;
    let configuration = std::fs::read_to_string(devpulse.configuration()).unwrap();
    let complete = configuration.replace(&clone.display().to_string(), &repository.path().display().to_string());
    std::fs::write(devpulse.configuration(), complete).unwrap();
    devpulse.process().signal("HUP");
    becomes(&devpulse, "shop", &[(&second, "d2")]).await;
}
