//! Recordings of real devices, rivers and roads through the real program, by the feeds of `config/examples`. What must come out
//! is computed here from the same files by simpler means. The recordings are not part of the repository: without them the
//! tests say so and end.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::mosquitto::Mosquitto;

/// Names the directory of the recordings.
const VARIABLE: &str = "DATASJO_SHARED";
/// What has not happened by then does not happen.
const GUARD: Duration = Duration::from_secs(120);
/// Sums may be added up in another order.
const TOLERANCE: f64 = 1e-9;

/// The recordings of one kind, if they are there.
fn recordings(kind: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let directory = std::env::var_os(VARIABLE).map_or(beside, PathBuf::from).join(kind);
    if !directory.is_dir() {
        println!("no recordings in {}: set {VARIABLE} to the directory that holds {kind}/", directory.display());
        return None;
    }
    Some(directory)
}

/// The program, which is built next to the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("datasjo")
}

/// The text of a file, unpacked if it is gzip.
fn text(file: &Path) -> String {
    if file.extension().is_none_or(|e| e != "gz") {
        return fs::read_to_string(file).unwrap();
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    assert!(unpacked.status.success(), "unpack {}", file.display());
    String::from_utf8(unpacked.stdout).unwrap()
}

/// A CSV file without quotes: the place of each column, and the lines.
struct Csv {
    columns: HashMap<String, usize>,
    lines: Vec<Vec<String>>,
}

impl Csv {
    fn read(file: &Path) -> Self {
        let text = text(file);
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<String>>());
        let columns = lines.next().unwrap().into_iter().zip(0..).collect();
        Self { columns, lines: lines.collect() }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    fn cell<'l>(&self, line: &'l [String], column: &str) -> &'l str {
        &line[self.columns[column]]
    }

    /// The number in a cell; `None` if the cell is empty or the file has no such column.
    fn number(&self, line: &[String], column: &str) -> Option<f64> {
        let cell = line.get(*self.columns.get(column)?)?;
        (!cell.is_empty()).then(|| cell.parse().unwrap())
    }
}

/// What `datasjo ingest` says it did.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    rows: u64,
    duplicates: u64,
    rejects: u64,
}

/// The same by simpler means: records by key, with the newest values.
struct Tally<V> {
    newest: BTreeMap<String, V>,
    rows: u64,
    duplicates: u64,
    rejects: u64,
}

impl<V: PartialEq> Tally<V> {
    fn new() -> Self {
        Self { newest: BTreeMap::new(), rows: 0, duplicates: 0, rejects: 0 }
    }

    fn take(&mut self, key: String, value: V) {
        let is_duplicate = self.newest.get(&key) == Some(&value);
        self.newest.insert(key, value);
        self.rows += u64::from(!is_duplicate);
        self.duplicates += u64::from(is_duplicate);
    }

    fn told(&self) -> Told {
        Told { rows: self.rows, duplicates: self.duplicates, rejects: self.rejects }
    }
}

/// Figures by name: how many values, their sum, the largest.
#[derive(Debug, Default, PartialEq)]
struct Figures(BTreeMap<String, [f64; 3]>);

impl Figures {
    fn add(&mut self, name: impl Into<String>, value: f64) {
        let figures = self.0.entry(name.into()).or_insert([0.0, 0.0, f64::MIN]);
        *figures = [figures[0] + 1.0, figures[1] + value, figures[2].max(value)];
    }

    fn of(values: impl IntoIterator<Item = (String, f64)>) -> Self {
        let mut figures = Self::default();
        for (name, value) in values {
            figures.add(name, value);
        }
        figures
    }

    /// Counts alone.
    fn counts(names: impl IntoIterator<Item = String>) -> Self {
        Self::of(names.into_iter().map(|name| (name, 0.0)))
    }

    fn assert_same(&self, expected: &Self, what: &str) {
        assert!(!expected.0.is_empty(), "{what}: nothing was expected");
        let names = |figures: &Self| figures.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(expected), "{what}");
        for (name, wanted) in &expected.0 {
            let found = &self.0[name];
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * a.abs().max(1.0);
            assert!(found.iter().zip(wanted).all(near), "{what}, {name}: {found:?} instead of {wanted:?}");
        }
    }
}

