//! The memory that bodies may take together, while they arrive, are decompressed and are taken in.
//!
//! Limits of one request do not bound many. Bytes are counted as they come, not as they are
//! announced: who announces much and sends little takes little.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::decode::BodyError;

/// What one permit stands for.
const UNIT: usize = 1024;

/// Shared by all requests of a kind.
#[derive(Clone)]
pub struct Budget(Arc<Semaphore>);

/// One request's part; comes back when dropped.
pub struct Hold {
    budget: Budget,
    permits: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// For events and for webhooks, out of `bytes`. Webhooks prove who sends them only with their
    /// last byte, so they may not take what callers with keys need: theirs is a quarter.
    pub fn split(bytes: usize) -> (Self, Self) {
        (Self::new(bytes - bytes / 4), Self::new(bytes / 4))
    }

    pub fn hold(&self) -> Hold {
        Hold { budget: self.clone(), permits: None, bytes: 0 }
    }
}

impl Hold {
    /// # Errors
    /// [`BodyError::NoMemory`]: other requests hold what there is.
    pub fn add(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let held = self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(self.bytes.div_ceil(UNIT).saturating_sub(held)).map_err(|_| BodyError::NoMemory)?;
        if more == 0 {
            return Ok(());
        }
        let more = Arc::clone(&self.budget.0).try_acquire_many_owned(more).map_err(|_| BodyError::NoMemory)?;
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            None => self.permits = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::new(10 * UNIT);
        let (mut one, mut two) = (budget.hold(), budget.hold());
        assert_eq!(one.add(6 * UNIT - 1), Ok(()));
        assert_eq!(one.add(1), Ok(()), "within what is held");
        assert_eq!(two.add(4 * UNIT), Ok(()));
        assert_eq!(two.add(1), Err(BodyError::NoMemory));
        drop(one);
        assert_eq!(two.add(5 * UNIT), Ok(()));
    }
}
