//! GitHub's REST API: pages, and the limits that GitHub sets.

use std::time::Duration;

use indicatif::ProgressBar;
use reqwest::header::{ACCEPT, HeaderMap, LINK, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::cli::Failure;
use crate::outbound;
use crate::time::{Clock, Timestamp};

const PATIENCE: Duration = Duration::from_secs(30);
/// How often a request is repeated that fails for no reason of its own.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// How long GitHub wants to be left alone where it does not say (its documentation, "Rate limits").
const SECONDARY: Duration = Duration::from_secs(60);
/// GitHub's hour, and some: a longer pause is no pause.
const LONGEST: Duration = Duration::from_secs(3_900);

pub struct Rest {
    http: Client,
    base: Url,
    token: Option<SecretString>,
    clock: Clock,
    /// Drawn while a limit holds it up.
    pub bar: ProgressBar,
    /// No request before this.
    free_at: Option<Timestamp>,
}

/// A page of a list, or a single thing.
pub struct Page {
    pub body: Value,
    pub next: Option<Url>,
    /// How many pages there are, where GitHub says.
    pub pages: Option<u64>,
}

impl Page {
    pub fn into_items(self) -> Vec<Value> {
        match self.body {
            Value::Array(items) => items,
            _ => Vec::new(),
        }
    }
}

impl Rest {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(base: Url, token: Option<SecretString>) -> Result<Self, Failure> {
        let http = outbound::client(PATIENCE).map_err(|error| Failure::Refused(outbound::explain(&error)))?;
        Ok(Self { http, base, token, clock: Clock::system(), bar: ProgressBar::hidden(), free_at: None })
    }

    /// # Errors
    /// The base is not a URL of a server.
    pub fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        let no_base = || Failure::Refused(format!("--api-url {} is not a URL of a server", self.base));
        url.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Every item of a list.
    ///
    /// # Errors
    /// As of [`Self::get`].
    pub async fn all(&mut self, first: Url) -> Result<Vec<Value>, Failure> {
        let (mut items, mut next) = (Vec::new(), Some(first));
        while let Some(url) = next {
            let Some(mut page) = self.find(&url).await? else { break };
            next = page.next.take();
            items.extend(page.into_items());
        }
        Ok(items)
    }

    /// # Errors
    /// As of [`Self::find`], and what is not there.
    pub async fn get(&mut self, url: &Url) -> Result<Page, Failure> {
        let missing = "GitHub knows no such thing, or hides it: check the name, and what the token may read";
        self.find(url).await?.ok_or_else(|| Failure::Refused(format!("{}: {missing}", url.path())))
    }

    /// `None` for what is not there.
    ///
    /// # Errors
    /// GitHub cannot be reached, or refuses.
    pub async fn find(&mut self, url: &Url) -> Result<Option<Page>, Failure> {
        let mut tries = 0;
        loop {
            self.wait_until_free().await;
            let pause = match self.ask(url).await {
                Ok((status, headers, body)) if status.is_success() => {
                    self.free_at = exhausted(&headers);
                    return self.page(&headers, &body, url).map(Some);
                }
                Ok((StatusCode::NOT_FOUND | StatusCode::GONE, ..)) => return Ok(None),
                Ok((status, headers, body)) => {
                    let limited = limited(status, &headers, &body, self.clock.now(), tries);
                    let broken = status.is_server_error().then(|| PAUSE * 2_u32.pow(tries));
                    limited.or(broken).ok_or_else(|| refused(status, url, &body, self.token.is_some()))?
                }
                Err(error) if tries + 1 < TRIES && !error.is_builder() => PAUSE * 2_u32.pow(tries),
                Err(error) => return Err(Failure::Refused(format!("{}: {}", self.base, outbound::explain(&error)))),
            };
            tries += 1;
            if tries >= TRIES {
                let told = "GitHub goes on refusing; the same command later goes on from here";
                return Err(Failure::Refused(format!("{}: {told}", url.path())));
            }
            self.free_at = Some(self.clock.now().plus(pause.min(LONGEST)));
        }
    }

    async fn ask(&self, url: &Url) -> Result<(StatusCode, HeaderMap, String), reqwest::Error> {
        let mut request = self.http.get(url.clone()).header(ACCEPT, "application/vnd.github+json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let response = request.send().await?;
        Ok((response.status(), response.headers().clone(), response.text().await?))
    }

    async fn wait_until_free(&mut self) {
        let now = self.clock.now();
        if let Some(at) = self.free_at.take().filter(|at| *at > now) {
            let pause = at.duration_since(now).min(LONGEST);
            self.bar.set_prefix(format!("GitHub's limit: waiting {} s ", pause.as_secs()));
            tokio::time::sleep(pause).await;
            self.bar.set_prefix(String::new());
        }
    }

    fn page(&self, headers: &HeaderMap, body: &str, url: &Url) -> Result<Page, Failure> {
        let unreadable = |_| Failure::Refused(format!("{}: GitHub's answer is not JSON", url.path()));
        let body = serde_json::from_str(body).map_err(unreadable)?;
        let next = linked(headers, "next");
        // The token goes to no other place than the one it was given for.
        if next.as_ref().is_some_and(|next| next.origin() != self.base.origin()) {
            return Err(Failure::Refused(format!("{}: the next page is on another server", url.path())));
        }
        let last = linked(headers, "last");
        let number = |(name, value): (std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)| {
            (name == "page").then(|| value.parse().ok()).flatten()
        };
        Ok(Page { body, next, pages: last.and_then(|last| last.query_pairs().find_map(number)) })
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// When GitHub answers again, where this was the last request of its hour.
fn exhausted(headers: &HeaderMap) -> Option<Timestamp> {
    if text(headers, "x-ratelimit-remaining")?.trim() != "0" {
        return None;
    }
    let reset = text(headers, "x-ratelimit-reset")?.trim().parse().ok()?;
    Some(Timestamp::from_seconds(reset))
}

/// How long to wait where a limit is the reason of a refusal.
fn limited(status: StatusCode, headers: &HeaderMap, body: &str, now: Timestamp, tries: u32) -> Option<Duration> {
    if !matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    if let Some(seconds) = text(headers, RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok()) {
        return Some(Duration::from_secs(seconds));
    }
    if let Some(reset) = exhausted(headers) {
        return Some(reset.plus(PAUSE).duration_since(now));
    }
    let said = body.to_ascii_lowercase().contains("rate limit");
    (said || status == StatusCode::TOO_MANY_REQUESTS).then(|| SECONDARY * 2_u32.pow(tries))
}

fn refused(status: StatusCode, url: &Url, body: &str, token: bool) -> Failure {
    let json: Option<Value> = serde_json::from_str(body).ok();
    let said = json.as_ref().and_then(|json| json.get("message")?.as_str()).unwrap_or("no reason given");
    let fix = match status {
        StatusCode::UNAUTHORIZED if token => ": the token is wrong or has expired",
        StatusCode::UNAUTHORIZED => ": set GITHUB_TOKEN, or give --token-file",
        status if status.is_redirection() => ": the repository has another name now",
        _ => "",
    };
    Failure::Refused(format!("{}: {status}: {}{fix}", url.path(), outbound::said(said)))
}

/// A target of the `Link` header (RFC 8288).
fn linked(headers: &HeaderMap, relation: &str) -> Option<Url> {
    let links = text(headers, LINK.as_str())?.split(',');
    let wanted = format!("rel=\"{relation}\"");
    let mut target = links.filter_map(|link| {
        let (target, parameters) = link.split_once(';')?;
        let of_relation = parameters.split(';').any(|parameter| parameter.trim() == wanted);
        of_relation.then(|| target.trim().trim_start_matches('<').trim_end_matches('>'))
    });
    Url::parse(target.next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn limits_say_how_long_to_wait() {
        let now = Timestamp::from_seconds(1_000);
        let pause = |status: u16, pairs: &[(&'static str, &str)], body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            limited(status, &headers(pairs), body, now, 1).map(|pause| pause.as_secs())
        };
        assert_eq!(pause(403, &[("retry-after", "7"), ("x-ratelimit-remaining", "0")], ""), Some(7));
        let used_up = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1030")];
        assert_eq!(pause(403, &used_up, ""), Some(31));
        assert_eq!(pause(403, &[], "You have exceeded a secondary rate limit"), Some(120), "longer each time");
        assert_eq!(pause(429, &[], ""), Some(120));
        assert_eq!(pause(403, &[], "Resource not accessible by personal access token"), None);
        assert_eq!(pause(401, &used_up, ""), None);
        assert_eq!(exhausted(&headers(&used_up)), Some(Timestamp::from_seconds(1_030)));
        assert_eq!(exhausted(&headers(&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "1030")])), None);
    }

    #[test]
    fn links_lead_to_the_next_page() {
        let link = "<https://api.github.com/repositories/1/pulls?page=2>; rel=\"next\", \
                    <https://api.github.com/repositories/1/pulls?page=9>; rel=\"last\"";
        let headers = headers(&[("link", link)]);
        assert_eq!(linked(&headers, "next").unwrap().query(), Some("page=2"));
        assert_eq!(linked(&headers, "last").unwrap().query(), Some("page=9"));
        assert_eq!(linked(&headers, "prev"), None);
    }
}
