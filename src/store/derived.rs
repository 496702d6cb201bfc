//! The derived rows of services, kept in memory until a new fact changes them.
//!
//! Nobody has to tell it about new facts: every reading first asks which facts came since the last
//! one, whichever replica took them in, and forgets the services they touch.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Conn, Store, StoreError, history, newfacts};
use crate::config::Config;
use crate::dora::row::IncidentRow;
use crate::dora::{self, Derived, History, Rules};
use crate::event::{DeliveryEvent, EntityKey, Incident, IncidentEvent, LinksEvent, PullRequestEvent, PushEvent};

/// Shared by the HTTP handlers and the gauges; one per process.
#[derive(Default)]
pub struct DoraCache(Mutex<State>);

/// Which services are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    All,
    These(BTreeSet<String>),
}

/// What is known at one moment.
pub struct Reading {
    pub rules: Arc<Rules>,
    /// Every (service, environment as its sources name it) with deployments.
    pub places: Arc<BTreeSet<(String, String)>>,
    /// In order of their names; a service without deployments and incidents is left out.
    pub services: Vec<Arc<Derived>>,
    /// Incidents that belong to no service; only when all services are wanted.
    pub without_service: Vec<IncidentRow>,
}

#[derive(Default)]
struct State {
    config: Option<(Arc<Config>, Arc<Rules>)>,
    facts: newfacts::Watermark,
    /// `None` until loaded.
    known: Option<Known>,
    services: BTreeMap<String, Entry>,
    /// New facts are being looked at; still set at the next reading when that was interrupted.
    catching_up: bool,
}

struct Known {
    places: Arc<BTreeSet<(String, String)>>,
    incidents: BTreeMap<EntityKey, Incident>,
}

struct Entry {
    derived: Arc<Derived>,
    /// What a new change must belong to, to matter.
    repositories: HashSet<String>,
    commits: HashSet<String>,
}

impl DoraCache {
    /// The rows of the wanted services as of now, with at least every fact committed before.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn read(&self, store: &Store, config: &Arc<Config>, wanted: &Wanted) -> Result<Reading, StoreError> {
        let mut state = self.0.lock().await;
        let mut conn = store.read().await?;
        let rules = state.follow(config);
        // Whoever is interrupted in here may have noted facts as seen without acting on them all.
        let interrupted = std::mem::replace(&mut state.catching_up, true);
        if interrupted {
            state.forget();
        }
        state.catch_up(&mut conn).await?;
        state.catching_up = false;
        state.load(&mut conn, &rules, wanted).await
    }
}

impl State {
    /// A new configuration may change every row.
    fn follow(&mut self, config: &Arc<Config>) -> Arc<Rules> {
        match &self.config {
            Some((current, rules)) if Arc::ptr_eq(current, config) => Arc::clone(rules),
            _ => {
                let rules = Arc::new(Rules::new(config));
                self.config = Some((Arc::clone(config), Arc::clone(&rules)));
                self.services.clear();
                rules
            }
        }
    }

    fn forget(&mut self) {
        self.facts = newfacts::Watermark::default();
        self.known = None;
        self.services.clear();
    }

    /// Forgets what new facts touch.
    async fn catch_up(&mut self, conn: &mut Conn) -> Result<(), StoreError> {
        let Some(events) = self.facts.advance(conn).await? else {
            self.known = None;
            self.services.clear();
            return Ok(());
        };
        for event in &events {
            match event {
                DeliveryEvent::Deployment(event) => {
                    if let Some(known) = &mut self.known {
                        Arc::make_mut(&mut known.places).insert((event.service.clone(), event.environment.clone()));
                    }
                    self.services.remove(&event.service);
                }
                DeliveryEvent::Change(event) => self.services.retain(|_, entry| {
                    !entry.repositories.contains(&event.repository) && !entry.commits.contains(&event.sha)
                }),
                // They reach the changes of their repository.
                DeliveryEvent::PullRequest(PullRequestEvent { repository, .. })
                | DeliveryEvent::Push(PushEvent { repository, .. }) => {
                    self.services.retain(|_, entry| !entry.repositories.contains(repository));
                }
                DeliveryEvent::Finding(_) => {}
                DeliveryEvent::Incident(IncidentEvent { key, .. }) | DeliveryEvent::Links(LinksEvent { key, .. }) => {
                    self.incident_changed(conn, key).await?;
                }
            }
        }
        Ok(())
    }

