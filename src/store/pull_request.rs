//! Stored pull requests and pushes, and how they reach the changes that pull requests became.
//!
//! Whichever side a new fact is about, everything that depends on it is folded again in the same
//! transaction: a push feeds the pull requests of its branch, a pull request the commits that the
//! push brought which ended in it.

use std::collections::{BTreeMap, BTreeSet};

use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::RunQueryDsl;
use serde::de::DeserializeOwned;

use super::conn::{MAX_BINDS, batch, on_conn};
use super::fact::{self, Entity};
use super::schema::{change, pull_request, push};
use super::{Conn, StoreError, storable};
use crate::event::landing::Landing;
use crate::event::pull_request::{Commit, Head, fold_pull_request};
use crate::event::push::{Chain, MAX_PUSHES, fold_push};
use crate::event::{Change, DeliveryEvent, PullRequestState, Push, PushRef};

/// Names per statement, well below the limit of bind parameters.
const CHUNK: usize = 1_000;
/// As many digits as Bitbucket gives of the commit that a pull request became.
const ABBREVIATED: usize = 12;

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = pull_request, treat_none_as_default_value = false)]
struct RequestRow {
    repository: String,
    number: i64,
    head_repository: Option<String>,
    head_branch: Option<String>,
    head_sha: Option<String>,
    merge_commit: Option<String>,
    state: String,
}

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = push, treat_none_as_default_value = false)]
struct PushRow {
    repository: String,
    branch: String,
    head: String,
    before_head: Option<String>,
    state: String,
}

fn encode(state: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(state).map_err(|source| StoreError::encode("state", source))
}

fn decode<T: DeserializeOwned>(what: &'static str, state: &str) -> Result<T, StoreError> {
    serde_json::from_str(state).map_err(|source| StoreError::decode(what, source))
}

/// Folds the pushes and pull requests among the entities; answers the changes that may follow.
///
/// # Errors
/// The database refuses, or holds what cannot be read.
pub(super) async fn refold(conn: &mut Conn, entities: &BTreeSet<Entity>) -> Result<BTreeSet<Entity>, StoreError> {
    let of_kind = |kind| entities.iter().filter(move |entity| entity.kind == kind).cloned().collect();
    let pushes = refold_pushes(conn, &of_kind("push")).await?;
    let mut numbers: BTreeSet<Entity> = of_kind("pull_request");
    numbers.extend(fed_by(conn, &pushes).await?);
    let left = merge_commits(conn, &numbers).await?;
    let mut requests = refold_requests(conn, &numbers).await?;
    let following: BTreeSet<Entity> = after(conn, &requests).await?.difference(&numbers).cloned().collect();
    requests.extend(refold_requests(conn, &following).await?);
    let mut follow = BTreeSet::new();
    for push in &pushes {
        follow.extend(push.commits.iter().map(|commit| Entity::change(&push.repository, &commit.sha)));
    }
    // Also the commits that they are no longer said to have become: those lose what they had from them.
    let became = requests.iter().filter_map(|request| Some((request.repository.as_str(), request.merged()?.1)));
    let mut merged: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (repository, commit) in became.chain(left.iter().map(|(repository, commit)| (&**repository, &**commit))) {
        merged.entry(repository).or_default().extend(in_full(conn, repository, commit).await?);
    }
    for (repository, commits) in merged {
        follow.extend(commits.iter().map(|commit| Entity::change(repository, commit)));
        let commits: Vec<&str> = commits.iter().map(String::as_str).collect();
        let refs = brought_by(conn, repository, &commits).await?;
        for push in load_pushes(conn, repository, &refs).await?.into_values() {
            follow.extend(push.commits.iter().map(|commit| Entity::change(repository, &commit.sha)));
        }
    }
    Ok(follow)
}

/// The stored changes that an abbreviated commit may be; one that is not is itself.
async fn in_full(conn: &mut Conn, repository: &str, commit: &str) -> QueryResult<Vec<String>> {
    if commit.len() != ABBREVIATED {
        return Ok(vec![commit.to_owned()]);
    }
    let end = format!("{commit}\u{10ffff}");
    let query = || {
        let of = change::repository.eq(repository).and(change::sha.ge(commit)).and(change::sha.lt(&end));
        change::table.filter(of).select(change::sha)
    };
    on_conn!(conn, |c| query().load(c).await)
}

