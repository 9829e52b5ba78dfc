//! The feed files that read the town, and the reference tables that go with it. In the feed files stand `@MQTT@` and
//! `@HTTP@` for host and port of the broker and of the road counters' service, and `@TOKEN_FILE@` for the file that holds
//! the push token; [`fill`] puts them in.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use crate::model::{GAUGES, LOTS, METERS, POINTS, RAIN_PATH, RIVER, Reports, SOIL_PROBES, STATIONS, ZONES};
use crate::served::COUNTS_PATH;

/// Feed files by name (the file is `<name>.toml`), with the placeholders.
pub fn feed_files() -> Vec<(&'static str, String)> {
    let camera = |scenario: &str| {
        let topic = format!("axis/+/event/CameraApplicationPlatform/ObjectAnalytics/Device1Scenario{scenario}");
        format!("\"{topic}\"")
    };
    vec![
        ("parking-crossings", mqtt("parking_crossings", &[camera("1"), camera("2")].join(", "), CROSSINGS)),
        ("parking-areas", mqtt("parking_occupancy", &camera("3"), AREAS)),
        ("camera-status", mqtt("device_status", "\"devices/+/status\"", STATUS)),
        ("water-registers", mqtt("water_meters", "\"water/+/+/register\"", REGISTERS)),
        ("water-flow", mqtt("water_meters", "\"water/+/+/flow\"", FLOW)),
        ("river", mqtt("river", "\"river/+/stage\"", STAGE)),
        ("soil-moisture", mqtt("soil_moisture", "\"soil/+/moisture\"", MOISTURE)),
        ("air-temperature", mqtt("temperature", "\"weather/+/temperature\"", AIR)),
        ("road-counts", poll()),
        ("rain", push()),
    ]
}

/// A feed file's text with its placeholders filled in.
pub fn fill(feed: &str, mqtt: SocketAddr, http: SocketAddr, token_file: &Path) -> String {
    let token_file = token_file.display().to_string().replace('\\', "/");
    feed.replace("@MQTT@", &mqtt.to_string()).replace("@HTTP@", &http.to_string()).replace("@TOKEN_FILE@", &token_file)
}

/// Reference tables by name (the file is `<name>.csv`).
pub fn reference_files() -> Vec<(&'static str, String)> {
    vec![("lots", lots()), ("zones", zones()), ("meters", meters()), ("points", points()), ("gauges", gauges())]
}

fn mqtt(dataset: &str, topics: &str, decode: &str) -> String {
    format!("dataset = \"{dataset}\"\n\n[source]\nkind = \"mqtt\"\nurl = \"mqtt://@MQTT@\"\ntopics = [{topics}]\n\n{decode}")
}

const CROSSINGS: &str = r#"# Scenario 1 of every camera counts in, scenario 2 out.
[decode]
format = "axis_object_analytics"

[decode.columns]
direction = { field = "line", map = { Device1Scenario1 = "in", Device1Scenario2 = "out" } }
"#;

const AREAS: &str = r#"[decode]
format = "axis_object_analytics"

[decode.columns]
method = { value = "camera" }
"#;

const STATUS: &str = r#"# The broker keeps the last state of each camera; when it sends it again it is old news.
[decode]
format = "json"
retained = "skip"

[decode.columns]
device_id = "device_id"
signal = { field = "status", map = { online = "heartbeat", offline = "connection" } }
observed_at = { field = "time", time = "rfc3339" }
state = "status"
retained = { retained = true }
"#;

const REGISTERS: &str = r#"[decode]
format = "json"
topic = "water/{zone_id}/{meter_id}/register"

[decode.columns]
meter_id = { label = "meter_id" }
zone_id = { label = "zone_id" }
observed_at = { field = "time", time = "rfc3339" }
register_m3 = { field = "register_m3", unit = "m3" }
serial = "serial"
"#;

const FLOW: &str = r#"# Bolsøya's meter sends its mean flow of 15 minutes and no register.
[decode]
format = "json"
topic = "water/{zone_id}/{meter_id}/flow"

[decode.columns]
meter_id = { label = "meter_id" }
zone_id = { label = "zone_id" }
observed_at = { field = "time", time = "rfc3339" }
flow_l_per_s = { field = "flow_l_per_s", unit = "l/s" }
serial = "serial"
"#;

const STAGE: &str = r#"[decode]
format = "json"

[decode.columns]
station_id = "station_id"
observed_at = { field = "time", time = "rfc3339" }
stage_cm = { field = "stage_cm", unit = "cm" }
"#;

const MOISTURE: &str = r#"# This logger writes local time without an offset. Of October's doubled hour the first is taken.
[decode]
format = "json"

