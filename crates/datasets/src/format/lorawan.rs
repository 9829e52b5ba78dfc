//! The envelopes of two LoRaWAN network servers. The record is what the device's own decoder on the server made, with the
//! envelope's facts added under `frame`: `device_id`, `dev_eui`, `dev_addr`, `f_cnt`, `f_port`, `id` (the same for every copy
//! of a frame) and `observed_at` (microseconds; when the network heard it).

use serde_json::{Map, Value, json};

use super::json::{missing, text_at};
use crate::decode::Decoder;
use crate::plan::Context;
use crate::rows::{Code, Fault};
use crate::time;

/// Other messages of The Things Stack.
const TTS_OTHERS: &[&str] = &[
    "join_accept",
    "downlink_queued",
    "downlink_sent",
    "downlink_ack",
    "downlink_nack",
    "downlink_failed",
    "downlink_queue_invalidated",
    "service_data",
    "location_solved",
];

/// ChirpStack's events that are no uplinks.
const CHIRPSTACK_OTHERS: &[&str] = &["join", "status", "ack", "txack", "log", "location", "integration"];

/// The record of an uplink of The Things Stack v3.
pub(crate) fn tts(document: &Value, context: &Context<'_>, _decoder: &Decoder) -> Result<Vec<Value>, Fault> {
    let is_up = context.label("topic").is_some_and(|topic| topic.ends_with("/up"));
    let Some(up) = document.get("uplink_message") else {
        if !is_up && TTS_OTHERS.iter().any(|key| document.get(*key).is_some()) {
            return Ok(Vec::new());
        }
        return Err(Fault::new(Code::NotAReading, "no message of The Things Stack that this format knows"));
    };
    let device_id = "/end_device_ids/device_id";
    let device = text_at(document, device_id).ok_or_else(|| missing(device_id))?;
    let address = text_at(document, "/end_device_ids/dev_addr").unwrap_or_default();
    // A zero is left out of the envelope.
    let count = up.get("f_cnt").and_then(Value::as_i64).unwrap_or(0);
    // The network server's clock is the same for every copy of a frame; the application server's is not.
    let heard = text_at(up, "/received_at").or_else(|| text_at(document, "/received_at"));
    let frame = json!({
        "device_id": device,
        "dev_eui": text_at(document, "/end_device_ids/dev_eui"),
        "dev_addr": address,
        "f_cnt": count,
        "f_port": up.get("f_port").and_then(Value::as_i64).unwrap_or(0),
        "id": format!("{address}/{count}"),
        "observed_at": instant(heard, "/uplink_message/received_at")?,
    });
    record(up.get("decoded_payload"), text_at(up, "/frm_payload"), "decoded_payload", frame)
}

/// The record of an uplink of ChirpStack v4.
pub(crate) fn chirpstack(document: &Value, context: &Context<'_>, _decoder: &Decoder) -> Result<Vec<Value>, Fault> {
    let event = context.label("topic").and_then(|topic| topic.rsplit('/').next());
    if event.is_some_and(|event| CHIRPSTACK_OTHERS.contains(&event)) {
        return Ok(Vec::new());
    }
    let is_up = ["fPort", "data", "object", "rxInfo"].iter().any(|key| document.get(*key).is_some());
    let Some(device) = text_at(document, "/deviceInfo/devEui").filter(|_| event == Some("up") || is_up) else {
        return Err(Fault::new(Code::NotAReading, "no uplink event of ChirpStack"));
    };
    let address = text_at(document, "/devAddr").unwrap_or_default();
    let count = document.get("fCnt").and_then(Value::as_i64).unwrap_or(0);
    let id = text_at(document, "/deduplicationId").map_or_else(|| format!("{address}/{count}"), str::to_owned);
    let frame = json!({
        "device_id": text_at(document, "/deviceInfo/deviceName").unwrap_or(device),
        "dev_eui": device,
        "dev_addr": address,
        "f_cnt": count,
        "f_port": document.get("fPort").and_then(Value::as_i64).unwrap_or(0),
        "id": id,
        "observed_at": instant(text_at(document, "/time"), "/time")?,
    });
    record(document.get("object"), text_at(document, "/data"), "object", frame)
}

fn instant(text: Option<&str>, pointer: &str) -> Result<i64, Fault> {
    let text = text.ok_or_else(|| missing(pointer))?;
    time::instant(text).map_err(|why| Fault::new(Code::BadTime, format!("{pointer} {why}")))
}

/// The decoded values with the frame; nothing for a frame without a payload (link control only).
fn record(decoded: Option<&Value>, payload: Option<&str>, key: &str, frame: Value) -> Result<Vec<Value>, Fault> {
    let mut values: Map<String, Value> = match decoded {
        Some(Value::Object(values)) => values.clone(),
        None if payload.unwrap_or_default().is_empty() => return Ok(Vec::new()),
        _ => {
            let reason = format!("\"{key}\" is missing: the device has no payload decoder on the network server");
            return Err(Fault::new(Code::MissingField, reason));
        }
    };
    values.insert("frame".to_owned(), frame);
    Ok(vec![Value::Object(values)])
}
