//! Projections in memory, brought up to date at every reading.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::dirty;
use super::kept::{self, Kept};
use super::memo::{Memo, Name, Scope};
use super::places::{self, Place, Places};
use super::{NO_SERVICE, Wanted, project};
use crate::config::Config;
use crate::dora::Rules;
use crate::dora::calendar::Window;
use crate::dora::count::Question;
use crate::dora::month::Month;
use crate::dora::partition::{Details, Partition};
use crate::dora::select::{Arrival, Selected};
use crate::dora::tally::Tallies;
use crate::store::{Conn, Store, StoreError};
use crate::time::Timestamp;

/// What partitions may take in memory, about: a year of two million changes.
const ROOM: usize = 256 << 20;
/// How long a reading waits for projections; after a change of the configuration there may be many.
const PATIENCE: Duration = Duration::from_secs(20);
/// A reading that new facts overtake is repeated so often.
const ATTEMPTS: usize = 10;

/// Shared by the HTTP handlers and the gauges; one per process.
#[derive(Default)]
pub struct DoraCache {
    known: Mutex<Known>,
    memo: Mutex<Memo>,
    /// Held by whoever projects.
    projecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    config: Option<(Arc<Config>, Arc<Rules>)>,
    /// The newest projection that is known here.
    changed: i64,
    places: Arc<Places>,
    partitions: BTreeMap<Month, BTreeMap<Arc<str>, Slot>>,
    bytes: usize,
    /// Counts readings.
    turn: u64,
    used: BTreeMap<Month, u64>,
}

struct Slot {
    /// The projection that wrote it.
    changed: i64,
    /// `None` until it is asked for.
    partition: Option<Arc<Partition>>,
}

/// What is known at one moment.
pub struct Reading {
    pub rules: Arc<Rules>,
    pub places: Arc<Places>,
    /// In order of months and services.
    pub rows: Vec<Rows>,
}

/// What figures are made of.
pub struct Added {
    pub window: Tallies,
    /// Of the period before.
    pub before: Tallies,
    /// The first deployment of the scope in all its history.
    pub first: Option<Timestamp>,
}

/// The rows of one service and month.
pub struct Rows {
    pub service: Arc<str>,
    pub month: Month,
    /// The projection that wrote them.
    pub changed: i64,
    pub partition: Arc<Partition>,
}

impl DoraCache {
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