async fn refold_pushes(conn: &mut Conn, entities: &BTreeSet<Entity>) -> Result<Vec<Push>, StoreError> {
    let mut pushes = Vec::new();
    for facts in fact::load(conn, entities).await?.into_values() {
        let facts = facts.into_iter().filter_map(|fact| match fact {
            DeliveryEvent::Push(event) => Some(event),
            _ => None,
        });
        pushes.extend(fold_push(&facts.collect::<Vec<_>>()));
    }
    let row = |push: &Push| {
        Ok(PushRow {
            repository: storable(&push.repository),
            branch: storable(&push.push.branch),
            head: storable(&push.push.head),
            before_head: push.before.as_deref().map(storable),
            state: encode(push)?,
        })
    };
    let rows: Vec<PushRow> = pushes.iter().map(row).collect::<Result<_, StoreError>>()?;
    for rows in rows.chunks(MAX_BINDS / 5) {
        batch!(conn, execute, rows => diesel::insert_into(push::table)
            .values(rows)
            .on_conflict((push::repository, push::branch, push::head))
            .do_update()
            .set((push::before_head.eq(excluded(push::before_head)), push::state.eq(excluded(push::state)))))?;
    }
    Ok(pushes)
}

/// The pull requests whose branches the pushes led to.
async fn fed_by(conn: &mut Conn, pushes: &[Push]) -> Result<BTreeSet<Entity>, StoreError> {
    let mut branches: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for push in pushes {
        branches.entry((&push.repository, &push.push.branch)).or_default().insert(push.push.head.clone());
    }
    let mut fed = BTreeSet::new();
    for ((repository, branch), heads) in branches {
        let heads = later(conn, repository, branch, heads).await?;
        for heads in heads.chunks(CHUNK) {
            let query = || {
                pull_request::table
                    .filter(pull_request::head_repository.eq(repository))
                    .filter(pull_request::head_branch.eq(branch))
                    .filter(pull_request::head_sha.eq_any(heads))
                    .select((pull_request::repository, pull_request::number))
            };
            let found: Vec<(String, i64)> = on_conn!(conn, |c| query().load(c).await)?;
            fed.extend(found.into_iter().map(|(repository, number)| Entity::pull_request(&repository, number)));
        }
    }
    Ok(fed)
}

/// The heads, and those that the branch had after them.
async fn later(
    conn: &mut Conn,
    repository: &str,
    branch: &str,
    mut heads: BTreeSet<String>,
) -> Result<Vec<String>, StoreError> {
    let mut newest: Vec<String> = heads.iter().cloned().collect();
    // As far as a pull request looks back.
    for _ in 0..MAX_PUSHES {
        let mut next = Vec::new();
        for some in newest.chunks(CHUNK) {
            let query = || {
                push::table
                    .filter(push::repository.eq(repository))
                    .filter(push::branch.eq(branch))
                    .filter(push::before_head.eq_any(some))
                    .select(push::head)
            };
            next.extend(on_conn!(conn, |c| query().load::<String>(c).await)?);
        }
        newest = next.into_iter().filter(|head| heads.insert(head.clone())).collect();
        if newest.is_empty() {
            break;
        }
    }
    Ok(heads.into_iter().collect())
}

/// The commits that pull requests became, with their repositories, as far as it is stored.
async fn merge_commits(conn: &mut Conn, requests: &BTreeSet<Entity>) -> Result<Vec<(String, String)>, StoreError> {
    let mut commits = Vec::new();
    let requests: Vec<&Entity> = requests.iter().collect();
    for of_one in requests.chunk_by(|a, b| a.source == b.source) {
        let numbers: Vec<i64> = of_one.iter().filter_map(|request| request.id.parse().ok()).collect();
        for (some, request) in numbers.chunks(CHUNK).zip(of_one.first().into_iter().cycle()) {
            let query = || {
                pull_request::table
                    .filter(pull_request::repository.eq(&request.source))
                    .filter(pull_request::number.eq_any(some))
                    .select((pull_request::repository, pull_request::merge_commit))
            };
            let found: Vec<(String, Option<String>)> = on_conn!(conn, |c| query().load(c).await)?;
            commits.extend(found.into_iter().filter_map(|(repository, commit)| Some((repository, commit?))));
        }
    }
    Ok(commits)
}

