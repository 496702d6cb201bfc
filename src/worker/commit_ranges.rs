//! Asks the clones of repositories for the ranges of commits that the delivery metrics need.
//!
//! Projections note which ranges they lack. What a clone does not have yet is asked for again, ever
//! less often; until it is there, changes are reckoned by merge times.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::App;
use crate::config::Config;
use crate::config::model::Repository;
use crate::dora::Rules;
use crate::dora::range::{NoRange, Range, RangeCommit, RangeName};
use crate::git::{Commit, Git, GitError, Limits, Wanted};
use crate::num::signed_float;
use crate::store::StoreError;
use crate::store::dora::ranges::{self, Due};
use crate::time::{Clock, Timestamp};

const EVERY: Duration = Duration::from_secs(2);
/// What is asked for before answers are written down: so often projections may have to begin anew.
const AT_ONCE: i64 = 2_000;
const TURN: Duration = Duration::from_secs(10);
/// Commits between two deployments.
const MAX_COMMITS: usize = 20_000;
const LIMITS: Limits = Limits { time: Duration::from_mins(1), bytes: 64 << 20 };
const FETCH: Limits = Limits { time: Duration::from_mins(2), bytes: 1 << 20 };
const FIRST_PAUSE: Duration = Duration::from_secs(5);

pub fn describe() {
    metrics::describe_gauge!(
        "devpulse_commit_ranges",
        "Ranges of commits that no clone has answered, by state: waiting (not asked yet), unknown_commit, too_long, \
         shallow, unreachable."
    );
}

/// Asks for ever; nothing where no clone is configured.
pub async fn run(app: Arc<App>) {
    let mut asker = Asker::default();
    let mut timer = tokio::time::interval(EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if let Err(error) = asker.turn(&app).await {
            tracing::warn!(%error, "commit ranges could not be read or written; tried again later");
        }
    }
}

#[derive(Default)]
struct Asker {
    known: Option<(Arc<Config>, Rules)>,
    /// When each clone was fetched last.
    fetched: HashMap<String, Instant>,
    /// What was last said about each clone, which is logged once.
    complaints: HashMap<String, String>,
}

