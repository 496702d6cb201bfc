//! Telling people: Slack, e-mail, signed webhooks.
//!
//! **Invariant:** nothing here knows the database. `worker::dispatch` decides when something is
//! sent and remembers what became of it; a [`Notifier`] makes one attempt.

pub mod email;
pub mod error;
pub mod render;
pub mod slack;
pub mod slack_blocks;
pub mod trial;
pub mod webhook;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::alert::{Channel, Event, Snapshot};
use crate::config::Config;
use crate::config::model::{Receiver, Slack, Smtp};
use crate::time::Timestamp;
pub use error::SendError;
pub use trial::send_test;

/// The longest any single call to a peer may take, webhooks with their own timeout excepted.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// One message to one channel.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The same for every attempt at this message.
    pub key: &'a str,
    pub event: Event,
    pub snapshot: &'a Snapshot,
    pub now: Timestamp,
}

/// A way out, ready to send.
pub enum Notifier {
    Slack(slack::Bot),
    SlackIncoming(slack::Incoming),
    Email(Box<email::Mailer>),
    Webhook(webhook::Hook),
    /// Its configuration cannot work; every message says why.
    Broken(String),
}

impl Notifier {
    /// Makes one attempt. `standing` is the reference of the group's earlier message in this
    /// channel; the answer is the reference to keep, where the channel has any.
    ///
    /// # Errors
    /// [`SendError`] says whether another attempt makes sense, and when.
    pub async fn deliver(&self, message: Message<'_>, standing: Option<&str>) -> Result<Option<String>, SendError> {
        match self {
            Self::Slack(bot) => bot.put(message, standing).await.map(Some),
            Self::SlackIncoming(incoming) => incoming.post(message).await.map(|()| None),
            Self::Email(mailer) => mailer.send(message, standing).await.map(Some),
            Self::Webhook(hook) => hook.post(message).await.map(|()| None),
            Self::Broken(reason) => Err(SendError::permanent(reason.clone())),
        }
    }

    /// Whether an edit of a standing message is followed by a reply in its thread: an edit alone
    /// rings no bell.
    pub fn follows_up(&self, event: Event) -> bool {
        matches!(self, Self::Slack(_)) && event != Event::Refreshed
    }

    /// The reply in the thread of `reference`.
    ///
    /// # Errors
    /// [`SendError`] says whether another attempt makes sense, and when.
    pub async fn follow_up(&self, message: Message<'_>, reference: &str) -> Result<(), SendError> {
        match self {
            Self::Slack(bot) => bot.reply(message, reference).await,
            _ => Ok(()),
        }
    }

    /// The least time between two messages; Slack allows one per second and channel.
    pub const fn interval(&self) -> Duration {
        match self {
            Self::Slack(_) | Self::SlackIncoming(_) => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }

    /// How long one attempt can take at most.
    pub fn time_limit(&self) -> Duration {
        match self {
            Self::Webhook(hook) => hook.timeout(),
            // An edit that finds no message, the fresh post, and the reply.
            _ => CALL_TIMEOUT.saturating_mul(3),
        }
    }
}

/// Every way out of the configuration, by receiver and channel.
#[derive(Clone, Default)]
pub struct Notifiers(Arc<HashMap<(String, Channel), Notifier>>);

impl Notifiers {
    /// Opens no connection yet. What cannot work is logged and answers every message with why.
    pub fn of(config: &Config) -> Self {
        Self::new(&config.receivers, config.smtp.as_ref(), config.server.public_url.as_ref())
    }

    pub fn new(receivers: &[Receiver], smtp: Option<&Smtp>, public_url: Option<&Url>) -> Self {
        // reqwest asks for the process's provider; a second installation is refused, harmlessly.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut all = HashMap::new();
        for receiver in receivers {
            for (channel, notifier) in ways(receiver, smtp, public_url) {
                let notifier = notifier.unwrap_or_else(|error| {
                    tracing::error!(receiver = receiver.name, %channel, %error, "this channel cannot work");
                    Notifier::Broken(error.to_string())
                });
                all.insert((receiver.name.clone(), channel), notifier);
            }
        }
        Self(Arc::new(all))
    }

    /// A channel that cannot work, and why.
    pub fn broken(&self) -> Option<String> {
        self.0.iter().find_map(|((receiver, channel), notifier)| match notifier {
            Notifier::Broken(reason) => Some(format!("receiver {receiver}, {channel}: {reason}")),
            _ => None,
        })
    }

    pub fn get(&self, receiver: &str, channel: Channel) -> Option<&Notifier> {
        self.0.get(&(receiver.to_owned(), channel))
    }

    pub fn channels(&self, receiver: &str) -> Vec<Channel> {
        Channel::ALL.into_iter().filter(|&channel| self.get(receiver, channel).is_some()).collect()
    }
}

fn ways(
    receiver: &Receiver,
    smtp: Option<&Smtp>,
    public_url: Option<&Url>,
) -> Vec<(Channel, Result<Notifier, SendError>)> {
    let mut ways = Vec::new();
    match &receiver.slack {
        Some(Slack::Bot { token, channel, api_url }) => {
            let bot = slack::Bot::new(token, channel, api_url, public_url.cloned());
            ways.push((Channel::Slack, bot.map(Notifier::Slack)));
        }
        Some(Slack::IncomingWebhook { url }) => {
            let incoming = slack::Incoming::new(url, public_url.cloned());
            ways.push((Channel::Slack, incoming.map(Notifier::SlackIncoming)));
        }
        None => {}
    }
    if let Some(email) = &receiver.email {
        ways.push((
            Channel::Email,
            email::Mailer::new(email, smtp, public_url.cloned()).map(Box::new).map(Notifier::Email),
        ));
    }
    if let Some(hook) = &receiver.webhook {
        ways.push((Channel::Webhook, webhook::Hook::new(hook).map(Notifier::Webhook)));
    }
    ways
}
