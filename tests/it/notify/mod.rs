//! Messages that leave: Slack, mail and webhooks against real peers, retries, crashes.

mod dispatch;
mod mail;
mod slack;
mod trial;
mod webhook;

use std::time::Duration;

use chrono::Utc;
use devpulse::alert::{Alert, Condition};
use devpulse::config::model::Config;
use devpulse::notify::Notifiers;
use devpulse::store::outbox::{self, Delivery};
use devpulse::store::{Store, alert};
use devpulse::time::{Clock, Timestamp};
use devpulse::worker::dispatch::Dispatcher;

use crate::support::alerting::{changed, look, observe};

/// A store, a configuration and a dispatcher whose clock is moved by hand.
struct Scene {
    store: Store,
    config: Config,
    clock: Clock,
    dispatcher: Dispatcher,
}

impl Scene {
    fn new(store: &Store, yaml: &str) -> Self {
        let config = crate::support::alerting::config(yaml);
        // Receivers of signed webhooks compare with the time of day.
        let clock = Clock::manual(Timestamp::from(Utc::now()));
        let dispatcher = Dispatcher::new(store.clone(), clock.clone(), Notifiers::of(&config));
        Self { store: store.clone(), config, clock, dispatcher }
    }

    /// Observes the objective `slo` of checkout and sends what is due.
    async fn see(&self, slo: &str, condition: Condition) -> Alert {
        let alert = self.observe(slo, condition).await;
        self.send().await;
        alert
    }

    async fn observe(&self, slo: &str, condition: Condition) -> Alert {
        let seen = look("checkout", slo, condition);
        changed(observe(&self.store, &self.config, &seen, self.clock.now()).await.unwrap())
    }

    async fn send(&self) {
        self.dispatcher.run_once().await.unwrap();
    }

    /// Lets time pass, then sends what is due.
    async fn after(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.send().await;
    }

    /// The messages of the alert's group, the oldest first.
    async fn deliveries(&self, alert: &Alert) -> Vec<Delivery> {
        let mut conn = self.store.read().await.unwrap();
        let group = alert::group_of(&mut conn, &alert.id).await.unwrap().unwrap();
        let mut all = outbox::deliveries(&mut conn, &group.id).await.unwrap();
        all.reverse();
        all
    }
}
