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
use super::slo_stream::SloStream;
use super::windows;
use crate::alert::burn::{self, LastDeployment};
use crate::alert::{Alert, Observation, no_data};
use crate::app::{App, StreamEvent};
use crate::config::Config;
use crate::config::model::Policy;
use crate::event::DeliveryEvent;
use crate::ingest::committer::{CommitNotice, SubmitError};
use crate::rollback::policy;
use crate::slo::{Live, SloStatus};
use crate::store::StoreError;
use crate::store::alert::Routing;
use crate::time::Timestamp;

/// Windows slide and pairs calm down without any event.
const EVERY: Duration = Duration::from_secs(1);
/// Deployments, incidents and rollbacks are read again at least this often.
const REFRESH: Duration = Duration::from_secs(10);

/// Versions that nobody hears of any more are forgotten this often.
const FORGET_EVERY: Duration = Duration::from_mins(1);
/// Notices taken in before they are judged: who sends without end must not keep others waiting.
const AT_ONCE: usize = 256;

type Place = (String, String);

#[derive(Debug, thiserror::Error)]
enum WindowsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Pause(#[from] SubmitError),
}

pub struct Evaluator {
    app: Arc<App>,
    saga: Arc<saga::Deps>,
    alerts: AlertBook,
    /// What was last read of the places with a rollback policy.
    watched: HashMap<Place, Watched>,
    /// The configuration that the windows are of.
    config: Arc<Config>,
    /// The latest moment at which everything was judged.
    judged_at: Timestamp,
    forgotten_at: Timestamp,
    began_at: Timestamp,
    told: SloStream,
}

/// Of the alerts that an objective may have.
fn fingerprints(slo: &str) -> [String; 2] {
    [burn::fingerprint(slo), no_data::fingerprint(slo)]
}

impl Evaluator {
    /// Reads what the store knows of windows and alerts.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn load(app: Arc<App>, saga: Arc<saga::Deps>) -> Result<Self, StoreError> {
        let (config, now) = (app.config.load_full(), app.clock.now());
        let mut live = Live::new(&config);
        windows::read(&app.store, &config, &mut live, now).await?;
        *app.live.write() = live;
        let alerts = AlertBook::load(app.store.clone(), saga.fencing).await?;
        Ok(Self {
            app,
            saga,
            alerts,
            watched: HashMap::new(),
            config,
            judged_at: now,
            forgotten_at: now,
            began_at: now,
            told: SloStream::default(),
        })
    }

    /// Runs until the shutdown signal or the end of the notices.
    pub async fn run(mut self, mut notices: mpsc::Receiver<CommitNotice>, mut stop: Stop) {
        let mut timer = tokio::time::interval(EVERY);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                // Before the notices, which under steady traffic never end.
                _ = timer.tick() => {
                    self.renew(&mut notices).await;
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
            received_at = received_at.into_iter().chain(notice.received_at).min();
            self.absorb(&notice, &mut places);
            taken += 1;
            next = if taken < AT_ONCE { notices.try_recv().ok() } else { None };
        }
        for place in places {
            self.judge(&place, received_at).await;
        }
    }

    /// Moves the windows by what was committed; adds the places to be judged.
    fn absorb(&mut self, notice: &CommitNotice, places: &mut BTreeSet<Place>) {
        let latest = windows::latest(&self.config, self.app.clock.now());
        places.extend(self.app.live.write().add(&notice.telemetry, latest));
        for fact in &notice.facts {
            self.note(fact, places);
        }
    }

    /// A delivery fact changes what is known of its place.
    fn note(&mut self, fact: &DeliveryEvent, places: &mut BTreeSet<Place>) {
        let (kind, place) = match fact {
            DeliveryEvent::Deployment(event) => {
                ("deployment", Some((event.service.clone(), event.environment.clone())))
            }
            DeliveryEvent::Incident(_) | DeliveryEvent::Links(_) => ("incident", None),
            DeliveryEvent::Change(_)
            | DeliveryEvent::PullRequest(_)
            | DeliveryEvent::Push(_)
            | DeliveryEvent::Finding(_)
            | DeliveryEvent::Origin(_)
            | DeliveryEvent::Unread(_) => return,
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

    /// Brings the windows under a new configuration. After the clock was put back they are read
    /// anew: what came in while it was wrong may have pushed the present out of them.
    async fn renew(&mut self, notices: &mut mpsc::Receiver<CommitNotice>) {
        let (config, now) = (self.app.config.load_full(), self.app.clock.now());
        let was_ahead = self.judged_at > now.plus(config.ingest.max_future);
        if Arc::ptr_eq(&self.config, &config) && !was_ahead {
            return;
        }
        match self.windows(&config, was_ahead, notices).await {
            Ok(live) => {
                *self.app.live.write() = live;
                self.watched.clear();
                self.config = config;
                self.judged_at = now;
            }
            Err(error) => tracing::error!(%error, "the windows cannot be read; they stay as they were for now"),
        }
    }

    /// The windows that `config` asks for: those of objectives that stay go on, unless all are to be
    /// `fresh`; the others are read from the buckets while nothing is committed, so that nothing is
    /// missed or counted twice.
    async fn windows(
        &mut self,
        config: &Config,
        fresh: bool,
        notices: &mut mpsc::Receiver<CommitNotice>,
    ) -> Result<Live, WindowsError> {
        let kept = self.app.live.read().under(config);
        if kept.is_read() && !fresh {
            return Ok(kept);
        }
        let mut pause = self.app.committer.pause().await?;
        let mut places = BTreeSet::new();
        while let Some(notice) = notices.try_recv().ok().or_else(|| pause.held.take()) {
            self.absorb(&notice, &mut places);
        }
        let mut live = if fresh { Live::new(config) } else { self.app.live.read().under(config) };
        windows::read(&self.app.store, config, &mut live, self.app.clock.now()).await?;
        Ok(live)
    }

    /// Judges every place, and says on `/metrics` where the objectives stand.
    async fn all(&mut self) {
        let now = self.app.clock.now();
        self.judged_at = self.judged_at.max(now);
        if now.duration_since(self.forgotten_at) >= FORGET_EVERY || now < self.forgotten_at {
            self.app.live.write().forget_old_versions(now);
            self.forgotten_at = now;
        }
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
            self.app.live.read().all().iter().flat_map(|tracked| fingerprints(&tracked.slo.name)).collect();
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
            self.observe(burn::observe(&status, last.as_ref(), &config.alerts, now), now).await;
            self.observe(no_data::observe(&status, config.alerts.no_data_after, self.began_at, now), now).await;
            self.told.tell(&self.app.stream, &status, now);
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
