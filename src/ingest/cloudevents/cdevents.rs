//! CDEvents 0.3 to 0.6: services deployed, artifacts packaged, changes merged, incidents.
//! <https://github.com/cdevents/spec>
//!
//! A service's event has no commit: the artifact's package URL gives the version, and the commit
//! where it names one. Else the commit is that of the artifact's own events, or of the chain's merged
//! change (docs/decisions/0010): whenever those come.

use std::collections::BTreeMap;

use super::envelope::Envelope;
use super::links::{self, Link};
use super::purl::Artifact;
use super::{Context, SOURCE};
use crate::event::{
    ChangeEvent, DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, DeploymentRef, EntityKey,
    IncidentEvent, IncidentStatus, OriginEvent, UnreadEvent, origin,
};
use crate::ingest::committer::Fact;
use crate::ingest::fault::{self, Fault, ID, Limit, NAME, TITLE, URL};
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
        specversion: "specversion" Text<'a>,
        // Its name before 0.5.
        version: "version" Text<'a>,
        links: "links" Vec<Field<Link<'a>>>,
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
        change: "change" Built<'a>,
        description: "description" Text<'a>,
        ticket: "ticketURI" Text<'a>,
    }

    pub struct Built<'a> {
        id: "id" Text<'a>,
        source: "source" Text<'a>,
    }

    pub struct Reference<'a> {
        id: "id" Text<'a>,
    }
}

/// Minor versions of an event's type, all of major version 0.
const MINORS: std::ops::RangeInclusive<u32> = 1..=3;
/// Those of CDEvents itself; the first two differ in nothing that is read.
const SPEC_MINORS: std::ops::RangeInclusive<u32> = 1..=6;

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

/// What an event says.
pub enum Said {
    /// A fact, and perhaps another one that follows from it.
    Fact(Fact, Option<Fact>),
    /// Something in a version that is not known, and which.
    Unread(Fact, String),
    Nothing(Skip, String),
}

enum What {
    Deployed(Option<DeploymentKind>),
    Packaged,
    Merged,
    Incident(IncidentStatus),
}

/// Reads the event; `name` is the type without `dev.cdevents.`.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn read_event(name: &str, envelope: &Envelope<'_>, raw: &str, context: &Context<'_>) -> Result<Said, Fault> {
    let what = match known_spec(envelope).and_then(|()| what(name)) {
        Ok(what) => what,
        Err((Skip::UnsupportedVersion, reason)) => return Ok(Said::Unread(unread(envelope, context)?, reason)),
        Err((skip, reason)) => return Ok(Said::Nothing(skip, reason)),
    };
    let within = |fault: Fault| fault.within("/data");
    let subject = if matches!(what, What::Packaged) { URL } else { NAME };
    let event = Event::read(envelope.json()?, subject, envelope, context).map_err(within)?;
    let chain = event.chain.clone();
    let read = match what {
        What::Deployed(kind) => event.deployment(kind).map(Ok),
        What::Packaged => event.packaged(),
        What::Merged => event.change(),
        What::Incident(status) => event.incident(status).map(Ok),
    };
    let parts = [SOURCE, &envelope.source, &envelope.id];
    Ok(match read.map_err(within)? {
        Ok(event) => {
            let begun = begun(&event, chain.as_deref());
            let begun = begun.map(|begun| fact_known_by(&[&parts[..], &["chain"]].concat(), begun, raw));
            Said::Fact(fact_known_by(&parts, event, raw), begun)
        }
        Err((skip, reason)) => Said::Nothing(skip, reason),
    })
}

/// A chain that a merged change is part of comes from it.
fn begun(event: &DeliveryEvent, chain: Option<&str>) -> Option<DeliveryEvent> {
    let DeliveryEvent::Change(change) = event else { return None };
    Some(DeliveryEvent::Origin(OriginEvent {
        key: change.key.clone(),
        time: change.time,
        of: origin::chain(chain?),
        commit: Some(change.sha.clone()),
        repository: Some(change.repository.clone()),
        chain: None,
    }))
}

/// Known by other parts than an event that was read: sent again to a DevPulse that knows the
/// version, it counts.
fn unread(envelope: &Envelope<'_>, context: &Context<'_>) -> Result<Fact, Fault> {
    let event = UnreadEvent {
        key: EntityKey { source: envelope.source.to_string(), id: envelope.id.to_string() },
        time: envelope.time.unwrap_or(context.native.received_at),
        name: envelope.kind.to_string(),
    };
    let parts = [SOURCE, "unread", &envelope.source, &envelope.id];
    Ok(fact_known_by(&parts, DeliveryEvent::Unread(event), &envelope.kept()?))
}

