//! Alerts by mail: text and HTML, one thread per group.
//!
//! Every mail has a connection of its own: they are rare, and a connection kept for the next one
//! would most likely be dead by then.

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use minijinja::Environment;
use minijinja::syntax::SyntaxConfig;
use secrecy::ExposeSecret;
use serde::Serialize;
use url::Url;

use super::{CALL_TIMEOUT, Message, SendError, render};
use crate::alert::{Alert, Snapshot};
use crate::config::model::{Email, Smtp};

const TEXT: &str = "alert.txt";
const HTML: &str = "alert.html";

pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    templates: Environment<'static>,
    from: Mailbox,
    to: Vec<Mailbox>,
    public_url: Option<Url>,
}

impl Mailer {
    /// # Errors
    /// No `smtp` is configured, or an address or the URL cannot be read.
    pub fn new(email: &Email, smtp: Option<&Smtp>, public_url: Option<Url>) -> Result<Self, SendError> {
        let smtp = smtp.ok_or_else(|| SendError::permanent("`smtp` is not configured"))?;
        // The URL holds the password: its error is not repeated.
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(smtp.url.expose_secret())
            .map_err(|_| SendError::permanent("`smtp.url` must be smtp://…, smtp://…?tls=required or smtps://…"))?
            .timeout(Some(CALL_TIMEOUT))
            .build();
        let to = email.to.iter().map(|address| mailbox(address)).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err(SendError::permanent("`email.to` names nobody"));
        }
        Ok(Self { transport, templates: templates()?, from: mailbox(&smtp.from)?, to, public_url })
    }

    /// Sends one mail; the group's later mails refer to its first.
    pub(super) async fn send(&self, message: Message<'_>, standing: Option<&str>) -> Result<String, SendError> {
        let (mail, root) = self.compose(message, standing)?;
        // The transport limits each command; this limits them together.
        let sending = tokio::time::timeout(CALL_TIMEOUT.saturating_mul(2), self.transport.send(mail));
        match sending.await {
            Ok(Ok(_)) => Ok(root),
            Ok(Err(error)) if error.is_permanent() => Err(SendError::permanent(format!("SMTP: {}", causes(&error)))),
            Ok(Err(error)) => Err(SendError::temporary(format!("SMTP: {}", causes(&error)))),
            Err(_) => Err(SendError::temporary("SMTP: the server did not take the mail in time")),
        }
    }

    /// The mail, and the Message-ID of the thread's first.
    fn compose(&self, message: Message<'_>, standing: Option<&str>) -> Result<(lettre::Message, String), SendError> {
        let snapshot = message.snapshot;
        let domain = self.from.email.domain();
        let group = &snapshot.group;
        let own = format!("<{}.{}@{domain}>", group.id, group.revision);
        let refused = |error: &dyn std::error::Error| SendError::permanent(format!("mail: {error}"));
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(subject(snapshot))
            .message_id(Some(own.clone()))
            // Out-of-office answers and the like stay away (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for address in &self.to {
            builder = builder.to(address.clone());
        }
        if let Some(root) = standing {
            builder = builder.in_reply_to(root.to_owned()).references(root.to_owned());
        }
        let view = View::of(message, self.public_url.as_ref());
        let text = self.render(TEXT, &view)?;
        let html = self.render(HTML, &view)?;
        let mail = builder.multipart(MultiPart::alternative_plain_html(text, html)).map_err(|error| refused(&error))?;
        Ok((mail, standing.map_or(own, str::to_owned)))
    }

    fn render(&self, name: &str, view: &View) -> Result<String, SendError> {
        let rendered =
            self.templates.get_template(name).and_then(|template| template.render(minijinja::value::Serde(view)));
        rendered.map_err(|error| SendError::permanent(format!("template {name}: {error}")))
    }
}

/// By their names: what goes into `.html` is escaped.
fn templates() -> Result<Environment<'static>, SendError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| SendError::permanent(format!("templates: {error}")))?);
    let sources = [(TEXT, include_str!("templates/alert.txt")), (HTML, include_str!("templates/alert.html"))];
    for (name, source) in sources {
        environment
            .add_template(name, source)
            .map_err(|error| SendError::permanent(format!("template {name}: {error}")))?;
    }
    Ok(environment)
}

fn mailbox(address: &str) -> Result<Mailbox, SendError> {
    address.parse().map_err(|error| SendError::permanent(format!("{address} is not a mail address: {error}")))
}

/// `[PAGE] checkout/production: Checkout burns its error budget`: on one line, whatever the text.
fn subject(snapshot: &Snapshot) -> String {
    let Some(lead) = snapshot.lead() else { return "DevPulse".to_owned() };
    let title = render::title(snapshot);
    let words = title.split_once(" · ").map_or(title.as_str(), |(_, words)| words);
    render::one_line(&format!("[{}] {}/{}: {words}", render::status(lead), lead.service, lead.environment))
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

/// What the templates show.
#[derive(Serialize)]
struct View {
    title: String,
    news: Option<String>,
    alerts: Vec<AlertView>,
    more: usize,
}

#[derive(Serialize)]
struct AlertView {
    status: &'static str,
    headline: String,
    summary: String,
    place: String,
    facts: Vec<crate::alert::Fact>,
    links: Vec<crate::alert::Link>,
}

impl View {
    fn of(message: Message<'_>, public_url: Option<&Url>) -> Self {
        let snapshot = message.snapshot;
        let first = snapshot.group.revision == 1;
        Self {
            title: render::title(snapshot),
            news: (!first).then(|| render::news(message.event, snapshot)),
            alerts: snapshot.alerts.iter().map(|alert| AlertView::of(alert, public_url)).collect(),
            more: snapshot.total.saturating_sub(snapshot.alerts.len()),
        }
    }
}

impl AlertView {
    fn of(alert: &Alert, public_url: Option<&Url>) -> Self {
        let given = alert.content.links.iter().filter(|link| render::web_link(&link.url).is_some()).cloned();
        let details = render::details_url(public_url, alert)
            .map(|url| crate::alert::Link { label: "Details".to_owned(), url: url.into() });
        Self {
            status: render::status(alert),
            headline: render::headline(&alert.content.headline),
            summary: alert.content.summary.clone(),
            place: render::place_and_time(alert),
            facts: alert.content.facts.clone(),
            links: given.chain(details).collect(),
        }
    }
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
