//! `GET /api/v1/sources`: who sends, when last, and what became of it.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{get, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use super::auth::Scope;
use super::params::{PageParams, Params, cursor};
use super::{Caller, Problem, webhooks};
use crate::app::App;
use crate::ingest::source::Skip;
use crate::store::invalid_delivery;
use crate::store::source_count::{self, SourceCount};
use crate::time::Timestamp;

/// Deliveries on a page, each with up to 256 KiB.
const PAGE: usize = 20;

pub fn configure(routes: &mut ServiceConfig) {
    routes.service(list_sources).service(list_invalid);
}

/// A source that is configured, or that something came from. Counts are of deliveries, and of the
/// lines of imports; those of `native`, which is `POST /api/v1/events`, and of `cloudevents` are of events.
/// `invalid` counts the parts of a delivery that could not be taken in, one by one.
#[derive(Debug, Default, Serialize, ToSchema)]
struct SourceStatus {
    source: String,
    /// Whether it is open: `sources` of the configuration has a section for it, or it needs none but a key.
    configured: bool,
    /// When the last delivery came that proved whose it is; `null`: none did.
    last_event_at: Option<Timestamp>,
    /// When the last one came that brought something new.
    last_accepted_at: Option<Timestamp>,
    accepted: i64,
    /// Parts of `accepted`: the source did not tell everything, such as all commits of a large push.
    partial: i64,
    duplicate: i64,
    skipped: i64,
    /// Parts of `skipped`.
    skipped_because: Vec<SkippedBecause>,
    invalid: i64,
    /// Deliveries that were refused unread, whoever sent them.
    too_large: i64,
    /// Signatures, tokens or keys that were missing or wrong.
    failed_signatures: i64,
    last_failed_signature_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SkippedBecause {
    reason: Skip,
    count: i64,
    last_at: Timestamp,
}

#[derive(Debug, Serialize, ToSchema)]
struct SourceList {
    /// By name.
    items: Vec<SourceStatus>,
}

/// Sources: the last event of each, and what became of what they sent, since ever
///
/// Counts are up to a second old. Why single deliveries were skipped stands in their answers, which
/// most senders keep.
#[utoipa::path(tag = "events", responses(
    (status = 200, body = SourceList, example = json!({"items": [{
        "source": "github", "configured": true, "last_event_at": "2026-01-05T10:04:00Z",
        "last_accepted_at": "2026-01-05T10:04:00Z", "accepted": 41, "partial": 0, "duplicate": 1, "skipped": 7,
        "skipped_because": [{"reason": "not_merged", "count": 7, "last_at": "2026-01-05T09:58:00Z"}], "invalid": 0,
        "too_large": 0,
        "failed_signatures": 0, "last_failed_signature_at": null,
    }]})),
))]
#[get("/api/v1/sources")]
async fn list_sources(caller: Caller, app: web::Data<App>) -> Result<web::Json<SourceList>, Problem> {
    caller.require(Scope::Read)?;
    let rows = source_count::all(&mut app.store.read().await?).await?;
    Ok(web::Json(SourceList { items: statuses(&rows, &app.config.load().sources.configured()) }))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct InvalidParams {
    /// Of this source alone.
    source: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// A delivery, or a part of one, that could not be taken in.
#[derive(Debug, Serialize, ToSchema)]
struct InvalidDelivery {
    source: String,
    /// When it came last.
    received_at: Timestamp,
    /// JSON pointer into the delivery; empty for the whole.
    pointer: String,
    detail: String,
    /// As it came, at most 256 KiB of it.
    body: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct InvalidDeliveries {
    /// At most twenty, newest first; a hundred of each source are kept, for `retention.invalid_deliveries`.
    items: Vec<InvalidDelivery>,
    /// `cursor` of the next page; `null` on the last.
    next: Option<String>,
}

/// What webhooks sent that could not be taken in, as it came
///
/// Bodies may name people: the key needs the scope `operate`.
#[utoipa::path(tag = "events", params(InvalidParams), responses(
    (status = 200, body = InvalidDeliveries, example = json!({"items": [{
        "source": "pagerduty", "received_at": "2026-01-05T10:04:00Z", "pointer": "/event/occurred_at",
        "detail": "is missing: when did it happen?", "body": "{\"event\": {}}",
    }], "next": null})),
    (status = 400, description = "An unknown parameter, or a cursor of another list", body = Problem),
    (status = 403, description = "The key lacks the scope operate", body = Problem),
))]
#[get("/api/v1/sources/invalid")]
async fn list_invalid(
    caller: Caller,
    app: web::Data<App>,
    params: Params<InvalidParams>,
) -> Result<web::Json<InvalidDeliveries>, Problem> {
    caller.require(Scope::Operate)?;
    let InvalidParams { source, cursor: after } = params.0;
    let after = PageParams { limit: None, cursor: after }.cursor::<(i64, Vec<u8>)>()?;
    let rows = i64::try_from(PAGE).unwrap_or(i64::MAX).saturating_add(1);
    let mut conn = app.store.read().await?;
    let mut found = invalid_delivery::page(&mut conn, source.as_deref(), after.as_ref(), rows).await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let next = found.last().filter(|_| more).and_then(|last| cursor(&(last.received_at, &last.digest)));
    let items = found.into_iter().map(|found| InvalidDelivery {
        source: found.source,
        received_at: Timestamp::from_micros(found.received_at),
        pointer: found.pointer,
        detail: found.detail,
        body: String::from_utf8_lossy(&found.body).into_owned(),
    });
    Ok(web::Json(InvalidDeliveries { items: items.collect(), next }))
}

fn statuses(rows: &[SourceCount], configured: &[&str]) -> Vec<SourceStatus> {
    let names: BTreeSet<&str> = rows.iter().map(|row| row.source.as_str()).chain(configured.iter().copied()).collect();
    let empty = |name: &str| SourceStatus {
        source: name.to_owned(),
        configured: configured.contains(&name) || webhooks::OPEN.contains(&name),
        ..SourceStatus::default()
    };
    let mut found: BTreeMap<&str, SourceStatus> = names.into_iter().map(|name| (name, empty(name))).collect();
    for row in rows {
        if let Some(status) = found.get_mut(row.source.as_str()) {
            status.add(row);
        }
    }
    found.into_values().collect()
}

impl SourceStatus {
    fn add(&mut self, row: &SourceCount) {
        let last = Some(Timestamp::from_micros(row.last_at));
        match row.outcome.as_str() {
            "unsigned" => {
                self.failed_signatures += row.count;
                self.last_failed_signature_at = self.last_failed_signature_at.max(last);
                return;
            }
            "too_large" => {
                self.too_large += row.count;
                return;
            }
            "accepted" | "partial" => {
                self.accepted += row.count;
                self.partial += if row.outcome == "partial" { row.count } else { 0 };
                self.last_accepted_at = self.last_accepted_at.max(last);
            }
            "duplicate" => self.duplicate += row.count,
            "invalid" => self.invalid += row.count,
            _ => self.skip(row),
        }
        self.last_event_at = self.last_event_at.max(last);
    }

    fn skip(&mut self, row: &SourceCount) {
        self.skipped += row.count;
        // A later version may have known another reason.
        if let Ok(reason) = serde_json::from_value::<Skip>(row.reason.as_str().into()) {
            let last_at = Timestamp::from_micros(row.last_at);
            self.skipped_because.push(SkippedBecause { reason, count: row.count, last_at });
        }
    }
}
