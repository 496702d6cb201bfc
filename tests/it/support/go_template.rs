//! As much of Go's `text/template` and of sprig as the shipped template of Argo CD uses: fields,
//! `toJson`, `pick`, `range $i, $x := …`, `if $i`, `end`. What is not there is nil, as in Go.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

type Scope = BTreeMap<String, Value>;

enum Node {
    Text(String),
    Action(String),
    Range { index: String, item: String, list: String, body: Vec<Node> },
    If { condition: String, body: Vec<Node> },
}

pub fn render(template: &str, data: &Value) -> String {
    let mut parts = template.split("{{");
    let mut tokens = vec![(false, parts.next().unwrap().to_owned())];
    for part in parts {
        let (action, text) = part.split_once("}}").expect("an action that ends");
        tokens.extend([(true, action.trim().to_owned()), (false, text.to_owned())]);
    }
    let mut tokens = tokens.into_iter();
    let nodes = parse(&mut tokens);
    assert!(tokens.next().is_none(), "an `end` too many");
    let mut out = String::new();
    write(&nodes, &Scope::from([(String::new(), data.clone())]), &mut out);
    out
}

/// Up to the next `end`, or the end.
fn parse(tokens: &mut impl Iterator<Item = (bool, String)>) -> Vec<Node> {
    let mut nodes = Vec::new();
    while let Some((is_action, token)) = tokens.next() {
        let words: Vec<&str> = token.split_whitespace().collect();
        nodes.push(match (is_action, words.as_slice()) {
            (false, _) => Node::Text(token),
            (true, ["end"]) => return nodes,
            (true, ["if", condition]) => Node::If { condition: (*condition).to_owned(), body: parse(tokens) },
            (true, ["range", index, item, ":=", list]) => Node::Range {
                index: index.trim_end_matches(',').to_owned(),
                item: (*item).to_owned(),
                list: (*list).to_owned(),
                body: parse(tokens),
            },
            (true, _) => Node::Action(token),
        });
    }
    nodes
}

fn write(nodes: &[Node], scope: &Scope, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Action(action) => match action.strip_prefix("toJson ") {
                Some(argument) => out.push_str(&value(argument, scope).to_string()),
                None => out.push_str(value(action, scope).as_str().expect("a text")),
            },
            Node::If { condition, body } => {
                if value(condition, scope) != 0 {
                    write(body, scope, out);
                }
            }
            Node::Range { index, item, list, body } => {
                for (i, element) in value(list, scope).as_array().into_iter().flatten().enumerate() {
                    let mut inner = scope.clone();
                    inner.extend([(index.clone(), i.into()), (item.clone(), element.clone())]);
                    write(body, &inner, out);
                }
            }
        }
    }
}

fn value(expression: &str, scope: &Scope) -> Value {
    let expression = expression.trim();
    if let Some(call) = expression.strip_prefix("(pick ").and_then(|rest| rest.strip_suffix(')')) {
        let mut words = call.split_whitespace();
        let from = value(words.next().unwrap(), scope);
        let keys = words.map(|word| word.trim_matches('"').to_owned());
        let picked: Map<String, Value> = keys.filter_map(|key| Some((key.clone(), from.get(&key)?.clone()))).collect();
        return Value::Object(picked);
    }
    assert!(!expression.contains([' ', '(']), "more than this knows of templates: {expression}");
    let (variable, path) = expression.split_once('.').unwrap_or((expression, ""));
    let start = scope.get(variable).unwrap_or_else(|| panic!("{variable} is not defined")).clone();
    let fields = path.split('.').filter(|field| !field.is_empty());
    fields.fold(start, |value, field| value.get(field).cloned().unwrap_or(Value::Null))
}
