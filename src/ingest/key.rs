//! Keys and digests: how something already taken in is recognised.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::committer::{Fact, Key, RequestKey};
use super::fault::Fault;
use crate::event::DeliveryEvent;
use crate::time::Timestamp;

/// The key of `parts`, which are hashed with their lengths, so that no two lists run together.
pub fn key_of(parts: &[&str]) -> Key {
    shorten(&digest_of(parts))
}

fn digest_of(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// The key of a request that names itself, and the digest of its body.
pub fn request_key(parts: &[&str], body: &[u8]) -> RequestKey {
    RequestKey { key: key_of(parts), body_digest: shorten(&Sha256::digest(body)) }
}

fn shorten(digest: &[u8]) -> Key {
    let mut key = Key::default();
    for (to, from) in key.iter_mut().zip(digest) {
        *to = *from;
    }
    key
}

/// What a sender said, in a canonical form.
#[derive(Serialize)]
struct AsSent<'a> {
    time_sent: bool,
    event: &'a DeliveryEvent,
}

/// A fact from an event whose time is `sent`, or the time of receipt where the sender gave none.
///
/// The digest covers the event as sent: without a time it stays without, so that a retry of an
/// event without a time is a duplicate and not another event.
///
/// # Errors
/// The event cannot be written as JSON.
pub fn fact(
    mut event: DeliveryEvent,
    sent: Option<Timestamp>,
    received_at: Timestamp,
    raw: &str,
) -> Result<Fact, Fault> {
    event.set_time(sent.unwrap_or_default());
    let canonical = serde_json::to_vec(&AsSent { time_sent: sent.is_some(), event: &event })
        .map_err(|error| Fault::new("", format!("cannot be kept: {error}")))?;
    let digest = Sha256::digest(&canonical).into();
    event.set_time(sent.unwrap_or(received_at));
    Ok(Fact { event, digest, raw: raw.as_bytes().to_vec(), alarm: false })
}

/// A fact that its source tells again and again, not always in the same words: `parts` say which
/// one it is.
pub fn fact_known_by(parts: &[&str], event: DeliveryEvent, raw: &str) -> Fact {
    Fact { event, digest: digest_of(parts), raw: raw.as_bytes().to_vec(), alarm: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(key_of(&["ab", "c"]), key_of(&["a", "bc"]));
        assert_eq!(key_of(&["ab", "c"]), key_of(&["ab", "c"]));
    }
}
