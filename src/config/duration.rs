//! Durations as people write them: `300ms`, `5m`, `1h30m`, `30d`.

use std::fmt::Write as _;
use std::time::Duration;

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads whole numbers with units, joined from large to small.
///
/// # Errors
/// A sentence that says what is expected.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wanted = || "must be a duration with a unit, such as 300ms, 30s, 5m, 6h, 30d or 1h30m".to_owned();
    let mut rest = text;
    let mut millis = 0_u64;
    let mut finer_than = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wanted)?;
        if size >= finer_than {
            return Err(wanted());
        }
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(size)).ok_or_else(wanted)?;
        millis = millis.checked_add(part).ok_or_else(wanted)?;
        finer_than = size;
        rest = tail;
    }
    if text.is_empty() { Err(wanted()) } else { Ok(Duration::from_millis(millis)) }
}

/// The shortest text that [`parse`] reads as the same duration, to the millisecond.
pub fn format(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, size) in UNITS.into_iter().filter(|(name, _)| *name != "w") {
        if rest >= size {
            let _ = write!(text, "{}{name}", rest / size);
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_may_be_joined() {
        assert_eq!(parse("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse("30d"), Ok(Duration::from_hours(720)));
        assert_eq!(parse("2w"), Ok(Duration::from_hours(336)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "5", "m", "5 m", "-5m", "1.5h", "5M", "30m1h", "1h1h", "99999999999999999999d", "213503982335d"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_formatted_duration_reads_back() {
        for text in ["0s", "300ms", "1m", "1h30m", "30d", "1d1h1m1s1ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
