//! The answer to `POST /api/v1/events`: exactly one outcome per item.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::committer::Committed;
use super::fault::Fault;
use super::items::{Fate, Item, Parsed};
use super::metrics::Outcome;
use super::source::Skip;
use crate::event::{Counting, DeliveryEvent};

/// What became of a request's events; `items` in the order of the body, absent in a summary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Receipt {
    /// Taken in by this request, durably.
    pub accepted: usize,
    /// Taken in before, by an earlier request or an earlier item.
    pub duplicate: usize,
    /// Not taken in; sending it again unchanged is of no use.
    pub invalid: usize,
    /// Of no use to DevPulse, see `reason`; only CloudEvents are skipped.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ItemReceipt>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ItemReceipt {
    pub outcome: Outcome,
    /// Of deployments, changes, incidents, and of telemetry that came with an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Of accepted deployments, changes and incidents.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub counting: Option<Counting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ItemError>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

pub const fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ItemError {
    /// JSON pointer into the item; empty for the item as a whole.
    pub pointer: String,
    pub detail: String,
}

impl From<&Fault> for ItemError {
    fn from(fault: &Fault) -> Self {
        Self { pointer: fault.pointer().to_owned(), detail: fault.detail().to_owned() }
    }
}

/// What is left of a parsed body once its events went to the committer.
#[derive(Debug)]
pub struct Pending {
    items: Vec<Item>,
    /// The events of the facts, by index.
    events: Vec<DeliveryEvent>,
}

impl Pending {
    /// Takes the items out of `parsed`.
    pub fn of(parsed: &mut Parsed) -> Self {
        let events = parsed.facts.iter().map(|fact| fact.event.clone()).collect();
        Self { items: std::mem::take(&mut parsed.items), events }
    }

    /// The events that `committed` took in, by their index.
    pub fn accepted(&self, committed: &Committed) -> impl Iterator<Item = (usize, &DeliveryEvent)> {
        self.events.iter().enumerate().filter(|(index, _)| is_new(&Fate::Fact(*index), committed))
    }

    /// How many items of each kind had each outcome, and why those that were skipped were.
    pub fn tally(&self, committed: &Committed) -> BTreeMap<(&'static str, Outcome, Option<Skip>), u64> {
        let mut tally = BTreeMap::new();
        for item in &self.items {
            let outcome = outcome(&item.fate, committed);
            let skip = match &item.fate {
                Fate::Skipped(skip, _) | Fate::Kept(_, skip, _) if outcome == Outcome::Skipped => Some(*skip),
                _ => None,
            };
            *tally.entry((item.kind, outcome, skip)).or_default() += 1;
        }
        tally
    }

    /// The receipt; `counting` answers, by the index of a newly taken event, what it counts in.
    pub fn receipt(
        &self,
        committed: &Committed,
        with_items: bool,
        mut counting: impl FnMut(usize) -> Option<Counting>,
    ) -> Receipt {
        let mut receipt = Receipt { items: with_items.then(Vec::new), ..Receipt::default() };
        for item in &self.items {
            let outcome = outcome(&item.fate, committed);
            match outcome {
                Outcome::Accepted => receipt.accepted += 1,
                Outcome::Duplicate => receipt.duplicate += 1,
                Outcome::Invalid => receipt.invalid += 1,
                Outcome::Skipped => receipt.skipped += 1,
            }
            if let Some(items) = &mut receipt.items {
                items.push(self.item(&item.fate, outcome, &mut counting));
            }
        }
        receipt
    }

    fn item(&self, fate: &Fate, outcome: Outcome, counting: &mut impl FnMut(usize) -> Option<Counting>) -> ItemReceipt {
        let id = match fate {
            Fate::Fact(index) | Fate::Kept(index, ..) => self.events.get(*index).map(|event| event.key().id.clone()),
            Fate::Keyed { id, .. } | Fate::Repeated { id } => Some(id.to_string()),
            Fate::Added | Fate::Skipped(..) | Fate::Invalid(_) => None,
        };
        let error = match fate {
            Fate::Invalid(fault) => Some(ItemError::from(fault)),
            _ => None,
        };
        let reason = match fate {
            Fate::Skipped(_, words) | Fate::Kept(_, _, words) => Some(words.clone()),
            _ => None,
        };
        let counting = match (outcome, fate) {
            (Outcome::Accepted, Fate::Fact(index)) => counting(*index),
            _ => None,
        };
        ItemReceipt { outcome, id, counting, error, reason }
    }
}

