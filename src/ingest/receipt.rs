//! The answer to `POST /api/v1/events`: exactly one outcome per item.

use serde::Serialize;
use utoipa::ToSchema;

use super::committer::Committed;
use super::fault::Fault;
use super::native::{Item, Parsed};
use crate::event::Counting;

/// What became of a request's events; `items` in the order of the body, absent in a summary.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Receipt {
    /// Taken in by this request, durably.
    pub accepted: usize,
    /// Taken in before, by an earlier request or an earlier item.
    pub duplicate: usize,
    /// Not taken in; sending it again unchanged is of no use.
    pub invalid: usize,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Accepted,
    Duplicate,
    Invalid,
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

/// One item's outcome, before it is written out.
enum Judged<'a> {
    Accepted(Option<&'a str>),
    Duplicate(Option<&'a str>),
    Invalid(&'a Fault),
}

fn judge<'a>(item: &'a Item, ids: &'a [String], committed: &Committed) -> Judged<'a> {
    let taken = |new: bool, id: Option<&'a str>| if new { Judged::Accepted(id) } else { Judged::Duplicate(id) };
    let id_of = |index: usize| ids.get(index).map(String::as_str);
    match (item, committed) {
        (Item::Invalid(fault), _) => Judged::Invalid(fault),
        (Item::Repeated { id }, _) => Judged::Duplicate(Some(id)),
        (Item::Fact(index), Committed::Taken { facts, .. }) => {
            taken(facts.get(*index).copied().unwrap_or(false), id_of(*index))
        }
        (Item::Keyed { index, id }, Committed::Taken { keyed, .. }) => {
            taken(keyed.get(*index).copied().unwrap_or(false), Some(id))
        }
        (Item::Added, Committed::Taken { .. }) => Judged::Accepted(None),
        // The whole request was taken in before.
        (Item::Fact(index), _) => Judged::Duplicate(id_of(*index)),
        (Item::Keyed { id, .. }, _) => Judged::Duplicate(Some(id)),
        (Item::Added, _) => Judged::Duplicate(None),
    }
}

/// What is left of a parsed body once its events went to the committer.
#[derive(Debug)]
pub struct Pending {
    items: Vec<Item>,
    /// The ids of the facts, by index.
    ids: Vec<String>,
}

impl Pending {
    /// Takes the items out of `parsed`.
    pub fn of(parsed: &mut Parsed) -> Self {
        let ids = parsed.facts.iter().map(|fact| fact.event.key().id.clone()).collect();
        Self { items: std::mem::take(&mut parsed.items), ids }
    }

    /// The receipt; `counting` answers, by the index of a newly taken fact, what it counts in.
    pub fn receipt(
        &self,
        committed: &Committed,
        with_items: bool,
        mut counting: impl FnMut(usize) -> Option<Counting>,
    ) -> Receipt {
        let mut receipt = Receipt { items: with_items.then(Vec::new), ..Receipt::default() };
        for item in &self.items {
            let judged = judge(item, &self.ids, committed);
            match judged {
                Judged::Accepted(_) => receipt.accepted += 1,
                Judged::Duplicate(_) => receipt.duplicate += 1,
                Judged::Invalid(_) => receipt.invalid += 1,
            }
            if let Some(items) = &mut receipt.items {
                items.push(written(&judged, item, &mut counting));
            }
        }
        receipt
    }
}

fn written(judged: &Judged<'_>, item: &Item, counting: &mut impl FnMut(usize) -> Option<Counting>) -> ItemReceipt {
    let (outcome, id, error) = match judged {
        Judged::Accepted(id) => (Outcome::Accepted, *id, None),
        Judged::Duplicate(id) => (Outcome::Duplicate, *id, None),
        Judged::Invalid(fault) => (Outcome::Invalid, None, Some(ItemError::from(*fault))),
    };
    let counting = match (outcome, item) {
        (Outcome::Accepted, Item::Fact(index)) => counting(*index),
        _ => None,
    };
    ItemReceipt { outcome, id: id.map(str::to_owned), counting, error }
}
