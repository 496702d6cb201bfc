//! The windows of the objectives, as the store has them: what a start of the program reads, and
//! what a new configuration lacks.

use crate::config::Config;
use crate::slo::Live;
use crate::slo::ring::LEVELS;
use crate::store::{Store, StoreError, telemetry};
use crate::time::Timestamp;

/// The newest start of a bucket that is believed, in seconds.
pub fn latest(config: &Config, now: Timestamp) -> i64 {
    now.plus(config.ingest.max_future).seconds()
}

/// Fills the windows that were not read before: each level as far back as it is kept, and no
/// further than the longest objective needs. While telemetry is being taken in, the write path must
/// be paused.
///
/// # Errors
/// The database does not answer; `live` is then of no use.
pub async fn read(store: &Store, config: &Config, live: &mut Live, now: Timestamp) -> Result<(), StoreError> {
    let longest = config.slos.iter().map(|slo| slo.window.as_secs()).max().unwrap_or(0);
    let longest = i64::try_from(longest).unwrap_or(i64::MAX);
    let latest = latest(config, now);
    let mut conn = store.read().await?;
    for level in LEVELS {
        let from = now.seconds() - level.reach.min(longest.saturating_add(level.width));
        let resolution = i32::try_from(level.width).unwrap_or(i32::MAX);
        for bucket in telemetry::load_buckets(&mut conn, resolution, from..=latest).await? {
            live.load(level, &bucket.series, bucket.start, &bucket.delta);
        }
    }
    live.set_read();
    Ok(())
}
