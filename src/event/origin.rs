//! Origins: which commit something was built from, as events say that know it by another name: an
//! artifact, or the chain of events that one change set off. Deployments that name the same get
//! their commit from there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::delivery::{DeploymentKind, EntityKey};
use super::state::{Deployment, in_order};
use crate::time::Timestamp;

/// What one event says of where an artifact or a chain comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginEvent {
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    /// A name as [`artifact`] or [`chain`] gives it.
    pub of: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Of the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The name of the chain that an artifact came about in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
}

/// Keyed by `of`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub of: String,
    pub commit: Option<String>,
    pub repository: Option<String>,
    pub chain: Option<String>,
}

/// By what names a deployment can be joined to its origin, and by which it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// The digest of what was deployed, else its package URL without qualifiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// The chain of events that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Whose events name the commit, where those of the deployment do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_from: Option<CommitFrom>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommitFrom {
    Artifact,
    Chain,
}

const CHAIN: &str = "chain:";

pub fn chain(id: &str) -> String {
    format!("{CHAIN}{id}")
}

/// The name of an artifact: the digest, which is the same wherever a copy of it lies; else what it
/// is called. `None` where that is no certain artifact.
pub fn artifact(version: Option<&str>, called: Option<String>) -> Option<String> {
    match version.filter(|version| is_digest(version)) {
        Some(digest) => Some(digest.to_ascii_lowercase()),
        None => called,
    }
}