/// Whether the version of CDEvents that the data names, if any, is one that DevPulse knows.
fn known_spec(envelope: &Envelope<'_>) -> Result<(), Skipped> {
    let payload = envelope.json().ok().and_then(|data| read::<Payload<'_>>(data).ok());
    let Some(Field::Given(about)) = payload.map(|payload| payload.context) else { return Ok(()) };
    let ((Field::Given(version), _) | (_, Field::Given(version))) = (about.specversion, about.version) else {
        return Ok(());
    };
    if SPEC_MINORS.contains(&minor(&version)) {
        return Ok(());
    }
    let short: String = version.chars().take(40).collect();
    Err((Skip::UnsupportedVersion, format!("CDEvents {short} is not known to DevPulse: the event is kept as it came")))
}

/// Of a version with major 0; 0 where it is none.
fn minor(version: &str) -> u32 {
    let mut numbers = version.split('.');
    match (numbers.next(), numbers.next().map(str::parse)) {
        (Some("0"), Some(Ok(minor))) => minor,
        _ => 0,
    }
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
        "artifact.packaged" | "artifact.published" => What::Packaged,
        "change.merged" => What::Merged,
        "incident.detected" | "incident.reported" => What::Incident(IncidentStatus::Opened),
        "incident.resolved" => What::Incident(IncidentStatus::Resolved),
        other => {
            let known = NOT_COUNTED.iter().find(|entry| entry.0 == other).map(|entry| entry.1);
            let known = known.unwrap_or("DevPulse does not use such events");
            return Err((Skip::UnusedEvent, format!("{short}: {known}")));
        }
    };
    if MINORS.contains(&minor(version)) {
        return Ok(what);
    }
    let reason = format!("{short}: this version is not known to DevPulse: the event is kept as it came");
    Err((Skip::UnsupportedVersion, reason))
}

/// The repository of an address, with or without its scheme: `my-git.example/an-org/a-repo`.
fn home_of(address: &str) -> Option<String> {
    let bare = |path: &str| {
        let (host, path) = path.trim_start_matches('/').split_once('/')?;
        host.contains('.').then(|| repository_of(&format!("https://{host}/{path}"))).flatten()
    };
    if address.contains(':') { repository_of(address) } else { bare(address) }
}

/// A payload with what every one of them has.
struct Event<'a> {
    /// Of the event.
    source: String,
    id: String,
    time: Timestamp,
    chain: Option<String>,
    commit: Option<links::Commit>,
    /// Of what it is about.
    subject_id: Text<'a>,
    subject_source: Option<Text<'a>>,
    content: Content<'a>,
    context: &'a Context<'a>,
}

impl<'a> Event<'a> {
    /// `limit` is that of the subject's id.
    fn read(data: &'a str, limit: Limit, envelope: &Envelope<'_>, context: &'a Context<'a>) -> Result<Self, Fault> {
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
            commit: links::commit(about.links),
            subject_id: subject.id.needed("/subject/id", limit, "what is it about?")?,
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
        let (commit, repository) = match (made_of.commit, self.commit.clone()) {
            (None, Some((commit, repository))) => (Some(commit), Some(repository)),
            (commit, _) => (commit, made_of.repository),
        };
        let said = [("artifact", artifact.map(Text::into_owned)), ("chain_id", self.chain.clone())];
        let attributes = said.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let service = self.service(&self.subject_id).unwrap_or_else(|| self.subject_id.to_string());
        let environment = self.environment()?;
        let key = EntityKey { source: self.source, id: self.id };
        Ok(DeliveryEvent::Deployment(DeploymentEvent {
            version: made_of.version,
            commit,
            repository,
            artifact: made_of.name,
            chain: self.chain.as_deref().map(origin::chain),
            kind,
            attributes: attributes.collect(),
            ..DeploymentEvent::new(key, self.time, service, environment, DeploymentOutcome::Succeeded)
        }))
    }

    /// Where an artifact comes from: its change, what its own name says, or its chain.
    fn packaged(self) -> Result<Result<DeliveryEvent, Skipped>, Fault> {
        let short: String = self.subject_id.chars().take(200).collect();
        let unused = |reason: &str| Ok(Err((Skip::UnusedEvent, format!("{short}: {reason}"))));
        let artifact = Artifact::named(&self.subject_id);
        let Some(of) = artifact.name else {
            return unused("names no artifact of a certain version: give a package URL with a digest or version");
        };
        let at = "/subject/content/change";
        let (mut commit, mut repository) = (None, None);
        if let Some(change) = self.content.change.optional(at)? {
            let id = change.id.within(format_args!("{at}/id"), ID)?;
            commit = id.map(Text::into_owned).filter(|id| is_commit(id));
            let home = change.source.within(format_args!("{at}/source"), URL)?;
            repository = home.and_then(|home| home_of(&home));
        }
        let by_name = || Some((artifact.commit?, artifact.repository));
        let by_link = || self.commit.map(|(commit, repository)| (commit, Some(repository)));
        if commit.is_none() {
            (commit, repository) = by_name().or_else(by_link).map_or((None, None), |(sha, home)| (Some(sha), home));
        }
        let chain = self.chain.as_deref().map(origin::chain);
        if commit.is_none() && chain.is_none() {
            return unused("its change is no full hash of a commit, and it is part of no chain");
        }
        let key = EntityKey { source: self.source, id: self.id };
        Ok(Ok(DeliveryEvent::Origin(OriginEvent { key, time: self.time, of, commit, repository, chain })))
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
            repository: home_of(&named).unwrap_or_else(|| named.into_owned()),
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
