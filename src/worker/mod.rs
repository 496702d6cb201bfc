//! Background work: idempotent functions woken by a signal and by a timer, without input.

pub mod alert_metrics;
pub mod dispatch;
//! What runs in the background: idempotent tasks woken by a signal and by a timer.

pub mod dora_gauges;
pub mod crew;
pub mod saga;
