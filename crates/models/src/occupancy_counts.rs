//! Counts inside the lot, by a person or a camera, against the estimate of when they were seen.

use crate::occupancy::{Anchor, Lot, Occupancy, Row, Slot};
use crate::occupancy_gates::MINUTE_US;
use crate::occupancy_kalman::{HIDDEN, Innovation, MISSED_IN, MISSED_OUT, VEHICLES};
use crate::occupancy_tuning::*;

impl Occupancy {
    /// A person's count of some minutes ago.
    pub(crate) fn manual(&mut self, lot: &Lot, row: &Row<'_>) {
        let seen_at = row.said_at().min(row.received_at);
        if row.received_at - seen_at > KEPT_MINUTES as i64 * MINUTE_US {
            return;
        }
        self.put_in_all(lot, row.received_at);
        let since = self.crossed_since(seen_at);
        let weights = [1.0, -since.entries, since.exits, 0.0, 0.0];
        let expected = self.then(&since);
        let variance = MANUAL_SD * MANUAL_SD + CROSSING_VARIANCE * (since.entries + since.exits);
        let mut innovation = self.belief.innovation(row.vehicles - expected, &weights, variance);
        let surprise = innovation.standardized().abs();
        if surprise > SURPRISE_SDS {
            // A person is right and we were wrong and too sure: as unsure as the difference says, and only of the vehicles.
            let unsure = innovation.variance * ((surprise / SURPRISE_SDS).powi(2) - 1.0);
            self.belief.loosen(VEHICLES, unsure);
            innovation = self.belief.innovation(row.vehicles - expected, &weights, variance);
        }
        let gain = self.belief.update(innovation, &weights);
        self.anchored(seen_at, gain);
    }

    /// A camera's count of what stands in the area.
    pub(crate) fn view(&mut self, lot: &Lot, row: &Row<'_>) {
        let clock = self.gates.iter().find(|gate| gate.device == row.device).map_or(0, |gate| gate.clock_ahead);
        let seen_at = (row.said_at() - clock).min(row.received_at);
        if row.received_at - seen_at > VIEW_HOLDS_US {
            return;
        }
        self.view_at = self.view_at.max(row.received_at);
        self.put_in_all(lot, row.received_at);
        let since = self.crossed_since(seen_at);
        let then = self.then(&since).max(0.0);
        let slope = 1.0 - 2.0 * self.belief.mean[HIDDEN] * then / lot.capacity;
        let weights = [slope, -since.entries * slope, since.exits * slope, -then * then / lot.capacity, 0.0];
        let expected = then - self.belief.mean[HIDDEN] * then * then / lot.capacity;
        let sd = VIEW_SD + VIEW_SD_OF_CAPACITY * lot.capacity;
        let innovation = self.belief.innovation(row.vehicles - expected, &weights, sd * sd);
        if innovation.standardized().abs() > REFUSE_SDS {
            self.refused(row.received_at, &innovation);
            return;
        }
        self.refused_since = 0;
        let gain = self.belief.update(innovation, &weights);
        self.belief.loosen(HIDDEN, HIDDEN_WANDER);
        self.anchored(seen_at, gain * slope);
    }

    /// A view that cannot be: snow, dirt, something parked before the lens. If it goes on for long, we may be wrong.
    fn refused(&mut self, now: i64, innovation: &Innovation) {
        if self.refused_since == 0 {
            self.refused_since = now;
        }
        if now - self.refused_since > REFUSE_AT_MOST_US {
            self.belief.loosen(VEHICLES, innovation.difference.powi(2) / (REFUSE_SDS * REFUSE_SDS));
        }
    }

    /// Vehicles before these crossings.
    fn then(&self, since: &Slot) -> f64 {
        let mean = &self.belief.mean;
        mean[VEHICLES] - since.entries * (1.0 + mean[MISSED_IN]) + since.exits * (1.0 + mean[MISSED_OUT])
    }

    fn anchored(&mut self, seen_at: i64, gain: f64) {
        let left = (1.0 - gain).clamp(0.0, 1.0);
        self.anchors.push(Anchor { seen_at, left });
        if self.anchors.len() > KEPT_ANCHORS {
            self.anchors.remove(0);
        }
        for gate in &mut self.gates {
            gate.put_in *= left;
            gate.put_in_variance *= left * left;
        }
        self.belief.bound(MISSED_IN, MISSED_MIN, MISSED_MAX);
        self.belief.bound(MISSED_OUT, MISSED_MIN, MISSED_MAX);
        self.belief.bound(HIDDEN, 0.0, HIDDEN_MAX);
        self.basis_at = self.basis_at.max(seen_at);
    }
}
