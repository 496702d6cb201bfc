//! Which times can be true: one rule for every way in.

use std::time::Duration;

use crate::event::{ChangeEvent, DeliveryEvent};
use crate::time::Timestamp;

/// 2000-01-01T00:00:00Z: nothing that DevPulse is told happened before.
const EARLIEST: Timestamp = Timestamp::from_seconds(946_684_800);

/// What a sender's clock may show at the time of receipt.
#[derive(Debug, Clone, Copy)]
pub struct Credible {
    pub received_at: Timestamp,
    pub max_future: Duration,
}

impl Credible {
    /// # Errors
    /// What is wrong with the time, as the end of a sentence that begins with its place.
    pub fn time(&self, time: Timestamp) -> Result<(), String> {
        if time > self.received_at.plus(self.max_future) {
            let ahead = time.duration_since(self.received_at).as_secs();
            return Err(format!("is {time}, {ahead} s in the future: check the sender's clock and offset"));
        }
        if time < EARLIEST {
            return Err(format!("is {time}, before 2000: check the unit and the sender's clock"));
        }
        Ok(())
    }

    /// The times of clocks; when a commit was written says its author's machine, and counts as it is.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn event(&self, event: &DeliveryEvent) -> Result<(), String> {
        let started_at = match event {
            DeliveryEvent::Deployment(event) => event.started_at,
            DeliveryEvent::Incident(event) => event.started_at,
            DeliveryEvent::Change(event) => event.merged_at,
            DeliveryEvent::Links(_)
            | DeliveryEvent::PullRequest(_)
            | DeliveryEvent::Push(_)
            | DeliveryEvent::Finding(_)
            | DeliveryEvent::Origin(_)
            | DeliveryEvent::Unread(_) => None,
        };
        let kind = event.kind().replace('_', " ");
        // Of a commit that nobody says was merged or pushed, the time is that of its author's machine.
        let of_author = matches!(event, DeliveryEvent::Change(ChangeEvent { merged_at: None, push: None, .. }));
        let told = [("time", (!of_author).then(|| event.time())), ("start", started_at)];
        told.into_iter().try_for_each(|(what, time)| match time {
            Some(time) => self.time(time).map_err(|detail| format!("the {what} of the {kind} {detail}")),
            None => Ok(()),
        })
    }
}
