//! `devpulse import github` against GitHub's REST API: pages, limits, an interruption; and what
//! webhooks have said counts once.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::github::{PullRequests, deliver, sha};
use crate::support::github_api::GitHubApi;
use crate::support::wait::until;

const SECRET: &str = "It's a Secret to Everybody";
const TOKEN: &str = "ghp_0123456789";
const OF: PullRequests<'_> = PullRequests { repository: "acme/checkout" };

type Delivery = (&'static str, Value);

/// What webhooks say: a squashed pull request with reviews, a merged one, a rebased one, one that
/// nobody merged, and two deployments.
fn webhooks() -> Vec<Delivery> {
    let mut merge =
        OF.push("main", Some("s1"), "m2", &[("d1", "04T08:00"), ("d2", "04T09:00"), ("m2", "05T11:00")], "05T11:00");
    merge.1["commits"][2]["message"] = json!("Merge pull request #2 from acme/fix");
    let mut said = vec![
        OF.push("main", None, "m0", &[("m0", "01T00:00")], "01T00:00"),
        OF.push("feature", None, "c2", &[("c1", "02T09:00"), ("c2", "03T09:00")], "03T09:10"),
        OF.review(1, 11, "a-bot[bot]", "approved", "03T12:01"),
        OF.review(1, 13, "Colleague", "approved", "03T14:00"),
        OF.dismissed(1, 13, "Colleague", "03T14:00"),
        OF.review(1, 14, "Colleague", "approved", "04T10:00"),
        OF.merged(1, ("feature", "c2"), 2, "s1", "05T10:00"),
        OF.push("main", Some("m0"), "s1", &[("s1", "05T10:00")], "05T10:00"),
        OF.push("fix", None, "d2", &[("d1", "04T08:00"), ("d2", "04T09:00")], "04T09:05"),
        OF.merged(2, ("fix", "d2"), 2, "m2", "05T11:00"),
        merge,
        OF.push("tidy", None, "e2", &[("e1", "04T10:00"), ("e2", "04T11:00")], "04T11:05"),
        OF.merged(3, ("tidy", "e2"), 2, "r2", "05T12:00"),
        OF.push("main", Some("m2"), "r2", &[("r1", "05T12:00"), ("r2", "05T12:00")], "05T12:00"),
        OF.push("idea", None, "f1", &[("f1", "04T12:00")], "04T12:05"),
        OF.pull("closed", 4, ("idea", "f1"), 1, "04T12:10", "06T09:00"),
    ];
    for (id, head, at) in [(10, "m0", "01T01:00"), (20, "r2", "05T13:00")] {
        let (status, body) = OF.deployed(id, head, at);
        let mut created = body.clone();
        created["action"] = json!("created");
        said.extend([("deployment", created), (status, body)]);
    }
    said
}

fn commit(name: &str, parents: &[&str], authored: &str, committed: &str) -> Value {
    let parents: Vec<Value> = parents.iter().map(|parent| json!({"sha": sha(parent)})).collect();
    let date = |day: &str| json!({"date": format!("2026-01-{day}:00Z")});
    json!({"sha": sha(name), "parents": parents,
        "commit": {"message": name, "author": date(authored), "committer": date(committed)}})
}

/// The same history as REST has it.
fn rest() -> BTreeMap<String, Vec<Value>> {
    let own = |name: &str, parents: &[&str], at: &str| commit(name, parents, at, at);
    let mut lists = BTreeMap::new();
    let (d1, d2) = (own("d1", &["m0"], "04T08:00"), own("d2", &["d1"], "04T09:00"));
    lists.insert(
        "commits".to_owned(),
        vec![
            commit("r2", &["r1"], "04T11:00", "05T12:00"),
            commit("r1", &["m2"], "04T10:00", "05T12:00"),
            own("m2", &["s1", "d2"], "05T11:00"),
            own("s1", &["m0"], "05T10:00"),
            d2.clone(),
            d1.clone(),
            own("m0", &[], "01T00:00"),
        ],
    );
    let requests = [
        OF.merged(1, ("feature", "c2"), 2, "s1", "05T10:00"),
        OF.merged(2, ("fix", "d2"), 2, "m2", "05T11:00"),
        OF.merged(3, ("tidy", "e2"), 2, "r2", "05T12:00"),
        OF.pull("closed", 4, ("idea", "f1"), 1, "04T12:10", "06T09:00"),
    ];
    let listed = requests.into_iter().map(|(_, mut body)| {
        let request = body["pull_request"].as_object_mut().unwrap();
        // Lists have neither.
        request.remove("merged");
        request.remove("commits");
        body["pull_request"].clone()
    });
    lists.insert("pulls".to_owned(), listed.collect());
    for (number, commits) in [
        (1, vec![own("c1", &["m0"], "02T09:00"), own("c2", &["c1"], "03T09:00")]),
        (2, vec![d1, d2]),
        (3, vec![own("e1", &["m0"], "04T10:00"), own("e2", &["e1"], "04T11:00")]),
        (4, vec![own("f1", &["m0"], "04T12:00")]),
    ] {
        lists.insert(format!("pulls/{number}/commits"), commits);
        lists.insert(format!("pulls/{number}/reviews"), Vec::new());
    }
    let review = |id: u64, reviewer: &str, state: &str, at: &str| {
        let mut review = OF.review(1, id, reviewer, state, at).1["review"].clone();
        review["state"] = json!(state.to_ascii_uppercase());
        review
    };
    lists.insert(
        "pulls/1/reviews".to_owned(),
        vec![
            review(11, "a-bot[bot]", "approved", "03T12:01"),
            review(13, "Colleague", "dismissed", "03T14:00"),
            review(14, "Colleague", "approved", "04T10:00"),
        ],
    );
    let mut deployments = Vec::new();
    for (id, head, at) in [(10, "m0", "01T01:00"), (20, "r2", "05T13:00")] {
        let (_, body) = OF.deployed(id, head, at);
        lists.insert(format!("deployments/{id}/statuses"), vec![body["deployment_status"].clone()]);
        deployments.insert(0, body["deployment"].clone());
    }
    // Newer ones, so that the list has two pages.
    for id in [30, 40] {
        let (_, body) = OF.deployed(id, "r2", "05T14:00");
        lists.insert(format!("deployments/{id}/statuses"), Vec::new());
        deployments.insert(0, body["deployment"].clone());
    }
    lists.insert("deployments".to_owned(), deployments);
    lists.insert("releases".to_owned(), Vec::new());
    lists
}

struct Run {
    ok: bool,
    said: String,
}

fn import(devpulse: &DevPulse, github: &GitHubApi, folder: &Path, more: &[&str]) -> Run {
    let (server, api) = (devpulse.url("/"), github.url());
    let mut command = Command::new(env!("CARGO_BIN_EXE_devpulse"));
    command.current_dir(folder).env("GITHUB_TOKEN", TOKEN).env("RUST_LOG", "trace");
    command.args(["import", "github", "acme/checkout", "--api-url", &api, "--server", &server]).args(more);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains(TOKEN), "{said}");
    Run { ok: output.status.success(), said }
}

