//! Values in order, each with when it counts: what counts in a span of time is found in order, too.

use std::ops::Range;
use std::sync::Arc;

use super::partition::Index;
use super::sample::Sample;

/// What no longer is: the number of a deployment that left.
pub const GONE: Index = Index::MAX;

/// Values by the number of the deployment they count at; deployments are numbered in order of time.
#[derive(Debug, Clone, Default)]
pub struct Timed {
    /// Sorted.
    values: Arc<[i64]>,
    at: Vec<Index>,
}

impl Timed {
    /// The same after deployments have moved to other numbers, or have [`GONE`], and with what is new.
    pub fn renewed(&self, moved: &[Index], mut new: Vec<(i64, Index)>) -> Self {
        sort(&mut new);
        let number = |old: &Index| usize::try_from(*old).ok().and_then(|old| moved.get(old)).copied();
        let old = self.values.iter().copied().zip(self.at.iter().map(|old| number(old).unwrap_or(GONE)));
        let mut old = old.filter(|(_, at)| *at != GONE).peekable();
        let most = self.values.len() + new.len();
        let (mut values, mut at) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut add = |(value, number)| {
            values.push(value);
            at.push(number);
        };
        for one in new {
            while let Some(before) = old.next_if(|(value, _)| *value <= one.0) {
                add(before);
            }
            add(one);
        }
        old.for_each(add);
        at.shrink_to_fit();
        Self { values: values.into(), at }
    }

    pub fn all(&self) -> Sample {
        Sample::sorted(Arc::clone(&self.values))
    }

    /// The values that count at these deployments.
    pub fn between(&self, deployments: &Range<Index>) -> Sample {
        let count = self.at.iter().filter(|at| deployments.contains(at)).count();
        let mut found = vec![0; count];
        let mut n = 0;
        // Written whether it counts or not: a branch that nobody can foresee costs more.
        for (value, at) in self.values.iter().zip(&self.at) {
            if let Some(place) = found.get_mut(n) {
                *place = *value;
            }
            n += usize::from(deployments.contains(at));
        }
        Sample::sorted(found.into())
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.values) + size_of_val(self.at.as_slice())
    }
}

/// In order of the values, then of the numbers: as one number each where they fit into one, which is
/// faster.
fn sort(rows: &mut [(i64, Index)]) {
    let numbers = rows.iter().map(|(_, at)| *at).max().unwrap_or_default();
    let bits = Index::BITS - numbers.leading_zeros();
    let fits = |(value, _): &(i64, Index)| *value >= 0 && value.leading_zeros() > bits;
    if !rows.iter().all(fits) {
        return rows.sort_unstable();
    }
    let mut keys: Vec<i64> = rows.iter().map(|(value, at)| value << bits | i64::from(*at)).collect();
    keys.sort_unstable();
    for (row, key) in rows.iter_mut().zip(keys) {
        let value = key >> bits;
        *row = (value, Index::try_from(key - (value << bits)).unwrap_or(GONE));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(rows: &[(i64, Index)]) -> Timed {
        Timed::default().renewed(&[], rows.to_vec())
    }

    fn sorted(values: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut values: Vec<i64> = values.collect();
        values.sort_unstable();
        values
    }

    proptest! {
        #[test]
        fn rows_are_sorted_whatever_they_are(
            rows in prop::collection::vec(
                (prop_oneof![-2..9_i64, 0..1_i64 << 62, any::<i64>()], prop_oneof![0..8_u32, any::<u32>()]),
                0..9,
            ),
            small in prop::collection::vec((0..99_i64, 0..8_u32), 0..40),
        ) {
            for rows in [rows, small] {
                let (mut expected, mut sorted) = (rows.clone(), rows);
                expected.sort_unstable();
                sort(&mut sorted);
                prop_assert_eq!(sorted, expected);
            }
        }

        #[test]
        fn what_counts_in_a_span_is_found_in_order(
            rows in prop::collection::vec((-9..9_i64, 0..8_u32), 0..40),
            new in prop::collection::vec((-9..9_i64, 0..8_u32), 0..10),
            moved in prop::collection::vec(prop_oneof![Just(GONE), 0..8_u32], 8),
            from in 0..9_u32,
            to in 0..9_u32,
        ) {
            let timed = of(&rows);
            let span = from..to;
            let wanted = sorted(rows.iter().filter(|(_, at)| span.contains(at)).map(|(value, _)| *value));
            prop_assert_eq!(timed.between(&span).values().collect::<Vec<_>>(), wanted);
            let later = timed.renewed(&moved, new.clone());
            let old = rows.iter().map(|(value, at)| (*value, moved[usize::try_from(*at).unwrap()]));
            let kept: Vec<_> = old.filter(|(_, at)| *at != GONE).chain(new).collect();
            let wanted = sorted(kept.iter().filter(|(_, at)| span.contains(at)).map(|(value, _)| *value));
            prop_assert_eq!(later.between(&span).values().collect::<Vec<_>>(), wanted);
            prop_assert_eq!(later.all().values().collect::<Vec<_>>(), sorted(kept.iter().map(|(value, _)| *value)));
        }
    }
}
