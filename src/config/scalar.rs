//! Parsers of scalars: text, numbers, durations, URLs, choices.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::duration;
use super::error::did_you_mean;
use super::reader::{Parser, Scalar};
use super::tree::Value;

pub(super) fn text(scalar: &Scalar<'_>) -> Result<String, String> {
    match scalar.value {
        Value::Text(text) if text.trim().is_empty() => Err("must not be empty".to_owned()),
        Value::Text(text) => Ok(text.clone()),
        Value::Whole(_) | Value::Number(_) | Value::Boolean(_) => Err("must be a string: put it in quotes".to_owned()),
        other => Err(format!("must be a string, not {}", other.kind())),
    }
}

/// Text that is kept out of logs, errors and excerpts.
pub(super) fn secret(scalar: &Scalar<'_>) -> Result<SecretString, String> {
    scalar.hide();
    text(scalar).map(SecretString::from)
}

pub(super) fn boolean(scalar: &Scalar<'_>) -> Result<bool, String> {
    match (scalar.value, scalar.indirect_text()) {
        (Value::Boolean(value), _) => Ok(*value),
        (_, Some("true")) => Ok(true),
        (_, Some("false")) => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// A whole number of at least `least`.
pub(super) fn whole<T: TryFrom<i64>>(least: i64) -> impl Parser<T> {
    move |scalar| {
        let wanted = || format!("must be a whole number of at least {least}");
        let number = match (scalar.value, scalar.indirect_text()) {
            (Value::Whole(number), _) => *number,
            (_, Some(text)) => text.trim().parse().map_err(|_| wanted())?,
            _ => return Err(wanted()),
        };
        if number < least {
            return Err(wanted());
        }
        T::try_from(number).map_err(|_| "is too large".to_owned())
    }
}

/// A number for which `holds` is true; `wanted` ends the sentence "must …".
pub(super) fn number(holds: fn(f64) -> bool, wanted: &'static str) -> impl Parser<f64> {
    move |scalar| {
        let number = match (scalar.value, scalar.indirect_text()) {
            (Value::Number(number), _) => Some(*number),
            (Value::Whole(number), _) => Some(crate::num::signed_float(*number)),
            (_, Some(text)) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| holds(*number)).ok_or_else(|| format!("must {wanted}"))
    }
}

/// A share strictly between 0 and 1.
pub(super) fn share() -> impl Parser<f64> {
    number(|share| share > 0.0 && share < 1.0, "lie strictly between 0 and 1")
}

/// A duration longer than zero.
pub(super) fn duration(scalar: &Scalar<'_>) -> Result<Duration, String> {
    match wait(scalar)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration that may be zero.
pub(super) fn wait(scalar: &Scalar<'_>) -> Result<Duration, String> {
    match scalar.value {
        Value::Text(text) => duration::parse(text.trim()),
        _ => duration::parse(""),
    }
}

/// Its path may hold a token: it is kept out of excerpts.
pub(super) fn http_url(scalar: &Scalar<'_>) -> Result<Url, String> {
    scalar.hide();
    let wanted = || "must be a URL that begins with http:// or https://".to_owned();
    let url = Url::parse(&text(scalar)?).map_err(|error| format!("{}: {error}", wanted()))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(wanted()) }
}

/// A secret URL that must begin with one of the schemes.
pub(super) fn secret_url(schemes: &'static [&'static str]) -> impl Parser<SecretString> {
    move |scalar| {
        scalar.hide();
        let text = text(scalar)?;
        let known = text.split_once("://").is_some_and(|(scheme, rest)| schemes.contains(&scheme) && !rest.is_empty());
        let wanted = schemes.join(":// or ");
        if known { Ok(SecretString::from(text)) } else { Err(format!("must begin with {wanted}:// and name a place")) }
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Parser<T> {
    move |scalar| {
        let words = || choices.iter().map(|(word, _)| *word);
        let text = match scalar.value {
            Value::Text(text) => text.clone(),
            Value::Whole(number) => number.to_string(),
            _ => String::new(),
        };
        let choice = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        choice.ok_or_else(|| {
            let hint = did_you_mean(&text, words());
            format!("must be one of {}{hint}", words().collect::<Vec<_>>().join(", "))
        })
    }
}
