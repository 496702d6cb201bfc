//! JSON read straight into typed structs that borrow from the body, where a value of the wrong
//! type spoils nothing but its own field, so that the fault can name its place.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fault::{Fault, Limit, step, suggestion};
use crate::num;
use crate::time::Timestamp;

/// What stands at a field's place.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Field<T> {
    /// Nothing, or null.
    #[default]
    Absent,
    Given(T),
    /// Something else, such as "a number".
    Wrong(&'static str),
}

pub type Text<'a> = Cow<'a, str>;

/// A type that JSON can be read as. Each method takes one kind of JSON value; those that a type
/// does not implement refuse.
pub trait Shape<'de>: Sized {
    const EXPECTED: &'static str;

    fn text(_: Text<'de>) -> Option<Self> {
        None
    }

    fn whole(_: u64) -> Option<Self> {
        None
    }

    fn number(_: f64) -> Option<Self> {
        None
    }

    fn boolean(_: bool) -> Option<Self> {
        None
    }

    /// # Errors
    /// The text is not JSON.
    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// # Errors
    /// The text is not JSON.
    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    /// # Errors
    /// The text is not JSON.
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Field<Self>, D::Error> {
        deserializer.deserialize_any(FieldVisitor(PhantomData))
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer)
    }
}

struct FieldVisitor<T>(PhantomData<T>);

fn or_wrong<T>(value: Option<T>, found: &'static str) -> Field<T> {
    value.map_or(Field::Wrong(found), Field::Given)
}

impl<'de, T: Shape<'de>> Visitor<'de> for FieldVisitor<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Field<T>, E> {
        Ok(or_wrong(T::text(Cow::Borrowed(text)), "a text"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Field<T>, E> {
        Ok(or_wrong(T::text(Cow::Owned(text.to_owned())), "a text"))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Field<T>, E> {
        Ok(or_wrong(T::whole(value).or_else(|| T::number(num::float(value))), "a number"))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Field<T>, E> {
        Ok(or_wrong(T::number(num::signed_float(value)), "a negative number"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Field<T>, E> {
        Ok(or_wrong(T::number(value), "a number with a fraction"))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Field<T>, E> {
        Ok(or_wrong(T::boolean(value), if value { "true" } else { "false" }))
    }

    fn visit_unit<E: Error>(self) -> Result<Field<T>, E> {
        Ok(Field::Absent)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field<T>, A::Error> {
        Ok(or_wrong(T::object(map)?, "an object"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Field<T>, A::Error> {
        Ok(or_wrong(T::list(list)?, "a list"))
    }
}

impl<'de> Shape<'de> for Text<'de> {
    const EXPECTED: &'static str = "a text";

    fn text(text: Text<'de>) -> Option<Self> {
        Some(text)
    }
}

impl Shape<'_> for u64 {
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn whole(value: u64) -> Option<Self> {
        Some(value)
    }
}

impl Shape<'_> for f64 {
    const EXPECTED: &'static str = "a number";

    fn number(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl Shape<'_> for bool {
    const EXPECTED: &'static str = "true or false";

    fn boolean(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl<'de, T: Shape<'de>> Shape<'de> for Vec<Field<T>> {
    const EXPECTED: &'static str = "a list";

    fn list<A: SeqAccess<'de>>(mut list: A) -> Result<Option<Self>, A::Error> {
        let mut elements = Self::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Some(elements))
    }
}

/// The entries of an object with free keys, in the order they were sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Entries<'a, T = Text<'a>>(pub Vec<(Text<'a>, Field<T>)>);

impl<'de, T: Shape<'de>> Shape<'de> for Entries<'de, T> {
    const EXPECTED: &'static str = "an object";

    fn object<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            entries.push((key.0, map.next_value()?));
        }
        Ok(Some(Self(entries)))
    }
}

/// Any JSON, as it was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Raw<'a>(pub &'a str);

impl<'de> Shape<'de> for Raw<'de> {
    const EXPECTED: &'static str = "anything";

    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Field<Self>, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(if raw == "null" { Field::Absent } else { Field::Given(Self(raw)) })
    }
}

/// A key of an object; borrowed unless it has escapes.
pub struct Key<'a>(pub Text<'a>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// The first key of an object that does not belong there.
#[derive(Debug, Clone, PartialEq)]
pub enum Stray<'a> {
    Unknown(Text<'a>),
    Twice(&'static str),
}

/// An object with known fields; see [`object!`].
pub trait Object {
    const FIELDS: &'static [&'static str];

    fn stray(&self) -> Option<&Stray<'_>>;

    /// # Errors
    /// The object, which stands at `at`, has a field that it should not have.
    fn strict(&self, at: impl fmt::Display) -> Result<(), Fault> {
        match self.stray() {
            None => Ok(()),
            Some(Stray::Unknown(name)) => {
                let pointer = format_args!("{at}/{}", step(name));
                let known = || format!("unknown field; known are {}", Self::FIELDS.join(", "));
                let near = match &**name {
                    "finished_at" | "timestamp" | "at" if Self::FIELDS.contains(&"time") => {
                        "; did you mean `time`?".to_owned()
                    }
                    name => suggestion(name, Self::FIELDS),
                };
                let detail = match near {
                    near if near.is_empty() => known(),
                    near => format!("unknown field{near}"),
                };
                Err(Fault::new(pointer, detail))
            }
            Some(Stray::Twice(name)) => Err(Fault::new(format_args!("{at}/{name}"), "is given twice: keep one")),
        }
    }
}

/// Writes a struct of [`Field`]s and its reader: `object! { pub struct X<'a> { service: "service" Text<'a>, } }`.
/// The first unknown or repeated key is remembered; other unknown keys are skipped.
macro_rules! object {
    ($($(#[$meta:meta])* pub struct $name:ident<$lt:lifetime> { $($field:ident: $wire:literal $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name<$lt> {
            $(pub $field: $crate::ingest::wire::Field<$type>,)*
            pub stray: Option<$crate::ingest::wire::Stray<$lt>>,
        }

        impl $crate::ingest::wire::Object for $name<'_> {
            const FIELDS: &'static [&'static str] = &[$($wire),*];

            fn stray(&self) -> Option<&$crate::ingest::wire::Stray<'_>> {
                self.stray.as_ref()
            }
        }

        impl<$lt> $crate::ingest::wire::Shape<$lt> for $name<$lt> {
            const EXPECTED: &'static str = "an object";

            fn object<A: serde::de::MapAccess<$lt>>(mut map: A) -> Result<Option<Self>, A::Error> {
                use $crate::ingest::wire::{Field, Key, Stray};
                let mut item = Self::default();
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        $($wire => {
                            if item.$field != Field::Absent {
                                item.stray.get_or_insert(Stray::Twice($wire));
                            }
                            item.$field = map.next_value()?;
                        })*
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                            item.stray.get_or_insert(Stray::Unknown(key));
                        }
                    }
                }
                Ok(Some(item))
            }
        }
    )*};
}
pub(super) use object;

