//! How many vehicles stand in a car park, from what its gates counted and what was seen inside.
//!
//! The rows of one lot are taken in the order in which they arrived, one at a time; asking for the estimate changes nothing.
//! So the answer is the same whether a year is run at once, minute by minute, or with restarts: the whole memory is the
//! [`Occupancy`], and `occupancy_text` writes it as text without loss.
//!
//! - **Gates.** Each crossing moves the estimate by one, and by the share that gates miss; a running total by its growth.
//!   Each crossing also makes it less sure: drift is a random walk in crossings, not in time.
//! - **Counts inside** (by a person, or a camera over the area) pull it back, as far as both are sure (a Kalman update).
//!   They are compared with the estimate of when they were *seen*. What crossed before and arrives after was already in the
//!   count: it moves the estimate only by the part that the count left open.
//! - **Walls.** Nobody leaves an empty lot or enters one that takes no more: an estimate beyond is put back to the wall.
//! - **A level stretch at the wall**: many cars in and out, and the count hardly wanders. Free traffic would wander like the root
//!   of the crossings; only a full lot, where a car gets in when one leaves, holds so still. It is taken as a count of it.
//! - **A silent gate** goes on, in the estimate, with the flow it had, fading, and ever less sure. When it is heard again and
//!   tells what it missed (totals, stored events), what was put in is taken out.

use crate::occupancy_gates::{Gate, MINUTE_US, Totals};
use crate::occupancy_kalman::{Belief, MISSED_IN, MISSED_OUT, VEHICLES};
use crate::occupancy_tuning::*;

/// What is known of a lot beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct Lot {
    /// Spaces.
    pub capacity: f64,
    /// Vehicles at the very start.
    pub initial_occupied: f64,
    /// How long a gate may be silent before the lot is blind, seconds.
    pub stale_after_s: f64,
}

/// What a row tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A device gave a sign of life.
    Heard,
    /// Something crossed a line, or a total was told.
    Crossing,
    /// A camera counted the vehicles inside.
    View,
    /// A person counted them.
    Manual,
}

/// One row, as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What it tells.
    pub kind: Kind,
    /// When we got it.
    pub received_at: i64,
    /// When it happened, by the device's clock; none if the message has no time of its own.
    pub observed_at: Option<i64>,
    /// The device.
    pub device: &'a str,
    /// What is counted apart: line and class.
    pub counter: &'a str,
    /// Where the total counts.
    pub epoch: &'a str,
    /// True for an exit.
    pub out: bool,
    /// Spaces that one crossing takes or frees; for a count inside, the vehicles counted.
    pub vehicles: f64,
    /// The running total, if it has one.
    pub total: Option<i64>,
    /// True if totals come by the clock and not with each crossing.
    pub by_clock: bool,
}

impl Row<'_> {
    /// When it happened by the device's clock, or when we got it.
    pub(crate) fn said_at(&self) -> i64 {
        self.observed_at.unwrap_or(self.received_at)
    }
}

/// A count inside that was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anchor {
    /// When it was seen, by our clock.
    pub seen_at: i64,
    /// The part of an error before it that it left.
    pub left: f64,
}

/// Crossings of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slot {
    /// Vehicles in.
    pub entries: f64,
    /// Vehicles out.
    pub exits: f64,
}

/// The memory of a lot.
#[derive(Clone, Debug, PartialEq)]
pub struct Occupancy {
    /// What is believed.
    pub belief: Belief,
    /// The gates, in the order of their first row or of the list.
    pub gates: Vec<Gate>,
    /// Their totals.
    pub totals: Totals,
    /// The newest minute that has crossings, as a number of minutes since 1970.
    pub newest_minute: i64,
    /// Crossings by minute, the newest first.
    pub minutes: Vec<Slot>,
    /// The last counts taken, oldest first.
    pub anchors: Vec<Anchor>,
    /// When a fresh view arrived last.
    pub view_at: i64,
    /// Since when every view has been refused; zero if the last was taken.
    pub refused_since: i64,
    /// When a level stretch was last taken.
    pub level_at: i64,
    /// When a total's growth is no longer waited for in the other direction.
    pub settled_at: i64,
    /// When the newest count or crossing that the value rests on was made, by our clock.
    pub basis_at: i64,
}

