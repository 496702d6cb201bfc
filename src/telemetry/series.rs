//! A bound on the series of `/metrics` whose labels come from events: services and environments.
//!
//! Senders choose these names, so there must be an end to them. Beyond it, counts of further places
//! are added up under `other`; gauges, which cannot be added up, are left out.

use std::collections::HashSet;

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit, counter, describe_counter,
};
use parking_lot::Mutex;

const DROPPED: &str = "devpulse_series_dropped_total";
const OTHER: &str = "other";

pub fn describe() {
    describe_counter!(
        DROPPED,
        "Series left out of /metrics because telemetry.max_series others carry a service label already."
    );
    counter!(DROPPED).absolute(0);
}

/// A recorder that takes at most `limit` series with the label `service`.
pub struct Capped<R> {
    inner: R,
    limit: usize,
    seen: Mutex<Seen>,
}

/// Hashes of the keys: what two keys with one hash would cost is one series too many.
#[derive(Default)]
struct Seen {
    kept: HashSet<u64>,
    /// Bounded as well: beyond it, series are left out without being counted one by one.
    dropped: HashSet<u64>,
}

impl<R: Recorder> Capped<R> {
    pub fn new(inner: R, limit: usize) -> Self {
        Self { inner, limit, seen: Mutex::default() }
    }

    /// Whether the series is kept; bounded by the code itself when it names no service.
    fn keeps(&self, key: &Key, metadata: &Metadata<'_>) -> bool {
        if !key.labels().any(|label| label.key() == "service") {
            return true;
        }
        let hash = key.get_hash();
        let mut seen = self.seen.lock();
        if seen.kept.contains(&hash) {
            return true;
        }
        if seen.kept.len() < self.limit {
            return seen.kept.insert(hash);
        }
        let first = seen.dropped.len() < self.limit && seen.dropped.insert(hash);
        drop(seen);
        if first {
            self.inner.register_counter(&Key::from_static_name(DROPPED), metadata).increment(1);
        }
        false
    }

    fn among_others(key: &Key) -> Key {
        let label = |label: &Label| match label.key() {
            "service" | "environment" => Label::new(label.key().to_owned(), OTHER),
            _ => label.clone(),
        };
        Key::from_parts(key.name().to_owned(), key.labels().map(label).collect::<Vec<_>>())
    }
}

impl<R: Recorder> Recorder for Capped<R> {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.inner.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        if self.keeps(key, metadata) {
            return self.inner.register_counter(key, metadata);
        }
        self.inner.register_counter(&Self::among_others(key), metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if self.keeps(key, metadata) { self.inner.register_gauge(key, metadata) } else { Gauge::noop() }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        if self.keeps(key, metadata) {
            return self.inner.register_histogram(key, metadata);
        }
        self.inner.register_histogram(&Self::among_others(key), metadata)
    }
}

#[cfg(test)]
mod tests {
    use metrics::{gauge, with_local_recorder};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn places_beyond_the_limit_are_other_or_left_out_and_counted_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        with_local_recorder(&Capped::new(recorder, 3), || {
            for service in ["a", "b", "c", "d", "e", "d"] {
                counter!("deployments_total", "service" => service, "environment" => "production").increment(1);
            }
            gauge!("burn", "service" => "f").set(7.0);
            gauge!("alerts", "state" => "firing").set(1.0);
        });
        let text = shown.render();
        for line in [
            r#"deployments_total{service="a",environment="production"} 1"#,
            r#"deployments_total{service="c",environment="production"} 1"#,
            r#"deployments_total{service="other",environment="other"} 3"#,
            r#"alerts{state="firing"} 1"#,
            "devpulse_series_dropped_total 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
        }
        assert!(!text.contains("burn"), "{text}");
    }
}
