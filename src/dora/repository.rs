//! The changes of one repository, ready for the derivation of every service that is built from it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::range::is_hash;
use crate::event::{Change, PullRequest};
use crate::time::Timestamp;

/// Grows when the form in which [`Commit`]s are kept changes: then all of them are packed anew.
pub const FORMAT: i32 = 1;

/// What a derivation needs of a change. A repository may have a million: it is kept small.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    pub sha: Box<str>,
    /// That the change itself names.
    pub service: Option<Box<str>>,
    pub authored_at: Option<Timestamp>,
    pub committed_at: Option<Timestamp>,
    pub merged_at: Option<Timestamp>,
    pub pull_request: Option<Box<Request>>,
    pub merge: bool,
    pub paths: Box<[Box<str>]>,
    /// Changes that were pushed with it are not known.
    pub partial: bool,
}

/// The times of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub opened_at: Option<Timestamp>,
    pub first_commit_at: Option<Timestamp>,
    pub first_review_at: Option<Timestamp>,
    pub merged_at: Option<Timestamp>,
}

impl Commit {
    /// When it got onto the main line. A pull request that is not merged is not there yet.
    pub fn landed_at(&self) -> Option<Timestamp> {
        let request = self.pull_request.as_ref();
        let merged = self.merged_at.or_else(|| request.and_then(|request| request.merged_at));
        match (merged, request) {
            (None, Some(_)) => None,
            (merged, _) => merged.or(self.committed_at).or(self.authored_at),
        }
    }

    /// About how much memory it takes.
    fn size(&self) -> usize {
        let texts = self.sha.len() + self.service.as_ref().map_or(0, |name| name.len());
        let paths: usize = self.paths.iter().map(|path| path.len() + size_of::<Box<str>>()).sum();
        let request = self.pull_request.as_ref().map_or(0, |_| size_of::<Request>());
        // The order and the names by hash point at it.
        size_of::<Self>() + texts + paths + request + 4 * size_of::<usize>()
    }
}

impl From<&Change> for Commit {
    fn from(change: &Change) -> Self {
        let request = |request: &PullRequest| {
            Box::new(Request {
                opened_at: request.opened_at,
                first_commit_at: request.first_commit_at,
                first_review_at: request.first_review_at,
                merged_at: request.merged_at,
            })
        };
        Self {
            sha: change.sha.as_str().into(),
            service: change.service.as_deref().map(Into::into),
            authored_at: change.authored_at,
            committed_at: change.committed_at,
            merged_at: change.merged_at,
            pull_request: change.pull_request.as_ref().map(request),
            merge: change.merge,
            paths: change.paths.iter().map(|path| path.as_str().into()).collect(),
            partial: change.partial,
        }
    }
}

/// A change as it was, where it was known, and as it is.
pub type Learned = (Option<Arc<Commit>>, Arc<Commit>);

/// A commit that is looked for by its hash.
#[derive(Debug, Clone)]
struct BySha(Arc<Commit>);

impl Borrow<str> for BySha {
    fn borrow(&self) -> &str {
        &self.0.sha
    }
}

impl PartialEq for BySha {
    fn eq(&self, other: &Self) -> bool {
        self.0.sha == other.0.sha
    }
}

impl Eq for BySha {}

impl Hash for BySha {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As `str` does, which it is found by.
        self.0.sha.hash(state);
    }
}

#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub name: String,
    by_sha: HashSet<BySha>,
    /// Those that got onto the main line, in this order; by hash where the time is the same.
    landed: Vec<(Timestamp, Arc<Commit>)>,
    size: usize,
    /// By their hashes, as soon as somebody asks for the beginning of one.
    sorted: OnceLock<Vec<Arc<Commit>>>,
}

