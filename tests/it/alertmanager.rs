//! Debian's Alertmanager, sending for real: firing, repeating, partly resolving, and trying again
//! while DevPulse is away.

use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use devpulse::config::EnvironmentNames;
use devpulse::ingest::alertmanager::{Context, parse};
use devpulse::ingest::source::{Reading, Skip};
use devpulse::time::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::database::Database;
use crate::support::db::{on_both, refuse, refuse_no_more};
use crate::support::devpulse::DevPulse;
use crate::support::http::{Client, client};
use crate::support::mutilate::everywhere;
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
async fn what_is_no_message_of_alertmanager_is_invalid() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let post = async |body: &str| devpulse.send(devpulse.request("POST", PATH).body(body.to_owned())).await;
    let answer = post("{}").await;
    assert_eq!((answer.status, &answer.json["outcome"]), (200, &json!("invalid")));
    assert_eq!(answer.json["errors"][0]["pointer"], "/alerts");
    assert_eq!(post("nonsense").await.json["outcome"], "invalid");
    let empty = post(r#"{"alerts": []}"#).await;
    assert_eq!((&empty.json["outcome"], &empty.json["reason"]), (&json!("skipped"), &json!("there is no alert in it")));
    let watchdog = json!({"alerts": [{"status": "firing", "labels": {"alertname": "Watchdog"}}]});
    let answer = post(&watchdog.to_string()).await;
    assert_eq!((answer.status, &answer.json["outcome"]), (200, &json!("skipped")));
    let created = devpulse.run(&["keys", "create", "--name", "r", "--scope", "read"]);
    let key = String::from_utf8(created.stdout).unwrap();
    assert_eq!(post("{}").await.status, 401);
    let reader = devpulse.request("POST", PATH).bearer_auth(key.trim()).body("{}");
    assert_eq!(devpulse.send(reader).await.status, 403);
}

/// <https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/>
#[tokio::test(flavor = "multi_thread")]
async fn grafanas_alerts_are_incidents_and_its_password_may_be_a_key() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let created = devpulse.run(&["keys", "create", "--name", "grafana", "--scope", "ingest"]);
    let key = String::from_utf8(created.stdout).unwrap();
    let mut message = json!({
        "receiver": "My Super Webhook", "status": "firing", "orgId": 1,
        "alerts": [{
            "status": "firing",
            "labels": {"alertname": "High memory usage", "team": "blue", "zone": "us-1", "service": "checkout"},
            "annotations": {"description": "The system has high memory usage", "runbook_url": "https://myrunbook.com/runbook/1234",
                "summary": "This alert was triggered for zone us-1"},
            "startsAt": "2021-10-12T09:51:03.157076+02:00", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "https://play.grafana.org/alerting/1afz29v7z/edit", "fingerprint": "c6eadffa33fcdf37",
            "silenceURL": "https://play.grafana.org/alerting/silence/new?alertmanager=grafana",
            "dashboardURL": "", "panelURL": "", "values": {"B": 44.2, "C": 1}}],
        "groupLabels": {}, "commonLabels": {"team": "blue"}, "commonAnnotations": {},
        "externalURL": "https://play.grafana.org/", "version": "1", "groupKey": "{}:{}", "truncatedAlerts": 0,
        "title": "[FIRING:1]  (blue)", "state": "alerting", "message": "**Firing**"
    });
    let send = async |message: &Value, password: &str| {
        let request = devpulse.request("POST", PATH).basic_auth("grafana", Some(password)).json(message);
        devpulse.send(request).await
    };
    assert_eq!(send(&message, "wrong").await.status, 401);
    assert_eq!(send(&message, key.trim()).await.ok()["outcome"], "accepted");
    message["alerts"][0]["status"] = "resolved".into();
    message["alerts"][0]["endsAt"] = "2021-10-12T10:51:03.157076+02:00".into();
    message["truncatedAlerts"] = 2.into();
    let resolved = send(&message, key.trim()).await.ok();
    assert_eq!(
        (&resolved["outcome"], &resolved["errors"][0]["pointer"]),
        (&json!("accepted"), &json!("/truncatedAlerts"))
    );
    let admin = devpulse.run(&["keys", "create", "--name", "a", "--scope", "admin"]);
    let admin = String::from_utf8(admin.stdout).unwrap();
    let incidents = devpulse.send(devpulse.request("GET", "/api/v1/incidents").bearer_auth(admin.trim())).await.ok();
    let incident = &incidents["items"][0];
    assert_eq!((&incident["service"], &incident["status"]), (&json!("checkout"), &json!("resolved")), "{incidents}");
    assert_eq!(incident["started_at"], "2021-10-12T07:51:03.157076Z");
    assert_eq!(incident["resolved_at"], "2021-10-12T08:51:03.157076Z");
}

