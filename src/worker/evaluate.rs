//! The evaluator: what was committed moves the windows, and what the windows say becomes alerts
//! and rollbacks. Woken by every commit, and by a timer.
//!
//! One task owns it all, so an observation is judged once. Everything it knows is in the store too:
//! after a restart the windows, the alerts and the deployments come back from there.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::alert_book::AlertBook;
use super::crew::Stop;
use super::saga::{self, SagaError};
use super::situation::Watched;
use crate::alert::burn::{self, LastDeployment};
use crate::alert::{Alert, Observation};
use crate::app::{App, StreamEvent};
use crate::config::model::Policy;
use crate::event::DeliveryEvent;
use crate::ingest::committer::CommitNotice;
use crate::rollback::policy;
use crate::slo::SloStatus;
use crate::store::alert::Routing;
use crate::store::StoreError;
use crate::time::Timestamp;

/// Windows slide and pairs calm down without any event.
const EVERY: Duration = Duration::from_secs(1);
/// Deployments, incidents and rollbacks are read again at least this often.
const REFRESH: Duration = Duration::from_secs(10);

/// Notices taken in before they are judged: who sends without end must not keep others waiting.
const AT_ONCE: usize = 256;

type Place = (String, String);

pub struct Evaluator {
    app: Arc<App>,
    saga: Arc<saga::Deps>,
    alerts: AlertBook,
    /// What was last read of the places with a rollback policy.
    watched: HashMap<Place, Watched>,
}

