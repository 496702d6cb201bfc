//! API keys, `dp_<id>_<secret>`: making, checking, and the set of them a running server knows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Caller;
use super::auth::Scope;
use crate::store::key::{self, StoredKey};
use crate::store::{Store, StoreError};
use crate::time::Timestamp;

/// How long a server believes what it last read about the keys. Whoever waits this long after a
/// change knows that every server that reaches the database acts by it.
pub const BELIEVED_FOR: Duration = Duration::from_millis(250);

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
    /// One reads at a time; holds when the last one began.
    reading: Arc<Mutex<Instant>>,
    store: Store,
}

struct Known {
    /// Unrevoked keys by id.
    valid: HashMap<String, (Vec<u8>, Caller)>,
    /// Whether any key was ever created, revoked ones included.
    any: bool,
    /// Before the keys were read: no change before this instant is missing.
    as_of: Instant,
}

impl Known {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        let as_of = Instant::now();
        let rows = key::all(&mut store.read().await?).await?;
        let any = !rows.is_empty();
        let valid = rows.into_iter().filter(|row| row.revoked_at.is_none()).map(|row| {
            let scopes = row.scopes.split(' ').filter_map(Scope::parse).collect();
            (row.id.clone(), (row.secret_hash, Caller { name: row.id, scopes }))
        });
        Ok(Self { valid: valid.collect(), any, as_of })
    }

    fn find(&self, id: &str, secret: &str) -> Option<Caller> {
        let (hash, caller) = self.valid.get(id)?;
        let same = Sha256::digest(secret.as_bytes()).ct_eq(hash.as_slice());
        bool::from(same).then(|| caller.clone())
    }
}

impl Keys {
    /// # Errors
    /// The database does not answer.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        let known = Known::read(&store).await?;
        let reading = Arc::new(Mutex::new(known.as_of));
        Ok(Self { known: Arc::new(ArcSwap::from_pointee(known)), reading, store })
    }

    /// Whether any key was ever created. Revoking the last one does not open the door again.
    pub async fn any(&self) -> bool {
        self.known(BELIEVED_FOR).await.any
    }

    /// The caller that a bearer token belongs to.
    pub async fn check(&self, token: &str) -> Option<Caller> {
        let (id, secret) = token.strip_prefix("dp_")?.split_once('_')?;
        self.known(BELIEVED_FOR).await.find(id, secret)
    }

    /// Reads ahead of the requests for ever, so that they seldom wait for it.
    pub async fn follow(self) {
        loop {
            tokio::time::sleep(BELIEVED_FOR / 2).await;
            self.known(BELIEVED_FOR / 2).await;
        }
    }

    /// What is known, read again when it is older than `age`. While the database does not answer
    /// the keys known stay, and one try per [`BELIEVED_FOR`] makes at most that long a wait.
    async fn known(&self, age: Duration) -> Arc<Known> {
        let known = self.known.load_full();
        if known.as_of.elapsed() < age {
            return known;
        }
        let mut last_try = self.reading.lock().await;
        let known = self.known.load_full();
        let tried = known.as_of < *last_try && last_try.elapsed() < BELIEVED_FOR * 2;
        if known.as_of.elapsed() < age || tried {
            return known;
        }
        *last_try = Instant::now();
        match timeout(BELIEVED_FOR, Known::read(&self.store)).await {
            Ok(Ok(read)) => {
                let read = Arc::new(read);
                self.known.store(Arc::clone(&read));
                return read;
            }
            Ok(Err(error)) => tracing::warn!(%error, "the API keys cannot be read; those known stay"),
            Err(_) => tracing::warn!("the database is slow to say which API keys exist; those known stay"),
        }
        known
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
