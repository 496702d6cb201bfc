//! The sections of plain settings: server, database, ingest, retention, telemetry, dora, alerts.

use std::time::Duration;

use super::model::{Alerts, Database, Dora, Ingest, LogFormat, Retention, Server, Targets, Telemetry};
use super::reader::Section;
use super::scalar::{boolean, duration, http_url, number, one_of, secret_url, share, text, wait, whole};
use crate::slo::ring::LEVELS;
use crate::time::short;

/// What lies further ahead would push the present out of the finest windows.
const MOST_FUTURE: Duration = Duration::from_hours(1);

/// Editions of the DORA benchmarks that DevPulse has.
const EDITIONS: &[(&str, &str)] = &[("2021", "2021"), ("2023", "2023"), ("2024", "2024")];
const LOG_FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) fn server(at: &Section<'_>) -> Option<Server> {
    let listen = at.required("listen", |scalar: &_| {
        let listen = text(scalar)?;
        let port =
            listen.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
        port.map(|_| listen).ok_or_else(|| "must be an address and a port, such as 127.0.0.1:8080".to_owned())
    });
    let public_url = at.optional("public_url", http_url).map(|found| found.value);
    let workers = at.required("workers", whole(0));
    let max_connections = at.required("max_connections", whole(1));
    let client_timeout = at.required("client_timeout", duration);
    let keep_alive = at.required("keep_alive", duration);
    let shutdown_timeout = at.required("shutdown_timeout", duration);
    let metrics_public = at.required("metrics_public", boolean);
    Some(Server {
        listen: listen?,
        public_url,
        workers: workers?,
        max_connections: max_connections?,
        client_timeout: client_timeout?,
        keep_alive: keep_alive?,
        shutdown_timeout: shutdown_timeout?,
        metrics_public: metrics_public?,
    })
}

pub(super) fn database(at: &Section<'_>) -> Option<Database> {
    let url = at.required("url", secret_url(&["sqlite", "postgres", "postgresql"]));
    let connections = at.required("connections", whole(1));
    Some(Database { url: url?, connections: connections? })
}

pub(super) fn ingest(at: &Section<'_>) -> Option<Ingest> {
    let max_body_bytes = at.required("max_body_bytes", whole(1024));
    let max_decoded_bytes = at.required("max_decoded_bytes", whole(1024));
    let max_buffered_bytes = at.found("max_buffered_bytes", whole::<usize>(1024));
    let max_items = at.required("max_items", whole(1));
    let max_future = at.required("max_future", |scalar: &_| {
        let most =
            format!("must be at most {}: later events would push the present out of the windows", short(MOST_FUTURE));
        duration(scalar).and_then(|future| if future > MOST_FUTURE { Err(most) } else { Ok(future) })
    });
    let deduplication_window = at.required("deduplication_window", duration);
    let max_waiting = at.required("max_waiting", whole(1));
    let materialise_every = at.required("materialise_every", duration);
    let (max_body_bytes, max_decoded_bytes): (usize, usize) = (max_body_bytes?, max_decoded_bytes?);
    let max_buffered_bytes = max_buffered_bytes?;
    // Webhooks have a quarter of it, in which the largest of them must find room.
    let least = max_body_bytes.saturating_add(max_decoded_bytes).saturating_mul(4);
    if max_buffered_bytes.value < least {
        let message = format!("must be at least 4 × (max_body_bytes + max_decoded_bytes), which is {least}");
        at.report("max_buffered_bytes", max_buffered_bytes.place, message);
    }
    Some(Ingest {
        max_body_bytes,
        max_decoded_bytes,
        max_buffered_bytes: max_buffered_bytes.value,
        max_items: max_items?,
        max_future: max_future?,
        deduplication_window: deduplication_window?,
        max_waiting: max_waiting?,
        materialise_every: materialise_every?,
    })
}

pub(super) fn retention(at: &Section<'_>) -> Option<Retention> {
    let ten_seconds = at.required("ten_seconds", duration);
    let minutes = at.required("minutes", duration);
    let hours = at.required("hours", duration);
    let messages = at.required("messages", duration);
    let invalid_deliveries = at.required("invalid_deliveries", duration);
    let retention = Retention {
        ten_seconds: ten_seconds?,
        minutes: minutes?,
        hours: hours?,
        messages: messages?,
        invalid_deliveries: invalid_deliveries?,
    };
    if retention.ten_seconds > retention.minutes || retention.minutes > retention.hours {
        let message = "a coarser resolution is kept at least as long as a finer one: ten_seconds ≤ minutes ≤ hours";
        at.report("", at.place().clone(), message);
    }
    for ((name, kept), level) in
        [("ten_seconds", retention.ten_seconds), ("minutes", retention.minutes)].into_iter().zip(LEVELS)
    {
        let needed = Duration::from_secs(u64::try_from(level.reach).unwrap_or(u64::MAX));
        if kept < needed {
            let message = format!("{name} must be at least {}: windows are read back from it", short(needed));
            at.report("", at.place().clone(), message);
        }
    }
    Some(retention)
}

pub(super) fn telemetry(at: &Section<'_>) -> Option<Telemetry> {
    let otlp_endpoint = at.optional("otlp_endpoint", http_url).map(|found| found.value);
    let log_format = at.required("log_format", one_of(LOG_FORMATS));
    let log_filter = at.required("log_filter", |scalar: &_| {
        let filter = text(scalar)?;
        tracing_subscriber::EnvFilter::try_new(&filter).map_err(|error| format!("is not a log filter: {error}"))?;
        Ok(filter)
    });
    let max_series = at.required("max_series", whole(1));
    Some(Telemetry { otlp_endpoint, log_format: log_format?, log_filter: log_filter?, max_series: max_series? })
}

pub(super) fn dora(at: &Section<'_>) -> Option<Dora> {
    let attribution_window = at.required("attribution_window", duration);
    let windows = at.values("windows", duration);
    let memory_bytes = at.required("memory_bytes", whole(1 << 20));
    let benchmark_edition = at.required("benchmark_edition", one_of(EDITIONS));
    let targets = at.section("targets", targets);
    Some(Dora {
        attribution_window: attribution_window?,
        windows,
        memory_bytes: memory_bytes?,
        benchmark_edition: benchmark_edition?.to_owned(),
        targets: targets?,
    })
}

fn targets(at: &Section<'_>) -> Option<Targets> {
    let deployments_per_day = at.required("deployments_per_day", number(|n| n > 0.0, "be above 0"));
    let change_lead_time = at.required("change_lead_time", duration);
    let change_fail_rate = at.required("change_fail_rate", share());
    let time_to_recovery = at.required("time_to_recovery", duration);
    Some(Targets {
        deployments_per_day: deployments_per_day?,
        change_lead_time: change_lead_time?,
        change_fail_rate: change_fail_rate?,
        time_to_recovery: time_to_recovery?,
    })
}

pub(super) fn alerts(at: &Section<'_>) -> Option<Alerts> {
    let pending_for = at.required("pending_for", wait);
    let keep_firing_for = at.required("keep_firing_for", wait);
    let no_data_after = at.required("no_data_after", wait);
    Some(Alerts {
        pending_for: pending_for?,
        keep_firing_for: keep_firing_for?,
        no_data_after: no_data_after.map(|after| (!after.is_zero()).then_some(after))?,
    })
}
