//! `devpulse alert test`: one message through the real channels of a receiver.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Message, Notifiers, SendError};
use crate::alert::{Channel, Condition, Content, Event, Fact, Group, Kind, Observation, Snapshot, Transition, step};
use crate::config::Config;
use crate::config::model::Severity;
use crate::time::Timestamp;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TestError {
    #[error("no receiver is configured: add one below `receivers` of the configuration")]
    NoReceiver,
    #[error("no receiver is named `{name}`; the receivers are: {known}")]
    UnknownReceiver { name: String, known: String },
    #[error("receiver {0} has no channel")]
    NoChannel(String),
}

/// Sends a test message and says for each channel what became of it.
///
/// # Errors
/// There is no such receiver, or it has no channel.
pub async fn send_test(
    config: &Config,
    receiver: &str,
    now: Timestamp,
) -> Result<Vec<(Channel, Result<(), SendError>)>, TestError> {
    if config.receivers.is_empty() {
        return Err(TestError::NoReceiver);
    }
    if !config.receivers.iter().any(|known| known.name == receiver) {
        let known = config.receivers.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(TestError::UnknownReceiver { name: receiver.to_owned(), known });
    }
    let notifiers = Notifiers::of(config);
    let channels = notifiers.channels(receiver);
    let Some(snapshot) = snapshot(receiver, now).filter(|_| !channels.is_empty()) else {
        return Err(TestError::NoChannel(receiver.to_owned()));
    };
    let key = uuid::Uuid::now_v7().to_string();
    let message = Message { key: &key, event: Event::Fired, snapshot: &snapshot, now };
    let mut results = Vec::new();
    for channel in channels {
        let Some(notifier) = notifiers.get(receiver, channel) else { continue };
        results.push((channel, notifier.deliver(message, None).await.map(|_| ())));
    }
    Ok(results)
}

fn snapshot(receiver: &str, now: Timestamp) -> Option<Snapshot> {
    let content = Content {
        headline: "Test alert from DevPulse".to_owned(),
        summary: format!("Somebody ran `devpulse alert test --receiver {receiver}`. Nothing is wrong."),
        facts: vec![Fact { label: "Receiver".to_owned(), value: receiver.to_owned() }],
        links: Vec::new(),
    };
    let observation = Observation {
        fingerprint: format!("test:{receiver}"),
        kind: Kind::Test,
        service: "devpulse".to_owned(),
        environment: "test".to_owned(),
        labels: BTreeMap::new(),
        condition: Condition::Firing { severity: Severity::Ticket, content },
        pending_for: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
    };
    let Transition::Changed(_, alert) = step(None, &observation, now) else { return None };
    let group = Group {
        id: uuid::Uuid::now_v7().simple().to_string(),
        receiver: receiver.to_owned(),
        labels: BTreeMap::new(),
        opened_at: now,
        resolved_at: None,
        revision: 1,
    };
    Some(Snapshot::new(group, &alert, vec![(*alert).clone()], now))
}
