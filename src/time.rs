//! Points in time, and the one place where the clock is read.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: whole microseconds since 1970-01-01T00:00:00Z.
///
/// Everything inside DevPulse, both databases included, keeps time this way, so that a value
/// read back is the value written (see `docs/decisions/0002-time-is-an-integer.md`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds, rounded towards the past.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Seconds with their fraction, for gauges.
    pub fn seconds_f64(self) -> f64 {
        crate::num::signed_float(self.0) / 1e6
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(duration)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(duration)))
    }

    /// Signed microseconds from `earlier` to `self`.
    pub const fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from `earlier` to `self`, zero when `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros_since(earlier)).unwrap_or(0))
    }

    /// `None` beyond the years chrono can show (about ±262,000).
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    /// RFC 3339, with any offset; and what GitLab and git make of it: `2021-04-28 21:50:00 +0200`,
    /// `2021-04-28 19:50:00 UTC`.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, chrono::ParseError> {
        let exact = DateTime::parse_from_rfc3339(text);
        let loose = || {
            const FORM: &str = "%Y-%m-%d %H:%M:%S%.f %z";
            match text.strip_suffix(" UTC") {
                Some(utc) => DateTime::parse_from_str(&format!("{utc} +0000"), FORM),
                None => DateTime::parse_from_str(text, FORM),
            }
        };
        exact.or_else(|error| loose().map_err(|_| error)).map(|t| Self(t.timestamp_micros()))
    }
}

fn micros_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A duration as people write it in configurations and labels: `300ms`, `5m`, `30d`.
pub fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = units.into_iter().find(|(size, _)| millis.is_multiple_of(*size));
    fits.map_or_else(|| format!("{millis}ms"), |(size, unit)| format!("{}{unit}", millis / size))
}

/// A duration as people say it, in its two largest units: `2 d 4 h`, `12 min 5 s`, `250 ms`, `0 s`.
pub fn spoken(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), u64::from(duration.subsec_millis()));
    if seconds == 0 && millis > 0 {
        return format!("{millis} ms");
    }
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let parts: Vec<String> = units
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

impl<Z: chrono::TimeZone> From<DateTime<Z>> for Timestamp {
    fn from(t: DateTime<Z>) -> Self {
        Self(t.timestamp_micros())
    }
}

/// RFC 3339 in UTC with as many fraction digits as the value needs.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_datetime() {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} µs", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339 where people may read it, else microseconds.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|_| {
            serde::de::Error::custom("must be an RFC 3339 time with an offset, such as 2026-01-05T10:04:00Z")
        })
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Timestamp {}

/// The clock: the system's, or one that tests and simulations move by hand.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.micros()))))
    }

    #[expect(clippy::disallowed_methods, reason = "the clock's home")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp::from(Utc::now()),
            Some(micros) => Timestamp(micros.load(Ordering::SeqCst)),
        }
    }

    /// The time since some moment of this process: it goes on evenly when the system's clock is put
    /// right. For waiting, never for keeping.
    pub fn uptime(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "the clock's home")]
        let started = || *START.get_or_init(Instant::now);
        match &self.0 {
            None => started().elapsed(),
            Some(micros) => Duration::from_micros(u64::try_from(micros.load(Ordering::SeqCst)).unwrap_or(0)),
        }
    }

    /// Puts a manual clock to another time; the system's clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Some(micros) = &self.0 {
            micros.store(to.micros(), Ordering::SeqCst);
        }
    }

    /// Moves a manual clock; the system's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(micros) = &self.0 {
            micros.fetch_add(micros_of(by), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_honoured_and_fractions_survive() {
        let t = Timestamp::parse("2021-04-28T21:50:00.123456+02:00").unwrap();
        assert_eq!(t.to_string(), "2021-04-28T19:50:00.123456Z");
        assert_eq!(serde_json::from_str::<Timestamp>(&serde_json::to_string(&t).unwrap()).unwrap(), t);
    }

    /// GitLab's example: 21:50 in Berlin is 19:50 UTC.
    #[test]
    fn what_gitlab_and_git_write_is_read_too() {
        let expected = Timestamp::parse("2021-04-28T19:50:00Z").unwrap();
        for text in ["2021-04-28 21:50:00 +0200", "2021-04-28 21:50:00 +02:00", "2021-04-28 19:50:00 UTC"] {
            assert_eq!(Timestamp::parse(text).unwrap(), expected, "{text}");
        }
        for text in ["2021-04-28 21:50:00", "2021-04-28", "2021-04-28 21:50:00 CEST", "28.04.2021 21:50:00 +0200"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_people_write_them() {
        let cases = [(300, "300ms"), (90_000, "90s"), (300_000, "5m"), (2_592_000_000, "30d"), (0, "0s")];
        for (millis, text) in cases {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn durations_as_people_say_them() {
        let text = |millis| spoken(Duration::from_millis(millis));
        assert_eq!(
            [0, 250, 59_900, 60_000, 725_000, 3_600_000, 90_061_000, 187_200_000].map(text),
            ["0 s", "250 ms", "59 s", "1 min", "12 min 5 s", "1 h", "1 d 1 h", "2 d 4 h"].map(String::from)
        );
    }

    #[test]
    fn seconds_round_towards_the_past() {
        assert_eq!(Timestamp::from_micros(-1).seconds(), -1);
        assert_eq!(Timestamp::from_micros(1_999_999).seconds(), 1);
    }
}
