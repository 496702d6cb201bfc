//! Telemetry: many and cheap, so it is added up before it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::histogram::Histogram;
use crate::time::Timestamp;

/// The finest resolution kept.
pub const BUCKET_SECONDS: i64 = 10;

/// Whose requests these are. `version` is empty where the sender does not say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    pub service: Arc<str>,
    pub environment: Arc<str>,
    pub version: Arc<str>,
}

/// The start of the bucket that holds `time`, in seconds since the epoch.
pub const fn bucket_start(time: Timestamp) -> i64 {
    let seconds = time.seconds();
    seconds - seconds.rem_euclid(BUCKET_SECONDS)
}

/// What one series did in one bucket. Adding is commutative and associative.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TelemetryDelta {
    pub requests: u64,
    /// Requests that failed (status 500 and above, or reported as errors).
    pub errors: u64,
    pub duration_sum_us: u64,
    /// Only requests that came with a duration.
    pub durations: Histogram,
}

impl TelemetryDelta {
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.duration_sum_us = self.duration_sum_us.saturating_add(other.duration_sum_us);
        self.durations.merge(&other.durations);
    }
}

/// Error events of one fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorDelta {
    pub level: String,
    /// One message as a sample: that of the latest occurrence.
    pub message: String,
    pub count: u64,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
}

impl ErrorDelta {
    pub fn merge(&mut self, other: &Self) {
        if (other.last_seen, &other.message) > (self.last_seen, &self.message) {
            self.message.clone_from(&other.message);
            self.level.clone_from(&other.level);
        }
        self.count = self.count.saturating_add(other.count);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
    }
}

/// The telemetry of one request, or of one commit group, added up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TelemetryBatch {
    /// Keyed by (series, bucket start in seconds).
    pub deltas: BTreeMap<(SeriesKey, i64), TelemetryDelta>,
    /// Keyed by (series, fingerprint).
    pub errors: BTreeMap<(SeriesKey, String), ErrorDelta>,
}

impl TelemetryBatch {
    pub fn is_empty(&self) -> bool {
        self.deltas.is_empty() && self.errors.is_empty()
    }

    pub fn merge(&mut self, other: &Self) {
        for (key, delta) in &other.deltas {
            self.deltas.entry(key.clone()).or_default().merge(delta);
        }
        for (key, delta) in &other.errors {
            match self.errors.get_mut(key) {
                Some(known) => known.merge(delta),
                None => drop(self.errors.insert(key.clone(), delta.clone())),
            }
        }
    }
}
