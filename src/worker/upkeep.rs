//! Forgets what is past its retention: buckets of telemetry and keys of requests. Facts stay.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::store::retention;

const EVERY: Duration = Duration::from_mins(10);

/// Runs for ever, a first time soon after the start.
pub async fn run(app: Arc<App>) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let config = app.config.load_full();
        let keys = config.ingest.deduplication_window;
        match retention::prune(&app.store, &config.retention, keys, app.clock.now()).await {
            Ok(pruned) => tracing::debug!(?pruned, "old telemetry and keys are gone"),
            Err(error) => tracing::warn!(%error, "old telemetry could not be removed; tried again later"),
        }
    }
}
