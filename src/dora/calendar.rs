//! Days, weeks and months of a time zone, days of 23 and 25 hours included.

use std::collections::BTreeSet;

use chrono::{Datelike, Days, Duration, LocalResult, Months, NaiveDate, NaiveDateTime, TimeZone, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::num::signed_float;
use crate::time::Timestamp;

/// Half open: `from` belongs to it, `to` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Day,
    Week,
    Month,
}

/// Whose days and weeks are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    pub time_zone: Tz,
    pub week_starts_on: Weekday,
}

/// One day, week or month of a calendar, cut to the window that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub window: Window,
    /// The window holds only a part of it.
    pub partial: bool,
}

impl Calendar {
    /// The local date; `None` beyond the years that chrono can show.
    pub fn date(self, at: Timestamp) -> Option<NaiveDate> {
        Some(at.to_datetime()?.with_timezone(&self.time_zone).date_naive())
    }

    /// The local dates of times, which are sorted microseconds; those beyond the years that chrono can
    /// show have none. The rest of a day is passed over.
    pub fn dates(self, sorted: &[i64]) -> BTreeSet<NaiveDate> {
        let mut dates = BTreeSet::new();
        let mut rest = sorted;
        while let Some((first, others)) = rest.split_first() {
            rest = others;
            let Some(date) = self.date(Timestamp::from_micros(*first)) else { continue };
            dates.insert(date);
            if let Some(next) = date.succ_opt().and_then(|next| self.start_of(next)) {
                let later = others.partition_point(|at| *at < next.micros());
                rest = others.get(later..).unwrap_or_default();
            }
        }
        dates
    }

    /// The first instant of a local day, which is not midnight where the clock jumps over it.
    fn start_of(self, date: NaiveDate) -> Option<Timestamp> {
        let mut local = NaiveDateTime::from(date);
        // No zone has ever skipped more than a day (Samoa skipped 2011-12-30).
        for _ in 0..=96 {
            match self.time_zone.from_local_datetime(&local) {
                LocalResult::Single(start) | LocalResult::Ambiguous(start, _) => return Some(start.into()),
                LocalResult::None => local = local.checked_add_signed(Duration::minutes(15))?,
            }
        }
        None
    }

    /// How many local days a window spans: a day of 23 or 25 hours is one day.
    pub fn days(self, window: Window) -> Option<f64> {
        let (first, last) = (self.date(window.from)?, self.date(window.to)?);
        let whole = signed_float(last.signed_duration_since(first).num_days());
        Some(whole + self.share_of_day(window.to, last)? - self.share_of_day(window.from, first)?)
    }

    fn share_of_day(self, at: Timestamp, date: NaiveDate) -> Option<f64> {
        let start = self.start_of(date)?;
        let length = self.start_of(date.succ_opt()?)?.micros_since(start);
        Some(signed_float(at.micros_since(start)) / signed_float(length.max(1)))
    }

    /// The window just before: as many whole months before whole months, as many days before whole
    /// days (however many hours they have), else as long a time.
    pub fn before(self, window: Window) -> Window {
        let from = self.calendar_days_before(window).unwrap_or_else(|| {
            let length = window.to.micros_since(window.from);
            Timestamp::from_micros(window.from.micros().saturating_sub(length))
        });
        Window { from, to: window.from }
    }

    fn calendar_days_before(self, window: Window) -> Option<Timestamp> {
        let (from, to) = (self.date(window.from)?, self.date(window.to)?);
        if self.start_of(from)? != window.from || self.start_of(to)? != window.to {
            return None;
        }
        let first = if from.day() == 1 && to.day() == 1 {
            let months = (to.year() - from.year()) * 12 + i32::try_from(to.month0()).ok()?
                - i32::try_from(from.month0()).ok()?;
            from.checked_sub_months(Months::new(u32::try_from(months).ok()?))?
        } else {
            let days = u64::try_from(to.signed_duration_since(from).num_days()).ok()?;
            from.checked_sub_days(Days::new(days))?
        };
        self.start_of(first)
    }

    fn first_day(self, unit: Unit, date: NaiveDate) -> Option<NaiveDate> {
        match unit {
            Unit::Day => Some(date),
            Unit::Week => {
                let into = date.weekday().days_since(self.week_starts_on);
                date.checked_sub_days(Days::new(u64::from(into)))
            }
            Unit::Month => date.with_day(1),
        }
    }

