//! What people are told about a rollback. Pure: the alert machinery turns it into messages.

use std::collections::BTreeMap;
use std::time::Duration;

use super::explain;
use super::policy::Decision;
use super::state::{Act, HistoryEntry, Rollback, RollbackState, Step, StepState};
use crate::alert::{Condition, Content, Fact, Kind, Observation};
use crate::config::model::Severity;

/// One thing to tell. Messages with the same fingerprint are about the same thing: a later one
/// replaces the earlier; one that is not `active` ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `rollback:` and the rollback's id.
    pub fingerprint: String,
    pub rollback_id: String,
    pub service: String,
    pub environment: String,
    pub severity: Severity,
    pub active: bool,
    /// About ten words.
    pub headline: String,
    /// One or two sentences.
    pub summary: String,
    /// Names and values, in the order to be shown.
    pub facts: Vec<(String, String)>,
}

/// Told at once, and over as soon as it is not active: its headline is the last word.
impl From<&Message> for Observation {
    fn from(message: &Message) -> Self {
        let facts = message.facts.iter().cloned().map(|(label, value)| Fact { label, value }).collect();
        let (headline, summary) = (message.headline.clone(), message.summary.clone());
        let content = Content { headline, summary, facts, links: Vec::new() };
        Self {
            fingerprint: message.fingerprint.clone(),
            kind: Kind::Rollback,
            service: message.service.clone(),
            environment: message.environment.clone(),
            labels: BTreeMap::from([("rollback".to_owned(), message.rollback_id.clone())]),
            condition: if message.active {
                Condition::Firing { severity: message.severity, content }
            } else {
                Condition::Clear { last_word: Some(content) }
            },
            pending_for: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
        }
    }
}

/// What there is to tell of a rollback in the state it is in; `None` where nobody need know (a
/// shadow).
pub fn message(rollback: &Rollback, steps: &[Step]) -> Option<Message> {
    let decision = &rollback.decision;
    let (from, to) = versions(decision);
    let place = format!("{} in {}", rollback.service, rollback.environment);
    let (headline, more) = match rollback.state {
        RollbackState::Shadowed => return None,
        RollbackState::Proposed => (
            format!("Approve the rollback of {place}: {from} → {to}?"),
            format!("Approve with `devpulse rollback approve {}`.", rollback.id),
        ),
        RollbackState::Running => {
            (format!("Rolling back {place}: {from} → {to}"), "Traffic is being moved.".to_owned())
        }
        RollbackState::Done => (format!("Rolled back {place}: {from} → {to}"), moved(steps)),
        RollbackState::Failed => (format!("Rollback of {place} needs a person: {from} → {to}"), undone(steps)),
        RollbackState::Refused => {
            (format!("{place}: {from} is worse, not rolled back"), "A person has to decide what to do.".to_owned())
        }
        RollbackState::Cancelled => (format!("Rollback of {place} cancelled"), last_act(rollback)),
        RollbackState::Expired => (format!("Rollback of {place} was not approved in time"), last_act(rollback)),
    };
    let waits = matches!(
        rollback.state,
        RollbackState::Proposed | RollbackState::Running | RollbackState::Failed | RollbackState::Refused
    );
    Some(Message {
        fingerprint: format!("rollback:{}", rollback.id),
        rollback_id: rollback.id.clone(),
        service: rollback.service.clone(),
        environment: rollback.environment.clone(),
        severity: Severity::Page,
        active: waits && !rollback.is_closed(),
        headline,
        summary: format!("{}. {more}", decision.summary).trim_end().to_owned(),
        facts: facts(rollback, steps),
    })
}

/// The message of a rollback whose switch is confirmed, while what remains is being recorded.
pub fn switched(rollback: &Rollback, steps: &[Step]) -> Option<Message> {
    let done = Rollback { state: RollbackState::Done, ..rollback.clone() };
    message(&done, steps)
}

/// The message that ends a failed or refused one.
pub fn closed(rollback: &Rollback, steps: &[Step]) -> Option<Message> {
    message(rollback, steps).map(|message| Message { active: false, ..message })
}

fn versions(decision: &Decision) -> (&str, &str) {
    (
        decision.from.as_ref().map_or("the new version", |release| release.version.as_str()),
        decision.to.as_ref().map_or("no target", |release| release.version.as_str()),
    )
}

fn moved(steps: &[Step]) -> String {
    let attempts = steps.first().map_or(0, |route| route.attempt);
    if attempts > 1 { format!("Traffic was moved at attempt {attempts}.") } else { "Traffic was moved.".to_owned() }
}

/// What is done and what is not.
fn undone(steps: &[Step]) -> String {
    let list = |wanted: &dyn Fn(StepState) -> bool| {
        let names: Vec<&str> = steps.iter().filter(|step| wanted(step.state)).map(|step| step.step.as_str()).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    let done = list(&|state| state == StepState::Done);
    let open = list(&|state| state != StepState::Done);
    if steps.iter().any(Step::may_have_acted) {
        return "Nobody knows whether traffic was moved: look before you act.".to_owned();
    }
    format!("Done: {done}. Not done: {open}.")
}

fn last_act(rollback: &Rollback) -> String {
    let act = |entry: &&HistoryEntry| matches!(entry.act, Act::Cancelled | Act::Expired);
    rollback.history.iter().rev().find(act).map_or_else(String::new, |entry| {
        if entry.actor == "devpulse" { entry.detail.clone() } else { format!("{} (by {})", entry.detail, entry.actor) }
    })
}

fn facts(rollback: &Rollback, steps: &[Step]) -> Vec<(String, String)> {
    let decision = &rollback.decision;
    let mut facts = vec![("deployment".to_owned(), rollback.deployment.id.clone())];
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    for evidence in &decision.indicators {
        if let Some(burn) = evidence.burn {
            add(&evidence.slo, explain::burned(burn, evidence.budget_consumed));
        }
    }
    if let Some(entry) = rollback.history.iter().find(|entry| entry.act == Act::Approved) {
        add("approved by", entry.actor.clone());
    }
    for rejected in &decision.rejected_targets {
        let version = rejected.version.as_deref().unwrap_or(&rejected.deployment.id);
        add("not a target", format!("{version} {}", explain::target_fault(rejected.fault)));
    }
    for step in steps.iter().filter(|step| matches!(step.state, StepState::Failed | StepState::Unknown)) {
        let error = step.response.as_ref().and_then(|response| response.get("error")?.as_str());
        let error = error.unwrap_or("no answer is known");
        add(step.step.as_str(), format!("{} after {} attempts: {error}", step.state.as_str(), step.attempt));
    }
    facts
}
