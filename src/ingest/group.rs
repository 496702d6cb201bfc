//! What one commit group writes, inside one transaction.

use std::collections::{BTreeMap, BTreeSet};

use super::committer::{CommitNotice, Committed, Fact, Key, RequestKey, Submission};
use super::key::fact_known_by;
use crate::event::alarm::{self, Inferred};
use crate::event::{DeliveryEvent, IncidentEvent, TelemetryBatch};
use crate::store::fact::{self, Entity, NewFact};
use crate::store::journal::{self, Place};
use crate::store::seen::{self, NewKey};
use crate::store::{Conn, StoreError, projection, repetition};
use crate::time::Timestamp;

/// What the group comes to, if its transaction commits.
#[derive(Debug)]
pub(super) struct Written {
    /// One for each submission, in order.
    pub answers: Vec<Committed>,
    pub notice: CommitNotice,
    pub journalled: bool,
}

/// Writes the group; `place` is where its telemetry goes in the journal.
///
/// # Errors
/// The database refuses: the transaction must be undone.
pub(super) async fn write(conn: &mut Conn, group: &[Submission], place: &Place) -> Result<Written, StoreError> {
    let verdicts = claim_requests(conn, group).await?;
    let live: Vec<&Submission> = group
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.is_none())
        .map(|(submission, _)| submission)
        .collect();
    let keyed = claim_items(conn, &live).await?;
    let facts = insert_facts(conn, &live).await?;
    let notice = CommitNotice {
        telemetry: sum(&live, &keyed),
        facts: new_facts(&live, &facts).map(|fact| fact.event.clone()).collect(),
        received_at: group.iter().map(|submission| submission.received_at).min(),
    };
    let touched: BTreeSet<Entity> = notice.facts.iter().map(Entity::of).collect();
    projection::refold(conn, &touched).await?;
    let journalled = !notice.telemetry.is_empty();
    if journalled {
        journal::append(conn, place, &notice.telemetry).await?;
    }
    let mut taken = facts.into_iter().zip(keyed).map(|(facts, keyed)| Committed::Taken { facts, keyed });
    let answers =
        verdicts.into_iter().map(|verdict| verdict.or_else(|| taken.next()).unwrap_or(Committed::Repeated)).collect();
    Ok(Written { answers, notice, journalled })
}

/// Why a submission is not taken in; `None` for those that are.
async fn claim_requests(conn: &mut Conn, group: &[Submission]) -> Result<Vec<Option<Committed>>, StoreError> {
    let asked: Vec<(&RequestKey, NewKey)> = group
        .iter()
        .filter_map(|submission| submission.request.as_ref().map(|request| (request, submission)))
        .map(|(request, submission)| {
            let body_digest = Some(request.body_digest);
            (request, NewKey { key: request.key, body_digest, seen_at: submission.received_at })
        })
        .collect();
    let keys: Vec<NewKey> = asked.iter().map(|(_, new)| new.clone()).collect();
    let claimed = seen::claim(conn, &keys).await?;
    let known: Vec<Key> =
        asked.iter().zip(&claimed).filter(|(_, new)| !**new).map(|((request, _), _)| request.key).collect();
    let digests = seen::body_digests(conn, &known).await?;
    let mut claimed = claimed.into_iter();
    Ok(group
        .iter()
        .map(|submission| {
            let request = submission.request.as_ref()?;
            let new = claimed.next().unwrap_or(false);
            (!new).then(|| repeated(request, &digests))
        })
        .collect())
}

