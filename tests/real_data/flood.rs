//! Six catchments: rain, temperature, evapotranspiration, soil moisture, discharge and stage, a column each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Csv, Figures, Told, Town, recordings};

/// The files of the series, by catchment.
type Catchments = BTreeMap<String, (PathBuf, Csv)>;

fn catchments(directory: &Path) -> Catchments {
    let mut catchments = BTreeMap::new();
    for file in fs::read_dir(directory.join("series")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".csv.gz").unwrap().to_owned();
        let csv = Csv::read(&path);
        catchments.insert(name, (path, csv));
    }
    catchments
}

/// The files that have one of the columns.
fn files_with(catchments: &Catchments, columns: &[&str]) -> Vec<PathBuf> {
    let having = catchments.values().filter(|(_, csv)| columns.iter().any(|column| csv.has(column)));
    having.map(|(path, _)| path.clone()).collect()
}

/// The values of a column by "catchment year", with `suffix` after the catchment's name.
fn series(catchments: &Catchments, column: &str, suffix: &str) -> Vec<(String, f64)> {
    let mut values = Vec::new();
    for (name, (_, csv)) in catchments {
        for line in &csv.lines {
            if let Some(value) = csv.number(line, column) {
                values.push((format!("{name}{suffix} {}", &csv.cell(line, "time")[..4]), value));
            }
        }
    }
    values
}

fn all_kept(rows: usize) -> Told {
    Told { rows: rows as u64, duplicates: 0, rejects: 0 }
}

/// `entity` is the column with the catchment's name.
fn entity_and_year(entity: &str) -> String {
    format!("{entity} || ' ' || substr(CAST(observed_at AS VARCHAR), 1, 4)")
}

#[tokio::test]
async fn series_of_catchments_come_out_as_they_are_in_the_files() {
    let Some(directory) = recordings("flood") else { return };
    let town = Town::new(&["flood-evapo", "flood-soil", "flood-temp"]);
    let catchments = catchments(&directory);
    for (column, feed, entity, value, rest) in [
        ("e_mm", "flood-evapotranspiration", "area_id", "evapotranspiration_mm", "FROM evapotranspiration"),
        ("sm_pct", "flood-soil-moisture", "sensor_id", "moisture_pct", "FROM soil_moisture"),
        ("t_c", "flood-temperature", "sensor_id", "temperature_degc", "FROM temperature"),
    ] {
        let expected = series(&catchments, column, "");
        assert_eq!(town.ingest(feed, &files_with(&catchments, &[column])), all_kept(expected.len()), "{feed}");
        town.figures(&entity_and_year(entity), value, rest).await.assert_same(&Figures::of(expected), feed);
    }
}

#[tokio::test]
async fn rain_of_two_gauges_in_a_line_comes_out_as_it_is_in_the_files() {
    let Some(directory) = recordings("flood") else { return };
    let town = Town::new(&["flood-precipitation"]);
    let catchments = catchments(&directory);
    let expected = [series(&catchments, "p_mm", "-1"), series(&catchments, "p2_mm", "-2")].concat();
    let files = files_with(&catchments, &["p_mm", "p2_mm"]);
    assert_eq!(town.ingest("flood-precipitation", &files), all_kept(expected.len()));
    let rain = town.figures(&entity_and_year("gauge_id"), "rain_mm", "FROM precipitation").await;
    rain.assert_same(&Figures::of(expected), "rain");
}

#[tokio::test]
async fn rivers_come_out_as_they_are_in_the_files() {
    let Some(directory) = recordings("flood") else { return };
    let town = Town::new(&["flood-river"]);
    let catchments = catchments(&directory);
    let columns = [("q_m3s", "discharge_m3_per_s"), ("stage_cm", "stage_cm")];
    let mut rows = 0;
    for (_, csv) in catchments.values() {
        for line in &csv.lines {
            rows += usize::from(columns.iter().any(|(column, _)| csv.number(line, column).is_some()));
        }
    }
    let files = files_with(&catchments, &["q_m3s", "stage_cm"]);
    assert_eq!(town.ingest("flood-river", &files), all_kept(rows));
    for (column, value) in columns {
        let rest = format!("FROM river WHERE {value} IS NOT NULL");
        let found = town.figures(&entity_and_year("station_id"), value, &rest).await;
        found.assert_same(&Figures::of(series(&catchments, column, "")), column);
    }
}
