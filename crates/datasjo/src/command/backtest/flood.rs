//! Catchments: `catchments.json` and a wide CSV each under `series/`, a row a step, known at its end. Events and peaks are not read.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use datasjo_lake::RecordBatch;
use datasjo_sources::Delivery;
use datasjo_table::Labels;
use serde::Deserialize;
use serde_json::json;

use super::play::{Deliveries, Recording, configuration, open};
use super::write::{instants, rows};
use crate::command::calibrate::{Cut, HEADER, PLACEHOLDER};

/// The feeds that read a series, and the column without which a feed has nothing to read.
const FEEDS: [(&str, &str, &str); 4] = [
    ("flood-river", "q_m3s", include_str!("../../../../../config/examples/feeds/flood-river.toml")),
    ("flood-precipitation", "p_mm", include_str!("../../../../../config/examples/feeds/flood-precipitation.toml")),
    ("flood-temperature", "t_c", include_str!("../../../../../config/examples/feeds/flood-temperature.toml")),
    ("flood-evapotranspiration", "e_mm", include_str!("../../../../../config/examples/feeds/flood-evapotranspiration.toml")),
];
/// The rain expected in the next steps, one JSON line each.
const FORECAST: &str = "dataset = \"precipitation_forecast\"\n\n[source]\nkind = \"file\"\npath = \"incoming\"\n\n[decode]\n\
    format = \"jsonl\"\n\n[decode.columns]\ngauge_id = \"gauge_id\"\nobserved_at = \"issued_at\"\nvalid_at = \"valid_at\"\n\
    interval_s = \"interval_s\"\nrain_mm = \"rain_mm\"\n";
const FORECAST_FEED: &str = "flood-forecast";
/// Latitude for the evaporation of catchments that do not tell theirs: that of southern Norway.
const LATITUDE_DEG: f64 = 61.0;

/// A catchment as its file describes it.
#[derive(Deserialize)]
pub(super) struct Catchment {
    area_km2: f64,
    step_h: u32,
    thresholds: BTreeMap<String, BTreeMap<String, f64>>,
    #[serde(default)]
    train_to: Option<String>,
}

impl Catchment {
    pub fn step_h(&self) -> u32 {
        self.step_h
    }

    /// The scheme with enough events to be scored, or the only one there is.
    fn levels(&self) -> Option<&BTreeMap<String, f64>> {
        self.thresholds.get("pot").or_else(|| self.thresholds.values().next())
    }

    pub fn yellow_mm_per_h(&self) -> f64 {
        let yellow = self.levels().and_then(|levels| levels.get("yellow")).copied().unwrap_or(f64::INFINITY);
        yellow * 3.6 / self.area_km2
    }

    /// When parameters are fitted.
    pub fn cut(&self, in_sample: bool) -> anyhow::Result<Cut> {
        match &self.train_to {
            _ if in_sample => Ok(Cut::Everything),
            Some(text) => Ok(Cut::Until(instant(text)?)),
            None => Ok(Cut::Yearly),
        }
    }
}

