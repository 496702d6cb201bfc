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
use super::fault::{Fault, ID, NAME, SOURCE, suggestion};
use super::key::{fact, key_of};
use super::wire::{Entries, Field, Text, read};
use crate::config::EnvironmentNames;
use crate::event::{DeliveryEvent, TelemetryBatch};
use crate::time::Timestamp;
use aggregate::Aggregator;
use shapes::Event;
use split::Items;

pub use delivery::DEFAULT_SOURCE;
pub use split::Unreadable;

/// 2000-01-01T00:00:00Z: nothing that DevPulse is told happened before.
const EARLIEST: Timestamp = Timestamp::from_seconds(946_684_800);

/// The type of an item that has none.
const UNKNOWN: &str = "unknown";

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
    fn time(&self, field: Field<Text<'_>>) -> Result<Option<Timestamp>, Fault> {
        self.moment("/time", field)
    }

    /// A time that a clock of the sender's systems showed.
    fn moment(&self, at: &str, field: Field<Text<'_>>) -> Result<Option<Timestamp>, Fault> {
        let Some(time) = field.moment(at)? else { return Ok(None) };
        if time > self.received_at.plus(self.max_future) {
            let detail = format!(
                "is {time}, {} s in the future: check the sender's clock and offset",
                time.duration_since(self.received_at).as_secs()
            );
            return Err(Fault::new(at, detail));
        }
        if time < EARLIEST {
            return Err(Fault::new(at, format!("is {time}, before 2000: check the unit and the sender's clock")));
        }
        Ok(Some(time))
    }
}

/// One item: its `type` (`unknown` where it could not be read), and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: &'static str,
    pub fate: Fate,
}

/// Indices point into [`Parsed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Fact(usize),
    /// Telemetry without an id: added up.
    Added,
    Keyed {
        index: usize,
        id: Box<str>,
    },
    /// The same item stands earlier in the body.
    Repeated {
        id: Box<str>,
    },
    Invalid(Fault),
}

/// Everything that one body said.
#[derive(Debug, Default)]
pub struct Parsed {
    /// In the order of the body.
    pub items: Vec<Item>,
    /// Whether the body had one event per line.
    pub lines: bool,
    pub facts: Vec<Fact>,
    pub telemetry: TelemetryBatch,
    pub keyed: Vec<(Key, TelemetryBatch)>,
}

/// Reads a body; `lines` where the sender declared one event per line.
///
/// # Errors
/// [`Unreadable`]: not one item could be read.
pub fn parse(body: &str, lines: bool, context: &Context<'_>) -> Result<Parsed, Unreadable> {
    let items = split::split(body, lines, context.max_items)?;
    let mut reader = Reader {
        context,
        sums: Aggregator::default(),
        parsed: Parsed { lines: matches!(items, Items::Lines(_)), ..Parsed::default() },
        digests: HashSet::new(),
        keys: HashSet::new(),
    };
    reader.parsed.items.reserve(items.as_slice().len());
    for raw in items.as_slice() {
        let item = reader.item(raw);
        reader.parsed.items.push(item);
    }
    let mut parsed = reader.parsed;
    parsed.telemetry = reader.sums.finish(context.environments);
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

struct Reader<'c> {
    context: &'c Context<'c>,
    sums: Aggregator,
    parsed: Parsed,
    /// What this body already said: saying it twice counts once.
    digests: HashSet<[u8; 32]>,
    keys: HashSet<Key>,
}

impl Reader<'_> {
    fn item(&mut self, raw: &str) -> Item {
        let read = kind_of(raw);
        let kind = read.as_ref().ok().and_then(|read| TYPES.into_iter().find(|kind| *kind == &**read));
        match (kind, read) {
            (Some(kind), _) => Item { kind, fate: self.read(kind, raw).unwrap_or_else(Fate::Invalid) },
            (None, Ok(read)) => Item { kind: UNKNOWN, fate: Fate::Invalid(unknown_type(&read)) },
            (None, Err(fault)) => Item { kind: UNKNOWN, fate: Fate::Invalid(fault) },
        }
    }

    fn read(&mut self, kind: &'static str, raw: &str) -> Result<Fate, Fault> {
        match kind {
            "request" => self.telemetry(kind, read(raw)?, telemetry::request),
            "performance" => self.telemetry(kind, read(raw)?, telemetry::performance),
            "error" => self.telemetry(kind, read(raw)?, telemetry::error),
            "deployment" => self.delivery(raw, delivery::deployment(read(raw)?, self.context)?),
            "change" => self.delivery(raw, delivery::change(read(raw)?, self.context)?),
            "incident" => self.delivery(raw, delivery::incident(read(raw)?, self.context)?),
            unknown => Err(unknown_type(unknown)),
        }
    }

    fn telemetry<'a, T: Event<'a>>(
        &mut self,
        kind: &str,
        mut item: T,
        add: fn(T, &Context<'_>, &mut Aggregator) -> Result<(), Fault>,
    ) -> Result<Fate, Fault> {
        let (id, source) = item.take_identity();
        let source = source.within("/source", SOURCE)?;
        let Some(id) = id.within("/id", ID)? else {
            add(item, self.context, &mut self.sums)?;
            return Ok(Fate::Added);
        };
        let mut own = Aggregator::default();
        add(item, self.context, &mut own)?;
        let key = key_of(&[kind, source.as_deref().unwrap_or(DEFAULT_SOURCE), &id]);
        let id = id.into();
        if !self.keys.insert(key) {
            return Ok(Fate::Repeated { id });
        }
        self.parsed.keyed.push((key, own.finish(self.context.environments)));
        Ok(Fate::Keyed { index: self.parsed.keyed.len() - 1, id })
    }

    fn delivery(&mut self, raw: &str, (event, sent): delivery::Read) -> Result<Fate, Fault> {
        let mut fact = fact(event, sent, self.context.received_at, raw)?;
        if !self.digests.insert(fact.digest) {
            return Ok(Fate::Repeated { id: fact.event.key().id.as_str().into() });
        }
        // After the digest, which must not change when the configuration does.
        let names = self.context.environments;
        match &mut fact.event {
            DeliveryEvent::Deployment(event) => event.name_environment(names.canonical(&event.environment).to_owned()),
            DeliveryEvent::Incident(event) => {
                if let Some(environment) = &mut event.environment {
                    *environment = names.canonical(environment).to_owned();
                }
            }
            _ => {}
        }
        self.parsed.facts.push(fact);
        Ok(Fate::Fact(self.parsed.facts.len() - 1))
    }
}

/// The item's type; read off its first field where that is `type`, as it mostly is.
fn kind_of(raw: &str) -> Result<Cow<'_, str>, Fault> {
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
