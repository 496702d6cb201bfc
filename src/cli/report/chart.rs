//! A metric's course over the period as a line: where everything is, for an SVG to draw.
//!
//! Nothing is said by colour alone: a bucket that the period cuts short is a hollow dot, the target a
//! dashed line with its label, and a text says what the picture shows.

use serde::Serialize;

use super::super::figures::{Figure, title, words};
use super::view::day;
use super::{Bucket, Report};
use crate::dora::Metric;
use crate::num::float;

/// The picture, with room for labels above and below the lines.
const WIDTH: f64 = 320.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 108.0;
const SIDE: f64 = 8.0;
/// A target this many times the highest value would leave nothing to see.
const TOO_HIGH: f64 = 3.0;

#[derive(Debug, Serialize)]
pub struct Chart {
    pub title: String,
    /// The same in words.
    pub text: String,
    /// Points of lines; a bucket without a value interrupts them.
    pub lines: Vec<String>,
    pub dots: Vec<Dot>,
    pub target: Option<Target>,
    /// The value at the upper edge; empty where all values are zero.
    pub top: String,
    pub first: String,
    pub last: String,
}

#[derive(Debug, Serialize)]
pub struct Dot {
    pub x: String,
    pub y: String,
    pub partial: bool,
    pub text: String,
}

#[derive(Debug, Serialize)]
pub struct Target {
    pub y: String,
    pub label: String,
}

/// One per metric, in their order.
pub fn charts(report: &Report) -> Vec<Chart> {
    Metric::ALL.iter().map(|metric| chart(*metric, report)).collect()
}

/// A value at its place from left to right.
struct Point<'a> {
    x: f64,
    value: f64,
    bucket: &'a Bucket,
    figure: &'a Figure,
}

fn chart(metric: Metric, report: &Report) -> Chart {
    let all = points(metric, report);
    let known = || all.iter().flatten();
    let highest = known().map(|point| point.value).fold(0.0, f64::max);
    let target = report.summary.metrics.get(&metric).and_then(|figure| figure.target.as_ref());
    let limit = target.map(|target| target.limit).filter(|limit| *limit <= highest * TOO_HIGH);
    let top = highest.max(limit.unwrap_or(0.0));
    let height = |value: f64| if top > 0.0 { BOTTOM - value / top * (BOTTOM - TOP) } else { BOTTOM };
    let place = |point: &Point<'_>| format!("{:.1},{:.1}", point.x, height(point.value));
    let runs = all.split(Option::is_none).filter(|run| run.len() > 1);
    let date = |bucket: Option<&Bucket>| bucket.map(|bucket| day(bucket, report)).unwrap_or_default();
    Chart {
        title: format!("{} by {}", title(metric), report.bucket),
        text: text(metric, report, &all),
        lines: runs.map(|run| run.iter().flatten().map(place).collect::<Vec<_>>().join(" ")).collect(),
        dots: known()
            .map(|point| Dot {
                x: format!("{:.1}", point.x),
                y: format!("{:.1}", height(point.value)),
                partial: point.bucket.partial,
                text: format!("{}: {}", day(point.bucket, report), point.figure.cell(metric)),
            })
            .collect(),
        target: limit.map(|limit| Target {
            y: format!("{:.1}", height(limit)),
            label: format!("target: {}", words(metric, limit)),
        }),
        top: if top > 0.0 { words(metric, top) } else { String::new() },
        first: date(report.buckets.first()),
        last: date(report.buckets.last()),
    }
}

/// `None` for a bucket without a value.
fn points(metric: Metric, report: &Report) -> Vec<Option<Point<'_>>> {
    let count = |n: usize| float(u64::try_from(n).unwrap_or(u64::MAX));
    let step = (WIDTH - 2.0 * SIDE) / count(report.buckets.len().max(1));
    let point = |(i, bucket)| {
        let bucket: &Bucket = bucket;
        let figure = bucket.metrics.get(&metric)?;
        Some(Point { x: SIDE + (count(i) + 0.5) * step, value: figure.value?, bucket, figure })
    };
    report.buckets.iter().enumerate().map(point).collect()
}

/// What somebody who does not see the picture should know.
fn text(metric: Metric, report: &Report, all: &[Option<Point<'_>>]) -> String {
    let known = || all.iter().flatten();
    let ends = known().next().zip(known().last());
    let Some((first, last)) = ends else { return format!("By {}: none has a value.", report.bucket) };
    let of = |point: &Point<'_>| format!("{} ({})", words(metric, point.value), day(point.bucket, report));
    let by_value = |a: &&Point<'_>, b: &&Point<'_>| a.value.total_cmp(&b.value);
    let (lowest, highest) = (known().min_by(by_value).unwrap_or(first), known().max_by(by_value).unwrap_or(last));
    let missing = all.len().saturating_sub(known().count());
    let without = if missing == 0 { String::new() } else { format!(" Without a value: {missing} of {}.", all.len()) };
    let (bucket, first, last) = (report.bucket, of(first), of(last));
    format!("By {bucket}: from {first} to {last}; lowest {}, highest {}.{without}", of(lowest), of(highest))
}
