//! CloudEvents 1.0: one in the headers (binary), one as JSON (structured), or many (batched).
//!
//! Understood are those of CDEvents (`dev.cdevents.…`) and DevPulse's own (`io.devpulse.deployment`
//! and so on, whose data is an event of the native API). An event is known by (source, id), whatever
//! it says the second time.
//!
//! **Invariant:** pure; a bad event never spoils its batch, and every event gets one outcome.

mod cdevents;
mod envelope;
mod links;
mod purl;

use super::fault::Fault;
use super::items::{Fate, Item, Parsed, UNKNOWN};
use super::native::{self, Reader, Unreadable};
use super::source::Skip;
use crate::config::model::{CloudEvents, Service};
use cdevents::Said;
use envelope::Envelope;

pub use envelope::{Attributes, media_type};

pub const SOURCE: &str = "cloudevents";
const CDEVENTS: &str = "dev.cdevents.";
const NATIVE: &str = "io.devpulse.";

/// What reading depends on besides the events.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub native: native::Context<'a>,
    pub settings: &'a CloudEvents,
    pub services: &'a [Service],
}

/// Events as a request has them.
#[derive(Debug)]
pub enum Content<'a> {
    Binary { attributes: Result<Attributes<'a>, Fault>, content_type: Option<&'a str>, body: &'a [u8] },
    Structured(&'a str),
    Batched(&'a str),
}

/// Reads the events of a request.
///
/// # Errors
/// [`Unreadable`]: not one event could be read.
pub fn parse(content: Content<'_>, context: &Context<'_>) -> Result<Parsed, Unreadable> {
    let mut reader = Reader::new(&context.native);
    match content {
        Content::Binary { attributes, content_type, body } => {
            let raw = String::from_utf8_lossy(body);
            let envelope =
                attributes.and_then(|attributes| Envelope::binary(attributes, content_type, body, &context.native));
            take(&mut reader, envelope, &raw, context);
        }
        Content::Structured(raw) => take(&mut reader, Envelope::structured(raw, &context.native), raw, context),
        Content::Batched(body) => {
            for raw in native::batch(body, context.native.max_items)? {
                take(&mut reader, Envelope::structured(raw, &context.native), raw, context);
            }
        }
    }
    Ok(reader.finish())
}

fn take(reader: &mut Reader<'_>, envelope: Result<Envelope<'_>, Fault>, raw: &str, context: &Context<'_>) {
    let (kind, fate) = match envelope {
        Err(fault) => (UNKNOWN, Err(fault)),
        Ok(envelope) => item(reader, &envelope, raw, context),
    };
    reader.push(Item { kind, fate: fate.unwrap_or_else(Fate::Invalid) });
}

fn item(
    reader: &mut Reader<'_>,
    envelope: &Envelope<'_>,
    raw: &str,
    context: &Context<'_>,
) -> (&'static str, Result<Fate, Fault>) {
    if let Some(kind) = envelope.kind.strip_prefix(NATIVE).and_then(native::kind_named) {
        return (kind, own(reader, kind, envelope));
    }
    if let Some(name) = envelope.kind.strip_prefix(CDEVENTS) {
        return match cdevents::read_event(name, envelope, raw, context) {
            Ok(Said::Fact(fact, besides)) => {
                let kind = fact.event.kind();
                let fate = reader.fact(fact);
                if let Some(besides) = besides {
                    reader.fact(besides);
                }
                (kind, Ok(fate))
            }
            Ok(Said::Unread(fact, reason)) => match reader.fact(fact) {
                Fate::Fact(index) => (UNKNOWN, Ok(Fate::Kept(index, Skip::UnsupportedVersion, reason))),
                fate => (UNKNOWN, Ok(fate)),
            },
            Ok(Said::Nothing(skip, reason)) => (UNKNOWN, Ok(Fate::Skipped(skip, reason))),
            Err(fault) => (UNKNOWN, Err(fault)),
        };
    }
    let short: String = envelope.kind.chars().take(100).collect();
    let reason = format!("DevPulse does not use events of type {short}");
    (UNKNOWN, Ok(Fate::Skipped(Skip::UnusedEvent, reason)))
}

/// An event of the native API in an envelope.
fn own(reader: &mut Reader<'_>, kind: &'static str, envelope: &Envelope<'_>) -> Result<Fate, Fault> {
    let data = envelope.json()?;
    let within =
        native::Envelope { parts: &[SOURCE, &envelope.source, &envelope.id], id: &envelope.id, time: envelope.time };
    let named = native::kind_of(data).map_err(|fault| fault.within("/data"))?;
    if named != kind {
        return Err(Fault::new("/data/type", format!("must be {kind}, as the type of the event says")));
    }
    reader.read(kind, data, Some(within)).map_err(|fault| fault.within("/data"))
}

#[cfg(test)]
mod tests;
