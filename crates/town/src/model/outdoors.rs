use std::f64::consts::TAU;
use std::ops::Range;

use serde_json::{Value, json};

use super::{FaultKind, Made, Reading, Town, rounded, ticks};
use crate::calendar::{DAY, HOUR, MINUTE, instant};
use crate::messages::Via;

/// Where the rain station posts to.
pub const RAIN_PATH: &str = "/push/rain";
const TEN_MINUTES: i64 = 10 * MINUTE;
/// A tip of a gauge's bucket, in mm.
const TIP_MM: f64 = 0.1;
/// Days with rain, apart from the planned storms.
const RAINY_SHARE: f64 = 0.45;
/// No rain lasts longer.
const LONGEST_RAIN: i64 = 11 * HOUR;
/// The catchment's memory of past rain: it halves about every three days and is gone after twelve.
const WETNESS_DAYS: i64 = 12;
const WETNESS_DECAY_DAYS: f64 = 4.0;
/// Triangular unit hydrograph: the peak comes 3 h after the rain, the last water after 7 h.
const PEAK: i64 = 3 * HOUR;
const LAST_WATER: i64 = 7 * HOUR;
/// The river's catchment.
pub(crate) const CATCHMENT_KM2: f64 = 60.0;
/// Stage = [`RIVER_AT_ZERO_CM`] + [`RIVER_CM_BY_FLOW`] * flow in m3/s to the power of [`RIVER_FLOW_EXPONENT`].
pub(crate) const RIVER_AT_ZERO_CM: f64 = 35.0;
pub(crate) const RIVER_CM_BY_FLOW: f64 = 22.0;
pub(crate) const RIVER_FLOW_EXPONENT: f64 = 0.6;
const BASE_FLOW_M3_PER_S: f64 = 1.5;

/// A rain gauge; both stand at one station, whose logger posts them together every ten minutes.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// Its id in tables.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// What it catches, relative to the mean of the catchment.
    pub catch: f64,
}

/// The rain gauges.
pub static GAUGES: [Gauge; 2] =
    [Gauge { id: "moldeheia", name: "Moldeheia", catch: 1.12 }, Gauge { id: "hjelset", name: "Hjelset", catch: 0.9 }];

/// The river gauge.
#[derive(Clone, Copy, Debug)]
pub struct River {
    /// Its id in tables.
    pub id: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Stages at which yellow, orange and red begin, in cm.
    pub thresholds_cm: [u32; 3],
}

/// Moldeelva.
pub static RIVER: River = River { id: "moldeelva", name: "Moldeelva", thresholds_cm: [190, 250, 310] };

/// Soil moisture probes. Their logger writes local time without an offset.
pub static SOIL_PROBES: [&str; 2] = ["jord-moldeheia", "jord-kvam"];
/// Air temperature stations.
pub static STATIONS: [&str; 1] = ["molde-sentrum"];

#[derive(Clone, Copy, Debug)]
struct Rain {
    from: i64,
    until: i64,
    mm: f64,
}

impl Rain {
    /// What has fallen of it by an instant: slowly at first and last, most in the middle (density 1 - cos).
    fn fallen_mm(self, at: i64) -> f64 {
        let x = ((at - self.from) as f64 / (self.until - self.from) as f64).clamp(0.0, 1.0);
        self.mm * (x - (TAU * x).sin() / TAU)
    }
}

impl Town {
    /// Mean rain over the catchment between two instants, in mm.
    pub fn rain_mm(&self, from: jiff::Timestamp, until: jiff::Timestamp) -> f64 {
        self.rain(from.as_millisecond(), until.as_millisecond())
    }

    /// Stage of the river at an instant, in cm, without the gauge's ripple.
    pub fn stage_cm(&self, at: jiff::Timestamp) -> f64 {
        self.stage(at.as_millisecond())
    }

    /// Both gauges every ten minutes, one POST.
    pub(super) fn rain_gauges(&self, hour: &Range<i64>, made: &mut Vec<Made>) {
        for at in ticks(hour, TEN_MINUTES) {
            let rows = GAUGES.iter().map(|gauge| {
                let (time, mm) = (instant(at).to_string(), rounded(self.tipped_mm(gauge, at), 1));
                json!({ "gauge_id": gauge.id, "time": time, "interval_min": 10, "precipitation_mm": mm })
            });
            let payload = Value::Array(rows.collect()).to_string().into_bytes();
            let readings = GAUGES.iter().map(|g| Reading { series: g.id.to_owned(), observed_ms: at }).collect();
            let via = Via::Post { path: RAIN_PATH.to_owned() };
            made.push(Made { dataset: "precipitation", readings, ready_ms: at, via, payload });
        }
    }