impl Evaluator {
    /// Reads what the store knows of windows and alerts.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn load(app: Arc<App>, saga: Arc<saga::Deps>) -> Result<Self, StoreError> {
        let now = app.clock.now();
        let live = super::windows::load(&app.store, &app.config.load(), now).await?;
        *app.live.write() = live;
        let alerts = AlertBook::load(app.store.clone(), saga.fencing).await?;
        Ok(Self { app, saga, alerts, watched: HashMap::new() })
    }

    /// Runs until the shutdown signal or the end of the notices.
    pub async fn run(mut self, mut notices: mpsc::Receiver<CommitNotice>, mut stop: Stop) {
        let mut timer = tokio::time::interval(EVERY);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut config = self.app.config.load_full();
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                // Before the notices, which under steady traffic never end.
                _ = timer.tick() => {
                    let current = self.app.config.load_full();
                    if !Arc::ptr_eq(&config, &current) {
                        config = current;
                        self.reload().await;
                    }
                    self.all().await;
                }
                notice = notices.recv() => match notice {
                    Some(notice) => self.take(notice, &mut notices).await,
                    None => return,
                },
            }
        }
    }

    /// Takes in a notice, and what else waits behind it, before judging once.
    async fn take(&mut self, first: CommitNotice, notices: &mut mpsc::Receiver<CommitNotice>) {
        let mut received_at = first.received_at;
        let mut places = BTreeSet::new();
        let (mut next, mut taken) = (Some(first), 0);
        while let Some(notice) = next {
            places.extend(self.app.live.write().add(&notice.telemetry));
            for fact in &notice.facts {
                self.note(fact, &mut places);
            }
            received_at = received_at.into_iter().chain(notice.received_at).min();
            taken += 1;
            next = if taken < AT_ONCE { notices.try_recv().ok() } else { None };
        }
        for place in places {
            self.judge(&place, received_at).await;
        }
    }

    /// A delivery fact changes what is known of its place.
    fn note(&mut self, fact: &DeliveryEvent, places: &mut BTreeSet<Place>) {
        let (kind, place) = match fact {
            DeliveryEvent::Deployment(event) => {
                ("deployment", Some((event.service.clone(), event.environment.clone())))
            }
            DeliveryEvent::Incident(_) => ("incident", None),
            DeliveryEvent::Change(_) => return,
        };
        match place {
            Some(place) => {
                self.watched.remove(&place);
                places.insert(place);
            }
            None => self.watched.clear(),
        }
        self.stream(kind, fact);
    }

    fn stream(&self, kind: &'static str, data: &impl serde::Serialize) {
        if let Ok(data) = serde_json::to_value(data) {
            // Nobody listening is no error.
            let _ = self.app.stream.send(StreamEvent { kind, data });
        }
    }

    /// A new configuration has other objectives: their windows are read anew.
    async fn reload(&mut self) {
        match Self::load(Arc::clone(&self.app), Arc::clone(&self.saga)).await {
            Ok(fresh) => *self = fresh,
            Err(error) => tracing::error!(%error, "the windows of the new configuration cannot be read"),
        }
    }

    /// Judges every place, and says on `/metrics` where the objectives stand.
    async fn all(&mut self) {
        let now = self.app.clock.now();
        self.watched.retain(|_, watched| now.duration_since(watched.read_at) < REFRESH);
        self.retire(now).await;
        let places: BTreeSet<Place> = {
            let live = self.app.live.read();
            live.all().iter().map(|tracked| (tracked.slo.service.clone(), tracked.slo.environment.clone())).collect()
        };
        for place in places {
            self.judge(&place, None).await;
        }
        let live = self.app.live.read();
        for tracked in live.all() {
            crate::slo::gauges::set(&live.status(tracked, now));
        }
    }

    /// Objectives that are not configured any more leave no alert behind.
    async fn retire(&mut self, now: Timestamp) {
        let known: BTreeSet<String> =
            self.app.live.read().all().iter().map(|tracked| burn::fingerprint(&tracked.slo.name)).collect();
        let gone: Vec<Alert> =
            self.alerts.active().filter(|alert| !known.contains(&alert.fingerprint)).cloned().collect();
        for alert in gone {
            self.observe(burn::withdrawn(&alert), now).await;
        }
    }

    /// Rollback first: it is what must be fast.
    async fn judge(&mut self, place: &Place, received_at: Option<Timestamp>) {
        let now = self.app.clock.now();
        let config = self.app.config.load_full();
        let rule = config.rollback.policies.iter().find(|p| p.service == place.0 && p.environment == place.1);
        if let Some(rule) = rule
            && let Err(error) = self.decide(place, rule, received_at.unwrap_or(now)).await
        {
            tracing::error!(%error, service = place.0, environment = place.1, "no rollback decision could be kept");
        }
        let last = self.last_deployment(place);
        let statuses: Vec<SloStatus> = {
            let live = self.app.live.read();
            live.of(&place.0, &place.1).map(|tracked| live.status(tracked, now)).collect()
        };
        for status in statuses {
            self.observe(burn::observe(&status, last.as_ref(), now), now).await;
        }
    }

    fn last_deployment(&self, place: &Place) -> Option<LastDeployment> {
        let deployment = self.watched.get(place)?.current()?;
        let version = deployment.version.clone().unwrap_or_else(|| deployment.key.id.clone());
        Some(LastDeployment { version, finished_at: deployment.finished_at? })
    }

    async fn observe(&mut self, observation: Observation, now: Timestamp) {
        let config = self.app.config.load_full();
        match self.alerts.observe(&observation, Routing::of(&config), now).await {
            Ok(None) => {}
            Ok(Some((change, alert))) => {
                tracing::info!(?change, fingerprint = alert.fingerprint, "alert");
                self.stream("alert", &alert);
                self.app.wake.dispatch.notify_one();
            }
            Err(error) => {
                let fingerprint = observation.fingerprint;
                tracing::error!(%error, fingerprint, "an alert's transition was not kept; it is tried again");
            }
        }
    }

    /// Decides whether the place's newest deployment must go, and keeps the intent before anything
    /// is done about it.
    async fn decide(&mut self, place: &Place, rule: &Policy, observed_at: Timestamp) -> Result<(), SagaError> {
        let now = self.app.clock.now();
        if !self.watched.contains_key(place) {
            let watched = Watched::read(&self.app.store, rule, now).await?;
            self.watched.insert(place.clone(), watched);
        }
        let Some(watched) = self.watched.get(place) else { return Ok(()) };
        let situation = watched.situation(&self.app.live.read(), rule, observed_at, now);
        let Some(situation) = situation else { return Ok(()) };
        let decision = policy::decide(&situation, rule, now);
        if decision.first_state().is_none() {
            return Ok(());
        }
        self.watched.remove(place);
        let mut tx = self.app.store.begin().await?;
        let intended = saga::intend(&mut tx, &self.saga, &decision).await?;
        tx.commit().await?;
        if let Some(rollback) = intended {
            self.app.wake.saga.notify_one();
            saga::announce(&self.app.stream, &rollback);
            self.app.wake.dispatch.notify_one();
        }
        Ok(())
    }
}
