//! The native API: `POST /api/v1/events`. Six types of events, read without building values.
//!
//! **Invariant:** pure; a bad item never spoils its batch, and every item gets one outcome.

mod aggregate;
mod delivery;
mod shapes;
pub(super) mod split;
mod telemetry;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::committer::{Fact, Key};
use super::credible::Credible;
use super::fault::{Fault, ID, NAME, SOURCE, suggestion};
use super::items::{Fate, Item, Parsed, UNKNOWN};
use super::key::{fact, fact_known_by, key_of};
use super::wire::{Entries, Field, Text, read};
use crate::config::EnvironmentNames;
use crate::event::DeliveryEvent;
use crate::time::Timestamp;
use aggregate::Aggregator;
use shapes::Event;
use split::Items;

pub use delivery::DEFAULT_SOURCE;
pub use split::{Unreadable, batch};

pub const TYPES: [&str; 6] = ["deployment", "change", "incident", "request", "performance", "error"];

/// What reading depends on besides the body.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub received_at: Timestamp,
    pub max_future: Duration,
    pub max_items: usize,
    pub environments: EnvironmentNames<'a>,
}

impl Context<'_> {
    /// `None` where the sender gave none: then the time of receipt counts.
    pub(super) fn time(&self, field: Field<Text<'_>>) -> Result<Option<Timestamp>, Fault> {
        self.moment("/time", field)
    }

    /// A time that a clock of the sender's systems showed.
    pub(super) fn moment(&self, at: &str, field: Field<Text<'_>>) -> Result<Option<Timestamp>, Fault> {
        let Some(time) = field.moment(at)? else { return Ok(None) };
        let credible = Credible { received_at: self.received_at, max_future: self.max_future };
        credible.time(time).map_err(|detail| Fault::new(at, detail))?;
        Ok(Some(time))
    }
}

/// Reads a body; `lines` where the sender declared one event per line.
///
/// # Errors
/// [`Unreadable`]: not one item could be read.
pub fn parse(body: &str, lines: bool, context: &Context<'_>) -> Result<Parsed, Unreadable> {
    let items = split::split(body, lines, context.max_items)?;
    let mut reader = Reader::new(context);
    reader.parsed.lines = matches!(items, Items::Lines(_));
    reader.parsed.items.reserve(items.as_slice().len());
    for raw in items.as_slice() {
        let item = reader.item(raw);
        reader.push(item);
    }
    let parsed = reader.finish();
    no_line(&parsed)?;
    Ok(parsed)
}

/// Lines of which not one is JSON are no batch with bad items but no batch at all.
fn no_line(parsed: &Parsed) -> Result<(), Unreadable> {
    let unread = |item: &Item| matches!(&item.fate, Fate::Invalid(fault) if fault.is_malformed());
    match parsed.items.first().map(|item| &item.fate) {
        Some(Fate::Invalid(fault)) if parsed.lines && parsed.items.iter().all(unread) => {
            Err(Unreadable::NoLine { lines: parsed.items.len(), first: fault.detail().to_owned() })
        }
        _ => Ok(()),
    }
}

/// Puts items together as they are read.
pub struct Reader<'c> {
    context: &'c Context<'c>,
    sums: Aggregator,
    parsed: Parsed,
    /// What this body already said: saying it twice counts once.
    digests: HashSet<[u8; 32]>,
    keys: HashSet<Key>,
}

/// What the envelope of an event says of it, which has its own id and time.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The sender's name for the event, by which a repetition is recognised.
    pub parts: &'a [&'a str],
    pub id: &'a str,
    /// Counts where the event has none.
    pub time: Option<Timestamp>,
}

impl<'c> Reader<'c> {
    pub fn new(context: &'c Context<'c>) -> Self {
        let (sums, parsed) = (Aggregator::default(), Parsed::default());
        Self { context, sums, parsed, digests: HashSet::new(), keys: HashSet::new() }
    }

    pub fn push(&mut self, item: Item) {
        self.parsed.items.push(item);
    }

    pub fn finish(self) -> Parsed {
        let mut parsed = self.parsed;
        parsed.telemetry = self.sums.finish(self.context.environments);
        parsed
    }

    fn item(&mut self, raw: &str) -> Item {
        let read = kind_of(raw);
        let kind = read.as_ref().ok().and_then(|read| kind_named(read));
        match (kind, read) {
            (Some(kind), _) => Item { kind, fate: self.read(kind, raw, None).unwrap_or_else(Fate::Invalid) },
            (None, Ok(read)) => Item { kind: UNKNOWN, fate: Fate::Invalid(unknown_type(&read)) },
            (None, Err(fault)) => Item { kind: UNKNOWN, fate: Fate::Invalid(fault) },
        }
    }

