//! Many values, of which ranks are asked: some just collected, some sorted long ago.

use std::sync::Arc;

#[derive(Debug, Clone, Default)]
pub struct Sample {
    loose: Vec<i64>,
    /// Each sorted.
    runs: Vec<Arc<[i64]>>,
}

impl Sample {
    /// Of values in order.
    pub fn sorted(run: Arc<[i64]>) -> Self {
        let runs = if run.is_empty() { Vec::new() } else { vec![run] };
        Self { loose: Vec::new(), runs }
    }

    pub fn push(&mut self, value: i64) {
        self.loose.push(value);
    }

    pub fn len(&self) -> usize {
        self.loose.len() + self.runs.iter().map(|run| run.len()).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn values(&self) -> impl Iterator<Item = i64> {
        self.loose.iter().chain(self.runs.iter().flat_map(|run| run.iter())).copied()
    }

    /// All values, in parts that are each sorted.
    pub fn runs(&mut self) -> impl Iterator<Item = &[i64]> {
        self.settle();
        self.runs.iter().map(|run| &**run)
    }

    /// Sorts what was collected, for many questions to come.
    pub fn settle(&mut self) {
        if !self.loose.is_empty() {
            self.loose.sort_unstable();
            self.runs.push(std::mem::take(&mut self.loose).into());
        }
    }

    /// Adds what was settled elsewhere, without copying it.
    pub fn share(&mut self, other: &Self) {
        self.runs.extend(other.runs.iter().cloned());
        self.loose.extend_from_slice(&other.loose);
    }

    /// The value of a rank, from 0; `None` where there are not so many values.
    pub fn ranked(&mut self, rank: usize) -> Option<i64> {
        if rank >= self.len() {
            return None;
        }
        if self.runs.is_empty() {
            // Found without sorting the others.
            return Some(*self.loose.select_nth_unstable(rank).1);
        }
        self.settle();
        in_runs(&self.runs, rank)
    }
}

/// Halves the values between which the answer lies, and with them the part of each run that is
/// still looked at.
fn in_runs(runs: &[Arc<[i64]>], rank: usize) -> Option<i64> {
    let mut low = runs.iter().filter_map(|run| run.first()).min().copied()?;
    let mut high = runs.iter().filter_map(|run| run.last()).max().copied()?;
    let mut parts: Vec<(usize, usize)> = runs.iter().map(|run| (0, run.len())).collect();
    let mut ends = parts.clone();
    while low < high {
        let middle = low + (high - low) / 2;
        let mut until = 0;
        for ((run, part), end) in runs.iter().zip(&parts).zip(&mut ends) {
            let within = run.get(part.0..part.1).unwrap_or_default();
            end.0 = part.0 + within.partition_point(|value| *value <= middle);
            until += end.0;
        }
        // Whether the rank is among those up to the middle.
        let below = rank < until;
        if below {
            high = middle;
        } else {
            low = middle + 1;
        }
        for (part, end) in parts.iter_mut().zip(&ends) {
            if below {
                part.1 = end.0;
            } else {
                part.0 = end.0;
            }
        }
    }
    Some(low)
}

impl FromIterator<i64> for Sample {
    fn from_iter<T: IntoIterator<Item = i64>>(values: T) -> Self {
        Self { loose: values.into_iter().collect(), runs: Vec::new() }
    }
}

impl Extend<i64> for Sample {
    fn extend<T: IntoIterator<Item = i64>>(&mut self, values: T) {
        self.loose.extend(values);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranks_are_those_of_all_values_sorted(
            runs in prop::collection::vec(prop::collection::vec(prop_oneof![-9..9_i64, any::<i32>().prop_map(i64::from)], 0..20), 0..6),
            loose in prop::collection::vec(-9..9_i64, 0..6),
        ) {
            let mut sorted: Vec<i64> = runs.iter().flatten().chain(&loose).copied().collect();
            sorted.sort_unstable();
            let mut sample = Sample::default();
            for run in &runs {
                let mut one: Sample = run.iter().copied().collect();
                one.settle();
                sample.share(&one);
            }
            sample.extend(loose);
            prop_assert_eq!(sample.len(), sorted.len());
            for rank in 0..=sorted.len() {
                prop_assert_eq!(sample.ranked(rank), sorted.get(rank).copied());
            }
        }
    }
}
