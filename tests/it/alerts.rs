//! Alerts in the store: transitions and outbox rows in one transaction, groups, claims, the list.

use std::collections::HashMap;
use std::time::Duration;

use devpulse::alert::{Alert, Change, Channel, Condition, Event, Transition, step};
use devpulse::config::model::Severity::{Page, Ticket};
use devpulse::store::alert::{self, Routing};
use devpulse::store::outbox::{self, Delivery, Destination};
use devpulse::store::{Store, StoreError};
use devpulse::time::Timestamp;

use crate::support::alerting::{CLEAR, at, changed, fires, look, observe, unreachable};
use crate::support::db::on_both;

const LEASE: Duration = Duration::from_mins(1);

/// The messages of an alert's group, the oldest first, as `channel event state`.
async fn messages(store: &Store, alert: &Alert) -> Vec<String> {
    let text = |d: Delivery| format!("{} {} {}", d.channel, d.event, d.state);
    deliveries(store, alert).await.into_iter().map(text).collect()
}

async fn deliveries(store: &Store, alert: &Alert) -> Vec<Delivery> {
    let mut conn = store.read().await.unwrap();
    let Some(group) = alert::group_of(&mut conn, &alert.id).await.unwrap() else { return Vec::new() };
    let mut all = outbox::deliveries(&mut conn, &group.id).await.unwrap();
    all.sort_by(|a, b| (&a.created_at, &a.channel).cmp(&(&b.created_at, &b.channel)));
    all
}

async fn group(store: &Store, alert: &Alert) -> String {
    alert::group_of(&mut store.read().await.unwrap(), &alert.id).await.unwrap().unwrap().id
}

fn to(channel: Channel) -> Destination {
    Destination { receiver: "oncall".to_owned(), channel }
}

