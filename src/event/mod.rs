//! What DevPulse takes in, as plain values: delivery events one by one, telemetry as deltas.
//!
//! **Invariant:** nothing here reads a clock, a database or the network.

pub mod alarm;
pub mod delivery;
pub mod finding;
pub mod histogram;
pub mod landing;
pub mod origin;
pub mod pull_request;
pub mod push;
pub mod receipt;
pub mod sighting;
pub mod state;
pub mod telemetry;
pub mod unread;

pub use delivery::{
    ChangeEvent, ChangeRef, DeliveryEvent, DeploymentEvent, DeploymentKind, DeploymentOutcome, DeploymentRef,
    EntityKey, IncidentEvent, IncidentStatus, LinksEvent, PullRequest, SchemaDeclaration,
};
pub use finding::{Finding, FindingEvent, FindingKind, FindingSeverity, FindingStatus};
pub use histogram::Histogram;
pub use origin::{CommitFrom, OriginEvent, Provenance};
pub use pull_request::{PullRequestEvent, PullRequestState};
pub use push::{Push, PushEvent, PushRef};
pub use receipt::{Counting, Joined, NotCounted};
pub use sighting::Sighting;
pub use state::{Change, Correction, Deployment, Incident};
pub use telemetry::{BUCKET_SECONDS, ErrorDelta, SeriesKey, TelemetryBatch, TelemetryDelta};
pub use unread::UnreadEvent;
