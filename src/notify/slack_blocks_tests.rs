//! Block Kit's limits and markup, whatever the text.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::alert::{Content, Group, Kind, State};
use crate::config::model::Severity;
use crate::time::Timestamp;

fn alert(id: usize, content: Content) -> Alert {
    let fired = Timestamp::parse("2026-01-05T10:04:00Z").unwrap();
    Alert {
        id: format!("a{id}"),
        fingerprint: format!("f{id}"),
        kind: Kind::BurnRate,
        service: "checkout".to_owned(),
        environment: "production".to_owned(),
        labels: BTreeMap::new(),
        severity: Severity::Page,
        state: State::Firing,
        started_at: fired,
        fired_at: Some(fired),
        resolved_at: None,
        updated_at: fired,
        revision: 1,
        content,
        waiting_since: None,
        frozen_since: None,
        told_at: Some(fired),
    }
}

fn snapshot(alerts: Vec<Alert>) -> Snapshot {
    let group = Group {
        id: "g".to_owned(),
        receiver: "oncall".to_owned(),
        labels: BTreeMap::new(),
        opened_at: alerts[0].started_at,
        resolved_at: None,
        revision: 1,
    };
    let subject = alerts[0].clone();
    Snapshot::new(group, &subject, alerts, subject.started_at)
}

fn json(snapshot: &Snapshot) -> Value {
    let url = Url::parse("https://devpulse.example.com/").unwrap();
    serde_json::to_value(content(snapshot, Some(&url))).unwrap()
}

/// Every text in the blocks.
fn texts(blocks: &Value) -> Vec<String> {
    match blocks {
        Value::Object(fields) => match fields.get("text") {
            Some(Value::String(text)) => vec![text.clone()],
            _ => fields.values().flat_map(texts).collect(),
        },
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn assert_within_limits(message: &Value) {
    let blocks = message["blocks"].as_array().unwrap();
    assert!((1..=50).contains(&blocks.len()), "{} blocks", blocks.len());
    let length = |text: &Value| text.as_str().unwrap().chars().count();
    let mut total = 0;
    for block in blocks {
        total += texts(block).iter().map(|text| text.chars().count()).sum::<usize>();
        match block["type"].as_str().unwrap() {
            "header" => assert!((1..=150).contains(&length(&block["text"]["text"]))),
            "section" => {
                assert!(block.get("text").is_some() || block.get("fields").is_some());
                if let Some(text) = block.get("text") {
                    assert!((1..=3000).contains(&length(&text["text"])));
                }
                let fields = block["fields"].as_array().cloned().unwrap_or_default();
                assert!(fields.len() <= 10);
                assert!(fields.iter().all(|field| (1..=2000).contains(&length(&field["text"]))));
            }
            "context" => {
                let elements = block["elements"].as_array().unwrap();
                assert!((1..=10).contains(&elements.len()));
                assert!(elements.iter().all(|element| (1..=2000).contains(&length(&element["text"]))));
            }
            "divider" => {}
            other => panic!("{other}"),
        }
    }
    assert!(total <= 13_000, "{total} characters");
    assert!((1..=4000).contains(&length(&message["text"])));
}

#[test]
fn untrusted_text_is_no_markup() {
    let evil = "<!channel> <https://evil.example|click> a & b";
    let hostile = Content {
        headline: evil.to_owned(),
        summary: evil.to_owned(),
        facts: vec![Fact { label: evil.to_owned(), value: evil.to_owned() }],
        links: vec![
            Link { label: "run|book>".to_owned(), url: "https://example.com/?a=1&b=<|>".to_owned() },
            Link { label: "script".to_owned(), url: "javascript:alert(1)".to_owned() },
        ],
    };
    let message = json(&snapshot(vec![alert(1, hostile)]));
    assert_within_limits(&message);
    let mut marked = texts(&message["blocks"]);
    // A header is plain text: nothing in it is markup.
    marked.remove(0);
    marked.push(message["text"].as_str().unwrap().to_owned());
    let all = marked.join("\n");
    assert!(!all.contains("<!") && !all.contains("<https://evil"), "{all}");
    assert!(!all.contains("javascript"), "{all}");
    assert!(all.contains("&lt;!channel&gt;"), "{all}");
    assert!(all.contains("<https://example.com/?a=1&amp;b=%3C%7C%3E|run¦book&gt;>"), "{all}");
    assert!(all.contains("<https://devpulse.example.com/api/v1/alerts/a1|Details>"), "{all}");
    for block in message["blocks"].as_array().unwrap().iter().filter(|block| block["text"]["type"] == "mrkdwn") {
        assert_eq!(block["text"]["verbatim"], true);
    }
}

#[test]
fn what_does_not_fit_is_counted() {
    let short = |id| alert(id, Content { headline: format!("Alert {id}"), ..Content::default() });
    let message = json(&snapshot((0..30).map(short).collect()));
    assert_within_limits(&message);
    let last = message["blocks"].as_array().unwrap().last().unwrap()["elements"][0]["text"].clone();
    assert_eq!(last, "and 21 more");
    assert!(message["text"].as_str().unwrap().starts_with("PAGE · Alert 0 (+29 more)"));
}

#[test]
fn an_entity_is_never_cut_in_two() {
    for limit in 1..12 {
        let cut = escape("&<>&<>", limit);
        assert!(cut.chars().count() <= limit, "{limit}: {cut}");
        assert!(cut.trim_end_matches('…').matches('&').count() == cut.matches(';').count(), "{limit}: {cut}");
    }
    assert_eq!(escape("abc", 4), "abc");
}

prop_compose! {
    fn any_content()(
        headline in ".{0,400}", summary in ".{0,5000}",
        facts in prop::collection::vec((".{0,600}", ".{0,3000}"), 0..15),
        links in prop::collection::vec((".{0,100}", "https://[a-z]{1,9}/.{0,400}"), 0..8),
    ) -> Content {
        let facts = facts.into_iter().map(|(label, value)| Fact { label, value }).collect();
        let links = links.into_iter().map(|(label, url)| Link { label, url }).collect();
        Content { headline, summary, facts, links }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn limits_hold_whatever_the_text(contents in prop::collection::vec(any_content(), 1..12)) {
        let alerts = contents.into_iter().enumerate().map(|(id, content)| alert(id, content)).collect();
        assert_within_limits(&json(&snapshot(alerts)));
    }
}
