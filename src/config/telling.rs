//! Who sends and who is told: sources, receivers, the mail server, the route.

use std::collections::BTreeMap;
use std::time::Duration;

use lettre::{AsyncSmtpTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::catalogue::{reference, refuse_twice};
use super::model::{
    Alertmanager, Bitbucket, CloudEvents, Email, GitHub, GitLab, Labelled, PagerDuty, Pipelines, Receiver, Route,
    Slack, Smtp, Sources, Webhook, signing_key,
};
use super::reader::{Scalar, Section};
use super::scalar::{duration, http_url, one_of, secret, secret_url, text};

/// Labels that alerts have.
const LABELS: &[(&str, &str)] = &[
    ("service", "service"),
    ("environment", "environment"),
    ("severity", "severity"),
    ("kind", "kind"),
    ("slo", "slo"),
];
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn sources(at: &Section<'_>) -> Sources {
    Sources {
        github: at.optional_section("github", "secret", github),
        alertmanager: at.inner("alertmanager", |at| Some(alertmanager(at))).unwrap_or_default(),
        gitlab: at.optional_section("gitlab", "secret", gitlab),
        jenkins: at.optional_section("jenkins", "secret", |at| pipelines(at, "deployment_jobs")),
        circleci: at.optional_section("circleci", "secret", |at| pipelines(at, "deployment_workflows")),
        azure_devops: at.optional_section("azure_devops", "secret", |at| pipelines(at, "deployment_stages")),
        bitbucket: at.optional_section("bitbucket", "secret", bitbucket),
        pagerduty: at.optional_section("pagerduty", "secret", pagerduty),
        opsgenie: at.optional_section("opsgenie", "secret", labelled),
        argocd: at.optional_section("argocd", "secret", labelled),
        flux: at.optional_section("flux", "secret", labelled),
        cloudevents: at.inner("cloudevents", |at| Some(cloudevents(at))).unwrap_or_default(),
    }
}

fn labelled(at: &Section<'_>) -> Option<Labelled> {
    let secret = at.required("secret", secret);
    let service_label = at.or("service_label", "service".to_owned(), text);
    let environment_label = at.or("environment_label", "environment".to_owned(), text);
    let services = at.texts("services", text);
    let environment = at.optional("environment", text).map(|found| found.value);
    Some(Labelled { secret: secret?, service_label, environment_label, services, environment })
}

fn cloudevents(at: &Section<'_>) -> CloudEvents {
    let services = at.texts("services", text);
    CloudEvents { services, environment: at.optional("environment", text).map(|found| found.value) }
}

fn pagerduty(at: &Section<'_>) -> Option<PagerDuty> {
    let secret = at.required("secret", secret);
    let services = at.texts("services", text);
    let environment = at.optional("environment", text).map(|found| found.value);
    Some(PagerDuty { secret: secret?, services, environment })
}

fn alertmanager(at: &Section<'_>) -> Alertmanager {
    let known = Alertmanager::default();
    let ignore = at.values("ignore", text);
    Alertmanager {
        service_label: at.or("service_label", known.service_label, text),
        environment_label: at.or("environment_label", known.environment_label, text),
        severity_label: at.or("severity_label", known.severity_label, text),
        services: at.texts("services", text),
        environment: at.optional("environment", text).map(|found| found.value),
        ignore: if at.has("ignore") { ignore } else { known.ignore },
    }
}

fn pipelines(at: &Section<'_>, deployments: &'static str) -> Option<Pipelines> {
    let secret = at.required("secret", secret);
    let deployments = at.texts(deployments, text);
    let services = at.texts("services", text);
    Some(Pipelines { secret: secret?, deployments, services })
}

fn bitbucket(at: &Section<'_>) -> Option<Bitbucket> {
    let branches = at.values("main_branches", text);
    let main_branches = if at.has("main_branches") { branches } else { vec!["main".to_owned(), "master".to_owned()] };
    Some(Bitbucket { pipelines: pipelines(at, "deployment_statuses")?, main_branches })
}

fn default_labels() -> Vec<String> {
    vec!["incident".to_owned()]
}

impl GitHub {
    /// With nothing else configured.
    pub fn new(secret: SecretString) -> Self {
        Self {
            secret,
            incident_labels: default_labels(),
            deployment_workflows: BTreeMap::new(),
            default_environment: None,
            releases: None,
        }
    }
}

fn incident_labels(at: &Section<'_>) -> Vec<String> {
    let labels = at.values("incident_labels", text);
    if at.has("incident_labels") { labels } else { default_labels() }
}

fn gitlab(at: &Section<'_>) -> Option<GitLab> {
    let secret = at.required("secret", signing_secret);
    let incident_labels = incident_labels(at);
    let default_environment = at.optional("default_environment", text).map(|found| found.value);
    Some(GitLab { secret: secret?, incident_labels, default_environment })
}

fn github(at: &Section<'_>) -> Option<GitHub> {
    let secret = at.required("secret", secret);
    let incident_labels = incident_labels(at);
    let deployment_workflows = at.texts("deployment_workflows", text);
    let default_environment = at.optional("default_environment", text).map(|found| found.value);
    let releases = at.optional("releases", text).map(|found| found.value);
    Some(GitHub { secret: secret?, incident_labels, deployment_workflows, default_environment, releases })
}

pub(super) fn smtp(at: &Section<'_>) -> Option<Smtp> {
    let url = at.required("url", mail_server);
    let from = at.required("from", address);
    Some(Smtp { url: url?, from: from? })
}

fn mail_server(scalar: &Scalar<'_>) -> Result<SecretString, String> {
    let url = secret_url(&["smtp", "smtps"])(scalar)?;
    // The URL holds the password: its error is not repeated.
    let wanted = "must be smtp://[USER:PASSWORD@]HOST[:PORT], the same with ?tls=required, or smtps://…";
    let read = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret());
    read.map(|_| url).map_err(|_| wanted.to_owned())
}

