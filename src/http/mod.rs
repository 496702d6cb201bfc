//! The HTTP surface. `routes.rs` has every route on one screen.

pub mod alerts;
pub mod auth;
pub mod problem;
pub mod slos;

pub use auth::Caller;
pub use problem::Problem;
