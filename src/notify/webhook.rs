//! Alerts as signed HTTP calls, by the Standard Webhooks specification.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
//!
//! `webhook-id` is the same for every attempt: a receiver that has seen it answers 2xx and does
//! nothing. A receiver that was away may get the newest state only; each call tells the whole
//! state of its group. `docs/alert-webhook.md` shows one.

use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use url::Url;

use super::{Message, SendError};
use crate::alert::{Alert, Group};
use crate::config::model;
use crate::outbound;
use crate::time::Timestamp;

const MAX_ANSWER: usize = 4096;

pub struct Hook {
    client: reqwest::Client,
    url: Url,
    secret: SecretString,
    timeout: Duration,
}

/// The body of a call: `{"type":"alert.fired","timestamp":…,"group":{…},"alerts":[{…}]}`.
#[derive(Debug, Serialize)]
struct Body<'a> {
    /// `alert.fired`, `alert.escalated`, `alert.updated`, `alert.resolved`.
    #[serde(rename = "type")]
    kind: String,
    timestamp: Timestamp,
    group: &'a Group,
    /// How many alerts the group has, and how many of them fire; `alerts` shows at most 20.
    total: usize,
    firing: usize,
    alerts: &'a [Alert],
}

impl Hook {
    /// # Errors
    /// TLS cannot be set up, or the secret is not what it says it is.
    pub fn new(config: &model::Webhook) -> Result<Self, SendError> {
        key(&config.secret)?;
        let client =
            outbound::client(config.timeout).map_err(|error| SendError::permanent(outbound::explain(&error)))?;
        Ok(Self { client, url: config.url.clone(), secret: config.secret.clone(), timeout: config.timeout })
    }

    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) async fn post(&self, message: Message<'_>) -> Result<(), SendError> {
        let snapshot = message.snapshot;
        let body = Body {
            kind: format!("alert.{}", message.event.as_str()),
            timestamp: snapshot.taken_at,
            group: &snapshot.group,
            total: snapshot.total,
            firing: snapshot.firing,
            alerts: &snapshot.alerts,
        };
        let body = serde_json::to_vec(&body).map_err(|error| SendError::permanent(error.to_string()))?;
        let sent_at = message.now.seconds();
        let signature = sign(&self.secret, message.key, sent_at, &body)?;
        let answer = outbound::traced(self.client.post(self.url.clone()))
            .header(HEADER_WEBHOOK_ID, message.key)
            .header(HEADER_WEBHOOK_TIMESTAMP, sent_at)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .map_err(|error| SendError::temporary(outbound::explain(&error)))?;
        judge(answer, message.now).await
    }
}

/// `v1,…` over `id.timestamp.body`. A secret that begins with `whsec_` is base64, any other is
/// taken as it stands.
///
/// # Errors
/// The secret begins with `whsec_` and is not base64, or the body is not UTF-8.
pub fn sign(secret: &SecretString, id: &str, timestamp_seconds: i64, body: &[u8]) -> Result<String, SendError> {
    key(secret)?.sign(id, timestamp_seconds, body).map_err(|error| SendError::permanent(error.to_string()))
}

fn key(secret: &SecretString) -> Result<Webhook, SendError> {
    let refused = || SendError::permanent("the webhook's secret begins with whsec_ but is not base64");
    model::signing_key(secret).ok_or_else(refused)
}

async fn judge(mut answer: reqwest::Response, now: Timestamp) -> Result<(), SendError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|value| retry_after(value, now));
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= MAX_ANSWER {
            break;
        }
    }
    text.truncate(MAX_ANSWER);
    let detail = format!("HTTP {} {}", status.as_u16(), String::from_utf8_lossy(&text));
    Err(SendError::of_status(status.as_u16(), wait, detail.trim_end().to_owned()))
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = chrono::DateTime::parse_from_rfc2822(value.trim()).ok()?;
    Some(Timestamp::from(date).duration_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Mon, 05 Jan 2026 10:02:00 GMT", now), Some(Duration::from_mins(2)));
        assert_eq!(retry_after("Mon, 05 Jan 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    /// The example of the specification's reference implementations.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let signature = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_pretends_to_be_base64_is_refused() {
        assert!(sign(&SecretString::from("whsec_%%%"), "id", 0, b"{}").is_err());
        assert!(sign(&SecretString::from("any text at all"), "id", 0, b"{}").is_ok());
    }
}