fn repeated(request: &RequestKey, digests: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Committed {
    let first = digests.get(request.key.as_slice()).and_then(Option::as_deref);
    if first == Some(request.body_digest.as_slice()) { Committed::Repeated } else { Committed::KeyReused }
}

/// For each submission, which of its keyed items are new.
async fn claim_items(conn: &mut Conn, live: &[&Submission]) -> Result<Vec<Vec<bool>>, StoreError> {
    let keys: Vec<NewKey> = live
        .iter()
        .flat_map(|submission| submission.keyed.iter().map(|(key, _)| (*key, submission.received_at)))
        .map(|(key, seen_at)| NewKey { key, body_digest: None, seen_at })
        .collect();
    let mut claimed = seen::claim(conn, &keys).await?.into_iter();
    Ok(live.iter().map(|submission| claimed.by_ref().take(submission.keyed.len()).collect()).collect())
}

/// For each submission, which of its facts say something new.
async fn insert_facts(conn: &mut Conn, live: &[&Submission]) -> Result<Vec<Vec<bool>>, StoreError> {
    let of_each = live.iter().flat_map(|submission| submission.facts.iter().map(|fact| (fact, submission.received_at)));
    let facts: Vec<(&Fact, Timestamp)> = of_each.collect();
    let plain = facts.iter().filter(|(fact, _)| !fact.alarm);
    let rows: Vec<NewFact> = plain.map(|(fact, at)| row(fact, *at)).collect::<Result<_, _>>()?;
    let mut inserted = fact::insert(conn, &rows).await?.into_iter();
    let mut answers = Vec::new();
    for (fact, received_at) in facts {
        answers.push(if fact.alarm {
            hear(conn, fact, received_at).await?
        } else {
            inserted.next().unwrap_or(false) && !repetition::put_aside(conn, &fact.event, &fact.digest).await?
        });
    }
    let mut inserted = answers.into_iter();
    Ok(live.iter().map(|submission| inserted.by_ref().take(submission.facts.len()).collect()).collect())
}

fn row(fact: &Fact, received_at: Timestamp) -> Result<NewFact, StoreError> {
    NewFact::new(&fact.event, &fact.digest, &fact.raw, received_at)
}

/// Adds a notice of an alarm, and what follows from it; answers whether anything was new. One by one: it
/// matters what was heard before.
async fn hear(conn: &mut Conn, fact: &Fact, received_at: Timestamp) -> Result<bool, StoreError> {
    let new = fact::insert(conn, &[row(fact, received_at)?]).await? == [true];
    let DeliveryEvent::Incident(said) = &fact.event else { return Ok(new) };
    let heard = fact::in_order_of_arrival(conn, &Entity::of(&fact.event)).await?;
    let incidents = heard.into_iter().filter_map(|event| match event {
        DeliveryEvent::Incident(event) => Some(event),
        _ => None,
    });
    let reopened = |event: IncidentEvent| {
        let parts = [&event.key.source, &event.key.id, "reopened", &event.time.to_string()].map(str::to_owned);
        let parts = parts.each_ref().map(String::as_str);
        fact_known_by(&parts, DeliveryEvent::Incident(event), &String::from_utf8_lossy(&fact.raw))
    };
    let changed = match alarm::follows(&incidents.collect::<Vec<_>>(), said, new) {
        None => false,
        Some(Inferred::Reopened(event)) => fact::insert(conn, &[row(&reopened(event), received_at)?]).await? == [true],
        Some(Inferred::TakenBack(event)) => fact::take_back(conn, &reopened(event).digest).await?,
    };
    Ok(new || changed)
}

fn new_facts<'a>(live: &'a [&Submission], new: &'a [Vec<bool>]) -> impl Iterator<Item = &'a Fact> {
    let of_each = live.iter().zip(new).flat_map(|(submission, new)| submission.facts.iter().zip(new));
    of_each.filter(|(_, new)| **new).map(|(fact, _)| fact)
}

fn sum(live: &[&Submission], new: &[Vec<bool>]) -> TelemetryBatch {
    let mut sum = TelemetryBatch::default();
    for (submission, new) in live.iter().zip(new) {
        sum.merge(&submission.telemetry);
        for ((_, telemetry), _) in submission.keyed.iter().zip(new).filter(|(_, new)| **new) {
            sum.merge(telemetry);
        }
    }
    sum
}
