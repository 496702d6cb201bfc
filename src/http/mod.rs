//! The HTTP surface. `routes.rs` has every route on one screen.

pub mod alerts;
pub mod auth;
mod body;
pub mod changes;
pub mod deployments;
pub mod dora;
pub mod event_schema;
pub mod events;
pub mod gate;
mod health;
pub mod hints;
pub mod incidents;
mod index;
pub mod keys;
mod listing;
pub mod loopback;
pub mod metrics;
pub mod observe;
mod openapi;
mod params;
pub mod problem;
pub mod quarantine;
mod refuse;
pub mod rollbacks;
mod routes;
mod selection;
pub mod server;
pub mod services;
pub mod slos;
mod slow;
mod stream;
pub mod webhooks;

pub use auth::Caller;
pub use problem::Problem;
