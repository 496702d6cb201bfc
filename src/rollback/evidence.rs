//! Is the new version worse than what ran before it? A before/after test that may be asked after
//! every request without losing its bound on false alarms.
//!
//! The statistic is a mixture of likelihood ratios, `M = Σ w_j·Π p_j(x)/p0(x)`: under "no worse than
//! p0" it is a non-negative supermartingale that starts at 1, so P(it ever reaches 1/α) ≤ α
//! (Ville 1939; Wald 1945 for the mixture). p0 is the baseline's upper 99.9 % bound, never its
//! point estimate, which would break the guarantee.

use statrs::function::gamma::ln_gamma;

use crate::num::float;
use crate::slo::Counts;

/// How much worse than the baseline the alternatives are; equal weights.
pub const RATIOS: [f64; 7] = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

/// One-sided confidence of the baseline's upper bound.
pub const BASELINE_CONFIDENCE: f64 = 0.999;

/// Above this many bad events a baseline is scaled down before its bound is computed: the bound
/// gets wider, never narrower, and its cost stays bounded.
const MAX_BAD: u64 = 1_000_000;

/// The Clopper–Pearson upper bound of the true share of bad events, with one-sided `confidence`:
/// the p at which so few bad events, or fewer, have probability 1 − `confidence`.
/// `None` without events.
pub fn upper_bound(counts: Counts, confidence: f64) -> Option<f64> {
    let Counts { mut bad, mut total } = counts;
    if total == 0 {
        return None;
    }
    if bad >= total {
        return Some(1.0);
    }
    while bad > MAX_BAD {
        (bad, total) = (bad.div_ceil(2), total / 2);
    }
    let target = (1.0 - confidence).ln();
    let (mut low, mut high) = (float(bad) / float(total), 1.0);
    // The probability falls as p grows. Relative precision, for bounds as small as 1e-9.
    while high - low > high * 1e-9 {
        let middle = f64::midpoint(low, high);
        if ln_at_most(bad, total, middle) > target { low = middle } else { high = middle }
    }
    Some(high)
}

/// ln P(X ≤ k) of a binomial with n trials, for p at or above k/n: there the terms fall from
/// i = k downwards, so the sum ends early.
fn ln_at_most(k: u64, n: u64, p: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=k).rev() {
        term *= float(i) * (1.0 - p) / (float(n - i + 1) * p);
        sum += term;
        if term < sum * 1e-13 {
            break;
        }
    }
    let (k, n) = (float(k), float(n));
    let choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    choose + k * p.ln() + (n - k) * (-p).ln_1p() + sum.ln()
}

/// ln M after `new` events, against the share `p0`. 0 (no evidence either way) where no
/// alternative fits below 1.
pub fn ln_mixture(new: Counts, p0: f64) -> f64 {
    let (bad, good) = (float(new.bad.min(new.total)), float(new.total.saturating_sub(new.bad)));
    let alternatives = RATIOS.iter().map(|ratio| ratio * p0).filter(|p| *p < 1.0);
    let terms: Vec<f64> = alternatives.map(|p| bad * (p / p0).ln() + good * ((-p).ln_1p() - (-p0).ln_1p())).collect();
    if terms.is_empty() || p0 <= 0.0 {
        return 0.0;
    }
    // log-sum-exp: the terms themselves do not fit a float.
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = terms.iter().map(|term| (term - largest).exp()).sum();
    largest + sum.ln() - float(u64::try_from(terms.len()).unwrap_or(1)).ln()
}

/// The outcome of the test of one indicator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// The baseline's upper bound.
    pub p0: f64,
    pub log10_m: f64,
    /// M at or above 10 to this acts.
    pub log10_threshold: f64,
}

impl Test {
    pub fn is_decisive(&self) -> bool {
        self.log10_m >= self.log10_threshold
    }
}

/// Tests `new` against `baseline` at the false-alarm budget `alpha`; `None` without a baseline.
pub fn test(new: Counts, baseline: Counts, alpha: f64) -> Option<Test> {
    let p0 = upper_bound(baseline, BASELINE_CONFIDENCE)?;
    let log10_m = ln_mixture(new, p0) / std::f64::consts::LN_10;
    Some(Test { p0, log10_m, log10_threshold: -alpha.log10() })
}

#[cfg(test)]
mod tests;
