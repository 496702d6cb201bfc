//! The changes of repositories as derivations read them. Facts append what they tell of as one
//! packed piece; pieces are merged when there are many, and repositories stay in memory while there
//! is room. A derivation reads its whole repository: row by row that would take most of its time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use parking_lot::Mutex;

use super::blocking;
use super::news::{News, Projected};
use crate::dora::Rules;
use crate::dora::repository::{Commit, Repository};
use crate::event::Change;
use crate::store::conn::{batch, on_conn};
use crate::store::lock::Lock;
use crate::store::schema::{change, dora_change};
use crate::store::{Conn, Store, StoreError, history, storable};

/// Small pieces of a repository before they are merged.
const MANY: usize = 32;
/// Changes that are packed anew at once.
const AT_ONCE: i64 = 5_000;
/// A piece of so many bytes stays as it is.
const LARGE: usize = 2 << 20;

#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = dora_change, treat_none_as_default_value = false)]
struct NewPiece {
    repository: String,
    packed: Vec<u8>,
}

fn pack(commits: &[Commit]) -> Result<Vec<u8>, StoreError> {
    postcard::to_allocvec(commits).map_err(|error| StoreError::encode("changes", error))
}

fn unpack(bytes: &[u8]) -> Result<Vec<Commit>, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| StoreError::decode("changes", error))
}

/// Adds what is newly known of changes, in the transaction of the facts that it follows from.
///
/// # Errors
/// The database refuses.
pub async fn append(conn: &mut Conn, changes: impl Iterator<Item = &Change>) -> Result<(), StoreError> {
    let mut commits: BTreeMap<String, Vec<Commit>> = BTreeMap::new();
    for change in changes {
        let commit = Commit { sha: storable(&change.sha).into(), ..Commit::from(change) };
        commits.entry(storable(&change.repository)).or_default().push(commit);
    }
    let piece = |(repository, commits): (String, Vec<Commit>)| Ok(NewPiece { repository, packed: pack(&commits)? });
    let pieces: Vec<NewPiece> = commits.into_iter().map(piece).collect::<Result<_, StoreError>>()?;
    for rows in pieces.chunks(super::dirty::CHUNK) {
        batch!(conn, execute, rows => diesel::insert_into(dora_change::table).values(rows))?;
    }
    Ok(())
}

/// Packs every change anew.
///
/// # Errors
/// The database refuses, or holds what cannot be read.
pub(super) async fn pack_all(conn: &mut Conn) -> Result<(), StoreError> {
    on_conn!(conn, |c| diesel::delete(dora_change::table).execute(c).await)?;
    let mut last = String::new();
    loop {
        let query = || {
            let next = change::table.filter(change::repository.gt(&last)).order(change::repository);
            next.select(change::repository)
        };
        let next: Option<String> = on_conn!(conn, |c| query().first(c).await.optional())?;
        let Some(repository) = next else { return Ok(()) };
        pack_repository(conn, &repository).await?;
        last = repository;
    }
}

async fn pack_repository(conn: &mut Conn, repository: &str) -> Result<(), StoreError> {
    let mut last = String::new();
    loop {
        let query = || {
            change::table
                .filter(change::repository.eq(repository))
                .filter(change::sha.gt(&last))
                .order(change::sha)
                .select((change::sha, change::state))
                .limit(AT_ONCE)
        };
        let rows: Vec<(String, String)> = on_conn!(conn, |c| query().load(c).await)?;
        let Some((sha, _)) = rows.last() else { return Ok(()) };
        last.clone_from(sha);
        let states: Vec<String> = rows.into_iter().map(|(_, state)| state).collect();
        let changes: Vec<Change> = history::decode_all("change", &states)?;
        append(conn, changes.iter()).await?;
    }
}

/// Repositories in memory.
pub(super) struct Repositories(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Bytes that repositories may have.
    room: usize,
    by_name: HashMap<String, Read>,
    /// What services were projected from.
    projected: HashMap<String, Projected>,
    /// The last projection that this process made.
    changed: i64,
    /// How often was read, for what was not read for longest.
    turn: u64,
}

/// A repository and the number of its last piece.
pub(super) struct Reading {
    pub repository: Arc<Repository>,
    pub last: i64,
}

/// A repository as far as it was read.
#[derive(Clone)]
struct Read {
    repository: Arc<Repository>,
    /// In order; each by the number of its row and its bytes.
    pieces: Vec<(i64, usize)>,
    news: News,
    turn: u64,
}

