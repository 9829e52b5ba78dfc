//! Whatever the bytes: nothing panics, and every record is a row, a reject or left out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use datasjo_datasets::{Arrival, DecodeConfig, Decoded, Decoder, Lookups, Rows, builtin};
use datasjo_table::Labels;
use proptest::prelude::*;
use serde::Deserialize;

/// A feed or case file, of which only this matters here.
#[derive(Deserialize)]
struct Feed {
    dataset: String,
    decode: DecodeConfig,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files_under(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files_under(&path, found) } else { found.push(path) }
    }
}

fn decoder(text: &str) -> Decoder {
    let feed: Feed = toml::from_str(text).unwrap();
    let table = builtin().into_iter().find(|t| t.name == feed.dataset).unwrap();
    let pairs = [("N1-INN", "flow"), ("a", "flow"), ("m", "l/s")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let lookups: Lookups = feed.decode.lookups.keys().map(|name| (name.clone(), pairs.clone().into())).collect();
    Decoder::new(Arc::new(table), &feed.decode, &lookups).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The decoders of all feed files that come with the program.
static FEEDS: LazyLock<Vec<(String, Decoder)>> = LazyLock::new(|| {
    let mut files = Vec::new();
    files_under(&root().join("config/examples/feeds"), &mut files);
    files_under(&root().join("config/feeds"), &mut files);
    files.sort();
    let named = |path: &PathBuf| (path.display().to_string(), decoder(&fs::read_to_string(path).unwrap()));
    files.iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).map(named).collect()
});

/// The payloads of all cases: where to start when bytes are to be nearly right.
static PAYLOADS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut files = Vec::new();
    files_under(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), &mut files);
    files.sort();
    let is_payload = |path: &&PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("payload"));
    files.iter().filter(is_payload).map(|path| fs::read(path).unwrap()).collect()
});

/// Topics and file names of the feeds, and one that fits none.
const TOPICS: &[&str] = &[
    "axis/B8A44F000001/event/CameraApplicationPlatform/ObjectAnalytics/Device1Scenario1",
    "axis/B8A44F000001/status",
    "counter/line-01/connection",
    "counter/line-01/line/gate",
    "counter/line-02/zone/lot",
    "frigate/available",
    "frigate/gate/status/detect",
    "frigate/plass/car",
    "manual/count/torget",
    "v3/datasjo@ttn/devices/teller-01/up",
    "water/N1/a/reading",
    "elsewhere",
];

fn decode(decoder: &Decoder, topic: &str, payload: &[u8]) -> Decoded {
    let labels = Labels::new().with(Labels::TOPIC, topic).with(Labels::FILE, "a.csv.gz");
    let arrival = Arrival { labels: &labels, received_at_us: 1_773_965_129_785_000, retained: false };
    let mut rows = Rows::new(Arc::clone(decoder.table()));
    rows.begin(0);
    decoder.decode(payload, &arrival, &mut rows);
    rows.finish().unwrap()
}

fn accounted(decoded: &Decoded) -> u64 {
    decoded.rows.num_rows() as u64 + decoded.rejects.iter().map(|r| r.records).sum::<u64>() + decoded.skipped
}

#[test]
fn every_feed_that_comes_with_the_program_fits_its_dataset() {
    assert!(FEEDS.len() > 20, "{} feeds", FEEDS.len());
}

proptest! {
    #[test]
    fn no_bytes_make_a_feed_panic(payload in proptest::collection::vec(any::<u8>(), 0..300), topic in 0..TOPICS.len()) {
        for (_, decoder) in FEEDS.iter() {
            decode(decoder, TOPICS[topic], &payload);
        }
    }

    #[test]
    fn no_damage_to_a_message_makes_a_feed_panic(
        which in 0..PAYLOADS.len(),
        cut in 0..2000usize,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut payload = PAYLOADS[which].clone();
        payload.truncate(cut);
        for (place, byte) in changes {
            if !payload.is_empty() {
                let at = place.index(payload.len());
                payload[at] = byte;
            }
        }
        for (at, (_, decoder)) in FEEDS.iter().enumerate() {
            decode(decoder, TOPICS[at % TOPICS.len()], &payload);
        }
    }

    #[test]
    fn every_line_of_a_file_is_accounted_for(lines in proptest::collection::vec("[a-z0-9,.:TZ-]{1,40}", 0..50)) {
        let csv = decoder(
            "dataset = \"water_meters\"\n[decode]\nformat = \"csv\"\n[decode.columns]\nmeter_id = \"m\"\nobserved_at = \"ts\"\nflow_l_per_s = \"v\"\n",
        );
        let file = format!("m,ts,v\n{}\n", lines.join("\n"));
        prop_assert_eq!(accounted(&decode(&csv, "x", file.as_bytes())), lines.len() as u64);
    }

    #[test]
    fn every_element_of_an_array_is_accounted_for(
        values in proptest::collection::vec(prop_oneof![Just("null"), Just("{\"m\":\"a\",\"ts\":\"2026-03-20T01:00:00Z\",\"v\":1}"), Just("[1]"), Just("{}")], 0..2500),
    ) {
        let json = decoder(
            "dataset = \"water_meters\"\n[decode]\nformat = \"json\"\n[decode.columns]\nmeter_id = \"m\"\nobserved_at = \"ts\"\nflow_l_per_s = \"v\"\n",
        );
        let document = format!("[{}]", values.join(","));
        let decoded = decode(&json, "x", document.as_bytes());
        prop_assert_eq!(accounted(&decoded), values.len() as u64);
        let rows = values.iter().filter(|value| value.contains("2026")).count();
        prop_assert_eq!(decoded.rows.num_rows(), rows);
    }
}
