//! Axis Object Analytics over MQTT. One scenario is one line in one direction; a message carries running totals since
//! `startTime`, as text. A message with a `reason` is a crossing of that class; one with a total but without a reason is an
//! occupancy, with a number for each class.

use serde_json::{Value, json};

use super::json::{missing, text_at};
use crate::decode::Decoder;
use crate::plan::Context;
use crate::rows::{Code, Fault};
use crate::time;

/// What the records offer; `scenario` is the name given on the camera's page, or the last part of the topic.
pub(crate) const OFFERED: &[&str] = &[
    "device_id",
    "line",
    "area",
    "vehicle_class",
    "event_id",
    "observed_at",
    "class_total",
    "line_total",
    "counting_since",
    "epoch",
    "occupied",
    "scenario",
];

/// Keys of an occupancy message that are classes, with ours.
const CLASSES: &[(&str, &str)] = &[
    ("car", "car"),
    ("truck", "truck"),
    ("bus", "bus"),
    ("motorcycle/bicycle", "two_wheeler"),
    ("human", "person"),
    ("otherVehicle", "vehicle"),
    ("unknown", "unknown"),
];

/// The records of a message.
pub(crate) fn read(document: &Value, context: &Context<'_>, _decoder: &Decoder) -> Result<Vec<Value>, Fault> {
    let data = document.pointer("/message/data").ok_or_else(|| missing("/message/data"))?;
    let at = document.get("timestamp").and_then(Value::as_i64).ok_or_else(|| missing("timestamp"))?;
    let observed_at = at.checked_mul(1000).ok_or_else(|| Fault::new(Code::BadTime, format!("timestamp {at} is no date")))?;
    let last_part = document.get("topic").and_then(Value::as_str).or_else(|| context.label("topic"));
    let place = last_part.and_then(|topic| topic.rsplit('/').next()).unwrap_or_default();
    let base = json!({
        "device_id": text_at(document, "/serial"),
        "line": place,
        "area": place,
        "scenario": data.get("scenario").and_then(Value::as_str).unwrap_or(place),
        "observed_at": observed_at,
    });
    match (data.get("reason").and_then(Value::as_str), data.get("total")) {
        (Some(reason), Some(total)) => Ok(vec![crossing(base, data, reason, total)?]),
        (None, Some(total)) => occupancy(&base, data, total),
        _ => Err(Fault::new(Code::NotAReading, "neither a line crossing nor an occupancy: no \"total\"")),
    }
}

fn crossing(mut record: Value, data: &Value, reason: &str, total: &Value) -> Result<Value, Fault> {
    let line_total = count(total, "total")?;
    record["vehicle_class"] = json!(class(reason));
    record["event_id"] = json!(line_total.to_string());
    record["line_total"] = json!(line_total);
    let key = total_key(reason);
    if let Some(of_class) = data.get(key.as_str()) {
        record["class_total"] = json!(count(of_class, &key)?);
    }
    if let Some(start) = data.get("startTime").and_then(Value::as_str) {
        let since = time::instant(start).map_err(|why| Fault::new(Code::BadTime, format!("startTime {start} {why}")))?;
        record["counting_since"] = json!(since);
        record["epoch"] = json!(start);
    }
    Ok(record)
}

/// A record for each class in the message, or one of vehicles if it names no class.
fn occupancy(base: &Value, data: &Value, total: &Value) -> Result<Vec<Value>, Fault> {
    let mut records = Vec::new();
    for (theirs, ours) in CLASSES {
        if let Some(number) = data.get(*theirs) {
            records.push(occupied(base, ours, count(number, theirs)?));
        }
    }
    if records.is_empty() {
        records.push(occupied(base, "vehicle", count(total, "total")?));
    }
    Ok(records)
}

fn occupied(base: &Value, class: &str, number: i64) -> Value {
    let mut record = base.clone();
    record["vehicle_class"] = json!(class);
    record["occupied"] = json!(number);
    record
}

/// Counts are text in current firmware; numbers are taken too.
fn count(value: &Value, key: &str) -> Result<i64, Fault> {
    let number = value.as_i64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| {
        let found: String = value.to_string().chars().take(40).collect();
        Fault::new(Code::WrongType, format!("field \"{key}\": expected a count, found {found}"))
    })
}

/// Our word for a class of the camera.
fn class(reason: &str) -> &'static str {
    match reason {
        "car" => "car",
        "truck" => "truck",
        "bus" => "bus",
        "human" => "person",
        "motorcycle/bicycle" | "motorcycle" | "bicycle" | "bike" => "two_wheeler",
        "vehicle" | "otherVehicle" => "vehicle",
        _ => "unknown",
    }
}

/// `car` is counted in `totalCar`, `motorcycle/bicycle` in `totalMotorcycle/bicycle`.
fn total_key(reason: &str) -> String {
    let mut letters = reason.chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("total{first}{}", letters.as_str())
}
