//! Configuration: one `devpulse.yaml`, environment overrides, secrets by reference.

pub mod environments;
pub mod model;

pub use environments::EnvironmentNames;
pub use model::Config;
