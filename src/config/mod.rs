//! Configuration: one `devpulse.yaml`, environment overrides, secrets by reference.

pub mod model;

pub use model::Config;
