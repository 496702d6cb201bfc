//! One body, many items: a single object, an array, or a line each. No item is read here.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A body of which no item can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the body is empty: send an event as a JSON object, an array of them, or one per line")]
    Empty,
    #[error("the body is not JSON: {0}")]
    Malformed(String),
    #[error("the body is neither a JSON object, nor an array, nor one object per line")]
    NoObject,
    #[error("the body is not a JSON array")]
    NoArray,
    #[error("none of the {lines} lines is JSON; the first {first}")]
    NoLine { lines: usize, first: String },
    #[error("the body has more than {limit} events: send them in several requests, or raise `ingest.max_items`")]
    TooMany { limit: usize },
}

/// The items of a body, as they were sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Items<'a> {
    One(&'a str),
    Array(Vec<&'a str>),
    Lines(Vec<&'a str>),
}

impl<'a> Items<'a> {
    pub fn as_slice(&self) -> &[&'a str] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Array(items) | Self::Lines(items) => items,
        }
    }
}

/// Splits the body; `lines` where the sender declared one event per line, else it is found out.
///
/// # Errors
/// [`Unreadable`].
pub fn split(body: &str, lines: bool, limit: usize) -> Result<Items<'_>, Unreadable> {
    let body = body.strip_prefix('\u{feff}').unwrap_or(body).trim_ascii();
    if body.is_empty() {
        return Err(Unreadable::Empty);
    }
    if lines {
        return split_lines(body, limit);
    }
    match body.as_bytes().first() {
        Some(b'[') => split_array(body, limit),
        Some(b'{') => split_object(body, limit),
        _ => Err(Unreadable::NoObject),
    }
}

/// The items of a body that must be an array.
///
/// # Errors
/// [`Unreadable`].
pub fn batch(body: &str, limit: usize) -> Result<Vec<&str>, Unreadable> {
    match split(body, false, limit) {
        Ok(Items::Array(items)) => Ok(items),
        Ok(_) | Err(Unreadable::NoObject) => Err(Unreadable::NoArray),
        Err(error) => Err(error),
    }
}

/// One object, or several on a line each.
fn split_object(body: &str, limit: usize) -> Result<Items<'_>, Unreadable> {
    // The usual case of many lines is seen without reading the first object twice.
    if let Some((first, rest)) = body.split_once('\n')
        && first.trim_ascii_end().ends_with('}')
        && rest.trim_ascii_start().starts_with('{')
    {
        return split_lines(body, limit);
    }
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(value)) if body.get(values.byte_offset()..).is_none_or(|rest| rest.trim_ascii().is_empty()) => {
            Ok(Items::One(value.get()))
        }
        Some(Ok(_)) => split_lines(body, limit),
        Some(Err(error)) => Err(Unreadable::Malformed(error.to_string())),
        None => Err(Unreadable::Empty),
    }
}

fn split_lines(body: &str, limit: usize) -> Result<Items<'_>, Unreadable> {
    let mut items = Vec::new();
    for line in body.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()) {
        if items.len() == limit {
            return Err(Unreadable::TooMany { limit });
        }
        items.push(line);
    }
    Ok(Items::Lines(items))
}

fn split_array(body: &str, limit: usize) -> Result<Items<'_>, Unreadable> {
    let mut reader = serde_json::Deserializer::from_str(body);
    let malformed = |error: serde_json::Error| Unreadable::Malformed(error.to_string());
    let items = reader.deserialize_seq(ArrayVisitor { limit }).map_err(malformed)?;
    let items = items.ok_or(Unreadable::TooMany { limit })?;
    reader.end().map_err(malformed)?;
    Ok(Items::Array(items))
}

struct ArrayVisitor {
    limit: usize,
}

impl<'de> Visitor<'de> for ArrayVisitor {
    /// `None`: more items than the limit.
    type Value = Option<Vec<&'de str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<&'de RawValue>()? {
            if items.len() < self.limit {
                items.push(item.get());
            } else {
                while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
        }
        Ok(Some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_told_apart() {
        assert_eq!(split(" {\"a\":\n1} \n", false, 9), Ok(Items::One("{\"a\":\n1}")));
        assert_eq!(split("\u{feff}[{\"a\":1}, 2]", false, 9), Ok(Items::Array(vec!["{\"a\":1}", "2"])));
        assert_eq!(split("{\"a\":1}\r\n\n{\"b\":2}\n", false, 9), Ok(Items::Lines(vec!["{\"a\":1}", "{\"b\":2}"])));
        assert_eq!(split("{\"a\":1}", true, 9), Ok(Items::Lines(vec!["{\"a\":1}"])));
        assert_eq!(split("{\"a\":1}\nnonsense", false, 9), Ok(Items::Lines(vec!["{\"a\":1}", "nonsense"])));
        assert_eq!(split("[]", false, 9), Ok(Items::Array(vec![])));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        assert_eq!(split(" \n", false, 9), Err(Unreadable::Empty));
        assert_eq!(split("42", false, 9), Err(Unreadable::NoObject));
        assert!(matches!(split("[{\"a\":1},{\"a\"", false, 9), Err(Unreadable::Malformed(_))));
        assert!(matches!(split("[1] 2", false, 9), Err(Unreadable::Malformed(_))));
        assert!(matches!(split("{\"a\":", false, 9), Err(Unreadable::Malformed(_))));
    }

    #[test]
    fn a_batch_is_an_array() {
        assert_eq!(batch(" [{},1]", 9), Ok(vec!["{}", "1"]));
        for body in ["{}", "{}\n{}", "42"] {
            assert_eq!(batch(body, 9), Err(Unreadable::NoArray), "{body}");
        }
        assert_eq!(batch("", 9), Err(Unreadable::Empty));
    }

    #[test]
    fn items_are_limited() {
        assert_eq!(split("[1,2,3]", false, 2), Err(Unreadable::TooMany { limit: 2 }));
        assert_eq!(split("1\n2\n3", true, 2), Err(Unreadable::TooMany { limit: 2 }));
        assert!(split("1\n2\n", true, 2).is_ok());
    }

    #[test]
    fn nesting_does_not_overflow() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(split(&deep, false, 9).is_ok());
        assert!(split(&"[".repeat(1_000_000), false, 9).is_err());
        assert!(split(&"{\"a\":".repeat(1_000_000), false, 9).is_err());
    }
}
