//! The life of an alert: inactive, pending, firing, resolved. Pure.
//!
//! [`step`] decides what an [`Observation`] changes; `store::alert::apply` keeps the change and
//! what must be told about it in one transaction; `worker::dispatch` does the telling.

pub mod burn;
pub mod lifecycle;
pub mod message;
pub mod no_data;
pub mod observation;

pub use lifecycle::{Alert, Change, State, Transition, Unchanged, step};
pub use message::{Channel, Event, Group, Snapshot};
pub use observation::{Condition, Content, Fact, Kind, Link, Observation};
