//! CDEvents of artifacts and merged changes give deployments their commits, in whatever order they
//! come, by artifact or by chain.

use proptest::prop_assert_eq;
use serde_json::{Value, json};

use crate::support::arrival::in_any_order;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::wait::until;

/// The hash of a commit, or the digest of an artifact, that is known by a short name.
fn sha(name: &str) -> String {
    format!("{name:0>40}")
}

fn purl(name: &str) -> String {
    format!("pkg:oci/shop@sha256%3A{name:0>64}")
}

/// One event of a story that is told several times: `run`, which is hexadecimal, keeps their names apart.
fn cdevent(run: &str, kind: &str, day: &str, chain: Option<&str>, subject: &str, content: &Value) -> Value {
    let (id, kind) = (format!("{run}/{kind}/{subject}/{day}"), format!("dev.cdevents.{kind}.0.3.0"));
    let time = format!("2026-01-{day}:00Z");
    let mut context = json!({"specversion": "0.5.1", "id": id, "source": "/ci/acme", "type": kind, "timestamp": time});
    if let Some(chain) = chain {
        context["chainId"] = format!("{run}-{chain}").into();
    }
    json!({"specversion": "1.0", "id": id, "source": "/ci/acme", "type": kind,
        "data": {"context": context, "subject": {"id": subject, "content": content}}})
}

/// Six deployments of a service, and what others say of them.
fn story(run: &str) -> Vec<Value> {
    let repository = format!("{run}/shop");
    let home = format!("https://git.example/{repository}");
    let artifact = |name: &str| purl(&format!("{name}{run}"));
    let merged = |name: &str, day: &str, chain: Option<&str>| {
        cdevent(run, "change.merged", day, chain, &sha(name), &json!({"repository": {"id": home}}))
    };
    let packaged = |name: &str, day: &str, chain: Option<&str>, change: &str| {
        let content = json!({"change": {"id": change, "source": home}});
        cdevent(run, "artifact.packaged", day, chain, &artifact(name), &content)
    };
    let deployed = |predicate: &str, name: &str, day: &str, chain: Option<&str>| {
        let content = json!({"environment": {"id": "production"}, "artifactId": artifact(name)});
        cdevent(run, &format!("service.{predicate}"), day, chain, &format!("shop-{run}"), &content)
    };
    let written = |name: &str, day: &str| {
        let change = json!({"type": "change", "repository": repository, "sha": sha(name), "authored_at": format!("2026-01-{day}:00Z")});
        json!({"specversion": "1.0", "id": format!("{run}/{name}"), "source": "/git", "type": "io.devpulse.change", "data": change})
    };
    vec![
        // By the artifact; the same bytes came of a later commit, too.
        merged("a1", "02T09:00", None),
        packaged("a", "02T09:10", None, &sha("a1")),
        packaged("a", "02T19:10", None, &sha("a2")),
        deployed("deployed", "a", "02T10:00", None),
        // By the chain that the artifact was packaged in, and that began with one change.
        merged("b1", "03T09:00", Some("b")),
        packaged("b", "03T09:10", Some("b"), "feature1234"),
        deployed("upgraded", "b", "03T10:00", Some("other")),
        // By its own chain.
        merged("c1", "04T09:00", Some("c")),
        deployed("upgraded", "c", "04T10:00", Some("c")),
        // Two changes led to one chain.
        merged("d1", "05T09:00", Some("d")),
        merged("d2", "05T09:05", Some("d")),
        deployed("upgraded", "d", "05T10:00", Some("d")),
        // Back to what was before, within the chain of the change that is undone.
        deployed("rolledback", "e", "06T10:00", Some("c")),
        // Of nothing that anybody names.
        deployed("upgraded", "f", "07T10:00", None),
        // When they were written, CDEvents do not say.
        written("b1", "02T20:00"),
        written("c1", "03T20:00"),
    ]
}

async fn tell(devpulse: &DevPulse, event: &Value) -> Value {
    let request =
        devpulse.request("POST", "/api/v1/cloudevents").header("content-type", "application/cloudevents+json");
    devpulse.send(request.body(event.to_string())).await.ok()
}

/// The deployments of a story, the oldest first, and what they come to.
async fn outcome(devpulse: &DevPulse, run: &str) -> (Value, Value) {
    let of = format!("service=shop-{run}&from=2026-01-01T00:00:00Z&to=2026-01-10T00:00:00Z");
    let mut deployments = devpulse.get(&format!("/api/v1/deployments?{of}")).await["items"].clone();
    deployments.as_array_mut().unwrap().reverse();
    let leads = devpulse.get(&format!("/api/v1/dora/change_lead_time/explain?{of}")).await["included"].clone();
    let plain = |value: &Value| serde_json::from_str(&value.to_string().replace(run, "it")).unwrap();
    (plain(&deployments), plain(&leads))
}

