//! Cells of a table as the fields of docs/events.md: most are text, some are numbers, lists or objects.
//!
//! The field decides, never the look of the cell: a version `1` stays text.

use serde_json::{Map, Number, Value};

/// How a field is written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Truth,
    Number,
    List,
    Object,
}

/// The form of a field of an event of this type; of an object's field by `OBJECT.FIELD`.
fn form(kind: &str, name: &str) -> Form {
    match (kind, name) {
        ("change", "merge") => Form::Truth,
        ("change", "pull_request.number")
        | ("request", "status" | "duration_ms")
        | ("performance", "requests" | "errors" | "duration_ms.count" | "duration_ms.sum")
        | ("error", "count") => Form::Number,
        ("deployment", "changes")
        | ("change", "paths")
        | ("incident", "services" | "deployments")
        | ("performance", "duration_ms.buckets") => Form::List,
        (_, "attributes")
        | ("deployment", "schema" | "rolls_back")
        | ("change", "pull_request")
        | ("performance", "duration_ms") => Form::Object,
        _ => Form::Text,
    }
}

/// Puts a cell into an event; `attributes.team` goes into `attributes`.
///
/// # Errors
/// The cell is not written as its field wants it.
pub fn set(event: &mut Map<String, Value>, kind: &str, name: &str, cell: &str) -> Result<(), String> {
    let value = value(form(kind, name), cell).map_err(|wanted| format!("column `{name}`: {wanted}"))?;
    let (outer, mut value) = match name.split_once('.') {
        None => (name, value),
        Some((outer, inner)) => (outer, Value::Object(Map::from_iter([(inner.to_owned(), value)]))),
    };
    if let (Some(Value::Object(known)), Value::Object(more)) = (event.get_mut(outer), &mut value) {
        known.append(more);
    } else {
        event.insert(outer.to_owned(), value);
    }
    Ok(())
}

fn value(form: Form, cell: &str) -> Result<Value, String> {
    match form {
        Form::Text => Ok(cell.into()),
        // Spreadsheets write TRUE.
        Form::Truth => match cell.to_ascii_lowercase().as_str() {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => Err(format!("is `{}`, must be true or false", short(cell))),
        },
        Form::Number => {
            let number = serde_json::from_str::<Number>(cell);
            number.map(Value::Number).map_err(|_| format!("is `{}`, must be a number", short(cell)))
        }
        Form::List => json(cell, Value::is_array, "a list", r#"["a", "b"] or [{"id": "d-1"}]"#),
        Form::Object => json(cell, Value::is_object, "an object", r#"{"id": "d-1"}"#),
    }
}

fn json(cell: &str, is: impl Fn(&Value) -> bool, what: &str, such: &str) -> Result<Value, String> {
    let wanted = |why: String| format!("is `{}`, must be {what} in JSON, such as {such}{why}", short(cell));
    match serde_json::from_str::<Value>(cell) {
        Ok(value) if is(&value) => Ok(value),
        Ok(_) => Err(wanted(String::new())),
        Err(error) => Err(wanted(format!(": {error} of the cell"))),
    }
}

fn short(cell: &str) -> String {
    cell.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EVENTS: &str = include_str!("../../../docs/events.md");

    fn row(kind: &str, cells: &[(&str, &str)]) -> Result<Value, String> {
        let mut event = Map::new();
        cells.iter().try_for_each(|(name, cell)| set(&mut event, kind, name, cell))?;
        Ok(Value::Object(event))
    }

    #[test]
    fn every_field_is_written_as_it_is_documented() {
        let mut seen = 0;
        for section in EVENTS.split("\n## ").skip(1) {
            let kind = section.lines().next().unwrap();
            for line in section.lines().filter(|line| line.starts_with("| `")) {
                let [_, name, said, ..] = *line.split('|').map(str::trim).collect::<Vec<_>>() else { panic!("{line}") };
                let wanted = match said.split([',', ' ']).next().unwrap() {
                    "array" => Form::List,
                    "object" => Form::Object,
                    "boolean" => Form::Truth,
                    "integer" | "number" => Form::Number,
                    "string" | "time" => Form::Text,
                    other => panic!("{kind} {name}: {other}"),
                };
                assert_eq!(form(kind, name.trim_matches('`')), wanted, "{kind} {name}");
                seen += 1;
            }
        }
        assert!(seen > 70, "only {seen} fields were found");
    }

    #[test]
    fn the_field_decides_what_a_cell_is() {
        let deployment = row("deployment", &[("version", "1"), ("attributes.on", "true"), ("commit", "[a]")]).unwrap();
        assert_eq!(deployment, json!({"version": "1", "attributes": {"on": "true"}, "commit": "[a]"}));
        let cells =
            [("merge", "TRUE"), ("pull_request.number", "7"), ("pull_request.opened_at", "t"), ("paths", r#"["a"]"#)];
        assert_eq!(
            row("change", &cells).unwrap(),
            json!({"merge": true, "pull_request": {"number": 7, "opened_at": "t"}, "paths": ["a"]})
        );
        let both = [("attributes.a", "1"), ("attributes", r#"{"b": "2"}"#), ("attributes.c", "3")];
        assert_eq!(row("incident", &both).unwrap(), json!({"attributes": {"a": "1", "b": "2", "c": "3"}}));
        assert_eq!(row("incident", &[("status", "5")]).unwrap(), json!({"status": "5"}));
        assert_eq!(row("request", &[("status", "500")]).unwrap(), json!({"status": 500}));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_column() {
        for (kind, name, cell, part) in [
            ("incident", "deployments", r#"[{"id": "d-1""#, "must be a list in JSON, such as"),
            ("incident", "deployments", r#"[{"id": "d-1""#, "EOF while parsing"),
            ("change", "paths", "src/a.rs", "is `src/a.rs`, must be a list"),
            ("deployment", "rolls_back", r#"["d-1"]"#, "must be an object"),
            ("change", "merge", "yes", "is `yes`, must be true or false"),
            ("change", "pull_request.number", "#7", "is `#7`, must be a number"),
        ] {
            let said = row(kind, &[(name, cell)]).unwrap_err();
            assert!(said.starts_with(&format!("column `{name}`: ")) && said.contains(part), "{said}");
        }
    }
}