impl Repositories {
    pub fn new(room: usize) -> Self {
        Self(Mutex::new(Kept { room, ..Kept::default() }))
    }

    /// The repositories with every change that was committed before.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn read(&self, conn: &mut Conn, names: &BTreeSet<String>) -> Result<Vec<Reading>, StoreError> {
        let mut repositories = Vec::with_capacity(names.len());
        for name in names {
            let known = self.0.lock().by_name.get(name).cloned();
            let known = known.unwrap_or_else(|| Read {
                repository: Arc::new(Repository::new(name)),
                pieces: Vec::new(),
                news: News::since(i64::MIN),
                turn: 0,
            });
            let after = known.last();
            let rows = pieces_after(conn, name, after).await?;
            let read = if rows.is_empty() { known } else { blocking(move || known.with(&rows)).await?? };
            repositories.push(Reading { repository: Arc::clone(&read.repository), last: read.last() });
            self.0.lock().keep(name, read);
        }
        Ok(repositories)
    }

    /// Remembers what a service was projected from, where other services are built from it, too.
    /// `changed` are the numbers of the projection before and of this one.
    pub fn remember(&self, service: &str, projected: Option<Projected>, changed: (i64, i64)) {
        let mut kept = self.0.lock();
        if kept.changed != changed.0 {
            // Another process led in between.
            kept.projected.clear();
        }
        kept.changed = changed.1;
        match projected {
            Some(projected) => drop(kept.projected.insert(service.to_owned(), projected)),
            None => drop(kept.projected.remove(service)),
        }
    }

    /// Those of the services whose rows stay as they are, because what is new of their repositories
    /// is not theirs; they must wait for nothing else. `changed` is the number of the last projection.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn left_alone<'s>(
        &self,
        conn: &mut Conn,
        rules: &Rules,
        services: &[&'s str],
        changed: i64,
    ) -> Result<Vec<&'s str>, StoreError> {
        let names: BTreeSet<String> = {
            let kept = self.0.lock();
            if kept.changed != changed {
                return Ok(Vec::new());
            }
            let projected = services.iter().filter_map(|service| kept.projected.get(*service));
            // What is not in memory has no news to tell.
            let names = projected.flat_map(Projected::repositories).filter(|name| kept.by_name.contains_key(*name));
            names.cloned().collect()
        };
        self.read(conn, &names).await?;
        let mut kept = self.0.lock();
        let news: BTreeMap<String, (i64, News)> = kept.news_of(&names);
        let mut alone = Vec::new();
        for service in services {
            if let Some(projected) = kept.projected.get_mut(*service).filter(|p| p.holds(rules, service, &news)) {
                projected.follow(&news);
                alone.push(*service);
            }
        }
        Ok(alone)
    }

    /// Merges the pieces of repositories that have many. Holds no connection meanwhile but its own.
    ///
    /// # Errors
    /// The database refuses, or holds what cannot be read.
    pub async fn merge(&self, store: &Store, names: &BTreeSet<String>) -> Result<(), StoreError> {
        for name in names {
            let pieces = self.0.lock().by_name.get(name).map(|read| read.pieces.clone()).unwrap_or_default();
            let runs = worth_merging(&pieces);
            if runs.is_empty() {
                continue;
            }
            let mut tx = store.begin().await?;
            Lock::Facts.take(&mut tx).await?;
            let mut merged = Vec::new();
            for (first, last) in runs {
                merged.push((first, last, merge_run(&mut tx, name, first, last).await?));
            }
            tx.commit().await?;
            if let Some(read) = self.0.lock().by_name.get_mut(name) {
                for (first, last, bytes) in merged {
                    read.pieces.retain(|(number, _)| !(first..last).contains(number));
                    read.pieces.iter_mut().filter(|(number, _)| *number == last).for_each(|piece| piece.1 = bytes);
                }
            }
        }
        Ok(())
    }
}

impl Kept {
    fn keep(&mut self, name: &str, read: Read) {
        self.turn += 1;
        let newer = self.by_name.get(name).is_some_and(|known| known.pieces.last() > read.pieces.last());
        if !newer {
            self.by_name.insert(name.to_owned(), Read { turn: self.turn, ..read });
        }
        while self.by_name.len() > 1 && self.size() > self.room {
            let oldest = self.by_name.iter().min_by_key(|(_, read)| read.turn).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.by_name.remove(&oldest);
            }
        }
    }

    fn news_of(&self, names: &BTreeSet<String>) -> BTreeMap<String, (i64, News)> {
        let of =
            |name: &String| Some((name.clone(), self.by_name.get(name).map(|read| (read.last(), read.news.clone()))?));
        names.iter().filter_map(of).collect()
    }

    fn size(&self) -> usize {
        self.by_name.values().map(|read| read.repository.size()).sum()
    }
}

