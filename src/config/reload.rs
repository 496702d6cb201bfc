//! Which changes of a configuration take effect only at the next start.

use secrecy::ExposeSecret;

use super::Config;

/// The changed keys that a running process does not take over.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (a, b) = (old, new);
    let differs = [
        ("server.listen", a.server.listen != b.server.listen),
        ("server.workers", a.server.workers != b.server.workers),
        ("server.max_connections", a.server.max_connections != b.server.max_connections),
        ("server.client_timeout", a.server.client_timeout != b.server.client_timeout),
        ("server.keep_alive", a.server.keep_alive != b.server.keep_alive),
        ("server.shutdown_timeout", a.server.shutdown_timeout != b.server.shutdown_timeout),
        ("database.url", a.database.url.expose_secret() != b.database.url.expose_secret()),
        ("database.connections", a.database.connections != b.database.connections),
        ("ingest.max_buffered_bytes", a.ingest.max_buffered_bytes != b.ingest.max_buffered_bytes),
        ("ingest.max_waiting", a.ingest.max_waiting != b.ingest.max_waiting),
        ("ingest.materialise_every", a.ingest.materialise_every != b.ingest.materialise_every),
        ("dora.memory_bytes", a.dora.memory_bytes != b.dora.memory_bytes),
        ("telemetry.otlp_endpoint", a.telemetry.otlp_endpoint != b.telemetry.otlp_endpoint),
        ("telemetry.log_format", a.telemetry.log_format != b.telemetry.log_format),
        ("telemetry.log_filter", a.telemetry.log_filter != b.telemetry.log_filter),
        ("telemetry.max_series", a.telemetry.max_series != b.telemetry.max_series),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}
