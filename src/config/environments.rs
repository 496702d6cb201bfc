//! What sources call an environment, and what DevPulse calls it.

use super::model::{Environment, Tier};

/// The configured environments, as a way from any name to the one that is configured.
#[derive(Debug, Clone, Copy)]
pub struct EnvironmentNames<'a>(&'a [Environment]);

impl<'a> EnvironmentNames<'a> {
    pub const fn new(environments: &'a [Environment]) -> Self {
        Self(environments)
    }

    /// The configured environment that `name` stands for, whatever its case: the one of that
    /// name, else the first with a pattern that matches.
    pub fn find(self, name: &str) -> Option<&'a Environment> {
        let named = self.0.iter().find(|environment| environment.name.eq_ignore_ascii_case(name));
        named.or_else(|| {
            self.0.iter().find(|environment| environment.matches.iter().any(|pattern| matches(pattern, name)))
        })
    }

    /// The configured environment of tier production, where there is exactly one.
    pub fn only_production(self) -> Option<&'a Environment> {
        let mut production = self.0.iter().filter(|environment| environment.tier == Tier::Production);
        production.next().filter(|_| production.next().is_none())
    }

    /// The name to keep: that of the configured environment, or `name` as it is.
    pub fn canonical<'n>(self, name: &'n str) -> &'n str
    where
        'a: 'n,
    {
        self.find(name).map_or(name, |environment| &environment.name)
    }
}

/// Whether the glob matches the whole name, whatever its case.
///
/// This runs for every request, so the usual globs are matched without being compiled.
fn matches(pattern: &str, name: &str) -> bool {
    if !pattern.contains(['[', '{', '\\']) {
        return simple(pattern, name);
    }
    let glob = globset::GlobBuilder::new(pattern).case_insensitive(true).build();
    glob.is_ok_and(|glob| glob.compile_matcher().is_match(name))
}

/// `*` is any run of characters, `?` is one. A mismatch goes back to the last `*` only.
fn simple(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut retry = None;
    loop {
        let at = name.clone();
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                retry = Some((pattern.clone(), at.clone()));
                name = at;
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted.eq_ignore_ascii_case(&found) => {}
            _ => {
                // Let the last `*` swallow one character more.
                let Some((after, mut from)) = retry.take() else { return false };
                if from.next().is_none() {
                    return false;
                }
                pattern = after.clone();
                name = from.clone();
                retry = Some((after, from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment(name: &str, matches: &[&str]) -> Environment {
        let matches = matches.iter().map(ToString::to_string).collect();
        Environment { name: name.to_owned(), tier: Tier::Other, matches }
    }

    #[test]
    fn names_become_the_configured_ones() {
        let configured = [
            environment("production", &["prod", "prod-*", "staging-live", "{live,blue}-[0-9]"]),
            environment("staging", &["stag*"]),
        ];
        let names = EnvironmentNames::new(&configured);
        for (sent, kept) in [
            ("prod", "production"),
            ("Production", "production"),
            ("prod-eu", "production"),
            ("prod-", "production"),
            ("staging", "staging"),
            ("staging-live", "production"),
            ("live-1", "production"),
            ("green-1", "green-1"),
            ("preprod", "preprod"),
            ("product", "product"),
            ("github-pages", "github-pages"),
        ] {
            assert_eq!(names.canonical(sent), kept);
        }
    }

    proptest! {
        #[test]
        fn globs_mean_what_globset_says(pattern in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let reference = globset::Glob::new(&pattern).unwrap().compile_matcher();
            prop_assert_eq!(simple(&pattern, &name), reference.is_match(&name), "{} {}", pattern, name);
        }
    }
}
