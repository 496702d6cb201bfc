//! When two numbers that were asked for one after the other are the same number.

/// Whether both say the same of `what`, a metric or a gauge, for windows that end a moment apart.
///
/// Only a frequency moves with its window: a second is a smaller share of a day of 25 hours than of
/// the day at the window's other end, so a window that begins in such a day changes its length in days.
pub fn same(what: &str, a: f64, b: f64) -> bool {
    let tolerance = if what.contains("deployment_frequency") { 2e-5 } else { 1e-9 };
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}
