//! Conversions that the language leaves to `as`, each with its limit said once.

/// Counts as floating point: exact below 2^53, which no count of requests reaches.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "there is no other conversion")]
pub const fn float(count: u64) -> f64 {
    count as f64
}

/// Signed quantities (microseconds, differences) as floating point: exact below 2^53.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "there is no other conversion")]
pub const fn signed_float(value: i64) -> f64 {
    value as f64
}

/// A finite number ≥ 0 as a count, rounded to the nearest; anything else is 0 or the largest count.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what is wanted"
)]
pub fn count(value: f64) -> u64 {
    value.round() as u64
}
