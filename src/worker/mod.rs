//! What runs in the background: idempotent tasks woken by a signal and by a timer.

pub mod alert_metrics;
pub mod dispatch;
pub mod saga;