    /// Reads an event of one of [`TYPES`].
    ///
    /// # Errors
    /// A [`Fault`] that names the field which is missing or wrong.
    pub fn read(&mut self, kind: &str, raw: &str, envelope: Option<Envelope<'_>>) -> Result<Fate, Fault> {
        match kind {
            "request" => self.telemetry(kind, read(raw)?, telemetry::request, envelope),
            "performance" => self.telemetry(kind, read(raw)?, telemetry::performance, envelope),
            "error" => self.telemetry(kind, read(raw)?, telemetry::error, envelope),
            "deployment" => self.delivery(raw, delivery::deployment(read(raw)?, self.context)?, envelope),
            "change" => self.delivery(raw, delivery::change(read(raw)?, self.context)?, envelope),
            "incident" => self.delivery(raw, delivery::incident(read(raw)?, self.context)?, envelope),
            unknown => Err(unknown_type(unknown)),
        }
    }

    fn telemetry<'a, T: Event<'a>>(
        &mut self,
        kind: &str,
        mut item: T,
        add: fn(T, &Context<'_>, &mut Aggregator) -> Result<(), Fault>,
        envelope: Option<Envelope<'_>>,
    ) -> Result<Fate, Fault> {
        let (id, source) = item.take_identity();
        let source = source.within("/source", SOURCE)?;
        let id = id.within("/id", ID)?;
        let (key, id): (Key, Box<str>) = match (envelope, id) {
            (Some(envelope), _) => {
                if let Some(time) = envelope.time {
                    item.default_time(time);
                }
                (key_of(envelope.parts), envelope.id.into())
            }
            (None, Some(id)) => (key_of(&[kind, source.as_deref().unwrap_or(DEFAULT_SOURCE), &id]), id.into()),
            (None, None) => {
                add(item, self.context, &mut self.sums)?;
                return Ok(Fate::Added);
            }
        };
        let mut own = Aggregator::default();
        add(item, self.context, &mut own)?;
        if !self.keys.insert(key) {
            return Ok(Fate::Repeated { id });
        }
        self.parsed.keyed.push((key, own.finish(self.context.environments)));
        Ok(Fate::Keyed { index: self.parsed.keyed.len() - 1, id })
    }

    fn delivery(
        &mut self,
        raw: &str,
        (mut event, sent): delivery::Read,
        envelope: Option<Envelope<'_>>,
    ) -> Result<Fate, Fault> {
        let received_at = self.context.received_at;
        let fact = match envelope {
            None => fact(event, sent, received_at, raw)?,
            Some(envelope) => {
                event.set_time(sent.or(envelope.time).unwrap_or(received_at));
                fact_known_by(envelope.parts, event, raw)
            }
        };
        Ok(self.fact(fact))
    }

    /// Takes a fact whose environment is named as its source names it.
    pub fn fact(&mut self, mut fact: Fact) -> Fate {
        if !self.digests.insert(fact.digest) {
            return Fate::Repeated { id: fact.event.key().id.as_str().into() };
        }
        // After the digest, which must not change when the configuration does.
        let names = self.context.environments;
        match &mut fact.event {
            DeliveryEvent::Deployment(event) => event.name_environment(names.canonical(&event.environment).to_owned()),
            DeliveryEvent::Incident(event) => {
                if let Some(environment) = &event.environment {
                    event.name_environment(names.canonical(environment).to_owned());
                }
            }
            _ => {}
        }
        self.parsed.facts.push(fact);
        Fate::Fact(self.parsed.facts.len() - 1)
    }
}

/// The one of [`TYPES`] that is called so.
pub fn kind_named(name: &str) -> Option<&'static str> {
    TYPES.into_iter().find(|kind| *kind == name)
}

/// The item's type; read off its first field where that is `type`, as it mostly is.
pub fn kind_of(raw: &str) -> Result<Cow<'_, str>, Fault> {
    let first = raw.strip_prefix('{').map(str::trim_ascii_start).and_then(|rest| rest.strip_prefix("\"type\""));
    let value = first.and_then(|rest| rest.trim_ascii_start().strip_prefix(':'));
    let value = value.and_then(|rest| rest.trim_ascii_start().strip_prefix('"'));
    if let Some((kind, _)) = value.and_then(|rest| rest.split_once('"'))
        && !kind.contains('\\')
    {
        return Ok(Cow::Borrowed(kind));
    }
    read::<shapes::Peek<'_>>(raw)?.kind.needed("/type", NAME, &format!("give one of {}", TYPES.join(", ")))
}

fn unknown_type(kind: &str) -> Fault {
    let short: String = kind.chars().take(40).collect();
    Fault::new("/type", format!("is `{short}`, must be one of {}{}", TYPES.join(", "), suggestion(kind, &TYPES)))
}

fn check_attributes(field: Field<Entries<'_>>) -> Result<BTreeMap<String, String>, Fault> {
    field.optional("/attributes")?.map_or_else(|| Ok(BTreeMap::new()), |entries| delivery::attributes(entries.0))
}

/// The names of the fields of a type, for the test of its documentation.
#[cfg(test)]
pub fn fields(kind: &str) -> &'static [&'static str] {
    use super::wire::Object;
    match kind {
        "deployment" => shapes::Deployment::FIELDS,
        "change" => shapes::Change::FIELDS,
        "incident" => shapes::Incident::FIELDS,
        "request" => shapes::Request::FIELDS,
        "performance" => shapes::Performance::FIELDS,
        "error" => shapes::ErrorReport::FIELDS,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
