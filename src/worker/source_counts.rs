//! Writes down what became of deliveries, about once a second and at the end.

use std::sync::Arc;
use std::time::Duration;

use super::crew::Stop;
use crate::app::App;

const EVERY: Duration = Duration::from_secs(1);

/// Runs until it is asked to end.
pub async fn run(app: Arc<App>, mut stop: Stop) {
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = timer.tick() => flush(&app).await,
            () = stop.requested() => break,
        }
    }
    flush(&app).await;
}

async fn flush(app: &App) {
    if let Err(error) = app.tally.flush(&app.store).await {
        tracing::warn!(%error, "the counts of sources could not be written; tried again later");
    }
}
