//! What the running program consists of; `serve` wires it together.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use tokio::sync::{Notify, broadcast};

use crate::config::Config;
use crate::ingest::budget::Budget;
use crate::ingest::committer::Committer;
use crate::ingest::tally::Tally;
use crate::slo::Live;
use crate::store::Store;
use crate::store::dora::DoraCache;
use crate::time::Clock;

/// Shared by every handler (`web::Data<App>`) and worker (`Arc<App>`).
pub struct App {
    pub config: ArcSwap<Config>,
    pub store: Store,
    pub clock: Clock,
    pub committer: Committer,
    pub wake: Wake,
    /// What bodies of events, and those of webhooks, may take in memory together.
    pub bodies: Budget,
    pub webhook_bodies: Budget,
    /// What became of deliveries, until it is written down.
    pub tally: Tally,
    /// Delivery metrics' rows, derived once per new fact.
    pub dora: Arc<DoraCache>,
    /// The windows of every objective; written by the evaluator only.
    pub live: RwLock<Live>,
    /// What `GET /api/v1/stream` sends; a slow listener misses events, never slows the sender.
    pub stream: broadcast::Sender<StreamEvent>,
}

/// Signals for the workers. A worker also runs on a timer: a lost signal costs time, not work.
#[derive(Clone, Default)]
pub struct Wake {
    /// The outbox has something due.
    pub dispatch: Arc<Notify>,
    /// A rollback has a step to run.
    pub saga: Arc<Notify>,
}

/// One server-sent event.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    /// `deployment`, `incident`, `alert`, `rollback`, `slo`.
    pub kind: &'static str,
    pub data: serde_json::Value,
}
