//! What was learned of a repository since the services built from it were projected. Most changes of
//! a repository of many services concern few of them; the others need not be projected anew.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::dora::range::SHORT_HASH;
use crate::dora::repository::{Commit, Learned};
use crate::dora::{History, Rules};

/// Remembered changes of one repository, and names of changes of one service.
const ROOM: usize = 20_000;

/// The latest of what was learned of a repository.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// Everything after this piece is remembered.
    since: i64,
    /// By the piece that told of it.
    learned: VecDeque<(i64, Learned)>,
}

impl News {
    /// Of a repository that was read up to a piece.
    pub const fn since(number: i64) -> Self {
        Self { since: number, learned: VecDeque::new() }
    }

    pub fn learn(&mut self, number: i64, learned: Vec<Learned>) {
        self.learned.extend(learned.into_iter().map(|learned| (number, learned)));
        while self.learned.len() > ROOM {
            if let Some((number, _)) = self.learned.pop_front() {
                self.since = number;
            }
        }
    }

    /// Whether nothing after a piece can concern a service.
    fn leaves_alone(&self, rules: &Rules, projected: &Projected, service: &str, name: &str, after: i64) -> bool {
        let concerns = |commit: &Commit| rules.concerns(service, name, commit) || projected.names(name, &commit.sha);
        let mut later = self.learned.iter().filter(|(number, _)| *number > after);
        self.since <= after && !later.any(|(_, (old, new))| old.iter().chain([new]).any(|commit| concerns(commit)))
    }
}

/// What a service was projected from.
#[derive(Debug, Clone, Default)]
pub(super) struct Projected {
    rules: [u8; 32],
    /// The last piece of each repository.
    repositories: BTreeMap<String, i64>,
    /// The changes that its deployments, or clones, name, whoever they belong to; `None` where they
    /// are many.
    named: Option<HashSet<u64>>,
    hasher: RandomState,
}

impl Projected {
    pub fn of(rules: &Rules, history: &History, repositories: BTreeMap<String, i64>) -> Self {
        let hasher = RandomState::new();
        let by_deployments = || {
            let changes = history.deployments.iter().flat_map(|deployment| &deployment.changes);
            changes.map(|change| (&*change.repository, short(&change.sha)))
        };
        let by_clones = || {
            let found = history.ranges.iter().filter_map(|(name, range)| Some((name, range.as_ref().ok()?)));
            found.flat_map(|(name, commits)| commits.iter().map(|commit| (&*name.repository, short(&commit.sha))))
        };
        let names = || by_deployments().chain(by_clones());
        let named = (names().count() <= ROOM).then(|| names().map(|name| hasher.hash_one(name)).collect());
        Self { rules: *rules.digest(), repositories, named, hasher }
    }

    fn names(&self, repository: &str, sha: &str) -> bool {
        self.named.as_ref().is_none_or(|named| named.contains(&self.hasher.hash_one((repository, short(sha)))))
    }

    pub fn repositories(&self) -> impl Iterator<Item = &String> {
        self.repositories.keys()
    }

    /// Whether a projection of the service would come out as it was, as far as its changes go.
    /// `news` has those of every repository, with its last piece.
    pub fn holds(&self, rules: &Rules, service: &str, news: &BTreeMap<String, (i64, News)>) -> bool {
        let quiet = |(name, after): (&String, &i64)| {
            news.get(name).is_some_and(|(_, news)| news.leaves_alone(rules, self, service, name, *after))
        };
        self.rules == *rules.digest() && self.repositories.iter().all(quiet)
    }

    /// The pieces up to which `holds` was asked.
    pub fn follow(&mut self, news: &BTreeMap<String, (i64, News)>) {
        for (name, number) in &mut self.repositories {
            if let Some((last, _)) = news.get(name) {
                *number = *last;
            }
        }
    }
}

/// Hashes are abbreviated differently; all that long begin alike.
fn short(sha: &str) -> &str {
    sha.get(..SHORT_HASH).unwrap_or(sha)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::config::model::Service;
    use crate::event::Deployment;

    fn rules() -> Rules {
        let service = |name: &str| Service {
            name: name.to_owned(),
            team: None,
            repository: Some("acme/shop".to_owned()),
            paths: vec![format!("{name}/**")],
        };
        Rules::of(&[], &[service("cart"), service("till")], Duration::from_hours(24), BTreeSet::new())
    }

    fn commit(sha: &str, path: Option<&str>) -> Arc<Commit> {
        Arc::new(Commit {
            sha: sha.into(),
            service: None,
            authored_at: None,
            committed_at: None,
            merged_at: None,
            pull_request: None,
            merge: false,
            paths: path.into_iter().map(Into::into).collect(),
            partial: false,
        })
    }

    fn holds(projected: &Projected, news: &News) -> bool {
        let news = BTreeMap::from([("acme/shop".to_owned(), (9, news.clone()))]);
        projected.holds(&rules(), "till", &news)
    }

    fn projected(named: &[&str], after: i64) -> Projected {
        let deployments: Vec<Deployment> = named
            .iter()
            .map(|sha| {
                let change = serde_json::json!({"repository": "acme/shop", "sha": sha});
                serde_json::from_value(serde_json::json!({"source": "ci", "id": sha, "service": "till",
                    "environment": "production", "outcome": "succeeded", "changes": [change], "attributes": {}}))
                .unwrap()
            })
            .collect();
        let history = History { deployments, ..History::default() };
        Projected::of(&rules(), &history, BTreeMap::from([("acme/shop".to_owned(), after)]))
    }

    #[test]
    fn changes_of_others_leave_a_service_alone_until_one_is_its_own() {
        let mut news = News::since(1);
        news.learn(2, vec![(None, commit("a", Some("cart/x")))]);
        assert!(holds(&projected(&[], 1), &news));
        assert!(!holds(&projected(&["a"], 1), &news), "a deployment names it");
        assert!(holds(&projected(&["b"], 1), &news));
        assert!(!holds(&projected(&[], 0), &news), "not all since then is remembered");
        let partial = Commit { partial: true, ..(*commit("c", Some("cart/x"))).clone() };
        for touching in [
            (None, commit("b", Some("till/x"))),
            (None, commit("b", None)),
            (None, Arc::new(partial)),
            (Some(commit("a", None)), commit("a", Some("cart/x"))),
        ] {
            let mut news = news.clone();
            news.learn(3, vec![touching]);
            assert!(!holds(&projected(&[], 1), &news));
            assert!(holds(&projected(&[], 3), &news), "it was projected since");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_taken_for_nothing() {
        let mut news = News::since(1);
        for number in 2..=3 {
            news.learn(number, (0..ROOM).map(|n| (None, commit(&n.to_string(), Some("cart/x")))).collect());
        }
        assert!(!holds(&projected(&[], 1), &news));
        assert!(holds(&projected(&[], 2), &news));
    }
}
