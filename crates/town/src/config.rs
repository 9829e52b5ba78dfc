//! The feed files that read the town, and the reference tables that go with it. In the feed files stand `@MQTT@` and
//! `@HTTP@` for host and port of the broker and of the road counters' service, and `@TOKEN_FILE@` for the file that holds
//! the push token; [`fill`] puts them in.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    CATCHMENT_KM2, GAUGES, LOTS, METERS, Meter, POINTS, RAIN_PATH, RIVER, RIVER_AT_ZERO_CM, RIVER_CM_BY_FLOW,
    RIVER_FLOW_EXPONENT, Reports, STATIONS, Town, ZONES,
};
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

/// Reference tables by name (the file is `<name>.csv`): what the products need to know of the town, with its devices' own ids.
/// Matches are those of 400 days from the town's start.
pub fn reference_files(town: &Town) -> Vec<(&'static str, String)> {
    vec![
        ("parking_lots", parking_lots(town)),
        ("parking_devices", parking_devices()),
        ("parking_class_weights", parking_class_weights()),
        ("parking_alternatives", parking_alternatives()),
        ("parking_events", parking_events(town)),
        ("zones", zones()),
        ("meters", meters()),
        ("leak_thresholds", LEAK_THRESHOLDS.to_owned()),
        ("water_prices", "price_nok_per_m3,reason\n25.0,what the demo town says a cubic metre costs it\n".to_owned()),
        ("catchments", catchments()),
        ("catchment_gauges", table("catchment_id,gauge_id", GAUGES.iter().map(|gauge| format!("{},{}", RIVER.id, gauge.id)))),
        ("flood_parameters", format!("{FLOOD_PARAMETERS}\nnone,1900-01-01T00:00:00Z{}\n", ",0.5".repeat(30))),
        ("points", table("point_id,name", POINTS.iter().map(|point| format!("{},{}", point.id, point.name)))),
    ]
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

/// An hour between two signs of life of a camera, and ten minutes for one that comes late.
const STALE_AFTER_S: u32 = 4_200;

fn parking_lots(town: &Town) -> String {
    let start = town.config().start;
    let row = |lot: &crate::model::Lot| {
        let cars = town.cars_in(lot, start);
        format!("{},{},{},{cars},{},{},{STALE_AFTER_S}", lot.id, lot.name, lot.spaces, lot.full_at(), lot.free_again_at())
    };
    table("lot,name,capacity,initial_occupied,full_at,free_again_at,stale_after_s", LOTS.iter().map(row))
}

fn parking_devices() -> String {
    let rows = LOTS.iter().flat_map(|lot| {
        let gate = format!("{},,{},gate", lot.camera, lot.id);
        [gate, format!("{},Device1Scenario3,{},view", lot.camera, lot.id)]
    });
    table("device_id,area,lot,role", rows)
}

/// Two-wheelers and people take no space.
fn parking_class_weights() -> String {
    let weights = [("car", 1.0), ("truck", 1.0), ("bus", 1.0), ("vehicle", 1.0), ("two_wheeler", 0.0), ("person", 0.0)];
    let rows = LOTS.iter().flat_map(|lot| weights.iter().map(move |(class, spaces)| format!("{},{class},{spaces:?}", lot.id)));
    table("lot,vehicle_class,spaces", rows)
}

/// Metres on foot from one car park to another.
fn parking_alternatives() -> String {
    let distances =
        [("traffhuset", "sentrum", 450.0), ("traffhuset", "aker-stadion", 900.0), ("sentrum", "aker-stadion", 1100.0)];
    let rows = distances.iter().flat_map(|(a, b, metres)| [(a, b, metres), (b, a, metres)]);
    table("lot,alternative,distance_m", rows.map(|(lot, other, metres)| format!("{lot},{other},{metres:?}")))
}

/// How far ahead the matches are known.
const EVENTS_KNOWN: SignedDuration = SignedDuration::from_hours(400 * 24);

/// The first line is of no car park; it tells the types in a town without matches.
fn parking_events(town: &Town) -> String {
    let start = town.config().start;
    let until = start.checked_add(EVENTS_KNOWN).unwrap_or(Timestamp::MAX);
    let spaces = |id: &str| LOTS.iter().find(|lot| lot.id == id).map_or(0, |lot| lot.spaces);
    let matches = town.matches(start, until).into_iter();
    let rows = matches.map(|one| format!("{},{},{},{}.0,Match", one.lot, one.from, one.until, spaces(one.lot)));
    let none = "none,1970-01-01T00:00:00Z,1970-01-01T01:00:00Z,0.5,none".to_owned();
    table("lot,starts_at,ends_at,vehicles,name", std::iter::once(none).chain(rows))
}

/// Properties, mains and pressure are invented, in proportion to the zones' use; they serve the leakage level alone.
fn zones() -> String {
    let row = |zone: &crate::model::Zone| {
        let properties = (zone.use_m3_per_day / 0.8).round();
        let (connections, mains_km, private_km) = (properties * 0.4, properties * 0.006, properties * 0.004);
        format!(
            "{},{},NO,{properties:.0},{mains_km:.1},{connections:.0},{private_km:.1},50.0,{:?}",
            zone.id, zone.name, zone.use_m3_per_day
        )
    };
    let header = "zone_id,name,calendar,properties,mains_km,connections,private_pipes_km,pressure_m,use_m3_per_day";
    table(header, ZONES.iter().map(row))
}

/// What a product calls a submeter the town calls a building's meter. There is no tank, so no area.
fn meters() -> String {
    let row = |meter: &Meter| {
        let role = if meter.role == "building" { "submeter" } else { meter.role };
        let (quantity, range) = match meter.reports {
            Reports::Register => ("register", format!("{:?}", meter.range_m3)),
            Reports::Flow => ("flow", String::new()),
        };
        format!("{},{},{role},{quantity},900,{range},", meter.id, meter.zone)
    };
    table("meter_id,zone_id,role,quantity,interval_s,register_max_m3,area_m2", METERS.iter().map(row))
}

/// As of the products' own measurements on development sets.
const LEAK_THRESHOLDS: &str = "part_kind,threshold,share_at_least,reason
zone,3.5,0.003,about one false alarm a zone and year
pipes,2.5,0.003,inlet less buildings is far quieter than a zone
building,3.5,0.003,as a zone
";

/// The river with its rating curve turned round. Nobody measures evaporation in the town.
fn catchments() -> String {
    let flow =
        |stage_cm: u32| ((f64::from(stage_cm) - RIVER_AT_ZERO_CM) / RIVER_CM_BY_FLOW).max(0.0).powf(1.0 / RIVER_FLOW_EXPONENT);
    let [yellow, orange, red] = RIVER.thresholds_cm.map(flow);
    let (exponent, station) = (1.0 / RIVER_FLOW_EXPONENT, STATIONS[0]);
    let factor = RIVER_CM_BY_FLOW.powf(-exponent);
    let river = format!(
        "{},{},{CATCHMENT_KM2:?},3600,62.7,{station},none,{yellow:.2},{orange:.2},{red:.2},\
         {factor:.9},{RIVER_AT_ZERO_CM:?},{exponent:.9}",
        RIVER.id, RIVER.id
    );
    let header = "catchment_id,station_id,area_km2,step_s,latitude_deg,temperature_sensor_id,evaporation_area_id,yellow_m3_per_s,\
                  orange_m3_per_s,red_m3_per_s,rating_factor,rating_zero_cm,rating_exponent";
    table(header, std::iter::once(river))
}

/// As `datasjo calibrate flood` writes them. Nothing is calibrated here, so the products take their default parameters; the one
/// line is of no catchment and tells the types.
const FLOOD_PARAMETERS: &str = "catchment_id,valid_from,production_mm,exchange_mm_per_h,routing_mm,delay_h,melt_mm_per_degc_day,\
    snow_correction,band_range_degc,evaporation_factor,fit,observed_constant,observed_discharge,observed_rise,observed_rain_0_3,\
    observed_rain_3_6,observed_rain_6_12,observed_rain_12_24,observed_api,observed_api_rain,observed_warmth,forecast_constant,\
    forecast_discharge,forecast_rise,forecast_rain_0_3,forecast_rain_3_6,forecast_rain_6_12,forecast_rain_12_24,forecast_api,\
    forecast_api_rain,forecast_warmth,forecast_ahead";

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
        let start = "2026-05-04T00:00:00Z".parse().unwrap();
        let town = Town::new(crate::model::TownConfig { seed: 7, start }).unwrap();
        for (name, csv) in reference_files(&town) {
            let cells: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
            assert!(cells.len() > 1 && cells.iter().all(|n| *n == cells[0]), "{name}: {csv}");
        }
    }

    #[test]
    fn the_rating_curve_gives_back_the_flow_behind_a_stage() {
        let river = catchments().lines().nth(1).unwrap().to_owned();
        let cells: Vec<f64> = river.split(',').skip(7).map(|cell| cell.parse().unwrap()).collect();
        let [yellow, _, _, factor, zero, exponent] = cells[..] else { panic!("{river}") };
        let flow = factor * (f64::from(RIVER.thresholds_cm[0]) - zero).powf(exponent);
        assert!((flow - yellow).abs() < 0.01, "{flow} and {yellow} m3/s");
    }
}