impl Read {
    /// The number of its last piece.
    fn last(&self) -> i64 {
        self.pieces.last().map_or(i64::MIN, |(number, _)| *number)
    }

    fn with(mut self, rows: &[(i64, Vec<u8>)]) -> Result<Self, StoreError> {
        let mut commits = Vec::new();
        for (number, packed) in rows {
            commits.extend(unpack(packed)?);
            self.pieces.push((*number, packed.len()));
        }
        let last = self.last();
        let repository = Arc::make_mut(&mut self.repository);
        // With the first change on a main line, ranges of commits begin to be known.
        let began = repository.has_landed();
        let learned = repository.learn(commits);
        if began {
            self.news.learn(last, learned);
        } else {
            self.news = News::since(last);
        }
        Ok(self)
    }
}

async fn pieces_after(conn: &mut Conn, repository: &str, after: i64) -> QueryResult<Vec<(i64, Vec<u8>)>> {
    let query = || {
        dora_change::table
            .filter(dora_change::repository.eq(repository))
            .filter(dora_change::number.gt(after))
            .order(dora_change::number)
            .select((dora_change::number, dora_change::packed))
    };
    on_conn!(conn, |c| query().load(c).await)
}

/// Runs of small pieces next to each other, as the numbers of their first and last.
fn worth_merging(pieces: &[(i64, usize)]) -> Vec<(i64, i64)> {
    let small = |bytes: usize| bytes < LARGE;
    if pieces.iter().filter(|(_, bytes)| small(*bytes)).count() <= MANY {
        return Vec::new();
    }
    let mut runs: Vec<(i64, i64)> = Vec::new();
    let mut room = 0;
    for (number, bytes) in pieces {
        match runs.last_mut() {
            Some(run) if small(*bytes) && room > *bytes => {
                run.1 = *number;
                room -= bytes;
            }
            _ if small(*bytes) => {
                runs.push((*number, *number));
                room = 2 * LARGE - bytes;
            }
            _ => room = 0,
        }
    }
    runs.retain(|(first, last)| first < last);
    runs
}

/// Makes one piece of a run, under the number of its last: whoever read a part of it reads it
/// again, and comes out the same. Answers its bytes.
async fn merge_run(conn: &mut Conn, repository: &str, first: i64, last: i64) -> Result<usize, StoreError> {
    let of_run = || {
        let of = dora_change::repository.eq(repository).and(dora_change::number.between(first, last));
        dora_change::table.filter(of)
    };
    let query = || of_run().order(dora_change::number).select(dora_change::packed);
    let pieces: Vec<Vec<u8>> = on_conn!(conn, |c| query().load(c).await)?;
    let packed = blocking(move || {
        let mut newest: BTreeMap<Box<str>, Commit> = BTreeMap::new();
        for piece in pieces {
            newest.extend(unpack(&piece)?.into_iter().map(|commit| (commit.sha.clone(), commit)));
        }
        pack(&newest.into_values().collect::<Vec<_>>())
    });
    let packed = packed.await??;
    on_conn!(conn, |c| diesel::delete(of_run()).execute(c).await)?;
    let bytes = packed.len();
    let values = (dora_change::number.eq(last), dora_change::repository.eq(repository), dora_change::packed.eq(packed));
    on_conn!(conn, |c| diesel::insert_into(dora_change::table).values(values).execute(c).await)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_pieces_stay_and_many_small_ones_are_merged_between_large_ones() {
        let small = |range: std::ops::Range<i64>| range.map(|number| (number, 100)).collect::<Vec<_>>();
        assert!(worth_merging(&small(0..32)).is_empty());
        assert_eq!(worth_merging(&small(0..33)), [(0, 32)]);
        let pieces = [small(0..30), vec![(30, LARGE)], small(31..32), vec![(32, LARGE)], small(33..40)].concat();
        assert_eq!(worth_merging(&pieces), [(0, 29), (33, 39)]);
        let halves: Vec<_> = (0..40).map(|number| (number, LARGE / 2)).collect();
        assert!(worth_merging(&halves).iter().all(|(first, last)| last - first == 2));
    }
}