/// The catchments of a folder, by name; those without a series are left out.
pub(super) fn catchments(data: &Path) -> anyhow::Result<BTreeMap<String, Catchment>> {
    let path = data.join("catchments.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let mut all: BTreeMap<String, Catchment> = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    all.retain(|name, _| series(data, name).exists());
    Ok(all)
}

fn series(data: &Path, name: &str) -> PathBuf {
    data.join("series").join(format!("{name}.csv.gz"))
}

/// Writes the configuration for one catchment into `dir`. Rows of `history` come before those of `data`.
pub(super) fn recording(
    data: &Path,
    history: Option<&Path>,
    name: &str,
    catchment: &Catchment,
    dir: &Path,
) -> anyhow::Result<Recording> {
    let files: Vec<PathBuf> =
        history.into_iter().chain([data]).map(|folder| series(folder, name)).filter(|file| file.exists()).collect();
    let mut columns = Vec::new();
    for file in &files {
        let header = open(file)?.lines().next().context("the series is empty")??;
        columns.extend(header.split(',').map(str::to_owned));
    }
    let feeds: Vec<&str> =
        FEEDS.iter().filter(|(_, column, _)| columns.iter().any(|c| c == column)).map(|(feed, ..)| *feed).collect();
    write_configuration(name, catchment, &feeds, dir)?;
    let config = configuration(dir)?;
    let step_h = catchment.step_h;
    let mut all: Deliveries = Box::new(std::iter::empty());
    let mut seen_to = i64::MIN;
    for file in &files {
        let (rows, last) = read(file, seen_to)?;
        seen_to = last;
        let (name, feeds): (String, Vec<String>) = (name.to_owned(), feeds.iter().map(|feed| (*feed).to_owned()).collect());
        let deliveries = rows.into_iter().flat_map(move |row| of_row(&name, &feeds, &row, step_h));
        all = Box::new(all.chain(deliveries));
    }
    Ok(Recording { config, deliveries: all })
}

/// A line of a series with its header.
struct Row {
    header: std::sync::Arc<str>,
    line: String,
    at_us: i64,
}

/// The rows after `seen_to`, and the time of the last.
fn read(file: &Path, seen_to: i64) -> anyhow::Result<(Vec<Row>, i64)> {
    let mut lines = open(file)?.lines();
    let header: std::sync::Arc<str> = lines.next().context("the series is empty")??.into();
    let mut rows = Vec::new();
    for line in lines {
        let line = line?;
        let at_us = instant(line.split(',').next().unwrap_or_default())?;
        if at_us > seen_to {
            rows.push(Row { header: header.clone(), line, at_us });
        }
    }
    let last = rows.last().map_or(seen_to, |row| row.at_us);
    Ok((rows, last))
}

/// A time without an offset is taken as UTC.
pub(super) fn instant(text: &str) -> anyhow::Result<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_microsecond());
    }
    let civil: jiff::civil::DateTime = text.trim().replace(' ', "T").parse().with_context(|| format!("{text} is no time"))?;
    Ok(jiff::tz::Offset::UTC.to_timestamp(civil)?.as_microsecond())
}

fn of_row(name: &str, feeds: &[String], row: &Row, step_h: u32) -> Vec<anyhow::Result<Delivery>> {
    let delivery = |feed: &str, payload: String| Delivery {
        feed: feed.into(),
        labels: Labels::new().with(Labels::FILE, format!("{name}.csv")),
        received_at_us: row.at_us,
        retained: false,
        payload: payload.into(),
        mark: 0,
    };
    let mut deliveries: Vec<anyhow::Result<Delivery>> =
        feeds.iter().map(|feed| Ok(delivery(feed, format!("{}\n{}\n", row.header, row.line)))).collect();
    let forecast = forecast(name, row, step_h);
    if !forecast.is_empty() {
        deliveries.push(Ok(delivery(FORECAST_FEED, forecast)));
    }
    deliveries
}

