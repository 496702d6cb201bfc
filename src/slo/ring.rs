//! Counts over time at three resolutions, each level the exact sum of the finer one.

use std::collections::VecDeque;
use std::time::Duration;

use super::Counts;
use crate::num::signed_float;
use crate::time::Timestamp;

/// Width of a cell in seconds, and how far back the level reaches. A window is summed at the
/// finest level that holds all of it: 10 seconds for windows up to 6 hours, minutes up to 3 days.
pub const LEVELS: [Level; 3] = [
    Level { width: 10, reach: 7 * 3_600 },
    Level { width: 60, reach: 76 * 3_600 },
    Level { width: 3_600, reach: 400 * 86_400 },
];

/// Cells start at whole seconds: the first that starts at or after a moment.
const ALMOST_A_SECOND: Duration = Duration::from_micros(999_999);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    pub width: i64,
    pub reach: i64,
}

/// Dense cells from the first with data to the last; older ones fall out beyond the level's reach.
#[derive(Debug, Clone, Default)]
struct Cells {
    /// Start of the first cell, in seconds.
    start: i64,
    cells: VecDeque<Counts>,
}

#[derive(Debug, Clone, Default)]
pub struct Ring([Cells; 3]);

fn seconds_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

impl Cells {
    fn add(&mut self, level: Level, at: i64, counts: Counts) {
        let start = at - at.rem_euclid(level.width);
        if self.cells.is_empty() {
            self.start = start;
        }
        let keep = level.reach / level.width;
        let newest = self.start + (self.len() - 1).max(0) * level.width;
        if start <= newest - level.reach {
            return; // too old for this level; the coarser ones have it
        }
        if start >= newest + level.reach {
            self.cells.clear();
            self.start = start;
        }
        while start < self.start {
            self.cells.push_front(Counts::default());
            self.start -= level.width;
        }
        let index = (start - self.start) / level.width;
        while self.len() <= index {
            self.cells.push_back(Counts::default());
        }
        if let Some(cell) = usize::try_from(index).ok().and_then(|index| self.cells.get_mut(index)) {
            *cell += counts;
        }
        while self.len() > keep {
            self.cells.pop_front();
            self.start += level.width;
        }
    }

    fn len(&self) -> i64 {
        i64::try_from(self.cells.len()).unwrap_or(i64::MAX)
    }

    fn last_with_data(&self, level: Level) -> Option<i64> {
        let behind = self.cells.iter().rev().position(|cell| cell.total > 0)?;
        Some(self.start + (self.len() - 1 - i64::try_from(behind).ok()?) * level.width)
    }

    /// Cells whose start lies in `from..to` (seconds).
    fn between(&self, level: Level, from: i64, to: i64) -> impl DoubleEndedIterator<Item = Counts> {
        let index = |at: i64| {
            let cells = (at - self.start).max(0) + level.width - 1;
            usize::try_from(cells / level.width).unwrap_or(0).min(self.cells.len())
        };
        let (first, end) = (index(from), index(to));
        self.cells.range(first..end.max(first)).copied()
    }

    fn first_with_data(&self, level: Level, from: i64) -> Option<i64> {
        let skipped = usize::try_from((from - self.start).max(0) / level.width).unwrap_or(usize::MAX);
        let found = skipped + self.cells.iter().skip(skipped).position(|cell| cell.total > 0)?;
        Some(self.start + i64::try_from(found).ok()? * level.width)
    }
}

impl Ring {
    /// Adds to every level.
    pub fn add(&mut self, at_seconds: i64, counts: Counts) {
        for level in LEVELS {
            self.add_at(level, at_seconds, counts);
        }
    }

    /// Adds to one level only: loading from the store, which keeps each level itself.
    pub fn add_at(&mut self, level: Level, at_seconds: i64, counts: Counts) {
        if let Some((cells, _)) = self.0.iter_mut().zip(LEVELS).find(|(_, own)| *own == level) {
            cells.add(level, at_seconds, counts);
        }
    }

    /// The sum over the window that ends now, the running cell included.
    pub fn sum(&self, window: Duration, now: Timestamp) -> Counts {
        self.cells(window, now).sum()
    }

    /// The cells of the window that ends now, oldest first.
    pub fn cells(&self, window: Duration, now: Timestamp) -> impl DoubleEndedIterator<Item = Counts> {
        let (cells, level) = self.level_for(seconds_of(window));
        let end = now.seconds() - now.seconds().rem_euclid(level.width) + level.width;
        cells.between(level, end - seconds_of(window).max(level.width), end)
    }

    /// The sum over the cells that `from..to` touches, at the finest level that still has `from`.
    pub fn sum_touching(&self, from: Timestamp, to: Timestamp, now: Timestamp) -> Counts {
        let (cells, level) = self.level_for(now.seconds().saturating_sub(from.seconds()));
        cells.between(level, from.seconds() - level.width + 1, to.seconds() + 1).sum()
    }

    /// The sum over the cells that lie wholly inside `from..to`, at the finest level that still has
    /// `from`.
    pub fn sum_within(&self, from: Timestamp, to: Timestamp, now: Timestamp) -> Counts {
        let (cells, level) = self.level_for(now.seconds().saturating_sub(from.seconds()));
        cells.between(level, from.plus(ALMOST_A_SECOND).seconds(), to.seconds() - level.width + 1).sum()
    }

    /// How wide the cells of a window are.
    pub fn cell_width(&self, window: Duration) -> Duration {
        let (_, level) = self.level_for(seconds_of(window));
        Duration::from_secs(u64::try_from(level.width).unwrap_or(1))
    }

