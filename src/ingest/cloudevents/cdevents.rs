//! CDEvents 0.3 to 0.6: services deployed, changes merged, incidents.
//! <https://github.com/cdevents/spec>
//!
//! A service's event has no commit: the artifact's package URL gives the version, and the commit
//! where it names one. What other events of the same chain say is not looked up.

use std::collections::BTreeMap;

use super::envelope::Envelope;
use super::purl::Artifact;
use super::{Context, SOURCE};
use crate::event::{
    ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, DeploymentRef, EntityKey,
    IncidentEvent, IncidentStatus,
};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{self, Fault, ID, NAME, TITLE, URL};
use crate::ingest::key::fact_known_by;
use crate::ingest::names::{ServiceNames, is_commit};
use crate::ingest::pipeline::repository_of;
use crate::ingest::source::Skip;
use crate::ingest::wire::{Field, Text, object, read};
use crate::time::Timestamp;

object! {
    pub struct Payload<'a> {
        context: "context" EventContext<'a>,
        subject: "subject" Subject<'a>,
    }

    pub struct EventContext<'a> {
        kind: "type" Text<'a>,
        timestamp: "timestamp" Text<'a>,
        chain: "chainId" Text<'a>,
    }

    pub struct Subject<'a> {
        id: "id" Text<'a>,
        source: "source" Text<'a>,
        content: "content" Content<'a>,
    }

    pub struct Content<'a> {
        environment: "environment" Reference<'a>,
        service: "service" Reference<'a>,
        repository: "repository" Reference<'a>,
        artifact: "artifactId" Text<'a>,
        description: "description" Text<'a>,
        ticket: "ticketURI" Text<'a>,
    }

    pub struct Reference<'a> {
        id: "id" Text<'a>,
    }
}

/// Minor versions of an event's type, all of major version 0.
const MINORS: std::ops::RangeInclusive<u32> = 1..=3;

/// Events that say nothing on their own about delivery, and why.
const NOT_COUNTED: [(&str, &str); 8] = [
    ("service.removed", "a removal is no deployment"),
    ("service.published", "what is published was deployed before"),
    ("change.created", "a change counts once it is merged"),
    ("change.updated", "a change counts once it is merged"),
    ("change.reviewed", "a change counts once it is merged"),
    ("change.abandoned", "a change that is abandoned is never deployed"),
    ("pipelinerun.finished", "a pipeline's run is no deployment; service.deployed is"),
    ("taskrun.finished", "a task's run is no deployment; service.deployed is"),
];

/// Why an event says nothing that counts: for counting, and in words.
type Skipped = (Skip, String);

enum What {
    Deployed(Option<DeploymentKind>),
    Merged,
    Incident(IncidentStatus),
}

/// The event as a fact, or why there is none; `name` is the type without `dev.cdevents.`.
pub fn fact(
    name: &str,
    envelope: &Envelope<'_>,
    raw: &str,
    context: &Context<'_>,
) -> Result<Result<Fact, Skipped>, Fault> {
    let what = match what(name) {
        Ok(what) => what,
        Err(reason) => return Ok(Err(reason)),
    };
    let data = envelope.json()?;
    let event = Event::read(data, envelope, context).map_err(|fault| fault.within("/data"))?;
    let read = match what {
        What::Deployed(kind) => event.deployment(kind).map(Ok),
        What::Merged => event.change(),
        What::Incident(status) => event.incident(status).map(Ok),
    };
    let parts = [SOURCE, &envelope.source, &envelope.id];
    Ok(read.map_err(|fault| fault.within("/data"))?.map(|event| fact_known_by(&parts, event, raw)))
}

/// What a type says; an error is the reason why it is skipped.
fn what(name: &str) -> Result<What, Skipped> {
    let short: String = name.chars().take(100).collect();
    let mut parts = name.splitn(3, '.');
    let (subject, predicate, version) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    let name = format!("{}.{}", subject.unwrap_or_default(), predicate.unwrap_or_default());
    let what = match name.as_str() {
        "service.deployed" | "service.upgraded" => What::Deployed(None),
        "service.rolledback" => What::Deployed(Some(DeploymentKind::Rollback)),
        "change.merged" => What::Merged,
        "incident.detected" | "incident.reported" => What::Incident(IncidentStatus::Opened),
        "incident.resolved" => What::Incident(IncidentStatus::Resolved),
        other => {
            let known = NOT_COUNTED.iter().find(|entry| entry.0 == other).map(|entry| entry.1);
            let known = known.unwrap_or("DevPulse does not use such events");
            return Err((Skip::UnusedEvent, format!("{short}: {known}")));
        }
    };
    let mut numbers = version.split('.');
    let minor = match (numbers.next(), numbers.next().map(str::parse)) {
        (Some("0"), Some(Ok(minor))) => minor,
        _ => 0,
    };
    let unknown = || (Skip::UnusedEvent, format!("{short}: this version is not known to DevPulse"));
    if MINORS.contains(&minor) { Ok(what) } else { Err(unknown()) }
}

/// A payload with what every one of them has.
struct Event<'a> {
    /// Of the event.
    source: String,
    id: String,
    time: Timestamp,
    chain: Option<String>,
    /// Of what it is about.
    subject_id: Text<'a>,
    subject_source: Option<Text<'a>>,
    content: Content<'a>,
    context: &'a Context<'a>,
}

