//! What there is to measure, computed for any instant: car parks, water zones, roads, weather and river.

pub(crate) mod delivery;
mod outdoors;
mod parking;
mod plan;
mod roads;
mod water;

use std::ops::Range;

use jiff::Timestamp;

use crate::calendar::{Calendar, HOUR, instant, millis};
use crate::messages::{Messages, Outgoing, Via};
use crate::noise::Noise;

pub(crate) use outdoors::{CATCHMENT_KM2, RIVER_AT_ZERO_CM, RIVER_CM_BY_FLOW, RIVER_FLOW_EXPONENT};
pub use outdoors::{GAUGES, Gauge, RAIN_PATH, RIVER, River, SOIL_PROBES, STATIONS};
pub(crate) use parking::ParkingDays;
pub use parking::{Full, LOTS, Lot, Match};
pub(crate) use plan::Plan;
pub use plan::{Fault, FaultKind};
pub(crate) use roads::READY_AFTER as ROADS_READY_AFTER;
pub use roads::{POINTS, Point};
pub use water::{METERS, Meter, Reports, ZONES, Zone};

/// What makes one town different from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TownConfig {
    /// Everything random follows from it.
    pub seed: u64,
    /// The first instant the town knows, taken down to the full hour. Faults are planned from here.
    pub start: Timestamp,
}

/// Why there is no town.
#[derive(Debug, thiserror::Error)]
pub enum TownError {
    /// The time zone rules are missing from the program.
    #[error("look up the time zone Europe/Oslo")]
    TimeZone(#[source] jiff::Error),
}

/// A town. Cheap to make and to clone; it holds no data, only the rules from which any instant is computed.
#[derive(Clone, Debug)]
pub struct Town {
    config: TownConfig,
    noise: Noise,
    calendar: Calendar,
    plan: Plan,
}

/// A reading as those who count know it: what identifies it in its dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reading {
    /// The sensor: `<meter>`, `<camera>/<scenario>`, `<point>/<direction>/<class>`.
    pub series: String,
    /// The device's own time, wrong if its clock is.
    pub observed_ms: i64,
}

/// A message as a device makes it, before the way to us has done anything to it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub dataset: &'static str,
    pub readings: Vec<Reading>,
    /// When the device sends it, by the right clock.
    pub ready_ms: i64,
    pub via: Via,
    pub payload: Vec<u8>,
}

impl Made {
    /// One reading in one message.
    fn one(dataset: &'static str, series: &str, observed_ms: i64, ready_ms: i64, via: Via, payload: Vec<u8>) -> Self {
        let readings = vec![Reading { series: series.to_owned(), observed_ms }];
        Self { dataset, readings, ready_ms, via, payload }
    }

    /// The sensor of the first reading.
    pub fn series(&self) -> &str {
        self.readings.first().map_or("", |reading| &reading.series)
    }
}

impl Town {
    /// A town by its rules.
    pub fn new(config: TownConfig) -> Result<Self, TownError> {
        let start_ms = millis(config.start).div_euclid(HOUR) * HOUR;
        let config = TownConfig { start: instant(start_ms), ..config };
        let calendar = Calendar::oslo().map_err(TownError::TimeZone)?;
        Ok(Self { config, noise: Noise::new(config.seed), calendar, plan: Plan { start_ms } })
    }

    /// The rules it follows; `start` is on the full hour.
    pub fn config(&self) -> TownConfig {
        self.config
    }

    /// Everything sent from `from` (inclusive) to `until` (exclusive), in the order of sending. Nothing is sent before the
    /// town's start. The work before the first message is the same wherever `from` lies.
    pub fn messages(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = Outgoing> + Send {
        self.sent(from, until).map(Outgoing::from)
    }

    /// Everything planted that touches a span of time, in order of its beginning.
    pub fn faults(&self, from: Timestamp, until: Timestamp) -> Vec<Fault> {
        self.plan.faults(from, until)
    }

    pub(crate) fn sent(&self, from: Timestamp, until: Timestamp) -> Messages<'_> {
        Messages::new(self, from, until)
    }

    pub(crate) fn start_ms(&self) -> i64 {
        self.plan.start_ms
    }

    pub(crate) fn noise(&self) -> Noise {
        self.noise
    }

    /// Everything the devices make in one full hour.
    pub(crate) fn made(&self, hour: Range<i64>, days: &mut ParkingDays) -> Vec<Made> {
        let mut made = Vec::new();
        self.cameras(&hour, days, &mut made);
        self.meters(&hour, &mut made);
        self.road_counts(&hour, &mut made);
        self.rain_gauges(&hour, &mut made);
        self.river_levels(&hour, &mut made);
        self.weather(&hour, &mut made);
        made
    }
}

/// The ticks of a grid in a span of time.
fn ticks(span: &Range<i64>, step: i64) -> impl Iterator<Item = i64> {
    let first = (span.start + step - 1).div_euclid(step) * step;
    (first..span.end).step_by(step.unsigned_abs() as usize)
}

/// A value as a device prints it.
fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}
