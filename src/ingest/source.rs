//! What every source's parser answers.

use super::committer::Fact;

/// What a delivery says.
#[derive(Debug, Clone)]
pub enum Reading {
    Facts(Vec<Fact>),
    /// Nothing that counts, and why.
    Skipped(String),
}
