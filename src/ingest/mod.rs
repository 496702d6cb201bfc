//! Taking events in: bytes → events → one durable commit per group → receipts.

pub mod committer;
mod group;
pub mod metrics;
mod notices;
mod writer;
pub mod decode;
pub mod fault;
pub mod github;
pub mod key;
pub mod native;
pub mod receipt;
mod wire;
