//! Histories with known answers, and histories made up at random.

mod cases;
mod history;
mod incidents;
mod literature;
mod merged;
mod monorepo;
mod partitions;
mod properties;
mod ranges;
mod receipts;
mod reference;
