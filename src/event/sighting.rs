//! Sources that tell again and again what one of their objects runs: which of it is a deployment.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::delivery::{DeploymentEvent, DeploymentOutcome};
use super::state::in_order;
use crate::time::Timestamp;

/// What such a source was looking at. The same id again is the same deployment, unless another one was
/// there in between: then it is another deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Unique within the source.
    pub object: String,
    /// Whether it took the place of what was there; an attempt that ended before did not.
    pub reached: bool,
}

/// The facts of each deployment by its id: the second time that an id came to
/// an object it ends in `#2`. What was sighted of nothing has the id that it came with.
pub fn occurrences(facts: Vec<DeploymentEvent>) -> BTreeMap<String, Vec<DeploymentEvent>> {
    let mut found: BTreeMap<String, Vec<DeploymentEvent>> = BTreeMap::new();
    // Almost all sources, and not worth sorting.
    if facts.iter().all(|fact| fact.sighting.is_none()) {
        for fact in facts {
            found.entry(fact.key.id.clone()).or_default().push(fact);
        }
        return found;
    }
    let mut times: HashMap<&str, u64> = HashMap::new();
    let mut there: Option<&str> = None;
    for fact in in_order(&facts, |fact| fact.time) {
        let id = fact.key.id.as_str();
        let mut fact = fact.clone();
        if let Some(Sighting { reached, .. }) = &fact.sighting {
            let known = times.entry(id).or_default();
            let arrives = there != Some(id);
            // A later attempt that reaches it is the same deployment, so this one has its number.
            let number = known.saturating_add(u64::from(arrives));
            if arrives && *reached {
                (*known, there) = (number, Some(id));
            }
            if number > 1 {
                fact.key.id = format!("{id}#{number}");
            }
        }
        found.entry(fact.key.id.clone()).or_default().push(fact);
    }
    found
}

/// When each outcome of a deployment was told first: later repetitions of it say nothing more.
pub fn first_told(facts: &[DeploymentEvent]) -> impl Iterator<Item = Timestamp> {
    let mut first: HashMap<DeploymentOutcome, Timestamp> = HashMap::new();
    for fact in facts {
        let known = first.entry(fact.outcome).or_insert(fact.time);
        *known = fact.time.min(*known);
    }
    first.into_values()
}

impl DeploymentEvent {
    /// Whether it says what `earlier` said of the same object, but for the time.
    pub fn repeats(&self, earlier: &Self) -> bool {
        self.sighting.is_some() && *self == Self { time: self.time, ..earlier.clone() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::EntityKey;

    fn told(minute: i64, id: &str, outcome: DeploymentOutcome, reached: bool) -> DeploymentEvent {
        let key = EntityKey { source: "flux".to_owned(), id: id.to_owned() };
        let time = Timestamp::from_seconds(60 * minute);
        let sighting = Some(Sighting { object: "webapp".to_owned(), reached });
        DeploymentEvent { sighting, ..DeploymentEvent::new(key, time, "s".to_owned(), "e".to_owned(), outcome) }
    }

    fn succeeded(minute: i64, id: &str) -> DeploymentEvent {
        told(minute, id, DeploymentOutcome::Succeeded, true)
    }

    /// Ids with the minutes of what was told of them.
    fn ids(facts: &[DeploymentEvent]) -> Vec<(String, Vec<i64>)> {
        let minutes = |facts: Vec<DeploymentEvent>| facts.iter().map(|fact| fact.time.seconds() / 60).collect();
        occurrences(facts.to_vec()).into_iter().map(|(id, facts)| (id, minutes(facts))).collect()
    }

    fn expected(of: &[(&str, &[i64])]) -> Vec<(String, Vec<i64>)> {
        of.iter().map(|(id, minutes)| ((*id).to_owned(), minutes.to_vec())).collect()
    }

    #[test]
    fn what_comes_back_is_another_deployment_and_what_stays_is_none() {
        let there_and_back = [("1", 0), ("1", 10), ("2", 20), ("2", 30), ("1", 40), ("1", 50), ("2", 60)];
        let facts: Vec<DeploymentEvent> = there_and_back.iter().map(|(id, minute)| succeeded(*minute, id)).collect();
        assert_eq!(ids(&facts), expected(&[("1", &[0, 10]), ("1#2", &[40, 50]), ("2", &[20, 30]), ("2#2", &[60])]));
    }

    #[test]
    fn an_attempt_that_reached_nothing_leaves_what_was_there() {
        let failed = |minute, id, reached| told(minute, id, DeploymentOutcome::Failed, reached);
        let unbuilt = [succeeded(0, "1"), failed(10, "2", false), succeeded(20, "1"), succeeded(30, "2")];
        assert_eq!(ids(&unbuilt), expected(&[("1", &[0, 20]), ("2", &[10, 30])]));
        let unhealthy = [succeeded(0, "1"), failed(10, "2", true), succeeded(20, "1"), failed(30, "2", false)];
        assert_eq!(ids(&unhealthy), expected(&[("1", &[0]), ("1#2", &[20]), ("2", &[10]), ("2#2", &[30])]));
    }

    #[test]
    fn what_was_sighted_of_nothing_keeps_its_id() {
        let plain = |minute, id| DeploymentEvent { sighting: None, ..succeeded(minute, id) };
        assert_eq!(ids(&[plain(0, "1"), plain(10, "2"), plain(20, "1")]), expected(&[("1", &[0, 20]), ("2", &[10])]));
        assert!(!plain(10, "1").repeats(&plain(0, "1")));
    }

    proptest! {
        /// So that rows which were stored never have to go.
        #[test]
        fn an_id_that_was_found_is_found_whatever_else_is_told(
            facts in prop::collection::vec((0..20_i64, 0..3_u8, any::<bool>(), any::<bool>()), 1..12), late: prop::sample::Index
        ) {
            let mut facts: Vec<DeploymentEvent> = facts
                .into_iter()
                .map(|(minute, id, succeeded, reached)| {
                    let outcome = if succeeded { DeploymentOutcome::Succeeded } else { DeploymentOutcome::Failed };
                    told(minute, &id.to_string(), outcome, succeeded || reached)
                })
                .collect();
            let all = occurrences(facts.clone());
            facts.remove(late.index(facts.len()));
            for id in occurrences(facts).keys() {
                prop_assert!(all.contains_key(id), "{id}");
            }
        }
    }
}
