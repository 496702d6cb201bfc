//! Package URLs: what the name of an artifact says of its version and of the commit it is made of.
//! <https://github.com/package-url/purl-spec>

use std::collections::BTreeMap;

use crate::ingest::fault::NAME;
use crate::ingest::names::is_commit;
use crate::ingest::percent::decode;
use crate::ingest::pipeline::repository_of;

/// What an artifact's name says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Artifact {
    pub version: Option<String>,
    pub commit: Option<String>,
    pub repository: Option<String>,
}

struct Purl {
    kind: String,
    /// Namespace and name.
    path: String,
    version: Option<String>,
    qualifiers: BTreeMap<String, String>,
}

fn parse(text: &str) -> Option<Purl> {
    let rest = text.strip_prefix("pkg:")?.trim_start_matches('/');
    let rest = rest.split('#').next()?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (kind, rest) = rest.split_once('/')?;
    let (path, version) = match rest.rsplit_once('@') {
        Some((path, version)) if !version.contains('/') => (path, Some(decode(version)?)),
        _ => (rest, None),
    };
    let qualifiers = query.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_ascii_lowercase(), decode(value)?))
    });
    Some(Purl {
        kind: kind.to_ascii_lowercase(),
        path: decode(path.trim_matches('/'))?,
        version,
        qualifiers: qualifiers.collect(),
    })
}

impl Artifact {
    /// Of a package URL; any other text is taken for the version.
    pub fn named(text: &str) -> Self {
        let Some(purl) = parse(text) else {
            return Self { version: Some(text.to_owned()).filter(usable), ..Self::default() };
        };
        let (commit, repository) = purl.origin();
        // A digest identifies an image; its tag is what people and requests call it.
        let tag = purl.qualifiers.get("tag").filter(|tag| *tag != "latest");
        Self { version: tag.or(purl.version.as_ref()).cloned().filter(usable), commit, repository }
    }
}

#[expect(clippy::ptr_arg, reason = "what Option::filter passes")]
fn usable(version: &String) -> bool {
    NAME.check(version).is_ok()
}

impl Purl {
    /// The commit and its repository: of `vcs_url`, else of types whose versions are commits.
    fn origin(&self) -> (Option<String>, Option<String>) {
        if let Some(address) = self.qualifiers.get("vcs_url") {
            let address = address.strip_prefix("git+").unwrap_or(address);
            let (address, commit) = match address.rsplit_once('@') {
                Some((address, commit)) if is_commit(commit) => (address, Some(commit.to_owned())),
                _ => (address, None),
            };
            return (commit, repository_of(address).filter(usable));
        }
        let commit = self.version.clone().filter(|version| is_commit(version));
        let repository = match self.kind.as_str() {
            "github" | "gitlab" | "bitbucket" => Some(self.path.clone()),
            "golang" => self.path.split_once('/').map(|parts| parts.1.to_owned()),
            _ => return (None, None),
        };
        (commit, repository.filter(usable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "8f3c2d1a9b4e6f705c1d2e3f4a5b6c7d8e9f0a1b";

    fn artifact(version: Option<&str>, commit: Option<&str>, repository: Option<&str>) -> Artifact {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Artifact { version: owned(version), commit: owned(commit), repository: owned(repository) }
    }

    /// The first is of the conformance payloads of CDEvents; the others follow the examples of the
    /// types of the package URL specification.
    #[test]
    fn names_of_artifacts_are_read() {
        let digest = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
        let oci = format!("pkg:oci/myapp@{}", digest.replace(':', "%3A"));
        let vcs = format!("pkg:npm/%40acme/shop@1.4.2?vcs_url=git%2Bhttps://github.com/acme/shop.git%40{SHA}");
        for (text, wanted) in [
            (oci.as_str(), artifact(Some(digest), None, None)),
            (&format!("{oci}?repository_url=ghcr.io/acme&tag=1.4.2"), artifact(Some("1.4.2"), None, None)),
            (&format!("{oci}?tag=latest"), artifact(Some(digest), None, None)),
            (&vcs, artifact(Some("1.4.2"), Some(SHA), Some("acme/shop"))),
            (&format!("pkg:github/acme/shop@{SHA}"), artifact(Some(SHA), Some(SHA), Some("acme/shop"))),
            ("pkg:github/acme/shop@v1.4.2#docs", artifact(Some("v1.4.2"), None, Some("acme/shop"))),
            ("pkg:golang/github.com/acme/shop@v2", artifact(Some("v2"), None, Some("acme/shop"))),
            ("pkg:deb/debian/curl?arch=i386", artifact(None, None, None)),
            ("shop-1.4.2.tar.gz", artifact(Some("shop-1.4.2.tar.gz"), None, None)),
            ("", artifact(None, None, None)),
        ] {
            assert_eq!(Artifact::named(text), wanted, "{text}");
        }
    }
}
