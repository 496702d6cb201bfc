//! The partitions of a question, with what of them is asked for.
//!
//! A figure over several services comes from their rows, never from their figures.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::month::Month;
use super::partition::{Deployed, Index, Partition};
use crate::time::Timestamp;

/// Where a change counts that reached several selected environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    #[default]
    First,
    Last,
}

/// Rows of the selected services and environments: at least those of every month that a question
/// touches, and the lasting ones.
#[derive(Debug, Default)]
pub struct Selected<'a> {
    pub parts: Vec<Part<'a>>,
    /// The first deployment of the selection in all its history.
    pub first_deployment: Option<Timestamp>,
    pub arrival: Arrival,
}

/// A partition, and which of its rows are selected.
#[derive(Debug)]
pub struct Part<'a> {
    pub service: &'a str,
    pub month: Month,
    pub partition: &'a Partition,
    /// By environment.
    wanted: Vec<bool>,
    /// By elsewhere.
    wanted_elsewhere: Vec<bool>,
}

impl<'a> Selected<'a> {
    /// `wanted` is asked for (service, environment); incidents of no service belong to `""`.
    pub fn new(
        partitions: impl IntoIterator<Item = (&'a str, Month, &'a Partition)>,
        wanted: impl Fn(&str, &str) -> bool,
        first_deployment: Option<Timestamp>,
        arrival: Arrival,
    ) -> Self {
        let part = |(service, month, partition): (&'a str, Month, &'a Partition)| {
            let here: Vec<bool> = partition.environments.iter().map(|name| wanted(service, name)).collect();
            here.contains(&true).then(|| Part {
                wanted_elsewhere: partition.elsewhere.iter().map(|(there, name)| wanted(there, name)).collect(),
                wanted: here,
                service,
                month,
                partition,
            })
        };
        Self { parts: partitions.into_iter().filter_map(part).collect(), first_deployment, arrival }
    }
}

impl<'a> Part<'a> {
    pub fn wants(&self, environment: Index) -> bool {
        flag(&self.wanted, environment)
    }

    pub fn wants_elsewhere(&self, elsewhere: Index) -> bool {
        flag(&self.wanted_elsewhere, elsewhere)
    }

    pub fn deployment(&self, row: Index) -> Option<&'a Deployed> {
        self.partition.deployments.get(usize::try_from(row).ok()?)
    }
}

fn flag(flags: &[bool], index: Index) -> bool {
    usize::try_from(index).ok().and_then(|index| flags.get(index)).copied().unwrap_or_default()
}
