//! Taking events in: bytes → events → one durable commit per group → receipts.

pub mod committer;
pub mod decode;
pub mod fault;
pub mod github;
mod group;
pub mod key;
pub mod metrics;
pub mod native;
mod notices;
pub mod receipt;
mod wire;

/// Counts items taken in or refused; `source` is `api` or the name of a webhook.
pub fn count(source: &'static str, outcome: &'static str, items: usize) {
    let items = u64::try_from(items).unwrap_or(u64::MAX);
    ::metrics::counter!("devpulse_ingest_items_total", "source" => source, "outcome" => outcome).increment(items);
}

/// Describes this module's metrics.
pub fn describe() {
    ::metrics::describe_counter!(
        "devpulse_ingest_items_total",
        "Events received, by source and by outcome (accepted, duplicate, invalid, skipped)"
    );
}
mod writer;
