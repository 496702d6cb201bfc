//! A latency histogram with fixed logarithmic buckets: merges by addition, relative error ≤ 1/16.

use serde::{Deserialize, Serialize};

use crate::num::float;

/// Buckets per octave; a bucket is at most 1/16 of its lower bound wide.
const PER_OCTAVE: u64 = 16;
/// The last bucket begins beyond 50 days; anything slower counts there.
const BUCKETS: u16 = 640;

/// Sparse: (bucket, count) sorted by bucket; most series touch few of the buckets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Histogram(Vec<(u16, u64)>);

/// The bucket of a duration in microseconds: exact below 32 µs, then 16 per octave.
fn bucket_of(micros: u64) -> u16 {
    if micros < 2 * PER_OCTAVE {
        return u16::try_from(micros).unwrap_or(u16::MAX);
    }
    let exponent = u64::from(micros.ilog2());
    let index = (exponent - 4) * PER_OCTAVE + ((micros >> (exponent - 4)) & 15) + PER_OCTAVE;
    u16::try_from(index).unwrap_or(u16::MAX).min(BUCKETS - 1)
}

/// The exclusive upper bound of a bucket, in microseconds.
fn upper_bound(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 2 * PER_OCTAVE {
        return bucket + 1;
    }
    (PER_OCTAVE + bucket % PER_OCTAVE + 1) << (bucket / PER_OCTAVE - 1)
}

impl Histogram {
    pub fn record(&mut self, micros: u64, count: u64) {
        self.add(bucket_of(micros), count);
    }

    fn add(&mut self, bucket: u16, count: u64) {
        match self.0.binary_search_by_key(&bucket, |cell| cell.0) {
            Ok(at) => {
                if let Some(cell) = self.0.get_mut(at) {
                    cell.1 = cell.1.saturating_add(count);
                }
            }
            Err(at) => self.0.insert(at, (bucket, count)),
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.0 {
            self.add(bucket, count);
        }
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|cell| cell.1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many durations lie in buckets above the one that holds `threshold` (microseconds).
    pub fn count_above(&self, threshold: u64) -> u64 {
        let limit = bucket_of(threshold);
        self.0.iter().filter(|cell| cell.0 > limit).map(|cell| cell.1).sum()
    }

    /// The upper bound of the bucket that holds the `q` quantile, in microseconds.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let wanted = q * float(self.count());
        let mut seen = 0;
        let found = self.0.iter().find(|cell| {
            seen += cell.1;
            float(seen) >= wanted
        });
        found.map(|cell| upper_bound(cell.0))
    }

    pub fn cells(&self) -> &[(u16, u64)] {
        &self.0
    }

    /// From cells in any order; buckets beyond the last are counted in the last.
    pub fn from_cells(cells: impl IntoIterator<Item = (u16, u64)>) -> Self {
        let mut histogram = Self::default();
        for (bucket, count) in cells {
            histogram.add(bucket.min(BUCKETS - 1), count);
        }
        histogram
    }
}

/// The threshold that [`Histogram::count_above`] really applies: the end of its bucket,
/// at most 1/16 above what was asked for.
pub fn effective_threshold(threshold: u64) -> u64 {
    upper_bound(bucket_of(threshold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slower_than_the_threshold() {
        let mut histogram = Histogram::default();
        histogram.record(300_000, 5);
        histogram.record(600_000, 2);
        assert_eq!(histogram.count_above(300_000), 2);
        assert_eq!(histogram.count_above(700_000), 0);
        assert_eq!(histogram.count(), 7);
    }

    proptest! {
           #[test]
           fn a_value_lies_below_its_bound_and_within_a_sixteenth(micros in 0_u64..500_000_000_000) {
               let bucket = bucket_of(micros);
               prop_assert!(micros < upper_bound(bucket), "{micros} {bucket} {}", upper_bound(bucket));
               prop_assert_eq!(bucket_of(upper_bound(bucket)), bucket + 1);
               if micros >= 32 {
                   prop_assert!(upper_bound(bucket) - micros <= micros / 16 + 1);
               }
           }

           #[test]
           fn merging_is_recording(a in prop::collection::vec(0_u64..10_000_000, 0..50), b in prop::collection::vec(0_u64..10_000_000, 0..50)) {
               let record = |values: &[u64]| {
                   let mut histogram = Histogram::default();
                   for value in values {
    histogram.record(*value, 1);
    }
                   histogram
               };
               let mut merged = record(&a);
               merged.merge(&record(&b));
               prop_assert_eq!(merged, record(&[a, b].concat()));
           }
       }
}
