use std::ops::Range;

use serde_json::json;

use super::{FaultKind, Made, Town, rounded, ticks};
use crate::calendar::{Calendar, DAY, MINUTE, instant};
use crate::messages::Via;

/// How often a meter reports.
const QUARTER: i64 = 15 * MINUTE;
/// What seeps away inside the college's network every day and is no leak to be found, in m3.
const COLLEGE_SEEPAGE_M3_PER_DAY: f64 = 4.0;

/// A district metered area.
#[derive(Clone, Copy, Debug)]
pub struct Zone {
    /// Its id in topics and tables.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// What its people use on an ordinary day, in m3; for the college the sum of its buildings.
    pub use_m3_per_day: f64,
}

/// What a meter says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// The cumulative register in m3.
    Register,
    /// The mean flow of the last 15 minutes in L/s.
    Flow,
}

/// A water meter.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Its id in topics and tables; stays when the device is exchanged.
    pub id: &'static str,
    /// The zone it belongs to.
    pub zone: &'static str,
    /// `inlet`, or `building` for a meter inside the zone.
    pub role: &'static str,
    /// For an inlet its share of the zone's inflow; for a building its own use in m3 a day.
    pub share: f64,
    /// What it reports.
    pub reports: Reports,
    /// The register at the start, in m3.
    pub register_m3: f64,
    /// The register goes back to 0 here, in m3.
    pub range_m3: f64,
    /// Serial number of the first device; an exchange adds 1.
    pub serial: u32,
}

/// The zones.
pub static ZONES: [Zone; 4] = [
    Zone { id: "sentrum", name: "Sentrum", use_m3_per_day: 2160.0 },
    Zone { id: "kvam", name: "Kvam", use_m3_per_day: 1040.0 },
    Zone { id: "bolsoya", name: "Bolsøya", use_m3_per_day: 520.0 },
    Zone { id: "hogskolen", name: "Høgskolen", use_m3_per_day: 138.0 },
];

const fn inlet(id: &'static str, zone: &'static str, share: f64, register_m3: f64, range_m3: f64, serial: u32) -> Meter {
    Meter { id, zone, role: "inlet", share, reports: Reports::Register, register_m3, range_m3, serial }
}

const fn building(id: &'static str, use_m3_per_day: f64, register_m3: f64, serial: u32) -> Meter {
    let (zone, role, range_m3) = ("hogskolen", "building", 1_000_000.0);
    Meter { id, zone, role, share: use_m3_per_day, reports: Reports::Register, register_m3, range_m3, serial }
}

/// The meters. `kvam-1` is near the end of its register and rolls over after about 25 days.
pub static METERS: [Meter; 10] = [
    inlet("sentrum-1", "sentrum", 0.6, 481_220.0, 1_000_000.0, 71_400_118),
    inlet("sentrum-2", "sentrum", 0.4, 93_655.0, 1_000_000.0, 71_400_126),
    inlet("kvam-1", "kvam", 1.0, 73_400.0, 100_000.0, 52_525_253),
    Meter { reports: Reports::Flow, ..inlet("bolsoya-1", "bolsoya", 1.0, 12_880.0, 1_000_000.0, 44_556_677) },
    inlet("hogskolen-inn", "hogskolen", 1.0, 30_412.0, 1_000_000.0, 76_348_799),
    building("hogskolen-a", 46.0, 10_010.0, 76_348_801),
    building("hogskolen-b", 31.0, 7_208.0, 76_348_802),
    building("hogskolen-c", 24.0, 4_955.0, 76_348_803),
    building("hogskolen-d", 21.0, 3_871.0, 76_348_804),
    building("hogskolen-e", 16.0, 2_020.0, 76_348_805),
];

impl Town {
    /// All meters' reports in an hour.
    pub(super) fn meters(&self, hour: &Range<i64>, made: &mut Vec<Made>) {
        for at in ticks(hour, QUARTER) {
            made.extend(METERS.iter().map(|meter| self.report(meter, at)));
        }
    }

