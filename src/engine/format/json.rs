//! The JSON objects of the Amazon Kinesis Agent, as far as they matter. Reads no field's content.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::event::Event;
use crate::engine::reason::Reason;

/// The fields of an Apache line by the names of the agent, in its order; the first [`COMMON`] are those of the common
/// format (`ApacheLogParser.COMBINED_LOG_FIELDS` of the agent's source).
pub const FIELDS: [&str; 9] =
    ["host", "ident", "authuser", "datetime", "request", "response", "bytes", "referer", "agent"];

/// How many fields a line of the common format has.
pub const COMMON: usize = 7;

/// What ADDMETADATA wrapped.
#[derive(Debug)]
pub(super) enum Data<'l> {
    Fields(Fields<'l>),
    Text(Cow<'l, str>),
}

/// An object, perhaps with metadata around what it is about.
#[derive(Debug, Default)]
pub(super) struct Object<'l> {
    pub(super) fields: Fields<'l>,
    pub(super) data: Option<Data<'l>>,
}

/// The values of [`FIELDS`].
#[derive(Debug, Default)]
pub(super) struct Fields<'l>([Value<'l>; FIELDS.len()]);

#[derive(Clone, Debug, Default)]
enum Value<'l> {
    #[default]
    Missing,
    Null,
    Text(Cow<'l, str>),
}

impl Object<'_> {
    /// Whether the agent may have written it.
    pub(super) fn is_of_agent(&self) -> bool {
        self.data.is_some() || self.fields.count().is_some()
    }
}

impl Fields<'_> {
    /// Puts the line together again in `line`, and says whether it is a combined one; `None` if fields are missing.
    pub(super) fn put_together(&self, line: &mut Vec<u8>) -> Option<bool> {
        const BEFORE: [&str; FIELDS.len()] = ["", " ", " ", " [", "] \"", "\" ", " ", " \"", "\" \""];
        let count = self.count()?;
        line.clear();
        for (before, value) in BEFORE.iter().zip(&self.0).take(count) {
            line.extend_from_slice(before.as_bytes());
            line.extend_from_slice(value.in_line(*before == BEFORE[2]));
        }
        let agents = count > COMMON;
        if agents {
            line.push(b'"');
        }
        Some(agents)
    }

    /// Why `event`, which was read from the line of these fields, has another field than they; nothing if it has not.
    pub(super) fn first_that_differs(&self, event: &Event<'_>) -> Option<Reason> {
        let raw = &event.raw;
        let response = event.response.map(|response| response.to_string());
        let response = response.as_deref().unwrap_or("-").as_bytes();
        let read = [
            (raw.host, Reason::Host),
            (raw.ident, Reason::Literal),
            (raw.authuser, Reason::User),
            (raw.datetime, Reason::Time),
            (raw.request, Reason::Quote),
            (Some(response), Reason::Response),
            (raw.bytes, Reason::Number),
            (raw.referer, Reason::Quote),
            (raw.agent, Reason::Quote),
        ];
        let differs = |(value, read): (&Value<'_>, Option<&[u8]>)| match value {
            Value::Missing => false,
            Value::Null | Value::Text(_) => read != Some(value.in_line(false)),
        };
        let mut pairs = self.0.iter().zip(read);
        pairs.find(|&(value, (read, _))| differs((value, read))).map(|(_, (_, reason))| reason)
    }

    /// How many fields there are: those of the common or the combined format, or none.
    fn count(&self) -> Option<usize> {
        let missing = |value: &&Value<'_>| matches!(value, Value::Missing);
        let (common, agents) = self.0.split_at(COMMON);
        match (common.iter().filter(missing).count(), agents.iter().filter(missing).count()) {
            (0, 0) => Some(FIELDS.len()),
            (0, 2) => Some(COMMON),
            _ => None,
        }
    }
}

impl Value<'_> {
    /// As Apache wrote it; an empty `user` as two quotes.
    fn in_line(&self, user: bool) -> &[u8] {
        match self {
            Self::Missing | Self::Null => b"-",
            Self::Text(text) if user && text.is_empty() => b"\"\"",
            Self::Text(text) => text.as_bytes(),
        }
    }
}

/// A key that is known.
enum Key {
    Field(usize),
    Data,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                let field = FIELDS.iter().position(|field| *field == name);
                Ok(field.map_or(if name == "data" { Key::Data } else { Key::Other }, Key::Field))
            }
        }
        from.deserialize_identifier(Name)
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for Object<'l> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some(key) = entries.next_key()? {
                    match key {
                        Key::Field(index) => {
                            let Some(field @ Value::Missing) = object.fields.0.get_mut(index) else {
                                return Err(A::Error::custom("a field stands there twice"));
                            };
                            *field = entries.next_value()?;
                        }
                        Key::Data if object.data.is_some() => {
                            return Err(A::Error::custom("data stands there twice"));
                        }
                        Key::Data => object.data = Some(entries.next_value()?),
                        Key::Other => _ = entries.next_value::<IgnoredAny>()?,
                    }
                }
                Ok(object)
            }
        }
        from.deserialize_map(Entries)
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for Value<'l> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrNull;
        impl<'de> Visitor<'de> for TextOrNull {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or null")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
                Ok(Value::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Value<'de>, E> {
                Ok(Value::Null)
            }
        }
        from.deserialize_any(TextOrNull)
    }
}

impl<'de: 'l, 'l> Deserialize<'de> for Data<'l> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrObject;
        impl<'de> Visitor<'de> for TextOrObject {
            type Value = Data<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an object")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Data<'de>, E> {
                Ok(Data::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Data<'de>, E> {
                Ok(Data::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Data<'de>, A::Error> {
                match Object::deserialize(MapAccessDeserializer::new(entries))? {
                    Object { fields, data: None } => Ok(Data::Fields(fields)),
                    Object { data: Some(_), .. } => Err(A::Error::custom("data within data")),
                }
            }
        }
        from.deserialize_any(TextOrObject)
    }
}
