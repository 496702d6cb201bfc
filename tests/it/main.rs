//! The integration tests: one binary, real databases, real peers.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may stop at the first surprise"
)]

mod support;

mod alertmanager;
mod alerts;
mod alerts_api;
mod bad_input;
mod cli;
mod committer;
mod config;
mod crash;
mod demo;
mod documents;
mod dora;
mod end_to_end;
mod evaluator;
mod findings;
mod github;
mod import;
mod import_github;
mod ingest;
mod keys;
mod links;
mod metrics_page;
mod notify;
mod openapi;
mod outages;
mod pagerduty;
mod permutations;
mod pull_requests;
mod rollbacks;
mod slos;
mod store;
