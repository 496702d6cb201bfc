//! Argo CD and Flux over HTTP: the shipped template and manifests, and what a day of syncs counts.

use std::collections::BTreeMap;

use devpulse::config::EnvironmentNames;
use devpulse::config::model::Labelled;
use devpulse::ingest::gitops::{argocd, flux};
use devpulse::ingest::source::Context;
use devpulse::time::Timestamp;
use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github::hex_signature;
use crate::support::go_template::render;
use crate::support::http::Answer;
use crate::support::mutilate::everywhere;
use crate::support::random::Random;

const ARGO_CD: &str = include_str!("../../deploy/argocd/devpulse-notifications.yaml");
const FLUX: &str = include_str!("../../deploy/flux/devpulse-notifications.yaml");
const SECRET: &str = "the cluster's secret";
const DAY: &str =
    "/api/v1/dora?service=checkout&environment=production&from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z";

/// The body of the template as it is shipped: the last block of the file.
fn template() -> String {
    let (_, body) = ARGO_CD.split_once("        body: |\n").unwrap();
    body.lines().map(|line| line.strip_prefix("          ").unwrap()).collect::<Vec<_>>().join("\n")
}

/// An Application of two syncs, in the fields of Argo CD's `application.yaml` and status.
fn application(revision: &str, id: u64, phase: &str, health: &str) -> Value {
    let at = |hour: u64, minute: u64| format!("2026-01-05T{hour:02}:{minute:02}:00Z");
    let hour = 10 + id;
    let synced = |id: u64, revision: &str| {
        json!({"id": id, "revision": revision, "deployedAt": at(10 + id, 5),
        "source": {"repoURL": "https://github.com/acme/deploy.git", "helm": {"values": "password: not to be sent"}}})
    };
    let mut history: Vec<Value> = (0..id).map(|id| synced(id, &format!("{id:040}"))).collect();
    if phase == "Succeeded" {
        history.push(synced(id, revision));
    }
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
        "metadata": {"name": "checkout-production", "namespace": "argocd", "labels": {"say": "\"quoted\" {{ }}"}},
        "spec": {"project": "default", "destination": {"server": "https://kubernetes.default.svc", "namespace": "shop"},
            "source": {"repoURL": "https://github.com/acme/deploy.git", "path": "checkout", "targetRevision": "HEAD"}},
        "status": {"health": {"status": health, "lastTransitionTime": at(hour, 6)}, "history": history,
            "operationState": {"phase": phase, "startedAt": at(hour, 0), "finishedAt": at(hour, 5),
                "operation": {"sync": {"revision": revision}}, "syncResult": {"revision": revision, "resources": []}},
            "summary": {"images": [format!("ghcr.io/acme/checkout:1.{id}.0")]}, "sync": {"status": "Synced", "revision": revision}}})
}

fn notification(application: &Value) -> String {
    render(&template(), &json!({"app": application, "context": {"argocdUrl": "https://argo.example"}}))
}

async fn start(source: &str) -> (Database, DevPulse) {
    let database = Database::sqlite().await;
    let yaml = format!("services: [{{name: checkout}}]\nsources: {{{source}: {{secret: \"{SECRET}\"}}}}\n");
    let devpulse = DevPulse::start(&database.url, &yaml).await;
    (database, devpulse)
}

