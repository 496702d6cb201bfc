//! Mails as they leave: headers that cannot be injected, threads, both parts.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::alert::{Condition, Content, Event, Fact, Group, Kind, Link, Observation, Transition, step};
use crate::config::model::Severity;
use crate::time::Timestamp;

fn snapshot(content: Content, service: &str, revision: i64) -> Snapshot {
    let now = Timestamp::parse("2026-01-05T10:04:00Z").unwrap();
    let observation = Observation {
        fingerprint: "f".to_owned(),
        kind: Kind::BurnRate,
        service: service.to_owned(),
        environment: "production".to_owned(),
        labels: BTreeMap::new(),
        condition: Condition::Firing { severity: Severity::Page, content },
        pending_for: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
    };
    let Transition::Changed(_, alert) = step(None, &observation, now) else { panic!() };
    let group = Group {
        id: "0123".to_owned(),
        receiver: "oncall".to_owned(),
        labels: BTreeMap::new(),
        opened_at: now,
        resolved_at: None,
        revision,
    };
    Snapshot::new(group, &alert, vec![(*alert).clone()], now)
}

fn mailer() -> Mailer {
    let smtp = Smtp { url: "smtp://127.0.0.1:25".to_owned().into(), from: "DevPulse <pulse@example.com>".to_owned() };
    let email = Email { to: vec!["a@example.com".to_owned(), "b@example.com".to_owned()] };
    Mailer::new(&email, Some(&smtp), None).unwrap()
}

fn compose(snapshot: &Snapshot, event: Event, standing: Option<&str>) -> (String, String) {
    let message = Message { key: "k", event, snapshot, now: snapshot.taken_at };
    let (mail, root) = mailer().compose(message, standing).unwrap();
    (String::from_utf8(mail.formatted()).unwrap(), root)
}

/// `(name, value)` of the headers, unfolded.
fn headers(mail: &str) -> Vec<(String, String)> {
    let (head, _) = mail.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ");
    unfolded.split("\r\n").map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.into(), v.into())).collect()
}

fn header(mail: &str, name: &str) -> Option<String> {
    headers(mail).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
}

#[tokio::test]
async fn later_mails_refer_to_the_first() {
    let content = Content { headline: "Checkout burns its budget".to_owned(), ..Content::default() };
    let (first, root) = compose(&snapshot(content.clone(), "checkout", 1), Event::Fired, None);
    assert_eq!(root, "<0123.1@example.com>");
    assert_eq!(header(&first, "Message-ID").unwrap(), root);
    assert_eq!(header(&first, "In-Reply-To"), None);
    assert_eq!(header(&first, "Subject").unwrap(), "[PAGE] checkout/production: Checkout burns its budget");
    assert_eq!(header(&first, "To").unwrap(), "a@example.com, b@example.com");
    assert_eq!(header(&first, "Auto-Submitted").unwrap(), "auto-generated");

    let (second, same) = compose(&snapshot(content, "checkout", 2), Event::Updated, Some(&root));
    assert_eq!(same, root);
    assert_eq!(header(&second, "Message-ID").unwrap(), "<0123.2@example.com>");
    assert_eq!(header(&second, "In-Reply-To").unwrap(), root);
    assert_eq!(header(&second, "References").unwrap(), root);
}

#[tokio::test]
async fn no_text_becomes_a_header() {
    let evil = "x\r\nBcc: victim@example.com\r\n\r\nbody";
    let content = Content { headline: evil.to_owned(), summary: evil.to_owned(), ..Content::default() };
    let (mail, _) = compose(&snapshot(content, evil, 1), Event::Fired, None);
    let names: Vec<String> = headers(&mail).into_iter().map(|(name, _)| name.to_lowercase()).collect();
    assert!(!names.contains(&"bcc".to_owned()), "{mail}");
    let expected = ["from", "subject", "message-id", "auto-submitted", "to", "mime-version", "date", "content-type"];
    assert!(names.iter().all(|name| expected.contains(&name.as_str())), "{names:?}");
}

#[tokio::test]
async fn html_is_escaped_and_links_are_web_links() {
    let content = Content {
        headline: "<script>alert(1)</script>".to_owned(),
        summary: "a < b & \"c\"".to_owned(),
        facts: vec![Fact { label: "<b>".to_owned(), value: "<img src=x>".to_owned() }],
        links: vec![
            Link { label: "<i>runbook".to_owned(), url: "https://example.com/?a=1&b=\"><script>".to_owned() },
            Link { label: "bad".to_owned(), url: "javascript:alert(1)".to_owned() },
        ],
    };
    let snapshot = snapshot(content, "checkout", 1);
    let message = Message { key: "k", event: Event::Fired, snapshot: &snapshot, now: snapshot.taken_at };
    let view = View::of(message, None);
    let html = mailer().render(HTML, &view).unwrap();
    for forbidden in ["<script", "<img", "<b>", "<i>", "javascript:"] {
        assert!(!html.contains(forbidden), "{forbidden} in {html}");
    }
    assert!(html.contains("a &lt; b &amp; &quot;c&quot;"), "{html}");
    let text = mailer().render(TEXT, &view).unwrap();
    assert!(text.contains("a < b & \"c\""), "text is not escaped: {text}");
    assert!(text.contains("  <b>: <img src=x>\n"), "{text}");
}

#[test]
fn what_cannot_work_says_why_and_no_password() {
    let email = Email { to: vec!["a@example.com".to_owned()] };
    let refused = |smtp: Option<&Smtp>, email: &Email| Mailer::new(email, smtp, None).err().unwrap().to_string();
    assert!(refused(None, &email).contains("`smtp`"));
    let bad = Smtp { url: "ftp://user:hunter2@host".to_owned().into(), from: "a@example.com".to_owned() };
    assert!(refused(Some(&bad), &email).contains("smtp.url"));
    assert!(!refused(Some(&bad), &email).contains("hunter2"));
    let good = Smtp { url: "smtp://127.0.0.1".to_owned().into(), from: "a@example.com".to_owned() };
    assert!(refused(Some(&good), &Email { to: vec!["nobody".to_owned()] }).contains("nobody"));
    assert!(refused(Some(&good), &Email { to: Vec::new() }).contains("nobody"));
}