async fn start(database: &Database) -> DevPulse {
    DevPulse::start(&database.url, &format!("sources: {{github: {{secret: \"{SECRET}\", releases: production}}}}\n"))
        .await
}

/// Everything that is asked of DevPulse about the history.
async fn known(devpulse: &DevPulse) -> Vec<Value> {
    let window = "service=checkout&from=2026-01-01T00:00:00Z&to=2026-01-10T00:00:00Z";
    let mut answers = Vec::new();
    for path in ["changes", "deployments"] {
        answers.push(json!(devpulse.all(&format!("/api/v1/{path}")).await));
    }
    for path in ["dora", "dora/change_lead_time/explain"] {
        answers.push(devpulse.get(&format!("/api/v1/{path}?{window}")).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_comes_in_past_limits_and_an_interruption() {
    let database = Database::sqlite().await;
    let devpulse = start(&database).await;
    let github = GitHubApi::start(rest());
    let folder = tempfile::tempdir().unwrap();
    let soon = (chrono::Utc::now().timestamp() + 1).to_string();
    let used_up = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", soon)];
    github.refuse(("commits?2", 403, used_up, "API rate limit exceeded"));
    github.refuse(("pulls/2/commits?1", 429, vec![("retry-after", "1".to_owned())], "secondary rate limit"));
    github.refuse(("pulls?2", 502, Vec::new(), "Server Error"));
    github.refuse(("deployments?2", 401, Vec::new(), "Bad credentials"));
    let first = import(&devpulse, &github, folder.path(), &[]);
    assert!(!first.ok && first.said.contains("Bad credentials") && first.said.contains("expired"), "{}", first.said);
    assert_eq!(github.refusals_left(), 0);
    assert_eq!(github.tokens(), [format!("Bearer {TOKEN}")].into());
    let asked = github.asked();
    for page in ["commits?4", "pulls?2", "pulls/1/reviews?2", "deployments?2", "deployments/30/statuses?1"] {
        assert!(asked.contains(&page.to_owned()), "{page}: {asked:?}");
    }

    let again = import(&devpulse, &github, folder.path(), &["--output", "json"]);
    assert!(again.ok, "{}", again.said);
    assert_eq!(
        github.asked(),
        ["?1", "deployments?2", "deployments/20/statuses?1", "deployments/10/statuses?1"],
        "it goes on where it stopped"
    );
    assert_eq!(serde_json::from_str::<Value>(&again.said).unwrap()["duplicate"], 0);

    let changes = devpulse.all("/api/v1/changes").await;
    let change = |name: &str| changes.iter().find(|change| change["sha"] == sha(name).as_str()).unwrap();
    let names: Vec<&str> =
        changes.iter().map(|change| change["sha"].as_str().unwrap().trim_start_matches('0')).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    assert_eq!(
        change("s1")["pull_request"],
        json!({
            "number": 1, "opened_at": "2026-01-03T09:30:00Z", "first_commit_at": "2026-01-02T09:00:00Z",
            "first_review_at": "2026-01-03T14:00:00Z", "approved_at": "2026-01-04T10:00:00Z", "merged_at": "2026-01-05T10:00:00Z",
        })
    );
    assert_eq!((&change("m2")["merge"], &change("d1")["pull_request"]["number"]), (&json!(true), &json!(2)));
    assert_eq!(
        (&change("r1")["pull_request"]["number"], &change("r1")["authored_at"]),
        (&json!(3), &json!("2026-01-04T10:00:00Z"))
    );
    assert_eq!(change("m0")["pull_request"], Value::Null);
    let lead = &known(&devpulse).await[3];
    assert_eq!(lead["included"].as_array().unwrap().len(), 5, "{lead:#}");

    // What is new since, and nothing else.
    let third = import(&devpulse, &github, folder.path(), &[]);
    assert!(third.ok && third.said.contains("0 events accepted"), "{}", third.said);
    assert_eq!(github.asked(), ["?1", "commits?1", "pulls?1", "deployments?1"]);
    let all = import(&devpulse, &github, folder.path(), &["--since", "2026-01-01T00:00:00Z", "--output", "json"]);
    let totals: Value = serde_json::from_str(&all.said).unwrap();
    assert_eq!((&totals["accepted"], &totals["invalid"]), (&json!(0), &json!(0)), "{totals}");
    assert!(totals["duplicate"].as_u64().unwrap() > 15, "{totals}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_webhooks_have_said_an_import_does_not_change() {
    let database = Database::sqlite().await;
    let devpulse = start(&database).await;
    for (event, body) in webhooks() {
        deliver(&devpulse, event, &body, SECRET).await.ok();
    }
    let before = known(&devpulse).await;
    let mut lists = rest();
    lists.get_mut("deployments").unwrap().retain(|deployment| deployment["id"].as_u64().unwrap() <= 20);
    let github = GitHubApi::start(lists);
    let folder = tempfile::tempdir().unwrap();
    let run = import(&devpulse, &github, folder.path(), &["--output", "json"]);
    assert!(run.ok, "{}", run.said);
    let totals: Value = serde_json::from_str(&run.said).unwrap();
    assert!(totals["duplicate"].as_u64().unwrap() >= 4, "deployments and reviews are the same facts: {totals}");
    let after = known(&devpulse).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }

    // And the other way round: late webhooks bring nothing that the import has not.
    let database = Database::sqlite().await;
    let other = start(&database).await;
    assert!(import(&other, &github, tempfile::tempdir().unwrap().path(), &[]).ok);
    for (event, body) in webhooks() {
        deliver(&other, event, &body, SECRET).await.ok();
    }
    for (after, other) in after.iter().zip(&known(&other).await) {
        assert_eq!(after, other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_and_mistakes() {
    let database = Database::sqlite().await;
    let devpulse = start(&database).await;
    let mut lists: BTreeMap<String, Vec<Value>> =
        ["commits", "pulls", "deployments"].map(|list| (list.to_owned(), Vec::new())).into();
    let release = |id: u64, tag: &str, prerelease: bool| {
        json!({"id": id, "tag_name": tag, "target_commitish": "main", "draft": false, "prerelease": prerelease, "name": tag,
            "created_at": "2026-01-05T09:00:00Z", "published_at": "2026-01-05T10:00:00Z", "html_url": "https://example.com/r"})
    };
    lists.insert(
        "releases".to_owned(),
        vec![release(1, "v1", false), release(2, "v2-rc1", true), release(3, "v2", false)],
    );
    let github = GitHubApi::start(lists);
    let folder = tempfile::tempdir().unwrap();
    let run = import(&devpulse, &github, folder.path(), &["--releases"]);
    assert!(run.ok && run.said.contains("2 events accepted, 0 known before, 1 not counted"), "{}", run.said);
    let deployments = devpulse.all("/api/v1/deployments?environment=production").await;
    assert_eq!(deployments.len(), 2, "{deployments:#?}");
    let source = until("the lines to be counted", Duration::from_secs(10), async || {
        let items = devpulse.get("/api/v1/sources").await["items"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["source"] == "github" && item["accepted"] == 2)
    })
    .await;
    assert_eq!((&source["skipped"], &source["skipped_because"][0]["reason"]), (&json!(1), &json!("no_change")));

    let token = folder.path().join("token");
    std::fs::write(&token, "from-a-file\n").unwrap();
    let state = folder.path().join("other.json");
    let more = ["--token-file", token.to_str().unwrap(), "--state", state.to_str().unwrap()];
    assert!(import(&devpulse, &github, folder.path(), &more).ok);
    assert!(github.tokens().contains("Bearer from-a-file") && state.exists());
    let refused = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_devpulse")).current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (server, api) = (devpulse.url("/"), github.url());
    let place = ["--server", &server, "--api-url", &api];
    assert!(refused(&[&["import", "github", "checkout"], &place[..]].concat()).contains("OWNER/NAME"));
    let missing = refused(&[&["import", "github", "acme/nothing"], &place[..]].concat());
    assert!(missing.contains("knows no such thing"), "{missing}");
    let since = refused(&[&["import", "github", "acme/checkout", "--since", "yesterday"], &place[..]].concat());
    assert!(since.contains("RFC 3339"), "{since}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_and_the_run_that_made_it_count_once() {
    let mut lists: BTreeMap<String, Vec<Value>> = ["commits", "pulls"].map(|list| (list.to_owned(), Vec::new())).into();
    let (_, mut body) = OF.deployed(50, "m0", "05T10:00");
    body["deployment_status"]["log_url"] = json!("https://github.com/acme/checkout/actions/runs/42/job/7");
    lists.insert("deployments".to_owned(), vec![body["deployment"].clone()]);
    lists.insert("deployments/50/statuses".to_owned(), vec![body["deployment_status"].clone()]);
    // Fields as docs.github.com has them, "Get a workflow run".
    lists.insert("actions/runs/42".to_owned(), vec![json!({"id": 42, "name": "Deploy", "path": ".github/workflows/deploy.yml",
        "event": "push", "status": "completed", "conclusion": "success", "run_attempt": 1, "head_sha": sha("m0"),
        "created_at": "2026-01-05T09:50:00Z", "run_started_at": "2026-01-05T09:50:00Z", "updated_at": "2026-01-05T10:01:00Z"})]);
    let github = GitHubApi::start(lists);
    for (workflows, skipped, counted) in [("{}", 1, "50"), ("{deploy.yml: production}", 2, "workflow-run/42/1")] {
        let database = Database::sqlite().await;
        let yaml = format!("sources: {{github: {{secret: a, deployment_workflows: {workflows}}}}}\n");
        let devpulse = DevPulse::start(&database.url, &yaml).await;
        let run = import(&devpulse, &github, tempfile::tempdir().unwrap().path(), &["--output", "json"]);
        assert!(run.ok, "{}", run.said);
        assert_eq!(serde_json::from_str::<Value>(&run.said).unwrap()["skipped"], skipped, "{workflows}");
        let deployments = devpulse.all("/api/v1/deployments").await;
        assert_eq!((deployments.len(), &deployments[0]["id"]), (1, &json!(counted)), "{deployments:#?}");
        assert_eq!(deployments[0]["outcome"], "succeeded");
    }
}

/// When a commit was written says its author's machine: it spoils no page of an import, and no push.
#[tokio::test(flavor = "multi_thread")]
async fn commits_count_whatever_their_authors_clocks_showed() {
    let database = Database::sqlite().await;
    let devpulse = start(&database).await;
    let dated = |names: [&str; 3]| {
        let named = names.map(|name| (name, "05T10:00"));
        let (event, mut body) = OF.push("main", Some("m0"), names[2], &named, "05T10:00");
        for (index, year) in ["1999", "2026", "2037"].into_iter().enumerate() {
            body["commits"][index]["timestamp"] = json!(format!("{year}-01-05T10:00:00Z"));
        }
        body["head_commit"] = body["commits"][2].clone();
        (event, body)
    };
    let (event, body) = dated(["a1", "a2", "a3"]);
    let pushed = deliver(&devpulse, event, &body, SECRET).await.ok();
    assert_eq!((&pushed["outcome"], &pushed["events"]), (&json!("accepted"), &json!(4)), "{pushed}");

    // An import knows neither which push brought them nor when.
    let (event, mut body) = dated(["b1", "b2", "b3"]);
    for field in ["before", "after", "head_commit"] {
        body.as_object_mut().unwrap().remove(field);
    }
    body["repository"].as_object_mut().unwrap().remove("pushed_at");
    let line = json!({"event": event, "payload": body}).to_string();
    let request = devpulse.request("POST", "/api/v1/import/github").header("content-type", "application/x-ndjson");
    let imported = devpulse.send(request.body(line)).await.ok();
    assert_eq!((&imported["accepted"], &imported["invalid"]), (&json!(1), &json!(0)), "{imported}");
    assert_eq!(devpulse.all("/api/v1/changes").await.len(), 6);

    // When it was pushed says GitHub.
    let (event, mut body) = dated(["c1", "c2", "c3"]);
    body["repository"]["pushed_at"] = json!(2_114_380_800);
    let ahead = deliver(&devpulse, event, &body, SECRET).await.ok();
    assert_eq!((&ahead["outcome"], &ahead["invalid"]), (&json!("invalid"), &json!(4)), "{ahead}");
}
