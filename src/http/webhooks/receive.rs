//! What every source's endpoint does with a delivery: proof, body, reading, commit. Each way out is counted.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_ENCODING;
use actix_web::{HttpRequest, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::proof::{Doubt, Proof};
use crate::app::App;
use crate::config::{Config, EnvironmentNames};
use crate::event::TelemetryBatch;
use crate::http::Problem;
use crate::http::body::single_header;
use crate::ingest::committer::{Committed, Fact, RequestKey, Submission};
use crate::ingest::credible::Credible;
use crate::ingest::decode::{self, Encoding};
use crate::ingest::fault::Fault;
use crate::ingest::key::key_of;
use crate::ingest::metrics::{Outcome, count_events};
use crate::ingest::receipt::{ItemError, is_zero};
use crate::ingest::source::{Context, Reading, Refused, Sorted};
use crate::ingest::tally::Became;
use crate::store::invalid_delivery::{self, InvalidDelivery};
use crate::store::storable;
use crate::time::Timestamp;

/// As much is kept of what cannot be taken in, of so many parts of one delivery.
const MAX_KEPT_BYTES: usize = 256 * 1024;
const MAX_KEPT: usize = 20;
/// So many parts that cannot be taken in are told one by one.
const MAX_ERRORS: usize = 100;

/// A system that sends in its own words.
pub struct Source {
    /// As in its endpoint's path, in `sources` of the configuration and in `GET /api/v1/sources`.
    pub name: &'static str,
    /// As its makers write it.
    pub title: &'static str,
}

/// A body known to be its source's own.
pub struct Delivered<'a> {
    pub text: &'a str,
    pub received_at: Timestamp,
}

impl Delivered<'_> {
    pub fn context<'c, S>(&self, config: &'c Config, settings: &'c S) -> Context<'c, S> {
        Context {
            received_at: self.received_at,
            settings,
            services: &config.services,
            environments: EnvironmentNames::new(&config.environments),
            max_items: config.ingest.max_items,
        }
    }
}

/// What a delivery says, and the key that a repetition of it has.
pub type Read = Result<(Reading, Option<RequestKey>), Problem>;

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeliveryReceipt {
    pub outcome: DeliveryOutcome,
    /// Facts newly taken in.
    pub events: usize,
    /// Why nothing was taken in; or what the source did not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Parts of it that cannot be taken in.
    #[serde(skip_serializing_if = "is_zero")]
    pub invalid: usize,
    /// What is wrong with the first hundred of them, by pointers into the body; `GET /api/v1/sources/invalid`
    /// keeps the first twenty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ItemError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOutcome {
    Accepted,
    Duplicate,
    Skipped,
    /// Nothing of it can be taken in, and nothing could if it were sent again.
    Invalid,
}

impl DeliveryReceipt {
    const fn of(outcome: DeliveryOutcome, events: usize, reason: Option<String>) -> Self {
        Self { outcome, events, reason, invalid: 0, errors: Vec::new() }
    }

    pub(super) const fn skipped(words: String) -> Self {
        Self::of(DeliveryOutcome::Skipped, 0, Some(words))
    }
}

