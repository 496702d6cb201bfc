//! Links of CDEvents: those that name a commit by the id that its host gives it.
//! <https://github.com/cdevents/spec/blob/main/links.md>
//!
//! Links to other events are not followed: most of those are of kinds that nobody keeps, and the
//! chain says the same.

use std::collections::BTreeSet;

use crate::ingest::lenient::text;
use crate::ingest::names::is_commit;
use crate::ingest::percent::decode;
use crate::ingest::wire::{Field, Text, object};

object! {
    pub struct Link<'a> {
        kind: "linkType" Text<'a>,
        target: "target" End<'a>,
    }

    pub struct End<'a> {
        domain: "domainId" Text<'a>,
    }
}

/// A commit, and the repository it is in.
pub type Commit = (String, String);

/// The commit that the links name; `None` where that is none or several.
pub fn commit(links: Field<Vec<Field<Link<'_>>>>) -> Option<Commit> {
    let Field::Given(links) = links else { return None };
    let named = links.into_iter().filter_map(|link| match link {
        Field::Given(Link { kind, target: Field::Given(end), .. }) if text(kind.clone()) == "RELATION" => {
            named(&text(end.domain))
        }
        _ => None,
    });
    let commits: BTreeSet<Commit> = named.collect();
    let mut commits = commits.into_iter();
    commits.next().filter(|_| commits.next().is_none())
}

/// `cdevents:v0:PROVIDER:PROVIDER-ID:NAMESPACE:GROUPS:TYPE:RESOURCE`
fn named(domain: &str) -> Option<Commit> {
    let parts: Vec<&str> = domain.split(':').collect();
    let ["cdevents", "v0", _, _, namespace, groups, "commit", resource] = parts.as_slice() else { return None };
    let sha = decode(resource).filter(|sha| is_commit(sha))?;
    let path: Vec<&str> = [*namespace, *groups].into_iter().filter(|part| !part.is_empty()).collect();
    Some((sha, decode(&path.join("/"))?)).filter(|(_, repository)| repository.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "8f3c2d1a9b4e6f705c1d2e3f4a5b6c7d8e9f0a1b";

    #[test]
    fn only_a_whole_commit_of_a_repository_is_one() {
        let of = |kind: &str, resource: &str| named(&format!("cdevents:v0:github::acme:shop:{kind}:{resource}"));
        assert_eq!(of("commit", SHA), Some((SHA.to_owned(), "acme/shop".to_owned())));
        assert_eq!(of("commit", "abc123def456"), None);
        assert_eq!(of("pr", "42"), None);
        let nested = format!("cdevents:v0:gitlab::my-company:platform/backend:commit:{SHA}");
        assert_eq!(named(&nested).map(|commit| commit.1).as_deref(), Some("my-company/platform/backend"));
        assert_eq!(named(&format!("cdevents:v0:github:::shop:commit:{SHA}")), None);
        assert_eq!(named(&format!("cdevents:v1:github::acme:shop:commit:{SHA}")), None);
    }
}
