//! A capture of a town's parking messages: `lots.json`, what an operator configured, and `stream.jsonl.gz`, what a broker
//! delivered and when.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use datasjo_sources::Delivery;
use datasjo_table::Labels;
use serde::Deserialize;

use super::play::{Recording, configuration, open};
use super::write::{instants, rows, text};
use crate::config::{Config, SourceConfig};
use datasjo_lake::RecordBatch;

/// The feeds of the devices, as an operator would have written them.
const FEEDS: [(&str, &str); 12] = [
    ("parking-axis-crossings", include_str!("../../../../../config/examples/feeds/parking-axis-crossings.toml")),
    ("parking-axis-occupancy", include_str!("../../../../../config/examples/feeds/parking-axis-occupancy.toml")),
    ("parking-line-events", include_str!("../../../../../config/examples/feeds/parking-line-events.toml")),
    ("parking-line-zones", include_str!("../../../../../config/examples/feeds/parking-line-zones.toml")),
    ("parking-lorawan-counter", include_str!("../../../../../config/examples/feeds/parking-lorawan-counter.toml")),
    ("parking-manual-counts", include_str!("../../../../../config/examples/feeds/parking-manual-counts.toml")),
    ("device-heartbeats", include_str!("../../../../../config/examples/feeds/device-heartbeats.toml")),
    ("device-connections", include_str!("../../../../../config/examples/feeds/device-connections.toml")),
    ("device-frigate-cameras", include_str!("../../../../../config/examples/feeds/device-frigate-cameras.toml")),
    ("device-frigate-server", include_str!("../../../../../config/examples/feeds/device-frigate-server.toml")),
    ("parking-frigate-events", include_str!("../../../../../config/examples/feeds/parking-frigate-events.toml")),
    ("parking-frigate-zones", include_str!("../../../../../config/examples/feeds/parking-frigate-zones.toml")),
];

#[derive(Deserialize)]
struct Lots {
    lots: Vec<Lot>,
}

/// A car park as its operator configured it.
#[derive(Deserialize)]
struct Lot {
    lot: String,
    capacity: f64,
    initial_occupied: f64,
    full_at: f64,
    free_again_at: f64,
    stale_after_s: f64,
    weights: BTreeMap<String, f64>,
    devices: Vec<Device>,
    zones: Option<Vec<String>>,
    snapshot: Option<Snapshot>,
    manual_topic: Option<String>,
}

#[derive(Deserialize)]
struct Device {
    id: String,
}

#[derive(Deserialize)]
struct Snapshot {
    topic: String,
}

/// One message of the capture.
#[derive(Deserialize)]
struct Message<'a> {
    rx: jiff::Timestamp,
    topic: String,
    #[serde(default, deserialize_with = "flag")]
    retain: bool,
    #[serde(borrow)]
    payload: Option<&'a serde_json::value::RawValue>,
    raw: Option<String>,
}

/// `true`, or 1 as MQTT has it on the wire.
fn flag<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    Ok(value.as_bool().unwrap_or_else(|| value.as_u64() == Some(1)))
}

/// Writes the configuration for the capture in `data` into `dir`.
pub(super) fn recording(data: &Path, dir: &Path) -> anyhow::Result<Recording> {
    let path = data.join("lots.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let lots: Lots = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    write_feeds(dir, &lots.lots)?;
    write_reference(dir, &lots.lots)?;
    let config = configuration(dir)?;
    let topics = topics(&config);
    let lines = open(&data.join("stream.jsonl.gz"))?.lines();
    let deliveries = lines.filter_map(move |line| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => delivery(&line, &topics).transpose(),
        Err(error) => Some(Err(error.into())),
    });
    Ok(Recording { config, deliveries: Box::new(deliveries) })
}

fn write_feeds(dir: &Path, lots: &[Lot]) -> anyhow::Result<()> {
    std::fs::write(dir.join("datasjo.toml"), "[broker.main]\nurl = \"mqtt://127.0.0.1:1883\"\n")?;
    std::fs::create_dir_all(dir.join("feeds"))?;
    for (name, text) in FEEDS.iter().filter(|(name, _)| !name.starts_with("parking-frigate")) {
        std::fs::write(dir.join("feeds").join(format!("{name}.toml")), text)?;
    }
    let frigate = |name: &str| FEEDS.iter().find(|(found, _)| *found == name).map_or("", |(_, text)| *text);
    if let Some(zones) = lots.iter().find_map(|lot| lot.zones.as_ref()) {
        let mut feed: toml::Table = toml::from_str(frigate("parking-frigate-events"))?;
        if let Some(decode) = feed.get_mut("decode").and_then(toml::Value::as_table_mut) {
            decode.insert("zones_in_order".to_owned(), zones.clone().into());
        }
        std::fs::write(dir.join("feeds/parking-frigate-events.toml"), toml::to_string(&feed)?)?;
    }
    let counts = |lot: &Lot| lot.snapshot.as_ref().map(|s| s.topic.clone()).filter(|topic| topic.starts_with("frigate/"));
    let topics: Vec<String> = lots.iter().filter_map(counts).collect();
    if !topics.is_empty() {
        let mut feed: toml::Table = toml::from_str(frigate("parking-frigate-zones"))?;
        if let Some(source) = feed.get_mut("source").and_then(toml::Value::as_table_mut) {
            source.insert("topics".to_owned(), topics.into());
        }
        std::fs::write(dir.join("feeds/parking-frigate-zones.toml"), toml::to_string(&feed)?)?;
    }
    Ok(())
}