/// Of the button that tries a contact point; nothing ever resolves it.
#[test]
fn what_grafana_sends_to_try_is_no_incident() {
    let settings = devpulse::config::model::Alertmanager::default();
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    let context = Context { received_at, settings: &settings, environments, services: &[], max_items: 100 };
    let alert = json!({"status": "firing", "labels": {"alertname": "TestAlert", "instance": "Grafana"},
        "annotations": {"summary": "Notification test"}, "startsAt": "2026-01-05T10:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "57c6d9296de2ad39"});
    let of = |alert: &Value| parse(&json!({"alerts": [alert]}).to_string(), &context).unwrap();
    assert!(matches!(of(&alert), Reading::Skipped(Skip::Test, _)));
    let mut own = alert;
    own["labels"]["instance"] = "web-1".into();
    assert!(matches!(of(&own), Reading::Mixed(facts, _) if facts.len() == 1), "somebody may call an alert so");
}

/// By the label's value as configured, else by the configured service of that name.
#[test]
fn labels_name_services_and_environments_as_configured() {
    let service = |name: &str| devpulse::config::model::Service {
        name: name.to_owned(),
        team: None,
        repository: None,
        paths: Vec::new(),
    };
    let mut settings = devpulse::config::model::Alertmanager::default();
    settings.services.insert("co-v2".to_owned(), "checkout".to_owned());
    settings.environment = Some("eu".to_owned());
    let services = [service("checkout"), service("api-gateway")];
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    let context = Context { received_at, settings: &settings, environments, services: &services, max_items: 100 };
    let of = |service: &str| {
        let mut alert = told("a", "2026-01-05T10:00:00Z", None);
        alert["labels"] = json!({"alertname": "HighErrors", "service": service});
        let Reading::Mixed(facts, _) = parse(&json!({"alerts": [alert]}).to_string(), &context).unwrap() else {
            panic!("an alert is a fact")
        };
        let devpulse::event::DeliveryEvent::Incident(incident) = facts[0].event.clone() else { panic!("{facts:?}") };
        (incident.service.unwrap(), incident.environment.unwrap())
    };
    for (label, service) in [("co-v2", "checkout"), ("API Gateway", "api-gateway"), ("other", "other")] {
        assert_eq!(of(label), (service.to_owned(), "eu".to_owned()));
    }
}

#[test]
fn mutilated_messages_get_an_outcome_too() {
    let settings = devpulse::config::model::Alertmanager::default();
    let (received_at, environments) = (Timestamp::from_seconds(0), EnvironmentNames::new(&[]));
    let context = Context { received_at, settings: &settings, environments, services: &[], max_items: 100 };
    let start = "2026-01-05T10:00:00Z";
    let alerts = [told("a", start, None), told("b", start, Some("2026-01-05T11:00:00Z"))];
    let message = json!({"alerts": alerts, "truncatedAlerts": 0});
    assert!(everywhere(&message, 6, |body| parse(&body.to_string(), &context)) > 20);
}

/// One alert as Alertmanager tells of it; `ends` where it is resolved.
fn told(fingerprint: &str, start: &str, ends: Option<&str>) -> Value {
    json!({"status": if ends.is_some() { "resolved" } else { "firing" }, "fingerprint": fingerprint,
        "labels": {"alertname": "HighErrors", "service": "checkout", "environment": "production"}, "annotations": {},
        "startsAt": start, "endsAt": ends.unwrap_or("0001-01-01T00:00:00Z"), "generatorURL": ""})
}

async fn post(devpulse: &DevPulse, alerts: &[Value]) -> Value {
    devpulse.send(devpulse.request("POST", PATH).json(&json!({"alerts": alerts}))).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_alert_spoils_no_other_and_is_kept() {
    let database = Database::sqlite().await;
    let devpulse = DevPulse::start(&database.url, "").await;
    let start = "2026-01-05T10:00:00Z";
    let mut bad = told("bad", start, None);
    bad["startsAt"] = "soon".into();
    let alerts = [told("a", start, None), bad.clone(), told("b", start, Some("2026-01-05T11:00:00Z"))];
    let receipt = post(&devpulse, &alerts).await;
    assert_eq!((&receipt["outcome"], &receipt["events"]), (&json!("accepted"), &json!(2)), "{receipt}");
    assert_eq!(receipt["errors"][0]["pointer"], "/alerts/1/startsAt");
    assert_eq!(receipt["errors"].as_array().unwrap().len(), 1);
    assert_eq!(devpulse.all("/api/v1/incidents").await.len(), 2);
    // Told once more, as Alertmanager does.
    assert_eq!(post(&devpulse, &alerts).await["outcome"], "duplicate");
    let kept = devpulse.get("/api/v1/sources/invalid?source=alertmanager").await["items"].clone();
    assert_eq!(kept.as_array().unwrap().len(), 1, "{kept}");
    assert_eq!(kept[0]["pointer"], "/alerts/1/startsAt");
    assert_eq!(serde_json::from_str::<Value>(kept[0]["body"].as_str().unwrap()).unwrap(), bad);
    assert_eq!(devpulse.get("/api/v1/sources/invalid?source=github").await["items"], json!([]));
    let found = until("both to be counted", SOON, async || {
        let items = devpulse.get("/api/v1/sources").await["items"].clone();
        items.as_array().unwrap().iter().find(|item| item["invalid"] == 2).cloned()
    })
    .await;
    assert_eq!((&found["source"], &found["configured"]), (&json!("alertmanager"), &json!(true)));
    assert_eq!((&found["accepted"], &found["duplicate"]), (&json!(1), &json!(1)));
}

on_both! {
    async fn an_alert_that_fires_again_with_its_old_start_goes_on(database: Database) {
        let devpulse = DevPulse::start(&database.url, "services: [{name: checkout}]\n").await;
        let start = "2026-01-05T10:00:00Z";
        let (first, second) = (Some("2026-01-05T10:30:00Z"), Some("2026-01-05T12:00:00Z"));
        let tell = async |name: &str, ends| post(&devpulse, &[told(name, start, ends)]).await["outcome"].clone();
        let incident = async |name: &str| {
            let all = devpulse.all("/api/v1/incidents").await;
            all.into_iter().find(|found| found["id"].as_str().unwrap().starts_with(name)).unwrap()
        };
        for (ends, outcome, resolved) in [
            (None, "accepted", None), (None, "duplicate", None), (first, "accepted", first), (first, "duplicate", first),
            (None, "accepted", None), (None, "duplicate", None), (second, "accepted", second), (second, "duplicate", second),
        ] {
            assert_eq!(tell("a", ends).await, outcome, "{ends:?}");
            assert_eq!(incident("a").await["resolved_at"], json!(resolved), "{ends:?}");
        }
        let in_order = incident("a").await;
        assert_eq!((&in_order["status"], &in_order["started_at"]), (&json!("resolved"), &json!(start)));
        for (name, order) in [("b", [second, first, None]), ("c", [None, second, first]), ("d", [first, None, second])] {
            for ends in order {
                assert_eq!(tell(name, ends).await, "accepted", "{name} {ends:?}");
            }
            let found = incident(name).await;
            assert_eq!((&found["status"], &found["resolved_at"]), (&json!("resolved"), &json!(second)), "{name}");
        }
        // A late retry that it fires opens it, until its end is told again; what follows is heard as ever.
        for (ends, outcome, resolved) in [
            (None, "accepted", None), (first, "accepted", first), (None, "accepted", None), (first, "accepted", first),
            (first, "duplicate", first), (None, "accepted", None), (first, "accepted", first), (None, "accepted", None),
            (second, "accepted", second),
        ] {
            assert_eq!(tell("e", ends).await, outcome, "{ends:?}");
            assert_eq!(incident("e").await["resolved_at"], json!(resolved), "{ends:?}");
        }
        let mttr = devpulse.get("/api/v1/dora?from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z").await["metrics"]["mean_time_to_recovery"].clone();
        assert_eq!((&mttr["value"], &mttr["n"]), (&json!(7200.0), &json!(5)), "{mttr:#}");
    }

    /// Alertmanager tries again what was answered 503; what was kept by then counts once.
    async fn what_the_database_refused_comes_again_and_counts_once(db: TestDb) {
        let mut devpulse = DevPulse::start(&db.url, "").await;
        let created = devpulse.run(&["keys", "create", "--name", "am", "--scope", "ingest,read"]);
        let key = String::from_utf8(created.stdout).unwrap().trim().to_owned();
        devpulse.use_key(&key);
        refuse(&db.store, "fact", "INSERT", "NEW.entity_source = 'alertmanager'").await;
        let alertmanager = Alertmanager::start(&devpulse.url(PATH), &key).await;
        let start = Utc::now() - TimeDelta::minutes(1);
        alertmanager.tell("checkout", start, true).await;
        let answered = async |status: &str| {
            let text = devpulse.text("/metrics").await;
            let ours = |line: &&str| line.starts_with("devpulse_http_requests_total{") && line.contains(PATH)
                && line.contains(&format!("status=\"{status}\""));
            text.lines().filter(ours).filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
        };
        until("two attempts to be refused", SOON, async || (answered("503").await >= 2).then_some(())).await;
        assert_eq!(answered("200").await, 0);
        assert_eq!(incidents(&devpulse).await, []);
        refuse_no_more(&db.store, "fact").await;
        become_so(&devpulse, &[("checkout", "opened")]).await;
        until("a repetition", SOON, async || (deliveries(&devpulse, "duplicate").await >= 1).then_some(())).await;
        assert_eq!((incidents(&devpulse).await.len(), deliveries(&devpulse, "accepted").await), (1, 1));
    }
}
