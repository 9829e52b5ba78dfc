//! A motorway's counts with the weather, an hour a line or several, in local time.

use super::{Csv, Figures, Tally, Told, Town, recordings};

/// Local time of the road.
const LOCAL: &str =
    "CAST(to_local_time(arrow_cast(observed_at, 'Timestamp(Microsecond, Some(\"America/Chicago\"))')) AS VARCHAR)";

/// The values of a column by local time; impossible ones are rejects.
fn hours(csv: &Csv, column: &str, is_possible: fn(f64) -> bool) -> Tally<f64> {
    let mut tally = Tally::new();
    for line in &csv.lines {
        let value = csv.number(line, column).unwrap();
        if is_possible(value) {
            tally.take(csv.cell(line, "date_time").to_owned(), value);
        } else {
            tally.rejects += 1;
        }
    }
    tally
}

#[tokio::test]
async fn traffic_with_its_weather_comes_out_as_it_is_in_the_file() {
    let Some(directory) = recordings("traffic") else { return };
    let files = [directory.join("metro_i94_2012_2016.csv.gz")];
    let town = Town::new(&["traffic-"]);
    let csv = Csv::read(&files[0]);
    let counts = hours(&csv, "traffic_volume", |_| true);
    let rain = hours(&csv, "rain_1h", |mm| mm <= 500.0);
    let temperature = hours(&csv, "temp", |kelvin| kelvin - 273.15 >= -60.0);
    assert_eq!(counts.told(), Told { rows: 25_329, duplicates: 4_321, rejects: 0 }, "this is another recording");
    assert_eq!(town.ingest("traffic-metro-counts", &files), counts.told());
    assert_eq!(town.ingest("traffic-metro-rain", &files), rain.told());
    assert_eq!(town.ingest("traffic-metro-temperature", &files), temperature.told());
    let again = Told { rows: 0, duplicates: csv.lines.len() as u64, rejects: 0 };
    assert_eq!(town.ingest("traffic-metro-counts", &files), again, "read a second time");
    assert_eq!(town.rejects("traffic-metro-rain").await, [("out_of_range".to_owned(), 1)]);
    assert_eq!(town.rejects("traffic-metro-temperature").await, [("out_of_range".to_owned(), 10)]);

    let by_hour = counts.newest.iter().map(|(at, vehicles)| (at[11..13].to_owned(), *vehicles));
    let found = town.figures(&format!("substr({LOCAL}, 12, 2)"), "vehicles", "FROM traffic_counts").await;
    found.assert_same(&Figures::of(by_hour), "vehicles by local hour");

    let by_month = temperature.newest.iter().map(|(at, kelvin)| (at[..7].to_owned(), kelvin - 273.15));
    let found = town.figures(&format!("substr({LOCAL}, 1, 7)"), "temperature_degc", "FROM temperature").await;
    found.assert_same(&Figures::of(by_month), "temperature by local month");

    let weather = |at: &String| Some(if *rain.newest.get(at)? >= 2.0 { "wet".to_owned() } else { "dry".to_owned() });
    let by_weather = counts.newest.iter().filter_map(|(at, vehicles)| Some((weather(at)?, *vehicles)));
    let rest = "FROM traffic_counts c JOIN precipitation p ON p.gauge_id = c.point_id AND p.observed_at = c.observed_at";
    let found = town.figures("CASE WHEN rain_mm >= 2 THEN 'wet' ELSE 'dry' END", "vehicles", rest).await;
    found.assert_same(&Figures::of(by_weather), "vehicles by weather");
}
