//! The leader: everything a process runs from taking the lease until losing it or stopping.
//!
//! Only the process that holds the lease takes in, evaluates and acts. When the lease goes (the
//! database went away), everything made under it is taken down, and the process asks for the
//! lease again, with a new fencing number; its HTTP server answers 503 in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use arc_swap::ArcSwap;
use parking_lot::RwLock;
use secrecy::ExposeSecret;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep, timeout};

use super::Failure;
use crate::app::{App, Wake};
use crate::config::Config;
use crate::http::auth::{Door, Scope};
use crate::http::gate::{Closed, Gate, Serving};
use crate::http::hints;
use crate::http::keys::Keys;
use crate::http::loopback::is_loopback_address;
use crate::ingest::budget::Budget;
use crate::ingest::committer::{Committer, Settings};
use crate::ingest::tally::Tally;
use crate::notify::Notifiers;
use crate::rollback::executor::Executors;
use crate::slo::Live;
use crate::store::dora::DoraCache;
use crate::store::lease::{self, Lease};
use crate::store::{Store, StoreError, open};
use crate::time::Clock;
use crate::worker::crew::Crew;
use crate::worker::dispatch::Dispatcher;
use crate::worker::evaluate::Evaluator;
use crate::worker::{commit_ranges, gauges, saga, source_counts, tell, upkeep};

/// How often a standby asks for the lease, and the holder whether it still has it.
const LEASE_CHECK: Duration = Duration::from_secs(1);
/// A database that takes longer to say that the lease is held is as good as gone.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
/// Listeners of the stream may fall so many events behind.
const STREAM_EVENTS: usize = 1024;
/// Commit groups that may wait for the evaluator one by one; more are added up.
const NOTICES: usize = 256;

/// What a process runs while it leads.
pub struct Leader {
    pub app: Arc<App>,
    crew: Crew,
    dispatcher: Arc<Dispatcher>,
    saga: Arc<saga::Deps>,
    lease: Lease,
    committing: tokio::task::JoinHandle<()>,
    patience: Duration,
}

/// Whoever listens beyond loopback has a key, whether this process will lead or stand by. (Leading
/// asks again.)
///
/// # Errors
/// No key exists, or the database cannot be opened.
pub async fn check_keys(config: &Config, address: SocketAddr) -> Result<(), Failure> {
    if is_loopback_address(address.ip()) {
        return Ok(());
    }
    let keys = async { Keys::load(open::open(config.database.url.expose_secret(), 1).await?).await };
    if keys.await.map_err(Failure::database)?.any().await { Ok(()) } else { Err(needs_a_key(address)) }
}

fn needs_a_key(address: SocketAddr) -> Failure {
    let command = hints::create_key(Scope::Admin);
    Failure::Unfit(format!("listening on {address} needs a key: run `{command}`, or listen on 127.0.0.1"))
}

/// Waits for the lease and starts to lead.
///
/// # Errors
/// The very first time: the database cannot be opened. At any time: nobody could be let in.
pub async fn lead(config: &Config, address: SocketAddr, gate: &Gate, first: bool) -> Result<Leader, Failure> {
    let (store, lease) = wait_for_lease(config, gate, first).await?;
    let leader = Leader::start(config, address, gate, store, lease);
    match leader.await {
        Err(Failure::Database(error)) if !first => {
            // Gone again in the middle of it: ask for the lease again.
            tracing::warn!(%error, "the database is gone again");
            gate.close(Closed::Database);
            sleep(LEASE_CHECK).await;
            Box::pin(lead(config, address, gate, first)).await
        }
        other => other,
    }
}

async fn wait_for_lease(config: &Config, gate: &Gate, first: bool) -> Result<(Store, Lease), Failure> {
    let url = config.database.url.expose_secret();
    let mut said_standby = false;
    loop {
        match try_lease(url, config.database.connections).await {
            Ok((store, Some(lease))) => return Ok((store, lease)),
            Ok((_, None)) => {
                gate.close(Closed::Standby);
                if !said_standby {
                    tracing::info!("another process holds the lease; standing by");
                }
                said_standby = true;
            }
            Err(error) if first && !said_standby => return Err(Failure::database(error)),
            Err(error) => {
                tracing::warn!(%error, "the database does not answer; trying again");
                gate.close(Closed::Database);
            }
        }
        sleep(LEASE_CHECK).await;
    }
}

async fn try_lease(url: &str, connections: usize) -> Result<(Store, Option<Lease>), StoreError> {
    let store = open::open(url, connections).await?;
    let lease = lease::take(&store, url, &holder(), Clock::system().now()).await?;
    Ok((store, lease))
}

/// Names this process among all that share the database.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}:{}", host.trim(), std::process::id())
}

