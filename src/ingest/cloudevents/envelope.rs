//! The attributes of a CloudEvent, checked as version 1.0 has them.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::ingest::fault::{Fault, ID, NAME, SOURCE, URL};
use crate::ingest::native::Context;
use crate::ingest::percent;
use crate::ingest::wire::{Entries, Field, Raw, Text, read};
use crate::time::Timestamp;

/// Attributes that are texts, whatever the format could also hold.
const TEXTS: [&str; 8] = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// An event's attributes, those of extensions included, in the order they were sent.
#[derive(Debug, Default)]
pub struct Attributes<'a>(Vec<(Text<'a>, Field<Text<'a>>)>);

/// The body of an event.
#[derive(Debug)]
pub enum Data<'a> {
    Missing,
    /// JSON, or what claims to be.
    Json(Text<'a>),
    /// Of another content type.
    Other(Text<'a>),
    /// Not of the encoding that it claims to have, and why.
    Spoilt(Fault),
}

/// A valid event.
#[derive(Debug)]
pub struct Envelope<'a> {
    pub id: Text<'a>,
    pub source: Text<'a>,
    pub kind: Text<'a>,
    pub time: Option<Timestamp>,
    pub data: Data<'a>,
}

impl<'a> Attributes<'a> {
    /// Of the headers `ce-…`; the names are given without the prefix.
    ///
    /// # Errors
    /// A [`Fault`] that names the attribute which cannot be decoded.
    pub fn of_headers<'h>(headers: impl Iterator<Item = (&'h str, &'h [u8])>) -> Result<Self, Fault> {
        let decoded = headers.map(|(name, value)| {
            let at = format!("/{name}");
            let text = std::str::from_utf8(value).ok().filter(|value| value.is_ascii());
            let text = text.ok_or_else(|| Fault::new(&at, "must be percent-encoded: it is not ASCII"))?;
            let value =
                percent::decode(&unquoted(text)).ok_or_else(|| Fault::new(&at, "is percent-encoded, but not UTF-8"))?;
            Ok((Text::Owned(name.to_owned()), Field::Given(Text::Owned(value))))
        });
        decoded.collect::<Result<_, _>>().map(Self)
    }

    fn take(&mut self, name: &str) -> Field<Text<'a>> {
        let at = self.0.iter().position(|attribute| attribute.0 == name);
        at.map_or(Field::Absent, |at| self.0.swap_remove(at).1)
    }

    /// Checks everything but the data.
    ///
    /// # Errors
    /// A [`Fault`] that names the attribute which is missing or wrong.
    pub fn check(mut self, context: &Context<'_>) -> Result<(Envelope<'a>, Option<Text<'a>>), Fault> {
        self.well_formed()?;
        let version = self.take("specversion").needed("/specversion", NAME, "give 1.0")?;
        if version != "1.0" {
            return Err(Fault::new("/specversion", "must be 1.0"));
        }
        let id = self.take("id").needed("/id", ID, "an event is known by source and id")?;
        let source = self.take("source").needed("/source", SOURCE, "an event is known by source and id")?;
        is_reference(&source).map_err(|reason| Fault::new("/source", reason))?;
        let kind = self.take("type").needed("/type", ID, "what happened?")?;
        let time = context.moment("/time", self.take("time"))?;
        self.take("subject").within("/subject", URL)?;
        if let Some(schema) = self.take("dataschema").within("/dataschema", URL)?
            && url::Url::parse(&schema).is_err()
        {
            return Err(Fault::new("/dataschema", "must be an absolute URI"));
        }
        let content_type = self.take("datacontenttype").within("/datacontenttype", NAME)?;
        if content_type.as_ref().is_some_and(|named| media_type(named).is_none()) {
            return Err(Fault::new("/datacontenttype", "must be a media type, such as application/json"));
        }
        Ok((Envelope { id, source, kind, time, data: Data::Missing }, content_type))
    }

    /// What holds for every attribute, those of extensions included.
    fn well_formed(&self) -> Result<(), Fault> {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let at = format!("/{}", crate::ingest::fault::step(name));
            if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) || name.is_empty() {
                return Err(Fault::new(at, "is no name of an attribute: those have a-z and 0-9 only"));
            }
            if self.0.iter().take(index).any(|earlier| earlier.0 == *name) {
                return Err(Fault::new(at, "is given twice: keep one"));
            }
            match value {
                Field::Given(text) if text.chars().any(char::is_control) => {
                    return Err(Fault::new(at, "has control characters: remove them"));
                }
                Field::Wrong(found) => {
                    return Err(Fault::new(at, format!("must be a string, not {found}")));
                }
                Field::Given(_) | Field::Absent => {}
            }
        }
        Ok(())
    }
}

