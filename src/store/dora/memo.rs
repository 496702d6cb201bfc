//! Merged months, remembered for the questions that are asked again and again: everything, or a
//! team.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Wanted;
use super::room::last_to_go;
use crate::dora::count::LeadFrom;
use crate::dora::merged::Merged;
use crate::dora::month::Month;
use crate::dora::select::Arrival;

/// The rows that a question is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    pub wanted: Wanted,
    /// By their configured names.
    pub environments: BTreeSet<String>,
    pub arrival: Arrival,
}

impl Scope {
    pub fn wants(&self, service: &str, environment: &str) -> bool {
        self.wanted.contains(service) && self.environments.contains(environment)
    }

    /// The rows of a few services are as soon added up as merged.
    pub(super) fn is_wide(&self) -> bool {
        !matches!(&self.wanted, Wanted::These(services) if services.len() < 8)
    }
}

/// A month of a scope, judged in one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub scope: Arc<Scope>,
    pub lead_from: LeadFrom,
    pub month: Month,
}

impl Name {
    fn is_of_all(&self) -> bool {
        self.scope.wanted == Wanted::All
    }
}

pub(super) struct Memo {
    /// Bytes that it may have.
    room: usize,
    known: BTreeMap<Name, Known>,
    bytes: usize,
    turn: u64,
    /// Something of all services had to be forgotten.
    full: bool,
}

struct Known {
    /// The newest projection among the rows.
    newest: i64,
    merged: Arc<Merged>,
    used: u64,
}

impl Memo {
    pub const fn new(room: usize) -> Self {
        Self { room, known: BTreeMap::new(), bytes: 0, turn: 0, full: false }
    }

    /// The month with the newest projection that is in it.
    pub fn get(&mut self, name: &Name) -> Option<(i64, Arc<Merged>)> {
        self.turn += 1;
        let known = self.known.get_mut(name)?;
        known.used = self.turn;
        Some((known.newest, Arc::clone(&known.merged)))
    }

    pub const fn is_full(&self) -> bool {
        self.full
    }

    pub fn keep(&mut self, name: Name, newest: i64, merged: Arc<Merged>) {
        self.bytes += merged.bytes();
        let old = self.known.insert(name, Known { newest, merged, used: self.turn });
        self.bytes -= old.map_or(0, |old| old.merged.bytes());
        self.make_room();
    }

    /// What takes longest to merge goes last, but leaves a quarter to the others. Forgets somewhat
    /// more than it must, so that it is seldom done.
    fn make_room(&mut self) {
        if self.bytes <= self.room {
            return;
        }
        let eighth = self.room / 8;
        self.full |= self.forget(true, eighth * 6);
        let of_all: usize = self.of(true).map(|known| known.merged.bytes()).sum();
        self.forget(false, (eighth * 7).saturating_sub(of_all));
    }

    /// Of all services, or of some.
    fn of(&self, all: bool) -> impl Iterator<Item = &Known> {
        self.known.iter().filter(move |(name, _)| name.is_of_all() == all).map(|(_, known)| known)
    }

    /// Whether something had to go.
    fn forget(&mut self, all: bool, room: usize) -> bool {
        let kept = self.of(all).map(|known| (known.used, known.merged.bytes())).collect();
        let Some(until) = last_to_go(kept, room) else { return false };
        let gone = self.known.extract_if(.., |name, known| name.is_of_all() == all && known.used <= until);
        self.bytes -= gone.map(|(_, known)| known.merged.bytes()).sum::<usize>();
        true
    }
}
