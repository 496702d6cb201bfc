//! What the configuration says about services and environments, ready to be asked often.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use sha2::{Digest, Sha256};

use super::repository::{Commit, FORMAT};
use crate::config::model::{Environment, Service, Tier};
use crate::config::{Config, EnvironmentNames};
use crate::event::Deployment;

/// The name of the environment that counts where the configuration names none of tier production.
const PRODUCTION: &str = "production";

pub struct Rules {
    environments: Vec<Environment>,
    services: HashMap<String, ServiceRules>,
    /// Those with a clone that can be asked.
    repositories: BTreeSet<String>,
    /// How far before an incident the deployment may lie that it is attributed to.
    pub attribution_window: Duration,
    digest: [u8; 32],
}

/// Grows when the derivation, or the form in which its rows are kept, changes: then everything is
/// derived anew.
const DERIVATION: u32 = 6;

struct ServiceRules {
    repository: Option<String>,
    /// `None`: the whole repository.
    paths: Option<GlobSet>,
    /// Names the paths; empty for the whole repository.
    scope: Vec<u8>,
}

/// Whether a change of its repository is a change of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    Ours,
    Others,
    /// The service owns some paths of the repository, and nobody said which paths changed.
    Unknown,
}

impl Rules {
    pub fn new(config: &Config) -> Self {
        let clones = config.repositories.iter().map(|clone| clone.name.clone()).collect();
        Self::of(&config.environments, &config.services, config.dora.attribution_window, clones)
    }

    pub(crate) fn of(
        environments: &[Environment],
        services: &[Service],
        attribution_window: Duration,
        repositories: BTreeSet<String>,
    ) -> Self {
        let rules = |service: &Service| ServiceRules {
            repository: service.repository.clone(),
            paths: (!service.paths.is_empty()).then(|| globs(&service.paths)),
            scope: scope(&service.paths),
        };
        Self {
            environments: environments.to_vec(),
            services: services.iter().map(|service| (service.name.clone(), rules(service))).collect(),
            attribution_window,
            digest: digest(environments, services, attribution_window, &repositories),
            repositories,
        }
    }

    /// Equal for rules that derive the same rows.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The environment's own name, whatever name a source uses for it, and its tier.
    pub fn environment<'a>(&'a self, raw: &'a str) -> (&'a str, Tier) {
        match EnvironmentNames::new(&self.environments).find(raw) {
            Some(known) => (&known.name, known.tier),
            None if raw.eq_ignore_ascii_case(PRODUCTION) => (PRODUCTION, Tier::Production),
            None => (raw, Tier::Other),
        }
    }

    pub fn configured_environments(&self) -> impl Iterator<Item = &str> {
        self.environments.iter().map(|environment| environment.name.as_str())
    }

    pub fn is_production(&self, raw: &str) -> bool {
        self.environment(raw).1 == Tier::Production
    }

    /// Where an incident belongs that names no environment.
    pub fn default_environment(&self) -> &str {
        let production = self.environments.iter().find(|environment| environment.tier == Tier::Production);
        production.map_or(PRODUCTION, |environment| &environment.name)
    }

    /// The repository a service is built from, where the configuration says so.
    pub fn repository(&self, service: &str) -> Option<&str> {
        self.services.get(service)?.repository.as_deref()
    }

    /// The repository a deployment was built from, where it or the configuration says so.
    pub fn repository_of<'a>(&'a self, deployment: &'a Deployment) -> Option<&'a str> {
        deployment.repository.as_deref().or_else(|| self.repository(&deployment.service))
    }

    /// Whether a clone of the repository can be asked.
    pub fn has_clone(&self, repository: &str) -> bool {
        self.repositories.contains(repository)
    }

    /// Names the paths that a service owns: what was found for others is of no use to it.
    pub fn scope(&self, service: &str) -> &[u8] {
        self.services.get(service).map(|rules| rules.scope.as_slice()).unwrap_or_default()
    }

    /// Whether a commit that touches these paths is a change of the service.
    pub fn owns(&self, service: &str, paths: &[String]) -> bool {
        let globs = self.services.get(service).and_then(|rules| rules.paths.as_ref());
        globs.is_none_or(|globs| paths.iter().any(|path| globs.is_match(path)))
    }

    /// Whether a commit of a range is a change of the service. Where the service owns paths, the
    /// range has only those that touch them.
    pub(super) fn owns_of_range(&self, service: &str, repository: &str, known: Option<&Commit>) -> bool {
        let by_paths = !self.scope(service).is_empty();
        by_paths || known.is_none_or(|change| self.ownership(service, repository, change) != Ownership::Others)
    }

    /// Whether a change on its repository's main line may matter to a service that does not name it.
    pub fn concerns(&self, service: &str, repository: &str, change: &Commit) -> bool {
        change.partial || self.ownership(service, repository, change) != Ownership::Others
    }

    /// Whether a change that a deployment names is none of its service: it touched paths of the
    /// deployment's repository, and none that the service owns.
    pub(super) fn is_of_other_paths(&self, deployment: &Deployment, repository: &str, change: &Commit) -> bool {
        let Some(ServiceRules { paths: Some(globs), .. }) = self.services.get(&deployment.service) else {
            return false;
        };
        self.repository_of(deployment) == Some(repository)
            && !change.paths.is_empty()
            && !change.paths.iter().any(|path| globs.is_match(&**path))
    }

    /// Paths decide where both sides know them; else the service that the change names, unless
    /// that is only the name of its repository, which says nothing about who else is built from it.
    pub(super) fn ownership(&self, service: &str, repository: &str, change: &Commit) -> Ownership {
        let globs = self.services.get(service).and_then(|rules| rules.paths.as_ref());
        if let Some(globs) = globs.filter(|_| !change.paths.is_empty()) {
            let ours = change.paths.iter().any(|path| globs.is_match(&**path));
            return if ours { Ownership::Ours } else { Ownership::Others };
        }
        let named = change.service.as_deref();
        let name_of_repository = repository.rsplit('/').next();
        match named.filter(|named| self.services.contains_key(*named) || Some(*named) != name_of_repository) {
            Some(named) if named == service => Ownership::Ours,
            Some(_) => Ownership::Others,
            None if globs.is_some() => Ownership::Unknown,
            None => Ownership::Ours,
        }
    }
}

fn digest(
    environments: &[Environment],
    services: &[Service],
    attribution_window: Duration,
    repositories: &BTreeSet<String>,
) -> [u8; 32] {
    let mut services: Vec<_> = services.iter().map(|s| (&s.name, &s.repository, &s.paths)).collect();
    services.sort_unstable();
    Sha256::digest(format!(
        "{DERIVATION} {FORMAT} {environments:?} {services:?} {attribution_window:?} {repositories:?}"
    ))
    .into()
}

fn scope(paths: &[String]) -> Vec<u8> {
    if paths.is_empty() { Vec::new() } else { Sha256::digest(format!("{paths:?}")).to_vec() }
}

/// The configuration was checked before; a glob that does not parse matches nothing.
fn globs(patterns: &[String]) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    let build = |pattern: &String| GlobBuilder::new(pattern).literal_separator(true).build().ok();
    for glob in patterns.iter().filter_map(build) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}
