//! Taking events in: bytes → events → one durable commit per group → receipts.

pub mod alertmanager;
pub mod azure_devops;
pub mod bitbucket;
pub mod budget;
pub mod circleci;
mod commits;
pub mod committer;
pub mod decode;
pub mod fault;
pub mod github;
pub mod gitlab;
mod group;
pub mod jenkins;
pub mod key;
mod lenient;
pub mod metrics;
pub mod native;
mod notices;
pub mod pagerduty;
mod pipeline;
mod place;
pub mod receipt;
pub mod signature;
pub mod source;
pub mod tally;
mod wire;
mod writer;
