//! JSON documents, one or one a line, and the documents of devices.

use std::borrow::Cow;

use serde_json::Value;

use crate::decode::Decoder;
use crate::plan::{Context, Path, Raw, Record};
use crate::rows::{Code, Fault, Rows};

/// A record within a document.
pub(crate) struct JsonRecord<'a> {
    pub value: &'a Value,
    pub document: &'a Value,
    pub fields: &'a [Path],
}

impl Record for JsonRecord<'_> {
    fn field(&self, field: usize) -> Raw<'_> {
        raw(self.fields.get(field).and_then(|path| path.find(self.value)))
    }

    fn document(&self, field: usize) -> Raw<'_> {
        raw(self.fields.get(field).and_then(|path| path.find(self.document)))
    }
}

fn raw(value: Option<&Value>) -> Raw<'_> {
    match value {
        None => Raw::Missing,
        Some(Value::Null) => Raw::Null,
        Some(Value::Bool(truth)) => Raw::Bool(*truth),
        Some(Value::Number(number)) => match number.as_i64() {
            Some(whole) => Raw::Int(whole),
            None => number.as_f64().map_or(Raw::Null, Raw::Float),
        },
        Some(Value::String(text)) => Raw::Text(text),
        Some(Value::Array(_)) => Raw::Nested("an array"),
        Some(Value::Object(_)) => Raw::Nested("an object"),
    }
}

/// Decodes one document.
pub(crate) fn document(decoder: &Decoder, text: &str, context: &Context<'_>, rows: &mut Rows) {
    let Some(document) = parse(text, rows) else {
        return;
    };
    let records = match &decoder.records {
        None => &document,
        Some(path) => match path.find(&document) {
            Some(found) if found.is_array() => found,
            found => {
                let what = if found.is_some() { "is no array" } else { "is missing" };
                let reason = format!("records \"{}\" {what}", path.text);
                return rows.reject(Fault::new(Code::MissingField, reason), text.as_bytes());
            }
        },
    };
    let fields = &decoder.mapping.fields;
    let Value::Array(items) = records else {
        let record = JsonRecord { value: records, document: &document, fields };
        return decoder.mapping.emit(&record, context, rows, || Cow::Borrowed(text.as_bytes()));
    };
    for value in items {
        let record = JsonRecord { value, document: &document, fields };
        decoder.mapping.emit(&record, context, rows, || Cow::Owned(serde_json::to_vec(value).unwrap_or_default()));
    }
}

/// Decodes a document a line; empty lines are nothing.
pub(crate) fn lines(decoder: &Decoder, text: &str, context: &Context<'_>, rows: &mut Rows) {
    for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        document(decoder, line, context, rows);
    }
}

/// What a device format makes of a document: its records, or none if it is a message without a reading.
type Read = fn(&Value, &Context<'_>, &Decoder) -> Result<Vec<Value>, Fault>;

/// Decodes a device's document.
pub(crate) fn device(decoder: &Decoder, text: &str, context: &Context<'_>, rows: &mut Rows, read: Read) {
    let Some(document) = parse(text, rows) else {
        return;
    };
    let records = match read(&document, context, decoder) {
        Ok(records) => records,
        Err(fault) => return rows.reject(fault, text.as_bytes()),
    };
    if records.is_empty() {
        rows.skip(1);
    }
    for value in &records {
        let record = JsonRecord { value, document: &document, fields: &decoder.mapping.fields };
        decoder.mapping.emit(&record, context, rows, || Cow::Borrowed(text.as_bytes()));
    }
}

fn parse(text: &str, rows: &mut Rows) -> Option<Value> {
    match serde_json::from_str(text) {
        Ok(document) => Some(document),
        Err(error) => {
            rows.reject(Fault::new(Code::NotJson, format!("no JSON: {error}")), text.as_bytes());
            None
        }
    }
}

/// A text at a JSON pointer, for device formats.
pub(crate) fn text_at<'a>(document: &'a Value, pointer: &str) -> Option<&'a str> {
    document.pointer(pointer).and_then(Value::as_str)
}

/// A device's field that must be there.
pub(crate) fn missing(pointer: &str) -> Fault {
    Fault::new(Code::MissingField, format!("field \"{pointer}\" is missing"))
}