    async fn incident_changed(&mut self, conn: &mut Conn, key: &EntityKey) -> Result<(), StoreError> {
        let Some(known) = &mut self.known else { return Ok(()) };
        let new = history::incident_by_key(conn, key).await?;
        let old = match new.clone() {
            Some(incident) => known.incidents.insert(key.clone(), incident),
            None => known.incidents.remove(key),
        };
        for incident in [old, new].into_iter().flatten() {
            let named = incident.named_deployments().to_vec();
            match incident.service {
                Some(service) if named.is_empty() => drop(self.services.remove(&service)),
                // It may name deployments of any service.
                _ => self.services.clear(),
            }
        }
        Ok(())
    }

    async fn load(&mut self, conn: &mut Conn, rules: &Arc<Rules>, wanted: &Wanted) -> Result<Reading, StoreError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => Known::load(conn).await?,
        };
        let known = &*self.known.insert(known);
        let names = match wanted {
            Wanted::All => known.services(),
            Wanted::These(names) => names.clone(),
        };
        let mut services = Vec::with_capacity(names.len());
        for name in names {
            if !self.services.contains_key(&name) {
                let entry = load_service(conn, rules, known, &name).await?;
                self.services.insert(name.clone(), entry);
            }
            services.extend(self.services.get(&name).map(|entry| Arc::clone(&entry.derived)));
        }
        let without_service = match wanted {
            Wanted::All => known.without_service(rules, &services),
            Wanted::These(_) => Vec::new(),
        };
        Ok(Reading { rules: Arc::clone(rules), places: Arc::clone(&known.places), services, without_service })
    }
}

impl Known {
    async fn load(conn: &mut Conn) -> Result<Self, StoreError> {
        let places = history::deployment_places(conn).await?.into_iter().collect();
        let incidents = history::incidents(conn).await?;
        let incidents = incidents.into_iter().map(|incident| (incident.key.clone(), incident)).collect();
        Ok(Self { places: Arc::new(places), incidents })
    }

    fn services(&self) -> BTreeSet<String> {
        let deployed = self.places.iter().map(|(service, _)| service);
        deployed.chain(self.incidents.values().filter_map(|incident| incident.service.as_ref())).cloned().collect()
    }

    fn without_service(&self, rules: &Rules, services: &[Arc<Derived>]) -> Vec<IncidentRow> {
        let linked: HashSet<&EntityKey> =
            services.iter().flat_map(|service| &service.incidents).map(|incident| &incident.key).collect();
        let free = self.incidents.values().filter(|incident| incident.service.is_none());
        free.filter(|incident| !linked.contains(&incident.key))
            .map(|incident| dora::derive::without_service(incident, rules))
            .collect()
    }
}

async fn load_service(conn: &mut Conn, rules: &Rules, known: &Known, service: &str) -> Result<Entry, StoreError> {
    let deployments = history::deployments_of(conn, service).await?;
    let mut repositories: HashSet<String> = rules.repository(service).map(str::to_owned).into_iter().collect();
    let mut commits = HashSet::new();
    for deployment in &deployments {
        repositories.extend(deployment.changes.iter().map(|change| change.repository.clone()));
        match rules.repository_of(deployment) {
            Some(repository) => drop(repositories.insert(repository.to_owned())),
            None => commits.extend(deployment.commit.clone()),
        }
    }
    let by_commit = history::changes_of(conn, &[], &as_strs(&commits)).await?;
    repositories.extend(by_commit.into_iter().map(|change| change.repository));
    let changes = history::changes_of(conn, &as_strs(&repositories), &[]).await?;
    let incidents = known.incidents.values().filter(|incident| {
        incident.service.as_deref().is_none_or(|named| named == service) || !incident.named_deployments().is_empty()
    });
    let history =
        History { service: service.to_owned(), deployments, changes, incidents: incidents.cloned().collect() };
    let derived = Arc::new(dora::derive(&history, rules));
    Ok(Entry { derived, repositories, commits })
}

fn as_strs(names: &HashSet<String>) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
