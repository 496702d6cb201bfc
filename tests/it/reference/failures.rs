//! Rollbacks, links, failures and what ended them: cases 3, 6, 7, 9 and 10 of the definitions, as
//! literally and as slowly as they can be written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::facts::{self, Change, Correction, Deployment, Incident, Key};
use super::leads::{self, Lead, Out};
use super::world::World;

pub struct History<'a> {
    pub world: &'a World,
    /// In order; everything below names them by their number.
    pub deployments: Vec<Deployment>,
    pub changes: Vec<Change>,
    pub incidents: Vec<Incident>,
    pub leads: Vec<Lead>,
    pub outs: Vec<Out>,
    /// The deployments that each incident belongs to.
    pub links: Vec<BTreeSet<usize>>,
    /// Why and until when each failed: `None` where it did not.
    pub failures: Vec<Option<Failure>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    pub restored: Option<i64>,
}

impl<'a> History<'a> {
    pub fn of(events: &[&Value], corrections: &[Correction], world: &'a World) -> Self {
        let mut history = Self {
            world,
            deployments: facts::deployments(events),
            changes: facts::changes(events),
            incidents: facts::incidents(events, corrections),
            leads: Vec::new(),
            outs: Vec::new(),
            links: Vec::new(),
            failures: Vec::new(),
        };
        history.links = history.incidents.iter().map(|incident| history.linked(incident)).collect();
        history.failures = history.judged();
        (history.leads, history.outs) = leads::leads(&history);
        history
    }

    /// Whether the configuration or an event names the service.
    pub fn knows(&self, service: &str) -> bool {
        let named = self.incidents.iter().flat_map(|incident| &incident.services);
        self.world.service(service).is_some()
            || self.deployments.iter().map(|d| &d.service).chain(named).any(|name| name == service)
    }

    /// The succeeded deployments of the place of a deployment, in order.
    pub fn place(&self, of: usize) -> Vec<usize> {
        let of = &self.deployments[of];
        let here = |d: &Deployment| d.outcome == "succeeded" && (&d.service, &d.place) == (&of.service, &of.place);
        (0..self.deployments.len()).filter(|d| here(&self.deployments[*d])).collect()
    }

    pub fn before(&self, d: usize) -> Vec<usize> {
        self.place(d).into_iter().filter(|other| *other < d).collect()
    }

    /// All deployments here say both version and commit, or all say the same one of them, or a
    /// deployment says nothing and is like no other.
    fn same(&self, a: usize, b: usize) -> bool {
        let name = |d: usize| (&self.deployments[d].version, &self.deployments[d].commit);
        a == b || (name(a) == name(b) && name(a) != (&None, &None))
    }

    /// Where its version was first.
    fn first(&self, d: usize) -> usize {
        self.before(d).into_iter().find(|other| self.same(*other, d)).unwrap_or(d)
    }

    pub fn is_again(&self, d: usize) -> bool {
        self.first(d) != d
    }

    /// What a source declares beats what the order of versions shows.
    pub fn kind(&self, d: usize) -> &str {
        let deployment = &self.deployments[d];
        match (&deployment.kind, &deployment.rolls_back) {
            (Some(kind), _) => kind,
            (None, Some(_)) => "rollback",
            (None, None) if deployment.outcome == "succeeded" && self.goes_back(d) => "rollback",
            (None, None) => "planned",
        }
    }

    /// A redeploy of a version older than the one it replaces.
    fn goes_back(&self, d: usize) -> bool {
        let Some(replaced) = self.before(d).last().copied() else { return false };
        let named = self.deployments[replaced].version.is_some() || self.deployments[replaced].commit.is_some();
        self.is_again(d) && named && self.first(d) < self.first(replaced)
    }

    fn is(&self, d: usize, kind: &str) -> bool {
        self.deployments[d].outcome == "succeeded" && self.kind(d) == kind
    }

    /// The deployment with this key in the same place, else the only one of the service.
    fn by_key(&self, key: &Key, by: usize) -> Option<usize> {
        let by = &self.deployments[by];
        let all = self.deployments.iter().enumerate();
        let found: Vec<usize> =
            all.filter(|(_, d)| d.key == *key && d.service == by.service).map(|(number, _)| number).collect();
        let beside = found.iter().find(|d| self.deployments[**d].place == by.place);
        beside.or(found.first().filter(|_| found.len() == 1)).copied()
    }

    /// The deployments between the target of a rollback and itself.
    fn taken_away(&self, rollback: usize) -> Vec<usize> {
        let before = self.before(rollback);
        let Some(replaced) = before.last().copied().filter(|replaced| !self.same(*replaced, rollback)) else {
            return Vec::new();
        };
        match before.iter().rposition(|d| self.same(*d, rollback)) {
            Some(target) => before[target + 1..].to_vec(),
            None => vec![replaced],
        }
    }

