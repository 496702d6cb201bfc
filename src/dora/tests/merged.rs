//! Merged months answer what the rows they were made of would answer, whatever the window, and
//! whether they were merged at once or bit by bit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::history::question;
use super::partitions::{HOURS, PLACES, SERVICES, a_deployment, an_incident, derived, hour, partitions};
use crate::dora::calendar::Window;
use crate::dora::count::{LeadFrom, Question, months};
use crate::dora::derive::Derived;
use crate::dora::figure::{Figures, Standards, figures, figures_of};
use crate::dora::merged::Merged;
use crate::dora::month::Month;
use crate::dora::partition::{Leads, Partition};
use crate::dora::select::{Arrival, Selected};
use crate::dora::stats::Center;
use crate::dora::tally::Tallies;

type Stored<'a> = BTreeMap<(Month, &'a str), Partition>;

/// Some changes get a pull request, with or without a review.
fn stored(all: &[Derived]) -> Stored<'_> {
    let mut stored = Stored::new();
    for (service, partitions) in partitions(all) {
        for (month, (mut partition, _)) in partitions {
            let leads = &mut partition.leads;
            let column = |part: i64, every: usize| {
                let times = leads.authored.iter().enumerate();
                times.map(|(row, micros)| if row % every == 0 { micros / part } else { Leads::UNKNOWN }).collect()
            };
            (leads.opened, leads.first_review, leads.merged) = (column(2, 2), column(3, 4), column(4, 3));
            stored.insert((month, service), partition);
        }
    }
    stored
}

struct Asking<'a> {
    services: &'a [&'static str],
    environments: &'a [&'static str],
    arrival: Arrival,
}

impl Asking<'_> {
    fn select<'a>(&self, rows: impl Iterator<Item = (&'a str, Month, &'a Partition)>) -> Selected<'a> {
        let wanted = |service: &str, environment: &str| {
            self.services.contains(&service) && self.environments.contains(&environment)
        };
        Selected::new(rows, wanted, Some(hour(0)), self.arrival)
    }

    /// `before` with all services whose rows are not the same any more.
    fn merge(
        &self,
        before: Option<&Merged>,
        old: &Stored<'_>,
        new: &Stored<'_>,
        month: Month,
        question: &Question,
    ) -> Merged {
        let nothing = Partition::default();
        let of = |stored: &Stored<'_>, service| stored.get(&(month, service)).unwrap_or(&nothing).clone();
        let renewed: Vec<&str> = SERVICES.into_iter().filter(|service| of(old, service) != of(new, service)).collect();
        let rows = new.iter().filter(|((of, service), _)| *of == month && renewed.contains(service));
        let selected = self.select(rows.map(|((month, service), rows)| (*service, *month, rows)));
        let names: BTreeSet<Arc<str>> = renewed.iter().map(|name| Arc::from(*name)).collect();
        before.cloned().unwrap_or_else(|| Merged::new(month)).renewed(&names, &selected, question)
    }

    fn row_by_row(&self, stored: &Stored<'_>, question: &Question) -> Figures {
        let selected = self.select(stored.iter().map(|((month, service), rows)| (*service, *month, rows)));
        figures(&selected, question, Standards::default())
    }

    fn merged(&self, stored: &Stored<'_>, merged: &[(Month, Merged)], question: &Question) -> Figures {
        let lasting = stored.iter().filter(|((month, _), _)| *month == Month::LASTING);
        let lasting = self.select(lasting.map(|((month, service), rows)| (*service, *month, rows)));
        let mut tallies = Tallies::of(&lasting, question, true);
        let touched = months(question.window);
        for (_, merged) in merged.iter().filter(|(month, _)| touched.contains(month)) {
            tallies.share(&merged.tallies(question, true));
        }
        figures_of(tallies, Some(hour(0)), question, Standards::default())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn merged_months_answer_as_their_rows_do(
        deployments in prop::collection::vec(a_deployment(), 0..40),
        later in prop::collection::vec(a_deployment(), 0..4),
        incidents in prop::collection::vec(an_incident(), 0..10),
        more in prop::collection::vec(an_incident(), 0..3),
        windows in prop::collection::vec((-200..HOURS, 1..HOURS), 1..6),
        services in prop::sample::subsequence(&SERVICES[..], 1..=2),
        environments in prop_oneof![Just(&PLACES[..2]), Just(&PLACES[..1]), Just(&PLACES[2..])],
        arrival in prop_oneof![Just(Arrival::First), Just(Arrival::Last)],
        lead_from in prop_oneof![Just(LeadFrom::Authored), Just(LeadFrom::Merged)],
        exclude_rollbacks: bool,
    ) {
        let before = derived(&deployments, &incidents);
        let after = derived(&[deployments, later].concat(), &[incidents, more].concat());
        let (old, new) = (stored(&before), stored(&after));
        let asking = Asking { services: &services, environments, arrival };
        let question = Question { center: Center::Percentile(75.0), lead_from, exclude_rollbacks, ..question() };
        let real: BTreeSet<Month> = old.keys().chain(new.keys()).map(|(month, _)| *month).filter(|m| m.is_real()).collect();
        let merged: Vec<(Month, Merged)> = real.into_iter().map(|month| {
            let first = asking.merge(None, &Stored::new(), &old, month, &question);
            (month, asking.merge(Some(&first), &old, &new, month, &question))
        }).collect();
        let whole = merged.iter().map(|(month, _)| month.window());
        let others = windows.iter().map(|(from, length)| Window { from: hour(*from), to: hour(from + length) });
        for window in whole.chain(others) {
            let question = Question { window, ..question };
            prop_assert_eq!(asking.merged(&new, &merged, &question), asking.row_by_row(&new, &question), "{:?}", window);
        }
    }
}
