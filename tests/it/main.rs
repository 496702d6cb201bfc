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

mod agreement;
mod alertmanager;
mod alerts;
mod alerts_api;
mod artifacts;
mod azure_devops;
mod bad_input;
mod bitbucket;
mod cli;
mod cloudevents;
mod commit_ranges;
mod committer;
mod compare;
mod config;
mod crash;
mod crowded;
mod definitions;
mod demo;
mod documents;
mod dora;
mod end_to_end;
mod evaluator;
mod export;
mod findings;
mod github;
mod gitlab;
mod gitops;
mod import;
mod import_github;
mod ingest;
mod invalid_deliveries;
mod keys;
mod links;
mod metrics_page;
mod notify;
mod openapi;
mod opsgenie;
mod originals;
mod outages;
mod pagerduty;
mod permutations;
mod pipelines;
mod projections;
mod pull_requests;
mod reference;
mod report;
mod reviews;
mod rollbacks;
mod slos;
mod sources;
mod store;
