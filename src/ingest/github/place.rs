//! Whose deployment, change or incident it is: repository → service, GitHub's name → environment.

use globset::{GlobBuilder, GlobSetBuilder};

use super::Context;
use super::shapes::Repository;
use crate::config::model::Service;
use crate::ingest::fault::{Fault, NAME};
use crate::ingest::wire::{Field, Text};

/// A repository and the configured services that live in it.
pub struct Repo<'a> {
    /// OWNER/NAME, as GitHub writes it.
    pub name: String,
    services: Vec<&'a Service>,
}

impl<'a> Repo<'a> {
    pub fn of(full_name: Field<Text<'_>>, context: &Context<'a>) -> Result<Self, Fault> {
        let fix = "GitHub names the repository of every such event";
        let name = full_name.needed("/repository/full_name", NAME, fix)?.into_owned();
        let lives_here = |service: &&Service| {
            service.repository.as_deref().is_some_and(|repository| repository.eq_ignore_ascii_case(&name))
        };
        let services = context.services.iter().filter(lives_here).collect();
        Ok(Self { name, services })
    }

    pub fn source(&self) -> String {
        format!("github/{}", self.name)
    }

    fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The service that something is about: the one that `hints` name first, else the only one of
    /// the repository, else the repository itself.
    pub fn service(&self, hints: &[&str]) -> String {
        let named = || hints.iter().find_map(|hint| self.named(hint));
        let service = match self.services.as_slice() {
            [] => None,
            [only] => Some(*only),
            _ => named(),
        };
        service.map_or_else(|| self.short_name().to_owned(), |service| service.name.clone())
    }

    /// The service whose name stands in `text` as a word of its own; the longest name wins.
    fn named(&self, text: &str) -> Option<&'a Service> {
        let named = self.services.iter().copied().filter(|service| word(text, &service.name).is_some());
        named.max_by_key(|service| service.name.len())
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
        let service = self.named(environment)?;
        let (before, after) = word(environment, &service.name)?;
        let separator = |c: char| !c.is_alphanumeric();
        let rest = [before, after].map(|part| part.trim_matches(separator));
        rest.into_iter().find(|part| !part.is_empty())
    }

    /// DevPulse's name of the environment of a deployment by GitHub.
    ///
    /// A transient environment (a preview of a pull request) keeps its name: it is never
    /// production, whatever it is called. Else the configured names decide, then GitHub's flag
    /// that its users work there, then `sources.github.default_environment`.
    pub fn environment(&self, name: &str, transient: bool, production: bool, context: &Context<'_>) -> String {
        if transient {
            return name.to_owned();
        }
        let names = context.environments;
        let by_name = || names.find(name).or_else(|| names.find(self.without_service(name)?));
        let by_flag = || if production { names.only_production() } else { None };
        match by_name().or_else(by_flag) {
            Some(environment) => environment.name.clone(),
            None => context.github.default_environment.clone().unwrap_or_else(|| name.to_owned()),
        }
    }
}

/// The repository's default branch; only its commits are merged changes.
pub fn default_branch(repository: Field<Text<'_>>) -> Result<String, Fault> {
    let fix = "without it nobody can tell which commits are merged";
    Ok(repository.needed("/repository/default_branch", NAME, fix)?.into_owned())
}

pub fn repository(field: Field<Repository<'_>>) -> Result<Repository<'_>, Fault> {
    field.required("/repository", "GitHub names the repository of every such event")
}

/// What stands before and after `name` where it is a word of its own in `text`, whatever its case.
fn word<'t>(text: &'t str, name: &str) -> Option<(&'t str, &'t str)> {
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