/// An instance of its own with feeds of `config/examples`.
struct Town {
    dir: TempDir,
    /// The running program to ask; without one the lake is read.
    url: Option<String>,
}

impl Town {
    /// With the feeds whose names begin so.
    fn new(prefixes: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
        for sub in ["feeds", "reference"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
            for file in fs::read_dir(examples.join(sub)).unwrap() {
                let file = file.unwrap();
                let name = file.file_name().into_string().unwrap();
                if sub == "reference" || prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                    fs::copy(file.path(), dir.path().join(sub).join(name)).unwrap();
                }
            }
        }
        let town = Self { dir, url: None };
        town.write("datasjo.toml", "[sql]\nlisten = \"127.0.0.1:0\"\n");
        town
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.dir.path()).stderr(Stdio::null());
        command
    }

    fn ingest(&self, feed: &str, files: &[PathBuf]) -> Told {
        let output = self.command().args(["ingest", "--json", feed]).args(files).output().unwrap();
        assert!(output.status.success(), "ingest {feed}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |name: &str| told[name].as_u64().unwrap();
        Told { rows: count("rows"), duplicates: count("duplicates"), rejects: count("rejects") }
    }

    /// The answer line by line, without its header.
    fn ask(&self, sql: &str) -> Vec<Vec<String>> {
        let mut command = self.command();
        command.args(["query", "--format", "csv", sql]);
        if let Some(url) = &self.url {
            command.args(["--url", url]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "query {sql}");
        let answer = String::from_utf8(output.stdout).unwrap();
        answer.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// Count, sum and largest of `value` for each `name`, of the rows that `rest` (from FROM on) gives.
    fn figures(&self, name: &str, value: &str, rest: &str) -> Figures {
        let sql = format!("SELECT {name} AS name, count({value}), sum({value}), max({value}) {rest} GROUP BY 1");
        let mut figures = Figures::default();
        for line in self.ask(&sql) {
            let numbers: Vec<f64> = line[1..].iter().map(|cell| cell.parse().unwrap_or(0.0)).collect();
            figures.0.insert(line[0].clone(), [numbers[0], numbers[1], numbers[2]]);
        }
        figures
    }

    /// How many rows there are for each `name`.
    fn counts(&self, name: &str, rest: &str) -> Figures {
        self.figures(name, "0.0", rest)
    }

    fn rejects(&self, feed: &str) -> Vec<Vec<String>> {
        self.ask(&format!("SELECT code, count(*) FROM rejects WHERE feed = '{feed}' GROUP BY code ORDER BY code"))
    }
}

// Water ------------------------------------------------------------------------------------------------------------------

/// The sets, the readings they must end with, and their rejects: flows beyond what a main carries.
const WATER: [(&str, usize, u64); 6] = [
    ("bwdf-a", 97_340, 1),
    ("bwdf-b", 85_363, 1),
    ("bwdf-c", 72_983, 0),
    ("bwdf-d", 85_083, 4),
    ("campus", 192_367, 0),
    ("ltown-sim", 218_022, 0),
];
/// Largest flow the dataset takes, l/s.
const LARGEST_FLOW_L_PER_S: f64 = 500.0;

/// Zone, quantity and unit of each meter of a set; and the lines of the sets' tables of meters in one file.
fn meters(sets: &Path) -> (HashMap<String, [String; 3]>, String) {
    let (mut meters, mut all) = (HashMap::new(), String::new());
    for (set, _, _) in WATER {
        let file = sets.join(set).join("meters.csv");
        let table = Csv::read(&file);
        for line in &table.lines {
            let facts = ["zone", "quantity", "unit"].map(|column| table.cell(line, column).to_owned());
            meters.insert(table.cell(line, "meter").to_owned(), facts);
        }
        let lines: String = text(&file).lines().skip(usize::from(!all.is_empty())).map(|line| format!("{line}\n")).collect();
        all.push_str(&lines);
    }
    (meters, all)
}

/// The readings of a set in the dataset's units, by "meter instant".
fn readings(set: &Path, meters: &HashMap<String, [String; 3]>) -> Tally<f64> {
    let file = Csv::read(&set.join("readings.csv.gz"));
    let mut tally = Tally::new();
    for line in &file.lines {
        let meter = file.cell(line, "meter");
        let [_, quantity, unit] = &meters[meter];
        let value = file.number(line, "value").unwrap();
        let value = if unit == "m3/h" { value / 3.6 } else { value };
        if quantity == "flow" && value.abs() > LARGEST_FLOW_L_PER_S {
            tally.rejects += 1;
        } else {
            tally.take(format!("{meter} {}", file.cell(line, "ts")), value);
        }
    }
    tally
}

#[test]
fn readings_of_water_meters_come_out_as_they_are_in_the_files() {
    let Some(sets) = recordings("leaks") else { return };
    let town = Town::new(&["water-"]);
    let (meters, table) = meters(&sets);
    town.write("reference/meters.csv", &table);
    let mut newest = BTreeMap::new();
    let mut rejects = 0;
    for (set, keys, rejected) in WATER {
        let expected = readings(&sets.join(set), &meters);
        assert_eq!((expected.newest.len(), expected.rejects), (keys, rejected), "{set}: these are other recordings");
        let told = town.ingest("water-zone-readings", &[sets.join(set).join("readings.csv.gz")]);
        assert_eq!(told, expected.told(), "{set}");
        rejects += rejected;
        newest.extend(expected.newest);
    }
    assert_eq!(town.rejects("water-zone-readings"), [["out_of_range".to_owned(), rejects.to_string()]]);

    let split = || newest.iter().map(|(key, value)| (key.split_once(' ').unwrap(), *value));
    let value = "coalesce(flow_l_per_s, register_m3, level_m, pressure_m)";
    let by_meter = Figures::of(split().map(|((meter, _), value)| (meter.to_owned(), value)));
    town.figures("meter_id", value, "FROM water_meters").assert_same(&by_meter, "by meter");

    let by_zone_and_month = split().map(|((meter, at), value)| (format!("{} {}", meters[meter][0], &at[..7]), value));
    town.figures("zone_id || ' ' || substr(CAST(observed_at AS VARCHAR), 1, 7)", value, "FROM water_meters")
        .assert_same(&Figures::of(by_zone_and_month), "by zone and month");

    let at_night = split().filter(|((meter, at), _)| meters[*meter][1] == "flow" && ["02", "03", "04"].contains(&&at[11..13]));
    let night_flow = Figures::of(at_night.map(|((meter, _), value)| (meters[meter][0].clone(), value)));
    let rest = "FROM water_meters WHERE flow_l_per_s IS NOT NULL AND date_part('hour', observed_at) IN (2, 3, 4)";
    town.figures("zone_id", "flow_l_per_s", rest).assert_same(&night_flow, "night flow by zone");
}

// Flood ------------------------------------------------------------------------------------------------------------------

/// The files of the series with the names of their catchments.
fn catchments(directory: &Path) -> BTreeMap<String, (PathBuf, Csv)> {
    let files = fs::read_dir(directory.join("series")).unwrap().map(|file| file.unwrap().path());
    let named = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().strip_suffix(".csv.gz").unwrap().to_owned();
        let csv = Csv::read(&path);
        (name, (path, csv))
    };
    files.map(named).collect()
}

/// The values of a column by catchment, with the year.
fn series(catchments: &BTreeMap<String, (PathBuf, Csv)>, column: &str) -> Vec<(String, String, f64)> {
    let mut values = Vec::new();
    for (name, (_, csv)) in catchments {
        let of_line =
            |line: &Vec<String>| Some((name.clone(), csv.cell(line, "time")[..4].to_owned(), csv.number(line, column)?));
        values.extend(csv.lines.iter().filter_map(of_line));
    }
    values
}

/// Brings in the files that have `column` and compares figures by year. `entity` is the column with the catchment's name.
fn check_series(town: &Town, catchments: &BTreeMap<String, (PathBuf, Csv)>, column: &str, feed: &str, entity: &str, value: &str) {
    let dataset = value.split_once('.').unwrap().0;
    let files: Vec<PathBuf> = catchments.values().filter(|(_, csv)| csv.has(column)).map(|(path, _)| path.clone()).collect();
    let values = series(catchments, column);
    let told = town.ingest(feed, &files);
    assert_eq!(told, Told { rows: values.len() as u64, duplicates: 0, rejects: 0 }, "{feed}");
    let by_year = Figures::of(values.into_iter().map(|(name, year, value)| (format!("{name} {year}"), value)));
    let name = format!("{entity} || ' ' || substr(CAST(observed_at AS VARCHAR), 1, 4)");
    town.figures(&name, value, &format!("FROM {dataset}")).assert_same(&by_year, feed);
}

#[test]
fn series_of_catchments_come_out_as_they_are_in_the_files() {
    let Some(directory) = recordings("flood") else { return };
    let town = Town::new(&["flood-evapo", "flood-soil", "flood-temp"]);
    let catchments = catchments(&directory);
    let check = |column, feed, entity, value| check_series(&town, &catchments, column, feed, entity, value);
    check("e_mm", "flood-evapotranspiration", "area_id", "evapotranspiration.evapotranspiration_mm");
    check("sm_pct", "flood-soil-moisture", "sensor_id", "soil_moisture.moisture_pct");
    check("t_c", "flood-temperature", "sensor_id", "temperature.temperature_degc");
}

#[test]
fn rain_and_rivers_come_out_as_they_are_in_the_files() {
    let Some(directory) = recordings("flood") else { return };
    let town = Town::new(&["flood-river", "flood-precipitation"]);
    let catchments = catchments(&directory);
    let files: Vec<PathBuf> = catchments.values().map(|(path, _)| path.clone()).collect();

    let gauges = [("-1", "p_mm"), ("-2", "p2_mm")];
    let rain: Vec<(String, String, f64)> = gauges
        .iter()
        .flat_map(|(gauge, column)| series(&catchments, column).into_iter().map(move |(name, y, mm)| (name + gauge, y, mm)))
        .collect();
    let told = town.ingest("flood-precipitation", &files);
    assert_eq!(told, Told { rows: rain.len() as u64, duplicates: 0, rejects: 0 });
    let by_year = Figures::of(rain.into_iter().map(|(name, year, mm)| (format!("{name} {year}"), mm)));
    let gauge_and_year = "gauge_id || ' ' || substr(CAST(observed_at AS VARCHAR), 1, 4)";
    town.figures(gauge_and_year, "rain_mm", "FROM precipitation").assert_same(&by_year, "rain");

    let has_value = |csv: &Csv, line: &Vec<String>| ["q_m3s", "stage_cm"].iter().any(|c| csv.number(line, c).is_some());
    let rows: usize = catchments.values().map(|(_, csv)| csv.lines.iter().filter(|line| has_value(csv, line)).count()).sum();
    assert_eq!(town.ingest("flood-river", &files), Told { rows: rows as u64, duplicates: 0, rejects: 0 });
    for (column, value) in [("q_m3s", "discharge_m3_per_s"), ("stage_cm", "stage_cm")] {
        let expected = series(&catchments, column).into_iter().map(|(name, _, value)| (name, value));
        let rest = format!("FROM river WHERE {value} IS NOT NULL");
        town.figures("station_id", value, &rest).assert_same(&Figures::of(expected), column);
    }
}

// Traffic ----------------------------------------------------------------------------------------------------------------

#[test]
fn traffic_with_its_weather_comes_out_as_it_is_in_the_file() {
    let Some(directory) = recordings("traffic") else { return };
    let file = directory.join("metro_i94_2012_2016.csv.gz");
    let town = Town::new(&["traffic-"]);
    let csv = Csv::read(&file);
    let tally = |column: &str, is_possible: fn(f64) -> bool| {
        let mut tally = Tally::new();
        for line in &csv.lines {
            match csv.number(line, column).unwrap() {
                value if is_possible(value) => tally.take(csv.cell(line, "date_time").to_owned(), value),
                _ => tally.rejects += 1,
            }
        }
        tally
    };
    let counts = tally("traffic_volume", |_| true);
    let rain = tally("rain_1h", |mm| mm <= 500.0);
    let temperature = tally("temp", |kelvin| kelvin - 273.15 >= -60.0);
    let files = [file];
    assert_eq!(town.ingest("traffic-metro-counts", &files), counts.told());
    assert_eq!(counts.told(), Told { rows: 25_329, duplicates: 4_321, rejects: 0 });
    assert_eq!(town.ingest("traffic-metro-rain", &files), rain.told());
    assert_eq!(town.ingest("traffic-metro-temperature", &files), temperature.told());
    let again = Told { rows: 0, duplicates: csv.lines.len() as u64, rejects: 0 };
    assert_eq!(town.ingest("traffic-metro-counts", &files), again, "read a second time");
    assert_eq!(town.rejects("traffic-metro-rain"), [["out_of_range", "1"]]);
    assert_eq!(town.rejects("traffic-metro-temperature"), [["out_of_range", "10"]]);

    let local = "CAST(to_local_time(arrow_cast(observed_at, 'Timestamp(Microsecond, Some(\"America/Chicago\"))')) AS VARCHAR)";
    let by_hour = Figures::of(counts.newest.iter().map(|(at, vehicles)| (at[11..13].to_owned(), *vehicles)));
    town.figures(&format!("substr({local}, 12, 2)"), "vehicles", "FROM traffic_counts").assert_same(&by_hour, "by local hour");

    let by_month = Figures::of(temperature.newest.iter().map(|(at, kelvin)| (at[..7].to_owned(), kelvin - 273.15)));
    let month = format!("substr({local}, 1, 7)");
    town.figures(&month, "temperature_degc", "FROM temperature").assert_same(&by_month, "by local month");

    let weather = |mm: f64| if mm >= 2.0 { "wet" } else { "dry" }.to_owned();
    let both = counts.newest.iter().filter_map(|(at, vehicles)| Some((weather(*rain.newest.get(at)?), *vehicles)));
    let rest = "FROM traffic_counts c JOIN precipitation p ON p.gauge_id = c.point_id AND p.observed_at = c.observed_at";
    town.figures("CASE WHEN rain_mm >= 2 THEN 'wet' ELSE 'dry' END", "vehicles", rest)
        .assert_same(&Figures::of(both), "by weather");
}

// Parking ----------------------------------------------------------------------------------------------------------------

/// What the feeds must make of a capture. The values of a crossing are `direction class line_total`, of an occupancy the
/// count, of a device its state.
#[derive(Default)]
struct Capture {
    feeds: BTreeMap<&'static str, Tally<String>>,
    messages: u64,
    unwanted: BTreeMap<String, u64>,
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

    /// Of a message without a time of its own each is news.
    fn news(&mut self, feed: &'static str, value: String) {
        let key = format!("{} {value}", self.messages);
        self.feed(feed).take(key, value);
    }

    fn judge(&mut self, topic: &str, message: &Value) {
        let levels: Vec<&str> = topic.split('/').collect();
        let payload = &message["payload"];
        match levels[..] {
            ["axis", serial, "event", .., scenario @ ("Device1Scenario1" | "Device1Scenario2")] => {
                let (key, value) = axis_crossing(serial, scenario, payload);
                self.feed("parking-axis-crossings").take(key, value);
            }
            ["axis", _, "event", .., "Device1Scenario3"] => {
                let key = payload["timestamp"].to_string();
                let count = word(&payload["message"]["data"]["car"]);
                self.feed("parking-axis-occupancy").take(key, count);
            }
            ["frigate", "events"] => {
                let (key, value) = frigate_object(&payload["after"]);
                self.feed("parking-frigate-events").take(key, value);
            }
            ["frigate", "arena_sor_plass", "car"] => self.news("parking-frigate-zones", payload.to_string()),
            ["frigate", _, "status", "detect"] => self.news("device-frigate-cameras", word(&message["raw"])),
            ["frigate", "available"] => self.news("device-frigate-server", word(&message["raw"])),
            ["counter", _, "line", _] if payload.is_null() => self.feed("parking-line-events").rejects += 1,
            ["counter", _, "line", _] => {
                let key = format!("{} {}", payload["id"], payload["ts"]);
                let value = format!("{} {} ", word(&payload["dir"]), class(&payload["class"]));
                self.feed("parking-line-events").take(key, value);
            }
            ["counter", _, "zone", _] => {
                self.feed("parking-line-zones").take(payload["ts"].to_string(), payload["count"].to_string());
            }
            ["v3", _, "devices", _, "up"] => {
                for (key, value) in lorawan_totals(payload) {
                    self.feed("parking-lorawan-counter").take(key, value);
                }
            }
            ["manual", "count", lot] => {
                let key = format!("{lot} {}", payload["counted_at"]);
                self.feed("parking-manual-counts").take(key, payload["occupied"].to_string());
            }
            ["axis" | "counter", device, "status"] => {
                let key = format!("{device} {}", payload["ts"]);
                self.feed("device-heartbeats").take(key, word(&payload["state"]));
            }
            ["axis" | "counter", _, "connection"] => {
                let state = if payload["connected"] == true { "online" } else { "offline" };
                self.news("device-connections", state.to_owned());
            }
            _ => *self.unwanted.entry(topic.to_owned()).or_default() += 1,
        }
    }

    /// `name value` of the newest values of some feeds.
    fn values(&self, prefix: &str) -> impl Iterator<Item = (&'static str, &String)> {
        let feeds = self.feeds.iter().filter(move |(feed, _)| feed.starts_with(prefix));
        feeds.flat_map(|(feed, tally)| tally.newest.values().map(|value| (*feed, value)))
    }
}

fn word(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Our word for a class of the devices.
fn class(theirs: &Value) -> String {
    match theirs.as_str().unwrap() {
        "human" => "person",
        "motorcycle/bicycle" | "motorcycle" | "bicycle" => "two_wheeler",
        other => other,
    }
    .to_owned()
}

fn axis_crossing(serial: &str, scenario: &str, payload: &Value) -> (String, String) {
    let data = &payload["message"]["data"];
    let direction = if data["scenario"] == "inn" { "in" } else { "out" };
    let total = word(&data["total"]);
    let key = format!("{serial} {scenario} {total} {}", payload["timestamp"]);
    (key, format!("{direction} {} {total}", class(&data["reason"])))
}

/// The direction is the order in which the zones at the gate were entered, up to the innermost or the outermost. Every report
/// of an object says more than the one before, so the score is part of what is compared.
fn frigate_object(after: &Value) -> (String, String) {
    let zones = ["vei", "port", "plass"];
    let entered = after["entered_zones"].as_array().unwrap().iter();
    let places: Vec<usize> = entered.filter_map(|zone| zones.iter().position(|z| zone == z)).collect();
    let direction = match (places.first(), places.last()) {
        (Some(first), Some(2)) if *first < 2 => "in",
        (Some(first), Some(0)) if *first > 0 => "out",
        _ => "none",
    };
    (after["id"].to_string(), format!("{direction} {}  {}", class(&after["label"]), after["top_score"]))
}

/// Two rows of a frame; a copy of it by way of another gateway has the same number.
fn lorawan_totals(payload: &Value) -> [(String, String); 2] {
    let up = &payload["uplink_message"];
    ["in", "out"].map(|direction| {
        let key = format!("{direction} {} {}", payload["end_device_ids"]["dev_addr"], up["f_cnt"].as_u64().unwrap_or(0));
        let total = &up["decoded_payload"][format!("line_1_total_{direction}")];
        (key, format!("{direction} vehicle {total}"))
    })
}

/// The program at work; ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `done` says so.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < GUARD, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Starts the program and waits until each of its feeds has subscribed.
async fn start(town: &mut Town) -> Running {
    let mut child = town.command().arg("run").stdout(Stdio::piped()).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let running = Running(child);
    let mut ready = String::new();
    BufReader::new(stdout).read_line(&mut ready).unwrap();
    let url = ready.split_whitespace().find_map(|word| word.strip_prefix("sql=")).expect("it does not get ready").to_owned();
    let client = reqwest::Client::builder().no_proxy().timeout(GUARD).build().unwrap();
    let begun = Instant::now();
    loop {
        let answer = client.get(format!("{url}/healthz")).send().await.unwrap().text().await.unwrap();
        let health: Value = serde_json::from_str(&answer).unwrap();
        if health["feeds"].as_array().unwrap().iter().all(|feed| feed["state"] == "up") {
            break;
        }
        assert!(begun.elapsed() < GUARD, "the feeds do not subscribe: {health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    town.url = Some(url);
    running
}

/// The ledger must say of each feed what the capture says.
fn check_ledger(town: &Town, capture: &Capture) {
    let sql = "SELECT feed, sum(received), sum(committed + in_flight), sum(revised), sum(duplicate), sum(rejected) \
               FROM ledger GROUP BY feed ORDER BY feed";
    let expected = capture.feeds.iter().map(|(feed, tally)| {
        let revised = tally.rows - tally.newest.len() as u64;
        let received = tally.rows + tally.duplicates + tally.rejects;
        let counts = [received, tally.rows, revised, tally.duplicates, tally.rejects].map(|count| count.to_string());
        [vec![(*feed).to_owned()], counts.to_vec()].concat()
    });
    assert_eq!(town.ask(sql), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_capture_of_a_towns_car_parks_comes_out_as_it_is_in_the_file() {
    let Some(directory) = recordings("parking") else { return };
    let file = directory.join("scenario/stream.jsonl.gz");
    let capture = Capture::read(&file);
    let unwanted: u64 = capture.unwanted.values().sum();
    assert_eq!((capture.messages, unwanted), (117_829, 9), "these are other recordings");

    let broker = Mosquitto::start().await;
    let mut town = Town::new(&["parking-", "device-"]);
    let config = format!("[sql]\nlisten = \"127.0.0.1:0\"\n[broker.main]\nurl = \"{}\"\n", broker.url());
    town.write("datasjo.toml", &config);
    let _running = start(&mut town).await;
    let address = format!("127.0.0.1:{}", broker.port());
    let replayed = town.command().arg("replay").arg(&file).args(["--broker", &address]).output().unwrap();
    assert!(replayed.status.success(), "replay the capture");
    let wanted = (capture.messages - unwanted).to_string();
    until("every message has come", || town.ask("SELECT sum(deliveries) FROM ledger")[0][0] == wanted);

    check_ledger(&town, &capture);
    assert_eq!(town.rejects("parking-line-events"), [["not_json", "5"]]);
    check_answers(&town, &capture);
}

fn check_answers(town: &Town, capture: &Capture) {
    let crossings = ["parking-axis-crossings", "parking-frigate-events", "parking-line-events", "parking-lorawan-counter"];
    let parts = |value: &String| value.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let of_crossings = || crossings.iter().flat_map(|feed| capture.values(feed)).map(|(feed, value)| (feed, parts(value)));

    let by_class = Figures::counts(of_crossings().map(|(feed, v)| format!("{feed} {} {}", v[0], v[1])));
    town.counts("feed || ' ' || direction || ' ' || vehicle_class", "FROM parking_crossings").assert_same(&by_class, "crossings");

    let totals = of_crossings().filter(|(_, v)| !v[2].is_empty());
    let totals = Figures::of(totals.map(|(feed, v)| (format!("{feed} {}", v[0]), v[2].parse().unwrap())));
    town.figures("feed || ' ' || direction", "line_total", "FROM parking_crossings WHERE line_total IS NOT NULL")
        .assert_same(&totals, "running totals");

    let counts = ["parking-axis-occupancy", "parking-frigate-zones", "parking-line-zones", "parking-manual-counts"];
    let counts = counts.iter().flat_map(|feed| capture.values(feed));
    let occupied = Figures::of(counts.map(|(feed, value)| (feed.to_owned(), value.parse().unwrap())));
    town.figures("feed", "occupied", "FROM parking_occupancy").assert_same(&occupied, "occupancy");

    let states = Figures::counts(capture.values("device-").map(|(feed, value)| format!("{feed} {value}")));
    town.counts("feed || ' ' || state", "FROM device_status").assert_same(&states, "states of devices");
}
