//! What the configuration says about services and environments, ready to be asked often.

use std::collections::HashMap;
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::config::Config;
use crate::config::model::Tier;
use crate::event::{Change, Deployment};

/// The name of the environment that counts where the configuration names none of tier production.
const PRODUCTION: &str = "production";

pub struct Rules {
    environments: Vec<(String, Tier, GlobSet)>,
    services: HashMap<String, ServiceRules>,
    /// How far before an incident the deployment may lie that it is attributed to.
    pub attribution_window: Duration,
}

struct ServiceRules {
    repository: Option<String>,
    /// `None`: the whole repository.
    paths: Option<GlobSet>,
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
        let environments = config.environments.iter();
        let services = config.services.iter();
        Self {
            environments: environments.map(|e| (e.name.clone(), e.tier, globs(&e.matches, false))).collect(),
            services: services
                .map(|s| {
                    let paths = (!s.paths.is_empty()).then(|| globs(&s.paths, true));
                    (s.name.clone(), ServiceRules { repository: s.repository.clone(), paths })
                })
                .collect(),
            attribution_window: config.dora.attribution_window,
        }
    }

    /// The environment's own name, whatever name a source uses for it, and its tier.
    pub fn environment<'a>(&'a self, raw: &'a str) -> (&'a str, Tier) {
        let exact = self.environments.iter().find(|(name, ..)| name.eq_ignore_ascii_case(raw));
        let known = exact.or_else(|| self.environments.iter().find(|(.., globs)| globs.is_match(raw)));
        match known {
            Some((name, tier, _)) => (name, *tier),
            None if raw.eq_ignore_ascii_case(PRODUCTION) => (PRODUCTION, Tier::Production),
            None => (raw, Tier::Other),
        }
    }

    pub fn is_production(&self, raw: &str) -> bool {
        self.environment(raw).1 == Tier::Production
    }

    /// Where an incident belongs that names no environment.
    pub fn default_environment(&self) -> &str {
        let production = self.environments.iter().find(|(_, tier, _)| *tier == Tier::Production);
        production.map_or(PRODUCTION, |(name, ..)| name)
    }

    /// The repository a service is built from, where the configuration says so.
    pub fn repository(&self, service: &str) -> Option<&str> {
        self.services.get(service)?.repository.as_deref()
    }

    /// The repository a deployment was built from, where it or the configuration says so.
    pub fn repository_of<'a>(&'a self, deployment: &'a Deployment) -> Option<&'a str> {
        deployment.repository.as_deref().or_else(|| self.repository(&deployment.service))
    }

    pub(super) fn ownership(&self, service: &str, change: &Change) -> Ownership {
        if let Some(named) = &change.service {
            return if named == service { Ownership::Ours } else { Ownership::Others };
        }
        match self.services.get(service).and_then(|rules| rules.paths.as_ref()) {
            None => Ownership::Ours,
            Some(_) if change.paths.is_empty() => Ownership::Unknown,
            Some(globs) if change.paths.iter().any(|path| globs.is_match(path)) => Ownership::Ours,
            Some(_) => Ownership::Others,
        }
    }
}

/// The configuration was checked before; a glob that does not parse matches nothing.
fn globs(patterns: &[String], paths: bool) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    let build = |p: &String| GlobBuilder::new(p).literal_separator(paths).case_insensitive(!paths).build().ok();
    for glob in patterns.iter().filter_map(build) {
        set.add(glob);
    }
    set.build().unwrap_or_default()
}
