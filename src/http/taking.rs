//! Events that were read: committed, counted, and answered with their receipt.

use std::collections::{BTreeMap, HashMap};

use actix_web::http::StatusCode;
use actix_web::web;
use serde::Deserialize;

use super::Problem;
use crate::app::App;
use crate::dora::receipt::counting;
use crate::dora::{Derived, Rules};
use crate::event::{Counting, DeliveryEvent};
use crate::ingest::budget::Hold;
use crate::ingest::committer::{Committed, RequestKey, Submission};
use crate::ingest::decode::Encoding;
use crate::ingest::items::Parsed;
use crate::ingest::metrics::count_events;
use crate::ingest::receipt::{Pending, Receipt};
use crate::ingest::tally::Became;
use crate::store::{self, StoreError};
use crate::time::Timestamp;

/// Accepted events of one receipt that are looked up for what they count in.
const EXPLAINED_AT_MOST: usize = 500;
/// Services whose rows are derived for one receipt.
const DERIVED_AT_MOST: usize = 8;
/// Bodies above this, and compressed ones, are read on a thread where they hold nobody up.
const READ_ASIDE_BYTES: usize = 128 * 1024;

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// What became of each event, and what it counts in.
    Items,
    /// What became of each event.
    Outcomes,
    /// The counts alone.
    Summary,
}

/// A body that was read.
pub struct Reading {
    pending: Pending,
    submission: Submission,
    detail: Detail,
    /// What was read of it is about as large.
    _hold: Hold,
}

impl Reading {
    pub fn of(
        mut parsed: Parsed,
        received_at: Timestamp,
        request: Option<RequestKey>,
        detail: Detail,
        hold: Hold,
    ) -> Self {
        let pending = Pending::of(&mut parsed);
        let Parsed { facts, telemetry, keyed, .. } = parsed;
        let submission = Submission { received_at, request, facts, telemetry, keyed };
        Self { pending, submission, detail, _hold: hold }
    }

    /// Answers once everything is on disk; what became of it is counted for `source`.
    pub async fn take_in(self, app: &App, source: &'static str) -> Result<Receipt, Problem> {
        let received_at = self.submission.received_at;
        let committed = submit(app, self.submission).await?;
        for ((kind, outcome, skip), events) in self.pending.tally(&committed) {
            count_events(kind, outcome, events);
            app.tally.add(source, Became::of(outcome, skip), events, received_at);
        }
        let mut countings = if self.detail == Detail::Items {
            countings(app, self.pending.accepted(&committed)).await
        } else {
            HashMap::new()
        };
        let counting = |index| countings.remove(&index);
        Ok(self.pending.receipt(&committed, self.detail != Detail::Summary, counting))
    }
}

/// Reads where it holds nobody up.
pub async fn read<T: Send + 'static>(
    bytes: usize,
    encoding: Encoding,
    read: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= READ_ASIDE_BYTES && encoding == Encoding::Identity {
        return read();
    }
    web::block(read).await.map_err(|_| Problem::unavailable("the server is stopping"))?
}

/// What each accepted event counts in, by its index. The events are on disk: whatever goes wrong
/// here costs the receipt this part, never the request.
async fn countings(app: &App, events: impl Iterator<Item = (usize, &DeliveryEvent)>) -> HashMap<usize, Counting> {
    let events: Vec<(usize, &DeliveryEvent)> = events.take(EXPLAINED_AT_MOST).collect();
    let mut countings = HashMap::new();
    if events.is_empty() {
        return countings;
    }
    let config = app.config.load_full();
    let rules = Rules::new(&config);
    let explained: Result<(), StoreError> = async {
        let mut accepted = Vec::new();
        {
            let mut conn = app.store.read().await?;
            for (index, event) in events {
                accepted.extend(store::receipt::accepted(&mut conn, event).await?.map(|accepted| (index, accepted)));
            }
        }
        let mut rows: BTreeMap<String, Derived> = BTreeMap::new();
        for service in accepted.iter().flat_map(|(_, accepted)| accepted.services()) {
            if rows.len() < DERIVED_AT_MOST && !rows.contains_key(service) {
                rows.insert(service.to_owned(), app.dora.rows_of(&app.store, &config, service).await?);
            }
        }
        let counted = accepted.iter().filter_map(|(index, told)| Some((*index, counting(told, &rows, &rules)?)));
        countings.extend(counted);
        Ok(())
    }
    .await;
    if let Err(error) = explained {
        tracing::warn!(%error, "a receipt goes out without what its events count in");
    }
    countings
}

async fn submit(app: &App, submission: Submission) -> Result<Committed, Problem> {
    if submission.facts.is_empty() && submission.telemetry.is_empty() && submission.keyed.is_empty() {
        return Ok(Committed::Taken { facts: Vec::new(), keyed: Vec::new() });
    }
    match app.committer.submit(submission).await? {
        Committed::KeyReused => {
            let detail = "this Idempotency-Key came before with another body: use a new key for a new request";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail))
        }
        committed => Ok(committed),
    }
}