async fn send(devpulse: &DevPulse, path: &str, header: (&str, &str), body: &str) -> Answer {
    let request = devpulse.request("POST", &format!("/api/v1/webhooks/{path}")).header(header.0, header.1);
    devpulse.send(request.header("content-type", "application/json").body(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_of_argo_cd_are_deployments_where_the_revision_changed() {
    let (_database, mut devpulse) = start("argocd").await;
    let bearer = format!("Bearer {SECRET}");
    let deliver = async |application: &Value| {
        let answer = send(&devpulse, "argocd", ("authorization", &bearer), &notification(application)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["outcome"].as_str().unwrap().to_owned()
    };
    let sha = |id: u64| format!("{id:040}");
    assert_eq!(deliver(&application(&sha(1), 1, "Succeeded", "Healthy")).await, "accepted");
    assert_eq!(deliver(&application(&sha(1), 1, "Succeeded", "Healthy")).await, "duplicate");
    assert_eq!(deliver(&application(&sha(1), 2, "Succeeded", "Healthy")).await, "duplicate", "synced once more");
    assert_eq!(deliver(&application(&sha(3), 3, "Running", "Healthy")).await, "skipped");
    assert_eq!(deliver(&application(&sha(3), 3, "Succeeded", "Progressing")).await, "skipped");
    assert_eq!(deliver(&application(&sha(3), 3, "Succeeded", "Degraded")).await, "accepted");
    assert_eq!(deliver(&application(&sha(4), 4, "Failed", "Healthy")).await, "accepted");
    let metrics = devpulse.get(DAY).await["metrics"].clone();
    assert_eq!(
        (&metrics["deployment_frequency"]["n"], &metrics["deployment_frequency"]["value"]),
        (&json!(1), &json!(1.0))
    );
    let deployments = devpulse.all("/api/v1/deployments?service=checkout").await;
    let mut outcomes: Vec<&str> = deployments.iter().map(|found| found["outcome"].as_str().unwrap()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["failed", "failed", "succeeded"], "{deployments:#?}");
    assert_eq!(deliver(&application(&sha(3), 3, "Succeeded", "Healthy")).await, "accepted", "it recovered");
    assert_eq!(devpulse.get(DAY).await["metrics"]["deployment_frequency"]["n"], 2);
    let returned = application(&sha(1), 4, "Succeeded", "Healthy");
    assert_eq!(deliver(&returned).await, "accepted", "back to the first");
    assert_eq!(deliver(&returned).await, "duplicate");
    assert_eq!(devpulse.get(DAY).await["metrics"]["deployment_frequency"]["n"], 3);

    let mut elsewhere = returned;
    elsewhere["metadata"]["labels"]["environment"] = json!("staging");
    assert_eq!(deliver(&elsewhere).await, "accepted", "the application of the same name of another Argo CD");
    assert_eq!(deliver(&elsewhere).await, "duplicate");

    let body = notification(&application(&sha(5), 5, "Succeeded", "Healthy"));
    assert!(!body.contains("not to be sent"), "{body}");
    let refused = send(&devpulse, "argocd", ("authorization", "Bearer x"), &body).await;
    assert_eq!((refused.status, &refused.json["type"]), (401, &json!("bad_signature")));
    let unread = send(&devpulse, "argocd", ("authorization", &bearer), "{}").await;
    assert_eq!((unread.status, &unread.json["errors"][0]["pointer"]), (200, &json!("/operation")));
    assert!(devpulse.run(&["keys", "create", "--name", "a", "--scope", "admin"]).status.success());
    let still = send(&devpulse, "argocd", ("authorization", &bearer), &body).await;
    assert_eq!((still.status, &still.json["outcome"]), (200, &json!("accepted")));
    std::fs::write(devpulse.configuration(), "services: [{name: checkout}]\n").unwrap();
    devpulse.kill();
    devpulse.restart().await;
    assert_eq!(send(&devpulse, "argocd", ("authorization", &bearer), &body).await.status, 404);
}

#[test]
fn the_template_survives_what_an_application_lacks() {
    let mut bare = application("", 0, "Error", "Missing");
    for field in ["history", "summary"] {
        bare["status"].as_object_mut().unwrap().remove(field);
    }
    bare["status"]["operationState"].as_object_mut().unwrap().remove("syncResult");
    bare["spec"].as_object_mut().unwrap().remove("source");
    bare["spec"]["sources"] = json!([{"repoURL": "a", "chart": "b", "helm": {}}, {"repoURL": "c"}]);
    let body: Value = serde_json::from_str(&notification(&bare)).unwrap();
    assert_eq!(body["sources"], json!([{"repoURL": "a", "chart": "b"}, {"repoURL": "c"}]));
    assert_eq!((&body["source"], &body["result"], &body["history"]), (&json!({}), &json!({}), &json!([])));
    assert_eq!((&body["images"], &body["application"]["labels"]["say"]), (&Value::Null, &json!("\"quoted\" {{ }}")));
    assert_eq!(body["url"], "https://argo.example/applications/argocd/checkout-production");
}

fn signature(secret: &str, body: &str) -> String {
    format!("sha256={}", hex_signature(secret, body.as_bytes()))
}

/// As Flux sends it where the shipped Alert adds `environment: production`.
fn reconciliation(kind: &str, reason: &str, revision: &str, hour: u64, message: &str) -> String {
    json!({"involvedObject": {"kind": kind, "namespace": "apps", "name": "checkout"}, "severity": "info",
        "timestamp": format!("2026-01-05T{hour:02}:00:00Z"), "message": message, "reason": reason,
        "metadata": {"environment": "production", "revision": revision},
        "reportingController": "kustomize-controller", "reportingInstance": "kustomize-controller-7c7b47f5f-8bhrp"})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flux_reconciled_counts_once_per_revision() {
    for line in ["type: generic-hmac", "/api/v1/webhooks/flux", "environment: production", "kind: HelmRelease"] {
        assert!(FLUX.contains(line), "{line}");
    }
    let (_database, devpulse) = start("flux").await;
    let deliver = async |body: String| {
        let answer = send(&devpulse, "flux", ("x-signature", &signature(SECRET, &body)), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["outcome"].as_str().unwrap().to_owned()
    };
    let revision = |digit: u64| format!("main@sha1:{digit:040}");
    let reconciled =
        |reason: &str, digit, hour| reconciliation("Kustomization", reason, &revision(digit), hour, "done");
    assert_eq!(deliver(reconciled("ReconciliationSucceeded", 1, 8)).await, "accepted");
    assert_eq!(deliver(reconciled("ReconciliationSucceeded", 1, 8)).await, "duplicate");
    assert_eq!(deliver(reconciled("ReconciliationSucceeded", 1, 9)).await, "duplicate", "reconciled again");
    assert_eq!(deliver(reconciled("Progressing", 2, 10)).await, "skipped");
    assert_eq!(deliver(reconciled("HealthCheckFailed", 2, 10)).await, "accepted");
    assert_eq!(deliver(reconciled("ReconciliationSucceeded", 3, 11)).await, "accepted");
    let helm = |reason, hour, message| reconciliation("HelmRelease", reason, "6.5.4", hour, message);
    let upgraded = "Helm upgrade succeeded for release apps/checkout.v2 with chart checkout@6.5.4";
    assert_eq!(deliver(helm("UpgradeSucceeded", 12, upgraded)).await, "accepted");
    let staged = helm("UpgradeSucceeded", 12, upgraded).replace("\"production\"", "\"staging\"");
    assert_eq!(deliver(staged.clone()).await, "accepted", "the same release in another cluster");
    assert_eq!(deliver(staged).await, "duplicate");
    let back = "Helm rollback to previous release apps/checkout.v1 with chart checkout@6.5.3 succeeded";
    assert_eq!(deliver(helm("RollbackSucceeded", 13, back)).await, "accepted");
    let metrics = devpulse.get(DAY).await["metrics"].clone();
    assert_eq!(metrics["deployment_frequency"]["n"], 4, "{metrics:#}");
    assert_eq!(metrics["rework_rate"]["value"], 0.25, "a declared rollback: {metrics:#}");

    let body = reconciled("ReconciliationSucceeded", 4, 14);
    for wrong in ["sha256=00".to_owned(), signature("another", &body), signature(SECRET, "another body")] {
        let answer = send(&devpulse, "flux", ("x-signature", &wrong), &body).await;
        assert_eq!((answer.status, &answer.json["type"]), (401, &json!("bad_signature")), "{wrong}");
    }
    assert!(devpulse.run(&["keys", "create", "--name", "a", "--scope", "admin"]).status.success());
    assert_eq!(deliver(body).await, "accepted");
}

/// Two clusters of one environment reconcile the same objects, one after the other, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_of_one_environment_are_no_rollbacks_of_each_other() {
    assert!(FLUX.contains("\n    cluster: "));
    let (_database, devpulse) = start("flux").await;
    for (cluster, digit, hour, outcome) in [
        ("eu", 1, 8, "accepted"),
        ("us", 1, 9, "accepted"),
        ("eu", 2, 10, "accepted"),
        ("us", 1, 11, "duplicate"),
        ("eu", 2, 12, "duplicate"),
        ("us", 2, 13, "accepted"),
    ] {
        let revision = format!("main@sha1:{digit:040}");
        let body = reconciliation("Kustomization", "ReconciliationSucceeded", &revision, hour, "done");
        let body = body.replace("\"environment\"", &format!("\"cluster\":\"{cluster}\",\"environment\""));
        let answer = send(&devpulse, "flux", ("x-signature", &signature(SECRET, &body)), &body).await;
        assert_eq!(answer.json["outcome"], outcome, "{cluster} at {hour}: {}", answer.text);
    }
    let metrics = devpulse.get(DAY).await["metrics"].clone();
    assert_eq!((&metrics["deployment_frequency"]["n"], &metrics["rework_rate"]["value"]), (&json!(4), &json!(0.0)));
}

/// Flux names its objects, and deployments by their revisions.
#[tokio::test(flavor = "multi_thread")]
async fn what_flux_deployed_by_digest_gets_its_commit_whatever_comes_first() {
    let (_database, devpulse) = start("flux").await;
    let digest = |digit: u64| format!("sha256:{digit:064}");
    let commit = |digit: u64| format!("{digit:040}");
    let reconciled = async |digit: u64, hour: u64| {
        let revision = format!("latest@{}", digest(digit));
        let body = reconciliation("Kustomization", "ReconciliationSucceeded", &revision, hour, "done");
        let mut body: Value = serde_json::from_str(&body).unwrap();
        body["metadata"]["version"] = digest(digit).into();
        let body = body.to_string();
        let answer = send(&devpulse, "flux", ("x-signature", &signature(SECRET, &body)), &body).await;
        assert_eq!(answer.json["outcome"], "accepted", "{}", answer.text);
    };
    let packaged = async |digit: u64| {
        let (id, kind) = (format!("packaged-{digit}"), "dev.cdevents.artifact.packaged.0.3.0");
        let context = json!({"specversion": "0.5.1", "id": id, "source": "/ci", "type": kind,
            "timestamp": "2026-01-05T07:00:00Z"});
        let subject = json!({"id": format!("pkg:oci/checkout@{}", digest(digit).replace(':', "%3A")),
            "content": {"change": {"id": commit(digit), "source": "https://git.example/acme/checkout"}}});
        let event = json!({"specversion": "1.0", "id": id, "source": "/ci", "type": kind,
            "data": {"context": context, "subject": subject}});
        let request = devpulse.request("POST", "/api/v1/cloudevents");
        let request = request.header("content-type", "application/cloudevents+json").body(event.to_string());
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    reconciled(1, 8).await;
    packaged(1).await;
    packaged(2).await;
    reconciled(2, 9).await;
    let mut found = devpulse.all("/api/v1/deployments?service=checkout").await;
    found.sort_by_key(|deployment| deployment["finished_at"].as_str().unwrap().to_owned());
    let commits: Vec<&Value> = found.iter().map(|deployment| &deployment["commit"]).collect();
    assert_eq!(commits, [&json!(commit(1)), &json!(commit(2))], "{found:#?}");
}

/// A day of one Kustomization, as (revision, reason, hour): there, back, and back again.
const THERE_AND_BACK: [(u64, &str, u64); 11] = [
    (1, "ReconciliationSucceeded", 8),
    (1, "ReconciliationSucceeded", 9),
    (2, "ReconciliationSucceeded", 10),
    (2, "ReconciliationSucceeded", 11),
    (1, "ReconciliationSucceeded", 12),
    (3, "BuildFailed", 13),
    (1, "ReconciliationSucceeded", 14),
    (2, "HealthCheckFailed", 15),
    (2, "HealthCheckFailed", 16),
    (2, "ReconciliationSucceeded", 17),
    (1, "ReconciliationSucceeded", 18),
];

on_both! {
    /// Late, twice and in any order: the same deployments at the same times.
    async fn a_return_of_flux_to_an_earlier_revision_is_a_deployment(database: Database) {
        let yaml = format!("services: [{{name: checkout}}]\nsources: {{flux: {{secret: \"{SECRET}\"}}}}\n");
        let devpulse = DevPulse::start(&database.url, &yaml).await;
        let deliver = async |object: &str, (digit, reason, hour): (u64, &str, u64)| {
            let revision = format!("main@sha1:{digit:040}");
            let body = reconciliation("Kustomization", reason, &revision, hour, "done").replace("\"checkout\"", &format!("\"{object}\""));
            let answer = send(&devpulse, "flux", ("x-signature", &signature(SECRET, &body)), &body).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            answer.json["outcome"].as_str().unwrap().to_owned()
        };
        let mut outcomes = Vec::new();
        for event in THERE_AND_BACK {
            outcomes.push(deliver("checkout", event).await);
            assert_eq!(deliver("checkout", event).await, "duplicate", "{event:?} once more");
        }
        let new: Vec<bool> = outcomes.iter().map(|outcome| outcome == "accepted").collect();
        assert_eq!(new, [true, false, true, false, true, true, true, true, false, true, true], "{outcomes:?}");
        let deployments = async |object: &str| {
            let all = devpulse.all(&format!("/api/v1/deployments?service={object}")).await;
            let text = |found: &Value, name: &str| found[name].as_str().unwrap().replace(object, "it");
            let mut found: Vec<[String; 3]> =
                all.iter().map(|found| ["id", "outcome", "finished_at"].map(|name| text(found, name))).collect();
            found.sort();
            found
        };
        let in_order = deployments("checkout").await;
        let id = |digit: u64, times: &str| format!("Kustomization/apps/it/main@sha1:{digit:040}{times}");
        let expected = [(id(1, ""), "succeeded", 8), (id(1, "#2"), "succeeded", 12), (id(1, "#3"), "succeeded", 18),
            (id(2, ""), "succeeded", 10), (id(2, "#2"), "succeeded", 17), (id(3, ""), "failed", 13)];
        let expected = expected.map(|(id, outcome, hour)| [id, outcome.to_owned(), format!("2026-01-05T{hour:02}:00:00Z")]);
        assert_eq!(in_order, expected);
        let metrics = devpulse.get(DAY).await["metrics"].clone();
        assert_eq!(metrics["deployment_frequency"]["n"], 5, "{metrics:#}");
        assert!(metrics["rework_rate"]["value"].as_f64().unwrap() > 0.0, "going back is a rollback: {metrics:#}");

        let mut random = Random::new();
        for attempt in 0..6 {
            let object = format!("object-{attempt}");
            let mut events = [THERE_AND_BACK, THERE_AND_BACK].concat();
            while !events.is_empty() {
                let next = usize::try_from(random.below(events.len() as u64)).unwrap();
                deliver(&object, events.swap_remove(next)).await;
            }
            assert_eq!(deployments(&object).await, in_order, "attempt {attempt}");
        }
    }
}

#[test]
fn mutilated_bodies_get_an_outcome_too() {
    let settings = Labelled {
        secret: SECRET.into(),
        service_label: "service".to_owned(),
        environment_label: "environment".to_owned(),
        services: BTreeMap::new(),
        environment: None,
    };
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    let context = Context { received_at, settings: &settings, services: &[], environments, max_items: 100 };
    let synced = notification(&application("1.2.3", 1, "Succeeded", "Healthy"));
    let synced: Value = serde_json::from_str(&synced).unwrap();
    assert!(everywhere(&synced, 6, |body| argocd::parse(&body.to_string(), &context)) > 10);
    let body: Value =
        serde_json::from_str(&reconciliation("Kustomization", "ReconciliationSucceeded", "main@sha1:0", 8, ""))
            .unwrap();
    assert!(everywhere(&body, 6, |body| flux::parse(&body.to_string(), &context)) > 10);
}
