//! Which change arrived where: cases 1, 2, 3, 15 and 16 of the definitions.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{Change, Deployment, Named};
use super::failures::History;

/// A change at the first deployment of a place that brought it.
pub struct Lead {
    pub deployment: usize,
    pub repository: String,
    pub sha: String,
    /// By the name of `lead_time_from`.
    pub since: BTreeMap<&'static str, Option<i64>>,
    /// Of its pull request.
    pub opened: Option<i64>,
    pub reviewed: Option<i64>,
}

impl Lead {
    /// How long each stage of a change with a pull request took that was deployed at `finished`.
    pub fn stages(&self, finished: i64) -> [(&'static str, Option<i64>); 4] {
        let began = self.since["first_commit_of_pull_request"].or(self.since["authored"]);
        let merged = self.since["merged"];
        let stage = |from: Option<i64>, to: Option<i64>| {
            let known = self.opened.is_some();
            from.zip(to).map(|(from, to)| to - from).filter(|micros| known && *micros >= 0)
        };
        [
            ("coding", stage(began, self.opened)),
            ("pick_up", stage(self.opened, self.reviewed)),
            ("review", stage(self.reviewed, merged)),
            ("merge_to_deploy", stage(merged, Some(finished))),
        ]
    }
}

/// A change, or a deployment as a whole, without a lead time.
pub struct Out {
    pub deployment: usize,
    pub reason: &'static str,
}

/// A squashed commit is dated by its merge, give or take this many microseconds.
const SQUASHED: i64 = 10_000_000;

/// When a change got onto the main line: a pull request that is not merged is not there yet.
fn landed(change: &Change) -> Option<i64> {
    let merged = change.merged.or(change.request.as_ref().and_then(|request| request.merged));
    match &change.request {
        Some(_) => merged,
        None => merged.or(change.committed).or(change.authored),
    }
}

/// The first commit of a squashed pull request.
fn original(change: &Change) -> Option<i64> {
    let request = change.request.as_ref()?;
    let (first, merged) = (request.first_commit?, request.merged?);
    let squashed = change.authored.is_none_or(|authored| authored + SQUASHED >= merged);
    (squashed && first < merged).then_some(first)
}

fn lead(deployment: usize, (repository, sha): (&str, &str), change: Option<&Change>, named: Option<&Named>) -> Lead {
    let request = change.and_then(|change| change.request.as_ref());
    let authored = change.and_then(original).or(named.and_then(|named| named.authored));
    let committed = named.and_then(|named| named.committed);
    let merged = change.and_then(|change| change.merged).or(request.and_then(|request| request.merged));
    let since = [
        ("authored", authored.or(change.and_then(|change| change.authored))),
        ("committed", committed.or(change.and_then(|change| change.committed))),
        ("merged", merged),
        ("first_commit_of_pull_request", request.and_then(|request| request.first_commit)),
    ];
    Lead {
        deployment,
        repository: repository.to_owned(),
        sha: sha.to_owned(),
        since: since.into(),
        opened: request.and_then(|request| request.opened),
        reviewed: request.and_then(|request| request.reviewed),
    }
}

/// Whether a service takes a change of its repository: by its paths, else by the service that the
/// change names; `None` where nobody knows.
fn takes(history: &History<'_>, service: &str, change: &Change) -> Option<bool> {
    let configured = history.world.service(service);
    let owner = configured.filter(|service| !service.paths.is_empty());
    if let (Some(owner), false) = (owner, change.paths.is_empty()) {
        return Some(change.paths.iter().any(|path| owner.owns(path)));
    }
    // The repository's own name, where no service has it, says nothing.
    let name = change.repository.rsplit('/').next();
    let named = change.service.as_deref().filter(|s| history.world.service(s).is_some() || Some(*s) != name);
    match named {
        Some(named) => Some(named == service),
        None if owner.is_some() => None,
        None => Some(true),
    }
}

/// Whether a change touched files of the deployment's repository, and none of its service's.
fn misses(history: &History<'_>, deployment: &Deployment, change: &Change) -> bool {
    let Some(configured) = history.world.service(&deployment.service) else { return false };
    let ours = |path: &String| configured.owns(path);
    let repository = deployment.repository.as_ref().or(configured.repository.as_ref());
    !(repository != Some(&change.repository)
        || configured.paths.is_empty()
        || change.paths.is_empty()
        || change.paths.iter().any(ours))
}

/// Every lead and everything left out, place by place.
pub fn leads(history: &History<'_>) -> (Vec<Lead>, Vec<Out>) {
    let (mut leads, mut outs) = (Vec::new(), Vec::new());
    let mut there: BTreeSet<(&str, &str, &str, &str)> = BTreeSet::new();
    for (d, deployment) in history.deployments.iter().enumerate() {
        if deployment.outcome != "succeeded" {
            continue;
        }
        let mut is_new = |repository, sha| there.insert((&deployment.service, &deployment.place, repository, sha));
        let mut out = |reason| outs.push(Out { deployment: d, reason });
        for named in &deployment.changes {
            let known = history.changes.iter().find(|c| (&c.repository, &c.sha) == (&named.repository, &named.sha));
            if known.is_some_and(|change| change.merge) {
                out("merge_commit");
            } else if known.is_some_and(|change| misses(history, deployment, change)) {
                out("other_paths");
            } else if is_new(&named.repository, &named.sha) {
                leads.push(lead(d, (&named.repository, &named.sha), known, Some(named)));
            } else {
                out("deployed_before");
            }
        }
        if !deployment.changes.is_empty() {
            continue;
        }
        let brought = match range(history, d) {
            Ok(brought) => brought,
            Err(reason) => {
                out(reason);
                continue;
            }
        };
        let mut nothing = true;
        for change in brought {
            let takes = takes(history, &deployment.service, change);
            if takes == Some(false) || !is_new(&change.repository, &change.sha) {
                continue;
            }
            nothing = false;
            match takes {
                _ if change.merge => out("merge_commit"),
                None => out("paths_unknown"),
                Some(_) => leads.push(lead(d, (&change.repository, &change.sha), Some(change), None)),
            }
        }
        if nothing {
            out("nothing_new");
        }
    }
    (leads, outs)
}

/// A redeploy and a rollback bring nothing, and leave how far the place is where it was.
fn moves_on(history: &History<'_>, d: usize) -> bool {
    let first = history.before(d).is_empty();
    first || !history.deployments[d].changes.is_empty() || (!history.is_again(d) && history.kind(d) != "rollback")
}

/// What lies between the deployments before and this one, or why that says nothing.
fn range<'a>(history: &'a History<'_>, d: usize) -> Result<Vec<&'a Change>, &'static str> {
    let before = history.before(d);
    if before.is_empty() {
        return Err("first_deployment");
    }
    if !moves_on(history, d) {
        return Err("nothing_new");
    }
    let Some((repository, until, own)) = reach(history, d) else { return Err("no_changes_known") };
    let earlier = before.into_iter().filter(|other| moves_on(history, *other));
    let reached = earlier.filter_map(|other| reach(history, other)).filter(|(there, ..)| *there == repository);
    // Nothing of this repository was there before: where its changes begin nobody knows.
    let after = reached.map(|(_, until, _)| until).max().unwrap_or(until);
    let between = |change: &&Change| landed(change).is_some_and(|at| after < at && at <= until);
    let of = history.changes.iter().filter(|change| change.repository == repository);
    Ok(of.filter(between).chain(own).collect())
}

/// The repository of a deployment, how far it reaches on the main line, and its own commit there.
fn reach<'a>(history: &'a History<'_>, d: usize) -> Option<(String, i64, Option<&'a Change>)> {
    let deployment: &Deployment = &history.deployments[d];
    let configured = history.world.service(&deployment.service).and_then(|service| service.repository.clone());
    let with_sha = |change: &&Change| Some(&change.sha) == deployment.commit.as_ref();
    let by_commit = || history.changes.iter().filter(with_sha).map(|change| change.repository.clone()).min();
    let repository = deployment.repository.clone().or(configured).or_else(by_commit)?;
    let mut of = history.changes.iter().filter(|change| change.repository == repository);
    if !of.clone().any(|change| landed(change).is_some()) {
        return None;
    }
    let own = of.find(with_sha);
    let until = own.and_then(landed).or(deployment.started).or(deployment.finished)?;
    Some((repository, until, own))
}