fn forecast(name: &str, row: &Row, step_h: u32) -> String {
    let step_s = i64::from(step_h) * 3_600;
    let at = |us: i64| jiff::Timestamp::from_microsecond(us).map(|at| at.to_string()).unwrap_or_default();
    let mut text = String::new();
    for (column, cell) in row.header.split(',').zip(row.line.split(',')) {
        let ahead = column.strip_prefix("nc").and_then(|rest| rest.strip_suffix("_mm")).and_then(|n| n.parse::<i64>().ok());
        let (Some(ahead), Ok(rain_mm)) = (ahead, cell.parse::<f64>()) else { continue };
        let line = json!({
            "gauge_id": format!("{name}-1"),
            "issued_at": at(row.at_us),
            "valid_at": at(row.at_us + ahead * step_s * 1_000_000),
            "interval_s": step_s,
            "rain_mm": rain_mm,
        });
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}

fn write_configuration(name: &str, catchment: &Catchment, feeds: &[&str], dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir.join("feeds"))?;
    std::fs::create_dir_all(dir.join("reference"))?;
    std::fs::write(dir.join("datasjo.toml"), "")?;
    let step_s = catchment.step_h * 3_600;
    std::fs::write(dir.join("steps.csv"), format!("catchment,step_s\n{name},{step_s}\n"))?;
    for (feed, _, text) in FEEDS.iter().filter(|(feed, ..)| feeds.contains(feed)) {
        let text = text.replace("reference/catchments.csv", "steps.csv");
        std::fs::write(dir.join("feeds").join(format!("{feed}.toml")), text)?;
    }
    std::fs::write(dir.join("feeds").join(format!("{FORECAST_FEED}.toml")), FORECAST)?;
    let level = |level: &str| catchment.levels().and_then(|levels| levels.get(level)).copied().unwrap_or(1e9);
    let (yellow, orange, red) = (level("yellow"), level("orange"), level("red"));
    let area_km2 = catchment.area_km2;
    std::fs::write(
        dir.join("reference/catchments.csv"),
        format!(
            "catchment_id,station_id,area_km2,step_s,latitude_deg,temperature_sensor_id,evaporation_area_id,yellow_m3_per_s,\
             orange_m3_per_s,red_m3_per_s,rating_factor,rating_zero_cm,rating_exponent\n\
             {name},{name},{area_km2:?},{step_s},{LATITUDE_DEG:?},{name},{name},{yellow:?},{orange:?},{red:?},,,\n"
        ),
    )?;
    std::fs::write(
        dir.join("reference/catchment_gauges.csv"),
        format!("catchment_id,gauge_id\n{name},{name}-1\n{name},{name}-2\n"),
    )?;
    std::fs::write(dir.join("reference/flood_parameters.csv"), format!("{HEADER}\n{PLACEHOLDER}\n"))?;
    Ok(())
}

const LEVELS: [&str; 4] = ["green", "yellow", "orange", "red"];

/// The warnings that went out: a line for each change and renewal, from `from_us` on.
pub(super) fn published(catchment: &str, warnings: &RecordBatch, from_us: i64, out: &mut dyn Write) -> anyhow::Result<usize> {
    let as_of = instants(warnings, "as_of")?;
    let mut lines = 0;
    for (row, value) in rows(warnings)?.iter().enumerate() {
        if value.get("catchment_id").and_then(|id| id.as_str()) != Some(catchment) {
            continue;
        }
        let at = as_of(row);
        let issued = value.get("issued_at").and_then(|at| at.as_str()).map(instant).transpose()?;
        if issued != Some(instant(&at)?) || instant(&at)? < from_us {
            continue;
        }
        let level = value.get("held_level").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let plain = |text: &str| text.trim_end_matches('Z').to_owned();
        let peak = value.get("expected_peak_at").and_then(|at| at.as_str()).filter(|_| level > 0).map(plain);
        let line = json!({
            "catchment": catchment,
            "issued_at": plain(&at),
            "level": LEVELS.get(usize::try_from(level)?).copied().unwrap_or("red"),
            "valid_from": plain(&at),
            "expected_peak_at": peak,
            "cleared_at": serde_json::Value::Null,
        });
        writeln!(out, "{line}")?;
        lines += 1;
    }
    Ok(lines)
}

/// The newest lag that the catchment's record gave.
pub(super) fn lag(catchment: &str, lags: &RecordBatch, out: &mut dyn Write) -> anyhow::Result<()> {
    let newest = rows(lags)?.into_iter().rev().find_map(|row| row.get("last_lag_h").and_then(serde_json::Value::as_f64));
    if let Some(lag_h) = newest {
        writeln!(out, "{}", json!({ "catchment": catchment, "lag_h": lag_h }))?;
    }
    Ok(())
}

/// When the rows of `data` begin: earlier ones are history, and no warning of theirs is told.
pub(super) fn begins(data: &Path, name: &str) -> anyhow::Result<i64> {
    let line = open(&series(data, name))?.lines().nth(1).context("the series is empty")??;
    instant(line.split(',').next().unwrap_or_default())
}
