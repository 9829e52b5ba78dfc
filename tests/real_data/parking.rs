//! Ten days of a town's car parks as its broker heard them: cameras of two kinds, a line counter, a LoRaWAN counter, people,
//! and the devices' signs of life.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{Figures, Tally, Town, recordings, text};
use crate::support::mosquitto::Mosquitto;

/// The broker keeps its sessions in memory: writing them after each change takes longer than the capture.
const IN_MEMORY: &str = "autosave_on_changes false\nautosave_interval 1800\n";

/// What the feeds must make of a capture. The values of a crossing are "direction class line_total", of an occupancy the
/// count, of a device its state.
#[derive(Default)]
struct Capture {
    feeds: BTreeMap<&'static str, Tally<String>>,
    messages: u64,
    unwanted: u64,
}

impl Capture {
    fn read(file: &Path) -> Self {
        let mut capture = Self::default();
        for line in text(file).lines() {
            let message: Value = serde_json::from_str(line).unwrap();
            capture.messages += 1;
            capture.judge(message["topic"].as_str().unwrap(), &message);
        }
        capture
    }

    fn feed(&mut self, feed: &'static str) -> &mut Tally<String> {
        self.feeds.entry(feed).or_insert_with(Tally::new)
    }

    fn take(&mut self, feed: &'static str, (key, value): (String, String)) {
        self.feed(feed).take(key, value);
    }

    /// A message without a time of its own is always news.
    fn news(&mut self, feed: &'static str, value: String) {
        let number = self.messages.to_string();
        self.take(feed, (number, value));
    }

    fn judge(&mut self, topic: &str, message: &Value) {
        let levels: Vec<&str> = topic.split('/').collect();
        let payload = &message["payload"];
        match levels.as_slice() {
            ["axis", serial, "event", _, _, scenario @ ("Device1Scenario1" | "Device1Scenario2")] => {
                self.take("parking-axis-crossings", axis_crossing(serial, scenario, payload));
            }
            ["axis", _, "event", _, _, "Device1Scenario3"] => {
                self.take("parking-axis-occupancy", (payload["timestamp"].to_string(), word(&payload["message"]["data"]["car"])));
            }
            ["frigate", "events"] => self.take("parking-frigate-events", frigate_object(&payload["after"])),
            ["frigate", "arena_sor_plass", "car"] => self.news("parking-frigate-zones", payload.to_string()),
            ["frigate", _, "status", "detect"] => self.news("device-frigate-cameras", word(&message["raw"])),
            ["frigate", "available"] => self.news("device-frigate-server", word(&message["raw"])),
            ["counter", _, "line", _] if payload.is_null() => self.feed("parking-line-events").rejects += 1,
            ["counter", _, "line", _] => self.take("parking-line-events", line_event(payload)),
            ["counter", _, "zone", _] => {
                self.take("parking-line-zones", (payload["ts"].to_string(), payload["count"].to_string()));
            }
            ["v3", _, "devices", _, "up"] => {
                for direction in ["in", "out"] {
                    self.take("parking-lorawan-counter", lorawan_total(direction, payload));
                }
            }
            ["manual", "count", lot] => {
                let key = format!("{lot} {}", payload["counted_at"]);
                self.take("parking-manual-counts", (key, payload["occupied"].to_string()));
            }
            ["axis" | "counter", device, "status"] => {
                self.take("device-heartbeats", (format!("{device} {}", payload["ts"]), word(&payload["state"])));
            }
            ["axis" | "counter", _, "connection"] => {
                let state = if payload["connected"] == true { "online" } else { "offline" };
                self.news("device-connections", state.to_owned());
            }
            _ => self.unwanted += 1,
        }
    }

    /// The newest values of the feeds whose names begin with `prefix`, with the feed's name.
    fn values(&self, prefix: &str) -> Vec<(&'static str, &str)> {
        let mut values = Vec::new();
        for (feed, tally) in self.feeds.iter().filter(|(feed, _)| feed.starts_with(prefix)) {
            values.extend(tally.newest.values().map(|value| (*feed, value.as_str())));
        }
        values
    }

