//! The signed webhook: `rollback.requested` by POST, its progress by a poll URL.
//!
//! The webhook-id is the idempotency key and the same for every attempt: a receiver that has seen
//! it answers with the state of the first call and does nothing again. That is also how an answer
//! that got lost is learned when no poll URL is known.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use url::Url;

use super::{Accepted, BuildError, Call, Executor, ExecutorError, Observed};
use crate::config::model;
use crate::outbound;
use crate::rollback::policy::Release;
use crate::time::Clock;

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// Characters of an answer that are journalled.
const MAX_JOURNALLED: usize = 2_000;

pub struct WebhookExecutor {
    client: reqwest::Client,
    url: Url,
    secret: Webhook,
    clock: Clock,
}

/// What a receiver answers, to the call and to a poll.
#[derive(Debug, Deserialize)]
struct Answer {
    status: Status,
    poll_url: Option<String>,
    #[serde(alias = "error", alias = "message")]
    detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Done,
    Running,
    Failed,
}

impl Answer {
    fn reason(&self) -> String {
        self.detail.as_deref().map_or_else(|| "no reason given".to_owned(), outbound::said)
    }
}

impl WebhookExecutor {
    /// # Errors
    /// The secret is not base64 after `whsec_`, or no HTTP client can be had.
    pub fn new(config: &model::Webhook, clock: Clock) -> Result<Self, BuildError> {
        let client = outbound::client(config.timeout)?;
        let secret = model::signing_key(&config.secret).ok_or(BuildError::Secret)?;
        Ok(Self { client, url: config.url.clone(), secret, clock })
    }

    /// The body of `contract.md`.
    fn body(call: &Call) -> Value {
        let release = |release: &Release| json!({"version": release.version, "commit": release.commit, "deployment": release.deployment.id});
        json!({
            "type": "rollback.requested",
            "rollback_id": call.rollback_id,
            "idempotency_key": call.idempotency_key,
            "service": call.service,
            "environment": call.environment,
            "from": release(&call.from),
            "to": release(&call.to),
            "summary": call.summary,
            "evidence": call.evidence,
        })
    }

    fn signed(&self, request: RequestBuilder, id: &str, body: &str) -> Result<RequestBuilder, ExecutorError> {
        let at = self.clock.now().seconds();
        let signature = self
            .secret
            .sign(id, at, body.as_bytes())
            .map_err(|error| ExecutorError::Refused(format!("the call cannot be signed: {error}")))?;
        Ok(outbound::traced(request)
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, at.to_string())
            .header(HEADER_WEBHOOK_SIGNATURE, signature))
    }

    async fn call(&self, call: &Call) -> Result<Accepted, ExecutorError> {
        let body = Self::body(call).to_string();
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = self.signed(request, &call.idempotency_key, &body)?.body(body);
        let (status, text) = exchange(request).await?;
        let response = json!({"status": status.as_u16(), "body": journalled(&text)});
        let answer = match text.trim() {
            "" => return Ok(Accepted { poll_url: None, response }),
            text => understood(status, text)?,
        };
        let detail = answer.reason();
        match (answer.status, answer.poll_url) {
            (Status::Done, _) => Ok(Accepted { poll_url: None, response }),
            (Status::Running, Some(poll_url)) => {
                self.same_origin(&poll_url)?;
                Ok(Accepted { poll_url: Some(poll_url), response })
            }
            (Status::Running, None) => {
                Err(ExecutorError::Lost("the target answered `running` without a poll_url".to_owned()))
            }
            (Status::Failed, _) => Err(ExecutorError::Refused(format!("the target answered `failed`: {detail}"))),
        }
    }

    async fn poll(&self, call: &Call, poll_url: &str) -> Result<Observed, ExecutorError> {
        let request = self.client.get(self.same_origin(poll_url)?);
        let (status, text) = exchange(self.signed(request, &call.idempotency_key, "")?).await?;
        let answer = understood(status, text.trim())?;
        Ok(match answer.status {
            Status::Done => Observed::Switched,
            Status::Running => Observed::Working,
            Status::Failed => Observed::Failed(answer.reason()),
        })
    }

    /// A receiver cannot send DevPulse to other hosts: the poll URL, relative or not, stays on the
    /// webhook's scheme, host and port.
    fn same_origin(&self, poll_url: &str) -> Result<Url, ExecutorError> {
        let url =
            self.url.join(poll_url).ok().filter(|url| {
                url.origin().is_tuple() && url.origin() == self.url.origin() && url.username().is_empty()
            });
        // The target works on it all the same.
        url.ok_or_else(|| {
            ExecutorError::Lost(format!("the poll_url must be on {}", self.url.origin().ascii_serialization()))
        })
    }
}

impl Executor for WebhookExecutor {
    fn describe(&self, call: &Call) -> Value {
        json!({
            "executor": "webhook",
            "method": "POST",
            // The rest of the URL may hold a token.
            "url": self.url.origin().ascii_serialization(),
            "webhook_id": call.idempotency_key,
            "body": Self::body(call),
        })
    }

    fn roll_back<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Accepted, ExecutorError>> {
        self.call(call).boxed()
    }

    fn read_back<'a>(
        &'a self,
        call: &'a Call,
        poll_url: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Observed, ExecutorError>> {
        match poll_url {
            Some(poll_url) => self.poll(call, poll_url).boxed(),
            None => async { Ok(Observed::Unreadable) }.boxed(),
        }
    }
}

