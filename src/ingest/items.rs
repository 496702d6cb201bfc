//! The items of one body, and what became of each so far.

use super::committer::{Fact, Key};
use super::fault::Fault;
use super::source::Skip;
use crate::event::TelemetryBatch;

/// The kind of an item that has none.
pub const UNKNOWN: &str = "unknown";

/// One item: its kind (`unknown` where it could not be read), and what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub kind: &'static str,
    pub fate: Fate,
}

/// Indices point into [`Parsed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Fact(usize),
    /// Telemetry without an id: added up.
    Added,
    Keyed {
        index: usize,
        id: Box<str>,
    },
    /// The same item stands earlier in the body.
    Repeated {
        id: Box<str>,
    },
    /// Nothing that counts, and why.
    Skipped(Skip, String),
    /// The same, but the fact keeps it as it came.
    Kept(usize, Skip, String),
    Invalid(Fault),
}

/// Everything that one body said.
#[derive(Debug, Default)]
pub struct Parsed {
    /// In the order of the body.
    pub items: Vec<Item>,
    /// Whether the body had one event per line.
    pub lines: bool,
    pub facts: Vec<Fact>,
    pub telemetry: TelemetryBatch,
    pub keyed: Vec<(Key, TelemetryBatch)>,
}
