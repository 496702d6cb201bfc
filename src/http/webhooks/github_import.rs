//! `POST /api/v1/import/github`: GitHub's history, in the words of its webhooks.

use actix_web::http::header::CONTENT_ENCODING;
use actix_web::{HttpRequest, post, web};
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;

use super::github::SOURCE;
use super::receive::{Delivered, DeliveryOutcome, DeliveryReceipt, credible, submit, taken_in};
use crate::app::App;
use crate::config::model::GitHub;
use crate::http::auth::Scope;
use crate::http::body::single_header;
use crate::http::{Caller, Problem};
use crate::ingest::committer::{Committed, Fact};
use crate::ingest::credible::Credible;
use crate::ingest::decode::{self, Encoding};
use crate::ingest::fault::Fault;
use crate::ingest::github;
use crate::ingest::receipt::ItemError;
use crate::ingest::source::{Reading, Skip};
use crate::ingest::tally::Became;

/// What became of the lines, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ImportReceipt {
    pub accepted: usize,
    /// Everything they say was known, by a webhook or an earlier import.
    pub duplicate: usize,
    /// They say nothing that counts.
    pub skipped: usize,
    pub invalid: usize,
    pub items: Vec<ImportItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ImportItem {
    pub outcome: ImportOutcome,
    /// Why it was skipped, what it repeats, or what GitHub did not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    Accepted,
    Duplicate,
    Skipped,
    Invalid,
}

/// Take GitHub's history in
///
/// One `{"event": …, "payload": …}` per line (`application/x-ndjson`), as a webhook would have said
/// it: what one has said counts once. `devpulse import github` sends this.
#[utoipa::path(
    tag = "events",
    request_body(content = String, content_type = "application/x-ndjson", description = "Events with their payloads"),
    responses(
        (status = 200, description = "Taken in and on disk; one outcome per line", body = ImportReceipt,
         example = json!({"accepted": 1, "duplicate": 0, "skipped": 0, "invalid": 0, "items": [{"outcome": "accepted"}]})),
        (status = 400, description = "Nothing could be read", body = Problem),
        (status = 401, description = "No key, or an unknown one", body = Problem),
        (status = 403, description = "The key lacks the scope ingest", body = Problem),
        (status = 413, description = "Too many bytes or lines", body = Problem),
        (status = 429, description = "Too many requests wait; see Retry-After", body = Problem),
        (status = 503, description = "The database does not answer; see Retry-After", body = Problem),
    ),
)]
#[post("/api/v1/import/github")]
pub async fn import_github(
    caller: Caller,
    app: web::Data<App>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<ImportReceipt>, Problem> {
    caller.require(Scope::Ingest)?;
    let config = app.config.load_full();
    let encoding = Encoding::parse(single_header(&request, &CONTENT_ENCODING, 255)?.as_deref())?;
    let mut hold = app.bodies.hold();
    let raw = decode::read(payload, config.ingest.max_body_bytes, &mut hold).await?;
    let body = decode::decode(raw, encoding, config.ingest.max_decoded_bytes, &mut hold)?;
    // Whoever has a key for it needs no webhook, and so no secret of one.
    let unsigned = || GitHub::new(SecretString::default());
    let settings = config.sources.github.clone().unwrap_or_else(unsigned);
    let delivered = Delivered { text: decode::utf8(&body)?, received_at: app.clock.now() };
    let context = delivered.context(&config, &settings);
    let lines = github::batch::parse_lines(delivered.text, config.ingest.max_items, &context)?;
    let (lines, facts) = apart(lines, &credible(&app, delivered.received_at));
    let committed = if facts.is_empty() {
        Committed::Taken { facts: Vec::new(), keyed: Vec::new() }
    } else {
        submit(&app, delivered.received_at, None, facts).await?
    };
    let became = |became| app.tally.add(SOURCE.name, became, 1, delivered.received_at);
    Ok(web::Json(receipt(lines, committed, became)))
}

/// A line of which the facts are gone.
enum Line {
    /// How many they were, and what of it GitHub did not tell.
    Taken(usize, Option<String>),
    Skipped(Skip, String),
}

fn apart(lines: Vec<Result<Reading, Fault>>, credible: &Credible) -> (Vec<Result<Line, Fault>>, Vec<Fact>) {
    let mut facts = Vec::new();
    let lines = lines.into_iter().map(|line| match line?.sort(credible) {
        Err((why, words)) => Ok(Line::Skipped(why, words)),
        // A line is taken in as a whole or not at all: whoever imports can send it again.
        Ok(of_line) => {
            if let Some(refused) = of_line.refused.into_iter().next() {
                return Err(refused.fault);
            }
            let count = of_line.facts.len();
            facts.extend(of_line.facts);
            Ok(Line::Taken(count, of_line.missing))
        }
    });
    (lines.collect(), facts)
}

fn receipt(lines: Vec<Result<Line, Fault>>, committed: Committed, became: impl Fn(Became)) -> ImportReceipt {
    let mut new = match committed {
        Committed::Taken { facts, .. } => facts.into_iter(),
        Committed::Repeated | Committed::KeyReused => Vec::new().into_iter(),
    };
    let mut receipt = ImportReceipt::default();
    for line in lines {
        let item = match line {
            Ok(Line::Taken(count, missing)) => {
                let of_line = Committed::Taken { facts: new.by_ref().take(count).collect(), keyed: Vec::new() };
                ImportItem::from(taken_in(&of_line, missing, &became))
            }
            Ok(Line::Skipped(why, words)) => {
                became(Became::Skipped(why));
                ImportItem::from(DeliveryReceipt::skipped(words))
            }
            Err(fault) => {
                became(Became::Invalid);
                ImportItem { outcome: ImportOutcome::Invalid, reason: None, error: Some(ItemError::from(&fault)) }
            }
        };
        match item.outcome {
            ImportOutcome::Accepted => receipt.accepted += 1,
            ImportOutcome::Duplicate => receipt.duplicate += 1,
            ImportOutcome::Skipped => receipt.skipped += 1,
            ImportOutcome::Invalid => receipt.invalid += 1,
        }
        receipt.items.push(item);
    }
    receipt
}

impl From<DeliveryReceipt> for ImportItem {
    fn from(DeliveryReceipt { outcome, reason, .. }: DeliveryReceipt) -> Self {
        let outcome = match outcome {
            DeliveryOutcome::Accepted => ImportOutcome::Accepted,
            DeliveryOutcome::Duplicate => ImportOutcome::Duplicate,
            DeliveryOutcome::Skipped => ImportOutcome::Skipped,
            DeliveryOutcome::Invalid => ImportOutcome::Invalid,
        };
        Self { outcome, reason, error: None }
    }
}
