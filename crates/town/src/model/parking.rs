mod full;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

use serde_json::json;

use super::{FaultKind, Made, Town, ticks};
use crate::calendar::{Calendar, HOUR, MINUTE, SECOND, instant};
use crate::messages::Via;
use crate::noise::Noise;

pub use full::{Full, Match};

/// A car park's day begins and ends at this local hour, when only those parked overnight are there; the cameras set their
/// totals back to 0 then, as their schedule allows.
const DAY_BEGINS_H: i64 = 4;
/// Everybody else has left by then, in hours after the day's beginning.
const LAST_LEAVES_H: f64 = 22.4;
const AREA_VIEW: i64 = 10 * MINUTE;
/// Crossings a camera does not see.
const MISSED_SHARE: f64 = 0.006;
/// Two cars cross one line at least this far apart.
const APART: i64 = 350;
/// Names of the classes in the camera's messages, with the share of each. Two-wheelers take no space.
const CLASSES: [(&str, f64); 4] = [("car", 0.93), ("truck", 0.03), ("bus", 0.01), ("motorcycle/bicycle", 0.03)];
const TWO_WHEELER: usize = 3;

/// A car park with one camera that sees its gate and its area.
#[derive(Clone, Copy, Debug)]
pub struct Lot {
    /// Its id in tables.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Spaces for cars.
    pub spaces: u32,
    /// Cars that stand there through the night.
    pub overnight: u32,
    /// Serial number of the camera. Its scenario 1 counts in, 2 counts out, 3 views the area.
    pub camera: &'static str,
    weekday: &'static [Crowd],
    weekend: &'static [Crowd],
    has_events: bool,
}

/// Visitors of one habit; hours are local clock hours, stays are hours.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    cars: f64,
    arrive: f64,
    spread: f64,
    stay: f64,
    stay_spread: f64,
}

const fn crowd(cars: f64, arrive: f64, spread: f64, stay: f64, stay_spread: f64) -> Crowd {
    Crowd { cars, arrive, spread, stay, stay_spread }
}

/// The car parks.
pub static LOTS: [Lot; 3] = [
    Lot {
        id: "traffhuset",
        name: "Træffhuset",
        spaces: 140,
        overnight: 6,
        camera: "B8A44F000101",
        weekday: &[crowd(105.0, 7.7, 0.8, 7.6, 0.9), crowd(150.0, 12.3, 2.6, 1.6, 0.8)],
        weekend: &[crowd(120.0, 13.0, 2.4, 1.8, 0.9)],
        has_events: false,
    },
    Lot {
        id: "aker-stadion",
        name: "Aker stadion",
        spaces: 600,
        overnight: 0,
        camera: "B8A44F000102",
        weekday: &[crowd(110.0, 16.8, 2.2, 1.7, 0.5)],
        weekend: &[crowd(150.0, 13.0, 2.8, 2.0, 0.6)],
        has_events: true,
    },
    Lot {
        id: "sentrum",
        name: "Sentrum",
        spaces: 400,
        overnight: 25,
        camera: "B8A44F000103",
        weekday: &[crowd(150.0, 7.8, 0.9, 7.8, 1.0), crowd(360.0, 13.2, 2.8, 1.3, 0.7), crowd(90.0, 18.4, 1.2, 2.4, 0.8)],
        weekend: &[crowd(330.0, 13.4, 2.2, 1.7, 0.8), crowd(120.0, 18.6, 1.3, 2.8, 0.9)],
        has_events: false,
    },
];

/// The crowd of a match evening: more than the stadium's spaces within two hours, so that the last drive on to another car
/// park, and all away after the end.
const MATCH: Crowd = crowd(640.0, 17.7, 0.5, 3.4, 0.35);
const MATCH_SHARE_OF_DAYS: f64 = 0.14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crossing {
    at: i64,
    class: usize,
}

/// One day of one car park, crossing by crossing.
#[derive(Debug)]
struct ParkingDay {
    begins: i64,
    entering: Vec<Crossing>,
    leaving: Vec<Crossing>,
}

