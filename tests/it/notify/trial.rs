//! `devpulse alert test`: through the real channels, with an exit code that says how it went.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::peer::{Peer, Reply};
use crate::support::smtp::Smtp;

fn yaml(peer: &Peer, smtp: &Smtp) -> String {
    format!(
        "receivers:
  - name: oncall
    slack: {{token: xoxb-1, channel: C1, api_url: '{}'}}
    email: {{to: [a@example.com]}}
    webhook: {{url: '{}', secret: topsecret}}
smtp: {{url: '{}', from: devpulse@example.com}}",
        peer.url("/api/"),
        peer.url("/hook"),
        smtp.url()
    )
}

async fn try_receiver(config: &str, receiver: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_devpulse"));
    command.args(["--output", "json", "alert", "test", "--receiver", receiver, "--config"]).arg(file.path());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn said(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    serde_json::Deserializer::from_str(&text).into_iter().next().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_for_each_channel_what_became_of_the_message() {
    let (peer, smtp) = (Peer::start(), Smtp::start().await);
    let config = yaml(&peer, &smtp);
    let fine = try_receiver(&config, "oncall").await;
    assert_eq!(fine.status.code(), Some(0), "{fine:?}");
    assert_eq!(smtp.messages()[0]["headers"]["subject"], "[TICKET] devpulse/test: Test alert from DevPulse");
    let asked = peer.take();
    assert_eq!(asked[0].json()["text"].as_str().unwrap().split(':').next(), Some("TICKET · Test alert from DevPulse"));
    assert_eq!(asked[1].json()["alerts"][0]["kind"], "test");

    peer.next([Reply::SlackError("invalid_auth")]);
    let bad = try_receiver(&config, "oncall").await;
    assert_eq!(bad.status.code(), Some(5), "{bad:?}");
    assert_eq!(
        said(&bad),
        json!({"receiver": "oncall", "channels": [
            {"channel": "slack", "sent": false, "error": "Slack: invalid_auth"},
            {"channel": "email", "sent": true, "error": null},
            {"channel": "webhook", "sent": true, "error": null},
        ]})
    );
    let unknown = try_receiver(&config, "nobody").await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown)["error"].as_str().unwrap().contains("the receivers are: oncall"), "{unknown:?}");
}
