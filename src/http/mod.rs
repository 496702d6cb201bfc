//! The HTTP surface. `routes.rs` has every route on one screen.

pub mod auth;
mod body;
pub mod event_schema;
pub mod events;
pub mod problem;
pub mod webhooks;

pub use auth::Caller;
pub use problem::Problem;
