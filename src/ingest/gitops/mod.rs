//! Argo CD and Flux: what they synchronise is a deployment where its revision has changed.
//!
//! **Invariant:** pure. Both tell of the same revision again and again; what makes two messages the
//! same deployment stands in them, nothing is remembered.

pub mod argocd;
pub mod flux;

use super::fault::NAME;
use super::names::ServiceNames;
use super::source::Context;
use crate::config::model::Labelled;

/// A service, and its environment as the cluster names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    service: String,
    environment: String,
}

impl Context<'_, Labelled> {
    /// Labels go first. Else a service is one that is named like the application, or whose name is a
    /// word of it (`checkout-production`), or the application itself; the environment is the first
    /// configured one among the rest of that name and `hints`, else the one of the settings, else the
    /// last hint.
    fn place(&self, application: &str, label: impl Fn(&str) -> Option<String>, hints: &[&str]) -> Place {
        let usable = |name: &String| NAME.check(name).is_ok();
        let names = ServiceNames { mapped: &self.settings.services, services: self.services };
        let within = names.within(application);
        let service = match label(&self.settings.service_label).filter(usable) {
            Some(said) => names.find(&[&said]).unwrap_or(said),
            None => within.as_ref().map_or_else(|| application.to_owned(), |found| found.0.clone()),
        };
        let said = label(&self.settings.environment_label).filter(usable);
        let rest = within.and_then(|found| found.1);
        let configured = || {
            let known = rest.into_iter().chain(hints.iter().copied());
            known.into_iter().find(|name| self.environments.find(name).is_some()).map(str::to_owned)
        };
        let last = || hints.iter().rev().find(|hint| !hint.is_empty()).map(|&hint| hint.to_owned());
        let environment = said.or_else(configured).or_else(|| self.settings.environment.clone()).or_else(last);
        Place { service, environment: environment.unwrap_or_else(|| application.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::EnvironmentNames;
    use crate::config::model::{Environment, Service, Tier};
    use crate::time::Timestamp;

    pub fn settings() -> Labelled {
        Labelled {
            secret: "s".into(),
            service_label: "service".to_owned(),
            environment_label: "environment".to_owned(),
            services: BTreeMap::from([("podinfo".to_owned(), "checkout".to_owned())]),
            environment: None,
        }
    }

    /// Reads with two services, `checkout` and `search`, and production.
    pub fn with_context<T>(settings: &Labelled, read: impl FnOnce(&Context<'_, Labelled>) -> T) -> T {
        let service = |name: &str| Service { name: name.to_owned(), team: None, repository: None, paths: Vec::new() };
        let services = [service("checkout"), service("search")];
        let matches = vec!["prod*".to_owned()];
        let environments = [Environment { name: "production".to_owned(), tier: Tier::Production, matches }];
        read(&Context {
            received_at: Timestamp::from_seconds(1_767_609_000),
            settings,
            services: &services,
            environments: EnvironmentNames::new(&environments),
            max_items: 100,
        })
    }

    #[test]
    fn places_are_labelled_or_found_in_names() {
        let default = Labelled { environment: Some("staging".to_owned()), ..settings() };
        let labels = BTreeMap::from([("service", "payments"), ("environment", "qa")]);
        for (settings, application, labelled, hints, service, environment) in [
            (settings(), "podinfo", false, &["", "prod-eu"][..], "checkout", "prod-eu"),
            (settings(), "checkout-production", false, &["default"], "checkout", "production"),
            (settings(), "prod.search", false, &["default"], "search", "prod"),
            (settings(), "search", true, &["production"], "payments", "qa"),
            (settings(), "billing", false, &["apps"], "billing", "apps"),
            (settings(), "billing", false, &[""], "billing", "billing"),
            (default, "billing", false, &["apps"], "billing", "staging"),
        ] {
            let label = |name: &str| labels.get(name).filter(|_| labelled).map(|&value| value.to_owned());
            let found = with_context(&settings, |context| context.place(application, label, hints));
            assert_eq!((found.service.as_str(), found.environment.as_str()), (service, environment), "{application}");
        }
    }
}
