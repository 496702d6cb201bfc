//! Slack: one message per group that is edited in place (bot token), or one per event (incoming
//! webhook, the simple mode).

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use slack_morphism::errors::SlackClientError;
use slack_morphism::prelude::{
    SlackApiChatPostMessageRequest, SlackApiChatUpdateRequest, SlackApiPostWebhookMessageRequest, SlackApiToken,
    SlackApiTokenValue, SlackClient, SlackClientHyperConnector, SlackHyperClient, SlackMessageContent,
};
use url::Url;

use super::slack_blocks::{content, escape};
use super::{CALL_TIMEOUT, Message, SendError, render};
use crate::alert::Event;

/// Errors of `chat.update` after which the message is posted afresh.
const GONE: [&str; 6] = [
    "message_not_found",
    "channel_not_found",
    "cant_update_message",
    "edit_window_closed",
    "is_inactive",
    "thread_not_found",
];
/// Errors of Slack itself: the next attempt may succeed. Every other error names something that
/// a person must put right.
const PASSING: [&str; 7] = [
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "ratelimited",
    "rate_limited",
    "team_added_to_org",
];

/// Posts once per group, then edits.
pub struct Bot {
    client: SlackHyperClient,
    token: SlackApiToken,
    channel: String,
    public_url: Option<Url>,
}

/// Where a message is: Slack edits by channel id, not by name.
#[derive(Debug, Serialize, Deserialize)]
struct Reference {
    channel: String,
    ts: String,
}

impl Bot {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(token: &SecretString, channel: &str, api_url: &Url, public_url: Option<Url>) -> Result<Self, SendError> {
        Ok(Self {
            client: client(Some(api_url))?,
            token: SlackApiToken::new(SlackApiTokenValue::from(token.expose_secret().to_owned())),
            channel: channel.to_owned(),
            public_url,
        })
    }

    /// Edits the group's message; posts it when there is none, or when it is gone.
    pub(super) async fn put(&self, message: Message<'_>, standing: Option<&str>) -> Result<String, SendError> {
        let content = content(message.snapshot, self.public_url.as_ref());
        if let Some(reference) = standing.and_then(|text| serde_json::from_str::<Reference>(text).ok()) {
            match self.update(content.clone(), &reference).await {
                Err(SlackClientError::ApiError(error)) if GONE.contains(&error.code.as_str()) => {
                    tracing::warn!(code = error.code, "a Slack message cannot be edited; it is posted afresh");
                }
                Err(error) => return Err(explain(error)),
                Ok(()) => return write(&reference),
            }
        }
        let reference = self.post(content, None).await.map_err(explain)?;
        write(&reference)
    }

    /// One reply in the message's thread; an escalation is shown in the channel as well.
    pub(super) async fn reply(&self, message: Message<'_>, reference: &str) -> Result<(), SendError> {
        let Ok(reference) = serde_json::from_str::<Reference>(reference) else { return Ok(()) };
        let text = escape(&render::news(message.event, message.snapshot), 2000);
        let broadcast = message.event == Event::Escalated;
        let content = SlackMessageContent::new().with_text(text);
        match self.post(content, Some((&reference, broadcast))).await {
            Ok(_) => Ok(()),
            Err(SlackClientError::ApiError(error)) if GONE.contains(&error.code.as_str()) => Ok(()),
            Err(error) => Err(explain(error)),
        }
    }

    async fn update(&self, content: SlackMessageContent, reference: &Reference) -> Result<(), SlackClientError> {
        let request =
            SlackApiChatUpdateRequest::new(reference.channel.clone().into(), content, reference.ts.clone().into());
        let session = self.client.open_session(&self.token);
        in_time(session.chat_update(&request)).await.map(|_| ())
    }

