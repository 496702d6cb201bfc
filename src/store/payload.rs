//! The payload of a journal row: the telemetry of one commit group, compact and checked.
//!
//! Layout: format byte, series dictionary, deltas, errors, CRC-32 (little endian) of all before.
//! Deltas and errors name their series by its place in the dictionary; times are kept as steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use flate2::Crc;

use super::codec::{Malformed, Reader, Writer};
use crate::event::{ErrorDelta, SeriesKey, TelemetryBatch, TelemetryDelta};
use crate::time::Timestamp;

const FORMAT: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

pub(super) fn encode(batch: &TelemetryBatch) -> Vec<u8> {
    let mut out = Writer::default();
    out.bytes(&[FORMAT]);
    let places = write_dictionary(&mut out, batch);
    let place = |series| places.get(series).copied().unwrap_or(u64::MAX);
    out.length(batch.deltas.len());
    let mut previous = 0;
    for ((series, start), delta) in &batch.deltas {
        out.number(place(series));
        out.signed(start.wrapping_sub(previous));
        previous = *start;
        out.number(delta.requests);
        out.number(delta.errors);
        out.number(delta.duration_sum_us);
        out.histogram(&delta.durations);
    }
    out.length(batch.errors.len());
    for ((series, fingerprint), error) in &batch.errors {
        out.number(place(series));
        out.text(fingerprint);
        out.text(&error.level);
        out.text(&error.message);
        out.number(error.count);
        out.signed(error.first_seen.micros());
        out.signed(error.last_seen.micros().wrapping_sub(error.first_seen.micros()));
    }
    let checksum = checksum(out.written());
    out.bytes(&checksum);
    out.finish()
}

/// Writes every series once and answers with their places.
fn write_dictionary<'a>(out: &mut Writer, batch: &'a TelemetryBatch) -> BTreeMap<&'a SeriesKey, u64> {
    let in_deltas = batch.deltas.keys().map(|(series, _)| (series, 0));
    let in_errors = batch.errors.keys().map(|(series, _)| (series, 0));
    let mut places: BTreeMap<&SeriesKey, u64> = in_deltas.chain(in_errors).collect();
    out.length(places.len());
    for (place, (series, at)) in (0..).zip(&mut places) {
        *at = place;
        out.text(&series.service);
        out.text(&series.environment);
        out.text(&series.version);
    }
    places
}

/// # Errors
/// The bytes are not a whole payload of a known format.
pub(super) fn decode(payload: &[u8]) -> Result<TelemetryBatch, Malformed> {
    let body = payload.len().checked_sub(CHECKSUM_BYTES).ok_or(Malformed::Truncated)?;
    let (body, stored) = payload.split_at_checked(body).ok_or(Malformed::Truncated)?;
    if checksum(body) != stored {
        return Err(Malformed::Checksum);
    }
    let mut input = Reader::new(body);
    match input.byte()? {
        FORMAT => {}
        other => return Err(Malformed::Format(other)),
    }
    let series = read_dictionary(&mut input)?;
    let mut batch = TelemetryBatch::default();
    let mut start = 0_i64;
    for _ in 0..input.length()? {
        let key = named(&series, input.number()?)?;
        start = start.wrapping_add(input.signed()?);
        let delta = TelemetryDelta {
            requests: input.number()?,
            errors: input.number()?,
            duration_sum_us: input.number()?,
            durations: input.histogram()?,
        };
        batch.deltas.insert((key, start), delta);
    }
    for _ in 0..input.length()? {
        let key = named(&series, input.number()?)?;
        let fingerprint = input.text()?.to_owned();
        batch.errors.insert((key, fingerprint), read_error(&mut input)?);
    }
    input.end()?;
    Ok(batch)
}

fn read_dictionary(input: &mut Reader<'_>) -> Result<Vec<SeriesKey>, Malformed> {
    let mut series = Vec::new();
    for _ in 0..input.length()? {
        let mut text = || input.text().map(Arc::from);
        series.push(SeriesKey { service: text()?, environment: text()?, version: text()? });
    }
    Ok(series)
}

fn named(series: &[SeriesKey], place: u64) -> Result<SeriesKey, Malformed> {
    let place = usize::try_from(place).map_err(|_| Malformed::Number)?;
    series.get(place).cloned().ok_or(Malformed::Number)
}

fn read_error(input: &mut Reader<'_>) -> Result<ErrorDelta, Malformed> {
    let level = input.text()?.to_owned();
    let message = input.text()?.to_owned();
    let count = input.number()?;
    let first_seen = input.signed()?;
    let last_seen = first_seen.wrapping_add(input.signed()?);
    let at = Timestamp::from_micros;
    Ok(ErrorDelta { level, message, count, first_seen: at(first_seen), last_seen: at(last_seen) })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Histogram;
    use proptest::prelude::*;

    fn series() -> impl Strategy<Value = SeriesKey> {
        ("[a-c]{0,2}", "(prod|test)", ".{0,3}").prop_map(|(service, environment, version)| SeriesKey {
            service: service.into(),
            environment: environment.into(),
            version: version.into(),
        })
    }

    fn delta() -> impl Strategy<Value = TelemetryDelta> {
        let cells = prop::collection::vec((0_u16..640, any::<u64>()), 0..12);
        (any::<u64>(), any::<u64>(), any::<u64>(), cells).prop_map(|(requests, errors, duration_sum_us, cells)| {
            TelemetryDelta { requests, errors, duration_sum_us, durations: Histogram::from_cells(cells) }
        })
    }

    fn error() -> impl Strategy<Value = ErrorDelta> {
        let at = || any::<i64>().prop_map(Timestamp::from_micros);
        (".{0,4}", ".{0,20}", any::<u64>(), at(), at()).prop_map(|(level, message, count, first_seen, last_seen)| {
            ErrorDelta { level, message, count, first_seen, last_seen }
        })
    }

    prop_compose! {
        fn batch()(
            deltas in prop::collection::btree_map((series(), any::<i64>()), delta(), 0..20),
            errors in prop::collection::btree_map((series(), ".{0,6}"), error(), 0..6),
        ) -> TelemetryBatch {
            TelemetryBatch { deltas, errors }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(batch in batch()) {
            prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
        }

        #[test]
        fn a_cut_row_is_refused(batch in batch(), cut: prop::sample::Index) {
            let bytes = encode(&batch);
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn a_flipped_bit_is_noticed(batch in batch(), at: prop::sample::Index, bit in 0..8) {
            let mut bytes = encode(&batch);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(decode(&bytes), Err(Malformed::Checksum));
        }

        #[test]
        fn any_bytes_under_a_right_checksum_are_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            bytes.insert(0, FORMAT);
            let sum = checksum(&bytes);
            bytes.extend(sum);
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_format_of_the_future_is_named() {
        let mut bytes = vec![9];
        let sum = checksum(&bytes);
        bytes.extend(sum);
        assert_eq!(decode(&bytes), Err(Malformed::Format(9)));
    }
}