fn outcome(fate: &Fate, committed: &Committed) -> Outcome {
    match fate {
        Fate::Invalid(_) => Outcome::Invalid,
        Fate::Skipped(..) => Outcome::Skipped,
        Fate::Kept(..) if is_new(fate, committed) => Outcome::Skipped,
        fate if is_new(fate, committed) => Outcome::Accepted,
        _ => Outcome::Duplicate,
    }
}

fn is_new(fate: &Fate, committed: &Committed) -> bool {
    // Otherwise the whole request was taken in before.
    let Committed::Taken { facts, keyed } = committed else { return false };
    match fate {
        Fate::Fact(index) | Fate::Kept(index, ..) => facts.get(*index).copied().unwrap_or(false),
        Fate::Keyed { index, .. } => keyed.get(*index).copied().unwrap_or(false),
        Fate::Added => true,
        Fate::Repeated { .. } | Fate::Skipped(..) | Fate::Invalid(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::NotCounted;
    use crate::event::{EntityKey, IncidentEvent, IncidentStatus};
    use crate::time::Timestamp;

    fn incident(id: &str) -> DeliveryEvent {
        let key = EntityKey { source: "api".to_owned(), id: id.to_owned() };
        let time = Timestamp::from_seconds(1_767_609_000);
        DeliveryEvent::Incident(IncidentEvent::new(key, time, IncidentStatus::Opened))
    }

    fn pending() -> Pending {
        let fates = [
            ("incident", Fate::Fact(0)),
            ("incident", Fate::Fact(1)),
            ("request", Fate::Added),
            ("request", Fate::Keyed { index: 0, id: "r".into() }),
            ("request", Fate::Repeated { id: "r".into() }),
            ("unknown", Fate::Invalid(Fault::new("/service", "is missing"))),
        ];
        let items = fates.into_iter().map(|(kind, fate)| Item { kind, fate }).collect();
        Pending { items, events: vec![incident("d-41"), incident("d-42")] }
    }

    #[test]
    fn every_item_has_one_outcome_in_order() {
        let committed = Committed::Taken { facts: vec![true, false], keyed: vec![true] };
        let counting = |index| {
            assert_eq!(index, 0, "only what is new counts");
            Some(Counting {
                counted_in: vec!["deployment_frequency"],
                not_counted: vec![NotCounted { metric: "rework_rate", reason: "r".to_owned(), fix: None }],
                joined: None,
            })
        };
        let receipt = pending().receipt(&committed, true, counting);
        assert_eq!(
            serde_json::to_value(&receipt).unwrap(),
            json!({"accepted":3,"duplicate":2,"invalid":1,"items":[
                {"outcome":"accepted","id":"d-41","counted_in":["deployment_frequency"],
                 "not_counted":[{"metric":"rework_rate","reason":"r"}]},
                {"outcome":"duplicate","id":"d-42"},
                {"outcome":"accepted"},
                {"outcome":"accepted","id":"r"},
                {"outcome":"duplicate","id":"r"},
                {"outcome":"invalid","error":{"pointer":"/service","detail":"is missing"}},
            ]})
        );
        let accepted: Vec<usize> = pending().accepted(&committed).map(|(index, _)| index).collect();
        assert_eq!(accepted, [0]);
    }

    #[test]
    fn a_repeated_request_accepts_nothing() {
        let receipt = pending().receipt(&Committed::Repeated, false, |_| None);
        assert_eq!(serde_json::to_value(&receipt).unwrap(), json!({"accepted":0,"duplicate":5,"invalid":1}));
        assert_eq!(pending().tally(&Committed::Repeated)[&("request", Outcome::Duplicate, None)], 3);
    }
}
