//! DevPulse's own logs, traces and metrics.

pub mod metrics;
pub mod process;
mod series;
pub mod trace;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::model::{LogFormat, Telemetry};

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.log_filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("telemetry.otlp_endpoint: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging: {0}")]
    Logging(#[from] tracing_subscriber::util::TryInitError),
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("metrics: another recorder is installed")]
    Recorder,
}

/// What must be flushed at the end.
pub struct Running {
    traces: Option<SdkTracerProvider>,
}

/// Starts logging to standard error, and traces when an endpoint is configured.
///
/// # Errors
/// A setting is wrong, or logging runs already.
pub fn start(config: &Telemetry) -> Result<Running, TelemetryError> {
    let traces = config.otlp_endpoint.as_ref().map(trace::provider).transpose()?;
    // Spans of other crates stay out: the exporter's own requests would make spans for ever.
    let exported = traces.as_ref().map(|traces| {
        let layer = tracing_opentelemetry::layer().with_tracer(traces.tracer("devpulse"));
        layer.with_filter(EnvFilter::new("off,devpulse=debug"))
    });
    let filter = EnvFilter::try_new(&config.log_filter)?;
    let writer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match config.log_format {
        LogFormat::Text => writer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => writer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(logs.with_filter(filter)).with(exported).try_init()?;
    Ok(Running { traces })
}

impl Running {
    /// Sends what is left to send.
    pub async fn flush(self) {
        let Some(traces) = self.traces else { return };
        // The exporter blocks.
        let ended = tokio::task::spawn_blocking(move || traces.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
