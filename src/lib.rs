//! DevPulse closes one loop in one binary: events in → delivery metrics and SLOs → alerts →
//! rollback → proof that it helped → the numbers move. `docs/ARCHITECTURE.md` is the map.

pub mod alert;
pub mod app;
pub mod cli;
pub mod config;
pub mod dora;
pub mod event;
pub mod git;
pub mod http;
pub mod ingest;
pub mod notify;
pub mod num;
pub mod outbound;
pub mod rollback;
pub mod slo;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod worker;
