//! The windows of every objective, kept in memory and fed with what was committed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::ring::Level;
use super::{Counts, Ring, SloStatus, status};
use crate::config::model::{BurnPair, Config, Slo};
use crate::event::{SeriesKey, TelemetryBatch, TelemetryDelta};
use crate::time::Timestamp;

/// Versions without events for this long are forgotten; the whole service's windows are not.
const VERSION_MEMORY: Duration = Duration::from_hours(7 * 24);

/// One objective with its windows, whole and by version.
#[derive(Debug, Clone)]
pub struct Tracked {
    pub slo: Slo,
    pub ring: Ring,
    versions: BTreeMap<Arc<str>, Ring>,
}

#[derive(Debug, Clone)]
pub struct Live {
    slos: Vec<Tracked>,
    pairs: Vec<BurnPair>,
    /// Service → environment → indices of `slos`.
    places: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl Live {
    pub fn new(config: &Config) -> Self {
        let mut places: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
        for (index, slo) in config.slos.iter().enumerate() {
            let environments = places.entry(slo.service.clone()).or_default();
            environments.entry(slo.environment.clone()).or_default().push(index);
        }
        let track = |slo: &Slo| Tracked { slo: slo.clone(), ring: Ring::default(), versions: BTreeMap::new() };
        Self { slos: config.slos.iter().map(track).collect(), pairs: config.burn_alerts.clone(), places }
    }

    /// Takes in what the store keeps at one level.
    pub fn load(&mut self, level: Level, series: &SeriesKey, start: i64, delta: &TelemetryDelta) {
        self.each(series, |tracked| {
            let counts = Counts::of(delta, tracked.slo.indicator);
            tracked.ring.add_at(level, start, counts);
            tracked.versions.entry(Arc::clone(&series.version)).or_default().add_at(level, start, counts);
        });
    }

    /// Takes in a committed batch; answers the places whose objectives it touched.
    pub fn add(&mut self, batch: &TelemetryBatch) -> BTreeSet<(String, String)> {
        let mut touched = BTreeSet::new();
        for ((series, start), delta) in &batch.deltas {
            let watched = self.each(series, |tracked| {
                let counts = Counts::of(delta, tracked.slo.indicator);
                tracked.ring.add(*start, counts);
                tracked.versions.entry(Arc::clone(&series.version)).or_default().add(*start, counts);
            });
            if watched {
                touched.insert((series.service.to_string(), series.environment.to_string()));
            }
        }
        touched
    }

    /// Runs `act` on each objective of a series' place; false when there is none.
    fn each(&mut self, series: &SeriesKey, mut act: impl FnMut(&mut Tracked)) -> bool {
        let indices = self.places.get(&*series.service).and_then(|place| place.get(&*series.environment));
        let Some(indices) = indices else { return false };
        for index in indices {
            if let Some(tracked) = self.slos.get_mut(*index) {
                act(tracked);
            }
        }
        true
    }

    pub fn forget_old_versions(&mut self, now: Timestamp) {
        let limit = now.minus(VERSION_MEMORY).seconds();
        for tracked in &mut self.slos {
            tracked.versions.retain(|_, ring| ring.last_event().is_some_and(|last| last > limit));
        }
    }

    pub fn all(&self) -> &[Tracked] {
        &self.slos
    }

    /// The objectives of one service in one environment.
    pub fn of<'a>(&'a self, service: &str, environment: &str) -> impl Iterator<Item = &'a Tracked> {
        let indices = self.places.get(service).and_then(|place| place.get(environment));
        indices.into_iter().flatten().filter_map(|index| self.slos.get(*index))
    }

    pub fn status(&self, tracked: &Tracked, now: Timestamp) -> SloStatus {
        status::status(&tracked.slo, &self.pairs, &tracked.ring, now)
    }

    pub fn pairs(&self) -> &[BurnPair] {
        &self.pairs
    }
}

impl Tracked {
    /// What `version` did in the cells that `from..to` touches.
    pub fn version(&self, version: &str, from: Timestamp, to: Timestamp, now: Timestamp) -> Counts {
        self.versions.get(version).map_or_else(Counts::default, |ring| ring.sum_touching(from, to, now))
    }

    /// What all versions but `version` did in the cells wholly inside `from..to`.
    pub fn other_versions(&self, version: &str, from: Timestamp, to: Timestamp, now: Timestamp) -> Counts {
        let others = self.versions.iter().filter(|(name, _)| &***name != version);
        others.map(|(_, ring)| ring.sum_within(from, to, now)).sum()
    }

    /// Whether requests say which version answered them.
    pub fn is_labelled(&self) -> bool {
        self.versions.keys().any(|version| !version.is_empty())
    }

    pub fn has_version(&self, version: &str) -> bool {
        self.versions.contains_key(version)
    }
}