    /// What the rows of a scope add up to in the window of a question and in the one before it,
    /// with at least every fact committed before. Whole months are added up once.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn tallies(
        &self,
        store: &Store,
        config: &Arc<Config>,
        scope: &Scope,
        question: &Question,
    ) -> Result<Added, StoreError> {
        let before = question.before();
        for _ in 0..ATTEMPTS {
            let (mut conn, rules) = self.up_to_date(store, config, &scope.wanted).await?;
            let at = self.known.lock().changed;
            let window = self.tallies_of(&mut conn, &rules, scope, question, true).await?;
            let before = self.tallies_of(&mut conn, &rules, scope, &before, false).await?;
            let overtaken = project::state(&mut conn).await?.is_none_or(|(_, changed)| changed != at);
            if let (Some(window), Some(before), false) = (window, before, overtaken) {
                let first = self.known.lock().reading(rules, Vec::new()).first_deployment(|s, e| scope.wants(s, e));
                return Ok(Added { window, before, first });
            }
        }
        Err(StoreError::Busy)
    }

    /// `None` where new facts overtook the reading.
    async fn tallies_of(
        &self,
        conn: &mut Conn,
        rules: &Arc<Rules>,
        scope: &Scope,
        question: &Question,
        details: bool,
    ) -> Result<Option<Tallies>, StoreError> {
        let mut months = self.known.lock().months(question.window);
        let whole: Vec<Month> = if scope.is_wide() {
            months.iter().copied().filter(|m| m.is_within(question.window)).collect()
        } else {
            Vec::new()
        };
        let mut shared = Vec::with_capacity(whole.len());
        for month in whole {
            months.remove(&month);
            let Some(newest) = self.known.lock().newest(&scope.wanted, month) else { continue };
            let name = Name {
                scope: scope.clone(),
                lead_from: question.lead_from,
                exclude_rollbacks: question.exclude_rollbacks,
                month,
            };
            let known = self.memo.lock().get(&name, newest);
            let tallies = match known {
                Some(known) => known,
                None => {
                    let one = BTreeSet::from([month]);
                    let Some(rows) = self.rows(conn, &scope.wanted, &one).await? else { return Ok(None) };
                    let reading = self.known.lock().reading(Arc::clone(rules), rows);
                    let question = Question { window: month.window(), ..*question };
                    let selected =
                        reading.select(|service, environment| scope.wants(service, environment), scope.arrival);
                    let mut tallies = Tallies::of(&selected, &question, true);
                    tallies.settle();
                    let tallies = Arc::new(tallies);
                    self.memo.lock().keep(name, newest, Arc::clone(&tallies));
                    tallies
                }
            };
            shared.push(tallies);
        }
        let Some(rows) = self.rows(conn, &scope.wanted, &months).await? else { return Ok(None) };
        let reading = self.known.lock().reading(Arc::clone(rules), rows);
        let selected = reading.select(|service, environment| scope.wants(service, environment), scope.arrival);
        let mut tallies = Tallies::of(&selected, question, details);
        for month in shared {
            tallies.share(&month);
        }
        Ok(Some(tallies))
    }

    /// A connection, and everything projected that is committed by now.
    async fn up_to_date(
        &self,
        store: &Store,
        config: &Arc<Config>,
        wanted: &Wanted,
    ) -> Result<(Conn, Arc<Rules>), StoreError> {
        let rules = self.known.lock().follow(config);
        let mut conn = store.read().await?;
        self.catch_up(store, &mut conn, &rules, wanted).await?;
        self.refresh(&mut conn).await?;
        Ok((conn, rules))
    }

    /// The wanted rows of the months; `None` where new facts overtook the reading.
    async fn rows(
        &self,
        conn: &mut Conn,
        wanted: &Wanted,
        months: &BTreeSet<Month>,
    ) -> Result<Option<Vec<Rows>>, StoreError> {
        if !self.load(conn, wanted, months).await? {
            return Ok(None);
        }
        let mut known = self.known.lock();
        let rows = known.rows(wanted, months);
        known.make_room();
        Ok(Some(rows))
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

    /// Projects what waits for it.
    async fn catch_up(
        &self,
        store: &Store,
        conn: &mut Conn,
        rules: &Arc<Rules>,
        wanted: &Wanted,
    ) -> Result<(), StoreError> {
        if project::state(conn).await?.is_none_or(|(digest, _)| digest != rules.digest()) {
            project::follow(store, rules).await?;
        }
        #[expect(clippy::disallowed_methods, reason = "how long this very call takes")]
        let began = Instant::now();
        loop {
            if dirty::waiting(conn, wanted).await?.is_empty() {
                return Ok(());
            }
            let turn = self.projecting.lock().await;
            let waiting = dirty::waiting(conn, wanted).await?;
            let left = waiting.len();
            // Every service by itself, so that whoever waits for another gets a turn.
            if let Some(next) = waiting.first() {
                project::project(store, rules, next).await?;
            }
            drop(turn);
            if began.elapsed() > PATIENCE && left > 1 {
                return Err(StoreError::Behind { left });
            }
        }
    }

    /// Learns what was projected since the last look.
    async fn refresh(&self, conn: &mut Conn) -> Result<(), StoreError> {
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
    async fn load(&self, conn: &mut Conn, wanted: &Wanted, months: &BTreeSet<Month>) -> Result<bool, StoreError> {
        let missing = self.known.lock().missing(wanted, months);
        if missing.is_empty() {
            return Ok(true);
        }
        for (month, services) in missing {
            let all = self.known.lock().partitions.get(&month).map_or(0, BTreeMap::len);
            let names: Vec<&str> = services.iter().map(AsRef::as_ref).collect();
            // Half a month or more is read at once.
            let names = (names.len() * 2 < all).then_some(names.as_slice());
            let loaded = kept::load(conn, month, names).await?;
            self.known.lock().keep(loaded);
        }
        let now = project::state(conn).await?.map_or(0, |(_, changed)| changed);
        let known = self.known.lock();
        Ok(known.changed == now && known.missing(wanted, months).is_empty())
    }
}

impl Known {
    fn follow(&mut self, config: &Arc<Config>) -> Arc<Rules> {
        match &self.config {
            Some((current, rules)) if Arc::ptr_eq(current, config) => Arc::clone(rules),
            _ => {
                let rules = Arc::new(Rules::new(config));
                self.config = Some((Arc::clone(config), Arc::clone(&rules)));
                rules
            }
        }
    }

    fn reading(&self, rules: Arc<Rules>, rows: Vec<Rows>) -> Reading {
        Reading { rules, places: Arc::clone(&self.places), rows }
    }

    /// These partitions were written.
    fn learn(&mut self, written: Vec<(i32, String, i64)>) {
        for (month, service, changed) in written {
            let slot = Slot { changed, partition: None };
            let old = self.partitions.entry(Month::from_number(month)).or_default().insert(service.into(), slot);
            self.bytes -= old.map_or(0, |old| old.bytes());
        }
    }

    fn keep(&mut self, loaded: Vec<Kept>) {
        for Kept { month, service, changed, partition } in loaded {
            let new = Slot { changed, partition: Some(partition) };
            match self.partitions.entry(month).or_default().entry(service.into()) {
                Entry::Vacant(free) => {
                    self.bytes += new.bytes();
                    free.insert(new);
                }
                Entry::Occupied(mut known) if known.get().changed <= changed => {
                    self.bytes += new.bytes();
                    self.bytes -= known.insert(new).bytes();
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// The months of a window that have rows, and that of the lasting ones.
    fn months(&self, window: Window) -> BTreeSet<Month> {
        let in_window = self.partitions.range(Month::of(window.from)..=Month::of(window.to));
        in_window.map(|(month, _)| *month).chain([Month::LASTING]).collect()
    }

    /// The newest projection of the wanted rows of a month; `None` where there are none.
    fn newest(&self, wanted: &Wanted, month: Month) -> Option<i64> {
        let months = BTreeSet::from([month]);
        self.slots(wanted, &months).map(|(.., slot)| slot.changed).max()
    }

    fn slots<'a>(
        &'a self,
        wanted: &'a Wanted,
        months: &'a BTreeSet<Month>,
    ) -> impl Iterator<Item = (Month, &'a Arc<str>, &'a Slot)> {
        let asked = months.iter().filter_map(|month| self.partitions.get_key_value(month));
        asked.flat_map(move |(month, services)| {
            let named: Box<dyn Iterator<Item = (&Arc<str>, &Slot)>> = match wanted {
                Wanted::All => Box::new(services.iter()),
                Wanted::These(names) => Box::new(names.iter().filter_map(|name| services.get_key_value(name.as_str()))),
            };
            named.map(|(service, slot)| (*month, service, slot))
        })
    }

    fn missing(&self, wanted: &Wanted, months: &BTreeSet<Month>) -> BTreeMap<Month, BTreeSet<Arc<str>>> {
        let mut missing: BTreeMap<Month, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (month, service, slot) in self.slots(wanted, months) {
            if slot.partition.is_none() {
                missing.entry(month).or_default().insert(Arc::clone(service));
            }
        }
        missing
    }

    fn rows(&mut self, wanted: &Wanted, months: &BTreeSet<Month>) -> Vec<Rows> {
        let rows = self.slots(wanted, months).filter_map(|(month, service, slot)| {
            let partition = Arc::clone(slot.partition.as_ref()?);
            Some(Rows { service: Arc::clone(service), month, changed: slot.changed, partition })
        });
        let rows: Vec<Rows> = rows.collect();
        self.turn += 1;
        self.used.extend(months.iter().map(|month| (*month, self.turn)));
        rows
    }

    /// Forgets the months that were asked for longest ago.
    fn make_room(&mut self) {
        while self.bytes > ROOM {
            let oldest = self.used.iter().min_by_key(|(_, turn)| **turn).map(|(month, _)| *month);
            let Some(oldest) = oldest else { return };
            self.used.remove(&oldest);
            for slot in self.partitions.entry(oldest).or_default().values_mut() {
                self.bytes -= slot.bytes();
                slot.partition = None;
            }
        }
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        self.partition.as_ref().map_or(0, |partition| partition.bytes())
    }
}

impl Reading {
    /// Incidents of no service belong to all services together.
    pub fn services(&self) -> impl Iterator<Item = &str> + Clone {
        self.places.keys().map(|(service, _)| service.as_str()).filter(|service| *service != NO_SERVICE)
    }

    /// Where there are deployments: services and their environments as events name them.
    pub fn deployed(&self) -> impl Iterator<Item = (&str, &str)> {
        let deployed = self.places.iter().filter(|(_, place)| place.first_deployment_at.is_some());
        deployed.map(|((service, environment), _)| (service.as_str(), environment.as_str()))
    }

    /// The places of a service, by the environment's name in the events.
    pub fn places_of(&self, service: &str) -> impl Iterator<Item = (&str, &Place)> {
        let from = self.places.range((service.to_owned(), String::new())..);
        let of = from.take_while(move |((of, _), _)| *of == service);
        of.map(|((_, environment), place)| (environment.as_str(), place))
    }

    /// The first deployment of all to what is wanted.
    fn first_deployment(&self, wanted: impl Fn(&str, &str) -> bool) -> Option<Timestamp> {
        let places = self.places.iter();
        let places = places.filter(|((service, raw), _)| wanted(service, self.rules.environment(raw).0));
        places.filter_map(|(_, place)| place.first_deployment_at).min()
    }

    pub fn by_service(&self) -> BTreeMap<&str, Vec<&Rows>> {
        let mut services: BTreeMap<&str, Vec<&Rows>> = BTreeMap::new();
        for rows in &self.rows {
            services.entry(&rows.service).or_default().push(rows);
        }
        services
    }

    /// What is wanted of all rows, by service and the environment's configured name.
    pub fn select(&self, wanted: impl Fn(&str, &str) -> bool, arrival: Arrival) -> Selected<'_> {
        self.select_from(&self.rows, wanted, arrival)
    }

    /// What is wanted of some rows.
    pub fn select_from<'a>(
        &'a self,
        rows: impl IntoIterator<Item = &'a Rows>,
        wanted: impl Fn(&str, &str) -> bool,
        arrival: Arrival,
    ) -> Selected<'a> {
        let first = self.first_deployment(&wanted);
        let rows = rows.into_iter().map(|rows| (&*rows.service, rows.month, &*rows.partition));
        Selected::new(rows, &wanted, first, arrival)
    }
}
