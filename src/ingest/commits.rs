//! What was merged: commits as git hosts list them, and the change that a pull request becomes.

use std::collections::BTreeMap;

use super::fault::{Fault, PATH, SHA};
use super::place::Repo;
use super::wire::{Field, Raw, Text, object, read};
use crate::event::{ChangeEvent, EntityKey};
use crate::time::Timestamp;

/// Paths kept of one commit. Of a commit with more nobody could say whose it is: it is kept without.
const MAX_PATHS: usize = 1_000;

type List<T> = Vec<Field<T>>;

object! {
    /// As GitHub and GitLab list it; GitLab and most deliveries of GitHub leave some of it out.
    pub struct Listed<'a> {
        id: "id" Text<'a>,
        message: "message" Text<'a>,
        timestamp: "timestamp" Text<'a>,
        distinct: "distinct" bool,
        author: "author" Signature<'a>,
        committer: "committer" Signature<'a>,
        parents: "parents" List<Raw<'a>>,
        added: "added" List<Text<'a>>,
        removed: "removed" List<Text<'a>>,
        modified: "modified" List<Text<'a>>,
    }

    pub struct Signature<'a> {
        date: "date" Text<'a>,
    }
}

/// A commit of a push.
#[derive(Debug, Clone)]
pub struct Commit {
    pub sha: String,
    /// Where hosts give one time per commit, with the offset of who wrote it, both are that.
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
    pub merge: bool,
    /// It was on another branch already.
    pub pushed_before: bool,
    pub paths: Vec<String>,
}

/// The commit that a push lists at `at`, and its JSON.
///
/// # Errors
/// It has no sha, or its time is none.
pub fn listed<'a>(raw: Field<Raw<'a>>, at: &str) -> Result<(&'a str, Commit), Fault> {
    let Raw(raw) = raw.required(at, "it is null")?;
    let listed: Listed<'_> = read(raw).map_err(|fault| Fault::new(at, fault.detail()))?;
    let written_at = listed.timestamp.moment(format_args!("{at}/timestamp"))?;
    let commit = Commit {
        sha: listed.id.needed(format_args!("{at}/id"), SHA, "which commit is it?")?.into_owned(),
        authored_at: date(listed.author, format_args!("{at}/author/date"))?.or(written_at),
        committed_at: date(listed.committer, format_args!("{at}/committer/date"))?.or(written_at),
        merge: match (&listed.parents, &listed.message) {
            (Field::Given(parents), _) => parents.len() > 1,
            (_, Field::Given(message)) => is_merge(message),
            _ => false,
        },
        pushed_before: listed.distinct == Field::Given(false),
        paths: paths([listed.added, listed.modified, listed.removed]),
    };
    Ok((raw, commit))
}

/// When someone signed.
///
/// # Errors
/// The time is none.
pub fn date(field: Field<Signature<'_>>, at: std::fmt::Arguments<'_>) -> Result<Option<Timestamp>, Fault> {
    match field {
        Field::Given(signature) => signature.date.moment(at),
        _ => Ok(None),
    }
}

impl Commit {
    /// The change that it is once it is on the default branch, whether or not it is known since when.
    pub fn change(self, repo: &Repo<'_>, merged_at: Option<Timestamp>) -> ChangeEvent {
        ChangeEvent {
            service: repo.service_of_paths(&self.paths),
            authored_at: self.authored_at,
            committed_at: self.committed_at,
            merge: self.merge,
            paths: self.paths,
            ..change(repo, self.sha, merged_at)
        }
    }
}

/// The commit that a merged pull request became.
pub fn became(repo: &Repo<'_>, sha: String, merged_at: Timestamp) -> ChangeEvent {
    ChangeEvent { service: repo.service_of_paths(&[]), ..change(repo, sha, Some(merged_at)) }
}

fn change(repo: &Repo<'_>, sha: String, merged_at: Option<Timestamp>) -> ChangeEvent {
    ChangeEvent {
        key: EntityKey { source: repo.source(), id: sha.clone() },
        time: merged_at.unwrap_or_default(),
        repository: repo.name.clone(),
        sha,
        service: None,
        authored_at: None,
        committed_at: None,
        merged_at,
        pull_request: None,
        merge: false,
        paths: Vec::new(),
        push: None,
        attributes: BTreeMap::new(),
    }
}

/// Most pushes do not list parents; the messages that git and the hosts give merge commits tell them apart.
pub fn is_merge(message: &str) -> bool {
    ["Merge pull request #", "Merge branch '", "Merge remote-tracking branch '", "Merge tag '", "Merged PR "]
        .iter()
        .any(|start| message.starts_with(start))
}

fn paths(lists: [Field<Vec<Field<Text<'_>>>>; 3]) -> Vec<String> {
    let listed = lists.into_iter().filter_map(|list| match list {
        Field::Given(paths) => Some(paths),
        _ => None,
    });
    let usable = listed.flatten().filter_map(|path| match path {
        Field::Given(path) if PATH.check(&path).is_ok() => Some(path.into_owned()),
        _ => None,
    });
    let mut paths: Vec<String> = usable.take(MAX_PATHS + 1).collect();
    if paths.len() > MAX_PATHS {
        return Vec::new();
    }
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_paths_than_are_kept_none_is() {
        let list = |n: usize| Field::Given((0..n).map(|i| Field::Given(Text::from(format!("a/{i}")))).collect());
        assert_eq!(paths([list(999), Field::Absent, list(1)]).len(), 999, "one of them twice");
        assert!(paths([list(1_000), Field::Absent, list(1)]).is_empty());
    }
}