/// The estimate at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Vehicles in the lot.
    pub occupied: f64,
    /// The lower end of the 90 % interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// When the first gate will have been silent for too long.
    pub heard_until: i64,
    /// When the last view gets too old.
    pub view_until: i64,
    /// When the last count that was taken was seen; zero if there was none.
    pub anchored_at: i64,
    /// When the newest count or crossing that it rests on was made; zero if none.
    pub basis_at: i64,
    /// Vehicles put in for silent gates.
    pub put_in: f64,
}

impl Estimate {
    /// Until when it may be shown if nothing more arrives; in the past if the lot is blind.
    #[must_use]
    pub fn seen_until(&self) -> i64 {
        self.heard_until.max(self.view_until)
    }
}

impl Occupancy {
    /// A lot at its very start, with the gates that it must hear.
    pub fn new<'a>(lot: &Lot, gates: impl Iterator<Item = &'a str>) -> Self {
        let mean = [lot.initial_occupied, MISSED_MEAN, MISSED_MEAN, HIDDEN_MEAN, OVERFULL_MEAN];
        Self {
            belief: Belief::new(mean, [INITIAL_SD, MISSED_SD, MISSED_SD, HIDDEN_SD, OVERFULL_SD]),
            gates: gates.map(Gate::new).collect(),
            totals: Totals::default(),
            newest_minute: 0,
            minutes: Vec::new(),
            anchors: Vec::new(),
            view_at: 0,
            refused_since: 0,
            level_at: 0,
            settled_at: 0,
            basis_at: 0,
        }
    }

    /// Takes a row.
    pub fn take(&mut self, lot: &Lot, row: &Row<'_>) {
        if row.received_at >= self.settled_at {
            self.stay_within(lot, row.received_at);
        }
        match row.kind {
            Kind::Heard => self.heard(lot, row),
            Kind::Crossing => self.crossing(lot, row),
            Kind::View => self.view(lot, row),
            Kind::Manual => self.manual(lot, row),
        }
    }

    /// The estimate at `as_of`.
    pub fn estimate(&self, lot: &Lot, as_of: i64) -> Estimate {
        let mut occupied = self.belief.mean[VEHICLES];
        let mut variance = self.belief.covariance[VEHICLES][VEHICLES];
        let mut put_in = 0.0;
        for gate in &self.gates {
            let (vehicles, unsure) = unseen(lot, gate, as_of);
            put_in += vehicles;
            variance += unsure;
        }
        occupied = (occupied + put_in).clamp(0.0, lot.capacity * WALL_MAX);
        let half = INTERVAL_SDS * variance.max(0.0).sqrt();
        Estimate {
            occupied,
            low: (occupied - half).max(0.0),
            high: (occupied + half).min(lot.capacity * WALL_MAX),
            heard_until: self.heard_until(lot),
            view_until: self.view_at + VIEW_HOLDS_US,
            anchored_at: self.anchors.last().map_or(0, |anchor| anchor.seen_at),
            basis_at: self.basis_at,
            put_in,
        }
    }

    fn heard_until(&self, lot: &Lot) -> i64 {
        let first_heard = self.gates.iter().map(|gate| gate.heard_at).min().unwrap_or(0);
        first_heard + (lot.stale_after_s * 1e6) as i64
    }

    fn gate(&mut self, device: &str) -> usize {
        if let Some(at) = self.gates.iter().position(|gate| gate.device == device) {
            return at;
        }
        self.gates.push(Gate::new(device));
        self.gates.len() - 1
    }

    /// A sign of life tells how the device's clock runs.
    fn heard(&mut self, lot: &Lot, row: &Row<'_>) {
        let at = self.gate(row.device);
        if let Some(said) = row.observed_at {
            self.gates[at].clock_ahead = said - row.received_at;
        }
        self.spoke(lot, at, row.received_at);
    }

    /// A gate spoke: a short silence hid nothing, a long one may have.
    fn spoke(&mut self, lot: &Lot, at: usize, now: i64) {
        if self.gates[at].heard_at > 0 && is_long(lot, &self.gates[at], now) {
            self.put_in(lot, at, now);
            self.gates[at].silent_until = now;
        } else if self.gates[at].silent_until == 0 {
            self.take_out(at);
        }
        let gate = &mut self.gates[at];
        gate.heard_at = gate.heard_at.max(now);
        gate.open_from = gate.heard_at;
    }

    /// Puts into the belief what a silent gate is thought to have let through up to now.
    fn put_in(&mut self, lot: &Lot, at: usize, now: i64) {
        let (vehicles, variance) = unseen(lot, &self.gates[at], now);
        self.belief.shift(vehicles, variance);
        let gate = &mut self.gates[at];
        gate.put_in += vehicles;
        gate.put_in_variance += variance;
        gate.open_from = gate.open_from.max(now);
    }

    pub(crate) fn put_in_all(&mut self, lot: &Lot, now: i64) {
        for at in 0..self.gates.len() {
            self.put_in(lot, at, now);
        }
    }

    fn take_out(&mut self, at: usize) {
        let gate = &mut self.gates[at];
        let (vehicles, variance) = (std::mem::take(&mut gate.put_in), std::mem::take(&mut gate.put_in_variance));
        gate.silent_until = 0;
        if vehicles != 0.0 || variance != 0.0 {
            self.belief.shift(-vehicles, -variance);
        }
    }

    fn crossing(&mut self, lot: &Lot, row: &Row<'_>) {
        let at = self.gate(row.device);
        self.gates[at].by_clock = row.by_clock;
        self.spoke(lot, at, row.received_at);
        let when = self.gates[at].our_time(row.said_at(), row.received_at);
        let (count, since) = match row.total {
            None => (1.0, None),
            Some(total) => {
                let growth = self.totals.grow(row.counter, row.epoch, total, when, i64::from(!row.by_clock));
                (growth.count as f64, growth.since)
            }
        };
        self.catch_up(at, when, count, since);
        if count == 0.0 || row.vehicles == 0.0 {
            return;
        }
        // A message with each crossing tells of its own at its own time, and of those lost before it in between.
        let own = if row.by_clock { 0.0 } else { 1.0 };
        self.passed(at, row, own, when, when);
        if count > own {
            self.passed(at, row, count - own, since.unwrap_or(when).max(when - LONGEST_SPREAD_US), when);
            self.settled_at = row.received_at + SETTLES_US;
        }
        self.basis_at = self.basis_at.max(when);
    }

    /// If the gate tells of a time of its long silence, what was put in for it is taken out; if it does not for long, it stays.
    fn catch_up(&mut self, at: usize, when: i64, count: f64, since: Option<i64>) {
        let gate = &mut self.gates[at];
        if gate.silent_until == 0 {
            return;
        }
        let before = gate.silent_until - MINUTE_US;
        let tells = when < before || (count > 1.0 && since.is_some_and(|since| since < before));
        if tells {
            self.take_out(at);
        } else if when > gate.silent_until + CATCH_UP_US {
            gate.silent_until = 0;
            gate.put_in = 0.0;
            gate.put_in_variance = 0.0;
        }
    }

    /// `count` crossings passed between `from` and `to`.
    fn passed(&mut self, at: usize, row: &Row<'_>, count: f64, from: i64, to: i64) {
        let vehicles = count * row.vehicles;
        let signed = if row.out { -vehicles } else { vehicles };
        let left = self.left_open(from, to);
        let missed = if row.out { MISSED_OUT } else { MISSED_IN };
        self.belief.move_by(signed * left, missed, CROSSING_VARIANCE * vehicles.abs() * left);
        self.belief.loosen(missed, MISSED_WANDER * vehicles.abs());
        self.gates[at].flowed(signed, vehicles.abs(), from, to);
        self.remember(row.out, vehicles, from, to);
    }

    /// The part of what happened between two times that the counts taken since have left open.
    fn left_open(&self, from: i64, to: i64) -> f64 {
        let mut left = 1.0;
        for anchor in &self.anchors {
            left *= 1.0 - share_before(anchor.seen_at, from, to) * (1.0 - anchor.left);
        }
        left
    }

    /// Enters crossings into the minutes in which they happened.
    fn remember(&mut self, out: bool, vehicles: f64, from: i64, to: i64) {
        let (first, last) = (from.div_euclid(MINUTE_US), to.div_euclid(MINUTE_US));
        while self.newest_minute < last {
            let ahead = last - self.newest_minute;
            let jump = if ahead as usize > KEPT_MINUTES { ahead - KEPT_MINUTES as i64 } else { 1 };
            self.newest_minute += jump;
            self.minutes.insert(0, Slot::default());
            self.minutes.truncate(KEPT_MINUTES);
        }
        let share = vehicles / (last - first + 1) as f64;
        for minute in first..=last {
            if let Some(slot) = self.minutes.get_mut((self.newest_minute - minute) as usize) {
                let crossed = if out { &mut slot.exits } else { &mut slot.entries };
                // To a thousandth, so that the memory's text stays short.
                *crossed = ((*crossed + share) * 1000.0).round() / 1000.0;
            }
        }
    }

    /// Entries and exits since a time.
    pub(crate) fn crossed_since(&self, when: i64) -> Slot {
        let mut sum = Slot::default();
        for (age, slot) in self.minutes.iter().enumerate() {
            let start = (self.newest_minute - age as i64) * MINUTE_US;
            let share = ((start + MINUTE_US - when) as f64 / MINUTE_US as f64).clamp(0.0, 1.0);
            sum.entries += share * slot.entries;
            sum.exits += share * slot.exits;
        }
        sum
    }
}