impl<'a> Event<'a> {
    fn read(data: &'a str, envelope: &Envelope<'_>, context: &'a Context<'a>) -> Result<Self, Fault> {
        let payload: Payload<'_> = read(data)?;
        let about = payload.context.required("/context", "an event of CDEvents has its context in the data")?;
        let kind = about.kind.needed("/context/type", ID, "what happened?")?;
        if kind != envelope.kind {
            return Err(Fault::new("/context/type", "is not the type of the CloudEvent: send one event in one"));
        }
        let said = context.native.moment("/context/timestamp", about.timestamp)?;
        let subject = payload.subject.required("/subject", "what is it about?")?;
        Ok(Self {
            source: envelope.source.to_string(),
            id: envelope.id.to_string(),
            time: said.or(envelope.time).unwrap_or(context.native.received_at),
            chain: about.chain.within("/context/chainId", ID)?.map(Text::into_owned),
            subject_id: subject.id.needed("/subject/id", NAME, "what is it about?")?,
            subject_source: subject.source.within("/subject/source", fault::SOURCE)?,
            content: subject.content.optional("/subject/content")?.unwrap_or_default(),
            context,
        })
    }

    /// `service/checkout` may be the configured service `checkout`.
    fn service(&self, id: &str) -> Option<String> {
        let names = ServiceNames { mapped: &self.context.settings.services, services: self.context.services };
        names.of(&[id.rsplit('/').next().unwrap_or(id), id])
    }

    fn environment(&self) -> Result<String, Fault> {
        let at = "/subject/content/environment";
        let environment = self.content.environment.clone().required(at, "where is it?")?;
        let id = environment.id.needed(format_args!("{at}/id"), NAME, "name the environment, such as production")?;
        Ok(id.into_owned())
    }

    fn artifact(&self) -> Result<Option<Text<'a>>, Fault> {
        self.content.artifact.clone().within("/subject/content/artifactId", URL)
    }

    fn deployment(self, kind: Option<DeploymentKind>) -> Result<DeliveryEvent, Fault> {
        let artifact = self.artifact()?;
        let made_of = artifact.as_deref().map(Artifact::named).unwrap_or_default();
        let said = [("artifact", artifact.map(Text::into_owned)), ("chain_id", self.chain.clone())];
        let attributes = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let service = self.service(&self.subject_id).unwrap_or_else(|| self.subject_id.to_string());
        let environment = self.environment()?;
        let key = EntityKey { source: self.source, id: self.id };
        Ok(DeliveryEvent::Deployment(DeploymentEvent {
            version: made_of.version,
            commit: made_of.commit,
            repository: made_of.repository,
            kind,
            attributes: attributes.collect(),
            ..DeploymentEvent::new(key, self.time, service, environment, DeploymentOutcome::Succeeded)
        }))
    }

    fn change(self) -> Result<Result<DeliveryEvent, Skipped>, Fault> {
        if !is_commit(&self.subject_id) {
            let short: String = self.subject_id.chars().take(80).collect();
            let reason = format!("the change {short} names no commit: its id is not the full hash of one");
            return Ok(Err((Skip::UnusedEvent, reason)));
        }
        let (at, fix) = ("/subject/content/repository", "whose commit is it?");
        let named = self.content.repository.required(at, fix)?.id.needed(format_args!("{at}/id"), NAME, fix)?;
        let sha = self.subject_id.into_owned();
        Ok(Ok(DeliveryEvent::Change(ChangeEvent {
            key: EntityKey { source: self.source, id: sha.clone() },
            time: self.time,
            repository: repository_of(&named).unwrap_or_else(|| named.into_owned()),
            sha,
            service: None,
            authored_at: None,
            committed_at: None,
            merged_at: Some(self.time),
            pull_request: None,
            merge: false,
            paths: Vec::new(),
            push: None,
            attributes: BTreeMap::new(),
        })))
    }

    fn incident(self, status: IncidentStatus) -> Result<DeliveryEvent, Fault> {
        let opened = status == IncidentStatus::Opened;
        // What is named with a resolution is what runs since: it caused nothing.
        let artifact = self.artifact()?.filter(|_| opened).map(|artifact| Artifact::named(&artifact));
        let named = artifact.map(|made_of| match made_of.version {
            Some(version) => DeploymentRef { version: Some(version), ..DeploymentRef::default() },
            None => DeploymentRef { commit: made_of.commit, ..DeploymentRef::default() },
        });
        let service = match &self.content.service {
            Field::Given(Reference { id: Field::Given(id), .. }) => self.service(id),
            _ => None,
        };
        let environment = match &self.content.environment {
            Field::Absent => self.context.settings.environment.clone(),
            _ => Some(self.environment()?),
        };
        let source = self.subject_source.as_ref().map_or(self.source.as_str(), |source| source);
        let title = self.content.description.clone().within("/subject/content/description", TITLE)?;
        let key = EntityKey { source: source.to_owned(), id: self.subject_id.to_string() };
        Ok(DeliveryEvent::Incident(IncidentEvent {
            service,
            environment,
            // With a resolution it describes how it was resolved.
            title: title.filter(|_| opened).map(Text::into_owned),
            url: self.content.ticket.clone().within("/subject/content/ticketURI", URL)?.map(Text::into_owned),
            deployments: named.into_iter().filter(|named| *named != DeploymentRef::default()).collect(),
            ..IncidentEvent::new(key, self.time, status)
        }))
    }
}
