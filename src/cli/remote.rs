//! A running DevPulse, through its API.

use std::sync::OnceLock;
use std::time::Duration;

use clap::Args;
use reqwest::{Client, Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::Failure;
use crate::outbound;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_WITH_EVENTS: Duration = Duration::from_secs(60);

/// Which DevPulse to talk to.
#[derive(Debug, Args)]
pub struct Server {
    /// Where DevPulse listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    server: Url,
    /// The API key; better given as a variable than on the command line
    #[arg(long, env = "DEVPULSE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// One for all calls, so that connections are used again.
    #[arg(skip)]
    client: OnceLock<Client>,
}

/// Query parameters; what is `None` is not asked for.
pub type Query<'a> = &'a [(&'a str, Option<&'a str>)];

impl Server {
    /// Gets `/api/v1/…path?…query`.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn get(&self, path: &[&str], query: Query<'_>) -> Result<Value, Failure> {
        self.call(Method::GET, path, query, None).await
    }

    /// Gets every page of `/api/v1/…path?…query` as one answer whose `lists` are whole.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn get_all(&self, path: &[&str], query: Query<'_>, lists: &[&str]) -> Result<Value, Failure> {
        let mut whole = self.get(path, query).await?;
        while let Some(cursor) = whole.get("next").and_then(Value::as_str).map(str::to_owned) {
            let mut page = self.get(path, &[query, &[("cursor", Some(cursor.as_str()))]].concat()).await?;
            for list in lists {
                let more = page.get_mut(*list).map(Value::take);
                if let (Some(Value::Array(items)), Some(Value::Array(more))) = (whole.get_mut(*list), more) {
                    items.extend(more);
                }
            }
            if let Some(next) = whole.get_mut("next") {
                *next = page.get_mut("next").map(Value::take).unwrap_or_default();
            }
        }
        Ok(whole)
    }

    /// Calls `/api/v1/…path?…query`.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: Query<'_>,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let unreachable = |source| Failure::Server { server: self.server.to_string(), source };
        let mut request = self.client().map_err(unreachable)?.request(method, self.url(path, query)?);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let Ok(body) = serde_json::from_slice::<Value>(&body) else {
            let what = "no JSON: is this a DevPulse, and the address right?";
            return Err(Failure::Refused(format!("{} answered {status} with {what}", self.server)));
        };
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        self.server.as_str()
    }

    /// Sends lines to `/api/v1/…path?…query`; `None` while the server is too busy.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub async fn send_lines(&self, path: &[&str], query: Query<'_>, lines: String) -> Result<Option<Value>, Failure> {
        let unreachable = |source| Failure::Server { server: self.server.to_string(), source };
        let url = self.url(path, query)?;
        let mut request = self.client().map_err(unreachable)?.post(url).timeout(PATIENCE_WITH_EVENTS);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let request = request.header("content-type", "application/x-ndjson").body(lines);
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            return Ok(None);
        }
        let body = response.json::<Value>().await.map_err(unreachable)?;
        if status.is_success() { Ok(Some(body)) } else { Err(self.refused(status, &body)) }
    }

    fn client(&self) -> Result<Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = outbound::client(PATIENCE)?;
        Ok(self.client.get_or_init(|| client).clone())
    }

    fn url(&self, path: &[&str], query: Query<'_>) -> Result<Url, Failure> {
        let mut url = self.server.clone();
        let no_base = || {
            Failure::Refused(format!(
                "--server {} is not a URL of a server, such as http://127.0.0.1:8080",
                self.server
            ))
        };
        url.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().extend(["api", "v1"].iter().chain(path));
        let given: Vec<_> = query.iter().filter_map(|(name, value)| Some((name, (*value)?))).collect();
        if !given.is_empty() {
            url.query_pairs_mut().extend_pairs(given);
        }
        Ok(url)
    }

    fn refused(&self, status: StatusCode, body: &Value) -> Failure {
        let detail = body.get("detail").and_then(Value::as_str).unwrap_or("no reason given");
        let told = match (status, &self.key) {
            (StatusCode::UNAUTHORIZED, None) => "this server wants a key: give --key, or set DEVPULSE_KEY".to_owned(),
            (StatusCode::UNAUTHORIZED, Some(_)) => format!("{detail} (given by --key or DEVPULSE_KEY)"),
            (StatusCode::FORBIDDEN, _) => format!("{detail}, and give it by --key or DEVPULSE_KEY"),
            _ => by_option(detail, body),
        };
        Failure::Refused(format!("{status}: {told}"))
    }
}

/// A parameter that is wrong by the name that it has on the command line: `--lead-time-from`.
fn by_option(detail: &str, problem: &Value) -> String {
    let part = |name| problem.get(name).and_then(Value::as_str);
    match (part("type"), part("pointer")) {
        (Some("invalid_parameter"), Some(name)) => {
            detail.replacen(&format!("`{name}`"), &format!("`--{}`", name.replace('_', "-")), 1)
        }
        _ => detail.to_owned(),
    }
}

/// A part of an answer as what it should be.
///
/// # Errors
/// It is something else.
pub fn decoded<T: DeserializeOwned>(part: Option<&Value>) -> Result<T, Failure> {
    let what = "the server's answer is not as expected; is it as new as this command?";
    T::deserialize(part.unwrap_or(&Value::Null)).map_err(|error| Failure::Refused(format!("{what} {error}")))
}

/// A field as a person reads it; `-` where there is none.
pub fn cell(item: &Value, pointer: &str) -> String {
    match item.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}