async fn refold_requests(conn: &mut Conn, entities: &BTreeSet<Entity>) -> Result<Vec<PullRequestState>, StoreError> {
    let mut requests = Vec::new();
    for facts in fact::load(conn, entities).await?.into_values() {
        let facts = facts.into_iter().filter_map(|fact| match fact {
            DeliveryEvent::PullRequest(event) => Some(event),
            _ => None,
        });
        requests.extend(fold_pull_request(&facts.collect::<Vec<_>>()));
    }
    if requests.iter().any(|request| uncounted(request).is_some()) {
        // Each finds where the others ended.
        save(conn, &requests).await?;
    }
    for request in &mut requests {
        if let Some(head) = request.head.clone() {
            request.add_pushed(pushed(conn, &head, request).await?);
        }
    }
    save(conn, &requests).await?;
    Ok(requests)
}

async fn save(conn: &mut Conn, requests: &[PullRequestState]) -> Result<(), StoreError> {
    let rows: Vec<RequestRow> = requests.iter().map(request_row).collect::<Result<_, StoreError>>()?;
    for rows in rows.chunks(MAX_BINDS / 7) {
        batch!(conn, execute, rows => diesel::insert_into(pull_request::table)
        .values(rows)
        .on_conflict((pull_request::repository, pull_request::number))
        .do_update()
        .set((
            pull_request::head_repository.eq(excluded(pull_request::head_repository)),
            pull_request::head_branch.eq(excluded(pull_request::head_branch)),
            pull_request::head_sha.eq(excluded(pull_request::head_sha)),
            pull_request::merge_commit.eq(excluded(pull_request::merge_commit)),
            pull_request::state.eq(excluded(pull_request::state)),
        )))?;
    }
    Ok(())
}

/// The branch of a pull request whose source does not say how many commits it has: what was pushed to the
/// branch is its own back to where the one before it ended.
fn uncounted(request: &PullRequestState) -> Option<&Head> {
    request.head.as_ref().filter(|_| request.commit_count.is_none())
}

/// Where the merged ones of the same branch ended that came before.
async fn ended_before(conn: &mut Conn, request: &PullRequestState) -> Result<BTreeSet<String>, StoreError> {
    let Some(head) = uncounted(request) else { return Ok(BTreeSet::new()) };
    let query = || {
        pull_request::table
            .filter(pull_request::head_repository.eq(storable(&head.repository)))
            .filter(pull_request::head_branch.eq(storable(&head.branch)))
            .filter(pull_request::repository.eq(storable(&request.repository)))
            .filter(pull_request::number.lt(number(request)))
            .filter(pull_request::merge_commit.is_not_null())
            .select(pull_request::head_sha)
    };
    let heads: Vec<Option<String>> = on_conn!(conn, |c| query().load(c).await)?;
    Ok(heads.into_iter().flatten().collect())
}

/// Those whose commits begin where one of the merged ones ended.
async fn after(conn: &mut Conn, requests: &[PullRequestState]) -> Result<BTreeSet<Entity>, StoreError> {
    let mut after = BTreeSet::new();
    for request in requests.iter().filter(|request| request.merged().is_some()) {
        let Some(head) = uncounted(request) else { continue };
        let query = || {
            pull_request::table
                .filter(pull_request::head_repository.eq(storable(&head.repository)))
                .filter(pull_request::head_branch.eq(storable(&head.branch)))
                .filter(pull_request::repository.eq(storable(&request.repository)))
                .filter(pull_request::number.gt(number(request)))
                .select(pull_request::number)
        };
        let numbers: Vec<i64> = on_conn!(conn, |c| query().load(c).await)?;
        after.extend(numbers.into_iter().map(|number| Entity::pull_request(&request.repository, number)));
    }
    Ok(after)
}

fn number(request: &PullRequestState) -> i64 {
    i64::try_from(request.number).unwrap_or(i64::MAX)
}

fn request_row(request: &PullRequestState) -> Result<RequestRow, StoreError> {
    let head = request.head.as_ref();
    Ok(RequestRow {
        repository: storable(&request.repository),
        number: number(request),
        head_repository: head.map(|head| storable(&head.repository)),
        head_branch: head.map(|head| storable(&head.branch)),
        head_sha: head.map(|head| storable(&head.sha)),
        merge_commit: request.merged().map(|(_, commit)| storable(commit)),
        state: encode(request)?,
    })
}

