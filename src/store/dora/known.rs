//! What of the projections is in memory.

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Wanted;
use super::kept::Kept;
use super::places::Places;
use super::reading::{Reading, Rows};
use super::room::last_to_go;
use crate::config::Config;
use crate::dora::Rules;
use crate::dora::calendar::Window;
use crate::dora::month::Month;
use crate::dora::partition::Partition;

#[derive(Default)]
pub(super) struct Known {
    /// Bytes that partitions may have.
    room: usize,
    config: Option<(Arc<Config>, Arc<Rules>)>,
    /// The newest projection that is known here.
    pub changed: i64,
    pub places: Arc<Places>,
    pub partitions: BTreeMap<Month, BTreeMap<Arc<str>, Slot>>,
    bytes: usize,
    /// Counts readings.
    turn: u64,
    /// The turns at which readings began that are not over, with how many.
    begun: BTreeMap<u64, usize>,
}

/// While it lives, what is loaded and looked up from now on is not forgotten.
pub(super) struct Pin<'a> {
    known: &'a Mutex<Known>,
    turn: u64,
}

impl<'a> Pin<'a> {
    pub fn new(known: &'a Mutex<Known>) -> Self {
        let mut all = known.lock();
        let turn = all.turn;
        *all.begun.entry(turn).or_default() += 1;
        Self { known, turn }
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let begun = &mut self.known.lock().begun;
        if let Entry::Occupied(mut same) = begun.entry(self.turn) {
            *same.get_mut() -= 1;
            if *same.get() == 0 {
                same.remove();
            }
        }
    }
}

pub(super) struct Slot {
    /// The projection that wrote it.
    pub changed: i64,
    /// `None` until it is asked for.
    partition: Option<Arc<Partition>>,
    /// The turn of its last reading.
    used: Cell<u64>,
}

impl Known {
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    pub fn follow(&mut self, config: &Arc<Config>) -> Arc<Rules> {
        match &self.config {
            Some((current, rules)) if Arc::ptr_eq(current, config) => Arc::clone(rules),
            _ => {
                let rules = Arc::new(Rules::new(config));
                self.config = Some((Arc::clone(config), Arc::clone(&rules)));
                rules
            }
        }
    }

    pub fn reading(&self, rules: Arc<Rules>, rows: Vec<Rows>) -> Reading {
        Reading { rules, places: Arc::clone(&self.places), changed: self.changed, rows }
    }

    /// These partitions were written.
    pub fn learn(&mut self, written: Vec<(i32, String, i64)>) {
        for (month, service, changed) in written {
            let slot = Slot { changed, partition: None, used: Cell::default() };
            let old = self.partitions.entry(Month::from_number(month)).or_default().insert(service.into(), slot);
            self.bytes -= old.map_or(0, |old| old.bytes());
        }
    }

    pub fn keep(&mut self, loaded: Vec<Kept>) {
        for Kept { month, service, changed, partition } in loaded {
            let new = Slot { changed, partition: Some(partition), used: Cell::new(self.turn) };
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
    pub fn months(&self, window: Window) -> BTreeSet<Month> {
        let (first, last) = (Month::of(window.from), Month::of(window.to));
        if first > last {
            return BTreeSet::from([Month::LASTING]);
        }
        let in_window = self.partitions.range(first..=last);
        in_window.map(|(month, _)| *month).chain([Month::LASTING]).collect()
    }

    /// The newest projection of the wanted rows of months; `None` where there are none.
    pub fn newest(&self, wanted: &Wanted, months: &BTreeSet<Month>) -> Option<i64> {
        self.slots(wanted, months).map(|(.., slot)| slot.changed).max()
    }

    /// Which of the wanted services have rows in the month that were written after a projection.
    pub fn written_since(&self, wanted: &Wanted, month: Month, since: i64) -> BTreeSet<Arc<str>> {
        let month = BTreeSet::from([month]);
        let written = self.slots(wanted, &month).filter(|(.., slot)| slot.changed > since);
        written.map(|(_, service, _)| Arc::clone(service)).collect()
    }

    pub fn slots<'a>(
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

    /// Which of the wanted rows are not in memory; the others count as used.
    pub fn missing(&self, wanted: &Wanted, months: &BTreeSet<Month>) -> BTreeMap<Month, BTreeSet<Arc<str>>> {
        let mut missing: BTreeMap<Month, BTreeSet<Arc<str>>> = BTreeMap::new();
        for (month, service, slot) in self.slots(wanted, months) {
            if slot.partition.is_some() {
                slot.used.set(self.turn);
            } else {
                missing.entry(month).or_default().insert(Arc::clone(service));
            }
        }
        missing
    }

    /// `None` where some are not in memory any more, or are newer than what is known.
    pub fn rows(&mut self, wanted: &Wanted, months: &BTreeSet<Month>) -> Option<Vec<Rows>> {
        self.turn += 1;
        let rows = self.slots(wanted, months).map(|(month, service, slot)| {
            slot.used.set(self.turn);
            let partition = Arc::clone(slot.partition.as_ref()?);
            let rows = Rows { service: Arc::clone(service), month, changed: slot.changed, partition };
            (slot.changed <= self.changed).then_some(rows)
        });
        // All of them are used, whether others are missing or not.
        let rows: Vec<Option<Rows>> = rows.collect();
        self.make_room();
        rows.into_iter().collect()
    }

    /// Forgets a quarter of what there is room for, so that it is seldom done.
    fn make_room(&mut self) {
        if self.bytes <= self.room {
            return;
        }
        let slots = self.partitions.values().flat_map(BTreeMap::values);
        let loaded = slots.filter(|slot| slot.partition.is_some());
        let kept = loaded.map(|slot| (slot.used.get(), slot.bytes())).collect();
        let Some(until) = last_to_go(kept, self.room / 4 * 3) else { return };
        // What is read just now is in memory anyway.
        let reading = self.begun.keys().next().map_or(self.turn, |begun| self.turn.min(*begun));
        for slot in self.partitions.values_mut().flat_map(BTreeMap::values_mut) {
            if slot.used.get() <= until && slot.used.get() < reading {
                self.bytes -= slot.bytes();
                slot.partition = None;
            }
        }
    }
}

impl Slot {
    pub fn bytes(&self) -> usize {
        self.partition.as_ref().map_or(0, |partition| partition.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_window_that_ends_before_it_begins_has_no_months() {
        let at = |text| Timestamp::parse(text).unwrap();
        let window = Window { from: at("2026-02-01T00:00:00Z"), to: at("2026-01-31T23:55:00Z") };
        assert_eq!(Known::default().months(window), BTreeSet::from([Month::LASTING]));
    }
}