impl Repository {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// The repositories of changes, by name.
    pub fn of<'c>(changes: impl IntoIterator<Item = &'c Change>) -> Vec<Arc<Self>> {
        let mut commits: BTreeMap<&str, Vec<Commit>> = BTreeMap::new();
        for change in changes {
            commits.entry(&change.repository).or_default().push(Commit::from(change));
        }
        let repository = |(name, commits)| {
            let mut repository = Self::new(name);
            repository.learn(commits);
            Arc::new(repository)
        };
        commits.into_iter().map(repository).collect()
    }

    /// Takes in what is newly known; of two of one hash the later stands. Answers each as it was,
    /// where it was known, and as it is.
    pub fn learn(&mut self, commits: impl IntoIterator<Item = Commit>) -> Vec<Learned> {
        self.sorted.take();
        let mut learned = Vec::new();
        // What is answered holds them: none of these places is given to another in the meantime.
        let mut gone: HashSet<*const Commit> = HashSet::new();
        for commit in commits {
            let commit = Arc::new(commit);
            self.size += commit.size();
            if let Some(at) = commit.landed_at() {
                self.landed.push((at, Arc::clone(&commit)));
            }
            let old = self.by_sha.replace(BySha(Arc::clone(&commit))).map(|BySha(old)| old);
            if let Some(old) = &old {
                self.size = self.size.saturating_sub(old.size());
                gone.insert(Arc::as_ptr(old));
            }
            learned.push((old, commit));
        }
        if !gone.is_empty() {
            self.landed.retain(|(_, commit)| !gone.contains(&Arc::as_ptr(commit)));
        }
        self.landed.sort_unstable_by(|(at, a), (time, b)| (at, &a.sha).cmp(&(time, &b.sha)));
        learned
    }

    pub fn commit(&self, sha: &str) -> Option<&Commit> {
        self.by_sha.get(sha).map(|BySha(commit)| &**commit)
    }

    /// By its hash, or by the beginning of it, as CI systems abbreviate, that no other commit has.
    pub fn named(&self, name: &str) -> Option<&Commit> {
        self.commit(name).or_else(|| self.beginning_with(name))
    }

    fn beginning_with(&self, name: &str) -> Option<&Commit> {
        if !is_hash(name) {
            return None;
        }
        let sorted = self.sorted.get_or_init(|| {
            let mut all: Vec<Arc<Commit>> = self.by_sha.iter().map(|BySha(commit)| Arc::clone(commit)).collect();
            all.sort_unstable_by(|a, b| a.sha.cmp(&b.sha));
            all
        });
        let from = sorted.partition_point(|commit| *commit.sha < *name);
        let alike = sorted.iter().skip(from).take_while(|commit| commit.sha.starts_with(name));
        let mut found = alike.filter(|commit| is_hash(&commit.sha));
        let one = found.next()?;
        found.next().is_none().then_some(&**one)
    }

    /// Whether any change is known to have got onto its main line.
    pub fn has_landed(&self) -> bool {
        !self.landed.is_empty()
    }

    /// The changes that got onto the main line after one time and up to another.
    pub fn landed(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = &Commit> {
        let from = self.landed.partition_point(|(at, _)| *at <= after);
        let to = self.landed.partition_point(|(at, _)| *at <= until);
        self.landed.get(from..to).unwrap_or_default().iter().map(|(_, commit)| &**commit)
    }

    pub fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.by_sha.iter().map(|BySha(commit)| &**commit)
    }

    /// About how much memory it takes.
    pub const fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(sha: &str, merged_at: Option<i64>) -> Commit {
        Commit {
            sha: sha.into(),
            service: None,
            authored_at: None,
            committed_at: None,
            merged_at: merged_at.map(Timestamp::from_micros),
            pull_request: None,
            merge: false,
            paths: Box::default(),
            partial: false,
        }
    }

    fn shas<'c>(commits: impl Iterator<Item = &'c Commit>) -> Vec<&'c str> {
        commits.map(|commit| &*commit.sha).collect()
    }

    #[test]
    fn the_beginning_of_a_hash_names_one_commit_or_none() {
        let mut repository = Repository::new("acme/shop");
        let [one, other, third] = ["0badcafe11", "0badcafe22", "1badcafe33"].map(|hash| format!("{hash:0<40}"));
        repository.learn([commit(&one, None), commit("0badcaf-not-a-hash", None)]);
        let found = |repository: &Repository, name: &str| repository.named(name).map(|commit| commit.sha.to_string());
        for name in [one.as_str(), "0badcaf", "0badcafe1"] {
            assert_eq!(found(&repository, name).as_ref(), Some(&one), "{name}");
        }
        for name in ["0badca", "0badcafe2", "badcafe", "0badcaf-"] {
            assert_eq!(found(&repository, name), None, "{name}");
        }
        repository.learn([commit(&other, None), commit(&third, None)]);
        assert_eq!(found(&repository, "0badcafe"), None, "it could be either");
        assert_eq!(found(&repository, "0badcafe2"), Some(other));
        assert_eq!(found(&repository, "1badcaf"), Some(third));
    }

    #[test]
    fn a_change_that_is_known_better_moves_to_where_it_belongs() {
        let mut repository = Repository::new("acme/shop");
        repository.learn([commit("c", Some(30)), commit("a", Some(10)), commit("b", None), commit("d", Some(10))]);
        let (start, end) = (Timestamp::from_micros(0), Timestamp::from_micros(99));
        assert_eq!(shas(repository.landed(start, end)), ["a", "d", "c"]);
        let size = repository.size();
        repository.learn([commit("a", Some(40)), commit("b", Some(20)), commit("a", Some(35))]);
        assert_eq!(shas(repository.landed(start, end)), ["d", "b", "c", "a"]);
        assert_eq!(shas(repository.landed(Timestamp::from_micros(10), Timestamp::from_micros(30))), ["b", "c"]);
        assert_eq!(repository.commit("a").unwrap().merged_at, Some(Timestamp::from_micros(35)));
        assert_eq!(repository.commits().count(), 4);
        assert_eq!(repository.size(), size);
    }

    #[test]
    fn one_of_a_pull_request_lands_with_its_merge() {
        let request = |merged_at| {
            let merged_at = Option::map(merged_at, Timestamp::from_micros);
            Some(Box::new(Request { opened_at: None, first_commit_at: None, first_review_at: None, merged_at }))
        };
        let committed = Commit { committed_at: Some(Timestamp::from_micros(1)), ..commit("a", None) };
        assert_eq!(committed.landed_at(), Some(Timestamp::from_micros(1)));
        assert_eq!(Commit { pull_request: request(None), ..committed.clone() }.landed_at(), None);
        let merged = Commit { pull_request: request(Some(7)), ..committed };
        assert_eq!(merged.landed_at(), Some(Timestamp::from_micros(7)));
    }
}
