//! Flux's notification controller, provider `generic-hmac`: Kustomizations and Helm releases.
//!
//! A Kustomization is reconciled again and again, and each time the generic providers are told of its
//! revision: one revision of it is one deployment, at its first success, until another one has been there.
//! Helm acts only when something changed: each success of it is a deployment, known by the release's
//! number. <https://fluxcd.io/flux/components/notification/events/>

use std::collections::BTreeMap;

use crate::config::model::Labelled;
use crate::event::{DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, EntityKey, Sighting};
use crate::ingest::fault::{Fault, NAME};
use crate::ingest::key::fact_known_by;
use crate::ingest::lenient::version_of;
use crate::ingest::names::is_commit;
use crate::ingest::source::{Context, Reading, Skip};
use crate::ingest::wire::{Entries, Field, Text, object, read};
use crate::time::Timestamp;

const SOURCE: &str = "flux";

object! {
    pub struct Event<'a> {
        involved: "involvedObject" Involved<'a>,
        metadata: "metadata" Entries<'a>,
        severity: "severity" Text<'a>,
        reason: "reason" Text<'a>,
        message: "message" Text<'a>,
        timestamp: "timestamp" Text<'a>,
    }

    pub struct Involved<'a> {
        kind: "kind" Text<'a>,
        name: "name" Text<'a>,
        namespace: "namespace" Text<'a>,
    }
}

/// What an event says of a deployment.
struct Step {
    /// What makes it the same deployment, within its object.
    id: String,
    outcome: DeploymentOutcome,
    kind: Option<DeploymentKind>,
    revision: String,
    /// Of what is told again and again: whether the revision came to run.
    reached: Option<bool>,
}

/// Reads a delivery.
///
/// # Errors
/// A [`Fault`] that names the field which is missing or wrong.
pub fn parse(body: &str, context: &Context<'_, Labelled>) -> Result<Reading, Fault> {
    let event: Event<'_> = read(body)?;
    let involved = event.involved.clone().required("/involvedObject", "is this an event of Flux?")?;
    let kind = involved.kind.needed("/involvedObject/kind", NAME, "what is it about?")?;
    let reason = event.reason.clone().needed("/reason", NAME, "what happened?")?;
    let at = "/timestamp";
    let time = event.timestamp.clone().moment(at)?.ok_or_else(|| Fault::new(at, "is missing: when did it happen?"))?;
    let step = match &*kind {
        "Kustomization" => event.kustomization(&reason),
        "HelmRelease" => event.helm_release(&reason, time),
        other => Err(format!("{other}: only Kustomizations and HelmReleases deploy")),
    };
    let step = match step {
        Ok(step) => step,
        Err(words) => return Ok(Reading::skipped(Skip::UnusedEvent, words)),
    };
    let name = involved.name.needed("/involvedObject/name", NAME, "which one is it?")?;
    let namespace = involved.namespace.within("/involvedObject/namespace", NAME)?.unwrap_or_default();
    let outcome = if step.outcome == DeploymentOutcome::Succeeded { "succeeded" } else { "failed" };
    let cluster = event.about("cluster").filter(|cluster| NAME.check(cluster).is_ok()).map(str::to_owned);
    let object = format!("{kind}/{namespace}/{name}");
    let object = cluster.as_ref().map_or_else(|| object.clone(), |cluster| format!("{cluster}/{object}"));
    let sighting = step.reached.map(|reached| Sighting { object: object.clone(), reached });
    // Retries of one event have its time; of what is told once the outcome is enough.
    let moment = sighting.as_ref().map_or_else(String::new, |_| time.to_string());
    let mut deployment = event.deployment((&name, &namespace), step, time, context);
    if let Some(cluster) = cluster {
        // Each goes through the versions by itself, whatever the others run.
        deployment.place = Some(format!("{}/{cluster}", deployment.place()));
    }
    let id = format!("{object}/{}", deployment.key.id);
    // Clusters that follow one repository have objects of the same names.
    let (service, place) = (deployment.service.clone(), deployment.place().to_owned());
    let key = EntityKey { id: id.clone(), ..deployment.key };
    let event = DeliveryEvent::Deployment(DeploymentEvent { key, sighting, ..deployment });
    let parts = [SOURCE, &id, outcome, &moment, &service, &place];
    Ok(Reading::Facts(vec![fact_known_by(&parts, event, body)]))
}

