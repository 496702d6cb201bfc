//! Requests, performance summaries and errors: checked, then added up.

use sha2::{Digest, Sha256};

use super::aggregate::{Aggregator, SeriesName};
use super::shapes::{Durations, ErrorReport, Performance, Request};
use super::{Context, check_attributes};
use crate::event::{ErrorDelta, Histogram, TelemetryDelta};
use crate::ingest::fault::{Fault, Limit, MESSAGE, NAME, PATH};
use crate::ingest::wire::{Field, Object, Text};
use crate::num;
use crate::time::Timestamp;

/// Counts that one event may carry: enough for a day of a large service, too small to overflow a sum.
const MAX_COUNT: u64 = 1_000_000_000_000;
const MAX_DURATION_MS: f64 = 30.0 * 86_400_000.0;
const MAX_DURATION_SUM_MS: f64 = 1e12;
const MAX_BUCKETS: usize = 1_000;

struct Place<'a> {
    service: Text<'a>,
    environment: Text<'a>,
    version: Text<'a>,
}

impl<'a> Place<'a> {
    fn read(service: Field<Text<'a>>, environment: Field<Text<'a>>, version: Field<Text<'a>>) -> Result<Self, Fault> {
        Ok(Self {
            service: service.needed("/service", NAME, "name the service that this was measured at")?,
            environment: environment.needed("/environment", NAME, "name the environment, such as production")?,
            version: version.within("/version", NAME)?.unwrap_or_default(),
        })
    }

    fn series(&self) -> SeriesName<'_> {
        SeriesName { service: &self.service, environment: &self.environment, version: &self.version }
    }
}

pub fn request(item: Request<'_>, context: &Context<'_>, sums: &mut Aggregator) -> Result<(), Fault> {
    item.strict("")?;
    let place = Place::read(item.service, item.environment, item.version)?;
    let time = context.time(item.time)?.unwrap_or(context.received_at);
    check_attributes(item.attributes)?;
    item.route.within("/route", PATH)?;
    let status = item.status.required("/status", "give the HTTP status code, 100 to 599")?;
    if !(100..=599).contains(&status) {
        return Err(Fault::new("/status", format!("is {status}: HTTP status codes are 100 to 599")));
    }
    let micros = match item.duration_ms.optional("/duration_ms")? {
        None => None,
        Some(duration) => Some(micros("/duration_ms", duration, MAX_DURATION_MS)?),
    };
    let delta = sums.delta(place.series(), time);
    delta.requests += 1;
    delta.errors += u64::from(status >= 500);
    if let Some(micros) = micros {
        delta.duration_sum_us = delta.duration_sum_us.saturating_add(micros);
        delta.durations.record(micros, 1);
    }
    Ok(())
}

/// Milliseconds as whole microseconds.
fn micros(at: impl std::fmt::Display, milliseconds: f64, most: f64) -> Result<u64, Fault> {
    if milliseconds < 0.0 {
        return Err(Fault::new(at, format!("is {milliseconds}: a duration is 0 or more")));
    }
    if milliseconds > most {
        return Err(Fault::new(at, format!("is {milliseconds} ms, more than {most:e}: is the unit milliseconds?")));
    }
    Ok(num::count(milliseconds * 1e3))
}

fn count(at: &str, count: u64) -> Result<u64, Fault> {
    if count > MAX_COUNT {
        return Err(Fault::new(at, format!("is {count}, more than {MAX_COUNT}: report shorter periods")));
    }
    Ok(count)
}

pub fn performance(item: Performance<'_>, context: &Context<'_>, sums: &mut Aggregator) -> Result<(), Fault> {
    item.strict("")?;
    let place = Place::read(item.service, item.environment, item.version)?;
    let time = context.time(item.time)?.unwrap_or(context.received_at);
    check_attributes(item.attributes)?;
    item.route.within("/route", PATH)?;
    let requests = item.requests.required("/requests", "give the number of requests of the period")?;
    let mut delta = TelemetryDelta { requests: count("/requests", requests)?, ..TelemetryDelta::default() };
    delta.errors = item.errors.optional("/errors")?.unwrap_or(0);
    if delta.errors > requests {
        let detail = format!("is {}, more than the {requests} requests: errors are a part of requests", delta.errors);
        return Err(Fault::new("/errors", detail));
    }
    if let Some(durations) = item.duration_ms.optional("/duration_ms")? {
        read_durations(durations, &mut delta)?;
    }
    sums.delta(place.series(), time).merge(&delta);
    Ok(())
}

