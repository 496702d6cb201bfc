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
pub mod gate;
mod health;
pub mod keys;
pub mod loopback;
pub mod metrics;
pub mod observe;
mod openapi;
pub mod problem;
mod refuse;
mod routes;
pub mod server;
mod slos;
mod slow;
mod stream;

pub use auth::Caller;
pub use problem::Problem;