impl<'a> Envelope<'a> {
    /// An event whose data is the body of its request.
    ///
    /// # Errors
    /// A [`Fault`] that names the attribute which is missing or wrong.
    pub fn binary(
        mut attributes: Attributes<'a>,
        content_type: Option<&'a str>,
        body: &'a [u8],
        context: &Context<'_>,
    ) -> Result<Self, Fault> {
        if attributes.take("datacontenttype") != Field::Absent {
            return Err(Fault::new(
                "/datacontenttype",
                "is the header Content-Type here: leave ce-datacontenttype out",
            ));
        }
        if let Some(named) = content_type {
            attributes.0.push(("datacontenttype".into(), Field::Given(named.into())));
        }
        let (envelope, named) = attributes.check(context)?;
        let data = if body.is_empty() { Data::Missing } else { of_bytes(named, body) };
        Ok(Self { data, ..envelope })
    }

    /// An event that is one JSON object.
    ///
    /// # Errors
    /// A [`Fault`] that names the attribute which is missing or wrong.
    pub fn structured(raw: &'a str, context: &Context<'_>) -> Result<Self, Fault> {
        let Entries(entries) = read::<Entries<'a, Raw<'a>>>(raw)?;
        let (mut data, mut encoded, mut attributes) = (Field::Absent, Field::Absent, Attributes::default());
        for (name, value) in entries {
            match &*name {
                "data" => data = value,
                "data_base64" => encoded = text(&value),
                name if TEXTS.contains(&name) => attributes.0.push((Text::Owned(name.to_owned()), text(&value))),
                _ => attributes.0.push((name, scalar(&value))),
            }
        }
        let (envelope, named) = attributes.check(context)?;
        let encoded = encoded.optional("/data_base64")?;
        let data = match (data, encoded) {
            (Field::Given(_), Some(_)) => {
                return Err(Fault::new("/data_base64", "excludes `data`: keep one of them"));
            }
            (_, Some(encoded)) => {
                let bytes = STANDARD.decode(encoded.as_bytes());
                let bytes = bytes.map_err(|error| Fault::new("/data_base64", format!("is not base64: {error}")))?;
                owned(of_bytes(named, &bytes))
            }
            (Field::Given(Raw(data)), None) => match named {
                Some(named) if !is_json(&named) => Data::Other(named),
                _ => Data::Json(data.into()),
            },
            (_, None) => Data::Missing,
        };
        Ok(Self { data, ..envelope })
    }

    /// The data of an event that DevPulse understands.
    ///
    /// # Errors
    /// There is none, or it is not JSON.
    pub fn json(&self) -> Result<&str, Fault> {
        match &self.data {
            Data::Json(text) => Ok(text),
            Data::Missing => Err(Fault::new("/data", "is missing: such an event has its body there")),
            Data::Other(named) => {
                let short: String = named.chars().take(80).collect();
                Err(Fault::new("/datacontenttype", format!("is {short}: events of this type have JSON")))
            }
            Data::Spoilt(fault) => Err(fault.clone()),
        }
    }
}

