//! `release`: a deployment only where `sources.github.releases` names the environment.

use std::collections::BTreeMap;

use super::Context;
use super::shapes::{ReleasePayload, repo, repository};
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome, EntityKey};
use crate::ingest::fault::{Fault, NAME};
use crate::ingest::key::fact;
use crate::ingest::lenient::{text, url};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::Field;

pub fn release(payload: ReleasePayload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let Some(environment) = &context.settings.releases else {
        let words = "releases are deployments only where sources.github.releases names their environment";
        return Ok(Reading::skipped(Skip::NotConfigured, words));
    };
    let action = payload.action.needed("/action", NAME, "what happened to the release?")?;
    // One that was no pre-release is both; a pre-release that becomes a release is `released`.
    if !["published", "released"].contains(&&*action) {
        return Ok(Reading::skipped(Skip::NoChange, format!("{action} brings nothing to anybody")));
    }
    let release = payload.release.required("/release", "GitHub describes the release there")?;
    if release.draft == Field::Given(true) || release.prerelease == Field::Given(true) {
        return Ok(Reading::skipped(Skip::NoChange, "a draft or a pre-release is not out yet"));
    }
    let repo = repo(repository(payload.repository)?.full_name, context)?;
    let id = release.id.required("/release/id", "which release is it?")?;
    let tag = release.tag_name.needed("/release/tag_name", NAME, "which version is it?")?.into_owned();
    let at = "/release/published_at";
    let time = release.published_at.moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when was it published?"))?;
    // A branch mostly, which is elsewhere by now; a commit where the release was made of one.
    let target = text(release.target);
    let is_commit = target.len() == 40 && target.bytes().all(|byte| byte.is_ascii_hexdigit());
    let event = DeploymentEvent {
        key: EntityKey { source: repo.source(), id: format!("release/{id}") },
        time,
        service: repo.service(&[&tag, &text(release.name)]),
        environment: context.environments.canonical(environment).to_owned(),
        place: None,
        version: Some(tag),
        commit: is_commit.then(|| target.into_owned()),
        outcome: DeploymentOutcome::Succeeded,
        started_at: None,
        kind: None,
        url: url(&[release.html_url]),
        schema: None,
        repository: Some(repo.name),
        changes: Vec::new(),
        rolls_back: None,
        sighting: None,
        artifact: None,
        chain: None,
        attributes: BTreeMap::new(),
    };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(event), Some(time), context.received_at, raw)?]))
}
