//! Months of UTC, by which derived rows are stored.

use chrono::{Datelike, NaiveDate};

use super::calendar::Window;
use crate::time::Timestamp;

/// Counted from the year 0; rows that lie in several have a place of their own, [`Month::LASTING`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// Not a month: where failures and incidents are kept (once more) that end in another month
    /// than they began in, or have not ended.
    pub const LASTING: Self = Self(i32::MAX);

    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    pub const fn number(self) -> i32 {
        self.0
    }

    /// Times beyond the years of a calendar belong to the first or the last month there is.
    pub fn of(at: Timestamp) -> Self {
        let month = |date: NaiveDate| date.year() * 12 + date.month0().cast_signed();
        let beyond = if at.micros() < 0 { i32::MIN } else { i32::MAX - 1 };
        Self(at.to_datetime().map_or(beyond, |at| month(at.date_naive())))
    }

    /// The first instant.
    pub fn start(self) -> Timestamp {
        let month0 = u32::try_from(self.0.rem_euclid(12)).unwrap_or_default();
        let first =
            NaiveDate::from_ymd_opt(self.0.div_euclid(12), month0 + 1, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
        let beyond = if self.0 < 0 { i64::MIN } else { i64::MAX };
        first.map_or(Timestamp::from_micros(beyond), |first| first.and_utc().into())
    }

    /// From its start to that of the next.
    pub fn window(self) -> Window {
        Window { from: self.start(), to: self.next().start() }
    }

    /// Whether it is one of a calendar: neither the lasting one nor beyond all years.
    pub fn is_real(self) -> bool {
        let Window { from, to } = self.window();
        self != Self::LASTING && i64::MIN < from.micros() && from < to && to.micros() < i64::MAX
    }

    /// Whether a window holds all of it.
    pub fn is_within(self, window: Window) -> bool {
        self != Self::LASTING && window.from <= self.start() && self.next().start() <= window.to
    }

    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_from_its_start_to_the_next_ones() {
        for text in
            ["2026-01-01T00:00:00Z", "2026-01-31T23:59:59.999999Z", "2025-12-31T23:59:59Z", "1969-07-20T20:17:40Z"]
        {
            let at = Timestamp::parse(text).unwrap();
            let month = Month::of(at);
            assert!(month.start() <= at && at < month.next().start(), "{text}: {month:?}");
        }
        let january = Month::of(Timestamp::parse("2026-01-05T00:00:00Z").unwrap());
        assert!(january.number() == 2026 * 12 && january.is_real() && !Month::LASTING.is_real());
    }

    #[test]
    fn times_beyond_all_calendars_have_a_month() {
        for micros in [i64::MIN, i64::MAX] {
            let at = Timestamp::from_micros(micros);
            let month = Month::of(at);
            assert!(month < Month::LASTING && month.start() <= at && !month.is_real(), "{at:?}");
        }
    }
}