fn read_durations(item: Durations<'_>, delta: &mut TelemetryDelta) -> Result<(), Fault> {
    item.strict("/duration_ms")?;
    let total = item.count.required("/duration_ms/count", "give the number of durations")?;
    if total > delta.requests {
        let detail = format!("is {total}, more than the {} requests", delta.requests);
        return Err(Fault::new("/duration_ms/count", detail));
    }
    let sum = item.sum.required("/duration_ms/sum", "give the sum of the durations in milliseconds")?;
    delta.duration_sum_us = micros("/duration_ms/sum", sum, MAX_DURATION_SUM_MS)?;
    let fix = "give [upper bound in ms, count in this bucket] for each bucket";
    let buckets = item.buckets.required("/duration_ms/buckets", fix)?;
    delta.durations = read_buckets(buckets, total)?;
    Ok(())
}

fn read_buckets(buckets: Vec<Field<Vec<Field<f64>>>>, total: u64) -> Result<Histogram, Fault> {
    const AT: &str = "/duration_ms/buckets";
    if buckets.len() > MAX_BUCKETS {
        return Err(Fault::new(AT, format!("has {} buckets, at most {MAX_BUCKETS} are allowed", buckets.len())));
    }
    let mut histogram = Histogram::default();
    let (mut below, mut counted) = (0.0, 0_u64);
    for (i, bucket) in buckets.into_iter().enumerate() {
        let at = format_args!("{AT}/{i}");
        let pair = bucket.required(at, "give [upper bound in ms, count in this bucket]")?;
        let Ok([bound, count]) = <[Field<f64>; 2]>::try_from(pair) else {
            return Err(Fault::new(at, "must be [upper bound in ms, count in this bucket]"));
        };
        let bound = bound.required(format_args!("{at}/0"), "give the upper bound in ms")?;
        let count = count.required(format_args!("{at}/1"), "give the count in this bucket")?;
        if count < 0.0 || count.fract() != 0.0 || num::count(count) > MAX_COUNT {
            return Err(Fault::new(
                format_args!("{at}/1"),
                format!("is {count}: a count is a whole number, 0 or more"),
            ));
        }
        if bound <= below {
            let detail = format!("has the upper bound {bound}, not above {below}: bounds ascend from above 0");
            return Err(Fault::new(at, detail));
        }
        let micros = micros(at, bound, MAX_DURATION_MS)?;
        if count > 0.0 {
            histogram.record(micros, num::count(count));
        }
        below = bound;
        counted += num::count(count);
    }
    if counted != total {
        let detail = format!("hold {counted} durations, but count says {total}: buckets are not cumulative");
        return Err(Fault::new(AT, detail));
    }
    Ok(histogram)
}

pub fn error(item: ErrorReport<'_>, context: &Context<'_>, sums: &mut Aggregator) -> Result<(), Fault> {
    item.strict("")?;
    let place = Place::read(item.service, item.environment, item.version)?;
    let time = context.time(item.time)?.unwrap_or(context.received_at);
    check_attributes(item.attributes)?;
    let level = item.level.within("/level", Limit::line(32))?.unwrap_or(Text::Borrowed("error"));
    let message = item.message.needed("/message", MESSAGE, "give the message of the error")?;
    let number = count("/count", item.count.optional("/count")?.unwrap_or(1))?;
    if number == 0 {
        return Err(Fault::new("/count", "is 0: an error event stands for at least one error"));
    }
    let fingerprint = match item.fingerprint.within("/fingerprint", NAME)? {
        Some(fingerprint) => fingerprint.into_owned(),
        None => fingerprint(&level, &message),
    };
    sums.error(place.series(), fingerprint, error_delta(level, message, number, time));
    Ok(())
}

fn error_delta(level: Text<'_>, message: Text<'_>, count: u64, time: Timestamp) -> ErrorDelta {
    ErrorDelta { level: level.into_owned(), message: message.into_owned(), count, first_seen: time, last_seen: time }
}

/// Messages that differ in their numbers only (ids, addresses, durations) are one error.
fn fingerprint(level: &str, message: &str) -> String {
    let mut plain = String::with_capacity(message.len());
    let mut in_number = false;
    for character in message.chars() {
        let digit = character.is_ascii_digit();
        if !digit {
            plain.push(character);
        } else if !in_number {
            plain.push('#');
        }
        in_number = digit;
    }
    let digest = Sha256::new().chain_update(level).chain_update([0]).chain_update(plain).finalize();
    let mut name = hex::encode(digest);
    name.truncate(16);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_another_error() {
        let one = fingerprint("error", "order 17 timed out after 300 ms");
        assert_eq!(one, fingerprint("error", "order 4711 timed out after 12 ms"));
        assert_ne!(one, fingerprint("warning", "order 17 timed out after 300 ms"));
        assert_ne!(one, fingerprint("error", "order timed out after ms"));
        assert_eq!(one.len(), 16);
    }
}
