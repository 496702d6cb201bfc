//! Slack: one message per group, edited in place; limits, errors, the simple mode.

use serde_json::Value;

use super::Scene;
use crate::support::alerting::{CLEAR, fires};
use crate::support::db::on_both;
use crate::support::peer::{Asked, Peer, Reply};
use devpulse::alert::{Condition, Content, Fact};
use devpulse::config::model::Severity::{Page, Ticket};

const POST: &str = "/api/chat.postMessage";
const UPDATE: &str = "/api/chat.update";

fn bot(peer: &Peer) -> String {
    format!(
        "receivers: [{{name: oncall, slack: {{token: xoxb-secret, channel: '#oncall', api_url: '{}'}}}}]
route: {{receiver: oncall, group_by: [service]}}",
        peer.url("/api/")
    )
}

/// What every message must have, by Slack's documentation.
fn assert_valid(asked: &Asked) -> Value {
    let message = asked.json();
    let text = message["text"].as_str().unwrap();
    assert!(!text.is_empty() && text.chars().count() <= 4000, "{message}");
    if message["thread_ts"].is_null() {
        let blocks = message["blocks"].as_array().unwrap();
        assert!((1..=50).contains(&blocks.len()), "{} blocks", blocks.len());
        let header = blocks[0]["text"]["text"].as_str().unwrap();
        assert_eq!(blocks[0]["type"], "header");
        assert!(header.chars().count() <= 150);
        for block in blocks.iter().filter(|block| block["type"] == "section") {
            let text = block["text"]["text"].as_str().unwrap_or_default();
            assert!(text.chars().count() <= 3000, "{} characters", text.chars().count());
            assert!(block["fields"].as_array().is_none_or(|fields| fields.len() <= 10));
        }
    }
    message
}

fn figures(value: &str) -> Condition {
    let facts = vec![Fact { label: "burn over 1h".to_owned(), value: value.to_owned() }];
    let content = Content { headline: "Budget burns".to_owned(), facts, ..Content::default() };
    Condition::Firing { severity: Page, content }
}

