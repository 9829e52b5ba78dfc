//! What all fuzz targets do: decode any bytes by a feed of their format and look whether the account balances.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datasjo_datasets::{Arrival, DecodeConfig, Decoder, Lookups, Rows, builtin};
use datasjo_table::Labels;
use serde::Deserialize;

/// A feed file, of which only this matters here.
#[derive(Deserialize)]
struct Feed {
    dataset: String,
    decode: DecodeConfig,
}

const WMBUSMETERS: &str = "dataset = \"water_meters\"\n[decode]\nformat = \"wmbusmeters\"\n";

const JSONL: &str = r#"
dataset = "water_meters"
[decode]
format = "jsonl"
[decode.columns]
meter_id = { field = "meter", lenient = true }
observed_at = { field = "time", time = "%d.%m.%Y %H:%M", zone = "Europe/Oslo" }
flow_l_per_s = { field = "flow", lenient = true, decimal = ",", null = ["-1"], unit = { field = "unit" } }
"#;

const CHIRPSTACK: &str = r#"
dataset = "temperature"
[decode]
format = "chirpstack"
[decode.columns]
sensor_id = "/frame/dev_eui"
kind = { value = "air" }
observed_at = { field = "/frame/observed_at", time = "unix_us" }
temperature_degc = { field = "temperature", lenient = true }
"#;

/// A feed for each format, and labels it takes.
const FEEDS: &[(&str, &str, &str)] = &[
    (
        "json",
        include_str!("../../../../config/examples/feeds/parking-line-events.toml"),
        "counter/line-01/line/gate",
    ),
    ("jsonl", JSONL, ""),
    (
        "csv",
        include_str!("../../../../config/examples/feeds/water-zone-readings.toml"),
        "",
    ),
    (
        "text",
        include_str!("../../../../config/examples/feeds/parking-frigate-zones.toml"),
        "frigate/plass/car",
    ),
    (
        "axis_object_analytics",
        include_str!("../../../../config/examples/feeds/parking-axis-crossings.toml"),
        "axis/B8A44F000001/event/CameraApplicationPlatform/ObjectAnalytics/Device1Scenario1",
    ),
    (
        "frigate_events",
        include_str!("../../../../config/examples/feeds/parking-frigate-events.toml"),
        "frigate/events",
    ),
    (
        "tts",
        include_str!("../../../../config/examples/feeds/parking-lorawan-counter.toml"),
        "v3/a@b/devices/c/up",
    ),
    ("chirpstack", CHIRPSTACK, "application/a/device/b/event/up"),
    ("wmbusmeters", WMBUSMETERS, ""),
];

static DECODERS: LazyLock<BTreeMap<&str, (Decoder, Labels)>> = LazyLock::new(|| {
    let made = |(format, text, topic): &(&'static str, &str, &str)| {
        let labels = Labels::new().with(Labels::TOPIC, *topic).with(Labels::FILE, "a.csv");
        (*format, (decoder(text), labels))
    };
    FEEDS.iter().map(made).collect()
});

fn decoder(text: &str) -> Decoder {
    let feed: Feed = toml::from_str(text).expect("a feed");
    let table = builtin()
        .into_iter()
        .find(|table| table.name == feed.dataset)
        .expect("its dataset");
    let pairs = [("a", "flow"), ("b", "m3/h")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let lookups: Lookups = feed
        .decode
        .lookups
        .keys()
        .map(|name| (name.clone(), pairs.clone().into()))
        .collect();
    Decoder::new(Arc::new(table), &feed.decode, &lookups).expect("a feed that fits")
}

/// Decodes `bytes` by the feed of `format`.
///
/// # Panics
/// If decoding panics, or the batch cannot be built, or the rows and their origins differ in number.
pub fn fuzz_one(format: &str, bytes: &[u8]) {
    let (decoder, labels) = DECODERS.get(format).expect("a known format");
    let arrival = Arrival {
        labels,
        received_at_us: 1_773_965_129_785_000,
        retained: false,
    };
    let mut rows = Rows::new(Arc::clone(decoder.table()));
    rows.begin(0);
    decoder.decode(bytes, &arrival, &mut rows);
    let decoded = rows.finish().expect("a batch");
    assert_eq!(decoded.rows.num_rows(), decoded.origins.len());
}
