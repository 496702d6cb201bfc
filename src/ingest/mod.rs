//! Taking events in: bytes → events → one durable commit per group → receipts.

pub mod alertmanager;
pub mod budget;
pub mod committer;
pub mod decode;
pub mod fault;
pub mod github;
mod group;
pub mod key;
pub mod metrics;
pub mod native;
mod notices;
pub mod pagerduty;
pub mod receipt;
pub mod signature;
pub mod source;
pub mod tally;
mod wire;
mod writer;