impl Source {
    /// # Errors
    /// 404 problem: the source is not configured.
    pub fn configured<'c, T>(&self, settings: Option<&'c T>) -> Result<&'c T, Problem> {
        settings.ok_or_else(|| {
            let Self { name, title } = self;
            Problem::not_found(format!(
                "{title} is not configured as a source: set sources.{name}.secret to the webhook's secret"
            ))
        })
    }

    /// Takes a delivery in that must prove whose it is.
    pub async fn receive(
        &self,
        app: &App,
        (request, payload): (&HttpRequest, web::Payload),
        proof: &Proof<'_>,
        read: impl FnOnce(&Delivered<'_>) -> Read,
    ) -> Result<web::Json<DeliveryReceipt>, Problem> {
        let unsigned = |doubt| self.unsigned(app, proof, doubt);
        proof.claimed(request).map_err(unsigned)?;
        let limit = app.config.load().ingest.max_body_bytes;
        let mut hold = app.webhook_bodies.hold();
        let body = decode::read(payload, limit, &mut hold).await.map_err(|error| Problem::from(error).to_sender())?;
        proof.verify(request, &body).map_err(unsigned)?;
        self.take(app, request, &body, read).await
    }

    fn unsigned(&self, app: &App, proof: &Proof<'_>, doubt: Doubt) -> Problem {
        app.tally.delivery(self.name, Became::Unsigned, app.clock.now());
        let (carrier, name) = (proof.name(), self.name);
        let detail = match doubt {
            Doubt::Missing => format!("{carrier} is missing: give the webhook the secret of sources.{name}.secret"),
            Doubt::Misfit => {
                format!("{carrier} does not fit: the webhook's secret is not that of sources.{name}.secret")
            }
        };
        Problem::new(StatusCode::UNAUTHORIZED, "bad_signature", detail)
    }

    /// Takes in the body of a delivery that is known to be the source's own.
    ///
    /// What cannot be read is answered 200, too: it came as its sender means it, a repetition would be no
    /// better, and many senders stop sending altogether after a few refusals. It is kept and counted.
    pub async fn take(
        &self,
        app: &App,
        request: &HttpRequest,
        body: &[u8],
        read: impl FnOnce(&Delivered<'_>) -> Read,
    ) -> Result<web::Json<DeliveryReceipt>, Problem> {
        let received_at = app.clock.now();
        let became = |became| app.tally.delivery(self.name, became, received_at);
        plain(request).inspect_err(|_| became(Became::Invalid))?;
        let text = decode::utf8(body).map_err(Problem::from);
        let whole = |fault| Refused { fault, raw: body.to_vec() };
        let nothing = |refused| Sorted { facts: Vec::new(), missing: None, refused: vec![refused] };
        let (sorted, key) = match text.and_then(|text| read(&Delivered { text, received_at })) {
            Ok((reading, key)) => match reading.sort(&credible(app, received_at)) {
                Ok(sorted) => (sorted, key),
                Err((why, words)) => {
                    became(Became::Skipped(why));
                    return Ok(web::Json(DeliveryReceipt::skipped(words)));
                }
            },
            Err(problem) => (nothing(whole(Fault::from(problem))), None),
        };
        let key = sorted.key_of_whole(key);
        let mut refused = sorted.refused;
        let taken = if sorted.facts.is_empty() {
            None
        } else {
            match submit(app, received_at, key, sorted.facts).await.map_err(Problem::to_sender)? {
                Committed::KeyReused => {
                    refused.push(whole(Fault::new("", "this delivery's id came before with another body")));
                    None
                }
                committed => Some(committed),
            }
        };
        self.keep(app, received_at, &refused).await?;
        app.tally.deliveries(self.name, Became::Invalid, refused.len(), received_at);
        let mut receipt = match taken {
            Some(committed) => taken_in(&committed, sorted.missing, became),
            None => DeliveryReceipt::of(DeliveryOutcome::Invalid, 0, None),
        };
        receipt.invalid = refused.len();
        receipt.errors = refused.iter().take(MAX_ERRORS).map(|refused| ItemError::from(&refused.fault)).collect();
        Ok(web::Json(receipt))
    }

    /// Keeps what cannot be taken in, on disk before it is answered.
    async fn keep(&self, app: &App, received_at: Timestamp, refused: &[Refused]) -> Result<(), Problem> {
        if refused.is_empty() {
            return Ok(());
        }
        let kept = refused.iter().take(MAX_KEPT).map(|Refused { fault, raw }| {
            let body = raw.get(..MAX_KEPT_BYTES).unwrap_or(raw).to_vec();
            let digest = key_of(&[self.name, &String::from_utf8_lossy(raw)]).to_vec();
            let (pointer, detail) = (fault.pointer().to_owned(), storable(fault.detail()));
            let (source, received_at) = (self.name.to_owned(), received_at.micros());
            InvalidDelivery { digest, source, received_at, pointer: storable(&pointer), detail, body }
        });
        let kept: Vec<InvalidDelivery> = kept.collect();
        let mut tx = app.store.begin().await?;
        invalid_delivery::keep(&mut tx, self.name, &kept).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// What a sender's clock may show now.
pub(super) fn credible(app: &App, received_at: Timestamp) -> Credible {
    Credible { received_at, max_future: app.config.load().ingest.max_future }
}

fn plain(request: &HttpRequest) -> Result<(), Problem> {
    if Encoding::parse(single_header(request, &CONTENT_ENCODING, 255)?.as_deref())? == Encoding::Identity {
        return Ok(());
    }
    let detail = "deliveries of webhooks are not compressed: send the body as it was signed";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", detail))
}

/// Takes facts in and counts them.
pub(super) async fn submit(
    app: &App,
    received_at: Timestamp,
    request: Option<RequestKey>,
    facts: Vec<Fact>,
) -> Result<Committed, Problem> {
    let kinds: Vec<&'static str> = facts.iter().map(|fact| fact.event.kind()).collect();
    let telemetry = TelemetryBatch::default();
    let submission = Submission { received_at, request, facts, telemetry, keyed: Vec::new() };
    let committed = app.committer.submit(submission).await?;
    for (index, kind) in kinds.into_iter().enumerate() {
        let new = matches!(&committed, Committed::Taken { facts, .. } if facts.get(index) == Some(&true));
        count_events(kind, if new { Outcome::Accepted } else { Outcome::Duplicate }, 1);
    }
    Ok(committed)
}

/// Says, and counts, what became of facts; `missing` is what of it the source did not tell.
pub(super) fn taken_in(committed: &Committed, missing: Option<String>, became: impl Fn(Became)) -> DeliveryReceipt {
    let duplicate = |reason: &str| {
        became(Became::Duplicate);
        DeliveryReceipt::of(DeliveryOutcome::Duplicate, 0, Some(reason.to_owned()))
    };
    match committed {
        Committed::Repeated | Committed::KeyReused => duplicate("this delivery was taken in before"),
        Committed::Taken { facts, .. } => match facts.iter().filter(|new| **new).count() {
            0 => duplicate("everything it says was taken in before"),
            events => {
                became(if missing.is_some() { Became::Partial } else { Became::Accepted });
                DeliveryReceipt::of(DeliveryOutcome::Accepted, events, missing)
            }
        },
    }
}
