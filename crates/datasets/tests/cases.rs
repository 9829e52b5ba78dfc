//! Runs the folders under `cases`: `cases/<dataset>/<case>/` holds
//!
//! - `feed.toml`: `dataset` and the `[decode]` table of a feed;
//! - `payload.*`, or several `payload-1.*`, `payload-2.*`: deliveries in this order;
//! - `labels.toml`, if there is more to know: `topic`, `file`, `path`, `received_at`, `retained`, how many records are
//!   `skipped`, and `[lookups.<name>]`, key to value;
//! - `rows.csv`: the rows that come of it, with all columns; absent if there are none;
//! - `rejects.txt`: `code: reason`, a line a reject; a line that ends in `...` gives the beginning. Absent if there are none.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use datasjo_datasets::{Arrival, DecodeConfig, Decoded, Decoder, Lookups, Reject, Rows, builtin};
use datasjo_table::{Kind, Labels, Table};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Feed {
    dataset: String,
    decode: DecodeConfig,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Known {
    topic: Option<String>,
    file: Option<String>,
    path: Option<String>,
    received_at: Option<String>,
    retained: bool,
    skipped: u64,
    lookups: BTreeMap<String, BTreeMap<String, String>>,
}

impl Known {
    fn labels(&self) -> Labels {
        let pairs = [(Labels::TOPIC, &self.topic), (Labels::FILE, &self.file), (Labels::PATH, &self.path)];
        let given = pairs.into_iter().filter_map(|(key, value)| value.as_ref().map(|value| (key, value)));
        given.fold(Labels::new(), |labels, (key, value)| labels.with(key, value))
    }
}

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn sorted_entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn table(name: &str) -> Arc<Table> {
    Arc::new(builtin().into_iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no dataset {name}")))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn run(case: &Path) -> (Arc<Table>, Known, Decoded) {
    let feed: Feed = toml::from_str(&text(&case.join("feed.toml"))).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let known: Known = toml::from_str(&text(&case.join("labels.toml"))).unwrap_or_else(|e| panic!("{}: {e}", case.display()));
    let table = table(&feed.dataset);
    let lookups: Lookups = known.lookups.clone();
    let decoder = Decoder::new(Arc::clone(&table), &feed.decode, &lookups)
        .unwrap_or_else(|problems| panic!("{}: {problems:#?}", case.display()));
    let received_at = known.received_at.as_deref().unwrap_or("2026-03-20T12:00:00Z");
    let labels = known.labels();
    let arrival = Arrival {
        labels: &labels,
        received_at_us: received_at.parse::<jiff::Timestamp>().unwrap().as_microsecond(),
        retained: known.retained,
    };
    let mut rows = Rows::new(Arc::clone(&table));
    let is_payload = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("payload");
    for (origin, payload) in (0..).zip(sorted_entries(case).into_iter().filter(is_payload)) {
        rows.begin(origin);
        decoder.decode(&fs::read(payload).unwrap(), &arrival, &mut rows);
    }
    let decoded = rows.finish().unwrap();
    (table, known, decoded)
}

fn cell(table: &Table, batch: &RecordBatch, column: usize, row: usize) -> String {
    let array = batch.column(column);
    if array.is_null(row) {
        return String::new();
    }
    match table.columns[column].kind {
        Kind::Text => array.as_string::<i32>().value(row).to_owned(),
        Kind::Float => array.as_primitive::<Float64Type>().value(row).to_string(),
        Kind::Int => array.as_primitive::<Int64Type>().value(row).to_string(),
        Kind::Bool => array.as_boolean().value(row).to_string(),
        Kind::Time => {
            let us = array.as_primitive::<TimestampMicrosecondType>().value(row);
            jiff::Timestamp::from_microsecond(us).unwrap().to_string()
        }
    }
}

fn as_csv(table: &Table, batch: &RecordBatch) -> String {
    if batch.num_rows() == 0 {
        return String::new();
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(table.columns.iter().map(|c| c.name.as_str())).unwrap();
    for row in 0..batch.num_rows() {
        writer.write_record((0..batch.num_columns()).map(|column| cell(table, batch, column, row))).unwrap();
    }
    String::from_utf8(writer.into_inner().unwrap()).unwrap()
}

fn is_as_written(reject: &Reject, line: &str) -> bool {
    let found = format!("{}: {}", reject.code, reject.reason);
    match line.strip_suffix("...") {
        Some(beginning) => found.starts_with(beginning),
        None => found == line,
    }
}

/// What is not as the folder says, in words.
fn differences(case: &Path) -> Vec<String> {
    let (table, known, decoded) = run(case);
    let mut found = Vec::new();
    let (expected, rows) = (text(&case.join("rows.csv")), as_csv(&table, &decoded.rows));
    if expected != rows {
        found.push(format!("rows.csv says\n{expected}but the rows are\n{rows}"));
    }
    if decoded.origins.len() != decoded.rows.num_rows() {
        found.push(format!("{} origins for {} rows", decoded.origins.len(), decoded.rows.num_rows()));
    }
    let expected = text(&case.join("rejects.txt"));
    let lines: Vec<&str> = expected.lines().collect();
    let as_written = lines.len() == decoded.rejects.len()
        && decoded.rejects.iter().zip(&lines).all(|(reject, line)| is_as_written(reject, line));
    if !as_written {
        let rejects: Vec<String> = decoded.rejects.iter().map(|r| format!("{}: {}", r.code, r.reason)).collect();
        found.push(format!("rejects.txt says\n{expected}but the rejects are\n{}", rejects.join("\n")));
    }
    if decoded.skipped != known.skipped {
        found.push(format!("{} records were left out, not {}", decoded.skipped, known.skipped));
    }
    found
}

#[test]
fn every_case_gives_the_rows_and_rejects_it_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    let datasets = sorted_entries(&cases()).into_iter().filter(|path| path.is_dir());
    for case in datasets.flat_map(|dataset| sorted_entries(&dataset)) {
        count += 1;
        let name = case.strip_prefix(cases()).unwrap().display().to_string();
        wrong.extend(differences(&case).into_iter().map(|difference| format!("== {name}\n{difference}")));
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 0, "there are no cases");
}

#[test]
fn every_built_in_dataset_has_a_case() {
    for table in builtin() {
        let folder = cases().join(&table.name);
        assert!(folder.is_dir() && !sorted_entries(&folder).is_empty(), "no case under cases/{}", table.name);
    }
}

#[test]
fn a_rejected_record_keeps_its_own_bytes() {
    let (_, _, decoded) = run(&cases().join("water_meters/ragged-csv"));
    assert_eq!(decoded.rejects[0].raw, b"a,2026-03-20T01:00:00Z,1.5");
    assert_eq!(decoded.rejects[0].raw_bytes, 26);
    let (_, _, decoded) = run(&cases().join("water_meters/missing-field"));
    let raw: serde_json::Value = serde_json::from_slice(&decoded.rejects[0].raw).unwrap();
    assert_eq!(raw, serde_json::json!({"meter": "b", "flow": 2.5}));
}
