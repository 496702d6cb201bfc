//! Events of a version that is not known yet: kept as they came, so that nothing is lost until it is.

use serde::{Deserialize, Serialize};

use super::delivery::EntityKey;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadEvent {
    #[serde(flatten)]
    pub key: EntityKey,
    pub time: Timestamp,
    /// The type, as its sender writes it.
    pub name: String,
}