    /// The failed deployment: the one that is named, else the first newer one after the target.
    fn undone(&self, rollback: usize) -> Option<usize> {
        if let Some(key) = &self.deployments[rollback].rolls_back {
            return self.by_key(key, rollback).filter(|named| *named != rollback);
        }
        let gone = self.taken_away(rollback);
        gone.iter().find(|d| self.first(**d) > self.first(rollback)).or(gone.last()).copied()
    }

    fn rollbacks(&self) -> impl Iterator<Item = usize> {
        (0..self.deployments.len()).filter(|d| self.is(*d, "rollback"))
    }

    fn began(&self, d: usize) -> Option<i64> {
        self.deployments[d].started.or(self.deployments[d].finished)
    }

    /// In the incident's environment, or in any of production where it names none; in its region
    /// where it names one that the service was ever brought to.
    fn concerns(&self, incident: &Incident, d: usize) -> bool {
        let deployment = &self.deployments[d];
        let Some(raw) = &incident.environment else { return deployment.tier == "production" };
        let name = World::environment(raw).0;
        let there = |other: &usize| {
            let other = &self.deployments[*other];
            other.outcome == "succeeded" && other.finished.is_some() && other.place == *raw && other.environment == name
        };
        let regional = name != raw && self.of_service(&deployment.service).iter().any(there);
        name == deployment.environment && (!regional || deployment.place == *raw)
    }

    /// Explicit goes before the rollback, the rollback before what is inferred.
    fn linked(&self, incident: &Incident) -> BTreeSet<usize> {
        if incident.withdrawn {
            return BTreeSet::new();
        }
        let services: BTreeSet<&String> = self.deployments.iter().map(|d| &d.service).collect();
        if let Some(named) = incident.corrected.as_ref().or(Some(&incident.named).filter(|named| !named.is_empty())) {
            let all = services.into_iter().flat_map(|service| named.iter().map(move |named| (service, named)));
            return all.flat_map(|(service, named)| self.named(incident, service, named)).collect();
        }
        let own = services.into_iter().filter(|service| incident.services.contains(service));
        own.filter_map(|service| self.undone_during(incident, service).or_else(|| self.newest(incident, service)))
            .collect()
    }

    fn of_service(&self, service: &str) -> Vec<usize> {
        (0..self.deployments.len()).filter(|d| self.deployments[*d].service == service).collect()
    }

    /// The deployments of one service that an incident names.
    fn named(&self, incident: &Incident, service: &str, named: &Value) -> Vec<usize> {
        let own = incident.services.iter().any(|own| own == service);
        let mut found = self.of_service(service);
        found.retain(|d| self.deployments[*d].outcome != "withdrawn");
        let narrow = |found: &mut Vec<usize>| {
            if found.iter().any(|d| self.concerns(incident, *d)) {
                found.retain(|d| self.concerns(incident, *d));
            }
        };
        if let Some(id) = named["id"].as_str() {
            found.retain(|d| self.deployments[*d].key.1 == id);
            let source = named["source"].as_str().unwrap_or(&incident.key.0);
            let of_source = |d: &usize| self.deployments[*d].key.0 == source;
            // Without a source the incident's own is meant, else any of the incident's service.
            if named["source"].is_string() || !own || found.iter().any(of_source) {
                found.retain(of_source);
            }
            narrow(&mut found);
            return found;
        }
        let (version, commit) = (named["version"].as_str(), named["commit"].as_str());
        // A version says nothing without a service.
        if !own && (version.is_some() || !incident.services.is_empty()) {
            return Vec::new();
        }
        found.retain(|d| {
            let deployment = &self.deployments[*d];
            let begins = |commit: &str| deployment.commit.as_ref().is_some_and(|known| known.starts_with(commit));
            match (version, commit) {
                (Some(_), Some(_)) => {
                    (deployment.version.as_deref(), deployment.commit.as_deref()) == (version, commit)
                }
                (Some(_), None) => deployment.version.as_deref() == version,
                (None, _) => commit.is_some_and(begins),
            }
        });
        narrow(&mut found);
        if incident.environment.is_some() {
            found.retain(|d| self.concerns(incident, *d));
        }
        // One deployment of several: the newest at the incident's start, else the first after it.
        let at_start = |d: &&usize| self.deployments[**d].finished.is_some_and(|at| at <= incident.started);
        found.iter().rev().find(at_start).or(found.first()).copied().into_iter().collect()
    }

    fn attribution(&self) -> i64 {
        self.world.attribution_hours * 3_600_000_000
    }