/// The share of the time between `from` and `to` that lies before `when`; all or nothing of a moment.
fn share_before(when: i64, from: i64, to: i64) -> f64 {
    if to > from {
        ((when - from) as f64 / (to - from) as f64).clamp(0.0, 1.0)
    } else if when > to {
        1.0
    } else {
        0.0
    }
}

/// True if the gate has been silent for longer than it usually is.
fn is_long(lot: &Lot, gate: &Gate, now: i64) -> bool {
    (now - gate.heard_at) as f64 > lot.stale_after_s * 1e6 * LONG_SILENCE
}

/// What a gate has let through since it was last heard, by its flow of late, and the variance of that.
fn unseen(lot: &Lot, gate: &Gate, now: i64) -> (f64, f64) {
    if gate.heard_at == 0 || !(gate.by_clock || is_long(lot, gate, now)) {
        return (0.0, 0.0);
    }
    let minutes = |us: i64| us as f64 / MINUTE_US as f64;
    let faded = |age: f64| FLOW_LASTS_MIN * (1.0 - (-age / FLOW_LASTS_MIN).exp());
    let (from, to) = (minutes(gate.open_from - gate.heard_at), minutes(now - gate.heard_at));
    let quiet = (-minutes((gate.heard_at - gate.flow_at).max(0)) / FLOW_LASTS_MIN).exp();
    let vehicles = gate.net_per_min * quiet * (faded(to) - faded(from));
    let gross = gate.gross_per_min * quiet;
    let surge = if is_long(lot, gate, now) { UNSEEN_SURGE * lot.capacity / 60.0 } else { 0.0 };
    let whole = |age: f64| UNSEEN_POISSON * gross * age + (UNSEEN_SHARE * gross * age).powi(2) + (surge * age).powi(2);
    (vehicles, (whole(to) - whole(from)).max(0.0))
}
