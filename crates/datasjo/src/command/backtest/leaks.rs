//! A folder of zone meters: `readings.csv.gz` in the order of arrival, `meters.csv` and `zones.csv`. Nothing else is read.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::Context;
use datasjo_lake::RecordBatch;
use datasjo_sources::Delivery;
use datasjo_table::Labels;

use super::play::{Recording, configuration, open};
use super::write::{instants, is_true, rows, text};

const FEED: &str = "water-zone-readings";
const FEED_FILE: &str = include_str!("../../../../../config/examples/feeds/water-zone-readings.toml");
/// As the product's README gives them.
const THRESHOLDS: &str = include_str!("../../../../../config/reference/leak_thresholds.csv");
const PRICES: &str = include_str!("../../../../../config/reference/water_prices.csv");

/// Writes the configuration for the readings in `data` into `dir`.
pub(super) fn recording(data: &Path, dir: &Path) -> anyhow::Result<Recording> {
    std::fs::create_dir_all(dir.join("feeds"))?;
    std::fs::create_dir_all(dir.join("reference"))?;
    std::fs::write(dir.join("datasjo.toml"), "")?;
    let feed = FEED_FILE.replace("reference/meters.csv", "meters.csv");
    std::fs::write(dir.join("feeds").join(format!("{FEED}.toml")), feed)?;
    std::fs::copy(data.join("meters.csv"), dir.join("meters.csv")).context("read meters.csv")?;
    std::fs::write(dir.join("reference/leak_thresholds.csv"), THRESHOLDS)?;
    std::fs::write(dir.join("reference/water_prices.csv"), PRICES)?;
    write_meters(data, dir)?;
    write_zones(data, dir)?;
    let config = configuration(dir)?;
    let mut lines = open(&data.join("readings.csv.gz"))?.lines();
    let header = lines.next().context("readings.csv.gz is empty")??;
    let arrival = header.split(',').position(|name| name == "received_at").context("readings.csv.gz has no received_at")?;
    let deliveries = lines.map(move |line| delivery(&header, &line?, arrival));
    Ok(Recording { config, deliveries: Box::new(deliveries) })
}

fn write_meters(data: &Path, dir: &Path) -> anyhow::Result<()> {
    let mut reader = csv::Reader::from_path(data.join("meters.csv"))?;
    let names = reader.headers()?.clone();
    let mut out = csv::Writer::from_path(dir.join("reference/meters.csv"))?;
    out.write_record(["meter_id", "zone_id", "role", "quantity", "interval_s", "register_max_m3", "area_m2"])?;
    for record in reader.records() {
        let record = record?;
        let cell = |name: &str| names.iter().position(|n| n == name).and_then(|at| record.get(at)).unwrap_or_default();
        let columns = ["meter", "zone", "role", "quantity", "interval_s", "register_max", "area_m2"];
        out.write_record(columns.map(cell))?;
    }
    out.flush()?;
    Ok(())
}

/// A zone's holidays are those of its clock.
fn write_zones(data: &Path, dir: &Path) -> anyhow::Result<()> {
    let mut reader = csv::Reader::from_path(data.join("zones.csv")).context("read zones.csv")?;
    let names = reader.headers()?.clone();
    let mut out = csv::Writer::from_path(dir.join("reference/zones.csv"))?;
    out.write_record(["zone_id", "calendar"])?;
    for record in reader.records() {
        let record = record?;
        let cell = |name: &str| names.iter().position(|n| n == name).and_then(|at| record.get(at)).unwrap_or_default();
        let calendar = if cell("tz") == "Europe/Rome" { "IT" } else { "NO" };
        out.write_record([cell("zone"), calendar])?;
    }
    out.flush()?;
    Ok(())
}

fn delivery(header: &str, line: &str, arrival: usize) -> anyhow::Result<Delivery> {
    let received = line.split(',').nth(arrival).unwrap_or_default();
    let received: jiff::Timestamp = received.parse().with_context(|| format!("the time of arrival in {line}"))?;
    Ok(Delivery {
        feed: FEED.into(),
        labels: Labels::new().with(Labels::FILE, "readings.csv"),
        received_at_us: received.as_microsecond(),
        retained: false,
        payload: format!("{header}\n{line}\n").into(),
        mark: 0,
    })
}

/// The alerts that went out: a line for each that was raised, and for each further step of one that was open.
pub(super) fn published(alerts: &RecordBatch, out: &mut dyn Write) -> anyhow::Result<usize> {
    let as_of = instants(alerts, "as_of")?;
    let (zones, parts) = (text(alerts, "zone_id")?, text(alerts, "part")?);
    let (raised, cleared) = (is_true(alerts, "raised")?, is_true(alerts, "cleared")?);
    let values = rows(alerts)?;
    let mut lines = 0;
    for row in (0..alerts.num_rows()).filter(|row| raised(*row)) {
        let same = |other: &usize| zones.value(*other) == zones.value(row) && parts.value(*other) == parts.value(row);
        let over = (row + 1..alerts.num_rows()).filter(same).find(|other| cleared(*other)).map(&as_of);
        let value = &values[row];
        let line = serde_json::json!({
            "zone": zones.value(row),
            "part": parts.value(row),
            "detected_at": as_of(row),
            "start_estimate": value.get("started_at"),
            "size_lps": value.get("size_lps"),
            "class": value.get("class"),
            "cleared_at": over,
        });
        writeln!(out, "{line}")?;
        lines += 1;
    }
    Ok(lines)
}
