//! Gauges that are read from the store rather than counted: delivery metrics, alerts, outbox.

use std::sync::Arc;
use std::time::Duration;

use super::alert_metrics;
use super::dora_gauges::DoraGauges;
use crate::app::App;
use crate::store::StoreError;

const EVERY: Duration = Duration::from_secs(2);

/// Refreshes them for ever; between two scrapes is often enough.
pub async fn run(app: Arc<App>) {
    let mut dora = DoraGauges::default();
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if let Err(error) = refresh(&app, &mut dora).await {
            tracing::warn!(%error, "the gauges could not be refreshed");
        }
    }
}

async fn refresh(app: &App, dora: &mut DoraGauges) -> Result<(), StoreError> {
    let config = app.config.load_full();
    dora.refresh(&app.store, &app.dora, &config, app.clock.now()).await?;
    alert_metrics::refresh(&mut app.store.read().await?).await
}
