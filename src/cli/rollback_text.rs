//! One rollback for people: where it stands, why, how far its steps are, and what to do next.

use serde_json::Value;

use super::output::table;

/// The page of `devpulse rollback show ID`, from the API's answer.
pub fn page(rollback: &Value) -> String {
    let decision = &rollback["decision"];
    let mut lines = vec![format!("Rollback {} is {}", text(rollback, "id"), text(rollback, "state")), String::new()];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<11} {value}"));
    row("place", format!("{} in {}", text(rollback, "service"), text(rollback, "environment")));
    row("versions", format!("{} → {}", text(rollback, "from_version"), text(rollback, "to_version")));
    let deployment = &rollback["deployment"];
    row("deployment", format!("{} of {}", text(deployment, "id"), text(deployment, "source")));
    row("mode", text(rollback, "mode"));
    row("decided", text(rollback, "decided_at"));
    row("why", text(rollback, "summary"));
    for evidence in list(&decision["indicators"]) {
        row("evidence", indicator(evidence));
    }
    for rejected in list(&decision["rejected_targets"]) {
        row("not back to", format!("{}: {}", text(rejected, "version"), text(rejected, "fault").replace('_', " ")));
    }
    for entry in list(&rollback["history"]) {
        let words = [text(entry, "act"), "by".to_owned(), text(entry, "actor"), text(entry, "detail")];
        row(&text(entry, "at"), words.join(" ").trim_end_matches([' ', '-']).to_owned());
    }
    if list(&rollback["steps"]).iter().any(|step| step["state"] != "pending") {
        let rows: Vec<Vec<String>> = list(&rollback["steps"]).iter().map(step).collect();
        let steps = table(&["step", "state", "attempts", "started", "finished", "error"], &rows);
        lines.push(String::new());
        lines.extend(steps.lines().map(|line| format!("  {line}")));
    }
    lines.push(String::new());
    lines.push(format!("Next: {}", next(rollback)));
    lines.join("\n")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn indicator(evidence: &Value) -> String {
    let side = |name: &str| {
        let counts = evidence.get(name).unwrap_or(&Value::Null);
        format!("{} of {}", text(counts, "bad"), text(counts, "total"))
    };
    let burn = evidence["burn"].as_f64().map_or_else(String::new, |burn| format!(", burn rate {burn:.1}"));
    let finding = text(evidence, "finding").replace('_', " ");
    let (since, before) = (side("since"), side("baseline"));
    format!("{}: {finding}; bad since {since}, before {before}{burn}", text(evidence, "slo"))
}

fn step(step: &Value) -> Vec<String> {
    let error = step["response"].get("error").and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut cells: Vec<String> =
        ["step", "state", "attempt", "started_at", "finished_at"].iter().map(|name| text(step, name)).collect();
    cells.push(error);
    cells
}

/// What a person does now.
fn next(rollback: &Value) -> String {
    let id = text(rollback, "id");
    let finished = !rollback["finished_at"].is_null();
    match text(rollback, "state").as_str() {
        "shadowed" => "nothing was touched (mode: shadow). Set the policy's mode to approve or automatic to let the \
                       next one act."
            .to_owned(),
        "proposed" => {
            let until = text(&rollback["decision"], "expires_at");
            format!("until {until}: devpulse rollback approve {id}, or devpulse rollback cancel {id}")
        }
        "running" => "nothing: it goes on by itself.".to_owned(),
        "failed" | "refused" if !finished => {
            format!("a person has to decide and act; then devpulse rollback cancel {id} closes it.")
        }
        _ => "nothing: it is over.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proposal_says_why_and_what_to_do() {
        let rollback = json!({
            "id": "r1", "service": "checkout", "environment": "production", "state": "proposed", "mode": "approve",
            "deployment": {"source": "ci", "id": "d-41"}, "from_version": "1.4.2", "to_version": "1.4.1",
            "summary": "20 % of 410 requests on 1.4.2 failed", "decided_at": "2026-01-05T10:05:00Z",
            "decision": {
                "expires_at": "2026-01-05T10:35:00Z",
                "indicators": [{"slo": "availability", "since": {"bad": 82, "total": 410},
                    "baseline": {"bad": 1, "total": 1_201}, "burn": 200.04, "finding": "regression"}],
                "rejected_targets": [{"version": "1.4.0", "fault": "too_few_requests"}],
            },
            "steps": [{"step": "route", "state": "failed", "attempt": 2, "response": {"error": "refused"}}],
            "history": [{"at": "2026-01-05T10:06:00Z", "actor": "k1", "act": "approved", "detail": ""}],
        });
        let expected = [
            "Rollback r1 is proposed",
            "",
            "  place       checkout in production",
            "  versions    1.4.2 → 1.4.1",
            "  deployment  d-41 of ci",
            "  mode        approve",
            "  decided     2026-01-05T10:05:00Z",
            "  why         20 % of 410 requests on 1.4.2 failed",
            "  evidence    availability: regression; bad since 82 of 410, before 1 of 1201, burn rate 200.0",
            "  not back to 1.4.0: too few requests",
            "  2026-01-05T10:06:00Z approved by k1",
            "",
            "  STEP   STATE   ATTEMPTS  STARTED  FINISHED  ERROR",
            "  route  failed  2         -        -         refused",
            "",
            "Next: until 2026-01-05T10:35:00Z: devpulse rollback approve r1, or devpulse rollback cancel r1",
        ];
        assert_eq!(page(&rollback).lines().collect::<Vec<_>>(), expected);
    }
}
