//! JSON of wmbusmeters. Its fields are kept, with our names added: `meter_id` (the name given to the meter, which stays when
//! the meter is exchanged), `serial` (the radio's own number), `register_m3`, `observed_at`.

use serde_json::{Value, json};

use super::json::{missing, text_at};
use crate::decode::Decoder;
use crate::plan::Context;
use crate::rows::{Code, Fault};
use crate::time;

/// What the records offer under the names of our columns.
pub(crate) const OFFERED: &[&str] = &["meter_id", "observed_at", "register_m3", "serial", "status"];

/// Meters send 127 degrees for "not measured".
const NO_TEMPERATURE: f64 = 127.0;
/// Times before this (2000-01-01) are the placeholder 1111-11-11 of a receiver without a clock.
const PLACEHOLDER_BEFORE_US: i64 = 946_684_800_000_000;

/// The record of a telegram.
pub(crate) fn read(document: &Value, context: &Context<'_>, _decoder: &Decoder) -> Result<Vec<Value>, Fault> {
    let Value::Object(fields) = document else {
        return Err(Fault::new(Code::NotAReading, "no telegram of wmbusmeters: not an object"));
    };
    let serial = text_at(document, "/id").ok_or_else(|| missing("id"))?;
    let mut record = fields.clone();
    for (name, value) in &mut record {
        if name.contains("temperature") && value.as_f64() == Some(NO_TEMPERATURE) {
            *value = Value::Null;
        }
    }
    record.insert("meter_id".to_owned(), json!(text_at(document, "/name").unwrap_or(serial)));
    record.insert("serial".to_owned(), json!(serial));
    record.insert("observed_at".to_owned(), json!(observed_at(document, context)?));
    if let Some(total) = fields.get("total_m3") {
        record.insert("register_m3".to_owned(), total.clone());
    }
    if let Some(status) = fields.get("status").or_else(|| fields.get("current_status")) {
        record.insert("status".to_owned(), status.clone());
    }
    Ok(vec![Value::Object(record)])
}

fn observed_at(document: &Value, context: &Context<'_>) -> Result<i64, Fault> {
    let text = text_at(document, "/timestamp").ok_or_else(|| missing("timestamp"))?;
    let at = time::instant(text).map_err(|why| Fault::new(Code::BadTime, format!("timestamp {why}")))?;
    Ok(if at < PLACEHOLDER_BEFORE_US { context.received_at_us } else { at })
}
