//! The text format of OpenMetrics 1.0: families one after the other, within them series, within those
//! samples by time, and `# EOF` at the end.

use std::io::{self, Write};

use super::past::Track;
use crate::dora::Metric;
use crate::worker::dora_gauges::names;

/// # Errors
/// It cannot be written.
pub fn write(tracks: &[Track], out: &mut dyn Write) -> io::Result<()> {
    for (at, metric) in Metric::ALL.into_iter().enumerate() {
        let (value_name, samples_name) = names(metric);
        let unit = value_name.rsplit('_').next().filter(|unit| ["seconds", "ratio"].contains(unit));
        family(out, value_name, unit, tracks, |track| values(track, at))?;
        family(out, samples_name, None, tracks, |track| counts(track, at))?;
    }
    out.write_all(b"# EOF\n")
}

/// Seconds since 1970, and a value.
type Sample = (f64, f64);

fn family(
    out: &mut dyn Write,
    name: &str,
    unit: Option<&str>,
    tracks: &[Track],
    samples: impl Fn(&Track) -> Vec<Sample>,
) -> io::Result<()> {
    writeln!(out, "# TYPE {name} gauge")?;
    if let Some(unit) = unit {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    for track in tracks {
        let (service, environment) = (escaped(&track.service), escaped(&track.environment));
        let labels = format!("service=\"{service}\",environment=\"{environment}\",window=\"{}\"", track.window);
        for (at, value) in samples(track) {
            writeln!(out, "{name}{{{labels}}} {value} {at}")?;
        }
    }
    Ok(())
}

/// As the gauge: absent before its first value, NaN where its data left the window.
fn values(track: &Track, metric: usize) -> Vec<Sample> {
    let all = track.points.iter().filter_map(|point| Some((point.at.seconds_f64(), point.shown.get(metric)?.0)));
    let known = all.skip_while(|(_, value)| value.is_none());
    known.map(|(at, value)| (at, value.unwrap_or(f64::NAN))).collect()
}

fn counts(track: &Track, metric: usize) -> Vec<Sample> {
    let count = |n: u64| crate::num::float(n);
    track.points.iter().filter_map(|point| Some((point.at.seconds_f64(), count(point.shown.get(metric)?.1)))).collect()
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::super::past::Point;
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn families_follow_each_other_and_gaps_are_not_numbers() {
        let point = |seconds: i64, lead| {
            let mut shown = [(Some(0.5), 2); 6];
            shown[1] = (lead, u64::from(lead.is_some()));
            Point { at: Timestamp::from_micros(seconds * 1_000_000 + 500_000), shown }
        };
        let track = Track {
            service: "a\"b\\c\nd".to_owned(),
            environment: "production".to_owned(),
            window: "30d".to_owned(),
            points: vec![point(10, None), point(20, Some(60.25)), point(30, None)],
        };
        let mut out = Vec::new();
        write(&[track], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!((families.len(), text.lines().last()), (12, Some("# EOF")));
        let lead: Vec<_> = text.lines().filter(|line| line.contains("change_lead_time_seconds")).collect();
        let labels = r#"{service="a\"b\\c\nd",environment="production",window="30d"}"#;
        let name = "devpulse_dora_change_lead_time_seconds";
        assert_eq!(
            lead,
            [
                format!("# TYPE {name} gauge"),
                format!("# UNIT {name} seconds"),
                format!("{name}{labels} 60.25 20.5"),
                format!("{name}{labels} NaN 30.5")
            ]
        );
        assert_eq!(text.matches("devpulse_dora_change_lead_time_samples{").count(), 3);
    }
}
