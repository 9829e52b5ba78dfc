use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::Secret;

/// The text of a header line, or the secret in its place.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// As written in the configuration.
    Plain(String),
    /// Kept elsewhere.
    Secret(Secret),
}

impl HeaderText {
    /// The text itself; for the request and nothing else.
    pub(super) fn reveal(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }

    /// The secret, when it is one.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Plain(_) => None,
            Self::Secret(secret) => Some(secret),
        }
    }
}

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextOrSecret)
    }
}

/// Tells text from table by hand, because an untagged enum would swallow the reason ("the variable is not set").
struct TextOrSecret;

impl<'de> Visitor<'de> for TextOrSecret {
    type Value = HeaderText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, or a secret such as { env = \"NAME\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HeaderText, E> {
        Ok(HeaderText::Plain(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HeaderText, A::Error> {
        Secret::deserialize(MapAccessDeserializer::new(map)).map(HeaderText::Secret)
    }
}
