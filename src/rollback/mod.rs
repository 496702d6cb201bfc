//! Deciding, doing and proving rollbacks. Everything here is pure, except `executor/`.
//!
//! `situation` (what is known) → `policy` (what to do, by `evidence` and guardrails) → `state` and
//! `plan` (how the saga goes on) → `executor` (the call). `message` says it to people.

pub mod evidence;
pub mod executor;
pub mod explain;
pub mod message;
pub mod plan;
pub mod policy;
pub mod situation;
pub mod state;
