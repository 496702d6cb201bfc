//! A snapshot as Block Kit, within Slack's limits whatever the text.
//!
//! Limits: <https://docs.slack.dev/reference/block-kit/blocks>.

use slack_morphism::prelude::{
    SlackBlock, SlackBlockMarkDownText, SlackBlockPlainText, SlackBlockText, SlackContextBlock,
    SlackContextBlockElement, SlackDividerBlock, SlackHeaderBlock, SlackMessageContent, SlackSectionBlock,
};
use url::Url;

use super::render;
use crate::alert::{Alert, Fact, Link, Snapshot};

const MAX_HEADER: usize = 150;
const MAX_SECTION: usize = 3000;
const MAX_FIELDS: usize = 10;
const MAX_FIELD: usize = 400;
const MAX_CONTEXT: usize = 1000;
const MAX_LINKS: usize = 5;
/// One alert is at most five blocks, and the header and the last line are two: below 50.
const MAX_SHOWN: usize = 9;
/// All text of a message: Slack refuses long ones with `msg_blocks_too_long`.
const MAX_TOTAL: usize = 12_000;
const MAX_FALLBACK: usize = 1000;

pub fn content(snapshot: &Snapshot, public_url: Option<&Url>) -> SlackMessageContent {
    SlackMessageContent::new().with_text(fallback(snapshot)).with_blocks(blocks(snapshot, public_url))
}

/// What notifications and screen readers show in place of the blocks.
fn fallback(snapshot: &Snapshot) -> String {
    let summary = snapshot.lead().map(|lead| lead.content.summary.as_str()).unwrap_or_default();
    escape(&format!("{}: {}", render::title(snapshot), render::one_line(summary)), MAX_FALLBACK)
}

fn blocks(snapshot: &Snapshot, public_url: Option<&Url>) -> Vec<SlackBlock> {
    let symbol = snapshot.lead().map(render::symbol).unwrap_or_default();
    let header = clip(&format!("{symbol} {}", render::title(snapshot)), MAX_HEADER);
    let mut room = MAX_TOTAL.saturating_sub(header.chars().count());
    let plain = SlackBlockPlainText::new(header).with_emoji(false);
    let mut blocks = vec![SlackHeaderBlock::new(plain.into()).into()];
    let mut shown: usize = 0;
    for alert in snapshot.alerts.iter().take(MAX_SHOWN) {
        let (part, length) = alert_blocks(alert, snapshot.total > 1, public_url);
        if length > room {
            break;
        }
        room = room.saturating_sub(length);
        blocks.extend(part);
        shown = shown.saturating_add(1);
    }
    let hidden = snapshot.total.saturating_sub(shown);
    if hidden > 0 {
        blocks.push(context(format!("and {hidden} more")));
    }
    blocks
}

/// The blocks of one alert, and how many characters they hold.
fn alert_blocks(alert: &Alert, one_of_several: bool, public_url: Option<&Url>) -> (Vec<SlackBlock>, usize) {
    let summary = escape(&alert.content.summary, MAX_SECTION.saturating_sub(200));
    let text = if one_of_several {
        let headline = escape(&render::headline(&alert.content.headline), 180);
        format!("{} *{headline}*\n{summary}", render::symbol(alert))
    } else {
        summary
    };
    let facts: Vec<String> = alert.content.facts.iter().take(MAX_FIELDS).map(fact).collect();
    let links = links(&alert.content.links, render::details_url(public_url, alert));
    let place = escape(&render::place_and_time(alert), MAX_CONTEXT);
    let length = [&text, &links, &place].into_iter().chain(&facts).map(|text| text.chars().count()).sum();

    let mut blocks: Vec<SlackBlock> = Vec::new();
    if one_of_several {
        blocks.push(SlackDividerBlock::new().into());
    }
    if !text.trim().is_empty() {
        blocks.push(SlackSectionBlock::new().with_text(markdown(text).into()).into());
    }
    if !facts.is_empty() {
        let fields: Vec<SlackBlockText> = facts.into_iter().map(|fact| markdown(fact).into()).collect();
        blocks.push(SlackSectionBlock::new().with_fields(fields).into());
    }
    if !links.is_empty() {
        blocks.push(SlackSectionBlock::new().with_text(markdown(links).into()).into());
    }
    blocks.push(context(place));
    (blocks, length)
}

fn fact(fact: &Fact) -> String {
    format!("*{}*\n{}", escape(&fact.label, MAX_FIELD), escape(&fact.value, MAX_FIELD))
}

fn links(links: &[Link], details: Option<Url>) -> String {
    let named = links.iter().filter_map(|link| Some((link.label.as_str(), render::web_link(&link.url)?)));
    named
        .take(MAX_LINKS)
        .chain(details.map(|url| ("Details", url)))
        .filter(|(_, url)| url.as_str().len() <= 300)
        .map(|(label, url)| format!("<{}|{}>", link_target(&url), escape(label, 60).replace('|', "¦")))
        .collect::<Vec<_>>()
        .join("  ·  ")
}

/// The characters that would end the link are written in percent form.
fn link_target(url: &Url) -> String {
    url.as_str().replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace('|', "%7C")
}

/// `verbatim`: no channel names, mentions or bare URLs are made into links.
fn markdown(text: String) -> SlackBlockMarkDownText {
    SlackBlockMarkDownText::new(text).with_verbatim(true)
}

fn context(text: String) -> SlackBlock {
    SlackContextBlock::new(vec![SlackContextBlockElement::MarkDown(markdown(text))]).into()
}

/// The text without markup of Slack's (`<!channel>`, links), at most `limit` characters long
/// after escaping; an entity is never cut in two.
pub fn escape(text: &str, limit: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length: usize = 0;
    for c in text.chars() {
        let mut own = [0; 4];
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut own),
        };
        length = length.saturating_add(piece.chars().count());
        if length >= limit {
            escaped.push('…');
            break;
        }
        escaped.push_str(piece);
    }
    escaped
}

fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
#[path = "slack_blocks_tests.rs"]
mod tests;
