//! What is known at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::NO_SERVICE;
use super::Wanted;
use super::places::{Place, Places};
use crate::dora::Rules;
use crate::dora::month::Month;
use crate::dora::partition::Partition;
use crate::dora::select::{Arrival, Selected};
use crate::time::Timestamp;

pub struct Reading {
    pub rules: Arc<Rules>,
    pub places: Arc<Places>,
    /// The newest projection.
    pub changed: i64,
    /// In order of months and services.
    pub rows: Vec<Rows>,
}

/// The rows of one service and month.
pub struct Rows {
    pub service: Arc<str>,
    pub month: Month,
    /// The projection that wrote them.
    pub changed: i64,
    pub partition: Arc<Partition>,
}

impl Reading {
    /// Incidents of no service belong to all services together.
    pub fn services(&self) -> impl Iterator<Item = &str> + Clone {
        self.places.keys().map(|(service, _)| service.as_str()).filter(|service| *service != NO_SERVICE)
    }

    /// Every environment that the configuration or an event names, by its configured name.
    pub fn environments(&self) -> BTreeSet<&str> {
        let seen = self.places.keys().map(|(_, raw)| self.rules.environment(raw).0);
        seen.chain(self.rules.configured_environments()).chain([self.rules.default_environment()]).collect()
    }

    /// Where there are deployments: services and their environments as events name them.
    pub fn deployed(&self) -> impl Iterator<Item = (&str, &str)> {
        let deployed = self.places.iter().filter(|(_, place)| place.first_deployment_at.is_some());
        deployed.map(|((service, environment), _)| (service.as_str(), environment.as_str()))
    }

    /// The configured names of environments that have deployments of the wanted services, but for these.
    pub fn deployed_elsewhere(&self, wanted: &Wanted, environments: &BTreeSet<String>) -> BTreeSet<String> {
        let deployed = self.deployed().filter(|(service, _)| wanted.contains(service));
        let names = deployed.map(|(_, raw)| self.rules.environment(raw).0);
        names.filter(|name| !environments.contains(*name)).map(str::to_owned).collect()
    }

    /// The places of a service, by the environment's name in the events.
    pub fn places_of(&self, service: &str) -> impl Iterator<Item = (&str, &Place)> {
        let from = self.places.range((service.to_owned(), String::new())..);
        let of = from.take_while(move |((of, _), _)| *of == service);
        of.map(|((_, environment), place)| (environment.as_str(), place))
    }

    /// The first deployment of all to what is wanted.
    pub fn first_deployment<'a>(&'a self, wanted: impl Fn(&str, &str) -> bool) -> Option<Timestamp> {
        let mut names: HashMap<&str, &str> = HashMap::new();
        let mut is_wanted = |service: &str, raw: &'a str| {
            let name = *names.entry(raw).or_insert_with(|| self.rules.environment(raw).0);
            wanted(service, name)
        };
        let places = self.places.iter().filter(|((service, raw), _)| is_wanted(service, raw));
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
