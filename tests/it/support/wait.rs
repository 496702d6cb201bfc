//! Waiting for a condition with a deadline: no test sleeps for luck.

use std::time::Duration;

use tokio::time::Instant;

/// Asks `check` until it has something to give; panics with `what` when `within` has passed.
pub async fn until<T>(what: &str, within: Duration, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
