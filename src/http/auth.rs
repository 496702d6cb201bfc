//! Who calls, and what they may do. Deny by default.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    pub fn require(&self, scope: Scope) -> Result<(), super::Problem> {
        if self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin) {
            return Ok(());
        }
        let detail = format!("this key lacks the scope {scope:?}; create one with `devpulse keys create --scope …`");
        Err(super::Problem::new(actix_web::http::StatusCode::FORBIDDEN, "missing_scope", detail))
    }
}
