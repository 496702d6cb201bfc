//! The whole loop on real parts: HAProxy in front of two versions of a program, real traffic,
//! a deployment announced by GitHub, DevPulse's decision and what everyone sees of it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::support::db::on_both;
use crate::support::devpulse::DevPulse;
use crate::support::github::{self, DeploymentStatus};
use crate::support::haproxy::HaProxy;
use crate::support::prometheus::Prometheus;
use crate::support::slack::Slack;
use crate::support::smtp::Smtp;
use crate::support::traffic::Traffic;
use crate::support::versions::Version;
use crate::support::wait::until;

const GITHUB_SECRET: &str = "between GitHub and DevPulse";
const GOOD: &str = "1.4.1";
const BAD: &str = "1.4.2";
const SOON: Duration = Duration::from_mins(1);

on_both! {
    async fn a_bad_deployment_is_taken_back_and_everyone_knows(db: Database) {
        let (good, bad) = (Version::start(GOOD), Version::start(BAD));
        let haproxy = HaProxy::start(&[&good, &bad]).await;
        let (slack, smtp) = (Slack::start(), Smtp::start().await);
        let devpulse = DevPulse::start(&db.url, &configuration(&haproxy, &slack, &smtp)).await;
        let prometheus = Prometheus::start(&devpulse.address()).await;

        announce(&devpulse, 41, GOOD).await;
        let traffic = Traffic::start(&devpulse, &haproxy.url(), "checkout", 150);
        // What was served before a deployment is known by cells of ten seconds: one must be whole.
        let whole = (chrono::Utc::now().timestamp() / 10 + 2) * 10;
        until("healthy traffic to be counted", SOON, async || {
            let slo = devpulse.get("/api/v1/slos/checkout-availability").await;
            (slo["total"].as_u64()? >= 1_500 && chrono::Utc::now().timestamp() >= whole).then_some(())
        })
        .await;
        assert_eq!(traffic.failed(), 0);

        let went_bad = Instant::now();
        bad.fail(20);
        haproxy.set(&format!("be_{BAD}"));
        announce(&devpulse, 42, BAD).await;
        until("HAProxy to be switched back", SOON, async || (haproxy.backend() == format!("be_{GOOD}")).then_some(())).await;
        println!("switched back {:?} after the first bad request could be sent", went_bad.elapsed());
        until("requests to succeed again", SOON, async || (traffic.succeeded_in_a_row() >= 300).then_some(())).await;
        assert!(bad.served() > 0 && traffic.failed() > 0, "the bad version was never used");
        until("every failed request to be counted, once", SOON, async || {
            let slo = devpulse.get("/api/v1/slos/checkout-availability").await;
            (slo["bad"] == traffic.failed()).then_some(())
        })
        .await;

        let rollback = the_rollback_explains_itself(&devpulse).await;
        people_were_told(&slack, &smtp, &rollback).await;
        the_numbers_moved(&devpulse, went_bad.elapsed()).await;
        prometheus_saw_it(&prometheus, &devpulse).await;
    }
}

fn configuration(haproxy: &HaProxy, slack: &Slack, smtp: &Smtp) -> String {
    let (socket, map, api, mail) = (haproxy.socket(), haproxy.map(), slack.api_url(), smtp.url());
    format!(
        r##"
services: [{{name: checkout, repository: acme/checkout}}]
slos:
  - {{name: checkout-availability, service: checkout, environment: production, objective: 0.99, window: 30d, indicator: {{availability: {{}}}}}}
sources: {{github: {{secret: "{GITHUB_SECRET}"}}}}
receivers:
  - name: oncall
    slack: {{token: xoxb-test, channel: "#oncall", api_url: "{api}"}}
    email: {{to: ["oncall@example.com"]}}
smtp: {{url: "{mail}", from: "devpulse@example.com"}}
route: {{receiver: oncall, group_by: [service]}}
rollback:
  policies:
    - service: checkout
      environment: production
      mode: automatic
      target_min_requests: 1000
      executor: {{haproxy: {{socket: "{socket}", map: {{path: "{map}", key: color, backend: "be_{{version}}"}}}}}}
"##
    )
}

/// GitHub says that this version is now in production.
async fn announce(devpulse: &DevPulse, id: u64, version: &str) {
    let at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let sha = format!("{id:040x}");
    let status = DeploymentStatus { id, repository: "acme/checkout", sha: &sha, version, at };
    github::deliver(devpulse, "deployment_status", &status.body(), GITHUB_SECRET).await.ok();
}

