//! The recorder behind `/metrics`, and what each metric means.

use std::time::Duration;

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::TelemetryError;
use super::series::{self, Capped};
use crate::{http, ingest, slo, worker};

/// Seconds: from the cost of a handler to the patience of a person.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Counts and sizes of anything else, so that no histogram turns into a summary.
const POWERS: [f64; 12] = [1.0, 4.0, 16.0, 64.0, 256.0, 1e3, 4e3, 16e3, 64e3, 256e3, 1e6, 4e6];

/// How often the recorder folds what histograms gathered.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder of this process.
///
/// # Errors
/// One is installed already.
pub fn install(max_series: usize) -> Result<PrometheusHandle, TelemetryError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&POWERS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(Capped::new(recorder, max_series)).map_err(|_| TelemetryError::Recorder)?;
    describe();
    gauge!("devpulse_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Every module says what its metrics mean.
fn describe() {
    describe_gauge!("devpulse_build_info", "1, with the version of this DevPulse as a label.");
    http::observe::describe();
    http::metrics::describe();
    ingest::metrics::describe();
    slo::gauges::describe();
    worker::alert_metrics::describe();
    worker::dora_gauges::describe();
    worker::commit_ranges::describe();
    worker::saga::describe();
    super::process::describe();
    series::describe();
}

/// Keeps histograms small between scrapes, for ever.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}