/// Days already computed, the newest of each car park; a stream of messages needs each only once.
#[derive(Debug, Default)]
pub(crate) struct ParkingDays(BTreeMap<&'static str, (i64, ParkingDay)>);

impl Town {
    /// Cars in a car park at an instant: the truth the cameras try to see.
    pub fn cars_in(&self, lot: &Lot, at: jiff::Timestamp) -> u32 {
        let at = at.as_millisecond();
        self.parking_day(lot, self.parking_day_number(at)).cars_at(lot, at)
    }

    fn visits(&self, lot: &Lot, day: i64) -> Noise {
        self.noise.of("visits").of(lot.id).at(day)
    }

    /// All cameras' messages in an hour.
    pub(super) fn cameras(&self, hour: &Range<i64>, days: &mut ParkingDays, made: &mut Vec<Made>) {
        for lot in &LOTS {
            let number = self.parking_day_number(hour.start);
            if days.0.get(lot.id).is_none_or(|(known, _)| *known != number) {
                days.0.insert(lot.id, (number, self.parking_day(lot, number)));
            }
            if let Some((_, day)) = days.0.get(lot.id) {
                self.line_crossings(lot, day, hour, made);
                self.area_views(lot, day, hour, made);
            }
            self.camera_states(lot, hour, made);
        }
    }

    /// The number of the day, from 04:00 to 04:00 local, that holds an instant.
    fn parking_day_number(&self, at: i64) -> i64 {
        let day = self.calendar.day(at);
        if at < self.calendar.at(day, DAY_BEGINS_H) { day - 1 } else { day }
    }

    fn parking_day(&self, lot: &Lot, number: i64) -> ParkingDay {
        let begins = self.calendar.at(number, DAY_BEGINS_H);
        let chance = self.visits(lot, number);
        let mut visits = Vec::new();
        for (kind, crowd) in lot.crowds(number, chance).enumerate() {
            visits_of(crowd, begins, chance.of("crowd").at(kind as i64), &mut visits);
        }
        visits.sort_unstable();
        ParkingDay::of(lot, begins, &visits)
    }

    fn line_crossings(&self, lot: &Lot, day: &ParkingDay, hour: &Range<i64>, made: &mut Vec<Made>) {
        for (scenario, crossings) in [(1, &day.entering), (2, &day.leaving)] {
            let chance = self.noise.of("seen").of(lot.camera).at(scenario);
            let mut totals = [0u32; CLASSES.len()];
            let mut counted_from = day.begins;
            for crossing in crossings.iter().take_while(|c| c.at < hour.end) {
                if self.plan.active(FaultKind::DeadCamera, lot.id, crossing.at).is_some() {
                    continue;
                }
                let restarted = self.camera_restarted(lot, crossing.at).filter(|at| *at > counted_from);
                if let Some(restarted) = restarted {
                    (totals, counted_from) = ([0; CLASSES.len()], restarted);
                }
                if chance.at(crossing.at).chance(MISSED_SHARE) {
                    continue;
                }
                totals[crossing.class] += 1;
                if crossing.at >= hour.start {
                    made.push(self.line_crossing(lot, scenario, *crossing, &totals, counted_from));
                }
            }
        }
    }

    /// Scenario 1 or 2: a running total by class since `startTime`, all as text.
    fn line_crossing(&self, lot: &Lot, scenario: i64, crossing: Crossing, totals: &[u32; 4], counted_from: i64) -> Made {
        let text = |count: u32| count.to_string();
        let data = json!({
            "startTime": instant(counted_from.div_euclid(SECOND) * SECOND).to_string(),
            "reason": CLASSES[crossing.class].0,
            "total": text(totals.iter().sum()),
            "totalBus": text(totals[2]),
            "totalCar": text(totals[0]),
            "totalHuman": "0",
            "totalMotorcycle/bicycle": text(totals[TWO_WHEELER]),
            "totalTruck": text(totals[1]),
            "totalUnknown": "0",
        });
        self.camera_message("parking_crossings", lot, scenario, crossing.at, data)
    }

    /// Scenario 3: how many vehicles the camera sees standing. It sees fewer than there are, most of all when the lot is full.
    fn area_views(&self, lot: &Lot, day: &ParkingDay, hour: &Range<i64>, made: &mut Vec<Made>) {
        let chance = self.noise.of("area").of(lot.camera);
        for tick in ticks(hour, AREA_VIEW) {
            let at = tick + chance.of("moment").at(tick).between(0.0, 3.0 * SECOND as f64) as i64;
            if self.plan.active(FaultKind::DeadCamera, lot.id, at).is_some() {
                continue;
            }
            let cars = f64::from(day.cars_at(lot, at));
            let hidden = 0.02 + 0.05 * (cars / f64::from(lot.spaces)).powi(4);
            let blur = chance.at(tick).bell() * (0.5 + 0.006 * f64::from(lot.spaces));
            let seen = (cars * (1.0 - hidden) + blur).round().max(0.0) as u32;
            let data = json!({ "scenario": "Occupancy", "total": seen.to_string(), "car": seen.to_string() });
            made.push(self.camera_message("parking_occupancy", lot, 3, at, data));
        }
    }

    fn camera_message(&self, dataset: &'static str, lot: &Lot, scenario: i64, at: i64, data: serde_json::Value) -> Made {
        let ahead = self.plan.active(FaultKind::WrongClock, lot.id, at).map_or(0, |w| w.size as i64 * HOUR);
        let body = json!({
            "topic": format!("axis:CameraApplicationPlatform/ObjectAnalytics/Device1Scenario{scenario}"),
            "timestamp": at + ahead,
            "serial": lot.camera,
            "message": { "source": {}, "key": {}, "data": data },
        });
        let topic = format!("axis/{}/event/CameraApplicationPlatform/ObjectAnalytics/Device1Scenario{scenario}", lot.camera);
        let via = Via::Mqtt { topic, retain: false };
        let series = format!("{}/{scenario}", lot.camera);
        Made::one(dataset, &series, at + ahead, at, via, body.to_string().into_bytes())
    }

    /// A sign of life every hour, retained; after a death the broker speaks for the camera (its last will).
    fn camera_states(&self, lot: &Lot, hour: &Range<i64>, made: &mut Vec<Made>) {
        let alive = hour.start + self.noise.of("alive").of(lot.camera).between(0.0, 50.0 * SECOND as f64) as i64;
        let mut states = Vec::new();
        if self.plan.active(FaultKind::DeadCamera, lot.id, alive).is_none() {
            states.push((alive, "online"));
        }
        let deaths = self.plan.windows(FaultKind::DeadCamera, lot.id, hour.end).filter(|w| w.from >= hour.start);
        states.extend(deaths.map(|w| (w.from + 90 * SECOND, "offline")));
        for (at, status) in states {
            let body = json!({ "device_id": lot.camera, "status": status, "time": instant(at).to_string() });
            let via = Via::Mqtt { topic: format!("devices/{}/status", lot.camera), retain: true };
            made.push(Made::one("device_status", lot.camera, at, at, via, body.to_string().into_bytes()));
        }
    }

    /// When the camera last came back to life before an instant.
    fn camera_restarted(&self, lot: &Lot, at: i64) -> Option<i64> {
        self.plan.windows(FaultKind::DeadCamera, lot.id, at).map(|w| w.until).filter(|until| *until <= at).max()
    }
}

impl Lot {
    fn crowds(&self, day: i64, chance: Noise) -> impl Iterator<Item = Crowd> {
        let ordinary = if Calendar::is_weekend(day) { self.weekend } else { self.weekday };
        ordinary.iter().copied().chain(self.has_match(chance).then_some(MATCH))
    }

    fn has_match(&self, chance: Noise) -> bool {
        self.has_events && chance.of("match").chance(MATCH_SHARE_OF_DAYS)
    }
}

impl ParkingDay {
    /// Lets the visits in, in order of arrival, as long as there is room; who finds none drives on.
    fn of(lot: &Lot, begins: i64, visits: &[(i64, i64, usize)]) -> Self {
        let mut standing = BinaryHeap::new();
        let (mut entering, mut leaving) = (Vec::new(), Vec::new());
        let room = (lot.spaces - lot.overnight) as usize;
        for (arrive, leave, class) in visits.iter().copied() {
            while standing.peek().is_some_and(|Reverse(first)| *first <= arrive) {
                standing.pop();
            }
            if class != TWO_WHEELER {
                if standing.len() >= room {
                    continue;
                }
                standing.push(Reverse(leave));
            }
            entering.push(Crossing { at: arrive, class });
            leaving.push(Crossing { at: leave, class });
        }
        leaving.sort_unstable();
        Self { begins, entering: spaced(entering), leaving: spaced(leaving) }
    }

    fn cars_at(&self, lot: &Lot, at: i64) -> u32 {
        let until = |crossings: &[Crossing]| {
            let cars = crossings.iter().take_while(|c| c.at <= at).filter(|c| c.class != TWO_WHEELER).count();
            u32::try_from(cars).unwrap_or(u32::MAX)
        };
        (lot.overnight + until(&self.entering)).saturating_sub(until(&self.leaving))
    }
}

/// Arrival, departure and class of everyone in a crowd.
fn visits_of(crowd: Crowd, begins: i64, chance: Noise, visits: &mut Vec<(i64, i64, usize)>) {
    let many = (crowd.cars * (1.0 + 0.08 * chance.of("many").bell())).round().max(0.0) as i64;
    for one in (0..many).map(|i| chance.at(i)) {
        let arrive_h = crowd.arrive - DAY_BEGINS_H as f64 + crowd.spread * one.of("arrive").bell();
        let arrive_h = arrive_h.clamp(0.2, 19.0);
        let stay_h = (crowd.stay + crowd.stay_spread * one.of("stay").bell()).max(0.15);
        let leave_h = (arrive_h + stay_h).min(LAST_LEAVES_H);
        let at = |hours: f64| begins + (hours * HOUR as f64) as i64;
        visits.push((at(arrive_h), at(leave_h), class_of(one.of("class").unit())));
    }
}

fn class_of(mut part: f64) -> usize {
    for (class, (_, share)) in CLASSES.iter().enumerate() {
        if part < *share {
            return class;
        }
        part -= share;
    }
    0
}

/// Moves crossings of one line apart, so that each has an instant of its own.
fn spaced(mut crossings: Vec<Crossing>) -> Vec<Crossing> {
    for i in 1..crossings.len() {
        crossings[i].at = crossings[i].at.max(crossings[i - 1].at + APART);
    }
    crossings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY;
    use crate::model::TownConfig;

    fn town() -> Town {
        Town::new(TownConfig { seed: 7, start: "2026-05-04T00:00:00Z".parse().unwrap() }).unwrap()
    }

    #[test]
    fn a_car_park_never_holds_more_than_its_spaces_and_sometimes_is_full() {
        let town = town();
        for lot in &LOTS {
            let mut fullest = 0;
            for tick in (0..30 * 144).map(|i| town.start_ms() + i * AREA_VIEW) {
                fullest = fullest.max(town.cars_in(lot, instant(tick)));
            }
            assert!(fullest <= lot.spaces + 3, "{}: {fullest}", lot.id);
            if lot.id == "traffhuset" {
                assert!(fullest >= lot.spaces - 3, "never full: {fullest}");
            }
        }
    }

    #[test]
    fn only_those_parked_overnight_are_there_at_four_in_the_morning() {
        let town = town();
        for day in 0..30 {
            let at = town.calendar.at(town.calendar.day(town.start_ms()) + day, DAY_BEGINS_H);
            for lot in &LOTS {
                assert_eq!(town.cars_in(lot, instant(at)), lot.overnight);
                assert_eq!(town.cars_in(lot, instant(at - MINUTE)), lot.overnight);
            }
        }
    }

    #[test]
    fn totals_start_again_after_a_dead_camera() {
        let town = town();
        let (dead, alive) = (town.start_ms() + (15 * 24 + 11) * HOUR, town.start_ms() + (15 * 24 + 17) * HOUR);
        let hour = |from: i64| town.made(from..from + HOUR, &mut ParkingDays::default());
        let of_lot = |made: Vec<Made>| {
            made.into_iter().filter(|m| m.series().starts_with("B8A44F000101/")).map(|m| m.payload).collect::<Vec<_>>()
        };
        assert!(of_lot(hour(dead + HOUR)).is_empty());
        let first: serde_json::Value = serde_json::from_slice(&of_lot(hour(alive))[0]).unwrap();
        assert_eq!(first["message"]["data"]["startTime"], instant(alive).to_string());
        assert_eq!(first["message"]["data"]["total"], "1");
    }

    #[test]
    fn a_wrong_clock_shows_in_the_message_and_not_in_the_sending() {
        let town = town();
        let from = town.start_ms() + 22 * DAY + 10 * HOUR;
        let made = town.made(from..from + HOUR, &mut ParkingDays::default());
        let one = made.iter().find(|m| m.series() == "B8A44F000103/1").unwrap();
        assert_eq!(one.readings[0].observed_ms, one.ready_ms + HOUR);
    }
}
