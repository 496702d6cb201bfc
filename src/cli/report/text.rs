//! The report for a terminal.

use super::super::compare;
use super::super::output::table;
use super::Report;
use super::view::{Headline, Line, View};

pub fn render(view: &View, report: &Report) -> String {
    let mut parts = vec![view.title.clone()];
    parts.extend(view.about.iter().map(|(label, value)| format!("  {label:<12}  {value}")));
    parts.push(String::new());
    let head = ["metric", "value", "n", "95 % interval", "before", "change", "band", "target"];
    parts.push(table(&head, &view.headline.iter().map(cells).collect::<Vec<_>>()));
    list(&mut parts, "Without a value", &view.reasons);
    list(&mut parts, "In detail", &view.details);
    list(&mut parts, "Left out", &view.left_out);
    parts.push(format!("\nBy {}", view.bucket));
    parts.push(lines(view, view.bucket, &view.course));
    parts.push("In brackets: of how many. !: the target is missed.".to_owned());
    let others: Vec<_> = report.others().into_iter().cloned().collect();
    if !others.is_empty() {
        parts.push(format!("\nBy {}", view.by));
        parts.push(compare::text(report.by, &others));
    }
    parts.push(String::new());
    parts.join("\n")
}

fn list(parts: &mut Vec<String>, title: &str, items: &[String]) {
    if !items.is_empty() {
        parts.push(format!("\n{title}"));
        parts.extend(items.iter().map(|item| format!("  {item}")));
    }
}

fn cells(headline: &Headline) -> Vec<String> {
    let Headline { metric, value, n, interval, previous, change, band, target, .. } = headline;
    let n = n.to_string();
    [metric, value, &n, interval, previous, change, band, target].into_iter().cloned().collect()
}

fn lines(view: &View, first: &str, lines: &[Line]) -> String {
    let head: Vec<&str> = std::iter::once(first).chain(view.metrics.iter().map(String::as_str)).collect();
    let cells = |line: &Line| std::iter::once(&line.name).chain(&line.cells).cloned().collect::<Vec<_>>();
    table(&head, &lines.iter().map(cells).collect::<Vec<_>>())
}