    /// The periods that a window touches, in order; `None` for more than `limit` of them or years
    /// beyond what chrono can show.
    pub fn periods(self, unit: Unit, window: Window, limit: usize) -> Option<Vec<Period>> {
        let mut day = self.first_day(unit, self.date(window.from)?)?;
        let mut periods = Vec::new();
        loop {
            let start = self.start_of(day)?;
            if start >= window.to {
                return Some(periods);
            }
            day = match unit {
                Unit::Day => day.succ_opt()?,
                Unit::Week => day.checked_add_days(Days::new(7))?,
                Unit::Month => day.checked_add_months(Months::new(1))?,
            };
            let end = self.start_of(day)?;
            // A day that a zone skipped altogether has no length.
            if end > start {
                let cut = Window { from: start.max(window.from), to: end.min(window.to) };
                periods.push(Period { window: cut, partial: cut != Window { from: start, to: end } });
            }
            if periods.len() > limit {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn window(from: &str, to: &str) -> Window {
        Window { from: at(from), to: at(to) }
    }

    fn berlin() -> Calendar {
        Calendar { time_zone: Tz::Europe__Berlin, week_starts_on: Weekday::Mon }
    }

    #[test]
    fn the_window_before_is_of_the_calendar_where_the_window_is() {
        for (from, to, before) in [
            // The week of the short day: the one before began at midnight, not at one o'clock.
            ("2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00", "2026-03-16T00:00:00+01:00"),
            ("2026-03-30T00:00:00+02:00", "2026-04-06T00:00:00+02:00", "2026-03-23T00:00:00+01:00"),
            // March has 31 days, February 28; a quarter follows a quarter.
            ("2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00", "2026-02-01T00:00:00+01:00"),
            ("2026-01-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00", "2025-10-01T00:00:00+02:00"),
            // Neither: as many hours.
            ("2026-03-23T06:00:00+01:00", "2026-03-30T06:00:00+02:00", "2026-03-16T07:00:00+01:00"),
        ] {
            let window = window(from, to);
            assert_eq!(berlin().before(window), Window { from: at(before), to: window.from }, "{from}");
        }
    }

    /// Clocks in Berlin went forward on 2026-03-29: the week has 167 hours and is 7 days.
    #[test]
    fn a_week_with_a_short_day_is_seven_days() {
        let week = window("2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00");
        assert_eq!(week.to.micros_since(week.from), 167 * 3_600_000_000);
        assert_eq!(berlin().days(week), Some(7.0));
        let weeks = berlin().periods(Unit::Week, week, 10).unwrap();
        assert_eq!(weeks, [Period { window: week, partial: false }]);
        assert_eq!(berlin().periods(Unit::Day, week, 10).unwrap().len(), 7);
    }

    /// Clocks in Berlin went back on 2026-10-25: a day of 25 hours is one day.
    #[test]
    fn a_long_day_is_one_day() {
        let day = window("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00");
        assert_eq!(day.to.micros_since(day.from), 25 * 3_600_000_000);
        assert_eq!(berlin().days(day), Some(1.0));
    }

    #[test]
    fn first_and_last_periods_may_be_partial() {
        let span = window("2026-01-07T12:00:00+01:00", "2026-01-21T00:00:00+01:00");
        let weeks = berlin().periods(Unit::Week, span, 10).unwrap();
        assert_eq!(weeks.iter().map(|week| week.partial).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(weeks[1].window, window("2026-01-12T00:00:00+01:00", "2026-01-19T00:00:00+01:00"));
        assert_eq!(berlin().days(span), Some(13.5));
        assert!(berlin().periods(Unit::Day, span, 5).is_none());
    }

    #[test]
    fn weeks_start_where_the_team_says_and_months_have_their_lengths() {
        let sunday = Calendar { time_zone: Tz::UTC, week_starts_on: Weekday::Sun };
        let january = window("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z");
        let weeks = sunday.periods(Unit::Week, january, 100).unwrap();
        assert_eq!(weeks[1].window.from, at("2026-01-04T00:00:00Z"));
        let months = sunday.periods(Unit::Month, january, 100).unwrap();
        assert_eq!(months.len(), 2);
        assert_eq!(sunday.days(january), Some(59.0));
    }

    /// Midnight of 2018-11-04 did not exist in São Paulo; Samoa had no 2011-12-30.
    #[test]
    fn days_begin_after_a_skipped_midnight() {
        let brazil = Calendar { time_zone: Tz::America__Sao_Paulo, week_starts_on: Weekday::Mon };
        let day = NaiveDate::from_ymd_opt(2018, 11, 4).unwrap();
        assert_eq!(brazil.start_of(day), Some(at("2018-11-04T03:00:00Z")));
        let samoa = Calendar { time_zone: Tz::Pacific__Apia, week_starts_on: Weekday::Mon };
        let gap = window("2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00");
        assert_eq!(samoa.periods(Unit::Day, gap, 10).unwrap().len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn dates_are_those_of_each_time(
            zone in proptest::sample::select(vec![Tz::Europe__Berlin, Tz::America__Sao_Paulo, Tz::Pacific__Apia, Tz::Asia__Kathmandu]),
            from in proptest::sample::select(vec!["2011-12-28T00:00:00Z", "2018-11-02T00:00:00Z", "2026-03-27T00:00:00Z"]),
            minutes in proptest::collection::vec(0..9 * 24 * 60_i64, 0..60),
        ) {
            let calendar = Calendar { time_zone: zone, week_starts_on: Weekday::Mon };
            let mut times: Vec<i64> = minutes.iter().map(|minute| at(from).micros() + minute * 60_000_000).collect();
            times.sort_unstable();
            let each = times.iter().map(|time| calendar.date(Timestamp::from_micros(*time)).unwrap());
            proptest::prop_assert_eq!(calendar.dates(&times), each.collect::<BTreeSet<_>>());
        }
    }
}
