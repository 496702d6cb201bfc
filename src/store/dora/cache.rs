//! Projections in memory, brought up to date at every reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Weekday;
use chrono_tz::Tz;
use parking_lot::Mutex;

use super::arranged::ATTEMPTS;
use super::dirty;
use super::kept;
use super::known::{Known, Pin};
use super::memo::{Memo, Scope};
use super::places;
use super::reading::{Reading, Rows};
use super::repositories::Repositories;
use super::{Wanted, project};
use crate::config::Config;
use crate::dora::calendar::{Calendar, Window};
use crate::dora::count::{LeadFrom, Question};
use crate::dora::month::Month;
use crate::dora::partition::Details;
use crate::dora::select::Arrival;
use crate::dora::stats::Center;
use crate::dora::{Derived, Rules};
use crate::store::{Conn, Store, StoreError};
use crate::time::Timestamp;

/// How long a reading waits for projections; after a change of the configuration there may be many.
const PATIENCE: Duration = Duration::from_secs(20);
const A_YEAR: Duration = Duration::from_hours(366 * 24);
/// Months that are read at once of a few services.
const MONTHS: usize = 120;
/// The first round projects every fact committed before the reading; the others what neighbours
/// made of it. New facts may go on coming all the while.
const ROUNDS: usize = 4;

/// Shared by the HTTP handlers and the gauges; one per process.
pub struct DoraCache {
    pub(super) known: Mutex<Known>,
    pub(super) memo: Mutex<Memo>,
    repositories: Repositories,
    /// Held by whoever projects.
    projecting: tokio::sync::Mutex<()>,
}

impl DoraCache {
    /// May have about so many bytes: a quarter for rows as they are stored, an eighth for changes as
    /// derivations read them, the rest for merged months. A gibibyte is enough for all months of ten
    /// million changes, and those of every team.
    pub fn new(bytes: usize) -> Self {
        let (rows, repositories) = (bytes / 4, bytes / 8);
        Self {
            known: Mutex::new(Known::new(rows)),
            memo: Mutex::new(Memo::new(bytes - rows - repositories)),
            repositories: Repositories::new(repositories),
            projecting: tokio::sync::Mutex::default(),
        }
    }

