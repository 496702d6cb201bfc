//! Handing commit notices to the evaluator without ever waiting for it.
//!
//! The evaluator may itself wait for a commit (a rollback reports its own deployment), so waiting
//! here could wait for ever. While it is behind, notices are added up into one.

use tokio::sync::mpsc::{self, error::TrySendError};

use super::committer::CommitNotice;

pub(super) struct Notices {
    sender: mpsc::Sender<CommitNotice>,
    held: Option<CommitNotice>,
}

impl Notices {
    pub const fn new(sender: mpsc::Sender<CommitNotice>) -> Self {
        Self { sender, held: None }
    }

    pub fn push(&mut self, notice: CommitNotice) {
        if notice.is_empty() {
            return;
        }
        match &mut self.held {
            Some(held) => held.append(notice),
            None => self.held = Some(notice),
        }
        self.send();
    }

    fn send(&mut self) {
        let Some(notice) = self.held.take() else { return };
        if let Err(TrySendError::Full(notice)) = self.sender.try_send(notice) {
            self.held = Some(notice);
        }
    }

    /// What is held back, for whoever tells of it in another way.
    pub fn take_held(&mut self) -> Option<CommitNotice> {
        self.held.take()
    }

    /// Ends when what is held back has been sent; never while nothing is.
    pub async fn catch_up(&mut self) {
        if self.held.is_none() {
            std::future::pending::<()>().await;
        }
        let permit = self.sender.reserve().await;
        if let (Some(notice), Ok(permit)) = (self.held.take(), permit) {
            permit.send(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DeliveryEvent, EntityKey, IncidentEvent, IncidentStatus};
    use crate::time::Timestamp;

    fn notice(id: &str, seconds: i64) -> CommitNotice {
        let key = EntityKey { source: "s".to_owned(), id: id.to_owned() };
        let incident = IncidentEvent::new(key, Timestamp::from_seconds(seconds), IncidentStatus::Opened);
        CommitNotice {
            facts: vec![DeliveryEvent::Incident(incident)],
            received_at: Some(Timestamp::from_seconds(seconds)),
            ..CommitNotice::default()
        }
    }

    fn ids(notice: &CommitNotice) -> Vec<&str> {
        notice.facts.iter().map(|fact| fact.key().id.as_str()).collect()
    }

    #[tokio::test]
    async fn a_slow_listener_gets_everything_in_order_added_up() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut notices = Notices::new(sender);
        for (id, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
            notices.push(notice(id, seconds));
        }
        assert_eq!(ids(&receiver.recv().await.unwrap()), ["a"]);
        notices.catch_up().await;
        let rest = receiver.recv().await.unwrap();
        assert_eq!(ids(&rest), ["b", "c"]);
        assert_eq!(rest.received_at, Some(Timestamp::from_seconds(2)));
    }
}
