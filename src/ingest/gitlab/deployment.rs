//! `deployment`: one deployment is (project, deployment id), however many statuses it has.

use super::{Context, Project, project, repo};
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentOutcome, EntityKey};
use crate::ingest::fault::{Fault, NAME, SHA};
use crate::ingest::key::fact;
use crate::ingest::lenient::{text, url, version_of};
use crate::ingest::source::{Reading, Skip};
use crate::ingest::wire::{Text, object};

object! {
    pub struct Payload<'a> {
        status: "status" Text<'a>,
        status_changed_at: "status_changed_at" Text<'a>,
        deployment_id: "deployment_id" u64,
        deployable_url: "deployable_url" Text<'a>,
        environment: "environment" Text<'a>,
        tier: "environment_tier" Text<'a>,
        project: "project" Project<'a>,
        short_sha: "short_sha" Text<'a>,
        commit_url: "commit_url" Text<'a>,
        git_ref: "ref" Text<'a>,
    }
}

pub fn status(payload: Payload<'_>, raw: &str, context: &Context<'_>) -> Result<Reading, Fault> {
    let status = payload.status.needed("/status", NAME, "which status is it in?")?;
    let outcome = match &*status {
        "running" => DeploymentOutcome::InProgress,
        "success" => DeploymentOutcome::Succeeded,
        "failed" => DeploymentOutcome::Failed,
        "canceled" => DeploymentOutcome::Cancelled,
        other => {
            let words = format!("the status {other} says nothing about how the deployment went");
            return Ok(Reading::skipped(Skip::NoChange, words));
        }
    };
    let at = "/status_changed_at";
    let time = payload.status_changed_at.moment(at)?;
    let time = time.ok_or_else(|| Fault::new(at, "is missing: when did the status change?"))?;
    let repo = repo(&project(payload.project)?, context)?;
    let sent = payload.environment.needed("/environment", NAME, "where is it deployed to?")?;
    let production = text(payload.tier) == "production";
    let default = context.settings.default_environment.as_deref();
    let environment = repo.environment(&sent, production, context.environments, default);
    let id = payload.deployment_id.required("/deployment_id", "which deployment is it?")?;
    let short = payload.short_sha.needed("/short_sha", SHA, "which commit is deployed?")?;
    let key = EntityKey { source: repo.source(), id: id.to_string() };
    let event = DeploymentEvent {
        place: (environment != *sent).then(|| sent.clone().into_owned()),
        version: version_of(&text(payload.git_ref)),
        commit: Some(full_sha(&text(payload.commit_url), &short)),
        url: url(&[payload.deployable_url]),
        ..DeploymentEvent::new(key, time, repo.service(&[&sent]), environment, outcome)
    };
    let event = DeploymentEvent { repository: Some(repo.name), ..event };
    Ok(Reading::Facts(vec![fact(DeliveryEvent::Deployment(event), Some(time), context.received_at, raw)?]))
}

/// The hash stands at full length at the end of the commit's address, and nowhere else.
fn full_sha(commit_url: &str, short: &str) -> String {
    let last = commit_url.rsplit('/').next().unwrap_or_default();
    let is_hash = last.len() >= 40 && last.len() <= 64 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash && last.starts_with(short) { last.to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_hash_is_that_of_the_short_one() {
        let full = "279484c09fbe69ededfced8c1bb6e6d24616b468";
        assert_eq!(full_sha(&format!("http://h/mike/p/-/commit/{full}"), "279484c0"), full);
        for other in ["", "http://h/mike/p/-/commit/279484c0", &format!("http://h/-/commit/{full}?x=1")] {
            assert_eq!(full_sha(other, "279484c0"), "279484c0");
        }
        assert_eq!(full_sha(&format!("http://h/{full}"), "8f3c1d20"), "8f3c1d20", "of another commit");
    }
}