fn commits(deployments: &Value) -> Vec<(Value, Value, Value)> {
    let items = deployments.as_array().unwrap().iter();
    items.map(|item| (item["commit"].clone(), item["repository"].clone(), item["commit_from"].clone())).collect()
}

on_both! {
    async fn a_deployment_gets_the_commit_of_its_artifact_or_chain(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        let mut receipts = Vec::new();
        for event in story("cafe000") {
            receipts.push(tell(&devpulse, &event).await["items"][0].clone());
        }
        let (deployments, leads) = outcome(&devpulse, "cafe000").await;
        let of = |name: &str, from: &str| (json!(sha(name)), json!("it/shop"), json!(from));
        let nothing = (Value::Null, Value::Null, Value::Null);
        let expected = [of("a1", "artifact"), of("b1", "artifact"), of("c1", "chain"), nothing.clone(), nothing.clone(), nothing];
        assert_eq!(commits(&deployments), expected, "{deployments:#}");
        let brought: Vec<&Value> = leads.as_array().unwrap().iter().map(|row| &row["change"]["sha"]).collect();
        assert!(brought.contains(&&json!(sha("b1"))) && brought.contains(&&json!(sha("c1"))), "{leads:#}");
        assert_eq!(receipts[8]["joined"], json!({"commit": sha("c1"), "repository": "cafe000/shop", "commit_from": "chain"}));
        let by_commit = devpulse.get(&format!("/api/v1/deployments?commit={}", sha("b1"))).await;
        assert_eq!(by_commit["items"].as_array().unwrap().len(), 1, "{by_commit:#}");
        let unjoined = receipts[13]["not_counted"].as_array().unwrap().iter().find(|row| row["metric"] == "change_lead_time");
        assert!(unjoined.is_some_and(|row| row["reason"].as_str().unwrap().contains("names an artifact")), "{receipts:#?}");
    }

    /// Whoever deploys by digest names the artifact, whatever tells of it.
    async fn a_version_that_is_a_digest_names_an_artifact(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        let version = purl("9").replace("pkg:oci/shop@", "").replace("%3A", ":");
        let event = json!({"type": "deployment", "id": "d-1", "service": "shop", "environment": "production",
            "time": "2026-01-02T10:00:00Z", "outcome": "succeeded", "version": version});
        devpulse.post_events(&event).await;
        let home = json!({"change": {"id": sha("9"), "source": "git.example/acme/shop"}});
        tell(&devpulse, &cdevent("run", "artifact.packaged", "02T09:00", None, &purl("9"), &home)).await;
        let found = devpulse.get("/api/v1/deployments?service=shop").await["items"].clone();
        assert_eq!(commits(&found), [(json!(sha("9")), json!("acme/shop"), json!("artifact"))], "{found:#}");
    }

    async fn any_order_and_any_repetition_give_the_same_commits(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        for event in story("cafe000") {
            tell(&devpulse, &event).await;
        }
        let sorted = outcome(&devpulse, "cafe000").await;
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            in_any_order(story("cafe000").len(), 16, |case, arrival| {
                let run = format!("cafe{case:03}");
                let story = story(&run);
                let found = runtime.block_on(async {
                    for index in arrival {
                        tell(&devpulse, &story[*index]).await;
                    }
                    outcome(&devpulse, &run).await
                });
                prop_assert_eq!(&found, &sorted);
                Ok(())
            });
        });
    }

    async fn an_unknown_version_is_kept_and_counted(db: Database) {
        let devpulse = DevPulse::start(&db.url, "").await;
        let mut event = cdevent("run", "service.deployed", "02T09:00", None, "shop", &json!({"environment": {"id": "production"}}));
        event["data"]["context"]["specversion"] = "0.7.0".into();
        let item = tell(&devpulse, &event).await["items"][0].clone();
        assert_eq!((&item["outcome"], &item["id"]), (&json!("skipped"), &event["id"]), "{item:#}");
        assert_eq!(tell(&devpulse, &event).await["items"][0]["outcome"], "duplicate", "it is there already");
        let counted = until("the counts", std::time::Duration::from_secs(10), async || {
            let items = devpulse.get("/api/v1/sources").await["items"].clone();
            items.as_array().unwrap().iter().find(|item| item["skipped"] == 1 && item["duplicate"] == 1).cloned()
        });
        assert_eq!(counted.await["skipped_because"][0]["reason"], "unsupported_version");
        event["data"]["context"]["specversion"] = "0.6.0".into();
        assert_eq!(tell(&devpulse, &event).await["items"][0]["outcome"], "accepted", "once its version is known");
    }
}
