//! The windows of the objectives, as the store has them: what a start of the program reads.

use crate::config::Config;
use crate::slo::Live;
use crate::slo::ring::LEVELS;
use crate::store::{Store, StoreError, telemetry};
use crate::time::Timestamp;

/// Each level as far back as it is kept, and no further than the longest objective needs.
///
/// # Errors
/// The database does not answer.
pub async fn load(store: &Store, config: &Config, now: Timestamp) -> Result<Live, StoreError> {
    let mut live = Live::new(config);
    let longest = config.slos.iter().map(|slo| slo.window.as_secs()).max().unwrap_or(0);
    let longest = i64::try_from(longest).unwrap_or(i64::MAX);
    let mut conn = store.read().await?;
    for level in LEVELS {
        let from = now.seconds() - level.reach.min(longest.saturating_add(level.width));
        let resolution = i32::try_from(level.width).unwrap_or(i32::MAX);
        for bucket in telemetry::load_buckets(&mut conn, resolution, from).await? {
            live.load(level, &bucket.series, bucket.start, &bucket.delta);
        }
    }
    Ok(live)
}
