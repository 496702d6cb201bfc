//! What sources call a service, and what DevPulse calls it.

use std::collections::BTreeMap;

use super::fault::NAME;
use super::place::{service_named, word};
use crate::config::model::Service;

/// The configured services, as a way from any name to the one that is configured.
#[derive(Debug, Clone, Copy)]
pub struct ServiceNames<'a> {
    /// A source's names with the services they stand for, as configured for that source.
    pub mapped: &'a BTreeMap<String, String>,
    pub services: &'a [Service],
}

impl ServiceNames<'_> {
    /// The service that one of `names` stands for: as mapped, else the configured one of that name,
    /// however it is written (`API Service` is `api-service`).
    pub fn find(self, names: &[&str]) -> Option<String> {
        let mapped = names.iter().find_map(|name| self.mapped.get(*name));
        mapped.cloned().or_else(|| names.iter().find_map(|name| self.configured(name)))
    }

    /// As [`ServiceNames::find`]; else the configured service whose name is a word of `name`, and what is
    /// left of it, as `production` of `checkout-production`.
    pub fn within(self, name: &str) -> Option<(String, Option<&str>)> {
        if let Some(service) = self.find(&[name]) {
            return Some((service, None));
        }
        let services: Vec<&Service> = self.services.iter().collect();
        let service = service_named(&services, &[name])?;
        let (before, after) = word(name, &service.name)?;
        let rest = [before, after].map(|part| part.trim_matches(|c: char| !c.is_alphanumeric()));
        Some((service.name.clone(), rest.into_iter().find(|part| !part.is_empty())))
    }

    fn configured(self, name: &str) -> Option<String> {
        let known = self.services.iter().find(|service| plain(&service.name) == plain(name));
        known.map(|service| service.name.clone())
    }

    /// As [`ServiceNames::find`]; else the last of the names, where it can be one.
    pub fn of(self, names: &[&str]) -> Option<String> {
        let unknown = || names.last().filter(|name| NAME.check(name).is_ok()).map(|&name| name.to_owned());
        self.find(names).or_else(unknown)
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a text is the full hash of a commit.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_by_what_they_are_called() {
        let mapped = BTreeMap::from([("PF9KMXH".to_owned(), "checkout".to_owned())]);
        let services = [Service { name: "api-service".to_owned(), team: None, repository: None, paths: Vec::new() }];
        let names = ServiceNames { mapped: &mapped, services: &services };
        assert_eq!(names.find(&["API Service", "PF9KMXH"]).as_deref(), Some("checkout"));
        assert_eq!(names.find(&["API Service"]).as_deref(), Some("api-service"));
        assert_eq!((names.find(&["x", "y"]), names.of(&["x", "y"]).as_deref()), (None, Some("y")));
        assert_eq!(names.of(&[""]), None);
    }
}
