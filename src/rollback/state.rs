//! A rollback and its steps, as they are journalled.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::policy::Decision;
use crate::config::model::Mode;
use crate::event::EntityKey;
use crate::time::Timestamp;

/// An enum that is the same word in the database, in JSON, in its schema and in metrics. (The words
/// are `tt`: the schema's derive does not see through a `literal`.)
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:tt),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }
    };
}

words! {
    /// Where a rollback stands. Its row is *finished* when the saga has nothing left to do or to
    /// tell: a failed or refused one stays open until a person or a newer deployment closes it.
    pub enum RollbackState {
        /// Waits for a person's approval.
        Proposed = "proposed",
        Running = "running",
        Done = "done",
        /// A step kept failing; people were called.
        Failed = "failed",
        /// Withdrawn before traffic was touched.
        Cancelled = "cancelled",
        /// Nobody approved in time.
        Expired = "expired",
        /// The policy is in shadow mode: what would have happened.
        Shadowed = "shadowed",
        /// The evidence is there, a guardrail forbids: people were called.
        Refused = "refused",
    }
}

impl RollbackState {
    /// Whether traffic was, or is about to be, touched.
    pub const fn acted(self) -> bool {
        matches!(self, Self::Running | Self::Done | Self::Failed)
    }
}

words! {
    /// The steps of a rollback, in their order.
    pub enum StepName {
        /// The call that moves traffic.
        Route = "route",
        /// The target says that it is done.
        Verify = "verify",
        /// People are told.
        Communicate = "communicate",
        /// The rollback becomes a deployment, the bad version is quarantined.
        Record = "record",
    }
}

words! {
    pub enum StepState {
        Pending = "pending",
        /// The intent is on disk; the effect may or may not have happened.
        Running = "running",
        Done = "done",
        Failed = "failed",
        /// The process stopped, or the answer got lost, between intent and result.
        Unknown = "unknown",
    }
}

words! {
    pub enum Act {
        Approved = "approved",
        Cancelled = "cancelled",
        /// A failed or refused rollback no longer needs attention.
        Closed = "closed",
        Failed = "failed",
        Expired = "expired",
    }
}

/// Who did what to a rollback, beyond its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    pub at: Timestamp,
    /// A key's id, or `devpulse`.
    pub actor: String,
    pub act: Act,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rollback {
    pub id: String,
    pub service: String,
    pub environment: String,
    pub mode: Mode,
    pub state: RollbackState,
    /// The deployment to be undone.
    pub deployment: EntityKey,
    pub decision: Decision,
    pub history: Vec<HistoryEntry>,
    pub fencing: i64,
    pub decided_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

impl Rollback {
    /// Whether a person closed it.
    pub fn is_closed(&self) -> bool {
        self.history.iter().any(|entry| entry.act == Act::Closed)
    }
}

/// The `effect` in the response of a step that may or may not have moved traffic.
pub const UNKNOWN: &str = "unknown";

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Step {
    pub step: StepName,
    pub state: StepState,
    /// How often it was begun.
    pub attempt: u32,
    /// The same for every attempt.
    pub idempotency_key: String,
    pub fencing: i64,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// Not begun (again) before this.
    pub due_at: Timestamp,
    /// What was or will be sent, secrets redacted.
    #[schema(value_type = Option<Object>)]
    pub request: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub response: Option<Value>,
}

impl Step {
    /// Whether it failed without anybody knowing what it did.
    pub fn may_have_acted(&self) -> bool {
        let effect = self.response.as_ref().and_then(|response| response.get("effect")?.as_str());
        self.state == StepState::Failed && effect == Some(UNKNOWN)
    }
}

/// The four steps of a new rollback.
pub fn first_steps(rollback_id: &str, fencing: i64, now: Timestamp) -> Vec<Step> {
    let step = |name: &StepName| Step {
        step: *name,
        state: StepState::Pending,
        attempt: 0,
        idempotency_key: format!("{rollback_id}-{}", name.as_str()),
        fencing,
        started_at: None,
        finished_at: None,
        due_at: now,
        request: None,
        response: None,
    };
    StepName::ALL.iter().map(step).collect()
}
