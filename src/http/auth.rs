//! Who calls, and what they may do. Deny by default.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;

/// What a key may do. `Admin` may everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Ingest,
    Read,
    Operate,
    Admin,
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
        let detail = format!("this key lacks the scope {scope:?}; create one with `devpulse keys create --scope …`");
        Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail))
    }
}

/// The middleware that authenticates puts the caller there; without it nobody gets in.
impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Self>().cloned();
        ready(caller.ok_or_else(|| {
            let detail = "send `Authorization: Bearer dp_…`; create a key with `devpulse keys create`";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        }))
    }
}