/// What the pushes to a branch brought, up to this head.
async fn pushed(conn: &mut Conn, head: &Head, request: &PullRequestState) -> Result<Vec<Commit>, StoreError> {
    let ended = ended_before(conn, request).await?;
    let mut chain = Chain::new(request.commit_count);
    let mut at = Some(head.sha.clone());
    while let Some(sha) = at {
        let query = || {
            push::table.find((storable(&head.repository), storable(&head.branch), storable(&sha))).select(push::state)
        };
        let state: Option<String> = on_conn!(conn, |c| query().get_result(c).await.optional())?;
        let Some(state) = state else { break };
        at = chain.add(&decode("push", &state)?).filter(|before| !ended.contains(*before)).map(str::to_owned);
    }
    Ok(chain.into_commits())
}

/// The pushes that brought stored changes.
async fn brought_by(conn: &mut Conn, repository: &str, commits: &[&str]) -> Result<BTreeSet<PushRef>, StoreError> {
    let mut refs = BTreeSet::new();
    for some in commits.chunks(CHUNK) {
        let query = || {
            change::table
                .filter(change::repository.eq(repository))
                .filter(change::sha.eq_any(some))
                .select(change::state)
        };
        for state in on_conn!(conn, |c| query().load::<String>(c).await)? {
            refs.extend(decode::<Change>("change", &state)?.push);
        }
    }
    Ok(refs)
}

async fn load_pushes(
    conn: &mut Conn,
    repository: &str,
    refs: &BTreeSet<PushRef>,
) -> Result<BTreeMap<PushRef, Push>, StoreError> {
    let refs: Vec<&PushRef> = refs.iter().collect();
    let mut pushes = BTreeMap::new();
    for of_branch in refs.chunk_by(|a, b| a.branch == b.branch) {
        let Some(first) = of_branch.first() else { continue };
        let heads: Vec<&str> = of_branch.iter().map(|name| name.head.as_str()).collect();
        for heads in heads.chunks(CHUNK) {
            let query = || {
                push::table
                    .filter(push::repository.eq(repository))
                    .filter(push::branch.eq(&first.branch))
                    .filter(push::head.eq_any(heads))
                    .select(push::state)
            };
            for state in on_conn!(conn, |c| query().load::<String>(c).await)? {
                let push: Push = decode("push", &state)?;
                pushes.insert(push.push.clone(), push);
            }
        }
    }
    Ok(pushes)
}

/// Gives changes, as they were folded, what their pushes and pull requests say of them.
///
/// # Errors
/// The database does not answer, or holds what cannot be read.
pub(super) async fn land<'c>(conn: &mut Conn, changes: impl Iterator<Item = &'c mut Change>) -> Result<(), StoreError> {
    let mut repositories: BTreeMap<String, Vec<&mut Change>> = BTreeMap::new();
    for change in changes {
        repositories.entry(change.repository.clone()).or_default().push(change);
    }
    for (repository, changes) in repositories {
        let refs: BTreeSet<PushRef> = changes.iter().filter_map(|change| change.push.clone()).collect();
        let pushes = load_pushes(conn, &repository, &refs).await?;
        let brought = pushes.values().flat_map(|push| &push.commits).map(|commit| commit.sha.as_str());
        let shas: BTreeSet<&str> = changes.iter().map(|change| change.sha.as_str()).chain(brought).collect();
        let requests = merged_as(conn, &repository, &shas.into_iter().collect::<Vec<_>>()).await?;
        let mut landings = BTreeMap::new();
        for change in changes {
            let landing = landings
                .entry(change.push.clone())
                .or_insert_with_key(|name| Landing::new(name.as_ref().and_then(|name| pushes.get(name)), &requests));
            landing.complete(change);
        }
    }
    Ok(())
}

/// The pull requests that became one of the commits, in order of their numbers.
async fn merged_as(conn: &mut Conn, repository: &str, commits: &[&str]) -> Result<Vec<PullRequestState>, StoreError> {
    let mut requests: Vec<PullRequestState> = Vec::new();
    for some in commits.chunks(CHUNK) {
        let names: Vec<&str> = some.iter().flat_map(|sha| [Some(*sha), sha.get(..ABBREVIATED)]).flatten().collect();
        let query = || {
            pull_request::table
                .filter(pull_request::repository.eq(repository))
                .filter(pull_request::merge_commit.eq_any(&names))
                .select(pull_request::state)
        };
        for state in on_conn!(conn, |c| query().load::<String>(c).await)? {
            let mut request: PullRequestState = decode("pull request", &state)?;
            request.complete_commit(some);
            requests.push(request);
        }
    }
    requests.sort_by_key(|request| request.number);
    Ok(requests)
}