fn write_reference(dir: &Path, lots: &[Lot]) -> anyhow::Result<()> {
    let folder = dir.join("reference");
    std::fs::create_dir_all(&folder)?;
    let file = |name: &str, header: &str| -> anyhow::Result<std::fs::File> {
        let mut file = std::fs::File::create(folder.join(name))?;
        writeln!(file, "{header}")?;
        Ok(file)
    };
    let mut tables = file("parking_lots.csv", "lot,capacity,initial_occupied,full_at,free_again_at,stale_after_s")?;
    let mut devices = file("parking_devices.csv", "device_id,area,lot,role")?;
    let mut weights = file("parking_class_weights.csv", "lot,vehicle_class,spaces")?;
    for lot in lots {
        let name = &lot.lot;
        let Lot { capacity, initial_occupied, full_at, free_again_at, stale_after_s, .. } = lot;
        writeln!(tables, "{name},{capacity},{initial_occupied},{full_at},{free_again_at},{stale_after_s}")?;
        for device in &lot.devices {
            writeln!(devices, "{},,{name},gate", device.id)?;
        }
        if let Some(Snapshot { topic }) = &lot.snapshot {
            let (device, area) = view(topic);
            writeln!(devices, "{device},{area},{name},view")?;
        }
        if let Some(topic) = &lot.manual_topic {
            writeln!(devices, "manual,{},{name},manual", last(topic))?;
        }
        let classes: BTreeMap<&str, f64> = lot.weights.iter().map(|(class, spaces)| (class_of(class), *spaces)).collect();
        for (class, spaces) in classes {
            writeln!(weights, "{name},{class},{spaces:?}")?;
        }
    }
    // Which lot is near which, and what is planned, stands in no capture: lots and events that nobody has.
    writeln!(file("parking_alternatives.csv", "lot,alternative,distance_m")?, "none,none,0.5")?;
    writeln!(
        file("parking_events.csv", "lot,starts_at,ends_at,vehicles,name")?,
        "none,1970-01-01T00:00:00Z,1970-01-01T00:00:00Z,0.5,none"
    )?;
    Ok(())
}

fn last(topic: &str) -> &str {
    topic.rsplit('/').next().unwrap_or(topic)
}

/// Device and area of a view, as its feed makes them of the topic.
fn view(topic: &str) -> (&str, &str) {
    let second = topic.split('/').nth(1).unwrap_or(topic);
    if topic.starts_with("frigate/") { ("frigate", second) } else { (second, last(topic)) }
}

fn class_of(label: &str) -> &str {
    match label {
        "motorcycle" | "motorcycle/bicycle" | "bicycle" => "two_wheeler",
        "human" => "person",
        other => other,
    }
}

type Topics = Vec<(String, Arc<str>)>;

fn topics(config: &Config) -> Topics {
    let mut topics = Vec::new();
    for feed in &config.feeds {
        if let SourceConfig::Mqtt(mqtt) = &feed.source {
            topics.extend(mqtt.topics.iter().map(|filter| (filter.clone(), feed.name.clone())));
        }
    }
    topics
}

/// A message as the source of its feed would hand it on; `None` if no feed subscribes to its topic.
fn delivery(line: &str, topics: &Topics) -> anyhow::Result<Option<Delivery>> {
    let message: Message<'_> = serde_json::from_str(line).with_context(|| format!("read the message {line}"))?;
    let Some((_, feed)) = topics.iter().find(|(filter, _)| matches(filter, &message.topic)) else { return Ok(None) };
    let payload = match (message.payload, message.raw) {
        (Some(json), _) => json.get().to_owned(),
        (None, raw) => raw.unwrap_or_default(),
    };
    Ok(Some(Delivery {
        feed: feed.clone(),
        labels: Labels::new().with(Labels::TOPIC, message.topic),
        received_at_us: message.rx.as_microsecond(),
        retained: message.retain,
        payload: payload.into(),
        mark: 0,
    }))
}

/// Whether `topic` is under `filter`: `+` is one level, `#` at the end is all that follow (MQTT 5, section 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// What the signs showed: a line for each change, and one a minute before a value would run out.
pub(super) fn published(signs: &RecordBatch, out: &mut dyn Write) -> anyhow::Result<usize> {
    let as_of = instants(signs, "as_of")?;
    let (lots, states, shown) = (text(signs, "lot")?, text(signs, "state")?, text(signs, "shown")?);
    let mut lines = 0;
    for (row, value) in rows(signs)?.into_iter().enumerate() {
        let line = serde_json::json!({
            "lot": lots.value(row),
            "at": as_of(row),
            "free": value.get("free"),
            "state": states.value(row),
            "shown": shown.value(row),
            "basis_at": value.get("basis_at"),
            "valid_until": value.get("valid_until"),
        });
        writeln!(out, "{line}")?;
        lines += 1;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_topic_is_under_its_filter() {
        assert!(matches("a/+/c", "a/b/c") && matches("a/#", "a/b/c") && matches("a/b", "a/b"));
        assert!(!matches("a/+", "a/b/c") && !matches("a/b/c", "a/b") && !matches("a/b", "a/c"));
    }
}
