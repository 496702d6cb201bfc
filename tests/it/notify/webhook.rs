//! Signed webhooks, judged by the specification's own library.

use serde_json::Value;
use standardwebhooks::Webhook;

use super::Scene;
use crate::support::alerting::{CLEAR, fires};
use crate::support::db::on_both;
use crate::support::peer::{Asked, Peer, Reply};
use devpulse::config::model::Severity::{Page, Ticket};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn hook(url: &str, secret: &str) -> String {
    format!(
        "receivers: [{{name: oncall, webhook: {{url: '{url}', secret: '{secret}', timeout: 2s}}}}]
route: {{receiver: oncall, group_by: [service]}}"
    )
}

fn assert_signed(asked: &Asked) {
    Webhook::new(SECRET).unwrap().verify(&asked.body, &asked.headers).unwrap();
}

fn status(status: u16) -> Reply {
    Reply::Status(status, vec![], "told you so".to_owned())
}

/// Every name in a JSON value, with its path; of a list its first item's.
fn names(value: &Value, path: &str) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(name, value)| names(value, &format!("{path}/{name}"))).collect()
        }
        Value::Array(items) => items.first().map_or_else(Vec::new, |item| names(item, path)),
        _ => vec![path.to_owned()],
    }
}

on_both! {
    async fn the_document_shows_what_is_sent(db: TestDb) {
        let document = include_str!("../../../docs/alert-webhook.md");
        let example = document.split("```").nth(1).unwrap().trim_start_matches("json");
        let example: Value = serde_json::from_str(example).unwrap();
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &hook(&peer.url("/hook"), SECRET));
        scene.see("a", fires(Page, "Budget burns")).await;
        assert_eq!(names(&peer.take()[0].json(), ""), names(&example, ""));
    }

    async fn every_call_is_signed_and_tells_the_whole_state(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &hook(&peer.url("/hook"), SECRET));
        let alert = scene.see("a", fires(Ticket, "Budget burns")).await;
        scene.see("a", fires(Page, "Budget burns")).await;
        scene.see("b", fires(Page, "Slow")).await;
        scene.see("b", CLEAR).await;
        scene.see("a", CLEAR).await;
        let asked = peer.take();
        asked.iter().for_each(assert_signed);
        let bodies: Vec<_> = asked.iter().map(Asked::json).collect();
        let kinds: Vec<&str> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["alert.fired", "alert.escalated", "alert.fired", "alert.updated", "alert.resolved"]);
        let ids: std::collections::BTreeSet<&str> = asked.iter().map(|asked| asked.header("webhook-id")).collect();
        assert_eq!(ids.len(), 5, "each message has a name of its own");

        let first = &bodies[0];
        assert_eq!(first["group"]["labels"]["service"], "checkout");
        assert_eq!((first["total"].as_u64(), first["firing"].as_u64()), (Some(1), Some(1)));
        let told = &first["alerts"][0];
        assert_eq!((told["id"].as_str(), told["state"].as_str()), (Some(alert.id.as_str()), Some("firing")));
        assert_eq!((told["severity"].as_str(), told["kind"].as_str()), (Some("ticket"), Some("burn_rate")));
        assert_eq!(told["labels"]["slo"], "a");
        assert_eq!((bodies[3]["total"].as_u64(), bodies[3]["firing"].as_u64()), (Some(2), Some(1)));
        assert!(bodies[4]["group"]["resolved_at"].is_string());
    }

    async fn a_retry_has_the_same_id_and_a_fresh_signature(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &hook(&peer.url("/hook"), SECRET));
        peer.next([status(500), status(429)]);
        let alert = scene.see("a", fires(Page, "Budget burns")).await;
        scene.after(1).await;
        scene.after(2).await;
        let asked = peer.take();
        assert_eq!(asked.len(), 3);
        asked.iter().for_each(assert_signed);
        assert!(asked.iter().all(|call| call.header("webhook-id") == asked[0].header("webhook-id")));
        assert_ne!(asked[0].header("webhook-timestamp"), asked[2].header("webhook-timestamp"));
        assert_eq!(asked[0].body, asked[2].body);
        let sent = scene.deliveries(&alert).await;
        assert_eq!((sent[0].state.as_str(), sent[0].attempts), ("sent", 3));
    }

    async fn retry_after_is_honoured_on_429_and_503(db: TestDb) {
        for code in [429, 503] {
            let peer = Peer::start();
            let scene = Scene::new(&db.store, &hook(&peer.url("/hook"), SECRET));
            peer.next([Reply::Status(code, vec![("retry-after", "120".to_owned())], String::new())]);
            scene.see("a", fires(Page, "Budget burns")).await;
            assert_eq!(peer.take().len(), 1);
            scene.after(119).await;
            assert!(peer.take().is_empty(), "{code}");
            scene.after(1).await;
            assert_eq!(peer.take().len(), 1, "{code}");
            scene.see("a", CLEAR).await;
        }
    }

    async fn a_refusal_is_final_and_redirects_are_not_followed(db: TestDb) {
        for code in [400, 404, 410, 302] {
            let peer = Peer::start();
            let scene = Scene::new(&db.store, &hook(&peer.url("/hook"), SECRET));
            let headers = vec![("location", peer.url("/elsewhere"))];
            peer.next([Reply::Status(code, headers, "told you so".to_owned())]);
            let alert = scene.see("a", fires(Page, "Budget burns")).await;
            scene.after(3600).await;
            assert_eq!(peer.paths(), ["/hook"], "{code}");
            let dead = scene.deliveries(&alert).await;
            assert_eq!((dead[0].state.as_str(), dead[0].error.clone()), ("dead", Some(format!("HTTP {code} told you so"))));
            scene.see("a", CLEAR).await;
        }
    }

    async fn after_a_day_a_message_is_given_up(db: TestDb) {
        let scene = Scene::new(&db.store, &hook("http://127.0.0.1:9/secretpath", SECRET));
        let alert = scene.see("a", fires(Page, "Budget burns")).await;
        let mut attempts = 1;
        while scene.deliveries(&alert).await[0].state == "pending" {
            scene.after(300).await;
            attempts += 1;
            assert!(attempts < 400, "it never ends");
        }
        let dead = scene.deliveries(&alert).await.remove(0);
        assert_eq!((dead.state.as_str(), dead.due_at), ("dead", None));
        assert!(dead.attempts > 280, "every five minutes at the latest: {}", dead.attempts);
        assert!(!dead.error.unwrap().contains("secretpath"), "URLs may hold secrets");
    }

    async fn a_huge_answer_is_not_kept(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &hook(&peer.url("/hook"), "just some text"));
        peer.next([Reply::Status(500, vec![], "x".repeat(5_000_000))]);
        let alert = scene.see("a", fires(Page, "Budget burns")).await;
        assert!(scene.deliveries(&alert).await[0].error.as_ref().unwrap().len() < 600);
        let key = Webhook::from_bytes(b"just some text".to_vec()).unwrap();
        let asked = peer.take();
        key.verify(&asked[0].body, &asked[0].headers).unwrap();
    }
}
