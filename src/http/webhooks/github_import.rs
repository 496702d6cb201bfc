//! `POST /api/v1/import/github`: GitHub's history, in the words of its webhooks.

use actix_web::http::header::CONTENT_ENCODING;
use actix_web::{HttpRequest, post, web};
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;

use super::{DeliveryOutcome, DeliveryReceipt, submit_facts, taken};
use crate::app::App;
use crate::config::EnvironmentNames;
use crate::config::model::GitHub;
use crate::http::auth::Scope;
use crate::http::body::single_header;
use crate::http::{Caller, Problem};
use crate::ingest::committer::{Committed, Fact};
use crate::ingest::decode::{self, Encoding};
use crate::ingest::fault::Fault;
use crate::ingest::github::{self, Context};
use crate::ingest::receipt::ItemError;
use crate::ingest::source::Reading;

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
    /// Why it was skipped, or what it repeats.
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
    let github = config.sources.github.clone().unwrap_or_else(unsigned);
    let received_at = app.clock.now();
    let context = Context {
        received_at,
        github: &github,
        services: &config.services,
        environments: EnvironmentNames::new(&config.environments),
    };
    let lines = github::batch::parse_lines(decode::utf8(&body)?, config.ingest.max_items, &context)?;
    let (lines, facts) = apart(lines);
    let committed = if facts.is_empty() {
        Committed::Taken { facts: Vec::new(), keyed: Vec::new() }
    } else {
        submit_facts(&app, received_at, None, facts).await?
    };
    receipt(lines, committed).map(web::Json)
}

/// A line of which the facts are gone: how many it had.
type Line = Result<Result<usize, String>, Fault>;

fn apart(lines: Vec<Result<Reading, Fault>>) -> (Vec<Line>, Vec<Fact>) {
    let mut facts = Vec::new();
    let lines = lines.into_iter().map(|line| {
        line.map(|reading| match reading {
            Reading::Skipped(reason) => Err(reason),
            Reading::Facts(of_line) => {
                let count = of_line.len();
                facts.extend(of_line);
                Ok(count)
            }
        })
    });
    (lines.collect(), facts)
}

fn receipt(lines: Vec<Line>, committed: Committed) -> Result<ImportReceipt, Problem> {
    let mut new = match committed {
        Committed::Taken { facts, .. } => facts.into_iter(),
        Committed::Repeated | Committed::KeyReused => Vec::new().into_iter(),
    };
    let mut receipt = ImportReceipt::default();
    for line in lines {
        let item = match line {
            Ok(Ok(count)) => {
                let of_line = Committed::Taken { facts: new.by_ref().take(count).collect(), keyed: Vec::new() };
                let DeliveryReceipt { outcome, reason, .. } = taken(&of_line)?;
                let outcome = match outcome {
                    DeliveryOutcome::Accepted => ImportOutcome::Accepted,
                    DeliveryOutcome::Duplicate => ImportOutcome::Duplicate,
                    DeliveryOutcome::Skipped => ImportOutcome::Skipped,
                };
                ImportItem { outcome, reason, error: None }
            }
            Ok(Err(reason)) => ImportItem { outcome: ImportOutcome::Skipped, reason: Some(reason), error: None },
            Err(fault) => {
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
    Ok(receipt)
}
