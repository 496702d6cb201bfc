//! The report for spreadsheets: RFC 4180, a row per selection and metric, numbers as exact as they are.

use csv::{Terminator, WriterBuilder};

use super::super::Failure;
use super::super::figures::{Figure, Figures};
use super::Report;
use crate::dora::Metric;

const HEAD: [&str; 38] = [
    "selection",
    "name",
    "environments",
    "from",
    "to",
    "time_zone",
    "metric",
    "value",
    "unit",
    "n",
    "interval_low",
    "interval_high",
    "previous",
    "change",
    "band",
    "benchmark_edition",
    "target_wanted",
    "target",
    "target_met",
    "reason",
    "excluded",
    "open",
    "oldest_open_seconds",
    "median",
    "incomplete_deployments",
    "coding_seconds",
    "coding_n",
    "pick_up_seconds",
    "pick_up_n",
    "review_seconds",
    "review_n",
    "merge_to_deploy_seconds",
    "merge_to_deploy_n",
    "method",
    "per_week",
    "median_deployment_days_per_week",
    "failed",
    "unplanned",
];

/// The whole first, then each service or team.
///
/// # Errors
/// None in practice: it is written to memory.
pub fn render(report: &Report) -> Result<String, Failure> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    let mut write = |record: Vec<String>| writer.write_record(record).map_err(std::io::Error::from);
    write(HEAD.map(str::to_owned).to_vec())?;
    let (kind, name) = report.subject();
    for record in records(report, kind, name, &report.summary.time_zone, &report.summary.metrics) {
        write(record)?;
    }
    for row in report.others() {
        for record in records(report, report.by.name(), &row.name, &row.time_zone, &row.metrics) {
            write(record)?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(String::from_utf8(bytes).map_err(std::io::Error::other)?)
}

fn records(report: &Report, kind: &str, name: &str, time_zone: &str, metrics: &Figures) -> Vec<Vec<String>> {
    let summary = &report.summary;
    let environments = summary.selection.environments.join(" ");
    let about = [kind.to_owned(), harmless(name), harmless(&environments)];
    let when = [summary.from.to_string(), summary.to.to_string(), time_zone.to_owned()];
    let all = metrics.iter();
    all.map(|(metric, figure)| {
        let about = about.iter().chain(&when).cloned();
        about.chain(cells(*metric, figure, &summary.benchmark_edition)).collect()
    })
    .collect()
}

fn cells(metric: Metric, figure: &Figure, edition: &str) -> Vec<String> {
    let count = |count: Option<u64>| count.map(|count| count.to_string()).unwrap_or_default();
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let text = |text: Option<&String>| text.map(|text| harmless(text)).unwrap_or_default();
    let target = figure.target.as_ref();
    let change = figure.value.zip(figure.previous).map(|(value, previous)| value - previous);
    let stages = figure.stages.as_ref().map(|stages| stages.all().map(|(_, stage)| (stage.value, Some(stage.n))));
    let stages = stages.unwrap_or_default().map(|(seconds, n)| [number(seconds), count(n)]);
    let before = [
        metric.name().to_owned(),
        number(figure.value),
        metric.unit().to_owned(),
        figure.n.to_string(),
        number(figure.interval.map(|[low, _]| low)),
        number(figure.interval.map(|[_, high]| high)),
        number(figure.previous),
        number(change),
        text(figure.band.as_ref()),
        edition.to_owned(),
        text(target.map(|target| &target.wanted)),
        number(target.map(|target| target.limit)),
        target.and_then(|target| target.met).map(|met| met.to_string()).unwrap_or_default(),
        text(figure.reason.as_ref()),
        harmless(&figure.excluded_words()),
        count(figure.open),
        number(figure.oldest_open_seconds),
        number(figure.median),
        count(figure.partial),
    ];
    let after = [
        harmless(&figure.method),
        number(figure.per_week),
        number(figure.median_deployment_days_per_week),
        count(figure.failed),
        count(figure.unplanned),
    ];
    before.into_iter().chain(stages.into_iter().flatten()).chain(after).collect()
}

/// Text from outside: what a spreadsheet would take for a formula gets an apostrophe before it
/// (OWASP, "CSV Injection").
fn harmless(text: &str) -> String {
    let dangerous = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    if text.starts_with(dangerous) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_text() {
        for formula in ["=HYPERLINK(\"http://x\")", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        assert_eq!(harmless("checkout-1"), "checkout-1");
    }
}
