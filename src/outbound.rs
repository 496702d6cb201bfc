//! HTTP calls that leave DevPulse: one way to make a client, to carry the trace on, and to say
//! what went wrong.

use std::error::Error;
use std::time::Duration;

use opentelemetry::trace::TraceContextExt;
use reqwest::RequestBuilder;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Characters of a peer's answer that are kept.
const MAX_SAID: usize = 500;

/// A client that follows no redirects: a receiver cannot send DevPulse to other hosts.
///
/// # Errors
/// TLS cannot be set up.
pub fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    // Fails only when another part of the program has installed one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(timeout)
        .user_agent(concat!("devpulse/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The request with the W3C context of the current span, when that is traced.
pub fn traced(request: RequestBuilder) -> RequestBuilder {
    match traceparent() {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    }
}

/// The `traceparent` header of the current span; `None` when it is not traced.
pub fn traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let it = span.span_context();
    let sampled = u8::from(it.is_sampled());
    it.is_valid().then(|| format!("00-{}-{}-{sampled:02x}", it.trace_id(), it.span_id()))
}

/// What a peer said, as it may stand in a log or a message: one line of at most 500 characters,
/// none of which controls a terminal.
pub fn said(text: &str) -> String {
    let mut line = String::new();
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    for (n, word) in words.enumerate() {
        if n > 0 {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > MAX_SAID * 4 {
            break;
        }
    }
    if let Some((end, _)) = line.char_indices().nth(MAX_SAID) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// The error with its causes; the URL is left out, it may hold a secret.
pub fn explain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "no answer in time".to_owned() } else { "the call failed".to_owned() };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_one_short_line() {
        assert_eq!(said(" a\r\n\u{1b}[31mERROR\0 b\u{2028}c\u{85}d "), "a [31mERROR b c d");
        let long = said(&"é".repeat(100_000));
        assert_eq!((long.chars().count(), long.chars().last()), (MAX_SAID + 1, Some('…')));
        assert_eq!(said(&"x ".repeat(100_000)).chars().count(), MAX_SAID + 1);
    }
}
