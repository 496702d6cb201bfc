//! What a receiver is told: snapshots of groups of alerts, and which channel wants which.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::lifecycle::{Alert, Change, State};
use crate::config::model::{Receiver, Slack};
use crate::time::Timestamp;

/// Alerts shown in one message; the rest is counted.
pub const MAX_ALERTS: usize = 20;

/// Why a message is sent, from the least to the most important: when a message replaces one that
/// was never delivered, the more important reason stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Only figures moved: for messages that can be edited in place.
    Refreshed,
    /// Another headline, or one alert of several is over.
    Updated,
    /// Ticket became page.
    Escalated,
    /// An alert fired: the group's first, or one more.
    Fired,
    /// All alerts of the group are over.
    Resolved,
}

impl Event {
    pub const ALL: [Self; 5] = [Self::Refreshed, Self::Updated, Self::Escalated, Self::Fired, Self::Resolved];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refreshed => "refreshed",
            Self::Updated => "updated",
            Self::Escalated => "escalated",
            Self::Fired => "fired",
            Self::Resolved => "resolved",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }

    /// What a change of one alert means to its group; `None`: nobody is told.
    pub const fn of(change: Change, group_is_over: bool) -> Option<Self> {
        match change {
            Change::Fired => Some(Self::Fired),
            Change::Escalated => Some(Self::Escalated),
            Change::Refreshed => Some(Self::Refreshed),
            Change::Resolved if group_is_over => Some(Self::Resolved),
            // One of several is over.
            Change::Updated | Change::Resolved => Some(Self::Updated),
            Change::Started
            | Change::Frozen
            | Change::Thawed
            | Change::Clearing
            | Change::Relapsed
            | Change::Cancelled => None,
        }
    }
}

/// A way to reach a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Slack,
    Email,
    Webhook,
}

impl Channel {
    pub const ALL: [Self; 3] = [Self::Slack, Self::Email, Self::Webhook];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slack => "slack",
            Self::Email => "email",
            Self::Webhook => "webhook",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == text)
    }
}

impl std::fmt::Display for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The channels of `receiver` that are told of `event`. Only a message that can be edited follows
/// every move; a mailbox or an incoming webhook would drown in them.
pub fn channels(receiver: &Receiver, event: Event) -> Vec<Channel> {
    let slack = receiver.slack.as_ref().is_some_and(|slack| match slack {
        Slack::Bot { .. } => true,
        Slack::IncomingWebhook { .. } => event >= Event::Escalated,
    });
    let others = event >= Event::Updated;
    [
        (Channel::Slack, slack),
        (Channel::Email, others && receiver.email.is_some()),
        (Channel::Webhook, others && receiver.webhook.is_some()),
    ]
    .into_iter()
    .filter_map(|(channel, wanted)| wanted.then_some(channel))
    .collect()
}

/// Alerts that share one message per channel: opens with its first firing alert, closes when all
/// are resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    pub id: String,
    pub receiver: String,
    /// What the alerts have in common: the route's `group_by` labels.
    pub labels: BTreeMap<String, String>,
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// Grows with every message.
    pub revision: i64,
}

/// The labels that decide which group an alert joins when it fires. It stays there: an escalation
/// does not move it, even where `severity` is one of the labels.
pub fn group_labels(group_by: &[String], alert: &Alert) -> BTreeMap<String, String> {
    if group_by.is_empty() {
        return BTreeMap::from([("alert".to_owned(), alert.id.clone())]);
    }
    group_by.iter().map(|label| (label.clone(), alert.label(label).to_owned())).collect()
}

/// A group at one moment: everything a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub group: Group,
    /// The alert that caused the message.
    pub subject: String,
    pub taken_at: Timestamp,
    /// At most [`MAX_ALERTS`], the most important first.
    pub alerts: Vec<Alert>,
    pub total: usize,
    pub firing: usize,
}

impl Snapshot {
    pub fn new(group: Group, subject: &Alert, mut alerts: Vec<Alert>, taken_at: Timestamp) -> Self {
        // Firing before resolved, pages before tickets, the oldest first.
        alerts.sort_by(|a, b| {
            let rank = |alert: &Alert| (alert.state, std::cmp::Reverse(alert.severity), alert.fired_at);
            rank(a).cmp(&rank(b)).then_with(|| a.id.cmp(&b.id))
        });
        let total = alerts.len();
        let firing = alerts.iter().filter(|alert| alert.state == State::Firing).count();
        alerts.truncate(MAX_ALERTS);
        Self { group, subject: subject.id.clone(), taken_at, alerts, total, firing }
    }

    /// The alert that gives the message its headline.
    pub fn lead(&self) -> Option<&Alert> {
        self.alerts.first()
    }

    /// The alert that caused the message; the leading one when it is not among those shown.
    pub fn subject(&self) -> Option<&Alert> {
        self.alerts.iter().find(|alert| alert.id == self.subject).or_else(|| self.lead())
    }

    pub const fn is_over(&self) -> bool {
        self.group.resolved_at.is_some()
    }
}
