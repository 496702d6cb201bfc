//! The HTTP surface. `routes.rs` has every route on one screen.

pub mod auth;
pub mod changes;
pub mod deployments;
pub mod dora;
pub mod incidents;
mod listing;
mod params;
pub mod problem;
mod selection;
pub mod services;
pub mod slos;

pub use auth::Caller;
pub use problem::Problem;
