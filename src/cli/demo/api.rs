//! The demo as a client of its own server: everything goes over HTTP, as it would for anyone.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::DemoError;
use super::answers::Receipt;

/// Events in one request.
const BATCH: usize = 500;

#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
}

impl Api {
    pub fn new(base: String) -> Result<Self, DemoError> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { client, base })
    }

    pub fn url(&self) -> &str {
        &self.base
    }

    /// Whether DevPulse says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/-/ready", self.base)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, DemoError> {
        self.answer(path, self.client.get(format!("{}{path}", self.base))).await
    }

    /// Sends events; each must be taken in.
    pub async fn send(&self, events: &[Value]) -> Result<(), DemoError> {
        for batch in events.chunks(BATCH) {
            let path = "/api/v1/events?receipt=summary";
            let request = self.client.post(format!("{}{path}", self.base)).json(batch);
            let receipt: Receipt = self.answer(path, request).await?;
            if receipt.invalid > 0 {
                return Err(DemoError::Invalid(receipt.invalid));
            }
        }
        Ok(())
    }

    /// Asks until `check` finds in the answer what it looks for.
    pub async fn until<A: DeserializeOwned, T>(
        &self,
        what: &'static str,
        path: &str,
        within: Duration,
        check: impl Fn(A) -> Option<T>,
    ) -> Result<T, DemoError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(found) = check(self.get(path).await?) {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(DemoError::Vain { what, waited: within });
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn answer<T: DeserializeOwned>(&self, path: &str, request: reqwest::RequestBuilder) -> Result<T, DemoError> {
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            return Err(DemoError::Refused { path: path.to_owned(), status: status.as_u16(), body });
        }
        serde_json::from_str(&body).map_err(|error| DemoError::Shape { path: path.to_owned(), error })
    }
}
