//! Taking events in: bytes → events → one durable commit per group → receipts.

pub mod committer;
mod group;
pub mod metrics;
mod notices;
mod writer;
