//! The configuration that the contract shows, with its variables and files as they really are.

use devpulse::config::model::{Executor, Indicator, Mode, Slack};
use devpulse::config::parse;
use secrecy::ExposeSecret;

use crate::support::peer::{Peer, Reply};
use crate::support::ports;

const CONTRACT: &str = r##"
server: {listen: "127.0.0.1:8080"}
database: {url: "sqlite://devpulse-data/devpulse.db"}
teams:
  - {name: payments, time_zone: Europe/Berlin, week_starts_on: monday}
services:
  - {name: checkout, team: payments, repository: acme/checkout, paths: ["services/checkout/**"]}
environments:
  - {name: production, tier: production, match: ["prod", "prod-*"]}
slos:
  - {name: checkout-availability, service: checkout, environment: production, objective: 0.999, window: 30d,
     indicator: {availability: {}}}
  - {name: checkout-latency, service: checkout, environment: production, objective: 0.99, window: 30d,
     indicator: {latency: {threshold: 300ms}}}
sources:
  github: {secret: "${env:GITHUB_WEBHOOK_SECRET}"}
receivers:
  - name: oncall
    slack: {token: "${env:SLACK_TOKEN}", channel: "#oncall", api_url: "https://slack.com/api/"}
    email: {to: ["oncall@example.com"]}
    webhook: {url: "https://hooks.example.com", secret: "${file:HOOK_FILE}"}
smtp: {url: "smtp://127.0.0.1:1025", from: "devpulse@example.com"}
route: {receiver: oncall, group_by: [service]}
rollback:
  policies:
    - {service: checkout, environment: production, mode: automatic, false_rollback_budget: 0.0001,
       executor: {webhook: {url: "https://deploy.example.com", secret: "${env:HOOK_SECRET}"}}}
"##;

#[test]
fn the_configuration_of_the_contract_loads() {
    let folder = tempfile::tempdir().unwrap();
    let hook = folder.path().join("hook");
    std::fs::write(&hook, "from the file\n").unwrap();
    let text = CONTRACT.replace("HOOK_FILE", &hook.display().to_string());
    let variables = [("GITHUB_WEBHOOK_SECRET", "g"), ("SLACK_TOKEN", "xoxb-1"), ("HOOK_SECRET", "h")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();

    let config = parse("devpulse.yaml", &text, &variables).unwrap().config;

    assert_eq!(config.teams[0].time_zone, chrono_tz::Europe::Berlin);
    assert_eq!(config.sources.github.unwrap().secret.expose_secret(), "g");
    let threshold = std::time::Duration::from_millis(300);
    assert_eq!(config.slos[1].indicator, Indicator::Latency { threshold });
    let receiver = &config.receivers[0];
    assert!(matches!(&receiver.slack, Some(Slack::Bot { token, .. }) if token.expose_secret() == "xoxb-1"));
    assert_eq!(receiver.webhook.as_ref().unwrap().secret.expose_secret(), "from the file");
    let policy = &config.rollback.policies[0];
    assert_eq!(policy.mode, Mode::Automatic);
    assert!(matches!(&policy.executor, Some(Executor::Webhook(hook)) if hook.secret.expose_secret() == "h"));
}

fn devpulse(arguments: &[&str], database: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_devpulse"));
    let output = command.args(arguments).current_dir(folder.path()).env("DEVPULSE_DATABASE_URL", database).output();
    let output = output.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_malformed_database_url_is_a_wrong_configuration() {
    for url in ["postgres://u:hunter2@h:port/d", "postgres://u:hunter2@h/d?sslmod=require"] {
        let (code, said) = devpulse(&["migrate"], url);
        assert_eq!(code, Some(3), "{url}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_devpulse_refuses_and_is_not_unreachable() {
    let peer = Peer::start();
    peer.next([Reply::Status(404, Vec::new(), "<html>nothing here</html>".to_owned())]);
    let address = peer.url("/");
    let call = |server: String| {
        tokio::task::spawn_blocking(move || devpulse(&["rollback", "list", "--server", &server], "sqlite://unused.db"))
    };
    let (code, said) = call(address).await.unwrap();
    assert_eq!((code, said.contains("404")), (Some(1), true), "{said}");
    let (code, said) = call(format!("http://127.0.0.1:{}", ports::free())).await.unwrap();
    assert_eq!(code, Some(4), "{said}");
}
