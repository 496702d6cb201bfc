//! What every source's parser answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::committer::{Fact, RequestKey};
use super::credible::Credible;
use super::fault::Fault;
use crate::config::EnvironmentNames;
use crate::config::model::Service;
use crate::time::Timestamp;

/// What reading depends on besides the body; `S` are the source's own settings.
#[derive(Debug)]
pub struct Context<'a, S> {
    pub received_at: Timestamp,
    pub settings: &'a S,
    pub services: &'a [Service],
    pub environments: EnvironmentNames<'a>,
    /// As many items a delivery may list.
    pub max_items: usize,
}

impl<S> Context<'_, S> {
    /// # Errors
    /// The list at `at` has more items than are taken in.
    pub fn bounded(&self, items: usize, at: &str) -> Result<(), Fault> {
        if items > self.max_items { Err(too_many(at, self.max_items)) } else { Ok(()) }
    }
}

/// The list at `at` has more items than are taken in: nothing of its delivery is.
pub fn too_many(at: &str, limit: usize) -> Fault {
    Fault::new(at, format!("has more than {limit} items: raise `ingest.max_items`"))
}

/// What a delivery says.
#[derive(Debug, Clone)]
pub enum Reading {
    Facts(Vec<Fact>),
    /// Facts, and in words what of it the source did not tell.
    Partial(Vec<Fact>, String),
    /// Facts, and the parts beside them that cannot be taken in.
    Mixed(Vec<Fact>, Vec<Refused>),
    /// Nothing that counts, and why: for counting, and in words.
    Skipped(Skip, String),
}

/// A part of a delivery that cannot be taken in, as it came, or the whole of it.
#[derive(Debug, Clone)]
pub struct Refused {
    pub fault: Fault,
    pub raw: Vec<u8>,
}

/// What of a reading can be taken in, and what cannot.
#[derive(Debug, Clone)]
pub struct Sorted {
    pub facts: Vec<Fact>,
    /// What the source did not tell.
    pub missing: Option<String>,
    pub refused: Vec<Refused>,
}

impl Reading {
    pub fn skipped(why: Skip, words: impl Into<String>) -> Self {
        Self::Skipped(why, words.into())
    }

    /// Refuses the facts that cannot be true at the time of their receipt.
    ///
    /// # Errors
    /// It says nothing that counts, and why.
    pub fn sort(self, credible: &Credible) -> Result<Sorted, (Skip, String)> {
        let (facts, missing, mut refused) = match self {
            Self::Facts(facts) => (facts, None, Vec::new()),
            Self::Partial(facts, missing) => (facts, Some(missing), Vec::new()),
            Self::Mixed(facts, refused) => (facts, None, refused),
            Self::Skipped(why, words) => return Err((why, words)),
        };
        let mut kept = Vec::new();
        for fact in facts {
            match credible.event(&fact.event) {
                Ok(()) => kept.push(fact),
                Err(detail) => refused.push(Refused { fault: Fault::new("", detail), raw: fact.raw }),
            }
        }
        Ok(Sorted { facts: kept, missing, refused })
    }
}

impl Sorted {
    /// The key under which a repetition is known: none where a part was refused that may come again once it can
    /// be taken in. Facts are known by themselves.
    pub fn key_of_whole(&self, key: Option<RequestKey>) -> Option<RequestKey> {
        key.filter(|_| self.refused.is_empty())
    }
}

/// Why a delivery says nothing that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// Somebody tried the webhook.
    Test,
    /// A kind of event that DevPulse does not use.
    UnusedEvent,
    /// One that it may use, of a version that it does not know: kept as it came.
    UnsupportedVersion,
    /// A kind that it uses, about something that has not changed.
    NoChange,
    /// The configuration does not say what it means, or says that it does not count.
    NotConfigured,
    /// Not on the default branch.
    NotMerged,
    /// Another event tells the same.
    CountedElsewhere,
    /// Nothing says that it is an incident.
    NotAnIncident,
}

impl Skip {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::UnusedEvent => "unused_event",
            Self::UnsupportedVersion => "unsupported_version",
            Self::NoChange => "no_change",
            Self::NotConfigured => "not_configured",
            Self::NotMerged => "not_merged",
            Self::CountedElsewhere => "counted_elsewhere",
            Self::NotAnIncident => "not_an_incident",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::key::request_key;

    #[test]
    fn only_what_is_taken_in_as_a_whole_is_known_by_its_delivery() {
        let key = || Some(request_key(&["github-delivery", "a"], b"{}"));
        let mut sorted = Sorted { facts: Vec::new(), missing: None, refused: Vec::new() };
        assert!(sorted.key_of_whole(key()).is_some());
        sorted.refused.push(Refused { fault: Fault::new("", "is ahead"), raw: Vec::new() });
        assert!(sorted.key_of_whole(key()).is_none());
    }
}
