use std::ops::Range;

use serde_json::{Value, json};

use super::water::bump;
use super::{FaultKind, Made, Reading, Town, rounded};
use crate::calendar::{Calendar, HOUR, MINUTE, instant};
use crate::messages::Via;

/// An hour's counts can be fetched this long after the hour.
pub(crate) const READY_AFTER: i64 = 10 * MINUTE;

/// A road with a counter for each direction.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Its id in the service and in tables.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Vehicles on an ordinary weekday, both directions.
    pub vehicles_per_day: f64,
}

/// The counting points.
pub static POINTS: [Point; 3] = [
    Point { id: "roseby", name: "Roseby", vehicles_per_day: 9_200.0 },
    Point { id: "aro", name: "Årø", vehicles_per_day: 13_500.0 },
    Point { id: "fraenavegen", name: "Frænavegen", vehicles_per_day: 11_000.0 },
];

const DIRECTIONS: [&str; 2] = ["towards_centre", "from_centre"];
/// Length classes in metres, with the share of each.
const CLASSES: [(&str, f64); 3] = [("[..,5.6)", 0.89), ("[5.6,12.5)", 0.08), ("[12.5,..)", 0.03)];

impl Town {
    /// The counts of an hour of all points, in the order the service lists them: an array of rows.
    pub(crate) fn counts(&self, hour_start: i64) -> Vec<Value> {
        let mut rows = Vec::new();
        for point in &POINTS {
            let coverage = self.coverage(point, hour_start);
            for direction in DIRECTIONS {
                for (class, share) in CLASSES {
                    let vehicles = self.vehicles(point, direction, hour_start) * share * coverage / 100.0;
                    let blur = 1.0 + 0.06 * self.road_chance(point, class, direction).at(hour_start).bell();
                    rows.push(json!({
                        "point_id": point.id,
                        "direction": direction,
                        "length_class": class,
                        "from": instant(hour_start).to_string(),
                        "to": instant(hour_start + HOUR).to_string(),
                        "count": (vehicles * blur).round().max(0.0) as i64,
                        "coverage_pct": coverage,
                    }));
                }
            }
        }
        rows
    }

    /// The hour that ends when this one does is ready some minutes later; all its rows come as one.
    pub(super) fn road_counts(&self, hour: &Range<i64>, made: &mut Vec<Made>) {
        let (at, ends) = (hour.start, hour.start + HOUR);
        let mut readings = Vec::new();
        for point in &POINTS {
            for direction in DIRECTIONS {
                let series = |class: &str| format!("{}/{direction}/{class}", point.id);
                readings.extend(CLASSES.iter().map(|(class, _)| Reading { series: series(class), observed_ms: ends }));
            }
        }
        let payload = Value::Array(self.counts(at)).to_string().into_bytes();
        let (dataset, via, ready_ms) = ("traffic_counts", Via::HttpServed, ends + READY_AFTER);
        made.push(Made { dataset, readings, ready_ms, via, payload });
    }

    /// Vehicles of an hour in one direction, without chance: the day's curve, and the road works' shift.
    fn vehicles(&self, point: &Point, direction: &str, hour_start: i64) -> f64 {
        let usual = |p: &Point| p.vehicles_per_day * self.share_of_day(direction, hour_start) / 2.0;
        let works = self.plan.active(FaultKind::RoadWorks, "fraenavegen", hour_start);
        let away = works.map_or(0.0, |w| w.size);
        match point.id {
            "fraenavegen" => usual(point) * (1.0 - away),
            "roseby" => usual(point) + POINTS.iter().filter(|p| p.id == "fraenavegen").map(usual).sum::<f64>() * away / 2.0,
            _ => usual(point),
        }
    }

    fn share_of_day(&self, direction: &str, hour_start: i64) -> f64 {
        let hour = self.calendar.hour_of_day(hour_start) + 0.5;
        let (morning, afternoon) = if direction == "towards_centre" { (1.3, 0.8) } else { (0.8, 1.3) };
        if Calendar::is_weekend(self.calendar.day(hour_start)) {
            return 0.7 * (0.006 + 0.09 * bump(hour, 14.0, 4.8));
        }
        0.006 + 0.055 * morning * bump(hour, 7.6, 1.4) + 0.05 * bump(hour, 12.5, 4.0) + 0.06 * afternoon * bump(hour, 16.0, 2.0)
    }

    /// The share of the hour the counter was counting, in percent; mostly all of it.
    fn coverage(&self, point: &Point, hour_start: i64) -> f64 {
        let chance = self.noise.of("coverage").of(point.id).at(hour_start);
        if chance.chance(0.97) { 100.0 } else { rounded(chance.of("share").between(55.0, 99.0), 1) }
    }

    fn road_chance(&self, point: &Point, class: &str, direction: &str) -> crate::noise::Noise {
        self.noise.of("road").of(point.id).of(direction).of(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY;
    use crate::model::TownConfig;

    fn a_day(town: &Town, point: &str, day: i64) -> i64 {
        let from = town.start_ms() + day * DAY;
        let hours = (0..24).flat_map(|h| town.counts(from + h * HOUR));
        hours.filter(|row| row["point_id"] == point).filter_map(|row| row["count"].as_i64()).sum()
    }

    #[test]
    fn road_works_shift_traffic_to_roseby() {
        let town = Town::new(TownConfig { seed: 7, start: "2026-05-04T00:00:00Z".parse().unwrap() }).unwrap();
        // Mondays, before and during the works.
        let (before, during) = (14, 21);
        assert!(a_day(&town, "fraenavegen", during) < a_day(&town, "fraenavegen", before) * 6 / 10);
        assert!(a_day(&town, "roseby", during) > a_day(&town, "roseby", before) * 12 / 10);
        let aro = (a_day(&town, "aro", before), a_day(&town, "aro", during));
        assert!((aro.0 - aro.1).abs() < aro.0 / 10, "{aro:?}");
    }
}
