//! Frigate's tracked objects. Every message of an object is a record with the same key; the later ones revise the earlier, so
//! the row ends with the direction that the object took in the end.

use serde_json::{Value, json};

use super::json::{missing, text_at};
use crate::decode::Decoder;
use crate::plan::Context;
use crate::rows::{Code, Fault};

/// What the records offer.
pub(crate) const OFFERED: &[&str] = &["device_id", "line", "direction", "vehicle_class", "event_id", "observed_at", "confidence"];

/// The record of a message.
pub(crate) fn read(document: &Value, _context: &Context<'_>, decoder: &Decoder) -> Result<Vec<Value>, Fault> {
    if !matches!(text_at(document, "/type"), Some("new" | "update" | "end")) {
        return Err(Fault::new(Code::NotAReading, "no tracked object: \"type\" is none of new, update, end"));
    }
    let after = document.get("after").ok_or_else(|| missing("after"))?;
    if after.get("false_positive") == Some(&Value::Bool(true)) {
        return Ok(Vec::new());
    }
    let start = after.get("start_time").and_then(Value::as_f64).ok_or_else(|| missing("after/start_time"))?;
    let label = text_at(after, "/label").ok_or_else(|| missing("after/label"))?;
    let zones: Vec<&str> = match after.get("entered_zones") {
        Some(Value::Array(zones)) => zones.iter().filter_map(Value::as_str).collect(),
        _ => return Err(missing("after/entered_zones")),
    };
    Ok(vec![json!({
        "device_id": text_at(after, "/camera"),
        "line": decoder.zones_in_order.join(">"),
        "direction": direction(&zones, &decoder.zones_in_order),
        "vehicle_class": class(label),
        "event_id": text_at(after, "/id"),
        "observed_at": (start * 1e6).round() as i64,
        "confidence": after.get("top_score").or_else(|| after.get("score")),
    })])
}

/// `in` if the object reached the innermost zone after another, `out` if it reached the street after another, else `none`:
/// who turns round at the gate has entered some zones and passed nothing.
fn direction(entered: &[&str], in_order: &[String]) -> &'static str {
    let known: Vec<usize> = entered.iter().filter_map(|zone| in_order.iter().position(|known| known == zone)).collect();
    match (known.first(), known.last()) {
        (Some(first), Some(last)) if first < last && last + 1 == in_order.len() => "in",
        (Some(first), Some(last)) if first > last && *last == 0 => "out",
        _ => "none",
    }
}

/// Our word for a label of the model.
fn class(label: &str) -> &'static str {
    match label {
        "car" => "car",
        "truck" => "truck",
        "bus" => "bus",
        "motorcycle" | "bicycle" => "two_wheeler",
        "person" => "person",
        "vehicle" => "vehicle",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::direction;

    #[test]
    fn direction_is_the_order_of_zones_up_to_the_end() {
        let zones = ["street", "gate", "inside"].map(str::to_owned);
        let of = |entered: &[&str]| direction(entered, &zones);
        assert_eq!(of(&["street", "gate", "inside"]), "in");
        assert_eq!(of(&["inside", "gate", "street"]), "out");
        assert_eq!(of(&["gate", "inside"]), "in");
        assert_eq!(of(&["street", "gate"]), "none");
        assert_eq!(of(&["inside"]), "none");
        assert_eq!(of(&["elsewhere", "street", "pavement", "inside"]), "in");
        assert_eq!(of(&[]), "none");
    }
}