impl Leader {
    async fn start(
        config: &Config,
        address: SocketAddr,
        gate: &Gate,
        store: Store,
        lease: Lease,
    ) -> Result<Self, Failure> {
        let keys = Keys::load(store.clone()).await.map_err(Failure::database)?;
        let on_loopback = is_loopback_address(address.ip());
        if !keys.any().await {
            if !on_loopback {
                return Err(needs_a_key(address));
            }
            tracing::warn!(
                "NO API KEY EXISTS: every process on this machine may do everything here; `{}` ends this",
                hints::create_key(Scope::Admin)
            );
        }
        let clock = Clock::system();
        let settings = Settings {
            fencing: Some(lease.fencing),
            replica: "main".to_owned(),
            max_waiting: config.ingest.max_waiting,
            materialise_every: config.ingest.materialise_every,
        };
        let (notices, commits) = mpsc::channel(NOTICES);
        let (committer, committing) =
            Committer::start(store.clone(), clock.clone(), settings, notices).await.map_err(Failure::database)?;
        let (bodies, webhook_bodies) = Budget::split(config.ingest.max_buffered_bytes);
        let app = Arc::new(App {
            config: ArcSwap::from_pointee(config.clone()),
            store,
            clock,
            committer,
            wake: Wake::default(),
            bodies,
            webhook_bodies,
            tally: Tally::default(),
            dora: Arc::new(DoraCache::new(config.dora.memory_bytes)),
            live: RwLock::new(Live::new(config)),
            stream: broadcast::Sender::new(STREAM_EVENTS),
        });
        let mut crew = Crew::default();
        crew.add_endless("keys", keys.clone().follow());
        let dispatcher = Arc::new(Dispatcher::new(app.store.clone(), app.clock.clone(), Notifiers::of(config)));
        let executors =
            Executors::of(&config.rollback, &app.clock).map_err(|error| Failure::Unfit(error.to_string()))?;
        let saga = Arc::new(tell::saga_deps(&app, executors, lease.fencing));
        let evaluator = Evaluator::load(Arc::clone(&app), Arc::clone(&saga)).await.map_err(Failure::database)?;
        crew.add("evaluator", |stop| evaluator.run(commits, stop));
        let (told, dispatching) = (Arc::clone(&app.wake.dispatch), Arc::clone(&dispatcher));
        crew.add(
            "dispatcher",
            |mut stop| async move { dispatching.run(told, async move { stop.requested().await }).await },
        );
        crew.add_endless("saga", saga::run(Arc::clone(&saga), Arc::clone(&app.wake.saga)));
        crew.add_endless("commit ranges", commit_ranges::run(Arc::clone(&app)));
        crew.add_endless("gauges", gauges::run(Arc::clone(&app)));
        crew.add_endless("upkeep", upkeep::run(Arc::clone(&app)));
        crew.add("source counts", |stop| source_counts::run(Arc::clone(&app), stop));
        let database = open::without_password(config.database.url.expose_secret());
        tracing::info!(fencing = lease.fencing, database, "leading: events are taken in and judged");
        tracing::info!("next: send events as README.md shows; http://{address}/api/openapi.json describes the API");
        let door = Door { keys, on_loopback };
        gate.open(Serving { app: web::Data::from(Arc::clone(&app)), door, fencing: lease.fencing });
        Ok(Self { app, crew, dispatcher, saga, lease, committing, patience: config.server.shutdown_timeout })
    }

    /// Goes on under a new configuration; keys that need a restart keep their old meaning.
    ///
    /// # Errors
    /// A part of it cannot work: then everything stays as it was.
    pub fn reconfigure(&self, config: &Config) -> Result<(), String> {
        let executors = Executors::of(&config.rollback, &self.app.clock).map_err(|error| error.to_string())?;
        let notifiers = Notifiers::of(config);
        if let Some(reason) = notifiers.broken() {
            return Err(reason);
        }
        self.saga.executors.store(Arc::new(executors));
        self.dispatcher.replace(notifiers);
        self.app.config.store(Arc::new(config.clone()));
        Ok(())
    }

    /// Answers, with the reason, when leadership is lost.
    pub async fn lost(&mut self) -> String {
        let Self { crew, lease, committing, .. } = self;
        let held = async {
            loop {
                sleep(LEASE_CHECK).await;
                if !timeout(LEASE_PATIENCE, lease.is_held()).await.unwrap_or(false) {
                    return "the lease is lost".to_owned();
                }
            }
        };
        tokio::select! {
            reason = held => reason,
            reason = crew.ended() => reason,
            _ = committing => "the committer has ended".to_owned(),
        }
    }

    /// Takes everything down. What was submitted before is committed, or said not to be.
    pub async fn stop(self) {
        self.app.committer.stop();
        if !self.committing.is_finished() && timeout(self.patience, self.committing).await.is_err() {
            tracing::warn!("the last commits did not end in time");
        }
        self.crew.stop(self.patience).await;
    }
}
