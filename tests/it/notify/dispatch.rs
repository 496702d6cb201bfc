//! The dispatcher: crashes between claim, sending and marking; the loop; the test message.

use std::sync::Arc;
use std::time::Duration;

use devpulse::alert::Channel;
use devpulse::config::model::Severity::Page;
use devpulse::notify::Notifiers;
use devpulse::store::alert::group_of;
use devpulse::store::outbox::{self, Destination, Standing};
use devpulse::store::retention;
use devpulse::time::Clock;
use devpulse::worker::alert_metrics;
use devpulse::worker::dispatch::Dispatcher;
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::sync::{Notify, oneshot};

use super::Scene;
use crate::support::alerting::{CLEAR, config, fires, look, observe};
use crate::support::db::{on_both, refuse, refuse_no_more};
use crate::support::peer::{Peer, Reply};
use crate::support::wait;

const LEASE: Duration = Duration::from_mins(1);

fn receivers(peer: &Peer) -> String {
    format!(
        "receivers:
  - name: oncall
    slack: {{token: xoxb-1, channel: C1, api_url: '{}'}}
    webhook: {{url: '{}', secret: topsecret}}
route: {{receiver: oncall, group_by: [service]}}",
        peer.url("/api/"),
        peer.url("/hook")
    )
}

/// A dispatcher that is killed right after it claimed a message.
async fn claim_and_die(scene: &Scene, channel: Channel) -> outbox::Claimed {
    let destination = Destination { receiver: "oncall".to_owned(), channel };
    let mut tx = scene.store.begin().await.unwrap();
    let claimed = outbox::claim(&mut tx, &destination, LEASE, scene.clock.now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    claimed
}

on_both! {
    async fn what_a_killed_dispatcher_had_claimed_is_sent_when_its_lease_ends(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        let alert = scene.observe("a", fires(Page, "Budget burns")).await;
        let lost = claim_and_die(&scene, Channel::Webhook).await;
        scene.send().await;
        assert_eq!(peer.paths(), ["/api/chat.postMessage"]);
        scene.after(59).await;
        assert!(peer.take().is_empty());
        scene.after(1).await;
        let asked = peer.take();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].header("webhook-id"), lost.id, "the receiver can tell that it is a repetition");
        assert!(scene.deliveries(&alert).await.iter().all(|delivery| delivery.state == "sent"));
        scene.after(3600).await;
        assert!(peer.take().is_empty());
    }

    async fn messages_are_forgotten_once_they_are_sent_and_old_and_not_before(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        let alert = scene.observe("a", fires(Page, "Budget burns")).await;
        claim_and_die(&scene, Channel::Webhook).await;
        scene.send().await;
        let keep = config("").retention;
        let prune = async |days: u32| {
            let now = scene.clock.now().plus(days * Duration::from_hours(24));
            retention::prune(&db.store, &keep, keep.messages, now).await.unwrap().messages
        };
        assert_eq!((prune(29).await, prune(31).await), (0, 1));
        let left = scene.deliveries(&alert).await;
        assert_eq!(left.iter().map(|delivery| delivery.state.as_str()).collect::<Vec<_>>(), ["sending"]);
    }

    async fn killed_after_slack_took_the_post_it_is_not_posted_twice(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        let alert = scene.observe("a", fires(Page, "Budget burns")).await;
        let group = group_of(&mut db.store.read().await.unwrap(), &alert.id).await.unwrap().unwrap();
        claim_and_die(&scene, Channel::Slack).await;
        let reference = r#"{"channel":"C9","ts":"1.5"}"#.to_owned();
        let standing = Standing { reference, first_revision: 1, revision: 1 };
        let mut tx = db.store.begin().await.unwrap();
        outbox::put_standing(&mut tx, &group.id, Channel::Slack, &standing).await.unwrap();
        tx.commit().await.unwrap();
        scene.after(60).await;
        assert_eq!(peer.paths(), ["/hook"]);
        scene.observe("a", CLEAR).await;
        scene.after(1).await;
        let edit = peer.take().into_iter().find(|asked| asked.path == "/api/chat.update").unwrap();
        assert_eq!(edit.json()["ts"], "1.5");
    }

    async fn killed_between_edit_and_reply_only_the_reply_is_made_up_for(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        scene.see("a", fires(Page, "Budget burns")).await;
        scene.clock.advance(Duration::from_secs(1));
        peer.take();
        // The edit succeeds, the reply does not.
        peer.next([Reply::Usual, Reply::SlackError("internal_error")]);
        scene.observe("a", CLEAR).await;
        let slack = Destination { receiver: "oncall".to_owned(), channel: Channel::Slack };
        let due = outbox::due_destinations(&mut db.store.read().await.unwrap(), scene.clock.now()).await.unwrap();
        assert!(due.contains(&slack));
        scene.send().await;
        scene.after(1).await;
        let paths: Vec<String> = peer.paths().into_iter().filter(|path| path != "/hook").collect();
        assert_eq!(paths, ["/api/chat.update", "/api/chat.postMessage", "/api/chat.postMessage"]);
    }

    async fn a_database_that_refuses_is_left_alone_for_a_while(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        scene.observe("a", fires(Page, "Budget burns")).await;
        refuse(&db.store, "outbox", "UPDATE", "TRUE").await;
        // Each destination is tried once, and fails.
        for _ in 0..2 {
            scene.dispatcher.run_once().await.unwrap_err();
        }
        scene.dispatcher.run_once().await.expect("nobody may be served now");
        refuse_no_more(&db.store, "outbox").await;
        scene.send().await;
        assert!(peer.take().is_empty(), "they rest");
        scene.after(1).await;
        assert_eq!(peer.take().len(), 2);
    }

    async fn a_receiver_that_is_not_configured_any_more_is_a_dead_letter(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        let alert = scene.observe("a", fires(Page, "Budget burns")).await;
        scene.dispatcher.replace(Notifiers::default());
        scene.send().await;
        for delivery in scene.deliveries(&alert).await {
            assert_eq!(delivery.state, "dead");
            assert!(delivery.error.unwrap().contains("not configured any more"));
        }
        assert!(peer.take().is_empty());
    }

    async fn the_loop_sends_at_once_when_woken_and_a_slow_peer_holds_up_nobody(db: TestDb) {
        let (slow, quick) = (Peer::start(), Peer::start());
        let yaml = receivers(&quick).replace(&quick.url("/api/"), &slow.url("/api/"));
        let config = config(&yaml);
        let clock = Clock::system();
        let dispatcher = Arc::new(Dispatcher::new(db.store.clone(), clock.clone(), Notifiers::of(&config)));
        let (wake, (stop, stopped)) = (Arc::new(Notify::new()), oneshot::channel::<()>());
        let running = tokio::spawn(Arc::clone(&dispatcher).run(Arc::clone(&wake), async move {
            let _ = stopped.await;
        }));
        let release = Arc::new(Notify::new());
        slow.next([Reply::Held(Arc::clone(&release))]);
        for headline in ["One", "Two", "Three"] {
            let seen = look("checkout", "a", fires(Page, headline));
            observe(&db.store, &config, &seen, clock.now()).await.unwrap();
            wake.notify_one();
            wait::until("the quick peer", Duration::from_secs(3), async || quick.take().pop()).await;
        }
        assert_eq!(slow.paths(), ["/api/chat.postMessage"], "the first is still being answered");
        stop.send(()).unwrap();
        tokio::task::yield_now().await;
        assert!(!running.is_finished(), "what is being sent is waited for");
        release.notify_one();
        running.await.unwrap();
        let depth = outbox::depth(&mut db.store.read().await.unwrap()).await.unwrap();
        assert_eq!((depth.waiting, depth.dead), (1, 0), "what was being sent was waited for; the newest news waits");
    }

    async fn what_waits_and_what_was_given_up_is_on_the_metrics_page(db: TestDb) {
        let peer = Peer::start();
        let scene = Scene::new(&db.store, &receivers(&peer));
        let recorder = PrometheusBuilder::new().build_recorder();
        let page = recorder.handle();
        let _here = metrics::set_default_local_recorder(&recorder);
        peer.next([Reply::SlackError("invalid_auth"), Reply::Status(500, vec![], String::new())]);
        scene.see("a", fires(Page, "Budget burns")).await;
        alert_metrics::refresh(&mut db.store.read().await.unwrap()).await.unwrap();
        let text = page.render();
        let waiting = scene.clock.now();
        for line in [
            "devpulse_alerts{state=\"firing\",severity=\"page\"} 1",
            "devpulse_alerts{state=\"pending\",severity=\"ticket\"} 0",
            "devpulse_notifications_total{channel=\"slack\",outcome=\"dead\"} 1",
            "devpulse_notifications_total{channel=\"webhook\",outcome=\"failed\"} 1",
            "devpulse_outbox_messages{state=\"waiting\"} 1",
            "devpulse_outbox_messages{state=\"dead\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let due = text.lines().find_map(|line| line.strip_prefix("devpulse_outbox_oldest_due_timestamp_seconds "));
        let due: f64 = due.unwrap().parse().unwrap();
        assert!(due > waiting.seconds_f64() && due <= waiting.seconds_f64() + 1.0, "{due}");
    }
}
