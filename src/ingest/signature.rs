//! Signatures of sources: HMAC-SHA-256 of the raw body, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How a source writes its signature into a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `X-Hub-Signature-256: sha256=HEX`, of GitHub.
    Hub,
    /// `X-PagerDuty-Signature: v1=HEX,v1=HEX`: any of them; two while a secret is replaced.
    Versioned,
}

/// Signatures that one header may hold.
const AT_MOST: usize = 10;

impl Style {
    fn claimed(self, header: &str) -> Vec<Vec<u8>> {
        let (parts, prefix) = match self {
            Self::Hub => (vec![header], "sha256="),
            Self::Versioned => (header.split(',').map(str::trim).take(AT_MOST).collect(), "v1="),
        };
        let digest = |part: &str| hex::decode(part.strip_prefix(prefix)?).ok().filter(|digest| digest.len() == 32);
        parts.into_iter().filter_map(digest).collect()
    }

    /// Whether `header` has the shape of a signature.
    pub fn is_signature(self, header: &str) -> bool {
        !self.claimed(header).is_empty()
    }

    /// Whether `header` holds the signature of `body`.
    pub fn is_signed(self, secret: &SecretString, header: &str, body: &[u8]) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { return false };
        mac.update(body);
        let digest = mac.finalize().into_bytes();
        self.claimed(header).iter().any(|claimed| bool::from(digest.ct_eq(claimed)))
    }
}

/// Whether `sent` is the secret itself. How long it is shows in the time this takes, nothing else.
pub fn is_secret(secret: &SecretString, sent: &str) -> bool {
    secret.expose_secret().as_bytes().ct_eq(sent.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation, "Validating webhook deliveries".
    #[test]
    fn the_documented_example_is_signed() {
        let secret = SecretString::from("It's a Secret to Everybody");
        let digest = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let header = format!("sha256={digest}");
        assert!(Style::Hub.is_signed(&secret, &header, b"Hello, World!"));
        assert!(!Style::Hub.is_signed(&secret, &header, b"Hello, World?"));
        assert!(!Style::Hub.is_signed(&SecretString::from("another"), &header, b"Hello, World!"));
        let other = "0".repeat(64);
        assert!(Style::Versioned.is_signed(&secret, &format!("v1={other},v1={digest}"), b"Hello, World!"));
        assert!(!Style::Versioned.is_signed(&secret, &format!("v1={other},v2={digest}"), b"Hello, World!"));
    }

    #[test]
    fn anything_else_is_not() {
        let secret = SecretString::from("s");
        for header in ["", "sha256=", "sha256=00", "sha1=ab", "v1=", &format!("sha256={}", "g".repeat(64))] {
            for style in [Style::Hub, Style::Versioned] {
                assert!(!style.is_signature(header), "{header}");
                assert!(!style.is_signed(&secret, header, b""), "{header}");
            }
        }
        assert!(Style::Hub.is_signature(&format!("sha256={}", "0a".repeat(32))));
    }
}
