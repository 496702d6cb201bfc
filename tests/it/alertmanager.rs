//! Debian's Alertmanager, sending for real: firing, repeating, partly resolving, and trying again
//! while DevPulse is away.

use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tempfile::TempDir;

use crate::support::database::Database;
use crate::support::devpulse::DevPulse;
use crate::support::http::{Client, client};
use crate::support::ports;
use crate::support::process::Process;
use crate::support::wait::until;

const SOON: Duration = Duration::from_secs(30);
const PATH: &str = "/api/v1/webhooks/alertmanager";

struct Alertmanager {
    _process: Process,
    _folder: TempDir,
    base: String,
    client: Client,
}

impl Alertmanager {
    async fn start(hook: &str, key: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), ports::free());
        let path = folder.path().to_path_buf();
        let config = format!(
            "route: {{receiver: devpulse, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1s}}
receivers:
  - name: devpulse
    webhook_configs:
      - {{url: \"{hook}\", send_resolved: true, http_config: {{authorization: {{credentials: {key}}}}}}}
"
        );
        std::fs::write(path.join("alertmanager.yml"), config).unwrap();
        let mut command = Command::new("prometheus-alertmanager");
        command.arg(format!("--config.file={}", path.join("alertmanager.yml").display()));
        command.arg(format!("--storage.path={}", path.join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
        let process = Process::start("alertmanager", &mut command, path.join("alertmanager.log"));
        let base = format!("http://127.0.0.1:{port}");
        let started = Self { _process: process, _folder: folder, base, client: client() };
        let ready = format!("{}/-/ready", started.base);
        until("Alertmanager to be ready", SOON, async || {
            started.client.get(&ready).send().await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        started
    }

    /// Tells of one alert, firing or over, as Prometheus does: the start stays what it was.
    async fn tell(&self, service: &str, start: DateTime<Utc>, firing: bool) {
        let now = Utc::now();
        let ends = if firing { now + TimeDelta::minutes(5) } else { now };
        let alert = json!([{
            "labels": {"alertname": "HighErrors", "service": service, "environment": "production", "severity": "critical"},
            "annotations": {"summary": format!("{service} fails at {now}")},
            "startsAt": start.to_rfc3339(),
            "endsAt": ends.to_rfc3339(), "generatorURL": "http://prometheus.example/graph",
        }]);
        let answer = self.client.post(format!("{}/api/v2/alerts", self.base)).json(&alert).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
}

/// (service, status) of every incident.
async fn incidents(devpulse: &DevPulse) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = devpulse
        .all("/api/v1/incidents")
        .await
        .iter()
        .map(|incident| {
            let text = |name: &str| incident[name].as_str().unwrap().to_owned();
            (text("service"), text("status"))
        })
        .collect();
    found.sort();
    found
}

async fn become_so(devpulse: &DevPulse, wanted: &[(&str, &str)]) {
    let wanted: Vec<(String, String)> = wanted.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    until(&format!("{wanted:?}"), SOON, async || (incidents(devpulse).await == wanted).then_some(())).await;
}

async fn deliveries(devpulse: &DevPulse, outcome: &str) -> u64 {
    let wanted = format!("source=\"alertmanager\",outcome=\"{outcome}\"}} ");
    let text = devpulse.text("/metrics").await;
    let line = text.lines().find_map(|line| line.split_once(&wanted));
    line.map_or(0, |(_, count)| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_are_incidents_from_their_start_to_their_resolution() {
    let database = Database::sqlite().await;
    let mut devpulse = DevPulse::start(&database.url, "services: [{name: checkout}, {name: search}]\n").await;
    let key = |scopes: &str| {
        let created = devpulse.run(&["keys", "create", "--name", "am", "--scope", scopes]);
        String::from_utf8(created.stdout).unwrap().trim().to_owned()
    };
    let (ingest, all) = (key("ingest"), key("ingest,read"));
    devpulse.use_key(&all);
    let alertmanager = Alertmanager::start(&devpulse.url(PATH), &ingest).await;

    let start = Utc::now() - TimeDelta::minutes(1);
    alertmanager.tell("checkout", start, true).await;
    alertmanager.tell("search", start, true).await;
    become_so(&devpulse, &[("checkout", "opened"), ("search", "opened")]).await;
    until("repetitions, which count once", SOON, async || {
        (deliveries(&devpulse, "duplicate").await >= 2).then_some(())
    })
    .await;
    assert_eq!(incidents(&devpulse).await.len(), 2);

    // One of the group is over: the message says firing, the alert says resolved.
    alertmanager.tell("checkout", start, false).await;
    become_so(&devpulse, &[("checkout", "resolved"), ("search", "opened")]).await;

    devpulse.kill();
    alertmanager.tell("search", start, false).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    devpulse.restart().await;
    become_so(&devpulse, &[("checkout", "resolved"), ("search", "resolved")]).await;

    // The same alert once more is another incident.
    alertmanager.tell("search", Utc::now(), true).await;
    become_so(&devpulse, &[("checkout", "resolved"), ("search", "opened"), ("search", "resolved")]).await;
    let incidents = devpulse.all("/api/v1/incidents?service=search").await;
    assert!(
        incidents.iter().all(|incident| incident["severity"] == "critical" && incident["environment"] == "production")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_of_alertmanager_is_refused() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let post = async |body: &str| devpulse.send(devpulse.request("POST", PATH).body(body.to_owned())).await;
    let answer = post("{}").await;
    assert_eq!((answer.status, &answer.json["pointer"]), (422, &json!("/alerts")));
    assert_eq!(post("nonsense").await.status, 400);
    let watchdog = json!({"alerts": [{"status": "firing", "labels": {"alertname": "Watchdog"}}]});
    let answer = post(&watchdog.to_string()).await;
    assert_eq!((answer.status, &answer.json["outcome"]), (200, &json!("skipped")));
    let created = devpulse.run(&["keys", "create", "--name", "r", "--scope", "read"]);
    let key = String::from_utf8(created.stdout).unwrap();
    assert_eq!(post("{}").await.status, 401);
    let reader = devpulse.request("POST", PATH).bearer_auth(key.trim()).body("{}");
    assert_eq!(devpulse.send(reader).await.status, 403);
}
