//! How a delivery proves whose it is: looked at before a byte of the body is kept, checked on the raw body.

use actix_web::HttpRequest;
use actix_web::http::header::{AUTHORIZATION, HeaderName};
use reqwest::header::{HeaderMap, HeaderValue};
use secrecy::SecretString;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};

use crate::config::model::signing_key;
use crate::http::auth::{bearer, password};
use crate::http::body::single_header;
use crate::ingest::signature::{Style, is_secret};

/// A signature or a token longer than this is none.
const MAX_BYTES: usize = 1_000;

/// What a source's deliveries must carry; each variant knows the secret it is checked against.
pub enum Proof<'c> {
    /// A signature of the body.
    Signature { style: Style, header: HeaderName, secret: &'c SecretString },
    /// The secret itself.
    Token { header: HeaderName, secret: &'c SecretString },
    /// `Authorization: Basic`: the secret is the password, whatever the name.
    Password { secret: &'c SecretString },
    /// A signature as <https://www.standardwebhooks.com> has it, no older than five minutes.
    StandardWebhooks { secret: &'c SecretString },
    /// The secret itself, as `Authorization: Bearer SECRET`.
    Bearer { secret: &'c SecretString },
}

/// What is wrong with a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    Missing,
    Misfit,
}

impl Proof<'_> {
    /// Whether it is there, and what can be said without the body.
    ///
    /// # Errors
    /// [`Doubt`], before anything of the body is read.
    pub fn claimed(&self, request: &HttpRequest) -> Result<(), Doubt> {
        match self {
            Self::Signature { style, header, .. } => fits(style.is_signature(&sent(request, header)?)),
            Self::Token { header, secret } => fits(is_secret(secret, &sent(request, header)?)),
            Self::Password { secret } => {
                let password = password(&sent(request, &AUTHORIZATION)?).ok_or(Doubt::Misfit)?;
                fits(is_secret(secret, &password))
            }
            Self::StandardWebhooks { .. } => standard(request).map(drop),
            Self::Bearer { secret } => {
                let sent = sent(request, &AUTHORIZATION)?;
                fits(bearer(&sent).is_some_and(|token| is_secret(secret, token)))
            }
        }
    }

    /// Whether it is that of this body.
    ///
    /// # Errors
    /// [`Doubt`]: nothing of the body may be looked at.
    pub fn verify(&self, request: &HttpRequest, body: &[u8]) -> Result<(), Doubt> {
        match self {
            Self::Signature { style, header, secret } => fits(style.is_signed(secret, &sent(request, header)?, body)),
            Self::Token { .. } | Self::Password { .. } | Self::Bearer { .. } => self.claimed(request),
            Self::StandardWebhooks { secret } => {
                let (headers, key) = (standard(request)?, signing_key(secret).ok_or(Doubt::Misfit)?);
                key.verify(body, &headers).map_err(|_| Doubt::Misfit)
            }
        }
    }

    /// What carries it, as its documentation writes it.
    pub fn name(&self) -> String {
        match self {
            Self::Signature { header, .. } | Self::Token { header, .. } => written(header),
            Self::Password { .. } => "Authorization: Basic".to_owned(),
            Self::StandardWebhooks { .. } => "webhook-signature".to_owned(),
            Self::Bearer { .. } => "Authorization: Bearer".to_owned(),
        }
    }
}

/// `x-hub-signature-256` → `X-Hub-Signature-256`.
fn written(header: &HeaderName) -> String {
    let word = |word: &str| match word {
        "pagerduty" => "PagerDuty".to_owned(),
        word => word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect(),
    };
    header.as_str().split('-').map(word).collect::<Vec<_>>().join("-")
}

fn sent(request: &HttpRequest, header: &HeaderName) -> Result<String, Doubt> {
    match single_header(request, header, MAX_BYTES) {
        Ok(sent) => sent.ok_or(Doubt::Missing),
        Err(_) => Err(Doubt::Misfit),
    }
}

/// The three headers of Standard Webhooks.
fn standard(request: &HttpRequest) -> Result<HeaderMap, Doubt> {
    let mut headers = HeaderMap::new();
    for name in [HEADER_WEBHOOK_ID, HEADER_WEBHOOK_TIMESTAMP, HEADER_WEBHOOK_SIGNATURE] {
        let value = sent(request, &HeaderName::from_static(name))?;
        headers.insert(name, HeaderValue::from_str(&value).map_err(|_| Doubt::Misfit)?);
    }
    Ok(headers)
}

fn fits(fits: bool) -> Result<(), Doubt> {
    if fits { Ok(()) } else { Err(Doubt::Misfit) }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_token_is_all_of_the_secret() {
        let (header, secret) = (HeaderName::from_static("x-gitlab-token"), SecretString::from("s3cret"));
        let proof = Proof::Token { header: header.clone(), secret: &secret };
        let request = |token: &str| TestRequest::default().insert_header((header.clone(), token)).to_http_request();
        assert_eq!(proof.claimed(&request("s3cret")), Ok(()));
        for wrong in ["s3cre", "s3cret ", "S3cret", "s3crets", "Bearer s3cret"] {
            assert_eq!(proof.claimed(&request(wrong)), Err(Doubt::Misfit), "{wrong}");
            assert_eq!(proof.verify(&request(wrong), b""), Err(Doubt::Misfit), "{wrong}");
        }
        let bare = TestRequest::default().to_http_request();
        assert_eq!(proof.claimed(&bare), Err(Doubt::Missing));
        let twice = TestRequest::default().append_header((header.clone(), "s3cret")).append_header((header, "s3cret"));
        assert_eq!(proof.claimed(&twice.to_http_request()), Err(Doubt::Misfit));
        assert_eq!(proof.name(), "X-Gitlab-Token");
    }

    #[test]
    fn a_password_is_what_follows_the_name() {
        let secret = SecretString::from("s3:cret");
        let proof = Proof::Password { secret: &secret };
        let request = |sent: &str| TestRequest::default().insert_header((AUTHORIZATION, sent)).to_http_request();
        let basic = |plain: &str| request(&format!("Basic {}", STANDARD.encode(plain)));
        assert_eq!(proof.claimed(&basic("jenkins:s3:cret")), Ok(()));
        assert_eq!(proof.verify(&basic(":s3:cret"), b""), Ok(()));
        for wrong in [basic("s3:cret"), basic("s3cret"), basic("a:s3"), basic(""), request("Basic ?"), request("Basic")]
        {
            assert_eq!(proof.claimed(&wrong), Err(Doubt::Misfit));
        }
        assert_eq!(proof.claimed(&request(&format!("Bearer {}", STANDARD.encode("a:s3:cret")))), Err(Doubt::Misfit));
        assert_eq!(proof.claimed(&TestRequest::default().to_http_request()), Err(Doubt::Missing));
    }

    #[test]
    fn a_bearer_is_a_token_with_its_scheme() {
        let secret = SecretString::from("s3cret");
        let proof = Proof::Bearer { secret: &secret };
        let claimed = |value: &str| {
            let request = TestRequest::default().insert_header((AUTHORIZATION, value)).to_http_request();
            assert_eq!(proof.claimed(&request), proof.verify(&request, b"any"));
            proof.claimed(&request)
        };
        assert_eq!((claimed("Bearer s3cret"), claimed("bearer s3cret")), (Ok(()), Ok(())));
        for wrong in ["s3cret", "Bearer", "Bearer s3cre", "Bearer s3crets", "Basic s3cret"] {
            assert_eq!(claimed(wrong), Err(Doubt::Misfit), "{wrong}");
        }
        assert_eq!(proof.claimed(&TestRequest::default().to_http_request()), Err(Doubt::Missing));
        assert_eq!(proof.name(), "Authorization: Bearer");
    }
}