impl Event<'_> {
    /// The reason it is skipped as an error.
    fn kustomization(&self, reason: &str) -> Result<Step, String> {
        let (outcome, reached) = match reason {
            "ReconciliationSucceeded" => (DeploymentOutcome::Succeeded, true),
            // These come after everything was applied.
            "HealthCheckFailed" | "PruneFailed" => (DeploymentOutcome::Failed, true),
            "ReconciliationFailed" | "BuildFailed" | "ValidationFailed" => (DeploymentOutcome::Failed, false),
            other => return Err(format!("{other} is no end of a deployment")),
        };
        let revision = self.revision()?;
        Ok(Step { id: revision.clone(), outcome, kind: None, revision, reached: Some(reached) })
    }

    fn helm_release(&self, reason: &str, time: Timestamp) -> Result<Step, String> {
        let (outcome, kind) = match reason {
            "InstallSucceeded" | "UpgradeSucceeded" => (DeploymentOutcome::Succeeded, None),
            "InstallFailed" | "UpgradeFailed" => (DeploymentOutcome::Failed, None),
            "RollbackSucceeded" => (DeploymentOutcome::Succeeded, Some(DeploymentKind::Rollback)),
            "RollbackFailed" => (DeploymentOutcome::Failed, Some(DeploymentKind::Rollback)),
            other => return Err(format!("{other} is no end of a deployment")),
        };
        let revision = self.revision()?;
        // A rollback names the release that it goes back to, an upgrade the one that it made.
        let number = if reason.ends_with("Succeeded") && kind.is_none() { self.release_number() } else { None };
        let id = number.map_or_else(|| format!("{revision}/{reason}/{time}"), |number| format!("{revision}/{number}"));
        Ok(Step { id, outcome, kind, revision, reached: None })
    }

    /// `v2` of "Helm upgrade succeeded for release apps/podinfo.v2 with chart podinfo@6.5.4".
    fn release_number(&self) -> Option<String> {
        let Field::Given(message) = &self.message else { return None };
        let mut words = message.split_whitespace().skip_while(|word| *word != "release");
        let number = words.nth(1)?.rsplit_once(".v")?.1;
        number.parse::<u64>().is_ok().then(|| format!("v{number}"))
    }

    /// A key of the metadata, with the prefix of its group or, as newer versions send it, without.
    fn about(&self, name: &str) -> Option<&str> {
        let Field::Given(Entries(entries)) = &self.metadata else { return None };
        let of = |(key, value): &'_ (Text<'_>, Field<Text<'_>>)| {
            key.strip_suffix(name).is_some_and(|group| group.is_empty() || group.ends_with(".toolkit.fluxcd.io/"))
                && matches!(value, Field::Given(value) if !value.is_empty())
        };
        entries.iter().find(|entry| of(entry)).and_then(|entry| match &entry.1 {
            Field::Given(value) => Some(&**value),
            _ => None,
        })
    }

    fn revision(&self) -> Result<String, String> {
        let revision = self.about("revision").filter(|revision| NAME.check(revision).is_ok());
        revision.map(str::to_owned).ok_or_else(|| "the event names no revision".to_owned())
    }

    fn deployment(
        &self,
        (name, namespace): (&str, &str),
        step: Step,
        time: Timestamp,
        context: &Context<'_, Labelled>,
    ) -> DeploymentEvent {
        let label = |label: &str| self.about(label).map(str::to_owned);
        let place = context.place(name, label, &[namespace]);
        // Of an artifact that was built from git, the commit stands beside its own digest.
        let origin = self.about("originRevision").unwrap_or(&step.revision);
        let (git_ref, hash) = parts(origin);
        let version = label("version").or_else(|| label("app-version"));
        let tag = [parts(&step.revision).0, git_ref].into_iter().flatten().find_map(version_of);
        let canonical = context.environments.canonical(&place.environment).to_owned();
        let key = EntityKey { source: SOURCE.to_owned(), id: step.id };
        let mut event = DeploymentEvent {
            version: version.filter(|version| NAME.check(version).is_ok()).or(tag),
            commit: hash.filter(|hash| is_commit(hash)).map(str::to_owned),
            kind: step.kind,
            attributes: BTreeMap::from([("revision".to_owned(), step.revision)]),
            ..DeploymentEvent::new(key, time, place.service, place.environment, step.outcome)
        };
        event.name_environment(canonical);
        event
    }
}

