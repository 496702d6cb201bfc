//! `X-Hub-Signature-256`: HMAC-SHA-256 of the raw body, compared in constant time.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Whether `header` has the shape of a signature: `sha256=` and 64 hex digits.
pub fn is_signature(header: &str) -> bool {
    let digits = header.strip_prefix("sha256=").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Whether `header` (`sha256=` and 64 hex digits) is the signature of `body`.
pub fn is_signed(secret: &SecretString, header: Option<&str>, body: &[u8]) -> bool {
    let Some(claimed) = header.and_then(|header| header.strip_prefix("sha256=")) else { return false };
    let Ok(claimed) = hex::decode(claimed) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { return false };
    mac.update(body);
    mac.finalize().into_bytes().ct_eq(&claimed).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's documentation, "Validating webhook deliveries".
    #[test]
    fn the_documented_example_is_signed() {
        let secret = SecretString::from("It's a Secret to Everybody");
        let header = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert!(is_signed(&secret, Some(header), b"Hello, World!"));
        assert!(!is_signed(&secret, Some(header), b"Hello, World?"));
        assert!(!is_signed(&SecretString::from("another"), Some(header), b"Hello, World!"));
    }

    #[test]
    fn anything_else_is_not() {
        let secret = SecretString::from("s");
        for header in ["", "sha256=", "sha256=00", "sha1=ab", &format!("sha256={}", "g".repeat(64))] {
            assert!(!is_signature(header), "{header}");
        }
        assert!(is_signature(&format!("sha256={}", "0a".repeat(32))));
        for header in [None, Some(""), Some("sha256="), Some("sha256=00"), Some("sha1=ab"), Some("sha256=zz")] {
            assert!(!is_signed(&secret, header, b""), "{header:?}");
        }
    }
}
