//! What an accepted delivery event was counted in, and what not, and why: the answer to the
//! complaint "accepted, but nobody can see why it does not count".

use serde::Serialize;
use utoipa::ToSchema;

use super::origin::CommitFrom;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Counting {
    /// Names of metrics as in `GET /api/v1/dora`.
    pub counted_in: Vec<&'static str>,
    pub not_counted: Vec<NotCounted>,
    /// Of a deployment that got its commit from other events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Joined {
    pub commit: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Whose events name it.
    pub commit_from: CommitFrom,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NotCounted {
    pub metric: &'static str,
    pub reason: String,
    /// What the sender can do about it; absent where nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
