//! The evaluator's alerts: remembered, so that a look which changes nothing asks nobody, and
//! stepped from the store's row whenever something changes.
//!
//! A commit whose answer got lost may have happened. Until the row was read again, the memory of
//! that alert is not believed.

use std::collections::{HashMap, HashSet};

use crate::alert::{Alert, Change, Observation, Transition, burn, no_data, step};
use crate::store::alert::{self, Routing};
use crate::store::rollback::saga::SagaError;
use crate::store::{Store, StoreError, lease};
use crate::time::Timestamp;

pub struct AlertBook {
    store: Store,
    fencing: i64,
    /// Active alerts by fingerprint.
    active: HashMap<String, Alert>,
    /// Fingerprints whose last write was not answered.
    doubted: HashSet<String>,
}

impl AlertBook {
    /// # Errors
    /// The database does not answer.
    pub async fn load(store: Store, fencing: i64) -> Result<Self, StoreError> {
        let mut active = alert::active(&mut store.read().await?).await?;
        active.retain(|fingerprint, _| {
            [burn::PREFIX, no_data::PREFIX].iter().any(|prefix| fingerprint.starts_with(prefix))
        });
        Ok(Self { store, fencing, active, doubted: HashSet::new() })
    }

    pub fn active(&self) -> impl Iterator<Item = &Alert> {
        self.active.values()
    }

    /// Keeps what an observation changes, with what must be told, in one transaction; answers with
    /// the change and the alert as it is now.
    ///
    /// # Errors
    /// [`SagaError::Stale`] when another process leads; the database does not answer. The next
    /// observation starts from what the store has.
    pub async fn observe(
        &mut self,
        seen: &Observation,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> Result<Option<(Change, Alert)>, SagaError> {
        let fingerprint = &seen.fingerprint;
        let remembered = step(self.active.get(fingerprint), seen, now);
        if matches!(remembered, Transition::Unchanged(_)) && !self.doubted.contains(fingerprint) {
            return Ok(None);
        }
        self.doubted.insert(fingerprint.clone());
        let (known, transition) = self.keep(seen, routing, now).await?;
        self.doubted.remove(fingerprint);
        let (changed, standing) = match transition {
            Transition::Unchanged(_) => (None, known),
            Transition::Changed(change @ (Change::Cancelled | Change::Resolved), alert) => {
                (Some((change, *alert)), None)
            }
            Transition::Changed(change, alert) => (Some((change, (*alert).clone())), Some(*alert)),
        };
        match standing {
            Some(alert) => self.active.insert(fingerprint.clone(), alert),
            None => self.active.remove(fingerprint),
        };
        Ok(changed)
    }

    async fn keep(
        &self,
        seen: &Observation,
        routing: Routing<'_>,
        now: Timestamp,
    ) -> Result<(Option<Alert>, Transition), SagaError> {
        let mut tx = self.store.begin().await?;
        if !lease::holds(&mut tx, self.fencing).await? {
            return Err(SagaError::Stale);
        }
        let known = alert::active_of(&mut tx, &seen.fingerprint).await?;
        let transition = step(known.as_ref(), seen, now);
        alert::apply(&mut tx, &transition, routing, now).await?;
        tx.commit().await?;
        Ok((known, transition))
    }
}
