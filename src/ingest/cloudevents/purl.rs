//! Package URLs: what the name of an artifact says of its version and of the commit it is made of.
//! <https://github.com/package-url/purl-spec>

use std::collections::BTreeMap;

use crate::event::origin;
use crate::ingest::fault::NAME;
use crate::ingest::names::is_commit;
use crate::ingest::percent::decode;
use crate::ingest::pipeline::repository_of;

/// What an artifact's name says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Artifact {
    /// By which other events name the same artifact.
    pub name: Option<String>,
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
            let digest = text.rsplit_once('@').map_or(text, |(_, digest)| digest);
            let name = origin::artifact(Some(digest), None);
            return Self { name, version: Some(text.to_owned()).filter(usable), ..Self::default() };
        };
        let (commit, repository) = purl.origin();
        // A digest identifies an image; its tag is what people and requests call it.
        let tag = purl.qualifiers.get("tag").filter(|tag| *tag != "latest");
        let version = tag.or(purl.version.as_ref()).cloned().filter(usable);
        Self { name: purl.name(), version, commit, repository }
    }
}

#[expect(clippy::ptr_arg, reason = "what Option::filter passes")]
fn usable(version: &String) -> bool {
    NAME.check(version).is_ok()
}

impl Purl {
    /// Qualifiers say how to get it; of them only the registry tells equal names apart.
    fn name(&self) -> Option<String> {
        let version = self.version.as_deref()?;
        let registry = self.qualifiers.get("repository_url").map(|url| format!("?repository_url={url}"));
        let called = format!("pkg:{}/{}@{version}{}", self.kind, self.path, registry.unwrap_or_default());
        origin::artifact(Some(version), Some(called))
    }

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
        Artifact { name: None, version: owned(version), commit: owned(commit), repository: owned(repository) }
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
            assert_eq!(Artifact { name: None, ..Artifact::named(text) }, wanted, "{text}");
        }
    }

    #[test]
    fn artifacts_are_one_whatever_else_their_names_say() {
        let digest = "sha256:0b31b1c02ff458ad9b7b81cbdf8f028bd54699fa151f221d1e8de6817db93427";
        let go = "pkg:golang/mygit.com/myorg/myapp@234fd47e07d1004f0aed9c";
        for (text, wanted) in [
            (format!("pkg:oci/myapp@{}", digest.replace(':', "%3A")), Some(digest)),
            (format!("pkg:oci/myapp@{digest}?repository_url=mycr.io/myapp&tag=1.4.2"), Some(digest)),
            (format!("mycr.io/myapp@{digest}"), Some(digest)),
            (go.to_owned(), Some(go)),
            (format!("{go}?vcs_url=git%2Bhttps://mygit.com/myorg/myapp#docs"), Some(go)),
            ("pkg:npm/%40acme/shop@1.4.2".to_owned(), Some("pkg:npm/@acme/shop@1.4.2")),
            ("pkg:oci/api@1.0?repository_url=a.io%2Fx".to_owned(), Some("pkg:oci/api@1.0?repository_url=a.io/x")),
            ("pkg:deb/debian/curl?arch=i386".to_owned(), None),
            ("myapp".to_owned(), None),
        ] {
            assert_eq!(Artifact::named(&text).name.as_deref(), wanted, "{text}");
        }
    }
}
