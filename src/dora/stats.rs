//! Percentiles, means and confidence intervals, without rounding.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::sample::Sample;
use crate::num::{count, float, signed_float};

/// The standard normal quantile of 97.5 %.
const Z: f64 = 1.959_963_984_540_054;
const TAIL: f64 = 0.025;

/// Which number stands for a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Center {
    /// 0 to 100.
    Percentile(f64),
    Mean,
}

impl Center {
    pub fn of(self, values: &mut Sample) -> Option<f64> {
        match self {
            Self::Percentile(p) => percentile(values, p),
            Self::Mean => mean(values),
        }
    }

    /// The 95 % interval; a mean has none that holds without assumptions about the distribution.
    pub fn interval_of(self, values: &mut Sample) -> Option<[f64; 2]> {
        match self {
            Self::Percentile(p) => percentile_interval(values, p),
            Self::Mean => None,
        }
    }

    pub fn method(self) -> String {
        match self {
            Self::Percentile(p) => format!("p{p}, linear interpolation (type 7)"),
            Self::Mean => "mean".to_owned(),
        }
    }
}

/// The percentile `p` (0 to 100) of values by linear interpolation, type 7 of Hyndman and
/// Fan (1996): what R, `NumPy` and spreadsheets answer by default.
pub fn percentile(values: &mut Sample, p: f64) -> Option<f64> {
    let last = u64::try_from(values.len()).ok()?.checked_sub(1)?;
    let position = float(last) * p / 100.0;
    let below = position.floor().clamp(0.0, float(last));
    let low = values.ranked(rank(below)?)?;
    let high = values.ranked(rank(below)? + 1).unwrap_or(low);
    Some(signed_float(low) + (position - below) * signed_float(high.saturating_sub(low)))
}

fn rank(position: f64) -> Option<usize> {
    usize::try_from(count(position)).ok()
}

pub fn mean(values: &Sample) -> Option<f64> {
    let n = u64::try_from(values.len()).ok().filter(|n| *n > 0)?;
    let sum: i128 = values.values().map(i128::from).sum();
    // Whole part and remainder apart: the sum may exceed what a float holds exactly.
    let whole = i64::try_from(sum / i128::from(n)).ok()?;
    let rest = i64::try_from(sum % i128::from(n)).ok()?;
    Some(signed_float(whole) + signed_float(rest) / float(n))
}

/// Wilson's score interval (1927) of 95 % for `k` of `n`.
pub fn wilson(k: u64, n: u64) -> Option<[f64; 2]> {
    if n == 0 {
        return None;
    }
    let (n, share) = (float(n), float(k) / float(n));
    let scale = 1.0 + Z * Z / n;
    let middle = share + Z * Z / (2.0 * n);
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some([((middle - half) / scale).max(0.0), ((middle + half) / scale).min(1.0)])
}

/// The interval of at least 95 % for a percentile from order statistics: assumes nothing about
/// the distribution. `None` while there are too few values to have one (fewer than 6 for a median).
pub fn percentile_interval(values: &mut Sample, p: f64) -> Option<[f64; 2]> {
    let n = u64::try_from(values.len()).ok().filter(|n| *n > 0)?;
    let below = Binomial::new(p / 100.0, n).ok()?;
    // The k-th smallest value exceeds the true percentile with probability P(B < k).
    let low = largest(n, |k| below.cdf(k - 1) <= TAIL)?;
    let high = largest(n, |k| 1.0 - below.cdf(n - k) <= TAIL).map(|k| n + 1 - k)?;
    let mut at = |k: u64| values.ranked(usize::try_from(k - 1).ok()?).map(signed_float);
    Some([at(low)?, at(high)?])
}

/// The largest k of 1..=n that holds, where holding for k means holding for all smaller ones.
fn largest(n: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut known, mut limit) = (0, n + 1);
    while limit - known > 1 {
        let middle = known + (limit - known) / 2;
        if holds(middle) { known = middle } else { limit = middle }
    }
    (known > 0).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[i64]) -> Sample {
        values.iter().copied().collect()
    }

    /// R: `median(c(1, 2, 3, 10))` is 2.5, halfway between the two (Hyndman and Fan 1996, type 7).
    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(percentile(&mut sample(&[1, 2, 3, 10]), 50.0), Some(2.5));
        assert_eq!(percentile(&mut sample(&[7]), 50.0), Some(7.0));
        assert_eq!(percentile(&mut sample(&[]), 50.0), None);
    }

    /// R: `quantile(c(1, 2, 3, 10), c(.75, .9), type = 7)` is 4.75 and 7.9.
    #[test]
    fn percentiles_are_those_of_type_7() {
        assert_eq!(percentile(&mut sample(&[1, 2, 3, 10]), 75.0), Some(4.75));
        assert!((percentile(&mut sample(&[1, 2, 3, 10]), 90.0).unwrap() - 7.9).abs() < 1e-12);
        assert_eq!(percentile(&mut sample(&[1, 2, 3, 10]), 0.0), Some(1.0));
        assert_eq!(percentile(&mut sample(&[1, 2, 3, 10]), 100.0), Some(10.0));
    }

    #[test]
    fn means_keep_their_fraction() {
        assert_eq!(mean(&sample(&[3, 4])), Some(3.5));
        assert_eq!(mean(&sample(&[i64::MAX, i64::MAX])), Some(signed_float(i64::MAX)));
        assert_eq!(mean(&sample(&[])), None);
    }

    /// Newcombe (1998), Statistics in Medicine 17:857, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    #[test]
    fn wilson_agrees_with_newcombes_table() {
        for (k, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
        {
            let [l, h] = wilson(k, n).unwrap();
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{k}/{n}: {l} {h}");
        }
        assert_eq!(wilson(0, 0), None);
    }

    /// Conover, Practical Nonparametric Statistics: ranks of the 95 % interval of a median are
    /// (1, 6) for n = 6, (2, 9) for n = 10 and (6, 15) for n = 20; none exists below n = 6.
    #[test]
    fn intervals_of_medians_are_order_statistics() {
        for (n, low, high) in [(6, 1.0, 6.0), (10, 2.0, 9.0), (20, 6.0, 15.0)] {
            let mut values: Sample = (1..=n).rev().collect();
            assert_eq!(percentile_interval(&mut values, 50.0), Some([low, high]), "n = {n}");
        }
        assert_eq!(percentile_interval(&mut sample(&[1, 2, 3, 4, 5]), 50.0), None);
    }
}
