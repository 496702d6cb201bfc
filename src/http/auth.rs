//! Who calls, and what they may do. Deny by default.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::keys::Keys;
use super::{Problem, hints, loopback};

/// What a key may do. `Admin` may everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Ingest,
    Read,
    Operate,
    Admin,
}

impl Scope {
    const ALL: [Self; 4] = [Self::Ingest, Self::Read, Self::Operate, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// An authenticated caller: a key, or loopback while no key exists.
///
/// Handlers take it as an argument and begin with `caller.require(Scope::Read)?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's id, or `loopback`; recorded with every act.
    pub name: String,
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// # Errors
    /// 403 problem when the caller lacks the scope.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin) {
            return Ok(());
        }
        let detail =
            format!("this key lacks the scope `{}`; create one with `{}`", scope.as_str(), hints::create_key(scope));
        Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail))
    }
}

/// The middleware that authenticates puts the caller there; without it nobody gets in.
impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(|| unauthorized(Scope::Read)))
    }
}

fn unauthorized(scope: Scope) -> Problem {
    let detail = format!("send `Authorization: Bearer dp_…`; create a key with `{}`", hints::create_key(scope));
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
}

/// Who may come in.
pub struct Door {
    pub keys: Keys,
    /// Whether every address listened on is loopback.
    pub on_loopback: bool,
}

impl Door {
    /// # Errors
    /// 401 problem for whoever is nobody; `scope` is what a key would need.
    pub async fn admit(&self, claim: &Claim, scope: Scope) -> Result<Caller, Problem> {
        if let Claim::Key(token) = claim {
            let refused = || {
                let detail = "this key is unknown or revoked; `devpulse keys list` shows all keys";
                Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            };
            return self.keys.check(token.expose_secret()).await.ok_or_else(refused);
        }
        if self.on_loopback && matches!(claim, Claim::Local) && !self.keys.any().await {
            return Ok(Caller { name: "loopback".to_owned(), scopes: Scope::ALL.to_vec() });
        }
        Err(unauthorized(scope))
    }
}

/// What a request says of its sender; it may be asked about again after the request is gone.
pub enum Claim {
    Key(SecretString),
    /// No key, from this machine.
    Local,
    Nothing,
}

impl Claim {
    pub fn of(request: &HttpRequest) -> Self {
        match request.headers().get(header::AUTHORIZATION) {
            Some(sent) => sent.to_str().ok().and_then(key).map_or(Self::Nothing, |key| Self::Key(key.into())),
            None if loopback::is_local(request) => Self::Local,
            None => Self::Nothing,
        }
    }
}

/// A bearer's token, or the password of senders that know basic authentication alone.
fn key(authorization: &str) -> Option<String> {
    bearer(authorization).map(str::to_owned).or_else(|| password(authorization))
}

/// The password of `Basic …`, whatever the name.
pub fn password(authorization: &str) -> Option<String> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let credentials = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(credentials.trim()))?.ok()?;
    let plain = String::from_utf8(credentials).ok()?;
    plain.split_once(':').map(|(_, password)| password.to_owned())
}

/// The token of `Bearer TOKEN`.
pub fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
