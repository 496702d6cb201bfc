//! Whose deployment, change or incident it is: repository → service, a source's name → environment.

use globset::{GlobBuilder, GlobSetBuilder};

use super::fault::{Fault, NAME};
use super::wire::{Field, Text};
use crate::config::EnvironmentNames;
use crate::config::model::Service;

/// A repository and the configured services that live in it.
pub struct Repo<'a> {
    /// Who has it, such as `github`.
    host: &'static str,
    /// OWNER/NAME, as its host writes it.
    pub name: String,
    services: Vec<&'a Service>,
}

impl<'a> Repo<'a> {
    /// The repository that stands at `at`.
    ///
    /// # Errors
    /// It is missing, or no name.
    pub fn of(host: &'static str, name: Field<Text<'_>>, at: &str, services: &'a [Service]) -> Result<Self, Fault> {
        let name = name.needed(at, NAME, "each such event names its repository")?;
        Ok(Self::new(host, &name, services))
    }

    pub fn new(host: &'static str, name: &str, services: &'a [Service]) -> Self {
        let lives_here = |service: &&Service| {
            service.repository.as_deref().is_some_and(|repository| repository.eq_ignore_ascii_case(name))
        };
        Self { host, name: name.to_owned(), services: services.iter().filter(lives_here).collect() }
    }

    pub fn source(&self) -> String {
        format!("{}/{}", self.host, self.name)
    }

    fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The service that something is about, else the repository itself.
    pub fn service(&self, hints: &[&str]) -> String {
        self.configured_service(hints).unwrap_or_else(|| self.short_name().to_owned())
    }

    /// The only configured service of the repository, else the one that `hints` name first.
    pub fn configured_service(&self, hints: &[&str]) -> Option<String> {
        let service = match self.services.as_slice() {
            [only] => Some(*only),
            several => service_named(several, hints),
        };
        service.map(|service| service.name.clone())
    }

    /// The one service that paths belong to; `None` where that is none or several.
    pub fn service_of_paths(&self, paths: &[String]) -> Option<String> {
        if self.services.is_empty() {
            return Some(self.short_name().to_owned());
        }
        let mut owners = self.services.iter().filter(|service| owns(service, paths));
        match (owners.next(), owners.next()) {
            (Some(owner), None) => Some(owner.name.clone()),
            _ => None,
        }
    }

    /// `environment` without the name of a service of this repository, as in `production` for
    /// `checkout-production`, where several services share the repository.
    fn without_service<'n>(&self, environment: &'n str) -> Option<&'n str> {
        let service = service_named(&self.services, &[environment])?;
        let (before, after) = word(environment, &service.name)?;
        let separator = |c: char| !c.is_alphanumeric();
        let rest = [before, after].map(|part| part.trim_matches(separator));
        rest.into_iter().find(|part| !part.is_empty())
    }

    /// DevPulse's name of the environment that a source calls `name`: the configured names decide,
    /// then the source's word that its users work there, then the source's configured default.
    pub fn environment(
        &self,
        name: &str,
        production: bool,
        names: EnvironmentNames<'_>,
        default: Option<&str>,
    ) -> String {
        let by_name = || names.find(name).or_else(|| names.find(self.without_service(name)?));
        let by_flag = || if production { names.only_production() } else { None };
        match by_name().or_else(by_flag) {
            Some(environment) => environment.name.clone(),
            None => default.unwrap_or(name).to_owned(),
        }
    }
}

/// The service whose name stands in the first of `hints` as a word of its own; the longest name wins.
pub fn service_named<'a>(services: &[&'a Service], hints: &[&str]) -> Option<&'a Service> {
    hints.iter().find_map(|hint| {
        let named = services.iter().copied().filter(|service| word(hint, &service.name).is_some());
        named.max_by_key(|service| service.name.len())
    })
}

/// What stands before and after `name` where it is a word of its own in `text`, whatever its case.
pub fn word<'t>(text: &'t str, name: &str) -> Option<(&'t str, &'t str)> {
    if name.is_empty() {
        return None;
    }
    text.char_indices().find_map(|(at, _)| {
        let (before, rest) = text.split_at(at);
        let (found, after) = rest.split_at_checked(name.len())?;
        let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        let is_word = edge(before.chars().next_back()) && edge(after.chars().next());
        (is_word && found.eq_ignore_ascii_case(name)).then_some((before, after))
    })
}

/// Whether one of the paths is the service's; a service without globs owns its whole repository.
fn owns(service: &Service, paths: &[String]) -> bool {
    if service.paths.is_empty() {
        return true;
    }
    let mut globs = GlobSetBuilder::new();
    let glob = |pattern: &String| GlobBuilder::new(pattern).literal_separator(true).build().ok();
    for glob in service.paths.iter().filter_map(glob) {
        globs.add(glob);
    }
    globs.build().is_ok_and(|globs| paths.iter().any(|path| globs.is_match(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_at_their_edges() {
        assert_eq!(word("deploy:checkout", "checkout"), Some(("deploy:", "")));
        assert_eq!(word("Checkout – Production", "checkout"), Some(("", " – Production")));
        assert_eq!(word("checkouts", "checkout"), None);
        assert_eq!(word("größe", "e"), None);
        assert_eq!(word("x", ""), None);
    }
}
