//! What a payload may lack, or have otherwise, without harm: texts, addresses, versions.

use super::fault::{Limit, NAME, URL};
use super::wire::{Field, Text};

/// A text, or an empty one.
pub fn text(field: Field<Text<'_>>) -> Text<'_> {
    match field {
        Field::Given(text) => text,
        _ => Text::Borrowed(""),
    }
}

/// The text where it keeps to the limit.
pub fn fitting(field: &Field<Text<'_>>, limit: Limit) -> Option<String> {
    match field {
        Field::Given(text) if limit.check(text).is_ok() => Some(text.to_string()),
        _ => None,
    }
}

/// The first that is a usable address.
pub fn url(candidates: &[Field<Text<'_>>]) -> Option<String> {
    candidates.iter().find_map(|candidate| fitting(candidate, URL))
}

/// A ref that looks like a version (`v1.4.2`, `refs/tags/2026.1`) is one; a branch or a sha is not.
pub fn version_of(git_ref: &str) -> Option<String> {
    let name = git_ref.strip_prefix("refs/tags/").unwrap_or(git_ref);
    let number = name.strip_prefix(['v', 'V']).unwrap_or(name);
    let starts = number.starts_with(|c: char| c.is_ascii_digit());
    let is_sha = name.len() >= 7 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (starts && !is_sha && NAME.check(name).is_ok()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_that_are_versions() {
        for (git_ref, version) in [
            ("v1.4.2", Some("v1.4.2")),
            ("refs/tags/2026.1", Some("2026.1")),
            ("v2", Some("v2")),
            ("main", None),
            ("8f3c1d20", None),
            ("1234567", None),
            ("vision", None),
            ("", None),
        ] {
            assert_eq!(version_of(git_ref).as_deref(), version, "{git_ref}");
        }
    }
}
