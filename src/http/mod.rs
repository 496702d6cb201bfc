//! The HTTP surface. `routes.rs` has every route on one screen.

pub mod auth;
pub mod problem;
pub mod quarantine;
pub mod rollbacks;

pub use auth::Caller;
pub use problem::Problem;
