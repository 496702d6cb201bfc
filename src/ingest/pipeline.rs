//! Runs of CI systems. A run is a deployment only where the configuration says where its job,
//! workflow or stage deploys to: nothing in a run itself tells a deployment from a test.

use super::place::{Repo, service_named};
use super::source::Context;
use crate::config::model::{Pipelines, Service};
use crate::event::{DeploymentEvent, DeploymentOutcome, EntityKey, Sighting};
use crate::time::Timestamp;

/// A run, as its system tells of it.
#[derive(Debug)]
pub struct Run {
    /// The CI system, such as `jenkins`.
    pub system: &'static str,
    /// What `id` is unique in: a job, a project.
    pub scope: String,
    pub id: String,
    /// What the configuration may call it, the most exact first.
    pub names: Vec<String>,
    /// OWNER/NAME of what was built.
    pub repository: Option<String>,
    pub outcome: DeploymentOutcome,
    pub time: Timestamp,
}

impl Run {
    /// The environment that the configuration says runs of this name deploy to.
    pub fn target<'c>(&self, settings: &'c Pipelines) -> Option<&'c str> {
        self.name(settings).and_then(|name| settings.deployments.get(name)).map(String::as_str)
    }

    /// The name under which the configuration knows it.
    fn name(&self, settings: &Pipelines) -> Option<&str> {
        self.names.iter().map(String::as_str).find(|name| settings.deployments.contains_key(*name))
    }

    /// Of a system where a run that is run again keeps its id: when another one was there meanwhile, it
    /// comes back, and is another deployment.
    pub fn sighting(&self, settings: &Pipelines) -> Option<Sighting> {
        let object = self.name(settings)?.to_owned();
        Some(Sighting { object, reached: self.outcome == DeploymentOutcome::Succeeded })
    }

    /// The deployment that the run is, to `environment`.
    pub fn deployment(self, environment: &str, context: &Context<'_, Pipelines>) -> DeploymentEvent {
        let service = self.service(context);
        let key = EntityKey { source: format!("{}/{}", self.system, self.scope), id: self.id };
        let mut event = DeploymentEvent::new(key, self.time, service, environment.to_owned(), self.outcome);
        event.name_environment(context.environments.canonical(environment).to_owned());
        event.repository = self.repository;
        event
    }

    /// As configured for the name; else the one of the repository; else the one that a name names; else
    /// the repository, and the run's own name where there is none.
    fn service(&self, context: &Context<'_, Pipelines>) -> String {
        let mapped = self.names.iter().find_map(|name| context.settings.services.get(name));
        if let Some(service) = mapped {
            return service.clone();
        }
        let hints: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let home = self.repository.as_deref().unwrap_or(self.scope.as_str());
        let repo = Repo::new(self.system, home, context.services);
        let all: Vec<&Service> = context.services.iter().collect();
        let named = || service_named(&all, &hints).map(|service| service.name.clone());
        repo.configured_service(&hints).or_else(named).unwrap_or_else(|| repo.service(&[]))
    }
}

/// `OWNER/NAME` of a repository's address: `https://host/acme/checkout.git`, `git@host:acme/checkout.git`.
pub fn repository_of(address: &str) -> Option<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => address.split_once(':')?.1,
    };
    let path = path.trim_matches('/').trim_end_matches(".git");
    // Azure DevOps: ORGANISATION/PROJECT/_git/NAME.
    let parts: Vec<&str> = path.split('/').collect();
    let name = match parts.as_slice() {
        [.., project, "_git", name] => format!("{project}/{name}"),
        _ => path.to_owned(),
    };
    (name.contains('/') && !name.contains(char::is_whitespace)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_their_repository() {
        for (address, name) in [
            ("https://github.com/evgeny-goldin/asgard.git", Some("evgeny-goldin/asgard")),
            ("https://github.com/circleci/webhook-service", Some("circleci/webhook-service")),
            ("git@gitlab.com:circleci/hello-world.git", Some("circleci/hello-world")),
            ("ssh://git@gitlab.example.com:2222/group/sub/project.git", Some("group/sub/project")),
            ("https://fabrikamfiber@dev.azure.com/fabrikamfiber/viva/_git/shop", Some("viva/shop")),
            ("https://host/alone", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(repository_of(address).as_deref(), name, "{address}");
        }
    }
}
