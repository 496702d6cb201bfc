//! YAML as a tree in which every value knows its line and column.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::error::{Finding, Place};
use super::excerpt::is_name;

/// Where something stands: 1-based line and column, and its length, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub mark: Mark,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_mark: Mark,
    pub node: Node,
}

impl Value {
    /// What it is, for messages.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Boolean(_) => "true or false",
            Self::Whole(_) | Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads one document. A file of comments only is an empty map.
pub(super) fn parse(text: &str) -> Result<Node, Finding> {
    let blank = |line: &str| line.trim_start().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(blank) {
        let mark = Mark { line: 1, column: 1, length: 0 };
        return Ok(Node { mark, value: Value::Map(Vec::new()) });
    }
    // `off` is a word here (the mode of a policy), as YAML 1.2 has it.
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let parsed = serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options);
    let spanned = parsed.map_err(|error| syntax_error(&error))?;
    Ok(spanned.into())
}

fn syntax_error(error: &serde_saphyr::Error) -> Finding {
    let bare = error.without_snippet();
    let place = bare.location().map_or(Place::File, |location| Place::Mark(mark(location)));
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = bare {
        let key = key.clone().filter(|key| is_name(key)).unwrap_or_default();
        return Finding { place, message: "is given twice in the same map".to_owned(), key };
    }
    // The location is part of the text as well; it is said once, in front.
    let message = bare.to_string();
    let message = message.lines().next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message);
    Finding { place, key: String::new(), message: without_quotations(message) }
}

/// What a message quotes from the file may be a secret.
fn without_quotations(message: &str) -> String {
    let mut out = String::new();
    let mut rest = message;
    while let Some((before, quote, after)) = rest.find(['`', '"', '\'']).and_then(|at| {
        let (before, quoted) = rest.split_at(at);
        let quote = quoted.chars().next()?;
        let end = quoted.rfind(quote).filter(|end| *end > 0)?;
        Some((before, quote, quoted.get(end + quote.len_utf8()..)?))
    }) {
        out.push_str(before);
        out.extend([quote, '…', quote]);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn mark(location: Location) -> Mark {
    let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Mark {
        line: whole(location.line()),
        column: whole(location.column()),
        length: usize::try_from(location.span().len()).unwrap_or(0),
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { mark: mark(spanned.referenced), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Value>>()? {
            list.push(item.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node = access.next_value::<Spanned<Value>>()?.into();
            entries.push(Entry { key_mark: mark(key.referenced), key: key.value, node });
        }
        Ok(Value::Map(entries))
    }
}