    /// What a rollback undid that ran while the incident lasted: the earliest such rollback.
    fn undone_during(&self, incident: &Incident, service: &str) -> Option<usize> {
        let during = self.rollbacks().filter(|d| self.deployments[*d].service == service).filter_map(|rollback| {
            let undone = self.undone(rollback)?;
            let (began, ended) = (self.began(rollback)?, self.deployments[rollback].finished?);
            let lasted = incident.started <= ended && incident.resolved.is_none_or(|resolved| began <= resolved);
            let soon = ended - incident.started <= self.attribution();
            let before = self.deployments[undone].finished? <= incident.started;
            (lasted && soon && before && self.concerns(incident, undone)).then_some((ended, undone))
        });
        during.min().map(|(_, undone)| undone)
    }

    /// The newest one that finished at or before the incident's start, not too long before.
    fn newest(&self, incident: &Incident, service: &str) -> Option<usize> {
        let candidates = self.of_service(service).into_iter().filter(|d| {
            let deployment = &self.deployments[*d];
            deployment.outcome == "succeeded"
                && deployment.finished.is_some_and(|at| at <= incident.started)
                && self.concerns(incident, *d)
        });
        let newest = candidates.max_by_key(|d| (self.deployments[*d].finished, *d))?;
        (incident.started - self.deployments[newest].finished? <= self.attribution()).then_some(newest)
    }

    /// What a hotfix repairs: what it names, else the newest of its place that an open incident
    /// belongs to, else what was there before it; where that is a rollback, what that undid.
    fn repaired(&self, hotfix: usize) -> Option<usize> {
        if let Some(key) = &self.deployments[hotfix].rolls_back {
            return self.by_key(key, hotfix).filter(|named| *named != hotfix);
        }
        let (began, ended) = (self.began(hotfix)?, self.deployments[hotfix].finished?);
        let open = |incident: &Incident| incident.started <= ended && incident.resolved.is_none_or(|end| began <= end);
        let before = self.before(hotfix);
        let linked = self.incidents.iter().zip(&self.links).filter(|(incident, _)| open(incident));
        let linked: BTreeSet<usize> = linked.flat_map(|(_, links)| links.iter().copied()).collect();
        if let Some(newest) = before.iter().rev().find(|d| linked.contains(d)) {
            return Some(*newest);
        }
        let replaced = before.last().copied()?;
        if self.is(replaced, "rollback") {
            self.undone(replaced).filter(|undone| *undone != hotfix)
        } else {
            Some(replaced)
        }
    }

    fn judged(&self) -> Vec<Option<Failure>> {
        let mut failed: BTreeSet<usize> = self.links.iter().flatten().copied().collect();
        // Rollbacks and hotfixes of a deployment, and rollbacks that it was taken away with.
        let (mut repairs, mut gone): (BTreeMap<usize, Vec<i64>>, BTreeMap<usize, Vec<i64>>) = Default::default();
        for rollback in self.rollbacks() {
            let undone = self.undone(rollback);
            failed.extend(undone);
            if let Some(d) = undone {
                repairs.entry(d).or_default().extend(self.deployments[rollback].finished);
            }
            for d in self.taken_away(rollback).into_iter().filter(|d| Some(*d) != undone) {
                gone.entry(d).or_default().extend(self.deployments[rollback].finished);
            }
        }
        for hotfix in (0..self.deployments.len()).filter(|d| self.is(*d, "hotfix")) {
            if let Some(repaired) = self.repaired(hotfix) {
                failed.insert(repaired);
                repairs.entry(repaired).or_default().extend(self.deployments[hotfix].finished);
            }
        }
        let failure = |d: usize| {
            // Several incidents of one deployment are one interval, until the last is resolved.
            let of = self.incidents.iter().zip(&self.links).filter(|(_, links)| links.contains(&d));
            let resolved: Vec<Option<i64>> = of.map(|(incident, _)| incident.resolved).collect();
            let all = resolved.iter().all(Option::is_some);
            let resolved = resolved.into_iter().max().flatten().filter(|_| all);
            // A repair that was followed by another before the resolution was not enough.
            let end = |from: i64| {
                let (resolved, of) = (resolved.filter(|end| *end >= from), |ends: &BTreeMap<usize, Vec<i64>>| {
                    ends.get(&d).into_iter().flatten().copied().filter(|end| *end >= from).collect::<Vec<i64>>()
                });
                let last =
                    of(&repairs).into_iter().filter(|end| resolved.is_none_or(|resolved| *end <= resolved)).max();
                last.into_iter().chain(of(&gone)).chain(resolved).min()
            };
            let finished = self.deployments[d].finished.unwrap_or(i64::MIN);
            failed.contains(&d).then(|| Failure { restored: end(finished).or_else(|| end(i64::MIN)) })
        };
        (0..self.deployments.len()).map(failure).collect()
    }
}