    /// What passed a meter from the start until an instant of the quarter-hour grid, in m3: the truth behind its register.
    pub fn passed_m3(&self, meter: &Meter, at: jiff::Timestamp) -> f64 {
        self.passed(meter, at.as_millisecond())
    }

    fn report(&self, meter: &Meter, at: i64) -> Made {
        let time = instant(at).to_string();
        let (kind, body) = match meter.reports {
            Reports::Flow => {
                let litres = (self.passed(meter, at) - self.passed(meter, at - QUARTER)) * 1000.0;
                let flow = rounded(litres * 1000.0 / QUARTER as f64, 3);
                ("flow", json!({ "meter_id": meter.id, "serial": meter.serial.to_string(), "time": time, "flow_l_per_s": flow }))
            }
            Reports::Register => {
                let (register, serial) = self.register(meter, at);
                let serial = serial.to_string();
                ("register", json!({ "meter_id": meter.id, "serial": serial, "time": time, "register_m3": register }))
            }
        };
        let topic = format!("water/{}/{}/{kind}", meter.zone, meter.id);
        let via = Via::Mqtt { topic, retain: false };
        Made::one("water_meters", meter.id, at, at, via, body.to_string().into_bytes())
    }

    /// The register as shown and the serial number of the device that shows it.
    fn register(&self, meter: &Meter, at: i64) -> (f64, u32) {
        let stuck = self.plan.active(FaultKind::StuckMeter, meter.id, at);
        let at = stuck.map_or(at, |w| w.from.div_euclid(QUARTER) * QUARTER);
        let exchanges: Vec<i64> = self.plan.windows(FaultKind::MeterExchange, meter.id, at + 1).map(|w| w.from).collect();
        let passed = self.passed(meter, at);
        let total = match exchanges.last() {
            Some(exchanged_at) => passed - self.passed(meter, *exchanged_at),
            None => meter.register_m3 + passed,
        };
        let serial = meter.serial + u32::try_from(exchanges.len()).unwrap_or(u32::MAX);
        (rounded(total.rem_euclid(meter.range_m3), 3), serial)
    }

    fn passed(&self, meter: &Meter, at: i64) -> f64 {
        if meter.role == "building" {
            return self.used(meter.id, meter.share, office, at);
        }
        let leaked = self.plan.leaked_m3(meter.zone, at);
        if meter.zone == "hogskolen" {
            let buildings = METERS.iter().filter(|m| m.role == "building");
            let used: f64 = buildings.map(|m| self.used(m.id, m.share, office, at)).sum();
            let days = (at - self.start_ms()) as f64 / DAY as f64;
            return used + leaked + COLLEGE_SEEPAGE_M3_PER_DAY * days;
        }
        let zone_use = ZONES.iter().find(|z| z.id == meter.zone).map_or(0.0, |z| z.use_m3_per_day);
        meter.share * (self.used(meter.zone, zone_use, household, at) + leaked)
    }

    /// What a consumer used from the day before the start until `at`, in m3: the volumes of whole local days, each by chance
    /// around the mean, and the part of the last day that is over.
    fn used(&self, name: &str, m3_per_day: f64, profile: fn(f64) -> f64, at: i64) -> f64 {
        let chance = self.noise.of("use").of(name);
        let weekend_share = if m3_per_day < 100.0 { 0.45 } else { 1.04 };
        let volume = |day: i64| {
            let kind = if Calendar::is_weekend(day) { weekend_share } else { 1.0 };
            m3_per_day * kind * (1.0 + 0.035 * chance.at(day).bell())
        };
        let today = self.calendar.day(at);
        let before: f64 = (self.calendar.day(self.start_ms()) - 1..today).map(volume).sum();
        let (from, until) = (self.calendar.at(today, 0), self.calendar.at(today + 1, 0));
        let (so_far, whole) = ticks(&(from..until), QUARTER).fold((0.0, 0.0), |(so_far, whole), tick| {
            let hour = (tick - from) as f64 * 24.0 / (until - from) as f64;
            let weight = profile(hour) * (1.0 + 0.09 * chance.of("quarter").at(tick).bell()).max(0.1);
            (if tick < at { so_far + weight } else { so_far }, whole + weight)
        });
        before + volume(today) * so_far / whole
    }
}