    /// The rows of the wanted services in the months of a window, and those that last into it,
    /// with at least every fact committed before; without a window, only where there are any.
    /// Incidents of no service only where all services are wanted.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn read(
        &self,
        store: &Store,
        config: &Arc<Config>,
        wanted: &Wanted,
        window: Option<Window>,
    ) -> Result<Reading, StoreError> {
        for _ in 0..ATTEMPTS {
            let (mut conn, rules) = self.up_to_date(store, config, wanted).await?;
            let Some(window) = window else { return Ok(self.known.lock().reading(rules, Vec::new())) };
            let months = self.known.lock().months(window);
            if let Some(rows) = self.rows(&mut conn, wanted, &months).await? {
                return Ok(self.known.lock().reading(rules, rows));
            }
        }
        Err(StoreError::Busy)
    }

    /// Adds up what is asked for most: everything in production, over all its history. Then no
    /// question has to begin with that.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn warm(&self, store: &Store, config: &Arc<Config>, now: Timestamp) -> Result<(), StoreError> {
        let reading = self.read(store, config, &Wanted::All, None).await?;
        let known = reading.environments();
        let production = known.into_iter().filter(|name| reading.rules.is_production(name));
        let environments: BTreeSet<String> = production.map(str::to_owned).collect();
        let scope = Scope { wanted: Wanted::All, environments, arrival: Arrival::First };
        let Some(first) = reading.first_deployment(|service, name| scope.wants(service, name)) else { return Ok(()) };
        // Where all of it has no room, a year has.
        let from = if self.memo.lock().is_full() { first.max(now.minus(A_YEAR)) } else { first };
        let from = Month::of(from).start();
        if from >= now {
            return Ok(());
        }
        let question = Question {
            window: Window { from, to: now },
            now,
            calendar: Calendar { time_zone: Tz::UTC, week_starts_on: Weekday::Mon },
            center: Center::Percentile(50.0),
            lead_from: LeadFrom::Authored,
            exclude_rollbacks: false,
        };
        // Who asks meanwhile has the other cores.
        self.arrange_on(1, store, config, &scope, &question, question.window).await.map(|_| ())
    }

    /// A connection, and everything projected that is committed by now.
    pub(super) async fn up_to_date(
        &self,
        store: &Store,
        config: &Arc<Config>,
        wanted: &Wanted,
    ) -> Result<(Conn, Arc<Rules>), StoreError> {
        let rules = self.known.lock().follow(config);
        self.catch_up(store, &rules, wanted).await?;
        let mut conn = store.read().await?;
        self.refresh(&mut conn).await?;
        Ok((conn, rules))
    }

    /// The wanted rows of the months; `None` where new facts overtook the reading.
    pub(super) async fn rows(
        &self,
        conn: &mut Conn,
        wanted: &Wanted,
        months: &BTreeSet<Month>,
    ) -> Result<Option<Vec<Rows>>, StoreError> {
        let _pin = Pin::new(&self.known);
        if !self.load(conn, wanted, months).await? {
            return Ok(None);
        }
        let rows = self.known.lock().rows(wanted, months);
        if rows.is_none() {
            // Another reading keeps newer rows than this one knows of, or needed their room.
            self.refresh(conn).await?;
        }
        Ok(rows)
    }

    /// The names of the rows of a partition as it was read; `None` where it was projected anew
    /// since.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn details(&self, conn: &mut Conn, rows: &Rows) -> Result<Option<Details>, StoreError> {
        let found = kept::details(conn, &rows.service, rows.month).await?;
        Ok(found.filter(|(changed, _)| *changed == rows.changed).map(|(_, details)| details))
    }

    /// The rows of one service as of now, whether they are projected or not.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn rows_of(&self, store: &Store, config: &Arc<Config>, service: &str) -> Result<Derived, StoreError> {
        let rules = self.known.lock().follow(config);
        project::rows_of(store, &rules, &self.repositories, service).await
    }

    /// Projects what waits for it. Holds no connection while another projects: that needs one too.
    async fn catch_up(&self, store: &Store, rules: &Arc<Rules>, wanted: &Wanted) -> Result<(), StoreError> {
        if project::state(&mut store.read().await?).await?.is_none_or(|(digest, _)| digest != rules.digest()) {
            project::follow(store, rules).await?;
        }
        #[expect(clippy::disallowed_methods, reason = "how long this very call takes")]
        let began = Instant::now();
        for _ in 0..ROUNDS {
            let mut waiting = dirty::waiting(&mut store.read().await?, wanted).await?;
            if waiting.is_empty() {
                break;
            }
            {
                let _turn = self.projecting.lock().await;
                project::pass_over(store, rules, &self.repositories, &mut waiting).await?;
            }
            waiting.reverse();
            while let Some(next) = waiting.pop() {
                // Every service by itself, so that whoever waits for another gets a turn.
                let _turn = self.projecting.lock().await;
                let waits = dirty::still_waits(&mut store.read().await?, &next.service).await?;
                if let Some(dirty) = waits {
                    project::project(store, rules, &self.repositories, &dirty).await?;
                }
                if began.elapsed() > PATIENCE && !waiting.is_empty() {
                    return Err(StoreError::Behind { left: waiting.len() });
                }
            }
        }
        Ok(())
    }

    /// Learns what was projected since the last look.
    pub(super) async fn refresh(&self, conn: &mut Conn) -> Result<(), StoreError> {
        let now = project::state(conn).await?.map_or(0, |(_, changed)| changed);
        let (seen, mut places) = {
            let known = self.known.lock();
            (known.changed, Arc::clone(&known.places))
        };
        if now == seen {
            return Ok(());
        }
        let written = kept::written_after(conn, seen).await?;
        places::refresh(conn, seen, Arc::make_mut(&mut places)).await?;
        let mut known = self.known.lock();
        // Another reading may have been faster.
        if known.changed < now {
            known.learn(written);
            known.places = places;
            known.changed = now;
        }
        Ok(())
    }

    /// Loads what is missing; answers whether all of it is as new as what is known.
    pub(super) async fn load(
        &self,
        conn: &mut Conn,
        wanted: &Wanted,
        months: &BTreeSet<Month>,
    ) -> Result<bool, StoreError> {
        let missing = self.known.lock().missing(wanted, months);
        if missing.is_empty() {
            return Ok(true);
        }
        if let Wanted::These(_) = wanted {
            let months: Vec<Month> = missing.keys().copied().collect();
            let services: BTreeSet<&str> = missing.values().flatten().map(AsRef::as_ref).collect();
            let services: Vec<&str> = services.into_iter().collect();
            for months in months.chunks(MONTHS) {
                let loaded = kept::load(conn, months, Some(&services)).await?;
                self.known.lock().keep(loaded);
            }
        } else {
            for (month, services) in missing {
                let all = self.known.lock().partitions.get(&month).map_or(0, BTreeMap::len);
                let names: Vec<&str> = services.iter().map(AsRef::as_ref).collect();
                // Half a month or more is read at once.
                let names = (names.len() * 2 < all).then_some(names.as_slice());
                let loaded = kept::load(conn, &[month], names).await?;
                self.known.lock().keep(loaded);
            }
        }
        self.refresh(conn).await?;
        Ok(self.known.lock().missing(wanted, months).is_empty())
    }
}
