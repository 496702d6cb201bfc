//! The HTTP client of the tests.

use std::sync::Once;
use std::time::Duration;

pub use reqwest::Client;
use reqwest::Response;
use serde_json::Value;

/// A client that neither compresses nor retries, and gives up after half a minute.
pub fn client() -> Client {
    install_provider();
    Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap()
}

/// The client's TLS needs a process-wide provider even where only `http://` is spoken.
fn install_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// Status, content type and body of an answer, the body as JSON where it is JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub text: String,
    pub json: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let (content_type, retry_after) = (header("content-type").unwrap_or_default(), header("retry-after"));
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, content_type, retry_after, text, json }
    }

    /// The body of a 2xx.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json
    }
}
