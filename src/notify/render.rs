//! The words of a message, the same for every channel.

use url::Url;

use crate::alert::lifecycle::severity_name;
use crate::alert::{Alert, Event, Snapshot, State};
use crate::config::model::Severity;
use crate::time::{Timestamp, spoken};

const HEADLINE_WORDS: usize = 10;
const HEADLINE_CHARS: usize = 120;

/// `PAGE`, `TICKET` or `RESOLVED`.
pub fn status(alert: &Alert) -> &'static str {
    match (alert.state, alert.severity) {
        (State::Resolved, _) => "RESOLVED",
        (_, Severity::Page) => "PAGE",
        (_, Severity::Ticket) => "TICKET",
    }
}

pub fn symbol(alert: &Alert) -> &'static str {
    match (alert.state, alert.severity) {
        (State::Resolved, _) => "✅",
        (_, Severity::Page) => "🔴",
        (_, Severity::Ticket) => "🟡",
    }
}

/// One line, at most ten words.
pub fn headline(text: &str) -> String {
    let clean = one_line(text);
    let mut words = clean.split(' ');
    let mut kept = words.by_ref().take(HEADLINE_WORDS).collect::<Vec<_>>().join(" ");
    let mut cut = words.next().is_some();
    if let Some((end, _)) = kept.char_indices().nth(HEADLINE_CHARS) {
        kept.truncate(end);
        cut = true;
    }
    if cut {
        kept.push('…');
    }
    kept
}

/// Control characters and runs of white space become single spaces: nothing can start a line of
/// its own in a subject or a log.
pub fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `PAGE · Checkout burns its error budget (+2 more)`.
pub fn title(snapshot: &Snapshot) -> String {
    let Some(lead) = snapshot.lead() else { return "Alerts".to_owned() };
    let others = if snapshot.is_over() { snapshot.total } else { snapshot.firing }.saturating_sub(1);
    let more = if others > 0 { format!(" (+{others} more)") } else { String::new() };
    format!("{} · {}{more}", status(lead), headline(&lead.content.headline))
}

/// `checkout · production · since 2026-01-05 10:04 UTC`.
pub fn place_and_time(alert: &Alert) -> String {
    let mut parts: Vec<String> =
        [&alert.service, &alert.environment].into_iter().filter(|part| !part.is_empty()).cloned().collect();
    let fired = alert.fired_at.unwrap_or(alert.started_at);
    parts.push(match alert.resolved_at {
        Some(resolved) => format!("{} to {}, {}", minute(fired), minute(resolved), span(fired, resolved)),
        None => format!("since {}", minute(fired)),
    });
    parts.join(" · ")
}

/// What is new, as a reply in a thread says it.
pub fn news(event: Event, snapshot: &Snapshot) -> String {
    let Some(subject) = snapshot.subject() else { return title(snapshot) };
    let headline = headline(&subject.content.headline);
    match event {
        Event::Resolved => match snapshot.group.resolved_at {
            Some(resolved) => format!("✅ Resolved after {}: {headline}", span(snapshot.group.opened_at, resolved)),
            None => format!("✅ Resolved: {headline}"),
        },
        Event::Escalated => format!("🔴 Escalated to {}: {headline}", severity_name(subject.severity)),
        Event::Fired => format!("{} Also firing: {headline}", symbol(subject)),
        Event::Updated | Event::Refreshed if subject.state == State::Resolved => {
            format!("✅ Resolved: {headline}. {} still firing.", snapshot.firing)
        }
        Event::Updated | Event::Refreshed => format!("{} {headline}", symbol(subject)),
    }
}

/// The page of one alert, where people can reach this program.
pub fn details_url(public_url: Option<&Url>, alert: &Alert) -> Option<Url> {
    page_url(public_url?, &alert.id)
}

fn page_url(public_url: &Url, alert: &str) -> Option<Url> {
    let mut url = public_url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "v1", "alerts", alert]);
    Some(url)
}

/// A link that may be shown as one: anything but http and https stays text.
pub fn web_link(url: &str) -> Option<Url> {
    Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn minute(time: Timestamp) -> String {
    time.to_datetime().map_or_else(|| time.to_string(), |time| time.format("%Y-%m-%d %H:%M UTC").to_string())
}

fn span(from: Timestamp, to: Timestamp) -> String {
    spoken(to.duration_since(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headlines_are_short_and_on_one_line() {
        assert_eq!(headline("a\r\nBcc: b\t c"), "a Bcc: b c");
        assert_eq!(headline("1 2 3 4 5 6 7 8 9 10"), "1 2 3 4 5 6 7 8 9 10");
        assert_eq!(headline("1 2 3 4 5 6 7 8 9 10 11"), "1 2 3 4 5 6 7 8 9 10…");
        assert_eq!(headline(&"x".repeat(500)).chars().count(), HEADLINE_CHARS + 1);
    }

    #[test]
    fn links_keep_the_path_that_people_reach_devpulse_under() {
        for (public, link) in [
            ("http://host", "http://host/api/v1/alerts/a%20b"),
            ("http://host/x", "http://host/x/api/v1/alerts/a%20b"),
            ("http://host/x/", "http://host/x/api/v1/alerts/a%20b"),
        ] {
            assert_eq!(page_url(&Url::parse(public).unwrap(), "a b").unwrap().as_str(), link);
        }
    }

    #[test]
    fn only_web_links_are_links() {
        assert!(web_link("https://example.com/a?b=c").is_some());
        assert!(web_link("javascript:alert(1)").is_none());
        assert!(web_link("/relative").is_none());
    }
}