    async fn post(
        &self,
        content: SlackMessageContent,
        thread: Option<(&Reference, bool)>,
    ) -> Result<Reference, SlackClientError> {
        let channel = thread.map_or(&self.channel, |(reference, _)| &reference.channel);
        let mut request = SlackApiChatPostMessageRequest::new(channel.clone().into(), content)
            .with_unfurl_links(false)
            .with_unfurl_media(false);
        if let Some((reference, broadcast)) = thread {
            request.thread_ts = Some(reference.ts.clone().into());
            request.reply_broadcast = broadcast.then_some(true);
        }
        let session = self.client.open_session(&self.token);
        let posted = in_time(session.chat_post_message(&request)).await?;
        Ok(Reference { channel: posted.channel.0, ts: posted.ts.0 })
    }
}

fn write(reference: &Reference) -> Result<String, SendError> {
    serde_json::to_string(reference).map_err(|error| SendError::permanent(error.to_string()))
}

/// Posts to the URL that Slack made for one channel; cannot edit.
pub struct Incoming {
    client: SlackHyperClient,
    /// Whoever knows it may post: never shown.
    url: SecretString,
    public_url: Option<Url>,
}

impl Incoming {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(url: &SecretString, public_url: Option<Url>) -> Result<Self, SendError> {
        Ok(Self { client: client(None)?, url: url.clone(), public_url })
    }

    pub(super) async fn post(&self, message: Message<'_>) -> Result<(), SendError> {
        let url = Url::parse(self.url.expose_secret())
            .map_err(|_| SendError::permanent("the URL of the Slack webhook is not a URL"))?;
        let request = SlackApiPostWebhookMessageRequest::new(content(message.snapshot, self.public_url.as_ref()));
        in_time(self.client.post_webhook_message(&url, &request)).await.map(|_| ()).map_err(explain)
    }
}

fn client(api_url: Option<&Url>) -> Result<SlackHyperClient, SendError> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| SendError::permanent(format!("TLS: {error}")))?
        .https_or_http()
        .enable_http1()
        .build();
    let mut connector = SlackClientHyperConnector::with_connector(connector);
    if let Some(url) = api_url {
        connector = connector.with_slack_api_url(url.as_str().trim_end_matches('/'));
    }
    Ok(SlackClient::new(connector))
}

async fn in_time<T>(call: impl Future<Output = Result<T, SlackClientError>>) -> Result<T, SlackClientError> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| {
        let silence = std::io::Error::new(std::io::ErrorKind::TimedOut, "Slack did not answer in time");
        Err(SlackClientError::from(Box::<dyn std::error::Error + Send + Sync>::from(silence)))
    })
}

fn explain(error: SlackClientError) -> SendError {
    const DEFAULT_WAIT: Duration = Duration::from_secs(30);
    match error {
        SlackClientError::RateLimitError(limit) => {
            SendError::of_status(429, Some(limit.retry_after.unwrap_or(DEFAULT_WAIT)), "Slack: rate limited")
        }
        SlackClientError::ApiError(error) if PASSING.contains(&error.code.as_str()) => {
            SendError::temporary(format!("Slack: {}", error.code))
        }
        SlackClientError::ApiError(error) => {
            let details = error.errors.unwrap_or_default().join("; ");
            SendError::permanent(format!("Slack: {} {details}", error.code).trim_end().to_owned())
        }
        SlackClientError::HttpError(error) => {
            let status = error.status_code.as_u16();
            let body = error.http_response_body.unwrap_or_default();
            SendError::of_status(status, None, format!("Slack: HTTP {status} {body}").trim_end().to_owned())
        }
        SlackClientError::ProtocolError(error) => {
            SendError::temporary(format!("Slack: unreadable answer: {}", error.json_error))
        }
        SlackClientError::HttpProtocolError(error) => SendError::temporary(format!("Slack: {:?}", error.cause)),
        SlackClientError::SystemError(error) => SendError::temporary(format!("Slack: {:?}", error.cause)),
        other => SendError::temporary(format!("Slack: {other}")),
    }
}