/// Water use over the day where people live, relative: night, morning peak, midday, evening peak.
fn household(hour: f64) -> f64 {
    0.35 + bump(hour, 7.8, 1.8) + 0.7 * bump(hour, 13.0, 3.5) + bump(hour, 19.2, 2.6)
}

/// Water use over the day where people work and study.
fn office(hour: f64) -> f64 {
    0.08 + 1.6 * bump(hour, 11.8, 3.6)
}

pub(super) fn bump(hour: f64, centre: f64, width: f64) -> f64 {
    (-((hour - centre) / width).powi(2)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TownConfig;

    fn town() -> Town {
        Town::new(TownConfig { seed: 7, start: "2026-05-04T00:00:00Z".parse().unwrap() }).unwrap()
    }

    fn meter(id: &str) -> &'static Meter {
        METERS.iter().find(|m| m.id == id).unwrap()
    }

    #[test]
    fn water_only_flows_forward_and_about_as_much_as_the_zone_uses() {
        let town = town();
        let start = town.start_ms();
        let quarters = (0..7 * 96).map(|i| town.passed(meter("kvam-1"), start + i * QUARTER)).collect::<Vec<_>>();
        assert!(quarters.windows(2).all(|pair| pair[1] > pair[0]));
        let a_day = (quarters[quarters.len() - 1] - quarters[0]) / 7.0;
        assert!((900.0..1200.0).contains(&a_day), "{a_day} m3 a day");
    }

    #[test]
    fn the_college_inlet_exceeds_its_buildings_by_seepage_and_leak() {
        let town = town();
        let at = |days: i64| town.start_ms() + days * DAY;
        let lost = |from: i64, until: i64| {
            let passed = |m: &Meter| town.passed(m, at(until)) - town.passed(m, at(from));
            let buildings = METERS.iter().filter(|m| m.role == "building");
            passed(meter("hogskolen-inn")) - buildings.map(passed).sum::<f64>()
        };
        assert!((lost(10, 11) - COLLEGE_SEEPAGE_M3_PER_DAY).abs() < 0.01);
        // 0.4 L/s for a day.
        assert!((lost(30, 31) - COLLEGE_SEEPAGE_M3_PER_DAY - 34.56).abs() < 0.01);
    }

    #[test]
    fn a_stuck_meter_repeats_and_then_catches_up() {
        let town = town();
        let at = |hours: i64| town.start_ms() + hours * 60 * MINUTE;
        let shown = |hours| town.register(meter("sentrum-2"), at(hours)).0;
        let stuck_from = 50 * 24 + 6;
        assert_eq!(shown(stuck_from), shown(stuck_from + 43));
        assert!(shown(stuck_from + 44) > shown(stuck_from) + 500.0);
    }

    #[test]
    fn an_exchanged_meter_has_a_new_serial_and_starts_from_0() {
        let town = town();
        let at = |hours: i64| town.start_ms() + hours * 60 * MINUTE;
        let exchanged = 35 * 24 + 9;
        let (before, old) = town.register(meter("sentrum-1"), at(exchanged - 1));
        let (after, new) = town.register(meter("sentrum-1"), at(exchanged));
        assert!(before > 400_000.0 && after == 0.0 && new == old + 1);
    }

    #[test]
    fn a_register_rolls_over_at_its_range() {
        let town = town();
        let days = (0..40).map(|d| town.register(meter("kvam-1"), town.start_ms() + d * DAY).0).collect::<Vec<_>>();
        let falls = days.windows(2).filter(|pair| pair[1] < pair[0]).collect::<Vec<_>>();
        assert_eq!(falls.len(), 1);
        assert!(falls[0][0] > 97_000.0 && falls[0][1] < 2_500.0);
    }
}
