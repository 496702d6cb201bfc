//! `code_scanning_alert`, `dependabot_alert` and `secret_scanning_alert`: findings.

use super::Context;
use super::shapes::{Alert, AlertPayload, repo, repository};
use crate::event::{DeliveryEvent, EntityKey, FindingEvent, FindingKind, FindingSeverity, FindingStatus};
use crate::ingest::fault::{Fault, NAME, PATH, TITLE};
use crate::ingest::key::fact;
use crate::ingest::lenient::{fitting, text, url};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::Field;
use crate::time::Timestamp;

pub fn finding(
    kind: FindingKind,
    payload: AlertPayload<'_>,
    raw: &str,
    context: &Context<'_>,
) -> Result<Reading, Fault> {
    let action = payload.action.needed("/action", NAME, "what happened to the alert?")?;
    let alert = payload.alert.required("/alert", "GitHub describes the alert there")?;
    let Some(status) = status(&alert, &action) else {
        let words = format!("{action} does not say whether the alert is open");
        return Ok(Reading::skipped(Skip::NoChange, words));
    };
    let repo = repo(repository(payload.repository)?.full_name, context)?;
    let number = alert.number.clone().required("/alert/number", "which alert is it?")?;
    let at = "/alert/created_at";
    let opened_at = alert.created_at.clone().moment(at)?.ok_or_else(|| Fault::new(at, "is missing: since when?"))?;
    let closed_at = closed_at(&alert)?;
    let updated_at = alert.updated_at.clone().moment("/alert/updated_at")?;
    let created = (action == "created").then_some(opened_at);
    let about = About::of(kind, &alert);
    let family = match kind {
        FindingKind::Code => "code",
        FindingKind::Dependency => "dependency",
        FindingKind::Secret => "secret",
    };
    let event = FindingEvent {
        key: EntityKey { source: repo.source(), id: format!("{family}/{number}") },
        time: Timestamp::default(),
        service: repo.service_of_paths(about.path.as_slice()),
        repository: repo.name,
        kind,
        status,
        severity: severity(&alert),
        rule: about.rule,
        title: about.title,
        tool: about.tool,
        package: about.package,
        opened_at,
        closed_at: if status == FindingStatus::Open { None } else { closed_at },
        url: url(&[alert.html_url]),
    };
    // Without any time, as older servers send it: the time of receipt.
    let sent = updated_at.or(closed_at).or(created);
    // What leaked is kept nowhere, should GitHub ever send it along.
    let kept = if kind == FindingKind::Secret { "" } else { raw };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Finding(event), sent, context.received_at, kept)?]))
}

fn status(alert: &Alert<'_>, action: &str) -> Option<FindingStatus> {
    let state = text(alert.state.clone());
    let resolution = text(alert.resolution.clone());
    // Older servers send no state of secrets.
    Some(match if state.is_empty() { action } else { &*state } {
        "open" | "created" | "reopened" => FindingStatus::Open,
        "fixed" => FindingStatus::Fixed,
        "dismissed" | "auto_dismissed" => FindingStatus::Dismissed,
        "resolved" if resolution == "revoked" => FindingStatus::Fixed,
        "resolved" => FindingStatus::Dismissed,
        _ => return None,
    })
}

fn closed_at(alert: &Alert<'_>) -> Result<Option<Timestamp>, Fault> {
    for (name, field) in [
        ("fixed_at", &alert.fixed_at),
        ("dismissed_at", &alert.dismissed_at),
        ("auto_dismissed_at", &alert.auto_dismissed_at),
        ("resolved_at", &alert.resolved_at),
    ] {
        if let Some(time) = field.clone().moment(format_args!("/alert/{name}"))? {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

fn severity(alert: &Alert<'_>) -> Option<FindingSeverity> {
    let mut said = Vec::new();
    if let Field::Given(advisory) = &alert.advisory {
        said.push(text(advisory.severity.clone()));
    }
    if let Field::Given(rule) = &alert.rule {
        // How dangerous it is, where the rule is about security; else how sure the tool is of it.
        said.extend([text(rule.security_severity.clone()), text(rule.severity.clone())]);
    }
    said.iter().find_map(|name| match &**name {
        "critical" => Some(FindingSeverity::Critical),
        "high" | "error" => Some(FindingSeverity::High),
        "medium" | "moderate" | "warning" => Some(FindingSeverity::Medium),
        "low" | "note" | "none" => Some(FindingSeverity::Low),
        _ => None,
    })
}

/// What it is and where.
#[derive(Default)]
struct About {
    rule: Option<String>,
    title: Option<String>,
    tool: Option<String>,
    package: Option<String>,
    path: Option<String>,
}

impl About {
    fn of(kind: FindingKind, alert: &Alert<'_>) -> Self {
        match kind {
            FindingKind::Code => Self::code(alert),
            FindingKind::Dependency => Self::dependency(alert),
            FindingKind::Secret => Self {
                rule: fitting(&alert.secret_type, NAME),
                title: fitting(&alert.secret_name, TITLE),
                ..Self::default()
            },
        }
    }

    fn code(alert: &Alert<'_>) -> Self {
        let mut about = Self::default();
        if let Field::Given(rule) = &alert.rule {
            about.rule = fitting(&rule.id, NAME);
            about.title = fitting(&rule.description, TITLE);
        }
        if let Field::Given(tool) = &alert.tool {
            about.tool = fitting(&tool.name, NAME);
        }
        if let Field::Given(instance) = &alert.instance
            && let Field::Given(location) = &instance.location
        {
            about.path = fitting(&location.path, PATH);
        }
        about
    }

    fn dependency(alert: &Alert<'_>) -> Self {
        let mut about = Self { tool: Some("Dependabot".to_owned()), ..Self::default() };
        if let Field::Given(advisory) = &alert.advisory {
            about.rule = fitting(&advisory.id, NAME);
            about.title = fitting(&advisory.summary, TITLE);
        }
        if let Field::Given(dependency) = &alert.dependency {
            about.path = fitting(&dependency.manifest, PATH);
            if let Field::Given(package) = &dependency.package {
                let named = fitting(&package.ecosystem, NAME).zip(fitting(&package.name, NAME));
                about.package = named.map(|(ecosystem, name)| format!("{ecosystem}/{name}"));
            }
        }
        about
    }
}
