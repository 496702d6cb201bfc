//! The HTTP surface. `routes.rs` has every route on one screen.

pub mod auth;
mod body;
pub mod event_schema;
pub mod events;
pub mod problem;
pub mod webhooks;
pub mod changes;
pub mod deployments;
pub mod dora;
pub mod gate;
mod health;
pub mod incidents;
pub mod keys;
mod listing;
pub mod loopback;
pub mod metrics;
pub mod observe;
mod openapi;
mod params;
pub mod problem;
mod refuse;
mod routes;
mod selection;
pub mod server;
pub mod services;
pub mod slos;
mod slow;
mod stream;
pub mod quarantine;
pub mod rollbacks;

pub use auth::Caller;
pub use problem::Problem;