on_both! {
    async fn one_message_per_incident_edited_in_place_and_resolved_in_its_thread(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &bot(&peer));

        scene.see("a", fires(Ticket, "Budget burns")).await;
        let asked = peer.take();
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].path.as_str(), asked[0].header("authorization")), (POST, "Bearer xoxb-secret"));
        let posted = assert_valid(&asked[0]);
        assert_eq!(posted["channel"], "#oncall");
        assert_eq!(posted["unfurl_links"], false);
        assert!(posted["text"].as_str().unwrap().starts_with("TICKET · Budget burns"), "{posted}");

        scene.observe("a", fires(Page, "Budget burns")).await;
        scene.send().await;
        assert!(peer.take().is_empty(), "Slack takes one message a second");
        scene.after(1).await;
        let asked = peer.take();
        assert_eq!(asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(), [UPDATE, POST]);
        let edited = assert_valid(&asked[0]);
        assert_eq!((edited["channel"].as_str(), edited["ts"].as_str()), (Some("C0123"), Some("1700000000.000001")));
        assert!(edited["text"].as_str().unwrap().starts_with("PAGE · "));
        let reply = assert_valid(&asked[1]);
        assert_eq!(reply["thread_ts"], "1700000000.000001");
        assert_eq!(reply["reply_broadcast"], true, "an escalation is news to the whole channel");

        scene.clock.advance(std::time::Duration::from_mins(1));
        scene.see("a", figures("31×")).await;
        assert_eq!(peer.paths(), [UPDATE], "figures ring no bell");

        scene.clock.advance(std::time::Duration::from_mins(1));
        scene.see("a", CLEAR).await;
        let asked = peer.take();
        assert_eq!(asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(), [UPDATE, POST]);
        assert!(assert_valid(&asked[0])["text"].as_str().unwrap().starts_with("RESOLVED · "));
        let reply = assert_valid(&asked[1]);
        assert_eq!((reply["thread_ts"].as_str(), reply["channel"].as_str()), (Some("1700000000.000001"), Some("C0123")));
        assert!(reply["text"].as_str().unwrap().starts_with("✅ Resolved after 2 min 1 s"), "{reply}");
        scene.after(600).await;
        assert!(peer.take().is_empty());
    }

    async fn a_rate_limit_holds_the_whole_channel_for_as_long_as_slack_says(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &bot(&peer).replace("[service]", "[slo]"));
        let body = r#"{"ok":false,"error":"ratelimited"}"#.to_owned();
        let headers = vec![("retry-after", "37".to_owned()), ("content-type", "application/json".to_owned())];
        peer.next([Reply::Status(429, headers, body)]);
        let limited = scene.see("a", fires(Page, "Budget burns")).await;
        assert_eq!(peer.take().len(), 1);
        scene.see("b", fires(Page, "Slow")).await;
        scene.after(36).await;
        assert!(peer.take().is_empty(), "no message of any group before the time is over");
        let waiting = scene.deliveries(&limited).await;
        assert_eq!((waiting[0].state.as_str(), waiting[0].error.as_deref()), ("pending", Some("Slack: rate limited")));
        scene.after(1).await;
        scene.after(1).await;
        assert_eq!(peer.paths(), [POST, POST]);
        assert_eq!(scene.deliveries(&limited).await[0].state, "sent");
    }

    async fn a_message_that_is_gone_is_posted_afresh(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &bot(&peer));
        scene.see("a", fires(Ticket, "Budget burns")).await;
        peer.take();
        peer.next([Reply::SlackError("message_not_found")]);
        scene.observe("a", fires(Page, "Budget burns")).await;
        scene.after(1).await;
        let asked = peer.take();
        assert_eq!(
            asked.iter().map(|asked| asked.path.as_str()).collect::<Vec<_>>(),
            [UPDATE, POST],
            "the fresh post is the news: no reply below it"
        );
        assert!(asked[1].json()["thread_ts"].is_null());
        scene.observe("a", CLEAR).await;
        scene.after(1).await;
        assert_eq!(peer.take()[0].json()["ts"], "1700000000.000002", "the fresh message is the one to edit");
    }

    async fn what_a_person_must_put_right_is_given_up_and_seen(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &bot(&peer));
        peer.next([Reply::SlackError("not_in_channel")]);
        let alert = scene.see("a", fires(Ticket, "Budget burns")).await;
        let dead = scene.deliveries(&alert).await;
        assert_eq!((dead[0].state.as_str(), dead[0].error.as_deref()), ("dead", Some("Slack: not_in_channel")));
        scene.after(7200).await;
        assert_eq!(peer.paths(), [POST], "it is not tried again");
        scene.see("a", fires(Page, "Budget burns")).await;
        assert_eq!(peer.paths(), [POST], "news is: the bot may have been invited");
    }

    async fn slack_s_own_trouble_is_tried_again(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &bot(&peer));
        peer.next([
            Reply::SlackError("internal_error"),
            Reply::Status(503, vec![], "no healthy upstream".to_owned()),
            Reply::Status(200, vec![("content-type", "text/html".to_owned())], "<html>".to_owned()),
        ]);
        let alert = scene.see("a", fires(Page, "Budget burns")).await;
        for _ in 0..4 {
            scene.after(10).await;
        }
        let sent = scene.deliveries(&alert).await;
        assert_eq!((sent[0].state.as_str(), sent[0].attempts), ("sent", 4));
        assert_eq!(peer.paths().len(), 4);
    }

    async fn a_fire_and_its_end_that_nobody_was_told_are_one_message(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &bot(&peer));
        scene.observe("a", fires(Page, "Budget burns")).await;
        scene.clock.advance(std::time::Duration::from_secs(90));
        scene.see("a", CLEAR).await;
        let asked = peer.take();
        assert_eq!(asked.len(), 1, "and no reply below it");
        let message = assert_valid(&asked[0]);
        assert!(message["text"].as_str().unwrap().starts_with("RESOLVED · Budget burns"), "{message}");
        assert!(message["blocks"].to_string().contains("1 min 30 s"), "it says how long it was: {message}");
    }

    async fn an_incoming_webhook_is_told_of_fire_escalation_and_end(db: TestDb) {
        let peer = Peer::start();
        let hook = peer.url("/services/T0/B0/secretpath");
        let scene = Scene::new(
            &db.store,
            &format!(
                "receivers: [{{name: oncall, slack: {{webhook_url: '{hook}'}}}}]
route: {{receiver: oncall, group_by: [service]}}"
            ),
        );
        let ok = || Reply::Status(200, vec![("content-type", "text/html".to_owned())], "ok".to_owned());
        peer.next([ok(), ok(), ok()]);
        for condition in [fires(Ticket, "Budget burns"), fires(Page, "Budget burns"), fires(Page, "Gone"), CLEAR] {
            scene.observe("a", condition).await;
            scene.after(61).await;
        }
        let texts: Vec<String> =
            peer.take().iter().map(|asked| assert_valid(asked)["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        for (text, begins) in texts.iter().zip(["TICKET · Budget burns", "PAGE · Budget burns", "RESOLVED · Gone"]) {
            assert!(text.starts_with(begins), "{text}");
        }
        peer.next([Reply::Status(404, vec![], "no_service".to_owned())]);
        let alert = scene.observe("b", fires(Page, "Budget burns")).await;
        scene.after(1).await;
        let dead = scene.deliveries(&alert).await.pop().unwrap();
        assert_eq!(dead.state, "dead");
        assert!(!dead.error.unwrap().contains("secretpath"), "the URL is a secret");
    }
}