async fn claim(store: &Store, channel: Channel, now: Timestamp) -> Option<outbox::Claimed> {
    let mut tx = store.begin().await.unwrap();
    let claimed = outbox::claim(&mut tx, &to(channel), LEASE, now).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

/// What a dispatcher does after an attempt.
async fn fail(store: &Store, claimed: &outbox::Claimed, due: Timestamp) {
    let mut tx = store.begin().await.unwrap();
    outbox::postpone(&mut tx, claimed, due, "HTTP 500").await.unwrap();
    tx.commit().await.unwrap();
}

async fn sent(store: &Store, claimed: &outbox::Claimed, now: Timestamp) -> bool {
    let mut tx = store.begin().await.unwrap();
    let marked = outbox::mark_sent(&mut tx, claimed, now).await.unwrap();
    tx.commit().await.unwrap();
    marked
}

on_both! {
    async fn a_transition_and_its_messages_commit_together_or_not_at_all(db: TestDb) {
        let config = unreachable("[service]");
        let seen = look("checkout", "availability", fires(Page, "Budget burns"));
        let mut tx = db.store.begin().await.unwrap();
        alert::observe(&mut tx, &seen, Routing::of(&config), at(0)).await.unwrap();
        tx.roll_back().await.unwrap();
        let mut conn = db.store.read().await.unwrap();
        assert!(alert::active(&mut conn).await.unwrap().is_empty());
        assert_eq!(outbox::depth(&mut conn).await.unwrap().waiting, 0);

        let alert = changed(observe(&db.store, &config, &seen, at(1)).await.unwrap());
        assert_eq!(
            messages(&db.store, &alert).await,
            ["email fired pending", "slack fired pending", "webhook fired pending"]
        );
        assert_eq!(outbox::depth(&mut conn).await.unwrap().oldest_due, Some(at(1)));
    }

    async fn pending_alerts_tell_nobody(db: TestDb) {
        let config = unreachable("[service]");
        let wait = |condition| devpulse::alert::Observation {
            pending_for: Duration::from_mins(1),
            ..look("checkout", "availability", condition)
        };
        let pending = observe(&db.store, &config, &wait(fires(Page, "Budget burns")), at(0)).await.unwrap();
        assert!(matches!(pending, Transition::Changed(Change::Started, _)));
        assert_eq!(messages(&db.store, &changed(pending)).await, [""; 0]);
        let cancelled = changed(observe(&db.store, &config, &wait(CLEAR), at(30)).await.unwrap());
        assert_eq!(alert::find(&mut db.store.read().await.unwrap(), &cancelled.id).await.unwrap(), None);

        observe(&db.store, &config, &wait(fires(Page, "Budget burns")), at(40)).await.unwrap();
        let fired = observe(&db.store, &config, &wait(fires(Page, "Budget burns")), at(100)).await.unwrap();
        assert_eq!(messages(&db.store, &changed(fired)).await.len(), 3);
    }

    async fn without_a_route_alerts_are_kept_and_nobody_is_told(db: TestDb) {
        let config = devpulse::config::model::Config { route: None, ..unreachable("[]") };
        let fired = changed(
            observe(&db.store, &config, &look("checkout", "a", fires(Page, "Budget burns")), at(0)).await.unwrap(),
        );
        observe(&db.store, &config, &look("checkout", "a", CLEAR), at(1)).await.unwrap();
        assert_eq!(messages(&db.store, &fired).await, [""; 0]);
        let found = alert::find(&mut db.store.read().await.unwrap(), &fired.id).await.unwrap().unwrap();
        assert_eq!(found.resolved_at, Some(at(1)));
    }

    async fn a_group_opens_with_its_first_alert_and_closes_with_its_last(db: TestDb) {
        let config = unreachable("[service]");
        let see = async |service: &str, slo: &str, condition, second| {
            changed(observe(&db.store, &config, &look(service, slo, condition), at(second)).await.unwrap())
        };
        let first = see("checkout", "availability", fires(Ticket, "Errors"), 0).await;
        let second = see("checkout", "latency", fires(Page, "Slow"), 1).await;
        let other = see("search", "freshness", fires(Page, "Stale"), 2).await;
        assert_eq!(group(&db.store, &first).await, group(&db.store, &second).await);
        assert_ne!(group(&db.store, &first).await, group(&db.store, &other).await);

        see("checkout", "availability", CLEAR, 3).await;
        let open = alert::group_of(&mut db.store.read().await.unwrap(), &first.id).await.unwrap().unwrap();
        assert_eq!(open.resolved_at, None, "one of two still fires");
        see("checkout", "latency", CLEAR, 4).await;
        let closed = alert::group_of(&mut db.store.read().await.unwrap(), &first.id).await.unwrap().unwrap();
        assert_eq!(closed.resolved_at, Some(at(4)));
        assert_eq!(closed.labels, [("service".to_owned(), "checkout".to_owned())].into());

        let again = see("checkout", "availability", fires(Page, "Errors"), 5).await;
        assert_ne!(group(&db.store, &again).await, closed.id, "a closed group stays closed");
    }

    async fn without_labels_to_group_by_every_alert_has_its_own_message(db: TestDb) {
        let config = unreachable("[]");
        let mut groups = Vec::new();
        for slo in ["availability", "latency"] {
            let seen = look("checkout", slo, fires(Page, "Budget burns"));
            groups.push(group(&db.store, &changed(observe(&db.store, &config, &seen, at(0)).await.unwrap())).await);
        }
        assert_ne!(groups[0], groups[1]);
    }

    async fn news_replace_what_nobody_was_told_and_keep_the_better_reason(db: TestDb) {
        let config = unreachable("[service]");
        let see = async |condition, second| {
            changed(observe(&db.store, &config, &look("checkout", "a", condition), at(second)).await.unwrap())
        };
        let alert = see(fires(Ticket, "Budget burns"), 0).await;
        see(fires(Page, "Budget burns"), 1).await;
        see(fires(Page, "Budget is gone"), 2).await;
        let slack = |all: Vec<String>| all.into_iter().filter(|m| m.starts_with("slack")).collect::<Vec<_>>();
        assert_eq!(
            slack(messages(&db.store, &alert).await),
            ["slack fired superseded", "slack fired superseded", "slack fired pending"],
            "whoever is told for the first time is told of a fire"
        );
        let message = claim(&db.store, Channel::Slack, at(3)).await.unwrap();
        assert_eq!(message.snapshot.lead().unwrap().content.headline, "Budget is gone");
        assert_eq!(message.snapshot.lead().unwrap().severity, Page);

        see(CLEAR, 4).await;
        assert_eq!(
            slack(messages(&db.store, &alert).await)[2..],
            ["slack fired sending", "slack resolved pending"],
            "what is being sent is left alone"
        );
        assert!(claim(&db.store, Channel::Slack, at(4)).await.is_none(), "and is not overtaken");
        assert!(sent(&db.store, &message, at(5)).await);
        let last = claim(&db.store, Channel::Slack, at(5)).await.unwrap();
        assert_eq!((last.event, last.snapshot.is_over(), last.snapshot.firing), (Event::Resolved, true, 0));
    }

    async fn a_fire_that_failed_gives_way_to_newer_news_and_its_patience(db: TestDb) {
        let config = unreachable("[service]");
        let see = async |condition, second| {
            changed(observe(&db.store, &config, &look("checkout", "a", condition), at(second)).await.unwrap())
        };
        let alert = see(fires(Ticket, "Budget burns"), 0).await;
        let fire = claim(&db.store, Channel::Webhook, at(0)).await.unwrap();
        see(fires(Page, "Budget burns"), 1).await;
        fail(&db.store, &fire, at(90)).await;
        let webhook: Vec<Delivery> =
            deliveries(&db.store, &alert).await.into_iter().filter(|d| d.channel == "webhook").collect();
        assert_eq!((webhook[0].state.as_str(), webhook[0].attempts), ("superseded", 1));
        assert_eq!((webhook[1].state.as_str(), webhook[1].event.as_str()), ("pending", "fired"));
        assert_eq!((webhook[1].due_at, webhook[1].error.as_deref()), (Some(at(90)), Some("HTTP 500")));
        assert!(claim(&db.store, Channel::Webhook, at(89)).await.is_none(), "the peer is left in peace");

        see(CLEAR, 2).await;
        let last = claim(&db.store, Channel::Webhook, at(90)).await.unwrap();
        assert_eq!((last.event, last.attempt), (Event::Resolved, 2));
        assert_eq!(last.snapshot.lead().unwrap().fired_at, Some(at(0)), "the resolve tells the whole story");
    }

    async fn a_row_has_one_sender_and_comes_back_when_that_one_is_gone(db: TestDb) {
        let config = unreachable("[service]");
        observe(&db.store, &config, &look("checkout", "a", fires(Page, "Budget burns")), at(0)).await.unwrap();
        let claims = futures_util::future::join_all((0..8).map(|_| claim(&db.store, Channel::Slack, at(0)))).await;
        let mut taken = claims.into_iter().flatten();
        let lost = taken.next().unwrap();
        assert!(taken.next().is_none(), "two senders took the same row");
        assert!(!lost.outcome_unknown);

        assert!(claim(&db.store, Channel::Slack, at(59)).await.is_none());
        let again = claim(&db.store, Channel::Slack, at(60)).await.unwrap();
        assert_eq!((&again.id, again.attempt, again.outcome_unknown), (&lost.id, 2, true));
        assert!(!sent(&db.store, &lost, at(61)).await, "the first sender's lease has ended");
        assert!(sent(&db.store, &again, at(61)).await);
        assert!(claim(&db.store, Channel::Slack, at(1000)).await.is_none());
    }

    async fn only_an_editable_message_follows_every_figure(db: TestDb) {
        let config = unreachable("[service]");
        let alert = changed(
            observe(&db.store, &config, &look("checkout", "a", fires(Page, "Budget burns")), at(0)).await.unwrap(),
        );
        for channel in Channel::ALL {
            let claimed = claim(&db.store, channel, at(0)).await.unwrap();
            assert!(sent(&db.store, &claimed, at(1)).await);
        }
        let Condition::Firing { severity, mut content } = fires(Page, "Budget burns") else { unreachable!() };
        "31.0×".clone_into(&mut content.facts[0].value);
        let moved = look("checkout", "a", Condition::Firing { severity, content });
        let transition = observe(&db.store, &config, &moved, at(60)).await.unwrap();
        assert!(matches!(transition, Transition::Changed(Change::Refreshed, _)));
        assert_eq!(messages(&db.store, &alert).await[3..], ["slack refreshed pending"]);
    }

    /// The evaluator keeps alerts in memory, the saga reads them from the store, and either may
    /// restart at any time: all tell the same story.
    async fn a_restart_changes_no_transition(db: TestDb) {
        let config = unreachable("[]");
        let conditions = [
            fires(Ticket, "a"), CLEAR, fires(Page, "a"), Condition::Unknown, fires(Page, "b"), CLEAR, CLEAR,
            fires(Ticket, "a"), Condition::Unknown, Condition::Unknown, CLEAR, fires(Page, "a"),
        ];
        let mut memory: HashMap<String, Alert> = HashMap::new();
        for (second, condition) in conditions.into_iter().cycle().take(40).enumerate() {
            let seen = devpulse::alert::Observation {
                pending_for: Duration::from_secs(1),
                keep_firing_for: Duration::from_secs(2),
                ..look("checkout", "a", condition)
            };
            let now = at(i64::try_from(second).unwrap());
            let expected = step(memory.get(&seen.fingerprint), &seen, now);
            assert_eq!(observe(&db.store, &config, &seen, now).await.unwrap(), expected, "second {second}");
            memory = alert::active(&mut db.store.read().await.unwrap()).await.unwrap();
        }
    }

    async fn one_active_alert_per_fingerprint(db: TestDb) {
        let config = unreachable("[]");
        let seen = look("checkout", "a", fires(Page, "Budget burns"));
        observe(&db.store, &config, &seen, at(0)).await.unwrap();
        // Somebody who does not know of it.
        let blind = step(None, &seen, at(1));
        let mut tx = db.store.begin().await.unwrap();
        let refused = alert::apply(&mut tx, &blind, Routing::of(&config), at(1)).await;
        assert!(matches!(refused, Err(StoreError::Query(_))), "{refused:?}");
    }
}