impl Envelope<'_> {
    /// The whole event as JSON, whichever way it came.
    ///
    /// # Errors
    /// Its data is no JSON.
    pub fn kept(&self) -> Result<String, Fault> {
        let data: &RawValue =
            serde_json::from_str(self.json()?).map_err(|error| Fault::new("/data", format!("is not JSON: {error}")))?;
        let whole = Kept {
            specversion: "1.0",
            id: &self.id,
            source: &self.source,
            kind: &self.kind,
            time: self.time,
            datacontenttype: "application/json",
            data,
        };
        serde_json::to_string(&whole).map_err(|error| Fault::new("", format!("cannot be kept: {error}")))
    }
}

#[derive(Serialize)]
struct Kept<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

/// The data of bytes; without a content type nothing is assumed of them, but that JSON looks like JSON.
fn of_bytes<'a>(named: Option<Text<'a>>, bytes: &'a [u8]) -> Data<'a> {
    match named {
        Some(named) if !is_json(&named) => Data::Other(named),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Data::Json(text.into()),
            Err(_) => Data::Spoilt(Fault::new("/data", "is not UTF-8")),
        },
    }
}

fn owned<'a>(data: Data<'_>) -> Data<'a> {
    match data {
        Data::Missing => Data::Missing,
        Data::Json(text) => Data::Json(Text::Owned(text.into_owned())),
        Data::Other(named) => Data::Other(Text::Owned(named.into_owned())),
        Data::Spoilt(fault) => Data::Spoilt(fault),
    }
}

fn text<'a>(value: &Field<Raw<'a>>) -> Field<Text<'a>> {
    let Field::Given(Raw(raw)) = value else { return Field::Absent };
    serde_json::from_str(raw).unwrap_or(Field::Wrong("a text that is no text"))
}

/// The canonical text of a JSON value that an extension's attribute can have.
fn scalar<'a>(value: &Field<Raw<'a>>) -> Field<Text<'a>> {
    let Field::Given(Raw(raw)) = value else { return Field::Absent };
    match raw.as_bytes().first() {
        Some(b't' | b'f') => Field::Given((*raw).into()),
        _ if raw.parse::<i32>().is_ok() => Field::Given((*raw).into()),
        _ => text(value),
    }
}

/// Type and subtype, in lower case and without parameters.
pub fn media_type(content_type: &str) -> Option<String> {
    let name = content_type.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = name.split_once('/')?;
    let token = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    (token(kind) && token(subtype)).then_some(name)
}

fn is_json(content_type: &str) -> bool {
    media_type(content_type).is_some_and(|name| name.ends_with("/json") || name.ends_with("+json"))
}

/// A URI reference has none of the characters that RFC 3986 keeps out.
fn is_reference(text: &str) -> Result<(), &'static str> {
    let kept_out = |c: char| {
        c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | '{' | '}' | '|' | '\\' | '^' | '`')
    };
    if text.contains(kept_out) {
        return Err("must be a URI reference, without blanks and the like: percent-encode them");
    }
    Ok(())
}

/// RFC 7230, section 3.2.6, which older senders use.
fn unquoted(value: &str) -> String {
    let (mut plain, mut inside, mut escaped) = (String::with_capacity(value.len()), false, false);
    for c in value.chars() {
        match c {
            '\\' if inside && !escaped => escaped = true,
            '"' if !escaped => inside = !inside,
            _ => {
                plain.push(c);
                escaped = false;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_off() {
        for (value, plain) in [("a b", "a b"), (r#""a b""#, "a b"), (r#""a \"b\" \\""#, r#"a "b" \"#), (r"a\b", r"a\b")]
        {
            assert_eq!(unquoted(value), plain);
        }
    }

    #[test]
    fn media_types_are_told_from_other_texts() {
        assert!(is_json("Application/JSON; charset=utf-8") && is_json("application/vnd.acme+json"));
        assert!(!is_json("text/plain") && !is_json("json"));
        assert_eq!((media_type("json"), media_type("a/b/c"), media_type("/")), (None, None, None));
    }
}
