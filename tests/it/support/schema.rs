//! Answers against the OpenAPI document: types, enums, required and unknown keys.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The OpenAPI document, as a judge of answers.
pub struct Schemas(pub Value);

impl Schemas {
    /// The schema of the 200 answer of `GET template`.
    #[track_caller]
    pub fn of_answer(&self, template: &str) -> &Value {
        let content = &self.0["paths"][template]["get"]["responses"]["200"]["content"]["application/json"];
        assert!(content["schema"].is_object(), "{template} documents no JSON answer");
        &content["schema"]
    }

    /// What is wrong with the value, by its place in it.
    pub fn problems(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(schema, value, "", true, &mut found);
        found
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => {
                let found = self.0.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is missing"));
                self.resolve(found)
            }
            None => schema,
        }
    }

    /// `closed`: keys that the schema does not name are wrong; a part of an `allOf` names only some.
    fn check(&self, schema: &Value, value: &Value, at: &str, closed: bool, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            found.push(format!("{at}: {value} is not one of {}", schema["enum"]));
        }
        if !is_type(&schema["type"], value) {
            found.push(format!("{at}: {value} is not of type {}", schema["type"]));
            return;
        }
        for part in list(&schema["allOf"]) {
            self.check(part, value, at, false, found);
        }
        for choice in ["oneOf", "anyOf"] {
            let tried: Vec<Vec<String>> = list(&schema[choice])
                .iter()
                .map(|option| {
                    let mut wrong = Vec::new();
                    self.check(option, value, at, closed, &mut wrong);
                    wrong
                })
                .collect();
            if !tried.is_empty() && tried.iter().all(|wrong| !wrong.is_empty()) {
                found.extend(tried.into_iter().min_by_key(Vec::len).unwrap_or_default());
            }
        }
        match value {
            Value::Object(fields) => self.check_fields(schema, fields, at, closed, found),
            Value::Array(items) if schema["items"].is_object() => {
                for (i, item) in items.iter().enumerate() {
                    self.check(&schema["items"], item, &format!("{at}/{i}"), true, found);
                }
            }
            _ => {}
        }
    }

    fn check_fields(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &str,
        closed: bool,
        found: &mut Vec<String>,
    ) {
        for name in list(&schema["required"]).iter().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                found.push(format!("{at}/{name} is missing"));
            }
        }
        let named = self.names(schema);
        for (name, value) in fields {
            let at = format!("{at}/{name}");
            let own = &schema["properties"][name];
            if own.is_object() {
                self.check(own, value, &at, true, found);
            } else if schema["additionalProperties"].is_object() {
                self.check(&schema["additionalProperties"], value, &at, true, found);
            } else if closed && !named.is_empty() && !named.contains(name.as_str()) {
                found.push(format!("{at} is not documented"));
            }
        }
    }

    /// Every key that an object of this schema may have; empty where it may have any.
    fn names<'a>(&'a self, schema: &'a Value) -> BTreeSet<&'a str> {
        let schema = self.resolve(schema);
        let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let parts = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(|of| list(&schema[of]));
        own.chain(parts.flat_map(|part| self.names(part))).collect()
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    };
    match wanted {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}
