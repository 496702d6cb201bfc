//! Days and weeks of a time zone, day by day.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate};
use chrono_tz::Tz;

const QUARTER: i64 = 15 * 60 * 1_000_000;

#[derive(Clone, Copy)]
pub struct Calendar {
    pub zone: Tz,
    /// Days from Monday to the first day of a week.
    pub first: u32,
}

impl Calendar {
    pub fn date(self, at: i64) -> NaiveDate {
        DateTime::from_timestamp_micros(at).unwrap().with_timezone(&self.zone).date_naive()
    }

    /// The first quarter of an hour that is of this day.
    pub fn start(self, date: NaiveDate) -> i64 {
        let noon_before = date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros() - 96 * QUARTER;
        let (mut no, mut yes) = (0, 192);
        while yes - no > 1 {
            let middle = i64::midpoint(no, yes);
            if self.date(noon_before + middle * QUARTER) >= date { yes = middle } else { no = middle }
        }
        noon_before + yes * QUARTER
    }

    /// The days that a window touches: each with its start and its end.
    fn days(self, (from, to): (i64, i64)) -> impl Iterator<Item = (NaiveDate, i64, i64)> {
        let days =
            self.date(from).iter_days().map(move |day| (day, self.start(day), self.start(day.succ_opt().unwrap())));
        days.take_while(move |(_, start, _)| *start < to)
    }

    /// How many days a window has: each by the share of it that lies in the window.
    pub fn length(self, window: (i64, i64)) -> f64 {
        let share = |(_, start, end): (NaiveDate, i64, i64)| {
            (end.min(window.1) - start.max(window.0)) as f64 / (end - start) as f64
        };
        self.days(window).map(share).sum()
    }

    /// The days, weeks or months that a window touches, cut to it, and whether they were cut.
    pub fn periods(self, unit: &str, window: (i64, i64)) -> Vec<(i64, i64, bool)> {
        let begins = |day: &NaiveDate| match unit {
            "day" => true,
            "week" => day.weekday().num_days_from_monday() == self.first,
            _ => day.day() == 1,
        };
        let mut first = self.date(window.0);
        while !begins(&first) {
            first = first.pred_opt().unwrap();
        }
        let starts: Vec<NaiveDate> =
            first.iter_days().filter(begins).take_while(|day| self.start(*day) < window.1).collect();
        let whole =
            starts.into_iter().map(|day| (self.start(day), self.start(day.iter_days().skip(1).find(begins).unwrap())));
        let cut = |(start, end): (i64, i64)| {
            let (from, to) = (start.max(window.0), end.min(window.1));
            (from, to, (from, to) != (start, end))
        };
        whole.map(cut).collect()
    }

    /// The period before: as many months before whole months, as many days before whole days, else
    /// as long a time.
    pub fn before(self, (from, to): (i64, i64)) -> (i64, i64) {
        let (first, last) = (self.date(from), self.date(to));
        if self.start(first) != from || self.start(last) != to {
            return (from - (to - from), from);
        }
        let days = u64::try_from((last - first).num_days()).unwrap();
        if first.day() != 1 || last.day() != 1 {
            return (self.start(first - Days::new(days)), from);
        }
        let months = first.iter_days().take_while(|day| *day < last).filter(|day| day.day() == 1).count();
        (self.start(first - Months::new(u32::try_from(months).unwrap())), from)
    }
}