/// Reads one JSON object.
///
/// # Errors
/// A [`Fault`] of the whole item: it is not JSON, nested too deeply, or not an object.
pub fn read<'a, T: Shape<'a>>(raw: &'a str) -> Result<T, Fault> {
    match serde_json::from_str::<Field<T>>(raw) {
        Ok(Field::Given(item)) => Ok(item),
        Ok(Field::Wrong(found)) => Err(Fault::new("", format!("must be {}, not {found}", T::EXPECTED))),
        Ok(Field::Absent) => Err(Fault::new("", format!("must be {}, not null", T::EXPECTED))),
        Err(error) => Err(Fault::malformed(&error)),
    }
}

impl<T> Field<T> {
    /// # Errors
    /// The field, which stands at `at`, holds something else.
    pub fn optional<'de>(self, at: impl fmt::Display) -> Result<Option<T>, Fault>
    where
        T: Shape<'de>,
    {
        match self {
            Self::Absent => Ok(None),
            Self::Given(value) => Ok(Some(value)),
            Self::Wrong(found) => Err(Fault::new(at, format!("must be {}, not {found}", T::EXPECTED))),
        }
    }

    /// `fix` ends the sentence "is missing: …".
    ///
    /// # Errors
    /// The field, which stands at `at`, is missing or holds something else.
    pub fn required<'de>(self, at: impl fmt::Display, fix: &str) -> Result<T, Fault>
    where
        T: Shape<'de>,
    {
        match self {
            Self::Absent => Err(Fault::new(at, format!("is missing: {fix}"))),
            Self::Given(value) => Ok(value),
            Self::Wrong(found) => Err(Fault::new(at, format!("must be {}, not {found}", T::EXPECTED))),
        }
    }
}

impl<'a> Field<Text<'a>> {
    /// An optional text within its limit.
    ///
    /// # Errors
    /// The field, which stands at `at`, holds something else.
    pub fn within(self, at: impl fmt::Display, limit: Limit) -> Result<Option<Text<'a>>, Fault> {
        match self {
            Self::Absent => Ok(None),
            Self::Given(text) => match limit.check(&text) {
                Ok(()) => Ok(Some(text)),
                Err(reason) => Err(Fault::new(at, reason)),
            },
            Self::Wrong(found) => Err(Fault::new(at, format!("must be a string, not {found}"))),
        }
    }

    /// # Errors
    /// The field, which stands at `at`, is missing or holds something else.
    pub fn needed(self, at: impl fmt::Display, limit: Limit, fix: &str) -> Result<Text<'a>, Fault> {
        if self == Self::Absent {
            return Err(Fault::new(at, format!("is missing: {fix}")));
        }
        self.within(&at, limit)?.ok_or_else(|| Fault::new(at, format!("is missing: {fix}")))
    }

    /// An RFC 3339 time.
    ///
    /// # Errors
    /// The field, which stands at `at`, holds something else.
    pub fn moment(self, at: impl fmt::Display) -> Result<Option<Timestamp>, Fault> {
        let text = match self {
            Self::Absent => return Ok(None),
            Self::Given(text) => text,
            Self::Wrong(found) => {
                return Err(Fault::new(at, format!("must be an RFC 3339 time as a string, not {found}")));
            }
        };
        Timestamp::parse(&text)
            .map(Some)
            .map_err(|_| Fault::new(at, "must be an RFC 3339 time with an offset, such as 2026-01-05T10:04:00Z"))
    }
}