fn address(scalar: &Scalar<'_>) -> Result<String, String> {
    let text = text(scalar)?;
    let wanted = "must be an e-mail address, such as devpulse@example.com or DevPulse <devpulse@example.com>";
    text.parse::<lettre::message::Mailbox>().map_err(|_| wanted.to_owned())?;
    Ok(text)
}

/// `smtp`: whether the file says anything about the mail server.
pub(super) fn receivers(root: &Section<'_>, smtp: bool) -> Vec<Receiver> {
    let mut seen = Vec::new();
    root.items("receivers", |at| {
        let name = at.found("name", text);
        refuse_twice(at, &mut seen, name.as_ref());
        let slack = at.inner("slack", slack);
        let email = at.inner("email", |at| Some(email(at, smtp)));
        let webhook = at.inner("webhook", webhook);
        if !["slack", "email", "webhook"].into_iter().any(|channel| at.has(channel)) {
            at.report("", at.place().clone(), "must have at least one of slack, email and webhook");
        }
        Some(Receiver { name: name?.value, slack, email, webhook })
    })
}

fn slack(at: &Section<'_>) -> Option<Slack> {
    let token = at.optional("token", secret);
    let webhook_url = at.optional("webhook_url", secret_url(&["https", "http"]));
    match (at.has("token"), at.has("webhook_url")) {
        (true, false) => {
            let channel = at.required("channel", text);
            let public = Url::parse("https://slack.com/api/").ok();
            let api_url = at.optional("api_url", http_url).map(|found| found.value).or(public);
            Some(Slack::Bot { token: token?.value, channel: channel?, api_url: api_url? })
        }
        (false, true) => Some(Slack::IncomingWebhook { url: webhook_url?.value }),
        _ => {
            // The keys of a bot exist here as well, so that they are not called unknown.
            at.optional("channel", text);
            at.optional("api_url", http_url);
            at.report("", at.place().clone(), "must have exactly one of token (with channel) and webhook_url");
            None
        }
    }
}

fn email(at: &Section<'_>, smtp: bool) -> Email {
    let to = at.values("to", address);
    if !at.has("to") {
        at.report("to", at.place().clone(), "is missing: a list of addresses");
    }
    if !smtp {
        at.report("", at.place().clone(), "needs a mail server: add `smtp: {url: …, from: …}`");
    }
    Email { to }
}

fn signing_secret(scalar: &Scalar<'_>) -> Result<SecretString, String> {
    let secret = secret(scalar)?;
    let wanted = "begins with whsec_ but is not base64 after it";
    signing_key(&secret).map(|_| secret).ok_or_else(|| wanted.to_owned())
}

/// A signed webhook, of a receiver or of a rollback policy.
pub(super) fn webhook(at: &Section<'_>) -> Option<Webhook> {
    let url = at.required("url", http_url);
    let secret = at.required("secret", signing_secret);
    let timeout = at.or("timeout", WEBHOOK_TIMEOUT, duration);
    Some(Webhook { url: url?, secret: secret?, timeout })
}

pub(super) fn route(at: &Section<'_>, receivers: &[Receiver]) -> Option<Route> {
    let names: Vec<String> = receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let receiver = reference(at, "receiver", "receivers", &names);
    let group_by = at.values("group_by", one_of(LABELS)).into_iter().map(str::to_owned).collect();
    Some(Route { receiver: receiver?, group_by })
}
