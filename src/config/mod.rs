//! Configuration: one `devpulse.yaml`, environment overrides, secrets by reference.

mod catalogue;
pub mod duration;
pub mod environments;
mod error;
mod excerpt;
mod load;
pub mod model;
mod policies;
mod reader;
mod reference;
mod reload;
mod scalar;
mod sections;
mod telling;
mod tree;

pub use environments::EnvironmentNames;
pub use error::{ConfigError, FindingView};
pub use load::{DEFAULTS, Loaded, load, parse};
pub use model::Config;
pub use reload::needs_restart;

#[cfg(test)]
mod tests;