    /// The river every ten minutes.
    pub(super) fn river_levels(&self, hour: &Range<i64>, made: &mut Vec<Made>) {
        for at in ticks(hour, TEN_MINUTES) {
            let ripple = 0.4 * self.noise.of("ripple").at(at).bell();
            let stage = rounded(self.stage(at) + ripple, 1);
            let body = json!({ "station_id": RIVER.id, "time": instant(at).to_string(), "stage_cm": stage });
            let via = Via::Mqtt { topic: format!("river/{}/stage", RIVER.id), retain: false };
            made.push(Made::one("river", RIVER.id, at, at, via, body.to_string().into_bytes()));
        }
    }

    /// Soil moisture and air temperature on the hour.
    pub(super) fn weather(&self, hour: &Range<i64>, made: &mut Vec<Made>) {
        let at = hour.start;
        for probe in SOIL_PROBES {
            let moisture = 17.0 + 24.0 * (1.0 - (-self.wetness_mm(at) / 40.0).exp());
            let value = rounded(moisture + 0.2 * self.noise.of(probe).at(at).bell(), 2);
            let local = self.calendar.wall_clock(at);
            let body = json!({ "probe_id": probe, "time": local, "soil_moisture_pct": value });
            let via = Via::Mqtt { topic: format!("soil/{probe}/moisture"), retain: false };
            let observed_ms = self.calendar.first_with_same_wall_clock(at);
            made.push(Made::one("soil_moisture", probe, observed_ms, at, via, body.to_string().into_bytes()));
        }
        for station in STATIONS {
            let value = rounded(self.temperature(at), 1);
            let body = json!({ "station_id": station, "time": instant(at).to_string(), "air_temperature_c": value });
            let via = Via::Mqtt { topic: format!("weather/{station}/temperature"), retain: false };
            made.push(Made::one("temperature", station, at, at, via, body.to_string().into_bytes()));
        }
    }

    fn rain(&self, from: i64, until: i64) -> f64 {
        self.rains(from - LONGEST_RAIN, until).map(|rain| rain.fallen_mm(until) - rain.fallen_mm(from)).sum()
    }

    /// Rains that begin in the UTC days of a span of time: by chance one a day at most, and the planned storms.
    fn rains(&self, from: i64, until: i64) -> impl Iterator<Item = Rain> {
        let by_chance = (from.div_euclid(DAY)..=until.div_euclid(DAY)).filter_map(move |day| {
            let chance = self.noise.of("rain").at(day);
            let begins = day * DAY + chance.of("begins").between(0.0, DAY as f64) as i64;
            let lasts = chance.of("lasts").between(1.5 * HOUR as f64, 10.0 * HOUR as f64) as i64;
            let mm = 1.0 + 17.0 * chance.of("mm").unit().powi(2);
            chance.chance(RAINY_SHARE).then_some(Rain { from: begins, until: begins + lasts, mm })
        });
        let storms = self.plan.windows(FaultKind::Storm, "molde", until).filter(move |w| w.until > from);
        by_chance.chain(storms.map(|w| Rain { from: w.from, until: w.until, mm: w.size }))
    }

    /// What a gauge's bucket tipped in the ten minutes before `at`, in mm: whole tips, counted from midnight UTC.
    fn tipped_mm(&self, gauge: &Gauge, at: i64) -> f64 {
        let midnight = (at - 1).div_euclid(DAY) * DAY;
        let tips = |until: i64| (self.rain(midnight, until) * gauge.catch / TIP_MM).floor();
        (tips(at) - tips(at - TEN_MINUTES)) * TIP_MM
    }

    fn stage(&self, at: i64) -> f64 {
        let wetness = self.wetness_mm(at);
        let runs_off = 0.12 + 0.38 * wetness / (wetness + 30.0);
        let effective_mm_per_h: f64 = (0..LAST_WATER / TEN_MINUTES)
            .map(|step| {
                let (age, slot) = (step * TEN_MINUTES + TEN_MINUTES / 2, at - step * TEN_MINUTES);
                self.rain(slot - TEN_MINUTES, slot) * unit_hydrograph_per_h(age)
            })
            .sum();
        // 1 mm/h over 1 km2 is 1/3.6 m3/s.
        let flow = BASE_FLOW_M3_PER_S + 0.02 * wetness + effective_mm_per_h * runs_off * CATCHMENT_KM2 / 3.6;
        RIVER_AT_ZERO_CM + RIVER_CM_BY_FLOW * flow.powf(RIVER_FLOW_EXPONENT)
    }

