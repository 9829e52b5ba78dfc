use jiff::Timestamp;
use serde::Serialize;

use crate::calendar::{DAY, HOUR, instant, millis};

/// What can be wrong, or different, for a known time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A pipe breaks: the zone loses `size` L/s at once, until it is mended.
    BurstLeak,
    /// A leak grows evenly from nothing to `size` L/s, until it is mended.
    GrowingLeak,
    /// A meter repeats its register; the water flows on and is there when it comes loose.
    StuckMeter,
    /// A meter is exchanged: new serial number, register from 0.
    MeterExchange,
    /// A camera is dead: no crossings, no area views; its totals start again from 0.
    DeadCamera,
    /// A device's clock is `size` hours ahead.
    WrongClock,
    /// Road works: the share `size` of the traffic stays away from this road; half of it takes the road over Roseby.
    RoadWorks,
    /// A great storm of `size` mm.
    Storm,
}

impl FaultKind {
    /// The unit of [`Fault::size`]; empty where the size says nothing.
    pub fn unit(self) -> &'static str {
        match self {
            FaultKind::BurstLeak | FaultKind::GrowingLeak => "l/s",
            FaultKind::WrongClock => "h",
            FaultKind::RoadWorks => "share",
            FaultKind::Storm => "mm",
            FaultKind::StuckMeter | FaultKind::MeterExchange | FaultKind::DeadCamera => "",
        }
    }

    /// True for water that is lost.
    pub fn is_leak(self) -> bool {
        matches!(self, FaultKind::BurstLeak | FaultKind::GrowingLeak)
    }
}

/// Something planted, and so known: where, when and how large.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// The zone, meter, car park or road it befalls.
    pub what: &'static str,
    /// When it begins.
    pub from: Timestamp,
    /// When it is over.
    pub until: Timestamp,
    /// How large, in the unit of its kind.
    pub size: f64,
    /// The unit of `size`.
    pub unit: &'static str,
}

struct Planned {
    kind: FaultKind,
    what: &'static str,
    from_h: i64,
    hours: i64,
    size: f64,
}

const fn planned(kind: FaultKind, what: &'static str, from_h: i64, hours: i64, size: f64) -> Planned {
    Planned { kind, what, from_h, hours, size }
}

/// The plan repeats with this period, so that a demo that goes on after 90 days of history soon meets a leak and a flood.
const CYCLE: i64 = 90 * DAY;

/// Hours are counted from the start of a cycle. Nothing crosses the end of a cycle.
static PLAN: [Planned; 16] = [
    planned(FaultKind::BurstLeak, "bolsoya", 30, 72, 2.5),
    planned(FaultKind::Storm, "molde", 60, 8, 60.0),
    planned(FaultKind::BurstLeak, "kvam", 12 * 24 + 2, 166, 1.8),
    planned(FaultKind::DeadCamera, "traffhuset", 15 * 24 + 11, 6, 0.0),
    planned(FaultKind::RoadWorks, "fraenavegen", 20 * 24, 21 * 24, 0.55),
    planned(FaultKind::WrongClock, "sentrum", 22 * 24, 24, 1.0),
    planned(FaultKind::BurstLeak, "hogskolen", 28 * 24 + 1, 8 * 24, 0.4),
    planned(FaultKind::GrowingLeak, "sentrum", 30 * 24, 18 * 24, 1.6),
    planned(FaultKind::MeterExchange, "sentrum-1", 35 * 24 + 9, 1, 0.0),
    planned(FaultKind::Storm, "molde", 40 * 24 + 5, 8, 55.0),
    planned(FaultKind::DeadCamera, "aker-stadion", 44 * 24 + 15, 3, 0.0),
    planned(FaultKind::StuckMeter, "sentrum-2", 50 * 24 + 6, 44, 0.0),
    planned(FaultKind::GrowingLeak, "kvam", 66 * 24, 18 * 24, 1.2),
    planned(FaultKind::DeadCamera, "sentrum", 71 * 24 + 9, 4, 0.0),
    planned(FaultKind::Storm, "molde", 76 * 24 + 14, 10, 45.0),
    planned(FaultKind::BurstLeak, "bolsoya", 85 * 24 + 3, 72, 3.2),
];

/// A planned fault at a place in time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub from: i64,
    pub until: i64,
    pub size: f64,
}

