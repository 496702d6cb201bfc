//! How a delivery proves whose it is: looked at before a byte of the body is kept, checked on the raw body.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use secrecy::SecretString;

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
        }
    }

    /// Whether it is that of this body.
    ///
    /// # Errors
    /// [`Doubt`]: nothing of the body may be looked at.
    pub fn verify(&self, request: &HttpRequest, body: &[u8]) -> Result<(), Doubt> {
        match self {
            Self::Signature { style, header, secret } => fits(style.is_signed(secret, &sent(request, header)?, body)),
            Self::Token { .. } => self.claimed(request),
        }
    }

    /// What carries it, as its documentation writes it.
    pub fn name(&self) -> String {
        match self {
            Self::Signature { header, .. } | Self::Token { header, .. } => written(header),
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

fn fits(fits: bool) -> Result<(), Doubt> {
    if fits { Ok(()) } else { Err(Doubt::Misfit) }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

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
}