    /// The same of several feeds.
    fn values_of(&self, feeds: &[&str]) -> Vec<(&'static str, &str)> {
        feeds.iter().flat_map(|feed| self.values(feed)).collect()
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Our word for a class of the devices.
fn class(theirs: &Value) -> &str {
    match theirs.as_str().unwrap() {
        "human" => "person",
        "motorcycle/bicycle" | "motorcycle" | "bicycle" => "two_wheeler",
        other => other,
    }
}

fn axis_crossing(serial: &str, scenario: &str, payload: &Value) -> (String, String) {
    let data = &payload["message"]["data"];
    let direction = if data["scenario"] == "inn" { "in" } else { "out" };
    let total = word(&data["total"]);
    let value = format!("{direction} {} {total}", class(&data["reason"]));
    (format!("{serial} {scenario} {total} {}", payload["timestamp"]), value)
}

fn line_event(payload: &Value) -> (String, String) {
    let value = format!("{} {} ", word(&payload["dir"]), class(&payload["class"]));
    (format!("{} {}", payload["id"], payload["ts"]), value)
}

/// The direction is the order in which the zones at the gate were entered, up to the innermost or the outermost. A report may
/// differ from the one before by its score alone.
fn frigate_object(after: &Value) -> (String, String) {
    let zones = ["vei", "port", "plass"];
    let entered = after["entered_zones"].as_array().unwrap().iter();
    let places: Vec<usize> = entered.filter_map(|zone| zones.iter().position(|known| zone.as_str() == Some(*known))).collect();
    let direction = match (places.first(), places.last()) {
        (Some(0 | 1), Some(2)) => "in",
        (Some(1 | 2), Some(0)) => "out",
        _ => "none",
    };
    (after["id"].to_string(), format!("{direction} {}  {}", class(&after["label"]), after["top_score"]))
}

/// A copy of a frame by way of another gateway has the same number; a number of zero is left out.
fn lorawan_total(direction: &str, payload: &Value) -> (String, String) {
    let up = &payload["uplink_message"];
    let total = &up["decoded_payload"][format!("line_1_total_{direction}").as_str()];
    let number = up["f_cnt"].as_u64().unwrap_or(0);
    let key = format!("{direction} {} {number}", payload["end_device_ids"]["dev_addr"]);
    (key, format!("{direction} vehicle {total}"))
}

#[tokio::test]
async fn a_capture_of_car_parks_comes_out_as_it_is_in_the_file() {
    let Some(directory) = recordings("parking") else { return };
    let file = directory.join("scenario").join("stream.jsonl.gz");
    let capture = Capture::read(&file);
    assert_eq!((capture.messages, capture.unwanted), (117_829, 9), "this is another recording");

    let broker = Mosquitto::start_with(IN_MEMORY).await;
    let mut town = Town::new(&["parking-", "device-"]);
    let config = format!("[sql]\nlisten = \"127.0.0.1:0\"\n\n[broker.main]\nurl = \"{}\"\n", broker.url());
    town.write("datasjo.toml", &config);
    town.start().await;
    town.command(&["replay", "--broker", &format!("127.0.0.1:{}", broker.port())], &[file]);
    town.datasjo.reaches("visible_seq", capture.messages - capture.unwanted).await;

    check_ledger(&town, &capture).await;
    assert_eq!(town.rejects("parking-line-events").await, [("not_json".to_owned(), 5)]);
    check_answers(&town, &capture).await;
    town.datasjo.terminate().await;
}

/// The ledger must say of each feed what the capture says.
async fn check_ledger(town: &Town, capture: &Capture) {
    let sql = "SELECT feed, sum(received) AS received, sum(committed + in_flight) AS kept, sum(revised) AS revised, \
               sum(duplicate) AS duplicate, sum(rejected) AS rejected FROM ledger GROUP BY feed ORDER BY feed";
    let lines = town.ask(sql).await;
    let columns = ["received", "kept", "revised", "duplicate", "rejected"];
    let found = lines.iter().map(|line| (word(&line["feed"]), columns.map(|column| line[column].as_u64().unwrap())));
    let expected = capture.feeds.iter().map(|(feed, tally)| {
        let received = tally.rows + tally.duplicates + tally.rejects;
        let revised = tally.rows - tally.newest.len() as u64;
        ((*feed).to_owned(), [received, tally.rows, revised, tally.duplicates, tally.rejects])
    });
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "feeds with {columns:?}");
}

async fn check_answers(town: &Town, capture: &Capture) {
    let feeds = ["parking-axis-crossings", "parking-frigate-events", "parking-line-events", "parking-lorawan-counter"];
    let (mut classes, mut totals) = (Vec::new(), Vec::new());
    for (feed, value) in capture.values_of(&feeds) {
        let parts: Vec<&str> = value.split(' ').collect();
        classes.push(format!("{feed} {} {}", parts[0], parts[1]));
        if !parts[2].is_empty() {
            totals.push((format!("{feed} {}", parts[0]), parts[2].parse::<f64>().unwrap()));
        }
    }
    let found = town.counts("feed || ' ' || direction || ' ' || vehicle_class", "FROM parking_crossings").await;
    found.assert_same(&Figures::counts(classes), "crossings");
    let rest = "FROM parking_crossings WHERE line_total IS NOT NULL";
    let found = town.figures("feed || ' ' || direction", "line_total", rest).await;
    found.assert_same(&Figures::of(totals), "running totals");

    let feeds = ["parking-axis-occupancy", "parking-frigate-zones", "parking-line-zones", "parking-manual-counts"];
    let occupied = capture.values_of(&feeds).into_iter().map(|(feed, value)| (feed.to_owned(), value.parse::<f64>().unwrap()));
    let found = town.figures("feed", "occupied", "FROM parking_occupancy").await;
    found.assert_same(&Figures::of(occupied), "occupancy");

    let states = capture.values("device-").into_iter().map(|(feed, value)| format!("{feed} {value}"));
    let found = town.counts("feed || ' ' || state", "FROM device_status").await;
    found.assert_same(&Figures::counts(states), "states of devices");
}