impl Asker {
    async fn turn(&mut self, app: &App) -> Result<(), StoreError> {
        let config = app.config.load_full();
        if config.repositories.is_empty() && self.known.is_none() {
            return Ok(());
        }
        if self.known.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, &config)) {
            ranges::ask_again(&app.store).await?;
            self.known = Some((Arc::clone(&config), Rules::new(&config)));
        }
        let due = ranges::due(&mut app.store.read().await?, app.clock.now(), AT_ONCE).await?;
        if !due.is_empty() {
            let answers = self.answers(due, &app.clock).await;
            ranges::answer(&app.store, &answers).await?;
        }
        for (state, count) in ranges::counts(&mut app.store.read().await?).await? {
            metrics::gauge!("devpulse_commit_ranges", "state" => state).set(signed_float(count));
        }
        Ok(())
    }

    /// What the clones say, in order of services and names, as far as one turn gets.
    async fn answers(&mut self, due: Vec<Due>, clock: &Clock) -> Vec<(Due, Range, Option<Timestamp>)> {
        let Some((config, rules)) = self.known.take() else { return Vec::new() };
        let began = Instant::now();
        // Those that wait longest first: a clone that takes its time must not keep the others waiting.
        let mut order: Vec<RangeName> = Vec::new();
        let mut by_name: HashMap<RangeName, Vec<Due>> = HashMap::new();
        for due in due {
            // What the configuration has changed meanwhile is projected anew, and asked for anew.
            if rules.scope(&due.service) == due.scope {
                let asking = by_name.entry(due.name.clone()).or_default();
                if asking.is_empty() {
                    order.push(due.name.clone());
                }
                asking.push(due);
            }
        }
        let mut clones: HashMap<&str, Result<Git<'_>, NoRange>> = HashMap::new();
        let mut answers = Vec::new();
        for name in order {
            let asking = by_name.remove(&name).unwrap_or_default();
            let Some(repository) = config.repositories.iter().find(|r| r.name == name.repository) else { continue };
            if began.elapsed() > TURN {
                break;
            }
            let clone = match clones.entry(&repository.name) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.open(repository).await),
            };
            let paths = asking.iter().any(|due| !due.scope.is_empty());
            let found = match clone {
                Ok(clone) => self.ask(clone, repository, &name, paths).await,
                Err(why) => Err(*why),
            };
            let now = clock.now();
            for due in asking {
                let range = match &found {
                    Ok(commits) => Ok(of_service(commits, &rules, &due.service)),
                    Err(why) => Err(*why),
                };
                let again_at = range.as_ref().err().map(|why| now.plus(pause(*why, due.tries)));
                answers.push((due, range, again_at));
            }
        }
        drop(clones);
        self.known = Some((config, rules));
        answers.sort_by(|(a, ..), (b, ..)| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
        answers
    }

    async fn open<'a>(&mut self, repository: &'a Repository) -> Result<Git<'a>, NoRange> {
        let Some(clone) = Git::exactly(&repository.path, LIMITS) else {
            return Err(self.complain(repository, NoRange::Unreachable, "there is no clone"));
        };
        match clone.is_shallow().await {
            Ok(false) => Ok(clone),
            Ok(true) => Err(self.complain(repository, NoRange::Shallow, "it is shallow: run `git fetch --unshallow`")),
            Err(error) => Err(self.complain(repository, NoRange::Unreachable, &error.to_string())),
        }
    }

    async fn ask(
        &mut self,
        clone: &Git<'_>,
        repository: &Repository,
        name: &RangeName,
        paths: bool,
    ) -> Result<Vec<Commit>, NoRange> {
        let mut found = self.between(clone, repository, name, paths).await;
        if found == Err(NoRange::UnknownCommit) && self.fetch(repository).await {
            found = self.between(clone, repository, name, paths).await;
        }
        found
    }

    async fn between(
        &mut self,
        clone: &Git<'_>,
        repository: &Repository,
        name: &RangeName,
        paths: bool,
    ) -> Result<Vec<Commit>, NoRange> {
        let wanted = Wanted { most: Some(MAX_COMMITS + 1), pathspecs: &[], paths };
        match clone.between(&name.from, &name.to, wanted).await {
            Ok(commits) if commits.len() > MAX_COMMITS => Err(NoRange::TooLong),
            Ok(commits) => {
                self.complaints.remove(&repository.name);
                Ok(commits)
            }
            Err(GitError::Long { .. }) => Err(NoRange::TooLong),
            Err(error @ GitError::Refused { .. }) => {
                for sha in [&name.from, &name.to] {
                    if matches!(clone.has_commit(sha).await, Ok(false)) {
                        return Err(NoRange::UnknownCommit);
                    }
                }
                Err(self.complain(repository, NoRange::Unreachable, &error.to_string()))
            }
            Err(error) => Err(self.complain(repository, NoRange::Unreachable, &error.to_string())),
        }
    }

    /// Whether the clone was brought up to date.
    async fn fetch(&mut self, repository: &Repository) -> bool {
        let Some(every) = repository.fetch_every else { return false };
        if self.fetched.get(&repository.name).is_some_and(|last| last.elapsed() < every) {
            return false;
        }
        let Some(clone) = Git::exactly(&repository.path, FETCH) else { return false };
        let fetched = clone.fetch().await;
        // The next one begins so long after this one ended, however long it took.
        self.fetched.insert(repository.name.clone(), Instant::now());
        match fetched {
            Ok(()) => true,
            Err(error) => {
                self.complain(repository, NoRange::UnknownCommit, &error.to_string());
                false
            }
        }
    }

    fn complain(&mut self, repository: &Repository, why: NoRange, what: &str) -> NoRange {
        let said = self.complaints.insert(repository.name.clone(), what.to_owned());
        if said.as_deref() != Some(what) {
            let (name, path) = (&repository.name, repository.path.display());
            tracing::warn!(repository = name, %path, what, "the clone does not say what deployments brought");
        }
        why
    }
}

fn of_service(commits: &[Commit], rules: &Rules, service: &str) -> Vec<RangeCommit> {
    let own = commits.iter().filter(|commit| rules.owns(service, &commit.paths));
    let commit = |commit: &Commit| RangeCommit {
        sha: commit.sha.clone(),
        authored_at: commit.authored_at,
        committed_at: commit.committed_at,
    };
    own.map(commit).collect()
}

/// How long until a range is asked for again.
fn pause(why: NoRange, tries: i32) -> Duration {
    let longest = match why {
        NoRange::Waiting | NoRange::NoCommit | NoRange::UnknownCommit => Duration::from_hours(1),
        NoRange::Shallow | NoRange::Unreachable => Duration::from_mins(5),
        NoRange::TooLong => return Duration::from_hours(24),
    };
    let doubled = 1_u32.checked_shl(tries.unsigned_abs()).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_asked_for_ever_less_often() {
        let pauses = [0, 1, 2, 9, 10, 40, i32::MAX].map(|tries| pause(NoRange::UnknownCommit, tries).as_secs());
        assert_eq!(pauses, [5, 10, 20, 2_560, 3_600, 3_600, 3_600]);
        assert_eq!(pause(NoRange::Unreachable, 30).as_secs(), 300);
        assert_eq!(pause(NoRange::TooLong, 0).as_secs(), 86_400);
    }
}
