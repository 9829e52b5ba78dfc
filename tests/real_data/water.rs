//! Six sets of zone and building meters: flows, registers, levels and pressures in one file each.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{Csv, Figures, Tally, Town, recordings, text};

/// The sets, the readings they must end with, and their rejects: flows beyond what a main carries.
const SETS: [(&str, usize, u64); 6] = [
    ("bwdf-a", 97_340, 1),
    ("bwdf-b", 85_363, 1),
    ("bwdf-c", 72_983, 0),
    ("bwdf-d", 85_083, 4),
    ("campus", 192_367, 0),
    ("ltown-sim", 218_022, 0),
];
/// Largest flow the dataset takes, l/s.
const LARGEST_FLOW_L_PER_S: f64 = 500.0;
/// A value of any kind.
const VALUE: &str = "coalesce(flow_l_per_s, register_m3, level_m, pressure_m)";

/// What the table of meters says of one.
struct Meter {
    zone: String,
    is_flow: bool,
    is_per_hour: bool,
}

/// The meters of all sets.
fn meters(directory: &Path) -> HashMap<String, Meter> {
    let mut meters = HashMap::new();
    for (set, _, _) in SETS {
        let table = Csv::read(&directory.join(set).join("meters.csv"));
        for line in &table.lines {
            let meter = Meter {
                zone: table.cell(line, "zone").to_owned(),
                is_flow: table.cell(line, "quantity") == "flow",
                is_per_hour: table.cell(line, "unit") == "m3/h",
            };
            meters.insert(table.cell(line, "meter").to_owned(), meter);
        }
    }
    meters
}

/// The sets' tables of meters as one.
fn table_of_meters(directory: &Path) -> String {
    let mut table = String::new();
    for (set, _, _) in SETS {
        let of_set = text(&directory.join(set).join("meters.csv"));
        for line in of_set.lines().skip(usize::from(!table.is_empty())) {
            table.push_str(line);
            table.push('\n');
        }
    }
    table
}

/// The readings of a set in the dataset's units, by "meter instant".
fn readings(set: &Path, meters: &HashMap<String, Meter>) -> Tally<f64> {
    let file = Csv::read(&set.join("readings.csv.gz"));
    let mut tally = Tally::new();
    for line in &file.lines {
        let name = file.cell(line, "meter");
        let meter = &meters[name];
        let value = file.number(line, "value").unwrap();
        let value = if meter.is_per_hour { value / 3.6 } else { value };
        if meter.is_flow && value.abs() > LARGEST_FLOW_L_PER_S {
            tally.rejects += 1;
        } else {
            tally.take(format!("{name} {}", file.cell(line, "ts")), value);
        }
    }
    tally
}

#[tokio::test]
async fn readings_of_water_meters_come_out_as_they_are_in_the_files() {
    let Some(directory) = recordings("leaks") else { return };
    let town = Town::new(&["water-"]);
    town.write("reference/meters.csv", &table_of_meters(&directory));
    let meters = meters(&directory);
    let mut newest = BTreeMap::new();
    let mut rejects = 0;
    for (set, keys, rejected) in SETS {
        let expected = readings(&directory.join(set), &meters);
        assert_eq!((expected.newest.len(), expected.rejects), (keys, rejected), "{set} is another recording");
        let told = town.ingest("water-zone-readings", &[directory.join(set).join("readings.csv.gz")]);
        assert_eq!(told, expected.told(), "{set}");
        rejects += rejected;
        newest.extend(expected.newest);
    }
    assert_eq!(town.rejects("water-zone-readings").await, [("out_of_range".to_owned(), rejects)]);
    check_answers(&town, &meters, &newest).await;
}

async fn check_answers(town: &Town, meters: &HashMap<String, Meter>, newest: &BTreeMap<String, f64>) {
    let split = |(key, value): (&String, &f64)| {
        let (name, at) = key.split_once(' ').unwrap();
        (name.to_owned(), at.to_owned(), *value)
    };
    let readings: Vec<(String, String, f64)> = newest.iter().map(split).collect();

    let by_meter = readings.iter().map(|(name, _, value)| (name.clone(), *value));
    town.figures("meter_id", VALUE, "FROM water_meters").await.assert_same(&Figures::of(by_meter), "by meter");

    let by_month = readings.iter().map(|(name, at, value)| (format!("{} {}", meters[name].zone, &at[..7]), *value));
    let zone_and_month = "zone_id || ' ' || substr(CAST(observed_at AS VARCHAR), 1, 7)";
    town.figures(zone_and_month, VALUE, "FROM water_meters").await.assert_same(&Figures::of(by_month), "by zone and month");

    let at_night = readings.iter().filter(|(name, at, _)| meters[name].is_flow && ["02", "03", "04"].contains(&&at[11..13]));
    let night_flow = at_night.map(|(name, _, value)| (meters[name].zone.clone(), *value));
    let rest = "FROM water_meters WHERE flow_l_per_s IS NOT NULL AND date_part('hour', observed_at) IN (2, 3, 4)";
    town.figures("zone_id", "flow_l_per_s", rest).await.assert_same(&Figures::of(night_flow), "night flow by zone");
}
