//! API keys, `dp_<id>_<secret>`: making, checking, and the set of them a running server knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::Caller;
use super::auth::Scope;
use crate::store::key::{self, StoredKey};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// How often a server looks for new and revoked keys.
pub const REFRESH: Duration = Duration::from_millis(250);

/// At most so often does an unknown key make a server look at once.
const REFRESH_ON_DEMAND: Duration = Duration::from_millis(100);

/// A new key: the text is shown once, the rest is stored.
pub struct NewKey {
    pub text: String,
    pub stored: StoredKey,
}

/// Makes a key with a secret of 256 random bits.
///
/// # Errors
/// The system has no random numbers.
pub fn create(name: &str, scopes: &[Scope], now: Timestamp) -> Result<NewKey, getrandom::Error> {
    let mut random = [0_u8; 38];
    getrandom::fill(&mut random)?;
    let (id, secret) = random.split_at(6);
    let (id, secret) = (hex::encode(id), hex::encode(secret));
    let scopes = scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ");
    let text = format!("dp_{id}_{secret}");
    let secret_hash = Sha256::digest(secret.as_bytes()).to_vec();
    let created_at = now.micros();
    Ok(NewKey {
        text,
        stored: StoredKey { id, name: name.to_owned(), scopes, secret_hash, created_at, revoked_at: None },
    })
}

/// The keys as last read from the store.
#[derive(Clone)]
pub struct Keys {
    known: Arc<ArcSwap<Known>>,
    last_demand: Arc<Mutex<Option<Instant>>>,
    store: Store,
}

#[derive(Default)]
struct Known {
    /// Unrevoked keys by id.
    valid: HashMap<String, (Vec<u8>, Caller)>,
    /// Whether any key was ever created, revoked ones included.
    any: bool,
}

impl Keys {
    /// # Errors
    /// The database does not answer.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let keys = Self { known: Arc::default(), last_demand: Arc::default(), store };
        keys.refresh().await?;
        Ok(keys)
    }

    /// Whether any key was ever created. Revoking the last one does not open the door again.
    pub fn any(&self) -> bool {
        self.known.load().any
    }

    /// Reads the keys again.
    ///
    /// # Errors
    /// The database does not answer; what was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut conn = self.store.read().await?;
        let rows = key::all(&mut conn).await?;
        let any = !rows.is_empty();
        let valid = rows.into_iter().filter(|row| row.revoked_at.is_none()).map(|row| {
            let scopes = row.scopes.split(' ').filter_map(Scope::parse).collect();
            (row.id.clone(), (row.secret_hash, Caller { name: row.id, scopes }))
        });
        self.known.store(Arc::new(Known { valid: valid.collect(), any }));
        Ok(())
    }

    /// Follows the store for ever: a revoked key stops working within [`REFRESH`].
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "the API keys cannot be read; those known stay");
            }
        }
    }

    /// The caller that a bearer token belongs to.
    pub async fn check(&self, token: &str) -> Option<Caller> {
        let (id, secret) = token.strip_prefix("dp_")?.split_once('_')?;
        if let Some(caller) = self.find(id, secret) {
            return Some(caller);
        }
        // A key made a moment ago may not be known yet.
        let unknown = !self.known.load().valid.contains_key(id);
        if unknown && self.may_look() && self.refresh().await.is_ok() {
            return self.find(id, secret);
        }
        None
    }

    fn find(&self, id: &str, secret: &str) -> Option<Caller> {
        let known = self.known.load();
        let (hash, caller) = known.valid.get(id)?;
        let same = Sha256::digest(secret.as_bytes()).ct_eq(hash.as_slice());
        bool::from(same).then(|| caller.clone())
    }

    fn may_look(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last_demand.lock();
        let due = last.is_none_or(|last| now.duration_since(last) >= REFRESH_ON_DEMAND);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_id_and_a_secret_of_256_bits() {
        let key = create("ci", &[Scope::Ingest, Scope::Read], Timestamp::from_seconds(1)).unwrap();
        let (id, secret) = key.text.strip_prefix("dp_").unwrap().split_once('_').unwrap();
        assert_eq!((id, secret.len()), (key.stored.id.as_str(), 64));
        assert_eq!(key.stored.scopes, "ingest read");
        assert_eq!(key.stored.secret_hash, Sha256::digest(secret.as_bytes()).to_vec());
        assert!(!format!("{:?}", key.stored).contains(secret));
        assert_ne!(key.text, create("ci", &[Scope::Ingest], Timestamp::from_seconds(1)).unwrap().text);
    }
}
