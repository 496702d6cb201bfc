//! Adds the telemetry of one request up. A series costs an allocation once, not per event.

use hashbrown::{Equivalent, HashMap};

use crate::config::EnvironmentNames;
use crate::event::telemetry::bucket_start;
use crate::event::{ErrorDelta, SeriesKey, TelemetryBatch, TelemetryDelta};
use crate::time::Timestamp;

/// A series as an event names it. Hashes like [`SeriesKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesName<'a> {
    pub service: &'a str,
    pub environment: &'a str,
    pub version: &'a str,
}

impl Equivalent<SeriesKey> for SeriesName<'_> {
    fn equivalent(&self, key: &SeriesKey) -> bool {
        *self.service == *key.service && *self.environment == *key.environment && *self.version == *key.version
    }
}

impl From<&SeriesName<'_>> for SeriesKey {
    fn from(name: &SeriesName<'_>) -> Self {
        Self { service: name.service.into(), environment: name.environment.into(), version: name.version.into() }
    }
}

/// Series are numbered by their names as sent; environments get their configured names at the end.
#[derive(Debug, Default)]
pub struct Aggregator {
    series: HashMap<SeriesKey, usize>,
    deltas: HashMap<(usize, i64), TelemetryDelta>,
    errors: HashMap<(usize, String), ErrorDelta>,
}

impl Aggregator {
    fn number(&mut self, name: SeriesName<'_>) -> usize {
        if let Some(number) = self.series.get(&name) {
            return *number;
        }
        let number = self.series.len();
        self.series.insert(SeriesKey::from(&name), number);
        number
    }

    /// The bucket of `time` in the series, to add to.
    pub fn delta(&mut self, name: SeriesName<'_>, time: Timestamp) -> &mut TelemetryDelta {
        let series = self.number(name);
        self.deltas.entry((series, bucket_start(time))).or_default()
    }

    pub fn error(&mut self, name: SeriesName<'_>, fingerprint: String, delta: ErrorDelta) {
        let series = self.number(name);
        match self.errors.entry((series, fingerprint)) {
            hashbrown::hash_map::Entry::Occupied(mut known) => known.get_mut().merge(&delta),
            hashbrown::hash_map::Entry::Vacant(free) => drop(free.insert(delta)),
        }
    }

    pub fn finish(self, environments: EnvironmentNames<'_>) -> TelemetryBatch {
        let keys: HashMap<usize, SeriesKey> = self
            .series
            .into_iter()
            .map(|(mut key, number)| {
                let canonical = environments.canonical(&key.environment);
                if *canonical != *key.environment {
                    key.environment = canonical.into();
                }
                (number, key)
            })
            .collect();
        let mut batch = TelemetryBatch::default();
        // Two names of one environment come together here.
        for ((number, start), delta) in self.deltas {
            let Some(key) = keys.get(&number) else { continue };
            batch.deltas.entry((key.clone(), start)).or_default().merge(&delta);
        }
        for ((number, fingerprint), delta) in self.errors {
            let Some(key) = keys.get(&number) else { continue };
            match batch.errors.entry((key.clone(), fingerprint)) {
                std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().merge(&delta),
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(delta)),
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Environment, Tier};

    #[test]
    fn names_of_one_environment_come_together() {
        let production =
            Environment { name: "production".to_owned(), tier: Tier::Production, matches: vec!["prod*".to_owned()] };
        let mut sums = Aggregator::default();
        for environment in ["prod", "production", "prod-eu", "qa"] {
            let name = SeriesName { service: "checkout", environment, version: "" };
            sums.delta(name, Timestamp::from_seconds(1_000_007)).requests += 1;
        }
        let batch = sums.finish(EnvironmentNames::new(&[production]));
        let counted: Vec<_> =
            batch.deltas.iter().map(|((key, start), delta)| (&*key.environment, *start, delta.requests)).collect();
        assert_eq!(counted, [("production", 1_000_000, 3), ("qa", 1_000_000, 1)]);
    }
}