[decode.columns]
sensor_id = "probe_id"
observed_at = { field = "time", time = "rfc3339", zone = "Europe/Oslo", fold = "first" }
moisture_pct = { field = "soil_moisture_pct", unit = "%" }
"#;

const AIR: &str = r#"[decode]
format = "json"

[decode.columns]
sensor_id = "station_id"
kind = { value = "air" }
observed_at = { field = "time", time = "rfc3339" }
temperature_degc = { field = "air_temperature_c", unit = "degC" }
"#;

/// Asked often and without the politeness a public service is owed: it is on this machine, and a history is many pages.
fn poll() -> String {
    format!(
        r#"dataset = "traffic_counts"

[source]
kind = "poll"
url = "http://@HTTP@{COUNTS_PATH}"
every_s = 5
requests_per_minute = 6000
paging = {{ cursor = {{ pointer = "/next", has_more = "/more", variable = "after", resume = true }} }}

[decode]
format = "json"
records = "/items"

[decode.columns]
point_id = "point_id"
direction = "direction"
lane = {{ value = "all" }}
length_class = "length_class"
observed_at = {{ field = "to", time = "rfc3339" }}
interval_s = {{ value = 3600 }}
vehicles = "count"
coverage_pct = {{ field = "coverage_pct", unit = "%" }}
"#
    )
}

/// The limit is far above one station's, because a history of months is posted in minutes.
fn push() -> String {
    format!(
        r#"dataset = "precipitation"

[source]
kind = "push"
path = "{RAIN_PATH}"
tokens = [{{ name = "rain-station", auth = {{ bearer = {{ file = "@TOKEN_FILE@" }} }} }}]
requests_per_minute = 60000

[decode]
format = "json"

[decode.columns]
gauge_id = "gauge_id"
observed_at = {{ field = "time", time = "rfc3339" }}
interval_s = {{ value = 600 }}
rain_mm = {{ field = "precipitation_mm", unit = "mm" }}
"#
    )
}

fn table(header: &str, rows: impl Iterator<Item = String>) -> String {
    let mut csv = format!("{header}\n");
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(csv, "{row}");
    }
    csv
}

fn lots() -> String {
    let row = |lot: &crate::model::Lot| {
        let lines = "Device1Scenario1,Device1Scenario2,Device1Scenario3";
        format!("{},{},{},{},{},{lines}", lot.id, lot.name, lot.spaces, lot.overnight, lot.camera)
    };
    table("lot_id,name,spaces,overnight,device_id,line_in,line_out,area", LOTS.iter().map(row))
}

fn zones() -> String {
    table("zone_id,name,use_m3_per_day", ZONES.iter().map(|zone| format!("{},{},{}", zone.id, zone.name, zone.use_m3_per_day)))
}

fn meters() -> String {
    let row = |meter: &crate::model::Meter| {
        let reports = match meter.reports {
            Reports::Register => "register",
            Reports::Flow => "flow",
        };
        format!("{},{},{},{reports},{}", meter.id, meter.zone, meter.role, meter.range_m3)
    };
    table("meter_id,zone_id,role,reports,range_m3", METERS.iter().map(row))
}

fn points() -> String {
    table("point_id,name", POINTS.iter().map(|point| format!("{},{}", point.id, point.name)))
}

fn gauges() -> String {
    let rain = GAUGES.iter().map(|gauge| format!("{},{},rain,,,", gauge.id, gauge.name));
    let [yellow, orange, red] = RIVER.thresholds_cm;
    let river = format!("{},{},river,{yellow},{orange},{red}", RIVER.id, RIVER.name);
    let soil = SOIL_PROBES.iter().map(|probe| format!("{probe},{probe},soil_moisture,,,"));
    let air = STATIONS.iter().map(|station| format!("{station},{station},air_temperature,,,"));
    table("gauge_id,name,kind,yellow_cm,orange_cm,red_cm", rain.chain([river]).chain(soil).chain(air))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_placeholder_is_left_when_all_are_filled() {
        let (mqtt, http) = (SocketAddr::from(([127, 0, 0, 1], 1883)), SocketAddr::from(([127, 0, 0, 1], 8080)));
        for (name, feed) in feed_files() {
            let filled = fill(&feed, mqtt, http, Path::new("/run/town/token"));
            assert!(!filled.contains('@'), "{name}: {filled}");
            assert!(filled.starts_with("dataset = \"") && filled.contains("[decode]"), "{name}");
        }
    }

    #[test]
    fn every_line_of_a_reference_table_has_the_cells_of_its_header() {
        for (name, csv) in reference_files() {
            let cells: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
            assert!(cells.len() > 1 && cells.iter().all(|n| *n == cells[0]), "{name}: {csv}");
        }
    }
}