    fn level_for(&self, seconds: i64) -> (&Cells, Level) {
        let [fine, middle, coarse] = &self.0;
        let [ten, minute, hour] = LEVELS;
        match seconds {
            s if s < ten.reach => (fine, ten),
            s if s < minute.reach => (middle, minute),
            _ => (coarse, hour),
        }
    }

    /// The share of the window that lies after the first event of twice the window: below 1 for a
    /// service younger than the window, whose trouble cannot have lasted as long. One stray event
    /// of the distant past makes nobody older.
    pub fn measured_share(&self, window: Duration, now: Timestamp) -> f64 {
        let seconds = seconds_of(window).max(1);
        let from = now.seconds() - seconds.saturating_mul(2);
        let lived = self.first_event(from).map_or(0, |first| now.seconds() - first + 10);
        (signed_float(lived.max(0)) / signed_float(seconds)).min(1.0)
    }

    /// When the first event at or after `from` was counted, as exactly as it is still known.
    fn first_event(&self, from: i64) -> Option<i64> {
        let levels = || self.0.iter().zip(LEVELS);
        let (first, width) = levels().rev().find_map(|(cells, level)| {
            let aligned = from - from.rem_euclid(level.width);
            Some((cells.first_with_data(level, aligned)?, level.width))
        })?;
        // A finer level that reaches as far back knows the moment better.
        let finer = levels().filter_map(|(cells, level)| cells.first_with_data(level, from.max(first)));
        Some(finer.filter(|start| *start < first + width).max().unwrap_or(first))
    }

    /// When the newest cell with events started, in seconds, as exactly as it is still known: what
    /// was read back long after has left the finer levels.
    pub fn last_event(&self) -> Option<i64> {
        self.0.iter().zip(LEVELS).filter_map(|(cells, level)| cells.last_with_data(level)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: i64 = 1_790_000_000;

    #[test]
    fn a_window_holds_its_own_cells_only() {
        let mut ring = Ring::default();
        ring.add(T0 - 300, Counts::new(1, 1));
        ring.add(T0 - 290, Counts::new(0, 10));
        ring.add(T0, Counts::new(2, 5));
        ring.add(T0 + 10, Counts::new(9, 9));
        assert_eq!(ring.sum(Duration::from_secs(300), Timestamp::from_seconds(T0 + 3)), Counts::new(2, 15));
    }

    #[test]
    fn late_events_go_to_their_own_cell() {
        let mut ring = Ring::default();
        ring.add(T0, Counts::new(0, 1));
        ring.add(T0 - 3_600, Counts::new(1, 1));
        let now = Timestamp::from_seconds(T0);
        assert_eq!(ring.sum(Duration::from_secs(1_800), now), Counts::new(0, 1));
        assert_eq!(ring.sum(Duration::from_secs(7_200), now), Counts::new(1, 2));
        assert!((ring.measured_share(Duration::from_secs(7_200), now) - 0.5).abs() < 2e-3, "an hour of two");
        assert!((ring.measured_share(Duration::from_secs(2_000), now) - 1.0).abs() < 1e-9, "all of what is shorter");
        assert_eq!(ring.last_event(), Some(T0));
    }

    #[test]
    fn what_is_older_than_a_level_stays_in_the_coarser_ones() {
        let mut ring = Ring::default();
        ring.add(T0, Counts::new(0, 1));
        ring.add(T0 - 20 * 86_400, Counts::new(5, 5));
        assert_eq!(ring.sum(Duration::from_secs(30 * 86_400), Timestamp::from_seconds(T0)), Counts::new(5, 6));
        assert_eq!(ring.sum(Duration::from_secs(3_600), Timestamp::from_seconds(T0)), Counts::new(0, 1));
    }

    #[test]
    fn touching_and_within() {
        let mut ring = Ring::default();
        for cell in 0..4 {
            ring.add(T0 + cell * 10, Counts::new(0, 10_u64.pow(u32::try_from(cell).unwrap())));
        }
        let at = Timestamp::from_seconds;
        let now = at(T0 + 60);
        assert_eq!(ring.sum_touching(at(T0 + 11), at(T0 + 25), now).total, 110);
        assert_eq!(ring.sum_touching(at(T0 + 10), at(T0 + 20), now).total, 110, "an instant at the border");
        assert_eq!(ring.sum_within(at(T0 + 1), at(T0 + 30), now).total, 110);
        assert_eq!(ring.sum_within(at(T0 + 10), at(T0 + 20), now).total, 10);
        assert_eq!(ring.sum_within(Timestamp::from_micros(at(T0 + 10).micros() + 1), at(T0 + 39), now).total, 100);
    }

    proptest! {
        /// The ring equals the sum straight over all events, in any order of arrival.
        #[test]
        fn equals_the_plain_sum(
            events in prop::collection::vec((0_i64..90_000, 0_u64..3, 3_u64..9), 1..80).prop_shuffle(),
            window in 1_u64..2_100,
        ) {
            let mut ring = Ring::default();
            for (ago, bad, total) in &events {
                ring.add(T0 - ago, Counts::new(*bad, *total));
            }
            let (width, window) = (10, window * 10);
            let end = T0 - T0.rem_euclid(width) + width;
            let from = end - i64::try_from(window).unwrap();
            let plain: Counts = events
                .iter()
                .filter(|(ago, ..)| (from..end).contains(&(T0 - ago - (T0 - ago).rem_euclid(width))))
                .map(|(_, bad, total)| Counts::new(*bad, *total))
                .sum();
            prop_assert_eq!(ring.sum(Duration::from_secs(window), Timestamp::from_seconds(T0)), plain);
        }
    }
}