/// `sha256:…` and the like.
pub fn is_digest(text: &str) -> bool {
    let Some((algorithm, digest)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return false,
    };
    digest.len() == length && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `None` when there are no facts.
///
/// The same bytes may be built again from a later commit: the first that gave them counts. A chain
/// to which several changes led says of none of them that it was deployed.
pub fn fold_origin(facts: &[OriginEvent]) -> Option<Origin> {
    let sorted = in_order(facts, |fact| fact.time);
    let of = sorted.first()?.of.clone();
    let named = sorted.iter().find(|fact| fact.commit.is_some());
    let commits: BTreeSet<&str> = sorted.iter().filter_map(|fact| fact.commit.as_deref()).collect();
    let named = named.filter(|_| commits.len() == 1 || !of.starts_with(CHAIN));
    Some(Origin {
        commit: named.and_then(|fact| fact.commit.clone()),
        repository: named.and_then(|fact| fact.repository.clone()),
        chain: sorted.iter().find_map(|fact| fact.chain.clone()),
        of,
    })
}

/// Origins by name.
pub type Origins = BTreeMap<String, Origin>;

/// Gives a deployment the commit of its artifact, else that of its chain, unless it names one itself.
pub fn join(deployment: &mut Deployment, known: &Origins) {
    if deployment.commit.is_some() {
        return;
    }
    let with_commit = |name: &String| known.get(name).filter(|origin| origin.commit.is_some());
    let by_artifact = || {
        let origin = known.get(deployment.provenance.artifact.as_ref()?)?;
        let own = Some(origin).filter(|origin| origin.commit.is_some());
        own.or_else(|| with_commit(origin.chain.as_ref()?))
    };
    // What a rollback brings back is not what its chain began with.
    let goes_back = deployment.declared_kind() == Some(DeploymentKind::Rollback);
    let by_chain = || with_commit(deployment.provenance.chain.as_ref().filter(|_| !goes_back)?);
    let found = by_artifact().map(|origin| (origin, CommitFrom::Artifact));
    let Some((origin, from)) = found.or_else(|| Some((by_chain()?, CommitFrom::Chain))) else { return };
    deployment.commit.clone_from(&origin.commit);
    deployment.repository = origin.repository.clone().or_else(|| deployment.repository.take());
    deployment.provenance.commit_from = Some(from);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::state::fold_deployment;
    use crate::event::{DeploymentEvent, DeploymentOutcome};

    const DIGEST: &str = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";

    fn said(minute: i64, of: &str, commit: Option<&str>, in_chain: Option<&str>) -> OriginEvent {
        OriginEvent {
            key: EntityKey { source: "ci".to_owned(), id: minute.to_string() },
            time: Timestamp::from_seconds(minute * 60),
            of: of.to_owned(),
            commit: commit.map(str::to_owned),
            repository: commit.map(|commit| format!("acme/{commit}")),
            chain: in_chain.map(chain),
        }
    }

    fn folded(facts: &[OriginEvent]) -> Origin {
        let mut turned = facts.to_vec();
        turned.reverse();
        turned.extend(facts.to_vec());
        let folded = fold_origin(facts).unwrap();
        assert_eq!(fold_origin(&turned).unwrap(), folded, "in any order");
        folded
    }

    fn joined(kind: Option<DeploymentKind>, artifact: &str, known: &[Origin]) -> Deployment {
        let key = EntityKey { source: "cd".to_owned(), id: "d".to_owned() };
        let (service, environment) = ("checkout".to_owned(), "production".to_owned());
        let event = DeploymentEvent::new(key, Timestamp::default(), service, environment, DeploymentOutcome::Succeeded);
        let names = DeploymentEvent { artifact: Some(artifact.to_owned()), chain: Some(chain("c")), kind, ..event };
        let mut deployment = fold_deployment(&[names]).unwrap();
        join(&mut deployment, &known.iter().map(|origin| (origin.of.clone(), origin.clone())).collect());
        deployment
    }

    #[test]
    fn an_artifact_is_of_the_first_commit_that_gave_it_and_a_chain_of_its_only_one() {
        let artifact =
            [said(2, DIGEST, Some("b"), None), said(1, DIGEST, None, Some("c")), said(3, DIGEST, Some("c"), None)];
        let origin = folded(&artifact);
        assert_eq!((origin.commit.as_deref(), origin.repository.as_deref()), (Some("b"), Some("acme/b")));
        assert_eq!(origin.chain, Some(chain("c")));
        let of_chain = [said(1, &chain("c"), Some("a"), None), said(2, &chain("c"), Some("a"), None)];
        assert_eq!(folded(&of_chain).commit.as_deref(), Some("a"));
        let both = [of_chain.as_slice(), &[said(3, &chain("c"), Some("b"), None)]].concat();
        assert_eq!(folded(&both).commit, None);
    }

    #[test]
    fn a_deployment_is_joined_by_artifact_then_by_the_chain_of_that_then_by_its_own() {
        let of = |minute, name: &str, commit, chain| fold_origin(&[said(minute, name, commit, chain)]).unwrap();
        let (chain_c, chain_d) = (of(1, &chain("c"), Some("c"), None), of(1, &chain("d"), Some("d"), None));
        let commit = |kind, known: &[Origin]| {
            let deployment = joined(kind, DIGEST, known);
            (deployment.commit, deployment.provenance.commit_from)
        };
        let from = |commit: &str, from| (Some(commit.to_owned()), Some(from));
        let (own, in_chain) = (of(1, DIGEST, Some("a"), Some("d")), of(1, DIGEST, None, Some("d")));
        assert_eq!(commit(None, &[own, chain_c.clone(), chain_d.clone()]), from("a", CommitFrom::Artifact));
        assert_eq!(commit(None, &[in_chain.clone(), chain_c.clone(), chain_d]), from("d", CommitFrom::Artifact));
        assert_eq!(commit(None, &[in_chain.clone(), chain_c.clone()]), from("c", CommitFrom::Chain));
        assert_eq!(commit(Some(DeploymentKind::Rollback), &[in_chain, chain_c]), (None, None));
        assert_eq!(commit(None, &[]), (None, None));
    }

    #[test]
    fn digests_name_artifacts_wherever_they_lie() {
        assert_eq!(artifact(Some(&DIGEST.to_ascii_uppercase().replace("SHA", "sha")), None).as_deref(), Some(DIGEST));
        let called = || Some("pkg:npm/shop@1.4.2".to_owned());
        assert_eq!(artifact(Some("1.4.2"), called()), called());
        assert!(!is_digest("sha256:0b31") && !is_digest("md5:0b31") && !is_digest("1.4.2"));
    }
}