/// Sends, and answers with a 2xx status and the (limited) body; every other end is an error.
async fn exchange(request: RequestBuilder) -> Result<(StatusCode, String), ExecutorError> {
    let mut response = request.send().await.map_err(|error| transport(&error))?;
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(status, response.headers()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(ExecutorError::Lost(format!("the target answered more than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// No connection, no effect; after that nobody knows. The URL, which may hold a secret, is left out.
fn transport(error: &reqwest::Error) -> ExecutorError {
    let reason = outbound::explain(error);
    if error.is_connect() || error.is_builder() {
        ExecutorError::NotDone { reason: format!("no connection: {reason}"), retry_after: None }
    } else {
        ExecutorError::Lost(format!("the answer got lost: {reason}"))
    }
}

fn refusal(status: StatusCode, headers: &HeaderMap) -> ExecutorError {
    let reason = format!("the target answered {status}");
    let wait = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = wait.map(Duration::from_secs);
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_EARLY => {
            ExecutorError::NotDone { reason, retry_after }
        }
        StatusCode::REQUEST_TIMEOUT => ExecutorError::Lost(reason),
        status if status.is_redirection() => ExecutorError::Refused(format!("{reason}; redirects are not followed")),
        status if status.is_client_error() => ExecutorError::Refused(reason),
        // The target, or a proxy before it, may have failed after the effect.
        _ => ExecutorError::Lost(reason),
    }
}

/// A target that answers 2xx has done something, whatever it says.
fn understood(status: StatusCode, text: &str) -> Result<Answer, ExecutorError> {
    serde_json::from_str(text).map_err(|_| {
        let wanted = r#"neither empty nor {"status":"done"|"running"|"failed"}"#;
        ExecutorError::Lost(format!("the target answered {status} with a body that is {wanted}"))
    })
}

/// The body as it may be kept: shortened, a poll URL without its query.
fn journalled(text: &str) -> Value {
    if let Ok(Value::Object(mut answer)) = serde_json::from_str(text) {
        if let Some(Value::String(poll_url)) = answer.get_mut("poll_url") {
            poll_url.truncate(poll_url.find(['?', '#']).unwrap_or(poll_url.len()));
        }
        return match Value::Object(answer) {
            answer if answer.to_string().len() <= MAX_JOURNALLED => answer,
            answer => Value::String(answer.to_string().chars().take(MAX_JOURNALLED).collect()),
        };
    }
    Value::String(text.chars().take(MAX_JOURNALLED).collect())
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::event::EntityKey;

    fn executor(url: &str) -> WebhookExecutor {
        let config = model::Webhook {
            url: Url::parse(url).unwrap(),
            secret: SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            timeout: Duration::from_secs(1),
        };
        WebhookExecutor::new(&config, Clock::system()).unwrap()
    }

    #[test]
    fn a_poll_url_stays_on_the_origin_of_the_webhook() {
        let executor = executor("https://deploy.example.com/hooks/rollback");
        let allowed = ["/jobs/7", "https://deploy.example.com/jobs/7", "https://deploy.example.com:443/jobs/7", "7"];
        for url in allowed {
            assert!(executor.same_origin(url).is_ok(), "{url}");
        }
        let refused = [
            "http://deploy.example.com/jobs/7",
            "https://deploy.example.com:8443/jobs/7",
            "https://deploy.example.com.evil.example/jobs/7",
            "https://deploy.example.com@evil.example/",
            "https://user:secret@deploy.example.com/jobs/7",
            "//169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "\\\\evil.example/x",
        ];
        for url in refused {
            assert!(executor.same_origin(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_is_kept_has_no_secrets() {
        let release = Release {
            version: "1".to_owned(),
            commit: None,
            repository: None,
            place: None,
            deployment: EntityKey { source: "ci".to_owned(), id: "d".to_owned() },
        };
        let call = Call {
            rollback_id: "r".to_owned(),
            idempotency_key: "k".to_owned(),
            service: "s".to_owned(),
            environment: "e".to_owned(),
            from: release.clone(),
            to: release,
            summary: String::new(),
            evidence: Value::Null,
        };
        let shown = executor("https://me:pw@hooks.example.com:8443/token?token=abc").describe(&call);
        assert_eq!(shown["url"], "https://hooks.example.com:8443");
        let answer = Answer { status: Status::Failed, poll_url: None, detail: Some("a\nERROR \u{1b}[2J".to_owned()) };
        assert_eq!(answer.reason(), "a ERROR [2J");
        let kept = journalled(r#"{"status":"running","poll_url":"/jobs/7?token=abc"}"#);
        assert_eq!(kept, json!({"status": "running", "poll_url": "/jobs/7"}));
        assert_eq!(journalled(&"x".repeat(5_000)).as_str().unwrap().len(), MAX_JOURNALLED);
    }

    #[test]
    fn only_an_answer_that_says_no_is_sure_to_have_had_no_effect() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        let of = |status: u16| refusal(StatusCode::from_u16(status).unwrap(), &headers);
        assert!(matches!(of(429), ExecutorError::NotDone { retry_after: Some(after), .. } if after.as_secs() == 7));
        assert!(matches!(of(503), ExecutorError::NotDone { .. }));
        assert!(matches!(of(500), ExecutorError::Lost(_)));
        assert!(matches!(of(504), ExecutorError::Lost(_)));
        assert!(matches!(of(404), ExecutorError::Refused(_)));
        assert!(matches!(of(302), ExecutorError::Refused(_)));
    }
}
