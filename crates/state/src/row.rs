//! A product's row, and what signs and alerts read of it.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::fingerprint::fingerprint;

/// The highest level of an alert.
const MAX_LEVEL: u64 = 3;

/// One row of a product.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductRow {
    /// The tick it speaks of, microseconds since 1970 UTC.
    pub as_of_us: i64,
    /// The product's key columns and their values, in the order of its head.
    pub key: Vec<(String, String)>,
    /// All other columns. Instants are RFC 3339 text or microseconds since 1970 UTC.
    pub values: Map<String, Value>,
}

/// What an alert's row says, read from its columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    /// 0 nothing, 1 yellow, 2 orange, 3 red; `None`: there is no basis to judge by.
    pub level: Option<u8>,
    pub class: Option<String>,
    pub started_at_us: Option<i64>,
    pub reason: Option<String>,
    /// Grows when the size of the matter has clearly grown.
    pub step: i64,
}

/// A key as one text, as in `zone_id=Z1/meter_id=7`. `%`, `/`, `=` and control characters inside are written as `%2F`.
pub fn key_text(key: &[(String, String)]) -> String {
    let mut text = String::new();
    for (column, value) in key {
        if !text.is_empty() {
            text.push('/');
        }
        escape(column, &mut text);
        text.push('=');
        escape(value, &mut text);
    }
    text
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        if !matches!(c, '%' | '/' | '=') && !c.is_control() {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

impl ProductRow {
    /// The same for the same values, and different for others.
    pub(crate) fn fingerprint(&self) -> u64 {
        let texts = self.values.iter().flat_map(|(name, value)| [name.clone(), value.to_string()]);
        let texts: Vec<String> = texts.collect();
        fingerprint(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Reads the columns of an alert.
    ///
    /// # Errors
    /// A sentence about the column that cannot be read.
    pub(crate) fn judgement(&self) -> Result<Judgement, String> {
        let step = match self.present("step") {
            Some(value) => value.as_i64().ok_or_else(|| format!("step is {value}: a whole number or null"))?,
            None => 0,
        };
        Ok(Judgement {
            level: self.level()?,
            class: self.text("class"),
            started_at_us: self.instant("started_at")?,
            reason: self.text("reason"),
            step,
        })
    }

    /// A row that says `cleared` has level 0.
    fn level(&self) -> Result<Option<u8>, String> {
        if self.present("cleared") == Some(&Value::Bool(true)) {
            return Ok(Some(0));
        }
        let Some(value) = self.present("level") else { return Ok(None) };
        let level = value.as_u64().filter(|level| *level <= MAX_LEVEL).and_then(|level| u8::try_from(level).ok());
        level.map(Some).ok_or_else(|| format!("level is {value}: a whole number from 0 to {MAX_LEVEL} or null"))
    }

    /// Column `name` as an instant in microseconds since 1970 UTC; `None` if it is null or not there.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<i64>, String> {
        let wrong = |value: &Value| format!("{name} is {value}: an instant as RFC 3339 or in microseconds, or null");
        match self.present(name) {
            None => Ok(None),
            Some(Value::String(text)) => match text.parse::<jiff::Timestamp>() {
                Ok(at) => Ok(Some(at.as_microsecond())),
                Err(_) => Err(wrong(&Value::String(text.clone()))),
            },
            Some(value) => value.as_i64().map(Some).ok_or_else(|| wrong(value)),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.present(name)?.as_str().map(str::to_owned)
    }

    fn present(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(values: Value) -> ProductRow {
        ProductRow { as_of_us: 0, key: Vec::new(), values: values.as_object().unwrap().clone() }
    }

    fn pair(column: &str, value: &str) -> (String, String) {
        (column.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_are_readable_and_never_the_same_for_two() {
        assert_eq!(key_text(&[pair("zone_id", "Øvre bø"), pair("meter_id", "7")]), "zone_id=Øvre bø/meter_id=7");
        let one = key_text(&[pair("a", "x/b=y"), pair("b", "z")]);
        let other = key_text(&[pair("a", "x"), pair("b", "y/b=z")]);
        assert_eq!(one, "a=x%2Fb%3Dy/b=z");
        assert_ne!(one, other);
    }

    #[test]
    fn the_columns_of_an_alert_are_read() {
        let values =
            json!({"level": 2, "class": "burst", "started_at": "1970-01-01T00:00:01Z", "reason": "r", "step": 4, "q": 1.5});
        let read = row(values).judgement().unwrap();
        let class = Some("burst".to_owned());
        let reason = Some("r".to_owned());
        assert_eq!(read, Judgement { level: Some(2), class, started_at_us: Some(1_000_000), reason, step: 4 });
    }

    #[test]
    fn a_missing_or_null_level_is_no_basis_and_cleared_is_level_0() {
        assert_eq!(row(json!({"level": null})).judgement().unwrap().level, None);
        assert_eq!(row(json!({})).judgement().unwrap().level, None);
        assert_eq!(row(json!({"level": 2, "cleared": true})).judgement().unwrap().level, Some(0));
        assert_eq!(row(json!({"level": 2, "cleared": false})).judgement().unwrap().level, Some(2));
    }

    #[test]
    fn what_is_no_level_is_refused_with_a_sentence() {
        for wrong in [json!({"level": 4}), json!({"level": -1}), json!({"level": 1.5}), json!({"level": "red"})] {
            assert!(row(wrong).judgement().unwrap_err().starts_with("level is "));
        }
        assert!(row(json!({"started_at": "yesterday"})).judgement().unwrap_err().starts_with("started_at is "));
    }

    #[test]
    fn a_fingerprint_is_of_the_values() {
        assert_eq!(row(json!({"a": 1, "b": 2})).fingerprint(), row(json!({"b": 2, "a": 1})).fingerprint());
        assert_ne!(row(json!({"a": 1})).fingerprint(), row(json!({"a": 1.5})).fingerprint());
        assert_ne!(row(json!({"a": "1"})).fingerprint(), row(json!({"a": 1})).fingerprint());
    }
}