/// One rollback, finished, with its evidence and every step done in order.
async fn the_rollback_explains_itself(devpulse: &DevPulse) -> Value {
    let id = until("the rollback to be finished", SOON, async || {
        let rollbacks = devpulse.all("/api/v1/rollbacks?service=checkout").await;
        assert!(rollbacks.len() <= 1, "one bad deployment, several rollbacks: {rollbacks:#?}");
        let done = rollbacks.first().filter(|rollback| rollback["state"] == "done")?;
        done["id"].as_str().map(str::to_owned)
    })
    .await;
    let rollback = devpulse.get(&format!("/api/v1/rollbacks/{id}")).await;
    assert_eq!((&rollback["from_version"], &rollback["to_version"]), (&BAD.into(), &GOOD.into()), "{rollback:#}");
    assert!(rollback["summary"].as_str().unwrap().contains(BAD), "{rollback:#}");
    let steps: Vec<_> =
        rollback["steps"].as_array().unwrap().iter().map(|step| (&step["step"], &step["state"])).collect();
    let wanted = ["route", "verify", "communicate", "record"].map(|step| (Value::from(step), Value::from("done")));
    assert_eq!(steps, wanted.iter().map(|(step, state)| (step, state)).collect::<Vec<_>>(), "{rollback:#}");
    rollback
}

/// One Slack message, updated in place, and mail as text and as HTML.
async fn people_were_told(slack: &Slack, smtp: &Smtp, rollback: &Value) {
    println!("{}", rollback["summary"]);
    let mentions = |text: &str| text.contains("checkout") && text.contains(BAD);
    until("Slack to hear of the rollback", SOON, async || {
        slack.calls().iter().any(|call| mentions(&call.body.to_string())).then_some(())
    })
    .await;
    let calls = slack.calls();
    let posts: Vec<_> =
        calls.iter().filter(|c| c.method == "chat.postMessage" && c.body["thread_ts"].is_null()).collect();
    assert_eq!(posts.len(), 1, "one incident is one message: {calls:#?}");
    assert_eq!((posts[0].token.as_str(), &posts[0].body["channel"]), ("Bearer xoxb-test", &"#oncall".into()));
    let mail = until("the mail about the rollback", SOON, async || {
        smtp.messages().into_iter().find(|mail| mentions(&mail.to_string()))
    })
    .await;
    assert_eq!((&mail["from"], &mail["to"][0]), (&"devpulse@example.com".into(), &"oncall@example.com".into()));
    for part in ["text/plain", "text/html"] {
        assert!(mentions(mail["parts"][part].as_str().unwrap_or_default()), "{part} says too little: {mail:#}");
    }
}

/// Three deployments reached production: the good one, the bad one, and the rollback.
async fn the_numbers_moved(devpulse: &DevPulse, at_most: Duration) {
    let dora = devpulse.get("/api/v1/dora?service=checkout&environment=production").await;
    let metrics = &dora["metrics"];
    let near = |metric: &str, value: f64| (metrics[metric]["value"].as_f64().unwrap() - value).abs() < 1e-3;
    assert_eq!(metrics["change_fail_rate"]["failed"], 1, "{metrics:#}");
    assert_eq!(metrics["change_fail_rate"]["n"], 3, "{metrics:#}");
    assert!(near("change_fail_rate", 1.0 / 3.0) && near("rework_rate", 1.0 / 3.0), "{metrics:#}");
    let recovery = &metrics["failed_deployment_recovery_time"];
    assert_eq!(recovery["n"], 1, "{metrics:#}");
    // The announcement carries whole seconds: up to one second earlier than it was sent.
    let seconds = recovery["value"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds <= at_most.as_secs_f64() + 1.0, "{seconds} s of {at_most:?}");
    let deployments = devpulse.all("/api/v1/deployments?service=checkout").await;
    let kind = |kind: &str| deployments.iter().filter(|d| d["kind"] == kind).count();
    assert_eq!((deployments.len(), kind("rollback")), (3, 1), "{deployments:#?}");
}

/// Prometheus has the burn, the rollback, and the same DORA numbers as the API.
async fn prometheus_saw_it(prometheus: &Prometheus, devpulse: &DevPulse) {
    let metrics = devpulse.get("/api/v1/dora?service=checkout&environment=production&window=30d").await;
    let fail_rate = metrics["metrics"]["change_fail_rate"]["value"].as_f64().unwrap();
    let recovery = metrics["metrics"]["failed_deployment_recovery_time"]["value"].as_f64().unwrap();
    let place = r#"service="checkout",environment="production""#;
    for (what, expression, value) in [
        ("the burn", format!("max(devpulse_slo_burn_rate{{{place}}}) > bool 0"), 1.0),
        ("the rollback", format!("sum(devpulse_rollbacks{{{place},state=\"done\"}})"), 1.0),
        ("the change fail rate", format!("devpulse_dora_change_fail_ratio{{{place},window=\"30d\"}}"), fail_rate),
        (
            "the recovery time",
            format!("devpulse_dora_failed_deployment_recovery_seconds{{{place},window=\"30d\"}}"),
            recovery,
        ),
    ] {
        until(&format!("Prometheus to have scraped {what}: {expression} = {value}"), SOON, async || {
            let samples = prometheus.query(&expression).await;
            samples.first().filter(|(_, seen)| (seen - value).abs() < 1e-6).map(drop)
        })
        .await;
    }
}
