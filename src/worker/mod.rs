//! What runs in the background: idempotent tasks woken by a signal and by a timer.

pub mod alert_book;
pub mod alert_metrics;
pub mod commit_ranges;
pub mod crew;
pub mod dispatch;
pub mod dora_gauges;
pub mod evaluate;
pub mod gauges;
pub mod saga;
mod situation;
mod slo_stream;
pub mod source_counts;
pub mod tell;
pub mod upkeep;
mod windows;
