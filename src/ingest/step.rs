//! What an issue's event means for the incident that it is: the steps that hosts tell of in one message.

use crate::event::IncidentStatus;
use crate::time::Timestamp;

/// A status, when, and how it ended.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub status: IncidentStatus,
    /// `None`: the time of receipt.
    pub time: Option<Timestamp>,
    pub resolution: Option<&'static str>,
}

impl Step {
    pub const fn new(status: IncidentStatus, time: Timestamp) -> Self {
        Self { status, time: Some(time), resolution: None }
    }

    pub const fn resolved(time: Timestamp) -> Self {
        Self { resolution: Some("closed"), ..Self::new(IncidentStatus::Resolved, time) }
    }

    /// It is no incident any more, and never was one.
    pub const fn withdrawn(time: Option<Timestamp>, how: &'static str) -> Self {
        Self { status: IncidentStatus::Withdrawn, time, resolution: Some(how) }
    }

    /// The whole story of a closed issue that was called an incident in hindsight.
    pub fn in_hindsight(created: Timestamp, closed: Timestamp, labelled: Timestamp) -> Vec<Self> {
        // Resolved once more, should the label have been taken away in between.
        vec![Self::new(IncidentStatus::Opened, created), Self::resolved(closed), Self::resolved(labelled)]
    }
}
