//! A report in words, the same for text, HTML and Markdown.

use chrono_tz::Tz;
use serde::Serialize;

use super::super::compare::reasons;
use super::super::figures::{Change, Figure, NONE, title};
use super::{Bucket, Report};
use crate::dora::Metric;
use crate::time::Timestamp;

#[derive(Debug, Serialize)]
pub struct View {
    pub title: String,
    /// Period, time zone, environments, benchmark.
    pub about: Vec<(&'static str, String)>,
    pub headline: Vec<Headline>,
    /// Why figures of the whole have no value.
    pub reasons: Vec<String>,
    /// What single metrics of the whole say besides.
    pub details: Vec<String>,
    /// What was left out of them.
    pub left_out: Vec<String>,
    pub metrics: [String; 6],
    /// `day`, `week` or `month`.
    pub bucket: &'static str,
    pub course: Vec<Line>,
    /// `service` or `team`.
    pub by: &'static str,
    pub comparison: Vec<Line>,
    /// Why figures of the comparison have no value, a line per service or team.
    pub comparison_reasons: Vec<String>,
}

/// One metric of the whole.
#[derive(Debug, Serialize)]
pub struct Headline {
    pub metric: String,
    pub value: String,
    pub n: u64,
    pub interval: String,
    pub previous: String,
    pub change: String,
    pub band: String,
    pub target: String,
    pub met: Option<bool>,
    pub method: String,
    pub reason: Option<String>,
    /// Each with its label.
    pub details: Vec<(&'static str, String)>,
}

/// A name or a date with its cells, one per metric.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub cells: Vec<String>,
}

impl View {
    pub fn of(report: &Report) -> Self {
        let summary = &report.summary;
        let whole = || summary.metrics.iter();
        // What is open is among the details, with its age.
        let closed = |figure: &Figure| {
            let mut closed = figure.clone();
            closed.excluded.remove("open");
            closed.excluded_words()
        };
        let excluded = whole().map(|(metric, figure)| (title(*metric), closed(figure)));
        let excluded = excluded.filter(|(_, words)| !words.is_empty());
        let excluded = excluded.map(|(title, words)| format!("{title}: {words}"));
        let details = whole().flat_map(|(metric, figure)| {
            let one = |(label, words): (&str, String)| format!("{}, {}: {words}", title(*metric), label.to_lowercase());
            figure.details(*metric).into_iter().map(one)
        });
        let others = report.others();
        let why = |row: &&super::Row| {
            let why = reasons(&row.metrics);
            (!why.is_empty()).then(|| format!("{}: {}", row.name, why.join("; ")))
        };
        Self {
            title: format!("Delivery of {}", subject(report)),
            about: about(report),
            headline: whole().map(|(metric, figure)| Headline::of(*metric, figure, report)).collect(),
            reasons: reasons(&summary.metrics),
            details: details.collect(),
            left_out: excluded.collect(),
            metrics: Metric::ALL.map(title),
            bucket: report.bucket,
            course: report.buckets.iter().map(|bucket| Line::of(name(bucket, report), &bucket.metrics)).collect(),
            by: report.by.name(),
            comparison: others.iter().map(|row| Line::of(row.name.clone(), &row.metrics)).collect(),
            comparison_reasons: others.iter().filter_map(why).collect(),
        }
    }
}

fn subject(report: &Report) -> String {
    match report.subject() {
        ("all", _) => "all services".to_owned(),
        (kind, name) => format!("{kind} {name}"),
    }
}

fn about(report: &Report) -> Vec<(&'static str, String)> {
    let summary = &report.summary;
    let minute = |at| local(at, &summary.time_zone, "%Y-%m-%d %H:%M");
    let environments = match summary.selection.environments.join(", ") {
        none if none.is_empty() => "none is known".to_owned(),
        names if summary.deployed_elsewhere.is_empty() => names,
        names => format!("{names}: nothing yet, but in {}", summary.deployed_elsewhere.join(", ")),
    };
    vec![
        ("Period", format!("{} to {}", minute(summary.from), minute(summary.to))),
        ("Time zone", summary.time_zone.clone()),
        ("Environments", environments),
        ("Benchmark", format!("DORA {}", summary.benchmark_edition)),
    ]
}

impl Headline {
    fn of(metric: Metric, figure: &Figure, report: &Report) -> Self {
        let previous = figure.previous.map(|value| super::super::figures::words(metric, value));
        let band = figure.band.as_ref().map(|band| format!("{band} ({})", report.summary.benchmark_edition));
        Self {
            metric: title(metric),
            value: figure.words(metric),
            n: figure.n,
            interval: figure.interval_words(metric),
            previous: previous.unwrap_or_else(|| NONE.to_owned()),
            change: Change::of(metric, figure).map_or_else(|| NONE.to_owned(), Change::words),
            band: band.unwrap_or_else(|| NONE.to_owned()),
            target: figure.target_words(metric),
            met: figure.target.as_ref().and_then(|target| target.met),
            method: figure.method.clone(),
            reason: figure.reason.clone(),
            details: figure.details(metric),
        }
    }
}

impl Line {
    fn of(name: String, metrics: &super::Figures) -> Self {
        let cell = |metric: &Metric| metrics.get(metric).map_or_else(|| NONE.to_owned(), |figure| figure.cell(*metric));
        Self { name, cells: Metric::ALL.iter().map(cell).collect() }
    }
}

/// `2026-01-05`, and that the period holds only a part of it.
fn name(bucket: &Bucket, report: &Report) -> String {
    let day = day(bucket, report);
    if bucket.partial { format!("{day} (partial)") } else { day }
}

/// The first day of a bucket, where its days are counted.
pub fn day(bucket: &Bucket, report: &Report) -> String {
    local(bucket.from, &report.summary.time_zone, "%Y-%m-%d")
}

/// A moment as the clock of the time zone has it.
fn local(at: Timestamp, time_zone: &str, form: &str) -> String {
    let zone = time_zone.parse::<Tz>().unwrap_or(Tz::UTC);
    at.to_datetime().map_or_else(|| at.to_string(), |at| at.with_timezone(&zone).format(form).to_string())
}
