//! Metrics of the write path.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::num::float;

const EVENTS: &str = "devpulse_ingest_events_total";
const DELIVERIES: &str = "devpulse_webhook_deliveries_total";
const WAITING: &str = "devpulse_ingest_waiting_requests";
const GROUP_SIZE: &str = "devpulse_commit_group_requests";
const COMMIT: &str = "devpulse_commit_duration_seconds";
const COMMIT_FAILURES: &str = "devpulse_commit_failures_total";
const JOURNAL: &str = "devpulse_journal_rows";
const MATERIALISE: &str = "devpulse_materialise_duration_seconds";
const MATERIALISE_FAILURES: &str = "devpulse_materialise_failures_total";

/// Says what each metric is; called once, after the recorder is installed.
pub fn describe() {
    use metrics::Unit::{Count, Seconds};
    metrics::describe_counter!(EVENTS, Count, "Events by kind and by what became of them.");
    metrics::describe_counter!(DELIVERIES, Count, "Webhook deliveries by source and by what became of them.");
    metrics::describe_gauge!(WAITING, Count, "Requests that wait for their commit.");
    metrics::describe_histogram!(GROUP_SIZE, Count, "Requests committed together.");
    metrics::describe_histogram!(COMMIT, Seconds, "How long one commit group took, fsync included.");
    metrics::describe_counter!(COMMIT_FAILURES, Count, "Commit groups that the database refused.");
    metrics::describe_gauge!(JOURNAL, Count, "Journal rows of this process that are not yet buckets.");
    metrics::describe_histogram!(MATERIALISE, Seconds, "How long turning journal rows into buckets took.");
    metrics::describe_counter!(MATERIALISE_FAILURES, Count, "Times that journal rows could not become buckets.");
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Accepted,
    Duplicate,
    Invalid,
    Skipped,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Invalid => "invalid",
            Self::Skipped => "skipped",
        }
    }
}

/// Counts events of one `kind` (the `type` of the native API; `unknown` where it could not be
/// read). Only who parsed them knows the kind of every item, so who answers them counts them.
pub fn count_events(kind: &'static str, outcome: Outcome, events: u64) {
    metrics::counter!(EVENTS, "kind" => kind, "outcome" => outcome.name()).increment(events);
}

/// Counts one delivery of a webhook; `outcome` is accepted, duplicate, skipped, invalid or unsigned.
pub fn count_delivery(source: &'static str, outcome: &'static str, times: u64) {
    metrics::counter!(DELIVERIES, "source" => source, "outcome" => outcome).increment(times);
}

pub(super) fn waiting(requests: usize) {
    metrics::gauge!(WAITING).set(small(requests));
}

pub(super) fn committed(requests: usize, took: Duration) {
    metrics::histogram!(GROUP_SIZE).record(small(requests));
    metrics::histogram!(COMMIT).record(took.as_secs_f64());
}

pub(super) fn commit_failed() {
    metrics::counter!(COMMIT_FAILURES).increment(1);
}

pub(super) fn journal_rows(rows: usize) {
    metrics::gauge!(JOURNAL).set(small(rows));
}

pub(super) fn materialised(took: Duration) {
    metrics::histogram!(MATERIALISE).record(took.as_secs_f64());
}

pub(super) fn materialise_failed() {
    metrics::counter!(MATERIALISE_FAILURES).increment(1);
}

fn small(count: usize) -> f64 {
    u64::try_from(count).map_or(f64::MAX, float)
}
