//! Delivery metrics' rows, projected once per new fact, and kept by service and month.
//!
//! Facts note in their own transaction which services they concern (`dirty`). Whoever asks next,
//! or the gauges within seconds, projects those services: all their facts are derived anew, but
//! only the months that came out differently are written. Questions read the months of their
//! window, which are kept in memory while there is room.

mod arranged;
mod cache;
pub mod dirty;
mod inputs;
mod kept;
mod known;
mod memo;
mod neighbours;
mod news;
mod places;
mod project;
pub mod ranges;
mod reading;
pub mod repositories;
mod room;

pub use arranged::Arranged;
pub use cache::DoraCache;
pub use memo::Scope;
pub use places::Places;
pub use reading::{Reading, Rows};

use std::collections::BTreeSet;

use crate::store::StoreError;

/// The name under which incidents are kept that belong to no service.
pub const NO_SERVICE: &str = "";

/// Which services are read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    All,
    These(BTreeSet<String>),
}

impl Wanted {
    pub fn contains(&self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(service),
        }
    }
}

/// Keeps long computations from holding up a thread that others wait for.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    start_blocking(work).await
}

/// The same, begun before it is waited for.
fn start_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Result<T, StoreError>> {
    let working = tokio::task::spawn_blocking(work);
    async { working.await.map_err(|error| StoreError::Io(std::io::Error::other(error))) }
}