/// The plan as it falls for a town that started at `start_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub start_ms: i64,
}

impl Plan {
    /// All windows of a kind at a place that begin before `before_ms`, in order.
    pub fn windows(self, kind: FaultKind, what: &'static str, before_ms: i64) -> impl Iterator<Item = Window> {
        let cycles = 0..=(before_ms - self.start_ms).div_euclid(CYCLE);
        cycles.flat_map(move |cycle| {
            let here = PLAN.iter().filter(move |p| p.kind == kind && p.what == what);
            here.map(move |p| self.window(cycle, p)).filter(move |w| w.from < before_ms)
        })
    }

    /// The window of a kind at a place that holds an instant.
    pub fn active(self, kind: FaultKind, what: &str, at_ms: i64) -> Option<Window> {
        if at_ms < self.start_ms {
            return None;
        }
        let cycle = (at_ms - self.start_ms).div_euclid(CYCLE);
        let here = PLAN.iter().filter(|p| p.kind == kind && p.what == what);
        here.map(|p| self.window(cycle, p)).find(|w| (w.from..w.until).contains(&at_ms))
    }

    /// Water lost in a zone from the start until an instant, in m3: the flow of each leak, integrated.
    pub fn leaked_m3(self, zone: &'static str, at_ms: i64) -> f64 {
        let burst = self.windows(FaultKind::BurstLeak, zone, at_ms).map(|w| w.size * open_s(w, at_ms));
        let growing = self.windows(FaultKind::GrowingLeak, zone, at_ms).map(|w| {
            let whole_s = (w.until - w.from) as f64 / 1000.0;
            w.size * open_s(w, at_ms).powi(2) / (2.0 * whole_s)
        });
        burst.chain(growing).sum::<f64>() / 1000.0
    }

    /// Everything planned that touches a span of time, in order of its beginning.
    pub fn faults(self, from: Timestamp, until: Timestamp) -> Vec<Fault> {
        let last = millis(until) - self.start_ms;
        let mut found = Vec::new();
        for cycle in 0..=last.div_euclid(CYCLE) {
            for p in &PLAN {
                let w = self.window(cycle, p);
                if w.from < millis(until) && w.until > millis(from) {
                    let (from, until) = (instant(w.from), instant(w.until));
                    found.push(Fault { kind: p.kind, what: p.what, from, until, size: w.size, unit: p.kind.unit() });
                }
            }
        }
        found.sort_by_key(|fault| fault.from);
        found
    }

    fn window(self, cycle: i64, p: &Planned) -> Window {
        let from = self.start_ms + cycle * CYCLE + p.from_h * HOUR;
        Window { from, until: from + p.hours * HOUR, size: p.size }
    }
}

fn open_s(window: Window, at_ms: i64) -> f64 {
    (at_ms.min(window.until) - window.from).max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN_AT_0: Plan = Plan { start_ms: 0 };

    #[test]
    fn nothing_planned_crosses_the_end_of_a_cycle() {
        for p in &PLAN {
            assert!((p.from_h + p.hours) * HOUR <= CYCLE, "{:?} {}", p.kind, p.what);
        }
    }

    #[test]
    fn a_burst_of_2_5_l_per_s_loses_9_m3_an_hour() {
        let begins = 30 * HOUR;
        assert_eq!(PLAN_AT_0.leaked_m3("bolsoya", begins), 0.0);
        assert!((PLAN_AT_0.leaked_m3("bolsoya", begins + HOUR) - 9.0).abs() < 1e-9);
        let mended = PLAN_AT_0.leaked_m3("bolsoya", begins + 72 * HOUR);
        assert_eq!(PLAN_AT_0.leaked_m3("bolsoya", begins + 100 * HOUR), mended);
    }

    #[test]
    fn the_plan_comes_again_after_a_cycle() {
        let first = PLAN_AT_0.active(FaultKind::BurstLeak, "kvam", 13 * DAY).unwrap();
        let again = PLAN_AT_0.active(FaultKind::BurstLeak, "kvam", 13 * DAY + CYCLE).unwrap();
        assert_eq!(again.from - first.from, CYCLE);
        assert!(PLAN_AT_0.active(FaultKind::BurstLeak, "kvam", 3 * DAY).is_none());
    }
}
