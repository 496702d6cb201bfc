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
/// Versions remembered per objective, those with the newest events: senders choose their names.
const MAX_VERSIONS: usize = 200;

/// One objective with its windows, whole and by version.
#[derive(Debug, Clone)]
pub struct Tracked {
    pub slo: Slo,
    pub ring: Ring,
    versions: BTreeMap<Arc<str>, Ring>,
    /// Whether what the store has is in the windows.
    is_read: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Live {
    slos: Vec<Tracked>,
    pairs: Vec<BurnPair>,
    /// Service → environment → indices of `slos`.
    places: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl Live {
    /// Empty windows, to be filled by [`Live::load`].
    pub fn new(config: &Config) -> Self {
        Self::default().under(config)
    }

    /// The same windows under another configuration. Those of an objective that was not there
    /// before, or measured something else, are empty and not read.
    #[must_use]
    pub fn under(&self, config: &Config) -> Self {
        let mut places: HashMap<String, HashMap<String, Vec<usize>>> = HashMap::new();
        for (index, slo) in config.slos.iter().enumerate() {
            let environments = places.entry(slo.service.clone()).or_default();
            environments.entry(slo.environment.clone()).or_default().push(index);
        }
        let track = |slo: &Slo| match self.slos.iter().find(|known| known.is_read && known.measures_as(slo)) {
            Some(known) => Tracked { slo: slo.clone(), ..known.clone() },
            None => Tracked { slo: slo.clone(), ring: Ring::default(), versions: BTreeMap::new(), is_read: false },
        };
        Self { slos: config.slos.iter().map(track).collect(), pairs: config.burn_alerts.clone(), places }
    }

    /// Whether every window has what the store has.
    pub fn is_read(&self) -> bool {
        self.slos.iter().all(|tracked| tracked.is_read)
    }

    /// Takes what the store keeps at one level into the windows that were not read before.
    pub fn load(&mut self, level: Level, series: &SeriesKey, start: i64, delta: &TelemetryDelta) {
        self.each(series, |tracked| {
            if !tracked.is_read {
                tracked.count(series, delta, |ring, counts| ring.add_at(level, start, counts));
            }
        });
    }

    /// Everything was loaded.
    pub fn set_read(&mut self) {
        self.slos.iter_mut().for_each(|tracked| tracked.is_read = true);
    }

    /// Takes in a committed batch; answers the places whose objectives it touched. What begins after
    /// `latest` (seconds) is left out: it was let in by a clock that was wrong, and would push the
    /// present out of the windows.
    pub fn add(&mut self, batch: &TelemetryBatch, latest: i64) -> BTreeSet<(String, String)> {
        let mut touched = BTreeSet::new();
        for ((series, start), delta) in batch.deltas.iter().filter(|((_, start), _)| *start <= latest) {
            let watched = self.each(series, |tracked| {
                tracked.count(series, delta, |ring, counts| ring.add(*start, counts));
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
    /// Whether the windows of the other objective would hold the same counts, as far back.
    fn measures_as(&self, other: &Slo) -> bool {
        let Slo { service, environment, indicator, window, .. } = &self.slo;
        *service == other.service
            && *environment == other.environment
            && *indicator == other.indicator
            && *window == other.window
    }

    /// Adds to the service's windows and to its version's.
    fn count(&mut self, series: &SeriesKey, delta: &TelemetryDelta, add: impl Fn(&mut Ring, Counts)) {
        let counts = Counts::of(delta, self.slo.indicator);
        add(&mut self.ring, counts);
        add(self.versions.entry(Arc::clone(&series.version)).or_default(), counts);
        if self.versions.len() > MAX_VERSIONS {
            let oldest = self.versions.iter().min_by_key(|(_, ring)| ring.last_event());
            if let Some(oldest) = oldest.map(|(version, _)| Arc::clone(version)) {
                self.versions.remove(&oldest);
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Indicator;
    use crate::slo::ring::LEVELS;

    const T0: i64 = 1_790_000_000;

    fn live() -> Live {
        let slo = Slo {
            name: "availability".into(),
            service: "checkout".into(),
            environment: "production".into(),
            objective: 0.99,
            window: Duration::from_hours(24),
            indicator: Indicator::Availability,
        };
        let tracked = Tracked { slo, ring: Ring::default(), versions: BTreeMap::new(), is_read: false };
        let places = HashMap::from([("checkout".into(), HashMap::from([("production".into(), vec![0])]))]);
        Live { slos: vec![tracked], pairs: Vec::new(), places }
    }

    fn batch(version: &str, start: i64) -> TelemetryBatch {
        let delta = TelemetryDelta { requests: 1, ..TelemetryDelta::default() };
        TelemetryBatch { deltas: [((series(version), start), delta)].into(), ..TelemetryBatch::default() }
    }

    fn series(version: &str) -> SeriesKey {
        SeriesKey { service: "checkout".into(), environment: "production".into(), version: version.into() }
    }

    fn lately(live: &Live) -> u64 {
        live.all()[0].ring.sum(Duration::from_hours(1), Timestamp::from_seconds(T0)).total
    }

    #[test]
    fn what_a_wrong_clock_let_in_pushes_nothing_out() {
        let mut live = live();
        assert_eq!(live.add(&batch("1", T0), T0 + 600).len(), 1);
        assert_eq!(live.add(&batch("1", T0 + 86_400), T0 + 600).len(), 0);
        assert_eq!(live.add(&batch("1", T0 - 60), T0 + 600).len(), 1);
        assert_eq!(lately(&live), 2);
    }

    #[test]
    fn versions_are_kept_while_they_are_heard_of_and_no_more_than_so_many() {
        let mut live = live();
        for n in 0..MAX_VERSIONS + 50 {
            live.add(&batch(&n.to_string(), T0 + i64::try_from(n).unwrap() * 10), i64::MAX);
        }
        let tracked = &live.all()[0];
        assert_eq!(tracked.versions.len(), MAX_VERSIONS);
        assert!(tracked.has_version("50") && !tracked.has_version("49"), "the oldest went");
        assert_eq!(tracked.ring.sum(Duration::from_hours(2), Timestamp::from_seconds(T0 + 2_500)).total, 250);

        live.forget_old_versions(Timestamp::from_seconds(T0 + 2_400).plus(VERSION_MEMORY));
        assert_eq!(live.all()[0].versions.len(), 9);
    }

    /// After a start, what is older than the fine level reaches is known by the hour only.
    #[test]
    fn a_version_that_was_read_back_coarsely_is_remembered_as_long() {
        let mut live = live();
        let delta = TelemetryDelta { requests: 1, ..TelemetryDelta::default() };
        live.load(LEVELS[2], &series("1"), T0 - 86_400 * 2, &delta);
        live.forget_old_versions(Timestamp::from_seconds(T0));
        assert!(live.all()[0].has_version("1"), "it was heard of two days ago");
        live.forget_old_versions(Timestamp::from_seconds(T0).plus(VERSION_MEMORY));
        assert!(!live.all()[0].has_version("1"));
    }
}
