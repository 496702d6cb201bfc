//! Findings of scanners: a weakness of the code, of a dependency, or a secret that leaked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::EntityKey;
use super::state::{in_order, newer};
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Found in the code itself.
    Code,
    /// Known of a dependency.
    Dependency,
    /// A secret in the repository.
    Secret,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingStatus {
    Open,
    Fixed,
    /// Somebody, or a rule, decided that nothing is to be done.
    Dismissed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingSeverity {
    Low,
    Medium,
    High,
    Critical,
}

/// What one message says of one finding, at `time`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingEvent {
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    pub repository: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    pub kind: FindingKind,
    pub status: FindingStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<FindingSeverity>,
    /// What was looked for: a rule's id, an advisory's, a type of secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The program that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Where: a package, as `ecosystem/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    pub opened_at: Timestamp,
    /// When it was fixed or dismissed, where the source says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Keyed by (source, id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    #[serde(flatten)]
    pub key: EntityKey,
    pub repository: String,
    pub service: Option<String>,
    pub kind: FindingKind,
    pub status: FindingStatus,
    pub severity: Option<FindingSeverity>,
    /// What was looked for: a rule's id, an advisory's, a type of secret.
    pub rule: Option<String>,
    pub title: Option<String>,
    /// The program that found it.
    pub tool: Option<String>,
    /// The package it is about, as `ecosystem/name`.
    pub package: Option<String>,
    pub opened_at: Timestamp,
    /// Cleared again when the finding reopens.
    pub fixed_at: Option<Timestamp>,
    /// Cleared again when the finding reopens.
    pub dismissed_at: Option<Timestamp>,
    pub url: Option<String>,
}

/// `None` when there are no facts.
///
/// The latest status counts, from the first time it was said after another one.
pub fn fold_finding(facts: &[FindingEvent]) -> Option<Finding> {
    let sorted = in_order(facts, |fact| (fact.time, fact.status));
    let first = *sorted.first()?;
    let mut state = Finding {
        key: first.key.clone(),
        repository: first.repository.clone(),
        service: None,
        kind: first.kind,
        status: first.status,
        severity: None,
        rule: None,
        title: None,
        tool: None,
        package: None,
        opened_at: first.opened_at,
        fixed_at: None,
        dismissed_at: None,
        url: None,
    };
    for fact in sorted {
        newer(&mut state.service, fact.service.as_ref());
        newer(&mut state.severity, fact.severity.as_ref());
        newer(&mut state.rule, fact.rule.as_ref());
        newer(&mut state.title, fact.title.as_ref());
        newer(&mut state.tool, fact.tool.as_ref());
        newer(&mut state.package, fact.package.as_ref());
        newer(&mut state.url, fact.url.as_ref());
        state.opened_at = state.opened_at.min(fact.opened_at);
        let at = fact.closed_at.unwrap_or(fact.time);
        (state.status, state.fixed_at, state.dismissed_at) = match fact.status {
            FindingStatus::Open => (FindingStatus::Open, None, None),
            FindingStatus::Fixed => (FindingStatus::Fixed, state.fixed_at.or(Some(at)), None),
            FindingStatus::Dismissed => (FindingStatus::Dismissed, None, state.dismissed_at.or(Some(at))),
        };
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(status: FindingStatus, minute: i64) -> FindingEvent {
        FindingEvent {
            key: EntityKey { source: "github/acme/checkout".to_owned(), id: "dependency/7".to_owned() },
            time: Timestamp::from_seconds(minute * 60),
            repository: "acme/checkout".to_owned(),
            service: None,
            kind: FindingKind::Dependency,
            status,
            severity: Some(FindingSeverity::High),
            rule: None,
            title: None,
            tool: None,
            package: None,
            opened_at: Timestamp::from_seconds(60),
            closed_at: None,
            url: None,
        }
    }

    #[test]
    fn the_latest_status_counts_from_when_it_was_first_said_in_any_order() {
        use FindingStatus::{Dismissed, Fixed, Open};
        let at = |minute: i64| Some(Timestamp::from_seconds(minute * 60));
        let story = [fact(Open, 1), fact(Fixed, 5), fact(Fixed, 6)];
        let folded = fold_finding(&story).unwrap();
        assert_eq!((folded.status, folded.fixed_at), (Fixed, at(5)));
        let mut longer = story.to_vec();
        longer.extend([fact(Open, 7), fact(Dismissed, 8)]);
        let folded = fold_finding(&longer).unwrap();
        assert_eq!((folded.status, folded.fixed_at, folded.dismissed_at), (Dismissed, None, at(8)));
        longer.reverse();
        longer.extend(story);
        assert_eq!(fold_finding(&longer).unwrap(), folded);
        assert_eq!(fold_finding(&[]), None);
    }
}