/// The reference and the commit of a revision: `main@sha1:HASH`, as older versions write it `main/HASH`,
/// `v1.4.2@sha1:HASH`, `6.5.4`; the digest of an artifact (`sha256:`) is no commit.
fn parts(revision: &str) -> (Option<&str>, Option<&str>) {
    if let Some((name, digest)) = revision.rsplit_once('@') {
        return (Some(name), digest.strip_prefix("sha1:"));
    }
    match revision.rsplit_once('/') {
        Some((name, hash)) if is_commit(hash) => (Some(name), Some(hash)),
        _ => match revision.strip_prefix("sha1:") {
            Some(hash) => (None, Some(hash)),
            None => (Some(revision), None),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{settings, with_context};
    use super::*;

    const SHA: &str = "731f7eaddfb6af01cb2173e18f0f75b0ba780ef1";

    /// The example of Flux's documentation of the generic provider, as a success and as newer versions
    /// write revisions.
    fn kustomization(reason: &str, revision: &str) -> Value {
        json!({"involvedObject": {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "name": "webapp",
            "namespace": "apps", "uid": "7d0cdc51-ddcf-4743-b223-83ca5c699632"},
            "metadata": {"kustomize.toolkit.fluxcd.io/revision": revision}, "severity": "info", "reason": reason,
            "message": "Reconciliation finished in 1.1s, next run in 10m0s", "reportingController": "kustomize-controller",
            "reportingInstance": "kustomize-controller-7c7b47f5f-8bhrp", "timestamp": "2022-10-28T07:26:19Z"})
    }

    /// As helm-controller writes it (`internal/reconcile/upgrade.go`, `release.go`).
    fn helm(reason: &str, message: &str) -> Value {
        json!({"involvedObject": {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "name": "podinfo",
            "namespace": "apps"}, "metadata": {"revision": "6.5.4", "app-version": "6.5.4-app", "environment": "prod-eu",
            "oci-digest": "sha256:0b31"},
            "severity": "info", "reason": reason, "message": message, "reportingController": "helm-controller",
            "timestamp": "2022-10-28T07:26:19Z"})
    }

    fn reading(event: &Value) -> Result<Reading, Fault> {
        with_context(&settings(), |context| parse(&event.to_string(), context))
    }

    fn deployment(event: &Value) -> DeploymentEvent {
        let Ok(Reading::Facts(facts)) = reading(event) else { panic!("{event}") };
        let DeliveryEvent::Deployment(deployment) = facts[0].event.clone() else { panic!("{event}") };
        deployment
    }

    #[test]
    fn one_revision_of_a_kustomization_is_one_deployment() {
        let first = deployment(&kustomization("ReconciliationSucceeded", &format!("main@sha1:{SHA}")));
        assert_eq!((first.service.as_str(), first.environment.as_str()), ("webapp", "apps"));
        assert_eq!((first.commit.as_deref(), first.version.as_deref()), (Some(SHA), None));
        let digest = |event: &Value| match reading(event) {
            Ok(Reading::Facts(facts)) => facts[0].digest,
            other => panic!("{other:?}"),
        };
        let again = kustomization("ReconciliationSucceeded", &format!("main@sha1:{SHA}"));
        let told = digest(&again);
        let mut later = again.clone();
        later["timestamp"] = "2022-10-28T07:36:19Z".into();
        assert_ne!(digest(&later), told, "another revision may have been there in between");
        assert!(deployment(&later).repeats(&deployment(&again)), "reconciled again");
        assert_eq!(first.sighting, Some(Sighting { object: "Kustomization/apps/webapp".to_owned(), reached: true }));
        let unbuilt = deployment(&kustomization("BuildFailed", "main@sha1:0")).sighting.unwrap();
        assert!(!unbuilt.reached, "what was there before is still there");
        assert_ne!(digest(&kustomization("ReconciliationSucceeded", "main@sha1:0")), told);
        let failed = deployment(&kustomization("HealthCheckFailed", &format!("main@sha1:{SHA}")));
        assert_eq!((failed.key, failed.outcome), (first.key, DeploymentOutcome::Failed));
    }

    #[test]
    fn revisions_are_read_in_all_their_forms() {
        for (revision, version, commit) in [
            (format!("main/{SHA}"), None, Some(SHA)),
            (format!("v1.4.2@sha1:{SHA}"), Some("v1.4.2"), Some(SHA)),
            (format!("refs/tags/v2@sha1:{SHA}"), Some("v2"), Some(SHA)),
            (format!("sha1:{SHA}"), None, Some(SHA)),
            ("1.4.2@sha256:0b31".to_owned(), Some("1.4.2"), None),
            ("latest@sha256:0b31".to_owned(), None, None),
        ] {
            let found = deployment(&kustomization("ReconciliationSucceeded", &revision));
            assert_eq!((found.version.as_deref(), found.commit.as_deref()), (version, commit), "{revision}");
        }
        let mut built = kustomization("ReconciliationSucceeded", "1.4.2@sha256:0b31");
        built["metadata"]["originRevision"] = format!("main@sha1:{SHA}").into();
        let found = deployment(&built);
        assert_eq!((found.version.as_deref(), found.commit.as_deref()), (Some("1.4.2"), Some(SHA)));
    }

    #[test]
    fn helm_says_what_it_did() {
        let upgraded =
            helm("UpgradeSucceeded", "Helm upgrade succeeded for release apps/podinfo.v2 with chart podinfo@6.5.4");
        let found = deployment(&upgraded);
        assert_eq!(
            (found.service.as_str(), found.environment.as_str(), found.place()),
            ("checkout", "production", "prod-eu")
        );
        assert_eq!((found.version.as_deref(), found.kind), (Some("6.5.4-app"), None));
        assert_eq!(found.key.id, "HelmRelease/apps/podinfo/6.5.4/v2");
        let back = "Helm rollback to previous release apps/podinfo.v1 with chart podinfo@6.5.4 succeeded";
        let found = deployment(&helm("RollbackSucceeded", back));
        assert_eq!((found.kind, found.outcome), (Some(DeploymentKind::Rollback), DeploymentOutcome::Succeeded));
        assert!(found.key.id.contains("2022-10-28T07:26:19"), "not that of the first release: {}", found.key.id);
        let failed =
            helm("UpgradeFailed", "Helm upgrade failed for release apps/podinfo with chart podinfo@6.5.4: timed out");
        assert_eq!(deployment(&failed).outcome, DeploymentOutcome::Failed);
    }

    #[test]
    fn what_is_no_end_of_a_deployment_is_skipped() {
        let mut source = kustomization("NewArtifact", "main@sha1:0");
        source["involvedObject"]["kind"] = "GitRepository".into();
        let mut bare = kustomization("ReconciliationFailed", "x");
        bare["metadata"] = Value::Null;
        let tested = helm("TestSucceeded", "");
        for event in [source, kustomization("Progressing", "x"), kustomization("DependencyNotReady", "x"), bare, tested]
        {
            assert!(matches!(reading(&event), Ok(Reading::Skipped(Skip::UnusedEvent, _))), "{event}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (field, pointer) in
            [("involvedObject", "/involvedObject"), ("reason", "/reason"), ("timestamp", "/timestamp")]
        {
            let mut event = kustomization("ReconciliationSucceeded", "main@sha1:0");
            event[field] = Value::Null;
            assert_eq!(reading(&event).unwrap_err().pointer(), pointer);
        }
    }
}