    /// Antecedent precipitation: past rains, each weighed less the older it is, in mm.
    fn wetness_mm(&self, at: i64) -> f64 {
        let rains = self.rains(at - WETNESS_DAYS * DAY, at);
        rains.map(|rain| rain.fallen_mm(at) * (-((at - rain.from).max(0) as f64 / DAY as f64) / WETNESS_DECAY_DAYS).exp()).sum()
    }

    fn temperature(&self, at: i64) -> f64 {
        let year = TAU * (at as f64 / DAY as f64 - 110.0) / 365.2425;
        let day = TAU * (self.calendar.hour_of_day(at) - 9.0) / 24.0;
        let (slot, part) = (at.div_euclid(DAY), at.rem_euclid(DAY) as f64 / DAY as f64);
        let chance = self.noise.of("air");
        let spell = chance.at(slot).bell() * (1.0 - part) + chance.at(slot + 1).bell() * part;
        7.0 + 7.5 * year.sin() + 2.5 * day.sin() + 2.5 * spell
    }
}

/// Share of a rain's water that passes the gauge per hour, `age` after it fell.
fn unit_hydrograph_per_h(age: i64) -> f64 {
    let highest = 2.0 * HOUR as f64 / LAST_WATER as f64;
    let rising = age as f64 / PEAK as f64;
    let falling = (LAST_WATER - age) as f64 / (LAST_WATER - PEAK) as f64;
    highest * rising.min(falling).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TownConfig;

    fn town() -> Town {
        Town::new(TownConfig { seed: 7, start: "2026-05-04T00:00:00Z".parse().unwrap() }).unwrap()
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let n = a.len() as f64;
        let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
        let sum = |f: fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - mean_a, y - mean_b)).sum::<f64>();
        sum(|x, y| x * y) / (sum(|x, _| x * x) * sum(|_, y| y * y)).sqrt()
    }

    #[test]
    fn the_river_follows_the_rain_about_three_hours_later() {
        let town = town();
        let ticks: Vec<i64> = (0..60 * 144).map(|i| town.start_ms() + DAY + i * TEN_MINUTES).collect();
        let rain: Vec<f64> = ticks.iter().map(|at| town.rain(at - TEN_MINUTES, *at)).collect();
        let stage: Vec<f64> = ticks.iter().map(|at| town.stage(*at)).collect();
        let at_lag = |steps: usize| correlation(&rain[..rain.len() - steps], &stage[steps..]);
        let best = (0..60).max_by(|a, b| at_lag(*a).total_cmp(&at_lag(*b))).unwrap();
        assert!((15..=22).contains(&best), "{} min", best * 10);
        assert!(at_lag(best) > 0.5, "correlation {}", at_lag(best));
    }

    #[test]
    fn a_planned_storm_floods_the_river() {
        let town = town();
        let begins = town.start_ms() + 60 * HOUR;
        assert!(town.rain(begins, begins + 8 * HOUR) > 59.9);
        let highest = (0..90).map(|i| town.stage(begins + i * TEN_MINUTES)).fold(0.0, f64::max);
        assert!(highest > f64::from(RIVER.thresholds_cm[0]), "{highest} cm");
    }

    #[test]
    fn the_hydrograph_gives_back_all_water() {
        let steps = 0..LAST_WATER / TEN_MINUTES;
        let whole: f64 = steps.map(|s| unit_hydrograph_per_h(s * TEN_MINUTES + TEN_MINUTES / 2) / 6.0).sum();
        assert!((whole - 1.0).abs() < 1e-3, "{whole}");
    }

    #[test]
    fn gauge_tips_add_up_to_the_rain() {
        let town = town();
        let (from, until) = (town.start_ms(), town.start_ms() + 10 * DAY);
        let tips: f64 = ticks(&(from..until), TEN_MINUTES).map(|at| town.tipped_mm(&GAUGES[0], at + TEN_MINUTES)).sum();
        let rain = town.rain(from, until) * GAUGES[0].catch;
        assert!((tips - rain).abs() < 1.5, "{tips} mm tipped, {rain} mm fell");
    }
}
